//! Sockets on turmoil's network. It never sends again what it lost, and a connection that has lost something stays silent
//! for ever; a real one resets after a while. So here each connection that a fault may have hit ends by a reset, a little
//! later. Reads and writes are cut short at random, too.

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use raft_tokio_driver::transport::link::{BoxFuture, BoxStream, Listener, Sockets};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use turmoil::net::{TcpListener, TcpStream};

use crate::lab::Lab;
use crate::tap::Tap;

pub(crate) const LOSS: &str = "connection lost what was written";

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn sorted(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

/// What all hosts share of the network.
pub(crate) struct Net {
    state: Mutex<State>,
    lab: Lab,
    /// How long a connection may be silent before it is reset.
    user_timeout: Duration,
}

struct State {
    streams: Vec<((usize, usize), Weak<Wire>)>,
    /// Between which hosts nothing gets through, in one direction or both.
    broken: BTreeSet<(usize, usize)>,
    /// Of 10,000 writes so many are lost.
    loss: u32,
}

impl Net {
    pub(crate) fn new(lab: &Lab, user_timeout: Duration) -> Arc<Net> {
        let state = State { streams: Vec::new(), broken: BTreeSet::new(), loss: 0 };
        Arc::new(Net { state: Mutex::new(state), lab: lab.clone(), user_timeout })
    }

    /// From now on nothing gets through: what is connected will be reset, also if the way is free again by then.
    pub(crate) fn breaks(&self, a: usize, b: usize) {
        let mut state = lock(&self.state);
        state.broken.insert(sorted(a, b));
        let between = |pair: &(usize, usize)| *pair == sorted(a, b);
        let hit: Vec<_> =
            state.streams.iter().filter(|(pair, _)| between(pair)).map(|(_, wire)| wire.clone()).collect();
        state.streams.retain(|(_, wire)| wire.strong_count() > 0);
        drop(state);
        hit.iter().filter_map(Weak::upgrade).for_each(|wire| wire.doom());
    }

    pub(crate) fn heals(&self, a: usize, b: usize) {
        lock(&self.state).broken.remove(&sorted(a, b));
    }

    pub(crate) fn set_loss(&self, of_10_000: u32) {
        lock(&self.state).loss = of_10_000;
    }

    fn stream(self: &Arc<Net>, stream: TcpStream, me: usize, random: fastrand::Rng, tap: Option<Tap>) -> BoxStream {
        let other = stream.peer_addr().ok().and_then(host_of).unwrap_or(me);
        let wire = Arc::new(Wire::default());
        let mut state = lock(&self.state);
        state.streams.push((sorted(me, other), Arc::downgrade(&wire)));
        if state.broken.contains(&sorted(me, other)) {
            wire.doom();
        }
        drop(state);
        Box::new(SimStream { stream, net: Arc::clone(self), me, wire, reset: None, loses: false, random, tap })
    }
}

fn host_of(address: SocketAddr) -> Option<usize> {
    turmoil::reverse_lookup(address.ip())?.strip_prefix('s')?.parse::<usize>().ok()?.checked_sub(1)
}

/// One end of a connection, as faults see it.
#[derive(Default)]
struct Wire(Mutex<(bool, Vec<Waker>)>);

impl Wire {
    /// It ends a little later.
    fn doom(&self) {
        let wakers = {
            let mut state = lock(&self.0);
            state.0 = true;
            std::mem::take(&mut state.1)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    fn is_doomed(&self, context: &Context<'_>) -> bool {
        let mut state = lock(&self.0);
        if !state.0 && !state.1.iter().any(|waker| waker.will_wake(context.waker())) {
            state.1.push(context.waker().clone());
        }
        state.0
    }
}

/// The sockets of one host.
pub(crate) struct SimSockets {
    net: Arc<Net>,
    me: usize,
    random: Mutex<fastrand::Rng>,
}

impl SimSockets {
    pub(crate) fn new(net: &Arc<Net>, me: usize, seed: u64) -> SimSockets {
        SimSockets { net: Arc::clone(net), me, random: Mutex::new(fastrand::Rng::with_seed(seed)) }
    }

    fn fork(&self) -> fastrand::Rng {
        lock(&self.random).fork()
    }
}

impl fmt::Debug for SimSockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimSockets").field("me", &self.me).finish_non_exhaustive()
    }
}

fn parse(address: &str) -> io::Result<(&str, u16)> {
    let parts = address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    parts.ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

impl Sockets for SimSockets {
    fn resolve<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move {
            let (host, port) = parse(address)?;
            Ok(vec![SocketAddr::new(turmoil::lookup(host), port)])
        })
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<BoxStream>> {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            let tap = Tap::new(&self.net.lab, self.me);
            Ok(self.net.stream(stream, self.me, self.fork(), Some(tap)))
        })
    }

    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let (_, port) = parse(address)?;
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?;
            let (net, me, random) = (Arc::clone(&self.net), self.me, self.fork());
            Ok(Box::new(Accepting { listener, net, me, random }) as Box<dyn Listener>)
        })
    }
}

struct Accepting {
    listener: TcpListener,
    net: Arc<Net>,
    me: usize,
    random: fastrand::Rng,
}

impl Listener for Accepting {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxStream, SocketAddr)>> {
        Box::pin(async move {
            let (stream, address) = self.listener.accept().await?;
            Ok((self.net.stream(stream, self.me, self.random.fork(), None), address))
        })
    }
}

struct SimStream {
    stream: TcpStream,
    net: Arc<Net>,
    me: usize,
    wire: Arc<Wire>,
    reset: Option<Pin<Box<Sleep>>>,
    /// What is written goes nowhere any more.
    loses: bool,
    random: fastrand::Rng,
    /// Hears what is written by the one who has connected.
    tap: Option<Tap>,
}

impl SimStream {
    /// An error once it is reset.
    fn stands(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if !self.wire.is_doomed(context) {
            return Ok(());
        }
        let timeout = self.net.user_timeout;
        let reset = self.reset.get_or_insert_with(|| Box::pin(sleep(timeout)));
        match reset.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionReset.into()),
            Poll::Pending => Ok(()),
        }
    }

    /// How much of so many bytes to read or write: now and then only some.
    fn some_of(&mut self, bytes: usize) -> usize {
        if bytes > 1 && self.random.u8(..) < 32 { self.random.usize(1..bytes) } else { bytes }
    }

    fn loses_now(&mut self) -> bool {
        let loss = lock(&self.net.state).loss;
        if !self.loses && loss > 0 && self.random.u32(0..10_000) < loss {
            self.loses = true;
            self.wire.doom();
            self.net.lab.count(LOSS);
            self.net.lab.say(format_args!("s{}", self.me + 1), "loses what it writes");
        }
        self.loses
    }
}

impl AsyncRead for SimStream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.stands(context)?;
        let most = self.some_of(into.remaining());
        let mut part = into.take(most);
        let read = Pin::new(&mut self.stream).poll_read(context, &mut part);
        let count = part.filled().len();
        into.advance(count);
        read
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stands(context)?;
        if self.loses_now() {
            // The reset has to be heard of.
            self.stands(context)?;
            return Poll::Ready(Ok(bytes.len()));
        }
        let count = self.some_of(bytes.len());
        let written = Pin::new(&mut self.stream).poll_write(context, &bytes[..count]);
        if let (Poll::Ready(Ok(count)), Some(tap)) = (&written, &mut self.tap) {
            tap.hear(&bytes[..*count]);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
