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
//! # Watching a driver of your own
//!
//! The oracles watch scripts too, and a script is what happened to servers, one event in a line, as `Display` tells it
//! (`docs/scripts.md`). So a driver writes down each event that it feeds, and the script is run: the servers live through the same again,
//! every step is judged, and what a server is said to have received must have been sent.
//!
//! ```
//! use std::collections::VecDeque;
//!
//! use raft_core::sim::run_script;
//! use raft_core::{Action, Config, Event, Incarnation, Membership, NodeId, Raft, Restored};
//!
//! let ids = [1, 2, 3].map(NodeId);
//! let server = |id: NodeId| {
//!     let restored = Restored::new_cluster(Incarnation(id.0), Membership::new(ids));
//!     // A server's first life in a script has the seed of the script plus 1, the next one plus 2.
//!     Raft::new(Config { seed: 1, ..Config::new(id) }, restored).expect("sound settings, and a new cluster")
//! };
//! let mut servers = ids.map(server);
//! // The settings are stated as they are, and nothing is done that the story does not tell.
//! let mut story = String::from("cluster 3 timeouts=drawn\nhold disk\nhold machine\n");
//! for id in ids {
//!     story += &format!("s{id} starts from applied 0\n");
//! }
//! // The driver: it does everything at once, and loses nothing.
//! let mut events = VecDeque::new();
//! for _ in 0..60 {
//!     events.extend(ids.map(|id| (id, Event::Tick { elapsed: 1 })));
//!     while let Some((id, event)) = events.pop_front() {
//!         story += &format!("s{id} {event}\n");
//!         for action in servers[usize::try_from(id.0 - 1)?].step(event) {
//!             match action {
//!                 Action::Send { to, message } => events.push_back((to, Event::Receive { from: id, message })),
//!                 Action::Persist(write) => events.push_back((id, Event::Persisted(write.id))),
//!                 Action::Apply(entries) => {
//!                     events.extend(entries.last().map(|last| (id, Event::Applied(last.index))));
//!                 }
//!                 _ => {}
//!             }
//!         }
//!     }
//! }
//! let told = run_script(&story).expect("no rule is broken");
//! assert!(told.contains("leader t1"), "{told}");
//! # Ok::<(), std::num::TryFromIntError>(())
//! ```
//!
//! Commands are those of the simulator's clients (`s1 start 0: 1 commands of 8 bytes`), numbered from 0 on, and requests that are no
//! commands are numbered from 900001 on: a driver that is to be watched numbers its own so. Crashes, lost disks and snapshots have lines
//! of their own.
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
mod heals;
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
pub use heals::{Healing, heal_seed};
pub use lab::Lab;
pub use script::{SHRINK_COMMANDS, ScriptError, Shrunk, run_script, shrink_script};
pub use violation::{Invariant, Violation};
