//! What all parts of a node share: the queues between them, and how they stop together.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use raft_core::{EntryId, Index, NodeId};

use crate::asked::Asked;
use crate::error::{NodeError, ReadError, SnapshotError};
use crate::events::NodeEvent;
use crate::inbox::{Caller, Inbox};
use crate::log_lines::LogLines;
use crate::mark::NodeMark;
use crate::observer::{Depths, Observer};
use crate::queue::{Queue, lock};
use crate::server::jobs::{ApplyJob, LogJob};
use crate::status::NodeStatus;
use crate::sync::{Mutex, MutexGuard};
use crate::waiters::RefusedCall;
use crate::workers::{Workers, panic_message};

/// Between the handle and the parts. Who fails, or is asked to, stops all: it closes the queues, and each part ends when it
/// next looks.
pub(crate) struct Shared {
    pub(crate) id: NodeId,
    pub(crate) mark: NodeMark,
    pub(crate) inbox: Inbox,
    pub(crate) log: Queue<LogJob>,
    pub(crate) apply: Queue<ApplyJob>,
    pub(crate) refusals: Queue<RefusedCall>,
    /// How things stand, which the core answers.
    pub(crate) status: Asked<NodeStatus>,
    /// The next read, which the core answers.
    pub(crate) read: Asked<Result<Index, ReadError>>,
    /// The next snapshot, which the machine answers.
    pub(crate) snapshot: Asked<Result<EntryId, SnapshotError>>,
    pub(crate) lines: LogLines,
    pub(crate) observer: Arc<dyn Observer>,
    workers: Arc<dyn Workers>,
    life: Mutex<Life>,
}

#[derive(Default)]
struct Life {
    stopping: bool,
    cause: Option<NodeError>,
    /// What still runs, or holds on to the storage.
    alive: usize,
    last_status: Option<NodeStatus>,
    /// Who waits for any of these to change, by ticket.
    waiting: BTreeMap<u64, Waker>,
    tickets: u64,
}

impl Shared {
    pub(crate) fn new(
        id: NodeId,
        inbox_bytes_max: u64,
        workers: Arc<dyn Workers>,
        observer: Arc<dyn Observer>,
    ) -> Shared {
        Shared {
            id,
            mark: NodeMark::fresh(),
            inbox: Inbox::new(inbox_bytes_max),
            log: Queue::default(),
            apply: Queue::default(),
            refusals: Queue::default(),
            status: Asked::default(),
            read: Asked::default(),
            snapshot: Asked::default(),
            lines: LogLines::new(id),
            observer,
            workers,
            life: Mutex::default(),
        }
    }

    /// Stop all parts. The first call says why; what fails afterwards may fail because of it. Whoever is told may panic:
    /// the parts end all the same.
    pub(crate) fn stop(&self, cause: Option<NodeError>) {
        let mut life = lock(&self.life);
        if std::mem::replace(&mut life.stopping, true) {
            return;
        }
        life.cause.clone_from(&cause);
        wake_all(life);
        if catch_unwind(AssertUnwindSafe(|| self.tell(&NodeEvent::Stops { cause }))).is_err() {
            tracing::warn!(node = self.id.0, "who was told that the node stops has panicked");
        }
        self.inbox.close();
        self.log.close();
        self.apply.close();
        self.refusals.close();
    }

    /// Log it, and tell who watches.
    pub(crate) fn tell(&self, event: &NodeEvent) {
        self.lines.happened(event);
        self.observer.happened(event);
    }

    /// The disk has made so many writes durable with one sync.
    pub(crate) fn synced(&self, writes: usize, bytes: u64, took: Duration) {
        self.lines.synced(writes, bytes, took);
        self.observer.synced(writes, bytes, took);
    }

    /// The machine has applied so many commands.
    pub(crate) fn applied(&self, commands: usize, took: Duration) {
        self.lines.applied(commands, took);
        self.observer.applied(commands, took);
    }

    /// The inbox had no room for a message.
    pub(crate) fn dropped(&self, from: NodeId) {
        self.lines.dropped(from);
        self.observer.dropped(from);
    }

    /// How the calling thread stands to this node.
    pub(crate) fn caller(&self) -> Caller {
        if self.mark.is_here() { Caller::OwnThread } else { Caller::Outside }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        lock(&self.life).stopping
    }

    /// Wait until the node was stopped and nothing of it is alive; within one of its parts, only look.
    pub(crate) async fn ended(&self) -> Result<(), NodeError> {
        let ended = |life: &Life| {
            let over = self.mark.is_here() || life.stopping && life.alive == 0;
            over.then(|| life.cause.clone().map_or(Ok(()), Err))
        };
        self.life_until(ended).await
    }

    /// The core has ended, and stood like this.
    pub(crate) fn leave_word(&self, status: NodeStatus) {
        let mut life = lock(&self.life);
        life.last_status = Some(status);
        wake_all(life);
    }

    /// How the core stood when it ended; waits for the end of its last round.
    pub(crate) async fn last_status(&self) -> NodeStatus {
        self.life_until(|life| life.last_status.clone()).await
    }

    /// How many wait for the node's life to change.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        lock(&self.life).waiting.len()
    }

    async fn life_until<T>(&self, look: impl Fn(&Life) -> Option<T>) -> T {
        let mut place = Waits { shared: self, ticket: None };
        poll_fn(|context| {
            let mut life = lock(&self.life);
            if let Some(found) = look(&life) {
                return Poll::Ready(found);
            }
            let ticket = *place.ticket.get_or_insert_with(|| {
                life.tickets += 1;
                life.tickets
            });
            let before = life.waiting.insert(ticket, context.waker().clone());
            // What a waker drops is foreign code.
            drop(life);
            drop(before);
            Poll::Pending
        })
        .await
    }

    /// Run a part of the node. Its error or panic stops the node; only then is what the part owns dropped, so that whoever
    /// is called back from there finds a node that no longer lets anyone wait.
    pub(crate) fn spawn(
        self: &Arc<Self>,
        name: &'static str,
        part: impl Future<Output = Result<(), String>> + Send + 'static,
    ) -> io::Result<()> {
        let watched = Watched { name, part: Some(Box::pin(part)), alive: self.keep_alive() };
        self.workers.spawn(&format!("{}-{name}", self.id), Box::pin(watched))
    }

    /// The node has not ended before what this returns is dropped.
    pub(crate) fn keep_alive(self: &Arc<Self>) -> Alive {
        lock(&self.life).alive += 1;
        Alive(Arc::clone(self))
    }
}

fn wake_all(mut life: MutexGuard<'_, Life>) {
    let waiting = std::mem::take(&mut life.waiting);
    drop(life);
    waiting.values().for_each(Waker::wake_by_ref);
}

/// One who waits for the node's life to change, and leaves nothing behind: a node may live long, and see many who wait
/// for its end beside something else.
struct Waits<'a> {
    shared: &'a Shared,
    ticket: Option<u64>,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let waker = lock(&self.shared.life).waiting.remove(&ticket);
        drop(waker);
    }
}

/// Part of a node, or of what it has lent out.
pub struct Alive(Arc<Shared>);

impl Alive {
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        let mut life = lock(&self.0.life);
        life.alive -= 1;
        wake_all(life);
    }
}

/// Run `work` for the node: its panic stops the node, like its error.
pub(crate) fn watch<T>(shared: &Shared, name: &str, work: impl FnOnce() -> Poll<Result<T, String>>) -> Poll<Option<T>> {
    let (_here, _span) = (shared.mark.enter(), shared.lines.span().enter());
    let polled = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Poll::Ready(Err(panic_message(&*panic))));
    polled.map(|ended| match ended {
        Ok(done) => Some(done),
        Err(message) => {
            shared.stop(Some(NodeError::Thread { thread: name.to_owned(), message }));
            None
        }
    })
}

/// Drop what a part of the node owned; what is called back from there may panic.
pub(crate) fn drop_watched<T>(shared: &Shared, name: &str, owned: T) {
    let (_here, _span) = (shared.mark.enter(), shared.lines.span().enter());
    if catch_unwind(AssertUnwindSafe(move || drop(owned))).is_err() {
        tracing::warn!(node = shared.id.0, thread = name, "panicked while it was being dropped");
    }
}

type Running = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

struct Watched {
    name: &'static str,
    part: Option<Running>,
    alive: Alive,
}

impl Future for Watched {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Watched { name, part, alive: Alive(shared) } = &mut *self;
        let Some(running) = part else { return Poll::Ready(()) };
        let polled = watch(shared, name, || running.as_mut().poll(context));
        polled.map(|_| drop_watched(shared, name, part.take()))
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        drop_watched(&self.alive.0, self.name, self.part.take());
    }
}

impl Depths for Shared {
    fn callers_waiting(&self) -> usize {
        self.inbox.callers_waiting()
    }

    fn log(&self) -> usize {
        self.log.len()
    }

    fn apply(&self) -> usize {
        self.apply.len()
    }
}
