//! The power goes after each single step of what storage does, and whatever was not synced is kept, lost or torn.

use super::*;
use crate::storage::sim::Fate;

/// Too small for what is written, so that each segment is full soon.
const SEGMENT_BYTES: u64 = 400;

const FATES: [Fate; 8] = [
    Fate::Kept,
    Fate::Lost,
    Fate::Torn(1),
    Fate::Torn(2),
    Fate::Torn(3),
    Fate::Torn(0x1111_2222_3333_4444),
    Fate::Torn(0x5555_6666_7777_8888),
    Fate::Torn(0x9999_AAAA_BBBB_CCCC),
];

/// A life with everything in it: votes, appends, overwrites, full segments, snapshots made and received, segments
/// recycled, restarts.
fn life(session: &mut Session) -> Result<(), StorageError> {
    session.init()?;
    session.persist(&[vote(1, 2)])?;
    for round in 0..3 {
        let next = session.model.last().index.0 + 1;
        let term = round + 1;
        session.persist(&[append(next, term, &[b"one", b"two"]), vote(term, 1)])?;
        session.persist(&[append(next + 2, term, &[&[3; 150]])])?;
        session.persist(&[append(next + 2, term, &[b"three", b"four"]), append(next + 4, term, &[&[5; 90]])])?;
        session.persist(&[append(next + 3, term + 1, &[&[4; 200], b"five"])])?;
        session.persist(&[compacted(EntryId::new(term, next + 2), next + 1)])?;
        session.storage().close_tail()?;
        session.persist(&[append(next + 5, term + 1, &[b"six"])])?;
        session.storage().close_tail()?;
        session.open()?;
        session.persist(&[append(next + 6, term + 1, &[&[7; 700]])])?;
    }
    let last = session.model.last().index.0;
    let installed = Write { entries: entries(last + 11, 9, &[b"tail"]), ..installed(EntryId::new(9, last + 10)) };
    session.persist(&[vote(9, 3), installed])?;
    session.persist(&[append(last + 12, 9, &[b"more", &[8; 300]])])?;
    session.persist(&[compacted(EntryId::new(9, last + 11), last + 12)])?;
    session.open()
}

/// How many steps a whole life takes.
fn steps_of_a_life() -> u64 {
    let disk = SimDisk::new();
    life(&mut Session::new(&disk, SEGMENT_BYTES)).unwrap();
    disk.steps()
}

/// Start again after the power went. Before the first start had ended there may be nothing: then it can be had anew.
fn restart(session: &mut Session) -> Result<(), StorageError> {
    match session.open() {
        Err(StorageError::Empty { .. }) => {
            assert_eq!(session.asked, Model::new(), "nothing is left of what was acknowledged");
            session.init()
        }
        other => other,
    }
}

#[test]
fn crash_matrix() {
    let steps = steps_of_a_life();
    assert!(steps > 150, "{steps} steps");
    for stop in 0..steps {
        for fate in FATES {
            let mut session = Session::new(&SimDisk::new(), SEGMENT_BYTES);
            session.disk.stop_after(stop);
            life(&mut session).unwrap_err();
            session.storage = None;
            session.disk.power_cycle(fate);
            restart(&mut session).unwrap_or_else(|error| panic!("stop {stop}, {fate:?}: {error}"));
            // What was cut off is overwritten, and nothing of it comes back.
            let next = session.model.last().index.0 + 1;
            let term = session.model.last().term.0.max(1);
            session.persist(&[append(next, term, &[b"after", &[1; 40]])]).unwrap();
            session.open().unwrap_or_else(|error| panic!("stop {stop}, {fate:?}, again: {error}"));
        }
    }
}

#[test]
fn power_may_go_while_a_start_is_under_way() {
    let steps = steps_of_a_life();
    for stop in (0..steps).step_by(3) {
        for (fate, next_fate) in
            [(Fate::Torn(1), Fate::Lost), (Fate::Kept, Fate::Torn(2)), (Fate::Torn(3), Fate::Torn(4))]
        {
            for stop_again in 0.. {
                let mut session = Session::new(&SimDisk::new(), SEGMENT_BYTES);
                session.disk.stop_after(stop);
                life(&mut session).unwrap_err();
                session.storage = None;
                session.disk.power_cycle(fate);
                session.disk.stop_after(stop_again);
                let whole = restart(&mut session).is_ok();
                session.storage = None;
                session.disk.power_cycle(next_fate);
                restart(&mut session).unwrap_or_else(|error| panic!("stop {stop}, then {stop_again}: {error}"));
                if whole {
                    break;
                }
            }
        }
    }
}

#[test]
fn a_process_may_die_at_any_step_and_the_power_go_later() {
    for stop in 0..steps_of_a_life() {
        let mut session = Session::new(&SimDisk::new(), SEGMENT_BYTES);
        session.disk.stop_after(stop);
        life(&mut session).unwrap_err();
        session.storage = None;
        session.disk.end_process();
        restart(&mut session).unwrap_or_else(|error| panic!("stop {stop}: {error}"));
        session.storage = None;
        session.disk.power_cycle(Fate::Lost);
        // What the start in between has shown must be there.
        session.open().unwrap_or_else(|error| panic!("stop {stop}, then no power: {error}"));
    }
}

#[test]
fn what_was_read_back_is_durable() {
    let mut session = Session::begun(4096);
    session.persist(&[append(1, 1, &[b"first"])]).unwrap();
    session.disk.fail_syncs(true);
    session.persist(&[append(2, 1, &[b"second"])]).unwrap_err();
    // The process ends, the machine goes on: the next one reads what only the machine's memory holds.
    session.disk.fail_syncs(false);
    session.open().unwrap();
    assert_eq!(session.model.last().index, Index(2));
    session.storage = None;
    session.disk.power_cycle(Fate::Lost);
    session.open().unwrap();
    assert_eq!(session.model.last().index, Index(2));
}

#[test]
fn after_a_failed_sync_everything_is_refused() {
    let mut session = Session::begun(4096);
    session.persist(&[append(1, 1, &[b"first"])]).unwrap();
    session.disk.fail_syncs(true);
    let error = session.persist(&[append(2, 1, &[b"second"])]).unwrap_err();
    assert!(matches!(error, StorageError::Io { doing: "sync", .. }), "{error}");
    session.disk.fail_syncs(false);
    let before = session.disk.contents();
    for writes in [vec![append(2, 1, &[b"again"])], vec![vote(5, 1)], vec![]] {
        let error = session.storage().persist(&writes).unwrap_err();
        assert!(matches!(&error, StorageError::Failed(cause) if cause.contains("the disk is broken")), "{error}");
    }
    assert!(session.disk.contents() == before, "a failed storage still writes");
}

#[test]
fn after_a_failed_write_everything_is_refused() {
    let mut session = Session::begun(4096);
    session.disk.stop_after(0);
    assert!(matches!(session.persist(&[vote(1, 1)]).unwrap_err(), StorageError::Io { doing: "write", .. }));
    session.disk.end_process();
    assert!(matches!(session.persist(&[vote(1, 1)]).unwrap_err(), StorageError::Failed(_)));
}
