//! A std node and two tokio nodes in one cluster, over real TCP and on real files: through each one's death and back.

#[path = "node/cluster.rs"]
#[allow(dead_code, reason = "only a part of it is wanted here")]
mod cluster;
#[path = "node/ports.rs"]
mod ports;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cluster::{Ledger, in_time};
use raft_std_driver::net::LinkConfig;
use raft_std_driver::raft_core::{Bytes, Config, Membership, NodeId, RoleKind};
use raft_std_driver::storage::{Birth, ClusterId, FileOptions, FileStorage};
use raft_std_driver::tcp::Tcp;
use raft_std_driver::{NodeConfig, Outcome, Started};
use raft_tokio_driver::StartError;

const CLUSTER: ClusterId = ClusterId(9);

/// Snapshots are taken all the time, so that who was away needs one.
fn tune(config: &mut NodeConfig) {
    config.raft.trailing_entries = 0;
    config.snapshot_log_bytes = 2000;
}

/// A node of either driver.
#[derive(Clone)]
enum Either {
    Std(raft_std_driver::Node),
    Tokio(raft_tokio_driver::Node),
}

impl Either {
    fn leads(&self) -> bool {
        match self {
            Either::Std(node) => {
                let status = node.status();
                status.running && status.role == RoleKind::Leader
            }
            Either::Tokio(node) => node.watch().borrow().role == RoleKind::Leader,
        }
    }

    /// Whether it took effect; `None` if that cannot be known.
    async fn put(&self, command: Bytes) -> Option<bool> {
        match self {
            Either::Std(node) => {
                let node = node.clone();
                let waits = tokio::task::spawn_blocking(move || node.start(command).map(Started::wait));
                match waits.await.unwrap() {
                    Ok(Outcome::Applied(_)) => Some(true),
                    Ok(Outcome::Unknown) => None,
                    Ok(Outcome::Superseded) | Err(_) => Some(false),
                }
            }
            Either::Tokio(node) => match node.start(command).await {
                Ok(_) => Some(true),
                Err(StartError::Unknown) => None,
                Err(_) => Some(false),
            },
        }
    }

    async fn shutdown(self) {
        match self {
            Either::Std(node) => tokio::task::spawn_blocking(move || node.shutdown()).await.unwrap().unwrap(),
            Either::Tokio(node) => node.shutdown().await.unwrap(),
        }
    }
}

struct Mixed {
    home: PathBuf,
    members: Vec<(u64, String)>,
    /// What they listen on at first. Later they take the same address again.
    ports: Vec<Option<TcpListener>>,
    ledgers: Vec<Ledger>,
    nodes: Vec<Option<Either>>,
}

impl Mixed {
    fn new(home: &Path) -> Mixed {
        let ports = ports::ports(3);
        let address = |port: &TcpListener| port.local_addr().unwrap().to_string();
        let members = (1..).zip(ports.iter().map(address)).collect();
        let (ports, ledgers) = (ports.into_iter().map(Some).collect(), vec![Ledger::default(); 3]);
        Mixed { home: home.to_path_buf(), members, ports, ledgers, nodes: vec![None, None, None] }
    }

    /// Start member `at` with this driver, on whatever the other one may have left in its directory.
    async fn wake(&mut self, at: usize, with_std: bool) {
        let (id, address) = self.members[at].clone();
        let (dir, port) = (self.home.join(id.to_string()), self.ports[at].take());
        self.ledgers[at] = Ledger::default();
        let node = if with_std {
            let (members, ledger) = (self.members.clone(), self.ledgers[at].clone());
            let spawn = move || {
                let id = NodeId(id);
                let membership = Membership::new(members.iter().map(|(id, _)| NodeId(*id)));
                let storage = match FileStorage::open(&dir, FileOptions::default()) {
                    Ok(storage) => storage,
                    Err(_) => FileStorage::init(&dir, Birth::founder(CLUSTER, id, membership), FileOptions::default())
                        .unwrap(),
                };
                let peers = members.iter().map(|(id, address)| (NodeId(*id), address.clone()));
                let settings = LinkConfig::new(CLUSTER, &Config::new(id));
                let tcp = match port {
                    Some(port) => Tcp::listen_on(port, settings, peers),
                    None => Tcp::bind(&address, settings, peers),
                };
                let mut config = NodeConfig::new(id);
                tune(&mut config);
                raft_std_driver::Node::spawn(config, storage, ledger, tcp.unwrap()).unwrap()
            };
            Either::Std(tokio::task::spawn_blocking(spawn).await.unwrap())
        } else {
            let builder = raft_tokio_driver::Node::builder().id(id).cluster(CLUSTER.0).members(self.members.clone());
            let builder = builder.machine(self.ledgers[at].clone()).tune(tune).open_or_create(dir);
            let builder = if let Some(port) = port { builder.listener(port) } else { builder };
            let node = builder.start().await.unwrap();
            assert_eq!(node.local_addr().unwrap().to_string(), address);
            Either::Tokio(node)
        };
        self.nodes[at] = Some(node);
    }

    async fn leader(&self) -> usize {
        let search = async {
            loop {
                for (at, node) in self.nodes.iter().enumerate() {
                    if let Some(node) = node
                        && node.leads()
                    {
                        return at;
                    }
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        in_time("a leader", search).await
    }

    /// Have it applied, once unless a leader that fell cannot tell; returns how often none could.
    async fn put(&self, command: &Bytes) -> usize {
        let tries = async {
            let mut unknown = 0;
            loop {
                let leader = self.nodes[self.leader().await].clone();
                match leader.unwrap().put(command.clone()).await {
                    Some(true) => return unknown,
                    Some(false) => {}
                    None => unknown += 1,
                }
            }
        };
        in_time("a command", tries).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_drivers_make_one_cluster() {
    let home = tempfile::tempdir().unwrap();
    let mut cluster = Mixed::new(home.path());
    for at in 0..3 {
        cluster.wake(at, at == 0).await;
    }
    let (mut expected, mut led_by_std, mut led_by_tokio) = (Vec::new(), false, false);
    let (mut round, mut unknown) = (0, 0);
    // Until leaders of both kinds have fallen, and three of them at least; who comes back, comes back as the other kind.
    while round < 3 || !(led_by_std && led_by_tokio) {
        assert!(round < 100, "one kind never leads");
        for number in 0..20 {
            let command = Bytes::from(format!("round {round}, command {number}"));
            unknown += cluster.put(&command).await;
            expected.push(command);
        }
        let leader = cluster.leader().await;
        let fallen = cluster.nodes[leader].take().unwrap();
        let was_std = matches!(fallen, Either::Std(_));
        *(if was_std { &mut led_by_std } else { &mut led_by_tokio }) = true;
        in_time("an end", fallen.shutdown()).await;
        for number in 20..60 {
            let command = Bytes::from(format!("round {round}, command {number}"));
            unknown += cluster.put(&command).await;
            expected.push(command);
        }
        cluster.wake(leader, !was_std).await;
        round += 1;
    }
    for ledger in &cluster.ledgers {
        let same = async {
            loop {
                let mut lines = ledger.lines().clone();
                let count = lines.len();
                lines.dedup();
                if lines == expected && count - lines.len() <= unknown {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        in_time("agreement", same).await;
    }
    for node in cluster.nodes.into_iter().flatten() {
        in_time("an end", node.shutdown()).await;
    }
}
