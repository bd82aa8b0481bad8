//! Part 3B: the log.

use std::thread;

use raft_core::Term;

use crate::harness::{Cluster, ELECTION_TIMEOUT};

/// Commands land at 1, 2, 3 on all servers, and not before somebody starts them.
#[test]
fn basic_agreement() {
    let cluster = Cluster::new("basic agreement (3B)", 3);
    for expected in 1..=3 {
        assert_eq!(cluster.n_committed(expected).0, 0, "committed before it was started");
        let command = cluster.fresh();
        assert_eq!(cluster.one(command, 3, false), expected);
    }
    cluster.passed();
}

/// An election, a burst of commands and idleness each have a price in RPCs.
#[test]
fn rpc_counts_are_not_too_high() {
    let cluster = Cluster::new("RPC counts aren't too high (3B)", 3);
    cluster.check_one_leader();
    let election = cluster.rpcs();
    assert!((1..=30).contains(&election), "{election} RPCs to elect the first leader");

    // When the leader changes under way, the count says nothing: once more.
    let burst = (0..5).find_map(|_| ten_commands(&cluster)).expect("a leader that stays for ten commands");
    assert!(burst <= 42, "{burst} RPCs for ten commands");

    let before = cluster.rpcs();
    thread::sleep(ELECTION_TIMEOUT);
    let idle = cluster.rpcs() - before;
    assert!(idle <= 60, "{idle} RPCs in an idle second");
    cluster.passed();
}

/// How many RPCs a leader needs to commit ten commands that it gets at once, all on all servers; `None` if its term ends.
fn ten_commands(cluster: &Cluster) -> Option<u64> {
    let leader = cluster.check_one_leader();
    let before = cluster.rpcs();
    let commands: Vec<_> = (0..10).map(|_| cluster.fresh()).collect();
    let mut term = Term(0);
    let mut first = 0;
    for (i, command) in commands.iter().enumerate() {
        let at = cluster.raft(leader)?.start(command.clone()).ok()?;
        if i == 0 {
            (term, first) = (at.term, at.index.0);
        } else if at.term != term {
            return None;
        }
        assert_eq!(at.index.0, first + i as u64, "indexes are consecutive");
    }
    for (index, command) in (first..).zip(&commands) {
        assert_eq!(cluster.wait(index, cluster.servers(), Some(term))?, command.as_bytes());
    }
    let rpcs = cluster.rpcs() - before;
    (cluster.check_terms() == term).then_some(rpcs)
}
