//! Messages and snapshots over TCP, by tasks.
//!
//! The wire format, the settings and the rules are those of the std driver, whose code they share: servers of both kinds
//! talk to each other. Each server connects to each peer and only sends on that connection; replies come on the connection
//! that the peer made. One task writes to each peer: it takes all that waits in the peer's mailbox and writes it at once.
//! Accepted connections have a task each, which hands all that a read has brought to the node, without another hop. A
//! snapshot has a connection and a task of its own on both sides, and a part on the [`Workers`] that reads or writes its
//! data, which may block.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use raft_std_driver::raft_core::{Config, NodeId};
//! use raft_std_driver::storage::ClusterId;
//! use raft_tokio_driver::transport::tcp::{TcpConfig, TcpTransport};
//!
//! let config = TcpConfig::new(ClusterId(7), &Config::new(NodeId(1)));
//! let peers = [(NodeId(2), "10.0.0.2:4001".to_owned()), (NodeId(3), "10.0.0.3:4001".to_owned())];
//! let transport = TcpTransport::bind("0.0.0.0:4001", config, peers).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Everybody who can reach an open port can read and forge what servers say to each other, unless a
//! [`Guard`](Builder::guard) makes the links safe.

mod gate;
mod incoming;
mod life;
mod outgoing;
mod snapshot;
mod sockets;

use std::fmt::{self, Debug, Formatter};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll};

use raft_std_driver::raft_core::{Message, NodeId};
pub use raft_std_driver::transport::parts::{BindError, TcpConfig};
use raft_std_driver::transport::parts::{Lobby, Peers, lock, shut_down};
use raft_std_driver::workers::{Threads, Workers};
use tokio::runtime::Handle;
use tracing::Span;

use self::gate::Gate;
use self::life::{Line, Tasks};
pub use self::sockets::TcpSockets;
pub(crate) use self::sockets::adopt;
use super::link::{Guard, Listener, Sockets};
use super::{Inbound, OutgoingSnapshot, Traffic, Transport};

type Peer = raft_std_driver::transport::parts::Peer<Line>;

/// A [`Transport`] over TCP.
///
/// [`start`](Transport::start) must be called from within a tokio runtime with IO and time enabled; its tasks run there.
/// [`shutdown`](Transport::shutdown) does not wait for them: [`poll_closed`](Transport::poll_closed) tells when they have
/// ended and the address is free. Snapshots under way are told as not delivered before it returns. Dropping the transport
/// shuts it down, and so does the end of its runtime.
pub struct TcpTransport {
    hub: Arc<Hub>,
    address: SocketAddr,
    listener: Mutex<Option<Box<dyn Listener>>>,
}

/// What all tasks of a transport share.
struct Hub {
    config: TcpConfig,
    sockets: Arc<dyn Sockets>,
    guard: Option<Arc<dyn Guard>>,
    workers: Arc<dyn Workers>,
    peers: Peers<Line>,
    lobby: Arc<Lobby<Line>>,
    gate: Arc<Gate>,
    tasks: Arc<Tasks>,
    /// Set when it has been started.
    runtime: OnceLock<Handle>,
}

/// What a [`TcpTransport`] is made of.
pub struct Builder {
    config: TcpConfig,
    peers: Vec<(NodeId, String)>,
    sockets: Arc<dyn Sockets>,
    guard: Option<Arc<dyn Guard>>,
    workers: Arc<dyn Workers>,
}

impl Builder {
    /// The other servers and their addresses, each a `host:port`; a peer of the own id is left out, so that one list can
    /// serve all.
    #[must_use]
    pub fn peers(mut self, peers: impl IntoIterator<Item = (NodeId, String)>) -> Builder {
        self.peers.extend(peers);
        self
    }

    /// Where connections come from; [`TcpSockets`] unless something else is said.
    #[must_use]
    pub fn sockets(mut self, sockets: impl Sockets) -> Builder {
        self.sockets = Arc::new(sockets);
        self
    }

    /// What makes links safe; nothing unless something is said.
    #[must_use]
    pub fn guard(mut self, guard: impl Guard) -> Builder {
        self.guard = Some(Arc::new(guard));
        self
    }

    /// Who reads and writes the data of snapshots; [`Threads`] unless something else is said.
    #[must_use]
    pub fn workers(mut self, workers: impl Workers) -> Builder {
        self.workers = Arc::new(workers);
        self
    }

    /// Listen on `address`, such as `127.0.0.1:4001`; port 0 takes a free one. Connections are accepted and made from
    /// [`start`](Transport::start) on.
    ///
    /// # Errors
    /// If the address makes no sense or is in use.
    pub async fn bind(self, address: &str) -> Result<TcpTransport, BindError> {
        let listener = self.sockets.listen(address).await;
        self.on(listener).map_err(|source| BindError { address: address.to_owned(), source })
    }

    /// Listen on this one, which the system has bound already: to a port that must be known before there is a transport,
    /// say. What is accepted has the settings that connections of [`TcpSockets`] have.
    ///
    /// # Errors
    /// If it cannot be used.
    ///
    /// # Panics
    /// Outside of a tokio runtime with IO enabled.
    pub fn listen_on(self, listener: TcpListener) -> Result<TcpTransport, BindError> {
        let listener = adopt(listener, self.config.stall_timeout);
        self.on(listener).map_err(|source| BindError { address: "what was given".to_owned(), source })
    }

    fn on(self, listener: io::Result<Box<dyn Listener>>) -> io::Result<TcpTransport> {
        let listener = listener?;
        let local = listener.local_addr()?;
        let hub = Hub {
            peers: Peers::new(&self.config, self.peers),
            lobby: Arc::new(Lobby::new(self.config.handshakes_max)),
            gate: Arc::default(),
            tasks: Arc::default(),
            runtime: OnceLock::new(),
            sockets: self.sockets,
            guard: self.guard,
            workers: self.workers,
            config: self.config,
        };
        Ok(TcpTransport { hub: Arc::new(hub), address: local, listener: Mutex::new(Some(listener)) })
    }
}

impl TcpTransport {
    /// On the system's sockets, with open links: [`builder`](TcpTransport::builder) and [`Builder::bind`] in one.
    ///
    /// # Errors
    /// If the address makes no sense or is in use.
    pub async fn bind(
        address: &str,
        config: TcpConfig,
        peers: impl IntoIterator<Item = (NodeId, String)>,
    ) -> Result<TcpTransport, BindError> {
        TcpTransport::builder(config).peers(peers).bind(address).await
    }

    /// To be told what else than the defaults it is made of.
    #[must_use]
    pub fn builder(config: TcpConfig) -> Builder {
        let sockets = Arc::new(TcpSockets { stall_timeout: config.stall_timeout });
        Builder { config, peers: Vec::new(), sockets, guard: None, workers: Arc::new(Threads) }
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Add a peer, or change its address, which closes the connections to the old one.
    ///
    /// # Errors
    /// If the transport is shut down.
    pub fn set_peer(&self, id: NodeId, address: String) -> io::Result<()> {
        self.hub.peers.set(id, address, |peer| match self.hub.runtime.get() {
            Some(_) => self.hub.spawn_writer(peer),
            None => Ok(()),
        })
    }

    /// Forget a peer: its connections are closed, and it is refused from now on.
    pub fn remove_peer(&self, id: NodeId) {
        self.hub.peers.remove(id);
    }

    fn take_listener(&self) -> Option<Box<dyn Listener>> {
        lock(&self.listener).take()
    }
}

impl Transport for TcpTransport {
    fn start(&self, inbound: Arc<dyn Inbound>) -> io::Result<()> {
        let hub = &self.hub;
        let runtime = Handle::try_current()
            .map_err(|_| io::Error::other("the TCP transport has to be started from within a tokio runtime"))?;
        let first = || {
            let set = hub.runtime.set(runtime);
            set.map_err(|_| io::Error::other("the transport is started already"))?;
            hub.tasks.begin(Span::current());
            hub.gate.open(inbound);
            Ok(())
        };
        hub.peers.start(first, |peer| hub.spawn_writer(peer))?;
        let listener = self.take_listener().ok_or_else(shut_down)?;
        if hub.guard.is_none() {
            hub.peers.lines.open_links(self.address);
        }
        hub.spawn("accept", incoming::accept(Arc::clone(hub), listener))
    }

    fn send(&self, to: NodeId, message: Message) {
        if !self.hub.peers.post(to, message) {
            self.hub.gate.unreachable(to);
        }
    }

    fn send_snapshot(&self, to: NodeId, snapshot: OutgoingSnapshot) {
        match self.hub.peers.find(to) {
            _ if self.hub.peers.is_closed() => {}
            Some(peer) => snapshot::begin(&self.hub, peer, snapshot),
            None => self.hub.gate.snapshot_sent(to, snapshot.meta.last, false),
        }
    }

    fn shutdown(&self) {
        for peer in self.hub.peers.close() {
            peer.sending.abandon(peer.id, &*self.hub.gate);
        }
        self.hub.lobby.close();
        self.hub.gate.close();
        self.hub.tasks.close();
        drop(self.take_listener());
    }

    fn poll_closed(&self, context: &mut Context<'_>) -> Poll<()> {
        self.hub.tasks.poll_closed(context)
    }

    fn traffic(&self) -> Vec<(NodeId, Traffic)> {
        self.hub.peers.traffic()
    }
}

impl Drop for TcpTransport {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl Debug for TcpTransport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Hub { config, .. } = &*self.hub;
        f.debug_struct("TcpTransport").field("id", &config.id).field("address", &self.address).finish_non_exhaustive()
    }
}

impl Hub {
    /// Where parts of a transfer deliver to: the gate.
    fn inbound(&self) -> Arc<dyn Inbound> {
        Arc::clone(&self.gate) as Arc<dyn Inbound>
    }

    fn name(&self, role: &str) -> String {
        format!("raft{}-{role}", self.config.id)
    }

    fn spawn(&self, role: &str, work: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        let runtime = self.runtime.get().ok_or_else(|| io::Error::other("the transport is not started"))?;
        self.tasks.spawn(runtime, self.name(role), &self.gate, work)
    }

    fn spawn_part(&self, role: &str, name: &str, work: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        self.tasks.spawn_part(&*self.workers, (role, self.name(name)), &self.gate, work)
    }

    fn spawn_writer(self: &Arc<Self>, peer: &Arc<Peer>) -> io::Result<()> {
        self.spawn(&format!("to-{}", peer.id), outgoing::run(Arc::clone(self), Arc::clone(peer)))
    }
}
