//! What is counted of the messages that travel.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What has been exchanged with one peer since the transport knows it, and how it stands with it now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traffic {
    /// Messages that were handed to the network.
    pub messages_sent: u64,
    /// Their length on the wire, in bytes.
    pub bytes_sent: u64,
    /// Messages that came from the peer.
    pub messages_received: u64,
    /// Their length on the wire, in bytes.
    pub bytes_received: u64,
    /// AppendEntries that were dropped because there was no room or no connection.
    pub appends_dropped: u64,
    /// Snapshots and their offers, as they were handed to the network, whether or not all of one came through: their length on
    /// the wire, in bytes. Once all of one has come through, it has counted the same at both ends.
    pub snapshot_bytes_sent: u64,
    /// Snapshots that came from the peer, or parts of them, and their offers: their length on the wire, in bytes.
    pub snapshot_bytes_received: u64,
    /// How many messages wait for the peer now.
    pub waiting: u64,
    /// Whether the connection to it stands now.
    pub connected: bool,
}

/// The counters of one peer's [`Traffic`].
#[derive(Debug, Default)]
pub struct PeerTraffic {
    messages_sent: AtomicU64,
    bytes_sent: AtomicU64,
    messages_received: AtomicU64,
    bytes_received: AtomicU64,
    appends_dropped: AtomicU64,
    snapshot_bytes_sent: AtomicU64,
    snapshot_bytes_received: AtomicU64,
    connected: AtomicBool,
}

impl PeerTraffic {
    /// So many messages were written.
    pub fn sent(&self, messages: u64, bytes: usize) {
        self.messages_sent.fetch_add(messages, Ordering::Relaxed);
        self.bytes_sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// A message was read.
    pub fn received(&self, bytes: usize) {
        self.messages_received.fetch_add(1, Ordering::Relaxed);
        self.bytes_received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// So many AppendEntries were dropped.
    pub fn dropped(&self, appends: usize) {
        self.appends_dropped.fetch_add(appends as u64, Ordering::Relaxed);
    }

    /// A part of a snapshot was written.
    pub fn snapshot_sent(&self, bytes: usize) {
        self.snapshot_bytes_sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// A part of a snapshot was read.
    pub fn snapshot_received(&self, bytes: usize) {
        self.snapshot_bytes_received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// The connection to the peer stands now, or not.
    pub fn connected(&self, stands: bool) {
        self.connected.store(stands, Ordering::Relaxed);
    }

    /// What they say now; each for itself. What waits is known to who keeps it.
    #[must_use]
    pub fn read(&self) -> Traffic {
        Traffic {
            messages_sent: self.messages_sent.load(Ordering::Relaxed),
            bytes_sent: self.bytes_sent.load(Ordering::Relaxed),
            messages_received: self.messages_received.load(Ordering::Relaxed),
            bytes_received: self.bytes_received.load(Ordering::Relaxed),
            appends_dropped: self.appends_dropped.load(Ordering::Relaxed),
            snapshot_bytes_sent: self.snapshot_bytes_sent.load(Ordering::Relaxed),
            snapshot_bytes_received: self.snapshot_bytes_received.load(Ordering::Relaxed),
            waiting: 0,
            connected: self.connected.load(Ordering::Relaxed),
        }
    }
}
