//! Changes of the membership (§6, thesis §4), message by message: what a leader appends by itself, who is counted, and who
//! leaves.

use crate::kit::*;
use raft_core::{
    Action, Address, Change, Config, Edit, EditError, Entries, Entry, EntryId, Event, Fatal, FlowKind, Incarnation,
    Index, Member, MemberRole, Membership, News, NodeId, Payload, Refusal, RequestId, RoleKind, Rpc, Term, WipedPolicy,
};

const NOTHING: EntryId = EntryId::ZERO;

fn asks(server: &mut Server, edit: Edit) -> Vec<Action> {
    asks_all(server, Change::of(edit))
}

fn asks_all(server: &mut Server, change: Change) -> Vec<Action> {
    server.step(Event::Change { request: RequestId(1), change: change.into() })
}

fn refused(actions: &[Action]) -> Refusal {
    let [Action::Refused { why, .. }] = actions else { panic!("not refused: {actions:?}") };
    *why
}

fn add_voter(id: u64) -> Edit {
    Edit::AddVoter { id: NodeId(id), address: Address::default() }
}

fn members(server: &Server) -> String {
    server.status().membership().to_string()
}

/// The disk of a server that joined.
fn joined(id: u64) -> Incarnation {
    Incarnation::joined(id)
}

/// A leader of three in term 1 that has committed an entry of its own.
fn ready(change: impl Fn(&mut Config)) -> Server {
    let mut server = leader(change);
    server.start(&["a"]);
    server.receive(2, 1, matched(1));
    server.receive(3, 1, matched(1));
    assert_eq!(server.status().commit(), Index(1));
    server
}

/// Servers of this life answer that they have everything, in the newest round.
fn all_matched(server: &mut Server, lives: &[(u64, Incarnation)]) -> Vec<Action> {
    let last = server.last().index.0;
    let round = newest_round(server);
    let term = server.status().term().0;
    let mut actions = vec![];
    for &(id, incarnation) in lives {
        actions.extend(server.receive_from_life(id, incarnation, term, matched_in(round, last)));
    }
    actions
}

/// The round that a heartbeat would carry: it is found by letting time pass until one is sent.
fn newest_round(server: &mut Server) -> u64 {
    for _ in 0..server.config.heartbeat_ticks {
        let rounds = server.ticks(1).into_iter().filter_map(|action| match action {
            Action::Send { message, .. } => match message.rpc {
                Rpc::AppendEntries { round, reply: true, .. } => Some(round),
                _ => None,
            },
            _ => None,
        });
        if let Some(round) = rounds.max() {
            return round;
        }
    }
    panic!("no heartbeat");
}

/// One request adds a voter: the newcomer is a learner that is wanted, its disk is recorded, and when it has caught up it is
/// promoted through a joint configuration.
#[test]
fn a_wanted_server_becomes_a_voter() {
    let mut server = ready(|_| {});
    let asked = asks(&mut server, add_voter(4));
    assert!(asked.contains(&Action::Accepted { request: RequestId(1), first: id(1, 2), count: 1 }));
    assert_eq!(appends_to(&asked, 4), [(id(1, 2), 2, 1)], "the newcomer is probed at once");
    assert_eq!(members(&server), "1,2,3 learners 4+ since 2@1");
    let lives = [(2, life(2)), (3, life(3)), (4, joined(4))];
    let mut stages = vec![];
    for _ in 0..12 {
        all_matched(&mut server, &lives);
        if stages.last() != Some(&members(&server)) {
            stages.push(members(&server));
        }
    }
    let expected = [
        "1,2,3 learners 4+ since 2@1",
        "1,2,3 learners 4+#j4 since 3@1",
        "1,2,3,4#j4&1,2,3 since 4@1",
        "1,2,3,4#j4 since 4@1",
    ];
    let stages: Vec<&str> = stages.iter().map(String::as_str).collect();
    assert_eq!(stages.iter().filter(|stage| !expected.contains(stage)).count(), 0, "{stages:?}");
    assert_eq!(stages.last(), Some(&"1,2,3,4#j4 since 4@1"));
    assert_eq!(server.last(), id(1, 5), "each stage is one entry");
}

/// A newcomer that never comes blocks nothing.
#[test]
fn a_wanted_server_that_is_silent_blocks_nothing() {
    let mut server = ready(|_| {});
    asks(&mut server, add_voter(4));
    for _ in 0..30 {
        all_matched(&mut server, &[(2, life(2)), (3, life(3))]);
    }
    assert_eq!((server.last(), server.status().commit()), (id(1, 2), Index(2)));
    server.start(&["b"]);
    all_matched(&mut server, &[(2, life(2))]);
    assert_eq!(server.status().commit(), Index(3));
    asks(&mut server, Edit::Remove { id: NodeId(4) });
    assert_eq!(members(&server), "1,2,3 since 4@1");
}

/// No configuration comes before an entry of the own term is committed, whoever wants it.
#[test]
fn config_needs_own_term_commit() {
    let mut server = Server::with_log(1, &[1, 2, 3], 1, &[1]);
    server.elect();
    assert_eq!(refused(&asks(&mut server, add_voter(4))), Refusal::NotReady);
    server.receive(2, 2, matched(1));
    assert_eq!(
        refused(&asks(&mut server, add_voter(4))),
        Refusal::NotReady,
        "an old entry is not committed by counting"
    );
    server.start(&["b"]);
    assert_eq!(refused(&asks(&mut server, add_voter(4))), Refusal::NotReady);
    server.receive(2, 2, matched(2));
    asks(&mut server, add_voter(4));
    assert_eq!(members(&server), "1,2,3 learners 4+ since 3@2");
}

/// A second change is refused, by name, until the first is committed and settled.
#[test]
fn one_pending_change() {
    let mut server = ready(|_| {});
    asks(&mut server, Edit::Remove { id: NodeId(3) });
    assert_eq!(members(&server), "1,2&1,2,3 since 2@1");
    let pending = Refusal::ChangePending { since: id(1, 2) };
    assert_eq!(refused(&asks(&mut server, add_voter(4))), pending);
    server.receive(2, 1, matched(2));
    assert_eq!(members(&server), "1,2 since 2@1", "C_old,new is committed, so C_new follows");
    assert_eq!(refused(&asks(&mut server, add_voter(4))), pending, "C_new is not committed");
    server.receive(2, 1, matched(3));
    asks(&mut server, add_voter(4));
    assert_eq!(members(&server), "1,2 learners 4+ since 4@1");
}

#[test]
fn a_change_is_compared_with_what_it_was_made_for() {
    let mut server = ready(|_| {});
    let change = |expected| Change { expected: Some(expected), edits: vec![add_voter(4)] };
    let refusal = refused(&asks_all(&mut server, change(id(1, 9))));
    assert_eq!(refusal, Refusal::Expected { found: NOTHING });
    asks_all(&mut server, change(NOTHING));
    assert_eq!(members(&server), "1,2,3 learners 4+ since 2@1");
}

#[test]
fn empty_or_last_voter_removal() {
    let mut server = ready(|_| {});
    assert_eq!(refused(&asks_all(&mut server, Change::default())), Refusal::Edit(EditError::NothingToDo));
    let all = (1..=3).map(|id| Edit::Remove { id: NodeId(id) }).collect();
    let refusal = refused(&asks_all(&mut server, Change { expected: None, edits: all }));
    assert_eq!(refusal, Refusal::Edit(EditError::NoVoters));
    let mut nobody = Server::new(1, &[]);
    assert_eq!(refused(&asks(&mut nobody, add_voter(1))), Refusal::NotLeader { leader: None });
    assert_eq!(nobody.ticks(200), [], "and it never campaigns");
}

/// C_new is appended exactly once, though other entries follow, and again by a new leader only if it lacks it.
#[test]
fn auto_leave_once() {
    let mut server = ready(|_| {});
    asks(&mut server, Edit::Remove { id: NodeId(3) });
    server.start(&["b"]);
    let left = server.receive(2, 1, matched(3));
    assert_eq!(members(&server), "1,2 since 2@1");
    assert_eq!(appends_to(&left, 2), [(id(1, 3), 4, 3)], "C_new goes out at once");
    for _ in 0..3 {
        all_matched(&mut server, &[(2, life(2))]);
    }
    assert_eq!((server.last(), server.status().commit()), (id(1, 4), Index(4)));

    // A leader that is elected with C_old,new known to be committed finishes the change.
    let mut joint = Kept::new(1, &[1, 2, 3]).with_log(1, &[1]);
    joint.snapshot.membership = Membership::joint([1, 2].map(NodeId), [1, 2, 3].map(NodeId), []).into();
    let mut next = Server::restored(config(1), joint);
    next.elect();
    assert_eq!((members(&next), next.last()), ("1,2".to_owned(), id(2, 2)));
}

/// A leader that removes itself leads, not counting itself, until C_new is committed; then it hands over and follows.
#[test]
fn removed_leader() {
    let mut server = ready(|_| {});
    asks(&mut server, Edit::Remove { id: NodeId(1) });
    assert_eq!(members(&server), "2,3&1,2,3 since 2@1");
    server.receive(2, 1, matched(2));
    assert_eq!(server.status().commit(), Index(1), "one of two of the new half is no majority");
    server.receive(3, 1, matched(2));
    assert_eq!((server.status().commit(), members(&server)), (Index(2), "2,3 since 2@1".to_owned()));
    server.receive(2, 1, matched(3));
    assert_eq!(server.status().commit(), Index(2), "it does not count itself");
    assert_eq!(server.role().0, RoleKind::Leader);
    let left = server.receive(3, 1, matched(3));
    assert_eq!(server.status().commit(), Index(3));
    let tells = sent_to(&left, 2).into_iter().chain(sent_to(&left, 3));
    let tells: Vec<Rpc> = tells.collect();
    let news = |rpc: &&Rpc| matches!(rpc, Rpc::AppendEntries { commit: Index(3), .. });
    assert_eq!(tells.iter().filter(news).count(), 2, "both learn what is committed: {tells:?}");
    let asked = tells.iter().filter(|rpc| matches!(rpc, Rpc::TimeoutNow { .. })).count();
    assert_eq!((asked, server.role()), (1, (RoleKind::Follower, 1)));
    assert_eq!(server.ticks(200), [], "it campaigns no more");
}

/// The last server to hold C_new must be able to lead, though it has no vote in it: only it knows that it is a configuration.
#[test]
fn last_to_hold_c3_may_lead() {
    let mut server = Server::restored(config(1), Kept::new(1, &[1, 2]));
    server.elect();
    server.start(&["a"]);
    server.receive(2, 1, matched(1));
    asks(&mut server, Edit::Remove { id: NodeId(1) });
    server.receive(2, 1, matched(2));
    assert_eq!((members(&server), server.last()), ("2 since 2@1".to_owned(), id(1, 3)));

    let mut server = server.crashed();
    server.campaign();
    assert_eq!(server.role(), (RoleKind::Candidate, 2));
    server.receive(2, 2, GRANTED);
    assert_eq!(server.role(), (RoleKind::Leader, 2));
    assert_eq!(server.terms().last(), Some(&2), "a no-op commits what is unfinished");
    let gone = server.receive(2, 2, matched(4));
    assert_eq!((server.status().commit(), server.role()), (Index(4), (RoleKind::Follower, 2)));
    assert!(sent_to(&gone, 2).iter().any(|rpc| matches!(rpc, Rpc::TimeoutNow { .. })));
    assert_eq!(server.ticks(200), []);
}

/// A server that was removed is fed until it knows so, and then nobody writes to it any more.
#[test]
fn a_removed_server_is_seen_off() {
    let mut server = ready(|_| {});
    asks(&mut server, Edit::Remove { id: NodeId(3) });
    server.receive(2, 1, matched(2));
    let fed = server.receive(2, 1, matched(3));
    assert_eq!(server.status().commit(), Index(3));
    assert!(server.follower(3).leaving);
    drop(fed);
    server.receive(3, 1, matched(3));
    assert!(server.follower(3).leaving, "it may not know yet that C_new is committed");
    all_matched(&mut server, &[(3, life(3))]);
    newest_round(&mut server);
    assert!(server.status().followers().all(|follower| follower.id != NodeId(3)));
    assert!(sent_to(&server.ticks(20), 3).is_empty());

    // One that does not answer is forgotten when its time is over.
    let mut server = ready(|config| config.farewell_ticks = 30);
    asks(&mut server, Edit::Remove { id: NodeId(3) });
    server.receive(2, 1, matched(2));
    server.receive(2, 1, matched(3));
    for _ in 0..20 {
        all_matched(&mut server, &[(2, life(2))]);
    }
    assert!(server.status().followers().all(|follower| follower.id != NodeId(3)));
}

/// A voter whose disk was lost is demoted, recorded anew, fed, and promoted: nobody is asked.
#[test]
fn a_lost_disk_heals() {
    let mut server = ready(|config| (config.wiped, config.record_disks) = (WipedPolicy::Heal, true));
    all_matched(&mut server, &[(2, life(2)), (3, life(3))]);
    let recorded = "1#101,2#102,3#103 since 3@1";
    assert_eq!(members(&server), recorded, "the first disks are recorded, behind a no-op");
    let lives = [(2, life(2)), (3, joined(3))];
    let mut stages = vec![];
    let mut news = vec![];
    for _ in 0..60 {
        news.extend(all_matched(&mut server, &lives).into_iter().filter(|action| matches!(action, Action::News(_))));
        if stages.last() != Some(&members(&server)) {
            stages.push(members(&server));
        }
    }
    assert_eq!(
        stages,
        [
            recorded,
            "1#101,2#102&1,2,3 learners 3+#103 since 4@1",
            "1#101,2#102 learners 3+#103 since 4@1",
            "1#101,2#102 learners 3+#j3 since 6@1",
            "1#101,2#102,3#j3&1,2 since 7@1",
            "1#101,2#102,3#j3 since 7@1",
        ]
    );
    assert_eq!(news, [Action::News(News::PeerWiped { peer: NodeId(3) })], "told once");
}

/// It is given time to come back on its old disk: the longest election timeout in which that one is silent, as long again before it
/// is demoted, and twice as long, all in all, before another disk is recorded.
#[test]
fn a_lost_disk_is_given_time_to_come_back() {
    let mut server = ready(|config| (config.wiped, config.record_disks) = (WipedPolicy::Heal, true));
    all_matched(&mut server, &[(2, life(2)), (3, life(3))]);
    let longest = u64::from(server.config.election_ticks_max / server.config.heartbeat_ticks);
    let mut first_round = |is_so: &dyn Fn(&Membership) -> bool| {
        (0..100_u64).find(|_| {
            all_matched(&mut server, &[(2, life(2)), (3, joined(3))]);
            is_so(server.status().membership())
        })
    };
    let demoted = first_round(&|membership| membership.is_joint()).expect("it is readmitted");
    assert!((2 * longest - 1..2 * longest + 3).contains(&demoted), "after {demoted} rounds, {longest} a timeout");
    let recorded =
        first_round(&|membership| membership.member(NodeId(3)).unwrap().disk == joined(3)).expect("it is recorded");
    assert!((longest - 3..longest + 3).contains(&recorded), "after {recorded} more rounds, {longest} a timeout");
}

/// Without the policy the leader only tells of it, and an operator readmits the server.
#[test]
fn a_lost_disk_waits_for_an_operator() {
    let mut server = ready(|config| config.record_disks = true);
    all_matched(&mut server, &[(2, life(2)), (3, life(3))]);
    for _ in 0..40 {
        all_matched(&mut server, &[(2, life(2)), (3, joined(3))]);
    }
    assert_eq!(members(&server), "1#101,2#102,3#103 since 3@1");
    asks(&mut server, Edit::Readmit { id: NodeId(3) });
    for _ in 0..40 {
        all_matched(&mut server, &[(2, life(2)), (3, joined(3))]);
    }
    assert_eq!(members(&server), "1#101,2#102,3#j3 since 7@1");
}

/// A server that loses its disk at each start is readmitted ever more rarely.
#[test]
fn flapping_disk() {
    let mut server = ready(|config| (config.wiped, config.record_disks) = (WipedPolicy::Heal, true));
    all_matched(&mut server, &[(2, life(2)), (3, life(3))]);
    let mut demoted_at = vec![];
    let mut was_voter = true;
    for round in 0..2000_u64 {
        // A new disk every twenty rounds.
        all_matched(&mut server, &[(2, life(2)), (3, joined(1000 + round / 20))]);
        let is_voter = server.status().membership().is_voter(NodeId(3));
        if was_voter && !is_voter {
            demoted_at.push(round);
        }
        was_voter = is_voter;
        assert_eq!(server.role(), (RoleKind::Leader, 1), "the group keeps its leader");
    }
    let pauses: Vec<u64> = demoted_at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(demoted_at.len() < 8, "demoted at {demoted_at:?}");
    assert!(pauses.windows(2).all(|pair| pair[0] <= pair[1]), "{pauses:?}");
}

/// A promise of one disk is not believed of another one: each acknowledges for itself.
#[test]
fn one_progress_two_disks() {
    let mut server = Server::with_log(1, &[1, 2, 3], 5, &[1, 1, 1]);
    server.elect();
    server.start(&["4", "5", "6", "7", "8", "9", "10"]);
    server.receive_from_life(2, joined(2), 6, matched(10));
    assert_eq!(server.status().commit(), Index(0), "a foreign disk is fed and not counted");
    assert_eq!(server.follower(2).matched, id(6, 10));
    server.receive(2, 6, matched(3));
    assert_eq!((server.follower(2).matched, server.status().commit()), (id(1, 3), Index(0)));
    server.receive(2, 6, matched(10));
    assert_eq!(server.status().commit(), Index(10));
}

/// An answer that grants a vote from a disk that does not count elects nobody.
#[test]
fn joined_is_not_counted_by_name() {
    let mut server = Server::new(1, &[1, 2, 3]);
    server.time_out();
    server.receive_from_life(2, joined(2), 0, PRE_GRANTED);
    assert_eq!(server.role(), (RoleKind::PreCandidate, 0));
    server.receive(3, 0, PRE_GRANTED);
    assert_eq!(server.role(), (RoleKind::Candidate, 1));
    server.receive_from_life(2, joined(2), 1, GRANTED);
    assert_eq!(server.role(), (RoleKind::Candidate, 1));
    server.receive(3, 1, GRANTED);
    assert_eq!(server.role(), (RoleKind::Leader, 1));
}

/// A server on a disk that does not count votes for others, and neither campaigns nor counts itself.
#[test]
fn a_foreign_disk_does_not_campaign() {
    let mut kept = Kept::new(2, &[]);
    kept.incarnation = joined(2);
    let mut server = Server::restored(config(2), kept);
    let payload = Payload::Membership(membership(&[1, 2, 3]).into());
    let entries = Entries::from_vec(Index(1), vec![Entry { term: Term(1), payload }]).unwrap();
    server.receive(1, 1, append(NOTHING, entries, 1));
    assert_eq!(members(&server), "1,2,3");
    assert!(server.ticks(500).iter().all(|action| !matches!(action, Action::Send { .. })));
    let granted = server.receive(3, 2, Rpc::RequestVote { last: id(1, 1), transfer: false });
    assert_eq!(sent_to(&granted, 3), [GRANTED]);
}

/// Two processes under one name ask one voter in one term: one of them gets the vote.
#[test]
fn two_votes_for_one_name() {
    let mut voter = Server::new(1, &[1, 2, 3]);
    let request = Rpc::RequestVote { last: NOTHING, transfer: false };
    assert_eq!(sent_to(&voter.receive(2, 1, request.clone()), 2), [GRANTED]);
    assert_eq!(sent_to(&voter.receive_from_life(2, joined(2), 1, request.clone()), 2), [REFUSED]);
    assert_eq!(sent_to(&voter.receive(2, 1, request), 2), [GRANTED]);
}

/// A server on a lost disk that is ahead in terms cannot depose a leader while it has a vote; without one it may, once in a
/// while, for it could never be fed otherwise.
#[test]
fn stuck_on_a_foreign_term() {
    let mut server = ready(|_| {});
    let ahead = Rpc::AppendEntriesReply { round: 0, outcome: raft_core::AppendOutcome::OlderTerm };
    server.receive_from_life(3, joined(3), 6, ahead.clone());
    assert_eq!(server.role(), (RoleKind::Leader, 1));
    asks(&mut server, Edit::Demote { id: NodeId(3) });
    server.receive(2, 1, matched(2));
    server.receive(2, 1, matched(3));
    assert!(!server.status().membership().is_voter(NodeId(3)));
    server.receive_from_life(3, joined(3), 6, ahead.clone());
    assert_eq!(server.role(), (RoleKind::Follower, 6));
    server.elect();
    server.receive_from_life(3, joined(3), 9, ahead);
    assert_eq!(server.role(), (RoleKind::Leader, 7), "not so soon again");
}

/// A voter that lost its disk answers in a newer term only, which is not adopted. Its leader notices that it is there all the same, and
/// readmits it.
#[test]
fn a_voter_ahead_in_terms_is_readmitted() {
    let mut server = ready(|config| (config.wiped, config.record_disks) = (WipedPolicy::Heal, true));
    all_matched(&mut server, &[(2, life(2)), (3, life(3))]);
    assert_eq!(members(&server), "1#101,2#102,3#103 since 3@1");
    let ahead = Rpc::AppendEntriesReply { round: 0, outcome: raft_core::AppendOutcome::OlderTerm };
    let mut news = vec![];
    let is_voter = |server: &Server| server.status().membership().is_voter(NodeId(3));
    for _ in 0..60 {
        all_matched(&mut server, &[(2, life(2))]);
        if !is_voter(&server) {
            break;
        }
        news.extend(server.receive_from_life(3, joined(3), 6, ahead.clone()));
        assert_eq!(server.role(), (RoleKind::Leader, 1), "its term is not adopted");
    }
    assert_eq!(members(&server), "1#101,2#102 learners 3+#103 since 4@1");
    let lost = Action::News(News::PeerWiped { peer: NodeId(3) });
    assert_eq!(news.iter().filter(|action| **action == lost).count(), 1, "told once: {news:?}");
}

/// The process on the old disk of a name neither campaigns nor leads once it has the entry that names the new one, and halts
/// when that is committed.
#[test]
fn old_process_of_a_name() {
    let recorded = |disk: Incarnation| {
        let voter = |id: u64, disk| Member { disk, ..Member::new(NodeId(id), MemberRole::Voter) };
        let members = vec![voter(1, life(1)), voter(2, life(2)), voter(3, disk)];
        Membership::from_members(NOTHING, members).unwrap()
    };
    let mut kept = Kept::new(3, &[1, 2, 3]);
    kept.snapshot.membership = recorded(life(3)).into();
    let mut old = Server::restored(config(3), kept);
    let payload = Payload::Membership(recorded(joined(3)).into());
    let entries = Entries::from_vec(Index(1), vec![Entry { term: Term(1), payload }]).unwrap();
    old.receive(1, 1, append(NOTHING, entries, 0));
    assert!(old.clone().ticks(500).iter().all(|action| !matches!(action, Action::Send { .. })));
    let halted = old.receive(1, 1, heartbeat(id(1, 1), 1));
    assert_eq!(halted, [Action::Halt { why: Fatal::Replaced { by: joined(3) } }]);
}

/// What a new leader appends never restates a configuration incompletely.
#[test]
fn members_survive_leader_change() {
    let mut server = ready(|_| {});
    let address = Address::new("host:7").unwrap();
    asks(&mut server, Edit::AddLearner { id: NodeId(4), address });
    all_matched(&mut server, &[(2, life(2)), (3, life(3)), (4, joined(4))]);
    all_matched(&mut server, &[(2, life(2)), (3, life(3)), (4, joined(4))]);
    let before = members(&server);
    assert_eq!(before, "1,2,3 learners 4#j4=host:7 since 3@1");
    let mut next = server.crashed();
    next.elect();
    all_matched(&mut next, &[(2, life(2)), (3, life(3)), (4, joined(4))]);
    asks(&mut next, Edit::Demote { id: NodeId(3) });
    assert_eq!(members(&next), "1,2&1,2,3 learners 3,4#j4=host:7 since 5@2");
}

/// A learner that catches up by a snapshot alone is promoted without another entry.
#[test]
fn catch_up_by_snapshot_on_idle_group() {
    let mut server = ready(|_| {});
    server.step(Event::Compact { index: Index(1) });
    asks(&mut server, add_voter(4));
    let lives = [(2, life(2)), (3, life(3)), (4, joined(4))];
    all_matched(&mut server, &lives[..2]);
    server.receive_from_life(4, joined(4), 1, conflict(2, NOTHING));
    assert_eq!(server.follower(4).flow, FlowKind::Snapshot);
    for _ in 0..12 {
        all_matched(&mut server, &lives);
    }
    assert_eq!(members(&server), "1,2,3,4#j4 since 4@1");
}

/// While leadership is being transferred no change is taken, and none begins by itself: a learner that becomes ready meanwhile is
/// promoted when the transfer is over (thesis §3.10).
#[test]
fn transfer_under_standing_rule() {
    let mut server = ready(|_| {});
    asks(&mut server, add_voter(4));
    let lives = [(2, life(2)), (3, life(3)), (4, joined(4))];
    let learning = |server: &Server| members(server).contains("4+");
    // The learner lacks the entry that would make it ready.
    while !members(&server).contains("#j4") {
        all_matched(&mut server, &lives);
    }
    assert!(learning(&server), "{}", members(&server));
    let last = server.last();
    server.step(Event::Transfer { request: RequestId(2), to: Some(NodeId(2)) });
    assert_eq!(refused(&asks(&mut server, add_voter(5))), Refusal::Transferring);
    let answered = |actions: &[Action]| {
        actions.iter().any(|a| matches!(a, Action::Refused { request: RequestId(2), why: Refusal::TransferTimedOut }))
    };
    let mut rounds = 0;
    while !answered(&all_matched(&mut server, &lives)) && server.last() == last && rounds < 9 {
        rounds += 1;
    }
    assert!((7..=9).contains(&rounds), "it was silent for {rounds} heartbeats");
    assert_eq!(server.last(), last, "nothing entered the log");
    for _ in 0..12 {
        all_matched(&mut server, &lives);
    }
    assert!(!learning(&server) && server.last() > last, "it is promoted afterwards: {}", members(&server));
}
