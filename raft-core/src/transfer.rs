//! Leadership transfer (thesis §3.10), both ends: a leader brings a voter up to date and asks it to campaign at once; that
//! server campaigns without asking first whether it could win.

use crate::action::Action;
use crate::chores::Chores;
use crate::election;
use crate::healing;
use crate::message::Rpc;
use crate::progress::Progress;
use crate::refusal::Refusal;
use crate::role::{Follower, Handover, Leader, Role};
use crate::server::Server;
use crate::types::{Incarnation, NodeId, RequestId, ServerId, Term};

/// A request that waits for its answer. It is no part of the role, since it outlives the leadership that it ends.
#[derive(Clone, Debug)]
pub(crate) struct Transfer {
    request: RequestId,
    /// The term in which this server led when it was asked.
    term: Term,
    /// When it is given up.
    deadline: u64,
}

impl Transfer {
    /// When it is given up, if nothing happens.
    pub(crate) fn deadline(&self) -> u64 {
        self.deadline
    }
}

/// Begins to hand leadership over to `to`, or to the voter that has most of the log. Refuses where that is not possible.
pub(crate) fn requested(
    server: &mut Server,
    role: &mut Role,
    pending: &mut Option<Transfer>,
    request: RequestId,
    to: Option<NodeId>,
) {
    let begun = match role {
        Role::Leader(leader) if leader.is_transferring() => Err(Refusal::Transferring),
        Role::Leader(leader) => match target(server, leader, to) {
            Some(target) => {
                leader.handover = Some(Handover { target, told_in: 0 });
                Ok(())
            }
            None => Err(Refusal::NoTarget { to }),
        },
        Role::Follower(follower) => Err(Refusal::NotLeader { leader: follower.leader }),
        Role::Candidate(_) => Err(Refusal::NotLeader { leader: None }),
    };
    if let Err(why) = begun {
        return server.actions.push(Action::Refused { request, why });
    }
    let deadline = server.now + u64::from(server.config.election_ticks_max);
    *pending = Some(Transfer { request, term: server.term(), deadline });
    server.chores.note(Chores::TRANSFER);
}

/// The server that is to lead next, on the disk that its leader knows: the one that is named, or the one with most of the log.
/// It must have been heard within the shortest election timeout.
fn target(server: &Server, leader: &Leader, to: Option<NodeId>) -> Option<ServerId> {
    let able = |progress: &&Progress| can_lead(server, progress) && healing::is_heard(server, progress);
    let mut able = leader.followers.iter().filter(able);
    let chosen = match to {
        Some(id) => able.find(|progress| progress.id == id),
        None => able.max_by_key(|progress| (progress.matched, progress.heard_at)),
    };
    chosen.map(|progress| ServerId { id: progress.id, incarnation: progress.disk })
}

/// Whether a follower could lead: it has answered, on the disk that counts for it, and votes in the configuration that stays.
fn can_lead(server: &Server, progress: &Progress) -> bool {
    let stays = server.membership().voters().incoming.contains(&progress.id);
    stays && progress.counted && progress.disk != Incarnation(0)
}

/// Goes on with a transfer that waits: asks the target to campaign once it has the whole log, and answers the request when
/// it is decided.
pub(crate) fn settle(server: &mut Server, role: &mut Role, pending: &mut Option<Transfer>) {
    let Some(transfer) = pending else { return server.chores.done(Chores::TRANSFER) };
    let Some(outcome) = outcome(server, role, transfer) else { return };
    let request = transfer.request;
    *pending = None;
    server.chores.done(Chores::TRANSFER);
    if let Role::Leader(leader) = role {
        leader.handover = None;
    }
    server.actions.push(match outcome {
        Ok(leader) => Action::Transferred { request, leader },
        Err(why) => Action::Refused { request, why },
    });
}

/// What has become of a transfer, judged by how things stand now: whatever led here, it is answered once.
fn outcome(server: &mut Server, role: &mut Role, transfer: &Transfer) -> Option<Result<NodeId, Refusal>> {
    let overdue = server.now >= transfer.deadline;
    match role {
        Role::Follower(Follower { leader: Some(leader), .. }) if server.term() > transfer.term => Some(Ok(*leader)),
        // It leads again itself: the other one failed.
        Role::Leader(_) if server.term() > transfer.term => Some(Err(Refusal::TransferTimedOut)),
        Role::Leader(leader) if !overdue => hand_over(server, leader).err().map(Err),
        _ => overdue.then_some(Err(Refusal::TransferTimedOut)),
    }
}

/// Asks the target to campaign when it has durably what this leader has; again with each heartbeat, for messages get lost. Fails
/// when the target can no longer lead.
fn hand_over(server: &mut Server, leader: &mut Leader) -> Result<(), Refusal> {
    let Some(Handover { target, told_in }) = leader.handover else { return Ok(()) };
    let progress = leader.follower(target.id).filter(|progress| progress.disk == target.incarnation);
    let Some(progress) = progress.filter(|progress| can_lead(server, progress)) else {
        return Err(Refusal::NoTarget { to: Some(target.id) });
    };
    // Rounds that confirm reads come between heartbeats: they repeat nothing.
    let heartbeat = progress.heartbeat_round.max(1);
    if progress.matched == server.log.last() && told_in < heartbeat {
        leader.handover = Some(Handover { target, told_in: heartbeat });
        server.send(target.id, Rpc::TimeoutNow { target: target.incarnation });
    }
    Ok(())
}

/// TimeoutNow in our own term: the leader asks this server to campaign. It does so at once and without a pre-vote, if it may
/// campaign at all and its disk is the one that is meant. A leader that is a member must speak on the disk that counts for it; one
/// that is leaving is none any more.
pub(crate) fn timeout_now(server: &mut Server, role: &mut Role, from: ServerId, target: Incarnation) {
    let counts = server.membership().member(from.id).is_none_or(|member| member.counts(from.incarnation));
    let is_from_leader = counts && matches!(role, Role::Follower(follower) if follower.leader == Some(from.id));
    if is_from_leader && target == server.incarnation && election::may_campaign(server) {
        *role = election::campaign(server);
        if let Role::Candidate(candidate) = role {
            candidate.transfer = true;
        }
    } else {
        server.counters.stale += 1;
    }
}

#[cfg(feature = "sim")]
impl Transfer {
    /// Not the request, which decides nothing.
    pub(crate) fn fingerprint(&self, print: &mut crate::fingerprint::Fingerprint<'_>, now: u64) {
        let Transfer { request: _, term, deadline } = self;
        print.term(*term);
        print.word(deadline.wrapping_sub(now));
    }

    /// As if its deadline were this.
    pub(crate) fn end_at(&mut self, deadline: u64) {
        self.deadline = deadline;
    }

    /// As if its deadline were far.
    pub(crate) fn rewind_clock(&mut self) {
        self.deadline = u64::from(u32::MAX);
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::config::Config;
    use crate::entries::{Entries, Payload};
    use crate::membership::Membership;
    use crate::restored::Restored;
    use crate::types::EntryId;

    const TARGET: NodeId = NodeId(2);

    fn ids(ids: &[u64]) -> Vec<NodeId> {
        ids.iter().map(|&id| NodeId(id)).collect()
    }

    /// A leader of three that has begun to hand over to server 2, which lacks its only entry.
    fn handing_over() -> (Server, Role, Option<Transfer>) {
        let restored = Restored::new_cluster(Incarnation(1), Membership::new(ids(&[1, 2, 3])));
        let mut server = Server::new(Config::new(NodeId(1)), restored);
        server.adopt(Term(1), None);
        let first = EntryId::new(1, 1);
        server.append(Entries::of_term(first, [Payload::Noop].into_iter()));
        let mut leader = Leader::new(&server);
        leader.follower(TARGET).unwrap().disk = Incarnation(2);
        let (mut role, mut pending) = (Role::Leader(leader), None);
        requested(&mut server, &mut role, &mut pending, RequestId(1), Some(TARGET));
        settle(&mut server, &mut role, &mut pending);
        assert!(pending.is_some() && server.actions.is_empty());
        (server, role, pending)
    }

    /// Whatever has changed the configuration: who cannot lead any more is not asked to.
    #[test]
    fn a_target_that_is_removed_or_demoted_ends_the_transfer() {
        let cases = [
            (Membership::joint(ids(&[1, 2, 3, 4]), ids(&[1, 2, 3]), []), true),
            (Membership::joint(ids(&[1, 3]), ids(&[1, 2, 3]), []), false),
            (Membership::joint(ids(&[1, 3]), ids(&[1, 2, 3]), ids(&[2])), false),
            (Membership::joint(ids(&[1, 3]), [], ids(&[2])), false),
            (Membership::new(ids(&[1, 3])), false),
        ];
        for (membership, goes_on) in cases {
            let (mut server, mut role, mut pending) = handing_over();
            let payload = Payload::Membership(membership.into());
            server.append(Entries::of_term(EntryId::new(1, 2), [payload].into_iter()));
            settle(&mut server, &mut role, &mut pending);
            let is_transferring = matches!(&role, Role::Leader(leader) if leader.is_transferring());
            assert_eq!((is_transferring, pending.is_some()), (goes_on, goes_on), "{}", server.membership());
            let refused = Action::Refused { request: RequestId(1), why: Refusal::NoTarget { to: Some(TARGET) } };
            assert_eq!(server.actions.contains(&refused), !goes_on);
        }
    }

    /// A step without a transfer does not come here again.
    #[test]
    fn the_chore_ends_with_the_transfer() {
        let (mut server, mut role, mut pending) = handing_over();
        assert!(server.chores.contains(Chores::TRANSFER));
        server.now = 40;
        settle(&mut server, &mut role, &mut pending);
        assert!(pending.is_none() && !server.chores.contains(Chores::TRANSFER));
    }
}
