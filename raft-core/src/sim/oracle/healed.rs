//! When faults have stopped, nothing is left half done: no change is under way, every member is there on the disk that is
//! recorded for it, and whoever was to become a voter is one. Members that do not exist are not waited for.

use std::format;
use std::string::String;

use crate::sim::server::Server;
use crate::sim::violation::{Invariant, Verdict, ensure};
use crate::{Incarnation, Member, MemberRole};

/// What is left to do, in the configuration of the leader of the newest term.
fn unhealed(servers: &[Server]) -> Option<String> {
    let leaders = servers.iter().filter(|server| server.leads());
    let leader = leaders.max_by_key(|server| server.seen.hard_state.term)?;
    let membership = leader.raft.as_ref()?.status().membership();
    if membership.is_joint() {
        return Some(format!("{membership} is joint"));
    }
    let healed = |member: &Member| {
        let Some(server) = servers.iter().find(|server| server.id == member.id) else { return true };
        let founder_will_do = !leader.config.record_disks && member.role == MemberRole::Voter;
        member.counts(server.incarnation)
            && (member.disk != Incarnation(0) || founder_will_do)
            && !matches!(member.role, MemberRole::Learner { wanted: Some(_) })
    };
    let ill = membership.members().iter().find(|member| !healed(member))?;
    Some(format!("{ill} of {membership}"))
}

/// Whether nothing is left to do.
pub(crate) fn have_healed(servers: &[Server]) -> bool {
    unhealed(servers).is_none()
}

/// All agree, and something is left to do, so many ticks after the last fault.
pub(crate) fn finish(servers: &[Server], ticks: u64) -> Verdict {
    let ill = unhealed(servers);
    ensure(ill.is_none(), Invariant::Healed, || {
        format!("{ticks} ticks after the last fault: {}", ill.unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{found, leader_of, server_of, started};
    use super::*;
    use crate::{EntryId, Membership, NodeId, Wanted};

    fn left(table: &[(u64, MemberRole, u64)], record_disks: bool) -> Option<Invariant> {
        let member = |(id, role, disk): &(u64, MemberRole, u64)| Member {
            disk: Incarnation(*disk),
            ..Member::new(NodeId(*id), *role)
        };
        let membership = Membership::from_members(EntryId::ZERO, table.iter().map(member).collect()).unwrap();
        let mut leader = leader_of(1, &membership);
        leader.config.record_disks = record_disks;
        let other = started(server_of(2, &membership), &leader);
        found(finish(&[leader, other], 9))
    }

    #[test]
    fn what_is_left_half_done_is_found() {
        use MemberRole::{Learner, Voter};
        let broken = Some(Invariant::Healed);
        let wanted = Learner { wanted: Some(Wanted::default()) };
        assert_eq!(left(&[(1, Voter, 1), (2, Voter, 2)], true), None);
        assert_eq!(left(&[(1, Voter, 0), (2, Voter, 2)], true), broken, "a founder that was not recorded");
        assert_eq!(left(&[(1, Voter, 0), (2, Voter, 2)], false), None, "nobody asked for it");
        let two = Membership::new([1, 2].map(NodeId));
        let (leader, mut other) = (leader_of(1, &two), server_of(2, &two));
        other.wipe(0);
        assert_eq!(found(finish(&[leader, other], 9)), broken, "it is on another disk");
        assert_eq!(left(&[(1, Voter, 1), (2, Learner { wanted: None }, 2)], true), None);
        assert_eq!(left(&[(1, Voter, 1), (2, Learner { wanted: None }, 0)], false), broken, "a newcomer is recorded");
        assert_eq!(left(&[(1, Voter, 1), (2, wanted, 2)], true), broken, "it was to be a voter");
        assert_eq!(left(&[(1, Voter, 1), (3, wanted, 0)], true), None, "it does not exist");
        let joint = leader_of(1, &Membership::joint([1, 2].map(NodeId), [NodeId(1)], []));
        assert_eq!(found(finish(&[joint], 9)), broken);
    }
}
