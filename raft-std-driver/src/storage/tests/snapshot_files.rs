//! Snapshot files: unfinished, unnamed, replaced, damaged.

use super::*;

const LOCAL: SnapshotOrigin = SnapshotOrigin::Local;
const RECEIVED: SnapshotOrigin = SnapshotOrigin::Received;

fn id(index: u64) -> EntryId {
    EntryId::new(1, index)
}

/// With entries 1 to 9.
fn begun() -> Session {
    let mut session = Session::begun(4096);
    session.persist(&[append(1, 1, &[&b"command"[..]; 9]), vote(1, 1)]).unwrap();
    session
}

fn files(session: &Session) -> Vec<String> {
    let all = session.disk.by_hand().names().unwrap().into_iter();
    all.filter_map(|name| name.strip_prefix("snapshot-").map(|name| name.trim_start_matches('0').to_owned())).collect()
}

#[test]
fn nothing_remains_of_an_unfinished_one() {
    let mut session = begun();
    let snapshots = session.storage().snapshots();
    let mut sink = snapshots.create(id(4), LOCAL).unwrap();
    sink.write_all(&[1; 200_000]).unwrap();
    assert_eq!(files(&session), ["1.tmp"]);
    let crashed = session.disk.copy();
    drop(sink);
    assert!(files(&session).is_empty());
    session.disk = crashed;
    session.open().unwrap();
    assert!(files(&session).is_empty());
}

#[test]
fn one_that_no_write_names_goes_at_the_next_start() {
    let mut session = begun();
    let snapshots = session.storage().snapshots();
    make_snapshot(&*snapshots, id(4), LOCAL).unwrap();
    make_snapshot(&*snapshots, id(40), RECEIVED).unwrap();
    assert_eq!(files(&session).len(), 2);
    assert!(snapshots.open(id(4)).unwrap().is_none(), "not current before a write names it");
    drop(snapshots);
    session.open().unwrap();
    assert!(files(&session).is_empty());
}

#[test]
fn a_write_that_names_a_missing_one_is_refused() {
    let mut session = begun();
    let storage = session.storage();
    make_snapshot(&*storage.snapshots(), id(4), RECEIVED).unwrap();
    let error = storage.persist(&[compacted(id(4), 5)]).unwrap_err();
    assert!(matches!(error, StorageError::Unfit { .. }) && error.to_string().contains("-local"), "{error}");
    session.open().unwrap();
    assert_eq!(session.model.snapshot.last, EntryId::ZERO);
}

#[test]
fn a_current_one_takes_the_place_of_older_ones_only() {
    let mut session = begun();
    session.persist(&[compacted(id(3), 2)]).unwrap();
    let snapshots = session.storage().snapshots();
    make_snapshot(&*snapshots, id(2), RECEIVED).unwrap();
    make_snapshot(&*snapshots, id(8), LOCAL).unwrap();
    make_snapshot(&*snapshots, id(20), RECEIVED).unwrap();
    session.persist(&[compacted(id(5), 4)]).unwrap();
    assert_eq!(files(&session).len(), 3, "5 is current, 8 and 20 may become so");
    assert!(read_snapshot(&*snapshots, id(5)).is_some() && read_snapshot(&*snapshots, id(8)).is_none());
    session.persist(&[installed(id(20))]).unwrap();
    assert_eq!(files(&session).len(), 1);
    assert!(read_snapshot(&*snapshots, id(20)).is_some());
}

#[test]
fn one_that_is_being_read_stays_readable() {
    let mut session = begun();
    session.persist(&[compacted(id(5), 4)]).unwrap();
    let snapshots = session.storage().snapshots();
    let (_, mut reader) = snapshots.open(id(5)).unwrap().unwrap();
    let mut half = vec![0; 66_000];
    reader.read_exact(&mut half).unwrap();
    session.persist(&[compacted(id(7), 7)]).unwrap();
    reader.read_to_end(&mut half).unwrap();
    assert_eq!(half, snapshot_data(id(5), LOCAL));
    assert!(snapshots.open(id(5)).unwrap().is_none());
}

#[test]
fn origins_do_not_meet_and_only_unwanted_received_ones_are_discarded() {
    let mut session = begun();
    session.persist(&[compacted(id(5), 4)]).unwrap();
    let snapshots = session.storage().snapshots();
    make_snapshot(&*snapshots, id(5), RECEIVED).unwrap();
    assert_eq!(read_snapshot(&*snapshots, id(5)).unwrap(), snapshot_data(id(5), LOCAL));
    snapshots.discard(id(5)).unwrap();
    snapshots.discard(id(5)).unwrap();
    assert_eq!(files(&session).len(), 1);
    session.persist(&[installed(id(30))]).unwrap();
    // The same one arrives once more, and is not wanted: it is the current one.
    make_snapshot(&*snapshots, id(30), RECEIVED).unwrap();
    snapshots.discard(id(30)).unwrap();
    drop(snapshots);
    session.open().unwrap();
}

#[test]
fn damage_is_found_at_the_start_and_while_reading() {
    let mut session = begun();
    session.persist(&[compacted(id(5), 4)]).unwrap();
    let snapshots = session.storage().snapshots();
    let name = session.disk.by_hand().names().unwrap().into_iter().find(|name| name.starts_with("snapshot-")).unwrap();
    let bytes = session.disk.contents().into_iter().find(|(other, _)| *other == name).unwrap().1;
    let places = (0..64).chain([40 + 65_535, 40 + 65_536, 40 + 65_539, 40 + 65_540, bytes.len() - 1]);
    for at in places {
        let disk = session.disk.copy();
        disk.edit(&name, |file| file[at] ^= 0x10).unwrap();
        let damaged = disk.contents();
        let error = disk.open(session.options).err().unwrap();
        match error {
            StorageError::Damaged { path, offset, .. } => {
                assert_eq!(path.to_str(), Some(&*name));
                let block = if at < 40 + 65_540 { 40 } else { 40 + 65_540 };
                let expected =
                    if at < 40 { offset <= at as u64 || offset == bytes.len() as u64 } else { offset == block };
                assert!(expected, "damaged at {at}, found at {offset}");
            }
            StorageError::Version { .. } => assert_eq!(at / 4, 2),
            error => panic!("{at}: {error}"),
        }
        assert!(disk.contents() == damaged);
    }
    for length in [0, 39, 40, 65_576, bytes.len() - 1] {
        let disk = session.disk.copy();
        disk.edit(&name, |file| file.truncate(length)).unwrap();
        let error = disk.open(session.options).err().unwrap();
        assert!(matches!(error, StorageError::Damaged { .. }), "cut to {length}: {error}");
    }
    // Damage that comes later: the first block is good, not one byte of the second is handed out.
    session.disk.edit(&name, |file| file[40 + 65_540] ^= 1).unwrap();
    let (_, mut reader) = snapshots.open(id(5)).unwrap().unwrap();
    let mut data = vec![];
    let error = reader.read_to_end(&mut data).unwrap_err();
    assert_eq!((error.kind(), data.len()), (std::io::ErrorKind::InvalidData, 65_536));
    assert!(error.to_string().contains("offset 65580"), "{error}");

    session.disk.by_hand().remove(&name).unwrap();
    drop(snapshots);
    assert!(matches!(session.open().unwrap_err(), StorageError::Io { doing: "open", .. }));
}

#[test]
fn snapshots_without_a_log_are_no_empty_directory() {
    let mut session = begun();
    session.persist(&[compacted(id(5), 4)]).unwrap();
    for segment in session.segments() {
        session.disk.by_hand().remove(&segment).unwrap();
    }
    assert!(matches!(session.open().unwrap_err(), StorageError::Damaged { .. }));
    assert!(matches!(session.init().unwrap_err(), StorageError::NotEmpty { .. }));
}
