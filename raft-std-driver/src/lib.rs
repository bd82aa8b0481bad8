//! Threads, files and TCP for [`raft_core`]: a replicated state machine on threads. For Unix: its files are read and
//! written at offsets, and directories are synced.
//!
//! You bring a [`StateMachine`](machine::StateMachine), and choose a [`Storage`](storage::Storage) and a
//! [`Transport`](transport::Transport); [`Node::spawn`] makes a server of them.
//!
//! ```
//! use std::io;
//!
//! use raft_std_driver::machine::{Command, SnapshotWriter, StateMachine};
//! use raft_std_driver::raft_core::{Bytes, Incarnation, Membership, NodeId, RoleKind};
//! use raft_std_driver::storage::{Birth, ClusterId, mem::MemDisk};
//! use raft_std_driver::transport::local::LocalNetwork;
//! use raft_std_driver::{Node, NodeConfig, Outcome};
//!
//! /// The replicated state: a sum. A command is a number in text, its answer the sum so far.
//! struct Sum(u64);
//!
//! impl StateMachine for Sum {
//!     fn apply(&mut self, commands: &[Command<'_>], answers: &mut Vec<Bytes>) -> io::Result<()> {
//!         for command in commands {
//!             self.0 += str::from_utf8(command.bytes).map_or(0, |text| text.parse().unwrap_or(0));
//!             answers.push(self.0.to_string().into());
//!         }
//!         Ok(())
//!     }
//!
//!     fn snapshot(&mut self) -> SnapshotWriter {
//!         let sum = self.0;
//!         Box::new(move |out| out.write_all(&sum.to_le_bytes()))
//!     }
//!
//!     fn restore(&mut self, data: &mut dyn io::Read) -> io::Result<()> {
//!         let mut sum = [0; 8];
//!         data.read_exact(&mut sum)?;
//!         self.0 = u64::from_le_bytes(sum);
//!         Ok(())
//!     }
//! }
//!
//! // The first start of a cluster of one; elsewhere the storage is files, and the network TCP.
//! let disk = MemDisk::new(Birth::founder(ClusterId(1), NodeId(1), Membership::new([NodeId(1)])));
//! let network = LocalNetwork::new();
//! let node = Node::spawn(NodeConfig::new(NodeId(1)), disk.open()?, Sum(0), network.attach(NodeId(1)))?;
//! while node.status().role != RoleKind::Leader {
//!     std::thread::yield_now();
//! }
//! assert_eq!(node.start("20".into())?.wait(), Outcome::Applied("20".into()));
//! assert_eq!(node.start("22".into())?.wait(), Outcome::Applied("42".into()));
//! node.shutdown()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What a caller can rely on
//!
//! - A command that is refused ([`StartError`]) had no effect and never will. One that entered the log has exactly one
//!   [`Outcome`]: applied, superseded (it never took effect), or unknown.
//! - The same is true of a change of the membership ([`Node::change`]): done, superseded, or unknown.
//! - What was acknowledged before a [`read`](Node::read) began has been applied here when that returns, on any server.
//! - `start` returns when the server has answered and `submit` at once; neither waits for a disk, a peer or the machine. A
//!   caller waits only while more than [`NodeConfig::inbox_bytes_max`] is waiting for the core, which takes it in one go, or
//!   for callers of [`Node::submit`] to hear of a refusal.
//! - The machine, and whatever is called back, may use the node. What would have to wait for its own thread does not wait.
//! - A panic or an error in any part stops the whole node; [`Node::wait`] and [`Node::shutdown`] say which and why.
//!
//! # The threads
//!
//! ```text
//!   handles --commands-->+-------+--writes------>+------+
//!                        | inbox |<--durable-----| disk |   one sync for all that waits
//!   sockets ----msgs---->|   |   |               +------+
//!           <---msgs-----| core  |--committed--->+---------+--answers--> waiters
//!   clock ------ticks--->|       |<--applied-----| machine |
//!                        +-------+               +---------+--state--> a thread per snapshot
//! ```
//!
//! The core thread feeds [`raft_core::Raft`] one event at a time and carries out what it says. With [`tcp`] it owns the sockets too:
//! three threads a node, whatever the number of peers, and one more for each snapshot under way. It waits for nothing but its inbox, the
//! sockets and the clock. Each of the others takes all that waits for it at once. No lock is held while any of them does IO
//! or runs foreign code.
//!
//! Events go to [`tracing`]: roles and snapshots at `info`, commits and lost messages at `debug`, syncs and every event of
//! the core at `trace`, all with the field `node` and within the span `raft` of their node. Without a subscriber nothing is
//! written.
//!
//! # Features
//!
//! - `sim`: `storage::sim`, the real storage on a disk in memory whose power can be cut, for simulations.
//! - `tls`: the module `tls`, certificates and keys for links with mutual authentication.

#[cfg(not(unix))]
compile_error!("raft-std-driver runs on Unix only: its storage reads and writes at offsets and syncs directories");

mod asked;
mod changes;
mod config;
mod control;
mod core_loop;
mod disk_part;
pub mod engine;
mod error;
mod event_loop;
mod events;
mod inbox;
pub mod lab;
mod log_lines;
pub mod machine;
mod machine_part;
mod mark;
pub mod net;
mod node;
pub mod observer;
mod outgoing;
pub mod peers;
mod queue;
mod receiving;
mod refusals;
mod server;
mod shared;
mod socket;
mod status;
pub mod storage;
mod sync;
pub mod tcp;
#[cfg(feature = "tls")]
pub mod tls;
mod told;
mod traffic;
mod transfer_part;
pub mod transport;
mod waiters;
pub mod workers;

pub use changes::{ChangeError, ChangeOutcome};
pub use config::NodeConfig;
pub use control::Control;
pub use error::{NodeError, ReadError, SnapshotError, TransferError};
pub use node::{Network, Node};
pub use raft_core;
pub use shared::Alive;
pub use status::NodeStatus;
pub use waiters::{Outcome, StartError, Started};
