//! How messages and snapshots travel between servers.
//!
//! Over TCP, unless said otherwise: the node owns its connections, on [`TcpSockets`] or on what stands in for them, see [`link`].
//! A [`Transport`] of your own, over gRPC or QUIC, can take the place of all that.

pub mod link;
mod sockets;

pub use self::sockets::TcpSockets;
pub(crate) use self::sockets::adopt;

pub use raft_std_driver::transport::local::LocalNetwork;
pub use raft_std_driver::transport::{Inbound, OutgoingSnapshot, PeerTraffic, Traffic, Transport};
