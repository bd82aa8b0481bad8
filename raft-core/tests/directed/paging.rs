//! A log larger than memory: what leaves it, how it comes back, and what becomes of answers that come too late.

use crate::kit::*;
use raft_core::{
    Action, Bytes, Config, ENTRY_OVERHEAD_BYTES, Entries, Entry, EntryId, Event, FetchId, FlowKind, Index, LogHead,
    NodeId, Payload, Raft, Refusal, RequestId, RestoreError, Restored, Rpc, Term,
};

const NOTHING: EntryId = EntryId::ZERO;
const ONE: u64 = ENTRY_OVERHEAD_BYTES + 1;

/// What was asked for: the id, the first and the last index, and how many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fetch(FetchId, u64, u64, u64);

fn fetches(actions: &[Action]) -> Vec<Fetch> {
    let fetch = |action: &Action| match action {
        Action::Fetch { id, from, to, bytes_max } => Some(Fetch(*id, from.0, to.0, *bytes_max)),
        _ => None,
    };
    actions.iter().filter_map(fetch).collect()
}

fn fetch(number: u64, from: u64, to: u64, bytes_max: u64) -> Vec<Fetch> {
    vec![Fetch(FetchId::from_number(number), from, to, bytes_max)]
}

/// What the server's disk has there.
fn on_disk(server: &Server, from: u64, to: u64) -> Entries {
    let list = server.kept.entries.range(Index(from)..=Index(to)).map(|(_, entry)| entry.clone()).collect();
    Entries::from_vec(Index(from), list).unwrap()
}

fn answer(server: &mut Server, number: u64, entries: Entries) -> Vec<Action> {
    server.step(Event::Fetched { id: FetchId::from_number(number), entries })
}

/// The disk answers with what it has.
fn read_back(server: &mut Server, number: u64, from: u64, to: u64) -> Vec<Action> {
    let entries = on_disk(server, from, to);
    answer(server, number, entries)
}

fn counters(server: &Server) -> (u64, u64) {
    let counters = server.status().counters();
    (counters.unfounded, counters.late)
}

/// A command that becomes the entry at `index` of a leader whose follower 2 is quick.
fn commit(server: &mut Server, index: u64, command: &str) -> Vec<Action> {
    let mut actions = server.start(&[command]);
    actions.extend(server.receive(2, 1, matched(index)));
    assert_eq!(server.status().commit(), Index(index));
    actions
}

/// A leader of three with next to nothing in memory. Server 3 has none of its six entries and has just said so; what came
/// of that.
fn behind(change: impl Fn(&mut Config)) -> (Server, Vec<Action>) {
    let mut server = leader(|config| {
        config.resident_bytes_max = 1;
        change(config);
    });
    server.step(Event::Unreachable { peer: NodeId(3) });
    for (index, command) in (1..).zip(["a", "b", "c", "d", "e", "f"]) {
        commit(&mut server, index, command);
        assert_eq!((server.status().resident_first(), server.status().resident_bytes()), (Index(index + 1), 0));
    }
    assert_eq!(appends_to(&server.ticks(2), 3), [(NOTHING, 0, 6)], "a probe about what is not in memory is empty");
    let actions = server.receive(3, 1, matched_in(2, 0));
    (server, actions)
}

/// A server that has applied nothing, of whose log only the last entry is in memory.
fn restarted(terms: &[u64], change: impl Fn(&mut Config)) -> Server {
    let mut config = config(1);
    change(&mut config);
    let kept = Kept::new(1, &[1, 2, 3]).with_log(*terms.last().unwrap(), terms);
    let last = kept.entries.values().last().unwrap().bytes();
    let raft = Raft::new(config.clone(), kept.restored(0).keep_tail(last)).unwrap();
    assert_eq!(raft.status().resident_first(), Index(terms.len() as u64));
    let mut server = Server::restored(config, kept);
    server.raft = raft;
    server
}

#[test]
fn evicted_entries_are_sent_to_a_lagging_follower() {
    let (mut server, actions) = behind(|_| {});
    assert_eq!(fetches(&actions), fetch(1, 1, 6, 1 << 20));
    assert_eq!(server.follower(3).fetching, Some(FetchId::from_number(1)));
    let actions = read_back(&mut server, 1, 1, 6);
    let [Rpc::AppendEntries { prev: NOTHING, entries, reply: true, .. }] = &sent_to(&actions, 3)[..] else {
        panic!("{actions:?}")
    };
    assert_eq!(*entries, on_disk(&server, 1, 6));
    let follower = server.follower(3);
    assert_eq!((follower.next, follower.inflight, follower.fetching), (Index(7), 1, None));
    assert_eq!(server.status().resident_bytes(), 0, "what was fetched is not kept");
    server.receive(3, 1, matched_in(2, 6));
    assert_eq!(server.follower(3).matched, id(1, 6));
    assert_eq!(counters(&server), (0, 0));
}

/// What comes next is asked for at once, within the window and the limits of a message.
#[test]
fn fetched_entries_keep_to_the_limits_of_any_others() {
    let (mut server, actions) = behind(|config| {
        (config.append_entries_max, config.append_bytes_max, config.inflight_appends_max) = (3, 2 * ONE, 2);
    });
    assert_eq!(fetches(&actions), fetch(1, 1, 3, 2 * ONE));
    // More than a message may hold: the rest is asked for again.
    let actions = read_back(&mut server, 1, 1, 3);
    assert_eq!((appends_to(&actions, 3), fetches(&actions)), (vec![(NOTHING, 2, 6)], fetch(2, 3, 5, 2 * ONE)));
    // Less than was asked for.
    let actions = read_back(&mut server, 2, 3, 3);
    assert_eq!((appends_to(&actions, 3), fetches(&actions)), (vec![(id(1, 2), 3, 6)], vec![]), "the window is full");
    assert_eq!(fetches(&server.receive(3, 1, matched_in(2, 2))), fetch(3, 4, 6, 2 * ONE));
    let actions = read_back(&mut server, 3, 4, 5);
    assert_eq!((appends_to(&actions, 3), fetches(&actions)), (vec![(id(1, 3), 5, 6)], vec![]));
    assert_eq!(fetches(&server.receive(3, 1, matched_in(2, 3))), fetch(4, 6, 6, 2 * ONE));
    assert_eq!(appends_to(&read_back(&mut server, 4, 6, 6), 3), [(id(1, 5), 6, 6)]);
}

/// Nothing but the entries that were asked for is sent. All else is asked for again, with the next heartbeat.
#[test]
fn entries_that_were_not_asked_for_are_refused() {
    let other_term = |server: &Server| {
        let mut list: Vec<Entry> = on_disk(server, 1, 3).slices().flat_map(|(_, slice)| slice.to_vec()).collect();
        list[2].term = Term(2);
        Entries::from_vec(Index(1), list).unwrap()
    };
    type Wrong = fn(&Server) -> Entries;
    let cases: [(Wrong, u64); 4] = [
        (|_| Entries::new(), 0),
        (|server| on_disk(server, 2, 3), 1),
        (|server| on_disk(server, 1, 4), 1),
        (other_term, 1),
    ];
    for (number, (wrong, unfounded)) in cases.into_iter().enumerate() {
        let (mut server, _) = behind(|config| config.append_entries_max = 3);
        let entries = wrong(&server);
        assert_eq!(answer(&mut server, 1, entries), [], "case {number}");
        assert_eq!((counters(&server), server.follower(3).fetching), ((unfounded, 0), None), "case {number}");
        assert_eq!(fetches(&server.receive(2, 1, matched_in(2, 6))), [], "not at once");
        assert_eq!(fetches(&server.ticks(1)), []);
        assert_eq!(fetches(&server.ticks(1)), fetch(2, 1, 3, 1 << 20), "case {number}");
        assert_eq!(appends_to(&read_back(&mut server, 2, 1, 3), 3), [(NOTHING, 3, 6)]);
    }
}

/// An honest driver reads while the server goes on: its answer counts as stale, and never as nonsense.
#[test]
fn a_late_answer_is_stale_and_an_unknown_one_unfounded() {
    let (mut server, _) = behind(|_| {});
    server.step(Event::Unreachable { peer: NodeId(3) });
    assert_eq!(server.follower(3).flow, FlowKind::Probe);
    assert_eq!(read_back(&mut server, 1, 1, 6), []);
    assert_eq!(counters(&server), (0, 1), "another flow");
    server.ticks(2);
    assert_eq!(fetches(&server.receive(3, 1, matched_in(3, 0))), fetch(2, 1, 6, 1 << 20));
    assert_eq!(read_back(&mut server, 1, 1, 6), []);
    assert_eq!(counters(&server), (0, 2), "an old id");
    assert_eq!(appends_to(&read_back(&mut server, 2, 1, 6), 3).len(), 1);
    assert_eq!(read_back(&mut server, 2, 1, 6), []);
    assert_eq!(counters(&server), (0, 3), "it was answered");
    for number in [0, 3, u64::MAX] {
        assert_eq!(read_back(&mut server, number, 1, 6), []);
    }
    assert_eq!(counters(&server), (3, 3), "never asked for");
}

/// A slow disk is asked once. What it has not answered for as long as a sync may take is asked for again.
#[test]
fn a_fetch_without_an_answer_is_made_anew() {
    let (mut server, _) = behind(|config| config.disk_stall_ticks = 6);
    for round in [3, 4] {
        assert_eq!(fetches(&server.ticks(2)), []);
        for peer in [2, 3] {
            assert_eq!(fetches(&server.receive(peer, 1, matched_in(round, if peer == 2 { 6 } else { 0 }))), []);
        }
    }
    assert_eq!(fetches(&server.ticks(1)), []);
    assert_eq!(fetches(&server.ticks(1)), fetch(2, 1, 6, 1 << 20));
    assert_eq!((read_back(&mut server, 1, 1, 6), counters(&server)), (vec![], (0, 1)));
    assert_eq!(appends_to(&read_back(&mut server, 2, 1, 6), 3), [(NOTHING, 6, 6)]);
}

/// What the follower needs next is not what is being fetched any more.
#[test]
fn another_next_voids_a_fetch() {
    let (mut server, _) = behind(|_| {});
    assert_eq!(fetches(&server.receive(3, 1, matched_in(2, 4))), []);
    assert_eq!(server.follower(3).next, Index(5));
    assert_eq!((read_back(&mut server, 1, 1, 6), counters(&server)), (vec![], (0, 1)));
    assert_eq!(fetches(&server.ticks(2)), fetch(2, 5, 6, 1 << 20), "with the next heartbeat");
}

#[test]
fn compaction_voids_a_fetch() {
    let (mut server, _) = behind(|_| {});
    let actions = server.step(Event::Compact { index: Index(6) });
    assert_eq!((snapshots_sent(&actions), server.follower(3).flow), (vec![(3, id(1, 6))], FlowKind::Snapshot));
    assert_eq!(answer(&mut server, 1, log(1, &[1; 6])), []);
    assert_eq!(counters(&server), (0, 1));
}

#[test]
fn another_leader_voids_a_fetch() {
    let (mut server, _) = behind(|_| {});
    server.receive(2, 2, heartbeat(id(1, 6), 6));
    assert_eq!((read_back(&mut server, 1, 1, 6), counters(&server)), (vec![], (0, 1)));
    // Elected again, it begins anew; the old id means nothing.
    server.elect();
    server.receive(3, 3, matched_in(1, 0));
    assert_eq!(server.follower(3).fetching, Some(FetchId::from_number(2)));
    assert_eq!((read_back(&mut server, 1, 1, 6), counters(&server)), (vec![], (0, 2)));
    assert_eq!(appends_to(&read_back(&mut server, 2, 1, 6), 3), [(NOTHING, 6, 6)]);
}

#[test]
fn an_application_far_behind_gets_each_entry_once_and_in_order() {
    let portion = 2 * (ENTRY_OVERHEAD_BYTES + 3);
    let mut server = restarted(&[1; 9], |config| config.apply_bytes_max = portion);
    server.application_held = true;
    let mut actions = server.receive(2, 1, heartbeat(id(1, 9), 9));
    let (mut seen, mut asked) = (vec![], vec![]);
    while let Some(Fetch(number, from, to, bytes)) = fetches(&actions).pop() {
        assert_eq!((bytes, server.status().fetching()), (portion, Some(number)));
        assert_eq!(server.ticks(1), [], "one at a time");
        asked.push((from, to));
        actions = read_back(&mut server, number.number(), from, to);
        let given = applied(&actions);
        assert_eq!((given.len(), fetches(&actions)), (2, vec![]), "there is no room for more");
        seen.extend(given);
        actions = server.step(Event::Applied(seen[seen.len() - 1].index));
    }
    seen.extend(applied(&actions));
    assert_eq!(asked, [(1, 8), (3, 8), (5, 8), (7, 8)]);
    assert_eq!(seen, (1..=9).map(|index| id(1, index)).collect::<Vec<_>>(), "the last is in memory");
    assert_eq!(counters(&server), (0, 0));
}

/// It is asked for with the next tick: no heartbeat is due on a follower.
#[test]
fn what_the_application_did_not_get_is_fetched_again() {
    for wrong in [Entries::new(), log(2, &[1]), log(1, &[1, 2]), log(1, &[1; 5])] {
        let mut server = restarted(&[1; 5], |config| config.disk_stall_ticks = 3);
        assert_eq!(fetches(&server.receive(2, 1, heartbeat(id(1, 5), 5))), fetch(1, 1, 4, 16 << 20));
        let unfounded = u64::from(!wrong.is_empty());
        assert_eq!((answer(&mut server, 1, wrong), counters(&server)), (vec![], (unfounded, 0)));
        assert_eq!(fetches(&server.receive(2, 1, heartbeat(id(1, 5), 5))), []);
        assert_eq!(fetches(&server.ticks(1)), fetch(2, 1, 4, 16 << 20));
        assert_eq!(fetches(&server.ticks(2)), []);
        assert_eq!(fetches(&server.ticks(1)), fetch(3, 1, 4, 16 << 20), "the second was never answered");
        assert_eq!((read_back(&mut server, 2, 1, 4), counters(&server)), (vec![], (unfounded, 1)));
        assert_eq!(applied(&read_back(&mut server, 3, 1, 4)).len(), 5);
    }
}

/// One entry larger than the limit waits until the application has nothing else; it is not lost.
#[test]
fn a_fetched_entry_that_is_too_large_waits_for_the_application() {
    let one = ENTRY_OVERHEAD_BYTES + 3;
    let mut server = restarted(&[1; 5], |config| config.apply_bytes_max = 2 * one - 1);
    server.application_held = true;
    server.receive(2, 1, heartbeat(id(1, 5), 5));
    let actions = read_back(&mut server, 1, 1, 2);
    assert_eq!((applied(&actions), fetches(&actions)), (vec![id(1, 1)], fetch(2, 2, 4, one - 1)));
    assert_eq!(read_back(&mut server, 2, 2, 2), []);
    assert_eq!(fetches(&server.step(Event::Applied(Index(1)))), [], "with the next tick");
    assert_eq!(fetches(&server.ticks(1)), fetch(3, 2, 4, 2 * one - 1));
    assert_eq!(applied(&read_back(&mut server, 3, 2, 3)), [id(1, 2)]);
    assert_eq!(counters(&server), (0, 0));
}

/// A new leader's entries replace what was never committed, in memory or not. What is being fetched is committed.
#[test]
fn a_log_is_truncated_below_what_is_in_memory() {
    let mut server = restarted(&[1, 1, 1, 2, 2], |_| {});
    assert_eq!(fetches(&server.receive(2, 3, heartbeat(id(1, 2), 2))), fetch(1, 1, 2, 16 << 20));
    let actions = server.receive(2, 3, append(id(1, 2), log(3, &[3]), 2));
    assert_eq!(
        (server.last(), server.terms(), written(&actions)[0].entries.clone()),
        (id(3, 3), vec![1, 1, 3], log(3, &[3]))
    );
    assert_eq!((server.status().resident_first(), server.status().durable()), (Index(3), Index(3)));
    assert_eq!(applied(&read_back(&mut server, 1, 1, 2)), [id(1, 1), id(1, 2)]);
    assert_eq!(applied(&server.receive(2, 3, heartbeat(id(3, 3), 3))), [id(3, 3)]);
    // To its very beginning, too.
    let mut server = restarted(&[1, 1, 1, 2, 2], |_| {});
    server.receive(2, 3, append(NOTHING, log(1, &[3]), 0));
    assert_eq!(
        (server.last(), server.terms(), server.status().resident_bytes()),
        (id(3, 1), vec![3], log(1, &[3]).bytes())
    );
    // And where it ends among what is on disk, it says where the logs may meet.
    let mut server = restarted(&[1, 1, 1, 2, 2], |_| {});
    let hint = |server: &mut Server, prev| sent_to(&server.receive(2, 3, heartbeat(prev, 0)), 2);
    assert_eq!(hint(&mut server, id(3, 4)), [conflict(4, id(2, 4))]);
    assert_eq!(hint(&mut server, id(1, 4)), [conflict(4, id(1, 3))]);
}

#[test]
fn an_installed_snapshot_voids_the_applications_fetch() {
    let mut server = restarted(&[1; 5], |_| {});
    server.receive(2, 1, heartbeat(id(1, 5), 5));
    server.disk_held = true;
    server.receive_snapshot(2, 1, &snapshot(id(1, 9)));
    assert_eq!((answer(&mut server, 1, log(1, &[1; 4])), counters(&server)), (vec![], (0, 1)));
    server.disk_held = false;
    let actions = server.persist();
    assert!(applied(&actions).is_empty() && actions.contains(&Action::Restore(snapshot(id(1, 9)))));
    assert_eq!(fetches(&server.ticks(3)), []);
    assert_eq!(server.status().applied(), Index(9));
}

/// Half of the entries of two equal leaders are on disk alone; no limit knows the difference.
#[test]
fn byte_counts_do_not_depend_on_what_is_in_memory() {
    let run = |resident_bytes_max| {
        let mut server = leader(|config| {
            config.resident_bytes_max = resident_bytes_max;
            (config.backlog_bytes_max, config.transfer_bytes_max) = (20 * ONE, 9 * ONE + 3);
        });
        server.application_held = true;
        let commands = ["a", "bb", "c", "dddd", "e", "f", "ggg", "h", "i", "j", "k", "l"];
        let backlog = (1..).zip(commands).map(|(index, command)| {
            commit(&mut server, index, command);
            if index % 3 == 0 {
                server.step(Event::Applied(Index(index - 1)));
            }
            server.status().backlog_bytes()
        });
        let backlog: Vec<u64> = backlog.collect();
        let busy = server.start(&[&"x".repeat(200), &"y".repeat(200)]);
        assert!(matches!(busy[..], [Action::Refused { why: Refusal::Busy { .. }, .. }]));
        // A follower is being searched from 2 on: that much is kept for it, or nothing if it is too much.
        server.step(Event::Applied(Index(12)));
        let mut first = vec![];
        for (prev, compacted) in [(5, 10), (5, 12)] {
            server.ticks(2);
            server.receive(3, 1, full_in(server.status().followers().map(|_| 1).sum::<u64>(), prev, 0));
            server.step(Event::Compact { index: Index(compacted) });
            first.push(server.status().first_index());
        }
        (backlog, first, server.status().resident_first())
    };
    let (whole, part) = (run(u64::MAX), run(1));
    assert_eq!((&whole.0, &whole.1), (&part.0, &part.1));
    assert!(part.2 > whole.2);
}

/// A leader whose third server is dead for good: what is in memory does not grow.
#[test]
fn memory_is_bounded_whoever_is_behind() {
    let limit = 10 * ONE;
    let mut server = leader(|config| config.resident_bytes_max = limit);
    server.step(Event::Unreachable { peer: NodeId(3) });
    for index in 1..=1000 {
        commit(&mut server, index, "x");
        assert!(server.status().resident_bytes() <= limit + ONE);
        if index % 100 == 0 {
            server.ticks(2);
            server.receive(2, 1, matched_in(1 + index / 100, index));
        }
    }
    assert_eq!(server.status().first_index(), Index(1), "nothing is compacted");
    assert_eq!((server.status().resident_first(), server.status().term_at(Index(3))), (Index(991), Some(Term(1))));
    let mut server = leader(|_| {});
    (1..=1000).for_each(|index| drop(commit(&mut server, index, "x")));
    assert_eq!(server.status().resident_first(), Index(1), "without a limit all stays");
}

/// What waits for a quorum, for the disk or for the application may be needed at once.
#[test]
fn what_is_not_durable_or_not_handed_out_stays_in_memory() {
    let mut server = leader(|config| (config.resident_bytes_max, config.apply_bytes_max) = (1, ONE));
    server.application_held = true;
    (1..=3).for_each(|index| drop(commit(&mut server, index, "x")));
    server.start(&["y"]);
    assert_eq!((server.status().handed_out(), server.status().resident_first()), (Index(1), Index(2)));
    server.step(Event::Applied(Index(1)));
    assert_eq!((server.status().handed_out(), server.status().resident_first()), (Index(2), Index(3)));
    // A follower that knows more to be committed than its disk has.
    let mut follower = Server::restored(Config { resident_bytes_max: 1, ..config(1) }, Kept::new(1, &[1, 2, 3]));
    follower.disk_held = true;
    follower.receive(2, 1, append(NOTHING, log(1, &[1]), 1));
    follower.receive(2, 1, append(id(1, 1), log(2, &[1]), 2));
    assert_eq!(follower.status().resident_first(), Index(1));
    follower.persist_one();
    assert_eq!((follower.status().durable(), follower.status().resident_first()), (Index(1), Index(2)));
}

/// A server that has read all of its log, and has applied it, keeps no more than it may.
#[test]
fn a_log_that_is_restored_whole_is_evicted_too() {
    let kept = Kept::new(1, &[1, 2, 3]).with_log(1, &[1; 5]);
    let start = |applied| Raft::new(Config { resident_bytes_max: 1, ..config(1) }, kept.restored(applied)).unwrap();
    assert_eq!(start(5).status().resident_first(), Index(6));
    assert_eq!(start(4).status().resident_first(), Index(1), "it is one run");
}

/// Whatever is in memory, a server that restarts knows the same of its log.
#[test]
fn a_tail_and_what_is_to_be_known_of_the_rest_make_the_same_server() {
    let mut entries: Vec<Entry> =
        log(1, &[1, 1, 2, 2, 4, 4, 5]).slices().flat_map(|(_, slice)| slice.to_vec()).collect();
    entries[2].payload = Payload::Membership(membership(&[1, 2, 3, 4]).into());
    entries[4].payload = Payload::Membership(membership(&[1, 2, 4]).into());
    for snapshot_at in [0, 1, 3] {
        let mut kept = Kept::new(1, &[1, 2, 3]).with_log(5, &[]);
        kept.entries = (1..).map(Index).zip(entries.clone()).collect();
        if snapshot_at > 0 {
            let term = entries[usize::try_from(snapshot_at).unwrap() - 1].term;
            let members: &[u64] = if snapshot_at == 3 { &[1, 2, 3, 4] } else { &[1, 2, 3] };
            kept.snapshot = raft_core::SnapshotMeta {
                membership: membership(members).into(),
                ..snapshot(EntryId { term, index: Index(snapshot_at) })
            };
        }
        let whole = kept.restored(snapshot_at);
        let all = Raft::new(config(1), whole.clone()).unwrap();
        for bytes in (0..=whole.entries.bytes()).step_by(7) {
            let restored = whole.clone().keep_tail(bytes);
            assert!(restored.entries.bytes() <= bytes);
            let mut raft = Raft::new(config(1), restored).unwrap();
            let (ours, theirs) = (raft.status(), all.status());
            assert_eq!(
                (ours.first_index(), ours.last(), ours.durable()),
                (theirs.first_index(), theirs.last(), theirs.durable())
            );
            assert_eq!((ours.membership(), ours.commit()), (theirs.membership(), theirs.commit()));
            assert!(snapshot_at > 0 || ours.backlog_bytes() == theirs.backlog_bytes());
            assert!((0..=9).map(Index).all(|index| ours.term_at(index) == theirs.term_at(index)));
            // A truncation rolls the configuration back.
            let message =
                raft_core::Message { term: Term(6), incarnation: life(2), rpc: append(id(2, 4), log(5, &[6]), 0) };
            let _ = raft.step(Event::Receive { from: NodeId(2), message });
            assert_eq!(
                (raft.status().last(), raft.status().membership()),
                (id(6, 5), &membership(&[1, 2, 3, 4])),
                "{snapshot_at}"
            );
        }
    }
}

#[test]
fn parts_that_contradict_each_other_make_no_server() {
    let kept = Kept::new(1, &[1, 2, 3]).with_log(4, &[1, 1, 2, 2, 4, 4]);
    let good = kept.restored(0).keep_tail(2 * (ENTRY_OVERHEAD_BYTES + 3));
    let LogHead { terms, last, .. } = &good.head;
    assert_eq!((&terms[..], *last, good.entries.len()), (&[id(1, 1), id(2, 3)][..], id(2, 4), 2));
    assert!(Raft::new(config(1), good.clone()).is_ok());
    let error = |change: &dyn Fn(&mut Restored)| {
        let mut restored = good.clone();
        change(&mut restored);
        Raft::new(config(1), restored).unwrap_err()
    };
    let members = |at: &[u64]| at.iter().map(|at| (Index(*at), membership(&[1]).into())).collect::<Vec<_>>();
    assert_eq!(error(&|r| r.head.terms.clear()), RestoreError::HeadWithoutTerms { last: id(2, 4) });
    assert_eq!(error(&|r| r.head.terms[1] = id(1, 3)), RestoreError::HeadTerms { earlier: id(1, 1), later: id(1, 3) });
    assert_eq!(error(&|r| r.head.terms[1] = id(2, 1)), RestoreError::HeadTerms { earlier: id(1, 1), later: id(2, 1) });
    assert_eq!(error(&|r| r.head.last = id(3, 4)), RestoreError::HeadTerms { earlier: id(2, 3), later: id(3, 4) });
    assert_eq!(error(&|r| r.head.last = id(2, 2)), RestoreError::HeadTerms { earlier: id(2, 3), later: id(2, 2) });
    assert_eq!(error(&|r| r.head.terms[0] = id(0, 1)), RestoreError::OutOfRange { id: id(0, 1) });
    assert_eq!(error(&|r| r.head.terms[0] = id(1, 0)), RestoreError::OutOfRange { id: id(1, 0) });
    assert_eq!(error(&|r| r.head.last = id(2, 3)), RestoreError::HeadGap { head: id(2, 3), first: id(4, 5) });
    let longer = error(&|r| (r.head.last, r.head.bytes) = (id(2, 5), 999));
    assert_eq!(longer, RestoreError::HeadGap { head: id(2, 5), first: id(4, 5) });
    assert_eq!(
        error(&|r| (r.head.terms, r.head.last) = (vec![id(5, 1)], id(5, 4))),
        RestoreError::HeadGap { head: id(5, 4), first: id(4, 5) }
    );
    let hidden = |r: &mut Restored| {
        r.head.last = id(2, 3);
        *r = r.clone().keep_tail(0);
    };
    assert_eq!(error(&hidden), RestoreError::HeadGap { head: id(2, 3), first: id(4, 5) });
    for (at, wrong) in [(&[0][..], 0), (&[5], 5), (&[3, 3], 3), (&[3, 2], 2)] {
        let found = error(&|r| r.head.memberships = members(at));
        assert_eq!(found, RestoreError::HeadMembership { at: Index(wrong) });
    }
    let many = || raft_core::Membership::new((1..=1025).map(NodeId));
    let found = error(&|r| r.head.memberships = vec![(Index(2), many().into())]);
    assert_eq!(found, RestoreError::TooManyMembers { count: 1025 });
    for bytes in [4 * ENTRY_OVERHEAD_BYTES - 1, u64::MAX] {
        assert_eq!(error(&|r| r.head.bytes = bytes), RestoreError::HeadBytes { bytes, entries: 4 });
    }
    assert_eq!(
        error(&|r| r.snapshot.last = id(1, 3)),
        RestoreError::SnapshotNotInLog { snapshot: id(1, 3), term: Term(2) }
    );
    assert_eq!(
        error(&|r| r.hard_state.term = Term(3)),
        RestoreError::TermBehindLog { current: Term(3), last: id(4, 6).term }
    );
    let later = |r: &mut Restored| (r.head.terms, r.head.bytes) = (vec![id(2, 3)], 99);
    assert_eq!(error(&later), RestoreError::Gap { snapshot: NOTHING, first: id(2, 3) });
    let ends_early = |r: &mut Restored| (r.snapshot.last, r.entries) = (id(4, 9), Entries::new());
    assert_eq!(error(&ends_early), RestoreError::LogBehindSnapshot { snapshot: id(4, 9), last: id(2, 4) });
}

/// What a leader reads back is of its own log, whatever was appended meanwhile.
#[test]
fn a_request_of_commands_goes_on_while_entries_are_fetched() {
    let (mut server, _) = behind(|_| {});
    let request = Event::Start { request: RequestId(1), commands: [Bytes::from_static(b"g")].into() };
    let actions = server.step(request);
    assert_eq!((appends_to(&actions, 2).len(), appends_to(&actions, 3).len()), (1, 0));
    let actions = read_back(&mut server, 1, 1, 6);
    assert_eq!(appends_to(&actions, 3), [(NOTHING, 6, 6), (id(1, 6), 7, 6)], "and then what is in memory");
}

/// What is not in memory is in the head of the state that a server gives; made of it again, it is the same server.
#[test]
fn the_whole_state_of_a_server_that_pages() {
    let (server, _) = behind(|_| ());
    let restored = server.raft.restored();
    assert_eq!((restored.head.last, restored.entries.len()), (id(1, 6), 0));
    assert_eq!(restored.head, LogHead::of(&on_disk(&server, 1, 6)));
    let again = Raft::new(server.config.clone(), restored).unwrap();
    assert_eq!((again.status().last(), again.status().resident_bytes()), (id(1, 6), 0));
    let mut tail = restarted(&[1, 1, 2, 2, 3], |_| ());
    let restored = tail.raft.restored();
    assert_eq!((restored.head.terms.clone(), restored.entries.first()), (vec![id(1, 1), id(2, 3)], Some(id(3, 5))));
    tail.ticks(1);
    assert_eq!(format!("{:?}", tail.raft.restored()), format!("{restored:?}"));
}
