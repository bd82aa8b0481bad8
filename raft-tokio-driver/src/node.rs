//! The handle of a running server.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use raft_std_driver::observer::NodeEvent;
use raft_std_driver::raft_core::{Bytes, Change, EntryId, Index, NodeId};
use raft_std_driver::{
    ChangeError, ChangeOutcome, Control, NodeError, NodeStatus, ReadError, SnapshotError, TransferError,
};
use tokio::sync::watch;

use crate::error::{StartError, answer};
use crate::meters::Meters;
use crate::watching::{Events, Standing, Watching};

/// A handle on a running server; clones are handles on the same one. The node runs until [`shutdown`](Node::shutdown), or
/// until the last handle is dropped (then it stops by itself a little later), or until it fails.
///
/// Every future here may be dropped at any time: its answer is lost, and nothing else.
///
/// # Within its own state machine
/// A machine that awaits its own node would wait for itself. So there [`start`](Node::start) and
/// [`start_all`](Node::start_all) fail at once, with [`StartError::OwnThread`], and [`snapshot`](Node::snapshot) with
/// [`SnapshotError::OwnThread`]; [`shutdown`](Node::shutdown) stops the node, but returns at once, as
/// [`stopped`](Node::stopped) does, before anything has ended. [`status`](Node::status) waits for the core, which answers
/// unless the machine runs on the runtime's only thread ([`Builder::workers`](crate::Builder::workers)); [`watch`](Node::watch) shows as much without
/// waiting. A command that is to follow from another is best awaited in a task, by a `tokio::runtime::Handle`.
#[derive(Clone)]
pub struct Node(Arc<Inner>);

struct Inner {
    id: NodeId,
    address: Option<SocketAddr>,
    control: Control,
    watching: Arc<Watching>,
    meters: Arc<Meters>,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Node").field(&self.0.id.0).finish()
    }
}

impl Node {
    pub(crate) fn new(
        (id, address): (NodeId, Option<SocketAddr>),
        control: Control,
        watching: Arc<Watching>,
        meters: Arc<Meters>,
    ) -> Node {
        Node(Arc::new(Inner { id, address, control, watching, meters }))
    }

    /// This server.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.0.id
    }

    /// Where it listens for its peers, which tells the port if it was told to take a free one; `None` if its
    /// [`transport`](crate::Builder::transport) is not the TCP that comes with it.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.0.address
    }

    /// Replace the list of peers and their addresses, each a `host:port`. Connections to a peer that is not in the list, or has another
    /// address in it, are closed. This server itself may be in the list. Without effect on a node with a
    /// [`transport`](crate::Builder::transport) of its own.
    pub fn set_peers<A: Into<String>>(&self, peers: impl IntoIterator<Item = (u64, A)>) {
        self.0.control.set_peers(peers.into_iter().map(|(id, address)| (NodeId(id), address.into())).collect());
    }

    /// Put a command into the log, if this server leads, and wait until it is committed and applied here: resolves to the
    /// machine's answer, however long that takes. Give it a deadline of your own by `tokio::time::timeout`: a command that
    /// was given up on may still take effect.
    ///
    /// Commands that one task starts without waiting for each other (joined, say) enter the log in the order in which they
    /// are first polled. While more than [`inbox_bytes_max`](raft_std_driver::NodeConfig::inbox_bytes_max) waits for the
    /// core, this waits, and the command has not entered anything yet.
    ///
    /// A `Vec<u8>`, a `String` and a `&'static str` are [`Bytes`] without being copied. What is only borrowed has to be:
    /// `node.start(Bytes::copy_from_slice(text.as_bytes()))`.
    ///
    /// # Errors
    /// What became of it, and what to do then.
    pub async fn start(&self, command: impl Into<Bytes>) -> Result<Bytes, StartError> {
        let call = self.0.meters.call(1);
        let result = answer(self.0.control.start(command.into()).await);
        call.answered(std::slice::from_ref(&result));
        result
    }

    /// Put many commands into the log, next to each other as far as they fit into one write, and wait for all of their
    /// answers, which come in the order of the commands. Each of them may be refused by itself.
    pub fn start_all<I>(&self, commands: I) -> impl Future<Output = Vec<Result<Bytes, StartError>>> + Send + use<'_, I>
    where
        I: IntoIterator<Item: Into<Bytes>>,
    {
        // At once: the future holds on to bytes only, whatever they come from.
        let commands: Vec<Bytes> = commands.into_iter().map(Into::into).collect();
        async move {
            let call = self.0.meters.call(commands.len());
            let outcomes = self.0.control.start_all(commands).await;
            let results: Vec<_> = outcomes.into_iter().map(answer).collect();
            call.answered(&results);
            results
        }
    }

    /// How things stand, as of one moment; after the node has stopped, how they stood then, its last role included: look at
    /// `running` as well.
    pub async fn status(&self) -> NodeStatus {
        self.0.control.status().await
    }

    /// How things stand, whenever that changes: to wait until this server leads, say, or has applied an index. A node that
    /// has stopped leads nobody, and who waits for what never comes hears an error then.
    ///
    /// ```
    /// # use raft_tokio_driver::{Node, RoleKind};
    /// # async fn example(node: Node) -> Result<(), Box<dyn std::error::Error>> {
    /// node.watch().wait_for(|now| now.role == RoleKind::Leader).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Standing> {
        self.0.watching.standing()
    }

    /// What happens from now on, until the node has stopped.
    #[must_use]
    pub fn events(&self) -> Events {
        self.0.watching.events()
    }

    /// Take a snapshot of all that is applied now, and return what it ends at when it is durable and the log behind it
    /// compacted. Concurrent calls may share one. A call that is dropped does not stop it.
    ///
    /// # Errors
    /// If the node stops before, or if awaited [within its own machine](Node#within-its-own-state-machine).
    pub async fn snapshot(&self) -> Result<EntryId, SnapshotError> {
        self.0.control.snapshot().await
    }

    /// Wait until this server's machine has applied everything that was acknowledged to anyone, by whatever server, before this was
    /// called: a state that is looked at afterwards is not stale (linearizable reads, §8). Any server takes it; one that does not
    /// lead asks its leader. All that wait at one moment share one question. Resolves to an index that the machine has applied.
    ///
    /// # Errors
    /// If the server refuses, with the reason: there is no leader, it has just been elected, or it lost its office. If the node stops
    /// before, or if awaited [within its own machine](Node#within-its-own-state-machine).
    pub async fn read(&self) -> Result<Index, ReadError> {
        self.0.control.read().await
    }

    /// Hand leadership over to `to`, or to the voter that has most of the log, and wait until another server leads: resolves to its
    /// id. Do so before a leader is stopped, and nobody waits for an election. Takes the longest election timeout at most.
    ///
    /// # Errors
    /// If this node does not lead, is handing over already, or the target cannot lead: then nothing has happened. If nobody else leads
    /// in time, this node goes on leading, if it can. If the node stops before, or if awaited
    /// [within its own machine](Node#within-its-own-state-machine).
    pub async fn transfer(&self, to: Option<NodeId>) -> Result<NodeId, TransferError> {
        self.0.control.transfer(to).await
    }

    /// Change who belongs to the cluster (§6), if this server leads, and wait until that is done: until the configuration that comes
    /// of it is committed and applied here, however long that takes. Dropped before, it loses the outcome and nothing else. The node
    /// must be told where new members are: [`set_peers`](Node::set_peers).
    ///
    /// # Errors
    /// If the change did not enter the log: refused, with the reason, or the node has stopped, or it was awaited
    /// [within its own machine](Node#within-its-own-state-machine).
    pub async fn change(&self, change: Change) -> Result<ChangeOutcome, ChangeError> {
        self.0.control.change(change).await
    }

    /// Stop, and wait until everything has ended: tasks and threads, connections, the listener; every command has its
    /// outcome, and address and data directory can be used again. May be called any number of times; a call that is dropped
    /// has stopped the node all the same. [Within its own machine](Node#within-its-own-state-machine) it does not wait.
    ///
    /// # Errors
    /// The cause, if the node had failed.
    pub async fn shutdown(&self) -> Result<(), NodeError> {
        self.0.control.stop();
        self.stopped().await
    }

    /// Wait until the node has stopped, by whomever. [Within its own machine](Node#within-its-own-state-machine) it does not
    /// wait.
    ///
    /// # Errors
    /// The cause, if it failed.
    pub async fn stopped(&self) -> Result<(), NodeError> {
        self.0.control.ended().await
    }
}

const _: fn() = || {
    fn is_shared<T: Send + Sync + Clone + 'static>() {}
    is_shared::<Node>();
    is_shared::<NodeEvent>();
};
