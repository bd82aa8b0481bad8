//! What the tokio driver adds that threads share: what others see of a node. Its channels are
//! tokio's, and each call of them is one turn.

use std::sync::Arc;

use raft_core::NodeId;

use super::node::node;
use crate::observer::{NodeEvent, Observer};
use crate::sync::spawn;
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
