//! The gate: whose messages are heard at all, and in which term. What passes it is in our own term.

use crate::action::Fatal;
use crate::appending;
use crate::healing;
use crate::log::SnapshotMeta;
use crate::message::{AppendOutcome, Message, Rpc};
use crate::role::{Candidate, Follower, Role};
use crate::server::Server;
use crate::types::{NodeId, Term};

/// Say whether a message is to be acted on; our term is its term then. One that is not is counted, answered or both.
#[inline(always)] // called once for each message
pub(crate) fn admit(server: &mut Server, role: &mut Role, from: NodeId, message: &Message) -> bool {
    if from == server.id() {
        server.counters.from_self += 1;
        return false;
    }
    if !message.is_well_formed() {
        server.counters.malformed += 1;
        return false;
    }
    // A server that hears a live leader is not disturbed, whatever the term (§6, thesis §4.2.3), unless that leader asked
    // for it.
    let asks = matches!(message.rpc, Rpc::PreVote { .. } | Rpc::RequestVote { .. });
    if asks && hears_other_leader(server, role, from) && !is_transfer(server, from, message) {
        refuse(server, from, &message.rpc);
        return false;
    }
    // Requests are served whoever sends them: we may not know our members yet (thesis §4.2.2).
    if message.is_reply() && !hears_reply(server, role, from, message) {
        return false;
    }
    // These are between a leader and its followers, and raise no term: a server behind in term learns it from other messages.
    if matches!(message.rpc, Rpc::TimeoutNow { .. } | Rpc::ReadIndex { .. } | Rpc::ReadIndexReply { .. }) {
        let is_of_term = message.term == server.term();
        server.counters.stale += u64::from(!is_of_term);
        return is_of_term;
    }
    if message.term > server.term() {
        server.adopt(message.term, None);
        role.follow(server);
    } else if message.term < server.term() {
        if message.is_reply() {
            server.counters.stale += 1;
            return false;
        }
        refuse(server, from, &message.rpc);
        return false;
    }
    true
}

/// Whether a reply is heard: only what a member says, on the disk that counts for it. A leader hears those too whom it feeds
/// though they are not counted. Their terms are not adopted, or a server that forgot everything could depose a leader; but
/// one that has no vote could never be fed if it were ahead in terms, so it may once in a while. One that has a vote is noticed,
/// so that it can be readmitted, and is fed then.
fn hears_reply(server: &mut Server, role: &mut Role, from: NodeId, message: &Message) -> bool {
    if matches!(message.rpc, Rpc::AppendEntriesReply { .. })
        && matches!(role, Role::Leader(_))
        && message.term <= server.term()
    {
        return true;
    }
    let Some(member) = server.membership().member(from) else {
        server.counters.not_a_member += 1;
        return false;
    };
    if member.counts(message.incarnation) {
        return true;
    }
    let interval = u64::from(server.config.election_ticks_max);
    let is_due = server.foreign_term_at.is_none_or(|at| server.now - at >= interval);
    if !member.votes() && is_due && message.term > server.term() {
        server.foreign_term_at = Some(server.now);
        return matches!(message.rpc, Rpc::AppendEntriesReply { .. });
    }
    if let (Role::Leader(leader), Rpc::AppendEntriesReply { .. }) = (role, &message.rpc) {
        healing::notice(server, leader, from, message.incarnation);
    }
    server.counters.wiped += 1;
    false
}

/// The same for a snapshot, which the driver received: it is handed back if it is to be acted on.
pub(crate) fn admit_snapshot(
    server: &mut Server,
    role: &mut Role,
    from: NodeId,
    term: Term,
    snapshot: SnapshotMeta,
) -> Option<SnapshotMeta> {
    let last = snapshot.last;
    if from == server.id() || term == Term(0) || term > Term::MAX || !last.is_possible() || last.term > term {
        server.counters.malformed += 1;
        server.discard(snapshot);
        return None;
    }
    if term < server.term() {
        server.discard(snapshot);
        server.send(from, Rpc::AppendEntriesReply { round: 0, outcome: AppendOutcome::OlderTerm });
        return None;
    }
    if term > server.term() {
        server.adopt(term, None);
        role.follow(server);
    }
    Some(snapshot)
}

/// Part of a message of `term` from `from` is here. A follower hears its leader by that, however long the rest takes. Only the
/// known leader of our own term is believed: nothing of these bytes has been checked, so nobody learns of a term or of a leader by
/// them. Nor does a leader count them as an answer: answers are short, and which disk they come from is not known yet.
#[cold]
pub(crate) fn arriving(server: &mut Server, role: &mut Role, from: NodeId, term: Term) {
    match role {
        Role::Follower(follower) if follower.leader == Some(from) && term == server.term() => {
            follower.hear(server, from);
            appending::answer_arriving(server, follower, from);
        }
        Role::Follower(_) | Role::Candidate(_) | Role::Leader(_) => server.counters.stale += 1,
    }
}

/// Whether this server hears a live leader other than `from`, in whatever term, or leads and hears a quorum.
fn hears_other_leader(server: &Server, role: &Role, from: NodeId) -> bool {
    match role {
        Role::Follower(_) | Role::Candidate(_) => server.live_leader().is_some_and(|leader| leader != from),
        Role::Leader(leader) => leader.hears_quorum(server),
    }
}

/// Whether a candidate campaigns because the leader asked it to (thesis §3.10). Believed of voters only, on the disk that
/// counts for them: of others, no leader asks that.
fn is_transfer(server: &Server, from: NodeId, message: &Message) -> bool {
    let member = || server.membership().member(from);
    matches!(message.rpc, Rpc::RequestVote { transfer: true, .. })
        && member().is_some_and(|member| member.votes() && member.counts(message.incarnation))
}

/// Answer a request that changes nothing with our own term, from which its sender may learn.
fn refuse(server: &mut Server, from: NodeId, rpc: &Rpc) {
    let answer = match rpc {
        Rpc::PreVote { .. } => Rpc::PreVoteReply { granted: false },
        Rpc::RequestVote { .. } => Rpc::RequestVoteReply { granted: false },
        Rpc::AppendEntries { .. } => Rpc::AppendEntriesReply { round: 0, outcome: AppendOutcome::OlderTerm },
        Rpc::PreVoteReply { .. }
        | Rpc::RequestVoteReply { .. }
        | Rpc::AppendEntriesReply { .. }
        | Rpc::TimeoutNow { .. }
        | Rpc::ReadIndex { .. }
        | Rpc::ReadIndexReply { .. } => return,
    };
    server.send(from, answer);
}

/// Follow `from`, which leads in our term (§5.2). A second leader in one term is fatal.
pub(crate) fn follow_leader<'a>(server: &mut Server, role: &'a mut Role, from: NodeId) -> Option<&'a mut Follower> {
    let known = match role {
        Role::Leader(_) => Some(server.id()),
        Role::Candidate(Candidate { .. }) => None,
        Role::Follower(follower) => follower.leader,
    };
    if let Some(one) = known.filter(|known| *known != from) {
        server.fatal = Some(Fatal::TwoLeaders { term: server.term(), one, other: from });
        return None;
    }
    if let Role::Candidate(_) = role {
        role.follow(server);
    }
    let Role::Follower(follower) = role else { return None };
    follower.hear(server, from);
    Some(follower)
}
