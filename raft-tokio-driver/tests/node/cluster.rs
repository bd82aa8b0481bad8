//! A few nodes on a network in memory, whose disks outlive them.

use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use raft_std_driver::machine::{Command, SnapshotWriter, StateMachine};
use raft_std_driver::raft_core::{Bytes, Membership, NodeId};
use raft_std_driver::storage::mem::MemDisk;
use raft_std_driver::storage::{Birth, ClusterId};
use raft_tokio_driver::transport::LocalNetwork;
use raft_tokio_driver::{Builder, Node, RoleKind};

/// Only ever waited out by a test that fails.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(done) => done,
        Err(_) => panic!("{what}: not within {PATIENCE:?}"),
    }
}

/// Appends what it is told; the answer is how many there are.
#[derive(Clone, Default)]
pub(crate) struct Ledger {
    pub(crate) lines: Arc<Mutex<Vec<Bytes>>>,
    /// Waits for it before it applies anything.
    pub(crate) gate: Arc<Mutex<()>>,
}

impl Ledger {
    pub(crate) fn lines(&self) -> MutexGuard<'_, Vec<Bytes>> {
        self.lines.lock().unwrap()
    }
}

impl StateMachine for Ledger {
    fn apply(&mut self, commands: &[Command<'_>], answers: &mut Vec<Bytes>) -> io::Result<()> {
        let _gate = self.gate.lock().unwrap();
        for command in commands {
            assert_ne!(command.bytes, "panic", "as asked");
            self.lines().push(command.bytes.clone());
            answers.push(self.lines().len().to_string().into());
        }
        Ok(())
    }

    fn snapshot(&mut self) -> SnapshotWriter {
        let lines = self.lines().clone();
        Box::new(move |out| {
            lines.iter().try_for_each(|line| {
                out.write_all(line)?;
                out.write_all(b"\n")
            })
        })
    }

    fn restore(&mut self, data: &mut dyn io::Read) -> io::Result<()> {
        let mut text = Vec::new();
        data.read_to_end(&mut text)?;
        let lines =
            text.split_inclusive(|byte| *byte == b'\n').map(|line| Bytes::copy_from_slice(&line[..line.len() - 1]));
        *self.lines() = lines.collect();
        Ok(())
    }
}

pub(crate) struct Member {
    pub(crate) id: u64,
    pub(crate) disk: MemDisk,
    pub(crate) ledger: Ledger,
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
}

impl Cluster {
    /// So many members, none of them started.
    pub(crate) fn asleep(count: u64) -> Cluster {
        let membership = Membership::new((1..=count).map(NodeId));
        let member = |id| {
            let disk =
                MemDisk::new(Birth::founder(ClusterId(1), NodeId(id), membership.clone()).with_incarnation(100 + id));
            Member { id, disk, ledger: Ledger::default(), node: None }
        };
        Cluster { network: LocalNetwork::new(), members: (1..=count).map(member).collect() }
    }

    pub(crate) async fn new(count: u64) -> Cluster {
        let mut cluster = Cluster::asleep(count);
        for member in 0..cluster.members.len() {
            cluster.wake(member, |builder| builder).await;
        }
        cluster
    }

    pub(crate) async fn wake(&mut self, member: usize, tune: impl FnOnce(Builder) -> Builder) {
        let transport = self.network.attach(NodeId(self.members[member].id));
        self.wake_over_tcp(member, |builder| tune(builder.transport(transport))).await;
    }

    /// The same, with connections of its own.
    pub(crate) async fn wake_over_tcp(&mut self, member: usize, tune: impl FnOnce(Builder) -> Builder) {
        let Member { id, disk, ledger, node } = &mut self.members[member];
        ledger.lines().clear();
        let builder = Node::builder()
            .id(*id)
            .cluster(1)
            .storage(disk.open().unwrap())
            .machine(ledger.clone())
            // Tests name indexes.
            .tune(|config| config.raft.record_disks = false);
        *node = Some(tune(builder).start().await.unwrap());
    }

    /// Wait until one of the running members leads.
    pub(crate) async fn leader(&self) -> &Member {
        let search = async {
            loop {
                for member in &self.members {
                    let Some(node) = &member.node else { continue };
                    if node.watch().borrow().role == RoleKind::Leader {
                        return member;
                    }
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        in_time("a leader", search).await
    }

    /// Start it until a leader has it applied.
    pub(crate) async fn put(&self, text: &'static str) {
        let tries = async {
            while let Err(why) = self.leader().await.node().start(text).await {
                assert!(!why.may_have_happened(), "{why}");
            }
        };
        in_time(text, tries).await;
    }

    /// Wait until all running members have applied exactly these.
    pub(crate) async fn agree_on(&self, lines: &[&'static str]) {
        for member in self.members.iter().filter(|member| member.node.is_some()) {
            let same = async {
                while *member.ledger.lines() != lines {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            in_time("agreement", same).await;
        }
    }
}
