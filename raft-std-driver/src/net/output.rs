//! Bytes on their way out, given out for vectored writes.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::mem;

use raft_core::codec::{self, CodecError};
use raft_core::{Bytes, FRAME_BYTES_MAX, Message};

use super::wire::{FRAME_HEADER_BYTES, FrameError, FrameHeader};

/// Up to so many bytes it costs less to copy than to hand out a slice.
const COPIED_BYTES_MAX: usize = 2 << 10;

/// What is copied is gathered into chunks of about this size.
const GATHERED_BYTES: usize = 32 << 10;

/// From so many bytes on, joining two checksums costs less than computing the second one again.
const JOINED_BYTES_MIN: usize = 512 << 10;

/// The end of a frame's body that several frames share, with its checksum.
#[derive(Clone, Debug)]
pub struct Tail {
    bytes: Bytes,
    /// Of a long tail.
    checksum: Option<u32>,
}

impl Tail {
    /// The checksum of a long tail is computed here, once.
    #[must_use]
    pub fn new(bytes: Bytes) -> Tail {
        let checksum = (bytes.len() >= JOINED_BYTES_MIN).then(|| crc32c::crc32c(&bytes));
        Tail { bytes, checksum }
    }

    /// The CRC32C of bytes with the checksum `before`, followed by these.
    fn checksum_after(&self, before: u32) -> u32 {
        match self.checksum {
            Some(checksum) => crc32c::crc32c_combine(before, checksum, self.bytes.len()),
            None => crc32c::crc32c_append(before, &self.bytes),
        }
    }
}

/// One frame, ready to be written.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The header, and what of the body is this frame's alone.
    head: Vec<u8>,
    tail: Option<Bytes>,
}

impl Frame {
    /// A frame whose body is what `write` appends, followed by `tail`.
    ///
    /// # Errors
    /// What `write` says, or that the body is empty or longer than [`FRAME_BYTES_MAX`].
    pub fn new<E: From<FrameError>>(
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
        tail: Option<&Tail>,
    ) -> Result<Frame, E> {
        let mut head = vec![0; FRAME_HEADER_BYTES];
        write(&mut head)?;
        let own = head.get(FRAME_HEADER_BYTES..).unwrap_or_default();
        let (length, checksum) = (own.len(), crc32c::crc32c(own));
        let (length, checksum) = match tail {
            Some(tail) => (length.saturating_add(tail.bytes.len()), tail.checksum_after(checksum)),
            None => (length, checksum),
        };
        let header = FrameHeader::new(length, checksum, FRAME_BYTES_MAX)?;
        if let Some(room) = head.first_chunk_mut() {
            *room = header.encode();
        }
        Ok(Frame { head, tail: tail.map(|tail| tail.bytes.clone()) })
    }

    /// A frame that shares nothing.
    ///
    /// # Errors
    /// If `body` is empty or longer than [`FRAME_BYTES_MAX`].
    pub fn whole(body: &[u8]) -> Result<Frame, FrameError> {
        Frame::new(
            |out| {
                out.extend_from_slice(body);
                Ok(())
            },
            None,
        )
    }

    /// A frame of a message; `tail` is what its entries are encoded to, if other frames have the same ones.
    ///
    /// # Errors
    /// If it is too large, which no message of a server with a sound configuration is.
    pub fn message(message: &Message, tail: Option<&Tail>) -> Result<Frame, CodecError> {
        let encode = if tail.is_some() { codec::encode_message_head } else { codec::encode_message };
        Frame::new(|out| Ok(encode(message, out)?), tail).map_err(|Encoding(error)| error)
    }

    /// The bytes it takes on the wire.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no frame is empty")]
    pub fn len(&self) -> usize {
        self.head.len() + self.tail.as_ref().map_or(0, Bytes::len)
    }
}

/// What can go wrong when a message is written into a frame.
struct Encoding(CodecError);

impl From<CodecError> for Encoding {
    fn from(error: CodecError) -> Encoding {
        Encoding(error)
    }
}

impl From<FrameError> for Encoding {
    fn from(_: FrameError) -> Encoding {
        // The codec has a lower limit for what it writes, and writes at least its version.
        Encoding(CodecError::Malformed)
    }
}

/// What waits to be written, in order.
#[derive(Default)]
pub(super) struct Output {
    chunks: VecDeque<Chunk>,
    /// So much of the first chunk has been written.
    written: usize,
    bytes: usize,
    /// The buffer of a chunk that has been written, for the next one.
    spare: Vec<u8>,
}

enum Chunk {
    Gathered(Vec<u8>),
    Shared(Bytes),
}

impl Chunk {
    fn bytes(&self) -> &[u8] {
        match self {
            Chunk::Gathered(bytes) => bytes,
            Chunk::Shared(bytes) => bytes,
        }
    }
}

impl Output {
    pub(super) fn push_frame(&mut self, frame: Frame) {
        if frame.head.len() <= COPIED_BYTES_MAX {
            self.gather(&frame.head);
        } else {
            self.share(frame.head.into());
        }
        if let Some(tail) = frame.tail {
            self.push(tail);
        }
    }

    pub(super) fn push(&mut self, bytes: Bytes) {
        if bytes.len() <= COPIED_BYTES_MAX {
            self.gather(&bytes);
        } else {
            self.share(bytes);
        }
    }

    /// Copy bytes behind what waits.
    pub(super) fn gather(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
        match self.chunks.back_mut() {
            Some(Chunk::Gathered(last)) if last.len() < GATHERED_BYTES => last.extend_from_slice(bytes),
            _ if bytes.is_empty() => {}
            _ => {
                let mut chunk = mem::take(&mut self.spare);
                chunk.extend_from_slice(bytes);
                self.chunks.push_back(Chunk::Gathered(chunk));
            }
        }
    }

    fn share(&mut self, bytes: Bytes) {
        self.bytes += bytes.len();
        self.chunks.push_back(Chunk::Shared(bytes));
    }

    /// How many bytes wait.
    pub(super) fn len(&self) -> usize {
        self.bytes
    }

    pub(super) fn slices<'a>(&'a self, slices: &mut Vec<IoSlice<'a>>) {
        slices.extend(self.iter().map(IoSlice::new));
    }

    /// What waits, none of it empty.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let first = self.chunks.front().map(|chunk| chunk.bytes().get(self.written..).unwrap_or_default());
        first.into_iter().chain(self.chunks.iter().skip(1).map(Chunk::bytes))
    }

    /// So many bytes have been written.
    pub(super) fn written(&mut self, count: usize) {
        let mut count = count.min(self.bytes);
        self.bytes -= count;
        while let Some(chunk) = self.chunks.front() {
            let left = chunk.bytes().len().saturating_sub(self.written);
            if count < left {
                self.written += count;
                return;
            }
            count -= left;
            self.written = 0;
            if let Some(Chunk::Gathered(mut chunk)) = self.chunks.pop_front()
                && chunk.capacity() <= 2 * (GATHERED_BYTES + COPIED_BYTES_MAX)
            {
                chunk.clear();
                self.spare = chunk;
            }
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Output::default();
    }
}
