//! Who waits for what: every started command has exactly one outcome, and this file sees to it.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use raft_core::{Bytes, EntryId, Index, Refusal};

use crate::shared::NodeMark;

/// What became of a command that entered the log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// It was committed and applied here; this is the machine's answer.
    Applied(Bytes),
    /// Another leader's entry was committed in its place: it never took effect and never will. Safe to start again.
    Superseded,
    /// It may have taken effect or not, and this server cannot tell any more: a leader's snapshot covered its index, or
    /// the node stopped.
    Unknown,
}

/// Why a command did not enter the log. It had no effect and never will.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The server refused it, and says why; [`Refusal::NotLeader`] names the leader if it is known.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The node has stopped.
    #[error("the node has stopped")]
    Stopped,
}

/// A command that is in the log, though not yet committed.
#[derive(Debug)]
pub struct Started {
    /// Where it stands, and in which term.
    pub id: EntryId,
    words: Receiver<Word>,
    node: NodeMark,
}

impl Started {
    /// Wait until its outcome is known, however long: a leader that lost its majority waits until it is found again. On
    /// one of the node's own threads (inside of the machine, or of a callback) waiting would keep the answer from coming:
    /// there the outcome is [`Outcome::Unknown`] at once.
    pub fn wait(self) -> Outcome {
        if self.node.is_here() {
            return Outcome::Unknown;
        }
        self.words.recv().map_or(Outcome::Unknown, Word::outcome)
    }

    /// Wait for so long.
    ///
    /// # Errors
    /// Gives itself back if the outcome is not known by then.
    pub fn wait_timeout(self, timeout: Duration) -> Result<Outcome, Started> {
        match self.words.recv_timeout(timeout) {
            Ok(word) => Ok(word.outcome()),
            Err(RecvTimeoutError::Disconnected) => Ok(Outcome::Unknown),
            Err(RecvTimeoutError::Timeout) => Err(self),
        }
    }
}
