//! A snapshot on its way in: offered, taken by this server, stored chunk by chunk, confirmed.

use std::time::Instant;

use raft_core::Bytes;

use super::input::Input;
use super::limits::{LinkConfig, after};
use super::trouble::{Awaited, Trouble};
use super::wire::{CHUNK_BYTES_MAX, OFFER_BYTES_MAX, Offer};

/// So many chunks may wait to be stored before no more is read.
const CHUNKS_MAX: usize = 2;

/// How far it is.
pub(super) enum Receiving {
    /// Nothing has been offered.
    Waiting { deadline: Option<Instant> },
    /// This server has not said whether it takes it.
    Offered { length: u64 },
    /// The data comes. `storing` chunks wait to be stored.
    Data { length: u64, came: u64, storing: usize },
}

/// What came.
pub(super) enum Arrival {
    Offer(Offer),
    Chunk(Bytes),
}

impl Receiving {
    pub(super) fn hear(&mut self, input: &mut Input) -> Result<Option<Arrival>, Trouble> {
        if !self.is_ready() {
            return Ok(None);
        }
        match self {
            Receiving::Waiting { .. } => {
                let Some(body) = input.frame(OFFER_BYTES_MAX)? else { return Ok(None) };
                let offer = Offer::decode(&body)?;
                *self = Receiving::Offered { length: offer.length };
                Ok(Some(Arrival::Offer(offer)))
            }
            Receiving::Data { length, came, .. } if came == length => match input.has_part() {
                true => Err(Trouble::SnapshotTooLong { offered: *length, came: came.saturating_add(1) }),
                false => Ok(None),
            },
            Receiving::Data { length, came, storing } => {
                let Some(chunk) = input.frame(CHUNK_BYTES_MAX)? else { return Ok(None) };
                let total = came.saturating_add(chunk.len() as u64);
                if total > *length {
                    return Err(Trouble::SnapshotTooLong { offered: *length, came: total });
                }
                *came = total;
                *storing += 1;
                Ok(Some(Arrival::Chunk(chunk)))
            }
            Receiving::Offered { .. } => Ok(None),
        }
    }

    /// Whether this server can take more. It wants to hear of the sender's end in any case, once all has come.
    pub(super) fn is_ready(&self) -> bool {
        match self {
            Receiving::Waiting { .. } => true,
            Receiving::Offered { .. } => false,
            Receiving::Data { length, came, storing, .. } => came == length || *storing < CHUNKS_MAX,
        }
    }

    /// This server takes what was offered. Returns whether anything was.
    pub(super) fn take(&mut self) -> bool {
        let Receiving::Offered { length } = *self else { return false };
        *self = Receiving::Data { length, came: 0, storing: 0 };
        true
    }

    /// So many chunks have been stored.
    pub(super) fn stored(&mut self, chunks: usize) {
        if let Receiving::Data { storing, .. } = self {
            *storing = storing.saturating_sub(chunks);
        }
    }

    /// Whether all data has come and been stored.
    pub(super) fn is_complete(&self) -> bool {
        matches!(self, Receiving::Data { length, came, storing: 0, .. } if came == length)
    }

    /// What the sender has to bring, and until when, if it is waited for since `since`.
    pub(super) fn deadline(&self, since: Instant, config: &LinkConfig) -> Option<(Instant, Awaited)> {
        match self {
            Receiving::Waiting { deadline } => deadline.map(|at| (at, Awaited::Offer)),
            Receiving::Data { length, came, .. } if came < length && self.is_ready() => {
                after(since, config.stall_timeout).map(|at| (at, Awaited::Data))
            }
            Receiving::Offered { .. } | Receiving::Data { .. } => None,
        }
    }

    /// What the end of the stream cuts off.
    pub(super) fn cut(&self) -> Trouble {
        match *self {
            Receiving::Waiting { .. } | Receiving::Offered { .. } => Trouble::Cut(Awaited::Offer),
            Receiving::Data { length, came, .. } if came < length => {
                Trouble::SnapshotTooShort { offered: length, came }
            }
            Receiving::Data { .. } => Trouble::Ended,
        }
    }
}
