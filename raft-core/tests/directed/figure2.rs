//! Figure 2 of the extended Raft paper, row by row: one test each, in the figure's order, through `step` and `Status` alone.

use crate::kit::*;
use raft_core::{Action, AppendOutcome, EntryId, Index, NodeId, Refusal, RoleKind, Rpc, Term};

// State.

/// currentTerm is on stable storage, and increases monotonically.
#[test]
fn persistent_current_term() {
    let mut server = Server::new(1, &[1, 2, 3]);
    let actions = server.receive(2, 4, heartbeat(EntryId::ZERO, 0));
    assert_eq!(written(&actions)[0].hard_state.unwrap().term, Term(4));
    assert_eq!(server.crashed().status().term(), Term(4));
    server.receive(3, 3, heartbeat(EntryId::ZERO, 0));
    assert_eq!(server.status().term(), Term(4), "terms never fall");
}

/// votedFor is on stable storage.
#[test]
fn persistent_voted_for() {
    let mut server = Server::new(1, &[1, 2, 3]);
    let actions = server.receive(2, 4, Rpc::RequestVote { last: EntryId::ZERO, transfer: false });
    assert_eq!(written(&actions)[0].hard_state.unwrap().voted_for.map(|vote| vote.id), Some(NodeId(2)));
    assert_eq!(server.crashed().status().voted_for(), Some(NodeId(2)));
}

/// log[] is on stable storage: each entry with its command and its term; the first index is 1.
#[test]
fn persistent_log() {
    let mut server = Server::new(1, &[1, 2, 3]);
    let actions = server.receive(2, 4, append(EntryId::ZERO, log(1, &[2, 4]), 0));
    assert_eq!(written(&actions)[0].entries, log(1, &[2, 4]));
    let restarted = server.crashed();
    assert_eq!((restarted.terms(), restarted.status().first_index()), (vec![2, 4], Index(1)));
    assert_eq!(restarted.status().entry(Index(2)), server.status().entry(Index(2)));
}

/// commitIndex starts at 0 and increases monotonically.
#[test]
fn volatile_commit_index() {
    let mut server = Server::with_log(1, &[1, 2, 3], 2, &[1, 1, 2]);
    assert_eq!(server.status().commit(), Index(0));
    server.receive(2, 2, heartbeat(id(2, 3), 3));
    assert_eq!(server.status().commit(), Index(3));
    server.receive(2, 2, heartbeat(id(2, 3), 1));
    assert_eq!(server.status().commit(), Index(3), "a late heartbeat takes nothing back");
}

/// lastApplied starts at 0 and increases monotonically.
#[test]
fn volatile_last_applied() {
    let mut server = Server::with_log(1, &[1, 2, 3], 2, &[1, 1, 2]);
    server.application_held = true;
    assert_eq!(server.status().applied(), Index(0));
    server.receive(2, 2, heartbeat(id(2, 3), 2));
    assert_eq!((server.status().handed_out(), server.status().applied()), (Index(2), Index(0)));
    server.step(raft_core::Event::Applied(Index(2)));
    server.step(raft_core::Event::Applied(Index(1)));
    assert_eq!(server.status().applied(), Index(2));
}

/// nextIndex[] starts at the leader's last log index + 1.
#[test]
fn leader_next_index() {
    let mut server = Server::with_log(1, &[1, 2, 3], 2, &[1, 1, 2]);
    server.elect();
    assert_eq!([server.follower(2).next, server.follower(3).next], [Index(4); 2]);
}

/// matchIndex[] starts at 0 and increases monotonically.
#[test]
fn leader_match_index() {
    let mut server = Server::with_log(1, &[1, 2, 3], 2, &[1, 1, 2]);
    server.elect();
    assert_eq!(server.follower(2).matched, EntryId::ZERO);
    server.receive(2, 3, matched(3));
    server.receive(2, 3, matched(1));
    assert_eq!(server.follower(2).matched, id(2, 3));
}

// AppendEntries RPC: arguments and results.

/// term: the leader's.
#[test]
fn append_entries_argument_term() {
    let mut server = Server::with_log(1, &[1, 2, 3], 7, &[2]);
    let actions = server.elect();
    let (_, heartbeat) = sent(&actions).pop().unwrap();
    assert!(matches!(heartbeat.rpc, Rpc::AppendEntries { .. }));
    assert_eq!(heartbeat.term, Term(8));
}

/// leaderId: so that a follower can redirect clients. It is the sender, as the transport knows it.
#[test]
fn append_entries_argument_leader_id() {
    let mut server = Server::new(1, &[1, 2, 3]);
    server.receive(3, 1, heartbeat(EntryId::ZERO, 0));
    let refused = Refusal::NotLeader { leader: Some(NodeId(3)) };
    assert!(matches!(server.start(&["x"])[..], [Action::Refused { why, .. }] if why == refused));
}

/// prevLogIndex and prevLogTerm: the entry immediately preceding the new ones.
#[test]
fn append_entries_argument_prev_log() {
    let mut server = Server::with_log(1, &[1, 2, 3], 2, &[1, 2]);
    server.elect();
    server.receive(2, 3, matched(2));
    let first = server.start(&["a"]);
    let second = server.start(&["b"]);
    assert_eq!(appends_to(&first, 2), [(id(2, 2), 3, 0)]);
    assert_eq!(appends_to(&second, 2), [(id(3, 3), 4, 0)]);
}

/// entries[]: empty for a heartbeat, more than one for efficiency.
#[test]
fn append_entries_argument_entries() {
    let mut server = Server::new(1, &[1, 2, 3]);
    let elected = server.elect();
    assert_eq!(appends_to(&elected, 2), [(EntryId::ZERO, 0, 0)]);
    server.receive(2, 1, matched(0));
    assert_eq!(appends_to(&server.start(&["a", "b", "c"]), 2), [(EntryId::ZERO, 3, 0)]);
}

/// leaderCommit: the leader's commitIndex.
#[test]
fn append_entries_argument_leader_commit() {
    let mut server = Server::new(1, &[1, 2, 3]);
    server.elect();
    server.receive(2, 1, matched(0));
    server.start(&["a"]);
    server.receive(2, 1, matched(1));
    assert_eq!(appends_to(&server.start(&["b"]), 2), [(id(1, 1), 2, 1)]);
}

/// Result term: the receiver's currentTerm, for the leader to update itself.
#[test]
fn append_entries_result_term() {
    let mut follower = Server::with_log(1, &[1, 2, 3], 5, &[]);
    let answer = sent(&follower.receive(2, 3, heartbeat(EntryId::ZERO, 0))).pop().unwrap().1;
    assert_eq!(answer.term, Term(5));

    let mut leader = Server::with_log(2, &[1, 2, 3], 2, &[]);
    leader.elect();
    leader.receive(1, 5, answer.rpc);
    assert_eq!(leader.role(), (RoleKind::Follower, 5));
}

/// Result success: true if the follower contained the entry matching prevLogIndex and prevLogTerm.
#[test]
fn append_entries_result_success() {
    let mut server = Server::with_log(1, &[1, 2, 3], 2, &[1, 2]);
    let actions = server.receive(2, 2, heartbeat(id(2, 2), 0));
    assert_eq!(sent_to(&actions, 2), [matched(2)]);
}

// AppendEntries RPC: receiver implementation.

/// 1. Reply false if term < currentTerm (§5.1).
#[test]
fn append_entries_receiver_1_refuses_an_older_term() {
    let mut server = Server::with_log(1, &[1, 2, 3], 5, &[]);
    let actions = server.receive(2, 4, append(EntryId::ZERO, log(1, &[4]), 1));
    let answer = Rpc::AppendEntriesReply { round: 0, outcome: AppendOutcome::OlderTerm };
    assert_eq!(sent_to(&actions, 2), [answer]);
    assert_eq!((server.last(), server.status().commit()), (EntryId::ZERO, Index(0)));
    assert_eq!(server.status().leader(), None, "who leads an older term leads no more");
}

/// 2. Reply false if the log has no entry at prevLogIndex whose term matches prevLogTerm (§5.3).
#[test]
fn append_entries_receiver_2_refuses_where_the_logs_do_not_meet() {
    let mut server = Server::with_log(1, &[1, 2, 3], 4, &[1, 2, 2]);
    let missing = server.receive(2, 4, append(id(3, 5), log(6, &[4]), 0));
    assert_eq!(sent_to(&missing, 2), [conflict(5, id(2, 3))]);
    let different = server.receive(2, 4, append(id(1, 2), log(3, &[4]), 0));
    assert_eq!(sent_to(&different, 2), [conflict(2, id(1, 1))]);
    assert_eq!(server.terms(), [1, 2, 2]);
}

/// 3. If an existing entry conflicts with a new one, delete it and all that follow it (§5.3).
#[test]
fn append_entries_receiver_3_deletes_from_the_first_conflict_on() {
    let mut server = Server::with_log(1, &[1, 2, 3], 4, &[1, 2, 2, 2]);
    let actions = server.receive(2, 4, append(id(1, 1), log(2, &[2, 3]), 0));
    assert_eq!(server.terms(), [1, 2, 3]);
    assert_eq!(written(&actions)[0].entries, log(3, &[3]), "entry 2 was the same: it is not written again");
    assert_eq!(server.crashed().terms(), [1, 2, 3]);
}

/// 4. Append any new entries not already in the log.
#[test]
fn append_entries_receiver_4_appends_what_is_new() {
    let mut server = Server::with_log(1, &[1, 2, 3], 4, &[1, 2]);
    let actions = server.receive(2, 4, append(EntryId::ZERO, log(1, &[1, 2, 4]), 0));
    assert_eq!(written(&actions)[0].entries, log(3, &[4]));
    assert_eq!(server.terms(), [1, 2, 4]);
}

/// 5. If leaderCommit > commitIndex, set commitIndex = min(leaderCommit, index of last new entry).
#[test]
fn append_entries_receiver_5_commits_no_further_than_the_last_new_entry() {
    let mut server = Server::with_log(1, &[1, 2, 3], 4, &[1, 2, 2, 2]);
    server.receive(2, 4, append(id(1, 1), log(2, &[2]), 9));
    assert_eq!(server.status().commit(), Index(2), "what stands behind it may not be the leader's");
    server.receive(2, 4, append(id(2, 2), log(3, &[2, 2, 4]), 4));
    assert_eq!(server.status().commit(), Index(4));
}

// RequestVote RPC: arguments and results.

/// term, candidateId (the sender), lastLogIndex and lastLogTerm.
#[test]
fn request_vote_arguments() {
    let mut server = Server::with_log(1, &[1, 2, 3], 5, &[1, 4]);
    let actions = server.campaign();
    let (to, request) = sent(&actions).pop().unwrap();
    assert_eq!((to, request.term, request.rpc), (3, Term(6), Rpc::RequestVote { last: id(4, 2), transfer: false }));
}

/// Result term: currentTerm, for the candidate to update itself.
#[test]
fn request_vote_result_term() {
    let mut voter = Server::with_log(1, &[1, 2, 3], 5, &[]);
    let answer = sent(&voter.receive(2, 3, Rpc::RequestVote { last: EntryId::ZERO, transfer: false })).pop().unwrap().1;
    assert_eq!((answer.term, &answer.rpc), (Term(5), &REFUSED));

    let mut candidate = Server::with_log(2, &[1, 2, 3], 2, &[]);
    candidate.campaign();
    candidate.receive(1, 5, answer.rpc);
    assert_eq!(candidate.role(), (RoleKind::Follower, 5));
}

/// Result voteGranted: true means that the candidate received the vote.
#[test]
fn request_vote_result_vote_granted() {
    let mut voter = Server::new(1, &[1, 2, 3]);
    assert_eq!(sent_to(&voter.receive(2, 1, Rpc::RequestVote { last: EntryId::ZERO, transfer: false }), 2), [GRANTED]);
}

// RequestVote RPC: receiver implementation.

/// 1. Reply false if term < currentTerm (§5.1).
#[test]
fn request_vote_receiver_1_refuses_an_older_term() {
    let mut server = Server::with_log(1, &[1, 2, 3], 5, &[]);
    let actions = server.receive(2, 4, Rpc::RequestVote { last: EntryId::ZERO, transfer: false });
    assert_eq!(sent_to(&actions, 2), [REFUSED]);
    assert_eq!(server.status().voted_for(), None);
}

/// 2. If votedFor is null or candidateId, and the candidate's log is at least as up-to-date: grant (§5.2, §5.4).
#[test]
fn request_vote_receiver_2_votes_once_and_for_a_log_as_good_as_ours() {
    let ask = |server: &mut Server, from: u64, last: EntryId| {
        sent_to(&server.receive(from, 6, Rpc::RequestVote { last, transfer: false }), from)
    };
    let fresh = Server::with_log(1, &[1, 2, 3], 5, &[1, 4]);
    for (last, answer) in [(id(4, 1), REFUSED), (id(3, 9), REFUSED), (id(4, 2), GRANTED), (id(5, 1), GRANTED)] {
        assert_eq!(ask(&mut fresh.clone(), 2, last), [answer], "a log that ends with {last}");
    }
    let mut server = fresh;
    assert_eq!(ask(&mut server, 2, id(4, 2)), [GRANTED]);
    assert_eq!(ask(&mut server, 3, id(5, 9)), [REFUSED], "the vote is given");
    assert_eq!(ask(&mut server, 2, id(4, 2)), [GRANTED], "to the same candidate it is said again");
}

// Rules for servers: all servers.

/// If commitIndex > lastApplied: increment lastApplied, apply log[lastApplied] (§5.3).
#[test]
fn all_servers_apply_what_is_committed() {
    let mut server = Server::with_log(1, &[1, 2, 3], 2, &[1, 1, 2]);
    assert_eq!(applied(&server.receive(2, 2, heartbeat(id(2, 3), 2))), [id(1, 1), id(1, 2)]);
    assert_eq!(applied(&server.receive(2, 2, heartbeat(id(2, 3), 3))), [id(2, 3)]);
}

/// If an RPC request or response contains term T > currentTerm: set currentTerm = T, convert to follower (§5.1).
#[test]
fn all_servers_adopt_a_newer_term_and_follow() {
    let last = EntryId::ZERO;
    let requests = [heartbeat(last, 0), Rpc::PreVote { last }, Rpc::RequestVote { last, transfer: false }];
    let replies = [matched(0), conflict(0, last), GRANTED, REFUSED, PRE_GRANTED, PRE_REFUSED];
    for rpc in requests.into_iter().chain(replies) {
        let mut candidate = Server::new(1, &[1, 2, 3]);
        candidate.campaign();
        assert_eq!(candidate.role(), (RoleKind::Candidate, 1));
        let actions = candidate.receive(2, 9, rpc.clone());
        assert_eq!(candidate.role(), (RoleKind::Follower, 9), "{rpc:?}");
        assert_eq!(written(&actions)[0].hard_state.unwrap().term, Term(9));
    }
}

// Rules for servers: followers.

/// Respond to RPCs from candidates and leaders.
#[test]
fn followers_respond_to_candidates_and_leaders() {
    let mut server = Server::new(1, &[1, 2, 3]);
    let last = EntryId::ZERO;
    assert_eq!(sent_to(&server.receive(2, 0, Rpc::PreVote { last }), 2), [PRE_GRANTED]);
    assert_eq!(sent_to(&server.receive(2, 1, Rpc::RequestVote { last, transfer: false }), 2), [GRANTED]);
    assert_eq!(sent_to(&server.receive(2, 1, heartbeat(last, 0)), 2), [matched(0)]);
}

/// If the election timeout elapses without AppendEntries from the current leader or granting a vote: campaign.
#[test]
fn followers_campaign_when_they_hear_nothing() {
    let mut quiet = Server::new(1, &[1, 2, 3]);
    quiet.ticks(9);
    assert_eq!(quiet.role().0, RoleKind::Follower, "no timeout is so short");
    quiet.ticks(11);
    assert_eq!(quiet.role().0, RoleKind::PreCandidate, "no timeout is so long");

    for reason in [heartbeat(EntryId::ZERO, 0), Rpc::RequestVote { last: EntryId::ZERO, transfer: false }] {
        let mut server = Server::new(1, &[1, 2, 3]);
        server.raft.set_election_timeout(10);
        server.ticks(9);
        server.receive(2, 1, reason);
        server.ticks(9);
        assert_eq!(server.role().0, RoleKind::Follower, "the timer began anew");
        server.ticks(1);
        assert_eq!(server.role().0, RoleKind::PreCandidate);
    }
}

// Rules for servers: candidates.

/// On conversion: increment currentTerm, vote for self, reset the election timer, send RequestVote to all others.
#[test]
fn candidates_raise_the_term_vote_for_themselves_and_ask_all_others() {
    let mut server = Server::with_log(1, &[1, 2, 3], 5, &[1]);
    let asked = server.time_out();
    assert_eq!(sent_to(&asked, 2), [Rpc::PreVote { last: id(1, 1) }], "first, whether it could win (thesis §9.6)");
    let actions = server.receive(2, 5, PRE_GRANTED);
    assert_eq!((server.role(), server.status().voted_for()), ((RoleKind::Candidate, 6), Some(NodeId(1))));
    for peer in [2, 3] {
        assert_eq!(sent_to(&actions, peer), [Rpc::RequestVote { last: id(1, 1), transfer: false }]);
    }
    let told = server.ticks(9);
    assert!(written(&told).is_empty(), "the timer began anew: no other campaign yet");
    assert_eq!(server.role(), (RoleKind::Candidate, 6));
}

/// If votes are received from a majority of servers: become leader.
#[test]
fn candidates_lead_with_the_votes_of_a_majority() {
    let mut server = Server::new(1, &[1, 2, 3, 4, 5]);
    server.campaign();
    server.receive(2, 1, GRANTED);
    server.receive(2, 1, GRANTED);
    assert_eq!(server.role(), (RoleKind::Candidate, 1), "two of five");
    server.receive(3, 1, GRANTED);
    assert_eq!(server.role(), (RoleKind::Leader, 1));
}

/// If AppendEntries is received from a new leader: convert to follower.
#[test]
fn candidates_follow_a_new_leader() {
    let mut server = Server::new(1, &[1, 2, 3]);
    server.campaign();
    server.receive(2, 1, heartbeat(EntryId::ZERO, 0));
    assert_eq!((server.role(), server.status().leader()), ((RoleKind::Follower, 1), Some(NodeId(2))));
}

/// If the election timeout elapses: start a new election.
#[test]
fn candidates_campaign_anew_when_nobody_wins() {
    let mut server = Server::new(1, &[1, 2, 3]);
    server.campaign();
    server.ticks(20);
    assert_eq!(server.role(), (RoleKind::PreCandidate, 1));
    server.receive(3, 1, PRE_GRANTED);
    assert_eq!(server.role(), (RoleKind::Candidate, 2));
}

// Rules for servers: leaders.

/// Upon election: send an empty AppendEntries to each server; repeat during idle periods (§5.2).
#[test]
fn leaders_send_heartbeats_at_once_and_when_idle() {
    let mut server = Server::new(1, &[1, 2, 3]);
    server.campaign();
    let elected = server.receive(2, 1, GRANTED);
    for peer in [2, 3] {
        assert_eq!(appends_to(&elected, peer), [(EntryId::ZERO, 0, 0)]);
        server.receive(peer, 1, matched(0));
    }
    assert!(sent(&server.ticks(1)).is_empty());
    let idle = server.ticks(1);
    for peer in [2, 3] {
        assert_eq!(appends_to(&idle, peer), [(EntryId::ZERO, 0, 0)]);
    }
}

/// If a command is received from a client: append it, respond after it is applied (§5.3).
#[test]
fn leaders_append_commands_and_hand_them_out_once_committed() {
    let mut server = Server::new(1, &[1, 2, 3]);
    server.elect();
    let started = server.start(&["x"]);
    assert!(matches!(started[0], Action::Accepted { first, count: 1, .. } if first == id(1, 1)));
    assert_eq!((server.last(), applied(&started)), (id(1, 1), vec![]));
    assert_eq!(applied(&server.receive(2, 1, matched(1))), [id(1, 1)]);
}

/// If last log index >= nextIndex for a follower: send AppendEntries with entries starting at nextIndex.
#[test]
fn leaders_send_what_a_follower_lacks() {
    let mut server = Server::new(1, &[1, 2, 3]);
    server.elect();
    server.receive(2, 1, matched(0));
    assert_eq!(appends_to(&server.start(&["a"]), 2), [(EntryId::ZERO, 1, 0)]);
    assert_eq!(appends_to(&server.start(&["b"]), 2), [(id(1, 1), 2, 0)], "from nextIndex on, without waiting");
    assert_eq!(server.follower(2).next, Index(3));
}

/// If successful: update nextIndex and matchIndex for the follower.
#[test]
fn leaders_learn_from_success() {
    let mut server = Server::with_log(1, &[1, 2, 3], 1, &[1, 1]);
    server.elect();
    server.receive(2, 2, matched(2));
    let follower = server.follower(2);
    assert_eq!((follower.matched, follower.next), (id(1, 2), Index(3)));
}

/// If AppendEntries fails because of log inconsistency: decrement nextIndex and retry; here a term at a time (§5.3).
#[test]
fn leaders_go_back_after_a_conflict_and_try_again() {
    let mut server = Server::with_log(1, &[1, 2, 3], 6, &[1, 1, 4, 4, 5, 5, 6, 6, 6]);
    server.elect();
    // The follower has 1 1 1 4 4 4 4, like (e) of Figure 7.
    let retried = server.receive(2, 7, conflict(9, id(4, 7)));
    assert_eq!(appends_to(&retried, 2), [(id(4, 4), 4, 0)], "our last entry of a term no later than 4");
    assert_eq!(server.follower(2).next, Index(5));
    let fed = server.receive(2, 7, matched(4));
    assert_eq!(appends_to(&fed, 2), [(id(4, 4), 9, 0)]);
}

/// If N > commitIndex exists such that a majority of matchIndex[i] >= N, and log[N].term == currentTerm: commit N.
#[test]
fn leaders_commit_what_a_majority_has_of_their_own_term() {
    let mut server = Server::with_log(1, &[1, 2, 3, 4, 5], 2, &[1, 2]);
    server.elect();
    for peer in [2, 3, 4, 5] {
        server.receive(peer, 3, matched(2));
    }
    assert_eq!(server.status().commit(), Index(0), "entries of older terms are not committed by counting (§5.4.2)");
    server.start(&["x"]);
    server.receive(2, 3, matched(3));
    assert_eq!(server.status().commit(), Index(0), "two of five");
    let actions = server.receive(3, 3, matched(3));
    assert_eq!(server.status().commit(), Index(3));
    assert_eq!(applied(&actions), [id(1, 1), id(2, 2), id(3, 3)], "the older ones commit with it");
}

/// A success says in memory and on disk apart: only what is on disk counts towards matchIndex.
#[test]
fn leaders_count_only_what_is_durable() {
    let mut server = Server::new(1, &[1, 2, 3]);
    server.elect();
    server.start(&["x"]);
    let received = AppendOutcome::Matched { received: Index(1), durable: Index(0) };
    server.receive(2, 1, Rpc::AppendEntriesReply { round: 1, outcome: received });
    assert_eq!((server.follower(2).matched, server.status().commit()), (EntryId::ZERO, Index(0)));
    server.receive(2, 1, matched(1));
    assert_eq!(server.status().commit(), Index(1));
}
