//! Messages and writes to bytes and back, for the wire and for the disk; events, actions and whole states for recorders.
//!
//! ```text
//!   version 2 | envelope (postcard) | entry | entry | ...
//!   entry  =    tag (varint) | [term (varint)] | the payload's bytes
//!   tag    =    payload length * 8 + term follows * 4 + kind        kind: 0 command, 1 no-op, 2 membership
//! ```
//!
//! An entry without a term of its own has the one before it. Payloads are appended whole, and decoding slices them out of
//! the frame: no copy, and the frame lives as long as one of its commands. Any bytes decode to a value or to a typed
//! error. An entry takes at least one byte of the frame and about 50 of memory, and what a frame's entries count against
//! byte limits ([`Entries::bytes`]) is at most [`FRAME_BYTES_MAX`], so that no frame can claim more than it brings.

use alloc::vec::Vec;

use bytes::Bytes;
use postcard::ser_flavors::Flavor;
use serde::{Deserialize, Serialize};

use crate::action::{HardState, SnapshotWrite, Write, WriteId};
use crate::config::FRAME_BYTES_MAX;
use crate::entries::{Entries, EntriesError, Payload};
use crate::log::SnapshotMeta;
use crate::message::{AppendOutcome, Message, Rpc};
use crate::types::{EntryId, Incarnation, Index, ServerId, Term};

mod reader;
mod reasons;
mod records;

use reader::Reader;
pub use records::{decode_action, decode_event, decode_restored, encode_action, encode_event, encode_restored};

/// The format that is written, and the only one that is read.
pub const VERSION: u8 = 2;

/// No envelope without members is larger.
const ENVELOPE_BYTES: usize = 96;

const KIND_COMMAND: u64 = 0;
const KIND_NOOP: u64 = 1;
const KIND_MEMBERSHIP: u64 = 2;
const KIND_BITS: u64 = 0b011;
const TERM_FOLLOWS: u64 = 0b100;
const LENGTH_SHIFT: u32 = 3;

/// Why a value makes no frame, or a frame no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The frame, or what its entries count, is larger than [`FRAME_BYTES_MAX`].
    #[error("a frame of {bytes} bytes is too large: the limit is {FRAME_BYTES_MAX}")]
    TooLarge {
        /// How large.
        bytes: u64,
    },
    /// Another format.
    #[error("format version {found} is not known; this build reads version {VERSION}")]
    Version {
        /// What the first byte says.
        found: u8,
    },
    /// The frame ends too early.
    #[error("the frame ends too early")]
    Truncated,
    /// The frame goes on after its value.
    #[error("{bytes} bytes follow the end of the value")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// The bytes have no meaning.
    #[error("the frame makes no sense")]
    Malformed,
    /// The entries are no segment of any log.
    #[error(transparent)]
    Entries(#[from] EntriesError),
}

impl From<postcard::Error> for CodecError {
    fn from(error: postcard::Error) -> CodecError {
        match error {
            postcard::Error::DeserializeUnexpectedEnd => CodecError::Truncated,
            _ => CodecError::Malformed,
        }
    }
}

/// Append a message's frame to `out`.
///
/// # Errors
/// [`CodecError::TooLarge`], with `out` as it was. Messages of a server whose `Config` is sound are never too large.
pub fn encode_message(message: &Message, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let (head, entries) = message_head(message);
    encode(&head, entries, out)
}

/// Append the beginning of a message's frame to `out`: what comes before its entries. The frame is complete when
/// [`encode_entries`] has appended those, so that entries which go to many servers need to be encoded only once.
///
/// # Errors
/// [`CodecError::TooLarge`], with `out` as it was.
pub fn encode_message_head(message: &Message, out: &mut Vec<u8>) -> Result<(), CodecError> {
    encode(&message_head(message).0, None, out)
}

/// Append entries to `out` as they stand at the end of a message's frame, and of a write's.
///
/// # Errors
/// [`CodecError::TooLarge`], with `out` as it was. Whether a frame of them is too large only [`decode_message`] can tell.
pub fn encode_entries(entries: &Entries, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let start = out.len();
    out.reserve(room_for(entries)?);
    put_entries(entries, out).inspect_err(|_| out.truncate(start))
}

fn message_head(message: &Message) -> (MessageHead, Option<&Entries>) {
    let (rpc, entries) = match &message.rpc {
        Rpc::PreVote { last } => (RpcHead::PreVote { last: *last }, None),
        Rpc::PreVoteReply { granted } => (RpcHead::PreVoteReply { granted: *granted }, None),
        Rpc::RequestVote { last, transfer } => (RpcHead::RequestVote { last: *last, transfer: *transfer }, None),
        Rpc::RequestVoteReply { granted } => (RpcHead::RequestVoteReply { granted: *granted }, None),
        Rpc::AppendEntries { prev, entries, commit, round, reply } => {
            let segment = Segment::of(entries);
            let (prev, commit, round, reply) = (*prev, *commit, *round, *reply);
            (RpcHead::AppendEntries { prev, commit, round, reply, segment }, Some(entries))
        }
        Rpc::AppendEntriesReply { round, outcome } => {
            (RpcHead::AppendEntriesReply { round: *round, outcome: *outcome }, None)
        }
        Rpc::TimeoutNow { target } => (RpcHead::TimeoutNow { target: *target }, None),
        Rpc::ReadIndex { boot, seq } => (RpcHead::ReadIndex { boot: *boot, seq: *seq }, None),
        Rpc::ReadIndexReply { boot, seq, at } => (RpcHead::ReadIndexReply { boot: *boot, seq: *seq, at: *at }, None),
    };
    (MessageHead { term: message.term, incarnation: message.incarnation, rpc }, entries)
}

/// Read a message from its frame; its commands share the frame's memory.
///
/// # Errors
/// If the frame is too large, of another version, or does not hold exactly one message.
pub fn decode_message(frame: Bytes) -> Result<Message, CodecError> {
    let mut frame = Reader::new(frame)?;
    let MessageHead { term, incarnation, rpc } = frame.value()?;
    let rpc = match rpc {
        RpcHead::PreVote { last } => Rpc::PreVote { last },
        RpcHead::PreVoteReply { granted } => Rpc::PreVoteReply { granted },
        RpcHead::RequestVote { last, transfer } => Rpc::RequestVote { last, transfer },
        RpcHead::RequestVoteReply { granted } => Rpc::RequestVoteReply { granted },
        RpcHead::AppendEntries { prev, commit, round, reply, segment } => {
            Rpc::AppendEntries { prev, entries: frame.entries(segment)?, commit, round, reply }
        }
        RpcHead::AppendEntriesReply { round, outcome } => Rpc::AppendEntriesReply { round, outcome },
        RpcHead::TimeoutNow { target } => Rpc::TimeoutNow { target },
        RpcHead::ReadIndex { boot, seq } => Rpc::ReadIndex { boot, seq },
        RpcHead::ReadIndexReply { boot, seq, at } => Rpc::ReadIndexReply { boot, seq, at },
    };
    frame.end(Message { term, incarnation, rpc })
}

/// The term that a message says, as soon as the first bytes of its frame are there: what [`Event::Arriving`](crate::Event::Arriving)
/// wants. Nothing if they are too few, or of another version.
#[must_use]
pub fn message_term(start: &[u8]) -> Option<Term> {
    let (version, head) = start.split_first()?;
    let (term, _) = postcard::take_from_bytes(head).ok().filter(|_| *version == VERSION)?;
    Some(term)
}

/// Append a write's frame to `out`.
///
/// # Errors
/// [`CodecError::TooLarge`], with `out` as it was.
pub fn encode_write(write: &Write, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let snapshot = write.snapshot.as_ref().map(|snapshot| match snapshot {
        SnapshotWrite::Compacted { snapshot, first } => {
            SnapshotHead::Compacted { snapshot: snapshot.clone(), first: *first }
        }
        SnapshotWrite::Installed { snapshot } => SnapshotHead::Installed { snapshot: snapshot.clone() },
    });
    let hard_state = write.hard_state.map(|HardState { term, voted_for }| (term, voted_for));
    let head = WriteHead { id: write.id.0, hard_state, snapshot, segment: Segment::of(&write.entries) };
    encode(&head, Some(&write.entries), out)
}

/// Read a write from its frame; its commands share the frame's memory.
///
/// # Errors
/// If the frame is too large, of another version, or does not hold exactly one write.
pub fn decode_write(frame: Bytes) -> Result<Write, CodecError> {
    let mut frame = Reader::new(frame)?;
    let WriteHead { id, hard_state, snapshot, segment } = frame.value()?;
    let entries = frame.entries(segment)?;
    let hard_state = hard_state.map(|(term, voted_for)| HardState { term, voted_for });
    let snapshot = snapshot.map(|snapshot| match snapshot {
        SnapshotHead::Compacted { snapshot, first } => SnapshotWrite::Compacted { snapshot, first },
        SnapshotHead::Installed { snapshot } => SnapshotWrite::Installed { snapshot },
    });
    frame.end(Write { id: WriteId(id), hard_state, snapshot, entries })
}

/// Where the entries that follow an envelope stand. The order of fields and variants here and below is the format.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Segment {
    first: Index,
    count: u64,
}

#[derive(Serialize, Deserialize)]
struct MessageHead {
    term: Term,
    incarnation: Incarnation,
    rpc: RpcHead,
}

#[derive(Serialize, Deserialize)]
enum RpcHead {
    PreVote {
        last: EntryId,
    },
    PreVoteReply {
        granted: bool,
    },
    RequestVote {
        last: EntryId,
        transfer: bool,
    },
    RequestVoteReply {
        granted: bool,
    },
    AppendEntries {
        prev: EntryId,
        commit: Index,
        round: u64,
        reply: bool,
        segment: Option<Segment>,
    },
    AppendEntriesReply {
        round: u64,
        #[serde(with = "OutcomeHead")]
        outcome: AppendOutcome,
    },
    TimeoutNow {
        target: Incarnation,
    },
    ReadIndex {
        boot: u64,
        seq: u64,
    },
    ReadIndexReply {
        boot: u64,
        seq: u64,
        at: Index,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "AppendOutcome")]
enum OutcomeHead {
    Matched { received: Index, durable: Index },
    Full { received: Index, durable: Index },
    Conflict { prev: Index, hint: EntryId },
    OlderTerm,
}

#[derive(Serialize, Deserialize)]
struct WriteHead {
    id: u64,
    hard_state: Option<(Term, Option<ServerId>)>,
    snapshot: Option<SnapshotHead>,
    segment: Option<Segment>,
}

#[derive(Serialize, Deserialize)]
enum SnapshotHead {
    Compacted { snapshot: SnapshotMeta, first: Index },
    Installed { snapshot: SnapshotMeta },
}

impl Segment {
    fn of(entries: &Entries) -> Option<Segment> {
        entries.first().map(|first| Segment { first: first.index, count: entries.len() })
    }
}

fn encode(head: &impl Serialize, entries: Option<&Entries>, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let start = out.len();
    out.reserve(entries.map_or(Ok(0), room_for)? + ENVELOPE_BYTES);
    out.push(VERSION);
    let written = put(head, out).and_then(|()| entries.map_or(Ok(()), |entries| put_entries(entries, out)));
    let bytes = out.len() - start;
    let done =
        written.and(if bytes > FRAME_BYTES_MAX { Err(CodecError::TooLarge { bytes: bytes as u64 }) } else { Ok(()) });
    if done.is_err() {
        out.truncate(start);
    }
    done
}

/// What an entry counts leaves room for its tag and term, so one reservation of this nearly always does.
fn room_for(entries: &Entries) -> Result<usize, CodecError> {
    let bytes = entries.bytes();
    usize::try_from(bytes).ok().filter(|&room| room <= FRAME_BYTES_MAX).ok_or(CodecError::TooLarge { bytes })
}

fn put_entries(entries: &Entries, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let mut term = Term(0);
    for entry in entries.slices().flat_map(|(_, slice)| slice) {
        let (kind, membership);
        let payload: &[u8] = match &entry.payload {
            Payload::Command(command) => {
                kind = KIND_COMMAND;
                command
            }
            Payload::Noop => {
                kind = KIND_NOOP;
                &[]
            }
            Payload::Membership(members) => {
                kind = KIND_MEMBERSHIP;
                membership = postcard::to_allocvec(&**members)?;
                &membership
            }
        };
        let tag = (payload.len() as u64) << LENGTH_SHIFT | kind;
        if entry.term == term {
            put(&tag, out)?;
        } else {
            term = entry.term;
            put(&(tag | TERM_FOLLOWS, term), out)?;
        }
        out.extend_from_slice(payload);
    }
    Ok(())
}

fn put(value: &impl Serialize, out: &mut Vec<u8>) -> Result<(), CodecError> {
    Ok(postcard::serialize_with_flavor(value, Appending(out))?)
}

/// Postcard's output at the end of a buffer that goes on.
struct Appending<'a>(&'a mut Vec<u8>);

impl Flavor for Appending<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
