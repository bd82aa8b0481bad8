//! A node's sockets, polled by the task that owns it.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use raft_std_driver::engine::Engine;
use raft_std_driver::peers::{LinkId, Orders};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::transport::link::{BoxFuture, BoxStream, Listener, Sockets};

/// So many pieces are written at once.
const SLICES_MAX: usize = 64;

/// So often one socket is read or written before the others have their turn.
const TURNS_MAX: usize = 8;

/// After so long another connection is tried to be accepted, when the system had no room for it.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What accepting gives: the listener back, and a connection.
type Accepted = (Box<dyn Listener>, io::Result<(BoxStream, SocketAddr)>);

/// The sockets of one node.
pub(crate) struct Wires {
    sockets: Arc<dyn Sockets>,
    accepting: BoxFuture<'static, Accepted>,
    connections: BTreeMap<LinkId, Wire>,
    orders: Orders,
}

/// A socket on its way, or there.
enum Wire {
    Connecting(BoxFuture<'static, io::Result<BoxStream>>),
    Open {
        stream: BoxStream,
        /// Whether something waits to be written.
        writing: bool,
    },
}

impl Wires {
    pub(crate) fn new(sockets: Arc<dyn Sockets>, listener: Box<dyn Listener>) -> Wires {
        let accepting = accept(listener, None);
        Wires { sockets, accepting, connections: BTreeMap::new(), orders: Orders::default() }
    }

    /// Tell the engine what has happened to the sockets.
    pub(crate) fn poll(&mut self, engine: &mut Engine, context: &mut Context<'_>, now: Instant) {
        while let Poll::Ready((listener, accepted)) = self.accepting.as_mut().poll(context) {
            let pause = accepted.is_err().then_some(ACCEPT_PAUSE);
            self.accepting = accept(listener, pause);
            match accepted {
                Ok((stream, from)) => {
                    if let Some(link) = engine.tell_peers(|peers| peers.accepted(from, now)).flatten() {
                        self.connections.insert(link, Wire::Open { stream, writing: false });
                    }
                }
                Err(error) => tracing::debug!(%error, "cannot accept a connection"),
            }
        }
        for (link, wire) in &mut self.connections {
            wire.poll(*link, engine, context, now);
        }
    }

    /// Do what the engine wants done; whether there was anything.
    pub(crate) fn carry_out(&mut self, engine: &mut Engine, context: &mut Context<'_>, now: Instant) -> bool {
        let mut orders = std::mem::take(&mut self.orders);
        engine.take_orders(&mut orders);
        let acts = !orders.is_empty();
        for (link, address) in orders.connect.drain(..) {
            let connecting = connect(Arc::clone(&self.sockets), address);
            self.connections.insert(link, Wire::Connecting(connecting));
        }
        for link in orders.write.drain(..) {
            if let Some(Wire::Open { stream, writing }) = self.connections.get_mut(&link) {
                *writing = write(stream, link, engine, context, now);
            }
        }
        for link in orders.close.drain(..) {
            self.connections.remove(&link);
        }
        // There is nobody here who serves another protocol.
        for (link, _) in orders.strangers.drain(..) {
            self.connections.remove(&link);
        }
        // They are read again below.
        orders.read.clear();
        self.orders = orders;
        acts
    }
}

impl Wire {
    fn poll(&mut self, link: LinkId, engine: &mut Engine, context: &mut Context<'_>, now: Instant) {
        if let Wire::Connecting(connecting) = self {
            match connecting.as_mut().poll(context) {
                Poll::Pending => return,
                Poll::Ready(Ok(stream)) => {
                    *self = Wire::Open { stream, writing: false };
                    engine.tell_peers(|peers| peers.connected(link, now));
                }
                Poll::Ready(Err(error)) => {
                    engine.tell_peers(|peers| peers.broken(link, error, now));
                    return;
                }
            }
        }
        if let Wire::Open { stream, writing } = self {
            if *writing {
                *writing = write(stream, link, engine, context, now);
            }
            read(stream, link, engine, context, now);
        }
    }
}

/// Read what has come.
fn read(stream: &mut BoxStream, link: LinkId, engine: &mut Engine, context: &mut Context<'_>, now: Instant) {
    for _ in 0..TURNS_MAX {
        let goes_on = engine.tell_peers(|peers| {
            if !peers.wants_read(link) {
                return Poll::Ready(false);
            }
            let mut room = ReadBuf::new(peers.room(link));
            let read = ready!(Pin::new(&mut *stream).poll_read(context, &mut room));
            let count = room.filled().len();
            match read {
                Ok(()) => peers.received(link, count, now),
                Err(error) => peers.broken(link, error, now),
            }
            Poll::Ready(count > 0)
        });
        match goes_on {
            Some(Poll::Ready(true)) => {}
            Some(Poll::Ready(false) | Poll::Pending) | None => return,
        }
    }
    // The others first.
    context.waker().wake_by_ref();
}

/// Write what waits; whether something is left that the socket did not take.
fn write(stream: &mut BoxStream, link: LinkId, engine: &mut Engine, context: &mut Context<'_>, now: Instant) -> bool {
    let left = engine.tell_peers(|peers| {
        for _ in 0..TURNS_MAX {
            let mut slices: Vec<IoSlice<'_>> = Vec::new();
            peers.unsent(link, &mut slices);
            slices.truncate(SLICES_MAX);
            if slices.is_empty() {
                peers.written(link, 0, now);
                return false;
            }
            let written = Pin::new(&mut *stream).poll_write_vectored(context, &slices);
            drop(slices);
            match written {
                Poll::Pending => return true,
                Poll::Ready(Ok(0)) => {
                    peers.broken(link, io::ErrorKind::WriteZero.into(), now);
                    return false;
                }
                Poll::Ready(Ok(count)) => {
                    if !peers.written(link, count, now) {
                        return false;
                    }
                }
                Poll::Ready(Err(error)) => {
                    peers.broken(link, error, now);
                    return false;
                }
            }
        }
        context.waker().wake_by_ref();
        true
    });
    left.unwrap_or(false)
}

fn accept(mut listener: Box<dyn Listener>, pause: Option<Duration>) -> BoxFuture<'static, Accepted> {
    Box::pin(async move {
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
        }
        let accepted = listener.accept().await;
        (listener, accepted)
    })
}

/// Connect to the first of the address's hosts that takes the connection.
fn connect(sockets: Arc<dyn Sockets>, address: String) -> BoxFuture<'static, io::Result<BoxStream>> {
    Box::pin(async move {
        let mut failed = io::Error::new(io::ErrorKind::NotFound, "the address names no host");
        for host in sockets.resolve(&address).await? {
            match sockets.connect(host).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    })
}
