//! One member, in a process of its own: this test binary again. Its environment says who it is, lines of its input what to
//! do, and lines of its output what has happened.

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::{env, process, thread};

use raft_std_driver::net::LinkConfig;
use raft_std_driver::raft_core::{Membership, NodeId, Refusal};
use raft_std_driver::storage::{Birth, ClusterId, FileOptions, FileStorage, StorageError};
use raft_std_driver::tcp::Tcp;
use raft_std_driver::{NodeConfig, Outcome, StartError as StdError};

use crate::cluster::Ledger;
use crate::parent::MEMBERS;

/// The test to be called for a member.
pub(crate) const TEST: &str = "member::a_member";
pub(crate) const DRIVER: &str = "MEMBER_DRIVER";
pub(crate) const ID: &str = "MEMBER_ID";
pub(crate) const DIR: &str = "MEMBER_DIR";
/// Begins the lines that are its own: those of the test harness are none.
pub(crate) const MARK: &str = "> ";

const CLUSTER: ClusterId = ClusterId(11);
/// There is always a port, and nobody else's; the others are told.
const ANY_PORT: &str = "127.0.0.1:0";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Driver {
    Std,
    Tokio,
}

impl Driver {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Driver::Std => "std",
            Driver::Tokio => "tokio",
        }
    }

    pub(crate) fn other(self) -> Driver {
        match self {
            Driver::Std => Driver::Tokio,
            Driver::Tokio => Driver::Std,
        }
    }

    /// Snapshots are taken all the time, so that who was away may need one. Std nodes lose patience first, so that one of
    /// them leads although there are fewer.
    fn tune(self, config: &mut NodeConfig) {
        config.raft.trailing_entries = 0;
        config.snapshot_log_bytes = 2000;
        let ticks = if self == Driver::Std { (20, 40) } else { (40, 60) };
        (config.raft.election_ticks_min, config.raft.election_ticks_max) = ticks;
    }
}

/// Ids and addresses.
type Peers = Vec<(u64, String)>;

/// A node of either driver, as far as a member needs one.
struct Living {
    address: SocketAddr,
    /// Start a word as a command, and say what becomes of it.
    put: Box<dyn Fn(String)>,
    /// Here are the peers.
    meet: Box<dyn Fn(Peers)>,
}

#[test]
#[ignore = "a process that the other test starts"]
fn a_member() {
    let Ok(id) = env::var(ID) else { return };
    let id = NodeId(id.parse().unwrap());
    let dir = PathBuf::from(env::var_os(DIR).unwrap());
    let ledger = Ledger::default();
    let is_std = env::var(DRIVER).unwrap() == Driver::Std.name();
    let living = if is_std { on_std(id, &dir, &ledger) } else { on_tokio(id, &dir, &ledger) };
    // The harness has begun a line.
    println!();
    say(format_args!("listens {}", living.address));
    let mut peers: BTreeMap<u64, String> = BTreeMap::new();
    for line in io::stdin().lines() {
        match line.unwrap().split(' ').collect::<Vec<_>>()[..] {
            ["peer", id, address] => {
                peers.insert(id.parse().unwrap(), address.to_owned());
                (living.meet)(peers.clone().into_iter().collect());
            }
            ["put", word] => (living.put)(word.to_owned()),
            ["ledger"] => {
                let words: Vec<_> =
                    ledger.lines().iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect();
                say(format_args!("ledger {}", words.join(" ")));
            }
            ref other => panic!("what is {other:?}?"),
        }
    }
    // Whoever has started it is gone.
    process::exit(0);
}

fn say(line: impl Display) {
    let mut out = io::stdout().lock();
    writeln!(out, "{MARK}{line}").and_then(|()| out.flush()).expect("somebody listens");
}

fn applied(word: &str) {
    say(format_args!("{word} applied"));
}

fn unknown(word: &str) {
    say(format_args!("{word} unknown"));
}

fn refused(word: &str, leader: Option<NodeId>) {
    say(format_args!("{word} refused {}", leader.unwrap_or_default()));
}

/// A node ends only if it fails.
fn ended(why: impl Debug) -> ! {
    eprintln!("the node has ended: {why:?}");
    process::exit(1)
}

fn on_std(id: NodeId, dir: &Path, ledger: &Ledger) -> Living {
    let mut config = NodeConfig::new(id);
    Driver::Std.tune(&mut config);
    let tcp = Tcp::bind(ANY_PORT, LinkConfig::new(CLUSTER, &config.raft), []).unwrap();
    let address = tcp.local_addr();
    let storage = match FileStorage::open(dir, FileOptions::default()) {
        Err(StorageError::Empty { .. }) => {
            let membership = Membership::new((1..=MEMBERS as u64).map(NodeId));
            FileStorage::init(dir, Birth::founder(CLUSTER, id, membership), FileOptions::default()).unwrap()
        }
        opened => opened.unwrap(),
    };
    let node = raft_std_driver::Node::spawn(config, storage, ledger.clone(), tcp).unwrap();
    let (watched, met) = (node.clone(), node.clone());
    thread::spawn(move || ended(watched.wait()));
    let put = move |word: String| {
        node.submit(word.clone().into(), move |outcome| match outcome {
            Ok(Outcome::Applied(_)) => applied(&word),
            Ok(Outcome::Unknown) => unknown(&word),
            Ok(Outcome::Superseded) => refused(&word, None),
            Err(StdError::Refused(Refusal::NotLeader { leader })) => refused(&word, leader),
            Err(_) => refused(&word, None),
        });
    };
    let meet = move |peers: Peers| {
        met.set_peers(peers.into_iter().map(|(id, address)| (NodeId(id), address)));
    };
    Living { address, put: Box::new(put), meet: Box::new(meet) }
}

fn on_tokio(id: NodeId, dir: &Path, ledger: &Ledger) -> Living {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let node = runtime.block_on(async {
        let members = (1..=MEMBERS as u64).map(|id| (id, "said later:1"));
        let builder = raft_tokio_driver::Node::builder().id(id.0).cluster(CLUSTER.0).members(members);
        let builder = builder.machine(ledger.clone()).listen(ANY_PORT);
        builder.tune(|config| Driver::Tokio.tune(config)).open_or_create(dir).start().await.unwrap()
    });
    let (watched, met) = (node.clone(), node.clone());
    runtime.spawn(async move { ended(watched.stopped().await) });
    let put = move |word: String| {
        let node = node.clone();
        runtime.spawn(async move {
            match node.start(word.clone()).await {
                Ok(_) => applied(&word),
                Err(why) if why.may_have_happened() => unknown(&word),
                Err(why) => refused(&word, why.leader()),
            }
        });
    };
    let address = met.local_addr().unwrap();
    Living { address, put: Box::new(put), meet: Box::new(move |peers| met.set_peers(peers)) }
}
