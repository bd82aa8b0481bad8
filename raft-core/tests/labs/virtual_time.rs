//! The labs' world on the simulator: virtual time, and every oracle watches.

use std::cell::Cell;
use std::fmt::Display;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use raft_core::sim::Lab;
use raft_core::{Bytes, EntryId, Index, Term};

use crate::suite::cluster::POLL;
use crate::suite::world::{SNAPSHOT_INTERVAL, Task, World};

thread_local! {
    /// What the next world on this thread is made from.
    static SEED: Cell<u64> = const { Cell::new(1) };
}

/// How many seeds, if nothing is said: all tests together take a second.
const SEEDS: u64 = 10;

/// Run a test for each of the seeds that the environment asks for: those from `FIRST` on, `SEEDS` many.
pub(crate) fn for_each_seed(test: fn()) {
    let number = |name, default| std::env::var(name).map_or(default, |value| value.parse().expect("a number"));
    let first = number("FIRST", 1);
    for seed in first..first + number("SEEDS", SEEDS) {
        SEED.set(seed);
        test();
    }
}

pub(crate) struct Virtual {
    lab: Mutex<Lab>,
    seed: u64,
}

impl Virtual {
    /// Nobody else runs when a test has failed.
    fn lab(&self) -> MutexGuard<'_, Lab> {
        self.lab.lock().unwrap()
    }
}

/// Says, when a test fails, how to see that again.
impl Drop for Virtual {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!(
                "again: SEEDS=1 FIRST={} cargo test -p raft-core --test labs -- ...; SIM_TRACE=1 prints all of it",
                self.seed
            );
        }
    }
}

impl World for Virtual {
    fn new(servers: usize, snapshots: bool) -> Virtual {
        let seed = SEED.get();
        let lab = Lab::new(servers, snapshots.then_some(SNAPSHOT_INTERVAL), seed);
        Virtual { lab: Mutex::new(sound(lab)), seed }
    }

    fn now(&self) -> Duration {
        self.lab().now()
    }

    fn pass(&self, time: Duration) {
        sound(self.lab().run(time));
    }

    fn below(&self, bound: u64) -> u64 {
        self.lab().below(bound)
    }

    /// Whose turn comes first is drawn anew each time.
    fn together(&self, mut tasks: Vec<Task<'_>>) {
        while !tasks.is_empty() {
            let turn = usize::try_from(self.below(tasks.len() as u64)).unwrap();
            tasks.rotate_left(turn);
            tasks.retain_mut(|task| !task());
            self.pass(POLL);
        }
    }

    fn start(&self, server: usize, command: Bytes) -> Option<EntryId> {
        sound(self.lab().start(server, command))
    }

    fn state(&self, server: usize) -> Option<(Term, bool)> {
        self.lab().state(server)
    }

    fn crash(&self, server: usize) {
        self.lab().crash(server);
    }

    fn restart(&self, server: usize) {
        sound(self.lab().restart(server));
    }

    fn set_connected(&self, server: usize, connected: bool) {
        self.lab().set_connected(server, connected);
    }

    fn is_connected(&self, server: usize) -> bool {
        self.lab().is_connected(server)
    }

    fn set_unreliable(&self, on: bool) {
        self.lab().set_unreliable(on);
    }

    fn set_long_reordering(&self, on: bool) {
        self.lab().set_long_reordering(on);
    }

    fn rpcs_of(&self, server: usize) -> u64 {
        self.lab().rpcs_of(server)
    }

    fn rpcs(&self) -> u64 {
        self.lab().rpcs()
    }

    fn bytes(&self) -> u64 {
        self.lab().bytes()
    }

    fn committed(&self, index: u64) -> (usize, Option<Bytes>) {
        self.lab().committed(index)
    }

    fn commands(&self) -> usize {
        self.lab().commands()
    }

    fn state_bytes(&self) -> usize {
        self.lab().state_bytes()
    }

    fn has_snapshot(&self, server: usize) -> bool {
        self.lab().snapshot_of(server) > Index(0)
    }

    /// The oracles have looked at every step.
    fn check(&self) {}
}

fn sound<T>(result: Result<T, impl Display>) -> T {
    result.unwrap_or_else(|violation| panic!("{violation}"))
}
