//! When the state machine's own snapshot is in force.

use raft_core::WriteId;

/// A snapshot of the state machine is in force, or a newer one is, when all writes are durable that had been issued when the
/// core was told of it: one of them names it, or the core has declined it for a newer one that one of them names.
#[derive(Default)]
pub(super) struct Compaction {
    issued: Option<WriteId>,
    durable: Option<WriteId>,
    awaited: Option<Option<WriteId>>,
}

impl Compaction {
    pub(super) fn issued(&mut self, write: WriteId) {
        self.issued = Some(write);
    }

    /// The newest write that was issued.
    pub(super) fn newest(&self) -> Option<WriteId> {
        self.issued
    }

    pub(super) fn persisted(&mut self, write: WriteId) {
        self.durable = self.durable.max(Some(write));
    }

    /// The core has just been told of a snapshot.
    pub(super) fn asked(&mut self) {
        self.awaited = Some(self.issued);
    }

    /// Whether the snapshot that the core was told of is in force; says so once.
    pub(super) fn take_if_done(&mut self) -> bool {
        self.awaited.take_if(|write| self.durable >= *write).is_some()
    }
}
