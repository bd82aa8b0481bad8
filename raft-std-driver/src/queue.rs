//! A queue to one part of a node that takes everything waiting at once: what it finds is its batch.

use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

use crate::sync::{Mutex, MutexGuard, PoisonError};

/// Take a lock that others may have poisoned. What a lock of this crate guards is whole between any two statements, and none
/// is held while foreign code runs: a poisoned one guards nothing broken.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who sleeps until there is something to take. Woken once for each sleep, so that filling what nobody waits for costs no
/// system call.
#[derive(Default)]
pub(crate) struct Sleeper(Option<Waker>);

impl Sleeper {
    pub(crate) fn sleep<T>(&mut self, context: &Context<'_>) -> Poll<T> {
        match &mut self.0 {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// Who is to be woken, once no lock is held.
    #[must_use]
    pub(crate) fn rouse(&mut self) -> Option<Waker> {
        self.0.take()
    }
}

/// Unbounded itself. What goes in is bounded elsewhere: work by what the core hands out, refusals by the inbox's room.
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
}

struct State<T> {
    items: Vec<T>,
    taker: Sleeper,
    closed: bool,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        let state = State { items: Vec::new(), taker: Sleeper::default(), closed: false };
        Queue { state: Mutex::new(state) }
    }
}

impl<T> Queue<T> {
    /// Put one in, and wake the taker.
    ///
    /// # Errors
    /// Gives it back if the queue is closed.
    pub(crate) fn push(&self, item: T) -> Result<(), T> {
        let mut state = lock(&self.state);
        if state.closed {
            return Err(item);
        }
        state.items.push(item);
        let taker = state.taker.rouse();
        drop(state);
        taker.inspect(Waker::wake_by_ref);
        Ok(())
    }

    /// Put all of these in, and wake the taker unless they can wait until others come. If the queue is closed, they stay
    /// where they are.
    pub(crate) fn push_all(&self, items: &mut Vec<T>, wake: bool) {
        if items.is_empty() {
            return;
        }
        let mut state = lock(&self.state);
        if state.closed {
            return;
        }
        state.items.append(items);
        let taker = if wake { state.taker.rouse() } else { None };
        drop(state);
        taker.inspect(Waker::wake_by_ref);
    }

    /// Wait for items and move all of them, in order, into `taken`, which must be empty. `false`, and nothing taken, once
    /// the queue is closed.
    pub(crate) async fn take(&self, taken: &mut Vec<T>) -> bool {
        poll_fn(|context| self.poll_take(context, taken)).await
    }

    pub(crate) fn poll_take(&self, context: &Context<'_>, taken: &mut Vec<T>) -> Poll<bool> {
        let mut state = lock(&self.state);
        if state.closed {
            return Poll::Ready(false);
        }
        if state.items.is_empty() {
            return state.taker.sleep(context);
        }
        std::mem::swap(&mut state.items, taken);
        Poll::Ready(true)
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.state).items.len()
    }

    /// Take nothing more in, and send the taker home.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        let taker = state.taker.rouse();
        drop(state);
        taker.inspect(Waker::wake_by_ref);
    }

    /// What was left when the queue was closed.
    pub(crate) fn leftovers(&self) -> Vec<T> {
        std::mem::take(&mut lock(&self.state).items)
    }
}
