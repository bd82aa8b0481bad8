//! What happens in a node, told to whoever watches it: logs, metrics, tests.

use std::time::Duration;

use raft_core::{EntryId, NodeId, Raft, RoleKind, Status, Term};

use crate::error::NodeError;
use crate::shared::Shared;

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
    /// The machine was asked for a snapshot, which is being written.
    SnapshotBegun {
        /// What it ends at.
        last: EntryId,
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

/// Watches a node. Each call comes from where it happened, which goes on only afterwards: be quick, and never wait.
pub trait Observer: Send + Sync + 'static {
    /// Something happened.
    fn happened(&self, _event: &NodeEvent) {}

    /// The core has dealt with all that had come in, and stands like this.
    fn round(&self, _round: &Round<'_>) {}

    /// The disk has made so many writes durable with one sync, with so many bytes of entries in them.
    fn synced(&self, _writes: usize, _bytes: u64, _took: Duration) {}

    /// The machine has applied so many commands.
    fn applied(&self, _commands: usize, _took: Duration) {}
}

/// Watches nothing.
impl Observer for () {}

/// What the core has just been through.
pub struct Round<'a> {
    pub(crate) raft: &'a Raft,
    pub(crate) shared: &'a Shared,
}

impl Round<'_> {
    /// How the core stands.
    #[must_use]
    pub fn status(&self) -> Status<'_> {
        self.raft.status()
    }

    /// How many writes and other errands wait for the disk.
    #[must_use]
    pub fn disk_depth(&self) -> usize {
        self.shared.disk.len()
    }

    /// How many batches of entries and other errands wait for the machine.
    #[must_use]
    pub fn machine_depth(&self) -> usize {
        self.shared.machine.len()
    }
}

pub(crate) fn write_log(id: NodeId, event: &NodeEvent) {
    let node = id.0;
    match event {
        NodeEvent::Role { term, role, leader } => {
            let leader = leader.map(|leader| leader.0);
            tracing::info!(node, term = term.0, %role, leader, "role");
        }
        NodeEvent::PeerWiped { peer } => tracing::warn!(node, peer = peer.0, "peer came back with another disk"),
        NodeEvent::Unreachable { peer } => tracing::debug!(node, peer = peer.0, "unreachable"),
        NodeEvent::SnapshotBegun { last } => tracing::info!(node, snapshot = %last, "takes a snapshot"),
        NodeEvent::Compacted { last } => tracing::info!(node, snapshot = %last, "log compacted"),
        NodeEvent::SnapshotArriving { from, last } => {
            tracing::info!(node, peer = from.0, snapshot = %last, "receives a snapshot");
        }
        NodeEvent::SnapshotReceived { from, last } => {
            tracing::info!(node, peer = from.0, snapshot = %last, "snapshot received");
        }
        NodeEvent::SnapshotUnwanted { last } => {
            tracing::info!(node, snapshot = %last, "received snapshot not wanted");
        }
        NodeEvent::SnapshotSending { to, last, bytes } => {
            tracing::info!(node, peer = to.0, snapshot = %last, bytes, "sends a snapshot");
        }
        NodeEvent::SnapshotSent { to, last, delivered } => {
            tracing::info!(node, peer = to.0, snapshot = %last, delivered, "snapshot sent");
        }
        NodeEvent::Restored { last, bytes } => tracing::info!(node, snapshot = %last, bytes, "machine restored"),
        NodeEvent::Stops { cause: Some(cause) } => tracing::error!(node, %cause, "stops"),
        NodeEvent::Stops { cause: None } => tracing::info!(node, "stops"),
    }
}
