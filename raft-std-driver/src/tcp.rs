//! What a node needs to be connected over TCP: an address to listen at, the peers' addresses, settings.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};

use raft_core::NodeId;

use crate::net::LinkConfig;
use crate::peers::Protection;
pub use crate::socket::prepare;

/// Connects a node to its peers over TCP. It listens already: who connects waits until the node runs.
pub struct Tcp {
    pub(crate) listener: TcpListener,
    pub(crate) address: SocketAddr,
    pub(crate) config: LinkConfig,
    pub(crate) protection: Protection,
    pub(crate) peers: Vec<(NodeId, String)>,
    pub(crate) strangers: Option<Strangers>,
}

/// Who takes the connections that are not of peers, with the bytes that were read of them.
pub(crate) type Strangers = Box<dyn Fn(TcpStream, [u8; 8]) + Send>;

/// The address cannot be listened at.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct BindError {
    /// Where it should have listened.
    pub address: String,
    /// What the operating system said.
    pub source: io::Error,
}

impl fmt::Debug for Tcp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tcp { address, config, peers, .. } = self;
        f.debug_struct("Tcp")
            .field("address", address)
            .field("id", &config.id)
            .field("peers", peers)
            .finish_non_exhaustive()
    }
}

impl Tcp {
    /// Listen at `address`, such as `127.0.0.1:4001`; port 0 takes a free one. `peers` are the other servers and their
    /// addresses, each a `host:port`; a peer of the own id is left out, so that one list can serve all.
    ///
    /// # Errors
    /// If the address makes no sense or is in use.
    pub fn bind(
        address: &str,
        config: LinkConfig,
        peers: impl IntoIterator<Item = (NodeId, String)>,
    ) -> Result<Tcp, BindError> {
        let failed = |source| BindError { address: address.to_owned(), source };
        Tcp::listen_on(TcpListener::bind(address).map_err(failed)?, config, peers)
    }

    /// The same on a listener that is there already: a service manager's, or one of a port that must be known before there is
    /// a node.
    ///
    /// # Errors
    /// If it cannot be used.
    pub fn listen_on(
        listener: TcpListener,
        config: LinkConfig,
        peers: impl IntoIterator<Item = (NodeId, String)>,
    ) -> Result<Tcp, BindError> {
        let address =
            listener.local_addr().map_err(|source| BindError { address: "the given listener".to_owned(), source })?;
        let peers = peers.into_iter().collect();
        Ok(Tcp { listener, address, config, protection: Protection::Open, peers, strangers: None })
    }

    /// Make all connections safe by TLS with mutual authentication. Keep a handle to reload certificates. Without this, who can
    /// reach the connections can read and forge what servers say to each other, and the node's log says so.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(self, tls: &crate::tls::Tls) -> Tcp {
        Tcp { protection: tls.into(), ..self }
    }

    /// Hand over connections that do not begin as a peer's, with the first eight bytes, which were read: so another protocol can
    /// share the port, if its clients speak first and say at least so much. The sockets block. `handler` must be quick: what
    /// takes long goes to a thread of its own. A panic in it stops the node. The node forgets these connections, even when it
    /// stops. Where connections are made safe there are no strangers.
    #[must_use]
    pub fn strangers(mut self, handler: impl Fn(TcpStream, [u8; 8]) + Send + 'static) -> Tcp {
        self.config.strangers = true;
        Tcp { strangers: Some(Box::new(handler)), ..self }
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }
}
