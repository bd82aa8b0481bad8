//! Why a request is refused: typed, so that a caller can tell what to do next.

use core::fmt;

use crate::edit::EditError;
use crate::types::{EntryId, NodeId};

/// Why a request did not enter the log. It had no effect and never will.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Another server leads.
    #[error("not the leader{}", Hint(*leader))]
    NotLeader {
        /// Which one, as far as this server knows.
        leader: Option<NodeId>,
    },
    /// Too much is uncommitted or unapplied: try again when some of it is done.
    #[error("busy: more than {max} bytes are not yet committed and applied; try again later")]
    Busy {
        /// `backlog_bytes_max`.
        max: u64,
    },
    /// A command, or a batch of them, is larger than this cluster takes.
    #[error("{bytes} bytes are too large: the limit is {max}")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// `command_bytes_max`, or for a batch [`FRAME_ROOM_BYTES`](crate::FRAME_ROOM_BYTES).
        max: u64,
    },
    /// Too many commands at once: ask for fewer.
    #[error("{count} commands are too many at once: the limit is {max}")]
    TooMany {
        /// How many there were.
        count: u64,
        /// [`BATCH_ENTRIES_MAX`](crate::BATCH_ENTRIES_MAX).
        max: u64,
    },
    /// There was no command in it.
    #[error("no command to start")]
    Empty,
    /// The log has reached [`Index::MAX`](crate::Index::MAX).
    #[error("the log is full")]
    LogFull,
    /// A leader that has not yet committed an entry of its own term: try again in a moment.
    #[error("the leader has not yet committed anything in its term; try again")]
    NotReady,
    /// Another change is not finished.
    #[error("the change that began at {since} is not finished")]
    ChangePending {
        /// The entry that began it.
        since: EntryId,
    },
    /// The configuration is not the one that the change was made for.
    #[error("the configuration is that of {found}: look at it again")]
    Expected {
        /// The change that the configuration in force belongs to.
        found: EntryId,
    },
    /// The edits contradict each other or the configuration.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// Leadership is being transferred: another server leads in a moment.
    #[error("leadership is being transferred")]
    Transferring,
    /// No voter can take over: not the one that was named, or none at all.
    #[error("{} take over: only another voter that was heard lately can", Target(*to))]
    NoTarget {
        /// The server that was named.
        to: Option<NodeId>,
    },
    /// The server that was to take over did not, in time.
    #[error("the server that was to take over did not do so in time")]
    TransferTimedOut,
    /// No leader answers.
    #[error("no leader answers")]
    NoLeader,
    /// Too many reads wait.
    #[error("more than {max} reads are waiting; try again later")]
    TooManyReads {
        /// `reads_max`.
        max: u64,
    },
}

impl Refusal {
    /// A number for it that stays the same from version to version (`docs/driver-contract.md`), for logs and other languages. What
    /// is wrong with edits has numbers from 100 on.
    #[must_use]
    pub fn code(&self) -> u16 {
        match self {
            Refusal::NotLeader { .. } => 1,
            Refusal::Busy { .. } => 2,
            Refusal::TooLarge { .. } => 3,
            Refusal::TooMany { .. } => 4,
            Refusal::Empty => 5,
            Refusal::LogFull => 6,
            Refusal::NotReady => 7,
            Refusal::ChangePending { .. } => 8,
            Refusal::Expected { .. } => 9,
            Refusal::Transferring => 10,
            Refusal::NoTarget { .. } => 11,
            Refusal::TransferTimedOut => 12,
            Refusal::NoLeader => 13,
            Refusal::TooManyReads { .. } => 14,
            Refusal::Edit(error) => match error {
                EditError::NoVoters => 100,
                EditError::UnknownServer { .. } => 101,
                EditError::AlreadyMember { .. } => 102,
                EditError::NotAVoter { .. } => 103,
                EditError::AlreadyReplaced { .. } => 104,
                EditError::NotCaughtUp { .. } => 105,
                EditError::TwoEdits { .. } => 106,
                EditError::TooManyMembers => 107,
                EditError::NothingToDo => 108,
            },
        }
    }
}

struct Target(Option<NodeId>);

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(id) => write!(f, "server {id} cannot"),
            None => f.write_str("nobody can"),
        }
    }
}

struct Hint(Option<NodeId>);

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |leader| write!(f, ": server {leader} leads"))
    }
}
