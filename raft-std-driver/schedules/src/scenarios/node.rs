//! A whole node with its threads: core, disk, machine, refusals and snapshots, on a disk in memory and without peers. Its clock
//! stands still once it leads: so nothing but a wake-up brings anything on.

use std::future::poll_fn;
use std::io;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use raft_core::{Bytes, Config, ENTRY_OVERHEAD_BYTES, Membership, Message, NodeId, Payload, Refusal, RoleKind, Write};
use shuttle::rand::{Rng, thread_rng};

use super::Heard;
use crate::engine::{Connections, Setup};
use crate::machine::{Command, SnapshotWriter, StateMachine};
use crate::observer::{NodeEvent, Observer, Round};
use crate::storage::mem::{MemDisk, MemStorage};
use crate::storage::{Birth, ClusterId, Recovered, Snapshots, Storage, StorageError};
use crate::sync::spawn;
use crate::sync::thread::{self, JoinHandle};
use crate::transport::{Inbound, OutgoingSnapshot, Transport};
use crate::waiters::Waiter;
use crate::workers::{Threads, block_on};
use crate::{Control, NodeConfig, NodeError, Outcome, SnapshotError, StartError, Started};

const TICK: Duration = Duration::from_millis(10);

/// What goes wrong when it comes to the command "bad".
#[derive(Clone, Copy, Debug, PartialEq)]
enum Trouble {
    Nothing,
    MachineFails,
    MachinePanics,
    DiskFails,
    DiskPanics,
    CallPanics,
    /// These two at some moment.
    CorePanics,
    CoreIsDropped,
}

/// Not `panic!`, whose hook would print that the test fails.
fn panic_as_asked() -> ! {
    resume_unwind(Box::new("as asked"))
}

fn is_bad(command: &Bytes) -> bool {
    *command == "bad"
}

/// Answers with the command itself.
struct Echo {
    applied: Arc<Mutex<Vec<Bytes>>>,
    trouble: Trouble,
}

impl StateMachine for Echo {
    fn apply(&mut self, commands: &[Command<'_>], answers: &mut Vec<Bytes>) -> io::Result<()> {
        if commands.iter().any(|command| is_bad(command.bytes)) {
            match self.trouble {
                Trouble::MachineFails => return Err(io::Error::other("as asked")),
                Trouble::MachinePanics => panic_as_asked(),
                _ => {}
            }
        }
        let bytes = || commands.iter().map(|command| command.bytes.clone());
        self.applied.lock().unwrap().extend(bytes());
        answers.extend(bytes());
        Ok(())
    }

    fn snapshot(&mut self) -> SnapshotWriter {
        Box::new(|_| Ok(()))
    }

    fn restore(&mut self, _: &mut dyn io::Read) -> io::Result<()> {
        Ok(())
    }
}

struct Disk(MemStorage, Trouble);

impl Storage for Disk {
    fn recover(&mut self) -> Result<Recovered, StorageError> {
        self.0.recover()
    }

    fn persist(&mut self, writes: &[Write]) -> Result<(), StorageError> {
        if writes.iter().any(|write| write.entries.iter().any(|(_, payload)| is_command(payload, is_bad))) {
            match self.1 {
                Trouble::DiskFails => return Err(StorageError::Failed("as asked".into())),
                Trouble::DiskPanics => panic_as_asked(),
                _ => {}
            }
        }
        self.0.persist(writes)
    }

    fn snapshots(&self) -> Arc<dyn Snapshots> {
        self.0.snapshots()
    }
}

fn is_command(payload: &Payload, which: impl Fn(&Bytes) -> bool) -> bool {
    matches!(payload, Payload::Command(bytes) if which(bytes))
}

/// There is nobody to talk to.
struct Alone;

impl Transport for Alone {
    fn start(&self, _: Arc<dyn Inbound>) -> io::Result<()> {
        Ok(())
    }

    fn send(&self, _: NodeId, _: Message) {}

    fn send_snapshot(&self, _: NodeId, _: OutgoingSnapshot) {}

    fn shutdown(&self) {}
}

/// Sees that the node leads, and may see more than it can bear.
#[derive(Default)]
struct Witness {
    leads: AtomicBool,
    panics: AtomicBool,
}

impl Observer for Witness {
    fn happened(&self, event: &NodeEvent) {
        if let NodeEvent::Role { role: RoleKind::Leader, .. } = event {
            self.leads.store(true, Ordering::SeqCst);
        }
    }

    fn round(&self, _: &Round<'_>) {
        if self.panics.load(Ordering::SeqCst) {
            panic_as_asked();
        }
    }
}

/// What is left of a node when it has ended.
#[derive(Clone)]
struct Record {
    disk: MemDisk,
    applied: Arc<Mutex<Vec<Bytes>>>,
    heard: Heard,
}

pub(super) struct Node {
    pub(super) control: Arc<Control>,
    core: JoinHandle<()>,
    record: Record,
    witness: Arc<Witness>,
    /// Its core is polled after the next round as well.
    goes_on: Arc<AtomicBool>,
}

/// A node that leads, with its core on a thread. There is room for one command at a time in its inbox.
pub(super) fn node<O: Observer>(observer: Arc<O>) -> Node {
    node_in(Trouble::Nothing, u64::MAX, observer)
}

fn node_in<O: Observer>(trouble: Trouble, backlog_bytes_max: u64, observer: Arc<O>) -> Node {
    let id = NodeId(1);
    let disk = MemDisk::new(Birth::founder(ClusterId(1), id, Membership::new([id])).with_incarnation(1));
    let record = Record { disk, applied: Arc::default(), heard: Heard::default() };
    let ticks = Config { heartbeat_ticks: 1, election_ticks_min: 2, election_ticks_max: 3, ..Config::new(id) };
    let raft = Config { command_bytes_max: 8, backlog_bytes_max, ..ticks };
    let (witness, goes_on) = (Arc::new(Witness::default()), Arc::new(AtomicBool::new(true)));
    let setup = Setup {
        config: NodeConfig { raft, tick: TICK, inbox_bytes_max: 1, ..NodeConfig::new(id) },
        storage: Box::new(Disk(record.disk.open().unwrap(), trouble)),
        machine: Box::new(Echo { applied: Arc::clone(&record.applied), trouble }),
        connections: Connections::Transport(Arc::new(Alone)),
        workers: Arc::new(Threads),
        observer: Arc::new((Arc::clone(&witness), observer)),
    };
    let mut now = Instant::now();
    let (mut engine, control) = setup.start(now).unwrap();
    while !witness.leads.load(Ordering::SeqCst) {
        if engine.poll(&Context::from_waker(Waker::noop()), now).is_pending() {
            now += TICK;
            thread::yield_now();
        }
    }
    let going = Arc::clone(&goes_on);
    let core =
        spawn(
            "core",
            move || {
                while going.load(Ordering::SeqCst) && block_on(poll_fn(|context| engine.poll(context, now))) {}
            },
        );
    control.spawn_refusals().unwrap();
    Node { control: Arc::new(control), core, record, witness, goes_on }
}

impl Node {
    /// One that starts commands as futures do, one by one and together.
    fn starter(&self) -> JoinHandle<()> {
        let (control, heard) = (Arc::clone(&self.control), self.record.heard.clone());
        spawn("starter", move || {
            heard.hear("a", block_on(control.start("a".into())));
            let answers = block_on(control.start_all(vec!["b".into(), "too large".into(), "c".into()]));
            for (command, answer) in ["b", "too large", "c"].into_iter().zip(answers) {
                heard.hear(command, answer);
            }
        })
    }

    /// One that starts commands to be called back, and does not wait for that.
    fn caller(&self, calls: [(&'static str, Waiter); 3]) -> JoinHandle<()> {
        let control = Arc::clone(&self.control);
        spawn("caller", move || {
            for (command, waiter) in calls {
                block_on(control.call(command.into(), waiter));
            }
        })
    }

    /// One that waits in two steps.
    fn waiter(&self) -> JoinHandle<()> {
        let (control, heard) = (Arc::clone(&self.control), self.record.heard.clone());
        spawn("waiter", move || {
            let entrance = block_on(control.begin("f".into()));
            heard.hear("f", entrance.and_then(|entrance| entrance.wait(control.shared.mark)).map(Started::wait));
        })
    }

    fn plain(&self, command: &'static str) -> (&'static str, Waiter) {
        (command, self.record.heard.waiter(command))
    }

    /// Uses the node when it is called, in every way in which it may be.
    fn curious(&self, command: &'static str) -> (&'static str, Waiter) {
        let (control, heard) = (Arc::clone(&self.control), self.record.heard.clone());
        let call = move |answer| {
            heard.hear(command, answer);
            let _status = block_on(control.status());
            let entrance = block_on(control.begin("more".into()));
            let _outcome = entrance.and_then(|entrance| entrance.wait(control.shared.mark)).map(Started::wait);
            block_on(control.call("more".into(), Waiter::calling(Box::new(|_| {}))));
            let snapshot = block_on(control.snapshot());
            // It is called by who started it, if the node has stopped before.
            if control.shared.mark.is_here() {
                assert_eq!(snapshot, Err(SnapshotError::OwnThread));
                let _cause = block_on(control.ended());
            }
        };
        (command, Waiter::calling(Box::new(call)))
    }

    /// Panics when it is called.
    fn careless(&self, command: &'static str) -> (&'static str, Waiter) {
        let heard = self.record.heard.clone();
        let call = move |answer| {
            heard.hear(command, answer);
            panic_as_asked();
        };
        (command, Waiter::calling(Box::new(call)))
    }

    /// Wait until it has ended: nothing of it runs, and the storage is free.
    pub(super) fn end(self) -> Result<(), NodeError> {
        let Node { control, core, record, .. } = self;
        let ended = block_on(control.ended());
        assert!(record.disk.open().is_ok(), "the storage can be opened again");
        assert!(!block_on(control.status()).running);
        assert_eq!(block_on(control.snapshot()), Err(SnapshotError::Stopped));
        assert_eq!(block_on(control.start("late".into())), Err(StartError::Stopped));
        core.join().unwrap();
        ended
    }
}

impl Record {
    /// After all is over: each of these has heard once, and what is true.
    fn judge<const N: usize>(&self, commands: [&str; N]) {
        let (applied, entries) = (self.applied.lock().unwrap(), self.disk.recovered().entries);
        for (command, answer) in self.heard.all(commands) {
            let times = applied.iter().filter(|bytes| **bytes == *command).count();
            let is_kept = entries.iter().any(|(_, payload)| is_command(payload, |bytes| *bytes == *command));
            match answer {
                Ok(Outcome::Applied(bytes)) => assert!(bytes == *command && times == 1 && is_kept, "{command}"),
                Ok(Outcome::Unknown) => assert!(times <= 1, "{command}"),
                Ok(Outcome::Superseded) => panic!("{command} was superseded by whom?"),
                Err(why) => assert!(times == 0 && !is_kept, "{command}: {why}, and took effect"),
            }
        }
    }
}

const ALL: [&str; 8] = ["a", "b", "too large", "c", "d", "e", "too long!", "f"];

fn join(threads: impl IntoIterator<Item = JoinHandle<()>>) {
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// Nothing goes wrong: all that fits is applied, and snapshots are taken meanwhile.
pub fn everyone_is_answered() {
    let node = node(Arc::new(()));
    let record = node.record.clone();
    let calls = [node.plain("d"), node.curious("e"), node.curious("too long!")];
    let clients = [node.starter(), node.caller(calls), node.waiter()];
    assert!(block_on(node.control.snapshot()).is_ok());
    assert!(block_on(node.control.status()).running);
    join(clients);
    // Calls come without being waited for.
    while record.heard.count() < ALL.len() {
        thread::yield_now();
    }
    node.control.stop();
    assert!(node.end().is_ok());
    for (command, answer) in record.heard.all(ALL) {
        let expected = match answer {
            Ok(Outcome::Applied(bytes)) => bytes == *command,
            answer => {
                command.starts_with("too") && matches!(answer, Err(StartError::Refused(Refusal::TooLarge { .. })))
            }
        };
        assert!(expected, "{command}");
    }
}

/// It is stopped at some moment, by two at once.
pub fn a_node_that_stops_leaves_nobody_waiting() {
    let node = node(Arc::new(()));
    let record = node.record.clone();
    let calls = [node.curious("d"), node.curious("e"), node.curious("too long!")];
    let clients = [node.starter(), node.caller(calls), node.waiter()];
    let control = Arc::clone(&node.control);
    let other = spawn("other", move || {
        let _taken = block_on(control.snapshot());
        control.stop();
    });
    node.control.stop();
    assert!(node.end().is_ok());
    join(clients.into_iter().chain([other]));
    record.judge(ALL);
}

/// Its last handle is dropped while calls are under way.
pub fn the_last_handle_stops_it() {
    let node = node(Arc::new(()));
    let calls = [node.plain("d"), node.plain("e"), node.plain("too long!")];
    let client = node.caller(calls);
    let Node { control, core, record, .. } = node;
    drop(control);
    join([client, core]);
    // The other parts may end later.
    while record.heard.count() < 3 {
        thread::yield_now();
    }
    record.judge(["d", "e", "too long!"]);
}

/// One of its parts fails at some moment, by an error or by a panic, while it may be stopped as well, and refuses what is too
/// much for it.
pub fn a_node_that_fails_leaves_nobody_waiting() {
    let troubles = [
        Trouble::MachineFails,
        Trouble::MachinePanics,
        Trouble::DiskFails,
        Trouble::DiskPanics,
        Trouble::CallPanics,
        Trouble::CorePanics,
        Trouble::CoreIsDropped,
    ];
    let mut random = thread_rng();
    let (trouble, is_stopped) = (troubles[random.gen_range(0..troubles.len())], random.gen_bool(0.5));
    let node = node_in(trouble, ENTRY_OVERHEAD_BYTES * 2, Arc::new(()));
    let record = node.record.clone();
    let calls = match trouble {
        Trouble::CallPanics => [node.careless("bad"), node.careless("too long!"), node.curious("e")],
        _ => [node.curious("bad"), node.curious("too long!"), node.curious("e")],
    };
    let clients = [node.starter(), node.caller(calls), node.waiter()];
    let control = Arc::clone(&node.control);
    let snapshot = spawn("snapshot", move || {
        let _taken = block_on(control.snapshot());
    });
    node.witness.panics.store(trouble == Trouble::CorePanics, Ordering::SeqCst);
    node.goes_on.store(trouble != Trouble::CoreIsDropped, Ordering::SeqCst);
    let mut threads: Vec<_> = clients.into_iter().chain([snapshot]).collect();
    if !is_stopped {
        join(threads.drain(..));
    }
    // It may not have failed: what is bad was refused.
    node.control.stop();
    let ended = node.end();
    join(threads);
    assert!(ended.is_ok() || ended.is_err_and(|cause| cause.to_string().contains("as asked")));
    record.judge(["a", "b", "too large", "c", "bad", "too long!", "e", "f"]);
}
