//! [`raft_core`] on tokio: a replicated state machine with async handles, TCP and TLS.

pub mod transport;
