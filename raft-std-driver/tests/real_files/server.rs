//! The process that is watched: three servers, each with a directory of its own, and a client that writes down what was
//! acknowledged.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use raft_std_driver::machine::{Command, SnapshotWriter, StateMachine};
use raft_std_driver::raft_core::{Bytes, Config, Membership, NodeId, RoleKind};
use raft_std_driver::storage::{Birth, ClusterId, FileOptions, FileStorage};
use raft_std_driver::transport::local::LocalNetwork;
use raft_std_driver::{Node, NodeConfig, Outcome};

pub(crate) const SERVERS: usize = 3;
pub(crate) const OPTIONS: FileOptions = FileOptions { segment_bytes: 16 << 10 };
/// So that a segment holds a few dozen.
const COMMAND_BYTES: usize = 400;

/// The number that a command begins with.
pub(crate) fn name_of(command: &[u8]) -> Option<u64> {
    std::str::from_utf8(command).ok()?.trim().parse().ok()
}

/// The numbers in a snapshot.
pub(crate) fn lines_of(snapshot: &str) -> impl Iterator<Item = u64> {
    snapshot.lines().filter_map(|line| line.parse().ok())
}

/// Remembers the numbers.
#[derive(Default)]
struct Numbers(Vec<u64>);

impl StateMachine for Numbers {
    fn apply(&mut self, commands: &[Command<'_>], answers: &mut Vec<Bytes>) -> io::Result<()> {
        for command in commands {
            self.0.extend(name_of(command.bytes));
            answers.push(Bytes::new());
        }
        Ok(())
    }

    fn snapshot(&mut self) -> SnapshotWriter {
        let numbers = self.0.clone();
        Box::new(move |out| numbers.iter().try_for_each(|number| writeln!(out, "{number}")))
    }

    fn restore(&mut self, data: &mut dyn Read) -> io::Result<()> {
        let text = io::read_to_string(data)?;
        self.0 = lines_of(&text).collect();
        Ok(())
    }
}

struct Servers {
    dir: PathBuf,
    network: LocalNetwork,
    nodes: Vec<Option<Node>>,
    acks: File,
}

impl Servers {
    fn start(&mut self, at: usize) {
        let id = NodeId(at as u64 + 1);
        let dir = self.dir.join(id.to_string()).join("data");
        let storage = if dir.exists() {
            FileStorage::open(dir, OPTIONS).unwrap()
        } else {
            let membership = Membership::new((1..=SERVERS as u64).map(NodeId));
            FileStorage::init(dir, Birth::founder(ClusterId(1), id, membership), OPTIONS).unwrap()
        };
        let mut config = NodeConfig::new(id);
        // Everything is slower while it is watched.
        config.tick = Duration::from_millis(50);
        config.raft = Config { trailing_entries: 0, ..config.raft };
        let node = Node::spawn(config, storage, Numbers::default(), self.network.attach(id)).unwrap();
        self.nodes[at] = Some(node);
    }

    fn stop(&mut self, at: usize) {
        self.nodes[at].take().unwrap().shutdown().unwrap();
    }

    fn leader(&self) -> Option<&Node> {
        self.nodes.iter().flatten().find(|node| node.status().role == RoleKind::Leader)
    }

    /// Write each down once it has been applied.
    fn put(&mut self, commands: std::ops::RangeInclusive<u64>) {
        for number in commands {
            let command = format!("{number:COMMAND_BYTES$}");
            until("a command is applied", || {
                let started = self.leader()?.start(command.clone().into()).ok()?;
                matches!(started.wait(), Outcome::Applied(_)).then_some(())
            });
            self.acks.write_all(format!("{number}\n").as_bytes()).unwrap();
        }
    }

    /// Until this server has applied what the leader has committed.
    fn wait_for(&self, at: usize) {
        until("a server has caught up", || {
            let (leader, node) = (self.leader()?.status(), self.nodes[at].as_ref()?.status());
            (node.applied >= leader.commit).then_some(())
        });
    }
}

fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Starts, commits, new segments, snapshots, compaction, an installation, and starts again.
fn life(dir: &Path) {
    let acks = File::create(dir.join("acks")).unwrap();
    let nodes = vec![None; SERVERS];
    let mut servers = Servers { dir: dir.to_owned(), network: LocalNetwork::new(), nodes, acks };
    (0..SERVERS).for_each(|at| servers.start(at));
    servers.put(1..=80);
    for at in 0..SERVERS {
        servers.wait_for(at);
        servers.nodes[at].as_ref().unwrap().snapshot().unwrap();
    }
    servers.put(81..=130);
    servers.stop(2);
    servers.put(131..=180);
    for at in 0..2 {
        servers.nodes[at].as_ref().unwrap().snapshot().unwrap();
    }
    servers.start(2);
    servers.wait_for(2);
    servers.put(181..=220);
    (0..SERVERS).for_each(|at| servers.stop(at));
    (0..SERVERS).for_each(|at| servers.start(at));
    servers.put(221..=240);
    (0..SERVERS).for_each(|at| servers.stop(at));
}

#[test]
#[ignore = "the process that the other tests watch: it needs a directory of theirs"]
fn process() {
    if let Some(dir) = std::env::var_os(crate::DIR_VARIABLE) {
        life(Path::new(&dir));
    }
}
