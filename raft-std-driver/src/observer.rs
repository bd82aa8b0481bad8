//! What happens in a node, told to whoever watches it: logs, metrics, tests.

use std::time::Duration;

use raft_core::{EntryId, NodeId, RoleKind, Status, Term};

use crate::error::NodeError;

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

/// What waits inside of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depths {
    /// Writes and other errands that wait for the disk.
    pub disk: usize,
    /// Batches of entries and other errands that wait for the machine.
    pub machine: usize,
    /// Messages of peers that the core took in this round.
    pub messages: usize,
    /// Commands of clients that the core took in this round.
    pub commands: usize,
}

/// Watches a node. Each call comes from where it happened, which goes on only afterwards: be quick, and never wait.
pub trait Observer: Send + Sync + 'static {
    /// Something happened.
    fn happened(&self, _event: &NodeEvent) {}

    /// The core has dealt with all that had come in, and stands like this.
    fn round(&self, _status: &Status<'_>, _depths: Depths) {}

    /// The disk has made so many writes durable with one sync, with so many bytes of entries in them.
    fn synced(&self, _writes: usize, _bytes: u64, _took: Duration) {}

    /// The machine has applied so many commands.
    fn applied(&self, _commands: usize, _took: Duration) {}
}

/// Watches nothing.
impl Observer for () {}
