//! What a node is told once.

use std::time::Duration;

use raft_core::{Config, NodeId, RestoreError};

use crate::error::NodeError;

/// What a node is told once.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The settings of the server itself. By default as [`Config::new`] has them, and the disks of the first members are
    /// recorded ([`Config::record_disks`]), so that a member which lost its disk is never counted.
    pub raft: Config,
    /// How long a tick is; 10 ms by default, which fits the defaults of [`Config`].
    pub tick: Duration,
    /// Take a snapshot when the entries applied since the last one count so many bytes; 0 = only when asked. 64 MiB by
    /// default.
    pub snapshot_log_bytes: u64,
    /// How many bytes of commands may wait for the core, or after a refusal for the call of who submitted them, before who
    /// starts another one has to wait, and how many bytes of entries of each peer before more of them are dropped. 16 MiB by
    /// default.
    pub inbox_bytes_max: u64,
}

impl NodeConfig {
    /// The defaults for this server.
    #[must_use]
    pub fn new(id: NodeId) -> NodeConfig {
        NodeConfig {
            raft: Config { record_disks: true, ..Config::new(id) },
            tick: Duration::from_millis(10),
            snapshot_log_bytes: 64 << 20,
            inbox_bytes_max: 16 << 20,
        }
    }

    /// Whether a node can be started with it.
    ///
    /// # Errors
    /// If not, why.
    pub fn check(&self) -> Result<(), NodeError> {
        if self.tick.is_zero() {
            return Err(NodeError::NoTick);
        }
        Ok(self.raft.check().map_err(RestoreError::from)?)
    }
}
