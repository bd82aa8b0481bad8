//! The application behind the log.

pub mod typed;

use std::io;

use raft_core::{Bytes, Index};

/// One committed command.
#[derive(Clone, Copy, Debug)]
pub struct Command<'a> {
    /// Its place in the log. Indexes rise, with gaps where the log holds something else than commands.
    pub index: Index,
    /// What a client started.
    pub bytes: &'a Bytes,
}

/// Writes a frozen view of the state; runs beside the machine, on a thread of its own.
pub type SnapshotWriter = Box<dyn FnOnce(&mut dyn io::Write) -> io::Result<()> + Send>;

/// A deterministic state machine (§2): the same commands in the same order give the same state and the same answers on
/// every server. It runs on its own thread and may take its time.
pub trait StateMachine: Send + 'static {
    /// Apply committed commands in order and push exactly one answer for each to `answers`. What a client did wrong is an
    /// answer, the same on every server.
    ///
    /// # Errors
    /// If this server cannot go on: its database fails, or it does not know such a command. The node stops with this
    /// cause, having promised nothing that it did not keep.
    fn apply(&mut self, commands: &[Command<'_>], answers: &mut Vec<Bytes>) -> io::Result<()>;

    /// Freeze the state as it is now (§7): cheap if the state is shared or persistent, a clone otherwise. The log goes on
    /// while the returned writer runs.
    fn snapshot(&mut self) -> SnapshotWriter;

    /// Replace the state by what a [`snapshot`](StateMachine::snapshot) wrote.
    ///
    /// # Errors
    /// If the data cannot be read or makes no sense; the node stops with this cause.
    fn restore(&mut self, data: &mut dyn io::Read) -> io::Result<()>;

    /// Through which index the machine itself keeps its state durably. A machine in memory keeps nothing: it is restored
    /// from the last snapshot and the log.
    fn applied(&self) -> Index {
        Index(0)
    }
}
