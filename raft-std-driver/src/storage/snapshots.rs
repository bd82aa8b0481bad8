//! Snapshot files: written aside, synced, renamed; named by the log; checked block by block whenever they are read.
//!
//! ```text
//!    0  magic "RAFTSNAP"            40  block | CRC u32 | block | CRC u32 | ...
//!    8  format version      u32
//!   12  CRC of bytes 16..40 u32     a block is 64 KiB of data, the last one what is left
//!   16  last entry's term   u64     a CRC is a CRC-32C of term and index and all data up to there
//!   24  last entry's index  u64
//!   32  data length         u64
//! ```

use std::collections::BTreeSet;
use std::io;
use std::mem;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use raft_core::{EntryId, SnapshotWrite, Write};

use super::disk::{Disk, DiskFile};
use super::{SnapshotData, SnapshotOrigin, SnapshotSink, Snapshots, StorageError};
use crate::queue::lock;

const FORMAT_VERSION: u32 = 2;
const MAGIC: [u8; 8] = *b"RAFTSNAP";
const HEADER_BYTES: usize = 40;
const BLOCK_BYTES: usize = 64 << 10;
const CRC_BYTES: usize = 4;

const PREFIX: &str = "snapshot-";
const ASIDE_SUFFIX: &str = ".tmp";

/// A snapshot's name: the entry it ends at, and who made it.
type Name = (EntryId, SnapshotOrigin);

fn file_name((last, origin): Name) -> String {
    let origin = match origin {
        SnapshotOrigin::Local => "local",
        SnapshotOrigin::Received => "received",
    };
    format!("{PREFIX}{:020}-{:020}-{origin}", last.index.0, last.term.0)
}

/// Which snapshot a write names.
fn named_by(write: &Write) -> Option<Name> {
    Some(match write.snapshot.as_ref()? {
        SnapshotWrite::Compacted { snapshot, .. } => (snapshot.last, SnapshotOrigin::Local),
        SnapshotWrite::Installed { snapshot } => (snapshot.last, SnapshotOrigin::Received),
    })
}

fn identity(name: &str) -> Option<Name> {
    let mut parts = name.strip_prefix(PREFIX)?.split('-');
    let (index, term) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let origin = match parts.next()? {
        "local" => SnapshotOrigin::Local,
        "received" => SnapshotOrigin::Received,
        _ => return None,
    };
    Some((EntryId::new(term, index), origin)).filter(|&identity| file_name(identity) == name)
}

/// Whether there is a finished snapshot among these names.
pub(super) fn any(names: &[String]) -> bool {
    names.iter().any(|name| identity(name).is_some())
}

/// The snapshots of one directory.
pub(super) struct SnapshotFiles {
    disk: Arc<dyn Disk>,
    /// The one that the newest durable write names.
    current: Mutex<Option<Name>>,
    /// All that have a name of their own: known without a look into the directory, which needs a descriptor.
    finished: Arc<Mutex<BTreeSet<Name>>>,
    /// Tells apart what is being written at the same time.
    aside: AtomicU64,
}

impl SnapshotFiles {
    /// Read the current snapshot from end to end; changes nothing.
    pub(super) fn check(disk: &dyn Disk, current: Option<Name>) -> Result<(), StorageError> {
        let Some(identity) = current else { return Ok(()) };
        let mut data = SnapshotReader::open(disk, identity)?;
        while data.next_block()? {}
        Ok(())
    }

    /// Remove what the log does not name.
    pub(super) fn open(disk: Arc<dyn Disk>, current: Option<Name>) -> Result<SnapshotFiles, StorageError> {
        for name in disk.names()? {
            let aside = name.starts_with(PREFIX) && name.ends_with(ASIDE_SUFFIX);
            if aside || identity(&name).is_some_and(|identity| Some(identity) != current) {
                tracing::info!(name, "removing a snapshot that the log does not name");
                disk.remove(&name)?;
            }
        }
        let finished = Arc::new(Mutex::new(current.into_iter().collect()));
        Ok(SnapshotFiles { disk, current: Mutex::new(current), finished, aside: AtomicU64::new(1) })
    }

    /// Whether a write may be made durable: the snapshot that it names must be there.
    pub(super) fn check_named(&self, write: &Write) -> Result<(), StorageError> {
        let Some(name) = named_by(write).map(file_name) else { return Ok(()) };
        if self.disk.exists(&name)? {
            return Ok(());
        }
        Err(StorageError::Unfit { what: format!("{write} names {name}, which is not there") })
    }

    /// The log names this snapshot now, durably: older ones may go. Newer ones are yet to be named.
    pub(super) fn make_current(&self, current: Option<Name>) {
        let before = mem::replace(&mut *lock(&self.current), current);
        let (Some(now), true) = (current, before != current) else { return };
        let is_old = |name: &Name| *name != now && (Some(*name) == before || name.0.index < now.0.index);
        let old: Vec<Name> = lock(&self.finished).extract_if(.., is_old).collect();
        for name in old {
            if let Err(error) = self.disk.remove(&file_name(name)) {
                tracing::warn!(%error, "an old snapshot stays until the next start");
            }
        }
    }

    fn current(&self) -> Option<Name> {
        *lock(&self.current)
    }
}

impl Snapshots for SnapshotFiles {
    fn create(&self, last: EntryId, origin: SnapshotOrigin) -> Result<Box<dyn SnapshotSink>, StorageError> {
        let aside = format!("{PREFIX}{}{ASIDE_SUFFIX}", self.aside.fetch_add(1, Ordering::Relaxed));
        let file = self.disk.create(&aside)?;
        let block = Vec::with_capacity(BLOCK_BYTES + CRC_BYTES);
        let (disk, finished, identity) = (self.disk.clone(), self.finished.clone(), (last, origin));
        let (aside, at, crc) = (Some(aside), HEADER_BYTES as u64, first_crc(last));
        Ok(Box::new(Sink { disk, file, aside, finished, identity, at, length: 0, block, crc }))
    }

    fn open(&self, last: EntryId) -> Result<Option<SnapshotData>, StorageError> {
        let Some(identity) = self.current().filter(|(current, _)| *current == last) else { return Ok(None) };
        match SnapshotReader::open(&*self.disk, identity) {
            Ok(data) => Ok(Some((data.length, Box::new(data)))),
            // A newer one took its place just now.
            Err(_) if self.current() != Some(identity) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn discard(&self, last: EntryId) -> Result<(), StorageError> {
        let identity = (last, SnapshotOrigin::Received);
        if self.current() == Some(identity) {
            return Ok(());
        }
        lock(&self.finished).remove(&identity);
        self.disk.remove(&file_name(identity))
    }
}

fn first_crc(last: EntryId) -> u32 {
    let crc = crc32c::crc32c(&last.term.0.to_le_bytes());
    crc32c::crc32c_append(crc, &last.index.0.to_le_bytes())
}

fn file_bytes(data: u64) -> Option<u64> {
    let crcs = data.div_ceil(BLOCK_BYTES as u64).checked_mul(CRC_BYTES as u64)?;
    data.checked_add(crcs)?.checked_add(HEADER_BYTES as u64)
}

/// A snapshot that is being written.
struct Sink {
    disk: Arc<dyn Disk>,
    file: Box<dyn DiskFile>,
    /// Its name until it is finished.
    aside: Option<String>,
    finished: Arc<Mutex<BTreeSet<Name>>>,
    identity: Name,
    /// Where the block goes.
    at: u64,
    length: u64,
    block: Vec<u8>,
    /// Of everything before the block.
    crc: u32,
}

impl Sink {
    fn put_block(&mut self) -> Result<(), StorageError> {
        let data = self.block.len();
        let crc = crc32c::crc32c_append(self.crc, &self.block);
        self.block.extend_from_slice(&crc.to_le_bytes());
        let written = self.file.write(&self.block, self.at);
        self.block.truncate(data);
        written?;
        self.at += (data + CRC_BYTES) as u64;
        self.crc = crc;
        self.block.clear();
        Ok(())
    }

    fn header(&self) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        header[..8].copy_from_slice(&MAGIC);
        header[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        header[16..24].copy_from_slice(&self.identity.0.term.0.to_le_bytes());
        header[24..32].copy_from_slice(&self.identity.0.index.0.to_le_bytes());
        header[32..40].copy_from_slice(&self.length.to_le_bytes());
        let crc = crc32c::crc32c(&header[16..]);
        header[12..16].copy_from_slice(&crc.to_le_bytes());
        header
    }
}

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.block.len() == BLOCK_BYTES {
            self.put_block()?;
        }
        let taken = bytes.len().min(BLOCK_BYTES - self.block.len());
        self.block.extend_from_slice(&bytes[..taken]);
        self.length += taken as u64;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl SnapshotSink for Sink {
    fn finish(mut self: Box<Self>) -> Result<(), StorageError> {
        if !self.block.is_empty() {
            self.put_block()?;
        }
        self.file.write(&self.header(), 0)?;
        self.file.sync()?;
        if let Some(aside) = &self.aside {
            self.disk.rename(aside, &file_name(self.identity))?;
            lock(&self.finished).insert(self.identity);
        }
        self.aside = None;
        self.disk.sync_names()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Some(error) = self.aside.as_ref().and_then(|aside| self.disk.remove(aside).err()) {
            tracing::warn!(%error, "an unfinished snapshot stays until the next start");
        }
    }
}

/// A snapshot that is being read: no byte is handed out before its block has proved to be whole.
struct SnapshotReader {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    length: u64,
    /// Where the next block is, and how much data there is from there on.
    at: u64,
    left: u64,
    block: Vec<u8>,
    /// How much of the block was handed out.
    taken: usize,
    crc: u32,
}

impl SnapshotReader {
    fn open(disk: &dyn Disk, identity: Name) -> Result<SnapshotReader, StorageError> {
        let name = file_name(identity);
        let (file, path) = (disk.open(&name)?, disk.path(&name));
        let length = file.len()?;
        let damaged = |offset, what: &str| StorageError::Damaged { path: path.clone(), offset, what: what.into() };
        let mut header = [0; HEADER_BYTES];
        if length < HEADER_BYTES as u64 {
            return Err(damaged(length, "the file ends within its header"));
        }
        file.read(&mut header, 0)?;
        let number = |at: usize| header[at..].first_chunk().copied().map_or(0, u64::from_le_bytes);
        let short = |at: usize| header[at..].first_chunk().copied().map_or(0, u32::from_le_bytes);
        if header[..8] != MAGIC {
            return Err(damaged(0, "this is no snapshot"));
        }
        if short(8) != FORMAT_VERSION {
            return Err(StorageError::Version { path, found: short(8), known: FORMAT_VERSION });
        }
        if short(12) != crc32c::crc32c(&header[16..]) {
            return Err(damaged(12, "the checksum of the header does not fit"));
        }
        if EntryId::new(number(16), number(24)) != identity.0 {
            return Err(damaged(16, "this is another snapshot"));
        }
        let data = number(32);
        if file_bytes(data) != Some(length) {
            return Err(damaged(length, "the file is longer or shorter than it was"));
        }
        let (at, crc) = (HEADER_BYTES as u64, first_crc(identity.0));
        Ok(SnapshotReader { file, path, length: data, at, left: data, block: Vec::new(), taken: 0, crc })
    }

    /// Read one more block; nothing if there is none.
    fn next_block(&mut self) -> Result<bool, StorageError> {
        let data = usize::try_from(self.left).map_or(BLOCK_BYTES, |left| left.min(BLOCK_BYTES));
        if data == 0 {
            return Ok(false);
        }
        self.taken = 0;
        // Empty until it has proved to be whole.
        let mut block = mem::take(&mut self.block);
        block.resize(data + CRC_BYTES, 0);
        self.file.read(&mut block, self.at)?;
        let found = block[data..].first_chunk().copied().map_or(0, u32::from_le_bytes);
        block.truncate(data);
        self.crc = crc32c::crc32c_append(self.crc, &block);
        if found != self.crc {
            let what = "the checksum of this block of the snapshot does not fit".into();
            return Err(StorageError::Damaged { path: self.path.clone(), offset: self.at, what });
        }
        self.block = block;
        self.at += (data + CRC_BYTES) as u64;
        self.left -= data as u64;
        Ok(true)
    }
}

impl io::Read for SnapshotReader {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.block.len() && !self.next_block()? {
            return Ok(0);
        }
        let taken = bytes.len().min(self.block.len() - self.taken);
        bytes[..taken].copy_from_slice(&self.block[self.taken..self.taken + taken]);
        self.taken += taken;
        Ok(taken)
    }
}
