//! An oracle that finds nothing proves nothing, unless it is seen to find what it is for.

use raft_std_driver::raft_core::{Bytes, Entries, Entry, EntryId, Index, Payload, SnapshotMeta, SnapshotWrite, Term};

use super::Oracles;
use super::outcomes::Known;

const HOSTS: usize = 3;

/// Two commands, acknowledged at indexes 2 and 4 and applied by all but s3.
fn two_acknowledged() -> Oracles {
    let mut oracles = Oracles::new(HOSTS);
    for (command, index) in [(0, 2), (1, 4)] {
        assert_eq!(oracles.start(), command);
        (0..2).for_each(|host| oracles.applied(host, index, command).unwrap());
        oracles.heard(command, Known::Applied(index)).unwrap();
    }
    oracles
}

#[track_caller]
fn assert_found(verdict: Result<(), String>, says: &str) {
    let said = verdict.expect_err(says);
    assert!(said.starts_with(says), "{said}");
}

#[test]
fn what_was_started_later_stands_behind_what_was_acknowledged() {
    let mut oracles = two_acknowledged();
    let (third, fourth) = (oracles.start(), oracles.start());
    oracles.applied(0, 5, third).unwrap();
    assert_found(oracles.applied(1, 4, fourth), "order: s2 has command 3 at 4, and it was started when 4 was");
    // One that began before the acknowledgement may stand before.
    let mut order = super::order::Order::default();
    order.starts();
    order.acknowledged(7);
    order.applied(0, 6, 0).unwrap();
}

#[test]
fn at_the_end_every_machine_holds_what_was_acknowledged() {
    let oracles = two_acknowledged();
    let whole = vec![(2, 0), (4, 1)];
    oracles.finish(&vec![whole.clone(); HOSTS]).unwrap();
    let end = |third: &[(u64, u64)]| oracles.finish(&[whole.clone(), whole.clone(), third.to_vec()]);
    assert_found(end(&[(2, 0)]), "outcomes: acknowledged command 1 at 4 is lost: there s3 has None");
    assert_found(end(&[(2, 1), (4, 0)]), "outcomes: acknowledged command 0 at 2 is lost: there s3 has Some(1)");
    assert_found(end(&[(2, 0), (4, 1), (5, 0)]), "history: at the end s3 is not the same");
    assert_found(end(&[(4, 1), (2, 0)]), "history: at the end s3 is not the same");
}

#[test]
fn at_the_end_no_machine_holds_what_was_refused() {
    let mut oracles = two_acknowledged();
    let third = oracles.start();
    assert_found(oracles.finish(&[]), "outcomes: command 2 has none");
    oracles.heard(third, Known::Superseded).unwrap();
    let whole = vec![(2, 0), (4, 1)];
    let with_it = [&whole[..], &[(5, third)]].concat();
    assert_found(oracles.finish(&[whole, with_it]), "outcomes: command 2 is Superseded, and s2 has it");
}

/// Entries from here on, each a term and a command.
fn entries(first: u64, what: &[(u64, &'static str)]) -> Entries {
    let entry = |(term, text): &(u64, &'static str)| Entry {
        term: Term(*term),
        payload: Payload::Command(Bytes::from_static(text.as_bytes())),
    };
    Entries::from_vec(Index(first), what.iter().map(entry).collect()).unwrap()
}

#[test]
fn an_index_and_a_term_are_one_entry_behind_one_other() {
    let mut oracles = Oracles::new(HOSTS);
    let logs = &mut oracles.logs;
    logs.writes(0, None, &entries(1, &[(1, "a"), (1, "b"), (2, "c")])).unwrap();
    logs.writes(1, None, &entries(1, &[(1, "a")])).unwrap();
    assert_found(logs.writes(1, None, &entries(3, &[(2, "c")])), "logs: s2 leaves a gap before 3@2");
    logs.writes(1, None, &entries(2, &[(1, "b"), (1, "other")])).unwrap();
    // Replaced, it is the same again.
    logs.writes(1, None, &entries(3, &[(2, "c")])).unwrap();
    assert_found(logs.writes(1, None, &entries(2, &[(1, "x")])), "logs: 2@1 has");
    logs.writes(2, None, &entries(1, &[(1, "a"), (2, "y")])).unwrap();
    assert_found(logs.writes(2, None, &entries(3, &[(2, "c")])), "logs: 3@2 has");
}

#[test]
fn behind_a_snapshot_and_after_a_start_logs_are_held_against_each_other_too() {
    let mut oracles = Oracles::new(HOSTS);
    let logs = &mut oracles.logs;
    let last = EntryId::new(1, 2);
    let snapshot = SnapshotWrite::Installed { snapshot: SnapshotMeta { last, ..SnapshotMeta::default() } };
    logs.writes(0, None, &entries(1, &[(1, "a"), (1, "b"), (1, "c")])).unwrap();
    logs.writes(1, Some(&snapshot), &entries(3, &[(1, "c")])).unwrap();
    logs.finds(1, last, &entries(3, &[(1, "c")])).unwrap();
    assert_found(logs.finds(1, EntryId::new(0, 2), &entries(3, &[(1, "c")])), "logs: 3@1 has");
    assert_found(logs.finds(2, EntryId::default(), &entries(1, &[(1, "a"), (1, "z")])), "logs: 2@1 has");
    assert_found(logs.writes(1, Some(&snapshot), &entries(4, &[(1, "d")])), "logs: s2 leaves a gap before 4@1");
}
