//! How messages and snapshots travel between servers.

pub mod link;

pub use raft_std_driver::transport::local::LocalNetwork;
pub use raft_std_driver::transport::{Inbound, OutgoingSnapshot, Transport};
