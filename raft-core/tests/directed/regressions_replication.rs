//! Bugs that replication of other implementations had, each under the name of its scenario.

use crate::kit::cluster::Cluster;
use crate::kit::*;
use raft_core::{
    Action, Address, Bytes, Change, ENTRY_OVERHEAD_BYTES, Edit, EditError, Entries, EntryId, Event, FRAME_ROOM_BYTES,
    Fatal, FlowKind, Incarnation, Index, News, NodeId, Refusal, RequestId, RoleKind, Rpc, Term, WipedPolicy,
};

const NOTHING: EntryId = EntryId::ZERO;

/// Figure 8: in (c) an entry of term 2 is on a majority, and yet (d) a leader of term 5 overwrites it; once an entry of the
/// own term is on a majority (e), nobody can.
#[test]
fn figure8() {
    let members = [1, 2, 3, 4, 5];
    let start = |id, term, terms: &[u64]| Server::with_log(id, &members, term, terms);
    let mut first = start(1, 3, &[1, 2]);
    first.elect();
    assert_eq!(first.role().1, 4);
    first.start(&["x"]);
    for peer in [2, 3] {
        first.receive(peer, 4, matched(2));
    }
    assert_eq!((first.status().commit(), first.terms()), (Index(0), vec![1, 2, 4]), "(c): replicated, not committed");
    let mut later = first.clone();
    for peer in [2, 3] {
        later.receive(peer, 4, matched(3));
    }
    assert_eq!(later.status().commit(), Index(3), "(e)");

    let voters =
        [start(1, 4, &[1, 2, 4]), start(2, 4, &[1, 2]), start(3, 4, &[1, 2]), start(4, 4, &[1]), start(5, 4, &[1, 3])];
    let mut cluster = Cluster::of(voters.to_vec());
    cluster.cut.insert(1);
    let asked = cluster.server(5).time_out();
    cluster.route(5, &asked);
    cluster.tick_until(60, |cluster| cluster.leader() == Some(5));
    cluster.cut.clear();
    cluster.step(5, Event::Start { request: RequestId(1), commands: [Bytes::from("y")].into() });
    cluster.tick_until(20, Cluster::agrees);
    assert!(cluster.servers.iter().all(|server| server.terms()[1] == 3), "(d)");
}

#[test]
fn stale_append_keeps_suffix() {
    let mut server = Server::with_log(1, &[1, 2, 3], 1, &[1, 1, 1, 1, 1]);
    let actions = server.receive(2, 1, append(id(1, 1), log(2, &[1]), 0));
    assert_eq!(server.terms(), [1; 5]);
    assert_eq!(written(&actions), [], "nothing changed");
}

#[test]
fn empty_append_checks_prev() {
    let mut server = Server::with_log(1, &[1, 2, 3], 2, &[1, 1]);
    assert_eq!(sent_to(&server.receive(2, 2, heartbeat(id(2, 2), 2)), 2), [conflict(2, id(1, 2))]);
    assert_eq!(sent_to(&server.receive(2, 2, heartbeat(id(1, 3), 3)), 2), [conflict(3, id(1, 2))]);
    assert_eq!(server.status().commit(), Index(0));
}

#[test]
fn follower_commit_cap() {
    let mut server = Server::with_log(1, &[1, 2, 3], 4, &[1, 1, 3, 3]);
    server.receive(2, 4, heartbeat(id(1, 2), 4));
    assert_eq!(server.status().commit(), Index(2), "entries 3 and 4 are not the leader's");
}

#[test]
fn ack_only_verified() {
    let mut server = Server::with_log(1, &[1, 2, 3], 4, &[1, 1, 3, 3]);
    assert_eq!(sent_to(&server.receive(2, 4, heartbeat(id(1, 1), 0)), 2), [matched(1)]);
    assert_eq!(sent_to(&server.receive(2, 4, append(id(1, 1), log(2, &[1]), 0)), 2), [matched(2)]);
    for hint in [
        sent_to(&server.receive(2, 4, heartbeat(id(4, 4), 0)), 2),
        sent_to(&server.receive(2, 4, heartbeat(id(2, 3), 0)), 2),
    ] {
        let [Rpc::AppendEntriesReply { outcome: raft_core::AppendOutcome::Conflict { prev, hint }, .. }] = hint[..]
        else {
            panic!("{hint:?}")
        };
        assert!(hint.index <= prev);
    }
}

#[test]
fn next_gt_match() {
    let mut server = leader(|_| {});
    server.start(&["a", "b", "c"]);
    server.receive(2, 1, matched(2));
    let stale = server.status().counters().stale;
    for (prev, hint) in [(2, NOTHING), (1, NOTHING), (0, NOTHING), (2, id(1, 1)), (4, NOTHING)] {
        assert_eq!(server.receive(2, 1, conflict(prev, hint)), []);
    }
    for late in [1, 0, 2] {
        server.receive(2, 1, matched(late));
    }
    let follower = server.follower(2);
    assert_eq!((follower.matched, follower.next, follower.flow), (id(1, 2), Index(4), FlowKind::Replicate));
    assert_eq!(server.status().counters().stale, stale + 5);
    // A conflict beyond it is news, but never leads below it.
    server.receive(2, 1, conflict(3, NOTHING));
    assert_eq!(server.follower(2).next, Index(3));
}

/// A follower whose log differs in a hundred entries, of one or of many terms, is found out in a few questions.
#[test]
fn deep_divergence() {
    let long: Vec<u64> = [1].into_iter().chain([2; 100]).collect();
    let many: Vec<u64> = (1..=101).collect();
    let even: Vec<u64> = [1].into_iter().chain((1..=50).flat_map(|i| [2 * i; 2])).collect();
    let odd: Vec<u64> = [1].into_iter().chain((1..=50).flat_map(|i| [2 * i + 1; 2])).collect();
    let newer: Vec<u64> = [1].into_iter().chain([200; 100]).collect();
    // The leader's log, the follower's, and how many questions may be asked: about one for each term they may share.
    for (ours, theirs, questions) in
        [(&newer, &long, 3), (&newer, &many, 3), (&long, &newer, 3), (&even, &odd, 60), (&many, &long, 5)]
    {
        let mut cluster = Cluster::of(vec![
            Server::with_log(1, &[1, 2, 3], 300, ours),
            Server::with_log(2, &[1, 2, 3], 300, theirs),
            Server::with_log(3, &[1, 2, 3], 300, ours),
        ]);
        cluster.cut.insert(2);
        let asked = cluster.server(1).time_out();
        cluster.route(1, &asked);
        cluster.tick_until(3, |cluster| cluster.leader() == Some(1));
        cluster.step(1, Event::Start { request: RequestId(1), commands: [Bytes::from("x")].into() });
        cluster.cut.clear();
        let before = cluster.delivered;
        cluster.tick_until(6, Cluster::agrees);
        let messages = cluster.delivered - before;
        assert!(messages <= 2 * questions + 16, "{messages} messages for {} against {}", ours.len(), theirs.len());
        assert_eq!(cluster.servers[1].terms(), cluster.servers[0].terms());
    }
}

#[test]
fn conflict_probe_compacted() {
    // A leader that has compacted all that the follower may share sends a snapshot.
    let mut server = leader(|_| {});
    server.start(&["a", "b", "c", "d"]);
    server.receive(3, 1, matched(4));
    server.step(Event::Compact { index: Index(3) });
    for prev in [3, 4] {
        let actions = server.clone().receive(2, 1, conflict(prev, id(1, 1)));
        assert_eq!(snapshots_sent(&actions), [(2, id(1, 3))], "at once: nothing is left to ask");
    }
    // A follower that has compacted more than the leader asks about is asked about what is committed: it matches.
    let mut follower = Server::with_log(2, &[1, 2, 3], 1, &[1, 1, 1, 1]);
    follower.receive(1, 1, heartbeat(id(1, 4), 4));
    follower.step(Event::Compact { index: Index(4) });
    assert_eq!(sent_to(&follower.receive(1, 1, append(id(1, 1), log(2, &[1, 1, 1, 1]), 4)), 1), [matched(5)]);
    assert_eq!(sent_to(&follower.receive(1, 1, heartbeat(id(1, 9), 4)), 1), [conflict(9, id(1, 5))]);
}

#[test]
fn inflight_bytes_reset() {
    let mut server = leader(|config| config.inflight_bytes_max = 1);
    assert_eq!(appends_to(&server.start(&["a"]), 2).len(), 1);
    assert_eq!(appends_to(&server.start(&["b"]), 2).len(), 0, "the window is full");
    server.step(Event::Unreachable { peer: NodeId(2) });
    server.ticks(2);
    let resent = server.receive(2, 1, matched_in(server_round(&server), 0));
    assert_eq!(appends_to(&resent, 2), [(NOTHING, 2, 0)], "all of it in one batch: the window is new");
}

/// The round that a leader is in, which its followers would answer.
fn server_round(server: &Server) -> u64 {
    let heartbeat = server.clone().ticks(2);
    let rounds = sent(&heartbeat).into_iter().filter_map(|(_, message)| match message.rpc {
        Rpc::AppendEntries { round, .. } => Some(round),
        _ => None,
    });
    rounds.max().unwrap() - 1
}

#[test]
fn commit_lower_index() {
    let mut server = leader(|_| {});
    server.start(&["a", "b", "c"]);
    server.disk_held = true;
    server.start(&["d"]);
    server.receive(2, 1, matched(2));
    assert_eq!(server.status().commit(), Index(2), "3 is on one more disk only, but 2 on two");
    server.receive(3, 1, matched(4));
    assert_eq!(server.status().commit(), Index(3));
}

#[test]
fn uncommitted_counter_zero() {
    let mut server = leader(|config| config.backlog_bytes_max = 1);
    for index in 1..=3 {
        assert_eq!(server.status().backlog_bytes(), 0);
        let accepted = server.start(&["a command larger than the limit"]);
        assert!(matches!(accepted[0], Action::Accepted { .. }), "with nothing waiting anything is taken");
        assert!(server.status().backlog_bytes() > 0);
        assert!(matches!(server.start(&["x"])[..], [Action::Refused { why: Refusal::Busy { max: 1 }, .. }]));
        server.receive(2, 1, matched(index));
    }
}

/// Every reason not to take a command, with what a client needs to know.
#[test]
fn refusals_say_why() {
    let why = |actions: &[Action]| match actions {
        [Action::Refused { why, .. }] => *why,
        _ => panic!("{actions:?}"),
    };
    let mut server = Server::new(1, &[1, 2, 3]);
    assert_eq!(why(&server.start(&["x"])), Refusal::NotLeader { leader: None });
    server.receive(2, 1, heartbeat(NOTHING, 0));
    assert_eq!(why(&server.start(&["x"])), Refusal::NotLeader { leader: Some(NodeId(2)) });
    server.time_out();
    assert_eq!(why(&server.start(&["x"])), Refusal::NotLeader { leader: None });
    let mut server = leader(|config| config.command_bytes_max = 4);
    assert_eq!(why(&server.start(&[])), Refusal::Empty);
    assert_eq!(why(&server.start(&["x", "12345"])), Refusal::TooLarge { bytes: 5, max: 4 });
    assert_eq!(server.last(), NOTHING, "all or none");
    let backlog = 3 * (ENTRY_OVERHEAD_BYTES + 1);
    let mut server = leader(|config| config.backlog_bytes_max = backlog);
    server.application_held = true;
    server.start(&["a", "b"]);
    server.receive(2, 1, matched(2));
    assert_eq!(why(&server.start(&["c", "d"])), Refusal::Busy { max: backlog }, "committed, but not applied");
    assert!(matches!(server.start(&["c"])[0], Action::Accepted { first, .. } if first == id(1, 3)));
}

/// Limits are taken at their word: what just fits is taken, one byte more is not.
#[test]
fn commands_may_fill_the_limits() {
    let backlog = 3 * ENTRY_OVERHEAD_BYTES + 1 + 2 + 3;
    for (backlog_bytes_max, taken) in [(backlog, true), (backlog - 1, false)] {
        let mut server = leader(|config| config.backlog_bytes_max = backlog_bytes_max);
        server.start(&["a"]);
        assert_eq!(matches!(server.start(&["bb", "ccc"])[0], Action::Accepted { .. }), taken);
    }
    // All of one start become one write, which must fit into a frame.
    let megabyte = Bytes::from(vec![0; 1 << 20]);
    for more in 0..3 {
        let mut server = leader(|config| config.command_bytes_max = 1 << 20);
        let entry = megabyte.slice(usize::try_from(ENTRY_OVERHEAD_BYTES).unwrap()..);
        let mut commands = vec![entry; usize::try_from(FRAME_ROOM_BYTES >> 20).unwrap()];
        commands[7] = megabyte.slice(usize::try_from(ENTRY_OVERHEAD_BYTES).unwrap() - more..);
        let actions = server.step(Event::Start { request: RequestId(1), commands: commands.into() });
        let refused = match actions[0] {
            Action::Refused { why, .. } => Some(why),
            _ => None,
        };
        let bytes = FRAME_ROOM_BYTES + more as u64;
        assert_eq!(refused, (more > 0).then_some(Refusal::TooLarge { bytes, max: FRAME_ROOM_BYTES }));
        assert_eq!(server.last().index.0, if more > 0 { 0 } else { FRAME_ROOM_BYTES >> 20 });
    }
}

/// Who leads no more has no use for answers.
#[test]
fn answers_to_no_leader_are_stale() {
    let mut server = Server::with_log(1, &[1, 2, 3], 1, &[1]);
    for count in 1..=2 {
        assert_eq!(server.receive(2, 1, matched(1)), []);
        assert_eq!(server.status().counters().stale, count);
    }
}

/// A voter on another disk than the one that counts is told of and not counted; it is fed once the other disk is silent.
#[test]
fn wiped_follower() {
    let mut server = leader(|_| {});
    server.start(&["a"]);
    server.receive(2, 1, matched(1));
    let wiped = Incarnation::joined(9);
    let news = server.receive_from_life(2, wiped, 1, conflict(1, NOTHING));
    assert_eq!(news, [Action::News(News::PeerWiped { peer: NodeId(2) })]);
    assert_eq!(server.receive_from_life(2, wiped, 1, conflict(1, NOTHING)), [], "told once");
    assert_eq!((server.follower(2).matched, server.status().counters().wiped), (id(1, 1), 2));
    for _ in 0..40 {
        server.step(Event::Tick { elapsed: 1 });
        server.receive(3, 1, matched(0));
    }
    let probe = server.receive_from_life(2, wiped, 1, conflict(1, NOTHING));
    assert_eq!(appends_to(&probe, 2), [(NOTHING, 0, 1)], "it is searched for");
    assert_eq!((server.follower(2).matched, server.follower(2).counted), (NOTHING, false));
    assert_eq!(server.status().commit(), Index(1), "what was committed stays committed");
    server.start(&["b"]);
    server.receive_from_life(2, wiped, 1, matched(2));
    assert_eq!((server.follower(2).matched, server.status().commit()), (id(1, 2), Index(1)), "fed, and not counted");
    // A commit index beyond its log is no reason to panic for the wiped one.
    let mut wiped = Server::new(2, &[1, 2, 3]);
    assert_eq!(sent_to(&wiped.receive(1, 1, heartbeat(id(1, 1), 1)), 1), [conflict(1, NOTHING)]);
    assert_eq!(wiped.status().commit(), Index(0));
}

/// Nobody has more than was sent, or has seen a round that has not begun.
#[test]
fn answers_from_the_future_are_ignored() {
    let mut server = leader(|_| {});
    server.start(&["a", "b"]);
    for (count, impossible) in [matched(3), matched_in(2, 1)].into_iter().enumerate() {
        assert_eq!(server.receive(2, 1, impossible), []);
        assert_eq!(server.status().counters().malformed, count as u64 + 1);
        assert_eq!((server.follower(2).matched, server.status().commit()), (NOTHING, Index(0)));
    }
    server.receive(2, 1, matched(2));
    assert_eq!(server.status().commit(), Index(2));
}

#[test]
fn heartbeat_prev_is_match() {
    let mut server = leader(|_| {});
    server.start(&["a", "b"]);
    server.receive(2, 1, matched(1));
    let heartbeat = server.ticks(2);
    assert_eq!(appends_to(&heartbeat, 2), [(id(1, 1), 1, 1)], "with what is known to be there");
    assert_eq!(server.receive(2, 1, conflict(1, NOTHING)), [], "a conflict there comes from before");
    assert_eq!(server.follower(2).matched, id(1, 1));
}

/// A leader of three entries, all committed with the acknowledgement of server 2 in round 1; server 3 has none. Then round 2
/// has begun.
fn acknowledged_by_two() -> Server {
    let mut server = leader(|_| {});
    server.start(&["a", "b", "c"]);
    server.receive(2, 1, matched(3));
    server.receive(3, 1, matched(0));
    assert_eq!(server.status().commit(), Index(3));
    server.ticks(2);
    server
}

const REGRESSED: Action = Action::News(News::PeerRegressed { peer: NodeId(2) });

/// A follower whose log went back behind what it had acknowledged is told of, fed again, and not counted any more: by no commit,
/// and whatever becomes of the membership. What was committed stays.
#[test]
fn a_log_that_went_back_is_fed_and_not_counted() {
    let mut server = acknowledged_by_two();
    let actions = server.receive(2, 1, conflict_in(2, 3, id(1, 1)));
    assert_eq!(actions[0], REGRESSED);
    assert_eq!(appends_to(&actions, 2), [(id(1, 1), 1, 3)], "it is asked at once where the logs meet");
    assert_eq!((server.follower(2).matched, server.follower(2).counted), (NOTHING, false));
    assert_eq!(appends_to(&server.receive(2, 1, matched_in(2, 1)), 2), [(id(1, 1), 3, 3)], "and fed");
    assert_eq!(server.receive(2, 1, matched_in(2, 3)), [], "told once");
    assert_eq!((server.follower(2).matched, server.status().commit()), (id(1, 3), Index(3)));

    let learner = Edit::AddLearner { id: NodeId(4), address: Address::default() };
    server.step(Event::Change { request: RequestId(8), change: Change::of(learner).into() });
    assert_eq!(server.last(), id(1, 4));
    server.receive(2, 1, matched_in(2, 4));
    assert_eq!((server.follower(2).counted, server.status().commit()), (false, Index(3)));
    server.receive(3, 1, matched_in(2, 4));
    assert_eq!(server.status().commit(), Index(4));
}

/// Its disk is the one that counts, so nothing is healed: it is no server that lost its disk.
#[test]
fn a_log_that_went_back_is_not_readmitted() {
    let mut server = leader(|config| config.wiped = WipedPolicy::Heal);
    server.start(&["a", "b", "c"]);
    server.receive(2, 1, matched(3));
    server.ticks(2);
    assert!(server.receive(2, 1, conflict_in(2, 3, NOTHING)).contains(&REGRESSED));
    for round in 2..200 {
        server.receive(2, 1, matched_in(round, 3));
        server.receive(3, 1, matched_in(round, 3));
        server.ticks(2);
    }
    assert_eq!((server.role(), server.last()), ((RoleKind::Leader, 1), id(1, 3)));
}

/// What was said before an acknowledgement arrives after it as well: only a conflict in a later round than the acknowledgement
/// came in proves anything, and only at or below it.
#[test]
fn late_conflicts_are_no_logs_that_went_back() {
    for (conflict, regresses) in [
        (conflict_in(1, 3, id(1, 1)), false),
        (conflict_in(1, 1, NOTHING), false),
        (conflict_in(2, 3, id(1, 2)), true),
        (conflict_in(2, 1, NOTHING), true),
        (conflict_in(2, 0, NOTHING), false), // there every log meets every other
    ] {
        let mut server = acknowledged_by_two();
        let stale = server.status().counters().stale;
        let actions = server.receive(2, 1, conflict.clone());
        assert_eq!(actions.contains(&REGRESSED), regresses, "{conflict:?}");
        assert_eq!(server.status().counters().stale - stale, u64::from(!regresses));
        assert_eq!(server.follower(2).counted, !regresses);
    }
    // Beyond what it has acknowledged it may lack anything.
    let mut server = acknowledged_by_two();
    server.start(&["d", "e"]);
    assert!(!server.receive(2, 1, conflict_in(2, 4, id(1, 3))).contains(&REGRESSED));
    // An acknowledgement that came in the newest round says nothing of what follows before the next.
    server.receive(2, 1, matched_in(2, 5));
    assert!(!server.receive(2, 1, conflict_in(2, 5, id(1, 3))).contains(&REGRESSED));
    server.ticks(2);
    assert!(server.receive(2, 1, conflict_in(3, 5, id(1, 3))).contains(&REGRESSED));
}

/// A server comes back with an old copy of its disk. It catches up; and where its acknowledgements are needed the leader, who
/// does not count it, gives way to one who does.
#[test]
fn a_server_with_an_old_copy_of_its_disk_stands_in_nobodys_way() {
    let mut cluster = Cluster::new(3, |_| {});
    cluster.tick_until(200, |cluster| cluster.leader().is_some());
    let leader = cluster.leader().unwrap();
    let (back, third) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    let start = |cluster: &mut Cluster, leader, count| {
        let commands = (0..count).map(|_| Bytes::from_static(b"x")).collect();
        cluster.step(leader, Event::Start { request: RequestId(1), commands })
    };
    start(&mut cluster, leader, 2);
    cluster.tick_until(20, Cluster::agrees);
    let copy = cluster.server(back).kept.clone();
    start(&mut cluster, leader, 5);
    cluster.tick_until(20, Cluster::agrees);
    *cluster.server(back) = Server::restored(cluster.server(back).config.clone(), copy);
    let term = cluster.server(leader).role().1;
    cluster.tick_until(20, Cluster::agrees);
    assert_eq!(cluster.server(leader).role(), (RoleKind::Leader, term));
    assert!(!cluster.server(leader).follower(back).counted);

    cluster.cut.insert(third);
    start(&mut cluster, leader, 1);
    let leads_on = |cluster: &Cluster| cluster.servers.iter().any(|server| server.role() == (RoleKind::Leader, term));
    cluster.tick_until(200, |cluster| cluster.leader().is_some() && !leads_on(cluster));
    let leader = cluster.leader().unwrap();
    start(&mut cluster, leader, 1);
    cluster.tick_until(20, Cluster::agrees);
    assert_eq!(cluster.server(leader).status().commit(), Index(9));
}

#[test]
fn duplicate_append_idempotent() {
    let mut server = Server::new(1, &[1, 2, 3]);
    let first = append(NOTHING, log(1, &[1, 1]), 1);
    server.receive(2, 1, first.clone());
    assert_eq!(written(&server.receive(2, 1, first)), []);
    // The same entries from the next leader, who never saw the commit.
    server.receive(3, 2, append(NOTHING, log(1, &[1, 1, 2]), 0));
    assert_eq!((server.terms(), server.status().commit()), (vec![1, 1, 2], Index(1)));
    let mut leader = leader(|_| {});
    leader.start(&["a"]);
    assert_eq!(leader.receive(9, 1, matched(1)), [], "who does not belong to the cluster counts for nothing");
    assert_eq!(leader.status().counters().not_a_member, 1);
}

/// Committed entries are never replaced: a leader that tries was not elected honestly.
#[test]
fn a_contradicted_commit_halts() {
    let follower = || {
        let mut server = Server::with_log(1, &[1, 2, 3], 2, &[1, 1, 2]);
        server.receive(2, 2, heartbeat(id(2, 3), 2));
        server
    };
    let why = |ours, theirs| Some(Fatal::CommittedEntryContradicted { from: NodeId(3), ours, theirs });
    let replaced = follower().receive(3, 3, append(NOTHING, log(1, &[1, 3]), 0));
    assert_eq!(halted(&replaced), why(id(1, 2), id(3, 2)));
    assert_eq!(halted(&follower().receive(3, 3, heartbeat(id(3, 2), 0))), why(id(1, 2), id(3, 2)));
    let mut uncommitted = follower();
    assert_eq!(halted(&uncommitted.receive(3, 3, append(id(1, 2), log(3, &[3]), 0))), None);
    assert_eq!(uncommitted.terms(), [1, 1, 3]);
}

/// News of a commit goes alone only to who has nothing in flight, and asks for no answer.
#[test]
fn commit_news_ride_on_the_next_append() {
    let mut server = leader(|_| {});
    server.start(&["a"]);
    let told = server.receive(2, 1, matched(1));
    assert_eq!(sent_to(&told, 3), [], "the append to 3 is under way");
    let [Rpc::AppendEntries { prev, entries, commit, reply, .. }] = &sent_to(&told, 2)[..] else { panic!("{told:?}") };
    assert_eq!((*prev, entries, *commit, *reply), (id(1, 1), &Entries::new(), Index(1), false));
    assert_eq!(sent_to(&server.receive(2, 1, matched(1)), 2), [], "told once");
    assert_eq!(appends_to(&server.start(&["b"]), 3), [(id(1, 1), 2, 1)], "the next append carries it");

    let mut follower = Server::with_log(2, &[1, 2, 3], 1, &[1]);
    let news = Rpc::AppendEntries { prev: id(1, 1), entries: Entries::new(), commit: Index(1), round: 1, reply: false };
    let actions = follower.receive(1, 1, news);
    assert_eq!((sent(&actions), applied(&actions)), (vec![], vec![id(1, 1)]));
    assert_eq!(follower.role().0, RoleKind::Follower);
}

/// Each reason has a number that never changes, which the contract lists.
#[test]
fn reasons_have_numbers() {
    let (from, id, incarnation) = (NodeId(1), NodeId(1), Incarnation(1));
    let (max, count, bytes, at) = (1, 2, 3, NOTHING);
    let edits = [
        EditError::NoVoters,
        EditError::UnknownServer { id },
        EditError::AlreadyMember { id },
        EditError::NotAVoter { id },
        EditError::AlreadyReplaced { id },
        EditError::NotCaughtUp { id },
        EditError::TwoEdits { id },
        EditError::TooManyMembers,
        EditError::NothingToDo,
    ];
    let refusals = [
        Refusal::NotLeader { leader: None },
        Refusal::Busy { max },
        Refusal::TooLarge { bytes, max },
        Refusal::TooMany { count, max },
        Refusal::Empty,
        Refusal::LogFull,
        Refusal::NotReady,
        Refusal::ChangePending { since: at },
        Refusal::Expected { found: at },
        Refusal::Transferring,
        Refusal::NoTarget { to: None },
        Refusal::TransferTimedOut,
        Refusal::NoLeader,
        Refusal::TooManyReads { max },
    ];
    let fatal = [
        Fatal::CommittedEntryContradicted { from, ours: at, theirs: at },
        Fatal::TwoLeaders { term: Term(1), one: id, other: id },
        Fatal::Replaced { by: incarnation },
    ];
    let name = |value: &dyn std::fmt::Debug| {
        let text = format!("{value:?}");
        text.split([' ', '(']).next().unwrap().to_owned()
    };
    let refusals = refusals.iter().map(|refusal| (refusal.code(), name(refusal)));
    let edits = edits.iter().map(|error| (Refusal::Edit(*error).code(), name(error)));
    let row = |(code, name): (u16, String)| format!("| {code} | `{name}` |\n");
    let listed: String = refusals.chain(edits).map(row).collect();
    let fatal: String = fatal.iter().map(|why| row((why.code(), name(why)))).collect();
    let contract = include_str!("../../../docs/driver-contract.md");
    assert!(contract.contains(&format!("| code | `Refusal` |\n|--:|---|\n{listed}\n")), "{listed}");
    assert!(contract.contains(&format!("| code | `Fatal` |\n|--:|---|\n{fatal}\n")), "{fatal}");
}

/// What the leader's own disk commits, its followers hear at once.
#[test]
fn a_commit_by_the_own_disk_is_told() {
    let mut leader = leader(|_| ());
    leader.disk_held = true;
    leader.start(&["x"]);
    assert_eq!(leader.receive(2, 1, matched(1)), [], "one of three has it");
    let actions = leader.persist();
    assert_eq!(leader.status().commit(), Index(1));
    assert_eq!(appends_to(&actions, 2), [(id(1, 1), 1, 1)]);
}
