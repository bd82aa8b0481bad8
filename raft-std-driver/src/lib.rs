//! Threads, files and TCP for `raft-core`.

pub mod machine;
pub mod storage;
pub mod transport;
