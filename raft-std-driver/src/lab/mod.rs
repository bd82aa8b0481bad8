//! The face of the MIT 6.824 / 6.5840 labs: `Make`, `Start`, `GetState`, `ApplyMsg`, `Persister`, `Snapshot` and `Kill` in
//! Rust terms, over the labs' test network. It is for learning and for tests: its disk is memory, and its network
//! misbehaves on request.
//!
//! | in the labs | here | in the core |
//! |---|---|---|
//! | `Make(peers, me, persister, applyCh)` | [`Raft::make`] | `Raft::new` from what the [`Persister`] holds |
//! | `Start(command)` | [`Raft::start`] | `Event::Start`, answered by `Accepted` or `Refused` |
//! | `GetState()` | [`Raft::get_state`] | `Status` |
//! | `applyCh`, `ApplyMsg` | [`apply_channel`], [`ApplyMsg`] | `Action::Apply` and `Action::Restore`, then `Event::Applied` |
//! | `Snapshot(index, bytes)` | [`Raft::snapshot`] | `Event::Compact` |
//! | `Persister.Save` | [`Persister::save`] | `Action::Persist`, then `Event::Persisted` |
//! | an RPC and its reply | [`ClientEnd::call`], [`Service::handle`] | `Action::Send`, `Event::Receive` |
//! | `InstallSnapshot` | an RPC that carries the data | `Action::SendSnapshot`, `Event::SnapshotReceived` |
//! | `Kill()` | [`Raft::kill`] | the core is not stepped again |
//!
//! **One-way messages as RPCs.** The core sends messages and knows no calls. The handler of an RPC steps the message; what
//! changed is saved before anything that follows from it leaves; and what the core then has to say to the caller rides back
//! in the reply, which may be empty. Whatever else the core sends is an RPC of its own. An RPC that fails is a message that
//! was lost: it says nothing about the next one, and the leader's heartbeats find the gap.
//!
//! **Time.** A tick is 10 ms. Leaders are heard every 100 ms, elections start after 500 to 1000 ms of silence, and a leader
//! appends nothing of its own when elected: the first command of a new cluster has index 1.
//!
//! ```
//! use std::sync::Arc;
//!
//! use raft_core::Index;
//! use raft_std_driver::lab::{ApplyMsg, Network, Persister, Raft, apply_channel};
//!
//! let network = Network::new(3)?;
//! let mut servers = vec![];
//! for me in 0..3 {
//!     let (apply_ch, messages) = apply_channel();
//!     let raft = Raft::make(network.peers(me), me, Arc::new(Persister::new()), apply_ch)?;
//!     network.add_server(me, raft.clone());
//!     servers.push((raft, messages));
//! }
//! // Only a leader takes it; the others say who leads, if they know.
//! let at = loop {
//!     if let Some(at) = servers.iter().find_map(|(raft, _)| raft.start("x").ok()) {
//!         break at;
//!     }
//!     std::thread::sleep(std::time::Duration::from_millis(10));
//! };
//! assert_eq!(at.index, Index(1));
//! for (_, messages) in &mut servers {
//!     assert_eq!(messages.next(), Some(ApplyMsg::Command { index: Index(1), command: "x".into() }));
//! }
//! for (raft, _) in servers {
//!     raft.kill();
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod apply;
mod network;
mod persister;
mod raft;
mod wire;

#[cfg(test)]
mod tests;

pub use apply::{ApplyMsg, ApplyReceiver, ApplySender, apply_channel};
pub use network::{ClientEnd, Network, Service};
pub use persister::Persister;
pub use raft::{MakeError, Raft};
