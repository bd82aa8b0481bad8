//! What a simulated disk holds: what reads see now, what is durable, and what is on its way from the one to the other.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// Small, so that even small frames are torn.
const SECTOR_BYTES: usize = 16;

/// "Too many open files".
const EMFILE: i32 = 24;

pub(super) type FileId = u64;

/// What becomes of unsynced changes when the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// All of them had reached the disk.
    Kept,
    /// None of them had.
    Lost,
    /// Each sector of 16 bytes and each name by a coin that is thrown from this seed: so any part of a write may be there
    /// without the rest, and a later change without an earlier one.
    Torn(u64),
}

impl Fate {
    fn keeps(&mut self) -> bool {
        match self {
            Fate::Kept => true,
            Fate::Lost => false,
            Fate::Torn(seed) => {
                // SplitMix64: seeds that are close to each other throw coins that have nothing to do with each other.
                *seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
                let mixed = (*seed ^ (*seed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
                let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
                (mixed ^ (mixed >> 31)) & 1 == 1
            }
        }
    }
}

#[derive(Default)]
pub(super) struct State {
    files: BTreeMap<FileId, Contents>,
    next_id: FileId,
    names: BTreeMap<String, FileId>,
    durable_names: BTreeMap<String, FileId>,
    unsynced_names: Vec<NameChange>,
    /// How many steps were ever taken, how many more there are power for, and whether it is gone.
    pub(super) steps: u64,
    pub(super) steps_left: Option<u64>,
    pub(super) stopped: bool,
    pub(super) syncs_fail: bool,
    /// How many bytes all files may have together.
    pub(super) capacity: Option<u64>,
    pub(super) out_of_descriptors: bool,
    pub(super) names_fixed: bool,
    /// Counts what ends everything that is open. Only one storage may be open in each.
    pub(super) life: u64,
    pub(super) held: bool,
}

#[derive(Clone, Default)]
struct Contents {
    now: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<(usize, Vec<u8>)>,
    /// How many have it open in this life.
    opened: usize,
}

impl Contents {
    /// What is there after the power went.
    fn settle(&mut self, fate: &mut Fate) {
        for (offset, written) in std::mem::take(&mut self.unsynced) {
            let (mut at, mut rest) = (offset, &written[..]);
            while !rest.is_empty() {
                let (sector, behind) = rest.split_at(rest.len().min(SECTOR_BYTES - at % SECTOR_BYTES));
                if fate.keeps() {
                    put(&mut self.durable, at, sector);
                }
                (at, rest) = (at + sector.len(), behind);
            }
        }
        self.now.clone_from(&self.durable);
        self.opened = 0;
    }
}

#[derive(Clone)]
enum NameChange {
    Created(String, FileId),
    Renamed(String, String, FileId),
    Removed(String),
}

impl NameChange {
    fn apply(self, names: &mut BTreeMap<String, FileId>) {
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

    fn file(&self) -> Option<FileId> {
        match self {
            NameChange::Created(_, file) | NameChange::Renamed(_, _, file) => Some(*file),
            NameChange::Removed(_) => None,
        }
    }
}

impl State {
    /// The same files, as far as they got; a life of their own.
    pub(super) fn copy(&self) -> State {
        let mut files = self.files.clone();
        files.values_mut().for_each(|file| file.opened = 0);
        let mut copy = State {
            files,
            next_id: self.next_id,
            names: self.names.clone(),
            durable_names: self.durable_names.clone(),
            unsynced_names: self.unsynced_names.clone(),
            ..State::default()
        };
        copy.forget_unreachable();
        copy
    }

    /// Nothing that was opened before is of use any more, and whatever was failing works again.
    pub(super) fn end_life(&mut self) {
        self.files.values_mut().for_each(|file| file.opened = 0);
        (self.steps_left, self.stopped, self.syncs_fail) = (None, false, false);
        (self.out_of_descriptors, self.names_fixed) = (false, false);
        (self.life, self.held) = (self.life + 1, false);
        self.forget_unreachable();
    }

    /// Whatever is not durable meets its fate.
    pub(super) fn lose_power(&mut self, mut fate: Fate) {
        self.files.values_mut().for_each(|file| file.settle(&mut fate));
        for change in std::mem::take(&mut self.unsynced_names) {
            if fate.keeps() {
                change.apply(&mut self.durable_names);
            }
        }
        self.names.clone_from(&self.durable_names);
    }

    /// One more step. When the power goes, the change of this step is still on its way.
    fn step(&mut self) -> io::Result<()> {
        self.steps = self.steps.saturating_add(1);
        match &mut self.steps_left {
            Some(0) => {
                self.stopped = true;
                Err(io::Error::other("no power"))
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// What neither a name nor a handle leads to is gone.
    fn forget_unreachable(&mut self) {
        let named = self.names.values().chain(self.durable_names.values()).copied();
        let named: BTreeSet<FileId> = named.chain(self.unsynced_names.iter().filter_map(NameChange::file)).collect();
        self.files.retain(|id, file| file.opened > 0 || named.contains(id));
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.names.keys().cloned().collect()
    }

    pub(super) fn contents(&self) -> Vec<(String, Vec<u8>)> {
        let bytes = |id| self.files.get(id).map_or(Vec::new(), |file| file.now.clone());
        self.names.iter().map(|(name, id)| (name.clone(), bytes(id))).collect()
    }

    /// Replace a file's bytes, durably.
    pub(super) fn replace(&mut self, name: &str, bytes: Vec<u8>) -> io::Result<()> {
        let id = self.find(name)?;
        let file = self.file(id)?;
        (file.durable, file.now, file.unsynced) = (bytes.clone(), bytes, Vec::new());
        Ok(())
    }

    /// A file that is there durably.
    pub(super) fn put(&mut self, name: String, bytes: Vec<u8>) {
        let id = self.next_id;
        self.next_id += 1;
        self.files.insert(id, Contents { now: bytes.clone(), durable: bytes, ..Contents::default() });
        self.names.insert(name.clone(), id);
        self.durable_names.insert(name, id);
    }

    pub(super) fn find(&self, name: &str) -> io::Result<FileId> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn bytes(&self, id: FileId) -> io::Result<&[u8]> {
        self.files.get(&id).map(|file| &file.now[..]).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn file(&mut self, id: FileId) -> io::Result<&mut Contents> {
        self.files.get_mut(&id).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn open(&mut self, id: FileId) -> io::Result<()> {
        if self.out_of_descriptors {
            return Err(io::Error::from_raw_os_error(EMFILE));
        }
        self.file(id).map(|file| file.opened += 1)
    }

    pub(super) fn close(&mut self, id: FileId) {
        if let Ok(file) = self.file(id) {
            file.opened = file.opened.saturating_sub(1);
        }
        self.forget_unreachable();
    }

    pub(super) fn create(&mut self, name: &str) -> io::Result<FileId> {
        if self.out_of_descriptors {
            return Err(io::Error::from_raw_os_error(EMFILE));
        }
        let id = self.next_id;
        self.next_id += 1;
        self.files.insert(id, Contents::default());
        self.change_name(NameChange::Created(name.into(), id))?;
        Ok(id)
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let id = self.find(from)?;
        self.change_name(NameChange::Renamed(from.into(), to.into(), id))
    }

    pub(super) fn remove(&mut self, name: &str) -> io::Result<()> {
        self.change_name(NameChange::Removed(name.into()))
    }

    fn change_name(&mut self, change: NameChange) -> io::Result<()> {
        if self.names_fixed {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        change.clone().apply(&mut self.names);
        self.unsynced_names.push(change);
        self.step()
    }

    pub(super) fn sync_names(&mut self) -> io::Result<()> {
        self.step()?;
        if self.syncs_fail {
            return Err(broken());
        }
        self.unsynced_names.clear();
        self.durable_names.clone_from(&self.names);
        self.forget_unreachable();
        Ok(())
    }

    pub(super) fn write(&mut self, id: FileId, offset: usize, bytes: &[u8]) -> io::Result<()> {
        let free = self.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.used()));
        let file = self.file(id)?;
        let end = u64::try_from(file.now.len()).unwrap_or(u64::MAX).saturating_add(free);
        let fits = usize::try_from(end).unwrap_or(usize::MAX).saturating_sub(offset).min(bytes.len());
        put(&mut file.now, offset, &bytes[..fits]);
        file.unsynced.push((offset, bytes[..fits].to_vec()));
        self.step()?;
        if fits < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    /// How many bytes all files have that a name or a handle leads to.
    pub(super) fn used(&self) -> u64 {
        let named: BTreeSet<FileId> = self.names.values().copied().collect();
        let there = self.files.iter().filter(|(id, file)| file.opened > 0 || named.contains(id));
        there.map(|(_, file)| file.now.len() as u64).sum()
    }

    pub(super) fn sync(&mut self, id: FileId) -> io::Result<()> {
        self.step()?;
        let fails = self.syncs_fail;
        let file = self.file(id)?;
        for (offset, written) in std::mem::take(&mut file.unsynced) {
            // What a failed sync could not write is forgotten, though reads still see it: the next sync will succeed.
            if !fails {
                put(&mut file.durable, offset, &written);
            }
        }
        if fails { Err(broken()) } else { Ok(()) }
    }
}

fn broken() -> io::Error {
    io::Error::other("the disk is broken")
}

fn put(bytes: &mut Vec<u8>, offset: usize, written: &[u8]) {
    let end = offset.saturating_add(written.len());
    bytes.resize(bytes.len().max(end), 0);
    if let Some(place) = bytes.get_mut(offset..end) {
        place.copy_from_slice(written);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_forgotten_once_nothing_leads_to_it() {
        let mut state = State::default();
        let id = state.create("a").unwrap();
        state.open(id).unwrap();
        state.sync_names().unwrap();
        state.remove("a").unwrap();
        state.close(id);
        assert_eq!(state.files.len(), 1, "the power may bring the name back");
        state.open(id).unwrap();
        state.sync_names().unwrap();
        assert_eq!(state.files.len(), 1, "it is open");
        state.close(id);
        assert_eq!(state.files.len(), 0);
    }

    #[test]
    fn a_torn_write_leaves_whole_sectors() {
        let mut seen = BTreeSet::new();
        for seed in 0..64 {
            let mut state = State::default();
            let id = state.create("a").unwrap();
            state.sync_names().unwrap();
            state.write(id, 8, &[1; 40]).unwrap();
            state.lose_power(Fate::Torn(seed));
            let mut bytes = state.bytes(id).unwrap().to_vec();
            bytes.resize(48, 0);
            let sectors = [8..16, 16..32, 32..48].map(|sector| bytes[sector].to_vec());
            assert!(sectors.iter().all(|sector| sector.iter().all(|byte| *byte == sector[0])), "{bytes:?}");
            seen.insert(sectors.map(|sector| sector[0]));
        }
        assert_eq!(seen.len(), 8, "each of the three sectors is kept or lost whatever becomes of the others");
    }
}
