//! Exhaustive exploration of small worlds: three real servers, and everything that may happen to them within [`Bounds`].
//!
//! Every state that can be reached is met, breadth first, and every invariant is looked at in it: so what is not found does
//! not happen in this world, and what is found is shown by a path than which there is no shorter one. See
//! `docs/exploration.md` for what is explored, what is left out, and why that is honest.
//!
//! ```
//! use raft_core::sim::explore::{Bounds, explore};
//!
//! let report = explore(Bounds { commands: 0, ..Bounds::CALM }, |_| {})?;
//! assert!(report.complete && report.states > 50);
//! # Ok::<(), Box<raft_core::sim::explore::Counterexample>>(())
//! ```
//!
//! Reading order: `bounds` (how large), `stages` (where it begins), `local` (a server and what happens to it), `world` (what may happen next), `search`
//! (the exploration), `tables` (why it is fast); `rules`, `requests` and `judge` hold the invariants, `story` tells a path.

mod bounds;
mod judge;
mod local;
mod mail;
mod requests;
mod rules;
mod search;
mod stages;
mod story;
mod tables;
mod world;

pub use bounds::Bounds;
pub use search::{Report, explore};
pub use stages::Stage;
pub use story::{Counterexample, replay};

/// How many servers there are.
const SERVERS: usize = 3;

#[cfg(test)]
mod tests;
