//! Reads that are not stale, on any server.

use std::thread;

use raft_std_driver::raft_core::{Index, Refusal};
use raft_std_driver::{Node, NodeConfig, ReadError};

use crate::cluster::{Cluster, eventually, numbered};

/// Read until it is not refused: there may be no leader yet, or one that has just been elected.
fn read(node: &Node) -> Index {
    eventually("a read is answered", || match node.read() {
        Ok(at) => Some(at),
        Err(ReadError::Refused(Refusal::NotReady | Refusal::NoLeader | Refusal::NotLeader { .. })) => None,
        Err(other) => panic!("{other}"),
    })
}

#[test]
fn a_read_sees_what_was_acknowledged_before_on_every_server() {
    let cluster = Cluster::new(3, |_| {});
    let mut commands = vec![];
    for command in numbered(1, 20) {
        cluster.put(&command);
        commands.push(command);
        for member in &cluster.members {
            let at = read(member.node());
            let (applied, seen) = (member.node().status().applied, member.seen.commands());
            assert!(applied >= at && seen == commands, "server {}: {seen:?} after {commands:?}", member.id);
        }
    }
}

#[test]
fn many_that_read_at_one_moment_are_all_answered() {
    let cluster = Cluster::new(3, |_| {});
    cluster.put("x");
    for member in &cluster.members {
        thread::scope(|scope| {
            let readers: Vec<_> = (0..50).map(|_| scope.spawn(|| read(member.node()))).collect();
            assert!(readers.into_iter().all(|reader| reader.join().unwrap() >= Index(1)));
        });
        assert_eq!(member.seen.commands(), ["x"]);
    }
}

/// Whoever is cut off hears that no leader answers, whichever side it is on.
#[test]
fn a_read_without_a_leader_is_refused() {
    let cluster = Cluster::new(3, |_| {});
    cluster.put("x");
    let leader = cluster.leader();
    cluster.network.isolate(leader.id);
    let refusal = eventually("the leader that is cut off hears of it", || leader.node().read().err());
    assert!(matches!(refusal, ReadError::Refused(Refusal::NotLeader { .. } | Refusal::NoLeader)), "{refusal}");
    assert_eq!(leader.node().read(), Err(Refusal::NoLeader.into()));
}

/// A server that knows no leader keeps a read until one is found, and not beyond its own end.
#[test]
fn a_node_that_stops_leaves_no_reader_waiting() {
    let patient = |config: &mut NodeConfig| config.raft.election_ticks_max = 1 << 30;
    let mut cluster = Cluster::asleep(3, patient);
    cluster.wake(0);
    let node = cluster.members[0].node().clone();
    let (tell, told) = std::sync::mpsc::channel();
    let reader = thread::spawn(move || {
        tell.send(()).unwrap();
        node.read()
    });
    told.recv().unwrap();
    cluster.sleep(0);
    assert_eq!(reader.join().unwrap(), Err(ReadError::Stopped));
}
