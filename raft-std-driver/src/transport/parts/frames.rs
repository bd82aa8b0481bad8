//! Frames out of bytes, however these come, and messages into bytes.

use std::io;
use std::time::Duration;

use raft_core::{Message, NodeId, codec};

use super::Trouble;
use crate::transport::wire::{self, FRAME_HEADER_BYTES, FrameHeader};

/// Small frames are read many at once.
const READ_BUFFER_BYTES: usize = 64 << 10;

/// How long a transport waits before it says again that a message is arriving.
pub const ARRIVING_PAUSE: Duration = Duration::from_millis(10);

/// What is reserved for a frame before any of it has come.
const FRAME_RESERVED_BYTES: usize = 1 << 20;

/// A buffer that grew beyond this gives its memory back.
const BUFFER_KEPT_BYTES: usize = 4 << 20;

/// Takes frames out of a stream of bytes. Readers of the stream ask for the [`next`](Frames::next) frame; as long as there
/// is none, they read into the [`spare`](Frames::spare) room and say [how much](Frames::filled) has come.
///
/// A frame that is said to be long gets memory as it comes, not as it is promised.
pub struct Frames {
    buffer: Box<[u8]>,
    /// What has been read into the buffer and not been taken out.
    start: usize,
    end: usize,
    partial: Option<Partial>,
}

/// A frame that has come in part.
struct Partial {
    header: FrameHeader,
    /// Its room: the first `filled` bytes have come.
    body: Vec<u8>,
    filled: usize,
}

impl Default for Frames {
    fn default() -> Self {
        Frames { buffer: vec![0; READ_BUFFER_BYTES].into(), start: 0, end: 0, partial: None }
    }
}

impl Frames {
    /// Of a new stream.
    #[must_use]
    pub fn new() -> Frames {
        Frames::default()
    }

    /// The body of the next frame, if all of it has come; it may be `max` bytes long. Each has memory of its own, and no
    /// more than it needs: what it becomes may be kept for long.
    ///
    /// # Errors
    /// If it is longer, empty, or damaged: the stream makes no sense any more.
    pub fn next(&mut self, max: usize) -> Result<Option<Vec<u8>>, Trouble> {
        let mut partial = match self.partial.take() {
            Some(partial) => partial,
            None => {
                let waiting = self.buffer.get(self.start..self.end).unwrap_or_default();
                let Some((header, _)) = waiting.split_first_chunk::<FRAME_HEADER_BYTES>() else { return Ok(None) };
                self.start += FRAME_HEADER_BYTES;
                Partial { header: FrameHeader::decode(header, max)?, body: Vec::new(), filled: 0 }
            }
        };
        let come = self.buffer.get(self.start..self.end).unwrap_or_default();
        self.start += partial.take(come);
        if partial.filled < partial.header.length {
            self.partial = Some(partial);
            return Ok(None);
        }
        partial.header.check(&partial.body)?;
        Ok(Some(partial.body))
    }

    /// What has come of the body of a frame that is not whole, once [`next`](Frames::next) has given nothing.
    #[must_use]
    pub fn begun(&self) -> Option<&[u8]> {
        self.partial.as_ref().and_then(|partial| partial.body.get(..partial.filled))
    }

    /// Room to read into; never empty after [`next`](Frames::next) has given nothing.
    pub fn spare(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            // What does not fit into the buffer need not go through it.
            if let Some(partial) = self.partial.as_mut().filter(|partial| partial.lacks() >= READ_BUFFER_BYTES) {
                return partial.room();
            }
        } else if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        self.buffer.get_mut(self.end..).unwrap_or_default()
    }

    /// So many bytes have been read into the spare room. None are the end of the stream; then `false` says that it is a
    /// good one.
    ///
    /// # Errors
    /// If the stream ends within a frame.
    pub fn filled(&mut self, count: usize) -> io::Result<bool> {
        match &mut self.partial {
            None if count == 0 && self.start == self.end => return Ok(false),
            _ if count == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            Some(partial) if self.end == 0 && partial.lacks() >= READ_BUFFER_BYTES => {
                partial.filled = (partial.filled + count).min(partial.body.len());
            }
            _ => self.end = (self.end + count).min(self.buffer.len()),
        }
        Ok(true)
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

/// Append a frame for each of the messages, which are taken, to `bytes`, and say how many there are now. One that is too
/// long is dropped, which `me`'s log tells.
pub fn put_messages(me: NodeId, batch: &mut Vec<Message>, bytes: &mut Vec<u8>) -> u64 {
    let mut count = 0;
    for message in batch.drain(..) {
        match wire::put_frame(bytes, |out| Ok::<_, Trouble>(codec::encode_message(&message, out)?)) {
            Ok(()) => count += 1,
            Err(error) => tracing::error!(node = me.0, rpc = %message, %error, "a message cannot be written: dropped"),
        }
    }
    count
}

/// Empty a buffer for the next write. If it has grown large, it gives its memory back.
pub fn reuse(bytes: &mut Vec<u8>) {
    bytes.clear();
    bytes.shrink_to(BUFFER_KEPT_BYTES);
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 64 << 20;

    fn body(number: usize, length: usize) -> Vec<u8> {
        (0..length).map(|at| (at.wrapping_mul(31) ^ number).to_le_bytes()[0]).collect()
    }

    fn frame(body: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        wire::put_frame::<wire::FrameError>(&mut frame, |out| {
            out.extend_from_slice(body);
            Ok(())
        })
        .unwrap();
        frame
    }

    /// Read `stream` in pieces of at most `piece` bytes.
    fn read(mut stream: &[u8], piece: usize) -> (Vec<Vec<u8>>, io::Result<bool>) {
        let (mut frames, mut bodies) = (Frames::new(), Vec::new());
        loop {
            while let Some(body) = frames.next(MAX).unwrap() {
                bodies.push(body);
            }
            let count = {
                let spare = frames.spare();
                assert!(!spare.is_empty(), "an empty read would look like the end");
                let count = spare.len().min(piece).min(stream.len());
                spare[..count].copy_from_slice(&stream[..count]);
                count
            };
            stream = &stream[count..];
            match frames.filled(count) {
                Ok(true) => {}
                end => return (bodies, end),
            }
        }
    }

    #[test]
    fn frames_come_out_however_they_come_in() {
        const BUFFER: usize = READ_BUFFER_BYTES;
        let lengths = [1, 7, 8, 9, BUFFER - 8, BUFFER, BUFFER + 8, 100, 1, 3_000_000, FRAME_RESERVED_BYTES, 5, 200_000];
        let bodies: Vec<_> = lengths.iter().enumerate().map(|(number, length)| body(number, *length)).collect();
        let stream: Vec<u8> = bodies.iter().flat_map(|body| frame(body)).collect();
        for piece in [1, 2, 7, 8, 9, 1000, BUFFER - 1, BUFFER, BUFFER + 1, usize::MAX] {
            let (read, end) = read(&stream, piece);
            assert!(read == bodies && !end.unwrap(), "in pieces of {piece}");
            assert!(read.iter().all(|body| body.capacity() == body.len()), "no frame keeps more than it needs");
        }
    }

    #[test]
    fn the_end_within_a_frame_is_an_error() {
        let stream = [frame(&body(1, 3)), frame(&body(2, 200_000))].concat();
        for cut in [1, 8, 10, 12, 19, 20, 100, 100_000, stream.len() - 1] {
            for piece in [3, usize::MAX] {
                let (read, end) = read(&stream[..cut], piece);
                assert_eq!(read.len(), usize::from(cut > 10));
                assert_eq!(end.unwrap_err().kind(), io::ErrorKind::UnexpectedEof, "after {cut} bytes");
            }
        }
    }

    #[test]
    fn a_frame_that_has_begun_is_seen() {
        let (long, short) = (body(1, 200_000), body(2, 3));
        let stream = [frame(&short), frame(&long)].concat();
        let (mut frames, mut come) = (Frames::new(), 0);
        for piece in stream.chunks(1000) {
            while let Some(body) = frames.next(MAX).unwrap() {
                assert!(body == short);
            }
            let begun = frames.begun().unwrap_or_default();
            assert!(long.starts_with(begun) && begun.len() == come, "{} of {come}", begun.len());
            frames.spare()[..piece.len()].copy_from_slice(piece);
            assert!(frames.filled(piece.len()).unwrap());
            come += piece.len() - if come == 0 { 2 * 8 + short.len() } else { 0 };
        }
        assert!(frames.next(MAX).unwrap().is_some_and(|body| body == long));
        assert_eq!(frames.begun(), None);
    }

    #[test]
    fn what_is_promised_is_not_reserved() {
        let mut frames = Frames::new();
        let header = [&u32::try_from(MAX).unwrap().to_le_bytes()[..], &[0; 4]].concat();
        frames.spare()[..8].copy_from_slice(&header);
        assert!(frames.filled(8).unwrap());
        assert!(frames.next(MAX).unwrap().is_none());
        assert_eq!(frames.spare().len(), FRAME_RESERVED_BYTES);
        assert_eq!(frames.partial.unwrap().body.capacity(), FRAME_RESERVED_BYTES);
    }

    #[test]
    fn what_is_damaged_or_too_long_is_noticed() {
        let mut damaged = frame(&body(1, 100_000));
        damaged[70_000] ^= 4;
        for (stream, max) in [(damaged, MAX), (frame(&body(1, 11)), 10)] {
            let mut frames = Frames::new();
            let mut left = &stream[..];
            let found = loop {
                match frames.next(max) {
                    Ok(body) => assert!(body.is_none()),
                    Err(trouble) => break trouble,
                }
                let spare = frames.spare();
                let count = spare.len().min(left.len());
                spare[..count].copy_from_slice(&left[..count]);
                left = &left[count..];
                assert!(frames.filled(count).unwrap());
            };
            assert!(matches!(found, Trouble::Frame(_)), "{found}");
        }
    }
}
