//! What must end when the transport does: threads, and the sockets that they may be blocked on.

use std::collections::VecDeque;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// The state behind a lock is sound after every statement, so a panic elsewhere does not spoil it.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wake whoever is blocked on the socket. It may be closed already.
fn shut(socket: &TcpStream) {
    let _ = socket.shutdown(Shutdown::Both);
}

/// Room for one connection; a newer one takes the place of an older one.
#[derive(Default)]
pub(super) struct Slot {
    state: Mutex<Occupant>,
    left: Condvar,
}

#[derive(Default)]
struct Occupant {
    closed: bool,
    socket: Option<Arc<TcpStream>>,
}

/// The right to use a connection; given up when dropped.
pub(super) struct Occupied<'a>(&'a Slot);

impl Slot {
    /// Take the place, once the older connection, which is shut, has been left by its thread. `None` if the slot is
    /// closed or patience ends.
    pub(super) fn enter(&self, socket: &Arc<TcpStream>, patience: Duration) -> Option<Occupied<'_>> {
        let deadline = Instant::now() + patience;
        let mut state = lock(&self.state);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match &state.socket {
                _ if state.closed => return None,
                None => break,
                Some(_) if left.is_zero() => return None,
                Some(older) => shut(older),
            }
            state = self.left.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.socket = Some(Arc::clone(socket));
        Some(Occupied(self))
    }

    /// Shut the connection that is there, if there is one.
    pub(super) fn interrupt(&self) {
        if let Some(socket) = &lock(&self.state).socket {
            shut(socket);
        }
    }

    /// Shut the connection, and let no other in.
    pub(super) fn close(&self) {
        lock(&self.state).closed = true;
        self.interrupt();
        self.left.notify_all();
    }
}

impl Drop for Occupied<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).socket = None;
        self.0.left.notify_all();
    }
}

/// Where connections wait until it is known who comes. When it is full, the one that has waited longest has to go: who
/// speaks the protocol is through in one round trip, so those who only take up room cannot keep him out.
pub(super) struct Lobby {
    most: usize,
    state: Mutex<Guests>,
}

#[derive(Default)]
struct Guests {
    closed: bool,
    next: u64,
    waiting: VecDeque<(u64, Arc<TcpStream>)>,
}

/// A place in the lobby; given up when dropped.
pub(super) struct Waiting<'a> {
    lobby: &'a Lobby,
    number: u64,
}

impl Lobby {
    pub(super) fn new(most: usize) -> Lobby {
        Lobby { most, state: Mutex::default() }
    }

    /// `None` if the lobby is closed.
    pub(super) fn enter(&self, socket: &Arc<TcpStream>) -> Option<Waiting<'_>> {
        let mut state = lock(&self.state);
        if state.closed {
            return None;
        }
        if state.waiting.len() >= self.most
            && let Some((_, oldest)) = state.waiting.pop_front()
        {
            tracing::warn!("too many connections without a handshake: the oldest of them is closed");
            shut(&oldest);
        }
        let number = state.next;
        state.next += 1;
        state.waiting.push_back((number, Arc::clone(socket)));
        Some(Waiting { lobby: self, number })
    }

    pub(super) fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        state.waiting.iter().for_each(|(_, socket)| shut(socket));
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        lock(&self.lobby.state).waiting.retain(|(number, _)| *number != self.number);
    }
}

/// The threads of a transport, to be joined when it ends.
#[derive(Default)]
pub(super) struct Threads {
    state: Mutex<Running>,
}

#[derive(Default)]
struct Running {
    closed: bool,
    handles: Vec<JoinHandle<()>>,
}

impl Threads {
    /// Run `work` on a thread of its own.
    pub(super) fn spawn(&self, name: String, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let mut state = lock(&self.state);
        if state.closed {
            return Err(super::shut_down());
        }
        state.handles.retain(|handle| !handle.is_finished());
        state.handles.push(Builder::new().name(name).spawn(work)?);
        Ok(())
    }

    /// Wait for all of them, and start no more.
    pub(super) fn join(&self) {
        let handles = {
            let mut state = lock(&self.state);
            state.closed = true;
            std::mem::take(&mut state.handles)
        };
        for handle in handles {
            let name = handle.thread().name().unwrap_or_default().to_owned();
            if handle.join().is_err() {
                tracing::error!("thread {name} has panicked");
            }
        }
    }
}
