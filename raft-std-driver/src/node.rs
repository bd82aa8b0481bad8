//! The handle of a running server, and the thread that runs it.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use raft_core::{Bytes, Change, EntryId, Index, NodeId};

use crate::changes::{ChangeError, ChangeOutcome};
use crate::config::NodeConfig;
use crate::control::Control;
use crate::engine::{Connections, Engine, Setup};
use crate::error::{NodeError, ReadError, SnapshotError, TransferError};
use crate::event_loop::{EventLoop, Wires};
use crate::machine::StateMachine;
use crate::peers::Protection;
use crate::status::NodeStatus;
use crate::storage::Storage;
use crate::tcp::Tcp;
use crate::transport::Transport;
use crate::waiters::{Outcome, StartError, Started, Waiter};
use crate::workers::{Threads, block_on, block_on_until};

/// A handle on a running server; clones are handles on the same one. The node runs until [`shutdown`](Node::shutdown), or
/// until the last handle is dropped (then it stops by itself a little later), or until it fails.
#[derive(Clone)]
pub struct Node(Arc<Control>);

/// How a node reaches its peers.
pub enum Network {
    /// Over TCP.
    Tcp(Box<Tcp>),
    /// By a transport: a [`LocalNetwork`](crate::transport::local::LocalNetwork) in tests, or one of your own.
    Transport(Arc<dyn Transport>),
}

impl From<Tcp> for Network {
    fn from(tcp: Tcp) -> Network {
        Network::Tcp(Box::new(tcp))
    }
}

impl From<Arc<dyn Transport>> for Network {
    fn from(transport: Arc<dyn Transport>) -> Network {
        Network::Transport(transport)
    }
}

impl<T: Transport> From<Arc<T>> for Network {
    fn from(transport: Arc<T>) -> Network {
        Network::Transport(transport)
    }
}

impl Network {
    fn split(self) -> (Connections, Option<Wires>) {
        match self {
            Network::Transport(transport) => (Connections::Transport(transport), None),
            Network::Tcp(tcp) => {
                let Tcp { listener, address, config, protection, peers, strangers } = *tcp;
                let stall_timeout = config.stall_timeout;
                if matches!(protection, Protection::Open) {
                    let node = config.id.0;
                    tracing::warn!(node, %address, "connections are open: who can reach them can read and forge messages");
                }
                (
                    Connections::Own { config: Box::new(config), protection, peers },
                    Some(Wires { listener, stall_timeout, strangers }),
                )
            }
        }
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Node").field(&self.0.shared.id.0).finish()
    }
}

impl Node {
    /// Start a server on what its storage kept, connected by [`Tcp`] or by a [`Transport`]. `machine` is restored from the last
    /// snapshot and the log.
    ///
    /// # Errors
    /// If the storage cannot be recovered or makes no server, or the transport cannot start, or there are no threads.
    pub fn spawn(
        config: NodeConfig,
        storage: impl Storage,
        machine: impl StateMachine,
        network: impl Into<Network>,
    ) -> Result<Node, NodeError> {
        let (connections, wires) = network.into().split();
        let setup = Setup {
            config,
            storage: Box::new(storage),
            machine: Box::new(machine),
            connections,
            workers: Arc::new(Threads),
            observer: Arc::new(()),
        };
        let (engine, control) = setup.start(Instant::now())?;
        let name = format!("raft-{}-core", control.shared.id);
        // Dropped with a closure that finds no thread, the engine stops the node.
        let spawned = match wires {
            None => thread::Builder::new().name(name).spawn(move || run(engine)),
            Some(wires) => EventLoop::new(engine, wires)
                .and_then(|event_loop| thread::Builder::new().name(name).spawn(move || event_loop.run())),
        };
        if let Err(error) = spawned {
            block_on(control.ended())?;
            return Err(NodeError::NoThread(Arc::new(error)));
        }
        control.spawn_refusals()?;
        Ok(Node(Arc::new(control)))
    }

    /// Put a command into the log, if this server leads. Returns as soon as the server has answered, before the command
    /// is durable anywhere; the outcome comes through [`Started::wait`].
    ///
    /// # Errors
    /// If it did not enter the log: refused, with the reason, or the node has stopped.
    pub fn start(&self, command: Bytes) -> Result<Started, StartError> {
        block_on(self.0.begin(command))?.wait(self.0.shared.mark)
    }

    /// Put a command into the log and hear its outcome by a call of `done`: exactly one, on a thread of the node's own
    /// (on the caller's, if the node has stopped before). `done` must be quick; it may use the node. Does not wait for an
    /// answer, so that one thread may have any number under way; blocks only while more than `inbox_bytes_max` waits for
    /// the core thread or, refused, for its call (of that, not on a thread of the node's own). Commands of one caller enter
    /// the log in the order of its calls.
    pub fn submit(&self, command: Bytes, done: impl FnOnce(Result<Outcome, StartError>) + Send + 'static) {
        block_on(self.0.call(command, Waiter::calling(Box::new(done))));
    }

    /// Wait until this server's machine has applied everything that was acknowledged to anyone, by whatever server, before
    /// this was called: a state that is looked at afterwards is not stale (linearizable reads, §8). Any server takes it;
    /// one that does not lead asks its leader. Blocks for about a round trip to a majority, and until the machine is there;
    /// all that wait at one moment share one question. Returns the index that the machine has at least applied.
    ///
    /// # Errors
    /// If the server refuses, with the reason: there is no leader, it has just been elected, or it lost its office. Try again,
    /// elsewhere perhaps. If the node has stopped, or stops before. If called on one of the node's own threads (inside of the
    /// machine, or of a callback), where waiting would keep it from happening.
    pub fn read(&self) -> Result<Index, ReadError> {
        block_on(self.0.read())
    }

    /// How things stand, as of one moment; after the node has stopped, how they stood then.
    #[must_use]
    pub fn status(&self) -> NodeStatus {
        block_on(self.0.status())
    }

    /// Take a snapshot of all that is applied now, and return what it ends at when it is durable and the log behind it
    /// compacted. Concurrent calls may share one.
    ///
    /// # Errors
    /// If the node stops before, or if called on one of the node's own threads (inside of the machine, or of a callback),
    /// where waiting would keep it from happening.
    pub fn snapshot(&self) -> Result<EntryId, SnapshotError> {
        block_on(self.0.snapshot())
    }

    /// Hand leadership over to `to`, or to the voter that has most of the log, and wait until another server leads: returns its
    /// id. Do so before a leader is stopped, and nobody waits for an election. Until then the node refuses commands
    /// ([`Refusal::Transferring`](raft_core::Refusal::Transferring)). Blocks for the longest election timeout at most.
    ///
    /// # Errors
    /// If this node does not lead, is handing over already, or the target cannot lead: then nothing has happened. If nobody
    /// else leads in time, this node goes on leading, if it can. If the node stops before, or if called on one of the node's
    /// own threads (inside of the machine, or of a callback), where waiting would keep it from happening.
    pub fn transfer(&self, to: Option<NodeId>) -> Result<NodeId, TransferError> {
        block_on(self.0.transfer(to))
    }

    /// Change who belongs to the cluster (§6), if this server leads, and wait until that is done: until the configuration that
    /// comes of it is committed and applied here, however long that takes. A server that is added as a voter
    /// ([`Edit::AddVoter`](raft_core::Edit::AddVoter)) is a learner then, and votes when it has caught up: see
    /// [`NodeStatus::membership`]. The transport must know where to reach it.
    ///
    /// # Errors
    /// If the change did not enter the log: refused, with the reason, or the node has stopped. If called on one of the node's
    /// own threads (inside of the machine, or of a callback), where waiting would keep it from happening.
    pub fn change(&self, change: Change) -> Result<ChangeOutcome, ChangeError> {
        block_on(self.0.change(change))
    }

    /// Replace the list of peers and their addresses, each a `host:port`. Connections to a peer that is not in the list, or has another
    /// address in it, are closed. This server itself may be in the list. Without effect on a node with a [`Transport`] of its own.
    pub fn set_peers(&self, peers: impl IntoIterator<Item = (NodeId, String)>) {
        self.0.set_peers(peers.into_iter().collect());
    }

    /// Stop, and wait until all threads have ended, the storage is closed, and every waiter has its outcome. May be called
    /// any number of times. On one of the node's own threads it cannot wait, and returns at once.
    ///
    /// # Errors
    /// The cause, if the node had failed.
    pub fn shutdown(&self) -> Result<(), NodeError> {
        self.0.stop();
        self.wait()
    }

    /// Wait until the node has stopped, by whomever. On one of the node's own threads it returns at once.
    ///
    /// # Errors
    /// The cause, if it failed.
    pub fn wait(&self) -> Result<(), NodeError> {
        block_on(self.0.ended())
    }
}

/// Poll the engine until the node stops.
fn run(mut engine: Engine) {
    loop {
        let due = engine.due();
        let round = poll_fn(|context| engine.poll(context, Instant::now()));
        if block_on_until(round, due) == Some(false) {
            return;
        }
    }
}
