//! Clusters of tokio nodes under turmoil: the real log on simulated disks that lose what was not synced, the real transport
//! on a simulated network, and faults drawn from a seed. Oracles watch every step; after the faults the cluster must
//! converge and take new writes. The same seed gives the same trace.
//!
//! `SEEDS=1000 cargo test -p raft-tokio-driver --test turmoil -- seeds --nocapture` runs a longer campaign (`FIRST=5000`
//! says where it begins). A failure prints the command that replays it.

mod clients;
mod disk;
mod host;
mod lab;
mod machine;
mod nemesis;
mod net;
mod oracle;
mod run;
mod tap;

use std::collections::BTreeMap;

use self::run::{Report, run};

/// So many seeds are run by every `cargo test`.
const SEEDS: u64 = 120;
/// So many of them twice.
const TWICE: u64 = 15;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

fn demand_success(seed: u64, report: &Report) {
    let Some(failure) = &report.failure else { return };
    let lines = &report.trace;
    println!("{}", lines[lines.len().saturating_sub(40)..].join("\n"));
    panic!(
        "{failure}\nagain, with its whole story: SEED={seed} cargo test -p raft-tokio-driver --test turmoil -- one_seed --nocapture"
    );
}

/// What must have happened somewhere in the normal run, or it shows less than it says.
const MUST_HAPPEN: [&str; 30] = [
    nemesis::CUT,
    nemesis::CUT_ONE_WAY,
    nemesis::ISOLATE,
    nemesis::HOLD,
    nemesis::HEAL,
    nemesis::LOSSY,
    net::LOSS,
    nemesis::POWER_LOST,
    nemesis::POWER_TORN,
    nemesis::KILL,
    nemesis::KILL_AND_START,
    nemesis::RESTART_IN_ELECTION,
    nemesis::SILENT_POWER_CUT,
    nemesis::POWER_GOES_DURING_WRITES,
    nemesis::SYNCS_FAIL,
    host::STORAGE_ERROR,
    nemesis::CLEAN_STOP,
    nemesis::ALL_DOWN,
    nemesis::SLOW_DISKS,
    lab::SNAPSHOT_TAKEN,
    lab::SNAPSHOT_DELIVERED,
    lab::SNAPSHOT_FAILED,
    lab::SNAPSHOT_INSTALLED,
    lab::LEADER_CHANGE,
    oracle::votes::HEARD,
    oracle::outcomes::APPLIED,
    oracle::outcomes::REFUSED,
    oracle::outcomes::SUPERSEDED,
    oracle::outcomes::UNKNOWN,
    oracle::outcomes::GIVEN_UP,
];

#[test]
fn seeds_keep_every_promise() {
    let (first, count) = (number("FIRST").unwrap_or(1), number("SEEDS"));
    let mut happened: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in first..first + count.unwrap_or(SEEDS) {
        let report = run(seed);
        demand_success(seed, &report);
        for (what, times) in report.happened {
            *happened.entry(what).or_default() += times;
        }
    }
    println!("{happened:#?}");
    if count.is_none_or(|count| count >= SEEDS) {
        let missing: Vec<_> = MUST_HAPPEN.iter().filter(|what| !happened.contains_key(**what)).collect();
        assert!(missing.is_empty(), "never happened: {missing:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 1..=TWICE {
        let (once, again) = (run(seed), run(seed));
        let differs = once.trace.iter().zip(&again.trace).position(|(one, other)| one != other);
        if let Some(line) = differs {
            let before = &once.trace[line.saturating_sub(5)..line];
            println!("{}\n1: {}\n2: {}", before.join("\n"), once.trace[line], again.trace[line]);
        }
        assert_eq!((differs, once.trace.len()), (None, again.trace.len()), "seed {seed} did two different things");
        assert_eq!((once.hash(), &once.happened, &once.failure), (again.hash(), &again.happened, &again.failure));
    }
    assert_ne!(run(1).hash(), run(2).hash());
}

/// The one that `SEED` says, with its whole story; without it, the first.
#[test]
fn one_seed() {
    let seed = number("SEED").unwrap_or(1);
    let report = run(seed);
    if number("SEED").is_some() {
        println!("{}\n{:#?}\nseed {seed}: {:016x}", report.trace.join("\n"), report.happened, report.hash());
    }
    demand_success(seed, &report);
}
