//! Quorums of successive configurations of a log meet (§6): two leaders by one and by the other cannot both commit. They meet in
//! a disk, not in a name: a server on another disk has forgotten what it promised.

use std::format;
use std::vec::Vec;

use crate::sim::quorum::is_quorum;
use crate::sim::violation::{Invariant, Verdict, ensure};
use crate::{Incarnation, Member, Membership, NodeId};

/// `next` stands behind `before` in a log.
pub(crate) fn follows(before: &Membership, next: &Membership) -> Verdict {
    let same_disk =
        |one: &Member, other: &Member| one.disk == other.disk || one.disk == Incarnation(0) && other.disk.is_founder();
    let voters =
        |membership: &Membership| membership.members().iter().filter(|member| member.votes()).cloned().collect();
    let (old, new): (Vec<Member>, Vec<Member>) = (voters(before), voters(next));
    let of_both = |member: &&Member| new.iter().any(|other| other.id == member.id && same_disk(member, other));
    let shared: Vec<NodeId> = old.iter().filter(of_both).map(|member| member.id).collect();
    // Whoever votes in one of them only is on that one's side; the others are on either.
    let apart = (0_u64..1 << shared.len().min(16)).find(|side| {
        let old_side = |id: &NodeId| shared.iter().position(|shared| shared == id).map(|at| side >> at & 1 == 1);
        is_quorum(before, |id| old_side(&id) != Some(false)) && is_quorum(next, |id| old_side(&id) != Some(true))
    });
    ensure(apart.is_none(), Invariant::Adjacent, || {
        format!("{before} is followed by {next}, and there are quorums of both that share nobody")
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::found;
    use super::*;
    use crate::{EntryId, MemberRole};

    fn of(voters: &[u64], outgoing: &[u64]) -> Membership {
        let [voters, outgoing] = [voters, outgoing].map(|ids| ids.iter().map(|id| NodeId(*id)));
        Membership::joint(voters, outgoing, [])
    }

    #[test]
    fn configurations_that_can_decide_apart_are_found() {
        let broken = Some(Invariant::Adjacent);
        let follow = |before, next| found(follows(&before, &next));
        assert_eq!(follow(of(&[1, 2, 3], &[]), of(&[1, 2, 3], &[])), None);
        assert_eq!(follow(of(&[1, 2, 3], &[]), of(&[1, 2, 3, 4], &[])), None, "one voter more");
        assert_eq!(follow(of(&[1, 2, 3], &[]), of(&[1, 2, 3, 4, 5], &[])), broken, "1, 2 and 3, 4, 5");
        assert_eq!(follow(of(&[1, 2, 3], &[]), of(&[3, 4, 5], &[1, 2, 3])), None);
        assert_eq!(follow(of(&[3, 4, 5], &[1, 2, 3]), of(&[3, 4, 5], &[])), None);
        assert_eq!(follow(of(&[1, 2, 3], &[]), of(&[3, 4, 5], &[])), broken);
        assert_eq!(follow(of(&[1], &[]), of(&[2], &[])), broken);
    }

    #[test]
    fn they_meet_in_a_disk() {
        let on = |disks: [u64; 3]| {
            let member = |(id, disk)| Member { disk: Incarnation(disk), ..Member::new(NodeId(id), MemberRole::Voter) };
            Membership::from_members(EntryId::ZERO, (1..).zip(disks).map(member).collect()).unwrap()
        };
        let joined = Incarnation::joined(9).0;
        assert_eq!(found(follows(&on([0, 0, 0]), &on([1, 2, 3]))), None, "the founders are recorded");
        assert_eq!(found(follows(&on([0, 0, 0]), &on([1, joined, 3]))), Some(Invariant::Adjacent));
        assert_eq!(found(follows(&on([1, 2, 3]), &on([1, joined, 3]))), Some(Invariant::Adjacent));
    }
}
