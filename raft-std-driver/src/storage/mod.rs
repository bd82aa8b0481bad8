//! Where a server's promises become durable.

pub mod mem;

use std::io;
use std::sync::Arc;

mod birth;
mod checkpoint;
mod disk;
mod error;
mod file;
mod frame;
mod replay;
mod segment;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
mod snapshots;
#[cfg(test)]
mod tests;
mod wal;

pub use birth::Birth;
pub use error::{StorageError, StorageErrorKind};
pub use file::{FileOptions, FileStorage};

use raft_core::{Entries, EntryId, HardState, Incarnation, Index, NodeId, SnapshotMeta, Write};

/// Names a cluster, so that servers of different ones never mix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClusterId(pub u64);

/// Whose storage it is: said once, when it is initialised, and true for good. One server's promises under another's name
/// would break elections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The cluster.
    pub cluster: ClusterId,
    /// The server.
    pub node: NodeId,
    /// A random number, not 0, drawn for this storage: a server that comes back with another one has lost what it promised.
    pub incarnation: Incarnation,
    /// A digest of the cluster and of its first members; 0 if the server joined an existing cluster. Two founders with different
    /// digests belong to different clusters, whatever they are called.
    pub founders: u64,
}

/// What a storage kept.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// Whose it is.
    pub identity: Identity,
    /// The last durable hard state.
    pub hard_state: HardState,
    /// The last durable snapshot; at index 0 it names the first members.
    pub snapshot: SnapshotMeta,
    /// The log after it, and perhaps some of the log before its end.
    pub entries: Entries,
}

/// A server's disk. After an error from [`persist`](Storage::persist) other than
/// [`NotWritten`](StorageError::NotWritten) it must not be used again: the node stops.
pub trait Storage: Send + 'static {
    /// What was kept; asked once, before the first `persist`.
    ///
    /// # Errors
    /// If it is empty, damaged or not readable.
    fn recover(&mut self) -> Result<Recovered, StorageError>;

    /// Make all of these durable, in order: a group commit with one sync. Each is atomic; after a crash no later one is
    /// there without the earlier ones.
    ///
    /// # Errors
    /// [`NotWritten`](StorageError::NotWritten) if there was no room, or no file descriptor, before anything of them could count:
    /// then the storage is as it was, and the next call must begin with the same writes. Any other error if not all of them
    /// are known to be durable.
    fn persist(&mut self, writes: &[Write]) -> Result<(), StorageError>;

    /// Read durable entries back: from `from` on, at most through `to` and at most about `bytes_max` bytes of them, yet at
    /// least the first one. None, if the log does not have the first one any more. Asked only of storages whose node has a
    /// [`Config::resident_bytes_max`](raft_core::Config::resident_bytes_max), and between two `persist`s.
    ///
    /// # Errors
    /// If they are damaged or cannot be read: the node stops. As long as a storage does not say how, it cannot.
    fn read(&mut self, from: Index, to: Index, bytes_max: u64) -> Result<Entries, StorageError> {
        let _ = (from, to, bytes_max);
        Err(StorageError::Unfit {
            what: "this storage does not read entries back: resident_bytes_max needs that".into(),
        })
    }

    /// What the log will be short of when it has used the room that is prepared; none if it can go on. Known early: when about
    /// half of the prepared room is left. A node takes no new commands then, so that the rest is there for what is under way.
    fn shortage(&self) -> Option<StorageErrorKind> {
        None
    }

    /// Confirm, durably, that the last writes are whole: to be called when nothing was written for a while, and at the end.
    /// Later damage to them is found then, instead of being taken for a write that a crash has interrupted.
    ///
    /// # Errors
    /// As those of [`persist`](Storage::persist), but want of room is no error.
    fn close_tail(&mut self) -> Result<(), StorageError> {
        Ok(())
    }

    /// Try again to prepare room, after a [`shortage`](Storage::shortage). May take effect a little later.
    fn make_room(&mut self) {}

    /// The snapshots, for other threads than the disk's.
    fn snapshots(&self) -> Arc<dyn Snapshots>;
}

/// Who made a snapshot: its own application, or the leader that sent it. The two never overwrite each other, whatever
/// their ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SnapshotOrigin {
    /// The application here. A durable `SnapshotWrite::Compacted` makes it the current one.
    Local,
    /// A leader. A durable `SnapshotWrite::Installed` makes it the current one.
    Received,
}

/// A snapshot's data, behind its length in bytes.
pub type SnapshotData = (u64, Box<dyn io::Read + Send>);

/// Snapshot data: written aside, synced, renamed, and dropped when a newer one is current. Shared between threads.
pub trait Snapshots: Send + Sync + 'static {
    /// Begin the data of the snapshot that ends at `last`. Without `finish` nothing remains of it.
    ///
    /// # Errors
    /// If it cannot be created.
    fn create(&self, last: EntryId, origin: SnapshotOrigin) -> Result<Box<dyn SnapshotSink>, StorageError>;

    /// The current snapshot's data and its length in bytes: the one that the newest durable write names. `None` if there
    /// is none, or if it does not end at `last`.
    ///
    /// # Errors
    /// If it cannot be read or is damaged.
    fn open(&self, last: EntryId) -> Result<Option<SnapshotData>, StorageError>;

    /// A received snapshot is not wanted. To be called in order with [`persist`](Storage::persist): after all writes that
    /// were asked for before, for one of them may install this very snapshot, which then stays.
    ///
    /// # Errors
    /// If it cannot be removed.
    fn discard(&self, last: EntryId) -> Result<(), StorageError>;
}

/// Snapshot data on its way to the disk.
pub trait SnapshotSink: io::Write + Send {
    /// Make it durable under its name.
    ///
    /// # Errors
    /// If it is not known to be durable.
    fn finish(self: Box<Self>) -> Result<(), StorageError>;
}
