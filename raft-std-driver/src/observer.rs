//! What happens in a node, told to whoever watches it: logs, metrics, tests.

use std::sync::Arc;
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
    /// There is a connection to a peer again, or for the first time.
    Reachable {
        /// Who can be reached.
        peer: NodeId,
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

    /// A message from a peer was dropped, since too much waits for the core already.
    fn dropped(&self, _from: NodeId) {}
}

/// Watches nothing.
impl Observer for () {}

/// Both watch.
impl<A: Observer, B: Observer> Observer for (Arc<A>, Arc<B>) {
    fn happened(&self, event: &NodeEvent) {
        self.0.happened(event);
        self.1.happened(event);
    }

    fn round(&self, round: &Round<'_>) {
        self.0.round(round);
        self.1.round(round);
    }

    fn synced(&self, writes: usize, bytes: u64, took: Duration) {
        self.0.synced(writes, bytes, took);
        self.1.synced(writes, bytes, took);
    }

    fn applied(&self, commands: usize, took: Duration) {
        self.0.applied(commands, took);
        self.1.applied(commands, took);
    }

    fn dropped(&self, from: NodeId) {
        self.0.dropped(from);
        self.1.dropped(from);
    }
}

/// What the core has just been through.
pub struct Round<'a> {
    pub(crate) raft: &'a Raft,
    pub(crate) shared: &'a Shared,
    pub(crate) commands: usize,
    pub(crate) messages: usize,
}

impl Round<'_> {
    /// How the core stands.
    #[must_use]
    pub fn status(&self) -> Status<'_> {
        self.raft.status()
    }

    /// How many commands had come in.
    #[must_use]
    pub fn commands(&self) -> usize {
        self.commands
    }

    /// How many messages had come in.
    #[must_use]
    pub fn messages(&self) -> usize {
        self.messages
    }

    /// How many calls wait for room, although the core has just taken all that had come in.
    #[must_use]
    pub fn callers_waiting(&self) -> usize {
        self.shared.inbox.callers_waiting()
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
