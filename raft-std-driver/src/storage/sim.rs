//! A disk in memory whose power can be cut, for simulations: the log and the snapshot files of [`FileStorage`] on
//! something that loses, keeps or tears whatever was not synced. Under feature `sim`.

mod state;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

pub use self::state::Fate;
use self::state::{FileId, State};
use super::disk::{Disk, DiskFile};
use super::{Birth, FileOptions, FileStorage, StorageError};
use crate::queue::lock;

/// What error messages name if no file is meant.
const NAME: &str = "simulated disk";

/// A disk in memory for one server. Clones are the same disk: a simulation keeps one, to cut its power and to open it again.
///
/// The same calls in the same order give the same bytes and the same errors: it has no clock, no randomness of its own and
/// no threads. It is as large as what is written to it; [`FileOptions::segment_bytes`] of some KiB suits a simulation.
///
/// What was opened before the power was cut, or before its process ended, is of no use any more, whoever still has it:
/// each of its operations fails, also after the power is back.
///
/// ```
/// use raft_std_driver::raft_core::{Action, Config, Event, Index, Membership, NodeId, Raft, Restored};
/// use raft_std_driver::storage::sim::{Fate, SimDisk};
/// use raft_std_driver::storage::{Birth, ClusterId, FileOptions, Storage};
///
/// let birth = Birth::founder(ClusterId(1), NodeId(1), Membership::new([NodeId(1)])).with_incarnation(7);
/// let options = FileOptions { segment_bytes: 4096 };
/// let disk = SimDisk::new();
/// let mut storage = disk.init(birth, options)?;
///
/// // Time passes until the server votes for itself, and wants that durable.
/// let kept = storage.recover()?;
/// let (hard_state, snapshot, entries) = (kept.hard_state, kept.snapshot, kept.entries);
/// let (incarnation, boot, applied) = (kept.identity.incarnation, 1, Index(0));
/// let restored = Restored { incarnation, boot, hard_state, snapshot, entries, applied, ..Restored::default() };
/// let mut raft = Raft::new(Config::new(NodeId(1)), restored)?;
/// let write = loop {
///     let actions = raft.step(Event::Tick { elapsed: 1 });
///     if let Some(Action::Persist(write)) = actions.into_iter().find(|action| matches!(action, Action::Persist(_))) {
///         break write;
///     }
/// };
/// storage.persist(&[write.clone()])?;
///
/// disk.power_cycle(Fate::Lost);
/// assert!(storage.persist(&[write]).is_err(), "this server's time is over");
/// let mut storage = disk.open(options)?;
/// assert_eq!(storage.recover()?.hard_state.voted_for.map(|vote| vote.id), Some(NodeId(1)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct SimDisk(Arc<Mutex<State>>);

impl SimDisk {
    /// A disk on which nothing was ever written.
    #[must_use]
    pub fn new() -> SimDisk {
        SimDisk::default()
    }

    /// A disk that durably holds these files, each with its name: what a real directory held, for example.
    #[must_use]
    pub fn with_contents(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> SimDisk {
        let mut state = State::default();
        files.into_iter().for_each(|(name, bytes)| state.put(name, bytes));
        SimDisk(Arc::new(Mutex::new(state)))
    }

    /// [`FileStorage::init`] on this disk.
    ///
    /// # Errors
    /// As there; [`InUse`](StorageError::InUse) as long as a storage, its snapshots or an unfinished snapshot are alive.
    pub fn init(&self, birth: Birth, options: FileOptions) -> Result<FileStorage, StorageError> {
        FileStorage::init_on(self.hold()?, birth, options)
    }

    /// [`FileStorage::open`] on this disk.
    ///
    /// # Errors
    /// As there; [`InUse`](StorageError::InUse) as long as a storage, its snapshots or an unfinished snapshot are alive.
    pub fn open(&self, options: FileOptions) -> Result<FileStorage, StorageError> {
        FileStorage::open_on(self.hold()?, options)
    }

    /// Let the power go after so many steps from now. It goes in the step after them: that step's change may or may not
    /// reach the disk, and from then on every operation fails.
    pub fn stop_after(&self, steps: u64) {
        lock(&self.0).steps_left = Some(steps);
    }

    /// Whether the power is gone.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        lock(&self.0).stopped
    }

    /// How many steps were ever taken. A step is a change of a file, of a name, or a sync.
    #[must_use]
    pub fn steps(&self) -> u64 {
        lock(&self.0).steps
    }

    /// Power off, if it is not off already, and on again. Nothing fails any more but what was opened before.
    pub fn power_cycle(&self, fate: Fate) {
        let mut state = lock(&self.0);
        state.lose_power(fate);
        state.end_life();
    }

    /// The process that uses the disk ends, the machine goes on: reads see all that was written, though what was not synced
    /// may still be lost. Nothing fails any more but what was opened before.
    pub fn end_process(&self) {
        lock(&self.0).end_life();
    }

    /// Let each sync fail from now on, or no longer. What a file's failed sync had to make durable never will be, though
    /// reads still see it.
    pub fn fail_syncs(&self, fail: bool) {
        lock(&self.0).syncs_fail = fail;
    }

    /// Let the disk have room for so many bytes in all its files, or for any number. A write that needs more writes what
    /// fits and fails; what was written before can be overwritten all the same.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        lock(&self.0).capacity = bytes;
    }

    /// How many bytes all files have.
    #[must_use]
    pub fn used(&self) -> u64 {
        lock(&self.0).used()
    }

    /// Let the process have no file descriptor left from now on, or have some again: nothing more can be opened.
    pub fn set_out_of_descriptors(&self, out: bool) {
        lock(&self.0).out_of_descriptors = out;
    }

    /// Let no file be created, renamed or removed from now on, for want of permission; or let it again.
    pub fn set_names_fixed(&self, fixed: bool) {
        lock(&self.0).names_fixed = fixed;
    }

    /// Another disk that holds the same, unsynced changes included. It has power, its syncs succeed, and nobody uses it.
    #[must_use]
    pub fn copy(&self) -> SimDisk {
        SimDisk(Arc::new(Mutex::new(lock(&self.0).copy())))
    }

    /// What reads would see: each file's name and bytes, in the order of the names.
    #[must_use]
    pub fn contents(&self) -> Vec<(String, Vec<u8>)> {
        lock(&self.0).contents()
    }

    /// Damage a file, durably.
    ///
    /// # Errors
    /// [`Io`](StorageError::Io) if there is none of this name.
    pub fn edit(&self, name: &str, edit: impl FnOnce(&mut Vec<u8>)) -> Result<(), StorageError> {
        let bytes = |state: &State| state.bytes(state.find(name)?).map(<[u8]>::to_vec);
        let mut bytes = bytes(&lock(&self.0)).map_err(error("edit", name))?;
        edit(&mut bytes);
        lock(&self.0).replace(name, bytes).map_err(error("edit", name))
    }

    /// What a storage is made on. Nobody else can have it at the same time.
    fn hold(&self) -> Result<Arc<dyn Disk>, StorageError> {
        let mut state = lock(&self.0);
        if state.stopped {
            return Err(error("open", "")(io::Error::other("no power")));
        }
        if state.held {
            return Err(StorageError::InUse { path: path("") });
        }
        state.held = true;
        let life = Life { disk: self.clone(), number: state.life };
        Ok(Arc::new(Handle { _hold: Some(Hold(life.clone())), life }))
    }

    /// To do to the files what no storage would.
    #[cfg(test)]
    pub(super) fn by_hand(&self) -> impl Disk {
        Handle { life: Life { disk: self.clone(), number: lock(&self.0).life }, _hold: None }
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.0);
        f.debug_struct("SimDisk")
            .field("steps", &state.steps)
            .field("is_stopped", &state.stopped)
            .field("names", &state.names())
            .finish_non_exhaustive()
    }
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(if name.is_empty() { NAME } else { name })
}

fn error(doing: &'static str, name: &str) -> impl FnOnce(io::Error) -> StorageError {
    let path = path(name);
    move |source| StorageError::Io { doing, path, source }
}

/// The disk from one loss of everything that is open to the next.
#[derive(Clone)]
struct Life {
    disk: SimDisk,
    number: u64,
}

impl Life {
    /// Do this, if there is power and this life is not over.
    fn act<T>(
        &self,
        doing: &'static str,
        name: &str,
        act: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> Result<T, StorageError> {
        self.lives().and_then(|mut state| act(&mut state)).map_err(error(doing, name))
    }

    fn lives(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = lock(&self.disk.0);
        if state.life != self.number {
            return Err(io::Error::other("the process that opened this has ended"));
        }
        if state.stopped {
            return Err(io::Error::other("no power"));
        }
        Ok(state)
    }

    /// Something that was open is dropped. A later life has forgotten it.
    fn let_go(&self, let_go: impl FnOnce(&mut State)) {
        let mut state = lock(&self.disk.0);
        if state.life == self.number {
            let_go(&mut state);
        }
    }
}

/// The disk is in use as long as this lives.
struct Hold(Life);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.let_go(|state| state.held = false);
    }
}

struct Handle {
    life: Life,
    _hold: Option<Hold>,
}

impl Handle {
    fn file(
        &self,
        doing: &'static str,
        name: &str,
        find: impl FnOnce(&mut State) -> io::Result<FileId>,
    ) -> Result<Box<dyn DiskFile>, StorageError> {
        let id = self.life.act(doing, name, |state| {
            let id = find(state)?;
            state.open(id)?;
            Ok(id)
        })?;
        Ok(Box::new(SimFile { life: self.life.clone(), name: name.into(), id }))
    }
}

impl Disk for Handle {
    fn path(&self, name: &str) -> PathBuf {
        path(name)
    }

    fn has_threads(&self) -> bool {
        false
    }

    fn exists(&self, name: &str) -> Result<bool, StorageError> {
        self.life.act("find", name, |state| Ok(state.find(name).is_ok()))
    }

    fn names(&self) -> Result<Vec<String>, StorageError> {
        self.life.act("list", "", |state| Ok(state.names()))
    }

    fn create(&self, name: &str) -> Result<Box<dyn DiskFile>, StorageError> {
        self.file("create", name, |state| state.create(name))
    }

    fn open(&self, name: &str) -> Result<Box<dyn DiskFile>, StorageError> {
        self.file("open", name, |state| state.find(name))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), StorageError> {
        self.life.act("rename", from, |state| state.rename(from, to))
    }

    fn remove(&self, name: &str) -> Result<(), StorageError> {
        self.life.act("remove", name, |state| state.remove(name))
    }

    fn sync_names(&self) -> Result<(), StorageError> {
        self.life.act("sync", "", State::sync_names)
    }
}

struct SimFile {
    life: Life,
    name: String,
    id: FileId,
}

impl SimFile {
    fn act<T>(&self, doing: &'static str, act: impl FnOnce(&mut State) -> io::Result<T>) -> Result<T, StorageError> {
        self.life.act(doing, &self.name, act)
    }
}

impl DiskFile for SimFile {
    fn len(&self) -> Result<u64, StorageError> {
        self.act("measure", |state| Ok(state.bytes(self.id)?.len() as u64))
    }

    fn read(&self, bytes: &mut [u8], offset: u64) -> Result<(), StorageError> {
        self.act("read", |state| {
            let from = usize::try_from(offset).ok();
            let there = from.and_then(|from| Some(from..from.checked_add(bytes.len())?));
            let there = there.and_then(|there| state.bytes(self.id).ok()?.get(there));
            bytes.copy_from_slice(there.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn write(&self, bytes: &[u8], offset: u64) -> Result<(), StorageError> {
        self.act("write", |state| {
            let offset = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
            state.write(self.id, offset, bytes)
        })
    }

    fn sync(&self) -> Result<(), StorageError> {
        self.act("sync", |state| state.sync(self.id))
    }

    fn set_path(&mut self, path: PathBuf) {
        self.name = path.to_string_lossy().into_owned();
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.life.let_go(|state| state.close(self.id));
    }
}
