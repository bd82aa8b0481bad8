//! What the connections of one server have in common: who it is, how much may wait, how long anything may take.

use std::time::{Duration, Instant};

use raft_core::{Config, NodeId};

use super::wire::{CHUNK_BYTES_MAX, Hello, Refusal};
use crate::storage::ClusterId;

/// The settings of all connections of one server. A timeout of [`Duration::MAX`] never passes.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// Servers of another cluster are refused.
    pub cluster: ClusterId,
    /// A digest of how the cluster was bootstrapped, 0 if this server joined and does not know. Servers with two different
    /// digests refuse each other: they were bootstrapped as two clusters.
    pub birth: u64,
    /// This server.
    pub id: NodeId,
    /// Where others reach this server, `host:port`, at most 255 bytes; empty if it is not stated, and a longer one is not.
    pub address: String,
    /// The most AppendEntries that wait for one peer. Must be more than the core's `inflight_appends_max`, or every full
    /// window overflows.
    pub queue_appends_max: usize,
    /// The most bytes of AppendEntries that wait for one peer; one message may be larger. Must be more than the core's
    /// `inflight_bytes_max`.
    pub queue_bytes_max: usize,
    /// The most votes, replies and heartbeats that wait for one peer; beyond that the oldest are dropped.
    pub queue_urgent_max: usize,
    /// About how many bytes are gathered for one write.
    pub batch_bytes: usize,
    /// How many bytes of a snapshot travel in one frame; at most [`CHUNK_BYTES_MAX`].
    pub chunk_bytes: usize,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long TLS, hello and answer may take together, from the first byte on.
    pub handshake_timeout: Duration,
    /// A connection whose other end takes or brings nothing for so long, while it should, is given up.
    pub stall_timeout: Duration,
    /// How long a receiver may take to make a complete snapshot durable.
    pub confirm_timeout: Duration,
    /// The pause after a first failure to connect; it doubles with each further one.
    pub backoff_min: Duration,
    /// The longest pause.
    pub backoff_max: Duration,
    /// The most accepted connections that have not yet said who they are; of more, the oldest are closed.
    pub handshakes_max: usize,
    /// Whether connections that begin in another way than a server's are handed over to the loop, instead of closed.
    pub strangers: bool,
    /// Where the randomness of pauses starts, mixed with both servers' ids: for simulations that must be the same each
    /// time. `None` takes what the system offers.
    pub seed: Option<u64>,
}

impl LinkConfig {
    /// Good defaults for the server that `core` configures: queues hold twice the core's window. The digest of the
    /// bootstrap is 0 and the address is not stated.
    #[must_use]
    pub fn new(cluster: ClusterId, core: &Config) -> LinkConfig {
        let window = usize::try_from(core.inflight_appends_max).unwrap_or(usize::MAX);
        let bytes = core.inflight_bytes_max.saturating_mul(2).saturating_add(core.append_bytes_max);
        LinkConfig {
            cluster,
            birth: 0,
            id: core.id,
            address: String::new(),
            queue_appends_max: window.saturating_mul(2).max(64),
            queue_bytes_max: usize::try_from(bytes).unwrap_or(usize::MAX),
            queue_urgent_max: window.saturating_mul(2).max(64),
            batch_bytes: 256 << 10,
            chunk_bytes: 256 << 10,
            connect_timeout: Duration::from_secs(1),
            handshake_timeout: Duration::from_secs(2),
            stall_timeout: Duration::from_secs(5),
            confirm_timeout: Duration::from_secs(60),
            backoff_min: Duration::from_millis(20),
            backoff_max: Duration::from_secs(1),
            handshakes_max: 32,
            strangers: false,
            seed: None,
        }
    }

    /// What a server with these settings can say to a hello without knowing its peers.
    ///
    /// # Errors
    /// The refusal to answer with.
    pub fn judge(&self, hello: &Hello) -> Result<(), Refusal> {
        if self.cluster != hello.cluster {
            Err(Refusal::Cluster { theirs: self.cluster })
        } else if self.birth != hello.birth && self.birth != 0 && hello.birth != 0 {
            Err(Refusal::Birth { theirs: self.birth })
        } else if self.id != hello.to {
            Err(Refusal::NotMe { theirs: self.id })
        } else if self.id == hello.from {
            Err(Refusal::UnknownPeer { you: hello.from })
        } else {
            Ok(())
        }
    }

    pub(super) fn chunk_bytes(&self) -> usize {
        self.chunk_bytes.clamp(1, CHUNK_BYTES_MAX)
    }
}

/// `None` is never.
pub(super) fn after(now: Instant, timeout: Duration) -> Option<Instant> {
    now.checked_add(timeout)
}
