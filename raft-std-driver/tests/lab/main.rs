//! The labs' tests, from their description: real threads, real time, the labs' network. Each prints its figures when it has
//! passed; see them with `cargo test -p raft-std-driver --test lab -- --nocapture`.

mod compaction;
mod election;
mod harness;
mod log;
mod persistence;
mod service;
