//! Raft consensus as a pure state machine.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(test, feature = "sim"))]
extern crate std;

mod action;
mod config;
mod entries;
mod event;
mod log;
mod membership;
mod message;
pub mod quorum;
mod restored;
mod types;

pub use action::{Action, Fatal, HardState, News, Refusal, RoleKind, SnapshotWrite, Write, WriteId};
pub use bytes::Bytes;
pub use config::{Config, ConfigError, FRAME_BYTES_MAX, WipedPolicy};
pub use entries::{ENTRY_OVERHEAD_BYTES, Entries, EntriesError, Entry, Payload};
pub use event::{Commands, Event};
pub use log::SnapshotMeta;
pub use membership::Membership;
pub use message::{AppendOutcome, Message, Rpc};
pub use restored::{RestoreError, Restored};
pub use types::{EntryId, Incarnation, Index, NodeId, RequestId, Term};
