//! What is read of a frame.

use alloc::vec::Vec;

use bytes::{Buf, Bytes};
use serde::de::DeserializeOwned;

use super::{
    CodecError, KIND_BITS, KIND_COMMAND, KIND_MEMBERSHIP, KIND_NOOP, LENGTH_SHIFT, Segment, TERM_FOLLOWS, VERSION,
};
use crate::config::FRAME_BYTES_MAX;
use crate::entries::{ENTRY_OVERHEAD_BYTES, Entries, Entry, Payload};
use crate::membership::Membership;
use crate::types::Term;

/// What is still to be read of a frame.
pub(super) struct Reader {
    pub(super) bytes: Bytes,
    /// The most that entries may count against byte limits.
    max: u64,
}

impl Reader {
    /// Of a frame that travels, or is kept, as one.
    pub(super) fn new(frame: Bytes) -> Result<Reader, CodecError> {
        let max = FRAME_BYTES_MAX as u64;
        match frame.len() as u64 {
            bytes if bytes > max => Err(CodecError::TooLarge { bytes }),
            _ => Reader::versioned(frame, max),
        }
    }

    /// Of bytes whose owner knows that they are not too many.
    pub(super) fn unbounded(bytes: Bytes) -> Result<Reader, CodecError> {
        Reader::versioned(bytes, u64::MAX)
    }

    fn versioned(mut frame: Bytes, max: u64) -> Result<Reader, CodecError> {
        match frame.first() {
            None => Err(CodecError::Truncated),
            Some(&VERSION) => {
                frame.advance(1);
                Ok(Reader { bytes: frame, max })
            }
            Some(&found) => Err(CodecError::Version { found }),
        }
    }

    pub(super) fn value<T: DeserializeOwned>(&mut self) -> Result<T, CodecError> {
        let (value, rest) = postcard::take_from_bytes(&self.bytes)?;
        let read = self.bytes.len() - rest.len();
        self.bytes.advance(read);
        Ok(value)
    }

    pub(super) fn entries(&mut self, segment: Option<Segment>) -> Result<Entries, CodecError> {
        let Some(Segment { first, count }) = segment else { return Ok(Entries::new()) };
        let bytes = count.saturating_mul(ENTRY_OVERHEAD_BYTES);
        if bytes > self.max {
            return Err(CodecError::TooLarge { bytes });
        }
        // Each takes a byte at least: a count that the frame cannot hold reserves nothing.
        let count =
            usize::try_from(count).ok().filter(|&count| count <= self.bytes.len()).ok_or(CodecError::Truncated)?;
        let mut entries = Vec::with_capacity(count);
        let mut term = Term(0);
        for _ in 0..count {
            let tag: u64 = self.value()?;
            if tag & TERM_FOLLOWS != 0 {
                term = self.value()?;
            }
            entries.push(Entry { term, payload: self.payload(tag & KIND_BITS, tag >> LENGTH_SHIFT)? });
        }
        let entries = Entries::from_vec(first, entries)?;
        match entries.bytes() {
            bytes if bytes > self.max => Err(CodecError::TooLarge { bytes }),
            _ => Ok(entries),
        }
    }

    fn payload(&mut self, kind: u64, length: u64) -> Result<Payload, CodecError> {
        let bytes = self.take(length)?;
        match kind {
            KIND_COMMAND => Ok(Payload::Command(bytes)),
            KIND_NOOP if bytes.is_empty() => Ok(Payload::Noop),
            KIND_MEMBERSHIP => {
                let mut reader = Reader { bytes, max: self.max };
                let membership: Membership = reader.value()?;
                reader.end(Payload::Membership(membership.into()))
            }
            _ => Err(CodecError::Malformed),
        }
    }

    /// So many bytes.
    pub(super) fn take(&mut self, length: u64) -> Result<Bytes, CodecError> {
        let length = usize::try_from(length).ok().filter(|&length| length <= self.bytes.len());
        Ok(self.bytes.split_to(length.ok_or(CodecError::Truncated)?))
    }

    /// All that is left.
    pub(super) fn rest(self) -> Bytes {
        self.bytes
    }

    pub(super) fn end<T>(self, value: T) -> Result<T, CodecError> {
        if self.bytes.is_empty() { Ok(value) } else { Err(CodecError::Trailing { bytes: self.bytes.len() }) }
    }
}
