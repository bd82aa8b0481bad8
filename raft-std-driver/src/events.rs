//! What happens in a node and is worth telling.

use std::sync::Arc;

use raft_core::{EntryId, NodeId, RoleKind, Term};

use crate::error::NodeError;
use crate::storage::{StorageError, StorageErrorKind};

/// Something worth telling that happened in a node.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum NodeEvent {
    /// Its role, its term or its leader is another one.
    Role {
        /// Its term now.
        term: Term,
        /// Its role now.
        role: RoleKind,
        /// Who leads, as far as it knows.
        leader: Option<NodeId>,
    },
    /// A peer came back without what it had promised: its disk is another one.
    PeerWiped {
        /// Who.
        peer: NodeId,
    },
    /// Messages to a peer are being dropped.
    Unreachable {
        /// Who cannot be reached.
        peer: NodeId,
    },
    /// There is a connection to a peer again, or for the first time.
    Reachable {
        /// Who can be reached.
        peer: NodeId,
    },
    /// The log has no room to grow: when what is prepared is used up, writes wait. A node that leads refuses new commands
    /// ([`StartError::NoRoom`](crate::StartError::NoRoom)), and goes on by itself when there is room.
    DiskFull {
        /// What is short.
        why: StorageErrorKind,
    },
    /// There is room again.
    DiskFreed,
    /// The machine's snapshot could not be written. Nothing of it remains, and the log stays as it is: the node tries again
    /// later.
    SnapshotFailed {
        /// What it would have ended at.
        last: EntryId,
        /// Why.
        cause: Arc<StorageError>,
    },
    /// The machine was asked for a snapshot, which is being written.
    SnapshotBegun {
        /// What it ends at.
        last: EntryId,
    },
    /// All of it is written and durable; it comes into force next.
    SnapshotWritten {
        /// What it ends at.
        last: EntryId,
        /// The length of its data.
        bytes: u64,
    },
    /// A snapshot, the machine's own or a newer one of a leader, is durably in force, and the log behind it compacted.
    Compacted {
        /// What it ends at.
        last: EntryId,
    },
    /// A peer began to send a snapshot.
    SnapshotArriving {
        /// Who.
        from: NodeId,
        /// What it ends at.
        last: EntryId,
    },
    /// All of it is here and durable.
    SnapshotReceived {
        /// Who sent it.
        from: NodeId,
        /// What it ends at.
        last: EntryId,
        /// The length of its data.
        bytes: u64,
    },
    /// It was not needed any more.
    SnapshotUnwanted {
        /// What it ends at.
        last: EntryId,
    },
    /// A snapshot goes to a follower that is too far behind.
    SnapshotSending {
        /// To whom.
        to: NodeId,
        /// What it ends at.
        last: EntryId,
        /// The length of its data.
        bytes: u64,
    },
    /// That has ended.
    SnapshotSent {
        /// To whom.
        to: NodeId,
        /// What it ends at.
        last: EntryId,
        /// Whether the peer confirmed all of it.
        delivered: bool,
    },
    /// The machine's state was replaced by a snapshot.
    Restored {
        /// What it ends at.
        last: EntryId,
        /// The length of its data.
        bytes: u64,
    },
    /// The node stops.
    Stops {
        /// Why, unless it was asked to.
        cause: Option<NodeError>,
    },
}
