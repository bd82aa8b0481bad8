//! A leader that is out of touch with a quorum of the configuration in force for an election timeout leads no longer (thesis
//! §6.2): its clients would wait for ever, and a new leader for its leave.

use std::format;

use smallvec::SmallVec;

use crate::sim::quorum::is_quorum;
use crate::sim::server::Server;
use crate::sim::violation::{Invariant, Verdict, ensure};
use crate::{Incarnation, NodeId};

/// `server` leads, and time has just passed for it.
pub(crate) fn leading(server: &Server) -> Verdict {
    let Some(raft) = &server.raft else { return Ok(()) };
    let status = raft.status();
    let timeout = u64::from(server.config.election_ticks_min);
    let membership = status.membership();
    // Until a follower is heard, it has as long as if it had been heard at the election.
    let counts = |id: NodeId, disk: Incarnation| {
        membership.member(id).is_some_and(|member| disk == Incarnation(0) || member.counts(disk))
    };
    let followers = status.followers().filter(|follower| follower.silent_ticks < timeout);
    let followers = followers.map(|follower| (follower.id, follower.disk)).chain([(server.id, server.incarnation)]);
    let heard: SmallVec<[NodeId; 8]> = followers.filter(|(id, disk)| counts(*id, *disk)).map(|(id, _)| id).collect();
    ensure(is_quorum(membership, |id| heard.contains(&id)), Invariant::CheckQuorum, || {
        format!("leads {membership}, and within {timeout} ticks has heard only {heard:?}")
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{advance, found, leader, leader_of};
    use super::*;
    use crate::Membership;

    #[test]
    fn a_leader_out_of_touch_is_found() {
        let mut server = leader();
        assert_eq!(found(leading(&server)), None, "its term has just begun");
        server.config.election_ticks_min = 0;
        assert_eq!(found(leading(&server)), Some(Invariant::CheckQuorum), "as if an election timeout had passed");
    }

    /// Ten ticks after its election, in which only these answered, as if an election timeout were five.
    fn leads(membership: &Membership, answering: &[u64]) -> Option<Invariant> {
        leads_on(leader_of(1, membership), answering)
    }

    fn leads_on(mut server: Server, answering: &[u64]) -> Option<Invariant> {
        advance(&mut server, 10, answering);
        server.config.election_ticks_min = 5;
        found(leading(&server))
    }

    #[test]
    fn a_majority_of_each_half_must_be_heard_and_learners_do_not_count() {
        let broken = Some(Invariant::CheckQuorum);
        let three = Membership::joint([1, 2, 3].map(NodeId), [], [4, 5].map(NodeId));
        assert_eq!(leads(&three, &[2]), None, "itself and one of two others");
        assert_eq!(leads(&three, &[4, 5]), broken, "learners are not voters");
        let joint = Membership::joint([1, 2, 3].map(NodeId), [3, 4, 5].map(NodeId), []);
        assert_eq!(leads(&joint, &[2, 4, 5]), None);
        assert_eq!(leads(&joint, &[2, 4]), broken, "one of the old half");
        assert_eq!(leads(&joint, &[4, 5]), broken, "only itself of the new half");
        let outside = Membership::joint([2, 3].map(NodeId), [1, 2, 3].map(NodeId), []);
        assert_eq!(leads(&outside, &[2]), broken, "it does not count itself where it has no vote");
        assert_eq!(leads(&outside, &[2, 3]), None);
        let mut on_another_disk = leader_of(1, &three);
        on_another_disk.incarnation = Incarnation::joined(1);
        assert_eq!(leads_on(on_another_disk, &[2]), broken, "its own disk does not count");
    }
}
