//! Snapshots on their way: offered, read in chunks, taken, made durable, confirmed; and their end told once.

use std::io::Read;
use std::sync::{Arc, Mutex};

use raft_core::{EntryId, NodeId, SnapshotMeta, Term};

use super::{Lines, Trouble};
use crate::queue::lock;
use crate::storage::SnapshotSink;
use crate::transport::Inbound;
use crate::transport::wire::{self, CHUNK_BYTES_MAX, Offer, Verdict};

/// The snapshot that is on its way to one peer, if there is one.
#[derive(Default)]
pub struct Sending(Mutex<Option<EntryId>>);

impl Sending {
    /// Begin to send snapshot `last` to `peer`. `None` if one is under way: another one is refused by
    /// [`snapshot_sent`](Inbound::snapshot_sent), the same one goes on.
    #[must_use]
    pub fn begin(self: &Arc<Self>, peer: NodeId, last: EntryId, inbound: &Arc<dyn Inbound>) -> Option<Transfer> {
        let under_way = {
            let mut sending = lock(&self.0);
            let before = *sending;
            *sending = before.or(Some(last));
            before
        };
        match under_way {
            None => {
                let (sending, inbound) = (Arc::clone(self), Arc::clone(inbound));
                return Some(Transfer { sending, peer, inbound, last, delivered: Mutex::new(false) });
            }
            Some(same) if same == last => {}
            Some(_) => inbound.snapshot_sent(peer, last, false),
        }
        None
    }

    /// Tell at once that what is on its way to `peer` will not be delivered, and no more of it when it ends.
    pub fn abandon(&self, peer: NodeId, inbound: &dyn Inbound) {
        let abandoned = lock(&self.0).take();
        if let Some(last) = abandoned {
            inbound.snapshot_sent(peer, last, false);
        }
    }
}

/// A transfer under way. Its end is told when it is dropped, however that happens: by a panic of the data's reader too.
pub struct Transfer {
    sending: Arc<Sending>,
    peer: NodeId,
    inbound: Arc<dyn Inbound>,
    last: EntryId,
    delivered: Mutex<bool>,
}

impl Transfer {
    /// Keep the outcome of a transfer, and say why it failed.
    pub fn ended(&self, lines: &Lines, outcome: Result<(), Trouble>) {
        match outcome {
            Ok(()) => *lock(&self.delivered) = true,
            Err(trouble) => lines.not_delivered(self.peer, self.last, &trouble),
        }
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        let delivered = *lock(&self.delivered);
        let mine = lock(&self.sending.0).take_if(|last| *last == self.last).is_some();
        if mine {
            self.inbound.snapshot_sent(self.peer, self.last, delivered);
        }
    }
}

/// Append the frame that offers a snapshot.
///
/// # Errors
/// If it cannot be written.
pub fn put_offer(frame: &mut Vec<u8>, term: Term, meta: SnapshotMeta, length: u64) -> Result<(), Trouble> {
    let offer = Offer { term, meta, length }.encode()?;
    wire::put_frame(frame, |out| {
        out.extend(offer);
        Ok(())
    })
}

/// What the receiver's byte means to a sender that waits for `expected`.
///
/// # Errors
/// If it says something else.
pub fn expect(expected: Verdict, byte: u8) -> Result<(), Trouble> {
    match Verdict::decode(byte) {
        Some(verdict) if verdict == expected => Ok(()),
        Some(Verdict::Refused) => Err(Trouble::SnapshotRefused),
        _ => Err(Trouble::Verdict),
    }
}

/// A snapshot's data, frame by frame. Reading it may block.
pub struct Chunks {
    data: Box<dyn Read + Send>,
    left: u64,
    chunk_bytes: u64,
}

impl Chunks {
    /// `data` should be `length` bytes long.
    #[must_use]
    pub fn new(data: Box<dyn Read + Send>, length: u64, chunk_bytes: usize) -> Chunks {
        Chunks { data, left: length, chunk_bytes: chunk_bytes.clamp(1, CHUNK_BYTES_MAX) as u64 }
    }

    /// Append the next frame; `false` when all has been read, and was as long as it should be.
    ///
    /// # Errors
    /// If the data cannot be read, or is longer or shorter.
    pub fn put_next(&mut self, frame: &mut Vec<u8>) -> Result<bool, Trouble> {
        if self.left == 0 {
            return if self.data.read(&mut [0])? == 0 { Ok(false) } else { Err(Trouble::SnapshotLength) };
        }
        let chunk = self.left.min(self.chunk_bytes);
        wire::put_frame(frame, |out| match (&mut self.data).take(chunk).read_to_end(out)? as u64 {
            read if read == chunk => Ok(()),
            _ => Err(Trouble::SnapshotLength),
        })?;
        self.left -= chunk;
        Ok(true)
    }
}

/// A snapshot that comes in. Dropped before it is whole, it leaves nothing. Writing it may block.
pub struct Receiving {
    from: NodeId,
    offer: Offer,
    left: u64,
    sink: Box<dyn SnapshotSink>,
}

impl Receiving {
    /// Ask for a place for it.
    ///
    /// # Errors
    /// If there is none: the sender should hear [`Verdict::Refused`].
    pub fn begin(from: NodeId, offer: Offer, inbound: &dyn Inbound) -> Result<Receiving, Trouble> {
        let sink = inbound.snapshot_begin(from, &offer.meta)?;
        Ok(Receiving { from, left: offer.length, offer, sink })
    }

    /// Whether all of its data has come.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.left == 0
    }

    /// Write the next chunk of its data.
    ///
    /// # Errors
    /// If it is more than was offered, or cannot be written.
    pub fn write(&mut self, chunk: &[u8]) -> Result<(), Trouble> {
        self.left = self.left.checked_sub(chunk.len() as u64).ok_or(Trouble::SnapshotLength)?;
        Ok(self.sink.write_all(chunk)?)
    }

    /// Make it durable and `deliver` the news, whether or not the sender can still be told.
    ///
    /// # Errors
    /// If it is not whole, or cannot be made durable: the sender should hear [`Verdict::Refused`].
    pub fn finish(self, deliver: impl FnOnce(NodeId, Term, SnapshotMeta)) -> Result<(), Trouble> {
        if !self.is_whole() {
            return Err(Trouble::SnapshotLength);
        }
        self.sink.finish()?;
        deliver(self.from, self.offer.term, self.offer.meta);
        Ok(())
    }
}
