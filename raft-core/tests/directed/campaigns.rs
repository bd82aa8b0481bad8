//! Who campaigns when, and who lets whom pass: elections leave room for disks. `docs/decisions/0008-elections-wait-for-disks.md`
//! says why.

use crate::kit::*;
use raft_core::{EntryId, RoleKind, Rpc};

const NOTHING: EntryId = EntryId::ZERO;
const PRE_VOTE: Rpc = Rpc::PreVote { last: NOTHING };
const REQUEST: Rpc = Rpc::RequestVote { last: NOTHING, transfer: false };

/// Whether `server` would vote for `candidate` in the next term.
fn pre_votes_for(server: &mut Server, candidate: u64) -> bool {
    let term = server.status().term().0;
    match sent_to(&server.receive(candidate, term, PRE_VOTE), candidate)[..] {
        [PRE_GRANTED] => true,
        [PRE_REFUSED] => false,
        ref other => panic!("{other:?}"),
    }
}

/// Server 1 of three has asked for votes in term 1, and nobody has answered.
fn asking() -> Server {
    let mut server = Server::new(1, &[1, 2, 3]);
    server.time_out();
    server.receive(2, 0, PRE_GRANTED);
    assert_eq!(server.role(), (RoleKind::Candidate, 1));
    server
}

/// As [`asking`], an election timeout later.
fn asking_in_vain() -> Server {
    let mut server = asking();
    server.time_out();
    assert_eq!(server.role(), (RoleKind::PreCandidate, 1));
    server
}

#[test]
fn a_server_whose_disk_has_yet_to_write_its_term_lets_nobody_pass() {
    let mut server = Server::new(1, &[1, 2, 3]);
    server.disk_held = true;
    server.receive(3, 5, PRE_REFUSED);
    assert!(!pre_votes_for(&mut server, 2), "it could not vote before its term is durable");
    server.persist();
    assert!(pre_votes_for(&mut server, 2));

    // A term that comes with the question delays nothing: the disk writes term and vote in a row.
    let mut idle = Server::new(1, &[1, 2, 3]);
    idle.disk_held = true;
    assert_eq!(sent_to(&idle.receive(2, 5, PRE_VOTE), 2), [PRE_GRANTED]);
    assert!(!pre_votes_for(&mut idle, 2), "but it is on its way now");
}

#[test]
fn a_server_whose_disk_has_yet_to_write_its_term_does_not_campaign() {
    let mut server = Server::new(1, &[1, 2, 3]);
    server.disk_held = true;
    server.receive(3, 5, PRE_REFUSED);
    assert_eq!((server.ticks(100), server.role()), (vec![], (RoleKind::Follower, 5)));
    server.persist();
    assert!(!sent(&server.ticks(20)).is_empty(), "a timeout later it does");
    assert_eq!(server.role(), (RoleKind::PreCandidate, 5));
}

/// The timer goes on while the own vote is with the disk, and nothing comes of it: no second campaign.
#[test]
fn no_second_campaign_while_the_own_vote_is_not_durable() {
    let mut server = Server::new(1, &[1, 2, 3]);
    server.disk_held = true;
    server.campaign();
    assert_eq!((server.ticks(100), server.role()), (vec![], (RoleKind::Candidate, 1)));
    assert_eq!(sent_to(&server.persist(), 2), [REQUEST]);
}

/// A candidate has a whole timeout from when it can ask, whatever its disk took.
#[test]
fn a_candidate_has_a_timeout_from_when_it_asks() {
    for late in 1..25 {
        let mut server = Server::new(1, &[1, 2, 3]);
        server.raft.fix_election_timeouts(10);
        server.disk_held = true;
        server.campaign();
        server.ticks(late);
        server.persist();
        server.ticks(9);
        assert_eq!(server.role().0, RoleKind::Candidate, "durable after {late} ticks");
        server.ticks(1);
        assert_eq!(server.role().0, RoleKind::PreCandidate, "durable after {late} ticks");
    }
}

/// Votes may come late, from voters whose disks are slow. The next pre-vote does not throw them away.
#[test]
fn votes_count_as_long_as_the_term_lasts() {
    let mut server = asking_in_vain();
    assert_eq!(server.clone().receive(3, 1, REFUSED), [], "a late refusal ends nothing");
    server.receive(3, 1, GRANTED);
    assert_eq!(server.role(), (RoleKind::Leader, 1));

    // Votes of both times count together; those of another term do not.
    let mut server = Server::new(1, &[1, 2, 3, 4, 5]);
    server.campaign();
    server.receive(2, 1, GRANTED);
    server.time_out();
    server.clone().receive(2, 1, GRANTED);
    assert_eq!(server.role(), (RoleKind::PreCandidate, 1), "one vote, said twice");
    let mut next = server.clone();
    for voter in [3, 4] {
        next.receive(voter, 1, PRE_GRANTED);
    }
    assert_eq!(next.role(), (RoleKind::Candidate, 2));
    next.receive(5, 2, GRANTED);
    assert_eq!(next.role(), (RoleKind::Candidate, 2));
    server.receive(3, 1, GRANTED);
    assert_eq!(server.role(), (RoleKind::Leader, 1));
}

/// A server that never asked in this term has no votes in it, whatever is claimed.
#[test]
fn nobody_votes_unasked() {
    let mut server = Server::new(1, &[1, 2, 3]);
    server.time_out();
    for voter in [2, 3] {
        assert_eq!(server.receive(voter, 0, GRANTED), []);
    }
    assert_eq!(server.role(), (RoleKind::PreCandidate, 0));
}

/// Until its timeout a candidate hopes for votes: it does not help to a newer term, which would end its own.
#[test]
fn a_candidate_lets_nobody_pass_before_its_timeout() {
    let mut server = asking();
    server.raft.set_election_timeout(10);
    server.ticks(9);
    assert!(!pre_votes_for(&mut server, 3));
    server.ticks(1);
    assert_eq!(server.role(), (RoleKind::PreCandidate, 1));
    server.receive(3, 1, PRE_REFUSED);
    assert!(pre_votes_for(&mut server, 3));
}

/// A vote that went out leaves its candidate the time to win: as long as a leader counts as alive.
#[test]
fn a_voter_gives_its_candidate_time() {
    let mut voter = Server::new(1, &[1, 2, 3]);
    voter.disk_held = true;
    voter.receive(2, 1, REQUEST);
    voter.raft.set_election_timeout(1000);
    voter.ticks(50);
    assert!(!pre_votes_for(&mut voter, 3), "its vote is on its way");
    assert_eq!(sent_to(&voter.persist(), 2), [GRANTED]);
    voter.raft.set_election_timeout(1000);
    for tick in 0..10 {
        assert!(!pre_votes_for(&mut voter, 3), "after {tick} ticks");
        voter.ticks(1);
    }
    assert!(pre_votes_for(&mut voter, 3));
}

/// Its own election waits too: a whole timeout from when the vote went out.
#[test]
fn a_durable_vote_puts_off_the_election() {
    let mut voter = Server::new(1, &[1, 2, 3]);
    voter.raft.fix_election_timeouts(10);
    voter.disk_held = true;
    voter.receive(2, 1, REQUEST);
    voter.ticks(9);
    voter.persist();
    assert_eq!((voter.ticks(9), voter.role()), (vec![], (RoleKind::Follower, 1)));
    voter.ticks(1);
    assert_eq!(voter.role(), (RoleKind::PreCandidate, 1));
}

/// Two that ask at the same time wait for each other's answer. Both would win, and split the votes: neither does. Whoever asks
/// next wins; silence for a heartbeat interval is as good as an answer, or a slow link would block both.
#[test]
fn pre_votes_that_cross_are_refused() {
    let mut server = Server::new(1, &[1, 2, 3]);
    server.time_out();
    assert!(!pre_votes_for(&mut server, 2), "its own question to server 2 is not answered");
    server.receive(2, 0, PRE_REFUSED);
    assert!(pre_votes_for(&mut server, 2), "it is");
    assert!(sent_to(&server.ticks(2), 2).contains(&PRE_VOTE), "it may be granted by now");
    assert!(pre_votes_for(&mut server, 3), "silent for a heartbeat interval");
    assert!(pre_votes_for(&mut server, 2), "a question asked again holds nobody up");
    assert!(pre_votes_for(&mut server, 9), "nobody asked a server that does not vote");
}

/// A rival may be ahead by now: its grant was given before it asked itself.
#[test]
fn a_rival_grants_no_longer() {
    let mut server = Server::new(1, &[1, 2, 3, 4, 5]);
    server.time_out();
    server.receive(2, 0, PRE_GRANTED);
    assert!(pre_votes_for(&mut server, 2));
    server.receive(3, 0, PRE_GRANTED);
    assert_eq!(server.role(), (RoleKind::PreCandidate, 0));
    assert!(sent_to(&server.ticks(2), 2).contains(&PRE_VOTE), "so it is asked again");
    server.receive(2, 0, PRE_GRANTED);
    assert_eq!(server.role(), (RoleKind::Candidate, 1));
}

/// However many ask and answer: what a candidate keeps is bounded by its members.
#[test]
fn strangers_are_not_kept() {
    let mut server = asking_in_vain();
    let keeps = |server: &Server| format!("{:?}", server.raft).len();
    let before = keeps(&server);
    for stranger in 4..10_000 {
        for rpc in [PRE_VOTE, PRE_GRANTED, PRE_REFUSED, GRANTED, REFUSED] {
            server.receive(stranger, 1, rpc);
        }
    }
    assert!(keeps(&server) < before + 100, "{} bytes more", keeps(&server) - before);
    assert_eq!(server.role(), (RoleKind::PreCandidate, 1));
}

/// A disk whose syncs take just less than the limit is slow, not stalled, though writes wait behind others.
#[test]
fn a_busy_slow_disk_leads() {
    let stall = 20;
    for (sync, leads) in [(stall - 1, true), (stall, false)] {
        let mut leader = leader(|config| config.disk_stall_ticks = stall);
        leader.disk_held = true;
        leader.start(&["x"]);
        for _ in 0..10 {
            // The sync that begins now covers what waits, and what comes meanwhile waits for the next.
            let covered = leader.writes.len();
            for _ in 0..sync {
                leader.ticks(1);
                leader.start(&["x"]);
                leader.receive(2, 1, matched(0));
            }
            (0..covered).for_each(|_| drop(leader.persist_one()));
        }
        assert_eq!(leader.role().0 == RoleKind::Leader, leads, "syncs of {sync} ticks");
    }
}
