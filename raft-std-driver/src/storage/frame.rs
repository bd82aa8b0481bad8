//! The bytes of a segment: a header, then frames, each tied to what stands before it.
//!
//! ```text
//!   segment   header | frame | frame | ... | zeros, a torn frame, or what an earlier use of the file left
//!
//!   header    0  magic "RAFT-WAL"                 frame    0  CRC of bytes 4..32 of this frame
//!             8  format version    u32                     4  CRC of the payload and its padding
//!            12  CRC of bytes 16.. u32                     8  the CRC at 0 of the frame before   u32
//!            16  segment number    u64                    12  payload length                     u32
//!            24  next sequence     u64                    16  segment number                     u64
//!            32  last frame's CRC  u32                    24  sequence                           u64
//!            36  checkpoint length u32                    32  payload, padded with zeros to a multiple of 8
//!            40  incarnation       u64
//!            48  cluster           u64            payload  (length u32 | write)*
//!            56  node              u64
//!            64  founders' digest  u64
//!            72  file length       u64
//!            80  checkpoint (postcard), padded with zeros to a multiple of 8
//! ```
//!
//! All numbers are little-endian; a CRC is a CRC-32C that starts from the incarnation. The frame before a segment's first
//! frame is its header, and the frame before a header is the last one of the segment before. So a frame is valid in one
//! place of one chain of one storage only: what a recycled file still holds, or what a client hides in a command, never
//! parses.

use std::ops::Range;

use raft_core::{Incarnation, NodeId};

use super::checkpoint::Checkpoint;
use super::{ClusterId, Identity};

pub(super) const FORMAT_VERSION: u32 = 3;
pub(super) const FRAME_HEADER_BYTES: usize = 32;
const SEGMENT_HEADER_BYTES: usize = 80;
const SEGMENT_MAGIC: [u8; 8] = *b"RAFT-WAL";
const ALIGNMENT: usize = 8;
/// Where in a frame's header the segment number is.
const SEGMENT_NUMBER: Range<usize> = 16..24;
static ZEROS: [u8; 4096] = [0; 4096];

/// What all CRCs of one storage start from, so that no other's frames are valid in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key(u32);

impl Key {
    pub(super) fn of(incarnation: Incarnation) -> Key {
        Key(crc32c::crc32c(&incarnation.0.to_le_bytes()))
    }

    fn crc(self, bytes: &[u8]) -> u32 {
        crc32c::crc32c_append(self.0, bytes)
    }
}

/// Where in the chain a frame stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// The number of its segment; the first one has 1.
    pub(super) segment: u64,
    /// How many frames were ever written before it, and one.
    pub(super) sequence: u64,
    /// The CRC of what stands before it.
    pub(super) previous: u32,
}

impl Link {
    /// The link behind a frame.
    pub(super) fn after(self, crc: u32) -> Link {
        Link { sequence: self.sequence.wrapping_add(1), previous: crc, ..self }
    }
}

/// Begin a frame: room for its header. The payload is appended, then the frame is sealed.
pub(super) fn begin(buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.resize(FRAME_HEADER_BYTES, 0);
}

/// How long something becomes when it is padded.
pub(super) fn padded(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGNMENT)
}

/// Pad the payload and fill in the header. Gives the frame's CRC, or nothing if the payload is too long for its field.
pub(super) fn seal(buffer: &mut Vec<u8>, link: Link, key: Key) -> Option<u32> {
    let length = u32::try_from(buffer.len().checked_sub(FRAME_HEADER_BYTES)?).ok()?;
    buffer.resize(padded(buffer.len()), 0);
    let (header, payload) = buffer.split_first_chunk_mut::<FRAME_HEADER_BYTES>()?;
    header[4..8].copy_from_slice(&key.crc(payload).to_le_bytes());
    header[8..12].copy_from_slice(&link.previous.to_le_bytes());
    header[12..16].copy_from_slice(&length.to_le_bytes());
    header[16..24].copy_from_slice(&link.segment.to_le_bytes());
    header[24..32].copy_from_slice(&link.sequence.to_le_bytes());
    let crc = key.crc(&header[4..]);
    header[..4].copy_from_slice(&crc.to_le_bytes());
    Some(crc)
}

/// A frame that was found where it belongs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) payload: &'a [u8],
    pub(super) crc: u32,
    /// All of it, with header and padding.
    pub(super) range: Range<usize>,
}

/// The frame that `link` asks for at offset `at` of a segment; nothing if it is not there, or not whole.
pub(super) fn read(segment: &[u8], at: usize, link: Link, key: Key) -> Option<Frame<'_>> {
    let header = segment.get(at..)?.first_chunk::<FRAME_HEADER_BYTES>()?;
    let crc = u32_at(header, 0);
    if crc != key.crc(&header[4..]) || found_link(header) != link {
        return None;
    }
    let start = at + FRAME_HEADER_BYTES;
    let length = usize::try_from(u32_at(header, 12)).ok()?;
    let padded = segment.get(start..start.checked_add(length.checked_next_multiple_of(ALIGNMENT)?)?)?;
    let whole = key.crc(padded) == u32_at(header, 4);
    whole.then_some(Frame { payload: &padded[..length], crc, range: at..start + padded.len() })
}

/// Whether a frame that comes after `link` in its chain begins at offset `from` or behind it, and where. Its header is
/// enough: it proves that everything before it was once whole and synced.
///
/// A start looks through all that is behind the log, and its program may not be optimized: what is no header is passed over by
/// comparing slices, which is quick in any case.
pub(super) fn find_later(segment: &[u8], from: usize, link: Link, key: Key) -> Option<usize> {
    let number = link.segment.to_le_bytes();
    let mut at = from;
    while let Some(header) = segment.get(at..)?.first_chunk::<FRAME_HEADER_BYTES>() {
        if segment.get(at..at.saturating_add(ZEROS.len())) == Some(&ZEROS[..]) {
            // No header has its segment number, which is not 0, within these.
            at += ZEROS.len() - SEGMENT_NUMBER.start;
            continue;
        }
        if header[SEGMENT_NUMBER] == number
            && found_link(header).sequence > link.sequence
            && u32_at(header, 0) == key.crc(&header[4..])
        {
            return Some(at);
        }
        at += ALIGNMENT;
    }
    None
}

fn found_link(header: &[u8; FRAME_HEADER_BYTES]) -> Link {
    Link { segment: u64_at(header, 16), sequence: u64_at(header, 24), previous: u32_at(header, 8) }
}

/// What a segment begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// Of the segment's first frame; `previous` is the CRC of the last frame of the segment before.
    pub(super) link: Link,
    pub(super) identity: Identity,
    /// How long the file is, so that one that was cut off is told from one that ends there.
    pub(super) file_bytes: u64,
    /// All that is known but the entries, so that older segments may go.
    pub(super) checkpoint: Checkpoint,
}

/// What stands at the beginning of a segment if no header does.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoHeader {
    Version(u32),
    Damaged { offset: usize, what: &'static str },
}

impl SegmentHeader {
    /// The bytes, and the CRC that the first frame names.
    pub(super) fn encode(&self) -> Option<(Vec<u8>, u32)> {
        let checkpoint = postcard::to_allocvec(&self.checkpoint).ok()?;
        let length = u32::try_from(checkpoint.len()).ok()?;
        let mut bytes = Vec::with_capacity(padded(SEGMENT_HEADER_BYTES + checkpoint.len()));
        bytes.extend_from_slice(&SEGMENT_MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&self.link.segment.to_le_bytes());
        bytes.extend_from_slice(&self.link.sequence.to_le_bytes());
        bytes.extend_from_slice(&self.link.previous.to_le_bytes());
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&self.identity.incarnation.0.to_le_bytes());
        bytes.extend_from_slice(&self.identity.cluster.0.to_le_bytes());
        bytes.extend_from_slice(&self.identity.node.0.to_le_bytes());
        bytes.extend_from_slice(&self.identity.founders.to_le_bytes());
        bytes.extend_from_slice(&self.file_bytes.to_le_bytes());
        bytes.extend_from_slice(&checkpoint);
        bytes.resize(padded(bytes.len()), 0);
        let crc = Key::of(self.identity.incarnation).crc(&bytes[16..]);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        Some((bytes, crc))
    }

    /// The header of a segment, how many bytes it takes, and its CRC.
    pub(super) fn read(segment: &[u8]) -> Result<(SegmentHeader, usize, u32), NoHeader> {
        let damaged = |offset, what| NoHeader::Damaged { offset, what };
        let fixed = segment.first_chunk::<SEGMENT_HEADER_BYTES>().ok_or(damaged(segment.len(), "the file ends"))?;
        if fixed[..8] != SEGMENT_MAGIC {
            return Err(damaged(0, "this is no segment of a log"));
        }
        let version = u32_at(fixed, 8);
        if version != FORMAT_VERSION {
            return Err(NoHeader::Version(version));
        }
        let (crc, incarnation) = (u32_at(fixed, 12), Incarnation(u64_at(fixed, 40)));
        let length = usize::try_from(u32_at(fixed, 36)).unwrap_or(usize::MAX);
        let end = SEGMENT_HEADER_BYTES.saturating_add(length);
        let covered = end.checked_next_multiple_of(ALIGNMENT).and_then(|padded| segment.get(16..padded));
        let covered = covered.ok_or(damaged(36, "the header is longer than the file"))?;
        if crc != Key::of(incarnation).crc(covered) {
            return Err(damaged(12, "the checksum of the header does not fit"));
        }
        let checkpoint = postcard::from_bytes(&segment[SEGMENT_HEADER_BYTES..end]);
        let checkpoint = checkpoint.map_err(|_| damaged(SEGMENT_HEADER_BYTES, "the checkpoint makes no sense"))?;
        let link = Link { segment: u64_at(fixed, 16), sequence: u64_at(fixed, 24), previous: u32_at(fixed, 32) };
        let (cluster, node) = (ClusterId(u64_at(fixed, 48)), NodeId(u64_at(fixed, 56)));
        let identity = Identity { cluster, node, incarnation, founders: u64_at(fixed, 64) };
        let file_bytes = u64_at(fixed, 72);
        Ok((SegmentHeader { link, identity, file_bytes, checkpoint }, 16 + covered.len(), crc))
    }

    /// The link of the segment's first frame, behind a header with this CRC.
    pub(super) fn first_link(&self, crc: u32) -> Link {
        Link { previous: crc, ..self.link }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().copied().map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().copied().map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(payload: &[u8], link: Link, key: Key) -> Vec<u8> {
        let mut bytes = Vec::new();
        begin(&mut bytes);
        bytes.extend_from_slice(payload);
        seal(&mut bytes, link, key).unwrap();
        bytes
    }

    const LINK: Link = Link { segment: 3, sequence: 9, previous: 77 };

    #[test]
    fn a_frame_is_valid_in_one_place_of_one_chain_only() {
        let key = Key::of(Incarnation(5));
        let bytes = frame(b"some payload", LINK, key);
        let found = read(&bytes, 0, LINK, key).unwrap();
        assert_eq!((found.payload, found.range), (&b"some payload"[..], 0..bytes.len()));
        for other in [
            Link { segment: 4, ..LINK },
            Link { sequence: 8, ..LINK },
            Link { sequence: 10, ..LINK },
            Link { previous: 78, ..LINK },
        ] {
            assert_eq!(read(&bytes, 0, other, key), None);
        }
        assert_eq!(read(&bytes, 0, LINK, Key::of(Incarnation(6))), None, "another storage's frame");
        assert_eq!(read(&bytes, 8, LINK, key), None);
    }

    #[test]
    fn every_bit_of_a_frame_counts_and_so_does_its_end() {
        let key = Key::of(Incarnation(5));
        let bytes = frame(b"13 characters", LINK, key);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&flipped, 0, LINK, key), None, "bit {bit}");
        }
        for end in 0..bytes.len() {
            assert_eq!(read(&bytes[..end], 0, LINK, key), None, "cut at {end}");
        }
    }

    #[test]
    fn only_later_frames_of_the_same_chain_are_found() {
        let key = Key::of(Incarnation(5));
        let mut segment = vec![0xAB; 48];
        segment.extend(frame(b"payload", LINK, key));
        let before = |sequence| Link { sequence, ..LINK };
        assert_eq!(find_later(&segment, 0, before(8), key), Some(48));
        assert_eq!(find_later(&segment, 48, before(3), key), Some(48));
        assert_eq!(find_later(&segment, 56, before(8), key), None);
        assert_eq!(find_later(&segment, 0, before(9), key), None, "itself is not later");
        assert_eq!(find_later(&segment, 0, Link { segment: 2, ..before(8) }, key), None, "recycled");
        assert_eq!(find_later(&segment, 0, before(8), Key::of(Incarnation(1))), None, "of another storage");
        segment.truncate(48 + FRAME_HEADER_BYTES - 1);
        assert_eq!(find_later(&segment, 0, before(8), key), None);
    }

    #[test]
    fn a_later_frame_is_found_anywhere_in_a_large_segment() {
        let key = Key::of(Incarnation(5));
        let (frame, mut segment) = (frame(b"", LINK, key), vec![0; 3 * ZEROS.len()]);
        for at in (0..=segment.len() - frame.len()).step_by(8) {
            segment[at..at + frame.len()].copy_from_slice(&frame);
            for from in [0, at.saturating_sub(8), at] {
                assert_eq!(find_later(&segment, from, Link { sequence: 8, ..LINK }, key), Some(at), "from {from}");
            }
            assert_eq!(find_later(&segment, at + 8, Link { sequence: 8, ..LINK }, key), None);
            segment[at..at + frame.len()].fill(0);
        }
    }

    #[test]
    fn every_bit_of_a_segment_header_counts() {
        let header = SegmentHeader {
            link: LINK,
            identity: Identity { cluster: ClusterId(8), node: NodeId(3), incarnation: Incarnation(5), founders: 4 },
            file_bytes: 4096,
            checkpoint: Checkpoint::default(),
        };
        let (bytes, crc) = header.encode().unwrap();
        assert_eq!(SegmentHeader::read(&bytes), Ok((header, bytes.len(), crc)));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::read(&flipped).is_err(), "bit {bit}");
        }
        for end in 0..bytes.len() {
            assert!(SegmentHeader::read(&bytes[..end]).is_err(), "cut at {end}");
        }
    }
}
