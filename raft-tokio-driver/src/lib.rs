//! [`raft_core`] on tokio: a replicated state machine with async handles, TCP and TLS.
//!
//! # From nothing to a replicated state
//!
//! Say what is replicated and what its commands do, and who the members are; await a command's answer:
//!
//! ```
//! use raft_tokio_driver::{Application, Node, RoleKind};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Clone, Default, Serialize, Deserialize)]
//! struct Counter(i64);
//!
//! #[derive(Serialize, Deserialize)]
//! enum Command {
//!     Add(i64),
//! }
//!
//! impl Application for Counter {
//!     type Command = Command;
//!     type Response = i64;
//!
//!     fn apply(&mut self, Command::Add(amount): Command) -> i64 {
//!         self.0 += amount;
//!         self.0
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let directory = directory.path();
//! let node = Node::builder()
//!     .id(1)
//!     .members([(1, "127.0.0.1:0")]) // and the others, as (2, "host:port"), ...
//!     .create(directory) // later starts: .open(directory)
//!     .start_typed(Counter::default())
//!     .await?;
//! node.watch().wait_for(|now| now.role == RoleKind::Leader).await?;
//! assert_eq!(node.start(&Command::Add(42)).await?, 42);
//! node.shutdown().await?;
//! # Ok(())
//! # }
//! ```
//!
//! `examples/counter.rs` does this with three servers and lets one of them go. Commands can be bytes as well: see
//! [`Builder::machine`] and [`StateMachine`].
//!
//! # What a caller can rely on
//!
//! - A command has exactly one outcome: the machine's answer, or a [`StartError`] that says what to do next. All of them but
//!   [`StartError::Unknown`] mean that the command had no effect and never will.
//! - Every future may be dropped at any time. Its answer is lost, and nothing else.
//! - Whoever starts more than the node can take hears [`StartError::Busy`], or waits while the core is not even polled: no
//!   queue grows without bound.
//! - A panic or an error in any part stops the whole node; [`Node::stopped`] and [`Node::shutdown`] say which and why.
//! - After `shutdown().await` address and data directory are free again.
//!
//! # How it runs
//!
//! The core is one task of your runtime. It does not block, with one exception: when a node on a
//! [`LocalNetwork`](transport::LocalNetwork) ends, it waits there for snapshots under way. Disk and machine block, so they
//! have threads of their own, as in [`raft_std_driver`], whose parts they are: one [`Storage`](storage::Storage), one
//! [`StateMachine`], one format of files and one of messages. Each driver can open what the other has written, and servers of
//! both can be members of one cluster.
//!
//! ```text
//!   tasks ---start---->+-------+--writes------>+------+
//!         <--answer--+ | inbox |<--durable-----| disk |  a thread: one sync for all that waits
//!   peers ---msgs----|>|   |   |               +------+
//!         <--msgs----|-| core  |--committed--->+---------+
//!   timer ---ticks---|>| a task|<--applied-----| machine |  a thread
//!                    | +-------+               +---------+
//!                    +-----------answers------------+
//! ```
//!
//! # Connections
//!
//! The node's task owns its connections, over TCP, and the module `tls` (of the feature of that name, which is on unless switched
//! off) makes it safe: each server shows a certificate that names it, and asks for the other's. Without TLS the node says in
//! its log that connections are open. [`transport::Transport`] is for those who bring another one; [`transport::LocalNetwork`] joins nodes of one process, for tests.
//!
//! # To see what it does
//!
//! [`Node::watch`] shows how a node stands, [`Node::events`] what happens. Logs go to [`tracing`], numbers to [`metrics`]:
//! `docs/observability.md` lists them all.
//!
//! # To test what is built on it
//!
//! [`Builder::workers`] runs the parts that block where the test says ([`workers::Tasks`]: right there),
//! [`Builder::sockets`] connects by simulated sockets, and time is tokio's: under `turmoil`, a cluster with its crashes and
//! partitions does the same for the same seed. This crate's `tests/turmoil` shows how.

mod builder;
mod core_task;
mod error;
mod meters;
mod node;
mod sync;
#[cfg(feature = "tls")]
pub mod tls;
pub mod transport;
mod typed;
mod watching;
mod wires;
pub mod workers;

pub use builder::Builder;
pub use error::{BuildError, StartError};
pub use node::Node;
pub use raft_core;
pub use raft_core::{Bytes, NodeId, RoleKind};
pub use raft_std_driver::machine::typed::{Application, CodecError, Typed};
pub use raft_std_driver::machine::{self, StateMachine};
pub use raft_std_driver::observer::NodeEvent;
pub use raft_std_driver::storage;
pub use raft_std_driver::{
    ChangeError, ChangeOutcome, NodeConfig, NodeError, NodeStatus, ReadError, SnapshotError, TransferError,
};
pub use typed::{TypedError, TypedNode};
pub use watching::{Events, Missed, Standing};
