//! What the connections of a node stand on, as small traits, so that a simulated network fits.

use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

/// A future that can be named.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

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
