//! Messages and snapshots over TCP, with threads that block.
//!
//! Each server connects to each peer and only sends on that connection; replies come on the connection that the peer made.
//! One thread writes to each peer: it takes all that waits in the peer's mailbox and writes it at once. Another one watches
//! whether the connection stands. Accepted connections have a thread each. A snapshot has a connection and a thread of its
//! own on both sides. No lock is held while a socket is read, written or connected.

mod incoming;
mod life;
mod mailbox;
mod outgoing;
mod snapshot;
mod trouble;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use raft_core::{Config, EntryId, Message, NodeId};
use socket2::SockRef;

use self::life::{Lobby, Slot, Threads};
use self::mailbox::{Limits, Mailbox, Posted};
use super::wire::{Channel, MAGIC};
use super::{Inbound, OutgoingSnapshot, Transport};
use crate::queue::lock;
use crate::storage::ClusterId;

/// The settings of a [`TcpTransport`]. No duration may be zero.
#[derive(Clone, Debug)]
pub struct TcpConfig {
    /// Who is not of this cluster is refused.
    pub cluster: ClusterId,
    /// This server.
    pub id: NodeId,
    /// The most AppendEntries that wait for one peer. Must be more than the core's `inflight_appends_max`, or every full
    /// window overflows.
    pub queue_appends_max: usize,
    /// The most bytes of AppendEntries that wait for one peer; one message may be larger. Must be more than the core's
    /// `inflight_bytes_max`.
    pub queue_bytes_max: u64,
    /// The most votes and replies that wait for one peer; beyond that the oldest are dropped.
    pub queue_urgent_max: usize,
    /// About how many bytes are gathered for one write.
    pub batch_bytes: u64,
    /// How many bytes of a snapshot travel in one frame; at most [`CHUNK_BYTES_MAX`](super::wire::CHUNK_BYTES_MAX).
    pub chunk_bytes: usize,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long may pass until both sides know who the other one is.
    pub handshake_timeout: Duration,
    /// A connection whose other end takes or brings nothing for so long, while it should, is given up.
    pub stall_timeout: Duration,
    /// How long a receiver may take to make a complete snapshot durable.
    pub confirm_timeout: Duration,
    /// The pause after a first failure to connect; it doubles with each further one.
    pub backoff_min: Duration,
    /// The longest pause.
    pub backoff_max: Duration,
    /// The most accepted connections that have not yet said who they are; of more, the oldest are closed.
    pub handshakes_max: usize,
}

impl TcpConfig {
    /// Good defaults for the server that `core` configures: queues hold twice the core's window.
    #[must_use]
    pub fn new(cluster: ClusterId, core: &Config) -> TcpConfig {
        TcpConfig {
            cluster,
            id: core.id,
            queue_appends_max: core.inflight_appends_max.saturating_mul(2).max(64),
            queue_bytes_max: core.inflight_bytes_max.saturating_mul(2).saturating_add(core.append_bytes_max),
            queue_urgent_max: core.inflight_appends_max.saturating_mul(2).max(64),
            batch_bytes: 256 << 10,
            chunk_bytes: 256 << 10,
            connect_timeout: Duration::from_secs(1),
            handshake_timeout: Duration::from_secs(2),
            stall_timeout: Duration::from_secs(5),
            confirm_timeout: Duration::from_secs(60),
            backoff_min: Duration::from_millis(20),
            backoff_max: Duration::from_secs(1),
            handshakes_max: 32,
        }
    }
}

/// The transport could not take its address.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct BindError {
    /// Where it should have listened.
    pub address: String,
    /// What the operating system said.
    pub source: io::Error,
}

/// A [`Transport`] over TCP.
pub struct TcpTransport {
    hub: Arc<Hub>,
    address: SocketAddr,
    listener: Mutex<Option<Arc<TcpListener>>>,
}

/// What all threads of a transport share.
struct Hub {
    config: TcpConfig,
    peers: Mutex<BTreeMap<NodeId, Arc<Peer>>>,
    lobby: Arc<Lobby>,
    threads: Threads,
    inbound: OnceLock<Arc<dyn Inbound>>,
    strangers: OnceLock<Strangers>,
    closed: AtomicBool,
}

/// Who takes the connections that are not of peers, with the bytes that were read of them.
type Strangers = Box<dyn Fn(TcpStream, [u8; MAGIC.len()]) + Send + Sync>;

/// One other server: what waits for it, and its connections.
struct Peer {
    id: NodeId,
    address: Mutex<String>,
    mailbox: Mailbox,
    outgoing: Slot,
    outgoing_snapshot: Slot,
    incoming: Slot,
    incoming_snapshot: Slot,
    /// The snapshot that is on its way to the peer.
    sending: Mutex<Option<EntryId>>,
}

impl TcpTransport {
    /// Listen on `address`, such as `127.0.0.1:4001`; port 0 takes a free one. Connections are accepted and made from
    /// [`start`](Transport::start) on. `peers` are the other servers and their addresses, each a `host:port`; a peer of
    /// the own id is left out, so that one list can serve all. A name that takes long to resolve can delay
    /// [`shutdown`](Transport::shutdown); a number cannot.
    ///
    /// # Errors
    /// If the address makes no sense or is in use.
    pub fn bind(
        address: &str,
        config: TcpConfig,
        peers: impl IntoIterator<Item = (NodeId, String)>,
    ) -> Result<TcpTransport, BindError> {
        let bound = TcpListener::bind(address).and_then(|listener| Ok((listener.local_addr()?, listener)));
        let (local, listener) = bound.map_err(|source| BindError { address: address.to_owned(), source })?;
        let hub = Hub {
            peers: Mutex::default(),
            lobby: Arc::new(Lobby::new(config.handshakes_max.max(1))),
            threads: Threads::default(),
            inbound: OnceLock::new(),
            strangers: OnceLock::new(),
            closed: AtomicBool::new(false),
            config,
        };
        for (id, address) in peers {
            if id != hub.config.id {
                lock(&hub.peers).insert(id, Arc::new(Peer::new(id, address, &hub.config)));
            }
        }
        Ok(TcpTransport { hub: Arc::new(hub), address: local, listener: Mutex::new(Some(Arc::new(listener))) })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Hand over connections that do not begin with [`MAGIC`], with the bytes that were read instead of it: so another
    /// protocol can share the port, if its side also speaks first and says at least so much. `handler` must be quick: what
    /// takes long goes to a thread of its own. A panic in it stops the node. The transport forgets these connections, even when it shuts down. To be
    /// called before [`start`](Transport::start); only the first call has an effect.
    pub fn serve_strangers(&self, handler: impl Fn(TcpStream, [u8; MAGIC.len()]) + Send + Sync + 'static) {
        let _ = self.hub.strangers.set(Box::new(handler));
    }

    /// Add a peer, or change its address, which closes the connections to the old one.
    ///
    /// # Errors
    /// If no thread can be started for it, or the transport is shut down.
    pub fn set_peer(&self, id: NodeId, address: String) -> io::Result<()> {
        if id == self.hub.config.id {
            return Ok(());
        }
        let mut peers = lock(&self.hub.peers);
        self.hub.check_open()?;
        if let Some(peer) = peers.get(&id) {
            let changed = std::mem::replace(&mut *lock(&peer.address), address.clone()) != address;
            if changed {
                peer.outgoing.interrupt();
                peer.outgoing_snapshot.interrupt();
                peer.mailbox.kick();
            }
            return Ok(());
        }
        let peer = Arc::new(Peer::new(id, address, &self.hub.config));
        if let Some(inbound) = self.hub.inbound.get() {
            self.hub.spawn_writer(&peer, inbound)?;
        }
        peers.insert(id, peer);
        Ok(())
    }

    /// Forget a peer: its connections are closed, and it is refused from now on.
    pub fn remove_peer(&self, id: NodeId) {
        if let Some(peer) = lock(&self.hub.peers).remove(&id) {
            peer.close();
        }
    }
}

impl Transport for TcpTransport {
    fn start(&self, inbound: Arc<dyn Inbound>) -> io::Result<()> {
        let peers = lock(&self.hub.peers);
        self.hub.check_open()?;
        let Some(listener) = lock(&self.listener).clone() else { return Err(shut_down()) };
        if self.hub.inbound.set(Arc::clone(&inbound)).is_err() {
            return Err(io::Error::other("the transport is started already"));
        }
        for peer in peers.values() {
            self.hub.spawn_writer(peer, &inbound)?;
        }
        let (hub, name) = (Arc::clone(&self.hub), self.hub.thread_name("accept"));
        let accept = Arc::clone(&inbound);
        self.hub.threads.spawn(name, &inbound, move || incoming::accept(&hub, &listener, &accept))
    }

    fn send(&self, to: NodeId, message: Message) {
        let Some(peer) = self.hub.peer(to) else {
            tracing::debug!("server {}: no address for server {to}: {message} is dropped", self.hub.config.id);
            return;
        };
        if peer.mailbox.post(message) == Posted::Overflowed {
            tracing::warn!("server {}: too much waits for server {to}: its appends are dropped", self.hub.config.id);
            if let Some(inbound) = self.hub.inbound.get() {
                inbound.unreachable(to);
            }
        }
    }

    fn send_snapshot(&self, to: NodeId, snapshot: OutgoingSnapshot) {
        let Some(inbound) = self.hub.inbound.get() else { return };
        match self.hub.peer(to) {
            _ if self.hub.is_closed() => {}
            Some(peer) => snapshot::begin(&self.hub, peer, inbound, snapshot),
            None => inbound.snapshot_sent(to, snapshot.meta.last, false),
        }
    }

    fn shutdown(&self) {
        self.hub.closed.store(true, Ordering::SeqCst);
        self.hub.lobby.close();
        lock(&self.hub.peers).values().for_each(|peer| peer.close());
        if let Some(listener) = lock(&self.listener).take() {
            wake_accept(&listener, self.address);
        }
        self.hub.threads.join();
    }
}

impl Drop for TcpTransport {
    fn drop(&mut self) {
        self.shutdown();
    }
}

fn shut_down() -> io::Error {
    io::Error::other("the transport is shut down")
}

/// Some systems wake who accepts when the listener is shut, the others when somebody connects.
fn wake_accept(listener: &TcpListener, address: SocketAddr) {
    let _ = SockRef::from(listener).shutdown(Shutdown::Both);
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let _ = TcpStream::connect_timeout(&(ip, address.port()).into(), Duration::from_millis(200));
}

impl Hub {
    fn peer(&self, id: NodeId) -> Option<Arc<Peer>> {
        lock(&self.peers).get(&id).cloned()
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Asked under the lock of the peers: `shutdown` closes all that are there, and then nobody may add one.
    fn check_open(&self) -> io::Result<()> {
        if self.is_closed() { Err(shut_down()) } else { Ok(()) }
    }

    /// Debuggers show about 15 characters of it.
    fn thread_name(&self, role: &str) -> String {
        format!("raft{}-{role}", self.config.id)
    }

    fn spawn_writer(self: &Arc<Self>, peer: &Arc<Peer>, inbound: &Arc<dyn Inbound>) -> io::Result<()> {
        let (hub, peer, writer_inbound) = (Arc::clone(self), Arc::clone(peer), Arc::clone(inbound));
        let name = self.thread_name(&format!("to-{}", peer.id));
        self.threads.spawn(name, inbound, move || outgoing::run(&hub, &peer, &*writer_inbound))
    }
}

impl Peer {
    fn new(id: NodeId, address: String, config: &TcpConfig) -> Peer {
        let limits = Limits {
            appends_max: config.queue_appends_max,
            bytes_max: config.queue_bytes_max,
            urgent_max: config.queue_urgent_max.max(1),
            batch_bytes: config.batch_bytes.max(1),
        };
        Peer {
            id,
            address: Mutex::new(address),
            mailbox: Mailbox::new(limits),
            outgoing: Slot::default(),
            outgoing_snapshot: Slot::default(),
            incoming: Slot::default(),
            incoming_snapshot: Slot::default(),
            sending: Mutex::default(),
        }
    }

    fn outgoing(&self, channel: Channel) -> &Slot {
        match channel {
            Channel::Messages => &self.outgoing,
            Channel::Snapshot => &self.outgoing_snapshot,
        }
    }

    fn incoming(&self, channel: Channel) -> &Slot {
        match channel {
            Channel::Messages => &self.incoming,
            Channel::Snapshot => &self.incoming_snapshot,
        }
    }

    fn close(&self) {
        self.mailbox.close();
        for channel in [Channel::Messages, Channel::Snapshot] {
            self.outgoing(channel).close();
            self.incoming(channel).close();
        }
    }

    fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let address = lock(&self.address).clone();
        Ok(address.to_socket_addrs()?.collect())
    }
}
