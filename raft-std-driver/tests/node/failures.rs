//! How nodes stop: asked to, or because a part of them failed.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use raft_std_driver::machine::{Command, SnapshotWriter, StateMachine};
use raft_std_driver::raft_core::{
    Bytes, Entries, EntryId, Fatal, Incarnation, Index, Message, NodeId, Rpc, SnapshotMeta, Term,
};
use raft_std_driver::storage::{SnapshotSink, StorageError, StorageErrorKind};
use raft_std_driver::transport::Inbound;
use raft_std_driver::{Node, NodeConfig, NodeError, Outcome, SnapshotError, StartError, Started};

use crate::cluster::{Cluster, Machine, eventually, write_lines};

/// The thread that failed, and what it said.
fn cause(node: &Node) -> (String, String) {
    match node.wait() {
        Err(NodeError::Thread { thread, message }) => (thread, message),
        other => panic!("{other:?}"),
    }
}

fn assert_stopped(node: &Node) {
    assert_eq!(node.start(Bytes::from_static(b"x")).unwrap_err(), StartError::Stopped);
    let (tell, told) = mpsc::channel();
    node.submit(Bytes::from_static(b"x"), move |outcome| tell.send(outcome).unwrap());
    assert_eq!(told.recv().unwrap(), Err(StartError::Stopped));
    assert_eq!(node.snapshot(), Err(SnapshotError::Stopped));
    assert!(!node.status().running);
}

#[test]
fn a_failed_write_stops_the_node() {
    let cluster = Cluster::new(1, |_| {});
    cluster.put("x");
    let member = &cluster.members[0];
    member.disk.set_failure(Some("no space left"));
    let started = member.node().start(Bytes::from_static(b"y")).unwrap();
    assert_eq!(started.wait(), Outcome::Unknown);
    let (thread, message) = cause(member.node());
    assert_eq!(thread, "disk");
    assert!(message.contains("no space left"), "{message}");
    assert_stopped(member.node());
    assert!(member.node().shutdown().is_err(), "the cause stays");
    assert_eq!(member.disk.recovered().entries.len(), 2, "nothing was written afterwards");
}

#[test]
fn the_storage_of_another_server_is_refused() {
    let cluster = Cluster::asleep(2, |_| {});
    let [one, two] = &cluster.members[..] else { panic!("two members") };
    let stolen = one.disk.open().unwrap();
    let machine = Machine::new(&two.seen);
    let refused = Node::spawn(NodeConfig::new(two.id), stolen, machine, cluster.network.attach(two.id));
    assert!(
        matches!(refused, Err(NodeError::Stranger { configured, stored }) if (configured, stored) == (two.id, one.id))
    );
}

#[test]
fn a_machine_that_panics_stops_the_node() {
    let mut cluster = Cluster::asleep(1, |_| {});
    let mut machine = Machine::new(&cluster.members[0].seen);
    machine.on_apply = Box::new(|command| assert_ne!(&command.bytes[..], b"bad", "cannot digest this"));
    cluster.wake_with(0, machine);
    cluster.put("good");
    let node = cluster.members[0].node();
    let (tell, told) = mpsc::channel();
    for command in ["good", "bad", "never"] {
        let tell = tell.clone();
        node.submit(command.into(), move |outcome| tell.send(outcome).unwrap());
    }
    drop(tell);
    let (thread, message) = cause(node);
    assert_eq!(thread, "machine");
    assert!(message.contains("cannot digest this"), "{message}");
    let heard: Vec<_> = told.iter().collect();
    assert_eq!(heard.len(), 3, "each hears exactly once: {heard:?}");
    assert!(!heard[1..].iter().any(|outcome| matches!(outcome, Ok(Outcome::Applied(_)))), "{heard:?}");
    assert_stopped(node);
}

#[test]
fn a_snapshot_that_cannot_be_written_fails_alone() {
    let mut cluster = Cluster::asleep(1, |_| {});
    let mut machine = Machine::new(&cluster.members[0].seen);
    let torn = Arc::new(AtomicBool::new(true));
    let fails = Arc::clone(&torn);
    machine.on_snapshot = Box::new(move |lines| {
        let fails = Arc::clone(&fails);
        Box::new(move |out| match fails.load(Ordering::SeqCst) {
            true => out.write_all(b"half").and(Err(io::Error::other("torn"))),
            false => write_lines(lines)(out),
        })
    });
    cluster.wake_with(0, machine);
    cluster.put("x");
    for _ in 0..3 {
        match cluster.members[0].node().snapshot() {
            Err(SnapshotError::Failed { kind: StorageErrorKind::Io, message }) => {
                assert!(message.contains("torn"), "{message}");
            }
            other => panic!("{other:?}"),
        }
        cluster.put("y");
    }
    torn.store(false, Ordering::SeqCst);
    let last = cluster.members[0].node().snapshot().unwrap();
    assert_eq!(cluster.members[0].node().status().snapshot.last, last);
}

/// Panicking is no way to fail.
#[test]
fn a_snapshot_that_panics_stops_the_node() {
    let mut cluster = Cluster::asleep(1, |_| {});
    let mut machine = Machine::new(&cluster.members[0].seen);
    machine.on_snapshot = Box::new(move |_| Box::new(move |_| panic!("torn")));
    cluster.wake_with(0, machine);
    cluster.put("x");
    assert_eq!(cluster.members[0].node().snapshot(), Err(SnapshotError::Stopped));
    let (thread, message) = cause(cluster.members[0].node());
    assert_eq!(thread, "snapshot");
    assert!(message.contains("torn"), "{message}");
    // The log is whole: without that machine the server goes on.
    cluster.members[0].node = None;
    cluster.wake(0);
    cluster.put("y");
    cluster.agree_on(&["x".to_owned(), "y".to_owned()]);
}

struct Odd;

impl StateMachine for Odd {
    fn apply(&mut self, commands: &[Command<'_>], answers: &mut Vec<Bytes>) -> io::Result<()> {
        if commands.iter().any(|command| command.bytes == "fail") {
            return Err(io::Error::other("the database is gone"));
        }
        answers.extend([Bytes::new(), Bytes::new()]);
        Ok(())
    }

    fn snapshot(&mut self) -> SnapshotWriter {
        Box::new(|out| out.write_all(b"odd"))
    }

    fn restore(&mut self, _: &mut dyn io::Read) -> io::Result<()> {
        Err(io::Error::other("unreadable"))
    }
}

#[test]
fn a_machine_that_fails_or_answers_too_much_or_cannot_be_restored_stops_the_node() {
    let mut cluster = Cluster::new(1, |_| {});
    cluster.put("x");
    cluster.members[0].node().snapshot().unwrap();
    cluster.sleep(0);
    let spawn = |cluster: &Cluster| {
        let (storage, mut config) = (cluster.members[0].disk.open().unwrap(), NodeConfig::new(NodeId(1)));
        config.raft.record_disks = false; // An index is named below.
        Node::spawn(config, storage, Odd, cluster.network.attach(NodeId(1))).unwrap()
    };
    let (thread, message) = cause(&spawn(&cluster));
    assert_eq!(thread, "machine");
    assert!(message.contains("unreadable"), "{message}");

    for (command, why) in
        [("x", "2 answers to 1 command"), ("fail", "cannot apply what follows 1@1: the database is gone")]
    {
        let cluster = Cluster::asleep(1, |_| {});
        let node = spawn(&cluster);
        // What it follows has been applied by then.
        eventually("it leads", || (node.status().applied.0 == 1).then_some(()));
        let started = node.start(Bytes::from_static(command.as_bytes())).unwrap();
        assert_eq!(started.wait(), Outcome::Unknown);
        let (thread, message) = cause(&node);
        assert!(thread == "machine" && message.contains(why), "{message}");
    }
}

#[test]
fn a_callback_that_panics_stops_the_node() {
    let cluster = Cluster::new(1, |_| {});
    let node = cluster.leader().node();
    node.submit(Bytes::from_static(b"x"), |_| panic!("careless"));
    let (thread, message) = cause(node);
    assert_eq!((thread.as_str(), message.as_str()), ("machine", "panicked: careless"));
}

/// Everything that a machine or a callback can ask of its own node returns.
#[test]
fn the_machine_may_call_its_node() {
    let mut cluster = Cluster::asleep(1, |config| config.inbox_bytes_max = 1);
    let mut machine = Machine::new(&cluster.members[0].seen);
    let handle: Arc<OnceLock<Node>> = Arc::default();
    let (node, (tell, told)) = (Arc::clone(&handle), mpsc::channel());
    machine.on_apply = Box::new(move |command| {
        let Some(node) = node.get().filter(|_| &command.bytes[..] == b"outer") else { return };
        assert!(node.status().running);
        let inner = node.start(Bytes::from_static(b"inner")).unwrap();
        assert_eq!(inner.wait(), Outcome::Unknown, "it cannot be known here");
        for _ in 0..10 {
            let (tell, inside) = (tell.clone(), node.clone());
            node.submit(Bytes::from_static(b"inner"), move |outcome| {
                let waits = inside.start(Bytes::from_static(b"innermost")).map(Started::wait);
                assert_eq!(waits, Ok(Outcome::Unknown));
                tell.send(outcome).unwrap();
            });
        }
        assert_eq!(node.snapshot(), Err(SnapshotError::OwnThread));
    });
    cluster.wake_with(0, machine);
    let node = cluster.members[0].node().clone();
    assert!(handle.set(node).is_ok());
    cluster.put("outer");
    for _ in 0..10 {
        assert!(matches!(told.recv().unwrap(), Ok(Outcome::Applied(_))));
    }
    eventually("all are applied", || (cluster.members[0].seen.commands().len() == 22).then_some(()));

    let (node, (tell, told)) = (cluster.members[0].node(), mpsc::channel());
    let inside = node.clone();
    node.submit(Bytes::from_static(b"last"), move |_| tell.send(inside.shutdown().is_ok()).unwrap());
    assert!(told.recv().unwrap());
    node.wait().unwrap();
}

#[test]
fn a_shutdown_under_load_leaves_nobody_waiting() {
    for round in 0..5 {
        let cluster = Cluster::new(3, |_| {});
        cluster.put("first");
        let (asked, heard, twice) = (AtomicU64::new(0), Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for client in 0..8 {
                let (cluster, asked, heard, twice, stop) = (&cluster, &asked, &heard, &twice, &stop);
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        for member in &cluster.members {
                            asked.fetch_add(1, Ordering::Relaxed);
                            let (heard, twice, once) = (Arc::clone(heard), Arc::clone(twice), AtomicBool::new(false));
                            member.node().submit(format!("{client}").into(), move |_| {
                                twice.fetch_or(once.swap(true, Ordering::Relaxed), Ordering::Relaxed);
                                heard.fetch_add(1, Ordering::Relaxed);
                            });
                            if let Ok(started) = member.node().start(Bytes::from_static(b"s")) {
                                drop(started);
                            }
                        }
                    }
                });
            }
            eventually("they are under way", || (heard.load(Ordering::Relaxed) > 1000 * round).then_some(()));
            for member in &cluster.members {
                member.node().shutdown().unwrap();
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert_eq!(heard.load(Ordering::Relaxed), asked.load(Ordering::Relaxed), "all have heard when it returns");
        assert!(!twice.load(Ordering::Relaxed));
        cluster.members.iter().for_each(|member| assert_stopped(member.node()));
    }
}

#[test]
fn waiters_hear_of_a_shutdown() {
    let cluster = Cluster::new(3, |_| {});
    cluster.put("x");
    let leader = cluster.leader();
    cluster.network.isolate(leader.id);
    let Ok(started) = leader.node().start(Bytes::from_static(b"y")) else { return };
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| started.wait());
        leader.node().shutdown().unwrap();
        assert_eq!(waits.join().unwrap(), Outcome::Unknown);
    });
}

/// A peer that is not one of ours.
struct Deaf;

impl Inbound for Deaf {
    fn message(&self, _: NodeId, _: Message) {}
    fn unreachable(&self, _: NodeId) {}
    fn snapshot_sent(&self, _: NodeId, _: EntryId, _: bool) {}
    fn snapshot_begin(&self, _: NodeId, _: &SnapshotMeta) -> Result<Box<dyn SnapshotSink>, StorageError> {
        Err(StorageError::Failed("deaf".to_owned()))
    }
    fn snapshot_received(&self, _: NodeId, _: Term, _: SnapshotMeta) {}
    fn failed(&self, _: String) {}
}

#[test]
fn proof_of_broken_elections_halts_the_node() {
    let mut cluster = Cluster::asleep(3, |_| {});
    cluster.wake(0);
    for liar in [2, 3] {
        let liar = cluster.network.attach(NodeId(liar));
        liar.start(Arc::new(Deaf)).unwrap();
        let rpc = Rpc::AppendEntries {
            prev: EntryId::ZERO,
            entries: Entries::new(),
            commit: Index(0),
            round: 1,
            reply: true,
        };
        liar.send(NodeId(1), Message { term: Term(1000), incarnation: Incarnation(5), rpc });
    }
    let node = cluster.members[0].node();
    let why = node.wait().unwrap_err();
    let two = Fatal::TwoLeaders { term: Term(1000), one: NodeId(2), other: NodeId(3) };
    assert!(matches!(why, NodeError::Halted(fatal) if fatal == two), "{why}");
    assert_stopped(node);
}

#[test]
fn what_makes_no_server_does_not_start() {
    let cluster = Cluster::new(1, |_| {});
    let member = &cluster.members[0];
    let spawn = |config: NodeConfig, disk: &raft_std_driver::storage::mem::MemDisk| {
        Node::spawn(config, disk.open().unwrap(), Machine::new(&member.seen), cluster.network.attach(NodeId(1)))
    };
    let other = Cluster::asleep(1, |_| {});
    let disk = &other.members[0].disk;
    let config = NodeConfig::new(NodeId(1));
    let same_name = spawn(config.clone(), disk).unwrap_err();
    assert!(matches!(same_name, NodeError::Transport(_)), "{same_name}");
    let no_tick = spawn(NodeConfig { tick: Duration::ZERO, ..config.clone() }, disk).unwrap_err();
    assert!(matches!(no_tick, NodeError::NoTick), "{no_tick}");
    let mut contradiction = config;
    contradiction.raft.heartbeat_ticks = 0;
    let contradiction = spawn(contradiction, disk).unwrap_err();
    assert!(matches!(contradiction, NodeError::Restore(_)), "{contradiction}");
    assert!(disk.open().is_ok(), "whoever did not start holds nothing");
}
