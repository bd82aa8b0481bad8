//! Handing leadership over.

use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::thread;

use raft_std_driver::TransferError;
use raft_std_driver::raft_core::{NodeId, Refusal, Rpc};

use super::cluster::{Cluster, eventually, numbered};

#[test]
fn leadership_goes_to_whom_it_is_handed() {
    let cluster = Cluster::new(3, |_| {});
    cluster.put_all(&numbered(1, 3), |_| true);
    // A slow machine may lose an election timeout now and then: what must hold is what is said to be done.
    let (old, new) = eventually("a transfer is done", || {
        let leader = cluster.leader();
        let to = NodeId(leader.id.0 % 3 + 1);
        match leader.node().transfer(Some(to)) {
            Ok(new) => Some((leader, new)),
            Err(TransferError::Refused(_)) => None,
            Err(why) => panic!("{why}"),
        }
    });
    assert_ne!(old.id, new);
    assert_eq!(cluster.put("c4"), "4:c4");
    cluster.agree_on(&numbered(1, 4));
}

#[test]
fn a_transfer_that_cannot_be_is_refused() {
    let mut cluster = Cluster::new(3, |_| {});
    let leader = cluster.leader().id;
    let follower = cluster.members.iter().position(|member| member.id != leader).unwrap();
    let refused = |to: u64| {
        let answers = cluster.members.iter().map(|member| member.node().transfer(Some(NodeId(to))));
        answers.collect::<Vec<_>>()
    };
    for answer in refused(9) {
        let why = answer.unwrap_err();
        assert!(
            matches!(why, TransferError::Refused(Refusal::NoTarget { .. } | Refusal::NotLeader { .. })),
            "nobody hands over to a stranger: {why}"
        );
    }
    let node = cluster.members[follower].node().clone();
    cluster.sleep(follower);
    assert_eq!(node.transfer(None), Err(TransferError::Stopped));
}

/// Whoever waits for a transfer when the node stops hears so.
#[test]
fn a_node_that_stops_leaves_nobody_waiting_for_a_transfer() {
    let cluster = Cluster::new(3, |_| {});
    cluster.put("c1");
    // The target is asked, and never hears of it.
    let (asks, asked) = channel();
    let asks = Mutex::new(asks);
    cluster.network.set_filter(Some(Box::new(move |_, _, message| {
        let is_asking = matches!(message.rpc, Rpc::TimeoutNow { .. });
        if is_asking {
            let _over = asks.lock().unwrap().send(());
        }
        !is_asking
    })));
    let answer = eventually("a transfer is under way", || {
        let leader = cluster.leader().node();
        let waiting = thread::spawn({
            let leader = leader.clone();
            move || leader.transfer(None)
        });
        // Leadership may have gone elsewhere a moment ago.
        let under_way = loop {
            if asked.try_recv().is_ok() {
                break true;
            }
            if waiting.is_finished() {
                break false;
            }
            thread::yield_now();
        };
        under_way.then(|| {
            leader.shutdown().unwrap();
            waiting.join().unwrap()
        })
    });
    // The second comes from a machine so slow that the transfer was given up meanwhile.
    let stopped = [Err(TransferError::Stopped), Err(Refusal::TransferTimedOut.into())];
    assert!(stopped.contains(&answer), "{answer:?}");
}
