//! What threads share and wait by: the one place where the parts of a node take it from. Here it is what `std` has; in
//! `schedules/` the same files are compiled over another module of this name, whose threads are switched by a checker.
//!
//! Not [`Arc`](std::sync::Arc), which nobody waits for.

pub(crate) use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
pub(crate) use std::sync::{Mutex, MutexGuard, PoisonError};
pub(crate) use std::{thread, thread_local};
