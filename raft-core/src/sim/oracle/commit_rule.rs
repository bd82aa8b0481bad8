//! A leader commits by counting only entries of its own term (§5.4.2), and counts only voters of the configuration in force,
//! itself among them if it votes, whose disks hold the entry: a majority of each half, while it is joint (§6). A disk counts
//! that the configuration records; where it records none, any founder's: with what it held when it was lost, if it was. What a
//! leader appends because of a commit, a configuration perhaps, is not in force when it counts.

use std::format;
use std::vec::Vec;

use crate::sim::quorum::is_quorum;
use crate::sim::server::Server;
use crate::sim::violation::{Invariant, Verdict, ensure};
use crate::{EntryId, NodeId};

/// The leader in `slot` has moved its commit index in a step whose write is still to come.
pub(crate) fn commits(servers: &[Server], slot: usize) -> Verdict {
    let leader = &servers[slot];
    let Some(raft) = &leader.raft else { return Ok(()) };
    let (index, term) = (leader.seen.commit, leader.seen.hard_state.term);
    let of_term = raft.status().term_at(index);
    ensure(of_term == Some(term), Invariant::CommitRule, || {
        format!("the leader of term {term} counted the copies of {index}, which is of term {of_term:?}")
    })?;
    let id = EntryId { term, index };
    let membership = leader.disk.written.configuration();
    // A disk that was lost since is counted: what it acknowledged before stays acknowledged.
    let holds = |voter: NodeId| {
        let member = membership.member(voter);
        let mut disks = servers.iter().filter(|server| server.id == voter).flat_map(Server::disks);
        disks.any(|(disk, held)| member.is_some_and(|member| member.counts(disk)) && held.durable.holds(id))
    };
    ensure(is_quorum(membership, holds), Invariant::CommitRule, || {
        let holders: Vec<NodeId> = servers.iter().map(|server| server.id).filter(|id| holds(*id)).collect();
        format!("committed {id}, which is durable on {holders:?}: no quorum of {membership}")
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{found, leader_of, server_of, write};
    use super::*;
    use crate::{Incarnation, Index, Member, MemberRole, Membership};

    /// A leader of the configuration that claims to have committed its no-op, which these servers hold.
    fn committed(membership: &Membership, holders: &[u64]) -> Option<Invariant> {
        let mut leader = leader_of(1, membership);
        leader.seen.commit = Index(2);
        let others = (2..=5).map(|id| server_of(id, membership));
        let mut servers: Vec<Server> = [leader].into_iter().chain(others).collect();
        for server in &mut servers {
            let held: &[u64] = if holders.contains(&server.id.0) { &[1, 2] } else { &[1, 1] };
            server.disk.durable.take(&write(1, held));
        }
        found(commits(&servers, 0))
    }

    #[test]
    fn a_commit_needs_a_majority_of_each_half_of_the_configuration_in_force() {
        let broken = Some(Invariant::CommitRule);
        let three = Membership::joint([1, 2, 3].map(NodeId), [], [4, 5].map(NodeId));
        assert_eq!(committed(&three, &[1, 2]), None, "of the voters, not of all servers");
        assert_eq!(committed(&three, &[1, 4, 5]), broken, "learners do not count");
        let joint = Membership::joint([1, 2, 3].map(NodeId), [3, 4, 5].map(NodeId), []);
        assert_eq!(committed(&joint, &[1, 2, 4, 5]), None);
        assert_eq!(committed(&joint, &[2, 3, 4]), None, "the leader's own disk is not needed");
        assert_eq!(committed(&joint, &[1, 2, 3]), broken, "no majority of the old half");
        assert_eq!(committed(&joint, &[3, 4, 5]), broken, "no majority of the new half");
    }

    #[test]
    fn only_the_disk_that_counts_is_counted() {
        let broken = Some(Invariant::CommitRule);
        let of_disks = |disks: [u64; 3]| {
            let member = |(id, disk)| Member { disk, ..Member::new(NodeId(id), MemberRole::Voter) };
            let members = (1..).zip(disks.map(Incarnation)).map(member).collect();
            Membership::from_members(EntryId::ZERO, members).unwrap()
        };
        assert_eq!(committed(&of_disks([1, 2, 0]), &[1, 2]), None, "both disks are recorded");
        assert_eq!(committed(&of_disks([1, 0, 0]), &[1, 3]), None, "none is recorded, and it is a founder's");
        assert_eq!(committed(&of_disks([1, 9, 0]), &[1, 2]), broken, "another one of the second is recorded");
    }

    #[test]
    fn a_disk_counts_with_what_it_held_when_it_was_lost() {
        let three = Membership::new([1, 2, 3].map(NodeId));
        let found_with = |lost_then_written: bool| {
            let mut leader = leader_of(1, &three);
            leader.seen.commit = Index(2);
            let mut other = server_of(2, &three);
            if lost_then_written {
                other.wipe(0);
            }
            leader.disk.durable.take(&write(1, &[1, 2]));
            other.disk.durable.take(&write(1, &[1, 2]));
            if !lost_then_written {
                other.wipe(0);
            }
            found(commits(&[leader, other], 0))
        };
        assert_eq!(found_with(false), None, "it acknowledged, and was lost after that");
        assert_eq!(found_with(true), Some(Invariant::CommitRule), "its new disk does not count");
    }

    #[test]
    fn an_entry_of_an_older_term_is_not_counted() {
        let mut servers = [leader_of(1, &Membership::new([NodeId(1)]))];
        servers[0].seen.commit = Index(1);
        assert_eq!(found(commits(&servers, 0)), Some(Invariant::CommitRule));
    }
}
