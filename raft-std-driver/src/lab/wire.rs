//! What the lab's servers exchange and save, in bytes.

use raft_core::codec::{self, CodecError};
use raft_core::{
    Bytes, Entries, Entry, Event, Incarnation, Index, Membership, Message, NodeId, Raft, Restored, SnapshotMeta,
    SnapshotWrite, Term, Write, WriteId,
};
use serde::{Deserialize, Serialize};

/// What an RPC asks.
#[derive(Serialize, Deserialize)]
pub(super) enum Request {
    /// A message's frame: step it.
    Message(Vec<u8>),
    /// A snapshot with its data: the labs' InstallSnapshot.
    Snapshot { term: Term, snapshot: SnapshotMeta, data: Vec<u8> },
}

impl Request {
    pub(super) fn message(message: &Message) -> Result<Request, CodecError> {
        frame(message).map(Request::Message)
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, CodecError> {
        Ok(postcard::to_allocvec(self)?)
    }
}

/// What a request of `from` is to the core, and the data of the snapshot that it brings.
pub(super) fn decode_request(from: NodeId, request: &[u8]) -> Result<(Event, Option<Bytes>), CodecError> {
    Ok(match postcard::from_bytes(request)? {
        Request::Message(frame) => (Event::Receive { from, message: codec::decode_message(frame.into())? }, None),
        Request::Snapshot { term, snapshot, data } => {
            (Event::SnapshotReceived { from, term, snapshot }, Some(data.into()))
        }
    })
}

/// What the reply to an RPC carries: messages for the caller, perhaps none.
pub(super) fn encode_reply(messages: &[Message]) -> Result<Vec<u8>, CodecError> {
    let frames = messages.iter().map(frame).collect::<Result<Vec<_>, _>>()?;
    Ok(postcard::to_allocvec(&frames)?)
}

pub(super) fn decode_reply(bytes: &[u8]) -> Result<Vec<Message>, CodecError> {
    let frames: Vec<Vec<u8>> = postcard::from_bytes(bytes)?;
    frames.into_iter().map(|frame| codec::decode_message(frame.into())).collect()
}

fn frame(message: &Message) -> Result<Vec<u8>, CodecError> {
    let mut frame = Vec::new();
    codec::encode_message(message, &mut frame)?;
    Ok(frame)
}

/// The state of a server that has promised nothing yet: who it is. Its members are the peers that it is made with.
pub(super) fn encode_birth(incarnation: Incarnation) -> Bytes {
    incarnation.0.to_le_bytes().to_vec().into()
}

/// All that Figure 2 calls persistent, as one write that holds everything live: what `write` changed is in it.
pub(super) fn encode_state(core: &Raft, write: WriteId) -> Result<Bytes, CodecError> {
    let status = core.status();
    let first = status.first_index();
    let live = (first.0..=status.last().index.0).map_while(|index| {
        let (term, payload) = (status.term_at(Index(index))?, status.entry(Index(index))?);
        Some(Entry { term, payload: payload.clone() })
    });
    let everything = Write {
        id: write,
        hard_state: Some(status.hard_state()),
        snapshot: Some(SnapshotWrite::Compacted { snapshot: status.snapshot().clone(), first }),
        entries: Entries::from_vec(first, live.collect())?,
    };
    let mut state = encode_birth(status.incarnation()).to_vec();
    codec::encode_write(&everything, &mut state)?;
    Ok(state.into())
}

/// What a saved state restores. The service keeps nothing of its own: it starts from the snapshot.
pub(super) fn decode_state(mut state: Bytes, peers: Membership) -> Result<Restored, CodecError> {
    let Some(incarnation) = state.first_chunk().map(|bytes| Incarnation(u64::from_le_bytes(*bytes))) else {
        return Err(CodecError::Truncated);
    };
    let frame = state.split_off(size_of::<Incarnation>());
    if frame.is_empty() {
        return Ok(Restored::new_cluster(incarnation, peers));
    }
    match codec::decode_write(frame)? {
        Write {
            hard_state: Some(hard_state),
            snapshot: Some(SnapshotWrite::Compacted { snapshot, .. }),
            entries,
            ..
        } => Ok(Restored { incarnation, boot: 0, hard_state, snapshot, entries, ..Restored::default() }),
        _ => Err(CodecError::Malformed),
    }
}
