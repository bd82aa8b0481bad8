//! Bytes as they come in, and what they are made of: hello, answers, frames.

use raft_core::Bytes;

use super::trouble::Trouble;
use super::wire::{FRAME_HEADER_BYTES, FrameHeader};

/// Enough for a hello and the answer to it.
const FIRST_BUFFER_BYTES: usize = 512;

/// Small frames are read many at once.
pub(super) const BUFFER_BYTES: usize = 64 << 10;

/// What is reserved for a frame before any of it has come.
const FRAME_RESERVED_BYTES: usize = 1 << 20;

/// What has come on a stream and has not been taken out. Readers fill the [`room`](Input::room) and say
/// [how much](Input::filled) has come.
///
/// A frame that is said to be long gets memory as it comes, not as it is promised. It is read in place.
pub(super) struct Input {
    buffer: Vec<u8>,
    /// What is waiting in the buffer.
    start: usize,
    end: usize,
    partial: Option<Partial>,
    /// The other end says no more.
    ended: bool,
}

/// A frame whose header has come.
struct Partial {
    header: FrameHeader,
    /// Its room: the first `filled` bytes have come.
    body: Vec<u8>,
    filled: usize,
}

impl Input {
    pub(super) fn new() -> Input {
        Input { buffer: vec![0; FIRST_BUFFER_BYTES], start: 0, end: 0, partial: None, ended: false }
    }

    /// The handshake is over: make room for many frames at once.
    pub(super) fn expect_frames(&mut self) {
        self.buffer.resize(BUFFER_BYTES, 0);
    }

    /// What waits in the buffer.
    pub(super) fn waiting(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// Drop so many bytes of it.
    pub(super) fn skip(&mut self, count: usize) {
        self.start = self.start.saturating_add(count).min(self.end);
    }

    /// Take `N` bytes, once so many are there.
    pub(super) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let taken = *self.waiting().first_chunk()?;
        self.skip(N);
        Some(taken)
    }

    /// Whether part of something has come.
    pub(super) fn has_part(&self) -> bool {
        self.start < self.end || self.partial.is_some()
    }

    /// The body of the next frame, if all of it has come; it may be `max` bytes long. Each has memory of its own, and no
    /// more than it needs: what it becomes may be kept for long.
    ///
    /// # Errors
    /// If it is longer, empty, or damaged: the stream makes no sense any more.
    pub(super) fn frame(&mut self, max: usize) -> Result<Option<Bytes>, Trouble> {
        let mut partial = match self.partial.take() {
            Some(partial) => partial,
            None => match self.take::<FRAME_HEADER_BYTES>() {
                Some(header) => Partial { header: FrameHeader::decode(&header, max)?, body: Vec::new(), filled: 0 },
                None => return Ok(None),
            },
        };
        let taken = partial.take(self.waiting());
        self.skip(taken);
        if partial.lacks() > 0 {
            self.partial = Some(partial);
            return Ok(None);
        }
        partial.header.check(&partial.body)?;
        Ok(Some(partial.body.into()))
    }

    /// What has come of the body of a frame that is not whole, once [`frame`](Input::frame) has given nothing.
    pub(super) fn begun(&self) -> Option<&[u8]> {
        self.partial.as_ref().and_then(|partial| partial.body.get(..partial.filled))
    }

    /// Whether there is room to read into.
    pub(super) fn has_room(&self) -> bool {
        !self.ended && self.end - self.start < self.buffer.len()
    }

    /// Room to read into; empty while a full buffer waits to be taken out.
    pub(super) fn room(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            // What does not fit into the buffer need not go through it.
            if let Some(partial) = self.partial.as_mut().filter(|partial| partial.lacks() >= BUFFER_BYTES) {
                return partial.room();
            }
        } else if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        self.buffer.get_mut(self.end..).unwrap_or_default()
    }

    /// So many bytes have been read into the room.
    pub(super) fn filled(&mut self, count: usize) {
        match &mut self.partial {
            Some(partial) if self.end == 0 && partial.lacks() >= BUFFER_BYTES => {
                partial.filled = partial.filled.saturating_add(count).min(partial.body.len());
            }
            _ => self.end = self.end.saturating_add(count).min(self.buffer.len()),
        }
    }

    /// The other end says no more.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// Whether it has said so.
    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    /// Forget what has come.
    pub(super) fn clear(&mut self) {
        self.start = self.end;
        self.partial = None;
    }
}

impl Partial {
    fn lacks(&self) -> usize {
        self.header.length.saturating_sub(self.filled)
    }

    /// Room for what lacks, or a part of it.
    fn room(&mut self) -> &mut [u8] {
        if self.filled == self.body.len() {
            let next = self.body.len().saturating_mul(2).max(FRAME_RESERVED_BYTES).min(self.header.length);
            self.body.reserve_exact(next.saturating_sub(self.body.len()));
            self.body.resize(next, 0);
        }
        self.body.get_mut(self.filled..).unwrap_or_default()
    }

    /// Take what belongs to this frame, and say how much that is.
    fn take(&mut self, come: &[u8]) -> usize {
        if self.body.is_empty()
            && let Some(whole) = come.get(..self.header.length)
        {
            self.body = whole.to_vec();
            self.filled = whole.len();
            return whole.len();
        }
        let mut taken = 0;
        while taken < come.len() && self.lacks() > 0 {
            let rest = come.get(taken..).unwrap_or_default();
            let room = self.room();
            let count = room.len().min(rest.len());
            if let (Some(room), Some(rest)) = (room.get_mut(..count), rest.get(..count)) {
                room.copy_from_slice(rest);
            }
            self.filled += count;
            taken += count;
        }
        taken
    }
}
