//! A deterministic cluster in memory, with real servers in it: feature `sim`.
//!
//! A seed decides everything: how many servers there are, their limits, how the network, the disks, the machines and the
//! clients behave, which faults strike when. Oracles watch every step. After a faulty phase all faults end, and within a
//! bounded time a leader must stand and all must agree. The simulator is a driver like any other: it uses the crate's
//! public door only.
//!
//! ```
//! use raft_core::sim::{Options, run_seed};
//!
//! let options = Options { servers: Some(3), ..Options::default() };
//! let report = run_seed(7, options)?;
//! assert_eq!(report, run_seed(7, options)?, "the same seed, the same run");
//! # Ok::<(), Box<raft_core::sim::Failure>>(())
//! ```
//!
//! Reading order: `chaos` (a run), `cluster` (what happens next), `duties` (what a driver does), `oracle` (what must hold);
//! then `network`, `disk`, `machine`, `clients`, `reads`, `nemesis`, `transfers`, `moves` and `wipes`, which make trouble,
//! `account`, which says how much a cluster can afford to lose, and `plan`, which draws how much there is of all that. In `script` nothing is drawn: a text says what happens. `fuzz` is what the fuzz targets share with tests.

mod account;
mod chaos;
mod clients;
mod cluster;
mod coverage;
mod digest;
mod disk;
mod duties;
mod entropy;
pub mod explore;
pub mod fuzz;
mod kinds;
mod lab;
mod lives;
mod machine;
mod moves;
mod nemesis;
mod network;
mod oracle;
mod paging;
mod plan;
mod queue;
mod quorum;
mod reads;
mod script;
mod server;
mod slow_links;
mod trace;
mod transfers;
#[cfg(test)]
mod twins;
mod violation;
mod wipes;

pub use chaos::{Failure, Options, Report, run_bytes, run_seed, script_of_seed};
pub use coverage::{CAMPAIGN_SEEDS, Coverage, Happening, NeverHappened};
pub use lab::Lab;
pub use script::{SHRINK_COMMANDS, ScriptError, Shrunk, run_script, shrink_script};
pub use violation::{Invariant, Violation};
