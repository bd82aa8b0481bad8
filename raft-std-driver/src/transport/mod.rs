//! How messages and snapshots travel between servers.

pub mod local;
mod traffic;

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use raft_core::{EntryId, Message, NodeId, SnapshotMeta, Term};

pub use self::traffic::PeerTraffic;
use crate::storage::{SnapshotSink, StorageError};
pub use crate::traffic::Traffic;

/// A snapshot to be sent.
pub struct OutgoingSnapshot {
    /// The sender's term.
    pub term: Term,
    /// What it stands for.
    pub meta: SnapshotMeta,
    /// The length of its data, in bytes.
    pub len: u64,
    /// Its data.
    pub data: Box<dyn io::Read + Send>,
}

/// What a transport hands to the node above it. All calls but [`snapshot_begin`](Inbound::snapshot_begin) are quick, and may
/// come from any thread, also from within [`Transport::send`] and [`Transport::send_snapshot`].
pub trait Inbound: Send + Sync + 'static {
    /// A message from a peer that has proved to be `from`.
    fn message(&self, from: NodeId, message: Message);

    /// Part of a message of `term` has come from `from`, and the rest has not: a leader whose messages take long is heard all the
    /// same. Need not be called; where it is, every few hundredths of a second is often enough.
    fn arriving(&self, _from: NodeId, _term: Term) {}

    /// Messages to `peer` are being dropped.
    fn unreachable(&self, peer: NodeId);

    /// There is a connection to `peer` again, or for the first time. For those who watch: the node itself does not need it.
    fn reachable(&self, _peer: NodeId) {}

    /// The transfer to `to` has ended; `delivered` if the peer confirmed all of it.
    fn snapshot_sent(&self, to: NodeId, snapshot: EntryId, delivered: bool);

    /// A peer begins to send a snapshot: where its data goes. A newer transfer takes the place of one that is not whole:
    /// what writes on then fails.
    ///
    /// # Errors
    /// If there is no place for it; the transfer is refused.
    fn snapshot_begin(&self, from: NodeId, meta: &SnapshotMeta) -> Result<Box<dyn SnapshotSink>, StorageError>;

    /// The data has arrived whole and `finish` made it durable. Must follow each `finish` that succeeded, at once.
    fn snapshot_received(&self, from: NodeId, term: Term, meta: SnapshotMeta);

    /// A thread of the transport has panicked, with this cause: the node stops. It may not wait for that, since the
    /// thread that calls is one that [`Transport::shutdown`] waits for.
    fn failed(&self, cause: String);
}

/// Carries messages to peers and back. Never blocks its caller: what does not fit into a bounded queue is dropped, and
/// the node hears [`unreachable`](Inbound::unreachable).
pub trait Transport: Send + Sync + 'static {
    /// Begin to deliver to `inbound`; called once, by the thread that starts the node. It may block: the tokio
    /// driver calls it on a thread for what blocks, with the runtime entered, so that it can spawn tasks (in a simulation, on
    /// the runtime's own thread).
    ///
    /// # Errors
    /// If the transport cannot listen.
    fn start(&self, inbound: Arc<dyn Inbound>) -> io::Result<()>;

    /// Send a message, or drop it.
    fn send(&self, to: NodeId, message: Message);

    /// Send a snapshot beside the messages; ends with [`snapshot_sent`](Inbound::snapshot_sent). One at a time to each
    /// peer: while one is under way, another to the same peer is refused by `snapshot_sent(.., false)`, unless it is the
    /// same one, which is ignored.
    fn send_snapshot(&self, to: NodeId, snapshot: OutgoingSnapshot);

    /// Stop delivering, and let go of connections and of what was handed in. Nothing is delivered after it returns.
    fn shutdown(&self);

    /// After [`shutdown`](Transport::shutdown): whether everything has ended, so that the same address can be used again. For
    /// transports whose `shutdown` must not wait for that, because they run on the caller's own thread; the others are done
    /// when it returns.
    fn poll_closed(&self, _context: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    /// What has been exchanged with each peer so far, and how it stands with it, for those who watch; nothing if the transport
    /// does not count.
    fn traffic(&self) -> Vec<(NodeId, Traffic)> {
        Vec::new()
    }
}

impl<T: Transport + ?Sized> Transport for Arc<T> {
    fn start(&self, inbound: Arc<dyn Inbound>) -> io::Result<()> {
        (**self).start(inbound)
    }

    fn send(&self, to: NodeId, message: Message) {
        (**self).send(to, message);
    }

    fn send_snapshot(&self, to: NodeId, snapshot: OutgoingSnapshot) {
        (**self).send_snapshot(to, snapshot);
    }

    fn shutdown(&self) {
        (**self).shutdown();
    }

    fn poll_closed(&self, context: &mut Context<'_>) -> Poll<()> {
        (**self).poll_closed(context)
    }

    fn traffic(&self) -> Vec<(NodeId, Traffic)> {
        (**self).traffic()
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// Counts, and takes its time to end.
    struct Lasting;

    impl Transport for Lasting {
        fn start(&self, _: Arc<dyn Inbound>) -> io::Result<()> {
            Ok(())
        }

        fn send(&self, _: NodeId, _: Message) {}

        fn send_snapshot(&self, _: NodeId, _: OutgoingSnapshot) {}

        fn shutdown(&self) {}

        fn poll_closed(&self, _: &mut Context<'_>) -> Poll<()> {
            Poll::Pending
        }

        fn traffic(&self) -> Vec<(NodeId, Traffic)> {
            vec![(NodeId(2), Traffic::default())]
        }
    }

    #[test]
    fn a_shared_transport_does_what_it_does_alone() {
        let shared: Box<dyn Transport> = Box::new(Arc::new(Lasting) as Arc<dyn Transport>);
        assert!(shared.poll_closed(&mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!(shared.traffic().len(), 1);
    }
}
