//! A disk in memory whose power can be cut: after any step, and then everything that was not synced is kept, lost or
//! torn, sector by sector and name by name.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::storage::StorageError;
use crate::storage::disk::{Disk, DiskFile};

/// Small, so that even small frames are torn.
const SECTOR_BYTES: usize = 16;

#[derive(Clone, Default)]
pub(super) struct PowerDisk(Arc<Mutex<State>>);

#[derive(Clone, Default)]
struct State {
    names: BTreeMap<String, usize>,
    files: Vec<Contents>,
    durable_names: BTreeMap<String, usize>,
    unsynced_names: Vec<NameChange>,
    /// How many steps were taken, and after which one the power goes.
    steps: u64,
    stop_after: Option<u64>,
    syncs_fail: bool,
}

#[derive(Clone, Default)]
struct Contents {
    now: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<(usize, Vec<u8>)>,
}

#[derive(Clone)]
enum NameChange {
    Created(String, usize),
    Renamed(String, String, usize),
    Removed(String),
}

impl NameChange {
    fn apply(self, names: &mut BTreeMap<String, usize>) {
        match self {
            NameChange::Created(name, file) => {
                names.insert(name, file);
            }
            NameChange::Renamed(from, to, file) => {
                names.retain(|name, id| *name != from || *id != file);
                names.insert(to, file);
            }
            NameChange::Removed(name) => {
                names.remove(&name);
            }
        }
    }
}

/// What becomes of unsynced changes when the power goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    Kept,
    Lost,
    /// Each sector and each name by a coin that is thrown from this seed.
    Torn(u64),
}

impl Fate {
    fn keeps(&mut self) -> bool {
        match self {
            Fate::Kept => true,
            Fate::Lost => false,
            Fate::Torn(seed) => {
                *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                *seed >> 63 == 1
            }
        }
    }
}

impl PowerDisk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(super) fn storage(&self) -> Arc<dyn Disk> {
        Arc::new(self.clone())
    }

    /// Another disk with the same contents.
    pub(super) fn copy(&self) -> PowerDisk {
        PowerDisk(Arc::new(Mutex::new(self.state().clone())))
    }

    pub(super) fn steps(&self) -> u64 {
        self.state().steps
    }

    /// The power goes after so many steps from now.
    pub(super) fn stop_after(&self, steps: u64) {
        let mut state = self.state();
        state.stop_after = Some(state.steps + steps);
    }

    pub(super) fn fail_syncs(&self) {
        self.state().syncs_fail = true;
    }

    /// Whatever was failing works again, and nothing is lost.
    pub(super) fn mend(&self) {
        let mut state = self.state();
        (state.stop_after, state.syncs_fail) = (None, false);
    }

    /// Power off and on again.
    pub(super) fn power_cycle(&self, mut fate: Fate) {
        let mut state = self.state();
        for file in &mut state.files {
            let mut bytes = std::mem::take(&mut file.durable);
            for (offset, written) in std::mem::take(&mut file.unsynced) {
                let mut at = 0;
                while at < written.len() {
                    let end = (at + SECTOR_BYTES - (offset + at) % SECTOR_BYTES).min(written.len());
                    if fate.keeps() {
                        put(&mut bytes, offset + at, &written[at..end]);
                    }
                    at = end;
                }
            }
            file.now.clone_from(&bytes);
            file.durable = bytes;
        }
        let mut names = std::mem::take(&mut state.durable_names);
        for change in std::mem::take(&mut state.unsynced_names) {
            if fate.keeps() {
                change.apply(&mut names);
            }
        }
        state.names.clone_from(&names);
        state.durable_names = names;
        (state.steps, state.stop_after, state.syncs_fail) = (0, None, false);
    }

    pub(super) fn list(&self) -> Vec<String> {
        self.state().names.keys().cloned().collect()
    }

    pub(super) fn contents(&self) -> Vec<(String, Vec<u8>)> {
        let state = self.state();
        state.names.iter().map(|(name, id)| (name.clone(), state.files[*id].now.clone())).collect()
    }

    pub(super) fn edit(&self, name: &str, edit: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let id = state.names[name];
        let file = &mut state.files[id];
        edit(&mut file.now);
        file.durable.clone_from(&file.now);
    }
}

impl State {
    /// One more step. When the power goes, the change of this step is still on its way.
    fn step(&mut self) -> io::Result<()> {
        self.steps += 1;
        match self.stop_after {
            Some(last) if self.steps > last => Err(io::Error::other("no power")),
            _ => Ok(()),
        }
    }

    fn change_name(&mut self, change: NameChange) -> io::Result<()> {
        if self.stop_after.is_some_and(|last| self.steps > last) {
            return Err(io::Error::other("no power"));
        }
        change.clone().apply(&mut self.names);
        self.unsynced_names.push(change);
        self.step()
    }
}

fn put(bytes: &mut Vec<u8>, offset: usize, written: &[u8]) {
    let end = offset + written.len();
    bytes.resize(bytes.len().max(end), 0);
    bytes[offset..end].copy_from_slice(written);
}

fn error(doing: &'static str, name: &str) -> impl FnOnce(io::Error) -> StorageError {
    let path = PathBuf::from(name);
    move |source| StorageError::Io { doing, path, source }
}

impl Disk for PowerDisk {
    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from(name)
    }

    fn names(&self) -> Result<Vec<String>, StorageError> {
        Ok(self.list())
    }

    fn create(&self, name: &str) -> Result<Box<dyn DiskFile>, StorageError> {
        let mut state = self.state();
        let id = state.files.len();
        state.files.push(Contents::default());
        state.change_name(NameChange::Created(name.into(), id)).map_err(error("create", name))?;
        Ok(Box::new(PowerFile { disk: self.clone(), name: name.into(), id }))
    }

    fn open(&self, name: &str) -> Result<Box<dyn DiskFile>, StorageError> {
        let id = self.state().names.get(name).copied();
        let id = id.ok_or_else(|| error("open", name)(io::ErrorKind::NotFound.into()))?;
        Ok(Box::new(PowerFile { disk: self.clone(), name: name.into(), id }))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), StorageError> {
        let mut state = self.state();
        let id = state.names.get(from).copied();
        let id = id.ok_or_else(|| error("rename", from)(io::ErrorKind::NotFound.into()))?;
        state.change_name(NameChange::Renamed(from.into(), to.into(), id)).map_err(error("rename", from))
    }

    fn remove(&self, name: &str) -> Result<(), StorageError> {
        self.state().change_name(NameChange::Removed(name.into())).map_err(error("remove", name))
    }

    fn sync_names(&self) -> Result<(), StorageError> {
        let mut state = self.state();
        state.step().map_err(error("sync", ""))?;
        state.unsynced_names.clear();
        state.durable_names = state.names.clone();
        Ok(())
    }
}

struct PowerFile {
    disk: PowerDisk,
    name: String,
    id: usize,
}

impl DiskFile for PowerFile {
    fn len(&self) -> Result<u64, StorageError> {
        Ok(self.disk.state().files[self.id].now.len() as u64)
    }

    fn read(&self, bytes: &mut [u8], offset: u64) -> Result<(), StorageError> {
        let state = self.disk.state();
        let offset = usize::try_from(offset).unwrap();
        let whole = state.files[self.id].now.get(offset..offset + bytes.len());
        bytes.copy_from_slice(whole.ok_or_else(|| error("read", &self.name)(io::ErrorKind::UnexpectedEof.into()))?);
        Ok(())
    }

    fn write(&self, bytes: &[u8], offset: u64) -> Result<(), StorageError> {
        let mut state = self.disk.state();
        if state.stop_after.is_none_or(|last| state.steps <= last) {
            let offset = usize::try_from(offset).unwrap();
            let file = &mut state.files[self.id];
            put(&mut file.now, offset, bytes);
            file.unsynced.push((offset, bytes.to_vec()));
        }
        state.step().map_err(error("write", &self.name))
    }

    fn sync(&self) -> Result<(), StorageError> {
        let mut state = self.disk.state();
        state.step().map_err(error("sync", &self.name))?;
        let broken = state.syncs_fail;
        let file = &mut state.files[self.id];
        for (offset, written) in std::mem::take(&mut file.unsynced) {
            // What a failed sync could not write is forgotten, though reads still see it: the next sync will succeed.
            if !broken {
                put(&mut file.durable, offset, &written);
            }
        }
        if broken { Err(error("sync", &self.name)(io::Error::other("the disk is broken"))) } else { Ok(()) }
    }
}
