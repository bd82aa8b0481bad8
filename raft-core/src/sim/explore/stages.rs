//! Where a world begins: changes of the membership take many entries, so that worlds about them begin in the midst of one.

use std::vec::Vec;

use super::SERVERS;
use super::bounds::node;
use crate::{Change, Edit, EntryId, Incarnation, Member, Membership, NodeId};

/// The configuration with which all three servers begin, and which change an operator may ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// All three vote. Server 1 can be removed.
    #[default]
    Voters,
    /// Server 1 leaves: the configuration is joint and committed, and each leader ends it. Nothing can be changed.
    Leave,
    /// Server 3 is a learner whose disk is recorded. It can be promoted.
    Learner,
    /// All three vote, on disks that are recorded. Server 1 can be removed.
    Recorded,
}

/// The disk of every server when a world begins. One name for all three keeps them each other's mirrors.
pub(crate) const DISK: Incarnation = Incarnation(1);

impl Stage {
    const ALL: [Stage; 4] = [Stage::Voters, Stage::Leave, Stage::Learner, Stage::Recorded];

    /// Its number, as the command line calls it.
    pub(crate) fn number(self) -> usize {
        self as usize
    }

    pub(crate) fn of_number(number: u64) -> Option<Stage> {
        Stage::ALL.into_iter().find(|stage| stage.number() as u64 == number)
    }

    /// The configuration that all servers begin with.
    pub(crate) fn membership(self) -> Membership {
        let all = (0..SERVERS).map(node);
        let [first, second, third]: [NodeId; SERVERS] = std::array::from_fn(node);
        match self {
            Stage::Voters => Membership::new(all),
            Stage::Leave => Membership::joint([second, third], all, []),
            Stage::Learner => recorded(&Membership::joint([first, second], [], [third])),
            Stage::Recorded => recorded(&Membership::new(all)),
        }
    }

    /// What an operator asks for.
    pub(crate) fn change(self) -> Change {
        Change::of(match self {
            Stage::Voters | Stage::Leave | Stage::Recorded => Edit::Remove { id: node(0) },
            Stage::Learner => Edit::Promote { id: node(2) },
        })
    }
}

fn recorded(membership: &Membership) -> Membership {
    let with_disk = |member: &Member| Member { disk: DISK, ..member.clone() };
    let members: Vec<Member> = membership.members().iter().map(with_disk).collect();
    Membership::from_members(EntryId::ZERO, members).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemberRole;

    #[test]
    fn each_stage_is_what_it_says() {
        for stage in Stage::ALL {
            let membership = stage.membership();
            assert_eq!(membership.members().len(), SERVERS, "{stage:?}");
            assert_eq!(membership.is_joint(), stage == Stage::Leave, "{stage:?}");
            assert_eq!(Stage::of_number(stage.number() as u64), Some(stage));
        }
        assert_eq!(Stage::of_number(4), None);
        let role = |stage: Stage, id: u64| stage.membership().member(NodeId(id)).map(|member| member.role);
        assert_eq!(role(Stage::Leave, 1), Some(MemberRole::Leaving));
        assert_eq!(role(Stage::Learner, 3), Some(MemberRole::Learner { wanted: None }));
    }
}
