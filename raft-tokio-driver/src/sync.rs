//! What threads share and wait by: what `std` has. In `raft-std-driver/schedules` the files that take it from here are
//! compiled over another module of this name, whose threads are switched by a checker.

pub(crate) use std::sync::Mutex;
