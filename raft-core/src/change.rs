//! Changes of the membership (§6, thesis §4): what an operator asks for, and what a leader does by itself until the
//! configuration is settled. A configuration is in force as soon as it is in the log.
//!
//! ```text
//!   asked for --> C_old,new appended --> committed --> C_new appended --> committed --> leavers are seen off
//!             \-> one entry, if nobody's vote changes ----------------^
//! ```
//!
//! No configuration is appended before the one in force and an entry of the own term are committed, but for C_new, which
//! belongs to what is committed already.

use alloc::sync::Arc;

use crate::action::Action;
use crate::edit::{Change, Edit, EditError};
use crate::entries::{Entries, Payload};
use crate::healing;
use crate::member::{Member, MemberRole};
use crate::membership::Membership;
use crate::message::Rpc;
use crate::refusal::Refusal;
use crate::role::{Leader, Role};
use crate::server::Server;
use crate::types::{EntryId, Incarnation, Index, RequestId};

/// An operator asks for a change.
pub(crate) fn asked(server: &mut Server, role: &mut Role, request: RequestId, change: &Change) {
    let action = match begin(server, role, change) {
        Ok(first) => Action::Accepted { request, first, count: 1 },
        Err(why) => Action::Refused { request, why },
    };
    server.actions.push(action);
}

fn begin(server: &mut Server, role: &mut Role, change: &Change) -> Result<EntryId, Refusal> {
    let leader = match role {
        Role::Leader(leader) => leader,
        Role::Follower(follower) => return Err(Refusal::NotLeader { leader: follower.leader }),
        Role::Candidate(_) => return Err(Refusal::NotLeader { leader: None }),
    };
    if !server.commit_is_of_term() {
        return Err(Refusal::NotReady);
    }
    if leader.is_transferring() {
        return Err(Refusal::Transferring);
    }
    let membership = server.membership();
    if is_pending(server) || membership.is_joint() {
        return Err(Refusal::ChangePending { since: membership.change() });
    }
    if change.expected.is_some_and(|expected| expected != membership.change()) {
        return Err(Refusal::Expected { found: membership.change() });
    }
    if change.edits.len() > 2 * Membership::MEMBERS_MAX {
        return Err(EditError::TooManyMembers.into());
    }
    let first = next_entry(server).ok_or(Refusal::LogFull)?;
    let edited = membership.edited(first, &change.edits, |member| is_ready(server, leader, member))?;
    append(server, leader, edited);
    Ok(first)
}

/// The standing rules of a leader about members; at most one entry comes of them. While leadership is being transferred none
/// does but the second half of a change: the target would be behind at once.
pub(crate) fn settle(server: &mut Server, leader: &mut Leader) {
    see_off(server, leader);
    let Some(change) = next_entry(server) else { return };
    let is_pending = is_pending(server);
    if !is_pending && server.membership().is_joint() {
        return append(server, leader, server.membership().settled());
    }
    if leader.is_transferring() {
        return;
    }
    if is_pending {
        return commit_earlier_terms(server, change);
    }
    if !server.counts_itself {
        return; // It leaves.
    }
    if !server.commit_is_of_term() {
        if is_unfinished(server) || leader.followers.iter().any(|progress| !progress.counted) {
            commit_earlier_terms(server, change);
        }
        return;
    }
    let next = healing::record_founders(server, leader, change)
        .or_else(|| healing::record_newcomer(server, leader, change))
        .or_else(|| promote(server, leader, change))
        .or_else(|| healing::readmit(server, leader, change));
    if let Some(membership) = next {
        append(server, leader, membership);
    }
}

/// A configuration may have been committed: whether it names another disk for this server.
pub(crate) fn committed(server: &mut Server) {
    server.fatal = server.fatal.or(healing::replaced(server));
}

/// A leader outside of the committed configuration hands over to the best of its voters, and follows (thesis §4.2.2).
pub(crate) fn leave(server: &mut Server, role: &mut Role) {
    let Role::Leader(leader) = role else { return };
    if is_pending(server) || server.membership().is_joint() || server.may_lead() {
        return;
    }
    let voters = server.membership().voters();
    let best = leader.followers.iter().filter(|p| {
        voters.incoming.contains(&p.id) && p.counted && p.disk != Incarnation(0) && healing::is_heard(server, p)
    });
    if let Some((to, target)) = best.max_by_key(|p| p.matched).map(|p| (p.id, p.disk)) {
        server.send(to, Rpc::TimeoutNow { target });
    }
    role.follow(server);
}

/// Whether the configuration in force is not known to be committed.
fn is_pending(server: &Server) -> bool {
    server.history.current_index() > server.commit
}

/// Where the next entry of the own term would stand.
fn next_entry(server: &Server) -> Option<EntryId> {
    let index = server.log.last().index.next();
    (index <= Index::MAX).then_some(EntryId { term: server.term(), index })
}

/// The configuration in force asks for more.
fn is_unfinished(server: &Server) -> bool {
    let wants = |member: &Member| match member.role {
        MemberRole::Learner { wanted } => wanted.is_some() || member.disk == Incarnation(0),
        MemberRole::Voter => server.config.record_disks && member.disk == Incarnation(0),
        MemberRole::Leaving => true,
    };
    server.membership().members().iter().any(wants)
}

/// Nothing of an earlier term commits before something of this one does (§5.4.2): where nothing is, a no-op must be.
fn commit_earlier_terms(server: &mut Server, next: EntryId) {
    if server.log.last().term < server.term() {
        server.append(Entries::of_term(next, [Payload::Noop].into_iter()));
    }
}

/// The configuration that promotes a learner which was to become a voter, and has caught up.
fn promote(server: &Server, leader: &Leader, change: EntryId) -> Option<Membership> {
    let membership = server.membership();
    let is_ready = |member: &Member| is_ready(server, leader, member);
    let wanted = |member: &&Member| matches!(member.role, MemberRole::Learner { wanted: Some(_) });
    let ready = membership.members().iter().filter(wanted).find(|member| is_ready(member))?;
    membership.edited(change, &[Edit::Promote { id: ready.id }], is_ready).ok()
}

/// Whether a learner may become a voter: its disk is recorded, it has the entry that says so, it is heard, and it has caught
/// up (thesis §4.2.1).
fn is_ready(server: &Server, leader: &Leader, member: &Member) -> bool {
    leader.progress(member.id).is_some_and(|progress| {
        member.disk != Incarnation(0)
            && progress.disk == member.disk
            && progress.matched.index >= server.history.current_index()
            && healing::is_heard(server, progress)
            && progress.has_caught_up(server.now, u64::from(server.config.election_ticks_min))
    })
}

fn append(server: &mut Server, leader: &mut Leader, membership: Membership) {
    let Some(at) = next_entry(server) else { return };
    server.append(Entries::of_term(at, [Payload::Membership(Arc::new(membership))].into_iter()));
    let membership = Arc::clone(server.membership());
    leader.match_members(server, &membership);
}

/// Forget servers that left, once they know it or their time is over.
fn see_off(server: &mut Server, leader: &mut Leader) {
    let (now, commit, round) = (server.now, server.commit, leader.round);
    leader.followers.retain_mut(|progress| {
        let Some(farewell) = &mut progress.farewell else { return true };
        if farewell.left_at <= commit {
            farewell.committed_in.get_or_insert(round);
        }
        let told = farewell.committed_in.is_some_and(|committed_in| progress.echoed > committed_in);
        now < farewell.deadline && !(told && progress.matched.index >= farewell.left_at)
    });
}
