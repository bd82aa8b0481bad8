//! The write-ahead log: one frame for each group commit, one write and one sync for each frame.
//!
//! ```text
//!   wal-...07        wal-...08        wal-...09                          blank-12
//!   [H f f f f f]    [H f f f f f]    [H f f f <- the next frame    ]    [   old bytes or zeros   ]
//!                     ^ repeats all that is known but the entries
//! ```
//!
//! A frame that does not fit into the rest of its segment begins the next one. Segments are dropped from the oldest on,
//! once every entry that is still needed is in later ones.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use raft_core::codec::{self, CodecError};
use raft_core::{Entries, Index, Write};

use super::checkpoint::Checkpoint;
use super::disk::{Disk, DiskFile};
use super::frame::{self, FRAME_HEADER_BYTES, Key, Link, SegmentHeader};
use super::replay::{End, Replay, Segment, first_entries, read_entries, replace_from};
use super::segment::{Blanks, segment_name};
use super::{Birth, Identity, StorageError, StorageErrorKind};

/// What confirms the last frame: the header of a frame without a payload.
const MARK_BYTES: u64 = FRAME_HEADER_BYTES as u64;
/// Disks lose bytes by pages: the mark is in another one than the end of what it confirms.
const PAGE_BYTES: u64 = 4096;
/// Room for hundreds of terms and votes.
const RESERVE_BYTES_MAX: u64 = 64 << 10;

pub(super) struct Wal {
    disk: Arc<dyn Disk>,
    blanks: Blanks,
    identity: Identity,
    /// What is durable, but the entries.
    kept: Checkpoint,
    /// Oldest first; the last is being written.
    segments: VecDeque<Segment>,
    file: Box<dyn DiskFile>,
    /// Where the next frame goes in `file`, and how it is tied to the last one.
    at: u64,
    link: Link,
    /// The frame being made; kept for its memory.
    buffer: Vec<u8>,
    /// How long a segment is.
    segment_bytes: u64,
    /// So many bytes at the end of a segment are not for entries.
    reserve: u64,
    /// A mark confirms the last frame.
    closed: bool,
}

impl Wal {
    /// The first segment of a new member, whole or not at all.
    pub(super) fn create(disk: &Arc<dyn Disk>, birth: Birth, segment_bytes: u64) -> Result<(), StorageError> {
        let Birth { identity, membership } = birth;
        let link = Link { segment: 1, sequence: 1, previous: 0 };
        let mut header = SegmentHeader { link, identity, file_bytes: 0, checkpoint: Checkpoint::birth(membership) };
        let mut blanks = Blanks::open(disk.clone(), segment_bytes)?;
        let (bytes, _) = encode_header(&mut header, 0, segment_bytes, "the first membership")?;
        begin_segment(&**disk, &mut blanks, &header, &bytes, &[])?;
        Ok(())
    }

    /// Go on where `replay` ended. What was read becomes durable, in case it had not been when the last run ended.
    pub(super) fn resume(disk: Arc<dyn Disk>, replay: Replay, segment_bytes: u64) -> Result<Wal, StorageError> {
        let Replay { identity, kept, segments, end, strays, .. } = replay;
        let End { link, at, tail: (tail_at, mut tail) } = end;
        let file = disk.open(&segment_name(link.segment))?;
        // A sync that failed may have left the last frame in memory only, and marked as written. The same bytes again
        // are sure to reach the disk, and harm nothing. Behind it may be parts of a frame that was torn. The next one has
        // parts in common with it: torn in turn, it could complete what this start takes for lost.
        let room = usize::try_from(file.len()?.saturating_sub(at)).unwrap_or(usize::MAX);
        tail.resize(tail.len().saturating_add(room.min(FRAME_HEADER_BYTES)), 0);
        file.write(&tail, tail_at)?;
        file.sync()?;
        for stray in strays {
            disk.remove(&stray)?;
        }
        let blanks = Blanks::open(disk.clone(), segment_bytes)?;
        disk.sync_names()?;
        let mut wal = Wal {
            disk,
            blanks,
            identity,
            kept,
            segments,
            file,
            at,
            link,
            buffer: Vec::new(),
            segment_bytes,
            reserve: RESERVE_BYTES_MAX.min(segment_bytes / 8),
            closed: false,
        };
        wal.drop_old_segments()?;
        Ok(wal)
    }

    pub(super) fn identity(&self) -> Identity {
        self.identity
    }

    /// The data directory.
    pub(super) fn path(&self) -> PathBuf {
        self.disk.path("")
    }

    pub(super) fn kept(&self) -> &Checkpoint {
        &self.kept
    }

    /// Make all of these durable in one frame. After [`NotWritten`](StorageError::NotWritten) the log is as it was; after any
    /// other error it must not be used again.
    pub(super) fn append(&mut self, writes: &[Write]) -> Result<(), StorageError> {
        let mut kept = self.kept.clone();
        frame::begin(&mut self.buffer);
        for write in writes {
            kept.take(write)?;
            put_write(&mut self.buffer, write)?;
        }
        let has_entries = writes.iter().any(|write| !write.entries.is_empty());
        if frame::padded(self.buffer.len()) as u64 <= self.room(has_entries) {
            let crc = self.seal(self.link)?;
            // Behind the last frame, a part of this one means nothing.
            self.file.write(&self.buffer, self.at).map_err(StorageError::before_the_write)?;
            self.file.sync()?;
            self.advance(crc);
        } else {
            self.roll_over()?;
        }
        self.kept = kept;
        for from in writes.iter().filter_map(Checkpoint::replaced_from) {
            replace_from(&mut self.segments, from);
        }
        self.drop_old_segments()?;
        if self.is_half_full() {
            self.blanks.prepare(false);
        }
        Ok(())
    }

    /// How many bytes of frames fit into the segment. The reserve is not for entries, as long as the next segment is not sure:
    /// when there is no room for that, a term, a vote or a compaction still is written.
    fn room(&self, has_entries: bool) -> u64 {
        let left = self.segments.back().map_or(0, |segment| segment.bytes.saturating_sub(self.at));
        let reserve = if has_entries && !self.blanks.has_one() { self.reserve } else { 0 };
        left.saturating_sub(reserve).saturating_sub(MARK_BYTES)
    }

    fn is_half_full(&self) -> bool {
        self.segments.back().is_some_and(|segment| self.at >= segment.bytes / 2)
    }

    /// What the log will be short of when the segment is full, as far as that is known.
    pub(super) fn shortage(&self) -> Option<StorageErrorKind> {
        self.blanks.shortage()
    }

    /// Try again to make room for the log to go on.
    pub(super) fn make_room(&mut self) {
        if self.is_half_full() {
            self.blanks.prepare(true);
        }
    }

    /// Read entries back, out of the segments that may have them: each of them is read whole.
    pub(super) fn read(&self, from: Index, to: Index, bytes_max: u64) -> Result<Entries, StorageError> {
        if from < self.kept.first() {
            return Ok(Entries::new());
        }
        let begins_later = self.segments.partition_point(|segment| segment.start <= from);
        let numbers = self.segments.range(begins_later.saturating_sub(1)..).map(|segment| segment.number);
        let (list, end) = read_entries(&*self.disk, self.identity, numbers, from, to)?;
        if end != self.link {
            let path = self.disk.path(&segment_name(self.link.segment));
            return Err(StorageError::Damaged { path, offset: 0, what: "it ends before what was written".into() });
        }
        Ok(first_entries(from, list.into_iter(), bytes_max))
    }

    fn seal(&mut self, link: Link) -> Result<u32, StorageError> {
        frame::seal(&mut self.buffer, link, Key::of(self.identity.incarnation))
            .ok_or_else(|| too_large("a group commit"))
    }

    fn advance(&mut self, crc: u32) {
        self.link = self.link.after(crc);
        self.at += self.buffer.len() as u64;
        self.closed = false;
    }

    /// Confirm the last frame by a mark behind it: the header of a frame that says how many there were before, and is none of them.
    /// The next frame goes behind the last one, as if there were no mark.
    pub(super) fn close_tail(&mut self) -> Result<(), StorageError> {
        let end = self.segments.back().map_or(0, |segment| segment.bytes);
        let last = end.saturating_sub(MARK_BYTES) / 8 * 8;
        let at = self.at.saturating_add(1).next_multiple_of(PAGE_BYTES).min(last);
        if self.closed || at < self.at {
            return Ok(());
        }
        frame::begin(&mut self.buffer);
        // Of no frame that could stand there.
        self.seal(Link { previous: !self.link.previous, ..self.link })?;
        match self.file.write(&self.buffer, at) {
            Err(error) if error.shortage().is_some() => return Ok(()),
            written => written?,
        }
        self.file.sync()?;
        self.closed = true;
        Ok(())
    }

    /// The frame in the buffer begins the next segment, behind what is known from all before.
    fn roll_over(&mut self) -> Result<(), StorageError> {
        let link = Link { segment: self.link.segment + 1, ..self.link };
        let (identity, checkpoint) = (self.identity, self.kept.clone());
        let mut header = SegmentHeader { link, identity, file_bytes: 0, checkpoint };
        let frame = frame::padded(self.buffer.len());
        let (header_bytes, header_crc) = encode_header(&mut header, frame, self.segment_bytes, "the membership")?;
        let first_link = header.first_link(header_crc);
        let crc = self.seal(first_link)?;
        self.file = begin_segment(&*self.disk, &mut self.blanks, &header, &header_bytes, &self.buffer)?;
        (self.link, self.at) = (first_link, header_bytes.len() as u64);
        let start = self.kept.last().next();
        self.segments.push_back(Segment { number: link.segment, bytes: header.file_bytes, start });
        self.advance(crc);
        tracing::debug!(segment = link.segment, "log goes on in a new segment");
        Ok(())
    }

    /// Everything in an old segment is known elsewhere or not needed, once all entries that are needed are in later ones.
    fn drop_old_segments(&mut self) -> Result<(), StorageError> {
        let mut dropped = 0;
        while self.segments.get(1).is_some_and(|second| second.start <= self.kept.first()) {
            let Some(segment) = self.segments.pop_front() else { break };
            self.blanks.recycle(&segment.name(), segment.bytes)?;
            dropped += 1;
        }
        if dropped > 0 {
            // Only now may a recycled file be overwritten: its old name cannot come back.
            self.disk.sync_names()?;
            tracing::debug!(dropped, first = self.kept.first().0, "log compacted");
        }
        Ok(())
    }
}

/// Write a segment's header and first frame aside, then give it its name. After a crash it is there whole or not at all.
fn begin_segment(
    disk: &dyn Disk,
    blanks: &mut Blanks,
    header: &SegmentHeader,
    header_bytes: &[u8],
    frame: &[u8],
) -> Result<Box<dyn DiskFile>, StorageError> {
    let blank = blanks.take(header.file_bytes).map_err(StorageError::before_the_write)?;
    let name = segment_name(header.link.segment);
    let end = (header_bytes.len() + frame.len()) as u64;
    let written = blank.file.write(header_bytes, 0).and_then(|()| blank.file.write(frame, header_bytes.len() as u64));
    let written = written.and_then(|()| match header.file_bytes.saturating_sub(end) {
        // A file of its own length, which was empty.
        room if room == MARK_BYTES => blank.file.write(&[0; FRAME_HEADER_BYTES], end),
        _ => Ok(()),
    });
    let synced = written.and_then(|()| blank.file.sync()).and_then(|()| disk.rename(&blank.name, &name));
    if let Err(error) = synced {
        // It has no segment's name: even a failed sync of it says nothing of the log.
        blanks.discard(&blank);
        return Err(error.before_the_write());
    }
    disk.sync_names()?;
    let mut file = blank.file;
    file.set_path(disk.path(&name));
    Ok(file)
}

/// The header of a segment that begins with a frame of so many bytes. A file that is longer than usual has room for the frame
/// and for a mark behind it.
fn encode_header(
    header: &mut SegmentHeader,
    frame: usize,
    segment_bytes: u64,
    what: &str,
) -> Result<(Vec<u8>, u32), StorageError> {
    let length = header.encode().ok_or_else(|| too_large(what))?.0.len();
    header.file_bytes = segment_bytes.max((length + frame) as u64 + MARK_BYTES);
    header.encode().ok_or_else(|| too_large(what))
}

/// Append a write behind its length. One that is too large for the codec goes in parts: the frame keeps them together.
fn put_write(buffer: &mut Vec<u8>, write: &Write) -> Result<(), StorageError> {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; 4]);
    match codec::encode_write(write, buffer) {
        Ok(()) => {
            let length = u32::try_from(buffer.len() - start - 4).map_err(|_| too_large("a write"))?;
            buffer[start..start + 4].copy_from_slice(&length.to_le_bytes());
            Ok(())
        }
        Err(CodecError::TooLarge { .. }) if write.entries.len() > 1 => {
            buffer.truncate(start);
            let (head, tail) = halves(&write.entries)?;
            put_write(buffer, &Write { entries: head, ..write.clone() })?;
            put_write(buffer, &Write { hard_state: None, snapshot: None, entries: tail, ..write.clone() })
        }
        Err(error) => Err(StorageError::Unfit { what: error.to_string() }),
    }
}

fn halves(entries: &Entries) -> Result<(Entries, Entries), StorageError> {
    let half = entries.len() / 2;
    let first = entries.first().unwrap_or_default().index;
    let head = entries.slices().flat_map(|(_, entries)| entries);
    let head = head.take(usize::try_from(half).unwrap_or(usize::MAX)).cloned().collect();
    let head = Entries::from_vec(first, head).map_err(|error| StorageError::Unfit { what: error.to_string() })?;
    Ok((head, entries.clone().starting_at(first.plus(half))))
}

fn too_large(what: &str) -> StorageError {
    StorageError::Unfit { what: format!("{what} is too large for the log's format") }
}
