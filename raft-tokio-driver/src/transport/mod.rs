//! How messages and snapshots travel between servers.
//!
//! A [`Transport`] of either driver, or one of your own over gRPC or QUIC, serves a node. [`tcp`] is the one that comes with
//! this driver; what it stands on can be exchanged: see [`link`]. What a transport of your own may want to share with it is
//! in [`parts`](raft_std_driver::transport::parts).

pub mod link;
pub mod tcp;

pub use raft_std_driver::transport::local::LocalNetwork;
pub use raft_std_driver::transport::{Inbound, OutgoingSnapshot, PeerTraffic, Traffic, Transport};
