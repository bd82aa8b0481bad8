//! A cluster of both drivers whose members are processes of their own, on real files and real TCP, and die by SIGKILL:
//! leaders of each kind in the middle of writes, then all at once. They come back from their directories, in the end all
//! with the other driver.

#[path = "../node/cluster.rs"]
#[allow(dead_code, reason = "only its ledger is wanted here")]
mod cluster;
mod member;
mod parent;
mod writers;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use self::member::Driver;
use self::parent::{MEMBERS, Processes, wait_until};
use self::writers::{Outcome, Tally, Written, write};

const WRITERS: usize = 4;
/// So many acknowledged writes show that they go on; more than may still be on their way from who was killed.
const FLOW: usize = 40;

#[test]
fn acknowledged_writes_outlive_leaders_that_are_killed() {
    let home = tempfile::tempdir().unwrap();
    let processes = Processes::new(home.path());
    processes.wake(0, Driver::Std);
    processes.wake(1, Driver::Tokio);
    processes.wake(2, Driver::Tokio);
    let (stop, tally) = (AtomicBool::new(false), Tally::default());
    let written: Vec<Written> = thread::scope(|scope| {
        let _stops_also_after_a_failure = StopOnDrop(&stop);
        let (processes, tally, stop) = (&processes, &tally, &stop);
        let stopped = |_: &Written| stop.load(Ordering::Relaxed);
        let work = |me| scope.spawn(move || write(&format!("w{me}"), processes, tally, stopped));
        let writers: Vec<_> = (0..WRITERS).map(work).collect();
        a_leader_falls(processes, tally, Driver::Std, Driver::Std);
        a_leader_falls(processes, tally, Driver::Tokio, Driver::Std);
        all_fall(processes, tally);
        stop.store(true, Ordering::Relaxed);
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    // Who has applied this has applied all that was acknowledged before.
    let last = write("last", &processes, &tally, |written| {
        assert!(written.len() < 10_000, "nobody takes a last word");
        matches!(written.last(), Some((_, Outcome::Applied)))
    });
    judge(&processes, &written, &last);
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Kill the leader until it was one of this kind, which then comes back as `back`; others come back as what they were.
fn a_leader_falls(processes: &Processes, tally: &Tally, wanted: Driver, back: Driver) {
    for _ in 0..20 {
        let leader = tally.flow(FLOW);
        let was = processes.kill(&[leader])[0];
        let next = tally.flow(FLOW);
        assert_ne!(next, leader, "it is dead");
        processes.wake(leader, if was == wanted { back } else { was });
        let there = processes.ledger(next);
        wait_until("who comes back has what the others have", || processes.ledger(leader).starts_with(&there));
        if was == wanted {
            return;
        }
    }
    panic!("no {wanted:?} node ever leads");
}

/// What is acknowledged must be on disks, not only in processes.
fn all_fall(processes: &Processes, tally: &Tally) {
    tally.flow(FLOW);
    let all: Vec<usize> = (0..MEMBERS).collect();
    let were = processes.kill(&all);
    for (member, was) in all.into_iter().zip(were) {
        processes.wake(member, was.other());
    }
    tally.flow(FLOW);
}

/// No acknowledged write is lost, none is there twice, what was refused is nowhere, and all have applied the same.
fn judge(processes: &Processes, written: &[Written], last: &Written) {
    let (end, _) = last.last().unwrap();
    let ledgers: Vec<Vec<String>> = (0..MEMBERS).map(|member| whole_ledger(processes, member, end)).collect();
    for (ledger, other) in ledgers.iter().zip(&ledgers[1..]) {
        let differs = ledger.iter().zip(other).position(|(one, other)| one != other);
        assert_eq!((differs, ledger.len()), (None, other.len()), "the members have not applied the same");
    }
    let places: BTreeMap<&str, usize> = ledgers[0].iter().map(String::as_str).zip(0..).collect();
    assert_eq!(places.len(), ledgers[0].len(), "something was applied twice");
    let everything: BTreeSet<&str> = written.iter().chain([last]).flatten().map(|(word, _)| &**word).collect();
    assert!(places.keys().all(|word| everything.contains(word)), "something was applied that nobody wrote");
    let mut count = 0;
    for one in written {
        let mut before = None;
        for (word, outcome) in one {
            let place = places.get(&**word).copied();
            match outcome {
                Outcome::Applied => {
                    assert!(place.is_some(), "{word} was acknowledged and is lost");
                    assert!(place > before, "{word} was written after what it stands before");
                    (before, count) = (place, count + 1);
                }
                Outcome::Refused => assert_eq!(place, None, "{word} was refused, and is there"),
                Outcome::Unknown => {}
            }
        }
    }
    assert!(count > 6 * FLOW, "{count} writes prove little");
}

/// What this member has applied through this word.
fn whole_ledger(processes: &Processes, member: usize, end: &str) -> Vec<String> {
    let mut ledger = Vec::new();
    wait_until("a member applies all", || {
        ledger = processes.ledger(member);
        let place = ledger.iter().position(|word| word == end);
        place.is_some_and(|place| {
            ledger.truncate(place + 1);
            true
        })
    });
    ledger
}
