//! What all threads of a node share: the queues between them, and how they stop together.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::{io, thread};

use raft_core::NodeId;

use crate::disk_thread::DiskWork;
use crate::error::NodeError;
use crate::inbox::{Caller, Inbox};
use crate::machine_thread::MachineWork;
use crate::node::NodeStatus;
use crate::queue::{Queue, lock};
use crate::waiters::RefusedCall;

thread_local! {
    /// The node that this thread works for; 0 for none.
    static HERE: Cell<u64> = const { Cell::new(0) };
}

/// Tells the nodes of one process apart, whatever their ids.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NodeMark(u64);

impl NodeMark {
    fn fresh() -> NodeMark {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        NodeMark(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// Whether the calling thread is one of the node's own, which must not wait for the others.
    pub(crate) fn is_here(self) -> bool {
        HERE.get() == self.0
    }
}

/// Between the handle and the threads. Who fails, or is asked to, stops all: it closes the queues, and each thread ends
/// when it next looks.
pub(crate) struct Shared {
    pub(crate) id: NodeId,
    pub(crate) mark: NodeMark,
    pub(crate) inbox: Inbox,
    pub(crate) disk: Queue<DiskWork>,
    pub(crate) machine: Queue<MachineWork>,
    pub(crate) refusals: Queue<RefusedCall>,
    life: Mutex<Life>,
    /// A thread has ended, or the core has left word how it stood.
    ended: Condvar,
}

#[derive(Default)]
struct Life {
    stopping: bool,
    cause: Option<NodeError>,
    threads: usize,
    last_status: Option<NodeStatus>,
}

impl Shared {
    pub(crate) fn new(id: NodeId, inbox_bytes_max: u64) -> Shared {
        Shared {
            id,
            mark: NodeMark::fresh(),
            inbox: Inbox::new(inbox_bytes_max),
            disk: Queue::default(),
            machine: Queue::default(),
            refusals: Queue::default(),
            life: Mutex::default(),
            ended: Condvar::new(),
        }
    }

    /// Stop all threads. The first call says why; what fails afterwards may fail because of it.
    pub(crate) fn stop(&self, cause: Option<NodeError>) {
        let mut life = lock(&self.life);
        if std::mem::replace(&mut life.stopping, true) {
            return;
        }
        match &cause {
            Some(cause) => tracing::error!(node = self.id.0, %cause, "stops"),
            None => tracing::info!(node = self.id.0, "stops"),
        }
        life.cause = cause;
        drop(life);
        self.inbox.close();
        self.disk.close();
        self.machine.close();
        self.refusals.close();
    }

    /// How the calling thread stands to this node.
    pub(crate) fn caller(&self) -> Caller {
        if self.mark.is_here() { Caller::OwnThread } else { Caller::Outside }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        lock(&self.life).stopping
    }

    /// Wait until the node was stopped and its last thread has ended; on one of those threads, only look.
    pub(crate) fn wait(&self) -> Result<(), NodeError> {
        let mut life = lock(&self.life);
        while !self.mark.is_here() && (!life.stopping || life.threads > 0) {
            life = self.ended.wait(life).unwrap_or_else(PoisonError::into_inner);
        }
        life.cause.clone().map_or(Ok(()), Err)
    }

    /// The core has ended, and stood like this.
    pub(crate) fn leave_word(&self, status: NodeStatus) {
        lock(&self.life).last_status = Some(status);
        self.ended.notify_all();
    }

    /// How the core stood when it ended; waits for the end of its last round.
    pub(crate) fn last_status(&self) -> NodeStatus {
        let mut life = lock(&self.life);
        loop {
            match &life.last_status {
                Some(status) => return status.clone(),
                None => life = self.ended.wait(life).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Run a part of the node on a thread of its own. Its error or panic stops the node; only then is what the part owns
    /// dropped, so that whoever is called back from there finds a node that no longer lets anyone wait.
    pub(crate) fn spawn(
        self: &Arc<Self>,
        name: &'static str,
        mut part: impl FnMut() -> Result<(), String> + Send + 'static,
    ) -> io::Result<()> {
        lock(&self.life).threads += 1;
        let shared = Arc::clone(self);
        let spawned = thread::Builder::new().name(format!("raft-{}-{name}", self.id)).spawn(move || {
            HERE.set(shared.mark.0);
            let ended = catch_unwind(AssertUnwindSafe(&mut part));
            if let Err(message) = ended.unwrap_or_else(|panic| Err(panic_message(&*panic))) {
                shared.stop(Some(NodeError::Thread { thread: name.to_owned(), message }));
            }
            if catch_unwind(AssertUnwindSafe(move || drop(part))).is_err() {
                tracing::warn!(node = shared.id.0, thread = name, "panicked while it was being dropped");
            }
            shared.thread_ended();
        });
        spawned.map(drop).inspect_err(|_| self.thread_ended())
    }

    fn thread_ended(&self) {
        lock(&self.life).threads -= 1;
        self.ended.notify_all();
    }
}

/// What the thread that panicked said.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", text.unwrap_or("no message"))
}
