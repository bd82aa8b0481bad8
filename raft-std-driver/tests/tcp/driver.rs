//! What is tested here.

/// The transport that is tested.
pub(crate) type Tested = raft_std_driver::transport::tcp::TcpTransport;
