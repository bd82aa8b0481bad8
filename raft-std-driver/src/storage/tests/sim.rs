//! What others than the storage can rely on in a simulated disk.

use quickcheck::QuickCheck;

use super::model::{Op, group};
use super::*;
use crate::storage::sim::Fate;

/// The last of a few writes was not synced: the disk gives up when it should be.
fn with_an_unsynced_write() -> Session {
    let mut session = Session::begun(4096);
    session.persist(&[append(1, 1, &[b"synced"])]).unwrap();
    session.disk.stop_after(1);
    session.persist(&[append(2, 1, &[b"not synced"])]).unwrap_err();
    session
}

#[test]
fn a_power_cut_loses_what_was_not_synced() {
    let mut lengths = [0, 0];
    for (fate, entries) in [(Fate::Lost, 1), (Fate::Kept, 2)] {
        let mut session = with_an_unsynced_write();
        session.disk.power_cycle(fate);
        session.open().unwrap();
        assert_eq!(session.model.last().index, Index(entries), "{fate:?}");
    }
    // The frame is there if every sector of it is.
    for seed in 0..4096 {
        let mut session = with_an_unsynced_write();
        session.disk.power_cycle(Fate::Torn(seed));
        session.open().unwrap();
        lengths[session.model.log.len() - 1] += 1;
    }
    assert!(lengths[0] > 0 && lengths[1] > 0, "{lengths:?}");
}

#[test]
fn a_power_cut_loses_names_that_were_not_synced() {
    for (fate, left) in [(Fate::Kept, vec!["b", "d"]), (Fate::Lost, vec!["a", "c"])] {
        let disk = SimDisk::new();
        let by_hand = disk.by_hand();
        for name in ["a", "c"] {
            by_hand.create(name).unwrap();
        }
        by_hand.sync_names().unwrap();
        by_hand.rename("a", "b").unwrap();
        by_hand.remove("c").unwrap();
        by_hand.create("d").unwrap();
        assert_eq!(by_hand.names().unwrap(), ["b", "d"]);
        disk.power_cycle(fate);
        assert_eq!(disk.by_hand().names().unwrap(), left, "{fate:?}");
    }
}

#[test]
fn without_power_nothing_works_and_with_it_only_what_is_opened_anew() {
    let mut session = Session::begun(4096);
    session.persist(&[append(1, 1, &[&b"command"[..]; 5])]).unwrap();
    session.persist(&[compacted(EntryId::new(1, 5), 5)]).unwrap();
    let (by_hand, snapshots) = (session.disk.by_hand(), session.storage().snapshots());
    let file = by_hand.open("wal-00000000000000000001").unwrap();
    let mut sink = snapshots.create(EntryId::new(1, 9), SnapshotOrigin::Received).unwrap();
    sink.write_all(b"some").unwrap();
    let (_, mut reader) = snapshots.open(EntryId::new(1, 5)).unwrap().unwrap();
    assert!(!session.disk.is_stopped());
    session.disk.stop_after(0);
    assert!(!session.disk.is_stopped(), "it goes in the next step");
    let fails = |session: &mut Session, reader: &mut dyn Read| {
        let results = [
            by_hand.names().map(drop),
            by_hand.create("new").map(drop),
            by_hand.open("wal-00000000000000000001").map(drop),
            by_hand.rename("wal-00000000000000000001", "b").map(drop),
            by_hand.remove("wal-00000000000000000001"),
            by_hand.sync_names(),
            file.len().map(drop),
            file.read(&mut [0], 0),
            file.write(&[0], 0),
            file.sync(),
            snapshots.create(EntryId::new(1, 10), SnapshotOrigin::Local).map(drop),
            snapshots.open(EntryId::new(1, 5)).map(drop),
            snapshots.discard(EntryId::new(1, 9)),
            session.storage().persist(&[append(6, 1, &[b"more"])]),
        ];
        let works = results.iter().position(Result::is_ok);
        works.is_none() && reader.read_to_end(&mut Vec::new()).is_err()
    };
    by_hand.sync_names().unwrap_err();
    assert!(session.disk.is_stopped());
    let steps = session.disk.steps();
    assert!(fails(&mut session, &mut *reader), "without power");
    assert!(session.disk.open(session.options).is_err());
    session.disk.power_cycle(Fate::Kept);
    assert!(fails(&mut session, &mut *reader), "with power again");
    assert!(sink.finish().is_err());
    assert_eq!(session.disk.steps(), steps, "what fails changes nothing");
    session.open().unwrap();
}

#[test]
fn what_a_dead_server_leaves_behind_does_not_touch_its_successors_files() {
    for ends in [|disk: &SimDisk| disk.power_cycle(Fate::Kept), SimDisk::end_process] {
        let mut session = Session::begun(4096);
        let old = session.storage().snapshots().create(EntryId::new(1, 9), SnapshotOrigin::Received).unwrap();
        let dead = session.storage.take();
        ends(&session.disk);
        session.open().unwrap();
        // Under the same name as the old one, whose end would remove it.
        let new = session.storage().snapshots().create(EntryId::new(1, 8), SnapshotOrigin::Received).unwrap();
        let before = session.disk.contents();
        drop((old, dead));
        assert_eq!(session.disk.contents(), before);
        assert!(matches!(session.disk.open(session.options), Err(StorageError::InUse { .. })), "its successor has it");
        new.finish().unwrap();
    }
}

#[test]
fn only_one_storage_is_open_at_a_time() {
    let mut session = Session::begun(4096);
    let in_use = |session: &Session| matches!(session.disk.open(session.options), Err(StorageError::InUse { .. }));
    assert!(in_use(&session) && matches!(session.disk.init(birth(), session.options), Err(StorageError::InUse { .. })));
    let snapshots = session.storage().snapshots();
    session.storage = None;
    assert!(in_use(&session), "its snapshots are alive");
    let sink = snapshots.create(EntryId::new(1, 9), SnapshotOrigin::Received).unwrap();
    drop(snapshots);
    assert!(in_use(&session), "a snapshot is being written");
    drop(sink);
    session.open().unwrap();
    let elsewhere = session.disk.copy();
    assert!(elsewhere.open(session.options).is_ok(), "a copy is another disk");
    session.storage = None;
    session.disk.edit("wal-00000000000000000001", |file| file[20] ^= 1).unwrap();
    assert!(matches!(session.disk.open(session.options), Err(StorageError::Damaged { .. })));
    session.disk.edit("wal-00000000000000000001", |file| file[20] ^= 1).unwrap();
    session.disk.open(session.options).map(drop).expect("a start that failed holds nothing");
    assert!(session.disk.edit("no such file", |_| ()).is_err());
}

#[test]
fn the_end_of_a_process_loses_nothing_until_the_power_goes() {
    let mut session = with_an_unsynced_write();
    session.disk.end_process();
    assert!(!session.disk.is_stopped() && session.storage().persist(&[vote(2, 1)]).is_err());
    session.storage = None;
    let (cut, mut ended) = (session.disk.copy(), session);
    ended.open().unwrap();
    assert_eq!(ended.model.last().index, Index(2), "the machine still has it in memory");
    let mut lost =
        Session { disk: cut, options: ended.options, storage: None, model: Model::new(), asked: Model::new() };
    lost.disk.power_cycle(Fate::Lost);
    lost.model.take(&append(1, 1, &[b"synced"]));
    lost.model.hard_state = ended.model.hard_state;
    lost.asked = lost.model.clone();
    lost.open().unwrap();
}

#[test]
fn syncs_that_fail_make_nothing_durable() {
    let disk = SimDisk::new();
    let by_hand = disk.by_hand();
    let file = by_hand.create("a").unwrap();
    by_hand.sync_names().unwrap();
    disk.fail_syncs(true);
    file.write(b"lost", 0).unwrap();
    by_hand.create("b").unwrap();
    assert!(file.sync().is_err() && by_hand.sync_names().is_err());
    disk.fail_syncs(false);
    file.write(b"kept", 4).unwrap();
    file.sync().unwrap();
    assert_eq!(disk.contents(), [("a".into(), b"lostkept".to_vec()), ("b".into(), vec![])]);
    disk.power_cycle(Fate::Lost);
    assert_eq!(disk.contents(), [("a".into(), b"\0\0\0\0kept".to_vec())], "a later sync does not bring it back");
}

/// After how many steps some operations, power cuts among them, have led to which files.
type Trace = Vec<(u64, Vec<(String, Vec<u8>)>)>;

fn trace(ops: &[Op]) -> Trace {
    let mut session = Session::begun(400);
    let mut trace = vec![];
    for ops in ops.chunks(2) {
        if ops[0].1 % 4 == 0 {
            session.disk.stop_after(u64::from(ops[0].2 % 16));
        }
        let writes = group(&session.model, ops);
        if session.persist(&writes).is_err() {
            session.disk.power_cycle(Fate::Torn(u64::from(ops[0].2) << 40));
            session.open().unwrap();
        }
        trace.push((session.disk.steps(), session.disk.contents()));
    }
    trace
}

#[test]
fn the_same_calls_give_the_same_bytes() {
    #[allow(clippy::needless_pass_by_value, reason = "quickcheck gives values")]
    fn property(ops: Vec<Op>) -> bool {
        trace(&ops) == trace(&ops)
    }
    QuickCheck::new().tests(100).quickcheck(property as fn(Vec<Op>) -> bool);
}

#[test]
fn large_segments_are_not_filled_on_another_thread() {
    let mut session = Session::begun(2 << 20);
    session.persist(&[append(1, 1, &[&vec![1; 3 << 19]])]).unwrap();
    // A thread would take a while.
    assert!(session.disk.by_hand().names().unwrap()[0].starts_with("blank-"));
}
