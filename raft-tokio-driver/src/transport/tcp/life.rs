//! What must end when the transport does: tasks, parts, and connections.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Waker};

use raft_std_driver::transport::Inbound;
use raft_std_driver::transport::parts::{Cut, Trouble, lock, panic_message, shut_down};
use raft_std_driver::workers::{Part, Workers};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tracing::Span;

use super::gate::Gate;

/// One connection, as others see it: they can cut it.
#[derive(Default)]
pub(super) struct Line(Notify);

impl Cut for Line {
    fn cut(&self) {
        self.0.notify_one();
    }
}

impl Line {
    /// Serve the connection until it ends or is cut.
    pub(super) async fn unless_cut<T>(&self, served: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
        tokio::select! {
            biased;
            () = self.0.notified() => Err(Trouble::GivesWay),
            ended = served => ended,
        }
    }
}

/// What runs for a transport: tasks, and parts elsewhere that may block.
#[derive(Default)]
pub(super) struct Tasks {
    /// What the transport was started in, the node's: what its tasks do is done in it.
    span: OnceLock<Span>,
    state: Mutex<Running>,
}

#[derive(Default)]
struct Running {
    closed: bool,
    next: u64,
    running: BTreeMap<u64, Entry>,
    waiting: Vec<Waker>,
}

/// What a task does, until it is done or given up. Polled by whoever holds the lock.
type Work = Arc<Mutex<Option<Part>>>;

/// One that runs. Parts have neither: they end by themselves, when nobody is left at the other end of their channels.
#[derive(Default)]
struct Entry {
    work: Option<Work>,
    abort: Option<AbortHandle>,
}

impl Tasks {
    /// What is started from now on is done in this span.
    pub(super) fn begin(&self, span: Span) {
        let _first = self.span.set(span);
    }

    /// Run `work` as a task; `gate` hears if it panics.
    pub(super) fn spawn(
        self: &Arc<Self>,
        handle: &Handle,
        name: String,
        gate: &Arc<Gate>,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let watched = self.watched(name, gate, work, true)?;
        let number = watched.entered.number;
        // Not under the lock: what a runtime at its end is given is dropped at once, and then leaves.
        let abort = handle.spawn(watched).abort_handle();
        let mut state = lock(&self.state);
        if state.closed {
            abort.abort();
        } else if let Some(entry) = state.running.get_mut(&number) {
            entry.abort = Some(abort);
        }
        Ok(())
    }

    /// Run `work`, which may block, elsewhere.
    pub(super) fn spawn_part(
        self: &Arc<Self>,
        workers: &dyn Workers,
        (role, name): (&str, String),
        gate: &Arc<Gate>,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        workers.spawn(role, Box::pin(self.watched(name, gate, work, false)?))
    }

    fn watched(
        self: &Arc<Self>,
        name: String,
        gate: &Arc<Gate>,
        work: impl Future<Output = ()> + Send + 'static,
        is_task: bool,
    ) -> io::Result<Watched> {
        let work: Work = Arc::new(Mutex::new(Some(Box::pin(work))));
        let mut state = lock(&self.state);
        if state.closed {
            return Err(shut_down());
        }
        let number = state.next;
        state.next += 1;
        state.running.insert(number, Entry { work: is_task.then(|| Arc::clone(&work)), abort: None });
        let entered = Entered { tasks: Arc::clone(self), number };
        let span = self.span.get().cloned().unwrap_or_else(Span::none);
        Ok(Watched { work, is_task, name, span, gate: Arc::clone(gate), entered })
    }

    /// Start nothing more, and end all tasks: at once, and in the order in which they were begun, so that the same
    /// connections end in the same order each time; a task that is just at work ends when it pauses.
    pub(super) fn close(&self) {
        let _within = self.span.get().map(Span::enter);
        let (entries, wakers): (Vec<_>, _) = {
            let mut state = lock(&self.state);
            state.closed = true;
            // If nothing runs, nobody will leave, and leave word.
            let wakers = if state.running.is_empty() { std::mem::take(&mut state.waiting) } else { Vec::new() };
            (state.running.values_mut().map(|entry| (entry.work.take(), entry.abort.take())).collect(), wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
        for (work, abort) in entries {
            let idle = work.as_ref().and_then(|work| work.try_lock().ok()?.take());
            drop(idle);
            if let Some(abort) = abort {
                abort.abort();
            }
        }
    }

    /// Ready when nothing runs any more, and nothing will.
    pub(super) fn poll_closed(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = lock(&self.state);
        if state.closed && state.running.is_empty() {
            return Poll::Ready(());
        }
        if !state.waiting.iter().any(|waker| waker.will_wake(context.waker())) {
            state.waiting.push(context.waker().clone());
        }
        Poll::Pending
    }
}

/// One that runs; leaves when dropped.
struct Entered {
    tasks: Arc<Tasks>,
    number: u64,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let (_entry, wakers) = {
            let mut state = lock(&self.tasks.state);
            let entry = state.running.remove(&self.number);
            let over = state.running.is_empty();
            (entry, if over { std::mem::take(&mut state.waiting) } else { Vec::new() })
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// Work whose panic is told.
struct Watched {
    work: Work,
    is_task: bool,
    name: String,
    span: Span,
    gate: Arc<Gate>,
    /// Dropped last: who has left holds nothing any more.
    entered: Entered,
}

impl Future for Watched {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let _within = self.span.enter();
        let mut place = lock(&self.work);
        let Some(work) = place.as_mut() else { return Poll::Ready(()) };
        match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(())) => drop(place.take()),
            Err(panic) => {
                let cause = format!("{} {}", self.name, panic_message(&*panic));
                tracing::error!(thread = self.name, cause, "the transport has panicked");
                self.gate.failed(cause);
                // What it holds may panic as well, and has nothing new to say.
                let work = place.take();
                let _told = catch_unwind(AssertUnwindSafe(move || drop(work)));
            }
        }
        Poll::Ready(())
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _within = self.span.enter();
        // Dropped undone, it was aborted; or its runtime ends, in an order of its own: then all end now, in theirs.
        if self.is_task && lock(&self.work).is_some() {
            self.entered.tasks.close();
        }
        drop(lock(&self.work).take());
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn, ready};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc;
    use std::task::Wake;

    use raft_std_driver::workers::{Threads, block_on};

    use super::super::gate::tests::opened;
    use super::*;

    #[test]
    fn a_panic_is_told_and_the_others_go_on() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (tasks, (gate, ear, ..)) = (Arc::new(Tasks::default()), opened());
        let (done, over) = tokio::sync::oneshot::channel();
        tasks.spawn(runtime.handle(), "bad".into(), &gate, async { panic!("number {}", 5) }).unwrap();
        let good = async { done.send(5).unwrap() };
        tasks.spawn(runtime.handle(), "good".into(), &gate, good).unwrap();
        assert_eq!(runtime.block_on(over), Ok(5));
        let part = async { panic!("in a part") };
        tasks.spawn_part(&Threads, ("send", "worse".into()), &gate, part).unwrap();
        tasks.close();
        block_on(poll_fn(|context| tasks.poll_closed(context)));
        assert_eq!(ear.heard(), ["bad panicked: number 5", "worse panicked: in a part"]);
    }

    /// Says which it is when it is dropped.
    struct Last(usize, Arc<Mutex<Vec<usize>>>);

    impl Drop for Last {
        fn drop(&mut self) {
            lock(&self.1).push(self.0);
        }
    }

    /// So that a simulation's streams end in the same order each time: a runtime drops its tasks in an order that depends
    /// on all other runtimes of the process.
    #[test]
    fn tasks_end_in_the_order_in_which_they_began() {
        for by_hand in [true, false] {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (tasks, (gate, ..), ended) = (Arc::new(Tasks::default()), opened(), Arc::default());
            for number in 0..10 {
                let last = Last(number, Arc::clone(&ended));
                let work = async move {
                    pending::<()>().await;
                    drop(last);
                };
                tasks.spawn(runtime.handle(), "endless".into(), &gate, work).unwrap();
            }
            runtime.block_on(tokio::task::yield_now());
            if by_hand {
                tasks.close();
            } else {
                drop(runtime);
            }
            assert_eq!(*lock(&ended), Vec::from_iter(0..10), "at once");
            assert!(tasks.spawn_part(&Threads, ("send", "late".into()), &gate, ready(())).is_err());
        }
    }

    /// Whether it has been woken.
    #[derive(Default)]
    struct Bell(AtomicBool);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn who_waits_for_the_end_hears_of_it_even_if_nothing_ran() {
        let (tasks, bell) = (Tasks::default(), Arc::new(Bell::default()));
        let waker = Waker::from(Arc::clone(&bell));
        let mut context = Context::from_waker(&waker);
        assert!(tasks.poll_closed(&mut context).is_pending());
        tasks.close();
        assert!(bell.0.load(Ordering::Relaxed) && tasks.poll_closed(&mut context).is_ready());
    }

    #[test]
    fn all_must_end_before_it_is_closed() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (tasks, (gate, ..)) = (Arc::new(Tasks::default()), opened());
        let is_closed = || tasks.poll_closed(&mut Context::from_waker(Waker::noop())).is_ready();
        assert!(!is_closed(), "nothing runs, but something may");
        let (go, gone) = mpsc::channel::<()>();
        let blocked = async move { assert!(gone.recv().is_err()) };
        tasks.spawn_part(&Threads, ("send", "blocked".into()), &gate, blocked).unwrap();
        tasks.spawn(runtime.handle(), "endless".into(), &gate, pending()).unwrap();
        tasks.close();
        assert!(tasks.spawn(runtime.handle(), "late".into(), &gate, ready(())).is_err());
        runtime.block_on(tokio::task::yield_now());
        assert!(!is_closed(), "the part goes on");
        drop(go);
        block_on(poll_fn(|context| tasks.poll_closed(context)));
        // A runtime at its end drops what it is given.
        let (tasks, handle) = (Arc::new(Tasks::default()), runtime.handle().clone());
        drop(runtime);
        tasks.spawn(&handle, "homeless".into(), &gate, pending()).unwrap();
        tasks.close();
        block_on(poll_fn(|context| tasks.poll_closed(context)));
    }
}
