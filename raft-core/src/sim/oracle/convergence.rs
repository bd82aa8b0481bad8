//! When faults stop, a leader stands and all converge, in bounded time (§5.6): all members of the newest committed
//! configuration. Others need only be quiet.

use std::format;
use std::string::String;
use std::vec::Vec;

use crate::sim::server::Server;
use crate::sim::violation::{Invariant, Verdict, broken};
use crate::{Index, RoleKind};

/// Whether a member leads that votes, all members have its log, applied to its end, which is what is `committed`, and know
/// it as their leader. The configuration in force at the leader is then the newest committed one. Members that do not exist
/// are not waited for.
pub(crate) fn have_converged(servers: &[Server], committed: Index) -> bool {
    let leaders = servers.iter().filter(|server| server.leads());
    let Some(leader) = leaders.max_by_key(|server| server.seen.hard_state.term) else { return false };
    let Some(raft) = &leader.raft else { return false };
    let membership = raft.status().membership();
    let settled = |server: &Server| {
        if membership.contains(server.id) { agrees(server, leader) } else { is_quiet(server) }
    };
    leader.seen.commit == committed && membership.is_voter(leader.id) && servers.iter().all(settled)
}

/// Whether a member has what its leader has, and nothing else.
fn agrees(server: &Server, leader: &Server) -> bool {
    let seen = &server.seen;
    server.is_up()
        && server.machine.is_idle()
        && server.machine.state == leader.machine.state
        && server.machine.state.last == seen.last
        && seen.last == leader.seen.last
        && seen.commit == seen.last.index
        && seen.applied == seen.commit
        && seen.leader == Some(leader.id)
}

/// Whether a server that is no member leaves the others alone. It may believe that it still belongs to the cluster, and ask
/// whether it could win; but it raises no term.
fn is_quiet(server: &Server) -> bool {
    !server.is_up() || !matches!(server.seen.role, RoleKind::Candidate | RoleKind::Leader)
}

/// They have not, so many ticks after the last fault.
pub(crate) fn diverged(servers: &[Server], ticks: u64) -> Verdict {
    let word =
        |server: &Server| format!("\n  s{}: machine at {}, {:?}", server.id, server.machine.state.last, server.seen);
    let words: Vec<String> = servers.iter().map(word).collect();
    broken(Invariant::Convergence, format!("{ticks} ticks after the last fault:{}", words.concat()))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{found, leader, leader_of, server_of, started};
    use super::*;
    use crate::{EntryId, Membership, NodeId, Payload};

    /// Servers from 1 on, of which the first leads the others, as if they had nothing in their logs.
    fn cluster(membership: &Membership, count: u64) -> Vec<Server> {
        let mut leader = leader_of(1, membership);
        leader.seen.last = EntryId::ZERO;
        let follower = |id| started(server_of(id, membership), &leader);
        let followers: Vec<Server> = (2..=count).map(follower).collect();
        [leader].into_iter().chain(followers).collect()
    }

    #[test]
    fn servers_that_differ_have_not_converged() {
        let three = Membership::new([1, 2, 3].map(NodeId));
        assert!(have_converged(&cluster(&three, 3), Index(0)));
        assert!(!have_converged(&cluster(&three, 3), Index(1)), "more is committed");
        let changes: [fn(&mut Server); 6] = [
            |server| server.seen.last = EntryId::new(1, 1),
            |server| server.seen.leader = None,
            |server| server.seen.leader = Some(NodeId(2)),
            |server| server.seen.commit = Index(1),
            |server| server.machine.state.apply(EntryId::new(1, 1), &Payload::Noop),
            |server| server.raft = None,
        ];
        for change in changes {
            for slot in 0..3 {
                let mut servers = cluster(&three, 3);
                change(&mut servers[slot]);
                assert!(!have_converged(&servers, Index(0)), "{slot}");
            }
        }
        assert_eq!(found(diverged(&[leader()], 9)), Some(Invariant::Convergence));
    }

    #[test]
    fn every_member_must_agree_and_others_must_be_quiet() {
        let joint = Membership::joint([1, 2].map(NodeId), [3].map(NodeId), [4].map(NodeId));
        let converged = |change: &dyn Fn(&mut [Server])| {
            let mut servers = cluster(&joint, 5);
            change(&mut servers);
            have_converged(&servers, Index(0))
        };
        assert!(converged(&|_| {}));
        for member in 0..4 {
            assert!(
                !converged(&|servers| servers[member].seen.applied = Index(1)),
                "{member} of both halves or a learner"
            );
        }
        assert!(converged(&|servers| servers[4].seen.applied = Index(1)), "no member");
        assert!(converged(&|servers| servers[4].raft = None));
        assert!(converged(&|servers| servers[4].seen.role = RoleKind::PreCandidate));
        assert!(!converged(&|servers| servers[4].seen.role = RoleKind::Candidate), "it raises terms");
        assert!(have_converged(&cluster(&joint, 3), Index(0)), "nobody waits for those who do not exist");
        let outside = cluster(&Membership::joint([1, 2].map(NodeId), [], [3].map(NodeId)), 3);
        assert!(have_converged(&outside, Index(0)));
    }

    #[test]
    fn a_leader_without_a_vote_has_work_to_do() {
        for (name, expected) in [(1, true), (3, false), (4, false)] {
            let mut servers = cluster(&Membership::joint([1, 2].map(NodeId), [], [NodeId(3)]), 2);
            servers[0].id = NodeId(name);
            servers.iter_mut().for_each(|server| server.seen.leader = Some(NodeId(name)));
            assert_eq!(have_converged(&servers, Index(0)), expected, "as if {name} led");
        }
    }
}
