//! The system's sockets.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use raft_std_driver::tcp::prepare;
use tokio::net::{TcpListener, TcpStream, lookup_host};

use super::link::{BoxFuture, BoxStream, Listener, Sockets};

/// Sockets of the system, with no delay, and no waiting for a host that is gone.
#[derive(Clone, Copy, Debug)]
pub struct TcpSockets {
    /// How long an unresponsive host is waited for.
    pub stall_timeout: Duration,
}

fn boxed<'a, T>(future: impl Future<Output = T> + Send + 'a) -> BoxFuture<'a, T> {
    Box::pin(future)
}

impl Sockets for TcpSockets {
    fn resolve<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        boxed(async move { Ok(lookup_host(address).await?.collect()) })
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<BoxStream>> {
        boxed(async move {
            let stream = TcpStream::connect(address).await?;
            prepare(&stream, self.stall_timeout)?;
            Ok(Box::new(stream) as BoxStream)
        })
    }

    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        boxed(async move {
            let listener = TcpListener::bind(address).await?;
            Ok(Box::new(Accepting { listener, sockets: *self }) as Box<dyn Listener>)
        })
    }
}

/// A listener that is there already.
pub(crate) fn adopt(listener: std::net::TcpListener, stall_timeout: Duration) -> io::Result<Box<dyn Listener>> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    Ok(Box::new(Accepting { listener, sockets: TcpSockets { stall_timeout } }))
}

struct Accepting {
    listener: TcpListener,
    sockets: TcpSockets,
}

impl Listener for Accepting {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxStream, SocketAddr)>> {
        boxed(async move {
            loop {
                let (stream, address) = self.listener.accept().await?;
                match prepare(&stream, self.sockets.stall_timeout) {
                    Ok(()) => return Ok((Box::new(stream) as BoxStream, address)),
                    // It is over already; that is no reason to keep the next one waiting.
                    Err(error) => tracing::debug!(%address, %error, "an accepted connection was over already"),
                }
            }
        })
    }
}
