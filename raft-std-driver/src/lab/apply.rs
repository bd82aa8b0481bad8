//! The labs' `applyCh`: what is committed on its way to the service, which may take its time.

use std::collections::VecDeque;
use std::fmt;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use raft_core::{Bytes, Index, Term};

use crate::queue::lock;

/// What the service is told: each committed command once and in order, or a snapshot in place of many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApplyMsg {
    /// Apply this command.
    Command {
        /// Its place in the log.
        index: Index,
        /// What was given to [`start`](super::Raft::start) somewhere.
        command: Bytes,
    },
    /// Replace the state by this snapshot. A server that has one begins each life with it.
    Snapshot {
        /// The last entry that it holds.
        index: Index,
        /// That entry's term.
        term: Term,
        /// What was given to [`snapshot`](super::Raft::snapshot) somewhere.
        snapshot: Bytes,
    },
}

impl ApplyMsg {
    /// Through which index the service has everything when it is done with this.
    #[must_use]
    pub fn index(&self) -> Index {
        match self {
            ApplyMsg::Command { index, .. } | ApplyMsg::Snapshot { index, .. } => *index,
        }
    }
}

/// A channel for one life of one server. Nothing comes out of it after the server was killed, so no thread is left behind
/// that waits for a reader.
#[must_use]
pub fn apply_channel() -> (ApplySender, ApplyReceiver) {
    let channel = Arc::new(Channel::default());
    (ApplySender(Arc::clone(&channel)), ApplyReceiver { channel, taken: None })
}

#[derive(Default)]
struct Channel {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    /// Whom to tell what the service has applied.
    confirm: OnceLock<Box<dyn Fn(Index) + Send + Sync>>,
}

/// Bounded by the core, which hands out no more than `Config::apply_bytes_max` ahead of the service.
#[derive(Default)]
struct Waiting {
    messages: VecDeque<ApplyMsg>,
    closed: bool,
}

/// The server's end, for [`Raft::make`](super::Raft::make).
pub struct ApplySender(Arc<Channel>);

impl ApplySender {
    pub(super) fn confirm_with(&self, confirm: impl Fn(Index) + Send + Sync + 'static) {
        // A sender is moved into its server: this is the first and only time.
        let _ = self.0.confirm.set(Box::new(confirm));
    }

    /// Never blocks.
    pub(super) fn push(&self, message: ApplyMsg) {
        let mut waiting = lock(&self.0.waiting);
        if !waiting.closed {
            waiting.messages.push_back(message);
            self.0.changed.notify_one();
        }
    }

    /// From here on the service gets nothing more.
    pub(super) fn close(&self) {
        let mut waiting = lock(&self.0.waiting);
        waiting.closed = true;
        waiting.messages.clear();
        self.0.changed.notify_one();
    }
}

impl Drop for ApplySender {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for ApplySender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApplySender").finish_non_exhaustive()
    }
}

/// The service's end: an iterator that waits for the next message, and ends when the server is killed. To ask for the next
/// message is to say that the last one is applied.
pub struct ApplyReceiver {
    channel: Arc<Channel>,
    taken: Option<Index>,
}

impl ApplyReceiver {
    /// The next message, for which to wait no longer than `patience`.
    ///
    /// # Errors
    /// `Timeout` if none came, `Disconnected` if none ever will: the server was killed.
    pub fn recv_timeout(&mut self, patience: Duration) -> Result<ApplyMsg, RecvTimeoutError> {
        let channel = &*self.channel;
        if let (Some(index), Some(confirm)) = (self.taken.take(), channel.confirm.get()) {
            confirm(index);
        }
        let idle = |waiting: &mut Waiting| waiting.messages.is_empty() && !waiting.closed;
        let woken = channel.changed.wait_timeout_while(lock(&channel.waiting), patience, idle);
        let (mut waiting, _) = woken.unwrap_or_else(PoisonError::into_inner);
        match waiting.messages.pop_front() {
            Some(message) => {
                self.taken = Some(message.index());
                Ok(message)
            }
            None if waiting.closed => Err(RecvTimeoutError::Disconnected),
            None => Err(RecvTimeoutError::Timeout),
        }
    }
}

impl Iterator for ApplyReceiver {
    type Item = ApplyMsg;

    fn next(&mut self) -> Option<ApplyMsg> {
        self.recv_timeout(Duration::MAX).ok()
    }
}

impl fmt::Debug for ApplyReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApplyReceiver").field("taken", &self.taken).finish_non_exhaustive()
    }
}
