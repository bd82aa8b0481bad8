//! The bytes that servers exchange over a stream, protocol version 3: hello and answer, frame headers, the steps of a
//! snapshot's transfer. `docs/wire-format.md` says the same in prose. All numbers are little-endian.

use raft_core::{NodeId, SnapshotMeta, Term};
use serde::{Deserialize, Serialize};

use crate::storage::ClusterId;

/// The version of everything here.
pub const PROTOCOL: u16 = 3;

/// How every connection begins, in every version.
pub const MAGIC: [u8; 8] = *b"raft-tcp";

/// As much of a hello has the same form in every version: magic and version.
pub const PREFIX_BYTES: usize = 10;

/// The length of an encoded [`Hello`] without its address.
pub const HELLO_BYTES: usize = 54;

/// The longest address in a [`Hello`].
pub const ADDRESS_BYTES_MAX: usize = 255;

/// The length of an encoded answer to a [`Hello`].
pub const ANSWER_BYTES: usize = 16;

/// The length of what precedes the body of each frame.
pub const FRAME_HEADER_BYTES: usize = 12;

/// The largest body of the frame that offers a snapshot.
pub const OFFER_BYTES_MAX: usize = 1 << 20;

/// The largest body of a frame of snapshot data.
pub const CHUNK_BYTES_MAX: usize = 1 << 20;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Messages, one in each frame, from the dialing side to the accepting side.
    Messages,
    /// One snapshot.
    Snapshot,
}

/// The first thing the dialing side says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// What the connection is for.
    pub channel: Channel,
    /// The cluster of the sender.
    pub cluster: ClusterId,
    /// A digest of how that cluster was bootstrapped; 0 if the sender does not know.
    pub birth: u64,
    /// The sender.
    pub from: NodeId,
    /// The server that the sender wants to reach.
    pub to: NodeId,
    /// Where others reach the sender; empty if it is not stated.
    pub address: String,
}

/// Bytes that are no [`Hello`] of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// Something else than a server of this kind has connected.
    #[error("it does not speak this protocol")]
    Foreign,
    /// Another version; worth an answer.
    #[error("it speaks protocol version {found}, this server {PROTOCOL}: run the same release on both")]
    Version {
        /// The sender's.
        found: u16,
    },
    /// A checksum, the channel, or the address is wrong.
    #[error("its hello is damaged")]
    Damaged,
}

/// Why a server does not take a connection. "The accepting server" is the one that refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It speaks another version.
    #[error("the accepting server speaks protocol version {theirs}: run the same release on both")]
    Version {
        /// The refusing server's.
        theirs: u16,
    },
    /// It belongs to another cluster.
    #[error("the accepting server belongs to cluster {}: correct the address, or the cluster id", theirs.0)]
    Cluster {
        /// The refusing server's.
        theirs: ClusterId,
    },
    /// It belongs to a cluster that was bootstrapped apart from this one.
    #[error(
        "the accepting server was bootstrapped as a cluster of its own (digest {theirs:016x}): clusters cannot be merged; \
         to extend one, start each new server with an empty directory and let it join"
    )]
    Birth {
        /// The refusing server's.
        theirs: u64,
    },
    /// It is another server than the one looked for.
    #[error("the accepting server is server {theirs}: correct the address")]
    NotMe {
        /// The refusing server.
        theirs: NodeId,
    },
    /// The sender is none of its peers.
    #[error("server {you} is not a peer of the accepting server: add it to the cluster there")]
    UnknownPeer {
        /// The sender.
        you: NodeId,
    },
    /// It has too many connections.
    #[error(
        "the accepting server has no room for another connection: try again later, or raise its limit of open files"
    )]
    Crowded,
}

/// Bytes that are no answer to a [`Hello`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its answer to the hello makes no sense: perhaps something else listens at that address")]
pub struct AnswerError;

/// Bytes that cannot be the next frame, or a body that cannot be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than allowed, or empty.
    #[error("a frame of {bytes} bytes: between 1 and {max} are allowed")]
    Length {
        /// Of the body.
        bytes: usize,
        /// What is allowed.
        max: usize,
    },
    /// The header's own checksum is wrong.
    #[error("the checksum of a frame's header is wrong: the connection damages data, or the other end does")]
    Header,
    /// The body's checksum is wrong.
    #[error("the checksum of a frame's body is wrong: the connection damages data, or the other end does")]
    Body,
}

impl Hello {
    /// Magic, version, channel, 0, cluster, birth, sender, receiver, length and CRC32C of the address, CRC32C of all
    /// that; the address.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let address = self.address.as_bytes();
        let address = if address.len() <= ADDRESS_BYTES_MAX { address } else { &[] };
        let channel = match self.channel {
            Channel::Messages => 0,
            Channel::Snapshot => 1,
        };
        let mut bytes = Vec::with_capacity(HELLO_BYTES + address.len());
        bytes.extend(MAGIC);
        bytes.extend(PROTOCOL.to_le_bytes());
        bytes.extend([channel, 0]);
        for number in [self.cluster.0, self.birth, self.from.0, self.to.0] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(u16::try_from(address.len()).unwrap_or_default().to_le_bytes());
        bytes.extend(crc32c::crc32c(address).to_le_bytes());
        bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
        bytes.extend(address);
        bytes
    }

    /// Read a hello whose magic has been seen. Returns it and its length; `None` as long as bytes are missing.
    ///
    /// # Errors
    /// If the bytes are of another version, which the first [`PREFIX_BYTES`] tell, or damaged.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Hello, usize)>, HelloError> {
        let mut head = Reader(bytes);
        let Some((_magic, version)) = head.take::<8>().zip(head.u16()) else { return Ok(None) };
        if version != PROTOCOL {
            return Err(HelloError::Version { found: version });
        }
        if bytes.get(..HELLO_BYTES).is_some_and(|head| !sealed(head)) {
            return Err(HelloError::Damaged);
        }
        let parts =
            (head.take::<2>(), head.u64(), head.u64(), head.u64(), head.u64(), head.u16(), head.u32(), head.u32());
        let (Some(kind), Some(cluster), Some(birth), Some(from), Some(to), Some(length), Some(checksum), Some(_)) =
            parts
        else {
            return Ok(None);
        };
        let channel = match kind {
            [0, 0] => Channel::Messages,
            [1, 0] => Channel::Snapshot,
            _ => return Err(HelloError::Damaged),
        };
        let length = usize::from(length);
        if length > ADDRESS_BYTES_MAX {
            return Err(HelloError::Damaged);
        }
        let Some(address) = head.0.get(..length) else { return Ok(None) };
        let address = str::from_utf8(address).ok().filter(|text| crc32c::crc32c(text.as_bytes()) == checksum);
        let address = address.ok_or(HelloError::Damaged)?.to_owned();
        let (cluster, from, to) = (ClusterId(cluster), NodeId(from), NodeId(to));
        Ok(Some((Hello { channel, cluster, birth, from, to, address }, HELLO_BYTES + length)))
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
        Err(Refusal::Birth { theirs }) => (5, theirs),
        Err(Refusal::Crowded) => (6, 0),
    };
    let mut bytes = [0; ANSWER_BYTES];
    bytes[..2].copy_from_slice(&PROTOCOL.to_le_bytes());
    bytes[2] = what;
    bytes[4..12].copy_from_slice(&number.to_le_bytes());
    let checksum = crc32c::crc32c(&bytes[..12]);
    bytes[12..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// The reverse of [`encode_answer`].
///
/// # Errors
/// If the bytes are no answer.
pub fn decode_answer(bytes: &[u8; ANSWER_BYTES]) -> Result<Result<(), Refusal>, AnswerError> {
    let mut reader = Reader(bytes);
    let (Some(version), Some([what, 0]), Some(number)) = (reader.u16(), reader.take(), reader.u64()) else {
        return Err(AnswerError);
    };
    if !sealed(bytes) {
        return Err(AnswerError);
    }
    match what {
        0 if version == PROTOCOL => Ok(Ok(())),
        1 => Ok(Err(Refusal::Version { theirs: u16::try_from(number).map_err(|_| AnswerError)? })),
        2 => Ok(Err(Refusal::Cluster { theirs: ClusterId(number) })),
        3 => Ok(Err(Refusal::NotMe { theirs: NodeId(number) })),
        4 => Ok(Err(Refusal::UnknownPeer { you: NodeId(number) })),
        5 => Ok(Err(Refusal::Birth { theirs: number })),
        6 => Ok(Err(Refusal::Crowded)),
        _ => Err(AnswerError),
    }
}

/// What precedes a frame's body: its length, the CRC32C of length and body's checksum, the CRC32C of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// The length of the body, in bytes.
    pub length: usize,
    checksum: u32,
}

impl FrameHeader {
    /// Of a body of `length` bytes, which may be `max`, with this CRC32C.
    ///
    /// # Errors
    /// If the body is empty or longer.
    pub fn new(length: usize, checksum: u32, max: usize) -> Result<FrameHeader, FrameError> {
        if (1..=max.min(u32::MAX as usize)).contains(&length) {
            Ok(FrameHeader { length, checksum })
        } else {
            Err(FrameError::Length { bytes: length, max })
        }
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; FRAME_HEADER_BYTES] {
        let length = u32::try_from(self.length).unwrap_or_default().to_le_bytes();
        let checksum = self.checksum.to_le_bytes();
        let seal = crc32c::crc32c_append(crc32c::crc32c(&length), &checksum);
        let mut bytes = [0; FRAME_HEADER_BYTES];
        bytes[..4].copy_from_slice(&length);
        bytes[4..8].copy_from_slice(&seal.to_le_bytes());
        bytes[8..].copy_from_slice(&checksum);
        bytes
    }

    /// Read a header before a body of at most `max` bytes. Nothing should be reserved for the body before this.
    ///
    /// # Errors
    /// If the header is damaged, or the body would be empty or longer.
    pub fn decode(bytes: &[u8; FRAME_HEADER_BYTES], max: usize) -> Result<FrameHeader, FrameError> {
        let mut reader = Reader(bytes);
        let (Some(length), Some(seal), Some(checksum)) = (reader.u32(), reader.u32(), reader.u32()) else {
            return Err(FrameError::Header);
        };
        if crc32c::crc32c_append(crc32c::crc32c(&length.to_le_bytes()), &checksum.to_le_bytes()) != seal {
            return Err(FrameError::Header);
        }
        FrameHeader::new(usize::try_from(length).unwrap_or(usize::MAX), checksum, max)
    }

    /// Whether `body` is what was sent.
    ///
    /// # Errors
    /// If it is not.
    pub fn check(&self, body: &[u8]) -> Result<(), FrameError> {
        let same = body.len() == self.length && crc32c::crc32c(body) == self.checksum;
        if same { Ok(()) } else { Err(FrameError::Body) }
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

/// Bytes that are no [`Offer`], or an offer that makes no bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the offer of a snapshot makes no sense")]
pub struct OfferError;

impl Offer {
    /// The body of its frame.
    ///
    /// # Errors
    /// If it is too large.
    pub fn encode(&self) -> Result<Vec<u8>, OfferError> {
        postcard::to_allocvec(self).ok().filter(|bytes| bytes.len() <= OFFER_BYTES_MAX).ok_or(OfferError)
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
    Go = 1,
    /// "It is complete and durable here."
    Stored = 2,
    /// "I cannot take it."
    Refused = 3,
}

impl Verdict {
    /// The byte that says so.
    #[must_use]
    pub fn encode(self) -> u8 {
        self as u8
    }

    /// The reverse of [`encode`](Verdict::encode).
    #[must_use]
    pub fn decode(byte: u8) -> Option<Verdict> {
        [Verdict::Go, Verdict::Stored, Verdict::Refused].into_iter().find(|verdict| verdict.encode() == byte)
    }
}

/// Whether the last four bytes are the CRC32C of the others.
fn sealed(bytes: &[u8]) -> bool {
    bytes.split_last_chunk::<4>().is_some_and(|(content, checksum)| crc32c::crc32c(content).to_le_bytes() == *checksum)
}

/// Takes numbers off the front.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
}
