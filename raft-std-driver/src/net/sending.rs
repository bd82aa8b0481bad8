//! A snapshot on its way out: offered, taken by the other end, sent in chunks, confirmed.

use std::time::Instant;

use raft_core::Bytes;

use super::limits::{LinkConfig, after};
use super::output::Output;
use super::trouble::{Awaited, Trouble};
use super::wire::{FrameHeader, OFFER_BYTES_MAX, Offer, Verdict};

/// How far it is. Nothing of the file is read before the receiver wants it.
pub(super) enum Sending {
    /// This server has not said what it sends.
    Ready,
    /// The receiver has not said whether it takes it.
    Offered { length: u64, deadline: Option<Instant> },
    /// The data is sent.
    Data { length: u64, sent: u64, next: Next },
    /// All of it has been handed over; the receiver makes it durable.
    Confirming { deadline: Option<Instant> },
}

/// The next chunk.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Nobody has been asked for it.
    Free,
    /// This server reads this many bytes.
    Asked(usize),
}

impl Sending {
    pub(super) fn offer(
        &mut self,
        offer: &Offer,
        config: &LinkConfig,
        output: &mut Output,
        now: Instant,
    ) -> Result<(), Trouble> {
        let Sending::Ready = self else { return Ok(()) };
        let body = offer.encode()?;
        put_frame(body.into(), OFFER_BYTES_MAX, output)?;
        *self = Sending::Offered { length: offer.length, deadline: after(now, config.stall_timeout) };
        Ok(())
    }

    /// What the receiver said: that it wants the data, or that it has stored all of it.
    pub(super) fn hear(&mut self, byte: u8, config: &LinkConfig, now: Instant) -> Result<Verdict, Trouble> {
        let verdict = Verdict::decode(byte).ok_or(Trouble::Verdict(byte))?;
        match (verdict, &self) {
            (Verdict::Go, Sending::Offered { length, .. }) => {
                let length = *length;
                *self = Sending::Data { length, sent: 0, next: Next::Free };
                self.end_data(config, now);
                Ok(Verdict::Go)
            }
            (Verdict::Stored, Sending::Confirming { .. }) => Ok(Verdict::Stored),
            (Verdict::Refused, Sending::Offered { .. } | Sending::Data { .. } | Sending::Confirming { .. }) => {
                Err(Trouble::SnapshotRefused)
            }
            _ => Err(Trouble::Verdict(byte)),
        }
    }

    /// How many bytes the next chunk should have, if one is wanted and has not been asked for.
    pub(super) fn ask(&mut self, config: &LinkConfig) -> Option<usize> {
        match self {
            Sending::Data { length, sent, next: next @ Next::Free } => {
                let left = usize::try_from(length.saturating_sub(*sent)).unwrap_or(usize::MAX);
                let asked = left.min(config.chunk_bytes());
                *next = Next::Asked(asked);
                Some(asked)
            }
            _ => None,
        }
    }

    /// Take what was asked for.
    pub(super) fn chunk(
        &mut self,
        chunk: Bytes,
        config: &LinkConfig,
        output: &mut Output,
        now: Instant,
    ) -> Result<(), Trouble> {
        let Sending::Data { length, sent, next } = self else { return Ok(()) };
        let Next::Asked(asked) = *next else { return Ok(()) };
        let came = sent.saturating_add(chunk.len() as u64);
        if chunk.len() > asked {
            return Err(Trouble::SnapshotTooLong { offered: *length, came });
        }
        if chunk.len() < asked {
            return Err(Trouble::SnapshotTooShort { offered: *length, came });
        }
        put_frame(chunk, asked, output)?;
        (*sent, *next) = (came, Next::Free);
        self.end_data(config, now);
        Ok(())
    }

    fn end_data(&mut self, config: &LinkConfig, now: Instant) {
        if let Sending::Data { length, sent, .. } = self
            && sent >= length
        {
            *self = Sending::Confirming { deadline: after(now, config.confirm_timeout) };
        }
    }

    /// The receiver has taken some of what was written: its time to confirm begins with the last byte.
    pub(super) fn written(&mut self, config: &LinkConfig, now: Instant) {
        match self {
            Sending::Offered { deadline, .. } => *deadline = after(now, config.stall_timeout),
            Sending::Confirming { deadline } => *deadline = after(now, config.confirm_timeout),
            Sending::Ready | Sending::Data { .. } => {}
        }
    }

    pub(super) fn deadline(&self) -> Option<(Instant, Awaited)> {
        match self {
            Sending::Ready | Sending::Data { .. } => None,
            Sending::Offered { deadline, .. } => deadline.map(|at| (at, Awaited::Verdict)),
            Sending::Confirming { deadline } => deadline.map(|at| (at, Awaited::Confirmation)),
        }
    }

    /// What the end of the stream would cut off.
    pub(super) fn awaited(&self) -> Option<Awaited> {
        match self {
            Sending::Ready => None,
            Sending::Offered { .. } => Some(Awaited::Verdict),
            Sending::Data { .. } | Sending::Confirming { .. } => Some(Awaited::Confirmation),
        }
    }
}

fn put_frame(body: Bytes, max: usize, output: &mut Output) -> Result<(), Trouble> {
    let header = FrameHeader::new(body.len(), crc32c::crc32c(&body), max)?;
    output.gather(&header.encode());
    output.push(body);
    Ok(())
}
