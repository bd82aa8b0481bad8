//! Properties of whole clusters, over random seeds: whatever the faults, every oracle stays silent, and when the faults end
//! all converge. A failure names the invariant, tells the last events, and prints the command that replays it.

use quickcheck::{QuickCheck, TestResult};
use raft_core::sim::{CAMPAIGN_SEEDS, Coverage, Options, run_bytes, run_seed};

fn servers(count: usize) -> Options {
    Options { servers: Some(count), ..Options::default() }
}

fn goes_well(seed: u64, options: Options) -> TestResult {
    match run_seed(seed, options) {
        Ok(_) => TestResult::passed(),
        Err(failure) => TestResult::error(failure.to_string()),
    }
}

#[test]
fn three_servers_stay_safe_and_converge() {
    QuickCheck::new().tests(1000).quickcheck((|seed| goes_well(seed, servers(3))) as fn(u64) -> TestResult);
}

#[test]
fn five_servers_stay_safe_and_converge() {
    QuickCheck::new().tests(800).quickcheck((|seed| goes_well(seed, servers(5))) as fn(u64) -> TestResult);
}

/// A fuzzer's bytes are as good as a seed, and when they are spent the run comes to rest.
#[test]
fn any_bytes_make_a_run() {
    #[expect(clippy::needless_pass_by_value, reason = "quickcheck hands values over")]
    fn property(bytes: Vec<u8>) -> TestResult {
        match run_bytes(&bytes, Options::default()) {
            Ok(_) => TestResult::passed(),
            Err(failure) => TestResult::error(failure.to_string()),
        }
    }
    QuickCheck::new().tests(300).quickcheck(property as fn(Vec<u8>) -> TestResult);
}

/// Same configuration, same restored state, same events: the same actions.
#[test]
fn the_same_seed_makes_the_same_run_and_another_seed_another() {
    fn property(seed: u64) -> bool {
        let run = |seed| run_seed(seed, Options::default()).expect("no invariant is broken");
        let first = run(seed);
        first == run(seed) && first.trace_hash != run(seed.wrapping_add(1)).trace_hash
    }
    QuickCheck::new().tests(60).quickcheck(property as fn(u64) -> bool);
}

/// A fault that never strikes and a message that is never sent are not tested: a campaign must have seen them all.
#[test]
fn everything_that_can_happen_happens() {
    let mut coverage = Coverage::default();
    for seed in 0..CAMPAIGN_SEEDS {
        let report = run_seed(seed, Options::default()).unwrap_or_else(|failure| panic!("{failure}"));
        coverage.add(&report.coverage);
    }
    coverage.guard(CAMPAIGN_SEEDS).unwrap_or_else(|missing| panic!("{missing}"));
}
