//! Everything that three real servers can come to in small worlds, each about one thing: no invariant is broken in any
//! state. A failure prints a shortest path and the command that walks it again. Larger worlds: the example `explore`.

use raft_core::sim::Invariant;
use raft_core::sim::explore::{Bounds, Report, explore, replay};

fn met(bounds: Bounds) -> Report {
    let report = explore(bounds, |_| {}).unwrap_or_else(|counterexample| panic!("{counterexample}"));
    assert!(report.complete, "{bounds}: {report:?}");
    report
}

/// The world of this name has at least so many states: one that shrinks has lost something that could happen.
fn explored(name: &str, states_min: usize) {
    let bounds = Bounds::named(name).unwrap();
    let report = met(bounds);
    assert!(report.states >= states_min, "{name} ({bounds}) has only {} states left", report.states);
}

/// Two terms, one command, with neither of the reductions.
#[test]
fn plain() {
    explored("plain", 550_000);
}

/// Three terms, three campaigns, a crash with each first part of the writes under way.
#[test]
fn elections() {
    explored("elections", 2_300_000);
}

#[test]
fn pre_votes() {
    explored("pre-votes", 1_300_000);
}

/// Servers that hear a live leader refuse to vote, or not; a leader hears no quorum.
#[test]
fn leases() {
    explored("leases", 1_250_000);
}

/// Three terms and a command: a leader's entry comes back in a later term (§5.4.2).
#[test]
fn figure_8() {
    explored("figure-8", 1_100_000);
}

/// Three terms, an entry in each.
#[test]
fn no_ops() {
    explored("no-ops", 1_900_000);
}

#[test]
fn replication() {
    explored("replication", 900_000);
}

#[test]
fn crashes() {
    explored("crashes", 1_300_000);
}

#[test]
fn duplicates() {
    explored("duplicates", 750_000);
}

/// Followers that take no more entries while their disks are busy.
#[test]
fn tight() {
    explored("tight", 1_450_000);
}

#[test]
fn heartbeats() {
    explored("heartbeats", 1_250_000);
}

/// A snapshot, sent to who lacks what it stands for, with a crash.
#[test]
fn compaction() {
    explored("compaction", 1_550_000);
}

/// Two commands in two terms and a snapshot: it meets a log that contradicts it.
#[test]
fn installation() {
    explored("installation", 5_500_000);
}

/// A read is asked for in any state, on any server: it sees all that any leader had committed before.
#[test]
fn read() {
    explored("read", 6_000_000);
}

/// Leadership is to be handed over in any state.
#[test]
fn transfer() {
    explored("transfer", 600_000);
}

/// A server loses its disk and starts again on an empty one, in any state: it is not counted, and nothing committed is lost.
#[test]
fn wipe() {
    explored("wipe", 2_600_000);
}

/// Servers begin in a joint configuration; the server that it removes may lead, and leaves.
#[test]
fn leave() {
    explored("leave", 550_000);
}

/// A learner becomes a voter.
#[test]
fn promotion() {
    explored("promotion", 600_000);
}

/// A voter is removed, by itself or by another leader.
#[test]
fn removal() {
    explored("removal", 7_500_000);
}

/// The reductions lose nothing: with them there are fewer states, never less than a sixth for mirrors alone, and the same
/// most distant one.
#[test]
fn mirrors_are_at_most_six() {
    let small = Bounds { commands: 0, crashes: 1, duplicates: 1, tidy: false, ..Bounds::LATE };
    let all = met(Bounds { symmetry: false, ..small });
    let one_of_each = met(Bounds { symmetry: true, ..small });
    assert!(one_of_each.states < all.states / 5 && one_of_each.states >= all.states.div_ceil(6));
    assert_eq!(one_of_each.depth, all.depth);
}

/// An explorer that finds nothing may be blind. Disks that keep nothing of what they say they keep break Raft, and judged
/// by votes alone the shortest way to see it has four events.
#[test]
fn lying_disks_are_found_out() {
    let bounds = Bounds { crashes: 1, lying_disks: true, figure_3: true, ..Bounds::CALM };
    let found = explore(bounds, |_| {}).unwrap_err();
    assert_eq!((found.violation.invariant, found.words.len()), (Invariant::SingleVote, 4), "{found}");
    let mut lines = vec![];
    let again = replay(bounds, &found.words.join(","), |line| lines.push(line.to_owned())).unwrap_err();
    assert_eq!((again.violation, lines.len()), (found.violation.clone(), 4));
    assert!(found.to_string().ends_with(&format!("--replay {}", found.words.join(","))), "{found}");
    let early = explore(Bounds { figure_3: false, ..bounds }, |_| {}).unwrap_err();
    assert!(early.words.len() < 4, "{early}");
}

/// What the command line says of a world makes that world.
#[test]
fn bounds_are_read_as_they_are_printed() {
    for (name, bounds) in Bounds::WORLDS {
        let mut read = Bounds::CALM;
        let words = bounds.to_string();
        let words: Vec<&str> = words.split_whitespace().collect();
        for pair in words.chunks(2) {
            read.set(pair[0].strip_prefix("--").unwrap(), pair[1].parse().unwrap()).unwrap();
        }
        assert_eq!(read, bounds, "{name}");
    }
    let mut bounds = Bounds::CALM;
    assert!(bounds.set("leases", 2).is_err() && bounds.set("luck", 1).is_err() && bounds.set("terms", 256).is_err());
    assert_eq!(bounds, Bounds::CALM);
}
