//! What a data directory holds if the power goes, after what a recording says was done to it.

use std::collections::BTreeMap;

/// A file, by the order in which they were made.
pub(crate) type FileId = usize;

#[derive(Default)]
pub(crate) struct File {
    /// What reads see, and what was synced.
    pub(crate) now: Vec<u8>,
    pub(crate) durable: Vec<u8>,
    /// What was written since: at an offset, and whether the write has ended.
    pending: Vec<(usize, Vec<u8>, bool)>,
    /// It was a segment before, and became blank.
    pub(crate) was_segment: bool,
}

impl File {
    pub(crate) fn write_begins(&mut self, offset: usize, bytes: &[u8]) {
        put(&mut self.now, offset, bytes);
        self.pending.push((offset, bytes.to_vec(), false));
    }

    pub(crate) fn write_ends(&mut self) {
        self.pending.iter_mut().for_each(|(_, _, ended)| *ended = true);
    }

    pub(crate) fn is_synced(&self) -> bool {
        self.pending.is_empty()
    }

    /// What a sync that begins now will make durable.
    pub(crate) fn sync_begins(&self) -> usize {
        self.pending.iter().take_while(|(_, _, ended)| *ended).count()
    }

    pub(crate) fn sync_ends(&mut self, count: usize) {
        for (offset, bytes, _) in self.pending.drain(..count.min(self.pending.len())) {
            put(&mut self.durable, offset, &bytes);
        }
    }
}

fn put(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    file.resize(file.len().max(end), 0);
    file[offset..end].copy_from_slice(bytes);
}

/// One server's data directory.
#[derive(Default)]
pub(crate) struct Directory {
    pub(crate) files: Vec<File>,
    pub(crate) names: BTreeMap<String, FileId>,
    pub(crate) durable_names: BTreeMap<String, FileId>,
}

impl Directory {
    pub(crate) fn file(&mut self, name: &str) -> Option<&mut File> {
        self.names.get(name).map(|&id| &mut self.files[id])
    }

    pub(crate) fn create(&mut self, name: &str) -> FileId {
        self.files.push(File::default());
        self.names.insert(name.to_owned(), self.files.len() - 1);
        self.files.len() - 1
    }

    /// What the next process may find: with the names as they are or as they were synced, and so with the bytes.
    pub(crate) fn contents(&self, names_kept: bool, bytes_kept: bool) -> Vec<(String, Vec<u8>)> {
        let names = if names_kept { &self.names } else { &self.durable_names };
        let bytes = |id: FileId| if bytes_kept { &self.files[id].now } else { &self.files[id].durable };
        names.iter().map(|(name, &id)| (name.clone(), bytes(id).clone())).collect()
    }
}
