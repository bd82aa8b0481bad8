//! Nodes whose disk is full: they refuse new commands, do everything else, and go on by themselves when there is room.

use std::io::{self, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use raft_std_driver::machine::{Command, SnapshotWriter, StateMachine};
use raft_std_driver::raft_core::{Bytes, Config, Membership, NodeId, RoleKind};
use raft_std_driver::storage::sim::SimDisk;
use raft_std_driver::storage::{Birth, ClusterId, FileOptions, StorageErrorKind};
use raft_std_driver::transport::local::LocalNetwork;
use raft_std_driver::{Node, NodeConfig, Outcome, SnapshotError, StartError};

use crate::cluster::eventually;

const OPTIONS: FileOptions = FileOptions { segment_bytes: 16 << 10 };

/// Counts what it was given.
struct Count(Arc<AtomicUsize>);

impl StateMachine for Count {
    fn apply(&mut self, commands: &[Command<'_>], answers: &mut Vec<Bytes>) -> io::Result<()> {
        self.0.fetch_add(commands.len(), Ordering::SeqCst);
        answers.extend(commands.iter().map(|_| Bytes::new()));
        Ok(())
    }

    fn snapshot(&mut self) -> SnapshotWriter {
        let count = self.0.load(Ordering::SeqCst);
        Box::new(move |out| out.write_all(&[0; 10_000]).and_then(|()| write!(out, "{count}")))
    }

    fn restore(&mut self, data: &mut dyn Read) -> io::Result<()> {
        let text = io::read_to_string(data)?;
        self.0.store(text.trim_matches('\0').parse().unwrap(), Ordering::SeqCst);
        Ok(())
    }
}

struct Servers {
    disks: Vec<SimDisk>,
    counts: Vec<Arc<AtomicUsize>>,
    nodes: Vec<Node>,
    network: LocalNetwork,
    applied: usize,
}

impl Servers {
    fn new(count: u64, tune: fn(&mut NodeConfig)) -> Servers {
        let network = LocalNetwork::new();
        let mut servers = Servers { disks: vec![], counts: vec![], nodes: vec![], network, applied: 0 };
        for id in (1..=count).map(NodeId) {
            let disk = SimDisk::new();
            let birth = Birth::founder(ClusterId(1), id, Membership::new((1..=count).map(NodeId)));
            drop(disk.init(birth, OPTIONS).unwrap());
            servers.disks.push(disk);
            servers.start(id, tune);
        }
        servers
    }

    fn start(&mut self, id: NodeId, tune: fn(&mut NodeConfig)) {
        let mut config = NodeConfig::new(id);
        config.raft = Config { trailing_entries: 0, ..config.raft };
        tune(&mut config);
        let (storage, count) = (self.disks[self.nodes.len()].open(OPTIONS).unwrap(), Arc::default());
        let machine = Count(Arc::clone(&count));
        self.nodes.push(Node::spawn(config, storage, machine, self.network.attach(id)).unwrap());
        self.counts.push(count);
    }

    fn leader(&self) -> &Node {
        eventually("one leads", || self.nodes.iter().find(|node| node.status().role == RoleKind::Leader))
    }

    fn put(&mut self) -> Result<(), StartError> {
        let outcome = self.leader().start(vec![7; 500].into())?.wait();
        assert!(matches!(outcome, Outcome::Applied(_)), "{outcome:?}");
        self.applied += 1;
        Ok(())
    }

    /// Put until that is refused for want of room.
    fn fill(&mut self) {
        eventually("there is no room", || match self.put() {
            Err(StartError::NoRoom { why: StorageErrorKind::DiskFull }) => Some(()),
            Ok(()) | Err(StartError::Refused(_)) => None,
            other => panic!("{other:?}"),
        });
    }

    /// Until all have what was acknowledged.
    fn agree(&self) {
        for count in &self.counts {
            eventually("all agree", || (count.load(Ordering::SeqCst) == self.applied).then_some(()));
        }
    }

    fn set_full(&self, full: bool) {
        for disk in &self.disks {
            disk.set_capacity(full.then(|| disk.used() + 5000));
        }
    }
}

#[test]
fn a_full_disk_refuses_commands_and_nothing_else() {
    for size in [1, 3] {
        let mut servers = Servers::new(size, |_| {});
        servers.put().unwrap();
        servers.set_full(true);
        servers.fill();
        eventually("reads go on", || servers.leader().read().ok());
        for node in &servers.nodes {
            match node.snapshot() {
                Err(SnapshotError::Failed { kind: StorageErrorKind::DiskFull, .. }) => {}
                other => panic!("{other:?}"),
            }
        }
        // Each has handed leadership over once at most, and then nobody does.
        servers.fill();
        let term = servers.leader().status().term;
        for _ in 0..50 {
            servers.fill();
        }
        let later = servers.leader().status().term;
        assert!(later.0 <= term.0 + size, "from {term} to {later}");
        servers.set_full(false);
        eventually("the node goes on by itself", || servers.put().ok());
        servers.leader().snapshot().unwrap();
        servers.agree();
        servers.nodes.iter().for_each(|node| node.shutdown().unwrap());
    }
}

#[test]
fn a_leader_whose_disk_alone_is_full_hands_over() {
    let mut servers = Servers::new(3, |_| {});
    servers.put().unwrap();
    let full = servers.leader().status().id;
    let disk = servers.disks[usize::try_from(full.0).unwrap() - 1].clone();
    disk.set_capacity(Some(disk.used() + 5000));
    let mut more = 0;
    eventually("the others go on", || {
        more += usize::from(servers.put().is_ok());
        (more >= 60).then_some(())
    });
    assert_ne!(servers.leader().status().id, full);
    disk.set_capacity(None);
    servers.agree();
}

/// So many commands are under way at once that they do not fit into what is left: they wait for room, and are lost by nobody.
#[test]
fn what_was_taken_before_the_disk_was_full_waits_for_room() {
    let mut servers = Servers::new(1, |_| {});
    servers.put().unwrap();
    servers.set_full(true);
    let outcomes = Arc::new(Mutex::new(vec![]));
    let node = servers.leader().clone();
    for _ in 0..200 {
        let outcomes = Arc::clone(&outcomes);
        node.submit(vec![7; 500].into(), move |outcome| outcomes.lock().unwrap().push(outcome));
    }
    eventually("a write waits", || {
        let status = node.status();
        (status.durable < status.last.index && outcomes.lock().unwrap().len() < 200).then_some(())
    });
    assert!(node.status().running);
    servers.set_full(false);
    eventually("each has its outcome", || (outcomes.lock().unwrap().len() == 200).then_some(()));
    let applied = outcomes.lock().unwrap().iter().filter(|outcome| matches!(outcome, Ok(Outcome::Applied(_)))).count();
    assert!(applied > 0);
    servers.applied += applied;
    servers.agree();
    eventually("the node takes commands again", || servers.put().ok());
    servers.nodes[0].shutdown().unwrap();
}

#[test]
fn a_node_that_waits_for_room_stops_at_once() {
    let mut servers = Servers::new(1, |_| {});
    servers.put().unwrap();
    servers.set_full(true);
    let node = servers.leader().clone();
    (0..200).for_each(|_| node.submit(vec![7; 500].into(), |_| {}));
    eventually("a write waits", || (node.status().durable < node.status().last.index).then_some(()));
    let began = Instant::now();
    node.shutdown().unwrap();
    assert!(began.elapsed() < Duration::from_secs(5));
    // What was acknowledged is there.
    servers.nodes.clear();
    servers.counts.clear();
    servers.set_full(false);
    servers.start(NodeId(1), |_| {});
    eventually("it is there", || (servers.counts[0].load(Ordering::SeqCst) >= servers.applied).then_some(()));
}

/// A snapshot that was due comes when there is room, though nobody asks for it.
#[test]
fn a_snapshot_that_was_due_is_taken_when_there_is_room() {
    let mut servers = Servers::new(1, |config| config.snapshot_log_bytes = 5000);
    let disk = servers.disks[0].clone();
    // Room for the log, but not for a snapshot.
    disk.set_capacity(Some(disk.used() + 5000));
    (0..10).for_each(|_| servers.put().unwrap());
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(servers.nodes[0].status().snapshot.last.index.0, 0);
    disk.set_capacity(None);
    // What is put from here on would not make one due by itself.
    let taken = (0..8).any(|_| {
        servers.put().unwrap();
        std::thread::sleep(Duration::from_millis(500));
        servers.nodes[0].status().snapshot.last.index.0 > 0
    });
    assert!(taken);
}
