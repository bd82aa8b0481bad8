//! How entries flow: windows, batches, losses, a follower whose disk is slow, and every limit at 1.

use crate::kit::cluster::Cluster;
use crate::kit::*;
use raft_core::{
    Action, AppendOutcome, BATCH_ENTRIES_MAX, Bytes, Config, ENTRY_OVERHEAD_BYTES, EntryId, Event, FlowKind, Index,
    Message, NodeId, Refusal, RequestId, RoleKind, Rpc, Term,
};

const NOTHING: EntryId = EntryId::ZERO;

#[test]
fn the_window_is_limited_by_count() {
    let mut server = leader(|config| config.inflight_appends_max = 2);
    let sent: Vec<_> =
        ["a", "b", "c", "d"].iter().map(|command| appends_to(&server.start(&[command]), 2).len()).collect();
    assert_eq!(sent, [1, 1, 0, 0]);
    assert_eq!(server.follower(2).inflight, 2);
    let opened = server.receive(2, 1, matched(1));
    assert_eq!(appends_to(&opened, 2), [(id(1, 2), 4, 1)], "what waited goes together");
}

#[test]
fn the_window_is_limited_by_bytes() {
    let one = ENTRY_OVERHEAD_BYTES + 1;
    let mut server = leader(|config| config.inflight_bytes_max = 2 * one);
    let sent: Vec<_> = ["a", "b", "c"].iter().map(|command| appends_to(&server.start(&[command]), 2).len()).collect();
    assert_eq!(sent, [1, 1, 0]);
    assert_eq!(appends_to(&server.receive(2, 1, matched(1)), 2), [(id(1, 2), 3, 1)]);
}

#[test]
fn batches_are_limited_by_count_and_by_bytes() {
    let mut server = leader(|config| config.append_entries_max = 2);
    assert_eq!(appends_to(&server.start(&["a", "b", "c"]), 2), [(NOTHING, 2, 0), (id(1, 2), 3, 0)]);

    let mut server = leader(|config| config.append_bytes_max = 2 * (ENTRY_OVERHEAD_BYTES + 1));
    let sent = appends_to(&server.start(&["a", "b", "c", "longer than a batch", "d"]), 2);
    assert_eq!(sent, [(NOTHING, 2, 0), (id(1, 2), 3, 0), (id(1, 3), 4, 0), (id(1, 4), 5, 0)]);
}

/// Many small runs are merged when a lagging follower is fed, and stay what they were.
#[test]
fn a_lagging_follower_gets_the_same_entries_in_few_pieces() {
    let mut server = leader(|config| config.inflight_appends_max = 1);
    for i in 0..100 {
        server.start(&[&format!("command {i}")]);
    }
    let fed = server.receive(2, 1, matched(1));
    let [Rpc::AppendEntries { entries, .. }] = &sent_to(&fed, 2)[..] else { panic!("{fed:?}") };
    assert_eq!((entries.first(), entries.last()), (Some(id(1, 2)), Some(id(1, 100))));
    assert!(entries.slices().count() <= 8, "{} pieces", entries.slices().count());
    for (id, payload) in entries.iter() {
        assert_eq!(Some(payload), server.status().entry(id.index));
        assert_eq!(*payload, raft_core::Payload::Command(Bytes::from(format!("command {}", id.index.0 - 1))));
    }
}

/// All acknowledgements of a full window are lost: the next heartbeat's answer opens it.
#[test]
fn a_full_window_recovers_from_lost_acknowledgements() {
    let mut server = leader(|config| config.inflight_appends_max = 2);
    for command in ["a", "b", "c"] {
        server.start(&[command]);
    }
    let heartbeat = server.ticks(2);
    assert_eq!(appends_to(&heartbeat, 2), [(NOTHING, 0, 0)]);
    let opened = server.receive(2, 1, matched_in(2, 2));
    assert_eq!(appends_to(&opened, 2), [(id(1, 2), 3, 2)]);
}

/// An append is lost: who answers the next round without it is sent it again, though nothing else ever follows it.
#[test]
fn what_was_lost_is_sent_again() {
    let mut server = leader(|_| {});
    server.start(&["a"]);
    server.receive(2, 1, matched(1));
    assert_eq!(appends_to(&server.start(&["b"]), 2), [(id(1, 1), 2, 1)], "lost");
    server.ticks(2);
    assert_eq!(sent_to(&server.receive(2, 1, matched(1)), 2), [], "an answer to an older round proves nothing");
    let again = server.receive(2, 1, matched_in(2, 1));
    assert_eq!(appends_to(&again, 2), [(id(1, 1), 2, 1)]);
    assert_eq!(server.follower(2).flow, FlowKind::Probe);
    server.receive(2, 1, matched_in(2, 2));
    assert_eq!(server.follower(2).flow, FlowKind::Replicate);
}

/// An append in the middle is lost: one question finds out how far the follower got, other conflicts are stale.
#[test]
fn a_gap_is_probed_once() {
    let mut server = leader(|_| {});
    for command in ["a", "b", "c", "d"] {
        server.start(&[command]);
    }
    let probe = server.receive(2, 1, conflict(2, id(1, 1)));
    assert_eq!(appends_to(&probe, 2), [(id(1, 1), 1, 0)]);
    assert_eq!(server.receive(2, 1, conflict(3, id(1, 1))), []);
    assert_eq!(appends_to(&server.receive(2, 1, matched(1)), 2)[0], (id(1, 1), 4, 1));
}

/// A peer that cannot be reached is sent one message in a heartbeat interval, without entries until it answers.
#[test]
fn an_unreachable_peer_is_probed_with_heartbeats() {
    let mut server = leader(|_| {});
    server.start(&["a"]);
    assert_eq!(server.step(Event::Unreachable { peer: NodeId(2) }), []);
    assert_eq!(sent_to(&server.start(&["b"]), 2), []);
    assert_eq!(appends_to(&server.ticks(2), 2), [(NOTHING, 0, 0)]);
    assert_eq!(sent_to(&server.start(&["c"]), 2), []);
    assert_eq!(appends_to(&server.receive(2, 1, matched_in(2, 0)), 2), [(NOTHING, 3, 0)]);
}

/// A follower with too much waiting for its disk takes no more, and says how far it got; its leader asks again.
#[test]
fn full_is_said_and_understood() {
    let mut follower = Server::restored(Config { unpersisted_bytes_max: 1, ..config(2) }, Kept::new(2, &[1, 2, 3]));
    follower.disk_held = true;
    follower.receive(1, 1, append(NOTHING, log(1, &[1, 1]), 0));
    let refused = follower.receive(1, 1, append(NOTHING, log(1, &[1, 1, 1]), 2));
    assert_eq!(sent_to(&refused, 1), [full(2, 0)]);
    assert_eq!((follower.last(), follower.status().commit()), (id(1, 2), Index(2)));
    assert_eq!(sent_to(&follower.persist(), 1), [matched(2)], "and what it took is acknowledged");
    follower.receive(1, 1, append(id(1, 2), log(3, &[1]), 2));
    assert_eq!(follower.last(), id(1, 3));

    let mut server = leader(|_| {});
    server.start(&["a", "b"]);
    server.start(&["c"]);
    assert_eq!(sent_to(&server.receive(2, 1, full(2, 0)), 2), []);
    assert_eq!(sent_to(&server.start(&["d"]), 2), [], "nothing more for now");
    assert_eq!(appends_to(&server.clone().ticks(2), 2), [(id(1, 2), 2, 0)], "the next heartbeat asks, without entries");
    assert_eq!(appends_to(&server.receive(2, 1, matched(2)), 2), [(id(1, 2), 4, 2)], "or its disk got further");
}

/// How many entries are sent to one peer.
fn entries_to(actions: &[Action], peer: u64) -> u64 {
    let entries = sent_to(actions, peer).into_iter().filter_map(|rpc| match rpc {
        Rpc::AppendEntries { entries, .. } => Some(entries.len()),
        _ => None,
    });
    entries.sum()
}

/// A full follower is asked without entries, as often as it says that it is still full; when it is not, they flow at once.
#[test]
fn a_full_follower_gets_no_entries() {
    let mut server = leader(|_| {});
    server.start(&["a", "b", "c", "d"]);
    server.receive(2, 1, full(1, 1));
    for round in 2..100 {
        let heartbeat = server.ticks(2);
        assert_eq!((appends_to(&heartbeat, 2), entries_to(&heartbeat, 2)), (vec![(id(1, 1), 1, 1)], 0));
        server.receive(3, 1, matched_in(round, 0));
        assert_eq!(sent_to(&server.receive(2, 1, full_in(round, 1, 1)), 2), []);
    }
    server.ticks(2);
    let fed = server.receive(2, 1, matched_in(100, 1));
    assert_eq!((appends_to(&fed, 2), entries_to(&fed, 2)), (vec![(id(1, 1), 4, 1)], 3));
    assert_eq!(server.follower(2).flow, FlowKind::Replicate);
}

/// A heartbeat asks whether there is room, so its answer says so: for the disk and for the application.
#[test]
fn a_full_follower_says_so_to_heartbeats() {
    let mut follower = Server::restored(Config { unpersisted_bytes_max: 1, ..config(2) }, Kept::new(2, &[1, 2, 3]));
    follower.disk_held = true;
    follower.receive(1, 1, append(NOTHING, log(1, &[1, 1]), 0));
    assert_eq!(sent_to(&follower.receive(1, 1, heartbeat(id(1, 2), 0)), 1), [full(2, 0)]);
    follower.persist();
    assert_eq!(sent_to(&follower.receive(1, 1, heartbeat(id(1, 2), 0)), 1), [matched(2)]);

    let mut follower = Server::restored(Config { backlog_bytes_max: 1, ..config(2) }, Kept::new(2, &[1, 2, 3]));
    follower.application_held = true;
    follower.receive(1, 1, append(NOTHING, log(1, &[1, 1]), 2));
    assert_eq!(sent_to(&follower.receive(1, 1, heartbeat(id(1, 2), 2)), 1), [full(2, 2)]);
    follower.step(Event::Applied(Index(2)));
    assert_eq!(sent_to(&follower.receive(1, 1, heartbeat(id(1, 2), 2)), 1), [matched(2)]);
}

/// The disk of one follower stands still, then the application of another, while the others go on: each entry is sent to them
/// twice at most, and they catch up.
#[test]
fn nothing_is_thrown_away_at_full_followers() {
    for slow_application in [false, true] {
        let room = 3 * (ENTRY_OVERHEAD_BYTES + 1);
        let mut cluster = Cluster::new(3, |config| {
            config.append_entries_max = 1;
            config.inflight_appends_max = 4;
            config.unpersisted_bytes_max = room;
            config.backlog_bytes_max = room;
        });
        cluster.tick_until(100, |cluster| cluster.leader().is_some());
        let leader = cluster.leader().unwrap();
        let slow = leader % 3 + 1;
        cluster.server(slow).disk_held = !slow_application;
        cluster.server(slow).application_held = slow_application;
        for count in 1..=40 {
            let command = [Bytes::from_static(b"x")].into();
            cluster.step(leader, Event::Start { request: RequestId(count), commands: command });
            (0..3).for_each(|_| cluster.tick());
        }
        assert_eq!(cluster.server(leader).status().applied(), Index(40));
        let taken = cluster.server(slow).last().index.0;
        assert!((3..40).contains(&taken), "it is full with {taken}");
        let sent = cluster.entries_to(slow);
        assert!(sent <= 2 * taken + 4, "{sent} were sent, {taken} were taken");
        (cluster.server(slow).disk_held, cluster.server(slow).application_held) = (false, false);
        let handed_out = cluster.server(slow).status().handed_out();
        cluster.step(slow, Event::Applied(handed_out));
        while !cluster.server(slow).writes.is_empty() {
            let event = cluster.server(slow).next_write_is_durable();
            cluster.step(slow, event);
        }
        cluster.tick_until(60, Cluster::agrees);
        let sent = cluster.entries_to(slow);
        assert!(sent <= 80, "{sent} were sent, of 40");
    }
}

/// Where the flow begins anew, what the follower has received and its disk has not takes its room in the window: by bytes and
/// by count.
#[test]
fn a_window_begins_with_what_is_received_and_not_durable() {
    let one = ENTRY_OVERHEAD_BYTES + 1;
    let limits: [fn(&mut Config); 2] =
        [|config| config.inflight_bytes_max = 3 * (ENTRY_OVERHEAD_BYTES + 1), |config| config.inflight_appends_max = 1];
    for limit in limits {
        let mut server = leader(|config| {
            config.append_bytes_max = one;
            limit(config);
        });
        server.step(Event::Unreachable { peer: NodeId(2) });
        server.start(&["a", "b", "c", "d", "e", "f"]);
        server.ticks(2);
        assert_eq!(sent_to(&server.receive(2, 1, received_in(2, 4, 1)), 2), [], "three wait for its disk");
        let fed = server.receive(2, 1, received_in(2, 4, 4));
        assert_eq!(appends_to(&fed, 2)[0], (id(1, 4), 5, 4));
    }
}

/// What is committed and not applied is bounded on followers too; what is not committed does not count, or a new leader
/// could never commit it.
#[test]
fn a_slow_application_bounds_what_is_taken() {
    let mut follower = Server::restored(Config { backlog_bytes_max: 1, ..config(2) }, Kept::new(2, &[1, 2, 3]));
    follower.application_held = true;
    follower.receive(1, 1, append(NOTHING, log(1, &[1, 1]), 0));
    assert_eq!(sent_to(&follower.receive(1, 1, append(id(1, 2), log(3, &[1]), 2)), 1), [matched(3)]);
    let refused = follower.receive(1, 1, append(id(1, 3), log(4, &[1]), 2));
    assert_eq!(sent_to(&refused, 1), [full(3, 3)]);
    follower.step(Event::Applied(Index(2)));
    assert_eq!(sent_to(&follower.receive(1, 1, append(id(1, 3), log(4, &[1]), 2)), 1), [matched(4)]);
}

/// A heartbeat is answered at once with what is durable: a slow disk never looks like a dead follower.
#[test]
fn a_slow_disk_is_not_silent() {
    let mut follower = Server::with_log(2, &[1, 2, 3], 1, &[1]);
    follower.disk_held = true;
    follower.receive(1, 1, append(id(1, 1), log(2, &[1]), 0));
    assert_eq!(sent_to(&follower.receive(1, 1, heartbeat(id(1, 1), 0)), 1), [received_in(1, 2, 1)]);
}

/// Appends that arrive faster than the disk confirms them do not put off the acknowledgement of the earlier ones.
#[test]
fn a_busy_follower_acknowledges_what_is_durable() {
    let mut follower = Server::with_log(2, &[1, 2, 3], 1, &[1]);
    follower.disk_held = true;
    follower.receive(1, 1, append(id(1, 1), log(2, &[1]), 0));
    for index in 2..20 {
        follower.receive(1, 1, append(id(1, index), log(index + 1, &[1]), 0));
        assert_eq!(sent_to(&follower.persist_one(), 1), [received_in(1, index + 1, index)]);
    }
}

/// Every limit at 1, and every server makes progress all the same; with a server that was away for a while.
#[test]
fn all_limits_at_one_make_progress() {
    let mut cluster = Cluster::new(3, |config| {
        config.heartbeat_ticks = 1;
        config.election_ticks_min = 4;
        config.election_ticks_max = 9;
        config.append_entries_max = 1;
        config.append_bytes_max = 1;
        config.inflight_appends_max = 1;
        config.inflight_bytes_max = 1;
        config.command_bytes_max = 1;
        config.backlog_bytes_max = 1;
        config.unpersisted_bytes_max = 1;
        config.apply_bytes_max = 1;
        config.trailing_entries = 1;
        config.transfer_bytes_max = 1;
        config.snapshot_timeout_ticks = 1;
    });
    cluster.tick_until(100, |cluster| cluster.leader().is_some());
    let leader = cluster.leader().unwrap();
    let away = leader % 3 + 1;
    for round in 0..30 {
        if round == 10 {
            cluster.cut.insert(away);
        }
        if round == 20 {
            let index = cluster.server(leader).status().applied();
            cluster.step(leader, Event::Compact { index });
            cluster.cut.clear();
        }
        let command = [Bytes::from_static(b"x")].into();
        let actions = cluster.step(leader, Event::Start { request: RequestId(round), commands: command });
        assert!(matches!(actions[0], Action::Accepted { .. }), "{actions:?}");
        cluster.tick();
    }
    cluster.tick_until(60, Cluster::agrees);
    assert_eq!(cluster.server(away).last().index, Index(30));
    assert!(cluster.server(away).status().snapshot().last.index > Index(0), "it needed a snapshot");
}

/// What is handed out to be applied is limited by bytes; a single entry may be larger.
#[test]
fn applies_are_limited_by_bytes() {
    let two = 2 * (ENTRY_OVERHEAD_BYTES + 3);
    let mut server =
        Server::restored(Config { apply_bytes_max: two, ..config(1) }, Kept::new(1, &[1, 2, 3]).with_log(1, &[1; 5]));
    server.application_held = true;
    assert_eq!(applied(&server.receive(2, 1, heartbeat(id(1, 5), 5))), [id(1, 1), id(1, 2)]);
    assert_eq!(server.ticks(1), []);
    assert_eq!(applied(&server.step(Event::Applied(Index(2)))), [id(1, 3), id(1, 4)]);
    assert_eq!(server.step(Event::Applied(Index(5))), [], "nobody applied what was not handed out");
    assert_eq!(server.status().counters().unfounded, 1);
    assert_eq!(applied(&server.step(Event::Applied(Index(4)))), [id(1, 5)]);
}

/// The outcome says what is in memory and what is durable, and never claims more of the second.
#[test]
fn full_promises_only_what_is_durable() {
    let mut follower = Server::restored(Config { unpersisted_bytes_max: 1, ..config(2) }, Kept::new(2, &[1, 2, 3]));
    follower.disk_held = true;
    let mut actions = follower.receive(1, 1, append(NOTHING, log(1, &[1]), 0));
    for index in 1..5 {
        actions.extend(follower.receive(1, 1, append(NOTHING, log(1, &vec![1; index + 1]), 0)));
    }
    for answer in sent_to(&actions, 1) {
        let Rpc::AppendEntriesReply { outcome, .. } = answer else { panic!("{answer:?}") };
        assert_eq!(outcome, AppendOutcome::Full { received: Index(1), durable: Index(0) });
    }
}

fn arriving(from: u64, term: u64) -> Event {
    Event::Arriving { from: NodeId(from), term: Term(term) }
}

/// A message that takes long is heard while it comes in: the follower waits, and answers once in a heartbeat interval, with the
/// newest round that it has received.
#[test]
fn a_leader_is_heard_by_part_of_a_message() {
    let mut follower = Server::with_log(1, &[1, 2, 3], 1, &[1, 1]);
    follower.receive(
        2,
        1,
        Rpc::AppendEntries { prev: id(1, 2), entries: log(3, &[1]), commit: Index(0), round: 4, reply: true },
    );
    let mut answers = Vec::new();
    for _ in 0..60 {
        answers.extend(sent_to(&follower.ticks(1), 2));
        for _ in 0..3 {
            answers.extend(sent_to(&follower.step(arriving(2, 1)), 2));
        }
    }
    assert_eq!(answers, vec![matched_in(4, 3); 30], "heartbeats are two ticks apart");
    let pre_vote = Rpc::PreVote { last: id(1, 9) };
    assert_eq!(sent_to(&follower.receive(3, 1, pre_vote), 3), [PRE_REFUSED], "it hears a leader");
    follower.ticks(20);
    assert_eq!(follower.role(), (RoleKind::PreCandidate, 1), "nothing comes any more");
}

/// Nothing of these bytes has been checked: what comes from others than the known leader, or of another term, moves nothing.
#[test]
fn parts_of_other_messages_are_not_heard() {
    let mut follower = Server::new(1, &[1, 2, 3]);
    follower.raft.set_election_timeout(12);
    follower.receive(2, 3, heartbeat(NOTHING, 0));
    for _ in 0..11 {
        follower.ticks(1);
        for (from, term) in [(2, 2), (2, 4), (3, 3), (3, 4), (1, 3), (2, u64::MAX), (2, 0)] {
            assert_eq!(follower.step(arriving(from, term)), []);
        }
    }
    assert_eq!((follower.role(), follower.status().leader()), ((RoleKind::Follower, 3), Some(NodeId(2))));
    follower.ticks(1);
    assert_eq!(follower.role(), (RoleKind::PreCandidate, 3), "its election was not put off");
    assert_eq!(follower.status().counters().stale, 77);
    assert_eq!(follower.step(arriving(2, 3)), [], "it knows no leader any more");
    let mut leader = leader(|_| {});
    for _ in 0..9 {
        leader.ticks(1);
        leader.step(arriving(2, 1));
    }
    leader.ticks(1);
    assert_eq!(leader.role().0, RoleKind::Follower, "which disk the bytes come from is not known");
}

/// The answer is a promise like any other: it waits for the term, says what is durable, and that there is no room.
#[test]
fn an_answer_to_part_of_a_message_promises_only_what_is_durable() {
    let mut follower = Server::restored(Config { unpersisted_bytes_max: 1, ..config(1) }, Kept::new(1, &[1, 2, 3]));
    follower.disk_held = true;
    follower.receive(2, 1, heartbeat(NOTHING, 0));
    assert_eq!(follower.step(arriving(2, 1)), [], "the term is not durable");
    follower.persist();
    assert_eq!(sent_to(&follower.step(arriving(2, 1)), 2), [matched_in(1, 0)]);
    follower.receive(2, 1, append(NOTHING, log(1, &[1]), 0));
    follower.ticks(2);
    assert_eq!(sent_to(&follower.step(arriving(2, 1)), 2), [full_in(1, 1, 0)]);
}

/// A follower that does not answer is not sent the same entries with each heartbeat: they may still be on their way.
#[test]
fn an_unanswered_probe_is_asked_again_without_entries() {
    let mut server = Server::restored(config(1), Kept::new(1, &[1, 2, 3]).with_log(1, &[1, 1]));
    server.elect();
    server.start(&["a"]);
    server.receive(3, 2, conflict(2, id(1, 1)));
    server.receive(3, 2, matched_in(1, 1));
    assert_eq!(server.follower(3).flow, FlowKind::Replicate);
    server.step(Event::Unreachable { peer: NodeId(3) });
    for _ in 0..4 {
        let asked = [appends_to(&server.ticks(2), 3), appends_to(&server.receive(2, 2, matched(0)), 3)].concat();
        assert!(asked.iter().all(|(prev, last, _)| (*prev, *last) == (id(1, 1), 1)), "{asked:?}");
        assert_eq!(asked.len(), 1);
    }
    let fed = server.receive(3, 2, matched_in(3, 1));
    assert_eq!(appends_to(&fed, 3), [(id(1, 1), 3, 0)]);
}

/// An empty command takes next to nothing of any limit in bytes: requests, messages and what is applied at once are limited by
/// count as well.
#[test]
fn empty_entries_bounded_by_count() {
    let most = BATCH_ENTRIES_MAX;
    let empty = |count: u64| vec![Bytes::new(); usize::try_from(count).unwrap()].into();
    let mut server = leader(|config| {
        (config.append_entries_max, config.append_bytes_max) = (u64::MAX, 32 << 20);
        (config.apply_bytes_max, config.backlog_bytes_max) = (u64::MAX, u64::MAX);
        (config.inflight_bytes_max, config.inflight_appends_max) = (u64::MAX, 1);
    });
    let refused = server.step(Event::Start { request: RequestId(1), commands: empty(most + 1) });
    let why = Refusal::TooMany { count: most + 1, max: most };
    assert_eq!(refused, [Action::Refused { request: RequestId(1), why }]);
    (server.application_held, server.disk_held) = (true, true);
    let mut sizes = vec![];
    let mut note = |actions: &[Action]| {
        for action in actions {
            match action {
                Action::Persist(write) => sizes.push(write.entries.len()),
                Action::Apply(entries) => sizes.push(entries.len()),
                Action::Send { message: Message { rpc: Rpc::AppendEntries { entries, .. }, .. }, .. } => {
                    sizes.push(entries.len());
                }
                _ => {}
            }
        }
    };
    for _ in 0..16 {
        note(&server.step(Event::Start { request: RequestId(1), commands: empty(most) }));
    }
    let last = server.last().index.0;
    assert_eq!(last, 16 * most, "a million");
    // A follower is sent the rest in one message after the other. All of it is committed before any of it is durable here, and may
    // be applied at once then.
    for through in 1..=16 {
        note(&server.receive(2, 1, matched(through * most)));
    }
    note(&server.receive(3, 1, matched(last)));
    assert_eq!(server.status().commit(), Index(last));
    note(&server.persist());
    for _ in 0..16 {
        note(&server.ticks(1));
    }
    assert_eq!(server.status().handed_out(), Index(last));
    assert_eq!(sizes.iter().max(), Some(&most));
}
