//! The handle of a running server.

use std::sync::Arc;
use std::time::Duration;

use raft_core::{Bytes, Config, EntryId, FollowerStatus, Incarnation, Index, Membership, NodeId, RoleKind, SnapshotMeta, Term};

use crate::error::{NodeError, SnapshotError};
use crate::machine::StateMachine;
use crate::storage::Storage;
use crate::transport::Transport;
use crate::waiters::{Outcome, StartError, Started};

/// What a node is told once.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The settings of the server itself.
    pub raft: Config,
    /// How long a tick is; 10 ms by default, which fits the defaults of [`Config`].
    pub tick: Duration,
    /// Take a snapshot when the entries applied since the last one count so many bytes; 0 = only when
    /// [asked](Node::snapshot). 64 MiB by default.
    pub snapshot_log_bytes: u64,
    /// How many bytes of commands may wait for the core thread before [`Node::submit`] and [`Node::start`] block, and how
    /// many bytes of entries from peers before more of them are dropped. 16 MiB by default.
    pub inbox_bytes_max: u64,
}

impl NodeConfig {
    /// The defaults for this server.
    #[must_use]
    pub fn new(id: NodeId) -> NodeConfig;
}

/// A handle on a running server; clones are handles on the same one. The node runs until [`shutdown`](Node::shutdown), or
/// until the last handle is dropped (then it stops by itself a little later), or until it fails.
#[derive(Clone)]
pub struct Node;

impl Node {
    /// Start a server on what its storage kept. `machine` is restored from the last snapshot and the log.
    ///
    /// # Errors
    /// If the storage cannot be recovered or makes no server, or the transport cannot start, or there are no threads.
    pub fn spawn(
        config: NodeConfig,
        storage: impl Storage,
        machine: impl StateMachine,
        transport: Arc<dyn Transport>,
    ) -> Result<Node, NodeError>;

    /// Put a command into the log, if this server leads. Returns as soon as the server has answered, before the command
    /// is durable anywhere; the outcome comes through [`Started::wait`].
    ///
    /// # Errors
    /// If it did not enter the log: refused, with the reason, or the node has stopped.
    pub fn start(&self, command: Bytes) -> Result<Started, StartError>;

    /// Put a command into the log and hear its outcome by a call of `done`: exactly one, on a thread of the node's own
    /// (on the caller's, if the node has stopped before). `done` must be quick; it may use the node. Does not wait for an
    /// answer, so that one thread may have any number under way; blocks only while more than `inbox_bytes_max` waits for
    /// the core thread. Commands of one caller enter the log in the order of its calls.
    pub fn submit(&self, command: Bytes, done: impl FnOnce(Result<Outcome, StartError>) + Send + 'static);

    /// How things stand, as of one moment; after the node has stopped, how they stood then.
    #[must_use]
    pub fn status(&self) -> NodeStatus;

    /// Take a snapshot of all that is applied now, and return what it ends at when it is durable and the log behind it
    /// compacted. Concurrent calls may share one.
    ///
    /// # Errors
    /// If the node stops before, or if called on one of the node's own threads (inside of the machine, or of a callback),
    /// where waiting would keep it from happening.
    pub fn snapshot(&self) -> Result<EntryId, SnapshotError>;

    /// Stop, and wait until all threads have ended, the storage is closed, and every waiter has its outcome. May be called
    /// any number of times. On one of the node's own threads it cannot wait, and returns at once.
    ///
    /// # Errors
    /// The cause, if the node had failed.
    pub fn shutdown(&self) -> Result<(), NodeError>;

    /// Wait until the node has stopped, by whomever. On one of the node's own threads it returns at once.
    ///
    /// # Errors
    /// The cause, if it failed.
    pub fn wait(&self) -> Result<(), NodeError>;
}

/// How a server stands.
#[derive(Clone, Debug)]
pub struct NodeStatus {
    /// This server.
    pub id: NodeId,
    /// Which life of its disk it runs on.
    pub incarnation: Incarnation,
    /// Its current term.
    pub term: Term,
    /// Its role.
    pub role: RoleKind,
    /// Who leads, as far as it knows.
    pub leader: Option<NodeId>,
    /// The last index known to be committed.
    pub commit: Index,
    /// The last index that its machine has applied.
    pub applied: Index,
    /// The last index that is durable here.
    pub durable: Index,
    /// The first index that its log still holds.
    pub first_index: Index,
    /// The end of its log.
    pub last: EntryId,
    /// Its current snapshot.
    pub snapshot: SnapshotMeta,
    /// The members of the cluster.
    pub membership: Arc<Membership>,
    /// The others as a leader sees them; empty unless it leads.
    pub followers: Vec<FollowerStatus>,
    /// Whether the node runs; if not, this is how it stood when it stopped.
    pub running: bool,
}
