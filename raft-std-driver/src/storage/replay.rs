//! Reading the log back: every segment in order, every frame in order, changing nothing.
//!
//! A frame is written only after the one before it is synced. So if the frame that should come next is not there, this
//! is the end of the log, unless something proves that a later frame was written: a later frame in the same segment, or
//! the next segment, whose header names the last frame before it. Then what is missing was once durable, and the log is
//! refused.

use std::collections::VecDeque;

use raft_core::{Bytes, Entries, Entry, Index, Write, codec};

use super::checkpoint::Checkpoint;
use super::disk::Disk;
use super::frame::{self, FORMAT_VERSION, Key, Link, NoHeader, SegmentHeader};
use super::segment::{segment_name, segment_number};
use super::{Identity, Recovered, StorageError};

/// One segment of the log.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) number: u64,
    /// The length of its file.
    pub(super) bytes: u64,
    /// All entries from this index on are in this segment or in later ones.
    pub(super) start: Index,
}

impl Segment {
    pub(super) fn name(&self) -> String {
        segment_name(self.number)
    }
}

/// From `from` on, entries are written anew: no older segment has them any more.
pub(super) fn replace_from(segments: &mut VecDeque<Segment>, from: Index) {
    for segment in segments.iter_mut().rev().take_while(|segment| segment.start > from) {
        segment.start = from;
    }
}

/// Where the log ends.
#[derive(Debug)]
pub(super) struct End {
    /// Of the next frame.
    pub(super) link: Link,
    /// Its offset in the last segment.
    pub(super) at: u64,
    /// The last frame, or the header if there is none, and its offset.
    pub(super) tail: (u64, Vec<u8>),
}

/// What the segments say.
#[derive(Debug)]
pub(super) struct Replay {
    pub(super) identity: Identity,
    pub(super) kept: Checkpoint,
    pub(super) segments: VecDeque<Segment>,
    pub(super) end: End,
    /// Older segments that an interrupted removal left behind.
    pub(super) strays: Vec<String>,
    log: LiveLog,
}

impl Replay {
    /// Read all segments. There must be one.
    pub(super) fn read(disk: &dyn Disk) -> Result<Replay, StorageError> {
        let mut numbers: Vec<u64> = disk.names()?.iter().filter_map(|name| segment_number(name)).collect();
        numbers.sort_unstable();
        let later = numbers.windows(2).rposition(|pair| pair[1] - pair[0] > 1).map_or(0, |gap| gap + 1);
        let strays = numbers.drain(..later).map(segment_name).collect();

        let mut bytes = Vec::new();
        let mut numbers = numbers.into_iter().peekable();
        let first = numbers.next().ok_or_else(|| StorageError::Empty { path: disk.path("") })?;
        let mut replay = Replay::begin(disk, first, &mut bytes, strays)?;
        replay.take_frames(disk, &bytes)?;
        for number in numbers {
            replay.next_segment(disk, number, &mut bytes)?;
            replay.take_frames(disk, &bytes)?;
        }
        replay.check_end(disk, &bytes)?;
        Ok(replay)
    }

    fn begin(disk: &dyn Disk, number: u64, bytes: &mut Vec<u8>, strays: Vec<String>) -> Result<Replay, StorageError> {
        let (header, at, crc) = read_segment(disk, number, bytes)?;
        let start = header.checkpoint.last().next();
        Ok(Replay {
            identity: header.identity,
            segments: VecDeque::from([Segment { number, bytes: bytes.len() as u64, start }]),
            end: End { link: header.first_link(crc), at: at as u64, tail: (0, bytes[..at].to_vec()) },
            kept: header.checkpoint,
            log: LiveLog { start, entries: VecDeque::new() },
            strays,
        })
    }

    fn next_segment(&mut self, disk: &dyn Disk, number: u64, bytes: &mut Vec<u8>) -> Result<(), StorageError> {
        let (header, at, crc) = read_segment(disk, number, bytes)?;
        if (header.link.sequence, header.link.previous) != (self.end.link.sequence, self.end.link.previous) {
            let next = segment_name(number);
            return self.damaged(disk, format!("a frame is damaged or missing here, for {next} continues behind it"));
        }
        self.segments.push_back(Segment { number, bytes: bytes.len() as u64, start: self.kept.last().next() });
        self.end = End { link: header.first_link(crc), at: 0, tail: (0, bytes[..at].to_vec()) };
        if (header.identity, &header.checkpoint) != (self.identity, &self.kept) {
            return self.damaged(disk, "the header contradicts the segment before".into());
        }
        self.end.at = at as u64;
        Ok(())
    }

    /// All frames of the newest segment, as far as they follow each other.
    fn take_frames(&mut self, disk: &dyn Disk, bytes: &[u8]) -> Result<(), StorageError> {
        let key = Key::of(self.identity.incarnation);
        let mut at = usize::try_from(self.end.at).unwrap_or(usize::MAX);
        let mut tail = None;
        while let Some(frame) = frame::read(bytes, at, self.end.link, key) {
            if let Err(what) = self.take_payload(Bytes::copy_from_slice(frame.payload)) {
                return self.damaged(disk, what);
            }
            self.end.link = self.end.link.after(frame.crc);
            at = frame.range.end;
            self.end.at = at as u64;
            tail = Some(frame.range);
        }
        if let Some(range) = tail {
            self.end.tail = (range.start as u64, bytes[range].to_vec());
        }
        Ok(())
    }

    fn take_payload(&mut self, mut payload: Bytes) -> Result<(), String> {
        while let Some(write) = next_write(&mut payload)? {
            self.kept.take(&write).map_err(|error| error.to_string())?;
            if let Some(from) = Checkpoint::replaced_from(&write) {
                replace_from(&mut self.segments, from);
                self.log.truncate(from);
            }
            self.log.forget_before(self.kept.first());
            self.log.append(&write);
        }
        Ok(())
    }

    fn check_end(&mut self, disk: &dyn Disk, bytes: &[u8]) -> Result<(), StorageError> {
        let at = usize::try_from(self.end.at).unwrap_or(usize::MAX);
        let key = Key::of(self.identity.incarnation);
        if let Some(later) = frame::find_later(bytes, at, self.end.link, key) {
            return self.damaged(disk, format!("a frame is damaged here, for a later one is at offset {later}"));
        }
        if self.log.start > self.kept.first() {
            let (from, to) = (self.kept.first(), self.log.start.prev());
            let path = disk.path(&self.segments.front().map_or(String::new(), Segment::name));
            let what = format!("entries {from} to {to} are missing: they were in an older segment");
            return Err(StorageError::Damaged { path, offset: 0, what });
        }
        Ok(())
    }

    fn damaged<T>(&self, disk: &dyn Disk, what: String) -> Result<T, StorageError> {
        let path = disk.path(&self.segments.back().map_or(String::new(), Segment::name));
        Err(StorageError::Damaged { path, offset: self.end.at, what })
    }

    /// What a server starts from. The replay keeps no entries.
    pub(super) fn recovered(&mut self, disk: &dyn Disk) -> Result<Recovered, StorageError> {
        let entries = std::mem::take(&mut self.log.entries).into();
        let entries = Entries::from_vec(self.log.start, entries);
        Ok(Recovered {
            identity: self.identity,
            hard_state: self.kept.hard_state(),
            snapshot: self.kept.snapshot().clone(),
            entries: entries.or_else(|error| self.damaged(disk, error.to_string()))?,
        })
    }
}

/// Read entries back from segments that follow each other, the last of which is being written: those from `from` through
/// `to`, as far as they are there. Says where the next frame would be tied to the last one.
pub(super) fn read_entries(
    disk: &dyn Disk,
    identity: Identity,
    numbers: impl Iterator<Item = u64>,
    from: Index,
    to: Index,
) -> Result<(Vec<Entry>, Link), StorageError> {
    let (mut bytes, mut list) = (Vec::new(), Vec::new());
    let mut end: Option<Link> = None;
    for number in numbers {
        let damaged = |offset: usize, what: String| {
            let path = disk.path(&segment_name(number));
            StorageError::Damaged { path, offset: offset as u64, what }
        };
        let (header, mut at, crc) = read_segment(disk, number, &mut bytes)?;
        let follows = |end: Link| (end.sequence, end.previous) == (header.link.sequence, header.link.previous);
        if header.identity != identity || !end.is_none_or(follows) {
            return Err(damaged(0, "it does not follow the segment before".into()));
        }
        let mut link = header.first_link(crc);
        while let Some(frame) = frame::read(&bytes, at, link, Key::of(identity.incarnation)) {
            let mut payload = Bytes::copy_from_slice(frame.payload);
            while let Some(write) = next_write(&mut payload).map_err(|what| damaged(at, what))? {
                take_wanted(&write, &mut list, from, to);
            }
            (link, at) = (link.after(frame.crc), frame.range.end);
        }
        end = Some(link);
    }
    Ok((list, end.unwrap_or(Link { segment: 0, sequence: 0, previous: 0 })))
}

/// Of what a write says of the log, keep what is wanted.
fn take_wanted(write: &Write, list: &mut Vec<Entry>, from: Index, to: Index) {
    if let Some(replaced) = Checkpoint::replaced_from(write) {
        list.truncate(usize::try_from(from.distance_to(replaced)).unwrap_or(usize::MAX));
    }
    let next = from.plus(list.len() as u64);
    let wanted = write.entries.clone().starting_at(next).through(to);
    if wanted.first().is_some_and(|first| first.index == next) {
        list.extend(wanted.slices().flat_map(|(_, entries)| entries.iter().cloned()));
    }
}

/// How many entries there are from `from` through `to`.
pub(super) fn count_of(from: Index, to: Index) -> usize {
    usize::try_from(from.distance_to(to.next())).unwrap_or(usize::MAX)
}

/// The first of some entries that follow each other, of about so many bytes, yet at least one.
pub(super) fn first_entries(from: Index, list: impl Iterator<Item = Entry>, bytes_max: u64) -> Entries {
    let (mut first, mut bytes) = (Vec::new(), 0_u64);
    for entry in list {
        bytes = bytes.saturating_add(entry.bytes());
        if bytes > bytes_max && !first.is_empty() {
            break;
        }
        first.push(entry);
    }
    Entries::from_vec(from, first).unwrap_or_default()
}

/// The next write of a frame.
fn next_write(payload: &mut Bytes) -> Result<Option<Write>, String> {
    if payload.is_empty() {
        return Ok(None);
    }
    let length = payload.first_chunk().copied().map(u32::from_le_bytes).and_then(|length| length.try_into().ok());
    let whole = length.and_then(|length: usize| length.checked_add(4)).filter(|&end| end <= payload.len());
    let write = payload.split_to(whole.ok_or("a write is longer than its frame")?).slice(4..);
    codec::decode_write(write).map(Some).map_err(|error| format!("a write makes no sense: {error}"))
}

/// Read a segment's file into `bytes`, and its header: with its length and its CRC.
fn read_segment(
    disk: &dyn Disk,
    number: u64,
    bytes: &mut Vec<u8>,
) -> Result<(SegmentHeader, usize, u32), StorageError> {
    let name = segment_name(number);
    let file = disk.open(&name)?;
    let length = usize::try_from(file.len()?).unwrap_or(usize::MAX);
    if bytes.len() != length {
        *bytes = Vec::new();
        bytes
            .try_reserve_exact(length)
            .map_err(|_| super::disk::io_error("read", &disk.path(&name))(std::io::ErrorKind::OutOfMemory.into()))?;
        // Zeros of the system's, where `resize` would write each byte, slowly in a program that is not optimized.
        *bytes = vec![0; length];
    }
    file.read(bytes, 0)?;
    let path = disk.path(&name);
    match SegmentHeader::read(bytes) {
        Ok((header, ..)) if header.link.segment == number && header.file_bytes != bytes.len() as u64 => {
            let what = format!("the file has {} bytes, and had {}", bytes.len(), header.file_bytes);
            Err(StorageError::Damaged { path, offset: header.file_bytes.min(bytes.len() as u64), what })
        }
        Ok(read) if read.0.link.segment == number => Ok(read),
        Ok(_) => Err(StorageError::Damaged { path, offset: 16, what: "this is another segment".into() }),
        Err(NoHeader::Version(found)) => Err(StorageError::Version { path, found, known: FORMAT_VERSION }),
        Err(NoHeader::Damaged { offset, what }) => {
            Err(StorageError::Damaged { path, offset: offset as u64, what: what.into() })
        }
    }
}

/// The entries that are still needed, as far as they were read.
#[derive(Debug)]
struct LiveLog {
    start: Index,
    entries: VecDeque<Entry>,
}

impl LiveLog {
    fn truncate(&mut self, from: Index) {
        if from < self.start {
            self.start = from;
            self.entries.clear();
        }
        let keep = self.start.distance_to(from);
        self.entries.truncate(usize::try_from(keep).unwrap_or(usize::MAX));
    }

    fn forget_before(&mut self, first: Index) {
        let behind = usize::try_from(self.start.distance_to(first)).unwrap_or(usize::MAX);
        self.entries.drain(..behind.min(self.entries.len()));
        self.start = self.start.max(first);
    }

    fn append(&mut self, write: &Write) {
        self.entries.extend(write.entries.slices().flat_map(|(_, entries)| entries.iter().cloned()));
    }
}
