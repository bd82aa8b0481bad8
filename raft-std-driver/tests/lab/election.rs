//! Part 3A: leader election.

use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Cluster, ELECTION_TIMEOUT};

/// A leader stands, all agree on its term, and nothing changes while nothing fails.
#[test]
fn initial_election() {
    let cluster = Cluster::new("initial election (3A)", 3);
    let leader = cluster.check_one_leader();
    let term = cluster.check_terms();
    assert!(term.0 >= 1);
    let watched = Instant::now();
    while watched.elapsed() < 2 * ELECTION_TIMEOUT {
        assert_eq!(cluster.check_terms(), term, "nothing failed, yet the term changed");
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(cluster.check_one_leader(), leader);
    cluster.passed();
}
