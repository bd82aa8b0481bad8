//! What must end when the transport does: threads, and the sockets that they may be blocked on.

use std::collections::VecDeque;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crate::queue::lock;
use crate::shared::panic_message;
use crate::transport::Inbound;

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

/// Where connections wait, in the order in which they came, until it is known who comes. When it is full, the one that has
/// waited longest has to go: who speaks the protocol is through in one round trip, so those who only take up room cannot
/// keep him out.
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
pub(super) struct Waiting {
    lobby: Arc<Lobby>,
    number: u64,
}

impl Lobby {
    pub(super) fn new(most: usize) -> Lobby {
        Lobby { most, state: Mutex::default() }
    }

    /// `None` if the lobby is closed.
    pub(super) fn enter(self: &Arc<Self>, socket: &Arc<TcpStream>) -> Option<Waiting> {
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
        Some(Waiting { lobby: Arc::clone(self), number })
    }

    pub(super) fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        state.waiting.iter().for_each(|(_, socket)| shut(socket));
    }
}

impl Drop for Waiting {
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
    /// Run `work` on a thread of its own; `inbound` hears if it panics.
    pub(super) fn spawn(
        &self,
        name: String,
        inbound: &Arc<dyn Inbound>,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let mut state = lock(&self.state);
        if state.closed {
            return Err(super::shut_down());
        }
        state.handles.retain(|handle| !handle.is_finished());
        let (builder, inbound) = (Builder::new().name(name.clone()), Arc::clone(inbound));
        let watched = move || {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
                let cause = format!("{name} {}", panic_message(&*panic));
                tracing::error!("{cause}");
                inbound.failed(cause);
            }
        };
        state.handles.push(builder.spawn(watched)?);
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
            // What panicked was told when it did.
            let _told = handle.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Both ends of a connection.
    fn connection() -> (Arc<TcpStream>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (Arc::new(near), listener.accept().unwrap().0)
    }

    #[test]
    fn a_newer_connection_enters_when_the_older_has_left() {
        let hour = Duration::from_secs(3600);
        let (slot, events) = (Slot::default(), Mutex::new(Vec::new()));
        let ((older, mut far), (newer, _far)) = (connection(), connection());
        let place = slot.enter(&older, hour).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                let _place = slot.enter(&newer, hour).unwrap();
                lock(&events).push("newer enters");
            });
            assert_eq!(far.read(&mut [0]).unwrap(), 0, "the older one is shut");
            // Whoever does not wait is in by now; whoever does is not, however long this takes.
            thread::sleep(Duration::from_millis(30));
            lock(&events).push("older leaves");
            drop(place);
        });
        assert_eq!(*lock(&events), ["older leaves", "newer enters"]);
    }

    #[test]
    fn a_slot_can_lose_patience_and_can_be_closed() {
        let slot = Slot::default();
        let ((older, _), (newer, _)) = (connection(), connection());
        let place = slot.enter(&older, Duration::ZERO).unwrap();
        assert!(slot.enter(&newer, Duration::from_millis(1)).is_none());
        drop(place);
        slot.close();
        assert!(slot.enter(&newer, Duration::from_secs(3600)).is_none());
    }

    #[test]
    fn the_lobby_makes_room_in_the_order_of_arrival() {
        let lobby = Arc::new(Lobby::new(2));
        let guests = [connection(), connection(), connection(), connection()];
        let mut places: Vec<_> = guests.iter().take(2).map(|(near, _)| lobby.enter(near)).collect();
        drop(places.remove(0));
        places.extend(guests.iter().skip(2).map(|(near, _)| lobby.enter(near)));
        let [first, second, third, fourth] = guests.each_ref().map(|(_, far)| far);
        assert_eq!({ second }.read(&mut [0]).unwrap(), 0, "the first has left by itself, so the second had to go");
        for mut far in [first, third, fourth] {
            far.set_nonblocking(true).unwrap();
            assert_eq!(far.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        }
    }
}
