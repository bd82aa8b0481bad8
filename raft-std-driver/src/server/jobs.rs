//! What the server asks of those who work for it and may block: the log writer and the applier.

use raft_core::{Entries, EntryId, FetchId, Index, SnapshotMeta, Write};

use crate::changes::ChangeWaiter;
use crate::storage::StorageError;
use crate::waiters::Waiter;

/// For the log writer, which carries all jobs out in order.
pub(crate) enum LogJob {
    Persist(Write),
    /// The received snapshot that ends here is not wanted.
    Discard(EntryId),
    /// These entries are not in memory any more.
    Read {
        id: FetchId,
        from: Index,
        to: Index,
        bytes_max: u64,
    },
    /// Some time has passed since the storage was short of room.
    TryAgain,
    /// Nothing was written for a while.
    CloseTail,
}

/// For the applier, which carries all jobs out in order.
pub(crate) enum ApplyJob {
    /// Commands entered the log at consecutive indexes from `first` on.
    Park {
        first: EntryId,
        waiters: Vec<Waiter>,
    },
    /// A change of the membership began with the entry `change`.
    ParkChange {
        change: EntryId,
        waiter: ChangeWaiter,
    },
    Apply(Entries),
    Restore(SnapshotMeta),
    /// Somebody asks for a snapshot.
    Snapshot,
    /// The snapshot that was being built, or a newer one, is in force: it ends here.
    Compacted(EntryId),
    /// The snapshot that was being built could not be written.
    Failed(EntryId, StorageError),
}

impl ApplyJob {
    /// Whether there is nothing to do before another job comes, so that the applier need not be woken.
    pub(crate) fn is_quiet(&self) -> bool {
        matches!(self, ApplyJob::Park { .. } | ApplyJob::ParkChange { .. })
    }
}
