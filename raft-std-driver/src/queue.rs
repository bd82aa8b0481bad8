//! A queue to one thread that takes everything waiting at once: what it finds is its batch.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// What a lock of this crate guards is whole between any two statements, and none is held while foreign code runs: a
/// poisoned one guards nothing broken.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Unbounded itself. What goes in is bounded elsewhere: work by what the core hands out, refusals by the inbox's room.
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
}

struct State<T> {
    items: Vec<T>,
    taker_sleeps: bool,
    closed: bool,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        let state = State { items: Vec::new(), taker_sleeps: false, closed: false };
        Queue { state: Mutex::new(state), filled: Condvar::new() }
    }
}

impl<T> Queue<T> {
    /// Put one in, and wake the taker.
    ///
    /// # Errors
    /// Gives it back if the queue is closed.
    pub(crate) fn push(&self, item: T) -> Result<(), T> {
        self.put(item, true)
    }

    /// Put one in that can wait until another wakes the taker.
    pub(crate) fn push_quietly(&self, item: T) -> Result<(), T> {
        self.put(item, false)
    }

    fn put(&self, item: T, wake: bool) -> Result<(), T> {
        let mut state = lock(&self.state);
        if state.closed {
            return Err(item);
        }
        state.items.push(item);
        let wake = wake && std::mem::take(&mut state.taker_sleeps);
        drop(state);
        if wake {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Wait for items and move all of them, in order, into `taken`, which must be empty. `false`, and nothing taken, once
    /// the queue is closed.
    pub(crate) fn take(&self, taken: &mut Vec<T>) -> bool {
        let mut state = lock(&self.state);
        while state.items.is_empty() && !state.closed {
            state.taker_sleeps = true;
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.taker_sleeps = false;
        if !state.closed {
            std::mem::swap(&mut state.items, taken);
        }
        !state.closed
    }

    /// Take nothing more in, and send the taker home.
    pub(crate) fn close(&self) {
        lock(&self.state).closed = true;
        self.filled.notify_all();
    }

    /// What was left when the queue was closed.
    pub(crate) fn leftovers(&self) -> Vec<T> {
        std::mem::take(&mut lock(&self.state).items)
    }
}
