//! The mark behind the last frame of a log that is idle.

use super::*;
use crate::storage::frame::{self, Key, SegmentHeader};
use crate::storage::sim::Fate;

const FIRST: &str = "wal-00000000000000000001";

fn segment(session: &Session) -> Vec<u8> {
    session.disk.contents().into_iter().find(|(name, _)| name == FIRST).unwrap().1
}

/// Where the last frame is.
fn last_frame(segment: &[u8]) -> std::ops::Range<usize> {
    let (header, mut at, crc) = SegmentHeader::read(segment).unwrap();
    let (mut link, mut last) = (header.first_link(crc), 0..at);
    while let Some(frame) = frame::read(segment, at, link, Key::of(INCARNATION)) {
        (at, link) = (frame.range.end, link.after(frame.crc));
        last = frame.range;
    }
    last
}

fn begun(segment_bytes: u64) -> Session {
    let mut session = Session::begun(segment_bytes);
    session.persist(&[append(1, 1, &[b"one"]), vote(1, 1)]).unwrap();
    session.persist(&[append(2, 1, &[&[7; 50]])]).unwrap();
    session
}

/// What opening the disk after an edit says.
fn opened_after(session: &Session, edit: impl FnOnce(&mut Vec<u8>)) -> Result<Recovered, StorageError> {
    let disk = session.disk.copy();
    disk.edit(FIRST, edit).unwrap();
    let before = disk.contents();
    let opened = disk.open(session.options).and_then(|mut storage| storage.recover());
    assert!(opened.is_ok() || disk.contents() == before, "damage is found, and something changed");
    opened
}

#[test]
fn damage_of_the_last_frame_is_found_once_it_is_closed() {
    for segment_bytes in [400, 16 << 10] {
        let mut session = begun(segment_bytes);
        let last = last_frame(&segment(&session));
        let lost = opened_after(&session, |file| file[last.start] ^= 1).unwrap();
        assert_eq!(lost.entries.len(), 1, "it looks torn before");
        session.storage().close_tail().unwrap();
        for (at, bit) in last.clone().flat_map(|at| [0, 3, 7].map(|bit| (at, bit))) {
            let error = opened_after(&session, |file| file[at] ^= 1 << bit).unwrap_err();
            assert!(matches!(error, StorageError::Damaged { offset, .. } if offset == last.start as u64), "{error}");
        }
        // With all that stands before it in the same page.
        if segment_bytes > 4096 {
            let error = opened_after(&session, |file| file[last.start..4096].fill(0)).unwrap_err();
            assert!(matches!(error, StorageError::Damaged { offset, .. } if offset == last.start as u64), "{error}");
        }
    }
}

#[test]
fn a_file_that_was_cut_off_is_found_wherever_it_ends() {
    for closes in [false, true] {
        let mut session = begun(1024);
        if closes {
            session.storage().close_tail().unwrap();
        }
        for length in 0..1024 {
            let error = opened_after(&session, |file| file.truncate(length)).unwrap_err();
            assert!(matches!(error, StorageError::Damaged { .. }), "{length}: {error}");
        }
        let error = opened_after(&session, |file| file.push(0)).unwrap_err();
        assert!(matches!(error, StorageError::Damaged { offset: 1024, .. }), "{error}");
    }
}

#[test]
fn a_log_is_closed_once_behind_each_write() {
    let mut session = begun(4096);
    let steps = |session: &mut Session| {
        let before = session.disk.steps();
        session.storage().close_tail().unwrap();
        session.disk.steps() - before
    };
    assert_eq!((steps(&mut session), steps(&mut session)), (2, 0), "a write and its sync");
    session.persist(&[vote(3, 1)]).unwrap();
    assert_eq!((steps(&mut session), steps(&mut session)), (2, 0));
    session.open().unwrap();
    assert_eq!(steps(&mut session), 2, "a start does not know whether the mark is durable");
}

/// A mark that is still there never counts, wherever the frames behind it end, and whatever of them is torn.
#[test]
fn a_log_goes_on_over_its_marks() {
    for length in (3600..4200).step_by(8) {
        let mut session = begun(16 << 10);
        session.storage().close_tail().unwrap();
        session.persist(&[append(3, 1, &[&vec![9; length]])]).unwrap();
        session.open().unwrap();
        session.storage().close_tail().unwrap();
        let before = session.model.clone();
        session.disk.stop_after(1);
        session.persist(&[append(4, 1, &[b"not synced"])]).unwrap_err();
        for fate in [Fate::Kept, Fate::Lost, Fate::Torn(length as u64), Fate::Torn(!length as u64)] {
            let mut copy = Session { disk: session.disk.copy(), ..Session::new(&session.disk, 16 << 10) };
            (copy.model, copy.asked) = (before.clone(), session.asked.clone());
            copy.disk.power_cycle(fate);
            copy.open().unwrap();
            copy.persist(&[vote(8, 1)]).unwrap();
            copy.open().unwrap();
        }
    }
}

#[test]
fn there_is_room_for_a_mark_in_every_segment() {
    // Segments that are full to the last byte, and frames with segments of their own.
    for command in (1..500).step_by(3) {
        let mut session = Session::begun(400);
        session.persist(&[append(1, 1, &[&vec![7; command]])]).unwrap();
        let before = session.disk.steps();
        session.storage().close_tail().unwrap();
        assert_eq!(session.disk.steps() - before, 2, "{command}");
        session.open().unwrap();
    }
}

#[test]
fn a_failed_sync_of_a_mark_is_a_failure() {
    let mut session = begun(4096);
    session.disk.fail_syncs(true);
    assert!(matches!(session.storage().close_tail().unwrap_err(), StorageError::Io { doing: "sync", .. }));
    session.disk.fail_syncs(false);
    assert!(matches!(session.storage().persist(&[vote(3, 1)]), Err(StorageError::Failed(_))));
}
