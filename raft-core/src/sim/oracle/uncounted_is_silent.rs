//! What a server says on a disk that the configuration in force does not count decides nothing: it elects nobody and keeps no
//! leader in office. That it commits nothing `commit_rule` looks after, and `read_index` that it confirms no read.

use std::collections::BTreeMap;
use std::format;

use smallvec::SmallVec;

use super::ears::Ears;
use crate::sim::quorum::is_quorum;
use crate::sim::server::Server;
use crate::sim::violation::{Invariant, Verdict, ensure};
use crate::{NodeId, ServerId, Term};

#[derive(Default)]
pub(crate) struct UncountedIsSilent {
    /// Who has voted for whom, as far as it was said.
    granted: BTreeMap<(Term, ServerId), SmallVec<[ServerId; 5]>>,
}

impl UncountedIsSilent {
    /// `voter` tells `candidate` that it has its vote.
    pub(crate) fn grants(&mut self, voter: ServerId, term: Term, candidate: ServerId) {
        self.granted.entry((term, candidate)).or_default().push(voter);
    }

    /// `server` has just been elected, by the configuration in its log; what it appends because of that is still to come.
    pub(crate) fn stands(&self, server: &Server) -> Verdict {
        let (membership, leader) = (server.disk.written.configuration(), server.server_id());
        let term = server.seen.hard_state.term;
        let voters = self.granted.get(&(term, leader)).map_or(&[][..], |voters| voters);
        let counts = |id: NodeId, voter: &ServerId| {
            voter.id == id && membership.member(id).is_some_and(|member| member.counts(voter.incarnation))
        };
        let elects = |id: NodeId| voters.iter().chain([&leader]).any(|voter| counts(id, voter));
        ensure(is_quorum(membership, elects), Invariant::UncountedIsSilent, || {
            format!("{leader} leads in term {term} by the votes of {voters:?}, by {membership}")
        })
    }

    /// `server` leads, and time has just passed for it.
    pub(crate) fn leading(slot: usize, server: &Server, ears: &Ears) -> Verdict {
        let Some(raft) = &server.raft else { return Ok(()) };
        let membership = raft.status().membership();
        let timeout = u64::from(server.config.election_ticks_min);
        let keeps = |id: NodeId| {
            let Some(member) = membership.member(id) else { return false };
            if id == server.id {
                return member.counts(server.incarnation);
            }
            ears.silence_of(slot, id, |heard| member.counts(heard.incarnation)) < timeout
        };
        ensure(is_quorum(membership, keeps), Invariant::UncountedIsSilent, || {
            format!("leads {membership}, and has heard no quorum of the disks that count within {timeout} ticks")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{found, leader, leader_of};
    use super::*;
    use crate::{Event, Incarnation, Membership, Message, RoleKind, Rpc};

    fn on(id: u64, disk: Incarnation) -> ServerId {
        ServerId { id: NodeId(id), incarnation: disk }
    }

    #[test]
    fn a_leader_by_votes_that_do_not_count_is_found() {
        let server = leader();
        let broken = Some(Invariant::UncountedIsSilent);
        let stands = |term, voters: &[ServerId]| {
            let mut oracle = UncountedIsSilent::default();
            voters.iter().for_each(|voter| oracle.grants(*voter, Term(term), server.server_id()));
            found(oracle.stands(&server))
        };
        let founder = |id| on(id, Incarnation(id));
        assert_eq!(stands(1, &[founder(2)]), None, "itself and one of two others");
        assert_eq!((stands(1, &[]), stands(2, &[founder(2)])), (broken, broken), "alone, and in another term");
        assert_eq!(stands(1, &[on(2, Incarnation::joined(2))]), broken, "it has lost its disk");
        assert_eq!(stands(1, &[founder(4)]), broken, "a stranger");
    }

    #[test]
    fn a_leader_kept_in_office_by_a_disk_that_does_not_count_is_found() {
        let broken = Some(Invariant::UncountedIsSilent);
        let leads = |heard: ServerId, ticks| {
            let server = leader_of(1, &Membership::new([1, 2, 3].map(NodeId)));
            let mut ears = Ears::default();
            let mut before = server.seen;
            before.role = RoleKind::Candidate;
            ears.stepped(0, &server, &before);
            for _ in 0..ticks {
                ears.fed(0, &server, &Event::Tick { elapsed: 1 });
            }
            let outcome = crate::AppendOutcome::Matched { received: crate::Index(0), durable: crate::Index(0) };
            let rpc = Rpc::AppendEntriesReply { round: 1, outcome };
            let message = Message { term: Term(2), incarnation: heard.incarnation, rpc };
            ears.fed(0, &server, &Event::Receive { from: heard.id, message });
            found(UncountedIsSilent::leading(0, &server, &ears))
        };
        assert_eq!(leads(on(2, Incarnation(2)), 20), None);
        assert_eq!(leads(on(2, Incarnation::joined(9)), 19), None, "its term has just begun");
        assert_eq!(leads(on(2, Incarnation::joined(9)), 20), broken);
        assert_eq!(leads(on(4, Incarnation(4)), 20), broken);
    }
}
