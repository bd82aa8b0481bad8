//! What a server is made of when it starts: of nothing, or of what its disk kept.

use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::action::HardState;
use crate::config::ConfigError;
use crate::entries::{ENTRY_OVERHEAD_BYTES, Entries, Payload};
use crate::log::SnapshotMeta;
use crate::membership::Membership;
use crate::types::{EntryId, Incarnation, Index, Term};

/// What the storage and the application kept. A new cluster's servers start from a "snapshot" at index 0 that names the
/// first members; afterwards the disk, never the command line, says who they are.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// Drawn at random when the storage was initialised, and never 0.
    pub incarnation: Incarnation,
    /// A random number that the driver draws at each start. Without it (0) this server forwards no reads to its leader:
    /// it could not tell an answer to an earlier life of its own.
    pub boot: u64,
    /// The last durable hard state.
    pub hard_state: HardState,
    /// The last durable snapshot.
    pub snapshot: SnapshotMeta,
    /// The older part of the log, which stays on disk; by default none.
    pub head: LogHead,
    /// The log, behind its head. It may start before the snapshot ends, but not leave a gap behind it.
    pub entries: Entries,
    /// What the application itself has durably applied; 0 if it keeps nothing.
    pub applied: Index,
}

/// What a server must know of entries that it does not hold in memory when it starts. It has them fetched when it needs them
/// ([`Action::Fetch`](crate::Action::Fetch)).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogHead {
    /// The first entry, and the first of each later term.
    pub terms: Vec<EntryId>,
    /// The last entry; [`EntryId::ZERO`] if there is none.
    pub last: EntryId,
    /// The configurations among them, each with its index, oldest first. Those through the snapshot may be left out.
    pub memberships: Vec<(Index, Arc<Membership>)>,
    /// The sum of [`Entry::bytes`](crate::Entry::bytes). What it counts for each entry is taken to be the same.
    pub bytes: u64,
}

impl LogHead {
    /// More than this is no sum of any entries.
    const BYTES_MAX: u64 = 1 << 62;

    /// What is to be known of these entries.
    #[must_use]
    pub fn of(entries: &Entries) -> LogHead {
        let mut head = LogHead::default();
        head.extend(entries);
        head
    }

    /// The head goes on with `entries`, which must follow it.
    pub fn extend(&mut self, entries: &Entries) {
        for (id, payload) in entries.iter() {
            if id.term != self.last.term {
                self.terms.push(id);
            }
            self.last = id;
            if let Payload::Membership(membership) = payload {
                self.memberships.push((id.index, Arc::clone(membership)));
            }
        }
        self.bytes = self.bytes.saturating_add(entries.bytes());
    }

    /// The first entry.
    #[must_use]
    pub fn first(&self) -> Option<EntryId> {
        self.terms.first().copied()
    }

    fn term_at(&self, index: Index) -> Option<Term> {
        let after = self.terms.partition_point(|start| start.index <= index);
        let start = after.checked_sub(1).and_then(|at| self.terms.get(at));
        start.filter(|_| index <= self.last.index).map(|start| start.term)
    }

    /// Whether its parts fit together.
    fn check(&self) -> Result<(), RestoreError> {
        let Some(first) = self.first() else {
            let is_empty = *self == LogHead::default();
            return if is_empty { Ok(()) } else { Err(RestoreError::HeadWithoutTerms { last: self.last }) };
        };
        let rises = |pair: &[EntryId]| pair[0].term < pair[1].term && pair[0].index < pair[1].index;
        if let Some(pair) = self.terms.windows(2).find(|pair| !rises(pair)) {
            return Err(RestoreError::HeadTerms { earlier: pair[0], later: pair[1] });
        }
        let newest = self.terms.last().copied().unwrap_or(first);
        if self.last.index < newest.index || self.last.term != newest.term {
            return Err(RestoreError::HeadTerms { earlier: newest, later: self.last });
        }
        if let Some(id) = [first, self.last].into_iter().find(|id| !id.is_possible() || id.index == Index(0)) {
            return Err(RestoreError::OutOfRange { id });
        }
        let mut before = first.index.prev();
        for (at, membership) in &self.memberships {
            if *at <= before || *at > self.last.index {
                return Err(RestoreError::HeadMembership { at: *at });
            }
            let count = membership.members().len();
            if count > Membership::MEMBERS_MAX {
                return Err(RestoreError::TooManyMembers { count });
            }
            before = *at;
        }
        let entries = first.index.distance_to(self.last.index) + 1;
        if self.bytes > Self::BYTES_MAX || self.bytes / ENTRY_OVERHEAD_BYTES < entries {
            return Err(RestoreError::HeadBytes { bytes: self.bytes, entries });
        }
        Ok(())
    }
}

/// What was restored, or configured, makes no server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The configuration contradicts itself.
    #[error("configuration: {0}")]
    Config(#[from] ConfigError),
    /// The storage was never initialised.
    #[error("the incarnation is 0: a storage draws a random one when it is initialised")]
    NoIncarnation,
    /// More members than any message could name.
    #[error("{count} members: there can be {max}", max = Membership::MEMBERS_MAX)]
    TooManyMembers {
        /// How many.
        count: usize,
    },
    /// The storage was born empty and names members, with nothing in its log or snapshot that could name them.
    #[error("the storage joined a cluster, and names members before it has anything of the cluster's log")]
    MembersOfJoined,
    /// Entries between snapshot and log are missing, or the log's first term is before the snapshot's.
    #[error("the snapshot ends at {snapshot} and the log starts at {first}, which does not follow it")]
    Gap {
        /// The snapshot's last entry.
        snapshot: EntryId,
        /// The log's first entry.
        first: EntryId,
    },
    /// The log ends before the snapshot does, which no sequence of writes leaves behind.
    #[error("the log ends at {last}, before the snapshot's {snapshot}")]
    LogBehindSnapshot {
        /// The snapshot's last entry.
        snapshot: EntryId,
        /// The log's last entry.
        last: EntryId,
    },
    /// The log and the snapshot disagree on the snapshot's last entry.
    #[error("the snapshot ends at {snapshot}, where the log has an entry of term {term}")]
    SnapshotNotInLog {
        /// The snapshot's last entry.
        snapshot: EntryId,
        /// The log's term there.
        term: Term,
    },
    /// The application is ahead of the log: it kept what the log lost, or belongs to another log.
    #[error("the application has applied through {applied}, but the log ends at {last}")]
    AppliedBeyondLog {
        /// What the application has.
        applied: Index,
        /// Where the log ends.
        last: Index,
    },
    /// The log has entries of a term that the hard state never reached.
    #[error("the log ends in term {last}, after the current term {current}")]
    TermBehindLog {
        /// The hard state's term.
        current: Term,
        /// The last entry's or the snapshot's.
        last: Term,
    },
    /// The head of the log names a last entry, configurations or bytes, but no terms.
    #[error("the head of the log ends at {last} and names no terms")]
    HeadWithoutTerms {
        /// Its last entry.
        last: EntryId,
    },
    /// Terms or indexes of the head of the log do not rise, or its last entry is not of its last term.
    #[error("in the head of the log, {later} does not follow the start of a term at {earlier}")]
    HeadTerms {
        /// Where a term starts.
        earlier: EntryId,
        /// Where the next one starts, or the last entry.
        later: EntryId,
    },
    /// A configuration in the head of the log is out of order, or not in it.
    #[error("the head of the log has a configuration at {at}, out of order or outside of it")]
    HeadMembership {
        /// Its index.
        at: Index,
    },
    /// The head of the log has less bytes than its entries take, or more than any log has.
    #[error("the head of the log is of {bytes} bytes and has {entries} entries")]
    HeadBytes {
        /// The bytes.
        bytes: u64,
        /// How many entries it has.
        entries: u64,
    },
    /// The entries do not go on where the head of the log ends.
    #[error("the head of the log ends at {head} and its entries start at {first}, which does not follow it")]
    HeadGap {
        /// The last entry of the head.
        head: EntryId,
        /// The first of the entries.
        first: EntryId,
    },
    /// A term or an index that no log can reach.
    #[error("{id} is outside of what a log can hold")]
    OutOfRange {
        /// Which.
        id: EntryId,
    },
}

impl Restored {
    /// A server of a new cluster.
    #[must_use]
    pub fn new_cluster(incarnation: Incarnation, membership: Membership) -> Restored {
        let snapshot = SnapshotMeta { last: EntryId::ZERO, membership: membership.into() };
        Restored { incarnation, snapshot, ..Restored::default() }
    }

    /// A server that starts with an empty storage and waits until a cluster adds it.
    #[must_use]
    pub fn joining(incarnation: Incarnation) -> Restored {
        Restored { incarnation, ..Restored::default() }
    }

    /// Leave in memory only the newest entries, about `bytes_max` bytes of them: the older ones become the head of the log.
    /// For a storage that has read all of it.
    #[must_use]
    pub fn keep_tail(mut self, bytes_max: u64) -> Restored {
        // What does not fit together is not hidden: a server is refused it.
        if self.check_head().is_err() {
            return self;
        }
        let mut bytes = self.entries.bytes();
        let mut from = self.entries.first_index().unwrap_or_default();
        for entry in self.entries.slices().flat_map(|(_, entries)| entries) {
            if bytes <= bytes_max {
                break;
            }
            bytes -= entry.bytes();
            from = from.next();
        }
        let tail = core::mem::take(&mut self.entries);
        self.head.extend(&tail.clone().through(from.prev()));
        self.entries = tail.starting_at(from);
        self
    }

    /// The first entry of the log.
    pub(crate) fn first(&self) -> Option<EntryId> {
        self.head.first().or(self.entries.first())
    }

    /// The last entry of the log, or of the snapshot if the log is empty.
    pub(crate) fn last(&self) -> EntryId {
        let in_head = self.head.first().map(|_| self.head.last);
        self.entries.last().or(in_head).unwrap_or(self.snapshot.last)
    }

    /// Whether the parts fit together.
    pub(crate) fn check(&self) -> Result<(), RestoreError> {
        if self.incarnation == Incarnation(0) {
            return Err(RestoreError::NoIncarnation);
        }
        let count = self.snapshot.membership.members().len();
        if count > Membership::MEMBERS_MAX {
            return Err(RestoreError::TooManyMembers { count });
        }
        let snapshot = self.snapshot.last;
        if snapshot == EntryId::ZERO && count > 0 && !self.incarnation.is_founder() {
            return Err(RestoreError::MembersOfJoined);
        }
        self.head.check()?;
        let last = self.last();
        let reached = EntryId { term: self.hard_state.term, index: self.applied };
        let in_bounds = reached.term <= Term::MAX && reached.index <= Index::MAX;
        let possible = [(snapshot, snapshot.is_possible()), (last, last.is_possible()), (reached, in_bounds)];
        if let Some((id, _)) = possible.into_iter().find(|(_, possible)| !possible) {
            return Err(RestoreError::OutOfRange { id });
        }
        self.check_log(last)?;
        if self.applied > last.index {
            return Err(RestoreError::AppliedBeyondLog { applied: self.applied, last: last.index });
        }
        let (current, newest) = (self.hard_state.term, last.term.max(snapshot.term));
        if newest > current {
            return Err(RestoreError::TermBehindLog { current, last: newest });
        }
        Ok(())
    }

    /// Whether the entries follow the head.
    fn check_head(&self) -> Result<(), RestoreError> {
        let head = self.head.last;
        match (self.head.first(), self.entries.first()) {
            (Some(_), Some(first)) if first.index != head.index.next() || first.term < head.term => {
                Err(RestoreError::HeadGap { head, first })
            }
            _ => Ok(()),
        }
    }

    /// Whether snapshot, head and entries fit together.
    fn check_log(&self, last: EntryId) -> Result<(), RestoreError> {
        let snapshot = self.snapshot.last;
        self.check_head()?;
        let Some(first) = self.first() else { return Ok(()) };
        if first.index > snapshot.index.next() || (first.index > snapshot.index && first.term < snapshot.term) {
            return Err(RestoreError::Gap { snapshot, first });
        }
        if last.index < snapshot.index {
            return Err(RestoreError::LogBehindSnapshot { snapshot, last });
        }
        let in_entries = || self.entries.iter().map(|(id, _)| id).find(|id| id.index == snapshot.index);
        let there = self.head.term_at(snapshot.index).or_else(|| in_entries().map(|id| id.term));
        match there.filter(|term| *term != snapshot.term) {
            Some(term) => Err(RestoreError::SnapshotNotInLog { snapshot, term }),
            None => Ok(()),
        }
    }
}
