//! What operators ask of a configuration, and the configuration that comes of it: pure rules on tables (§6, thesis §4).
//!
//! Edits that change nobody's vote make one entry. Edits that do make a joint configuration, whose outgoing half holds the
//! voters of before; [`Membership::settled`] is the second half of such a change.

use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::member::{Address, Member, MemberRole, Wanted};
use crate::membership::Membership;
use crate::types::{EntryId, Incarnation, NodeId};

/// One wish about one member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Edit {
    /// Adds a server that gets the log and does not vote.
    AddLearner {
        /// Which server.
        id: NodeId,
        /// Where it can be reached.
        address: Address,
    },
    /// Adds a server that becomes a voter as soon as it has caught up. A learner that is there already becomes wanted.
    AddVoter {
        /// Which server.
        id: NodeId,
        /// Where it can be reached. Empty: as before.
        address: Address,
    },
    /// Adds a server that takes the place of another one as soon as it has caught up.
    Replace {
        /// The voter that leaves.
        old: NodeId,
        /// The server that comes.
        new: NodeId,
        /// Where the new one can be reached. Empty: as before.
        address: Address,
    },
    /// Makes a voter of a learner that has caught up.
    Promote {
        /// Which learner.
        id: NodeId,
    },
    /// Makes a learner of a voter.
    Demote {
        /// Which voter.
        id: NodeId,
    },
    /// Takes a member out of the cluster.
    Remove {
        /// Which member.
        id: NodeId,
    },
    /// Makes a learner of a voter whose disk was lost, and a voter again once its new disk has caught up.
    Readmit {
        /// Which voter.
        id: NodeId,
    },
    /// Says where a member can be reached.
    SetAddress {
        /// Which member.
        id: NodeId,
        /// Where.
        address: Address,
    },
    /// Lets a learner that was to become a voter stay a learner.
    KeepLearner {
        /// Which learner.
        id: NodeId,
    },
}

/// Edits of a configuration that take effect together, or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// If it is set, the change is refused unless [`Membership::change`] of the configuration in force is this.
    pub expected: Option<EntryId>,
    /// At most one for each member.
    pub edits: Vec<Edit>,
}

impl Change {
    /// A change of one edit, whatever the configuration is.
    #[must_use]
    pub fn of(edit: Edit) -> Change {
        Change { expected: None, edits: Vec::from([edit]) }
    }
}

/// Why edits make no configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// Nobody could vote any more.
    #[error("no voter would be left")]
    NoVoters,
    /// The server is not a member.
    #[error("server {id} is not a member")]
    UnknownServer {
        /// Which.
        id: NodeId,
    },
    /// The server is a member already.
    #[error("server {id} is a member already")]
    AlreadyMember {
        /// Which.
        id: NodeId,
    },
    /// The member is no voter.
    #[error("server {id} is not a voter")]
    NotAVoter {
        /// Which.
        id: NodeId,
    },
    /// Another server is to replace the member.
    #[error("server {id} is being replaced already")]
    AlreadyReplaced {
        /// Which.
        id: NodeId,
    },
    /// The learner has not caught up: add it as a voter, and it is promoted when it has.
    #[error("server {id} has not caught up")]
    NotCaughtUp {
        /// Which.
        id: NodeId,
    },
    /// Two edits name one server.
    #[error("two edits name server {id}: make them one after the other")]
    TwoEdits {
        /// Which.
        id: NodeId,
    },
    /// More members than there can be.
    #[error("more than {max} members", max = Membership::MEMBERS_MAX)]
    TooManyMembers,
    /// Everything is as it would be.
    #[error("nothing would change")]
    NothingToDo,
}

impl Edit {
    /// The servers that it names.
    fn ids(&self) -> impl Iterator<Item = NodeId> {
        let (first, second) = match *self {
            Edit::Replace { old, new, .. } => (old, Some(new)),
            Edit::AddLearner { id, .. }
            | Edit::AddVoter { id, .. }
            | Edit::Promote { id }
            | Edit::Demote { id }
            | Edit::Remove { id }
            | Edit::Readmit { id }
            | Edit::SetAddress { id, .. }
            | Edit::KeepLearner { id } => (id, None),
        };
        core::iter::once(first).chain(second)
    }
}

/// A table of members while edits are made to it.
struct Draft(Vec<Member>);

impl Draft {
    fn find(&mut self, id: NodeId) -> Option<&mut Member> {
        self.0.iter_mut().find(|member| member.id == id)
    }

    fn get(&mut self, id: NodeId) -> Result<&mut Member, EditError> {
        self.find(id).ok_or(EditError::UnknownServer { id })
    }

    fn add(&mut self, id: NodeId, role: MemberRole, address: &Address) -> Result<(), EditError> {
        match self.0.binary_search_by_key(&id, |member| member.id) {
            Ok(_) => Err(EditError::AlreadyMember { id }),
            Err(at) => {
                self.0.insert(at, Member { address: address.clone(), ..Member::new(id, role) });
                Ok(())
            }
        }
    }

    /// A learner that is there becomes wanted; a server that is not becomes a wanted learner.
    fn want(&mut self, id: NodeId, replaces: Option<NodeId>, address: &Address) -> Result<(), EditError> {
        let role = MemberRole::Learner { wanted: Some(Wanted { replaces }) };
        match self.find(id) {
            Some(member) if member.role == MemberRole::Voter => Err(EditError::AlreadyMember { id }),
            Some(member) => {
                let wanted = matches!(member.role, MemberRole::Learner { wanted: Some(_) });
                if replaces.is_some() || !wanted {
                    member.role = role;
                }
                if !address.is_empty() {
                    member.address = address.clone();
                }
                Ok(())
            }
            None => self.add(id, role, address),
        }
    }

    /// A member goes, and nobody is to replace it any more.
    fn remove(&mut self, id: NodeId) {
        self.0.retain(|member| member.id != id);
        for member in &mut self.0 {
            if let MemberRole::Learner { wanted: Some(Wanted { replaces }) } = &mut member.role {
                replaces.take_if(|old| *old == id);
            }
        }
    }

    fn make(&mut self, edit: &Edit, is_ready: &impl Fn(&Member) -> bool) -> Result<(), EditError> {
        let learner = |wanted| MemberRole::Learner { wanted };
        match edit {
            Edit::AddLearner { id, address } => self.add(*id, learner(None), address)?,
            Edit::AddVoter { id, address } => self.want(*id, None, address)?,
            Edit::Replace { old, new, address } => {
                if self.get(*old)?.role != MemberRole::Voter {
                    return Err(EditError::NotAVoter { id: *old });
                }
                let replaces_old = learner(Some(Wanted { replaces: Some(*old) }));
                if self.0.iter().any(|member| member.role == replaces_old && member.id != *new) {
                    return Err(EditError::AlreadyReplaced { id: *old });
                }
                self.want(*new, Some(*old), address)?;
            }
            Edit::Promote { id } => {
                let member = self.get(*id)?;
                let MemberRole::Learner { wanted } = member.role else { return Ok(()) };
                if !is_ready(member) {
                    return Err(EditError::NotCaughtUp { id: *id });
                }
                member.role = MemberRole::Voter;
                if let Some(old) = wanted.and_then(|wanted| wanted.replaces) {
                    self.remove(old);
                }
            }
            Edit::Demote { id } => {
                let member = self.get(*id)?;
                if member.role != MemberRole::Voter {
                    return Err(EditError::NotAVoter { id: *id });
                }
                member.role = learner(None);
            }
            Edit::Remove { id } => {
                self.get(*id)?;
                self.remove(*id);
            }
            Edit::Readmit { id } => {
                let member = self.get(*id)?;
                if member.role != learner(Some(Wanted { replaces: None })) {
                    member.role = learner(Some(Wanted::default()));
                }
            }
            Edit::SetAddress { id, address } => self.get(*id)?.address = address.clone(),
            Edit::KeepLearner { id } => {
                let member = self.get(*id)?;
                if member.role == MemberRole::Voter {
                    return Err(EditError::AlreadyMember { id: *id });
                }
                member.role = learner(None);
            }
        }
        Ok(())
    }
}

impl Membership {
    /// The configuration that `edits` make of this one, which must be settled. It belongs to the change that begins with the
    /// entry `change`, and is joint if the edits change anybody's vote. `is_ready` says which learners have caught up.
    ///
    /// # Errors
    /// If the edits contradict each other or this configuration, or change nothing.
    pub fn edited(
        &self,
        change: EntryId,
        edits: &[Edit],
        is_ready: impl Fn(&Member) -> bool,
    ) -> Result<Membership, EditError> {
        let mut named: Vec<NodeId> = edits.iter().flat_map(Edit::ids).collect();
        named.sort_unstable();
        if let Some(pair) = named.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(EditError::TwoEdits { id: pair[0] });
        }
        let mut draft = Draft(self.members().to_vec());
        edits.iter().try_for_each(|edit| draft.make(edit, &is_ready))?;
        let Draft(mut members) = draft;
        if members == self.members() {
            return Err(EditError::NothingToDo);
        }
        let is_voter = |member: &&Member| member.role == MemberRole::Voter;
        if !members.iter().any(|member| is_voter(&member)) {
            return Err(EditError::NoVoters);
        }
        let voters = members.iter().filter(is_voter).map(|member| member.id);
        if !voters.eq(self.voters().incoming.iter().copied()) {
            for old in self.members().iter().filter(is_voter) {
                match members.binary_search_by_key(&old.id, |member| member.id) {
                    Ok(at) => members[at].outgoing = true,
                    Err(at) => {
                        members.insert(at, Member { role: MemberRole::Leaving, outgoing: true, ..old.clone() });
                    }
                }
            }
        }
        if members.len() > Membership::MEMBERS_MAX {
            return Err(EditError::TooManyMembers);
        }
        Ok(Membership::of_sorted(change, members))
    }

    /// The second half of a joint change (§6, C_new): this configuration without its outgoing half.
    #[must_use]
    pub fn settled(&self) -> Membership {
        let stays = |member: &&Member| member.role != MemberRole::Leaving;
        let members = self.members().iter().filter(stays).map(|member| Member { outgoing: false, ..member.clone() });
        Membership::of_sorted(self.change(), members.collect())
    }

    /// This configuration with other disks recorded. It belongs to the change that begins with the entry `change`.
    #[must_use]
    pub(crate) fn with_disks(&self, change: EntryId, disk_of: impl Fn(&Member) -> Incarnation) -> Membership {
        let members = self.members().iter().map(|member| Member { disk: disk_of(member), ..member.clone() });
        Membership::of_sorted(change, members.collect())
    }
}

impl fmt::Display for Edit {
    /// `add voter 4=host:1`, `replace 3 by 4`, `readmit 2`: the grammar of scripts (`docs/scripts.md`).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |f: &mut fmt::Formatter<'_>, address: &Address| {
            if address.is_empty() { Ok(()) } else { write!(f, "={address}") }
        };
        match self {
            Edit::AddLearner { id, address } => write!(f, "add learner {id}").and_then(|()| at(f, address)),
            Edit::AddVoter { id, address } => write!(f, "add voter {id}").and_then(|()| at(f, address)),
            Edit::Replace { old, new, address } => write!(f, "replace {old} by {new}").and_then(|()| at(f, address)),
            Edit::Promote { id } => write!(f, "promote {id}"),
            Edit::Demote { id } => write!(f, "demote {id}"),
            Edit::Remove { id } => write!(f, "remove {id}"),
            Edit::Readmit { id } => write!(f, "readmit {id}"),
            Edit::SetAddress { id, address } => write!(f, "address {id}={address}"),
            Edit::KeepLearner { id } => write!(f, "keep learner {id}"),
        }
    }
}

impl fmt::Display for Change {
    /// `add voter 4, remove 3 if 7@2`, or `nothing`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.edits.is_empty() {
            f.write_str("nothing")?;
        }
        for (i, edit) in self.edits.iter().enumerate() {
            write!(f, "{}{edit}", if i == 0 { "" } else { ", " })?;
        }
        self.expected.map_or(Ok(()), |expected| write!(f, " if {expected}"))
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::String;

    use super::*;

    const AT: EntryId = EntryId::new(2, 9);

    fn of(edits: &[Edit], membership: &Membership) -> Result<String, EditError> {
        membership.edited(AT, edits, |member| member.id.0 != 9).map(|edited| format!("{edited}"))
    }

    fn nowhere() -> Address {
        Address::default()
    }

    fn learner(id: u64) -> Edit {
        Edit::AddLearner { id: NodeId(id), address: nowhere() }
    }

    fn voter(id: u64) -> Edit {
        Edit::AddVoter { id: NodeId(id), address: nowhere() }
    }

    fn replace(old: u64, new: u64) -> Edit {
        Edit::Replace { old: NodeId(old), new: NodeId(new), address: nowhere() }
    }

    fn three() -> Membership {
        Membership::new([1, 2, 3].map(NodeId))
    }

    fn with_learners(learners: &[u64]) -> Membership {
        Membership::joint([1, 2, 3].map(NodeId), [], learners.iter().map(|&id| NodeId(id)))
    }

    /// Edits that change nobody's vote are one entry.
    #[test]
    fn edits_that_change_no_vote_are_not_joint() {
        let id = NodeId(4);
        let made = |edit, membership: &Membership| of(&[edit], membership).unwrap();
        assert_eq!(made(learner(4), &three()), "1,2,3 learners 4 since 9@2");
        assert_eq!(made(voter(4), &three()), "1,2,3 learners 4+ since 9@2");
        assert_eq!(made(voter(4), &with_learners(&[4])), "1,2,3 learners 4+ since 9@2");
        assert_eq!(made(replace(3, 4), &three()), "1,2,3 learners 4+/3 since 9@2");
        assert_eq!(made(Edit::Remove { id }, &with_learners(&[4])), "1,2,3 since 9@2");
        let address = Address::new("h:1").unwrap();
        assert_eq!(made(Edit::SetAddress { id: NodeId(1), address }, &three()), "1=h:1,2,3 since 9@2");
        let wanted = three().edited(AT, &[voter(4)], |_| true).unwrap();
        assert_eq!(made(Edit::KeepLearner { id }, &wanted), "1,2,3 learners 4 since 9@2");
    }

    #[test]
    fn edits_that_change_votes_are_joint_until_they_are_settled() {
        let id = NodeId(3);
        let made = |edits: &[Edit], membership: &Membership| {
            let joint = membership.edited(AT, edits, |_| true).unwrap();
            assert!(joint.is_joint());
            (format!("{joint}"), format!("{}", joint.settled()))
        };
        let promoted = made(&[Edit::Promote { id: NodeId(4) }], &with_learners(&[4]));
        assert_eq!(promoted, ("1,2,3,4&1,2,3 since 9@2".into(), "1,2,3,4 since 9@2".into()));
        let demoted = made(&[Edit::Demote { id }], &three());
        assert_eq!(demoted, ("1,2&1,2,3 learners 3 since 9@2".into(), "1,2 learners 3 since 9@2".into()));
        let removed = made(&[Edit::Remove { id }], &three());
        assert_eq!(removed, ("1,2&1,2,3 since 9@2".into(), "1,2 since 9@2".into()));
        let readmitted = made(&[Edit::Readmit { id }], &three());
        assert_eq!(readmitted, ("1,2&1,2,3 learners 3+ since 9@2".into(), "1,2 learners 3+ since 9@2".into()));
        let both = made(&[Edit::Remove { id }, Edit::Promote { id: NodeId(4) }], &with_learners(&[4]));
        assert_eq!(both, ("1,2,4&1,2,3 since 9@2".into(), "1,2,4 since 9@2".into()));
        let replacing = three().edited(AT, &[replace(3, 4)], |_| true).unwrap();
        let replaced = made(&[Edit::Promote { id: NodeId(4) }], &replacing);
        assert_eq!(replaced, ("1,2,4&1,2,3 since 9@2".into(), "1,2,4 since 9@2".into()));
    }

    /// What a lost disk is demoted with still names that disk: the outgoing half counts nothing from the new one.
    #[test]
    fn the_outgoing_half_keeps_addresses_and_disks() {
        let recorded = three().with_disks(AT, |member| Incarnation(member.id.0));
        let id = NodeId(3);
        for edit in [Edit::Readmit { id }, Edit::Remove { id }] {
            let joint = recorded.edited(AT, &[edit], |_| true).unwrap();
            assert_eq!(joint.member(id).map(|member| (member.outgoing, member.disk)), Some((true, Incarnation(3))));
        }
    }

    /// A stale `replaces` must not remove a member that was removed, and added again, since.
    #[test]
    fn stale_replaces() {
        let replacing = three().edited(AT, &[replace(3, 4)], |_| true).unwrap();
        let without = replacing.edited(AT, &[Edit::Remove { id: NodeId(3) }], |_| true).unwrap().settled();
        assert_eq!(format!("{without}"), "1,2 learners 4+ since 9@2");
        let again = without.edited(AT, &[learner(3)], |_| true).unwrap();
        let promoted = again.edited(AT, &[Edit::Promote { id: NodeId(4) }], |_| true).unwrap();
        assert!(promoted.settled().contains(NodeId(3)));
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        let id = NodeId;
        let refused = |edits: &[Edit], membership: &Membership| of(edits, membership).unwrap_err();
        let cases = [
            (refused(&[], &three()), EditError::NothingToDo),
            (refused(&[learner(3)], &three()), EditError::AlreadyMember { id: id(3) }),
            (refused(&[voter(3)], &three()), EditError::AlreadyMember { id: id(3) }),
            (refused(&[replace(4, 5)], &three()), EditError::UnknownServer { id: id(4) }),
            (refused(&[replace(4, 5)], &with_learners(&[4])), EditError::NotAVoter { id: id(4) }),
            (refused(&[replace(3, 3)], &three()), EditError::TwoEdits { id: id(3) }),
            (refused(&[learner(4), Edit::Promote { id: id(4) }], &three()), EditError::TwoEdits { id: id(4) }),
            (refused(&[Edit::Promote { id: id(9) }], &with_learners(&[9])), EditError::NotCaughtUp { id: id(9) }),
            (refused(&[Edit::Promote { id: id(3) }], &three()), EditError::NothingToDo),
            (refused(&[Edit::Promote { id: id(4) }], &three()), EditError::UnknownServer { id: id(4) }),
            (refused(&[Edit::Demote { id: id(4) }], &with_learners(&[4])), EditError::NotAVoter { id: id(4) }),
            (refused(&[Edit::KeepLearner { id: id(1) }], &three()), EditError::AlreadyMember { id: id(1) }),
            (refused(&[Edit::KeepLearner { id: id(4) }], &with_learners(&[4])), EditError::NothingToDo),
            (refused(&[Edit::Remove { id: id(1) }], &Membership::new([id(1)])), EditError::NoVoters),
            (refused(&[Edit::Readmit { id: id(1) }], &Membership::new([id(1)])), EditError::NoVoters),
        ];
        for (at, (found, expected)) in cases.into_iter().enumerate() {
            assert_eq!(found, expected, "case {at}");
        }
        let replacing = three().edited(AT, &[replace(3, 4)], |_| true).unwrap();
        assert_eq!(refused(&[replace(3, 5)], &replacing), EditError::AlreadyReplaced { id: id(3) });
        let full = Membership::new((1..=Membership::MEMBERS_MAX as u64).map(id));
        assert_eq!(refused(&[learner(5000)], &full), EditError::TooManyMembers);
    }

    #[test]
    fn a_change_reads_as_scripts_say_it() {
        let address = Address::new("h:1").unwrap();
        let edits = Vec::from([replace(3, 4), Edit::AddVoter { id: NodeId(5), address }]);
        let change = Change { expected: Some(EntryId::new(2, 7)), edits };
        assert_eq!(format!("{change}"), "replace 3 by 4, add voter 5=h:1 if 7@2");
    }
}
