//! The handle of a running server.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use raft_core::{
    Bytes, Config, Counters, EntryId, FollowerStatus, Incarnation, Index, Membership, NodeId, Raft, Refusal, Restored,
    RoleKind, SnapshotMeta, Term,
};

use crate::core_thread::CoreThread;
use crate::disk_thread::DiskThread;
use crate::error::{NodeError, SnapshotError};
use crate::inbox::{Note, Submission};
use crate::machine::StateMachine;
use crate::machine_thread::{MachineThread, MachineWork, Standing};
use crate::receiving::{Custody, Reception};
use crate::shared::Shared;
use crate::storage::Storage;
use crate::transport::Transport;
use crate::waiters::{Outcome, RefusalThread, StartError, Started, Waiter};

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
    /// How many bytes of commands may wait for the core thread, or after a refusal for the call of who submitted them,
    /// before [`Node::submit`] and [`Node::start`] block, and how many bytes of entries from peers before more of them are dropped. 16 MiB by default.
    pub inbox_bytes_max: u64,
}

impl NodeConfig {
    /// The defaults for this server.
    #[must_use]
    pub fn new(id: NodeId) -> NodeConfig {
        NodeConfig {
            raft: Config::new(id),
            tick: Duration::from_millis(10),
            snapshot_log_bytes: 64 << 20,
            inbox_bytes_max: 16 << 20,
        }
    }
}

/// A handle on a running server; clones are handles on the same one. The node runs until [`shutdown`](Node::shutdown), or
/// until the last handle is dropped (then it stops by itself a little later), or until it fails.
#[derive(Clone)]
pub struct Node {
    handle: Arc<Handle>,
}

/// What all clones of a [`Node`] share: the last one gone, the node stops.
struct Handle {
    shared: Arc<Shared>,
    command_bytes_max: u64,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.stop(None);
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Node").field(&self.handle.shared.id.0).finish()
    }
}

impl Node {
    /// Start a server on what its storage kept. `machine` is restored from the last snapshot and the log.
    ///
    /// # Errors
    /// If the storage cannot be recovered or makes no server, or the transport cannot start, or there are no threads.
    pub fn spawn(
        config: NodeConfig,
        mut storage: impl Storage,
        machine: impl StateMachine,
        transport: Arc<dyn Transport>,
    ) -> Result<Node, NodeError> {
        let NodeConfig { raft: config, tick, snapshot_log_bytes, inbox_bytes_max } = config;
        if tick.is_zero() {
            return Err(NodeError::NoTick);
        }
        let Config { id, command_bytes_max, backlog_bytes_max, .. } = config;
        let kept = storage.recover().map_err(|error| NodeError::Storage(Arc::new(error)))?;
        if kept.identity.node != id {
            return Err(NodeError::Stranger { configured: id, stored: kept.identity.node });
        }
        let applied = machine.applied();
        let bytes_after = |index: Index| kept.entries.clone().starting_at(index.next()).bytes();
        let log_bytes = bytes_after(kept.snapshot.last.index).saturating_sub(bytes_after(applied));
        let snapshot = kept.snapshot.last;
        tracing::info!(node = id.0, %snapshot, entries = %kept.entries, term = kept.hard_state.term.0, "recovered");
        let raft = Raft::new(
            config,
            Restored {
                incarnation: kept.identity.incarnation,
                hard_state: kept.hard_state,
                snapshot: kept.snapshot,
                entries: kept.entries,
                applied,
            },
        )?;
        // A machine that is behind the snapshot is restored before anything else.
        let applied = raft.snapshot_at(applied).map_or(EntryId::ZERO, |at| at.last);
        let standing = Standing { applied, snapshot, log_bytes, log_bytes_max: snapshot_log_bytes };

        let shared = Arc::new(Shared::new(id, inbox_bytes_max));
        let (snapshots, custody) = (storage.snapshots(), Arc::new(Custody::default()));
        let reception = Reception { shared: shared.clone(), snapshots: snapshots.clone(), custody: custody.clone() };
        transport.start(Arc::new(reception)).map_err(|error| NodeError::Transport(Arc::new(error)))?;

        let mut core = CoreThread::new(shared.clone(), raft, transport, snapshots.clone(), tick, backlog_bytes_max);
        let mut machine = MachineThread::new(shared.clone(), machine, snapshots.clone(), custody.clone(), standing);
        let mut disk = DiskThread { shared: shared.clone(), storage, snapshots, custody };
        let mut refusals = RefusalThread(shared.clone());
        let spawned = (shared.spawn("disk", move || disk.run()))
            .and_then(|()| shared.spawn("machine", move || machine.run()))
            .and_then(|()| shared.spawn("refusals", move || refusals.run()))
            .and_then(|()| shared.spawn("core", move || core.run()));
        if let Err(error) = spawned {
            // The core was dropped, and has shut the transport.
            let cause = NodeError::NoThread(Arc::new(error));
            shared.stop(Some(cause.clone()));
            return shared.wait().and(Err(cause));
        }
        Ok(Node { handle: Arc::new(Handle { shared, command_bytes_max }) })
    }

    /// Put a command into the log, if this server leads. Returns as soon as the server has answered, before the command
    /// is durable anywhere; the outcome comes through [`Started::wait`].
    ///
    /// # Errors
    /// If it did not enter the log: refused, with the reason, or the node has stopped.
    pub fn start(&self, command: Bytes) -> Result<Started, StartError> {
        let Handle { shared, .. } = &*self.handle;
        if let Some(why) = self.too_large(&command) {
            return Err(why.into());
        }
        let (waiter, entrance) = Waiter::for_started();
        // A waiter that comes back because the node has stopped says so when it is dropped.
        drop(shared.inbox.submit(Submission { command, waiter }, shared.caller()));
        entrance.wait(shared.mark)
    }

    /// Put a command into the log and hear its outcome by a call of `done`: exactly one, on a thread of the node's own
    /// (on the caller's, if the node has stopped before). `done` must be quick; it may use the node. Does not wait for an
    /// answer, so that one thread may have any number under way; blocks only while more than `inbox_bytes_max` waits for
    /// the core thread or, refused, for its call (of that, not on a thread of the node's own). Commands of one caller enter the log in the order of its calls.
    pub fn submit(&self, command: Bytes, done: impl FnOnce(Result<Outcome, StartError>) + Send + 'static) {
        let Handle { shared, .. } = &*self.handle;
        let (waiter, caller) = (Waiter::calling(Box::new(done)), shared.caller());
        match self.too_large(&command) {
            None => drop(shared.inbox.submit(Submission { command, waiter }, caller)),
            Some(why) => {
                shared.inbox.refused_at_the_door(caller);
                drop(waiter.refuse(why).map(|call| shared.refusals.push(call)));
            }
        }
    }

    /// One oversize command must not be joined with others and have them refused as well.
    fn too_large(&self, command: &Bytes) -> Option<Refusal> {
        let (bytes, max) = (command.len() as u64, self.handle.command_bytes_max);
        (bytes > max).then_some(Refusal::TooLarge { bytes, max })
    }

    /// How things stand, as of one moment; after the node has stopped, how they stood then.
    #[must_use]
    pub fn status(&self) -> NodeStatus {
        let Handle { shared, .. } = &*self.handle;
        let (reply, answer) = sync_channel(1);
        match shared.inbox.note(Note::Status(reply)) {
            Ok(()) => answer.recv().unwrap_or_else(|_| shared.last_status()),
            Err(_) => shared.last_status(),
        }
    }

    /// Take a snapshot of all that is applied now, and return what it ends at when it is durable and the log behind it
    /// compacted. Concurrent calls may share one.
    ///
    /// # Errors
    /// If the node stops before, or if called on one of the node's own threads (inside of the machine, or of a callback),
    /// where waiting would keep it from happening.
    pub fn snapshot(&self) -> Result<EntryId, SnapshotError> {
        let Handle { shared, .. } = &*self.handle;
        if shared.mark.is_here() {
            return Err(SnapshotError::OwnThread);
        }
        let (reply, answer) = sync_channel(1);
        drop(shared.machine.push(MachineWork::Snapshot(reply)));
        answer.recv().unwrap_or(Err(SnapshotError::Stopped))
    }

    /// Stop, and wait until all threads have ended, the storage is closed, and every waiter has its outcome. May be called
    /// any number of times. On one of the node's own threads it cannot wait, and returns at once.
    ///
    /// # Errors
    /// The cause, if the node had failed.
    pub fn shutdown(&self) -> Result<(), NodeError> {
        self.handle.shared.stop(None);
        self.wait()
    }

    /// Wait until the node has stopped, by whomever. On one of the node's own threads it returns at once.
    ///
    /// # Errors
    /// The cause, if it failed.
    pub fn wait(&self) -> Result<(), NodeError> {
        self.handle.shared.wait()
    }
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
    pub membership: Membership,
    /// Bytes of the log that are not yet both committed and applied.
    pub backlog_bytes: u64,
    /// The others as a leader sees them; empty unless it leads.
    pub followers: Vec<FollowerStatus>,
    /// What the core was told that made no sense.
    pub counters: Counters,
    /// Whether the node runs; if not, this is how it stood when it stopped.
    pub running: bool,
}

impl NodeStatus {
    pub(crate) fn of(raft: &Raft) -> NodeStatus {
        let status = raft.status();
        NodeStatus {
            id: status.id(),
            incarnation: status.incarnation(),
            term: status.term(),
            role: status.role(),
            leader: status.leader(),
            commit: status.commit(),
            applied: status.applied(),
            durable: status.durable(),
            first_index: status.first_index(),
            last: status.last(),
            snapshot: status.snapshot().clone(),
            membership: status.membership().clone(),
            backlog_bytes: status.backlog_bytes(),
            followers: status.followers().collect(),
            counters: *status.counters(),
            running: true,
        }
    }
}
