//! Segment files: their names, and the blank ones that wait to be used.
//!
//! A segment is written into a file that has its full length already, because a file that grows or was never written
//! makes each sync dearer. Such blank files are old segments that nobody needs any more, or files filled with zeros
//! ahead of time on a thread of their own. A blank file gets a segment's name only after the segment's header and first
//! frames are synced in it, so whatever has such a name begins whole.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::disk::{Disk, DiskFile};
use super::{StorageError, StorageErrorKind};

const SEGMENT_PREFIX: &str = "wal-";
const BLANK_PREFIX: &str = "blank-";

/// The most blank files that are kept.
const BLANKS_MAX: usize = 4;
/// Smaller files are filled at once: a thread would cost more than it saves.
const AHEAD_BYTES_MIN: u64 = 1 << 20;
/// Zeros are written and synced in steps of this size, so that a sync of the log never waits behind many of them.
const FILL_BYTES: usize = 1 << 20;

pub(super) fn segment_name(number: u64) -> String {
    format!("{SEGMENT_PREFIX}{number:020}")
}

pub(super) fn segment_number(name: &str) -> Option<u64> {
    name.strip_prefix(SEGMENT_PREFIX)?.parse().ok().filter(|&number| segment_name(number) == name)
}

/// A log that runs creates, renames and removes files. Whether it may is found out at the start, and not when the first segment
/// is full. That there is no room now is no reason not to start.
pub(super) fn check_names(disk: &dyn Disk) -> Result<(), StorageError> {
    // What a crash leaves of these is a blank file of the wrong length, which goes at the next start.
    let [before, after] = ["0", "00"].map(|number| format!("{BLANK_PREFIX}{number}"));
    match disk.create(&before) {
        Err(error) if error.shortage().is_some() => return Ok(()),
        created => drop(created?),
    }
    disk.rename(&before, &after)?;
    disk.remove(&after)
}

fn blank_number(name: &str) -> Option<u64> {
    name.strip_prefix(BLANK_PREFIX)?.parse().ok()
}

/// A blank file, open. One is opened ahead, so that the log can go on in it when the process has no descriptor left.
pub(super) struct Blank {
    pub(super) name: String,
    pub(super) file: Box<dyn DiskFile>,
}

/// The supply of blank files.
pub(super) struct Blanks {
    disk: Arc<dyn Disk>,
    bytes: u64,
    /// Their names; the last one may be open already.
    ready: Vec<String>,
    open: Option<Blank>,
    next_number: u64,
    ahead: Option<JoinHandle<Result<Blank, StorageError>>>,
    /// What was short when the last blank file could not be made, until one is ready.
    shortage: Option<StorageErrorKind>,
}

impl Blanks {
    /// Takes over the blank files of an earlier run that have the right length, and removes the others.
    pub(super) fn open(disk: Arc<dyn Disk>, bytes: u64) -> Result<Blanks, StorageError> {
        let mut blanks =
            Blanks { disk, bytes, ready: Vec::new(), open: None, next_number: 1, ahead: None, shortage: None };
        for name in blanks.disk.names()? {
            let Some(number) = blank_number(&name) else { continue };
            blanks.next_number = blanks.next_number.max(number.saturating_add(1));
            let file = blanks.disk.open(&name)?;
            if blanks.ready.len() < BLANKS_MAX && file.len()? == bytes {
                blanks.ready.push(name);
            } else {
                blanks.disk.remove(&name)?;
            }
        }
        Ok(blanks)
    }

    /// A file of at least `bytes`, if that is not more than a segment usually has; else an empty one.
    pub(super) fn take(&mut self, bytes: u64) -> Result<Blank, StorageError> {
        if bytes > self.bytes {
            let name = self.new_name();
            return Ok(Blank { file: self.disk.create(&name)?, name });
        }
        self.collect(true);
        if let Some(blank) = self.open.take() {
            return Ok(blank);
        }
        if let Some(name) = self.ready.last() {
            let file = self.disk.open(name)?;
            return Ok(Blank { name: self.ready.pop().unwrap_or_default(), file });
        }
        let name = self.new_name();
        let filled = fill(&*self.disk, name, self.bytes);
        self.shortage = filled.as_ref().err().and_then(StorageError::shortage);
        filled
    }

    /// What a blank file was to become has failed: what is in it is not known.
    pub(super) fn discard(&self, blank: &Blank) {
        if let Err(error) = self.disk.remove(&blank.name) {
            tracing::warn!(%error, "a blank file stays until the next start");
        }
    }

    /// Keeps the file of an old segment, or removes it. It may be overwritten once [`Disk::sync_names`] has returned.
    pub(super) fn recycle(&mut self, segment: &str, bytes: u64) -> Result<(), StorageError> {
        if bytes == self.bytes && self.ready.len() < BLANKS_MAX {
            let name = self.new_name();
            // Without room for another name it is removed.
            if self.disk.rename(segment, &name).is_ok() {
                self.ready.push(name);
                self.shortage = None;
                return Ok(());
            }
        }
        self.disk.remove(segment)
    }

    /// See to it that there is a blank file, or will be soon: a large one is filled in the background. After a shortage only
    /// if it is to be tried again.
    pub(super) fn prepare(&mut self, again: bool) {
        self.collect(false);
        if self.open.is_none()
            && let Some(name) = self.ready.pop()
        {
            match self.disk.open(&name) {
                Ok(file) => self.open = Some(Blank { name, file }),
                // It is opened when it is needed.
                Err(_) => self.ready.push(name),
            }
        }
        if self.has_one() || self.ahead.is_some() || self.shortage.is_some() && !again {
            return;
        }
        let (disk, name, bytes) = (self.disk.clone(), self.new_name(), self.bytes);
        if bytes < AHEAD_BYTES_MIN || !disk.has_threads() {
            let filled = fill(&*disk, name, bytes);
            return self.filled(filled);
        }
        let path = disk.path(&name);
        let ahead = thread::Builder::new().name("raft-segment".into()).spawn(move || fill(&*disk, name, bytes));
        match ahead {
            Ok(ahead) => self.ahead = Some(ahead),
            // It is filled when it is needed.
            Err(error) => tracing::debug!(path = %path.display(), %error, "no thread to fill a blank file"),
        }
    }

    /// What was short when the next blank file could not be made.
    pub(super) fn shortage(&self) -> Option<StorageErrorKind> {
        self.shortage
    }

    pub(super) fn has_one(&self) -> bool {
        self.open.is_some() || !self.ready.is_empty()
    }

    /// Take in what was filled in the background.
    fn collect(&mut self, wait: bool) {
        if let Some(ahead) = self.ahead.take_if(|ahead| wait || ahead.is_finished()) {
            // A panic there is an error of this crate; the file is made anew.
            if let Ok(filled) = ahead.join() {
                self.filled(filled);
            }
        }
    }

    fn filled(&mut self, filled: Result<Blank, StorageError>) {
        match filled {
            Ok(blank) => {
                self.open = Some(blank);
                self.shortage = None;
            }
            Err(error) => {
                tracing::debug!(%error, "no blank file for the next segment");
                self.shortage = error.shortage();
            }
        }
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
fn fill(disk: &dyn Disk, name: String, bytes: u64) -> Result<Blank, StorageError> {
    let zeros = vec![0; FILL_BYTES.min(usize::try_from(bytes).unwrap_or(FILL_BYTES))];
    let filled = disk.create(&name).and_then(|file| {
        (0..bytes).step_by(FILL_BYTES).try_for_each(|at| {
            let step = usize::try_from(bytes - at).map_or(FILL_BYTES, |left| left.min(FILL_BYTES));
            file.write(&zeros[..step], at)?;
            file.sync()
        })?;
        Ok(file)
    });
    match filled {
        Ok(file) => Ok(Blank { name, file }),
        Err(error) => disk.remove(&name).and(Err(error)),
    }
}
