//! What a server is made of when it starts: of nothing, or of what its disk kept.

use crate::action::HardState;
use crate::config::ConfigError;
use crate::entries::Entries;
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
    /// The log. It may start before the snapshot ends, but not leave a gap behind it.
    pub entries: Entries,
    /// What the application itself has durably applied; 0 if it keeps nothing.
    pub applied: Index,
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
        let last = self.entries.last().unwrap_or(snapshot);
        let reached = EntryId { term: self.hard_state.term, index: self.applied };
        let in_bounds = reached.term <= Term::MAX && reached.index <= Index::MAX;
        let possible = [(snapshot, snapshot.is_possible()), (last, last.is_possible()), (reached, in_bounds)];
        if let Some((id, _)) = possible.into_iter().find(|(_, possible)| !possible) {
            return Err(RestoreError::OutOfRange { id });
        }
        if let Some(first) = self.entries.first() {
            if first.index > snapshot.index.next() || (first.index > snapshot.index && first.term < snapshot.term) {
                return Err(RestoreError::Gap { snapshot, first });
            }
            if last.index < snapshot.index {
                return Err(RestoreError::LogBehindSnapshot { snapshot, last });
            }
            let there = self.entries.iter().find(|(id, _)| id.index == snapshot.index);
            if let Some((id, _)) = there.filter(|(id, _)| id.term != snapshot.term) {
                return Err(RestoreError::SnapshotNotInLog { snapshot, term: id.term });
            }
        }
        if self.applied > last.index {
            return Err(RestoreError::AppliedBeyondLog { applied: self.applied, last: last.index });
        }
        let (current, newest) = (self.hard_state.term, last.term.max(snapshot.term));
        if newest > current {
            return Err(RestoreError::TermBehindLog { current, last: newest });
        }
        Ok(())
    }
}
