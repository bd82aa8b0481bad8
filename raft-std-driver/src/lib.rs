//! Threads, files and TCP for `raft-core`.

mod core_thread;
mod disk_thread;
mod error;
mod inbox;
pub mod machine;
mod machine_thread;
mod node;
mod queue;
mod receiving;
mod shared;
pub mod storage;
pub mod transport;
mod waiters;

pub use error::{NodeError, SnapshotError};
pub use node::{Node, NodeConfig, NodeStatus};
pub use raft_core;
pub use waiters::{Outcome, StartError, Started};
