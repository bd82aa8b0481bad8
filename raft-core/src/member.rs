//! One member of a configuration: what it is, where it can be reached, and which disk counts for it.

use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::types::{Incarnation, NodeId};

/// Where a member can be reached: text that only drivers read, at most [`Address::BYTES_MAX`] bytes. Both drivers keep
/// `host:port` there. Empty means not stated.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(Arc<str>);

/// An address that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an address of {bytes} bytes is too long: the limit is {max}", max = Address::BYTES_MAX)]
pub struct AddressTooLong {
    /// How long it is.
    pub bytes: usize,
}

impl Address {
    /// The longest address.
    pub const BYTES_MAX: usize = 256;

    /// Copies an address.
    ///
    /// # Errors
    /// If it is longer than [`Address::BYTES_MAX`].
    pub fn new(address: &str) -> Result<Address, AddressTooLong> {
        match address.len() {
            bytes if bytes > Self::BYTES_MAX => Err(AddressTooLong { bytes }),
            _ => Ok(Address(address.into())),
        }
    }

    /// The text of it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether no address is stated.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Address, D::Error> {
        Address::new(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// A learner is to become a voter as soon as it has caught up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Wanted {
    /// The member that leaves in the same step.
    pub replaces: Option<NodeId>,
}

/// What a member is, in the new configuration while there are two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MemberRole {
    /// Votes and is counted.
    Voter,
    /// Gets the log and does not vote (thesis §4.2.1).
    Learner {
        /// Whether it is to become a voter.
        wanted: Option<Wanted>,
    },
    /// Votes in the outgoing half only and is gone when the change is done.
    Leaving,
}

/// One member of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Member {
    /// Which server.
    pub id: NodeId,
    /// What it is.
    pub role: MemberRole,
    /// Whether it votes in the outgoing half. True of nobody unless the configuration is joint.
    pub outgoing: bool,
    /// Where it can be reached.
    pub address: Address,
    /// The disk that counts for it. 0 if none is recorded: then any founder's disk counts.
    pub disk: Incarnation,
}

impl Member {
    /// A member without an address or a recorded disk.
    #[must_use]
    pub fn new(id: NodeId, role: MemberRole) -> Member {
        Member { id, role, outgoing: false, address: Address::default(), disk: Incarnation(0) }
    }

    /// Whether it votes, in either half.
    #[must_use]
    pub fn votes(&self) -> bool {
        self.outgoing || self.role == MemberRole::Voter
    }

    /// Whether what a server on this disk says counts: the recorded disk, or any founder's if none is recorded.
    #[must_use]
    pub fn counts(&self, incarnation: Incarnation) -> bool {
        if self.disk == Incarnation(0) { incarnation.is_founder() } else { self.disk == incarnation }
    }
}

impl fmt::Display for Member {
    /// `4`; a wanted learner `4+`, in place of another one `4+/3`; with a recorded disk `4#j9`; with an address `4=host:1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id.fmt(f)?;
        if let MemberRole::Learner { wanted: Some(Wanted { replaces }) } = self.role {
            f.write_str("+")?;
            replaces.map_or(Ok(()), |old| write!(f, "/{old}"))?;
        }
        if self.disk != Incarnation(0) {
            write!(f, "#{}", self.disk)?;
        }
        if self.address.is_empty() { Ok(()) } else { write!(f, "={}", self.address) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_bounded_when_made_and_when_read() {
        let longest = "x".repeat(Address::BYTES_MAX);
        let address = Address::new(&longest).unwrap();
        assert_eq!(postcard::from_bytes(&postcard::to_allocvec(&address).unwrap()), Ok(address));
        let longer = "x".repeat(Address::BYTES_MAX + 1);
        assert_eq!(Address::new(&longer), Err(AddressTooLong { bytes: longer.len() }));
        assert!(postcard::from_bytes::<Address>(&postcard::to_allocvec(&longer).unwrap()).is_err());
    }

    #[test]
    fn a_reply_counts_from_the_recorded_disk_or_from_any_founder() {
        let mut member = Member::new(NodeId(1), MemberRole::Voter);
        assert!(member.counts(Incarnation(5)) && !member.counts(Incarnation::joined(5)));
        member.disk = Incarnation::joined(5);
        assert!(member.counts(Incarnation::joined(5)));
        assert!(!member.counts(Incarnation(5)) && !member.counts(Incarnation::joined(6)));
    }
}
