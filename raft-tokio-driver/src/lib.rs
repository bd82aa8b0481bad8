//! [`raft_core`] on tokio: a replicated state machine with async handles, TCP and TLS.

mod builder;
mod core_task;
mod error;
mod node;
pub mod transport;
mod typed;
mod watching;

pub use builder::Builder;
pub use error::{BuildError, StartError};
pub use node::Node;
pub use raft_core;
pub use raft_core::RoleKind;
pub use raft_std_driver::machine::typed::{Application, CodecError, Typed};
pub use raft_std_driver::{NodeConfig, NodeError, NodeStatus, SnapshotError};
pub use typed::{TypedError, TypedNode};
pub use watching::{Events, Missed, Standing};
