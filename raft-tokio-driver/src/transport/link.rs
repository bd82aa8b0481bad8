//! What the TCP transport stands on, as small traits: sockets, so that a simulated network fits; and a guard, so that TLS
//! does.

use std::error::Error;
use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use raft_std_driver::raft_core::NodeId;
use tokio::io::{AsyncRead, AsyncWrite};

/// A future that can be named.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why a [`Guard`] lets nobody through. Its text goes to the log, after who the other side is or seems to be.
pub type GuardError = Box<dyn Error + Send + Sync>;

/// A connection: bytes both ways. Every type that can be one is one.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection of whatever kind.
pub type BoxStream = Box<dyn Stream>;

/// Where connections come from: the system's network, or a simulated one.
///
/// All futures may be dropped before they are ready, and that must end what they do to connections and listeners. Only a name
/// may go on being looked up for nobody, as the system's are, on a thread of the runtime.
pub trait Sockets: Debug + Send + Sync + 'static {
    /// The addresses of a `host:port`, best first.
    ///
    /// # Errors
    /// If there is no such host.
    fn resolve<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;

    /// Connect. The caller limits the time.
    ///
    /// # Errors
    /// If nobody listens there, or there is no way.
    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<BoxStream>>;

    /// Listen on a `host:port`; port 0 takes a free one.
    ///
    /// # Errors
    /// If the address makes no sense or is in use.
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>>;
}

impl<S: Sockets + ?Sized> Sockets for Arc<S> {
    fn resolve<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        (**self).resolve(address)
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<BoxStream>> {
        (**self).connect(address)
    }

    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        (**self).listen(address)
    }
}

/// Accepts connections until it is dropped; then its address is free.
pub trait Listener: Send + Sync + 'static {
    /// Where it listens.
    ///
    /// # Errors
    /// If the system cannot tell.
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// The next connection, and where it comes from. No connection may be lost if the future is dropped.
    ///
    /// # Errors
    /// If none can be taken now, for want of descriptors for instance: the caller tries again a little later.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxStream, SocketAddr)>>;
}

/// An accepted connection that is safe, and what the other side has shown of itself.
pub type Secured = (BoxStream, Box<dyn Proof>);

/// Makes connections safe before anything else is said on them. The caller limits the time that this may take, by dropping
/// the future.
pub trait Guard: Debug + Send + Sync + 'static {
    /// Make a connection safe that this server has made to `peer`, and make sure that it is `peer` who is there.
    ///
    /// # Errors
    /// If that cannot be: the connection is closed.
    fn secure_outgoing(&self, peer: NodeId, stream: BoxStream) -> BoxFuture<'_, Result<BoxStream, GuardError>>;

    /// Make a connection safe that somebody has made to this server. Who they claim to be is not known yet.
    ///
    /// # Errors
    /// If that cannot be: the connection is closed.
    fn secure_incoming(&self, stream: BoxStream) -> BoxFuture<'_, Result<Secured, GuardError>>;
}

impl<G: Guard + ?Sized> Guard for Arc<G> {
    fn secure_outgoing(&self, peer: NodeId, stream: BoxStream) -> BoxFuture<'_, Result<BoxStream, GuardError>> {
        (**self).secure_outgoing(peer, stream)
    }

    fn secure_incoming(&self, stream: BoxStream) -> BoxFuture<'_, Result<Secured, GuardError>> {
        (**self).secure_incoming(stream)
    }
}

/// What the other side of a safe connection has shown of itself: its certificate, say.
pub trait Proof: Send + Sync + 'static {
    /// Whether it may speak for `claimed`. Asked once, before anything is answered or delivered.
    ///
    /// # Errors
    /// If it may not: the connection is closed.
    fn check(&self, claimed: NodeId) -> Result<(), GuardError>;
}
