//! What is counted of the messages that travel.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::traffic::Traffic;

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
