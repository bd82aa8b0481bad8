//! One configuration of the cluster (§6, thesis §4): a table of members, and who votes in which half.

use alloc::vec::Vec;
use core::fmt;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[cfg(feature = "sim")]
use crate::fingerprint::Fingerprint;
#[cfg(any(test, feature = "sim"))]
use crate::member::Wanted;
use crate::member::{Member, MemberRole};
use crate::quorum::Voters;
use crate::types::{EntryId, NodeId};

/// One configuration of the cluster: a table of members in order of their ids. While it is joint (§6), two majorities must
/// agree: one of the voters, and one of those who vote in the outgoing half.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Membership {
    change: EntryId,
    members: Vec<Member>,
    // What follows is made of `members`.
    voters: Vec<NodeId>,
    outgoing: Vec<NodeId>,
    bytes: u64,
}

/// Why a table of members is no configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MembershipError {
    /// Too many members.
    #[error("{count} members: there can be {max}", max = Membership::MEMBERS_MAX)]
    TooMany {
        /// How many.
        count: usize,
    },
    /// A member that appears twice, or out of order.
    #[error("member {id} appears twice or out of order")]
    OutOfOrder {
        /// Which.
        id: NodeId,
    },
    /// A member that leaves and does not vote in the outgoing half.
    #[error("member {id} leaves and has no vote in the outgoing half")]
    NotOutgoing {
        /// Which.
        id: NodeId,
    },
}

impl Membership {
    /// The most members that a cluster can have, those that are leaving among them.
    pub const MEMBERS_MAX: usize = 1024;

    /// What a member counts against byte limits besides its address.
    pub(crate) const MEMBER_BYTES: u64 = 40;

    /// The first configuration of a cluster: voters only, without addresses and recorded disks.
    #[must_use]
    pub fn new(voters: impl IntoIterator<Item = NodeId>) -> Membership {
        Membership::joint(voters, [], [])
    }

    /// A configuration made of lists of ids; `outgoing` is not empty while it is joint. A voter is no learner; a learner may
    /// vote in the outgoing half.
    #[must_use]
    pub fn joint(
        voters: impl IntoIterator<Item = NodeId>,
        outgoing: impl IntoIterator<Item = NodeId>,
        learners: impl IntoIterator<Item = NodeId>,
    ) -> Membership {
        let with = |role| move |id| Member::new(id, role);
        let mut members: Vec<Member> = voters.into_iter().map(with(MemberRole::Voter)).collect();
        members.extend(learners.into_iter().map(with(MemberRole::Learner { wanted: None })));
        // Stable: of two with one id, the first one stays.
        members.sort_by_key(|member| member.id);
        members.dedup_by_key(|member| member.id);
        for id in outgoing {
            match members.binary_search_by_key(&id, |member| member.id) {
                Ok(at) => members[at].outgoing = true,
                Err(at) => members.insert(at, Member { outgoing: true, ..Member::new(id, MemberRole::Leaving) }),
            }
        }
        Membership::of_sorted(EntryId::ZERO, members)
    }

    /// A configuration of these members, which belongs to the change that began with the entry `change`.
    ///
    /// # Errors
    /// If members are not in order of their ids, or too many, or if one leaves without a vote in the outgoing half.
    pub fn from_members(change: EntryId, members: Vec<Member>) -> Result<Membership, MembershipError> {
        if members.len() > Self::MEMBERS_MAX {
            return Err(MembershipError::TooMany { count: members.len() });
        }
        if let Some(pair) = members.windows(2).find(|pair| pair[0].id >= pair[1].id) {
            return Err(MembershipError::OutOfOrder { id: pair[1].id });
        }
        match members.iter().find(|member| member.role == MemberRole::Leaving && !member.outgoing) {
            Some(member) => Err(MembershipError::NotOutgoing { id: member.id }),
            None => Ok(Membership::of_sorted(change, members)),
        }
    }

    pub(crate) fn of_sorted(change: EntryId, members: Vec<Member>) -> Membership {
        let ids = |votes: fn(&Member) -> bool| members.iter().filter(|m| votes(m)).map(|m| m.id).collect();
        Membership {
            voters: ids(|member| member.role == MemberRole::Voter),
            outgoing: ids(|member| member.outgoing),
            bytes: members.iter().map(|member| Self::MEMBER_BYTES + member.address.as_str().len() as u64).sum(),
            change,
            members,
        }
    }

    /// The entry that began the change which this configuration belongs to; 0@0 for the first one. Both halves of a joint
    /// change name its first entry.
    #[must_use]
    pub fn change(&self) -> EntryId {
        self.change
    }

    /// All members, in order of their ids.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The ids of all members, in order.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.members.iter().map(|member| member.id)
    }

    /// The member of this id.
    #[must_use]
    pub fn member(&self, id: NodeId) -> Option<&Member> {
        self.members.binary_search_by_key(&id, |member| member.id).ok().map(|at| &self.members[at])
    }

    /// The voters whose agreement counts.
    #[must_use]
    pub fn voters(&self) -> Voters<'_> {
        Voters { incoming: &self.voters, outgoing: &self.outgoing }
    }

    /// Whether two majorities must agree (§6, C_old,new).
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether `id` votes, in either half.
    #[must_use]
    pub fn is_voter(&self, id: NodeId) -> bool {
        self.member(id).is_some_and(Member::votes)
    }

    /// Whether `id` belongs to the cluster.
    #[must_use]
    pub fn contains(&self, id: NodeId) -> bool {
        self.member(id).is_some()
    }

    /// What it counts against byte limits.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    #[cfg(feature = "sim")]
    pub(crate) fn fingerprint(&self, print: &mut Fingerprint<'_>) {
        let Membership { change, members, voters: _, outgoing: _, bytes: _ } = self;
        print.entry_id(*change);
        print.set(members, |print, member| {
            let Member { id, role, outgoing, address, disk } = member;
            print.node(*id);
            match role {
                MemberRole::Voter => print.word(0),
                MemberRole::Learner { wanted: None } => print.word(1),
                MemberRole::Learner { wanted: Some(Wanted { replaces }) } => {
                    print.word(2);
                    print.maybe_node(*replaces);
                }
                MemberRole::Leaving => print.word(3),
            }
            print.flag(*outgoing);
            print.bytes(address.as_str().as_bytes());
            print.word(disk.0);
        });
    }
}

/// What a [`Membership`] looks like on the wire and on the disk.
#[derive(Serialize)]
struct Table<'a>(EntryId, &'a [Member]);

#[derive(Deserialize)]
struct ReadTable(EntryId, ReadMembers);

/// A list that is read no further than it may be long: a few bytes must not become much memory.
struct ReadMembers(Vec<Member>);

impl Serialize for Membership {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Table(self.change, &self.members).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Membership {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Membership, D::Error> {
        let ReadTable(change, ReadMembers(members)) = ReadTable::deserialize(deserializer)?;
        Membership::from_members(change, members).map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for ReadMembers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ReadMembers, D::Error> {
        deserializer.deserialize_seq(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = ReadMembers;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {} members", Membership::MEMBERS_MAX)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<ReadMembers, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = list.next_element()? {
            if members.len() == Membership::MEMBERS_MAX {
                return Err(de::Error::invalid_length(members.len() + 1, &self));
            }
            members.push(member);
        }
        Ok(ReadMembers(members))
    }
}

impl fmt::Display for Membership {
    /// `1,2,3`, while joint `1,2,3&3,4,5`, with learners `1,2,3 learners 4`, after a change `1,2 since 7@3`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_learner = |member: &Member| matches!(member.role, MemberRole::Learner { .. });
        let list = |f: &mut fmt::Formatter<'_>, chosen: &dyn Fn(&Member) -> bool| {
            for (i, member) in self.members.iter().filter(|member| chosen(member)).enumerate() {
                write!(f, "{}{member}", if i == 0 { "" } else { "," })?;
            }
            Ok(())
        };
        list(f, &|member| member.role == MemberRole::Voter)?;
        if self.is_joint() {
            // Each member is described once, where it stands in the new configuration.
            for (i, member) in self.members.iter().filter(|member| member.outgoing).enumerate() {
                f.write_str(if i == 0 { "&" } else { "," })?;
                if member.role == MemberRole::Leaving { member.fmt(f)? } else { member.id.fmt(f)? }
            }
        }
        if self.members.iter().any(is_learner) {
            f.write_str(" learners ")?;
            list(f, &is_learner)?;
        }
        if self.change == EntryId::ZERO { Ok(()) } else { write!(f, " since {}", self.change) }
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::vec;

    use super::*;
    use crate::member::Address;
    use crate::types::Incarnation;

    fn ids(ids: &[u64]) -> Vec<NodeId> {
        ids.iter().map(|&id| NodeId(id)).collect()
    }

    #[test]
    fn no_more_are_read_than_there_may_be() {
        let table = |count: u64| {
            let members: Vec<_> = (0..count).map(|id| Member::new(NodeId(id), MemberRole::Voter)).collect();
            postcard::to_allocvec(&Table(EntryId::ZERO, &members)).unwrap()
        };
        let most = postcard::from_bytes::<Membership>(&table(Membership::MEMBERS_MAX as u64)).unwrap();
        assert_eq!(most.members().len(), Membership::MEMBERS_MAX);
        assert!(postcard::from_bytes::<Membership>(&table(Membership::MEMBERS_MAX as u64 + 1)).is_err());
    }

    #[test]
    fn a_table_out_of_order_is_refused() {
        let voter = |id| Member::new(NodeId(id), MemberRole::Voter);
        let made = |members| Membership::from_members(EntryId::ZERO, members);
        assert_eq!(made(vec![voter(2), voter(1)]), Err(MembershipError::OutOfOrder { id: NodeId(1) }));
        assert_eq!(made(vec![voter(2), voter(2)]), Err(MembershipError::OutOfOrder { id: NodeId(2) }));
        let leaving = Member::new(NodeId(3), MemberRole::Leaving);
        assert_eq!(made(vec![voter(2), leaving]), Err(MembershipError::NotOutgoing { id: NodeId(3) }));
    }

    #[test]
    fn lists_are_sorted_and_a_voter_is_no_learner() {
        let joint = Membership::joint(ids(&[3, 1, 2, 2]), ids(&[5, 3, 8]), ids(&[5, 7, 1]));
        assert_eq!(format!("{joint}"), "1,2,3&3,5,8 learners 5,7");
        assert_eq!(joint.ids().collect::<Vec<_>>(), ids(&[1, 2, 3, 5, 7, 8]));
        assert!(joint.is_voter(NodeId(5)) && !joint.is_voter(NodeId(7)) && joint.contains(NodeId(7)));
        assert_eq!(joint.member(NodeId(8)).unwrap().role, MemberRole::Leaving);
        assert_eq!(joint.bytes(), 6 * Membership::MEMBER_BYTES);
    }

    #[test]
    fn a_description_has_what_is_set() {
        let address = Address::new("h:1").unwrap();
        let wanted = MemberRole::Learner { wanted: Some(Wanted { replaces: Some(NodeId(2)) }) };
        let learner = Member { address, disk: Incarnation::joined(9), ..Member::new(NodeId(4), wanted) };
        let leaving = Member { outgoing: true, disk: Incarnation(3), ..Member::new(NodeId(2), MemberRole::Leaving) };
        let members = vec![Member::new(NodeId(1), MemberRole::Voter), leaving, learner];
        let membership = Membership::from_members(EntryId::new(3, 7), members).unwrap();
        assert_eq!(format!("{membership}"), "1&2#3 learners 4+/2#j9=h:1 since 7@3");
        assert_eq!(membership.bytes(), 3 * Membership::MEMBER_BYTES + 3);
    }
}
