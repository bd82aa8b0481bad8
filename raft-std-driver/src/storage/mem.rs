//! A storage in memory, for tests: what is durable outlives the node, and the disk can be slow, stand still, or fail.

use std::collections::HashMap;
use std::io::{self, Cursor};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use raft_core::{Bytes, Entries, Entry, EntryId, HardState, Index, SnapshotMeta, SnapshotWrite, Write};

use super::replay::{count_of, first_entries};
use super::{Birth, Recovered, SnapshotData, SnapshotOrigin, SnapshotSink, Snapshots, Storage, StorageError};
use crate::queue::lock;

/// A disk in memory. Clones are the same disk: a test keeps one, to reopen it after the node on it has stopped, and to
/// make it misbehave.
///
/// ```
/// use raft_std_driver::raft_core::{Membership, NodeId};
/// use raft_std_driver::storage::mem::MemDisk;
/// use raft_std_driver::storage::{Birth, ClusterId, Storage};
///
/// let birth = Birth::founder(ClusterId(1), NodeId(1), Membership::new([NodeId(1)]));
/// let disk = MemDisk::new(birth.clone());
/// let mut storage = disk.open()?;
/// assert_eq!(storage.recover()?.identity, birth.identity());
/// assert!(disk.open().is_err(), "one node at a time");
/// # Ok::<(), raft_std_driver::storage::StorageError>(())
/// ```
#[derive(Clone)]
pub struct MemDisk(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    birth: Birth,
    hard_state: HardState,
    snapshot: SnapshotMeta,
    origin: SnapshotOrigin,
    /// The index of the first entry in `log`.
    first: Index,
    log: Vec<Entry>,
    files: HashMap<(EntryId, SnapshotOrigin), Bytes>,
    opened: bool,
    persists: u64,
    writes: u64,
    delay: Duration,
    stalled: bool,
    failure: Option<String>,
}

impl MemDisk {
    /// A disk that was just initialised.
    #[must_use]
    pub fn new(birth: Birth) -> MemDisk {
        let snapshot = SnapshotMeta { last: EntryId::ZERO, membership: Arc::new(birth.membership.clone()) };
        let state = State {
            birth,
            hard_state: HardState::default(),
            snapshot,
            origin: SnapshotOrigin::Local,
            first: Index(1),
            log: Vec::new(),
            files: HashMap::new(),
            opened: false,
            persists: 0,
            writes: 0,
            delay: Duration::ZERO,
            stalled: false,
            failure: None,
        };
        MemDisk(Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() }))
    }

    /// Use the disk; until what this returns is dropped, nobody else can.
    ///
    /// # Errors
    /// If it is in use.
    pub fn open(&self) -> Result<MemStorage, StorageError> {
        let mut state = lock(&self.0.state);
        if state.opened {
            return Err(StorageError::InUse { path: PathBuf::from("memory") });
        }
        state.opened = true;
        // What no write names was left behind by a node that stopped in between.
        let named = (state.snapshot.last, state.origin);
        state.files.retain(|file, _| *file == named);
        drop(state);
        Ok(MemStorage { disk: self.clone() })
    }

    /// How many times [`Storage::persist`] was called, and with how many writes altogether.
    #[must_use]
    pub fn persisted(&self) -> (u64, u64) {
        let state = lock(&self.0.state);
        (state.persists, state.writes)
    }

    /// From now on each `persist` takes so long.
    pub fn set_delay(&self, delay: Duration) {
        lock(&self.0.state).delay = delay;
    }

    /// From now on no `persist` ends, until told otherwise.
    pub fn set_stalled(&self, stalled: bool) {
        lock(&self.0.state).stalled = stalled;
        self.0.changed.notify_all();
    }

    /// From now on each `persist` fails, with this message; `None` mends it.
    pub fn set_failure(&self, message: Option<&str>) {
        lock(&self.0.state).failure = message.map(str::to_owned);
    }

    /// What a node that is started now would find.
    #[must_use]
    pub fn recovered(&self) -> Recovered {
        let state = lock(&self.0.state);
        Recovered {
            identity: state.birth.identity,
            hard_state: state.hard_state,
            snapshot: state.snapshot.clone(),
            entries: Entries::from_vec(state.first, state.log.clone()).unwrap_or_default(),
        }
    }

    fn while_stalled<'a>(&'a self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.0.changed.wait_while(state, |state| state.stalled).unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn apply(&mut self, write: &Write) {
        self.hard_state = write.hard_state.unwrap_or(self.hard_state);
        match &write.snapshot {
            Some(SnapshotWrite::Compacted { snapshot, first }) => {
                let gone = self.first.distance_to(*first).min(self.log.len() as u64);
                self.log.drain(..usize::try_from(gone).unwrap_or(usize::MAX));
                self.first = self.first.plus(gone);
                self.make_current(snapshot, SnapshotOrigin::Local);
            }
            Some(SnapshotWrite::Installed { snapshot }) => {
                self.log.clear();
                self.make_current(snapshot, SnapshotOrigin::Received);
            }
            None => {}
        }
        if let Some(first) = write.entries.first() {
            if self.log.is_empty() {
                self.first = first.index;
            }
            let kept = self.first.distance_to(first.index);
            self.log.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
            self.log.extend(write.entries.slices().flat_map(|(_, entries)| entries.iter().cloned()));
        }
    }

    fn make_current(&mut self, snapshot: &SnapshotMeta, origin: SnapshotOrigin) {
        self.snapshot = snapshot.clone();
        self.origin = origin;
        self.files
            .retain(|(last, from), _| last.index > snapshot.last.index || (*last, *from) == (snapshot.last, origin));
    }
}

/// A [`MemDisk`] in use.
pub struct MemStorage {
    disk: MemDisk,
}

impl Drop for MemStorage {
    fn drop(&mut self) {
        lock(&self.disk.0.state).opened = false;
    }
}

impl Storage for MemStorage {
    fn recover(&mut self) -> Result<Recovered, StorageError> {
        Ok(self.disk.recovered())
    }

    fn persist(&mut self, writes: &[Write]) -> Result<(), StorageError> {
        let delay = lock(&self.disk.0.state).delay;
        std::thread::sleep(delay);
        let mut state = self.disk.while_stalled(lock(&self.disk.0.state));
        if let Some(message) = &state.failure {
            return Err(StorageError::Failed(message.clone()));
        }
        state.persists += 1;
        state.writes += writes.len() as u64;
        for write in writes {
            state.apply(write);
        }
        Ok(())
    }

    fn read(&mut self, from: Index, to: Index, bytes_max: u64) -> Result<Entries, StorageError> {
        let state = lock(&self.disk.0.state);
        if from < state.first {
            return Ok(Entries::new());
        }
        let skipped = usize::try_from(state.first.distance_to(from)).unwrap_or(usize::MAX);
        let entries = state.log.iter().skip(skipped);
        Ok(first_entries(from, entries.take(count_of(from, to)).cloned(), bytes_max))
    }

    fn snapshots(&self) -> Arc<dyn Snapshots> {
        Arc::new(self.disk.clone())
    }
}

impl Snapshots for MemDisk {
    fn create(&self, last: EntryId, origin: SnapshotOrigin) -> Result<Box<dyn SnapshotSink>, StorageError> {
        Ok(Box::new(MemSink { disk: self.clone(), file: (last, origin), data: Vec::new() }))
    }

    fn open(&self, last: EntryId) -> Result<Option<SnapshotData>, StorageError> {
        let state = lock(&self.0.state);
        let data = state.files.get(&(last, state.origin)).filter(|_| state.snapshot.last == last).cloned();
        Ok(data.map(|data| (data.len() as u64, Box::new(Cursor::new(data)) as Box<dyn io::Read + Send>)))
    }

    fn discard(&self, last: EntryId) -> Result<(), StorageError> {
        let mut state = lock(&self.0.state);
        let unwanted = (last, SnapshotOrigin::Received);
        if (state.snapshot.last, state.origin) != unwanted {
            state.files.remove(&unwanted);
        }
        Ok(())
    }
}

struct MemSink {
    disk: MemDisk,
    file: (EntryId, SnapshotOrigin),
    data: Vec<u8>,
}

impl io::Write for MemSink {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.data.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl SnapshotSink for MemSink {
    fn finish(self: Box<Self>) -> Result<(), StorageError> {
        let MemSink { disk, file, data } = *self;
        let mut state = disk.while_stalled(lock(&disk.0.state));
        if let Some(message) = &state.failure {
            return Err(StorageError::Failed(message.clone()));
        }
        state.files.insert(file, data.into());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use raft_core::{Config, Event, Incarnation, Membership, NodeId, Payload, Raft, Restored, ServerId, Term};

    use super::*;
    use crate::storage::ClusterId;

    /// Ids of writes come from a core only; this one makes as many as are wanted.
    fn blank_writes(count: usize) -> Vec<Write> {
        let restored = Restored::new_cluster(Incarnation(1), Membership::new([NodeId(1)]));
        let mut raft = Raft::new(Config::new(NodeId(1)), restored).unwrap();
        let mut writes = Vec::new();
        while writes.len() < count {
            let mut events = vec![Event::Tick { elapsed: 1 }];
            events.push(Event::Start { request: 1.into(), commands: [Bytes::new()].into_iter().collect() });
            while let Some(event) = events.pop() {
                for action in raft.step(event) {
                    if let raft_core::Action::Persist(Write { id, .. }) = action {
                        writes.push(Write { id, hard_state: None, snapshot: None, entries: Entries::new() });
                        events.push(Event::Persisted(id));
                    }
                }
            }
        }
        writes
    }

    fn entries(first: u64, terms: &[u64]) -> Entries {
        let entries = terms.iter().map(|term| Entry { term: Term(*term), payload: Payload::Noop });
        Entries::from_vec(Index(first), entries.collect()).unwrap()
    }

    fn meta(term: u64, index: u64) -> SnapshotMeta {
        SnapshotMeta { last: EntryId::new(term, index), ..SnapshotMeta::default() }
    }

    fn birth() -> Birth {
        Birth::founder(ClusterId(3), NodeId(1), Membership::new([NodeId(1)])).with_incarnation(9)
    }

    fn disk() -> MemDisk {
        MemDisk::new(birth())
    }

    fn data(disk: &MemDisk, term: u64, index: u64) -> Option<String> {
        let (len, mut data) = Snapshots::open(disk, EntryId::new(term, index)).unwrap()?;
        let mut text = String::new();
        data.read_to_string(&mut text).unwrap();
        assert_eq!(text.len() as u64, len);
        Some(text)
    }

    fn store(disk: &MemDisk, last: EntryId, origin: SnapshotOrigin, text: &str) {
        let mut sink = disk.create(last, origin).unwrap();
        sink.write_all(text.as_bytes()).unwrap();
        sink.finish().unwrap();
    }

    #[test]
    fn a_log_is_cut_and_replaced_as_writes_say() {
        let disk = disk();
        let mut storage = disk.open().unwrap();
        let mut writes = blank_writes(4);
        writes[0].entries = entries(1, &[1, 1, 1, 1]);
        writes[1].entries = entries(3, &[2, 2, 2]);
        writes[2].snapshot = Some(SnapshotWrite::Compacted { snapshot: meta(1, 2), first: Index(2) });
        let hard_state =
            HardState { term: Term(4), voted_for: Some(ServerId { id: NodeId(1), incarnation: Incarnation(9) }) };
        writes[3].hard_state = Some(hard_state);
        storage.persist(&writes).unwrap();
        let kept = storage.recover().unwrap();
        assert_eq!((kept.hard_state, kept.snapshot), (hard_state, meta(1, 2)));
        assert_eq!(kept.identity, birth().identity());
        assert_eq!(kept.entries, entries(2, &[1, 2, 2, 2]));
        assert_eq!(disk.persisted(), (1, 4));

        let mut writes = blank_writes(1);
        writes[0].snapshot = Some(SnapshotWrite::Installed { snapshot: meta(5, 9) });
        writes[0].entries = entries(10, &[5]);
        storage.persist(&writes).unwrap();
        assert_eq!(storage.recover().unwrap().entries, entries(10, &[5]));
    }

    #[test]
    fn only_what_a_write_names_is_there_and_stays() {
        let disk = disk();
        let mut storage = disk.open().unwrap();
        let id = EntryId::new(2, 5);
        store(&disk, id, SnapshotOrigin::Local, "mine");
        store(&disk, id, SnapshotOrigin::Received, "theirs");
        assert_eq!(data(&disk, 2, 5), None, "no write names them");
        let mut writes = blank_writes(1);
        writes[0].snapshot = Some(SnapshotWrite::Installed { snapshot: meta(2, 5) });
        storage.persist(&writes).unwrap();
        disk.discard(id).unwrap();
        assert_eq!(data(&disk, 2, 5).as_deref(), Some("theirs"), "the current one is never discarded");
        store(&disk, EntryId::new(2, 8), SnapshotOrigin::Received, "newer");
        disk.discard(EntryId::new(2, 8)).unwrap();
        store(&disk, EntryId::new(2, 9), SnapshotOrigin::Local, "orphan");
        drop(storage);
        drop(disk.open().unwrap());
        assert_eq!(lock(&disk.0.state).files.len(), 1);
    }

    #[test]
    fn a_failed_disk_keeps_what_it_had() {
        let disk = disk();
        let mut storage = disk.open().unwrap();
        let mut writes = blank_writes(1);
        writes[0].entries = entries(1, &[1]);
        disk.set_failure(Some("gone"));
        assert!(storage.persist(&writes).unwrap_err().to_string().contains("gone"));
        assert!(disk.create(EntryId::ZERO, SnapshotOrigin::Local).unwrap().finish().is_err());
        assert!(disk.recovered().entries.is_empty());
    }
}
