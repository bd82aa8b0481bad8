//! The labs' tests, from their description (`docs/labs.md`). They know nothing of how time passes: `raft-core` runs them on
//! its simulator, `raft-std-driver` on real threads.

pub(crate) mod cluster;
pub(crate) mod compaction;
pub(crate) mod election;
pub(crate) mod log;
pub(crate) mod persistence;
mod turmoil;
pub(crate) mod world;
