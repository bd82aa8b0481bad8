//! A learner becomes a voter only when it is ready (thesis §4.2.1): its disk is recorded, that disk has the entry that says so,
//! and it was heard a moment ago. Else a change could count on a disk that nobody has.

use std::format;

use super::ears::Ears;
use crate::sim::server::Server;
use crate::sim::violation::{Invariant, Verdict, ensure};
use crate::{EntryId, Incarnation, Index, Member, MemberRole, Membership, ServerId};

/// The leader in `slot` appends the configuration `next` behind `before`, which stands at `at`.
pub(crate) fn appends(
    servers: &[Server],
    slot: usize,
    ears: &Ears,
    (at, before): (Index, &Membership),
    next: &Membership,
) -> Verdict {
    let leader = &servers[slot];
    // Of a snapshot's configuration it is known which change it belongs to, and not where it stood.
    let is_snapshots = at <= leader.disk.written.snapshot.last.index;
    let entry = leader.disk.written.term_at(at).map(|term| EntryId { term, index: at });
    let entry = if is_snapshots { Some(before.change()) } else { entry };
    let voted = |id| before.member(id).is_some_and(Member::votes);
    let voters = next.members().iter().filter(|member| member.role == MemberRole::Voter);
    voters.filter(|voter| !voted(voter.id)).try_for_each(|voter| {
        let recorded = voter.disk != Incarnation(0) && before.member(voter.id).is_some_and(|m| m.disk == voter.disk);
        let mut disks = servers.iter().filter(|server| server.id == voter.id).flat_map(Server::disks);
        let has = disks.any(|(disk, held)| disk == voter.disk && entry.is_none_or(|entry| held.durable.holds(entry)));
        let silence = ears.silence(slot, ServerId { id: voter.id, incarnation: voter.disk });
        let heard = silence.is_some_and(|ticks| ticks < u64::from(leader.config.election_ticks_min));
        ensure(recorded && has && heard, Invariant::PromotedWasReady, || {
            format!("{next} promotes {voter} of {before} at {at}: recorded {recorded}, has that {has}, silent for {silence:?}")
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{found, leader_of, server_of, write};
    use super::*;
    use crate::{AppendOutcome, Edit, Event, Message, NodeId, RoleKind, Rpc, Term};

    #[test]
    fn a_learner_that_is_not_ready_is_found() {
        let broken = Some(Invariant::PromotedWasReady);
        let with = |disk| {
            let learner = MemberRole::Learner { wanted: None };
            let learner = Member { disk: Incarnation(disk), ..Member::new(NodeId(2), learner) };
            Membership::from_members(EntryId::ZERO, [Member::new(NodeId(1), MemberRole::Voter), learner].into())
                .unwrap()
        };
        let promotes = |disk: u64, has: bool, heard: bool, ticks: u32| {
            let before = with(disk);
            let next = before.edited(EntryId::new(2, 3), &[Edit::Promote { id: NodeId(2) }], |_| true).unwrap();
            let mut learner = server_of(2, &before);
            if has {
                learner.disk.durable.take(&write(1, &[1]));
            }
            let servers = [leader_of(1, &before), learner];
            let mut ears = Ears::default();
            let mut candidate = servers[0].seen;
            candidate.role = RoleKind::Candidate;
            ears.stepped(0, &servers[0], &candidate);
            if heard {
                let outcome = AppendOutcome::Matched { received: Index(0), durable: Index(0) };
                let rpc = Rpc::AppendEntriesReply { round: 1, outcome };
                let message = Message { term: Term(2), incarnation: Incarnation(2), rpc };
                ears.fed(0, &servers[0], &Event::Receive { from: NodeId(2), message });
            }
            (0..ticks).for_each(|_| ears.fed(0, &servers[0], &Event::Tick { elapsed: 1 }));
            found(appends(&servers, 0, &ears, (Index(1), &before), &next))
        };
        assert_eq!(promotes(2, true, true, 19), None);
        assert_eq!(promotes(2, true, true, 20), broken, "it was heard long ago");
        assert_eq!(promotes(2, true, false, 0), broken, "it was never heard");
        assert_eq!(promotes(2, false, true, 0), broken, "it does not have the entry that records it");
        assert_eq!(promotes(9, true, true, 0), broken, "another disk is recorded");
        assert_eq!(promotes(0, true, true, 0), broken, "none is");
    }
}
