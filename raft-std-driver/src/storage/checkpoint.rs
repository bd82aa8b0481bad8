//! What a storage knows besides its entries: little enough to be repeated at the beginning of every segment.

use raft_core::{EntryId, HardState, Index, Membership, ServerId, SnapshotMeta, SnapshotWrite, Term, Write};
use serde::{Deserialize, Serialize};

use super::{SnapshotOrigin, StorageError};

/// The order of the fields is the format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    term: Term,
    voted_for: Option<ServerId>,
    snapshot: SnapshotMeta,
    received: bool,
    first: Index,
    last: Index,
}

impl Default for Checkpoint {
    fn default() -> Checkpoint {
        Checkpoint::birth(Membership::default())
    }
}

impl Checkpoint {
    /// Of a member that has not heard anything yet.
    pub(super) fn birth(membership: Membership) -> Checkpoint {
        let snapshot = SnapshotMeta { last: EntryId::ZERO, membership: membership.into() };
        let (term, voted_for, first, last) = (Term(0), None, Index(1), Index(0));
        Checkpoint { term, voted_for, snapshot, received: false, first, last }
    }

    pub(super) fn hard_state(&self) -> HardState {
        HardState { term: self.term, voted_for: self.voted_for }
    }

    pub(super) fn snapshot(&self) -> &SnapshotMeta {
        &self.snapshot
    }

    /// Which snapshot is current: nothing before the first one.
    pub(super) fn current(&self) -> Option<(EntryId, SnapshotOrigin)> {
        let origin = if self.received { SnapshotOrigin::Received } else { SnapshotOrigin::Local };
        (self.snapshot.last.index > Index(0)).then_some((self.snapshot.last, origin))
    }

    /// Entries before this one are not needed any more.
    pub(super) fn first(&self) -> Index {
        self.first
    }

    /// The last entry's index, or what stands before the first one that will come.
    pub(super) fn last(&self) -> Index {
        self.last
    }

    /// From which index on a write replaces whatever was written before it.
    pub(super) fn replaced_from(write: &Write) -> Option<Index> {
        match &write.snapshot {
            Some(SnapshotWrite::Installed { snapshot }) => Some(snapshot.last.index.next()),
            _ => write.entries.first().map(|id| id.index),
        }
    }

    /// Take in one write.
    ///
    /// # Errors
    /// If it would leave something from which no server can start, or replaces entries that a snapshot stands for.
    pub(super) fn take(&mut self, write: &Write) -> Result<(), StorageError> {
        if let Some(HardState { term, voted_for }) = write.hard_state {
            (self.term, self.voted_for) = (term, voted_for);
        }
        match &write.snapshot {
            Some(SnapshotWrite::Compacted { snapshot, first }) => {
                self.snapshot = snapshot.clone();
                self.received = false;
                self.first = self.first.max(*first);
            }
            Some(SnapshotWrite::Installed { snapshot }) => {
                self.snapshot = snapshot.clone();
                self.received = true;
                self.first = snapshot.last.index.next();
                self.last = snapshot.last.index;
            }
            None => {}
        }
        let ends = self.snapshot.last.index;
        let mut fits = self.first <= ends.next() && ends <= self.last && self.first <= self.last.next();
        if let (Some(first), Some(last)) = (write.entries.first(), write.entries.last()) {
            fits &= first.index > ends && first.index <= self.last.next();
            self.last = last.index;
        }
        if fits {
            return Ok(());
        }
        let (first, last) = (self.first, self.last);
        Err(StorageError::Unfit { what: format!("{write}: a log from {first} to {last} behind a snapshot to {ends}") })
    }
}

#[cfg(test)]
mod tests {
    use raft_core::{Entries, Entry, Payload, WriteId};

    use super::*;

    fn entries(first: u64, count: usize) -> Entries {
        let entry = Entry { term: Term(1), payload: Payload::Noop };
        Entries::from_vec(Index(first), vec![entry; count]).unwrap()
    }

    fn write(snapshot: Option<SnapshotWrite>, entries: Entries) -> Write {
        Write { id: WriteId::from_number(1), hard_state: None, snapshot, entries }
    }

    fn compacted(last: u64, first: u64) -> Option<SnapshotWrite> {
        let snapshot = SnapshotMeta { last: EntryId::new(1, last), ..SnapshotMeta::default() };
        Some(SnapshotWrite::Compacted { snapshot, first: Index(first) })
    }

    fn installed(last: u64) -> Option<SnapshotWrite> {
        let snapshot = SnapshotMeta { last: EntryId::new(1, last), ..SnapshotMeta::default() };
        Some(SnapshotWrite::Installed { snapshot })
    }

    #[test]
    fn follows_the_log_and_its_snapshots() {
        let mut kept = Checkpoint::default();
        kept.take(&write(None, entries(1, 9))).unwrap();
        kept.take(&write(None, entries(5, 2))).unwrap();
        assert_eq!((kept.first(), kept.last()), (Index(1), Index(6)));
        kept.take(&write(compacted(4, 3), entries(7, 1))).unwrap();
        assert_eq!((kept.first(), kept.last()), (Index(3), Index(7)));
        assert_eq!(kept.current(), Some((EntryId::new(1, 4), SnapshotOrigin::Local)));
        kept.take(&write(installed(20), entries(21, 2))).unwrap();
        assert_eq!((kept.first(), kept.last()), (Index(21), Index(22)));
        assert_eq!(kept.current(), Some((EntryId::new(1, 20), SnapshotOrigin::Received)));
    }

    #[test]
    fn what_no_server_could_start_from_is_refused() {
        let mut kept = Checkpoint::default();
        kept.take(&write(None, entries(1, 9))).unwrap();
        kept.take(&write(compacted(6, 4), Entries::new())).unwrap();
        for bad in [
            write(None, entries(11, 1)),             // a gap behind the log
            write(None, entries(6, 9)),              // in place of what the snapshot covers
            write(compacted(10, 4), Entries::new()), // a snapshot beyond the log
            write(compacted(7, 9), Entries::new()),  // a gap behind the snapshot
            write(compacted(2, 1), Entries::new()),  // back behind the first entry
            write(installed(20), entries(22, 1)),    // a gap behind an installed snapshot
        ] {
            assert!(matches!(kept.clone().take(&bad), Err(StorageError::Unfit { .. })), "{bad}");
        }
    }
}
