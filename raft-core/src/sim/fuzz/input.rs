//! A life as bytes, and back: what the fuzz target `step` reads. Messages are frames of the codec, settings the words of a
//! script, so that a changed byte is a changed meaning.
//!
//! ```text
//!   0 | birth | 0 | feed | 0 | feed | ...
//! ```

use std::string::String;
use std::vec::Vec;

use serde::{Deserialize, Serialize};

use super::life::{Birth, Feed, Life};
use crate::codec::{decode_message, decode_write, encode_message, encode_write};
use crate::sim::script::grammar::Words;
use crate::sim::script::settings;
use crate::{
    Bytes, Change, Config, EntryId, Event, FetchId, Incarnation, Index, LogHead, NodeId, RequestId, Restored,
    SnapshotMeta, SnapshotWrite, Term, Write, WriteId,
};

/// Stands before a birth and before each feed. Behind any other byte, what happens is to be drawn.
pub const STATED: u8 = 0;

#[derive(Serialize, Deserialize)]
struct BirthRecord {
    server: NodeId,
    /// What is not as in [`Config::new`].
    settings: String,
    incarnation: Incarnation,
    boot: u64,
    /// The write that would leave all the rest behind.
    restored: Vec<u8>,
    applied: Index,
    timeout: Option<u32>,
    head: LogHead,
}

#[derive(Serialize, Deserialize)]
enum FeedRecord {
    Tick {
        elapsed: u32,
    },
    Receive {
        from: NodeId,
        message: Vec<u8>,
    },
    Start {
        request: RequestId,
        commands: Vec<Vec<u8>>,
    },
    Persisted(u64),
    Applied(Index),
    Compact {
        index: Index,
    },
    SnapshotSent {
        to: NodeId,
        snapshot: EntryId,
        delivered: bool,
    },
    SnapshotReceived {
        from: NodeId,
        term: Term,
        snapshot: SnapshotMeta,
    },
    Unreachable {
        peer: NodeId,
    },
    Timeout(u32),
    Change {
        request: RequestId,
        change: Change,
    },
    Read {
        request: RequestId,
    },
    Transfer {
        request: RequestId,
        to: Option<NodeId>,
    },
    Arriving {
        from: NodeId,
        term: Term,
    },
    /// The entries, as a write has them.
    Fetched {
        id: u64,
        entries: Vec<u8>,
    },
}

/// A life as bytes. Its messages and its log must fit into frames.
#[must_use]
pub fn encode_life(life: &Life) -> Vec<u8> {
    let mut out = Vec::new();
    put(&birth_record(&life.birth), &mut out);
    life.steps.iter().for_each(|(feed, _)| put(&feed_record(feed), &mut out));
    out
}

fn put(value: &impl Serialize, out: &mut Vec<u8>) {
    out.push(STATED);
    out.extend(postcard::to_allocvec(value).unwrap_or_default());
}

/// What a server is made of, and the bytes behind it.
#[must_use]
pub fn decode_birth(bytes: &[u8]) -> Option<(Birth, &[u8])> {
    let (record, rest) = postcard::take_from_bytes::<BirthRecord>(bytes).ok()?;
    let BirthRecord { server, settings, incarnation, boot, restored, applied, timeout, head } = record;
    let mut config = Config::new(server);
    settings::change_all(&mut config, &mut Words::new(&settings)).ok()?;
    let Write { hard_state, snapshot, entries, .. } = decode_write(restored.into()).ok()?;
    let (SnapshotWrite::Installed { snapshot } | SnapshotWrite::Compacted { snapshot, .. }) = snapshot?;
    let restored = Restored { incarnation, boot, hard_state: hard_state?, snapshot, head, entries, applied };
    Some((Birth { config, restored, timeout }, rest))
}

fn birth_record(Birth { config, restored, timeout }: &Birth) -> BirthRecord {
    let Restored { incarnation, boot, hard_state, snapshot, head, entries, applied } = restored.clone();
    let snapshot = Some(SnapshotWrite::Installed { snapshot });
    let write = Write { id: WriteId::from_number(0), hard_state: Some(hard_state), snapshot, entries };
    let mut restored = Vec::new();
    let _ = encode_write(&write, &mut restored);
    let settings = settings::differences(config, &Config::new(config.id));
    BirthRecord { server: config.id, settings, incarnation, boot, restored, applied, timeout: *timeout, head }
}

/// What comes to a server, and the bytes behind it.
#[must_use]
pub fn decode_feed(bytes: &[u8]) -> Option<(Feed, &[u8])> {
    let (record, rest) = postcard::take_from_bytes(bytes).ok()?;
    let event = match record {
        FeedRecord::Tick { elapsed } => Event::Tick { elapsed },
        FeedRecord::Receive { from, message } => Event::Receive { from, message: decode_message(message.into()).ok()? },
        FeedRecord::Start { request, commands } => {
            Event::Start { request, commands: commands.into_iter().map(Bytes::from).collect() }
        }
        FeedRecord::Persisted(number) => Event::Persisted(WriteId::from_number(number)),
        FeedRecord::Applied(index) => Event::Applied(index),
        FeedRecord::Compact { index } => Event::Compact { index },
        FeedRecord::SnapshotSent { to, snapshot, delivered } => Event::SnapshotSent { to, snapshot, delivered },
        FeedRecord::SnapshotReceived { from, term, snapshot } => Event::SnapshotReceived { from, term, snapshot },
        FeedRecord::Unreachable { peer } => Event::Unreachable { peer },
        FeedRecord::Change { request, change } => Event::Change { request, change: change.into() },
        FeedRecord::Read { request } => Event::Read { request },
        FeedRecord::Transfer { request, to } => Event::Transfer { request, to },
        FeedRecord::Arriving { from, term } => Event::Arriving { from, term },
        FeedRecord::Fetched { id, entries } => {
            Event::Fetched { id: FetchId::from_number(id), entries: decode_write(entries.into()).ok()?.entries }
        }
        FeedRecord::Timeout(ticks) => return Some((Feed::Timeout(ticks), rest)),
    };
    Some((Feed::Event(event), rest))
}

fn feed_record(feed: &Feed) -> FeedRecord {
    let event = match feed {
        Feed::Event(event) => event.clone(),
        Feed::Timeout(ticks) => return FeedRecord::Timeout(*ticks),
    };
    match event {
        Event::Tick { elapsed } => FeedRecord::Tick { elapsed },
        Event::Receive { from, message } => {
            let mut frame = Vec::new();
            let _ = encode_message(&message, &mut frame);
            FeedRecord::Receive { from, message: frame }
        }
        Event::Start { request, commands } => {
            FeedRecord::Start { request, commands: commands.iter().map(|command| command.to_vec()).collect() }
        }
        Event::Persisted(id) => FeedRecord::Persisted(id.number()),
        Event::Applied(index) => FeedRecord::Applied(index),
        Event::Compact { index } => FeedRecord::Compact { index },
        Event::SnapshotSent { to, snapshot, delivered } => FeedRecord::SnapshotSent { to, snapshot, delivered },
        Event::SnapshotReceived { from, term, snapshot } => FeedRecord::SnapshotReceived { from, term, snapshot },
        Event::Unreachable { peer } => FeedRecord::Unreachable { peer },
        Event::Change { request, change } => FeedRecord::Change { request, change: *change },
        Event::Read { request } => FeedRecord::Read { request },
        Event::Transfer { request, to } => FeedRecord::Transfer { request, to },
        Event::Arriving { from, term } => FeedRecord::Arriving { from, term },
        Event::Fetched { id, entries } => {
            let write = Write { id: WriteId::from_number(0), hard_state: None, snapshot: None, entries };
            let mut frame = Vec::new();
            let _ = encode_write(&write, &mut frame);
            FeedRecord::Fetched { id: id.number(), entries: frame }
        }
    }
}
