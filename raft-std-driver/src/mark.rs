//! Which node the calling thread works for: its parts must not wait for each other.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sync::thread_local;

thread_local! {
    /// The node that this thread works for; 0 for none.
    static HERE: Cell<u64> = const { Cell::new(0) };
}

/// Tells the nodes of one process apart, whatever their ids.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NodeMark(u64);

impl NodeMark {
    pub(crate) fn fresh() -> NodeMark {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        NodeMark(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// Whether the calling thread does the node's own work now, and must not wait for the rest of it.
    pub(crate) fn is_here(self) -> bool {
        HERE.with(|here| here.get() == self.0)
    }

    /// The calling thread works for this node until what is returned is dropped.
    pub(crate) fn enter(self) -> Here {
        Here(HERE.with(|here| here.replace(self.0)))
    }
}

/// Remembers whom the thread worked for before.
pub(crate) struct Here(u64);

impl Drop for Here {
    fn drop(&mut self) {
        HERE.with(|here| here.set(self.0));
    }
}
