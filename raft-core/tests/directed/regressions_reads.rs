//! Linearizable reads (§8, thesis §6.4): which round confirms them, who is counted, who is asked, and that each is answered
//! exactly once.

use crate::kit::*;
use raft_core::{
    Action, AppendOutcome, Change, Config, Edit, Entries, EntryId, Event, FlowKind, Incarnation, Index, Member,
    MemberRole, Membership, NodeId, Refusal, RequestId, Restored, RoleKind, Rpc, SnapshotMeta,
};

const NOTHING: EntryId = EntryId::ZERO;

impl Server {
    fn read(&mut self, request: u64) -> Vec<Action> {
        self.step(Event::Read { request: RequestId(request) })
    }
}

/// The answers to reads: the request, and the read index or the refusal.
fn answers(actions: &[Action]) -> Vec<(u64, Result<u64, Refusal>)> {
    let answers = actions.iter().filter_map(|action| match action {
        Action::Readable { request, at } => Some((request.0, Ok(at.0))),
        Action::Refused { request, why } => Some((request.0, Err(*why))),
        _ => None,
    });
    answers.collect()
}

/// The servers that are asked to echo a round at once, and the round.
fn asked(actions: &[Action]) -> Vec<(u64, u64)> {
    let asked = sent(actions).into_iter().filter_map(|(to, message)| match message.rpc {
        Rpc::AppendEntries { entries, round, reply: true, .. } if entries.is_empty() => Some((to, round)),
        _ => None,
    });
    asked.collect()
}

/// The questions to leaders: to whom, and which.
fn questions(actions: &[Action]) -> Vec<(u64, u64)> {
    let questions = sent(actions).into_iter().filter_map(|(to, message)| match message.rpc {
        Rpc::ReadIndex { boot: 1, seq } => Some((to, seq)),
        _ => None,
    });
    questions.collect()
}

/// The answers to the questions of others: to whom, and the boot, the number and the read index.
fn replies(actions: &[Action]) -> Vec<(u64, (u64, u64, u64))> {
    let replies = sent(actions).into_iter().filter_map(|(to, message)| match message.rpc {
        Rpc::ReadIndexReply { boot, seq, at } => Some((to, (boot, seq, at.0))),
        _ => None,
    });
    replies.collect()
}

fn question(boot: u64, seq: u64) -> Rpc {
    Rpc::ReadIndex { boot, seq }
}

fn reply(seq: u64, at: u64) -> Rpc {
    Rpc::ReadIndexReply { boot: 1, seq, at: Index(at) }
}

fn refused(request: u64, why: Refusal) -> Vec<(u64, Result<u64, Refusal>)> {
    vec![(request, Err(why))]
}

fn not_leader(leader: Option<u64>) -> Refusal {
    Refusal::NotLeader { leader: leader.map(NodeId) }
}

/// A leader in term 1 with `x` committed at 1: everyone has answered round 1.
fn ready_of(members: Membership) -> Server {
    let others: Vec<u64> = members.ids().filter(|id| *id != NodeId(1)).map(|id| id.0).collect();
    let snapshot = SnapshotMeta { last: NOTHING, membership: members.into() };
    let mut server = Server::restored(config(1), Kept { snapshot, ..Kept::new(1, &[]) });
    server.elect();
    others.iter().for_each(|&peer| drop(server.receive(peer, 1, matched(0))));
    server.start(&["x"]);
    others.iter().for_each(|&peer| drop(server.receive(peer, 1, matched(1))));
    assert_eq!(server.role().0, RoleKind::Leader);
    assert!(server.status().applied() >= Index(1));
    server
}

fn ready() -> Server {
    ready_of(membership(&[1, 2, 3]))
}

/// Server 1, which follows server 2 in term 1 and holds an entry that is committed.
fn follower() -> Server {
    let mut follower = Server::new(1, &[1, 2, 3]);
    follower.receive(2, 1, append(NOTHING, log(1, &[1]), 1));
    assert_eq!(follower.status().applied(), Index(1));
    follower
}

/// A leader does not know what its predecessors have committed before an entry of its own term is (§8).
#[test]
fn read_before_first_commit() {
    let mut leader = Server::with_log(1, &[1, 2, 3], 1, &[1, 1]);
    leader.elect();
    leader.receive(2, 2, matched(2));
    assert_eq!(answers(&leader.read(1)), refused(1, Refusal::NotReady));
    assert_eq!(leader.status().commit(), Index(0));
    // Others keep asking: it says nothing until it knows.
    assert_eq!(leader.receive(3, 2, question(9, 1)), []);
    leader.start(&["x"]);
    assert_eq!(answers(&leader.read(2)), refused(2, Refusal::NotReady));
    leader.receive(2, 2, matched(3));
    assert_eq!(answers(&leader.read(3)), []);
    assert_eq!(answers(&leader.receive(2, 2, matched_in(2, 3))), [(3, Ok(3))]);
}

/// A leader that restarts and wins again knows nothing of what it had committed: it answers no read before it knows.
#[test]
fn recovered_leader_reads_nothing_before_it_commits() {
    let mut restarted = ready().crashed();
    restarted.elect();
    restarted.receive(2, 2, matched(1));
    assert_eq!(answers(&restarted.read(1)), refused(1, Refusal::NotReady));
    // Alone it is the same.
    let mut alone = ready_of(membership(&[1])).crashed();
    alone.elect();
    assert_eq!(answers(&alone.read(1)), refused(1, Refusal::NotReady));
    alone.start(&["y"]);
    assert_eq!(answers(&alone.read(2)), [(2, Ok(2))]);
}

/// Right after an election or a restart, before any command: the no-op is all that a read needs.
#[test]
fn query_with_no_op_tail() {
    let with_noop = |kept| Server::restored(Config { leader_noop: true, ..config(1) }, kept);
    let mut leader = with_noop(Kept::new(1, &[1, 2, 3]));
    for term in 1..=3 {
        leader.elect();
        leader.receive(2, term, matched(term));
        assert_eq!(leader.status().applied(), Index(term));
        leader.read(term);
        assert_eq!(answers(&leader.receive(3, term, matched_in(2, 0))), [(term, Ok(term))], "term {term}");
        leader = with_noop(leader.kept);
    }
    // A follower behind it reads as well.
    let mut server = with_noop(Kept::new(1, &[1, 2, 3]));
    server.receive(2, 1, heartbeat(NOTHING, 0));
    server.read(1);
    server.receive(2, 1, reply(1, 1));
    assert_eq!(answers(&server.receive(2, 1, append(NOTHING, log(1, &[1]), 1))), [(1, Ok(1))]);
}

/// The read index is the commit index at arrival; what confirms it is a round that began then or later, and nothing older.
#[test]
fn a_read_waits_for_a_round_that_began_after_it() {
    let mut leader = ready();
    let actions = leader.read(5);
    assert_eq!((answers(&actions), asked(&actions)), (vec![], vec![(2, 2), (3, 2)]));
    let empty = (id(1, 1), 1, 1);
    assert_eq!([appends_to(&actions, 2), appends_to(&actions, 3)], [vec![empty], vec![empty]]);
    assert_eq!(answers(&leader.receive(2, 1, matched_in(1, 1))), [], "an echo of an earlier round");
    leader.start(&["y"]);
    leader.receive(3, 1, matched_in(1, 2));
    assert_eq!(leader.status().commit(), Index(2));
    assert_eq!(answers(&leader.receive(3, 1, matched_in(2, 2))), [(5, Ok(1))], "as it was when it arrived");
    assert_eq!(answers(&leader.receive(2, 1, matched_in(2, 2))), [], "once");
}

/// Whatever the outcome, an echo is one: a full or a contradicting follower has heard this leader too.
#[test]
fn every_answer_of_the_own_term_echoes_its_round() {
    let full = AppendOutcome::Full { received: Index(1), durable: Index(1) };
    let conflict = AppendOutcome::Conflict { prev: Index(2), hint: NOTHING };
    for outcome in [full, conflict] {
        let mut leader = ready();
        leader.read(1);
        assert_eq!(answers(&leader.receive(2, 1, Rpc::AppendEntriesReply { round: 2, outcome })), [(1, Ok(1))]);
    }
}

/// Reads that come while a round is being confirmed share the next one, which begins with the end of that one. All of them
/// are answered by it.
#[test]
fn read_queue_drain() {
    let mut leader = ready();
    assert_eq!(asked(&leader.read(1)), [(2, 2), (3, 2)]);
    for request in 2..=4 {
        assert_eq!(leader.read(request), []);
    }
    let actions = leader.receive(2, 1, matched_in(2, 1));
    assert_eq!((answers(&actions), asked(&actions)), (vec![(1, Ok(1))], vec![(2, 3), (3, 3)]));
    assert_eq!(leader.receive(3, 1, matched_in(2, 1)), [], "of the round that is over");
    let actions = leader.receive(3, 1, matched_in(3, 1));
    assert_eq!((answers(&actions), asked(&actions)), ((2..=4).map(|i| (i, Ok(1))).collect(), vec![]));
}

/// The next heartbeat begins the next round, if that comes first: one lost message does not hold up all reads.
#[test]
fn the_next_round_begins_with_the_next_heartbeat_at_the_latest() {
    let mut leader = ready();
    leader.read(1);
    leader.read(2);
    assert_eq!(asked(&leader.ticks(2)), [(2, 3), (3, 3)], "a heartbeat, and nothing beside it");
    leader.read(3);
    assert_eq!(answers(&leader.receive(2, 1, matched_in(3, 1))), [(1, Ok(1)), (2, Ok(1))]);
    assert_eq!(answers(&leader.receive(2, 1, matched_in(4, 1))), [(3, Ok(1))]);
}

/// A follower is not asked twice in a round, and a heartbeat in which it was asked is enough for whoever waits.
#[test]
fn nobody_is_asked_twice_in_a_round() {
    let mut leader = ready();
    leader.read(1);
    assert_eq!(asked(&leader.read(2)), []);
    assert_eq!(asked(&leader.ticks(1)), []);
    assert_eq!(asked(&leader.ticks(1)), [(2, 3), (3, 3)]);
    assert_eq!(asked(&leader.ticks(1)), []);
}

/// A leader that leads no more refuses what it has not confirmed, once, with its successor's name if it knows it. What is
/// confirmed stays true.
#[test]
fn reads_fail_once() {
    // It hears of a newer term from a candidate, and does not know who will lead.
    let newer = Rpc::PreVoteReply { granted: false };
    let successor = heartbeat(NOTHING, 0);
    for (rpc, leader_of_next) in [(newer, None), (successor, Some(2))] {
        let mut leader = ready();
        leader.application_held = true;
        leader.start(&["y"]);
        leader.receive(2, 1, matched(2));
        leader.read(1);
        leader.receive(3, 1, matched_in(2, 1));
        leader.read(2);
        leader.read(3);
        leader.receive(2, 1, question(9, 1));
        let why = not_leader(leader_of_next);
        assert_eq!(answers(&leader.receive(2, 2, rpc)), [(2, Err(why)), (3, Err(why))]);
        assert_eq!(answers(&leader.step(Event::Applied(Index(2)))), [(1, Ok(2))]);
        assert_eq!(answers(&leader.ticks(15)), []);
        // It leads again, through more rounds than it had then: the question of that time is not answered in this one.
        leader.elect();
        for round in 1..=5 {
            leader.ticks(2);
            let echo = leader.receive(2, leader.role().1, matched_in(round, 2));
            assert_eq!((answers(&echo), replies(&echo)), (vec![], vec![]));
        }
    }
    // Out of touch with its quorum.
    let mut leader = ready();
    leader.read(1);
    assert_eq!(answers(&leader.ticks(10)), refused(1, not_leader(None)));
}

/// A server that forwarded reads and then wins an election refuses them: its clients ask again in a moment.
#[test]
fn a_follower_that_becomes_leader_refuses_what_it_had_forwarded() {
    let mut server = follower();
    assert_eq!(questions(&server.read(1)), [(2, 1)]);
    server.read(2);
    let mut candidate = server.clone();
    assert_eq!(answers(&candidate.campaign()), []);
    assert_eq!(answers(&candidate.receive(3, 2, GRANTED)), [(1, Err(Refusal::NotReady)), (2, Err(Refusal::NotReady))]);
    let stale = candidate.status().counters().stale;
    assert_eq!(answers(&candidate.receive(2, 2, reply(1, 1))), []);
    assert_eq!(candidate.status().counters().stale, stale + 1);
}

/// A group of one voter has its quorum at once, and so has whoever asks it.
#[test]
fn one_voter_leader_answers_learner_read() {
    let members = Membership::joint([NodeId(1)], [], [NodeId(2)]);
    let mut leader = ready_of(members);
    let at = leader.status().applied().0;
    assert_eq!(answers(&leader.read(1)), [(1, Ok(at))]);
    assert_eq!(replies(&leader.receive(2, 1, question(9, 1))), [(2, (9, 1, at))]);
}

/// A majority, the leader itself among it, of voters only.
#[test]
fn read_quorum_exact() {
    let ids = |ids: &[u64]| ids.iter().map(|&id| NodeId(id)).collect::<Vec<_>>();
    // Who is not enough, in this order, and who decides.
    let cases = [
        (membership(&[1, 2]), vec![], 2),
        (membership(&[1, 2, 3]), vec![], 2),
        (membership(&[1, 2, 3, 4]), vec![2], 3),
        (membership(&[1, 2, 3, 4, 5]), vec![2], 5),
        (Membership::joint(ids(&[1, 2, 3]), [], ids(&[4, 5])), vec![4, 5], 3),
    ];
    for (members, undecided, decisive) in cases {
        let mut leader = ready_of(members.clone());
        let voters: Vec<_> = members.members().iter().filter(|m| m.votes() && m.id != NodeId(1)).collect();
        assert_eq!(asked(&leader.read(7)), voters.iter().map(|m| (m.id.0, 2)).collect::<Vec<_>>(), "{members}");
        for &follower in &undecided {
            assert_eq!(answers(&leader.receive(follower, 1, matched_in(2, 1))), [], "{members}: {follower}");
            // An echo of an earlier round that comes late takes nothing back.
            assert_eq!(answers(&leader.receive(follower, 1, matched_in(1, 1))), [], "{members}: {follower}");
        }
        assert_eq!(answers(&leader.receive(decisive, 1, matched_in(2, 1))), [(7, Ok(1))], "{members}");
    }
}

/// An echo counts from the disk that counts, and from no other that goes by the same name.
#[test]
fn only_recorded_disks_confirm() {
    let member = |id: u64, disk| Member { disk, ..Member::new(NodeId(id), MemberRole::Voter) };
    let members = |third| {
        let members = vec![member(1, life(1)), member(2, life(2)), member(3, third)];
        Membership::from_members(NOTHING, members).unwrap()
    };
    for (third, counts) in [(life(3), true), (Incarnation::joined(77), false), (Incarnation(0), true)] {
        let mut leader = ready_of(members(third));
        leader.read(1);
        assert_eq!(!answers(&leader.receive(3, 1, matched_in(2, 1))).is_empty(), counts, "{third}");
        assert_eq!(answers(&leader.receive(2, 1, matched_in(2, 1))).is_empty(), counts, "{third}");
    }
    // Nobody recorded: whoever was born with the cluster counts, and no newcomer that answers for it.
    let mut leader = ready_of(membership(&[1, 2, 3]));
    leader.read(1);
    let newcomer = Incarnation::joined(77);
    assert_eq!(answers(&leader.receive_from_life(2, newcomer, 1, matched_in(2, 0))), []);
    assert_eq!(answers(&leader.receive_from_life(2, newcomer, 1, matched_in(2, 0))), []);
    assert_eq!(answers(&leader.receive(3, 1, matched_in(2, 1))), [(1, Ok(1))]);
}

/// The answer to a request of an older term echoes nothing: a leader that leads again must not take it for an echo.
#[test]
fn an_answer_of_an_older_term_confirms_nothing() {
    let mut leader = ready();
    leader.read(1);
    let stale = Rpc::AppendEntriesReply { round: 0, outcome: AppendOutcome::OlderTerm };
    assert_eq!(answers(&leader.receive(2, 1, stale)), []);
    let from_the_future = leader.receive(2, 1, matched_in(3, 1));
    assert_eq!((answers(&from_the_future), leader.status().counters().malformed), (vec![], 1));
}

/// A read is answered when the application has applied so far, not before; nor while the application is being given a
/// snapshot.
#[test]
fn a_read_waits_for_the_application() {
    let mut leader = ready();
    leader.application_held = true;
    leader.start(&["y", "z"]);
    leader.receive(2, 1, matched(3));
    leader.read(1);
    assert_eq!(answers(&leader.receive(2, 1, matched_in(2, 3))), []);
    assert_eq!(answers(&leader.step(Event::Applied(Index(2)))), []);
    assert_eq!(answers(&leader.step(Event::Applied(Index(3)))), [(1, Ok(3))]);
}

#[test]
fn a_read_waits_while_a_snapshot_is_being_installed() {
    let mut server = follower();
    (server.application_held, server.disk_held) = (true, true);
    server.receive_snapshot(2, 1, &snapshot(id(1, 9)));
    server.read(1);
    // It has applied so far. But its state is about to be replaced.
    assert_eq!(answers(&server.receive(2, 1, reply(1, 1))), []);
    let actions = server.persist();
    assert!(actions.contains(&Action::Restore(snapshot(id(1, 9)))), "{actions:?}");
    assert_eq!(answers(&actions), []);
    assert_eq!(answers(&server.step(Event::Applied(Index(9)))), [(1, Ok(1))]);
}

/// After a restart the application gets its snapshot first.
#[test]
fn a_read_waits_for_the_first_restore() {
    let kept = Kept { snapshot: snapshot(id(1, 4)), ..Kept::new(1, &[1, 2, 3]) }.with_log(1, &[]);
    let mut server = Server::restored(config(1), kept);
    server.application_held = true;
    server.receive(2, 1, heartbeat(id(1, 4), 4));
    server.read(1);
    assert_eq!(answers(&server.receive(2, 1, reply(1, 0))), []);
    assert_eq!(answers(&server.step(Event::Applied(Index(4)))), [(1, Ok(0))]);
}

/// Another server asks its leader, and answers when it has applied as much as the leader said.
#[test]
fn a_follower_asks_its_leader() {
    let mut server = follower();
    let actions = server.read(1);
    assert_eq!(sent_to(&actions, 2), [question(1, 1)]);
    assert_eq!((sent(&actions).len(), answers(&actions)), (1, vec![]));
    assert_eq!(answers(&server.receive(2, 1, reply(1, 2))), []);
    assert_eq!(answers(&server.receive(2, 1, append(id(1, 1), log(2, &[1]), 2))), [(1, Ok(2))]);
    // The same answer again says nothing about a later read.
    assert_eq!(questions(&server.read(2)), [(2, 2)]);
    assert_eq!(answers(&server.receive(2, 1, reply(1, 2))), []);
    assert_eq!(answers(&server.receive(2, 1, reply(2, 2))), [(2, Ok(2))]);
    assert_eq!(answers(&server.receive(2, 1, reply(2, 2))), []);
    assert_eq!(server.status().counters().stale, 2);
}

/// A read that comes while a question is under way waits for the next: the answer may be older than it.
#[test]
fn a_read_joins_only_a_question_that_was_not_sent() {
    let mut server = follower();
    server.read(1);
    for request in [2, 3] {
        assert_eq!(sent(&server.read(request)), []);
    }
    let actions = server.receive(2, 1, reply(1, 1));
    assert_eq!((answers(&actions), questions(&actions)), (vec![(1, Ok(1))], vec![(2, 2)]));
    assert_eq!(answers(&server.receive(2, 1, reply(2, 1))), [(2, Ok(1)), (3, Ok(1))]);
    // Before a leader is known nothing is sent, and all join.
    let mut lost = Server::new(1, &[1, 2, 3]);
    assert_eq!((lost.read(1), lost.read(2)), (vec![], vec![]));
    assert_eq!(questions(&lost.receive(3, 1, heartbeat(NOTHING, 0))), [(3, 1)]);
    assert_eq!(answers(&lost.receive(3, 1, reply(1, 0))), [(1, Ok(0)), (2, Ok(0))]);
}

/// Answers of an earlier start of this server are none of this one's.
#[test]
fn an_answer_to_an_earlier_start_is_not_taken() {
    let mut server = follower();
    server.read(1);
    let earlier = Rpc::ReadIndexReply { boot: 2, seq: 1, at: Index(1) };
    assert_eq!(answers(&server.receive(2, 1, earlier)), []);
    assert_eq!(answers(&server.receive(2, 1, reply(1, 1))), [(1, Ok(1))]);
}

/// A driver that gives no number to each start gets no forwarded reads: it could not tell such answers.
#[test]
fn without_a_boot_number_nothing_is_forwarded() {
    let config = config(1);
    let restored = Restored { boot: 0, ..Kept::new(1, &[1, 2, 3]).restored(0) };
    let mut server = Server::restored(config.clone(), Kept::new(1, &[1, 2, 3]));
    server.raft = raft_core::Raft::new(config, restored).unwrap();
    assert_eq!(answers(&server.read(1)), refused(1, not_leader(None)));
    server.receive(3, 1, heartbeat(NOTHING, 0));
    let actions = server.read(2);
    assert_eq!((answers(&actions), sent(&actions)), (refused(2, not_leader(Some(3))), vec![]));
    // As a leader it needs none.
    server.elect();
    server.start(&["x"]);
    server.receive(2, 2, matched(1));
    server.read(3);
    assert_eq!(answers(&server.receive(2, 2, matched_in(2, 1))), [(3, Ok(1))]);
}

/// The question is asked again at each heartbeat of the own clock, with the same number, and at once after a change of
/// leader.
#[test]
fn a_question_is_asked_again() {
    let mut server = follower();
    server.read(1);
    server.read(2);
    assert_eq!(questions(&server.ticks(1)), []);
    assert_eq!(questions(&server.ticks(1)), [(2, 1)]);
    assert_eq!(questions(&server.ticks(2)), [(2, 1)]);
    // A newer term: nobody is asked until its leader is heard.
    assert_eq!(questions(&server.receive(3, 2, PRE_REFUSED)), []);
    assert_eq!(questions(&server.ticks(4)), []);
    assert_eq!(questions(&server.receive(3, 2, heartbeat(id(1, 1), 1))), [(3, 1)]);
    // The same server leads again: it has forgotten the question.
    assert_eq!(questions(&server.receive(3, 4, heartbeat(id(1, 1), 1))), [(3, 1)]);
    assert_eq!(answers(&server.receive(3, 4, reply(1, 1))), [(1, Ok(1))]);
}

/// Whoever gets no answer for the longest election timeout hears so, each read counted from its arrival.
#[test]
fn a_read_is_given_up_after_the_longest_election_timeout() {
    let longest = config(1).election_ticks_max;
    let mut server = follower();
    server.read(1);
    let mut told = vec![];
    for tick in 1..=2 * longest {
        if tick == 7 {
            server.read(2);
        }
        server.receive(2, 1, heartbeat(id(1, 1), 1));
        told.extend(answers(&server.ticks(1)).into_iter().map(|answer| (tick, answer)));
    }
    assert_eq!(told, [(longest, (1, Err(Refusal::NoLeader))), (longest + 6, (2, Err(Refusal::NoLeader)))]);
    // Its question is void: the read behind it had one of its own, and what comes next has a newer one.
    assert_eq!(questions(&server.read(3)), [(2, 3)]);
    assert_eq!(answers(&server.receive(2, 1, reply(2, 1))), []);
}

/// A read index was given, and no leader is heard any more: who reads what is committed here waits for the application alone, and
/// who would need more of the log hears that nobody brings it. As long as a leader is heard, it may.
#[test]
fn a_read_is_refused_where_nobody_brings_the_log() {
    let longest = config(1).election_ticks_max;
    let confirmed_at = |at| {
        let mut server = follower();
        server.application_held = true;
        server.receive(2, 1, append(id(1, 1), log(2, &[1]), 2));
        server.raft.set_election_timeout(1000);
        server.read(1);
        assert_eq!(answers(&server.receive(2, 1, reply(1, at))), []);
        server
    };
    let mut needs_more = confirmed_at(3);
    for _ in 0..2 * longest {
        needs_more.receive(2, 1, heartbeat(id(1, 2), 2));
        assert_eq!(answers(&needs_more.ticks(1)), [], "its leader is heard");
    }
    needs_more.raft.set_election_timeout(1000);
    assert_eq!(answers(&needs_more.ticks(longest - 2)), []);
    assert_eq!(answers(&needs_more.ticks(1)), refused(1, Refusal::NoLeader));
    let mut has_it = confirmed_at(2);
    assert_eq!(answers(&has_it.ticks(2 * longest)), []);
    assert_eq!(answers(&has_it.step(Event::Applied(Index(2)))), [(1, Ok(2))]);
}

/// A sleeping driver wakes up in time to ask again and to give up.
#[test]
fn a_driver_does_not_sleep_past_a_read() {
    let mut server = Server::restored(Config { heartbeat_ticks: 8, ..config(1) }, Kept::new(1, &[1, 2, 3]));
    server.receive(2, 1, heartbeat(NOTHING, 0));
    server.ticks(3);
    server.read(1);
    server.ticks(5);
    assert_eq!(server.raft.ticks_until_due(), 3, "the question");
    let mut lost = Server::restored(Config { heartbeat_ticks: 8, ..config(1) }, Kept::new(1, &[1, 2, 3]));
    lost.raft.set_election_timeout(1000);
    lost.read(1);
    lost.ticks(15);
    assert_eq!(lost.raft.ticks_until_due(), 5, "the end of its patience");
    assert_eq!(answers(&lost.ticks(5)), refused(1, Refusal::NoLeader));
    assert_eq!(lost.raft.ticks_until_due(), 8);
}

/// Asking again neither moves nor restarts anything at the leader: else a confirmation that takes longer than a heartbeat
/// would never end.
#[test]
fn a_question_keeps_its_place() {
    let mut leader = ready();
    assert_eq!(asked(&leader.receive(2, 1, question(9, 4))), [(2, 2), (3, 2)]);
    leader.start(&["y"]);
    leader.receive(3, 1, matched_in(1, 2));
    for _ in 0..2 {
        assert_eq!(leader.receive(2, 1, question(9, 4)), []);
        leader.ticks(2);
    }
    assert_eq!(leader.receive(2, 1, question(9, 3)), [], "it came late");
    assert_eq!(replies(&leader.receive(3, 1, matched_in(2, 2))), [(2, (9, 4, 1))]);
    // It is answered and forgotten; who asks again, because the answer was lost, gets another one.
    assert_eq!(replies(&leader.receive(3, 1, matched_in(3, 2))), []);
    leader.receive(2, 1, question(9, 4));
    assert_eq!(replies(&leader.receive(3, 1, matched_in(5, 2))), [(2, (9, 4, 2))]);
}

/// Others are told what is committed, not what this server's application has got to.
#[test]
fn a_question_is_answered_with_the_commit_index() {
    let mut leader = ready();
    leader.application_held = true;
    leader.start(&["y"]);
    leader.receive(2, 1, matched(2));
    leader.receive(3, 1, question(9, 1));
    assert_eq!(replies(&leader.receive(2, 1, matched_in(2, 2))), [(3, (9, 1, 2))]);
}

/// One question per server is kept: the newest of its newest start.
#[test]
fn a_newer_question_takes_the_place_of_an_older_one() {
    for (newer, of) in [((9, 5), "the same start"), ((3, 1), "another start")] {
        let mut leader = ready();
        leader.receive(2, 1, question(9, 4));
        // Nobody waits for the round of the older one any more.
        assert_eq!(asked(&leader.receive(2, 1, question(newer.0, newer.1))), [(2, 3), (3, 3)]);
        assert_eq!(leader.receive(3, 1, matched_in(2, 1)), [], "{of}");
        assert_eq!(replies(&leader.receive(3, 1, matched_in(3, 1))), [(2, (newer.0, newer.1, 1))], "{of}");
    }
}

/// Who is no member is not answered, who does not lead answers nobody.
#[test]
fn only_a_leader_answers_and_only_members() {
    let mut leader = ready();
    assert_eq!(leader.receive(9, 1, question(9, 1)), []);
    assert_eq!(leader.status().counters().not_a_member, 1);
    assert_eq!(answers(&leader.receive(2, 1, matched_in(1, 1))), []);
    let mut server = follower();
    assert_eq!(server.receive(2, 1, question(9, 1)), []);
    assert_eq!(server.status().counters().stale, 1);
}

/// Neither message raises a term, nor is one of another term answered: who asks hears of the term by other messages.
#[test]
fn neither_question_nor_answer_raises_a_term() {
    let mut leader = ready();
    for term in [0, 2] {
        assert_eq!(leader.receive(2, term, question(9, 1)), []);
    }
    assert_eq!(leader.role(), (RoleKind::Leader, 1));
    let mut server = follower();
    server.read(1);
    for term in [0, 2] {
        assert_eq!(server.receive(2, term, reply(1, 1)), []);
    }
    assert_eq!((server.role(), server.status().leader()), ((RoleKind::Follower, 1), Some(NodeId(2))));
}

#[test]
fn too_many_reads_are_refused() {
    let mut config = config(1);
    config.reads_max = 2;
    let mut leader = Server::restored(config.clone(), Kept::new(1, &[1, 2, 3]));
    leader.elect();
    leader.start(&["x"]);
    leader.receive(2, 1, matched(1));
    leader.application_held = true;
    leader.start(&["y"]);
    leader.receive(2, 1, matched(2));
    leader.read(1);
    leader.receive(2, 1, matched_in(2, 2));
    leader.read(2);
    // One waits for the application and one for its round. What others ask is not counted.
    leader.receive(3, 1, question(9, 1));
    let full = Refusal::TooManyReads { max: 2 };
    assert_eq!(answers(&leader.read(3)), refused(3, full));
    assert_eq!(answers(&leader.step(Event::Applied(Index(2)))), [(1, Ok(2))]);
    assert_eq!(answers(&leader.read(4)), []);
    let mut server = Server::restored(config, Kept::new(1, &[1, 2, 3]));
    server.receive(2, 1, heartbeat(NOTHING, 0));
    server.read(1);
    server.read(2);
    assert_eq!(answers(&server.read(3)), refused(3, full));
    server.receive(2, 1, reply(1, 0));
    assert_eq!(answers(&server.read(4)), []);
    assert_eq!(answers(&server.read(5)), refused(5, full));
}

/// Every voter is asked, whatever flows to it: with a full window, while a probe waits, while a snapshot is on its way.
#[test]
fn a_round_reaches_every_flow() {
    let mut config = config(1);
    config.inflight_appends_max = 1;
    let mut leader = Server::restored(config, Kept::new(1, &[1, 2, 3, 4]));
    leader.elect();
    for peer in [2, 3, 4] {
        leader.receive(peer, 1, matched(0));
    }
    leader.start(&["x"]);
    leader.receive(2, 1, matched(1));
    leader.receive(3, 1, matched(1));
    leader.step(Event::Compact { index: Index(1) });
    // 2 has its window full, 3 was lost touch with, 4 lacks what is compacted.
    leader.start(&["y"]);
    leader.step(Event::Unreachable { peer: NodeId(3) });
    leader.step(Event::Unreachable { peer: NodeId(4) });
    leader.ticks(2);
    leader.step(Event::Unreachable { peer: NodeId(3) });
    leader.start(&["z"]);
    let flow = |peer| leader.follower(peer).flow;
    assert_eq!([2, 3, 4].map(flow), [FlowKind::Replicate, FlowKind::Probe, FlowKind::Snapshot]);
    let actions = leader.read(1);
    assert_eq!(asked(&actions), [(2, 3), (3, 3), (4, 3)]);
    let matched_there = [(2, id(1, 1)), (3, id(1, 1)), (4, NOTHING)];
    for (peer, prev) in matched_there {
        assert_eq!(appends_to(&actions, peer), [(prev, prev.index.0, 1)]);
    }
    assert!(snapshots_sent(&actions).is_empty());
    leader.receive(4, 1, matched_in(3, 0));
    assert_eq!(answers(&leader.receive(3, 1, matched_in(3, 1))), [(1, Ok(1))]);
    assert_eq!(leader.follower(4).flow, FlowKind::Snapshot, "an echo ends no transfer");
}

/// An append with entries is answered when they are durable. A read does not wait for that: its follower is asked beside it.
#[test]
fn a_round_does_not_wait_behind_entries() {
    let mut leader = ready();
    leader.step(Event::Unreachable { peer: NodeId(2) });
    leader.start(&["y"]);
    leader.read(1);
    leader.read(2);
    // The heartbeat begins the second read's round. To 2, which is out of reach, it is a probe without entries.
    let actions = leader.ticks(2);
    assert_eq!(asked(&actions), [(2, 3), (3, 3)]);
    assert_eq!(appends_to(&actions, 2), [(id(1, 1), 1, 1)]);
    // The follower's end: what asks to be echoed is, though entries wait for its disk.
    let mut server = follower();
    server.disk_held = true;
    assert_eq!(sent(&server.receive(2, 1, append(id(1, 1), log(2, &[1]), 1))), []);
    let ask = Rpc::AppendEntries { prev: id(1, 1), entries: Entries::new(), commit: Index(1), round: 8, reply: true };
    assert_eq!(sent_to(&server.receive(2, 1, ask), 2), [received_in(8, 2, 1)]);
}

/// Rounds that confirm reads are none of the flow's: an answer to one of them says nothing of what was sent before it.
#[test]
fn a_round_of_reads_takes_nothing_for_lost() {
    let mut leader = ready();
    leader.start(&["y"]);
    leader.read(1);
    // Entry 2 is on its way. Round 2 began after it, but no heartbeat did.
    assert_eq!(sent_to(&leader.receive(2, 1, received_in(2, 1, 1)), 2), []);
    leader.ticks(2);
    leader.read(2);
    assert_eq!(
        sent_to(&leader.receive(2, 1, received_in(2, 1, 1)), 2),
        [],
        "it answers what came before the heartbeat"
    );
    assert_eq!(leader.follower(2).inflight, 1);
    // Round 3, of the heartbeat, and round 4, of a read, say that it is lost.
    for round in [3, 4] {
        let resent = leader.clone().receive(2, 1, received_in(round, 1, 1));
        assert_eq!(appends_to(&resent, 2).first(), Some(&(id(1, 1), 2, 1)), "{round}");
    }
}

/// News of a commit that only a follower with the entries can follow is told again, though a round carried it.
#[test]
fn a_round_does_not_take_news_of_commits_away() {
    let mut leader = ready();
    leader.step(Event::Unreachable { peer: NodeId(2) });
    leader.start(&["y"]);
    leader.receive(3, 1, matched(2));
    leader.read(1);
    let actions = leader.receive(2, 1, matched_in(2, 2));
    assert_eq!(appends_to(&actions, 2), [(id(1, 2), 2, 2)]);
}

/// While a configuration is joint, a read is confirmed by a quorum of each half (§6).
#[test]
fn reads_need_both_halves() {
    // Whom an operator removes, who is not enough, and who is then.
    for (removed, not_enough, enough) in [(vec![3], Some(3), 2), (vec![2, 3], None, 3)] {
        let mut leader = ready();
        let edits = removed.iter().map(|id| Edit::Remove { id: NodeId(*id) }).collect();
        let change = Change { expected: None, edits };
        leader.step(Event::Change { request: RequestId(9), change: change.into() });
        assert!(leader.status().membership().is_joint());
        assert_eq!(answers(&leader.read(1)), []);
        if let Some(peer) = not_enough {
            assert_eq!(answers(&leader.receive(peer, 1, matched_in(2, 1))), [], "{peer} has no vote in the new half");
        }
        assert_eq!(answers(&leader.receive(enough, 1, matched_in(2, 1))), [(1, Ok(1))], "{removed:?}");
    }
}
