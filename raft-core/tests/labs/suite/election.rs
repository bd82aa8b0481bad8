//! Part 3A: leader election.

use super::cluster::{Cluster, ELECTION_TIMEOUT};
use super::world::World;

/// A leader stands, all agree on its term, and nothing changes while nothing fails.
pub(crate) fn initial_election<W: World>() {
    let cluster = Cluster::<W>::new("initial election (3A)", 3);
    let leader = cluster.check_one_leader();
    let term = cluster.check_terms();
    assert!(term.0 >= 1);
    cluster.throughout(2 * ELECTION_TIMEOUT, || {
        assert_eq!(cluster.check_terms(), term, "nothing failed, yet the term changed");
    });
    assert_eq!(cluster.check_one_leader(), leader);
    cluster.passed();
}

/// A majority has a leader, whoever is away; a minority has none; who comes back joins.
pub(crate) fn election_after_network_failure<W: World>() {
    let cluster = Cluster::<W>::new("election after network failure (3A)", 3);
    let first = cluster.check_one_leader();
    cluster.disconnect([first]);
    let second = cluster.check_one_leader();
    assert_ne!(first, second);

    // The old leader follows.
    cluster.connect([first]);
    let second = cluster.check_only_leader();

    let third = cluster.after(second, 1);
    cluster.disconnect([second, third]);
    cluster.check_no_leader();

    cluster.connect([third]);
    cluster.check_one_leader();
    cluster.connect([second]);
    cluster.check_only_leader();
    cluster.passed();
}

/// Whichever three of seven are away, the other four have a leader.
pub(crate) fn many_elections<W: World>() {
    let cluster = Cluster::<W>::new("many elections (3A)", 7);
    cluster.check_one_leader();
    for _ in 0..9 {
        let mut away = Vec::new();
        while away.len() < 3 {
            let server = cluster.any();
            if !away.contains(&server) {
                away.push(server);
            }
        }
        cluster.disconnect(away.iter().copied());
        cluster.check_one_leader();
        cluster.connect(away);
    }
    cluster.check_only_leader();
    cluster.passed();
}
