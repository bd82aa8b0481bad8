//! One thread that owns a node's sockets and its engine.

use std::collections::BTreeMap;
use std::io::{self, IoSlice, Read, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Token};

use crate::engine::Engine;
use crate::peers::{LinkId, Orders};
use crate::socket::prepare;
use crate::tcp::Strangers;

const WAKER: Token = Token(usize::MAX);
const LISTENER: Token = Token(usize::MAX - 1);

/// So many pieces are written at once; the system takes no more than 1,024.
const SLICES_MAX: usize = 64;

/// So often one socket is read or written before the others have their turn.
const TURNS_MAX: usize = 8;

/// After so long another connection is tried to be accepted, when the system had no room for it.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a loop runs on, beside its engine.
pub(crate) struct Wires {
    pub(crate) listener: std::net::TcpListener,
    pub(crate) stall_timeout: Duration,
    pub(crate) strangers: Option<Strangers>,
}

/// A socket, and what its link is known to want.
enum Socket {
    /// Its address is being looked up, or one of its addresses connected; the others are left.
    Connecting {
        stream: Option<TcpStream>,
        left: Vec<SocketAddr>,
    },
    Open(TcpStream),
}

/// The addresses of a name.
type Resolved = (LinkId, io::Result<Vec<SocketAddr>>);

pub(crate) struct EventLoop {
    engine: Engine,
    poll: mio::Poll,
    waker: Arc<Alarm>,
    listener: TcpListener,
    /// When to accept again, if there was no room for a connection.
    accept_at: Option<Instant>,
    stall_timeout: Duration,
    strangers: Option<Strangers>,
    sockets: BTreeMap<LinkId, Socket>,
    /// Which may have more to read than they were read for.
    full: Vec<LinkId>,
    resolved: (mpsc::Sender<Resolved>, mpsc::Receiver<Resolved>),
    orders: Orders,
}

/// Wakes the loop.
struct Alarm(mio::Waker);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // It fails only if the loop is gone.
        let _gone = self.0.wake();
    }
}

impl EventLoop {
    /// # Errors
    /// If the system gives no means to wait for sockets.
    pub(crate) fn new(engine: Engine, wires: Wires) -> io::Result<EventLoop> {
        let Wires { listener, stall_timeout, strangers } = wires;
        listener.set_nonblocking(true)?;
        let (poll, mut listener) = (mio::Poll::new()?, TcpListener::from_std(listener));
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let waker = Arc::new(Alarm(mio::Waker::new(poll.registry(), WAKER)?));
        let (sockets, full, orders) = (BTreeMap::new(), Vec::new(), Orders::default());
        let resolved = mpsc::channel();
        // What has come before the loop was there.
        let accept_at = Some(Instant::now());
        Ok(EventLoop {
            engine,
            poll,
            waker,
            listener,
            accept_at,
            stall_timeout,
            strangers,
            sockets,
            full,
            resolved,
            orders,
        })
    }

    /// Run until the node stops.
    pub(crate) fn run(mut self) {
        let _within = self.engine.enter();
        let waker = Waker::from(Arc::clone(&self.waker));
        let context = Context::from_waker(&waker);
        let mut events = Events::with_capacity(128);
        let mut is_behind = true;
        loop {
            let timeout = if is_behind || !self.full.is_empty() { Some(Duration::ZERO) } else { self.time_left() };
            if let Err(error) = self.poll.poll(&mut events, timeout)
                && error.kind() != io::ErrorKind::Interrupted
            {
                tracing::error!(%error, "cannot wait for sockets");
                return;
            }
            let now = Instant::now();
            self.take_events(&events, now);
            is_behind = match self.engine.poll(&context, now) {
                Poll::Ready(false) => return,
                // Mostly there is nothing more, and the next thing that comes wakes the loop.
                Poll::Ready(true) => match self.engine.poll(&context, now) {
                    Poll::Ready(false) => return,
                    Poll::Ready(true) => true,
                    Poll::Pending => false,
                },
                Poll::Pending => false,
            };
            self.carry_out(now);
        }
    }

    fn time_left(&self) -> Option<Duration> {
        let due = self.engine.due().into_iter().chain(self.accept_at).min();
        let left = due?.saturating_duration_since(Instant::now());
        // In whole milliseconds, rounded up: waking too early would be waking twice.
        Some(Duration::from_millis(u64::try_from(left.as_micros().div_ceil(1000)).unwrap_or(u64::MAX)))
    }

    fn take_events(&mut self, events: &Events, now: Instant) {
        for id in std::mem::take(&mut self.full) {
            self.read(id, now);
        }
        for event in events {
            match event.token() {
                WAKER => self.take_resolved(now),
                LISTENER => self.accept(now),
                Token(number) => {
                    let id = LinkId::from_number(number as u64);
                    if event.is_writable() || event.is_error() {
                        self.writable(id, now);
                    }
                    if event.is_readable() || event.is_read_closed() {
                        self.read(id, now);
                    }
                    // The end comes without another event, if it was there when the last bytes were read.
                    if event.is_read_closed() {
                        self.full.push(id);
                    }
                }
            }
        }
        if self.accept_at.take_if(|at| *at <= now).is_some() {
            self.accept(now);
        }
    }

    fn accept(&mut self, now: Instant) {
        loop {
            match self.listener.accept() {
                Ok((stream, from)) => self.welcome(stream, from, now),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    // Out of descriptors: trying again at once would not help.
                    tracing::debug!(%error, "cannot accept a connection");
                    self.accept_at = now.checked_add(ACCEPT_PAUSE);
                    return;
                }
            }
        }
    }

    fn welcome(&mut self, stream: TcpStream, from: SocketAddr, now: Instant) {
        // A connection that is over already.
        if prepare(&stream, self.stall_timeout).is_err() {
            return;
        }
        if let Some(id) = self.engine.tell_peers(|peers| peers.accepted(from, now)).flatten() {
            self.register(id, stream, now);
        }
    }

    /// Keep an open socket, and read what has come already.
    fn register(&mut self, id: LinkId, mut stream: TcpStream, now: Instant) {
        let interest = Interest::READABLE | Interest::WRITABLE;
        match self.poll.registry().register(&mut stream, token(id), interest) {
            Ok(()) => drop(self.sockets.insert(id, Socket::Open(stream))),
            Err(error) => drop(self.engine.tell_peers(|peers| peers.broken(id, error, now))),
        }
    }

    /// What the engine wants done with sockets.
    fn carry_out(&mut self, now: Instant) {
        let mut orders = std::mem::take(&mut self.orders);
        // What is done brings new orders, to close what has broken, say.
        for _ in 0..TURNS_MAX {
            self.engine.take_orders(&mut orders);
            if orders.is_empty() {
                break;
            }
            orders.connect.drain(..).for_each(|(id, address)| self.resolve(id, address, now));
            orders.write.drain(..).for_each(|id| self.write(id, now));
            orders.read.drain(..).for_each(|id| self.read(id, now));
            for id in orders.close.drain(..) {
                self.sockets.remove(&id);
            }
            for (id, first) in orders.strangers.drain(..) {
                self.hand_over(id, first);
            }
        }
        self.orders = orders;
    }

    /// Numbers are known at once; names are looked up on a thread, which may take long.
    fn resolve(&mut self, id: LinkId, address: String, now: Instant) {
        self.sockets.insert(id, Socket::Connecting { stream: None, left: Vec::new() });
        if let Ok(address) = address.parse::<SocketAddr>() {
            return self.connect(id, vec![address], now);
        }
        let (resolved, waker) = (self.resolved.0.clone(), Arc::clone(&self.waker));
        let look_up = move || {
            let found = address.to_socket_addrs().map(Iterator::collect);
            drop(resolved.send((id, found)));
            waker.wake();
        };
        if let Err(error) = thread::Builder::new().name("raft-resolve".to_owned()).spawn(look_up) {
            self.engine.tell_peers(|peers| peers.broken(id, error, now));
        }
    }

    fn take_resolved(&mut self, now: Instant) {
        while let Ok((id, found)) = self.resolved.1.try_recv() {
            match found {
                Ok(addresses) => self.connect(id, addresses, now),
                Err(error) => drop(self.engine.tell_peers(|peers| peers.broken(id, error, now))),
            }
        }
    }

    /// Connect to the first of these addresses; the others are tried when that fails.
    fn connect(&mut self, id: LinkId, addresses: Vec<SocketAddr>, now: Instant) {
        if !self.sockets.contains_key(&id) {
            return;
        }
        let mut error = io::Error::new(io::ErrorKind::NotFound, "the address names no host");
        let mut left = addresses.into_iter();
        while let Some(address) = left.next() {
            let connected = TcpStream::connect(address).and_then(|mut stream| {
                let interest = Interest::READABLE | Interest::WRITABLE;
                self.poll.registry().register(&mut stream, token(id), interest).map(|()| stream)
            });
            match connected {
                Ok(stream) => {
                    let connecting = Socket::Connecting { stream: Some(stream), left: left.collect() };
                    self.sockets.insert(id, connecting);
                    return;
                }
                Err(failed) => error = failed,
            }
        }
        self.engine.tell_peers(|peers| peers.broken(id, error, now));
    }

    /// A socket is connected, or has failed to be, or takes more.
    fn writable(&mut self, id: LinkId, now: Instant) {
        let Some(Socket::Connecting { stream: Some(stream), left }) = self.sockets.get_mut(&id) else {
            return self.write(id, now);
        };
        let stands = match stream.take_error() {
            Ok(None) => stream.peer_addr().map(drop),
            Ok(Some(error)) | Err(error) => Err(error),
        };
        match stands.and_then(|()| prepare(stream, self.stall_timeout)) {
            Ok(()) => {
                if let Some(Socket::Connecting { stream: Some(stream), .. }) = self.sockets.remove(&id) {
                    self.sockets.insert(id, Socket::Open(stream));
                }
                self.engine.tell_peers(|peers| peers.connected(id, now));
            }
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
            Err(error) if left.is_empty() => drop(self.engine.tell_peers(|peers| peers.broken(id, error, now))),
            Err(_) => {
                let left = std::mem::take(left);
                self.connect(id, left, now);
            }
        }
    }

    fn read(&mut self, id: LinkId, now: Instant) {
        for _ in 0..TURNS_MAX {
            let Some(Socket::Open(stream)) = self.sockets.get_mut(&id) else { return };
            let read = self.engine.tell_peers(|peers| {
                if !peers.wants_read(id) {
                    return None;
                }
                let room = peers.room(id);
                let length = room.len();
                let read = stream.read(room);
                match read {
                    Ok(count) => peers.received(id, count, now),
                    Err(error) if is_pause(&error) => return None,
                    Err(error) => {
                        peers.broken(id, error, now);
                        return None;
                    }
                }
                // A read that does not fill its room has found all there was.
                read.ok().filter(|count| *count == length && length > 0)
            });
            if read.flatten().is_none() {
                return;
            }
        }
        self.full.push(id);
    }

    fn write(&mut self, id: LinkId, now: Instant) {
        let Some(Socket::Open(stream)) = self.sockets.get_mut(&id) else { return };
        self.engine.tell_peers(|peers| {
            loop {
                let mut slices: Vec<IoSlice<'_>> = Vec::new();
                peers.unsent(id, &mut slices);
                slices.truncate(SLICES_MAX);
                let offered: usize = slices.iter().map(|slice| slice.len()).sum();
                if offered == 0 {
                    peers.written(id, 0, now);
                    return;
                }
                match stream.write_vectored(&slices) {
                    Ok(count) => {
                        drop(slices);
                        let has_more = peers.written(id, count, now);
                        // The rest follows when the socket says that it takes it.
                        if !has_more || count < offered {
                            return;
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                    Err(error) => {
                        drop(slices);
                        return peers.broken(id, error, now);
                    }
                }
            }
        });
    }

    /// A connection that is none of ours goes to who takes such, as a socket that blocks; or is closed.
    fn hand_over(&mut self, id: LinkId, first: [u8; 8]) {
        let Some(Socket::Open(mut stream)) = self.sockets.remove(&id) else { return };
        let Some(handler) = &self.strangers else { return };
        let handed = self.poll.registry().deregister(&mut stream).and_then(|()| {
            let stream = std::net::TcpStream::from(OwnedFd::from(stream));
            stream.set_nonblocking(false).map(|()| stream)
        });
        match handed {
            Ok(stream) => handler(stream, first),
            Err(error) => tracing::debug!(%error, "cannot hand a connection over"),
        }
    }
}

fn token(id: LinkId) -> Token {
    Token(usize::try_from(id.number()).unwrap_or(usize::MAX - 2))
}

fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
