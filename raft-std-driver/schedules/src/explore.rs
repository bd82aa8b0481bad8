//! Runs a scenario under many schedules, and says how to see again the one that failed.

use std::cell::Cell;
use std::env;
use std::panic::{catch_unwind, resume_unwind, set_hook, take_hook};
use std::sync::Once;

use shuttle::scheduler::{PctScheduler, RandomScheduler, Schedule, Scheduler, Task, TaskId};
use shuttle::{Config, FailurePersistence, Runner};

/// Each seed is so many schedules of one kind: some kinds first try what happens, and then aim.
const SCHEDULES: usize = 50;

/// So many seeds, unless `SEEDS` says something else.
const SEEDS: u64 = 100;

thread_local! {
    /// All threads of a schedule run on the one of its test.
    static PANICKED: Cell<bool> = const { Cell::new(false) };
}

/// A part of a node that panics stops the node, which may have stopped already: then nobody hears of it. What a scenario wants
/// to panic does so without the hook.
fn remember_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            PANICKED.set(true);
            before(panic);
        }));
    });
}

/// Run `scenario` under the schedules of each seed, from `FIRST` on.
///
/// # Panics
/// If one fails.
pub fn explore(name: &str, scenario: fn()) {
    let first = from_environment("FIRST").unwrap_or(0);
    let seeds = from_environment("SEEDS").unwrap_or(SEEDS);
    remember_panics();
    for seed in first..first.saturating_add(seeds) {
        let judged = || {
            run(seed, scenario);
            assert!(!PANICKED.get(), "a thread has panicked, and nobody heard of it");
        };
        if let Err(panic) = catch_unwind(judged) {
            eprintln!("{name}: seed {seed} failed. To see it again:");
            eprintln!("    SEEDS=1 FIRST={seed} cargo test -p raft-schedules -- --exact {name}");
            resume_unwind(panic);
        }
    }
}

fn from_environment(variable: &str) -> Option<u64> {
    env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

/// One kind of schedule finds what another hardly ever does: where all take turns, nobody stands still for long; where one has
/// priority, few turns are taken.
fn run(seed: u64, scenario: fn()) {
    let mut config = Config::new();
    config.stack_size = 256 << 10;
    // The seed says it shorter.
    config.failure_persistence = FailurePersistence::None;
    let depth = 2 + usize::try_from(seed / 4 % 3).unwrap_or(0);
    match seed % 4 {
        0 => Runner::new(Punctual(RandomScheduler::new_from_seed(seed, SCHEDULES)), config).run(scenario),
        1 => Runner::new(RandomScheduler::new_from_seed(seed, SCHEDULES), config).run(scenario),
        _ => Runner::new(Punctual(PctScheduler::new_from_seed(seed, depth, SCHEDULES)), config).run(scenario),
    };
}

/// Wakes nobody who was not woken. Threads may be, and then look again; but where all look again all the time, a wake-up
/// that was forgotten is not missed.
#[derive(Debug)]
struct Punctual<S>(S);

impl<S: Scheduler> Scheduler for Punctual<S> {
    fn new_execution(&mut self) -> Option<Schedule> {
        self.0.new_execution()
    }

    fn next_task(&mut self, able: &[&Task], current: Option<TaskId>, is_yielding: bool) -> Option<TaskId> {
        let woken: Vec<&Task> = able.iter().copied().filter(|task| task.runnable()).collect();
        self.0.next_task(&woken, current, is_yielding)
    }

    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }
}
