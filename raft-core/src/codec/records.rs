//! Events, actions and whole states to bytes and back, for recorders and for drivers in other languages.
//!
//! ```text
//!   version 2 | head (postcard) | what it carries: a message's or a write's frame, commands, or entries, to the end
//! ```
//!
//! Decoding takes any bytes: to a value, or to a typed error. What it allocates is bounded by the bytes that it is given. The order of
//! variants and fields of the heads below is the format; `docs/wire-format.md` describes it.

use alloc::boxed::Box;
use alloc::vec::Vec;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::reasons::{FatalHead, NewsHead, RefusalHead};
use super::{
    CodecError, Reader, Segment, VERSION, decode_message, decode_write, encode_message, encode_write, put, put_entries,
};
use crate::action::{Action, Fatal, FetchId, HardState, News, WriteId};
use crate::edit::Change;
use crate::entries::Entries;
use crate::event::{Commands, Event};
use crate::log::SnapshotMeta;
use crate::refusal::Refusal;
use crate::restored::{LogHead, Restored};
use crate::types::{EntryId, Incarnation, Index, NodeId, RequestId, ServerId, Term};

#[derive(Serialize, Deserialize)]
enum EventHead {
    Tick { elapsed: u32 },
    Receive { from: NodeId },
    Start { request: RequestId, count: u64 },
    Change { request: RequestId, change: Box<Change> },
    Read { request: RequestId },
    Transfer { request: RequestId, to: Option<NodeId> },
    Arriving { from: NodeId, term: Term },
    Fetched { id: u64, segment: Option<Segment> },
    Persisted(u64),
    Applied(Index),
    Compact { index: Index },
    SnapshotSent { to: NodeId, snapshot: EntryId, delivered: bool },
    SnapshotReceived { from: NodeId, term: Term, snapshot: SnapshotMeta },
    Unreachable { peer: NodeId },
}

#[derive(Serialize, Deserialize)]
enum ActionHead {
    Send { to: NodeId },
    Persist,
    Apply { segment: Option<Segment> },
    SendSnapshot { to: NodeId, term: Term, snapshot: SnapshotMeta },
    Restore(SnapshotMeta),
    Discard(SnapshotMeta),
    Accepted { request: RequestId, first: EntryId, count: u64 },
    Readable { request: RequestId, at: Index },
    Transferred { request: RequestId, leader: NodeId },
    Fetch { id: u64, from: Index, to: Index, bytes_max: u64 },
    Refused(RequestId, #[serde(with = "RefusalHead")] Refusal),
    Halt(#[serde(with = "FatalHead")] Fatal),
    News(#[serde(with = "NewsHead")] News),
}

#[derive(Serialize, Deserialize)]
struct RestoredHead {
    incarnation: Incarnation,
    boot: u64,
    hard_state: (Term, Option<ServerId>),
    snapshot: SnapshotMeta,
    applied: Index,
    head: LogHead,
    segment: Option<Segment>,
}

/// What follows a head.
enum Tail<'a> {
    Nothing,
    Entries(&'a Entries),
    Commands(&'a Commands),
}

/// Append an event to `out`.
///
/// # Errors
/// [`CodecError::TooLarge`] of the message that it carries, with `out` as it was.
pub fn encode_event(event: &Event, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let mut tail = Tail::Nothing;
    let head = match event {
        Event::Tick { elapsed } => EventHead::Tick { elapsed: *elapsed },
        Event::Receive { from, message } => {
            return encode(&EventHead::Receive { from: *from }, out, |out| encode_message(message, out));
        }
        Event::Start { request, commands } => {
            tail = Tail::Commands(commands);
            EventHead::Start { request: *request, count: commands.len() as u64 }
        }
        Event::Change { request, change } => EventHead::Change { request: *request, change: change.clone() },
        Event::Read { request } => EventHead::Read { request: *request },
        Event::Transfer { request, to } => EventHead::Transfer { request: *request, to: *to },
        Event::Arriving { from, term } => EventHead::Arriving { from: *from, term: *term },
        Event::Fetched { id, entries } => {
            tail = Tail::Entries(entries);
            EventHead::Fetched { id: id.0, segment: Segment::of(entries) }
        }
        Event::Persisted(id) => EventHead::Persisted(id.0),
        Event::Applied(index) => EventHead::Applied(*index),
        Event::Compact { index } => EventHead::Compact { index: *index },
        Event::SnapshotSent { to, snapshot, delivered } => {
            EventHead::SnapshotSent { to: *to, snapshot: *snapshot, delivered: *delivered }
        }
        Event::SnapshotReceived { from, term, snapshot } => {
            EventHead::SnapshotReceived { from: *from, term: *term, snapshot: snapshot.clone() }
        }
        Event::Unreachable { peer } => EventHead::Unreachable { peer: *peer },
    };
    encode(&head, out, |out| put_tail(&tail, out))
}

/// Read an event from its bytes; its commands share their memory.
///
/// # Errors
/// If the bytes are of another version, or are not exactly one event.
pub fn decode_event(bytes: Bytes) -> Result<Event, CodecError> {
    let mut frame = Reader::unbounded(bytes)?;
    let event = match frame.value()? {
        EventHead::Tick { elapsed } => Event::Tick { elapsed },
        EventHead::Receive { from } => return Ok(Event::Receive { from, message: decode_message(frame.rest())? }),
        EventHead::Start { request, count } => Event::Start { request, commands: commands(&mut frame, count)? },
        EventHead::Change { request, change } => Event::Change { request, change },
        EventHead::Read { request } => Event::Read { request },
        EventHead::Transfer { request, to } => Event::Transfer { request, to },
        EventHead::Arriving { from, term } => Event::Arriving { from, term },
        EventHead::Fetched { id, segment } => Event::Fetched { id: FetchId(id), entries: frame.entries(segment)? },
        EventHead::Persisted(id) => Event::Persisted(WriteId(id)),
        EventHead::Applied(index) => Event::Applied(index),
        EventHead::Compact { index } => Event::Compact { index },
        EventHead::SnapshotSent { to, snapshot, delivered } => Event::SnapshotSent { to, snapshot, delivered },
        EventHead::SnapshotReceived { from, term, snapshot } => Event::SnapshotReceived { from, term, snapshot },
        EventHead::Unreachable { peer } => Event::Unreachable { peer },
    };
    frame.end(event)
}

/// Append an action to `out`.
///
/// # Errors
/// [`CodecError::TooLarge`] of the message or the write that it carries, with `out` as it was.
pub fn encode_action(action: &Action, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let mut tail = Tail::Nothing;
    let head = match action {
        Action::Send { to, message } => {
            return encode(&ActionHead::Send { to: *to }, out, |out| encode_message(message, out));
        }
        Action::Persist(write) => return encode(&ActionHead::Persist, out, |out| encode_write(write, out)),
        Action::Apply(entries) => {
            tail = Tail::Entries(entries);
            ActionHead::Apply { segment: Segment::of(entries) }
        }
        Action::SendSnapshot { to, term, snapshot } => {
            ActionHead::SendSnapshot { to: *to, term: *term, snapshot: snapshot.clone() }
        }
        Action::Restore(snapshot) => ActionHead::Restore(snapshot.clone()),
        Action::Discard(snapshot) => ActionHead::Discard(snapshot.clone()),
        Action::Accepted { request, first, count } => {
            ActionHead::Accepted { request: *request, first: *first, count: *count }
        }
        Action::Readable { request, at } => ActionHead::Readable { request: *request, at: *at },
        Action::Transferred { request, leader } => ActionHead::Transferred { request: *request, leader: *leader },
        Action::Fetch { id, from, to, bytes_max } => {
            ActionHead::Fetch { id: id.0, from: *from, to: *to, bytes_max: *bytes_max }
        }
        Action::Refused { request, why } => ActionHead::Refused(*request, *why),
        Action::Halt { why } => ActionHead::Halt(*why),
        Action::News(news) => ActionHead::News(*news),
    };
    encode(&head, out, |out| put_tail(&tail, out))
}

/// Read an action from its bytes; its commands share their memory.
///
/// # Errors
/// If the bytes are of another version, or are not exactly one action.
pub fn decode_action(bytes: Bytes) -> Result<Action, CodecError> {
    let mut frame = Reader::unbounded(bytes)?;
    let action = match frame.value()? {
        ActionHead::Send { to } => return Ok(Action::Send { to, message: decode_message(frame.rest())? }),
        ActionHead::Persist => return Ok(Action::Persist(decode_write(frame.rest())?)),
        ActionHead::Apply { segment } => Action::Apply(frame.entries(segment)?),
        ActionHead::SendSnapshot { to, term, snapshot } => Action::SendSnapshot { to, term, snapshot },
        ActionHead::Restore(snapshot) => Action::Restore(snapshot),
        ActionHead::Discard(snapshot) => Action::Discard(snapshot),
        ActionHead::Accepted { request, first, count } => Action::Accepted { request, first, count },
        ActionHead::Readable { request, at } => Action::Readable { request, at },
        ActionHead::Transferred { request, leader } => Action::Transferred { request, leader },
        ActionHead::Fetch { id, from, to, bytes_max } => Action::Fetch { id: FetchId(id), from, to, bytes_max },
        ActionHead::Refused(request, why) => Action::Refused { request, why },
        ActionHead::Halt(why) => Action::Halt { why },
        ActionHead::News(news) => Action::News(news),
    };
    frame.end(action)
}

/// Append a whole state to `out`: what [`Raft::new`](crate::Raft::new) takes, or [`Raft::restored`](crate::Raft::restored) gives. It
/// may be larger than a frame.
///
/// # Errors
/// None that is known: entries and members that are in a log can be written.
pub fn encode_restored(restored: &Restored, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let HardState { term, voted_for } = restored.hard_state;
    let head = RestoredHead {
        incarnation: restored.incarnation,
        boot: restored.boot,
        hard_state: (term, voted_for),
        snapshot: restored.snapshot.clone(),
        applied: restored.applied,
        head: restored.head.clone(),
        segment: Segment::of(&restored.entries),
    };
    encode(&head, out, |out| put_entries(&restored.entries, out))
}

/// Read a whole state from its bytes; its commands share their memory. Whether it makes a server says [`Raft::new`](crate::Raft::new).
///
/// # Errors
/// If the bytes are of another version, or are not exactly one state.
pub fn decode_restored(bytes: Bytes) -> Result<Restored, CodecError> {
    let mut frame = Reader::unbounded(bytes)?;
    let RestoredHead { incarnation, boot, hard_state: (term, voted_for), snapshot, applied, head, segment } =
        frame.value()?;
    let entries = frame.entries(segment)?;
    let hard_state = HardState { term, voted_for };
    frame.end(Restored { incarnation, boot, hard_state, snapshot, head, entries, applied })
}

/// A head and what follows it; nothing if that fails.
fn encode(
    head: &impl Serialize,
    out: &mut Vec<u8>,
    tail: impl FnOnce(&mut Vec<u8>) -> Result<(), CodecError>,
) -> Result<(), CodecError> {
    let start = out.len();
    out.push(VERSION);
    let done = put(head, out).and_then(|()| tail(out));
    if done.is_err() {
        out.truncate(start);
    }
    done
}

fn put_tail(tail: &Tail<'_>, out: &mut Vec<u8>) -> Result<(), CodecError> {
    match tail {
        Tail::Nothing => Ok(()),
        Tail::Entries(entries) => put_entries(entries, out),
        Tail::Commands(commands) => commands.iter().try_for_each(|command| {
            put(&(command.len() as u64), out)?;
            out.extend_from_slice(command);
            Ok(())
        }),
    }
}

/// Each takes a byte at least: a count that the bytes cannot hold reserves nothing.
fn commands(frame: &mut Reader, count: u64) -> Result<Commands, CodecError> {
    let count = usize::try_from(count).ok().filter(|&count| count <= frame.bytes.len()).ok_or(CodecError::Truncated)?;
    let mut commands = Commands::with_capacity(count);
    for _ in 0..count {
        let length = frame.value()?;
        commands.push(frame.take(length)?);
    }
    Ok(commands)
}

#[cfg(test)]
mod tests;
