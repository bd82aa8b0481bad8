//! What the drivers' `sync.rs` is here: the same names, over threads of which one runs at a time. The checker may let another
//! go on wherever a lock is taken or has been given back, a thread parks, is woken, begins or ends.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

pub(crate) use shuttle::sync::PoisonError;
pub(crate) use shuttle::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
pub(crate) use shuttle::{thread, thread_local};

type Locked<'a, T> = Result<MutexGuard<'a, T>, PoisonError<MutexGuard<'a, T>>>;

/// The checker's own lets others go on before each call only. What follows the end of a lock and is no call of the
/// checker's, a send to a channel of another crate for one, could then never come late.
#[derive(Default)]
pub struct Mutex<T>(shuttle::sync::Mutex<T>);

pub struct MutexGuard<'a, T>(Option<shuttle::sync::MutexGuard<'a, T>>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Mutex<T> {
        Mutex(shuttle::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> Locked<'_, T> {
        locked(self.0.lock())
    }
}

fn locked<'a, T>(result: shuttle::sync::LockResult<shuttle::sync::MutexGuard<'a, T>>) -> Locked<'a, T> {
    let guard = |guard| MutexGuard(Some(guard));
    result.map(guard).map_err(|poisoned| PoisonError::new(guard(poisoned.into_inner())))
}

const HELD: &str = "it is held until it is dropped";

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect(HELD)
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect(HELD)
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        if self.0.take().is_some() {
            // To the checker, which knows no time: a turn.
            thread::sleep(Duration::ZERO);
        }
    }
}

#[derive(Default)]
pub(crate) struct Condvar(shuttle::sync::Condvar);

impl Condvar {
    pub(crate) fn wait<'a, T>(&self, mut guard: MutexGuard<'a, T>) -> Locked<'a, T> {
        locked(self.0.wait(guard.0.take().expect(HELD)))
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// Run `work` on a thread whose name says who waits, if one waits for ever.
pub(crate) fn spawn<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> thread::JoinHandle<T> {
    thread::Builder::new().name(name.to_owned()).spawn(work).unwrap()
}
