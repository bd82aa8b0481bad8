//! Places for connections: one for each peer and kind, and a bounded number for those that have not said who they are.

use std::collections::VecDeque;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::Trouble;
use crate::queue::lock;
use crate::sync::Mutex;

/// A connection that can be ended by others than the thread or task that serves it.
pub trait Cut: Send + Sync + 'static {
    /// Make whoever serves the connection leave it soon. It may have ended already. Must be quick.
    fn cut(&self);
}

/// Room for one connection; a newer one takes the place of an older one.
pub struct Slot<C> {
    state: Mutex<Occupant<C>>,
}

struct Occupant<C> {
    closed: bool,
    connection: Option<Arc<C>>,
    next: u64,
    waiting: Vec<(u64, Waker)>,
}

impl<C> Default for Slot<C> {
    fn default() -> Self {
        let state = Occupant { closed: false, connection: None, next: 0, waiting: Vec::new() };
        Slot { state: Mutex::new(state) }
    }
}

impl<C> Occupant<C> {
    fn wake_all(&mut self) -> Vec<(u64, Waker)> {
        mem::take(&mut self.waiting)
    }
}

fn wake(waiting: Vec<(u64, Waker)>) {
    waiting.into_iter().for_each(|(_, waker)| waker.wake());
}

impl<C: Cut> Slot<C> {
    /// Take the place, once the older connection, which is cut, has been left by who serves it. Patience is up to the
    /// caller. Only the newest waits: those that came before it give up, so that however many come, few are there.
    pub fn enter(self: &Arc<Self>, connection: &Arc<C>) -> Entering<C> {
        let (number, waiting) = {
            let mut state = lock(&self.state);
            state.next += 1;
            (state.next, state.wake_all())
        };
        wake(waiting);
        Entering { slot: Arc::clone(self), connection: Arc::clone(connection), number }
    }

    /// Take the place if it is free.
    pub fn enter_now(self: &Arc<Self>, connection: &Arc<C>) -> Option<Occupied<C>> {
        let mut entering = self.enter(connection);
        match Pin::new(&mut entering).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(place) => place.ok(),
            Poll::Pending => None,
        }
    }

    /// Cut the connection that is there, if there is one.
    pub fn interrupt(&self) {
        if let Some(connection) = &lock(&self.state).connection {
            connection.cut();
        }
    }

    /// Cut the connection, and let no other in.
    pub fn close(&self) {
        let waiting = {
            let mut state = lock(&self.state);
            state.closed = true;
            state.wake_all()
        };
        self.interrupt();
        wake(waiting);
    }
}

/// Waits for a place; in vain if the slot is closed, or a newer connection comes. See [`Slot::enter`].
#[must_use]
pub struct Entering<C: Cut> {
    slot: Arc<Slot<C>>,
    connection: Arc<C>,
    number: u64,
}

impl<C: Cut> Future for Entering<C> {
    type Output = Result<Occupied<C>, Trouble>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = lock(&self.slot.state);
        if state.closed {
            return Poll::Ready(Err(Trouble::Closed));
        }
        if self.number < state.next {
            return Poll::Ready(Err(Trouble::GivesWay));
        }
        if let Some(older) = &state.connection {
            older.cut();
            state.waiting.retain(|(number, _)| *number != self.number);
            state.waiting.push((self.number, context.waker().clone()));
            return Poll::Pending;
        }
        state.connection = Some(Arc::clone(&self.connection));
        Poll::Ready(Ok(Occupied(Arc::clone(&self.slot))))
    }
}

impl<C: Cut> Drop for Entering<C> {
    fn drop(&mut self) {
        lock(&self.slot.state).waiting.retain(|(number, _)| *number != self.number);
    }
}

/// The right to use a connection; given up when dropped.
pub struct Occupied<C>(Arc<Slot<C>>);

impl<C> Drop for Occupied<C> {
    fn drop(&mut self) {
        let waiting = {
            let mut state = lock(&self.0.state);
            state.connection = None;
            state.wake_all()
        };
        wake(waiting);
    }
}

/// Where connections wait, in the order in which they came, until it is known who comes. When it is full, the one that has
/// waited longest has to go: who speaks the protocol is through in one round trip, and is not kept out by those who only take
/// up room.
pub struct Lobby<C> {
    most: usize,
    state: Mutex<Guests<C>>,
}

struct Guests<C> {
    closed: bool,
    next: u64,
    waiting: VecDeque<(u64, Arc<C>)>,
}

/// A place in the lobby; given up when dropped.
pub struct Waiting<C> {
    lobby: Arc<Lobby<C>>,
    number: u64,
    /// Another one had to go for it.
    pub crowded: bool,
}

impl<C: Cut> Lobby<C> {
    /// With room for so many; at least one.
    #[must_use]
    pub fn new(most: usize) -> Lobby<C> {
        let guests = Guests { closed: false, next: 0, waiting: VecDeque::new() };
        Lobby { most: most.max(1), state: Mutex::new(guests) }
    }

    /// `None` if the lobby is closed.
    pub fn enter(self: &Arc<Self>, connection: &Arc<C>) -> Option<Waiting<C>> {
        let mut state = lock(&self.state);
        if state.closed {
            return None;
        }
        let crowded = state.waiting.len() >= self.most;
        if crowded && let Some((_, oldest)) = state.waiting.pop_front() {
            oldest.cut();
        }
        let number = state.next;
        state.next += 1;
        state.waiting.push_back((number, Arc::clone(connection)));
        Some(Waiting { lobby: Arc::clone(self), number, crowded })
    }

    /// Cut all who wait, and let nobody in.
    pub fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        state.waiting.iter().for_each(|(_, connection)| connection.cut());
    }
}

impl<C> Drop for Waiting<C> {
    fn drop(&mut self) {
        lock(&self.lobby.state).waiting.retain(|(number, _)| *number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::workers::{block_on, block_on_until};

    /// Counts how often it was cut.
    #[derive(Default)]
    struct Line(AtomicUsize);

    impl Line {
        fn cuts(&self) -> usize {
            self.0.load(Ordering::SeqCst)
        }
    }

    impl Cut for Line {
        fn cut(&self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn lines<const N: usize>() -> [Arc<Line>; N] {
        std::array::from_fn(|_| Arc::default())
    }

    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_newer_connection_enters_when_the_older_has_left() {
        let slot = Arc::new(Slot::default());
        let [older, newer] = lines();
        let place = slot.enter_now(&older).unwrap();
        let (woken, mut entering) = (Arc::new(Woken(AtomicUsize::new(0))), slot.enter(&newer));
        let waker = Waker::from(Arc::clone(&woken));
        let mut poll = || Pin::new(&mut entering).poll(&mut Context::from_waker(&waker));
        assert!(poll().is_pending());
        assert_eq!((older.cuts(), newer.cuts()), (1, 0), "the older one is cut");
        assert_eq!(woken.0.load(Ordering::SeqCst), 0);
        drop(place);
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
        let Poll::Ready(Ok(place)) = poll() else { panic!("the place is free") };
        assert!(slot.enter_now(&older).is_none());
        assert_eq!(newer.cuts(), 1);
        drop(place);
        assert!(slot.enter_now(&older).is_some());
    }

    #[test]
    fn however_many_come_one_waits() {
        let slot = Arc::new(Slot::default());
        let [older, newer] = lines();
        let place = slot.enter_now(&older).unwrap();
        let mut crowd: Vec<_> = (0..100).map(|_| slot.enter(&newer)).collect();
        let mut poll = |at: usize| Pin::new(&mut crowd[at]).poll(&mut Context::from_waker(Waker::noop()));
        assert!((0..99).all(|at| matches!(poll(at), Poll::Ready(Err(Trouble::GivesWay)))));
        assert!(poll(99).is_pending());
        let (woken, mut last) = (Arc::new(Woken(AtomicUsize::new(0))), slot.enter(&newer));
        assert!(matches!(poll(99), Poll::Ready(Err(Trouble::GivesWay))));
        let waker = Waker::from(Arc::clone(&woken));
        assert!(Pin::new(&mut last).poll(&mut Context::from_waker(&waker)).is_pending());
        drop(place);
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
        assert!(Pin::new(&mut last).poll(&mut Context::from_waker(&waker)).is_ready());
    }

    #[test]
    fn a_slot_can_lose_patience_and_can_be_closed() {
        let slot = Arc::new(Slot::default());
        let [older, newer] = lines();
        let place = slot.enter_now(&older).unwrap();
        assert!(block_on_until(slot.enter(&newer), Some(Instant::now() + Duration::from_millis(1))).is_none());
        assert!(lock(&slot.state).waiting.is_empty(), "who has lost patience is forgotten");
        let cuts = older.cuts();
        slot.close();
        assert_eq!(older.cuts(), cuts + 1);
        assert!(matches!(block_on(slot.enter(&newer)), Err(Trouble::Closed)));
        drop(place);
        assert!(matches!(block_on(slot.enter(&newer)), Err(Trouble::Closed)));
    }

    #[test]
    fn the_lobby_makes_room_in_the_order_of_arrival() {
        let lobby = Arc::new(Lobby::new(2));
        let guests: [Arc<Line>; 4] = lines();
        let mut places: Vec<_> = guests.iter().take(2).map(|guest| lobby.enter(guest)).collect();
        drop(places.remove(0));
        places.extend(guests.iter().skip(2).map(|guest| lobby.enter(guest)));
        let cuts = || guests.each_ref().map(|guest| guest.cuts());
        assert_eq!(cuts(), [0, 1, 0, 0], "the first has left by itself, so the second had to go");
        lobby.close();
        assert_eq!(cuts(), [0, 1, 1, 1]);
        assert!(lobby.enter(&guests[0]).is_none());
    }
}
