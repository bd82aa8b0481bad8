//! Who watches a node: logs, metrics, tests.

use std::sync::Arc;
use std::time::Duration;

use raft_core::{NodeId, Raft, Status};

pub use crate::events::NodeEvent;

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

/// How much waits; asked only by who wants to know, since the answer takes a lock.
pub(crate) trait Depths {
    /// Calls that wait for room.
    fn callers_waiting(&self) -> usize;
    /// Jobs that wait for the log writer.
    fn log(&self) -> usize;
    /// Jobs that wait for the applier.
    fn apply(&self) -> usize;
}

/// What the core has just been through.
pub struct Round<'a> {
    pub(crate) raft: &'a Raft,
    pub(crate) depths: &'a dyn Depths,
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
        self.depths.callers_waiting()
    }

    /// How many writes and other errands wait for the disk.
    #[must_use]
    pub fn disk_depth(&self) -> usize {
        self.depths.log()
    }

    /// How many batches of entries and other errands wait for the machine.
    #[must_use]
    pub fn machine_depth(&self) -> usize {
        self.depths.apply()
    }
}
