//! Bytes that change on the disk: what is found, what is taken for the end of the log, and that nothing gets worse.

use super::*;
use crate::storage::frame::{self, FRAME_HEADER_BYTES, Key, SegmentHeader};

fn open(disk: &SimDisk, segment_bytes: u64) -> Result<Recovered, StorageError> {
    disk.open(options(segment_bytes))?.recover()
}

/// The same once its process has ended.
fn reopen(session: &mut Session) -> Result<Recovered, StorageError> {
    session.storage = None;
    open(&session.disk, session.options.segment_bytes)
}

/// Where the frames of a segment are.
fn frames(segment: &[u8]) -> Vec<std::ops::Range<usize>> {
    let (header, mut at, crc) = SegmentHeader::read(segment).unwrap();
    let mut link = header.first_link(crc);
    let mut ranges = vec![];
    while let Some(frame) = frame::read(segment, at, link, Key::of(INCARNATION)) {
        (at, link) = (frame.range.end, link.after(frame.crc));
        ranges.push(frame.range);
    }
    ranges
}

fn bytes_of(disk: &SimDisk, name: &str) -> Vec<u8> {
    disk.contents().into_iter().find(|(other, _)| other == name).unwrap().1
}

const FIRST: &str = "wal-00000000000000000001";
const SECOND: &str = "wal-00000000000000000002";

#[test]
fn a_torn_last_frame_is_cut_off_wherever_it_was_torn() {
    let mut session = Session::begun(1024);
    session.persist(&[append(1, 1, &[b"kept", b"too"])]).unwrap();
    session.persist(&[vote(2, 3)]).unwrap();
    let before = (session.model.clone(), bytes_of(&session.disk, FIRST));
    session.persist(&[append(3, 2, &[b"torn away", &[7; 50]]), vote(3, 1)]).unwrap();
    let after = bytes_of(&session.disk, FIRST);
    let frame = frames(&after).pop().unwrap();
    for cut in frame.clone() {
        // Written up to here, or only from here on, or not at all in one place.
        for torn in [frame.start..cut, cut + 1..frame.end, frame.start..frame.end] {
            let mut bytes = before.1.clone();
            bytes[torn.clone()].copy_from_slice(&after[torn.clone()]);
            if torn == frame {
                bytes[cut] = !bytes[cut];
            } else if bytes == after {
                continue; // Only padding was torn off: all of it is there.
            }
            let mut torn = Session { disk: session.disk.copy(), storage: None, ..Session::new(&session.disk, 1024) };
            torn.disk.edit(FIRST, |file| *file = bytes).unwrap();
            (torn.model, torn.asked) = (before.0.clone(), before.0.clone());
            torn.open().unwrap();
            // A shorter frame goes over it, then the rest of the torn one is found behind.
            torn.persist(&[append(3, 2, &[b"other"])]).unwrap();
            torn.open().unwrap();
        }
    }
}

#[test]
fn what_one_start_takes_for_torn_is_not_completed_by_the_next_frame() {
    let mut session = Session::begun(1024);
    session.persist(&[append(1, 1, &[b"kept"])]).unwrap();
    let before = session.model.clone();
    session.persist(&[append(2, 1, &[b"torn"])]).unwrap();
    let start = frames(&bytes_of(&session.disk, FIRST)).pop().unwrap().start;
    // Where it says which frame of which segment it is.
    let common = start + 16..start + FRAME_HEADER_BYTES;
    let lost = bytes_of(&session.disk, FIRST)[common.clone()].to_vec();
    session.disk.edit(FIRST, |file| file[common.clone()].fill(0)).unwrap();
    (session.model, session.asked) = (before.clone(), before);
    session.open().unwrap();
    let (disk, model) = (session.disk.copy(), session.model.clone());
    session.persist(&[append(2, 1, &[b"next"])]).unwrap();
    assert_eq!(bytes_of(&session.disk, FIRST)[common.clone()], lost, "the next frame says the same");
    // The power goes again, and of the next frame just this has reached the disk.
    (session.disk, session.model, session.asked) = (disk, model.clone(), model);
    session.disk.edit(FIRST, |file| file[common].copy_from_slice(&lost)).unwrap();
    session.open().unwrap();
}

/// A log of several segments, with the models before and after its last frame.
fn several_segments() -> (Session, Model) {
    let mut session = Session::begun(440);
    for index in 1..8 {
        session.persist(&[append(index, 1, &[&[7; 60]]), vote(1, 1)]).unwrap();
    }
    session.persist(&[compacted(EntryId::new(1, 5), 1)]).unwrap();
    let before = session.model.clone();
    session.persist(&[append(8, 1, &[b"the last one"])]).unwrap();
    assert!(session.segments().len() > 2, "{:?}", session.segments());
    (session, before)
}

#[test]
fn a_flipped_bit_is_refused_and_nothing_changes() {
    let (session, before_last) = several_segments();
    let segments = session.segments();
    for name in &segments {
        let bytes = bytes_of(&session.disk, name);
        let frames = frames(&bytes);
        let is_last = Some(name) == segments.last();
        assert!(!is_last || frames.len() > 1, "the last frame should not stand alone");
        let used = frames.last().unwrap().end;
        for (at, bit) in (0..used).flat_map(|at| [0, 3, 7].map(|bit| (at, bit))) {
            let disk = session.disk.copy();
            disk.edit(name, |file| file[at] ^= 1 << bit).unwrap();
            let damaged = disk.contents();
            let result = open(&disk, 360);
            if is_last && frames.last().unwrap().contains(&at) {
                assert!(before_last.agrees_with(&result.unwrap()), "the last frame looks torn");
                continue;
            }
            let start = frames.iter().find(|frame| frame.contains(&at)).map_or(0, |frame| frame.start);
            let header = frames[0].start;
            match result.unwrap_err() {
                StorageError::Damaged { path, offset, .. } => {
                    assert_eq!(path.to_str(), Some(&**name), "offset {at}");
                    let found = if start == 0 { offset < header as u64 } else { offset == start as u64 };
                    assert!(found, "{name}: damaged at {at}, found at {offset}");
                }
                StorageError::Version { path, known: 3, .. } => {
                    assert_eq!((path.to_str(), at / 4), (Some(&**name), 2));
                }
                error => panic!("{name} at {at}: {error}"),
            }
            assert!(disk.contents() == damaged, "{name} at {at}: changed");
        }
    }
}

#[test]
fn two_damaged_frames_at_the_end_are_found_by_the_header_of_the_last() {
    let mut session = Session::begun(4096);
    for index in 1..5 {
        session.persist(&[append(index, 1, &[b"some bytes"])]).unwrap();
    }
    let frames = frames(&bytes_of(&session.disk, FIRST));
    let [.., damaged, last] = &frames[..] else { panic!("{frames:?}") };
    session
        .disk
        .edit(FIRST, |file| {
            file[damaged.start + 3] ^= 1;
            file[last.start + FRAME_HEADER_BYTES] ^= 1;
        })
        .unwrap();
    let error = reopen(&mut session).unwrap_err();
    assert!(matches!(error, StorageError::Damaged { offset, .. } if offset == damaged.start as u64), "{error}");
}

#[test]
fn a_missing_segment_is_found_unless_it_was_not_needed() {
    let (session, _) = several_segments();
    let segments = session.segments();
    for (missing, name) in segments.iter().enumerate().rev().skip(1) {
        let disk = session.disk.copy();
        disk.by_hand().remove(name).unwrap();
        let damaged = disk.contents();
        let error = open(&disk, 360).unwrap_err();
        let StorageError::Damaged { path, what, .. } = &error else { panic!("{error}") };
        assert_eq!(path.to_str(), Some(&*segments[missing + 1]), "the segment behind the gap is named");
        assert!(what.contains("missing"), "{error}");
        assert!(disk.contents() == damaged);
    }
}

#[test]
fn a_segment_under_another_name_or_of_another_storage_is_refused() {
    let (mut session, _) = several_segments();
    let other = session.disk.copy();
    other.by_hand().rename(SECOND, "wal-00000000000000000009").unwrap();
    other.by_hand().rename(FIRST, SECOND).unwrap();
    assert!(matches!(open(&other, 360).unwrap_err(), StorageError::Damaged { offset: 16, .. }));

    let stranger = SimDisk::new();
    let mut storage = stranger.init(birth().with_incarnation(99), options(360)).unwrap();
    for index in 1..8 {
        storage.persist(&[append(index, 1, &[&[7; 60]]), vote(1, 1)]).unwrap();
    }
    session.disk.edit(SECOND, |file| *file = bytes_of(&stranger, SECOND)).unwrap();
    assert!(matches!(reopen(&mut session).unwrap_err(), StorageError::Damaged { .. }));
}

/// Two servers' worth of history with one incarnation: only what stands before it tells the segments apart.
#[test]
fn a_segment_that_does_not_continue_the_one_before_is_refused() {
    let branch = |last: &[u8]| {
        let mut session = Session::begun(400);
        session.persist(&[append(1, 1, &[&[7; 60]]), vote(1, 1)]).unwrap();
        session.persist(&[append(2, 1, &[last])]).unwrap();
        while session.segments().len() < 2 {
            let next = session.model.last().index.0 + 1;
            session.persist(&[append(next, 1, &[&[7; 60]])]).unwrap();
        }
        session
    };
    let (mut session, mut other) = (branch(b"this"), branch(b"that"));
    let foreign = bytes_of(&other.disk, SECOND);
    assert!(other.open().is_ok() && foreign != bytes_of(&session.disk, SECOND));
    session.disk.edit(SECOND, |file| *file = foreign).unwrap();
    let error = session.storage().read(Index(1), Index(9), u64::MAX).unwrap_err();
    assert!(matches!(&error, StorageError::Damaged { path, .. } if path.to_str() == Some(SECOND)), "{error}");
    let error = reopen(&mut session).unwrap_err();
    assert!(matches!(&error, StorageError::Damaged { path, .. } if path.to_str() == Some(FIRST)), "{error}");
}

#[test]
fn what_a_recycled_file_still_holds_never_parses() {
    let mut session = Session::begun(600);
    let mut reused = 0;
    for round in 0..40 {
        let next = session.model.last().index.0 + 1;
        let before = session.segments();
        // Frames of one length, so that old ones stand exactly where new ones are looked for.
        session.persist(&[append(next, 1, &[&[round; 64]])]).unwrap();
        if session.segments() != before {
            let name = session.segments().pop().unwrap();
            let bytes = bytes_of(&session.disk, &name);
            let used = frames(&bytes).pop().unwrap().end;
            reused += usize::from(bytes[used..].iter().any(|&byte| byte != 0));
            session.persist(&[compacted(EntryId::new(1, next), next + 1)]).unwrap();
        }
        session.open().unwrap();
    }
    assert!(reused > 3, "{reused} segments were recycled");
}

#[test]
fn a_frame_inside_a_command_is_no_frame() {
    // A client that knows the format, but not the incarnation, sends what looks like the frame after the next.
    let mut session = Session::begun(4096);
    session.persist(&[append(1, 1, &[b"one"])]).unwrap();
    let mut fake = vec![];
    frame::begin(&mut fake);
    let link = frame::Link { segment: 1, sequence: 3, previous: 0 };
    frame::seal(&mut fake, link, Key::of(Incarnation(0))).unwrap();
    let hidden: Vec<u8> = (0..8).flat_map(|shift| [&vec![0; shift][..], &fake].concat()).collect();
    let before = session.model.clone();
    session.persist(&[append(2, 1, &[&hidden])]).unwrap();
    let last = frames(&bytes_of(&session.disk, FIRST)).pop().unwrap();
    session.disk.edit(FIRST, |file| file[last.start] ^= 1).unwrap();
    assert!(before.agrees_with(&reopen(&mut session).unwrap()));
}

#[test]
fn any_bytes_are_refused_or_read() {
    fn property(noise: Vec<(u16, u8)>, cut: Option<u16>, reseal: bool) {
        let (session, _) = several_segments();
        let disk = session.disk.copy();
        let names = disk.by_hand().names().unwrap();
        for (at, byte) in noise {
            let name = &names[usize::from(at) % names.len()];
            disk.edit(name, |file| {
                let at = usize::from(at) % file.len();
                file[at] = byte;
            })
            .unwrap();
        }
        for name in session.segments().iter().filter(|_| reseal) {
            // With checksums that fit, damage reaches the parsers behind them.
            disk.edit(name, |file| reseal_all(file)).unwrap();
        }
        if let Some(cut) = cut {
            disk.edit(&names[usize::from(cut) % names.len()], |file| file.truncate(usize::from(cut) % 400)).unwrap();
        }
        let before = disk.contents();
        if open(&disk, 360).is_err() {
            assert!(disk.contents() == before);
        }
    }
    quickcheck::QuickCheck::new().tests(3000).quickcheck(property as fn(Vec<(u16, u8)>, Option<u16>, bool));
}

/// Makes the checksums of a segment fit what is there, as far as lengths make sense.
fn reseal_all(segment: &mut [u8]) {
    let key = |bytes: &[u8]| crc32c::crc32c_append(crc32c::crc32c(&INCARNATION.0.to_le_bytes()), bytes);
    let length = |bytes: &[u8], at: usize| {
        bytes
            .get(at..)
            .and_then(|bytes| bytes.first_chunk())
            .map_or(usize::MAX >> 8, |length| u32::from_le_bytes(*length) as usize)
    };
    let mut at = (80 + length(segment, 36)).next_multiple_of(8);
    let Some(covered) = segment.get(16..at) else { return };
    let mut previous = key(covered);
    segment[12..16].copy_from_slice(&previous.to_le_bytes());
    loop {
        let end = at + FRAME_HEADER_BYTES + length(segment, at + 12).next_multiple_of(8);
        if segment.get(at..end).is_none_or(|frame| frame[16..32] == [0; 16]) {
            return;
        }
        let payload = key(&segment[at + FRAME_HEADER_BYTES..end]);
        segment[at + 4..at + 8].copy_from_slice(&payload.to_le_bytes());
        segment[at + 8..at + 12].copy_from_slice(&previous.to_le_bytes());
        previous = key(&segment[at + 4..at + FRAME_HEADER_BYTES]);
        segment[at..at + 4].copy_from_slice(&previous.to_le_bytes());
        at = end;
    }
}

#[test]
fn a_write_larger_than_the_codec_takes_is_kept_whole() {
    let mut session = Session::begun(4096);
    let command = vec![0; 20 << 20];
    session.persist(&[vote(1, 1), append(1, 1, &[&command[..]; 4]), vote(2, 1)]).unwrap();
    session.persist(&[append(5, 1, &[b"after"])]).unwrap();
    session.open().unwrap();
}
