//! Bugs that asynchronous persistence had elsewhere, each under the name of its scenario: promises wait for the disk.

use crate::kit::*;
use raft_core::{Action, AppendOutcome, Entry, EntryId, Event, HardState, Index, NodeId, Payload, RoleKind, Rpc, Term};

const NOTHING: EntryId = EntryId::ZERO;

#[test]
fn completion_reorder() {
    let mut leader = Server::new(1, &[1, 2, 3]);
    leader.elect();
    leader.disk_held = true;
    leader.start(&["a"]);
    leader.start(&["b"]);
    let newest = leader.writes[1].id.number();
    leader.claim_persisted(newest);
    assert_eq!(leader.status().durable(), Index(2), "the last of several is enough");
    leader.claim_persisted(newest - 1);
    assert_eq!((leader.status().durable(), leader.status().counters().unknown_write), (Index(2), 1));
    leader.receive(2, 1, matched(2));
    assert_eq!(leader.status().commit(), Index(2));
}

/// A confirmation of what was never asked for counts for nothing.
#[test]
fn unknown_confirmations_are_ignored() {
    let mut voter = Server::new(1, &[1, 2, 3]);
    voter.disk_held = true;
    voter.receive(2, 1, Rpc::RequestVote { last: NOTHING, transfer: false });
    for number in [0, 2, u64::MAX] {
        assert_eq!(voter.claim_persisted(number), []);
    }
    assert_eq!(voter.status().counters().unknown_write, 3);
}

/// A write without new entries has none, at the very end of the range too.
#[test]
fn a_write_at_the_last_index_repeats_nothing() {
    let last = id(1, Index::MAX.0);
    let mut kept = Kept::new(1, &[1, 2, 3]);
    kept.hard_state = HardState { term: last.term, voted_for: None };
    kept.snapshot = snapshot(id(1, last.index.0 - 1));
    kept.entries.insert(last.index, Entry { term: last.term, payload: Payload::Noop });
    let mut server = Server::restored(config(1), kept);
    let writes = written(&server.receive(2, 2, Rpc::RequestVote { last, transfer: false }));
    assert_eq!(writes.iter().map(|write| write.entries.len()).collect::<Vec<_>>(), [0]);
}

/// A disk that never answers again: no vote, no acknowledgement, no campaign, no lead.
#[test]
fn fail_stop() {
    let mut server = Server::with_log(1, &[1, 2, 3], 1, &[1]);
    server.disk_held = true;
    let mut actions = server.receive(2, 2, append(id(1, 1), log(2, &[2]), 2));
    actions.extend(server.receive(2, 2, heartbeat(id(2, 2), 2)));
    actions.extend(server.ticks(600));
    actions.extend(server.receive(3, 9, Rpc::RequestVote { last: id(8, 8), transfer: false }));
    for (_, message) in sent(&actions) {
        assert!(matches!(message.rpc, Rpc::PreVote { .. }), "{message}");
    }
    assert_eq!(applied(&actions), [id(1, 1)], "only what is durable is applied");
}

#[test]
fn leader_self_ack() {
    let mut leader = Server::new(1, &[1, 2, 3, 4, 5]);
    leader.elect();
    leader.disk_held = true;
    leader.start(&["x"]);
    leader.receive(2, 1, matched(1));
    leader.receive(3, 1, matched(1));
    assert_eq!(leader.status().commit(), Index(0), "its own place in the count is not durable: two of five");
    let mut alone = leader.clone();
    let committed = alone.receive(4, 1, matched(1));
    assert_eq!((alone.status().commit(), applied(&committed)), (Index(1), vec![]), "its followers suffice without it");
    assert_eq!(applied(&alone.persist()), [id(1, 1)], "but it applies only what it has itself");
    assert_eq!(applied(&leader.persist()), [id(1, 1)]);
}

/// The leader's sends go out beside its own write: its disk and its followers' work at the same time.
#[test]
fn sends_before_its_own_write() {
    let mut leader = Server::new(1, &[1, 2, 3]);
    leader.elect();
    leader.receive(2, 1, matched(0));
    leader.disk_held = true;
    let started = leader.start(&["x"]);
    let at = |wanted: fn(&Action) -> bool| started.iter().position(wanted).unwrap();
    assert!(at(|a| matches!(a, Action::Send { .. })) < at(|a| matches!(a, Action::Persist(_))));
}

/// A new leader's no-op counts at home only when it is durable.
#[test]
fn noop_self_ack() {
    let config = raft_core::Config { leader_noop: true, ..config(1) };
    let mut leader = Server::restored(config, Kept::new(1, &[1, 2, 3]));
    leader.campaign();
    leader.disk_held = true;
    leader.receive(2, 1, GRANTED);
    assert_eq!((leader.role(), leader.last()), ((RoleKind::Leader, 1), id(1, 1)));
    assert_eq!(leader.status().commit(), Index(0));
    leader.receive(2, 1, matched(1));
    assert_eq!(leader.status().commit(), Index(0));
    leader.persist();
    assert_eq!(leader.status().commit(), Index(1));
}

#[test]
fn single_voter_commit_after_fsync() {
    let mut server = Server::new(1, &[1]);
    server.time_out();
    server.disk_held = true;
    let started = server.start(&["x"]);
    assert_eq!((server.status().commit(), applied(&started)), (Index(0), vec![]));
    assert_eq!(applied(&server.persist()), [id(1, 1)]);
}

#[test]
fn append_reply_after_term_and_entries() {
    let mut follower = Server::new(1, &[1, 2, 3]);
    follower.disk_held = true;
    let mut actions = follower.receive(2, 4, append(NOTHING, log(1, &[4]), 0));
    let [write] = &written(&actions)[..] else { panic!("{actions:?}") };
    assert_eq!(write.hard_state.unwrap().term, Term(4), "term and entries are one record");
    assert_eq!(write.entries.last(), Some(id(4, 1)));
    actions.extend(follower.receive(2, 4, append(id(4, 1), log(2, &[4]), 0)));
    actions.extend(follower.receive(2, 4, heartbeat(id(4, 2), 0)));
    assert_eq!(sent_to(&actions, 2), [], "not even a heartbeat is answered in a term that is not durable");
    assert_eq!(sent_to(&follower.persist_one(), 2), [received_in(1, 2, 1)]);
    assert_eq!(sent_to(&follower.persist_one(), 2), [matched(2)]);
}

/// What is owed in an old term is not paid in a newer one.
#[test]
fn a_newer_term_drops_owed_acknowledgements() {
    let mut follower = Server::new(1, &[1, 2, 3]);
    follower.disk_held = true;
    follower.receive(2, 4, append(NOTHING, log(1, &[4]), 0));
    follower.receive(3, 5, REFUSED);
    assert_eq!(sent_to(&follower.persist(), 2), []);
}

/// The late confirmation of entries that another leader has replaced promises nothing about what stands there now.
#[test]
fn a_late_confirmation_does_not_cover_what_replaced_it() {
    let mut follower = Server::new(1, &[1, 2, 3]);
    follower.disk_held = true;
    follower.receive(2, 1, append(NOTHING, log(1, &[1, 1, 1]), 0));
    follower.receive(3, 2, append(id(1, 1), log(2, &[2, 2]), 2));
    let late = follower.persist_one();
    assert_eq!((follower.status().durable(), sent_to(&late, 3)), (Index(1), vec![]));
    assert_eq!(applied(&late), [id(1, 1)], "committed and durable through 1 only");
    let now = follower.persist_one();
    assert_eq!((sent_to(&now, 3), applied(&now)), (vec![matched(3)], vec![id(2, 2)]));
}

#[test]
fn old_snapshot_ack_after_newer_snapshot() {
    let mut follower = Server::new(1, &[1, 2, 3]);
    follower.disk_held = true;
    follower.receive_snapshot(2, 1, &snapshot(id(1, 5)));
    follower.receive_snapshot(2, 1, &snapshot(id(1, 9)));
    let older = follower.persist_one();
    assert!(!older.iter().any(|action| matches!(action, Action::Restore(_))), "{older:?}");
    let newer = follower.persist_one();
    assert!(newer.contains(&Action::Restore(snapshot(id(1, 9)))));
    assert_eq!(
        sent_to(&newer, 2),
        [Rpc::AppendEntriesReply {
            round: 0,
            outcome: AppendOutcome::Matched { received: Index(9), durable: Index(9) },
        }]
    );
    assert_eq!(follower.claim_persisted(2), []);
    assert_eq!(follower.status().applied(), Index(9));
}

/// A deposed leader's command: what is applied at its index says whether it was superseded.
#[test]
fn pending_proposals_resolved() {
    let mut deposed = Server::new(1, &[1, 2, 3]);
    deposed.elect();
    let started = deposed.start(&["x", "y"]);
    assert!(matches!(started[0], Action::Accepted { first, count: 2, .. } if first == id(1, 1)));
    let overwritten = deposed.receive(2, 2, append(NOTHING, log(1, &[2]), 0));
    assert_eq!(applied(&overwritten), [], "truncation alone decides nothing");
    let decided = deposed.receive(2, 2, heartbeat(id(2, 1), 1));
    assert_eq!(applied(&decided), [id(2, 1)], "another term's entry at index 1: superseded");

    let mut covered = Server::new(1, &[1, 2, 3]);
    covered.elect();
    covered.start(&["x"]);
    let restored = covered.receive_snapshot(2, 2, &snapshot(id(2, 4)));
    assert!(restored.contains(&Action::Restore(snapshot(id(2, 4)))), "covered by a snapshot: unknown");
}

/// The actions of a step come in an order that a driver may carry out one by one.
#[test]
fn at_most_one_write_in_a_step() {
    let mut server = Server::new(1, &[1, 2, 3]);
    server.disk_held = true;
    server.campaign();
    let steps = [
        server.persist(),
        server.receive(2, 1, GRANTED),
        server.start(&["a", "b"]),
        server.receive(3, 2, append(NOTHING, log(1, &[2]), 0)),
        server.receive_snapshot(3, 2, &snapshot(id(2, 9))),
        server.step(Event::Unreachable { peer: NodeId(2) }),
        server.persist(),
    ];
    for actions in &steps {
        assert!(written(actions).len() <= 1);
        let rank = |action: &Action| match action {
            Action::Persist(_) => 1,
            Action::Apply(_) | Action::Restore(_) => 2,
            Action::News(_) => 3,
            _ => 0,
        };
        assert!(actions.is_sorted_by_key(rank), "{actions:?}");
    }
}

/// As long as a write is outstanding, messages that bring nothing new cause no other: a thousand copies, refusals, questions and
/// answers write nothing.
#[test]
fn slow_disk_no_write_storm() {
    let mut follower = Server::with_log(1, &[1, 2, 3], 1, &[1]);
    follower.disk_held = true;
    let append = append(id(1, 1), log(2, &[2]), 1);
    assert_eq!(written(&follower.receive(2, 2, append.clone())).len(), 1);
    let vote = Rpc::RequestVote { last: id(2, 9), transfer: false };
    for _ in 0..250 {
        let mut actions = follower.receive(2, 2, append.clone());
        actions.extend(follower.receive(2, 2, heartbeat(id(2, 2), 2)));
        actions.extend(follower.receive(3, 2, Rpc::PreVote { last: id(2, 9) }));
        actions.extend(follower.receive(3, 2, vote.clone()));
        assert_eq!(written(&actions), []);
    }
    let mut leader = leader(|_| {});
    leader.disk_held = true;
    assert_eq!(written(&leader.start(&["a"])).len(), 1);
    for round in 0..250 {
        let mut actions = leader.ticks(1);
        let round = 1 + round / 2;
        actions.extend(leader.receive(2, 1, matched_in(round, 0)));
        actions.extend(leader.receive(3, 1, received_in(round, 1, 0)));
        actions.extend(leader.receive(3, 1, Rpc::PreVote { last: id(1, 1) }));
        assert_eq!((written(&actions), leader.role().0), (vec![], RoleKind::Leader));
    }
}

/// What is durable ends with a truncation where the truncation begins, at once: no answer quotes what was, no late confirmation
/// counts it again, over however many writes it reaches back, and a copy revives nothing.
#[test]
fn durable_follows_truncation() {
    let mut follower = Server::new(1, &[1, 2, 3]);
    follower.receive(2, 1, append(NOTHING, log(1, &[1]), 0));
    follower.receive(2, 1, append(id(1, 1), log(2, &[1]), 0));
    follower.disk_held = true;
    for index in 2..6 {
        follower.receive(2, 1, append(id(1, index), log(index + 1, &[1]), 0));
    }
    assert_eq!((follower.last(), follower.status().durable()), (id(1, 6), Index(2)));
    // It cuts what is durable, and four writes that are not.
    let new = append(id(1, 1), log(2, &[2]), 0);
    follower.receive(3, 2, new.clone());
    assert_eq!((follower.last(), follower.status().durable()), (id(2, 2), Index(1)));
    while follower.writes.len() > 1 {
        let answers = follower.persist_one();
        assert_eq!((sent_to(&answers, 3), follower.status().durable()), (vec![], Index(1)));
        follower.receive(3, 2, new.clone());
        assert_eq!(sent_to(&follower.receive(2, 1, append(id(1, 1), log(2, &[1; 5]), 0)), 2).len(), 1, "refused");
        assert_eq!((follower.last(), follower.status().durable()), (id(2, 2), Index(1)));
    }
    assert_eq!(sent_to(&follower.persist_one(), 3), [matched(2)]);
    assert_eq!(follower.status().durable(), Index(2));
    assert_eq!(follower.crashed().terms(), [1, 2]);
}
