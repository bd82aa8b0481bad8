//! Schedules: what threads share in the drivers, under a checker that decides who runs next.
//!
//! The modules below are the drivers' own files. They find the same names around them as at home, but for `sync`: so it is
//! the real code that is explored, not a model of it. `scenarios` use it as the drivers and their users do.

// What no scenario uses, and what only the drivers themselves publish.
#![allow(dead_code, missing_docs, unreachable_pub)]

// The tokio driver's files name the std driver; here this is it.
extern crate self as raft_std_driver;

#[path = "../../src/asked.rs"]
mod asked;
#[path = "../../src/changes.rs"]
mod changes;
#[path = "../../src/control.rs"]
mod control;
#[path = "../../src/core_loop.rs"]
mod core_loop;
#[path = "../../src/disk_part.rs"]
mod disk_part;
#[path = "../../src/engine.rs"]
pub mod engine;
#[path = "../../src/events.rs"]
mod events;
#[path = "../../src/inbox.rs"]
mod inbox;
#[path = "../../src/log_lines.rs"]
mod log_lines;
#[path = "../../src/machine_part.rs"]
mod machine_part;
#[path = "../../src/mark.rs"]
mod mark;
#[path = "../../src/observer.rs"]
pub mod observer;
#[path = "../../src/outgoing.rs"]
mod outgoing;
#[path = "../../src/peers/mod.rs"]
mod peers;
#[path = "../../src/queue.rs"]
mod queue;
#[path = "../../src/receiving.rs"]
mod receiving;
#[path = "../../src/refusals.rs"]
mod refusals;
#[path = "../../src/server/mod.rs"]
mod server;
#[path = "../../src/shared.rs"]
mod shared;
#[path = "../../src/status.rs"]
mod status;
#[path = "../../src/told.rs"]
mod told;
#[path = "../../src/traffic.rs"]
mod traffic;
#[path = "../../src/transfer_part.rs"]
mod transfer_part;
#[path = "../../src/waiters.rs"]
mod waiters;
#[path = "../../src/workers.rs"]
pub mod workers;

#[path = "../../../raft-tokio-driver/src/watching.rs"]
mod watching;

mod explore;
pub mod scenarios;
mod sync;

mod config {
    pub(crate) use real::NodeConfig;
}

mod error {
    pub(crate) use real::{NodeError, ReadError, SnapshotError, TransferError};
}

pub use changes::{ChangeError, ChangeOutcome};
pub use control::Control;
pub use explore::explore;
// What the files find at their crate's root, or in the module that they are in at home.
pub use raft_core;
pub use real::net;
#[cfg(feature = "tls")]
pub use real::tls;
pub use real::{NodeConfig, NodeError, ReadError, SnapshotError, TransferError, machine, storage};
pub use shared::Alive;
pub use status::NodeStatus;
pub use waiters::{Outcome, StartError, Started};

pub mod transport {
    //! What shares nothing between threads comes from the driver as it is.
    pub use real::transport::{Inbound, OutgoingSnapshot, Transport};
}
