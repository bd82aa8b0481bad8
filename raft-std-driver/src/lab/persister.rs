//! The labs' disk: two blobs in memory, which outlive a server's life.

use std::sync::Mutex;

use raft_core::Bytes;

use crate::queue::lock;

/// Holds a server's state and its snapshot between two lives, saved together or not at all.
#[derive(Debug, Default)]
pub struct Persister(Mutex<Kept>);

#[derive(Clone, Debug, Default)]
struct Kept {
    state: Bytes,
    snapshot: Bytes,
}

impl Persister {
    /// An empty one, for a new server.
    #[must_use]
    pub fn new() -> Persister {
        Persister::default()
    }

    /// Replace both blobs at once.
    pub fn save(&self, state: Bytes, snapshot: Bytes) {
        *lock(&self.0) = Kept { state, snapshot };
    }

    /// What Figure 2 calls persistent, as the server encodes it; empty if nothing was ever saved.
    #[must_use]
    pub fn read_raft_state(&self) -> Bytes {
        lock(&self.0).state.clone()
    }

    /// The service's last snapshot; empty if there is none.
    #[must_use]
    pub fn read_snapshot(&self) -> Bytes {
        lock(&self.0).snapshot.clone()
    }

    /// The length of [`read_raft_state`](Persister::read_raft_state), in bytes.
    #[must_use]
    pub fn raft_state_size(&self) -> usize {
        lock(&self.0).state.len()
    }
}

impl Clone for Persister {
    /// A disk of its own with the same content: what a server that is not yet dead still saves does not reach it.
    fn clone(&self) -> Persister {
        Persister(Mutex::new(lock(&self.0).clone()))
    }
}
