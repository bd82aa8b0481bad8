//! A part of the node fails, and everyone hears why.

use std::pin::pin;

use raft_std_driver::observer::NodeEvent;
use raft_tokio_driver::{Events, Node, NodeError, SnapshotError, StartError};

use super::{alone, entered, poll_once};
use crate::cluster::in_time;

/// All that can be asked says that the node has stopped, and why.
async fn assert_failed(node: &Node, mut events: Events, part: &str, says: &str) {
    let is_cause = |cause: &NodeError| matches!(cause, NodeError::Thread { thread, message } if thread == part && message.contains(says));
    let cause = in_time("the end", node.stopped()).await.unwrap_err();
    assert!(is_cause(&cause), "{cause}");
    assert!(is_cause(&in_time("the end", node.shutdown()).await.unwrap_err()), "the cause stays");
    assert!(!node.watch().borrow().running && !in_time("status", node.status()).await.running);
    assert_eq!(in_time("an answer", node.start("late")).await, Err(StartError::ShutDown));
    assert_eq!(in_time("answers", node.start_all(["late"])).await, [Err(StartError::ShutDown)]);
    assert_eq!(in_time("an answer", node.snapshot()).await, Err(SnapshotError::Stopped));
    let told = async {
        loop {
            if let NodeEvent::Stops { cause } = events.next().await.unwrap().unwrap() {
                return cause;
            }
        }
    };
    assert!(in_time("Stops", told).await.is_some_and(|cause| is_cause(&cause)));
}

#[tokio::test]
async fn a_disk_that_fails_stops_the_node() {
    let (mut cluster, node, _) = alone().await;
    let (events, disk) = (node.events(), cluster.members[0].disk.clone());
    disk.set_stalled(true);
    let mut answer = pin!(node.start("x"));
    assert!(poll_once(answer.as_mut()).is_pending());
    entered(&node, 2).await;
    disk.set_failure(Some("no space left"));
    disk.set_stalled(false);
    assert_eq!(in_time("an answer", answer).await, Err(StartError::Unknown));
    assert_failed(&node, events, "disk", "no space left").await;
    disk.set_failure(None);
    cluster.wake(0, |builder| builder).await;
    cluster.put("y").await;
    cluster.agree_on(&["y"]).await;
}

#[tokio::test]
async fn a_machine_that_panics_or_fails_stops_the_node() {
    for (command, says) in [("panic", "as asked"), ("fail", "cannot apply what follows 2@1: the database is gone")] {
        let (cluster, node, guarded) = alone().await;
        let events = node.events();
        node.start("good").await.unwrap();
        guarded.apply.set_shut(true);
        let mut first = pin!(node.start(command));
        assert!(poll_once(first.as_mut()).is_pending());
        guarded.apply.knock().await;
        let mut second = pin!(node.start("never"));
        let mut snapshot = pin!(node.snapshot());
        assert!(poll_once(second.as_mut()).is_pending() && poll_once(snapshot.as_mut()).is_pending());
        entered(&node, 4).await;
        guarded.apply.set_shut(false);
        assert_eq!(in_time("an answer", first).await, Err(StartError::Unknown));
        assert_eq!(in_time("an answer", second).await, Err(StartError::Unknown));
        assert_eq!(in_time("an answer", snapshot).await, Err(SnapshotError::Stopped));
        assert_failed(&node, events, "machine", says).await;
        drop(cluster.members[0].disk.open().unwrap());
    }
}

/// While commands stream in from everywhere, none of them is forgotten.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_calls_while_the_machine_fails_hears() {
    for _ in 0..20 {
        let (_cluster, node, _) = alone().await;
        let callers: Vec<_> = (0..16)
            .map(|caller| {
                let node = node.clone();
                tokio::spawn(async move {
                    for turn in 0.. {
                        let command = if (caller, turn) == (7, 5) { "panic" } else { "x" };
                        match node.start(command).await {
                            Ok(_) | Err(StartError::Busy { .. }) => {}
                            Err(why) => return why,
                        }
                    }
                    unreachable!("it fails");
                })
            })
            .collect();
        for caller in callers {
            let why = in_time("an answer", caller).await.unwrap();
            assert!(matches!(why, StartError::Unknown | StartError::ShutDown), "{why}");
        }
        in_time("the end", node.stopped()).await.unwrap_err();
    }
}
