//! Log replication (§5.3), the follower's end: it takes what fits its log and says how far it got.

use crate::action::Fatal;
use crate::entries::Entries;
use crate::log::Fit;
use crate::message::{AppendOutcome, Rpc};
use crate::role::{Follower, Role};
use crate::server::Server;
use crate::types::{EntryId, Index, NodeId};

/// What an AppendEntries says.
pub(crate) struct Append {
    pub(crate) prev: EntryId,
    pub(crate) entries: Entries,
    pub(crate) commit: Index,
    pub(crate) round: u64,
    pub(crate) reply: bool,
}

/// AppendEntries in our own term, as its receiver (Figure 2).
pub(crate) fn append_requested(server: &mut Server, follower: &mut Follower, from: NodeId, append: Append) {
    let Append { prev, entries, commit, round, reply } = append;
    let begins_round = round > follower.round;
    follower.round = follower.round.max(round);
    let new_from = match server.log.fit(prev, &entries) {
        Fit::Matches { new_from } => new_from,
        Fit::Conflict { .. } if prev.index <= server.commit => return contradicted(server, from, prev),
        Fit::Conflict { hint } => {
            let outcome = AppendOutcome::Conflict { prev: prev.index, hint };
            return server.send(from, Rpc::AppendEntriesReply { round: follower.round, outcome });
        }
    };
    let end = prev.index.plus(entries.len());
    let Some(new_from) = new_from else {
        follow_commit(server, follower, end, commit);
        if reply && is_full(server) {
            refuse_more(server, follower, from);
        } else if reply {
            acknowledge(server, follower, from);
        }
        return;
    };
    let new = entries.starting_at(new_from);
    if new_from <= server.commit {
        return contradicted(server, from, new.first().unwrap_or(prev));
    }
    if is_full(server) {
        follow_commit(server, follower, new_from.prev(), commit);
        return refuse_more(server, follower, from);
    }
    server.replace(new);
    follower.verified = follower.verified.min(new_from.prev());
    follow_commit(server, follower, end, commit);
    if begins_round && reply && server.disk.hard_state_is_durable() {
        // The leader must not take a slow disk for a dead server: it hears at once what was durable before.
        send_acknowledgement(server, follower, from);
    }
    server.disk.owe_acknowledgement(from);
}

/// A message of the leader's takes long to come in: say that it is heard, at most once in a heartbeat interval, or it would give up
/// its office. No round is echoed that was not received.
pub(crate) fn answer_arriving(server: &mut Server, follower: &mut Follower, leader: NodeId) {
    if server.now < follower.answers_arriving_at || !server.disk.hard_state_is_durable() {
        return;
    }
    follower.answers_arriving_at = server.now + u64::from(server.config.heartbeat_ticks);
    if is_full(server) {
        refuse_more(server, follower, leader);
    } else {
        send_acknowledgement(server, follower, leader);
    }
}

/// Whether too much waits for the disk, or is committed and waits for the application. Both get done without anything new
/// from the leader.
fn is_full(server: &Server) -> bool {
    let unpersisted = server.log.bytes_after(server.disk.durable());
    let unapplied = server.backlog_bytes().saturating_sub(server.log.bytes_after(server.commit));
    unpersisted >= server.config.unpersisted_bytes_max || unapplied >= server.config.backlog_bytes_max
}

/// Say how far our log is the leader's, and that we take nothing more for now.
fn refuse_more(server: &mut Server, follower: &Follower, leader: NodeId) {
    let received = follower.verified;
    let outcome = AppendOutcome::Full { received, durable: promised(server, received) };
    server.send(leader, Rpc::AppendEntriesReply { round: follower.round, outcome });
}

/// Our log is the leader's through `verified`: commit no further than that (Figure 2, AppendEntries 5).
fn follow_commit(server: &mut Server, follower: &mut Follower, verified: Index, commit: Index) {
    follower.verified = follower.verified.max(verified);
    server.commit_to(commit.min(follower.verified));
}

/// A leader whose log lacks what is committed here cannot have been elected honestly.
fn contradicted(server: &mut Server, from: NodeId, theirs: EntryId) {
    let ours = server.log.id_at(theirs.index).unwrap_or(server.log.base());
    server.fatal = Some(Fatal::CommittedEntryContradicted { from, ours, theirs });
}

/// Say how far our log is the leader's. What is durable already, in a durable term, is no promise: it is said at once, so
/// that a slow disk does not look like a dead server.
pub(crate) fn acknowledge(server: &mut Server, follower: &Follower, leader: NodeId) {
    if server.disk.hard_state_is_durable() {
        send_acknowledgement(server, follower, leader);
    } else {
        server.disk.owe_acknowledgement(leader);
    }
}

pub(crate) fn send_acknowledgement(server: &mut Server, follower: &Follower, leader: NodeId) {
    let received = follower.verified;
    let outcome = AppendOutcome::Matched { received, durable: promised(server, received) };
    server.send(leader, Rpc::AppendEntriesReply { round: follower.round, outcome });
}

/// What is durable of it; nothing, as long as the term in which it is said is not.
fn promised(server: &Server, received: Index) -> Index {
    if server.disk.hard_state_is_durable() { received.min(server.disk.durable()) } else { Index(0) }
}

/// Owed acknowledgements that may go out now.
pub(crate) fn settle_acknowledgement(server: &mut Server, role: &Role) {
    if let Role::Follower(follower) = role
        && let Some(leader) = server.disk.take_acknowledgement()
    {
        send_acknowledgement(server, follower, leader);
    }
}
