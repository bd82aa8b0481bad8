//! Messages and snapshots over TCP, with threads that block.
//!
//! Each server connects to each peer and only sends on that connection; replies come on the connection that the peer made.
//! One thread writes to each peer: it takes all that waits in the peer's mailbox and writes it at once. Another one watches
//! whether the connection stands. Accepted connections have a thread each. A snapshot has a connection and a thread of its
//! own on both sides. No lock is held while a socket is read, written or connected.

mod incoming;
mod life;
mod outgoing;
mod snapshot;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use raft_core::{Message, NodeId};
use socket2::SockRef;
use tracing::Span;

use self::life::Threads;
pub use super::parts::{BindError, TcpConfig};
use super::parts::{Lobby, Peers, shut_down};
use super::wire::MAGIC;
use super::{Inbound, OutgoingSnapshot, Traffic, Transport};
use crate::queue::lock;

type Peer = super::parts::Peer<TcpStream>;

/// A [`Transport`] over TCP.
pub struct TcpTransport {
    hub: Arc<Hub>,
    address: SocketAddr,
    listener: Mutex<Option<Arc<TcpListener>>>,
}

/// What all threads of a transport share.
struct Hub {
    config: TcpConfig,
    peers: Peers<TcpStream>,
    lobby: Arc<Lobby<TcpStream>>,
    threads: Threads,
    inbound: OnceLock<Arc<dyn Inbound>>,
    strangers: OnceLock<Strangers>,
}

/// Who takes the connections that are not of peers, with the bytes that were read of them.
type Strangers = Box<dyn Fn(TcpStream, [u8; MAGIC.len()]) + Send + Sync>;

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
        let failed = |source| BindError { address: address.to_owned(), source };
        TcpTransport::listen_on(TcpListener::bind(address).map_err(failed)?, config, peers)
    }

    /// The same on a listener that is there already: of a port that must be known before there is a transport, say.
    ///
    /// # Errors
    /// If it cannot be used.
    pub fn listen_on(
        listener: TcpListener,
        config: TcpConfig,
        peers: impl IntoIterator<Item = (NodeId, String)>,
    ) -> Result<TcpTransport, BindError> {
        let local = listener.set_nonblocking(false).and_then(|()| listener.local_addr());
        let local = local.map_err(|source| BindError { address: "what was given".to_owned(), source })?;
        let hub = Hub {
            peers: Peers::new(&config, peers),
            lobby: Arc::new(Lobby::new(config.handshakes_max)),
            threads: Threads::default(),
            inbound: OnceLock::new(),
            strangers: OnceLock::new(),
            config,
        };
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
        self.hub.peers.set(id, address, |peer| match self.hub.inbound.get() {
            Some(inbound) => self.hub.spawn_writer(peer, inbound),
            None => Ok(()),
        })
    }

    /// Forget a peer: its connections are closed, and it is refused from now on.
    pub fn remove_peer(&self, id: NodeId) {
        self.hub.peers.remove(id);
    }
}

impl Transport for TcpTransport {
    fn start(&self, inbound: Arc<dyn Inbound>) -> io::Result<()> {
        let Some(listener) = lock(&self.listener).clone() else { return Err(shut_down()) };
        let first = || {
            let set = self.hub.inbound.set(Arc::clone(&inbound));
            set.map_err(|_| io::Error::other("the transport is started already"))?;
            self.hub.threads.begin(Span::current());
            Ok(())
        };
        self.hub.peers.start(first, |peer| self.hub.spawn_writer(peer, &inbound))?;
        let (hub, name) = (Arc::clone(&self.hub), self.hub.thread_name("accept"));
        let accept = Arc::clone(&inbound);
        self.hub.threads.spawn(name, &inbound, move || incoming::accept(&hub, &listener, &accept))
    }

    fn send(&self, to: NodeId, message: Message) {
        if !self.hub.peers.post(to, message)
            && let Some(inbound) = self.hub.inbound.get()
        {
            inbound.unreachable(to);
        }
    }

    fn send_snapshot(&self, to: NodeId, snapshot: OutgoingSnapshot) {
        let Some(inbound) = self.hub.inbound.get() else { return };
        match self.hub.peers.find(to) {
            _ if self.hub.peers.is_closed() => {}
            Some(peer) => snapshot::begin(&self.hub, peer, inbound, snapshot),
            None => inbound.snapshot_sent(to, snapshot.meta.last, false),
        }
    }

    fn shutdown(&self) {
        self.hub.peers.close();
        self.hub.lobby.close();
        if let Some(listener) = lock(&self.listener).take() {
            wake_accept(&listener, self.address);
        }
        self.hub.threads.join();
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
