//! `FileStorage` against a model that anyone can see to be right, on a disk whose power can be cut.

mod closing;
mod crash;
mod damage;
mod full;
mod golden;
mod model;
mod sim;
mod snapshot_files;

use std::io::Read;
use std::sync::Arc;

use raft_core::{
    Bytes, Config, Entries, Entry, EntryId, HardState, Incarnation, Index, Membership, NodeId, Payload, Raft, Restored,
    ServerId, SnapshotMeta, SnapshotWrite, Term, Write, WriteId,
};

use super::disk::Disk;
use super::sim::SimDisk;
use super::{
    Birth, ClusterId, FileOptions, FileStorage, Recovered, SnapshotOrigin, Snapshots, Storage, StorageError,
    StorageErrorKind,
};

const INCARNATION: Incarnation = Incarnation(0x1234_5678_9ABC_DEF0);

fn membership() -> Membership {
    Membership::new([NodeId(1), NodeId(2), NodeId(3)])
}

fn birth() -> Birth {
    Birth::founder(ClusterId(7), NodeId(1), membership()).with_incarnation(INCARNATION.0)
}

fn options(segment_bytes: u64) -> FileOptions {
    FileOptions { segment_bytes }
}

fn write() -> Write {
    Write { id: WriteId::from_number(1), hard_state: None, snapshot: None, entries: Entries::new() }
}

fn entries(first: u64, term: u64, commands: &[&[u8]]) -> Entries {
    let entry =
        |command: &&[u8]| Entry { term: Term(term), payload: Payload::Command(Bytes::copy_from_slice(command)) };
    Entries::from_vec(Index(first), commands.iter().map(entry).collect()).unwrap()
}

fn append(first: u64, term: u64, commands: &[&[u8]]) -> Write {
    Write { entries: entries(first, term, commands), ..write() }
}

fn vote(term: u64, node: u64) -> Write {
    Write {
        hard_state: Some(HardState {
            term: Term(term),
            voted_for: Some(ServerId { id: NodeId(node), incarnation: Incarnation(9) }),
        }),
        ..write()
    }
}

fn meta(last: EntryId) -> SnapshotMeta {
    SnapshotMeta { last, membership: Arc::new(membership()) }
}

fn compacted(last: EntryId, first: u64) -> Write {
    Write { snapshot: Some(SnapshotWrite::Compacted { snapshot: meta(last), first: Index(first) }), ..write() }
}

fn installed(last: EntryId) -> Write {
    Write { snapshot: Some(SnapshotWrite::Installed { snapshot: meta(last) }), ..write() }
}

/// The data of a snapshot, made from its name; some take several blocks.
fn snapshot_data(last: EntryId, origin: SnapshotOrigin) -> Vec<u8> {
    let bytes = if last.index.0.is_multiple_of(5) { 70_000 } else { 10 };
    format!("{last} {origin:?} ").into_bytes().into_iter().cycle().take(bytes).collect()
}

fn make_snapshot(snapshots: &dyn Snapshots, last: EntryId, origin: SnapshotOrigin) -> Result<(), StorageError> {
    let mut sink = snapshots.create(last, origin)?;
    let data = snapshot_data(last, origin);
    sink.write_all(&data).map_err(|source| StorageError::Io { doing: "write", path: "snapshot".into(), source })?;
    sink.finish()
}

fn read_snapshot(snapshots: &dyn Snapshots, last: EntryId) -> Option<Vec<u8>> {
    let (length, mut reader) = snapshots.open(last).unwrap()?;
    let mut data = Vec::new();
    reader.read_to_end(&mut data).unwrap();
    assert_eq!(length, data.len() as u64);
    Some(data)
}

/// As a server would write it: its own term is never behind its log's.
fn in_a_term(hard_state: &mut HardState, write: &Write) -> Option<Write> {
    *hard_state = write.hard_state.unwrap_or(*hard_state);
    let mut write = write.clone();
    let snapshot = write.snapshot.as_ref().map(|snapshot| match snapshot {
        SnapshotWrite::Compacted { snapshot, .. } | SnapshotWrite::Installed { snapshot } => snapshot.last.term,
    });
    let newest = write.entries.last().map(|last| last.term).max(snapshot);
    if let Some(term) = newest.filter(|term| *term > hard_state.term) {
        *hard_state = HardState { term, voted_for: None };
        write.hard_state = Some(*hard_state);
    }
    Some(write)
}

/// What a storage has to keep.
#[derive(Clone, Debug, PartialEq)]
struct Model {
    hard_state: HardState,
    snapshot: SnapshotMeta,
    origin: SnapshotOrigin,
    log: Vec<(Index, Entry)>,
}

impl Model {
    fn new() -> Model {
        let (snapshot, origin) = (meta(EntryId::ZERO), SnapshotOrigin::Local);
        Model { hard_state: HardState::default(), snapshot, origin, log: Vec::new() }
    }

    fn take(&mut self, write: &Write) {
        if let Some(hard_state) = write.hard_state {
            self.hard_state = hard_state;
        }
        match &write.snapshot {
            Some(SnapshotWrite::Compacted { snapshot, first }) => {
                (self.snapshot, self.origin) = (snapshot.clone(), SnapshotOrigin::Local);
                self.log.retain(|(index, _)| index >= first);
            }
            Some(SnapshotWrite::Installed { snapshot }) => {
                (self.snapshot, self.origin) = (snapshot.clone(), SnapshotOrigin::Received);
                self.log.clear();
            }
            None => {}
        }
        if let Some(from) = write.entries.first() {
            self.log.retain(|(index, _)| *index < from.index);
        }
        for (id, payload) in write.entries.iter() {
            self.log.push((id.index, Entry { term: id.term, payload: payload.clone() }));
        }
    }

    fn last(&self) -> EntryId {
        self.log.last().map_or(self.snapshot.last, |(index, entry)| EntryId { term: entry.term, index: *index })
    }

    fn first(&self) -> Index {
        self.log.first().map_or(self.snapshot.last.index.next(), |(index, _)| *index)
    }

    fn term_at(&self, index: Index) -> Term {
        let entry = self.log.iter().find(|(at, _)| *at == index);
        entry.map_or(self.snapshot.last.term, |(_, entry)| entry.term)
    }

    fn agrees_with(&self, recovered: &Recovered) -> bool {
        let log =
            recovered.entries.iter().map(|(id, payload)| (id.index, Entry { term: id.term, payload: payload.clone() }));
        recovered.identity == birth().identity()
            && recovered.hard_state == self.hard_state
            && recovered.snapshot == self.snapshot
            && log.eq(self.log.iter().cloned())
    }
}

/// A storage on such a disk, with its model.
struct Session {
    disk: SimDisk,
    options: FileOptions,
    storage: Option<FileStorage>,
    /// What was acknowledged.
    model: Model,
    /// The same with what was asked for when the power went.
    asked: Model,
}

impl Session {
    fn new(disk: &SimDisk, segment_bytes: u64) -> Session {
        let options = options(segment_bytes);
        Session { disk: disk.clone(), options, storage: None, model: Model::new(), asked: Model::new() }
    }

    fn begun(segment_bytes: u64) -> Session {
        let mut session = Session::new(&SimDisk::new(), segment_bytes);
        session.init().unwrap();
        session
    }

    fn init(&mut self) -> Result<(), StorageError> {
        let mut storage = self.disk.init(birth(), self.options)?;
        assert!(self.model.agrees_with(&storage.recover()?));
        self.storage = Some(storage);
        Ok(())
    }

    fn storage(&mut self) -> &mut FileStorage {
        self.storage.as_mut().unwrap()
    }

    /// Make the snapshots that these writes name, then persist them.
    fn persist(&mut self, writes: &[Write]) -> Result<(), StorageError> {
        let snapshots = self.storage().snapshots();
        let writes: Vec<Write> = writes.iter().scan(self.model.hard_state, in_a_term).collect();
        for write in &writes {
            match &write.snapshot {
                Some(SnapshotWrite::Compacted { snapshot, .. }) => {
                    make_snapshot(&*snapshots, snapshot.last, SnapshotOrigin::Local)?;
                }
                Some(SnapshotWrite::Installed { snapshot }) => {
                    make_snapshot(&*snapshots, snapshot.last, SnapshotOrigin::Received)?;
                }
                None => {}
            }
        }
        writes.iter().for_each(|write| self.asked.take(write));
        self.storage().persist(&writes)?;
        self.model = self.asked.clone();
        Ok(())
    }

    /// Start again: everything acknowledged must be there, and of what was asked for all or nothing.
    fn open(&mut self) -> Result<(), StorageError> {
        self.storage = None;
        let mut storage = self.disk.open(self.options)?;
        let recovered = storage.recover()?;
        if self.asked.agrees_with(&recovered) {
            self.model = self.asked.clone();
        }
        assert!(self.model.agrees_with(&recovered), "{:?}\n{:?}\n{recovered:?}", self.model, self.asked);
        self.asked = self.model.clone();
        let Recovered { identity, hard_state, snapshot, entries } = recovered;
        let incarnation = identity.incarnation;
        let restored = Restored { incarnation, boot: 1, hard_state, snapshot, entries, ..Restored::default() };
        Raft::new(Config::new(NodeId(1)), restored).expect("a server starts from it");
        let last = self.model.snapshot.last;
        let data = (last.index > Index(0)).then(|| snapshot_data(last, self.model.origin));
        assert!(read_snapshot(&*storage.snapshots(), last) == data, "snapshot {last}");
        let names = self.disk.by_hand().names().unwrap();
        let files = names.iter().filter(|name| name.starts_with("snapshot")).count();
        assert_eq!(files, usize::from(data.is_some()), "{names:?}");
        self.storage = Some(storage);
        Ok(())
    }

    /// What is read back of the log is what the model has there, whatever part is asked for.
    fn reads_back(&mut self, draw: u8) {
        let (first, last) = (self.model.first().0, self.model.last().index.0);
        let middle = first + u64::from(draw) % (last + 2 - first);
        for (from, to) in [
            (first, last),
            (middle, last),
            (middle, middle + 1),
            (first, middle),
            (first - 1, last),
            (last + 1, last + 9),
        ] {
            for bytes_max in [0, 200, u64::MAX] {
                let mut bytes = 0;
                let wanted = self.model.log.iter().filter(|(index, _)| (from..=to).contains(&index.0) && from >= first);
                let fits = |(_, entry): &&(Index, Entry)| {
                    bytes += entry.bytes();
                    bytes <= bytes_max || bytes == entry.bytes()
                };
                let wanted: Vec<Entry> = wanted.take_while(fits).map(|(_, entry)| entry.clone()).collect();
                let wanted = Entries::from_vec(Index(from), wanted).unwrap_or_default();
                let read = self.storage().read(Index(from), Index(to), bytes_max).unwrap();
                assert_eq!(read, wanted, "{from} to {to} of {bytes_max} bytes, where the log is {first} to {last}");
            }
        }
    }

    fn segments(&self) -> Vec<String> {
        self.disk.by_hand().names().unwrap().into_iter().filter(|name| name.starts_with("wal-")).collect()
    }
}
