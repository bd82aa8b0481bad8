//! How nodes end: asked to, dropped, or because a part of them failed, whatever they are doing then.

mod failures;
mod floods;
mod shutdowns;

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use raft_std_driver::machine::{Command, SnapshotWriter, StateMachine};
use raft_std_driver::raft_core::Bytes;
use raft_tokio_driver::{Node, RoleKind};

use crate::cluster::{Cluster, Ledger, in_time};

/// Open or shut; who comes while it is shut waits in front of it.
#[derive(Clone, Default)]
struct Door(Arc<(Mutex<Threshold>, Condvar)>);

#[derive(Default)]
struct Threshold {
    shut: bool,
    waiting: usize,
}

impl Door {
    fn set_shut(&self, shut: bool) {
        self.0.0.lock().unwrap().shut = shut;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let mut threshold = self.0.0.lock().unwrap();
        threshold.waiting += 1;
        let mut threshold = self.0.1.wait_while(threshold, |threshold| threshold.shut).unwrap();
        threshold.waiting -= 1;
    }

    /// Wait until somebody waits in front of it.
    async fn knock(&self) {
        eventually("somebody in front of the door", || self.0.0.lock().unwrap().waiting > 0).await;
    }
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let look = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    in_time(what, look).await;
}

/// A ledger with doors before its work, which fails if it is told to.
#[derive(Clone, Default)]
struct Guarded {
    ledger: Ledger,
    apply: Door,
    snapshot: Door,
    restore: Door,
}

impl StateMachine for Guarded {
    fn apply(&mut self, commands: &[Command<'_>], answers: &mut Vec<Bytes>) -> io::Result<()> {
        self.apply.pass();
        if commands.iter().any(|command| command.bytes == "fail") {
            return Err(io::Error::other("the database is gone"));
        }
        self.ledger.apply(commands, answers)
    }

    fn snapshot(&mut self) -> SnapshotWriter {
        let (door, write) = (self.snapshot.clone(), self.ledger.snapshot());
        Box::new(move |out| {
            door.pass();
            write(out)
        })
    }

    fn restore(&mut self, data: &mut dyn io::Read) -> io::Result<()> {
        self.restore.pass();
        self.ledger.restore(data)
    }
}

fn poll_once<T>(future: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// One member that leads, with a machine with doors.
async fn alone() -> (Cluster, Node, Guarded) {
    let mut cluster = Cluster::asleep(1);
    let guarded = Guarded { ledger: cluster.members[0].ledger.clone(), ..Guarded::default() };
    cluster.wake(0, |builder| builder.machine(guarded.clone())).await;
    cluster.leader().await;
    // Its own first entry is applied as well.
    let node = cluster.members[0].node().clone();
    in_time("applied", node.watch().wait_for(|now| now.role == RoleKind::Leader && now.applied.0 == 1)).await.unwrap();
    (cluster, node, guarded)
}

/// Wait until it has begun to stop.
async fn stopping(node: &Node) {
    in_time("stopping", node.watch().wait_for(|now| !now.running)).await.unwrap();
}

/// Wait until so many entries are in its log.
async fn entered(node: &Node, count: u64) {
    let entered = async { while node.status().await.last.index.0 < count {} };
    in_time("entered", entered).await;
}
