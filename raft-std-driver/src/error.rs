//! Why a node could not start, or had to stop.

use std::io;
use std::sync::Arc;

use raft_core::{Fatal, NodeId, Refusal, RestoreError};

use crate::storage::{StorageError, StorageErrorKind};

/// Why a node could not start, or what made it stop.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The storage could not be recovered.
    #[error(transparent)]
    Storage(Arc<StorageError>),
    /// What the storage kept, the machine has applied, or the configuration says makes no server.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The storage belongs to another server, whose promises this one must not take over.
    #[error("the storage is server {stored}'s, not server {configured}'s")]
    Stranger {
        /// Who wanted to start.
        configured: NodeId,
        /// Whose it is.
        stored: NodeId,
    },
    /// A tick must take some time.
    #[error("tick is 0: it must be longer")]
    NoTick,
    /// The transport could not start.
    #[error("the transport cannot start: {0}")]
    Transport(Arc<io::Error>),
    /// The operating system gave no thread.
    #[error("cannot start a thread: {0}")]
    NoThread(Arc<io::Error>),
    /// One of the node's threads failed: an error of the storage or of the machine, or a panic.
    #[error("thread {thread} failed: {message}")]
    Thread {
        /// Its name: "core", "disk", "machine", "snapshot", ..., or "transport" for any of its own.
        thread: String,
        /// What it said.
        message: String,
    },
    /// The server has proof that durability or elections are broken somewhere.
    #[error("halted: {0}")]
    Halted(#[from] Fatal),
}

/// Why [`Node::read`](crate::Node::read) is not to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The server refused it, and says why.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The node has stopped.
    #[error("the node has stopped")]
    Stopped,
    /// It was called on one of the node's own threads.
    #[error("a thread of the node itself cannot wait for a read")]
    OwnThread,
}

/// Why [`Node::snapshot`](crate::Node::snapshot) gave none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// It could not be written. The node goes on, its log is whole: try again when the cause is gone.
    #[error("{message}")]
    Failed {
        /// The kind of the cause: a full disk, for example.
        kind: StorageErrorKind,
        /// The cause.
        message: String,
    },
    /// The node has stopped.
    #[error("the node has stopped")]
    Stopped,
    /// It was called on one of the node's own threads.
    #[error("a thread of the node itself cannot wait for a snapshot")]
    OwnThread,
}

/// Why [`Node::transfer`](crate::Node::transfer) did not hand leadership over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// The server refused it, or gave it up after the longest election timeout ([`Refusal::TransferTimedOut`]): then
    /// leadership may still go over a little later.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The node has stopped.
    #[error("the node has stopped")]
    Stopped,
    /// It was called on one of the node's own threads.
    #[error("a thread of the node itself cannot wait for a transfer")]
    OwnThread,
}
