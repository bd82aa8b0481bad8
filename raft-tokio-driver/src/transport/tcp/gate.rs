//! What stands between the transport and the node.

use std::sync::Arc;

use raft_std_driver::raft_core::{EntryId, Message, NodeId, SnapshotMeta, Term};
use raft_std_driver::storage::{SnapshotSink, StorageError};
use raft_std_driver::transport::Inbound;
use raft_std_driver::transport::parts::{lock, shut_down};

use crate::sync::{Condvar, Mutex, PoisonError};

/// Lets through what is delivered to the node. Once it is closed, nothing gets through.
#[derive(Default)]
pub(super) struct Gate {
    state: Mutex<Crossing>,
    left: Condvar,
}

#[derive(Default)]
struct Crossing {
    inbound: Option<Arc<dyn Inbound>>,
    inside: usize,
}

impl Gate {
    pub(super) fn open(&self, inbound: Arc<dyn Inbound>) {
        lock(&self.state).inbound = Some(inbound);
    }

    /// Deliver something, unless the gate is closed; `None` then.
    pub(super) fn deliver<T>(&self, what: impl FnOnce(&dyn Inbound) -> T) -> Option<T> {
        let (_inside, inbound) = {
            let mut state = lock(&self.state);
            let inbound = state.inbound.clone()?;
            state.inside += 1;
            (Inside(self), inbound)
        };
        let delivered = what(&*inbound);
        // Before it leaves: who closes the gate may be the only one left.
        drop(inbound);
        Some(delivered)
    }

    /// Let nothing through any more, and wait for what is just being delivered, which is quick.
    pub(super) fn close(&self) {
        let mut state = lock(&self.state);
        let inbound = state.inbound.take();
        while state.inside > 0 {
            state = self.left.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        drop(inbound);
    }
}

struct Inside<'a>(&'a Gate);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.inside -= 1;
        if state.inside == 0 && state.inbound.is_none() {
            self.0.left.notify_all();
        }
    }
}

/// For what is shared with other drivers.
impl Inbound for Gate {
    fn message(&self, from: NodeId, message: Message) {
        self.deliver(|inbound| inbound.message(from, message));
    }

    fn arriving(&self, from: NodeId, term: Term) {
        self.deliver(|inbound| inbound.arriving(from, term));
    }

    fn unreachable(&self, peer: NodeId) {
        self.deliver(|inbound| inbound.unreachable(peer));
    }

    fn reachable(&self, peer: NodeId) {
        self.deliver(|inbound| inbound.reachable(peer));
    }

    fn snapshot_sent(&self, to: NodeId, snapshot: EntryId, delivered: bool) {
        self.deliver(|inbound| inbound.snapshot_sent(to, snapshot, delivered));
    }

    /// This may take long, and need not end before the gate is closed: what comes of it is thrown away then.
    fn snapshot_begin(&self, from: NodeId, meta: &SnapshotMeta) -> Result<Box<dyn SnapshotSink>, StorageError> {
        let inbound = lock(&self.state).inbound.clone();
        match inbound {
            Some(inbound) => inbound.snapshot_begin(from, meta),
            None => Err(StorageError::Failed(shut_down().to_string())),
        }
    }

    fn snapshot_received(&self, from: NodeId, term: Term, meta: SnapshotMeta) {
        self.deliver(|inbound| inbound.snapshot_received(from, term, meta));
    }

    fn failed(&self, cause: String) {
        self.deliver(|inbound| inbound.failed(cause));
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    use super::*;

    /// Remembers who was unreachable, and why the transport failed. Waits at server 9, and returns through the gate at 8.
    pub(in super::super) struct Ear {
        heard: Mutex<Vec<String>>,
        gate: Arc<Gate>,
        nine: (mpsc::Sender<()>, Mutex<mpsc::Receiver<()>>),
    }

    impl Ear {
        pub(in super::super) fn heard(&self) -> Vec<String> {
            lock(&self.heard).clone()
        }
    }

    impl Inbound for Ear {
        fn message(&self, _: NodeId, _: Message) {}

        fn unreachable(&self, peer: NodeId) {
            if peer == NodeId(8) {
                self.gate.unreachable(NodeId(7));
            }
            if peer == NodeId(9) {
                self.nine.0.send(()).unwrap();
                lock(&self.nine.1).recv().unwrap();
            }
            lock(&self.heard).push(peer.to_string());
        }

        fn snapshot_sent(&self, _: NodeId, _: EntryId, _: bool) {}

        fn snapshot_begin(&self, _: NodeId, _: &SnapshotMeta) -> Result<Box<dyn SnapshotSink>, StorageError> {
            Err(StorageError::Failed("no disk".into()))
        }

        fn snapshot_received(&self, _: NodeId, _: Term, _: SnapshotMeta) {}

        fn failed(&self, cause: String) {
            lock(&self.heard).push(cause);
        }
    }

    pub(in super::super) fn opened() -> (Arc<Gate>, Arc<Ear>, mpsc::Receiver<()>, mpsc::Sender<()>) {
        let ((arrived, arrival), (go, gone)) = (mpsc::channel(), mpsc::channel());
        let gate = Arc::new(Gate::default());
        let ear = Ear { heard: Mutex::default(), gate: Arc::clone(&gate), nine: (arrived, Mutex::new(gone)) };
        let ear = Arc::new(ear);
        gate.open(Arc::clone(&ear) as Arc<dyn Inbound>);
        (gate, ear, arrival, go)
    }

    #[test]
    fn a_gate_closes_behind_whoever_is_inside() {
        let (gate, ear, arrival, go) = opened();
        gate.unreachable(NodeId(8));
        assert_eq!(ear.heard(), ["7", "8"], "who is called may call back");
        std::thread::scope(|scope| {
            scope.spawn(|| gate.unreachable(NodeId(9)));
            arrival.recv().unwrap();
            let closed = scope.spawn(|| {
                gate.close();
                ear.heard()
            });
            let deadline = Instant::now() + Duration::from_secs(30);
            while gate.deliver(|_| ()).is_some() && Instant::now() < deadline {
                std::thread::yield_now();
            }
            go.send(()).unwrap();
            assert_eq!(closed.join().unwrap(), ["7", "8", "9"], "it waits for who is inside");
        });
        gate.unreachable(NodeId(1));
        assert_eq!(ear.heard().len(), 3);
        gate.close();
        assert_eq!(Arc::strong_count(&ear), 1, "and holds nobody");
    }
}
