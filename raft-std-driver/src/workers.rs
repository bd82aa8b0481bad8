//! Where a node's work is done that may block: its disk's, its machine's, and one part for each snapshot under way.
//!
//! A [`Part`] is a future that awaits nothing but its work, and blocks on files and on the application's code as it likes
//! in between. [`Threads`] gives each a thread of its own. A simulation that must be the same each time polls them on its
//! one thread instead: nothing else of a node differs between the two.

use std::any::Any;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

pub use crate::queue::lock;
use crate::sync::thread::{self, Thread};

/// Work that may block; it ends by itself when the node does.
pub type Part = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs [`Part`]s.
pub trait Workers: Send + Sync + 'static {
    /// Run `part` to its end, beside all others. `name` says what it does, for debuggers: "disk", "machine", "snapshot",
    /// "send", ...; parts of one name may run side by side.
    ///
    /// # Errors
    /// If it cannot be run: there is no thread for it. It is dropped.
    fn spawn(&self, name: &str, part: Part) -> io::Result<()>;
}

impl<W: Workers + ?Sized> Workers for Arc<W> {
    fn spawn(&self, name: &str, part: Part) -> io::Result<()> {
        (**self).spawn(name, part)
    }
}

/// Each part has a thread of its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Threads;

impl Workers for Threads {
    fn spawn(&self, name: &str, part: Part) -> io::Result<()> {
        thread::Builder::new().name(format!("raft-{name}")).spawn(move || block_on(part)).map(drop)
    }
}

/// Run `future` on this thread, which sleeps while it waits.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(ThisThread(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        thread::park();
    }
}

/// The same, but only until `deadline` has come; then `None`. What is ready at once is taken even if it has come before.
pub fn block_on_until<F: Future>(future: F, deadline: Option<Instant>) -> Option<F::Output> {
    let Some(deadline) = deadline else { return Some(block_on(future)) };
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(ThisThread(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        thread::park_timeout(left);
    }
}

/// Wakes the thread that waits. Whoever else parks there may be woken for nothing, which parking allows.
struct ThisThread(Thread);

impl Wake for ThisThread {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

/// What the thread that panicked said.
#[must_use]
pub fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", text.unwrap_or("no message"))
}
