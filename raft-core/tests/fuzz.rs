//! What the fuzz targets rest on, without a fuzzer: seeds that are what they stand for. The log beside its naive twin is in
//! `log.rs`.

use std::fs;
use std::path::Path;

use raft_core::sim::fuzz::{
    Feed, Life, LogOperation, STATED, Sketch, bytes_of_seed, check_log, decode_birth, decode_feed,
    decode_log_operations, encode_life, encode_log_operations, lives_of_script,
};
use raft_core::sim::{Options, Report, run_bytes, run_seed};
use raft_core::{EntryId, Index, Term};

/// The twin is asked at the far end of the range too, where sums would overflow.
#[test]
fn log_vs_naive_at_the_end_of_the_range() {
    let entries = vec![Sketch { term: Term::MAX, bytes: 9 }; 3];
    let operations = [
        LogOperation::Reset { base: EntryId::new(Term::MAX.0, Index::MAX.0 - 4) },
        LogOperation::Append { entries: entries.clone() },
        LogOperation::Append { entries: entries.clone() },
        LogOperation::Receive { prev: EntryId::new(Term::MAX.0, Index::MAX.0 - 2), entries },
        LogOperation::Slice { from: Index(0), to: Index(u64::MAX), count: u64::MAX, bytes: u64::MAX, merged: true },
        LogOperation::Compact { index: Index(Index::MAX.0 - 1) },
    ];
    check_log(&operations).unwrap();
}

fn lives() -> Vec<(String, Life)> {
    let scripts = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts")).unwrap();
    let lives = scripts.flat_map(|script| {
        let path = script.unwrap().path();
        let lives = lives_of_script(&fs::read_to_string(&path).unwrap()).unwrap();
        lives.into_iter().map(move |life| (path.display().to_string(), life))
    });
    lives.collect()
}

/// A seed of `step` is what one server lived through in a script: the same comes to it, and it does the same.
#[test]
fn a_seed_is_the_life_of_a_script() {
    let lives = lives();
    assert!(lives.len() > 100, "only {} lives", lives.len());
    for (script, life) in lives {
        let bytes = encode_life(&life);
        let stated = |bytes: &[u8]| bytes.split_first().filter(|(tag, _)| **tag == STATED).is_some();
        assert!(stated(&bytes));
        let (birth, mut rest) = decode_birth(&bytes[1..]).unwrap();
        let mut raft = birth.server().unwrap();
        for (number, (fed, wanted)) in life.steps.iter().enumerate() {
            let server = life.server();
            assert!(stated(rest), "{script}: s{server}, step {number}");
            let (feed, behind) = decode_feed(&rest[1..]).unwrap();
            rest = behind;
            assert_eq!(format!("{feed:?}"), format!("{fed:?}"), "{script}: s{server}, step {number}");
            let mut actions = vec![];
            feed.to(&mut raft, &mut actions);
            assert_eq!(actions, *wanted, "{script}: s{server}, step {number}, {fed:?}");
        }
        assert!(rest.is_empty(), "{script}: something follows");
    }
}

/// The logs of scripts pass, and most of what can be done to a log is done there.
#[test]
fn the_logs_of_scripts_agree_with_their_twins() {
    let mut seen = [0; 5];
    for (script, life) in lives() {
        let operations = life.log_operations();
        assert_eq!(decode_log_operations(&encode_log_operations(&operations)), operations);
        check_log(&operations).unwrap_or_else(|error| panic!("{script}: s{}: {error}", life.server()));
        for operation in operations {
            seen[match operation {
                LogOperation::Receive { .. } => 0,
                LogOperation::Append { .. } | LogOperation::Truncate { .. } => 1,
                LogOperation::Compact { .. } => 2,
                LogOperation::Reset { .. } => 3,
                LogOperation::Slice { .. } => 4,
                LogOperation::Evict { .. } | LogOperation::Restart { .. } => continue, // drawn by quickcheck and fuzzers alone
            }] += 1;
        }
    }
    assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
}

/// A seed of `cluster` is a run of the simulator: with all of its bytes the same, with some the beginning.
#[test]
fn the_bytes_of_a_seed_make_its_run() {
    for seed in 0..10 {
        let (options, whole) = (Options::default(), run_seed(seed, Options::default()).unwrap());
        assert_eq!(run_bytes(&bytes_of_seed(seed, options, usize::MAX), options).unwrap(), whole);
        let begun = bytes_of_seed(seed, options, 300);
        // Its faults end sooner; how long all then take to agree is another matter.
        let faulty_ticks = |report: &Report| report.ticks - report.healing_ticks;
        let rests_sooner = faulty_ticks(&run_bytes(&begun, options).unwrap()) < faulty_ticks(&whole);
        assert!(begun.len() == 300 && rests_sooner, "seed {seed}");
    }
}

/// A message that was broken on its way is no event, and takes nothing else with it.
#[test]
fn what_makes_no_feed_is_left_out() {
    assert!(decode_feed(&[]).is_none() && decode_feed(&[1, 2, 0]).is_none() && decode_feed(&[99]).is_none());
    assert!(matches!(decode_feed(&[9, 7, 0]), Some((Feed::Timeout(7), [0]))));
}
