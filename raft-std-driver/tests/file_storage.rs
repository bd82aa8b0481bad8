//! `FileStorage` on real files, as an application sees it.

use std::fs;
use std::io::{Read, Write as _};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use raft_core::{
    Bytes, Entries, Entry, EntryId, HardState, Incarnation, Index, Membership, NodeId, Payload, ServerId, SnapshotMeta,
    SnapshotWrite, Term, Write, WriteId,
};
use raft_std_driver::storage::{
    Birth, ClusterId, FileOptions, FileStorage, SnapshotOrigin, Storage, StorageError, StorageErrorKind,
};

const CLUSTER: ClusterId = ClusterId(7);
const NODE: NodeId = NodeId(1);

fn birth() -> Birth {
    Birth::founder(CLUSTER, NODE, Membership::new([1, 2, 3].map(NodeId))).with_incarnation(42)
}

fn init(dir: &Path) -> FileStorage {
    FileStorage::init(dir, birth(), FileOptions::default()).unwrap()
}

fn open(dir: &Path) -> Result<FileStorage, StorageError> {
    FileStorage::open(dir, FileOptions::default())
}

fn append(index: u64, command: &[u8]) -> Write {
    let entry = Entry { term: Term(1), payload: Payload::Command(Bytes::copy_from_slice(command)) };
    let entries = Entries::from_vec(Index(index), vec![entry]).unwrap();
    let hard_state =
        Some(HardState { term: Term(1), voted_for: Some(ServerId { id: NodeId(2), incarnation: Incarnation(9) }) });
    Write { id: WriteId::from_number(index), hard_state, snapshot: None, entries }
}

fn compacted(last: EntryId) -> Write {
    let snapshot = SnapshotMeta { last, membership: Arc::new(birth().membership().clone()) };
    let snapshot = Some(SnapshotWrite::Compacted { snapshot, first: last.index.next() });
    Write { id: WriteId::from_number(1), hard_state: None, snapshot, entries: Entries::new() }
}

#[test]
fn a_member_is_born_once_and_keeps_everything() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("not/there/yet");
    assert!(matches!(open(&dir).err(), Some(StorageError::Empty { .. })));
    let mut storage = init(&dir);
    let recovered = storage.recover().unwrap();
    assert_eq!(recovered.identity, birth().identity());
    assert_eq!(*recovered.snapshot.membership, *birth().membership());
    assert!(recovered.entries.is_empty());
    storage.persist(&[append(1, b"one"), append(2, b"two")]).unwrap();
    drop(storage);

    let again = FileStorage::init(&dir, birth(), FileOptions::default());
    assert!(matches!(again.err(), Some(StorageError::NotEmpty { .. })));
    let recovered = open(&dir).unwrap().recover().unwrap();
    assert_eq!(
        recovered.hard_state,
        HardState { term: Term(1), voted_for: Some(ServerId { id: NodeId(2), incarnation: Incarnation(9) }) }
    );
    let commands: Vec<_> = recovered.entries.iter().map(|(id, payload)| (id.index.0, payload.clone())).collect();
    let command = |bytes| Payload::Command(Bytes::from_static(bytes));
    assert_eq!(commands, [(1, command(b"one")), (2, command(b"two"))]);
}

#[test]
fn an_empty_directory_does_not_open() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(open(dir.path()).err(), Some(StorageError::Empty { .. })));
    fs::write(dir.path().join("notes.txt"), "not ours").unwrap();
    assert!(matches!(open(dir.path()).err(), Some(StorageError::Empty { .. })));
    drop(init(dir.path()));
    assert!(dir.path().join("notes.txt").exists());
}

#[test]
fn a_directory_has_one_user_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let storage = init(dir.path());
    assert!(matches!(open(dir.path()).err(), Some(StorageError::InUse { .. })));
    let again = FileStorage::init(dir.path(), birth(), FileOptions::default());
    assert!(matches!(again.err(), Some(StorageError::InUse { .. })));
    let sink = storage.snapshots().create(EntryId::new(1, 1), SnapshotOrigin::Received).unwrap();
    drop(storage);
    assert!(matches!(open(dir.path()).err(), Some(StorageError::InUse { .. })), "a snapshot is still being written");
    drop(sink);
    open(dir.path()).unwrap();
}

/// A clean-up job, or a hand, takes the lock file for a remainder.
#[test]
fn without_its_lock_file_a_directory_still_has_one_user_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let storage = init(dir.path());
    fs::remove_file(dir.path().join("lock")).unwrap();
    assert!(matches!(open(dir.path()).err(), Some(StorageError::InUse { .. })));
    drop(storage);
    let storage = open(dir.path()).unwrap();
    fs::remove_file(dir.path().join("lock")).unwrap();
    let again = FileStorage::init(dir.path(), birth(), FileOptions::default());
    assert!(matches!(again.err(), Some(StorageError::InUse { .. })));
    drop(storage);
}

#[test]
fn a_directory_of_another_server_or_cluster_is_told_from_ones_own() {
    let dir = tempfile::tempdir().unwrap();
    let storage = init(dir.path());
    storage.check_identity(CLUSTER, NODE).unwrap();
    let error = storage.check_identity(ClusterId(8), NODE).unwrap_err();
    assert!(
        error.kind() == StorageErrorKind::OtherCluster && error.to_string().contains("cluster 7, not to cluster 8")
    );
    let error = storage.check_identity(CLUSTER, NodeId(2)).unwrap_err();
    assert!(error.kind() == StorageErrorKind::OtherServer && error.to_string().contains("server 1, not to server 2"));
}

#[test]
fn another_version_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    drop(init(dir.path()));
    let path = dir.path().join("wal-00000000000000000001");
    let mut bytes = fs::read(&path).unwrap();
    bytes[8..12].copy_from_slice(&1u32.to_le_bytes());
    fs::write(&path, &bytes).unwrap();
    match open(dir.path()).err() {
        Some(StorageError::Version { path: named, found: 1, known: 3 }) => assert_eq!(named, path),
        other => panic!("{other:?}"),
    }
    assert!(fs::read(&path).unwrap() == bytes);
}

/// Run one of the tests below as a process of its own, which looks into this directory.
fn in_a_child(test: &str, dir: &Path, shell: &str, tune: impl FnOnce(&mut Command)) {
    // A copy, which any user may read.
    let program = dir.with_file_name("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let mut child = Command::new("sh");
    child.args(["-c", &format!("{shell} \"$0\" --exact {test} --ignored --nocapture")]).arg(program);
    tune(child.env("RAFT_FILE_STORAGE", dir));
    let ended = child.output().unwrap();
    let said = String::from_utf8_lossy(&[ended.stdout, ended.stderr].concat()).into_owned();
    assert!(ended.status.success() && said.contains("1 passed"), "{said}");
}

fn given_dir() -> Option<PathBuf> {
    std::env::var_os("RAFT_FILE_STORAGE").map(PathBuf::from)
}

#[test]
fn a_process_without_descriptors_goes_on_writing_its_log() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("data");
    in_a_child("without_descriptors", &dir, "ulimit -n 64; exec", |_| {});
    let recovered = open(&dir).unwrap().recover().unwrap();
    assert_eq!(recovered.entries.last(), Some(EntryId::new(1, 200)));
}

#[test]
#[ignore = "a process of the test above: it uses up its descriptors"]
fn without_descriptors() {
    let Some(dir) = given_dir() else { return };
    let options = FileOptions { segment_bytes: 1 << 20 };
    let mut storage = FileStorage::init(&dir, birth(), options).unwrap();
    storage.persist(&[append(1, b"first")]).unwrap();
    let mut all = vec![];
    let error = loop {
        match fs::File::open("/dev/null") {
            Ok(file) => all.push(file),
            Err(error) => break error,
        }
    };
    assert_eq!(error.raw_os_error(), Some(24), "{error}");
    for index in 2..=200 {
        storage.persist(&[append(index, &vec![7; 50_000])]).unwrap();
        if index % 50 == 0 {
            let last = EntryId::new(1, index - 10);
            let mut sink = storage.snapshots().create(last, SnapshotOrigin::Local).unwrap();
            sink.write_all(b"the state").unwrap();
            sink.finish().unwrap();
            storage.persist(&[compacted(last)]).unwrap();
            assert!(storage.snapshots().open(last).unwrap().is_some());
        }
    }
}

#[test]
fn a_directory_that_may_not_be_written_to_is_refused_at_the_start() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("data");
    drop(init(&dir));
    let allow = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    // The files may be written to, but none may be made.
    fs::read_dir(&dir).unwrap().for_each(|file| allow(&file.unwrap().path(), 0o666));
    allow(parent.path(), 0o755);
    allow(&dir, 0o555);
    let is_root = fs::metadata("/proc/self").map(|me| me.uid()).unwrap_or(1) == 0;
    in_a_child("without_permission", &dir, "", |child| {
        if is_root {
            child.uid(65_534);
        }
    });
    allow(&dir, 0o755);
}

#[test]
#[ignore = "a process of the test above: another user than root"]
fn without_permission() {
    let Some(dir) = given_dir() else { return };
    let error = open(&dir).err().unwrap();
    assert_eq!(error.kind(), StorageErrorKind::Permission, "{error}");
    assert!(error.to_string().contains("needs to read, write and create files there"), "{error}");
}

/// A file system of 6 MiB, which only this process and its parent see.
#[test]
fn a_full_file_system_is_waited_out() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("data");
    fs::create_dir(&dir).unwrap();
    let mount = "mount -t tmpfs -o size=6m tmpfs \"$RAFT_FILE_STORAGE\"";
    let may = Command::new("unshare").args(["-m", "sh", "-c", mount]).env("RAFT_FILE_STORAGE", &dir).output();
    if !may.as_ref().is_ok_and(|may| may.status.success()) {
        println!("SKIPPED: this process may not mount a small file system to fill (it takes root): {may:?}");
        return;
    }
    in_a_child("on_a_small_file_system", &dir, &format!("unshare -m sh -c '{mount} && exec \"$@\"' sh"), |_| {});
}

#[test]
#[ignore = "a process of the test above: it has a small file system of its own"]
fn on_a_small_file_system() {
    let Some(dir) = given_dir() else { return };
    let options = FileOptions { segment_bytes: 1 << 20 };
    let mut storage = FileStorage::init(&dir, birth(), options).unwrap();
    let mut next = 1;
    let mut fill = |storage: &mut FileStorage| loop {
        match storage.persist(&[append(next, &[7; 50_000])]) {
            Ok(()) => next += 1,
            Err(error) => break (error, next),
        }
    };
    fs::write(dir.join("ballast"), vec![0; 3 << 20]).unwrap();
    let (error, stopped) = fill(&mut storage);
    assert!(matches!(error, StorageError::NotWritten { .. }) && error.kind() == StorageErrorKind::DiskFull, "{error}");
    assert_eq!(storage.shortage(), Some(StorageErrorKind::DiskFull));
    // A vote still finds room.
    storage.persist(&[Write { entries: Entries::new(), ..append(stopped, b"") }]).unwrap();
    fs::remove_file(dir.join("ballast")).unwrap();
    let (error, stopped_later) = fill(&mut storage);
    assert!(error.kind() == StorageErrorKind::DiskFull && stopped_later > stopped + 20, "{stopped} {stopped_later}");
    drop(storage);
    let mut storage = FileStorage::open(&dir, options).unwrap();
    assert_eq!(storage.recover().unwrap().entries.last(), Some(EntryId::new(1, stopped_later - 1)));
}

/// Segments large enough to be filled ahead on a thread, and recycled.
#[test]
fn many_segments_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let options = FileOptions { segment_bytes: 1 << 20 };
    let mut storage = FileStorage::init(dir.path(), birth(), options).unwrap();
    let command = vec![7; 100_000];
    for index in 1..=60 {
        storage.persist(&[append(index, &command)]).unwrap();
        if index % 25 == 0 {
            let last = EntryId::new(1, index);
            let mut sink = storage.snapshots().create(last, SnapshotOrigin::Local).unwrap();
            sink.write_all(b"the state").unwrap();
            sink.finish().unwrap();
            storage.persist(&[compacted(last)]).unwrap();
        }
    }
    drop(storage);
    let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert!(names.len() < 10, "{names:?}");

    let mut storage = FileStorage::open(dir.path(), options).unwrap();
    let recovered = storage.recover().unwrap();
    assert_eq!(recovered.entries.first(), Some(EntryId::new(1, 51)));
    assert_eq!(recovered.entries.last(), Some(EntryId::new(1, 60)));
    let (length, mut reader) = storage.snapshots().open(EntryId::new(1, 50)).unwrap().unwrap();
    let mut state = String::new();
    reader.read_to_string(&mut state).unwrap();
    assert_eq!((length, &*state), (9, "the state"));
}

/// `docs/performance.md` says what it was. A program that is not optimized takes much longer for each byte of its own loops.
#[test]
#[ignore = "measures"]
fn how_long_a_start_takes() {
    let command = vec![7; 256];
    for entries in [0, 217] {
        let dir = tempfile::tempdir().unwrap();
        let mut storage = init(dir.path());
        for group in 0..entries {
            let first = group * 1000 + 1;
            let list = (0..1000).map(|_| Entry { term: Term(1), payload: Payload::Command(command.clone().into()) });
            let entries = Entries::from_vec(Index(first), list.collect()).unwrap();
            storage.persist(&[Write { entries, ..append(first, b"") }]).unwrap();
        }
        drop(storage);
        for _ in 0..3 {
            let began = Instant::now();
            let found = open(dir.path()).unwrap().recover().unwrap().entries.len();
            println!("a segment of 64 MiB with {found} entries of 256 bytes: {:?}", began.elapsed());
        }
    }
}
