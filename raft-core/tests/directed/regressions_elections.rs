//! Bugs that elections of other implementations had, each under the name of its scenario.

use crate::kit::cluster::Cluster;
use crate::kit::*;
use raft_core::{
    Action, AppendOutcome, Bytes, Config, Entry, EntryId, Event, Fatal, Incarnation, Index, Membership, Message, News,
    NodeId, Payload, Refusal, RequestId, RoleKind, Rpc, SnapshotMeta, Term,
};

const NOTHING: EntryId = EntryId::ZERO;

fn request(last: EntryId) -> Rpc {
    Rpc::RequestVote { last, transfer: false }
}

/// Observers hear of each term, role and leader once, and of a leader that is first heard when its term is known already.
#[test]
fn observers_hear_of_each_leader() {
    let mut server = Server::new(1, &[1, 2, 3]);
    let told = |actions: &[Action]| -> Vec<(u64, RoleKind, Option<u64>)> {
        let news = actions.iter().filter_map(|action| match action {
            Action::News(News::Role { term, role, leader }) => Some((term.0, *role, leader.map(|leader| leader.0))),
            _ => None,
        });
        news.collect()
    };
    assert_eq!(told(&server.receive(2, 1, request(NOTHING))), [(1, RoleKind::Follower, None)]);
    assert_eq!(told(&server.receive(2, 1, heartbeat(NOTHING, 0))), [(1, RoleKind::Follower, Some(2))]);
    assert_eq!(told(&server.receive(2, 1, heartbeat(NOTHING, 0))), [], "nothing is new");
    assert_eq!(told(&server.receive(3, 2, heartbeat(NOTHING, 0))), [(2, RoleKind::Follower, Some(3))], "in one step");
    assert_eq!(told(&server.time_out()), [(2, RoleKind::PreCandidate, None)]);
    assert_eq!(told(&server.receive(3, 2, heartbeat(NOTHING, 0))), [(2, RoleKind::Follower, Some(3))], "it lives");
}

#[test]
fn vote_survives_restart() {
    let mut voter = Server::new(1, &[1, 2, 3]);
    assert_eq!(sent_to(&voter.receive(2, 4, request(NOTHING)), 2), [GRANTED]);
    let mut voter = voter.crashed();
    assert_eq!(sent_to(&voter.receive(3, 4, request(id(3, 9))), 3), [REFUSED]);
    assert_eq!(sent_to(&voter.receive(2, 4, request(NOTHING)), 2), [GRANTED]);
}

#[test]
fn term_vote_atomic() {
    let mut voter = Server::new(1, &[1, 2, 3]);
    let actions = voter.receive(2, 4, request(NOTHING));
    let [write] = &written(&actions)[..] else { panic!("term and vote are one write: {actions:?}") };
    assert_eq!(write.hard_state.map(|h| (h.term, h.voted_for.map(|vote| vote.id))), Some((Term(4), Some(NodeId(2)))));

    // Stepping down in the same term keeps the vote.
    let mut candidate = Server::new(1, &[1, 2, 3]);
    candidate.campaign();
    candidate.receive(2, 1, heartbeat(NOTHING, 0));
    assert_eq!((candidate.role(), candidate.status().voted_for()), ((RoleKind::Follower, 1), Some(NodeId(1))));
    candidate.ticks(10);
    assert_eq!(sent_to(&candidate.receive(3, 1, request(id(1, 9))), 3), [REFUSED]);
}

#[test]
fn vote_reply_gated() {
    let mut voter = Server::new(1, &[1, 2, 3]);
    voter.disk_held = true;
    let mut actions = voter.receive(2, 1, request(NOTHING));
    actions.extend(voter.ticks(5));
    actions.extend(voter.receive(2, 1, request(NOTHING)));
    assert!(sent_to(&actions, 2).is_empty(), "no promise without the disk: {actions:?}");
    assert_eq!(sent_to(&voter.receive(3, 1, request(id(1, 9))), 3), [REFUSED], "a refusal promises nothing");
    assert_eq!(sent_to(&voter.persist(), 2), [GRANTED]);
    assert!(sent_to(&voter.ticks(5), 2).is_empty(), "once");

    // A newer term drops what was owed in the old one.
    let mut voter = Server::new(1, &[1, 2, 3]);
    voter.disk_held = true;
    voter.receive(2, 1, request(NOTHING));
    voter.receive(3, 2, heartbeat(NOTHING, 0));
    assert!(sent_to(&voter.persist(), 2).is_empty());
}

/// A vote waits for all writes before it, also when they pile up.
#[test]
fn vote_reply_waits_behind_piled_up_writes() {
    let mut voter = Server::new(1, &[1, 2, 3]);
    voter.disk_held = true;
    voter.receive(2, 1, append(NOTHING, log(1, &[1]), 0));
    voter.receive(2, 1, append(id(1, 1), log(2, &[1]), 0));
    voter.ticks(10);
    voter.receive(3, 2, request(id(1, 2)));
    assert_eq!(voter.writes.len(), 3);
    for _ in 0..2 {
        assert!(sent_to(&voter.persist_one(), 3).is_empty());
    }
    assert_eq!(sent_to(&voter.persist_one(), 3), [GRANTED]);
}

#[test]
fn log_up_to_date_order() {
    let mut voter = Server::with_log(1, &[1, 2, 3], 2, &[1, 1]);
    assert_eq!(sent_to(&voter.receive(2, 3, request(id(2, 1))), 2), [GRANTED], "a later term beats a longer log");
}

#[test]
fn prevote_ack_not_vote() {
    let mut candidate = Server::new(1, &[1, 2, 3, 4, 5]);
    candidate.time_out();
    assert_eq!((candidate.role().1, candidate.status().voted_for()), (0, None), "asking leaves no trace");
    candidate.receive(2, 0, PRE_GRANTED);
    candidate.receive(3, 0, PRE_GRANTED);
    assert_eq!(candidate.role(), (RoleKind::Candidate, 1));
    for late in [4, 5] {
        candidate.receive(late, 0, PRE_GRANTED);
        candidate.receive(late, 1, PRE_GRANTED);
    }
    assert_eq!(candidate.role(), (RoleKind::Candidate, 1));
    let mut asked = Server::new(1, &[1, 2, 3]);
    assert!(written(&asked.receive(2, 0, Rpc::PreVote { last: NOTHING })).is_empty());
}

#[test]
fn prevote_split_cohorts() {
    let long = |id| Server::with_log(id, &[1, 2, 3, 4], 2, &[1, 1, 2, 2]);
    let short = |id| Server::with_log(id, &[1, 2, 3, 4], 9, &[1, 1]);
    let mut cluster = Cluster::of(vec![long(1), long(2), short(3), short(4)]);
    cluster.tick_until(100, |cluster| cluster.leader().is_some());
    assert!(cluster.leader() <= Some(2), "only the long logs can win");
}

#[test]
fn prevote_from_known_leader() {
    let mut follower = Server::new(1, &[1, 2, 3]);
    follower.receive(2, 1, heartbeat(NOTHING, 0));
    let ask = Rpc::PreVote { last: NOTHING };
    assert_eq!(sent_to(&follower.receive(3, 1, ask.clone()), 3), [PRE_REFUSED], "it hears a leader");
    assert_eq!(sent_to(&follower.receive(2, 1, ask), 2), [PRE_GRANTED], "which asks itself, after a restart");
}

/// Who hears a live leader is not disturbed by anyone else, whatever his term; and forgets it after an election timeout.
#[test]
fn a_live_leader_is_not_disturbed() {
    let mut follower = Server::new(1, &[1, 2, 3]);
    follower.receive(2, 1, heartbeat(NOTHING, 0));
    follower.ticks(9);
    for ask in [request(id(5, 5)), Rpc::PreVote { last: id(5, 5) }] {
        let actions = follower.receive(3, 9, ask);
        assert!(matches!(sent_to(&actions, 3)[..], [REFUSED | PRE_REFUSED]));
        assert_eq!(follower.role(), (RoleKind::Follower, 1));
    }
    follower.raft.set_election_timeout(20);
    follower.ticks(1);
    assert_eq!(sent_to(&follower.receive(3, 9, request(id(5, 5))), 3), [GRANTED]);
}

/// A newer term does not make a server forget that it heard a leader a moment ago; who leads the new term is another
/// question, which only a leader of that term answers.
#[test]
fn newer_term_does_not_forget_the_leader() {
    let mut follower = Server::new(1, &[1, 2, 3]);
    follower.receive(2, 1, heartbeat(NOTHING, 0));
    follower.receive(3, 6, PRE_REFUSED);
    assert_eq!((follower.role(), follower.status().leader()), ((RoleKind::Follower, 6), None));
    assert_eq!(follower.status().live_leader(), Some(NodeId(2)));
    assert_eq!(sent_to(&follower.receive(3, 6, request(NOTHING)), 3), [REFUSED]);
    let ask = Rpc::PreVote { last: NOTHING };
    assert_eq!(sent_to(&follower.receive(3, 6, ask.clone()), 3), [PRE_REFUSED]);
    assert_eq!(sent_to(&follower.clone().receive(2, 6, ask), 2), [PRE_GRANTED], "but for that leader itself");
    let mut other = follower.clone();
    assert_eq!(halted(&other.receive(3, 6, heartbeat(NOTHING, 0))), None);
    assert_eq!((other.status().leader(), other.status().live_leader()), (Some(NodeId(3)), Some(NodeId(3))));
    follower.ticks(10);
    assert_eq!(sent_to(&follower.receive(3, 6, request(NOTHING)), 3), [GRANTED], "an election timeout later");
}

/// A leader that is deposed while it hears its quorum does not vote for another one at once. When it heard the quorum
/// counts, not when it was deposed.
#[test]
fn a_deposed_leader_heard_its_quorum() {
    let mut leader = leader(|_| {});
    leader.ticks(4);
    leader.receive(2, 7, conflict(0, NOTHING));
    assert_eq!((leader.role(), leader.status().leader()), ((RoleKind::Follower, 7), None));
    for rest in (0..6).rev() {
        assert_eq!(leader.status().live_leader(), Some(NodeId(1)), "{rest}");
        assert_eq!(sent_to(&leader.receive(3, 7, request(NOTHING)), 3), [REFUSED]);
        leader.ticks(1);
    }
    assert_eq!(sent_to(&leader.receive(3, 7, request(NOTHING)), 3), [GRANTED]);
}

/// Whom a leader followed before is not exempt: a leader that hears its quorum refuses everyone.
#[test]
fn leader_refuses_strangers_vote() {
    let mut leader = Server::new(2, &[1, 2, 3]);
    leader.receive(1, 1, heartbeat(NOTHING, 0));
    leader.elect();
    for stranger in [1, 3, 9] {
        assert_eq!(sent_to(&leader.receive(stranger, 9, request(id(8, 8))), stranger), [REFUSED]);
        assert_eq!(leader.role(), (RoleKind::Leader, 2));
    }
}

/// A leader that gives up its office keeps nobody from electing another one: its disk stalled while all answered.
#[test]
fn a_leader_that_resigns_is_forgotten_at_once() {
    let mut leader = leader(|config| config.disk_stall_ticks = 3);
    leader.disk_held = true;
    leader.start(&["x"]);
    leader.ticks(3);
    assert_eq!((leader.role(), leader.status().live_leader()), ((RoleKind::Follower, 1), None));
    assert_eq!(sent_to(&leader.receive(2, 1, Rpc::PreVote { last: id(1, 1) }), 2), [PRE_GRANTED]);
}

#[test]
fn prevote_late_quorum_on_leader() {
    let mut leader = Server::new(1, &[1, 2, 3]);
    leader.elect();
    let stale = leader.status().counters().stale;
    for late in [PRE_GRANTED, PRE_REFUSED, GRANTED, REFUSED] {
        assert_eq!(leader.receive(3, 1, late), [], "nothing to do");
    }
    assert_eq!(leader.role(), (RoleKind::Leader, 1));
    assert_eq!(leader.status().counters().stale, stale + 4);
}

#[test]
fn timeout_redraw() {
    // Two servers draw the same at first, and split the pre-vote: each waits for the other's answer. Or the votes, if the third,
    // which is away afterwards, would have voted for both. What they draw next differs sooner or later, and one of them wins.
    for (seed, third) in (0..100).flat_map(|seed| [(seed, false), (seed, true)]) {
        let mut cluster = Cluster::new(3, |config| config.seed = seed);
        cluster.cut.insert(3);
        for id in [1, 2] {
            cluster.server(id).raft.set_election_timeout(15);
        }
        for tick in 1..=15 {
            let silent = (RoleKind::Follower, 0);
            assert_eq!([1, 2].map(|id| cluster.server(id).role()), [silent; 2], "no tick draws anew: {tick}");
            cluster.tick_together();
        }
        let waiting = (RoleKind::PreCandidate, 0);
        assert_eq!([1, 2].map(|id| cluster.server(id).role()), [waiting; 2], "seed {seed}");
        if third {
            for id in [1, 2] {
                let actions = cluster.server(id).receive(3, 0, PRE_GRANTED);
                cluster.route(id, &actions);
            }
            cluster.tick_together();
            let split = (RoleKind::Candidate, 1);
            assert_eq!([1, 2].map(|id| cluster.server(id).role()), [split; 2], "seed {seed}");
        }
        let elected = (0..100).any(|_| {
            cluster.tick_together();
            cluster.leader().is_some()
        });
        assert!(elected, "seed {seed}: they stay in step");
    }

    let timeouts = |id: u64| {
        let mut server = Server::new(id, &[1, 2, 3]);
        let mut campaign = || {
            let ticks = (1..=20).find(|_| {
                server.ticks(1);
                server.status().role() == RoleKind::PreCandidate
            });
            let term = server.status().term().0;
            server.receive(3, term, PRE_GRANTED);
            assert_eq!(server.role(), (RoleKind::Candidate, term + 1));
            ticks.expect("no timeout is so long")
        };
        [(); 8].map(|()| campaign())
    };
    assert_ne!(timeouts(1), timeouts(2), "servers do not stay in step");
    assert!(timeouts(1).windows(2).any(|pair| pair[0] != pair[1]), "each campaign draws anew");

    // So does each pre-vote that nobody decides: who granted the last one is asked again only by the next.
    let mut server = Server::new(1, &[1, 2, 3, 4, 5]);
    let rounds = [(); 8].map(|()| {
        let ticks = (1..=20).find(|_| !sent_to(&server.ticks(1), 2).is_empty());
        server.receive(2, 0, PRE_GRANTED);
        ticks.expect("no timeout is so long")
    });
    assert!(rounds.windows(2).any(|pair| pair[0] != pair[1]), "{rounds:?}");
}

/// Messages get lost: who has not answered is asked again with each heartbeat interval, who has answered is left alone.
#[test]
fn the_silent_are_asked_again() {
    let mut server = Server::new(1, &[1, 2, 3, 4]);
    assert_eq!(sent(&server.time_out()).len(), 3);
    server.receive(2, 0, PRE_GRANTED);
    let asked = [(); 6].map(|()| sent(&server.ticks(1)).into_iter().map(|(to, _)| to).collect::<Vec<_>>());
    assert_eq!(asked, [vec![], vec![3, 4], vec![], vec![3, 4], vec![], vec![3, 4]]);
}

/// Asking whether it could win gives no vote away: until it does campaign, a server still has its own to give.
#[test]
fn who_only_asks_still_votes() {
    let mut server = Server::with_log(1, &[1, 2, 3], 5, &[1]);
    server.time_out();
    assert_eq!(server.role(), (RoleKind::PreCandidate, 5));
    assert_eq!(sent_to(&server.receive(2, 5, request(NOTHING)), 2), [REFUSED], "not for a poorer log");
    assert_eq!(server.role(), (RoleKind::PreCandidate, 5));
    assert_eq!(sent_to(&server.receive(2, 5, request(id(1, 1))), 2), [GRANTED]);
    assert_eq!((server.role(), server.status().voted_for()), ((RoleKind::Follower, 5), Some(NodeId(2))));
    assert_eq!(server.ticks(9), [], "and waits for the one it voted for");
}

#[test]
fn unaware_voter_votes() {
    let mut learner = learner();
    assert_eq!(sent_to(&learner.receive(3, 1, request(NOTHING)), 3), [GRANTED], "it may not know yet that it votes");
    let mut stranger = Server::new(1, &[]);
    assert_eq!(sent_to(&stranger.receive(3, 1, request(NOTHING)), 3), [GRANTED]);
}

fn members(voters: &[u64], outgoing: &[u64], learners: &[u64]) -> Membership {
    let ids = |ids: &[u64]| ids.iter().map(|&id| NodeId(id)).collect::<Vec<_>>();
    Membership::joint(ids(voters), ids(outgoing), ids(learners))
}

/// Server 4, which learns from 1, 2 and 3, as 5 does.
fn learner() -> Server {
    let snapshot = SnapshotMeta { last: NOTHING, membership: members(&[1, 2, 3], &[], &[4, 5]).into() };
    Server::restored(config(4), Kept { snapshot, ..Kept::new(4, &[]) })
}

#[test]
fn learner_never_leads() {
    let mut learner = learner();
    assert_eq!(learner.ticks(200), []);
    let mut stranger = Server::new(9, &[1, 2, 3]);
    assert_eq!(stranger.ticks(200), [], "nor does who does not belong to the cluster");
    for (id, server) in [(4, &learner), (9, &stranger)] {
        let mut server = server.clone();
        server.receive(1, 1, heartbeat(NOTHING, 0));
        server.receive(1, 1, Rpc::TimeoutNow { target: life(id) });
        assert_eq!(server.role(), (RoleKind::Follower, 1), "not even if the leader asks server {id} to");
    }

    // A snapshot that makes the other learner a voter does not promote this one; its own promotion does.
    let configurations = [
        (members(&[1, 2, 3, 5], &[1, 2, 3], &[4]), false),
        (members(&[1, 2, 3, 5], &[], &[4]), false),
        (members(&[1, 2, 3, 4, 5], &[], &[]), true),
    ];
    for (index, (membership, votes)) in (9..).zip(configurations) {
        let told = format!("{membership}");
        learner.receive_snapshot(1, 1, &SnapshotMeta { last: id(1, index), membership: membership.into() });
        for mut server in [learner.clone(), learner.crashed()] {
            assert_eq!(sent(&server.ticks(200)).is_empty(), !votes, "{told}");
        }
    }
}

/// RequestVote waits until term, vote and the tail that it quotes are durable.
#[test]
fn campaign_with_unpersisted_tail() {
    let mut server = Server::new(1, &[1, 2, 3]);
    server.receive(2, 1, heartbeat(NOTHING, 0));
    server.disk_held = true;
    server.receive(2, 1, append(NOTHING, log(1, &[1, 1]), 0));
    let asked = server.campaign();
    assert_eq!(server.role(), (RoleKind::Candidate, 2));
    let (requests, tail) =
        (|actions: &[Action]| sent_to(actions, 3).contains(&request(id(1, 2))), server.persist_one());
    assert!(!requests(&asked) && !requests(&tail), "the tail alone is not enough");
    server.receive(3, 2, GRANTED);
    assert_eq!(server.role(), (RoleKind::Candidate, 2), "nor is a vote counted that nobody was asked for");
    assert!(requests(&server.persist_one()));
}

#[test]
fn single_voter() {
    let mut server = Server::new(1, &[1]);
    server.disk_held = true;
    let actions = server.time_out();
    assert_eq!((server.role(), sent(&actions)), ((RoleKind::Candidate, 1), vec![]));
    server.ticks(100);
    assert_eq!(server.role(), (RoleKind::Candidate, 1), "no second campaign while the vote is with the disk");
    server.persist();
    assert_eq!(server.role(), (RoleKind::Leader, 1));
    let mut server = server.crashed();
    assert_eq!(server.role(), (RoleKind::Follower, 1));
    server.ticks(20);
    assert_eq!(server.role(), (RoleKind::Leader, 2));
}

#[test]
fn disruptive_removed() {
    let mut leader = Server::new(1, &[1, 2, 3]);
    leader.elect();
    for rpc in [request(id(8, 80)), Rpc::PreVote { last: id(8, 80) }, GRANTED, matched(0), conflict(9, NOTHING)] {
        leader.receive(9, 1000, rpc);
    }
    assert_eq!(leader.role(), (RoleKind::Leader, 1), "no stranger deposes a leader that hears its majority");

    // Server 3 campaigned in vain while it was away, and does not know that it is a learner by now. It takes no appends of
    // an older term than its own: its refusal deposes the leader, and the next one's term is newer.
    let demoted = Entry { term: Term(1), payload: Payload::Membership(members(&[1, 2], &[], &[3]).into()) };
    let voter = |id| {
        let mut kept = Kept::new(id, &[1, 2, 3]).with_log(1, &[1]);
        kept.entries.insert(Index(2), demoted.clone());
        Server::restored(config(id), kept)
    };
    let mut cluster = Cluster::of(vec![voter(1), voter(2), Server::with_log(3, &[1, 2, 3], 9, &[1])]);
    cluster.cut.insert(3);
    cluster.tick_until(60, |cluster| cluster.leader().is_some());
    let leader = cluster.leader().unwrap();
    cluster.step(leader, Event::Start { request: RequestId(1), commands: [Bytes::from("x")].into() });
    cluster.cut.clear();
    cluster.tick_until(100, |cluster| cluster.leader().is_some() && cluster.agrees());
    let roles = |cluster: &Cluster| cluster.servers.iter().map(Server::role).collect::<Vec<_>>();
    let before = roles(&cluster);
    assert!(before[2].0 == RoleKind::Follower && before[2].1 > 9, "{before:?}");
    (0..100).for_each(|_| cluster.tick());
    assert_eq!(roles(&cluster), before, "and then it is quiet");
}

/// A leader steps down when it has not heard a majority for an election timeout (thesis §6.2), and not before.
#[test]
fn a_leader_out_of_touch_steps_down() {
    let mut leader = Server::new(1, &[1, 2, 3, 4, 5]);
    leader.elect();
    leader.ticks(5);
    leader.receive(2, 1, matched(0));
    leader.receive(3, 1, matched(0));
    leader.ticks(9);
    assert_eq!(leader.role(), (RoleKind::Leader, 1));
    leader.ticks(1);
    assert_eq!(leader.role(), (RoleKind::Follower, 1));
    assert_eq!(leader.status().leader(), None);
}

/// What followers say to messages of an older term, or as voters, tells nothing of whether they hear this leader now.
#[test]
fn only_answers_of_the_own_term_keep_a_leader_in_office() {
    let older = Rpc::AppendEntriesReply { round: 0, outcome: AppendOutcome::OlderTerm };
    for (answer, term) in [(older, 1), (matched(0), 0), (GRANTED, 1), (PRE_GRANTED, 1), (request(NOTHING), 1)] {
        let mut leader = leader(|_| {});
        for _ in 0..10 {
            leader.ticks(1);
            for peer in [2, 3] {
                leader.receive(peer, term, answer.clone());
            }
        }
        assert_eq!(leader.role(), (RoleKind::Follower, 1), "{answer:?}");
    }
}

#[test]
fn stalled_leader_disk() {
    let stall = 6;
    let mut leader = Server::restored(Config { disk_stall_ticks: stall, ..config(1) }, Kept::new(1, &[1, 2, 3]));
    leader.elect();
    leader.disk_held = true;
    leader.start(&["x"]);
    assert!(!sent(&leader.ticks(stall - 1)).is_empty());
    assert_eq!(
        leader.ticks(20).iter().filter(|a| matches!(a, Action::Send { .. })).count(),
        0,
        "no heartbeats, no campaign"
    );
    assert_eq!(leader.role(), (RoleKind::Follower, 1));
    leader.disk_held = false;
    leader.persist();
    leader.ticks(20);
    assert_eq!(leader.role().0, RoleKind::PreCandidate, "a disk that moves again may campaign again");
}

#[test]
fn a_stalled_disk_ends_a_campaign() {
    let config = Config { disk_stall_ticks: 6, ..config(1) };
    let mut server = Server::restored(config, Kept::new(1, &[1, 2, 3]));
    server.disk_held = true;
    server.campaign();
    server.ticks(6);
    assert_eq!(server.role(), (RoleKind::Follower, 1));
    server.receive(2, 1, GRANTED);
    server.persist();
    assert_eq!(server.role(), (RoleKind::Follower, 1), "what comes late does not revive it");
}

#[test]
fn candidate_steps_down_on_higher_term_at_once() {
    let snapshot = snapshot(id(3, 5));
    for event in [
        Event::Receive { from: NodeId(2), message: Message { term: Term(5), incarnation: life(2), rpc: REFUSED } },
        Event::SnapshotReceived { from: NodeId(2), term: Term(5), snapshot },
    ] {
        let mut candidate = Server::new(1, &[1, 2, 3]);
        candidate.campaign();
        candidate.step(event);
        assert_eq!(candidate.role(), (RoleKind::Follower, 5));
    }
}

/// Two leaders in one term are proof of a lost vote: stop, and stay silent.
#[test]
fn two_leaders_in_one_term_halt() {
    let two = |one, other| Some(Fatal::TwoLeaders { term: Term(1), one: NodeId(one), other: NodeId(other) });
    let mut follower = Server::new(1, &[1, 2, 3]);
    follower.receive(2, 1, heartbeat(NOTHING, 0));
    assert_eq!(halted(&follower.receive(3, 1, heartbeat(NOTHING, 0))), two(2, 3));
    let mut leader = Server::new(1, &[1, 2, 3]);
    leader.elect();
    assert_eq!(halted(&leader.receive(3, 1, heartbeat(NOTHING, 0))), two(1, 3));
    assert_eq!(leader.status().halted(), two(1, 3));
    assert_eq!(leader.ticks(100), [], "silence");
    assert_eq!(leader.receive(2, 9, request(id(8, 8))), []);
    assert_eq!(leader.start(&["x"]), []);
}

/// What no server can say is counted, and changes nothing: no vote in term 0, no halt, no overflow.
#[test]
fn nonsense_changes_nothing() {
    let beyond = u64::MAX;
    let nonsense = [
        (0, request(NOTHING)),
        (0, heartbeat(NOTHING, 0)),
        (1, heartbeat(EntryId { term: Term(1), index: Index(0) }, 0)),
        (1, heartbeat(EntryId { term: Term(0), index: Index(1) }, 0)),
        (1, heartbeat(id(2, 1), 0)),
        (1, heartbeat(NOTHING, beyond)),
        (1, append(NOTHING, log(2, &[1]), 0)),
        (2, append(id(2, 1), log(2, &[1]), 0)),
        (1, append(EntryId { term: Term(1), index: Index::MAX }, log(1, &[1]), 0)),
        (beyond, heartbeat(NOTHING, 0)),
        (beyond, GRANTED),
        (1, request(id(beyond, beyond))),
        (1, Rpc::PreVote { last: id(1, beyond) }),
        (1, received_in(1, 0, 1)),
        (1, matched(beyond)),
        (1, conflict(1, id(1, 2))),
        (1, conflict(beyond, NOTHING)),
    ];
    let mut server = Server::new(1, &[1, 2, 3]);
    for (i, (term, rpc)) in nonsense.iter().enumerate() {
        assert_eq!(server.receive(2, *term, rpc.clone()), [], "{rpc:?}");
        assert_eq!(server.status().counters().malformed, i as u64 + 1, "{rpc:?}");
    }
    let nameless = server.receive_from_life(2, Incarnation(0), 1, heartbeat(NOTHING, 0));
    assert_eq!((nameless, server.status().counters().malformed), (vec![], nonsense.len() as u64 + 1));
    assert_eq!(server.receive(1, 1, heartbeat(NOTHING, 0)), []);
    assert_eq!(server.status().counters().from_self, 1);
    assert_eq!(server.role(), (RoleKind::Follower, 0));
    let snapshot = snapshot(EntryId { term: Term(1), index: Index(0) });
    assert_eq!(server.receive_snapshot(2, 1, &snapshot), [Action::Discard(snapshot.clone())]);
    let actions = server.receive_from_life(2, Incarnation(beyond), Term::MAX.0, heartbeat(NOTHING, 0));
    assert_eq!((server.status().term(), actions.len()), (Term::MAX, 3), "the last term there is");
    assert_eq!(server.ticks(100).len(), 0, "after which there is none to campaign in");
}

/// Two voters, of which one is behind in term. Whichever of them has more of the log, one of them leads before long: a refused
/// pre-vote teaches the term, without which no later one could be answered.
#[test]
fn prevote_refusal_teaches_term() {
    for (old, new) in [(vec![1], vec![1, 2]), (vec![1, 1], vec![1]), (vec![1], vec![1])] {
        let behind = Server::with_log(1, &[1, 2], 3, &old);
        let ahead = Server::with_log(2, &[1, 2], 9, &new);
        let mut asking = behind.clone();
        asking.time_out();
        assert_eq!(asking.role(), (RoleKind::PreCandidate, 3));
        let asked = ahead.clone().receive(1, 3, Rpc::PreVote { last: asking.last() });
        let [(1, answer)] = &sent(&asked)[..] else { panic!("{asked:?}") };
        assert_eq!((answer.term, &answer.rpc), (Term(9), &PRE_REFUSED));
        asking.receive(2, 9, answer.rpc.clone());
        assert_eq!(asking.role(), (RoleKind::Follower, 9), "it has learned");
        let mut cluster = Cluster::of(vec![behind, ahead]);
        cluster.tick_until(200, |cluster| cluster.leader().is_some());
    }
}

/// A pre-vote is a question: whatever the answer, neither term nor vote nor configuration nor any timer moves. A newer term that
/// it shows is learned, as from any message, and nothing else.
#[test]
fn prevote_has_no_side_effects() {
    let stranger_too = [2, 3, 9];
    let mut follower = Server::with_log(1, &[1, 2, 3], 4, &[1, 4]);
    follower.kept.hard_state.voted_for = None;
    let mut leading = Server::with_log(1, &[1, 2, 3], 3, &[1]);
    leading.elect();
    for server in [&mut follower, &mut leading] {
        server.step(Event::Unreachable { peer: NodeId(9) });
        let before = format!("{:?}", server.raft);
        for from in stranger_too {
            for last in [NOTHING, id(1, 1), id(4, 2), id(4, 99)] {
                for term in [1, 4] {
                    let last = if last.term.0 > term { id(term, last.index.0) } else { last };
                    let actions = server.receive(from, term, Rpc::PreVote { last });
                    assert!(matches!(&actions[..], [Action::Send { .. }]), "an answer and nothing else: {actions:?}");
                }
            }
        }
        assert_eq!(format!("{:?}", server.raft), before);
    }
    let (status, deadline) = (|server: &Server| server.status().hard_state(), follower.raft.ticks_until_due());
    follower.receive(9, 7, Rpc::PreVote { last: id(4, 99) });
    assert_eq!((status(&follower).term, status(&follower).voted_for), (Term(7), None));
    assert_eq!((follower.role().0, follower.raft.ticks_until_due()), (RoleKind::Follower, deadline));
}

/// However long nobody says anything, beyond 2^31 and 2^32 ticks, and whatever rounds are named: nobody looks as if it had been
/// heard lately.
#[test]
fn silent_for_years() {
    let long = |id: u64| Config {
        heartbeat_ticks: u32::MAX - 2,
        election_ticks_min: u32::MAX - 1,
        election_ticks_max: u32::MAX,
        disk_stall_ticks: u32::MAX,
        ..config(id)
    };
    let mut leader = Server::restored(long(1), Kept::new(1, &[1, 2, 3]));
    leader.elect();
    let tick = Event::Tick { elapsed: u32::MAX };
    for round in 1..40 {
        leader.receive(2, 1, matched_in(round, 0));
        leader.step(tick.clone());
        let asked = leader.step(Event::Transfer { request: RequestId(round), to: Some(NodeId(3)) });
        let refused = Action::Refused { request: RequestId(round), why: Refusal::NoTarget { to: Some(NodeId(3)) } };
        assert_eq!((leader.role().0, asked.contains(&refused)), (RoleKind::Leader, true), "round {round}");
        assert_eq!(leader.follower(3).silent_ticks, round * u64::from(u32::MAX - 2));
    }
    assert_eq!(leader.receive(2, 1, matched_in(u64::MAX, 0)), [], "no such round has begun");
    leader.step(tick.clone());
    leader.step(tick.clone());
    assert_eq!(leader.role().0, RoleKind::Follower, "the other one has been silent for an election timeout");
    // A follower of a leader that is silent for as long, and that names the last of all rounds.
    let mut follower = Server::restored(long(2), Kept::new(2, &[1, 2, 3]));
    let named = Rpc::AppendEntries {
        prev: NOTHING,
        entries: raft_core::Entries::new(),
        commit: Index(0),
        round: u64::MAX,
        reply: true,
    };
    assert_eq!(sent_to(&follower.receive(1, 1, named), 1), [matched_in(u64::MAX, 0)]);
    assert_eq!(sent_to(&follower.receive(3, 1, Rpc::PreVote { last: NOTHING }), 3), [PRE_REFUSED]);
    for _ in 0..2 {
        follower.step(tick.clone());
    }
    assert_eq!(follower.status().live_leader(), None);
    for _ in 0..40 {
        follower.step(tick.clone());
        assert_eq!(follower.status().live_leader(), None);
        assert_eq!(follower.role().0, RoleKind::PreCandidate);
    }
}
