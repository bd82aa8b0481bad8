//! How messages and snapshots travel between servers.

pub use raft_std_driver::transport::local::LocalNetwork;
pub use raft_std_driver::transport::{Inbound, OutgoingSnapshot, Transport};
