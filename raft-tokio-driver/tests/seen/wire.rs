//! A transport that counts, and that lets a test speak as if it were the transport.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use raft_std_driver::raft_core::{EntryId, Message, NodeId, SnapshotMeta, Term};
use raft_std_driver::storage::{SnapshotSink, StorageError};
use raft_std_driver::transport::{Inbound, OutgoingSnapshot, PeerTraffic, Traffic, Transport};

/// Each message counts so many bytes.
pub(crate) const MESSAGE_BYTES: usize = 10;

pub(crate) struct Wire {
    below: Arc<dyn Transport>,
    counts: Arc<Vec<(NodeId, PeerTraffic)>>,
    inbound: OnceLock<Arc<dyn Inbound>>,
    /// So much seems to wait for each peer.
    pub(crate) waiting: AtomicU64,
}

impl Wire {
    pub(crate) fn new(below: Arc<dyn Transport>, peers: impl IntoIterator<Item = NodeId>) -> Arc<Wire> {
        let counts = peers.into_iter().map(|peer| (peer, PeerTraffic::default())).collect();
        Arc::new(Wire { below, counts: Arc::new(counts), inbound: OnceLock::new(), waiting: AtomicU64::new(0) })
    }

    /// The node above.
    pub(crate) fn inbound(&self) -> &dyn Inbound {
        &**self.inbound.get().unwrap()
    }

    pub(crate) fn count(&self, peer: NodeId) -> &PeerTraffic {
        count(&self.counts, peer)
    }
}

fn count(counts: &[(NodeId, PeerTraffic)], peer: NodeId) -> &PeerTraffic {
    &counts.iter().find(|(id, _)| *id == peer).unwrap().1
}

impl Transport for Wire {
    fn start(&self, inbound: Arc<dyn Inbound>) -> io::Result<()> {
        assert!(self.inbound.set(Arc::clone(&inbound)).is_ok());
        self.below.start(Arc::new(Counted { above: inbound, counts: Arc::clone(&self.counts) }))
    }

    fn send(&self, to: NodeId, message: Message) {
        self.count(to).sent(1, MESSAGE_BYTES);
        self.below.send(to, message);
    }

    fn send_snapshot(&self, to: NodeId, snapshot: OutgoingSnapshot) {
        self.below.send_snapshot(to, snapshot);
    }

    fn shutdown(&self) {
        self.below.shutdown();
    }

    fn traffic(&self) -> Vec<(NodeId, Traffic)> {
        let waiting = self.waiting.load(Ordering::SeqCst);
        let read = |count: &PeerTraffic| {
            let mut traffic = count.read();
            traffic.waiting = waiting;
            traffic
        };
        self.counts.iter().map(|(peer, count)| (*peer, read(count))).collect()
    }
}

struct Counted {
    above: Arc<dyn Inbound>,
    counts: Arc<Vec<(NodeId, PeerTraffic)>>,
}

impl Inbound for Counted {
    fn message(&self, from: NodeId, message: Message) {
        count(&self.counts, from).received(MESSAGE_BYTES);
        self.above.message(from, message);
    }

    fn unreachable(&self, peer: NodeId) {
        self.above.unreachable(peer);
    }

    fn snapshot_sent(&self, to: NodeId, snapshot: EntryId, delivered: bool) {
        self.above.snapshot_sent(to, snapshot, delivered);
    }

    fn snapshot_begin(&self, from: NodeId, meta: &SnapshotMeta) -> Result<Box<dyn SnapshotSink>, StorageError> {
        self.above.snapshot_begin(from, meta)
    }

    fn snapshot_received(&self, from: NodeId, term: Term, meta: SnapshotMeta) {
        self.above.snapshot_received(from, term, meta);
    }

    fn failed(&self, cause: String) {
        self.above.failed(cause);
    }
}
