//! Leader election (§5.2, §5.4.1), with the pre-vote of thesis §9.6: who campaigns when, who votes for whom, who wins.

use smallvec::SmallVec;

use crate::chores::Chores;
use crate::entries::{Entries, Payload};
use crate::message::Rpc;
use crate::quorum::Tally;
use crate::role::{Candidate, Follower, Leader, Role, Stage, Votes};
use crate::server::Server;
use crate::types::{EntryId, Index, NodeId, ServerId, Term};

/// The election timer ran out: see whether a campaign could be won. A server that does not vote, that is being given a
/// snapshot, or whose disk is stalled or still has to write down its term and vote waits for another timeout instead.
pub(crate) fn time_out(server: &mut Server, role: &mut Role) {
    server.draw_timeout();
    let deadline = server.now + u64::from(server.timeout);
    if !may_campaign(server) {
        match role {
            Role::Follower(follower) => follower.deadline = deadline,
            Role::Candidate(candidate) => candidate.deadline = deadline,
            Role::Leader(_) => {}
        }
        return;
    }
    let mut candidate = Candidate::new(server, Stage::PreVote);
    if let Role::Candidate(before) = role {
        candidate.asked = before.asked;
        candidate.votes = core::mem::take(&mut before.votes);
    }
    count_own_vote(server, &mut candidate.pre_votes);
    ask(server, &candidate);
    *role = Role::Candidate(candidate);
    server.role_changed = true;
}

/// A server counts its own vote only where the others would.
fn count_own_vote(server: &Server, votes: &mut Votes) {
    if server.counts_itself {
        votes.count(server.id(), true);
    }
}

/// Whether this server may campaign, however it comes to that.
pub(crate) fn may_campaign(server: &Server) -> bool {
    server.may_lead()
        && !server.disk.is_installing()
        && server.disk.hard_state_is_durable()
        && !server.disk.is_stalled(server.now, server.config.disk_stall_ticks)
        && server.term() < Term::MAX
}

/// Time passed for a candidate: ask those again who have not answered, for messages get lost.
pub(crate) fn ask_again(server: &mut Server, candidate: &mut Candidate) {
    if server.now >= candidate.ask_again_at {
        candidate.ask_again_at = server.now + u64::from(server.config.heartbeat_ticks);
        ask(server, candidate);
    }
}

/// Ask all voters who may still grant: a refused pre-vote may be granted a moment later, a refused vote is final.
fn ask(server: &mut Server, candidate: &Candidate) {
    let last = server.log.last();
    let rpc = match candidate.stage {
        Stage::PreVote => Rpc::PreVote { last },
        Stage::Voted { .. } => return,
        Stage::Asking => Rpc::RequestVote { last, transfer: candidate.transfer },
    };
    let may_grant = |id: NodeId| match candidate.stage {
        Stage::PreVote => candidate.pre_votes.of(id) != Some(true),
        Stage::Voted { .. } | Stage::Asking => candidate.votes.of(id).is_none(),
    };
    let membership = server.membership().clone();
    let voters = membership.members().iter().filter(|member| member.votes()).map(|member| member.id);
    let silent: SmallVec<[NodeId; 8]> = voters.filter(|id| *id != server.id() && may_grant(*id)).collect();
    for voter in silent {
        server.send(voter, rpc.clone());
    }
}

/// What the votes make of a candidate; asked after every step.
pub(crate) fn settle(server: &mut Server, role: &mut Role) {
    let Role::Candidate(candidate) = role else { return };
    if let Stage::Voted { durable_after } = candidate.stage
        && server.disk.is_durable(durable_after)
    {
        candidate.stage = Stage::Asking;
        candidate.asked = true;
        candidate.deadline = server.now + u64::from(server.timeout);
        count_own_vote(server, &mut candidate.votes);
        ask(server, candidate);
    }
    let voters = server.membership().voters();
    let tally = voters.tally(|id| candidate.votes.of(id));
    let pre_tally = voters.tally(|id| candidate.pre_votes.of(id));
    match candidate.stage {
        Stage::PreVote | Stage::Asking if tally == Tally::Won => *role = lead(server),
        Stage::PreVote if pre_tally == Tally::Won => *role = campaign(server),
        Stage::Asking if tally == Tally::Lost => role.follow(server),
        Stage::PreVote | Stage::Voted { .. } | Stage::Asking => {}
    }
}

/// Increment currentTerm, vote for self, reset election timer (Figure 2, Candidates). Nobody is asked before term, vote
/// and the log tail that the request quotes are durable: a grant won before a crash must not elect the poorer log after
/// it.
pub(crate) fn campaign(server: &mut Server) -> Role {
    server.adopt(server.term().next(), Some(server.identity()));
    server.draw_timeout();
    Role::Candidate(Candidate::new(server, Stage::Voted { durable_after: server.disk.barrier() }))
}

fn lead(server: &mut Server) -> Role {
    let leader = Leader::new(server);
    server.role_changed = true;
    if server.config.leader_noop && server.log.last().index < Index::MAX {
        let first = EntryId { term: server.term(), index: server.log.last().index.next() };
        server.append(Entries::of_term(first, [Payload::Noop].into_iter()));
    }
    server.chores.note(Chores::CHANGE);
    Role::Leader(leader)
}

/// A pre-vote in our own term: would we vote for this server in the next one? No promise, no trace (thesis §9.6). A
/// server that waits for the outcome of an election in this term refuses: a new term would throw the votes away.
pub(crate) fn pre_vote_requested(server: &mut Server, role: &mut Role, from: NodeId, last: EntryId) {
    let free = match role {
        Role::Follower(follower) => server.now >= follower.waits_until,
        Role::Candidate(candidate) if candidate.stage == Stage::PreVote => {
            // Two that ask each other at the same time would both win, and split the votes: neither does.
            let unanswered = server.membership().is_voter(from) && candidate.pre_votes.of(from).is_none();
            let waiting = unanswered && server.now < candidate.waits_until;
            // What a rival said before it asked itself is out of date: it may be ahead of us by now.
            candidate.pre_votes.withdraw(from);
            !waiting
        }
        Role::Candidate(_) | Role::Leader(_) => false,
    };
    let granted = free && server.disk.can_vote() && last >= server.log.last();
    server.send(from, Rpc::PreVoteReply { granted });
}

/// RequestVote in our own term (Figure 2): one vote per term, first come, first served, to a log at least as up-to-date
/// as ours.
pub(crate) fn vote_requested(server: &mut Server, role: &mut Role, candidate: ServerId, last: EntryId) {
    let from = candidate.id;
    let free = server.hard_state.voted_for.is_none_or(|voted_for| voted_for == candidate);
    let granted = free && last >= server.log.last();
    match role {
        Role::Follower(follower) if granted => {
            server.vote_for(candidate);
            server.disk.owe_vote(from);
            follower.put_off_election(server);
        }
        // Only a follower has a vote to give: a candidate and a leader gave theirs to themselves, but for a candidate
        // that is still asking whether it could win.
        Role::Candidate(Candidate { stage: Stage::PreVote, .. }) if granted => {
            server.vote_for(candidate);
            server.disk.owe_vote(from);
            let mut follower = Follower::new(server, 0);
            follower.put_off_election(server);
            *role = Role::Follower(follower);
            server.role_changed = true;
        }
        _ => server.send(from, Rpc::RequestVoteReply { granted: false }),
    }
}

/// A vote that is durable may go out. From now on its candidate has time to win: other voters' disks may be slower.
pub(crate) fn settle_vote(server: &mut Server, role: &mut Role) {
    let Some(candidate) = server.disk.take_vote() else { return };
    server.send(candidate, Rpc::RequestVoteReply { granted: true });
    if let Role::Follower(follower) = role {
        follower.put_off_election(server);
        follower.waits_until = server.now + u64::from(server.config.election_ticks_min);
    }
}

pub(crate) fn pre_vote_answered(server: &mut Server, role: &mut Role, from: NodeId, granted: bool) {
    match role {
        Role::Candidate(candidate) if candidate.stage == Stage::PreVote => candidate.pre_votes.set(from, granted),
        _ => server.counters.stale += 1,
    }
}

/// An answer to RequestVote in our own term: it counts if we asked in this term, whatever we ask by now.
pub(crate) fn vote_answered(server: &mut Server, role: &mut Role, from: NodeId, granted: bool) {
    match role {
        Role::Candidate(candidate) if candidate.asked => candidate.votes.count(from, granted),
        _ => server.counters.stale += 1,
    }
}
