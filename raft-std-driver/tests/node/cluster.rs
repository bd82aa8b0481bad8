//! A cluster in one process: disks in memory, a network in memory, and a machine that remembers what it was given.

use std::io::{self, BufRead, BufReader};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use raft_std_driver::machine::{Command, SnapshotWriter, StateMachine};
use raft_std_driver::raft_core::{Bytes, Config, Membership, NodeId, Refusal, RoleKind};
use raft_std_driver::storage::mem::MemDisk;
use raft_std_driver::storage::{Birth, ClusterId};
use raft_std_driver::transport::local::LocalNetwork;
use raft_std_driver::{Node, NodeConfig, Outcome, StartError, Started};

const PATIENCE: Duration = Duration::from_secs(60);

/// `c{from}` to `c{to}`.
pub(crate) fn numbered(from: u64, to: u64) -> Vec<String> {
    (from..=to).map(|i| format!("c{i}")).collect()
}

/// Ask until there is an answer.
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What a machine has applied, for the test to see; the commands survive in snapshots.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<Ledger>>);

#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) commands: Vec<String>,
    pub(crate) restores: usize,
}

impl Seen {
    pub(crate) fn get(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap()
    }

    pub(crate) fn commands(&self) -> Vec<String> {
        self.get().commands.clone()
    }
}

pub(crate) type Apply = Box<dyn FnMut(&Command<'_>) + Send>;
pub(crate) type Freeze = Box<dyn FnMut(Vec<String>) -> SnapshotWriter + Send>;

/// Answers each command by its place among all commands and itself: `3:x`.
pub(crate) struct Machine {
    pub(crate) seen: Seen,
    pub(crate) on_apply: Apply,
    pub(crate) on_snapshot: Freeze,
}

impl Machine {
    pub(crate) fn new(seen: &Seen) -> Machine {
        Machine { seen: seen.clone(), on_apply: Box::new(|_| {}), on_snapshot: Box::new(write_lines) }
    }
}

pub(crate) fn write_lines(lines: Vec<String>) -> SnapshotWriter {
    Box::new(move |out| lines.iter().try_for_each(|line| writeln!(out, "{line}")))
}

impl StateMachine for Machine {
    fn apply(&mut self, commands: &[Command<'_>], answers: &mut Vec<Bytes>) -> io::Result<()> {
        for command in commands {
            (self.on_apply)(command);
            let text = String::from_utf8(command.bytes.to_vec()).unwrap();
            let mut ledger = self.seen.get();
            ledger.commands.push(text.clone());
            answers.push(format!("{}:{text}", ledger.commands.len()).into());
        }
        Ok(())
    }

    fn snapshot(&mut self) -> SnapshotWriter {
        (self.on_snapshot)(self.seen.commands())
    }

    fn restore(&mut self, data: &mut dyn io::Read) -> io::Result<()> {
        let lines: io::Result<Vec<String>> = BufReader::new(data).lines().collect();
        let mut ledger = self.seen.get();
        ledger.commands = lines?;
        ledger.restores += 1;
        Ok(())
    }
}

pub(crate) struct Member {
    pub(crate) id: NodeId,
    pub(crate) disk: MemDisk,
    pub(crate) seen: Seen,
    pub(crate) node: Option<Node>,
}

impl Member {
    pub(crate) fn node(&self) -> &Node {
        self.node.as_ref().unwrap()
    }
}

pub(crate) struct Cluster {
    pub(crate) network: LocalNetwork,
    pub(crate) members: Vec<Member>,
    tune: fn(&mut NodeConfig),
}

impl Cluster {
    /// Members 1 to `size`, running.
    pub(crate) fn new(size: u64, tune: fn(&mut NodeConfig)) -> Cluster {
        let mut cluster = Cluster::asleep(size, tune);
        (0..cluster.members.len()).for_each(|i| cluster.wake(i));
        cluster
    }

    pub(crate) fn asleep(size: u64, tune: fn(&mut NodeConfig)) -> Cluster {
        let membership = Membership::new((1..=size).map(NodeId));
        let members = (1..=size).map(|id| {
            let birth = Birth::founder(ClusterId(1), NodeId(id), membership.clone()).with_incarnation(id * 11);
            Member { id: NodeId(id), disk: MemDisk::new(birth), seen: Seen::default(), node: None }
        });
        Cluster { network: LocalNetwork::new(), members: members.collect(), tune }
    }

    /// Add a server that belongs to no cluster yet, running, and return its place in the list.
    pub(crate) fn newcomer(&mut self, id: NodeId) -> usize {
        let disk = MemDisk::new(Birth::joining(ClusterId(1), id).with_incarnation(id.0 * 11));
        self.members.push(Member { id, disk, seen: Seen::default(), node: None });
        let at = self.members.len() - 1;
        self.wake(at);
        at
    }

    /// Start the member on what its disk kept.
    pub(crate) fn wake(&mut self, i: usize) {
        self.members[i].seen = Seen::default();
        let machine = Machine::new(&self.members[i].seen);
        self.wake_with(i, machine);
    }

    pub(crate) fn wake_with(&mut self, i: usize, machine: Machine) {
        let member = &mut self.members[i];
        let mut config = NodeConfig::new(member.id);
        // Tests name indexes.
        config.raft = Config { seed: 7, trailing_entries: 0, record_disks: false, ..config.raft };
        (self.tune)(&mut config);
        let storage = member.disk.open().unwrap();
        member.node = Some(Node::spawn(config, storage, machine, self.network.attach(member.id)).unwrap());
    }

    /// Stop the member as cleanly as a node ever stops.
    pub(crate) fn sleep(&mut self, i: usize) {
        self.members[i].node.take().unwrap().shutdown().unwrap();
    }

    /// Who leads among those that run and that `among` lets through.
    pub(crate) fn leader_among(&self, among: impl Fn(NodeId) -> bool) -> &Member {
        eventually("one leads", || {
            self.members
                .iter()
                .filter(|member| among(member.id))
                .find(|member| member.node.as_ref().is_some_and(|node| node.status().role == RoleKind::Leader))
        })
    }

    pub(crate) fn leader(&self) -> &Member {
        self.leader_among(|_| true)
    }

    /// Have a command applied by whoever leads among these; returns the answer.
    pub(crate) fn put_among(&self, command: &str, among: impl Fn(NodeId) -> bool + Copy) -> String {
        eventually("a command is applied", || {
            match self.leader_among(among).node().start(command.to_owned().into()).map(Started::wait) {
                Ok(Outcome::Applied(answer)) => Some(String::from_utf8(answer.to_vec()).unwrap()),
                Ok(Outcome::Superseded) | Err(StartError::Refused(Refusal::NotLeader { .. })) => None,
                other => panic!("{command}: {other:?}"),
            }
        })
    }

    pub(crate) fn put(&self, command: &str) -> String {
        self.put_among(command, |_| true)
    }

    /// Have all of these applied, one after the other.
    pub(crate) fn put_all(&self, commands: &[String], among: impl Fn(NodeId) -> bool + Copy) {
        for command in commands {
            let answer = self.put_among(command, among);
            assert!(answer.ends_with(&format!(":{command}")), "{command} was answered {answer}");
        }
    }

    /// Until all that run have applied exactly these.
    pub(crate) fn agree_on(&self, commands: &[String]) {
        for member in self.members.iter().filter(|member| member.node.is_some()) {
            eventually(&format!("server {} agrees", member.id), || (member.seen.commands() == commands).then_some(()));
        }
    }
}
