//! What the labs' tests need to be given: servers, a network and time.

use std::time::Duration;

use raft_core::{Bytes, EntryId, Term};

/// A service that makes snapshots makes one every so many commands.
pub(crate) const SNAPSHOT_INTERVAL: u64 = 10;

/// Something that goes on beside others: asked again and again, until it says that it is done. It must not let time pass.
pub(crate) type Task<'a> = Box<dyn FnMut() -> bool + Send + 'a>;

/// Servers, numbered from 0, the services above them, and the network between them.
pub(crate) trait World: Sized + Sync {
    /// So many servers, all started and connected, on a reliable network on which calls to unreachable servers fail late.
    fn new(servers: usize, snapshots: bool) -> Self;

    /// How much time has passed since the beginning.
    fn now(&self) -> Duration;

    /// Let time pass.
    fn pass(&self, time: Duration);

    /// A random number below `bound`, which is not 0.
    fn below(&self, bound: u64) -> u64;

    /// Let all these go on beside each other until all are done.
    fn together(&self, tasks: Vec<Task<'_>>);

    /// The labs' `Start` on a server. None if it is down or does not lead.
    fn start(&self, server: usize, command: Bytes) -> Option<EntryId>;

    /// The labs' `GetState`. None if the server is down.
    fn state(&self, server: usize) -> Option<(Term, bool)>;

    /// End a server's life and cut it off.
    fn crash(&self, server: usize);

    /// Begin a server's next life, crashing it first if it runs, and connect it.
    fn restart(&self, server: usize);

    /// Connect a server, or cut it off both ways.
    fn set_connected(&self, server: usize, connected: bool);

    /// Whether a server is connected.
    fn is_connected(&self, server: usize) -> bool;

    /// Delay requests by up to 26 ms, lose 10 % of requests and of replies.
    fn set_unreliable(&self, on: bool);

    /// Delay two thirds of the replies by 200 ms to 2.2 s.
    fn set_long_reordering(&self, on: bool);

    /// How many RPCs have reached this server.
    fn rpcs_of(&self, server: usize) -> u64;

    /// How many RPCs were tried.
    fn rpcs(&self) -> u64;

    /// The bytes of all requests and replies.
    fn bytes(&self) -> u64;

    /// How many servers have applied `index`, and what stands there.
    fn committed(&self, index: u64) -> (usize, Option<Bytes>);

    /// How many commands were ever applied anywhere.
    fn commands(&self) -> usize;

    /// The largest saved state of Raft, in bytes.
    fn state_bytes(&self) -> usize;

    /// Whether a server has saved a snapshot.
    fn has_snapshot(&self, server: usize) -> bool;

    /// Panic if anything was ever applied that must not be.
    fn check(&self);
}
