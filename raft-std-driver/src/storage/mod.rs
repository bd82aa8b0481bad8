//! Where a server's promises become durable.

pub mod mem;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

mod checkpoint;
mod disk;
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

pub use file::{FileOptions, FileStorage};

use raft_core::{Entries, EntryId, HardState, Incarnation, Index, Membership, NodeId, SnapshotMeta, Write};

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
    /// A random number, not 0, drawn for this storage: who comes back with another one has lost what it promised.
    pub incarnation: Incarnation,
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

/// Why a storage cannot be used. Nothing that was durable is changed by any of these.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The operating system says no.
    #[error("cannot {doing} {path}: {source}", path = path.display())]
    Io {
        /// What was tried: "open", "write", "sync", ...
        doing: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Bytes that were once written whole no longer make sense.
    #[error("{path} is damaged at offset {offset}: {what}", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in it, in bytes.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// Another process uses it.
    #[error("{path} is in use by another process", path = path.display())]
    InUse {
        /// The data directory.
        path: PathBuf,
    },
    /// It was never initialised: `init` it as a member of a new cluster, or join an existing one.
    #[error("{path} is empty: initialise it with the members of a new cluster, or join an existing one", path = path.display())]
    Empty {
        /// The data directory.
        path: PathBuf,
    },
    /// It was initialised before: its promises must not be forgotten.
    #[error("{path} already belongs to a server", path = path.display())]
    NotEmpty {
        /// The data directory.
        path: PathBuf,
    },
    /// It was written by a version that this one does not know.
    #[error("{path} has format version {found}; this build reads version {known}", path = path.display())]
    Version {
        /// The file that says so.
        path: PathBuf,
        /// What it says.
        found: u32,
        /// What this build knows.
        known: u32,
    },
    /// A write from which no server could start again, or a birth that is none: the caller is wrong.
    #[error("this does not fit what is stored: {what}")]
    Unfit {
        /// What, and why.
        what: String,
    },
    /// An earlier write or sync failed; what is durable is not known any more.
    #[error("the storage has failed before: {0}")]
    Failed(String),
}

/// A server's disk. After an error from [`persist`](Storage::persist) it must not be used again: the node stops.
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
    /// If not all of them are known to be durable.
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

    /// The snapshots, for other threads than the disk's.
    fn snapshots(&self) -> Arc<dyn Snapshots>;
}

/// Who made a snapshot: its own application, or the leader that sent it. The two never overwrite each other, whatever
/// their ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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

/// What the first start of a member makes durable.
#[derive(Clone, Debug)]
pub struct Birth {
    /// Whose storage it is.
    pub identity: Identity,
    /// The cluster's first members; empty for a server that joins an existing one.
    pub membership: Membership,
}
