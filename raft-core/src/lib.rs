//! Raft consensus as a pure state machine.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(test, feature = "sim"))]
extern crate std;

mod action;
pub mod codec;
mod config;
mod disk;
mod election;
mod entries;
mod event;
mod log;
mod membership;
mod message;
mod progress;
pub mod quorum;
mod raft;
mod random;
mod replication;
mod restored;
mod role;
mod server;
mod snapshot;
mod status;
mod types;

pub use action::{Action, Fatal, HardState, News, Refusal, RoleKind, SnapshotWrite, Write, WriteId};
pub use bytes::Bytes;
pub use config::{Config, ConfigError, FRAME_BYTES_MAX, FRAME_ROOM_BYTES, WipedPolicy};
pub use entries::{ENTRY_OVERHEAD_BYTES, Entries, EntriesError, Entry, Payload};
pub use event::{Commands, Event};
pub use log::SnapshotMeta;
pub use membership::Membership;
pub use message::{AppendOutcome, Message, Rpc};
pub use raft::Raft;
pub use restored::{RestoreError, Restored};
pub use server::Counters;
pub use status::{FlowKind, FollowerStatus, Status};
pub use types::{EntryId, Incarnation, Index, NodeId, RequestId, Term};
