//! A cluster of nodes whose links are safe: through a death, a snapshot and new certificates.

use std::path::{Path, PathBuf};
use std::time::Duration;

use raft_core::NodeId;
use raft_tokio_driver::tls::Tls;
use raft_tokio_driver::{Builder, Bytes, Node, NodeConfig, RoleKind};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

use super::certs::{Authority, Files, bundle, write};
use super::cluster::{Ledger, in_time};
use super::log::{logged, times_logged, watch_log};
use super::ports::ports;

const IDS: [u64; 3] = [661, 662, 663];

struct Member {
    id: u64,
    data: PathBuf,
    files: Files,
    tls: Tls,
    ledger: Ledger,
    node: Option<Node>,
}

struct Cluster {
    members: Vec<Member>,
    addresses: Vec<(u64, String)>,
    expected: Vec<Bytes>,
}

/// A snapshot leaves no entries behind, so that who was away needs it.
fn tune(config: &mut NodeConfig) {
    config.raft.trailing_entries = 0;
}

impl Cluster {
    async fn new(home: &Path, authority: &Authority) -> Cluster {
        let ports = ports(IDS.len());
        let address = |port: &std::net::TcpListener| port.local_addr().unwrap().to_string();
        let addresses = IDS.into_iter().zip(ports.iter().map(address)).collect();
        let member = |id: u64| {
            let files = Files::new(&authority.node(id), &[authority]);
            let tls = files.config().load(NodeId(id)).unwrap();
            Member { id, data: home.join(id.to_string()), files, tls, ledger: Ledger::default(), node: None }
        };
        let mut cluster = Cluster { members: IDS.map(member).into(), addresses, expected: Vec::new() };
        for (at, port) in ports.into_iter().enumerate() {
            let tls = cluster.members[at].tls.clone();
            cluster.wake(at, |builder| builder.listener(port).tls(&tls)).await;
        }
        cluster
    }

    async fn wake(&mut self, at: usize, links: impl FnOnce(Builder) -> Builder) -> &Node {
        let member = &mut self.members[at];
        member.ledger = Ledger::default();
        let builder = Node::builder().id(member.id).members(self.addresses.clone()).open_or_create(&member.data);
        let node = links(builder.machine(member.ledger.clone()).tune(tune)).start().await.unwrap();
        member.node.insert(node)
    }

    /// Who leads, or one who runs and does not.
    async fn find(&self, leads: bool) -> usize {
        let search = async {
            loop {
                let role = |member: &Member| Some(member.node.as_ref()?.watch().borrow().role);
                let leading = |member: &Member| role(member).map(|role| role == RoleKind::Leader);
                let found: Vec<Option<bool>> = self.members.iter().map(leading).collect();
                if found.contains(&Some(true)) {
                    return found.iter().position(|found| *found == Some(leads)).unwrap();
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        in_time("a leader", search).await
    }

    /// So many commands, each until it is applied.
    async fn put(&mut self, count: usize) {
        for number in self.expected.len()..self.expected.len() + count {
            let command = Bytes::from(format!("command {number} {}", "x".repeat(100)));
            let tries = async {
                loop {
                    let leader = self.members[self.find(true).await].node.as_ref().unwrap();
                    match leader.start(command.clone()).await {
                        Ok(_) => return,
                        Err(why) => assert!(!why.may_have_happened(), "{why}"),
                    }
                }
            };
            in_time("a command", tries).await;
            self.expected.push(command);
        }
    }

    /// Those who run hold all that was acknowledged.
    async fn agree(&self) {
        for member in self.members.iter().filter(|member| member.node.is_some()) {
            until("agreement", || *member.ledger.lines() == self.expected).await;
        }
    }

    async fn stop(&mut self, at: usize) {
        in_time("an end", self.members[at].node.take().unwrap().shutdown()).await.unwrap();
    }

    /// It goes, unless it is gone, much is written, and it comes back by a snapshot: whoever leads has forgotten what it lacks.
    /// Again, if that was still on its way to it.
    async fn away_and_back(&mut self, at: usize) {
        let id = self.members[at].id;
        let received = || times_logged(&["snapshot received", &format!("node={id} ")]);
        let before = received();
        for _ in 0..20 {
            if self.members[at].node.is_some() {
                self.stop(at).await;
                self.put(40).await;
            }
            self.agree().await;
            for node in self.members.iter().filter_map(|member| member.node.as_ref()) {
                in_time("a snapshot of its own", node.snapshot()).await.unwrap();
            }
            let tls = self.members[at].tls.clone();
            self.wake(at, |builder| builder.tls(&tls)).await;
            self.agree().await;
            if received() > before {
                return;
            }
        }
        panic!("server {id} never got a snapshot");
    }
}

async fn until(what: &str, done: impl Fn() -> bool) {
    let look = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    in_time(what, look).await;
}

fn links_are_open(id: u64) -> bool {
    logged(&["connections are open", &format!("node={id} ")])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_with_tls_lets_its_own_in_and_nobody_else() {
    watch_log();
    let (home, authority) = (tempfile::tempdir().unwrap(), Authority::new("the first"));
    let mut cluster = Cluster::new(home.path(), &authority).await;
    cluster.put(20).await;
    cluster.agree().await;
    let away = cluster.find(false).await;
    cluster.stop(away).await;
    cluster.put(40).await;

    // Its id, its address, its data, and no certificate.
    assert!(!IDS.into_iter().any(links_are_open));
    let id = cluster.members[away].id;
    let open = cluster.wake(away, |builder| builder).await.clone();
    assert!(links_are_open(id));
    for other in IDS.into_iter().filter(|other| *other != id) {
        let (out, here) = (format!("node={other} peer={id} "), format!("node={id} peer={other} "));
        until("the lines of both ends", || {
            logged(&["disconnected", &format!("node={other} "), "does not speak TLS"])
                && logged(&["no connection to a peer", &out])
                && logged(&["no connection to a peer", &here])
        })
        .await;
    }
    assert!(cluster.members[away].ledger.lines().len() < cluster.expected.len());
    assert_eq!(open.watch().borrow().leader, None, "it has heard nothing");
    drop(open);
    cluster.stop(away).await;
    cluster.away_and_back(away).await;

    // All certificates are another authority's from now on: who comes now, comes by these.
    let authority = Authority::new("the second");
    for member in &cluster.members {
        member.files.put(&authority.node(member.id));
        write(&member.files.authorities, &bundle(&[&authority]));
        member.tls.reload().unwrap();
    }
    cluster.put(20).await;
    for leads in [false, true] {
        let away = cluster.find(leads).await;
        cluster.away_and_back(away).await;
    }
    for at in 0..IDS.len() {
        cluster.stop(at).await;
    }
}

/// However long a handshake may take: a guest and a peer who say nothing do not hold the node back.
#[tokio::test(flavor = "multi_thread")]
async fn handshakes_under_way_end_with_the_node() {
    let (home, hour) = (tempfile::tempdir().unwrap(), Duration::from_secs(3600));
    let (authority, mute) = (Authority::new("cluster"), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let members = [(671, "127.0.0.1:0".to_owned()), (672, mute.local_addr().unwrap().to_string())];
    let builder = Node::builder().id(671).members(members).create(home.path()).machine(Ledger::default());
    let builder = builder.tune_tcp(move |tcp| (tcp.handshakes_max, tcp.handshake_timeout) = (1, hour));
    let node = builder.tls(&authority.tls(671)).start().await.unwrap();
    let address = node.local_addr().unwrap();
    let (mut peer, _) = in_time("a link that is wanted", mute.accept()).await.unwrap();
    assert_eq!(in_time("its first word", peer.read_u8()).await.unwrap(), 22, "a handshake of TLS");
    let mut older = TcpStream::connect(address).await.unwrap();
    let mut guest = TcpStream::connect(address).await.unwrap();
    // There is room for one: this one's end says that the other has come.
    let _end_or_reset = in_time("an end", older.read(&mut [0])).await;
    in_time("shutdown", node.shutdown()).await.unwrap();
    let _end_or_reset = in_time("an end", guest.read(&mut [0])).await;
    let again = Node::builder().id(671).members([(671, address.to_string())]).open(home.path());
    let again = again.machine(Ledger::default()).tls(&authority.tls(671)).start().await.unwrap();
    in_time("shutdown", again.shutdown()).await.unwrap();
}
