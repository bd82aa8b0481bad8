//! Whole servers, simulated: the real engine, log writer, applier and log, and connections whose bytes travel, stall, break and
//! tear as the seed says, on one thread and without a clock. The same seed does the same each time.
//!
//! ```console
//! $ SEEDS=5000 cargo test -p raft-std-driver --test servers -- --nocapture
//! $ SEED=17 cargo test -p raft-std-driver --test servers -- one_seed --nocapture
//! ```

mod clients;
mod host;
mod machine;
mod nemesis;
mod oracle;
mod streams;
mod world;

use std::collections::BTreeMap;

use crate::world::{Report, World};

/// What all seeds together must have seen, or they prove little.
const MUST_HAPPEN: &[&str] = &[
    "leader elected",
    "power cut",
    "process ended",
    "partition",
    "connection reset",
    "slow disk",
    "pause",
    "failed sync",
    "narrow network",
    "snapshot taken",
    "snapshot delivered",
    "snapshot restored",
    "snapshot not delivered",
    "command applied",
    "command superseded",
    "outcome unknown",
    "read served",
    "leadership handed over",
];

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

fn run(seed: u64) -> Report {
    let report = World::new(seed).run();
    if let Some(why) = &report.violation {
        for line in report.trace.iter().rev().take(60).rev() {
            println!("{line}");
        }
        panic!("{why}\nagain: SEED={seed} cargo test -p raft-std-driver --test servers -- one_seed --nocapture");
    }
    report
}

#[test]
fn seeds_keep_every_promise() {
    let (first, count) = (number("FIRST", 1), number("SEEDS", 60));
    let mut happened: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in first..first + count {
        for (what, times) in run(seed).happened {
            *happened.entry(what).or_default() += times;
        }
    }
    println!("{count} seeds: {happened:?}");
    let missing: Vec<_> = MUST_HAPPEN.iter().filter(|what| !happened.contains_key(**what)).collect();
    assert!(count < 60 || missing.is_empty(), "never happened: {missing:?}");
}

#[test]
fn one_seed() {
    let seed = number("SEED", 1);
    if std::env::var("SEED").is_ok() {
        tracing_subscriber::fmt().without_time().with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG).init();
    }
    let report = run(seed);
    if std::env::var("SEED").is_ok() {
        report.trace.iter().for_each(|line| println!("{line}"));
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    assert_eq!(run(7).trace, run(7).trace);
}
