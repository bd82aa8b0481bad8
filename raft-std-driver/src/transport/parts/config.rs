//! The settings of a transport over TCP.

use std::time::Duration;

use raft_core::{Config, NodeId};

use super::Limits;
use crate::net::LinkConfig;
use crate::storage::ClusterId;

/// The settings of a transport over TCP, whichever driver's. No duration may be zero.
#[derive(Clone, Debug)]
pub struct TcpConfig {
    /// Who is not of this cluster is refused.
    pub cluster: ClusterId,
    /// This server.
    pub id: NodeId,
    /// The most AppendEntries that wait for one peer. Must be more than the core's `inflight_appends_max`, or every full
    /// window overflows.
    pub queue_appends_max: usize,
    /// The most bytes of AppendEntries that wait for one peer; one message may be larger. Must be more than the core's
    /// `inflight_bytes_max`.
    pub queue_bytes_max: u64,
    /// The most votes and replies that wait for one peer; beyond that the oldest are dropped.
    pub queue_urgent_max: usize,
    /// About how many bytes are gathered for one write.
    pub batch_bytes: u64,
    /// How many bytes of a snapshot travel in one frame; at most
    /// [`CHUNK_BYTES_MAX`](crate::transport::wire::CHUNK_BYTES_MAX).
    pub chunk_bytes: usize,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long may pass until both sides know who the other one is.
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
    /// Where the randomness of pauses starts, mixed with both servers' ids: for simulations that must be the same each
    /// time. `None` takes what the system offers.
    pub seed: Option<u64>,
}

impl TcpConfig {
    /// Good defaults for the server that `core` configures: queues hold twice the core's window.
    #[must_use]
    pub fn new(cluster: ClusterId, core: &Config) -> TcpConfig {
        let window = usize::try_from(core.inflight_appends_max).unwrap_or(usize::MAX);
        TcpConfig {
            cluster,
            id: core.id,
            queue_appends_max: window.saturating_mul(2).max(64),
            queue_bytes_max: core.inflight_bytes_max.saturating_mul(2).saturating_add(core.append_bytes_max),
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
            seed: None,
        }
    }

    /// The same, of the connections that a node has of its own.
    #[must_use]
    pub fn links(&self) -> LinkConfig {
        LinkConfig {
            cluster: self.cluster,
            birth: 0,
            id: self.id,
            address: String::new(),
            queue_appends_max: self.queue_appends_max,
            queue_bytes_max: usize::try_from(self.queue_bytes_max).unwrap_or(usize::MAX),
            queue_urgent_max: self.queue_urgent_max,
            batch_bytes: usize::try_from(self.batch_bytes).unwrap_or(usize::MAX),
            chunk_bytes: self.chunk_bytes,
            connect_timeout: self.connect_timeout,
            handshake_timeout: self.handshake_timeout,
            stall_timeout: self.stall_timeout,
            confirm_timeout: self.confirm_timeout,
            backoff_min: self.backoff_min,
            backoff_max: self.backoff_max,
            handshakes_max: self.handshakes_max,
            seed: self.seed,
        }
    }

    /// How much waits for each peer.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            appends_max: self.queue_appends_max,
            bytes_max: self.queue_bytes_max,
            urgent_max: self.queue_urgent_max.max(1),
            batch_bytes: self.batch_bytes.max(1),
        }
    }
}

pub use crate::tcp::BindError;
