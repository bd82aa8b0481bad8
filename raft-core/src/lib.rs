//! Raft consensus as a pure state machine.
//!
//! A [`Raft`] is one server of a cluster. It holds what Figure 2 of the extended Raft paper (Ongaro and Ousterhout, 2014)
//! calls its state, and does nothing by itself: a *driver* feeds it [`Event`]s, one at a time, and carries out the
//! [`Action`]s that each step returns. Comments cite the paper by section (§5.4.2) and Ongaro's dissertation as "thesis".
//!
//! # The driver's loop
//!
//! ```
//! # use std::collections::VecDeque;
//! # use raft_core::{Action, Config, Entries, Event, Incarnation, Membership, Message, NodeId, Raft, Restored, Write};
//! # let mut sent = 0;
//! # let mut deliver = |to: NodeId, message: Message| sent += 1;
//! # let append_and_sync = |write: &Write| {};
//! # let apply = |entries: &Entries| {};
//! # let answer = |action: Action| {};
//! # let mut events: VecDeque<Event> = (0..100).map(|_| Event::Tick { elapsed: 1 }).collect();
//! let restored = Restored::new_cluster(Incarnation(42), Membership::new([NodeId(1), NodeId(2), NodeId(3)]));
//! let mut raft = Raft::new(Config::new(NodeId(1)), restored)?;
//! let mut actions = Vec::new();
//! while let Some(event) = events.pop_front() {
//!     raft.step_into(event, &mut actions);
//!     for action in actions.drain(..) {
//!         match action {
//!             Action::Send { to, message } => deliver(to, message), // it may get lost
//!             Action::Persist(write) => {
//!                 append_and_sync(&write); // here, or on another thread, in order
//!                 events.push_back(Event::Persisted(write.id));
//!             }
//!             Action::Apply(entries) => {
//!                 apply(&entries); // here, or on another thread, in order
//!                 events.extend(entries.last().map(|last| Event::Applied(last.index)));
//!             }
//!             other => answer(other), // clients, snapshots, news
//!         }
//!     }
//! }
//! # assert!(sent > 0, "it asks for votes");
//! # Ok::<(), raft_core::RestoreError>(())
//! ```
//!
//! What a driver must and need not do is in `docs/driver-contract.md`; the short of it is in [`Action`]'s documentation.
//!
//! # Reading order
//!
//! `raft.rs` takes events: a step passes `gate.rs`, follows one rule, settles, hands over. The rules are in `election.rs`,
//! `replication.rs` (the leader's end), `appending.rs` (the follower's) and `snapshot.rs`; those of the rest in `change.rs`,
//! `healing.rs`, `transfer.rs`, `read.rs` and `paging.rs`. `server.rs` is Figure 2's "state on all servers", `role.rs` and
//! `progress.rs` what candidates and leaders have besides. `disk.rs` keeps promises back until they are durable.
//!
//! # Features
//!
//! - `sim`: a deterministic cluster in memory with faults and safety oracles, stated election timeouts and write ids; for
//!   tests and fuzzers. It uses `std`.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(test, feature = "sim"))]
extern crate std;

mod action;
mod appending;
mod applying;
mod change;
mod chores;
pub mod codec;
mod config;
mod counters;
mod disk;
mod edit;
mod election;
mod entries;
mod event;
mod fetch;
mod fetching;
#[cfg(feature = "sim")]
mod fingerprint;
mod gate;
mod healing;
mod history;
mod log;
mod member;
mod membership;
mod message;
mod meta;
mod named;
mod offsets;
mod paging;
mod progress;
pub mod quorum;
mod raft;
mod random;
mod read;
mod refusal;
mod replication;
mod restored;
mod role;
mod run;
mod server;
#[cfg(feature = "sim")]
pub mod sim;
mod snapshot;
mod standing;
mod status;
mod transfer;
mod types;
mod why;

pub use action::{Action, CompactDeclined, Fatal, FetchId, HardState, News, RoleKind, SnapshotWrite, Write, WriteId};
pub use bytes::Bytes;
pub use config::{BATCH_ENTRIES_MAX, Config, ConfigError, FRAME_BYTES_MAX, FRAME_ROOM_BYTES, WipedPolicy};
pub use counters::Counters;
pub use edit::{Change, Edit, EditError};
pub use entries::{ENTRY_OVERHEAD_BYTES, Entries, EntriesError, Entry, Payload};
pub use event::{Commands, Event};
pub use log::SnapshotMeta;
pub use member::{Address, AddressTooLong, Member, MemberRole, Wanted};
pub use membership::{Membership, MembershipError};
pub use message::{AppendOutcome, Message, Rpc};
pub use raft::Raft;
pub use refusal::Refusal;
pub use restored::{LogHead, RestoreError, Restored};
pub use status::{FlowKind, FollowerStatus, Status};
pub use types::{EntryId, Incarnation, Index, NodeId, RequestId, ServerId, Term};
pub use why::{FollowerWhy, Why};

/// The README's driver compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
