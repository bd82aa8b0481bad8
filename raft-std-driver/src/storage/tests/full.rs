//! A disk without room, and a process without file descriptors: what cannot be written is refused, and nothing else is lost.

use quickcheck::QuickCheck;

use super::model::{Op, group};
use super::*;
use crate::storage::sim::Fate;

/// How the disk or the process comes short, and recovers.
type Short = (StorageErrorKind, fn(&SimDisk, bool));

const SHORT: [Short; 2] = [
    (StorageErrorKind::DiskFull, |disk, short| disk.set_capacity(short.then(|| disk.used()))),
    (StorageErrorKind::TooManyOpenFiles, SimDisk::set_out_of_descriptors),
];

impl Session {
    /// As `persist`, but what there was no room for was not asked for.
    fn try_to_persist(&mut self, writes: &[Write]) -> Result<(), StorageError> {
        let result = self.persist(writes);
        if matches!(result, Err(StorageError::NotWritten { .. })) {
            self.asked = self.model.clone();
        }
        result
    }

    /// Append entries of 100 bytes until there is no room; returns the kind of the error.
    fn fill(&mut self) -> StorageErrorKind {
        for _ in 0..1000 {
            let next = self.model.last().index.0 + 1;
            if let Err(error) = self.try_to_persist(&[append(next, 1, &[&[7; 100]])]) {
                assert!(matches!(error, StorageError::NotWritten { .. }), "{error}");
                return error.kind();
            }
        }
        panic!("there is always room");
    }

    /// A start after the power went, on a copy, finds exactly what was acknowledged.
    fn survives(&self, fate: Fate) {
        let mut copy = Session { disk: self.disk.copy(), storage: None, ..Session::new(&self.disk, 0) };
        (copy.options, copy.model, copy.asked) = (self.options, self.model.clone(), self.model.clone());
        copy.disk.power_cycle(fate);
        copy.open().unwrap();
    }
}

#[test]
fn a_write_without_room_is_refused_and_the_log_goes_on_when_there_is_some() {
    for (kind, set_short) in SHORT {
        let mut session = Session::begun(4096);
        set_short(&session.disk, true);
        assert_eq!(session.fill(), kind);
        let before = session.disk.contents();
        let next = session.model.last().index.0 + 1;
        for command in [&[7; 100][..], &[8; 4000], &[9; 10_000]] {
            let error = session.try_to_persist(&[append(next, 1, &[command])]).unwrap_err();
            assert!(matches!(error, StorageError::NotWritten { .. }) && error.kind() == kind, "{error}");
            assert!(session.disk.contents() == before, "{kind}: something is left of what was refused");
        }
        for fate in [Fate::Kept, Fate::Lost, Fate::Torn(1), Fate::Torn(2)] {
            session.survives(fate);
        }
        set_short(&session.disk, false);
        session.persist(&[append(next, 1, &[&[7; 100]])]).unwrap();
        session.persist(&[append(next + 1, 1, &[&[9; 10_000]])]).unwrap();
        session.open().unwrap();
    }
}

#[test]
fn votes_are_written_where_entries_find_no_room() {
    for (kind, set_short) in SHORT {
        let mut session = Session::begun(4096);
        set_short(&session.disk, true);
        assert_eq!(session.fill(), kind);
        for term in 2..6 {
            session.persist(&[vote(term, 2)]).unwrap();
        }
        let next = session.model.last().index.0 + 1;
        session.try_to_persist(&[vote(7, 2), append(next, 1, &[b"entry"])]).unwrap_err();
        session.survives(Fate::Lost);
        session.storage = None;
        session.disk.end_process();
        session.open().unwrap();
    }
}

#[test]
fn a_shortage_is_known_while_there_is_room() {
    for (kind, set_short) in SHORT {
        let mut session = Session::begun(4096);
        set_short(&session.disk, true);
        while session.storage().shortage().is_none() {
            let next = session.model.last().index.0 + 1;
            session.persist(&[append(next, 1, &[&[7; 100]])]).unwrap();
        }
        assert_eq!(session.storage().shortage(), Some(kind));
        for _ in 0..8 {
            let next = session.model.last().index.0 + 1;
            session.persist(&[append(next, 1, &[&[7; 100]])]).unwrap();
        }
        session.storage().make_room();
        assert_eq!(session.storage().shortage(), Some(kind));
        set_short(&session.disk, false);
        session.storage().make_room();
        assert_eq!(session.storage().shortage(), None);
        set_short(&session.disk, true);
        for _ in 0..20 {
            let next = session.model.last().index.0 + 1;
            session.persist(&[append(next, 1, &[&[7; 100]])]).unwrap();
        }
        assert_eq!(session.segments().len(), 2, "the log goes on in what was prepared");
    }
}

#[test]
fn a_compaction_makes_room_on_a_full_disk() {
    let mut session = Session::begun(4096);
    for index in 1..60 {
        session.persist(&[append(index, 1, &[&[7; 100]])]).unwrap();
    }
    let used = session.disk.used();
    session.disk.set_capacity(Some(used + 8192));
    assert_eq!(session.fill(), StorageErrorKind::DiskFull);
    let last = session.model.last();
    session.disk.set_capacity(Some(session.disk.used() + 200));
    session.persist(&[compacted(last, last.index.0 + 1)]).unwrap();
    for _ in 0..30 {
        let next = session.model.last().index.0 + 1;
        session.persist(&[append(next, 1, &[&[7; 100]])]).unwrap();
    }
    session.open().unwrap();
}

#[test]
fn of_a_snapshot_that_finds_no_room_nothing_remains() {
    for (kind, set_short) in SHORT {
        let mut session = Session::begun(4096);
        session.persist(&[append(1, 1, &[b"one"]), vote(1, 1)]).unwrap();
        let snapshots = session.storage().snapshots();
        let before = session.disk.contents();
        let last = EntryId::new(1, 1);
        let taken = |at_create: bool| {
            set_short(&session.disk, at_create);
            let mut sink = snapshots.create(last, SnapshotOrigin::Local)?;
            session.disk.set_capacity(Some(session.disk.used() + 70_000));
            for _ in 0..3 {
                sink.write_all(&[1; 50_000]).map_err(|source| StorageError::Io {
                    doing: "write",
                    path: "snapshot".into(),
                    source,
                })?;
            }
            sink.finish()
        };
        let expected = [kind, StorageErrorKind::DiskFull];
        for (at_create, kind) in [true, false].into_iter().zip(expected) {
            assert_eq!(taken(at_create).unwrap_err().kind(), kind);
            assert!(session.disk.contents() == before);
        }
        session.disk.set_capacity(None);
        session.persist(&[compacted(last, 2)]).unwrap();
        drop(snapshots);
        session.open().unwrap();
    }
}

#[test]
fn a_directory_is_not_half_initialised_for_want_of_room() {
    for room in (0..600).step_by(20) {
        let disk = SimDisk::new();
        disk.set_capacity(Some(room));
        let mut session = Session::new(&disk, 512);
        if let Err(error) = session.init() {
            assert_eq!(error.kind(), StorageErrorKind::DiskFull, "{error}");
            assert!(disk.contents().is_empty());
            disk.set_capacity(None);
            session.init().unwrap();
        }
    }
}

#[test]
fn a_start_finds_out_what_a_running_log_may_not_do() {
    let mut session = Session::begun(4096);
    session.persist(&[append(1, 1, &[b"one"]), vote(1, 1)]).unwrap();
    session.storage = None;
    let before = session.disk.contents();
    session.disk.set_names_fixed(true);
    let error = session.open().unwrap_err();
    assert!(error.kind() == StorageErrorKind::Permission && error.to_string().contains("create"), "{error}");
    assert!(session.disk.contents() == before);
    session.disk.set_names_fixed(false);
    session.open().unwrap();
    assert!(session.disk.contents() == before, "nothing is left of the check");
    // A full disk does not keep a server from starting: it may vote and answer reads.
    session.storage = None;
    session.disk.set_capacity(Some(0));
    session.open().unwrap();
    session.persist(&[vote(2, 1)]).unwrap();
}

#[test]
fn equals_a_plain_list_on_a_disk_that_is_full_at_times() {
    #[allow(clippy::needless_pass_by_value, reason = "quickcheck gives values")]
    fn property(segment_bytes: u16, ops: Vec<Op>, room: Vec<u16>) {
        let mut session = Session::begun(u64::from(segment_bytes % 3000));
        let mut room = room.into_iter();
        for (turn, ops) in ops.chunks(3).enumerate() {
            if turn % 4 == 0 {
                session.disk.set_capacity(room.next().map(|room| session.disk.used() + u64::from(room % 3000)));
            }
            let writes = group(&session.model, ops);
            match session.try_to_persist(&writes) {
                Ok(()) => {}
                Err(error) if error.kind() == StorageErrorKind::DiskFull => {
                    session.asked = session.model.clone();
                    session.survives(Fate::Torn(turn as u64));
                    if ops[0].2 % 2 == 0 {
                        session.disk.set_capacity(None);
                        session.storage().make_room();
                        session.persist(&writes).unwrap();
                    }
                }
                Err(error) => panic!("{error}"),
            }
        }
        session.open().unwrap();
    }
    QuickCheck::new().tests(600).quickcheck(property as fn(u16, Vec<Op>, Vec<u16>));
}
