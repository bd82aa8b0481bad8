//! What the tokio driver adds that threads share: what others see of a node, and the gate of its transport. Its channels are
//! tokio's, and each call of them is one turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use raft_core::{EntryId, Message, NodeId, SnapshotMeta, Term};

use super::node::node;
use crate::gate::Gate;
use crate::observer::{NodeEvent, Observer};
use crate::storage::{SnapshotSink, StorageError};
use crate::sync::{spawn, thread};
use crate::transport::Inbound;
use crate::watching::{Events, Watching};
use crate::workers::block_on;

/// All that is told until the end.
fn listen(mut events: Events) -> Vec<NodeEvent> {
    block_on(async {
        let mut heard = Vec::new();
        while let Some(event) = events.next().await {
            heard.push(event.unwrap());
        }
        heard
    })
}

/// Parts tell what happens while another tells that the node stops: that is the last that a listener hears, and whoever
/// comes later hears nothing.
pub fn the_end_is_the_last_event() {
    let watching = Arc::new(Watching::new());
    let listeners = [0; 2].map(|_| {
        let watching = Arc::clone(&watching);
        spawn("listener", move || listen(watching.events()))
    });
    let early = watching.events();
    let parts = [1, 2].map(|peer| {
        let watching = Arc::clone(&watching);
        spawn("part", move || {
            for _ in 0..2 {
                watching.happened(&NodeEvent::Reachable { peer: NodeId(peer) });
            }
        })
    });
    watching.happened(&NodeEvent::Stops { cause: None });
    let heard: Vec<_> = listeners.into_iter().map(|listener| listener.join().unwrap()).chain([listen(early)]).collect();
    parts.into_iter().for_each(|part| part.join().unwrap());
    assert!(heard.last().is_some_and(|heard| !heard.is_empty()));
    for heard in heard {
        let end = heard.iter().position(|event| matches!(event, NodeEvent::Stops { .. }));
        assert_eq!(end, heard.len().checked_sub(1), "{heard:?}");
    }
}

/// Who watches how a node stands sees it applying, and at the end that it runs no more; then the watch ends, although there
/// is a handle.
pub fn a_watch_ends_with_its_node() {
    let watching = Arc::new(Watching::new());
    let node = node(Arc::clone(&watching));
    let (mut applies, mut ends) = (watching.standing(), watching.standing());
    let before = applies.borrow_and_update().applied;
    let applies = spawn("applies", move || block_on(applies.wait_for(|now| now.applied > before)).is_ok());
    let ends = spawn("ends", move || {
        while block_on(ends.changed()).is_ok() {}
        ends.borrow().running
    });
    let events = watching.events();
    let listener = spawn("listener", move || listen(events));
    assert!(block_on(node.control.start("a".into())).is_ok());
    assert!(applies.join().unwrap());
    node.control.stop();
    assert!(node.end().is_ok());
    watching.retire();
    assert!(!ends.join().unwrap());
    assert!(matches!(listener.join().unwrap().last(), Some(NodeEvent::Stops { .. })));
}

#[derive(Default)]
struct Ear {
    is_closed: AtomicBool,
}

impl Ear {
    /// What is delivered takes a while.
    fn hear(&self) {
        assert!(!self.is_closed.load(Ordering::SeqCst));
        thread::yield_now();
        assert!(!self.is_closed.load(Ordering::SeqCst));
    }
}

impl Inbound for Ear {
    fn message(&self, _: NodeId, _: Message) {
        self.hear();
    }

    fn unreachable(&self, _: NodeId) {
        self.hear();
    }

    fn snapshot_sent(&self, _: NodeId, _: EntryId, _: bool) {
        self.hear();
    }

    fn snapshot_begin(&self, _: NodeId, _: &SnapshotMeta) -> Result<Box<dyn SnapshotSink>, StorageError> {
        Err(StorageError::Failed("no disk".into()))
    }

    fn snapshot_received(&self, _: NodeId, _: Term, _: SnapshotMeta) {
        self.hear();
    }

    fn failed(&self, _: String) {
        self.hear();
    }
}

/// Two deliver, two close: when the gate is closed nobody is inside, and nobody gets in any more.
pub fn nothing_passes_a_closed_gate() {
    let (gate, ear) = (Arc::new(Gate::default()), Arc::new(Ear::default()));
    gate.open(Arc::clone(&ear) as Arc<dyn Inbound>);
    let outside = [2, 3].map(|peer| {
        let gate = Arc::clone(&gate);
        spawn("outside", move || (0..2).for_each(|_| gate.unreachable(NodeId(peer))))
    });
    let closing = [0; 2].map(|_| {
        let (gate, ear) = (Arc::clone(&gate), Arc::clone(&ear));
        spawn("closes", move || {
            gate.close();
            ear.is_closed.store(true, Ordering::SeqCst);
        })
    });
    outside.into_iter().chain(closing).for_each(|thread| thread.join().unwrap());
}
