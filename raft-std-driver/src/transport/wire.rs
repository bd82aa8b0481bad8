//! The bytes that servers exchange over a stream, apart from any socket: the handshake, frames, and the steps of a
//! snapshot's transfer. `docs/wire-format.md` says the same in prose. All numbers are little-endian.

use raft_core::{NodeId, SnapshotMeta, Term};
use serde::{Deserialize, Serialize};

use crate::storage::ClusterId;

/// The version of everything here.
pub const PROTOCOL: u16 = 2;

/// How every connection begins.
pub const MAGIC: [u8; 8] = *b"raft-tcp";

/// The length of an encoded [`Hello`].
pub const HELLO_BYTES: usize = 40;

/// The length of an encoded answer to a [`Hello`].
pub const ANSWER_BYTES: usize = 16;

/// The length of what precedes the body of each frame.
pub const FRAME_HEADER_BYTES: usize = 8;

/// The largest body of the frame that offers a snapshot.
pub const OFFER_BYTES_MAX: usize = 1 << 20;

/// The largest body of a frame of snapshot data.
pub const CHUNK_BYTES_MAX: usize = 1 << 20;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Messages, one in each frame, from the one who connects to the one who accepts.
    Messages,
    /// One snapshot.
    Snapshot,
}

/// The first thing said on a connection, by the one who connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// What the connection is for.
    pub channel: Channel,
    /// The cluster that the sender belongs to.
    pub cluster: ClusterId,
    /// The sender.
    pub from: NodeId,
    /// Whom the sender expects to reach.
    pub to: NodeId,
}

/// Why bytes are no [`Hello`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// Something else than a server of this kind has connected.
    #[error("it does not speak this protocol")]
    Foreign,
    /// Another version; worth an answer.
    #[error("it speaks protocol version {found}, this server {PROTOCOL}")]
    Version {
        /// The sender's.
        found: u16,
    },
    /// The checksum or the channel is wrong.
    #[error("its handshake is damaged")]
    Damaged,
}

/// Why a server does not take a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It speaks another version.
    #[error("the accepting server speaks protocol version {theirs}")]
    Version {
        /// The refusing server's.
        theirs: u16,
    },
    /// It belongs to another cluster.
    #[error("the accepting server belongs to cluster {}", theirs.0)]
    Cluster {
        /// The refusing server's.
        theirs: ClusterId,
    },
    /// It is another server than expected.
    #[error("the accepting server is server {theirs}")]
    NotMe {
        /// The refusing server.
        theirs: NodeId,
    },
    /// The sender is none of its peers.
    #[error("server {you} is not a peer of the accepting server")]
    UnknownPeer {
        /// The sender.
        you: NodeId,
    },
}

/// Bytes that are no answer to a [`Hello`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer to the handshake makes no sense")]
pub struct AnswerError;

/// Bytes that cannot be the next frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than allowed, or empty.
    #[error("a frame of {bytes} bytes: between 1 and {max} are allowed")]
    Length {
        /// What the header says.
        bytes: u32,
        /// What is allowed.
        max: usize,
    },
    /// The checksum is wrong.
    #[error("the checksum of a frame is wrong")]
    Checksum,
}

impl Hello {
    /// Magic, version, channel, 0, cluster, sender, receiver, CRC32C of all that.
    #[must_use]
    pub fn encode(&self) -> [u8; HELLO_BYTES] {
        let channel = match self.channel {
            Channel::Messages => 0,
            Channel::Snapshot => 1,
        };
        let mut bytes = [0; HELLO_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&PROTOCOL.to_le_bytes());
        bytes[10] = channel;
        bytes[12..20].copy_from_slice(&self.cluster.0.to_le_bytes());
        bytes[20..28].copy_from_slice(&self.from.0.to_le_bytes());
        bytes[28..36].copy_from_slice(&self.to.0.to_le_bytes());
        seal(&mut bytes);
        bytes
    }

    /// The reverse of [`encode`](Hello::encode).
    ///
    /// # Errors
    /// If the bytes are of another protocol, another version, or damaged.
    pub fn decode(bytes: &[u8; HELLO_BYTES]) -> Result<Hello, HelloError> {
        if bytes[..8] != MAGIC {
            return Err(HelloError::Foreign);
        }
        let found = u16::from_le_bytes(part(bytes, 8));
        if found != PROTOCOL {
            return Err(HelloError::Version { found });
        }
        let channel = match (bytes[10], bytes[11]) {
            (0, 0) => Channel::Messages,
            (1, 0) => Channel::Snapshot,
            _ => return Err(HelloError::Damaged),
        };
        if !sealed(bytes) {
            return Err(HelloError::Damaged);
        }
        let number = |at| u64::from_le_bytes(part(bytes, at));
        Ok(Hello { channel, cluster: ClusterId(number(12)), from: NodeId(number(20)), to: NodeId(number(28)) })
    }

    /// What server `me` of `cluster` answers, where `peer` is what it knows of the sender, if that is a peer of it.
    ///
    /// # Errors
    /// The refusal to answer with.
    pub fn judge<P>(&self, cluster: ClusterId, me: NodeId, peer: Option<P>) -> Result<P, Refusal> {
        if self.cluster != cluster {
            Err(Refusal::Cluster { theirs: cluster })
        } else if self.to != me {
            Err(Refusal::NotMe { theirs: me })
        } else {
            peer.filter(|_| self.from != me).ok_or(Refusal::UnknownPeer { you: self.from })
        }
    }
}

/// The answer to a [`Hello`]: version, what, 0, a number, CRC32C of all that. Its form is the same in every version.
#[must_use]
pub fn encode_answer(answer: Result<(), Refusal>) -> [u8; ANSWER_BYTES] {
    let (what, number) = match answer {
        Ok(()) => (0, 0),
        Err(Refusal::Version { theirs }) => (1, u64::from(theirs)),
        Err(Refusal::Cluster { theirs }) => (2, theirs.0),
        Err(Refusal::NotMe { theirs }) => (3, theirs.0),
        Err(Refusal::UnknownPeer { you }) => (4, you.0),
    };
    let mut bytes = [0; ANSWER_BYTES];
    bytes[..2].copy_from_slice(&PROTOCOL.to_le_bytes());
    bytes[2] = what;
    bytes[4..12].copy_from_slice(&number.to_le_bytes());
    seal(&mut bytes);
    bytes
}

/// The reverse of [`encode_answer`].
///
/// # Errors
/// If the bytes are no answer.
pub fn decode_answer(bytes: &[u8; ANSWER_BYTES]) -> Result<Result<(), Refusal>, AnswerError> {
    if !sealed(bytes) || bytes[3] != 0 {
        return Err(AnswerError);
    }
    let number = u64::from_le_bytes(part(bytes, 4));
    match bytes[2] {
        0 => Ok(Ok(())),
        1 => Ok(Err(Refusal::Version { theirs: u16::try_from(number).map_err(|_| AnswerError)? })),
        2 => Ok(Err(Refusal::Cluster { theirs: ClusterId(number) })),
        3 => Ok(Err(Refusal::NotMe { theirs: NodeId(number) })),
        4 => Ok(Err(Refusal::UnknownPeer { you: NodeId(number) })),
        _ => Err(AnswerError),
    }
}

/// Append a frame to `out` whose body `write` appends: its length (4 bytes), the CRC32C of the body (4 bytes), the body.
///
/// # Errors
/// What `write` says, or that the body is longer than any frame; `out` is then as it was.
pub fn put_frame<E: From<FrameError>>(
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    let start = out.len();
    let body = start + FRAME_HEADER_BYTES;
    out.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
    let written = write(out).and_then(|()| {
        let length = u32::try_from(out.len() - body);
        length.map_err(|_| FrameError::Length { bytes: u32::MAX, max: u32::MAX as usize }.into())
    });
    match written {
        Ok(length) => {
            let checksum = crc32c::crc32c(&out[body..]);
            out[start..start + 4].copy_from_slice(&length.to_le_bytes());
            out[start + 4..body].copy_from_slice(&checksum.to_le_bytes());
            Ok(())
        }
        Err(error) => {
            out.truncate(start);
            Err(error)
        }
    }
}

/// What precedes a frame's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// The length of the body, in bytes.
    pub length: usize,
    checksum: u32,
}

impl FrameHeader {
    /// Read a header before a body of at most `max` bytes. Nothing should be reserved for the body before this.
    ///
    /// # Errors
    /// If the body would be empty or longer.
    pub fn decode(bytes: &[u8; FRAME_HEADER_BYTES], max: usize) -> Result<FrameHeader, FrameError> {
        let bytes_claimed = u32::from_le_bytes(part(bytes, 0));
        let checksum = u32::from_le_bytes(part(bytes, 4));
        match usize::try_from(bytes_claimed) {
            Ok(length) if (1..=max).contains(&length) => Ok(FrameHeader { length, checksum }),
            _ => Err(FrameError::Length { bytes: bytes_claimed, max }),
        }
    }

    /// Whether `body` is what was sent.
    ///
    /// # Errors
    /// If it is not.
    pub fn check(&self, body: &[u8]) -> Result<(), FrameError> {
        let same = body.len() == self.length && crc32c::crc32c(body) == self.checksum;
        if same { Ok(()) } else { Err(FrameError::Checksum) }
    }
}

/// The body of the first frame on a snapshot's connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The sender's term.
    pub term: Term,
    /// What the snapshot stands for.
    pub meta: SnapshotMeta,
    /// How many bytes of data follow, in frames of at most [`CHUNK_BYTES_MAX`] bytes.
    pub length: u64,
}

/// Bytes that are no [`Offer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the offer of a snapshot makes no sense")]
pub struct OfferError;

impl Offer {
    /// The body of its frame.
    ///
    /// # Errors
    /// None, as long as all of its parts can be written by postcard.
    pub fn encode(&self) -> Result<Vec<u8>, OfferError> {
        postcard::to_allocvec(self).map_err(|_| OfferError)
    }

    /// The reverse of [`encode`](Offer::encode).
    ///
    /// # Errors
    /// If the bytes are not exactly one offer.
    pub fn decode(bytes: &[u8]) -> Result<Offer, OfferError> {
        match postcard::take_from_bytes(bytes) {
            Ok((offer, [])) => Ok(offer),
            _ => Err(OfferError),
        }
    }
}

/// What the receiver of a snapshot says: one byte each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// "Send the data."
    Go,
    /// "It is complete and durable here."
    Stored,
    /// "I cannot take it."
    Refused,
}

impl Verdict {
    /// The byte that says so.
    #[must_use]
    pub fn encode(self) -> u8 {
        match self {
            Verdict::Go => 1,
            Verdict::Stored => 2,
            Verdict::Refused => 3,
        }
    }

    /// The reverse of [`encode`](Verdict::encode).
    #[must_use]
    pub fn decode(byte: u8) -> Option<Verdict> {
        [Verdict::Go, Verdict::Stored, Verdict::Refused].into_iter().find(|verdict| verdict.encode() == byte)
    }
}

/// Put the CRC32C of all but the last four bytes into those.
fn seal(bytes: &mut [u8]) {
    if let Some((content, checksum)) = bytes.split_last_chunk_mut::<4>() {
        *checksum = crc32c::crc32c(content).to_le_bytes();
    }
}

fn sealed(bytes: &[u8]) -> bool {
    bytes.split_last_chunk::<4>().is_some_and(|(content, checksum)| crc32c::crc32c(content).to_le_bytes() == *checksum)
}

/// `N` bytes from `at` on; the callers' offsets are constants within their arrays.
fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut part = [0; N];
    part.copy_from_slice(&bytes[at..at + N]);
    part
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use raft_core::{EntryId, Membership};

    use super::*;

    const HELLO: Hello =
        Hello { channel: Channel::Snapshot, cluster: ClusterId(0x0102_0304), from: NodeId(5), to: NodeId(6) };

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn golden_bytes() {
        let hello = "726166742d746370 0200 01 00 0403020100000000 0500000000000000 0600000000000000 c33edbac";
        assert_eq!(hex(&HELLO.encode()), hello.replace(' ', ""));
        let accepted = "0200 00 00 0000000000000000 3d1d8349";
        assert_eq!(hex(&encode_answer(Ok(()))), accepted.replace(' ', ""));
        let refused = encode_answer(Err(Refusal::Cluster { theirs: ClusterId(7) }));
        assert_eq!(hex(&refused), "0200 02 00 0700000000000000 82999a20".replace(' ', ""));
        let mut frame = vec![0xee];
        put_frame::<FrameError>(&mut frame, |out| {
            out.extend(b"123456789");
            Ok(())
        })
        .unwrap();
        // the well-known check value of CRC32C is e3069283
        assert_eq!(hex(&frame), "ee 09000000 839206e3 313233343536373839".replace(' ', ""));
    }

    #[test]
    fn golden_offer() {
        let membership = Arc::new(Membership::joint([1, 2].map(NodeId), [], [NodeId(3)]));
        let meta = SnapshotMeta { last: EntryId::new(3, 300), membership };
        let offer = Offer { term: Term(4), meta, length: 1000 };
        // term; last entry's term and index; the change and the number of members; each member; length
        let golden = [4, 3, 0xac, 2, 0, 0, 3, 1, 0, 0, 0, 0, 2, 0, 0, 0, 0, 3, 1, 0, 0, 0, 0, 0xe8, 7];
        assert_eq!(offer.encode().unwrap(), golden);
        assert_eq!(Offer::decode(&golden), Ok(offer));
        assert_eq!(Offer::decode(&golden[..golden.len() - 1]), Err(OfferError));
        assert_eq!(Offer::decode(&[&golden[..], &[0]].concat()), Err(OfferError));
    }

    #[test]
    fn every_damage_to_a_handshake_is_noticed() {
        let hello = HELLO.encode();
        assert_eq!(Hello::decode(&hello), Ok(HELLO));
        let answer = encode_answer(Err(Refusal::NotMe { theirs: NodeId(9) }));
        assert_eq!(decode_answer(&answer), Ok(Err(Refusal::NotMe { theirs: NodeId(9) })));
        for bit in 0..8 * HELLO_BYTES {
            let mut damaged = hello;
            damaged[bit / 8] ^= 1 << (bit % 8);
            let expected = match bit / 8 {
                0..8 => HelloError::Foreign,
                8..10 => HelloError::Version { found: PROTOCOL ^ (1 << (bit - 64)) },
                _ => HelloError::Damaged,
            };
            assert_eq!(Hello::decode(&damaged), Err(expected), "bit {bit}");
            if let Some(byte) = answer.get(bit / 8) {
                let mut damaged = answer;
                damaged[bit / 8] = byte ^ (1 << (bit % 8));
                assert_eq!(decode_answer(&damaged), Err(AnswerError), "bit {bit}");
            }
        }
    }

    #[test]
    fn answers_and_verdicts_come_back() {
        let refusals = [
            Refusal::Version { theirs: 7 },
            Refusal::Cluster { theirs: ClusterId(u64::MAX) },
            Refusal::NotMe { theirs: NodeId(3) },
            Refusal::UnknownPeer { you: NodeId(4) },
        ];
        for answer in refusals.map(Err).into_iter().chain([Ok(())]) {
            assert_eq!(decode_answer(&encode_answer(answer)), Ok(answer));
        }
        for byte in 0..=u8::MAX {
            assert!(Verdict::decode(byte).is_none_or(|verdict| verdict.encode() == byte));
        }
    }

    #[test]
    fn who_may_come_in() {
        let judge = |me, cluster, knows| HELLO.judge(ClusterId(cluster), NodeId(me), knows);
        assert_eq!(judge(6, 0x0102_0304, Some('p')), Ok('p'));
        assert_eq!(judge(6, 0x0102_0304, None), Err(Refusal::UnknownPeer { you: NodeId(5) }));
        assert_eq!(judge(7, 0x0102_0304, Some('p')), Err(Refusal::NotMe { theirs: NodeId(7) }));
        assert_eq!(judge(6, 9, Some('p')), Err(Refusal::Cluster { theirs: ClusterId(9) }));
        let myself = Hello { from: NodeId(6), ..HELLO };
        assert_eq!(myself.judge(HELLO.cluster, NodeId(6), Some('p')), Err(Refusal::UnknownPeer { you: NodeId(6) }));
    }

    #[test]
    fn frames_are_checked_before_anything_is_reserved() {
        let header = |length: u32| [&length.to_le_bytes()[..], &[0; 4]].concat().try_into().unwrap();
        assert_eq!(FrameHeader::decode(&header(0), 10), Err(FrameError::Length { bytes: 0, max: 10 }));
        assert_eq!(FrameHeader::decode(&header(11), 10), Err(FrameError::Length { bytes: 11, max: 10 }));
        let ten = FrameHeader::decode(&header(10), 10).unwrap();
        assert_eq!(ten.check(&[1; 10]), Err(FrameError::Checksum));
        assert_eq!(ten.check(&[1; 9]), Err(FrameError::Checksum));
    }
}
