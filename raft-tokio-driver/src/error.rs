//! What can go wrong, and what to do then.

use std::io;
use std::sync::Arc;

use raft_std_driver::NodeError;
use raft_std_driver::raft_core::{Bytes, NodeId, Refusal};
use raft_std_driver::storage::{StorageError, StorageErrorKind};
use raft_std_driver::tcp::BindError;
use raft_std_driver::{Outcome, StartError as NotEntered};

/// Why a command has no answer. All but [`Unknown`](StartError::Unknown) mean that it had no effect and never will.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Another server leads: start it there.
    #[error("this server does not lead{}", Whither(*leader))]
    NotLeader {
        /// Which one, as far as this server knows; if it knows none, ask again after an election's time.
        leader: Option<NodeId>,
    },
    /// Another leader's entry was committed in its place: start it again, at the leader.
    #[error("superseded by another leader's entry: start it again")]
    Superseded,
    /// It may have taken effect or not, and this server cannot tell any more: a leader's snapshot covered its index, or the
    /// node stopped. Start it again only if applying it twice does no harm, or if the machine knows duplicates (§8).
    #[error("it may have taken effect or not: start it again only if twice does no harm")]
    Unknown,
    /// Too much is not yet committed and applied: start it again a little later.
    #[error("busy: more than {max} bytes are not yet committed and applied; start it again a little later")]
    Busy {
        /// The core's `backlog_bytes_max`.
        max: u64,
    },
    /// No server of this cluster takes so large a command: split it, or raise `command_bytes_max` on all servers.
    #[error("a command of {bytes} bytes is too large: the limit is {max}")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The core's `command_bytes_max`.
        max: u64,
    },
    /// Refused for another reason, which says what.
    #[error(transparent)]
    Refused(Refusal),
    /// The leader's log has no room to grow: its disk is full, or it has no file descriptor left. The node goes on by itself
    /// when there is room again.
    #[error("the leader's log has no room to grow ({why}): start it again when there is")]
    NoRoom {
        /// What is short.
        why: StorageErrorKind,
    },
    /// The node has stopped: start it at another server.
    #[error("the node has stopped: start it at another server")]
    ShutDown,
    /// It was awaited on a thread of the node itself, by the state machine, say, which would have waited for itself: await
    /// it in a task.
    #[error("a thread of the node itself cannot wait for a command: start it in a task")]
    OwnThread,
}

impl StartError {
    /// Whether the command may have taken effect all the same. If not, it is safe to start it again.
    #[must_use]
    pub fn may_have_happened(&self) -> bool {
        matches!(self, StartError::Unknown)
    }

    /// Who leads, if that is what was wrong and this server knows.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        match self {
            StartError::NotLeader { leader } => *leader,
            _ => None,
        }
    }
}

impl From<NotEntered> for StartError {
    fn from(why: NotEntered) -> StartError {
        match why {
            NotEntered::Refused(Refusal::NotLeader { leader }) => StartError::NotLeader { leader },
            NotEntered::Refused(Refusal::Busy { max }) => StartError::Busy { max },
            NotEntered::Refused(Refusal::TooLarge { bytes, max }) => StartError::TooLarge { bytes, max },
            NotEntered::Refused(why) => StartError::Refused(why),
            NotEntered::NoRoom { why } => StartError::NoRoom { why },
            NotEntered::Stopped => StartError::ShutDown,
            NotEntered::OwnThread => StartError::OwnThread,
        }
    }
}

/// What a client gets out of what became of its command.
pub(crate) fn answer(result: Result<Outcome, NotEntered>) -> Result<Bytes, StartError> {
    match result? {
        Outcome::Applied(answer) => Ok(answer),
        Outcome::Superseded => Err(StartError::Superseded),
        Outcome::Unknown => Err(StartError::Unknown),
    }
}

struct Whither(Option<NodeId>);

impl std::fmt::Display for Whither {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(leader) => write!(f, ": start it at server {leader}"),
            None => f.write_str(", and knows of none that does: try again"),
        }
    }
}

/// Why a node could not be started.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The builder was not told what it needs.
    #[error("{what} is missing: call Builder::{call}")]
    Missing {
        /// What.
        what: &'static str,
        /// The method that says it.
        call: &'static str,
    },
    /// The members of the cluster make no sense.
    #[error("{what}")]
    Members {
        /// Why.
        what: String,
    },
    /// The data directory cannot be used.
    #[error(transparent)]
    Storage(Arc<StorageError>),
    /// The data directory, or a storage of one's own, belongs to another cluster.
    #[error("the storage is of cluster {stored}, not of cluster {configured}")]
    Cluster {
        /// Which one the builder was told.
        configured: u64,
        /// Which one the storage says.
        stored: u64,
    },
    /// The node was given a transport, and something that only its own TCP transport would use.
    #[error("Builder::{call} does nothing to a transport of your own: say it there, or leave Builder::transport away")]
    NotTcp {
        /// The method that would have said it.
        call: &'static str,
    },
    /// The node was given a storage, and something that only a data directory would use.
    #[error(
        "Builder::file_options does nothing to a storage of your own: say it there, or leave Builder::storage away"
    )]
    NotFiles,
    /// The node was given a machine, and a state of one's own type, which is a machine as well.
    #[error("Builder::machine does nothing before Builder::start_typed: leave one of them away")]
    TwoMachines,
    /// The certificate is another node's.
    #[error("this is server {configured}, but its TLS was loaded for server {certified}")]
    Certificate {
        /// Who the builder was told it is.
        configured: NodeId,
        /// Whose certificate it is.
        certified: NodeId,
    },
    /// The address cannot be listened on.
    #[error(transparent)]
    Bind(Arc<BindError>),
    /// The node itself could not start.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// There is no tokio runtime here.
    #[error("a node starts within a tokio runtime with time and IO enabled: {0}")]
    NoRuntime(Arc<io::Error>),
}

impl From<StorageError> for BuildError {
    fn from(error: StorageError) -> BuildError {
        BuildError::Storage(Arc::new(error))
    }
}

impl From<BindError> for BuildError {
    fn from(error: BindError) -> BuildError {
        BuildError::Bind(Arc::new(error))
    }
}
