//! A machine that holds a handle on its own node, and would wait for itself.

use std::io;
use std::sync::{Arc, Mutex, OnceLock};

use raft_std_driver::machine::{Command, SnapshotWriter, StateMachine};
use raft_std_driver::raft_core::Bytes;
use raft_std_driver::workers::block_on;
use raft_tokio_driver::{Node, NodeError, NodeStatus, SnapshotError, StartError};

use crate::cluster::{Cluster, in_time};

/// What a node said to its machine.
#[derive(Debug)]
struct Heard {
    start: Result<Bytes, StartError>,
    start_all: Vec<Result<Bytes, StartError>>,
    snapshot: [Result<(), SnapshotError>; 2],
    status: NodeStatus,
    shutdown: Result<(), NodeError>,
    stopped: Result<(), NodeError>,
}

#[derive(Clone, Default)]
struct Curious {
    node: Arc<OnceLock<Node>>,
    heard: Arc<Mutex<Option<Heard>>>,
}

impl StateMachine for Curious {
    fn apply(&mut self, commands: &[Command<'_>], answers: &mut Vec<Bytes>) -> io::Result<()> {
        for _ in commands {
            let node = self.node.get().unwrap();
            let snapshot = || block_on(node.snapshot()).map(drop);
            *self.heard.lock().unwrap() = Some(Heard {
                start: block_on(node.start("x")),
                start_all: block_on(node.start_all(["x", "y"])),
                snapshot: [snapshot(), snapshot()],
                status: block_on(node.status()),
                shutdown: block_on(node.shutdown()),
                stopped: block_on(node.stopped()),
            });
            answers.push("heard".into());
        }
        Ok(())
    }

    fn snapshot(&mut self) -> SnapshotWriter {
        Box::new(|_| Ok(()))
    }

    fn restore(&mut self, _: &mut dyn io::Read) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_machine_never_waits_for_itself() {
    let (mut cluster, curious) = (Cluster::asleep(1), Curious::default());
    cluster.wake(0, |builder| builder.machine(curious.clone())).await;
    cluster.leader().await;
    let node = cluster.members[0].node().clone();
    assert!(curious.node.set(node.clone()).is_ok());
    let answer = in_time("an answer", node.start("ask")).await;
    // It has stopped its node; whether this answer came through is another matter.
    assert!(answer == Ok("heard".into()) || answer == Err(StartError::Unknown), "{answer:?}");
    in_time("an end", node.stopped()).await.unwrap();
    let heard = curious.heard.lock().unwrap().take().unwrap();
    assert_eq!((heard.start, heard.start_all), (Err(StartError::OwnThread), vec![Err(StartError::OwnThread); 2]));
    assert_eq!(heard.snapshot, [Err(SnapshotError::OwnThread), Err(SnapshotError::OwnThread)]);
    assert!(heard.status.running && heard.shutdown.is_ok() && heard.stopped.is_ok(), "{:?}", heard.status);
}
