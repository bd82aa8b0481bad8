//! Segment files: their names, and the blank ones that wait to be used.
//!
//! A segment is written into a file that has its full length already, because a file that grows or was never written
//! makes each sync dearer. Such blank files are old segments that nobody needs any more, or files filled with zeros
//! ahead of time on a thread of their own. A blank file gets a segment's name only after the segment's header and first
//! frames are synced in it, so whatever has such a name begins whole.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::StorageError;
use super::disk::Disk;

const SEGMENT_PREFIX: &str = "wal-";
const BLANK_PREFIX: &str = "blank-";

/// The most blank files that are kept.
const BLANKS_MAX: usize = 4;
/// Smaller files are filled when they are needed: a thread would cost more than it saves.
const AHEAD_BYTES_MIN: u64 = 1 << 20;
/// Zeros are written and synced in steps of this size, so that a sync of the log never waits behind many of them.
const FILL_BYTES: usize = 1 << 20;

pub(super) fn segment_name(number: u64) -> String {
    format!("{SEGMENT_PREFIX}{number:020}")
}

pub(super) fn segment_number(name: &str) -> Option<u64> {
    name.strip_prefix(SEGMENT_PREFIX)?.parse().ok().filter(|&number| segment_name(number) == name)
}

fn blank_number(name: &str) -> Option<u64> {
    name.strip_prefix(BLANK_PREFIX)?.parse().ok()
}

/// The supply of blank files.
pub(super) struct Blanks {
    disk: Arc<dyn Disk>,
    bytes: u64,
    ready: Vec<String>,
    next_number: u64,
    ahead: Option<JoinHandle<Result<String, StorageError>>>,
}

impl Blanks {
    /// Takes over the blank files of an earlier run that have the right length, and removes the others.
    pub(super) fn open(disk: Arc<dyn Disk>, bytes: u64) -> Result<Blanks, StorageError> {
        let mut blanks = Blanks { disk, bytes, ready: Vec::new(), next_number: 1, ahead: None };
        for name in blanks.disk.names()? {
            let Some(number) = blank_number(&name) else { continue };
            blanks.next_number = blanks.next_number.max(number.saturating_add(1));
            if blanks.ready.len() < BLANKS_MAX && blanks.disk.open(&name)?.len()? == bytes {
                blanks.ready.push(name);
            } else {
                blanks.disk.remove(&name)?;
            }
        }
        Ok(blanks)
    }

    /// The name of a file of at least `bytes`, if that is not more than a segment usually has; else of an empty one.
    pub(super) fn take(&mut self, bytes: u64) -> Result<String, StorageError> {
        if bytes > self.bytes {
            let name = self.new_name();
            self.disk.create(&name)?;
            return Ok(name);
        }
        if let Some(name) = self.ready.pop() {
            return Ok(name);
        }
        match self.ahead.take().map(JoinHandle::join) {
            Some(Ok(Ok(name))) => Ok(name),
            _ => {
                let name = self.new_name();
                fill(&*self.disk, name, self.bytes)
            }
        }
    }

    /// Keeps the file of an old segment, or removes it. It may be overwritten once [`Disk::sync_names`] has returned.
    pub(super) fn recycle(&mut self, segment: &str, bytes: u64) -> Result<(), StorageError> {
        if bytes != self.bytes || self.ready.len() >= BLANKS_MAX {
            return self.disk.remove(segment);
        }
        let name = self.new_name();
        self.disk.rename(segment, &name)?;
        self.ready.push(name);
        Ok(())
    }

    /// Begins to fill a file in the background, unless there is one.
    pub(super) fn prepare(&mut self) -> Result<(), StorageError> {
        if self.bytes < AHEAD_BYTES_MIN || !self.disk.has_threads() || !self.ready.is_empty() || self.ahead.is_some() {
            return Ok(());
        }
        let (disk, name, bytes) = (self.disk.clone(), self.new_name(), self.bytes);
        let path = self.disk.path(&name);
        let ahead = thread::Builder::new().name("raft-segment".into()).spawn(move || fill(&*disk, name, bytes));
        self.ahead = Some(ahead.map_err(super::disk::io_error("start a thread for", &path))?);
        Ok(())
    }

    fn new_name(&mut self) -> String {
        let name = format!("{BLANK_PREFIX}{}", self.next_number);
        self.next_number = self.next_number.saturating_add(1);
        name
    }
}

impl Drop for Blanks {
    /// The directory is let go only when nothing writes to it any more.
    fn drop(&mut self) {
        if let Some(ahead) = self.ahead.take() {
            let _ = ahead.join();
        }
    }
}

/// A new file of zeros, or nothing.
fn fill(disk: &dyn Disk, name: String, bytes: u64) -> Result<String, StorageError> {
    let zeros = vec![0; FILL_BYTES];
    let filled = disk.create(&name).and_then(|file| {
        (0..bytes).step_by(FILL_BYTES).try_for_each(|at| {
            let step = usize::try_from(bytes - at).map_or(FILL_BYTES, |left| left.min(FILL_BYTES));
            file.write(&zeros[..step], at)?;
            file.sync()
        })
    });
    match filled {
        Ok(()) => Ok(name),
        Err(error) => disk.remove(&name).and(Err(error)),
    }
}
