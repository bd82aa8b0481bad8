//! Bugs that transfers of leadership in other implementations had, each under the name of its scenario, and the rules of thesis
//! §3.10 that keep them away.

use crate::kit::*;
use raft_core::{
    Action, Config, EntryId, Event, Incarnation, Index, Member, MemberRole, Membership, NodeId, Refusal, RequestId,
    RoleKind, Rpc, SnapshotMeta,
};

const NOTHING: EntryId = EntryId::ZERO;
const REQUEST: RequestId = RequestId(900_001);

fn transfer(server: &mut Server, to: Option<u64>) -> Vec<Action> {
    server.step(Event::Transfer { request: REQUEST, to: to.map(NodeId) })
}

/// The answers to transfers: who leads, or why it was refused.
fn answers(actions: &[Action]) -> Vec<Result<u64, Refusal>> {
    let answers = actions.iter().filter_map(|action| match action {
        Action::Transferred { request: REQUEST, leader } => Some(Ok(leader.0)),
        Action::Refused { request: REQUEST, why } => Some(Err(*why)),
        _ => None,
    });
    answers.collect()
}

fn refused_start(server: &mut Server) -> Option<Refusal> {
    server.start(&["x"]).into_iter().find_map(|action| match action {
        Action::Refused { why, .. } => Some(why),
        _ => None,
    })
}

/// Who is asked to campaign, and on which disk.
fn asked(actions: &[Action]) -> Vec<(u64, Incarnation)> {
    let asked = sent(actions).into_iter().filter_map(|(to, message)| match message.rpc {
        Rpc::TimeoutNow { target } => Some((to, target)),
        _ => None,
    });
    asked.collect()
}

fn timeout_now(id: u64) -> Rpc {
    Rpc::TimeoutNow { target: life(id) }
}

fn request(last: EntryId, transfer: bool) -> Rpc {
    Rpc::RequestVote { last, transfer }
}

/// A leader with this configuration, whom all others have answered.
fn leader_of(membership: &Membership) -> Server {
    let snapshot = SnapshotMeta { last: NOTHING, membership: membership.clone().into() };
    let mut server = Server::restored(config(1), Kept { snapshot, ..Kept::new(1, &[]) });
    server.elect();
    for id in membership.ids().filter(|id| id.0 != 1) {
        server.receive(id.0, 1, matched(0));
    }
    server
}

/// Server 1 of three, which has just heard server 2 lead in term 1.
fn follower() -> Server {
    let mut server = Server::new(1, &[1, 2, 3]);
    server.receive(2, 1, heartbeat(NOTHING, 0));
    server
}

#[test]
fn transfer_timeout_resumes() {
    let mut leader = leader(|_| {});
    let told = transfer(&mut leader, Some(2));
    assert_eq!((asked(&told), answers(&told)), (vec![(2, life(2))], vec![]));
    let mut times_asked = 0;
    for tick in 1..20 {
        let actions = leader.ticks(1);
        assert_eq!(answers(&actions), [], "tick {tick}");
        times_asked += asked(&actions).len();
        leader.receive(3, 1, matched(0));
        assert_eq!(refused_start(&mut leader), Some(Refusal::Transferring), "tick {tick}");
    }
    assert_eq!(times_asked, 9, "once with each heartbeat, every second tick");
    let actions = leader.ticks(1);
    assert_eq!(answers(&actions), [Err(Refusal::TransferTimedOut)], "after the longest election timeout");
    assert_eq!((asked(&actions), leader.role()), (vec![], (RoleKind::Leader, 1)));
    assert_eq!(refused_start(&mut leader), None, "and the leader goes on");
    for _ in 0..40 {
        let actions = leader.ticks(1);
        assert_eq!((asked(&actions), answers(&actions)), (vec![], vec![]), "it is over, and answered once");
        leader.receive(3, 1, matched(1));
    }
}

/// A driver may sleep as long as the core says, and the answer comes in time nevertheless.
#[test]
fn a_transfer_times_out_on_time_while_its_driver_sleeps() {
    let mut leader = leader(|config| config.heartbeat_ticks = 9);
    transfer(&mut leader, Some(2));
    let mut slept = 0;
    loop {
        let due = leader.raft.ticks_until_due();
        slept += due;
        let actions = leader.step(Event::Tick { elapsed: due });
        if !answers(&actions).is_empty() {
            break;
        }
        assert!(slept < 20, "{slept} ticks");
        leader.receive(3, 1, matched(0));
    }
    assert_eq!(slept, 20);
}

#[test]
fn transfer_target_gone() {
    // Voters 1, 2, 3; server 4 votes in the outgoing half only, 5 learns, 6 learns and votes in the outgoing half.
    let ids = |ids: &[u64]| ids.iter().map(|&id| NodeId(id)).collect::<Vec<_>>();
    let joint = Membership::joint(ids(&[1, 2, 3]), ids(&[1, 2, 4, 6]), ids(&[5, 6]));
    let mut leader = leader_of(&joint);
    for unfit in [1, 4, 5, 6, 9] {
        let actions = transfer(&mut leader, Some(unfit));
        assert_eq!(answers(&actions), [Err(Refusal::NoTarget { to: Some(NodeId(unfit)) })], "server {unfit}");
        assert_eq!(refused_start(&mut leader), None, "nothing has begun");
    }
    assert_eq!(answers(&transfer(&mut leader, Some(3))), []);

    // Another disk is recorded for server 3 than the one that answers: nothing that it says counts.
    let voter = |id, disk| Member { disk, ..Member::new(NodeId(id), MemberRole::Voter) };
    let recorded = vec![voter(1, life(1)), voter(2, life(2)), voter(3, Incarnation::joined(3))];
    let mut leader = leader_of(&Membership::from_members(NOTHING, recorded).unwrap());
    assert_eq!(answers(&transfer(&mut leader, Some(3))), [Err(Refusal::NoTarget { to: Some(NodeId(3)) })]);
    assert_eq!(answers(&transfer(&mut leader, Some(2))), []);

    // Nobody at all.
    let mut alone = Server::new(1, &[1]);
    alone.elect();
    assert_eq!(answers(&transfer(&mut alone, None)), [Err(Refusal::NoTarget { to: None })]);
}

/// Whom the leader has not heard within the shortest election timeout, or never, it cannot hand over to.
#[test]
fn a_silent_server_is_no_target() {
    let mut fresh = Server::new(1, &[1, 2, 3]);
    fresh.elect();
    let nobody = |to: Option<u64>| [Err(Refusal::NoTarget { to: to.map(NodeId) })];
    assert_eq!(answers(&transfer(&mut fresh, Some(2))), nobody(Some(2)), "it has said nothing yet");
    assert_eq!(answers(&transfer(&mut fresh, None)), nobody(None));

    let mut leader = leader(|_| {});
    leader.ticks(9);
    leader.receive(3, 1, matched(0));
    assert_eq!(answers(&transfer(&mut leader.clone(), Some(2))), [], "within 10 ticks");
    leader.ticks(1);
    assert_eq!(answers(&transfer(&mut leader, Some(2))), nobody(Some(2)));
    assert_eq!(asked(&transfer(&mut leader, None)), [(3, life(3))]);
}

/// A transfer is to a server on its disk: when another disk has taken its place, the request is over, and the leader goes on.
#[test]
fn a_target_that_loses_its_disk_ends_the_transfer() {
    let mut leader = leader(|_| {});
    let pass = |leader: &mut Server, ticks| {
        let passed = (0..ticks).flat_map(|_| [leader.ticks(1), leader.receive(3, 1, matched(0))].concat());
        passed.collect::<Vec<_>>()
    };
    pass(&mut leader, 9);
    leader.start(&["x"]);
    assert_eq!(asked(&transfer(&mut leader, Some(2))), [], "it lacks an entry");
    let ended = [Err(Refusal::NoTarget { to: Some(NodeId(2)) })];

    // No disk is recorded: another founder's counts as well, and it is not the one that was chosen.
    let mut other_founder = leader.clone();
    let actions = other_founder.receive_from_life(2, Incarnation::founder(999), 1, matched(1));
    assert_eq!((asked(&actions), answers(&actions)), (vec![], ended.to_vec()));
    assert_eq!(refused_start(&mut other_founder), None);

    // A disk that does not count takes the place of the one that does when that one has been silent for long enough.
    let joined = |leader: &mut Server| leader.receive_from_life(2, Incarnation::joined(9), 1, matched(1));
    let actions = [pass(&mut leader, 10), joined(&mut leader)].concat();
    assert_eq!((asked(&actions), answers(&actions)), (vec![], vec![]), "the other one may be back in a moment");
    let actions = [pass(&mut leader, 1), joined(&mut leader)].concat();
    assert_eq!((asked(&actions), answers(&actions)), (vec![], ended.to_vec()));
    assert_eq!(refused_start(&mut leader), None);
}

#[test]
fn transfer_under_load() {
    let mut leader = leader(|_| {});
    leader.start(&["a", "b"]);
    leader.start(&["c"]);
    assert_eq!(asked(&transfer(&mut leader, Some(2))), []);
    assert_eq!(asked(&leader.receive(3, 1, matched(3))), [], "another one has everything");
    assert_eq!(asked(&leader.receive(2, 1, matched(2))), [], "not yet");
    assert_eq!(asked(&leader.receive(2, 1, received_in(1, 3, 2))), [], "in memory is not enough");
    assert_eq!(refused_start(&mut leader), Some(Refusal::Transferring));
    assert_eq!(asked(&leader.receive(2, 1, matched(3))), [(2, life(2))]);
    assert_eq!(asked(&leader.receive(2, 1, matched(3))), [], "once in a heartbeat interval");
}

#[test]
fn transfer_bypasses_prevote_and_lease() {
    // The target: no question whether it could win, though it hears a live leader.
    let mut target = follower();
    let actions = target.receive(2, 1, timeout_now(1));
    assert_eq!(target.role(), (RoleKind::Candidate, 2));
    for voter in [2, 3] {
        assert_eq!(sent_to(&actions, voter), [request(NOTHING, true)]);
    }
    // The old leader's heartbeat in between does not cancel it, not even before its vote is durable.
    let mut target = follower();
    target.disk_held = true;
    target.receive(2, 1, timeout_now(1));
    target.receive(2, 1, heartbeat(NOTHING, 0));
    assert_eq!(target.role(), (RoleKind::Candidate, 2));
    assert_eq!(sent_to(&target.persist(), 3), [request(NOTHING, true)]);

    // A voter that hears the leader, and the leader itself, which hears its quorum.
    let voter = || {
        let mut server = Server::with_log(1, &[1, 2, 3], 1, &[1, 1]);
        server.receive(2, 1, heartbeat(id(1, 2), 0));
        server
    };
    assert_eq!(sent_to(&voter().receive(3, 2, request(id(1, 2), false)), 3), [REFUSED], "in its own right");
    let mut granting = voter();
    assert_eq!(sent_to(&granting.receive(3, 2, request(id(1, 2), true)), 3), [GRANTED]);
    assert_eq!(granting.role(), (RoleKind::Follower, 2));
    let mut leader = leader(|_| {});
    assert_eq!(sent_to(&leader.clone().receive(2, 2, request(NOTHING, false)), 2), [REFUSED]);
    assert_eq!(sent_to(&leader.receive(2, 2, request(NOTHING, true)), 2), [GRANTED]);
    assert_eq!(leader.role(), (RoleKind::Follower, 2));

    // Yet logs are compared, and there is one vote in a term.
    let mut voter = voter();
    assert_eq!(sent_to(&voter.receive(3, 2, request(id(1, 1), true)), 3), [REFUSED], "a shorter log");
    assert_eq!(sent_to(&voter.receive(2, 2, request(id(1, 2), true)), 2), [GRANTED]);
    assert_eq!(sent_to(&voter.receive(3, 2, request(id(1, 9), true)), 3), [REFUSED], "the vote is given");
}

/// Anyone may say that the leader asked it to campaign. It is believed of voters on the disks that count, which a leader asks.
#[test]
fn only_voters_are_believed_that_the_leader_asked() {
    let voter = |id, disk| Member { disk, ..Member::new(NodeId(id), MemberRole::Voter) };
    let learner = Member::new(NodeId(4), MemberRole::Learner { wanted: None });
    let members = vec![voter(1, life(1)), voter(2, life(2)), voter(3, life(3)), learner];
    let membership = Membership::from_members(NOTHING, members).unwrap();
    let snapshot = SnapshotMeta { last: NOTHING, membership: membership.into() };
    let mut server = Server::restored(config(1), Kept { snapshot, ..Kept::new(1, &[]) });
    server.receive(2, 1, heartbeat(NOTHING, 0));
    for (from, disk) in [(4, life(4)), (9, life(9)), (3, Incarnation(999))] {
        let actions = server.receive_from_life(from, disk, 5, request(id(4, 9), true));
        assert_eq!(sent_to(&actions, from), [REFUSED], "server {from}");
        assert_eq!(server.role(), (RoleKind::Follower, 1));
    }
    assert_eq!(sent_to(&server.receive(3, 5, request(id(4, 9), true)), 3), [GRANTED]);
    // A pre-vote is never asked for by a leader.
    let mut server = follower();
    assert_eq!(sent_to(&server.receive(3, 1, Rpc::PreVote { last: id(1, 9) }), 3), [PRE_REFUSED]);
}

/// TimeoutNow counts from the leader of this term, for the disk that is meant, and changes nothing otherwise.
#[test]
fn timeout_now_counts_only_from_this_terms_leader_for_this_disk() {
    let ignored = |mut server: Server, from: u64, term: u64, rpc: Rpc, what: &str| {
        let before = (server.role(), server.status().voted_for());
        assert_eq!(server.receive(from, term, rpc), [], "{what}");
        assert_eq!((server.role(), server.status().voted_for()), before, "{what}");
    };
    ignored(follower(), 3, 1, timeout_now(1), "not the leader");
    ignored(follower(), 9, 1, timeout_now(1), "a stranger");
    ignored(follower(), 2, 2, timeout_now(1), "a newer term, which it does not bring");
    ignored(follower(), 3, 7, timeout_now(1), "a newer term of another server");
    ignored(follower(), 2, 1, Rpc::TimeoutNow { target: Incarnation(999) }, "another disk of this server");
    let mut newer = follower();
    newer.receive(3, 2, heartbeat(NOTHING, 0));
    ignored(newer, 2, 1, timeout_now(1), "an older term");
    ignored(Server::new(1, &[1, 2, 3]), 2, 0, timeout_now(1), "nobody leads in term 0");
    let mut restarted = follower().crashed();
    ignored(restarted.clone(), 2, 1, timeout_now(1), "no leader is known");
    restarted.receive(2, 1, heartbeat(NOTHING, 0));
    restarted.receive(2, 1, timeout_now(1));
    assert_eq!(restarted.role(), (RoleKind::Candidate, 2), "after a heartbeat it is");
    let mut asking = follower();
    asking.time_out();
    assert_eq!(asking.role().0, RoleKind::PreCandidate);
    ignored(asking, 2, 1, timeout_now(1), "a pre-candidate knows no leader");
    ignored(leader(|_| {}), 2, 1, timeout_now(1), "a leader");
    let mut stalled = Server::restored(Config { disk_stall_ticks: 3, ..config(1) }, Kept::new(1, &[1, 2, 3]));
    stalled.disk_held = true;
    stalled.receive(2, 1, heartbeat(NOTHING, 0));
    stalled.ticks(3);
    stalled.receive(2, 1, heartbeat(NOTHING, 0));
    ignored(stalled, 2, 1, timeout_now(1), "its disk is stalled");
}

/// Whatever comes to a leader that hands over, nothing enters its log.
#[test]
fn transfer_freezes_own_entries() {
    let mut leader = leader(|config| config.leader_noop = true);
    leader.receive(2, 1, matched(1));
    assert_eq!(leader.status().commit(), Index(1));
    transfer(&mut leader, Some(3));
    for commands in [&["x"][..], &["x", "y"], &[]] {
        let actions = leader.start(commands);
        assert_eq!(actions, [Action::Refused { request: RequestId(7), why: Refusal::Transferring }]);
    }
    leader.step(Event::Compact { index: Index(1) });
    leader.step(Event::Unreachable { peer: NodeId(3) });
    leader.receive(3, 1, conflict(1, NOTHING));
    for _ in 0..19 {
        leader.ticks(1);
        leader.receive(2, 1, matched(1));
        assert_eq!((leader.last(), leader.role()), (id(1, 1), (RoleKind::Leader, 1)));
    }
}

#[test]
fn transfer_by_snapshot() {
    let mut leader = leader(|_| {});
    leader.start(&["a", "b"]);
    leader.receive(3, 1, matched(2));
    leader.step(Event::Compact { index: Index(2) });
    assert_eq!(asked(&transfer(&mut leader, Some(2))), []);
    // What it lacks is compacted.
    let actions = leader.ticks(2);
    let actions = [actions, leader.receive(2, 1, matched_in(2, 0))].concat();
    assert_eq!(snapshots_sent(&actions), [(2, id(1, 2))]);
    assert_eq!(asked(&leader.receive(2, 1, matched_in(2, 2))), [(2, life(2))], "no other entry comes");
}

/// A transfer is done when another server leads in a newer term, and not before; it is answered once.
#[test]
fn a_transfer_is_answered_when_another_server_leads() {
    let began = || {
        let mut leader = leader(|_| {});
        transfer(&mut leader, Some(2));
        leader
    };
    let mut relieved = began();
    let actions = relieved.receive(2, 2, request(NOTHING, true));
    assert_eq!((answers(&actions), relieved.role()), (vec![], (RoleKind::Follower, 2)), "nobody leads yet");
    let stepped = relieved.receive(2, 2, heartbeat(NOTHING, 0));
    assert_eq!(answers(&stepped), [Ok(2)]);
    let later = [relieved.receive(2, 2, heartbeat(NOTHING, 0)), relieved.ticks(30)].concat();
    assert_eq!(answers(&later), [], "once");

    let mut by_another = began();
    assert_eq!(answers(&by_another.receive(3, 4, heartbeat(NOTHING, 0))), [Ok(3)]);
    let mut by_snapshot = began();
    assert_eq!(answers(&by_snapshot.receive_snapshot(2, 2, &snapshot(id(1, 5)))), [Ok(2)]);

    // Out of touch with its quorum, it leads no longer; the request waits for its deadline, in whatever term.
    for newer_term in [false, true] {
        let mut out_of_touch = began();
        assert_eq!(answers(&out_of_touch.ticks(10)), []);
        assert_eq!(out_of_touch.role(), (RoleKind::Follower, 1));
        out_of_touch.raft.set_election_timeout(1000);
        if newer_term {
            out_of_touch.receive(3, 5, request(NOTHING, false));
        }
        assert_eq!(answers(&out_of_touch.ticks(9)), []);
        assert_eq!(answers(&out_of_touch.ticks(1)), [Err(Refusal::TransferTimedOut)]);
        assert_eq!(answers(&out_of_touch.receive(2, 6, heartbeat(NOTHING, 0))), []);
    }

    // It leads again itself, and may be asked again.
    let mut again = began();
    again.receive(2, 2, request(NOTHING, true));
    let actions = again.elect();
    assert_eq!(answers(&actions), [Err(Refusal::TransferTimedOut)]);
    assert_eq!(refused_start(&mut again), None);
    again.receive(3, 3, matched(1));
    assert_eq!(answers(&transfer(&mut again, Some(3))), []);
}

#[test]
fn without_a_name_the_longest_log_takes_over() {
    let mut leader = leader(|_| {});
    leader.start(&["a", "b"]);
    leader.receive(2, 1, matched(1));
    assert_eq!(asked(&transfer(&mut leader.clone(), None)), []);
    for longest in [2, 3] {
        let mut leader = leader.clone();
        leader.receive(longest, 1, matched(2));
        assert_eq!(asked(&transfer(&mut leader, None)), [(longest, life(longest))]);
    }
}

#[test]
fn only_a_leader_hands_over_and_once_at_a_time() {
    let not_leader = |leader: Option<u64>| [Err(Refusal::NotLeader { leader: leader.map(NodeId) })];
    assert_eq!(answers(&transfer(&mut Server::new(1, &[1, 2, 3]), Some(2))), not_leader(None));
    assert_eq!(answers(&transfer(&mut follower(), Some(3))), not_leader(Some(2)));
    let mut candidate = Server::new(1, &[1, 2, 3]);
    candidate.time_out();
    assert_eq!(answers(&transfer(&mut candidate, Some(2))), not_leader(None));

    let mut leader = leader(|_| {});
    transfer(&mut leader, Some(2));
    let second = leader.step(Event::Transfer { request: RequestId(900_002), to: Some(NodeId(3)) });
    assert_eq!(second, [Action::Refused { request: RequestId(900_002), why: Refusal::Transferring }]);
    assert_eq!(answers(&leader.receive(2, 2, heartbeat(NOTHING, 0))), [Ok(2)], "the first one goes on");
}

/// The campaign that the leader asked for is flagged as often as its votes are asked for, and no later one.
#[test]
fn a_later_candidacy_is_not_flagged() {
    let mut target = follower();
    target.receive(2, 1, timeout_now(1));
    target.raft.set_election_timeout(9);
    assert_eq!(sent_to(&target.ticks(2), 3), [request(NOTHING, true)], "asked again");
    target.time_out();
    assert_eq!(target.role(), (RoleKind::PreCandidate, 2));
    let actions = target.receive(3, 2, PRE_GRANTED);
    assert_eq!(target.role(), (RoleKind::Candidate, 3));
    assert_eq!(sent_to(&actions, 3), [request(NOTHING, false)]);
}

/// A handicap is added to each election timeout, the first one too. It refuses nothing: a server with one votes, is voted for,
/// and takes over when it is asked to.
#[test]
fn a_handicap_makes_a_server_wait_and_nothing_else() {
    let handicapped = |ticks| {
        let handicapped = Config { handicap_ticks: ticks, ..config(1) };
        assert_eq!(handicapped.check(), Ok(()));
        Server::restored(handicapped, Kept::new(1, &[1, 2, 3]))
    };
    // How long it waits for its first campaign, and after it for the next one.
    let waits = |seed, handicap_ticks| {
        let config = Config { seed, handicap_ticks, ..config(1) };
        let mut server = Server::restored(config, Kept::new(1, &[1, 2, 3]));
        [(); 2].map(|()| {
            let waited = (1..=100).find(|_| !sent(&server.ticks(1)).is_empty()).expect("it campaigns");
            server.receive(2, 1, heartbeat(NOTHING, 0));
            waited
        })
    };
    for seed in 0..50 {
        let [first, second] = waits(seed, 0);
        assert_eq!(waits(seed, 30), [first + 30, second + 30], "seed {seed}");
    }
    let mut server = handicapped(u32::MAX);
    assert_eq!(sent(&server.ticks(2000)), [], "it lets others go first");
    assert_eq!(sent_to(&server.receive(3, 1, request(NOTHING, false)), 3), [GRANTED], "it votes");
    server.receive(3, 1, heartbeat(NOTHING, 0));
    server.receive(3, 1, timeout_now(1));
    server.receive(3, 2, GRANTED);
    assert_eq!(server.role(), (RoleKind::Leader, 2), "it leads if it is asked to");
}

/// Rounds that confirm reads repeat nothing: the target is asked again with the next heartbeat.
#[test]
fn timeout_now_is_repeated_with_heartbeats() {
    let mut leader = leader(|_| {});
    leader.start(&["a"]);
    leader.receive(2, 1, matched(1));
    leader.receive(3, 1, matched(1));
    assert_eq!(asked(&transfer(&mut leader, Some(2))), [(2, life(2))]);
    for round in 2..6 {
        let mut actions = leader.step(Event::Read { request: RequestId(round) });
        actions.extend(leader.receive(3, 1, matched_in(round, 1)));
        assert!(actions.contains(&Action::Readable { request: RequestId(round), at: Index(1) }), "{actions:?}");
        assert_eq!(asked(&actions), []);
    }
    assert_eq!(asked(&leader.ticks(2)), [(2, life(2))]);
    assert_eq!(asked(&leader.ticks(1)), []);
}

/// The sender must be the leader on the disk that counts for it, where that is known.
#[test]
fn timeout_now_counts_from_the_leaders_disk() {
    for (disk, campaigns) in [(life(2), true), (Incarnation::joined(2), false)] {
        let mut server = follower();
        server.receive_from_life(2, disk, 1, timeout_now(1));
        assert_eq!(server.role().0 == RoleKind::Candidate, campaigns, "{disk}");
        assert_eq!(server.status().counters().stale, u64::from(!campaigns));
    }
}
