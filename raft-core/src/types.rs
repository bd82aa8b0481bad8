//! The small words everything else is written in: which server, which term, which index.

use core::fmt;

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<u64> for $name {
            fn from(number: u64) -> Self {
                Self(number)
            }
        }
    };
}

number! {
    /// Names one server of the cluster.
    NodeId
}
number! {
    /// Raft's logical clock (§5.1). Term 0 is before the first election.
    Term
}
number! {
    /// A position in the log. The first entry has index 1; index 0 is the empty log.
    Index
}
number! {
    /// A caller's own mark on a request; the core only hands it back.
    RequestId
}
/// Names one birth of a server's storage: a random number that is drawn when the storage is initialised and kept across
/// restarts. A server that comes back with another incarnation has lost its votes and its log. 0 means not known.
///
/// The highest bit says how the storage was born: a *founder* was initialised with the first members of a new cluster; a
/// *joined* one started empty, as every later server does and every server that lost its disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Incarnation(pub u64);

impl Incarnation {
    const JOINED: u64 = 1 << 63;

    /// A storage that is initialised with the first members of a new cluster. `random` must be drawn at random.
    #[must_use]
    pub const fn founder(random: u64) -> Incarnation {
        match random & !Self::JOINED {
            0 => Incarnation(1),
            number => Incarnation(number),
        }
    }

    /// A storage that starts empty. `random` must be drawn at random.
    #[must_use]
    pub const fn joined(random: u64) -> Incarnation {
        Incarnation(random | Self::JOINED)
    }

    /// Whether the storage was initialised with the first members of a new cluster.
    #[must_use]
    pub const fn is_founder(self) -> bool {
        self.0 != 0 && self.0 & Self::JOINED == 0
    }
}

impl fmt::Display for Incarnation {
    /// `5` for a founder, `j5` for one that joined.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = if self.0 & Self::JOINED == 0 { "" } else { "j" };
        write!(f, "{joined}{}", self.0 & !Self::JOINED)
    }
}

impl From<u64> for Incarnation {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

/// A server together with its disk. Two disks under one id are two servers: what one promised, the other has forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServerId {
    /// The server.
    pub id: NodeId,
    /// The birth of its storage.
    pub incarnation: Incarnation,
}

impl fmt::Display for ServerId {
    /// `2` for a founder, `2#j7` for a server on a disk that joined.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id.fmt(f)?;
        if self.incarnation.is_founder() { Ok(()) } else { write!(f, "#{}", self.incarnation) }
    }
}

impl Term {
    /// The last term a server can be in. Messages that name a later one are ignored, so that arithmetic cannot
    /// overflow.
    pub const MAX: Term = Term(1 << 62);

    /// The term after this one.
    #[must_use]
    pub const fn next(self) -> Term {
        Term(self.0.saturating_add(1))
    }
}

impl Index {
    /// The last index a log can reach. Messages that name a later one are ignored, so that arithmetic cannot overflow.
    pub const MAX: Index = Index(1 << 62);

    /// The index after this one.
    #[must_use]
    pub const fn next(self) -> Index {
        Index(self.0.saturating_add(1))
    }

    /// The index before this one; before 0 there is 0.
    #[must_use]
    pub const fn prev(self) -> Index {
        Index(self.0.saturating_sub(1))
    }

    /// This index and `count` more.
    #[must_use]
    pub const fn plus(self, count: u64) -> Index {
        Index(self.0.saturating_add(count))
    }

    /// How far this index is behind `later`; 0 if it is not.
    #[must_use]
    pub const fn distance_to(self, later: Index) -> u64 {
        later.0.saturating_sub(self.0)
    }
}

/// The identity of a log entry. Two entries with the same id are the same entry and follow the same log (Log Matching,
/// §5.3); the order of ids, term first, is §5.4.1's "more up-to-date".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EntryId {
    /// The term in which a leader created the entry.
    pub term: Term,
    /// Where the entry stands.
    pub index: Index,
}

impl EntryId {
    /// What stands before the first entry of every log.
    pub const ZERO: EntryId = EntryId { term: Term(0), index: Index(0) };

    /// The entry of `term` at `index`.
    #[must_use]
    pub const fn new(term: u64, index: u64) -> EntryId {
        EntryId { term: Term(term), index: Index(index) }
    }

    /// Whether a log can hold it: within the bounds, and of term 0 nowhere but before the first entry.
    pub(crate) fn is_possible(self) -> bool {
        self.term <= Term::MAX && self.index <= Index::MAX && (self.term == Term(0)) == (self.index == Index(0))
    }
}

impl fmt::Display for EntryId {
    /// `7@3`: index 7, term 3.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.index, self.term)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// §5.4.1: a later term wins over a longer log; within a term the longer log wins.
    #[test]
    fn log_up_to_date_order() {
        assert!(EntryId::new(2, 1) > EntryId::new(1, 2));
        assert!(EntryId::new(2, 3) > EntryId::new(2, 2));
    }

    #[test]
    fn an_incarnation_says_how_the_storage_was_born() {
        for random in [0, 1, 7, 1 << 63, u64::MAX] {
            let (founder, joined) = (Incarnation::founder(random), Incarnation::joined(random));
            assert!(founder.is_founder() && founder != Incarnation(0), "{random}");
            assert!(!joined.is_founder() && joined != Incarnation(0), "{random}");
        }
        assert!(!Incarnation(0).is_founder(), "an unknown one is nobody's");
        let on = |incarnation| alloc::format!("{}", ServerId { id: NodeId(2), incarnation });
        assert_eq!((on(Incarnation::founder(7)), on(Incarnation::joined(7))), ("2".into(), "2#j7".into()));
    }
}
