//! What a link is doing, and what it makes of the bytes that come.

use std::time::Instant;

use raft_core::{Bytes, FRAME_BYTES_MAX, Term};

use super::handshake::{Handshake, Met};
use super::input::Input;
use super::limits::{LinkConfig, after};
use super::output::Output;
use super::receiving::{Arrival, Receiving};
use super::sending::Sending;
use super::session::Session;
use super::trouble::{Awaited, Trouble};
use super::wire::{Channel, Hello, MAGIC, Offer, Verdict};

/// What a link has heard.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Heard {
    /// The other end speaks another protocol: it began with these bytes, and not one more has been read. The link is over;
    /// the socket may serve something else. Only where connections are open.
    Stranger {
        /// What has been read.
        first: [u8; MAGIC.len()],
    },
    /// A peer wants to come in: [`admit`](super::Link::admit) or [`refuse`](super::Link::refuse) it. Cluster, birth, the server looked
    /// for and the certificate's name have been checked.
    Hello(Hello),
    /// The accepting side takes this server in: frames may be sent, or a snapshot offered.
    Admitted,
    /// The body of a frame.
    Frame(Bytes),
    /// Part of a message of this term has come, and the rest has not. At most every 10 ms.
    Arriving(Term),
    /// A snapshot is offered: [`take`](super::Link::take) it, or [`fail`](super::Link::fail).
    Offer(Offer),
    /// The next part of the snapshot's data; say when it is [`stored`](super::Link::stored). What is to be done when all is
    /// stored: [`is_complete`](super::Link::is_complete).
    Chunk(Bytes),
    /// The receiver wants the snapshot's data: it is asked for by [`wants_chunk`](super::Link::wants_chunk).
    Wanted,
    /// The receiver has made the snapshot durable. The link is over.
    Stored,
}

/// What a link is doing.
pub(super) enum State {
    /// The ends get to know each other.
    Handshake(Handshake),
    /// Frames go out; nothing comes in.
    Writing,
    /// Frames come in; nothing goes out.
    Reading,
    /// A snapshot goes out.
    Sending(Sending),
    /// A snapshot comes in.
    Receiving(Receiving),
    /// The last words are being written; the other end is listened to, so that it hears them.
    Parting {
        deadline: Option<Instant>,
        bytes_left: usize,
    },
    Over,
}

/// The parts of a link that its state works with.
pub(super) struct Parts<'a> {
    pub(super) config: &'a LinkConfig,
    pub(super) session: &'a mut Session,
    pub(super) input: &'a mut Input,
    pub(super) output: &'a mut Output,
}

impl State {
    /// What the bytes that have come amount to.
    pub(super) fn advance(&mut self, parts: Parts<'_>, now: Instant) -> Result<Option<Heard>, Trouble> {
        let Parts { config, session, input, output } = parts;
        match self {
            State::Handshake(handshake) => match handshake.advance(config, session, input, output)? {
                Some(Met::Hello(hello)) => Ok(Some(Heard::Hello(hello))),
                Some(Met::Stranger(first)) => {
                    *self = State::Over;
                    Ok(Some(Heard::Stranger { first }))
                }
                Some(Met::Admitted(channel)) => {
                    input.expect_frames();
                    *self = match channel {
                        Channel::Messages => State::Writing,
                        Channel::Snapshot => State::Sending(Sending::Ready),
                    };
                    Ok(Some(Heard::Admitted))
                }
                None => Ok(None),
            },
            State::Writing if input.has_part() => Err(Trouble::Unexpected),
            State::Writing | State::Over => Ok(None),
            State::Reading => Ok(input.frame(FRAME_BYTES_MAX)?.map(Heard::Frame)),
            State::Sending(sending) => {
                let Some([byte]) = input.take() else { return Ok(None) };
                if sending.hear(byte, config, now)? == Verdict::Go {
                    return Ok(Some(Heard::Wanted));
                }
                *self = State::Over;
                Ok(Some(Heard::Stored))
            }
            State::Receiving(receiving) => Ok(receiving.hear(input)?.map(|arrival| match arrival {
                Arrival::Offer(offer) => Heard::Offer(offer),
                Arrival::Chunk(chunk) => Heard::Chunk(chunk),
            })),
            State::Parting { .. } => {
                input.clear();
                Ok(None)
            }
        }
    }

    /// What the connection will be for, while this server decides whether it takes the other end in.
    pub(super) fn decides(&self) -> Option<Channel> {
        match self {
            State::Handshake(handshake) => handshake.decides(),
            _ => None,
        }
    }

    /// Whether more can be made something of.
    pub(super) fn wants_read(&self) -> bool {
        match self {
            State::Over => false,
            State::Handshake(handshake) => handshake.decides().is_none(),
            State::Receiving(receiving) => receiving.is_ready(),
            State::Writing | State::Reading | State::Sending(_) | State::Parting { .. } => true,
        }
    }

    /// The other end says no more, and nothing can be made of what is left: whether that is what it may do.
    pub(super) fn end_of_input(&self, input: &Input) -> Result<(), Trouble> {
        let awaited = match self {
            _ if !self.wants_read() => return Ok(()),
            State::Parting { .. } | State::Over => return Ok(()),
            State::Receiving(receiving) => return Err(receiving.cut()),
            State::Handshake(handshake) => return Err(handshake.cut(input)),
            State::Sending(sending) => sending.awaited(),
            State::Writing | State::Reading => input.has_part().then_some(Awaited::Frame),
        };
        Err(awaited.map_or(Trouble::Ended, Trouble::Cut))
    }

    /// What the other end has to bring, and until when, if it is waited for since `since`.
    pub(super) fn deadline(&self, input: &Input, since: Instant, config: &LinkConfig) -> Option<(Instant, Awaited)> {
        match self {
            State::Handshake(handshake) => handshake.deadline.map(|at| (at, Awaited::Handshake)),
            State::Parting { deadline, .. } => deadline.map(|at| (at, Awaited::Write)),
            State::Reading if input.has_part() => after(since, config.stall_timeout).map(|at| (at, Awaited::Frame)),
            State::Sending(sending) => sending.deadline(),
            State::Receiving(receiving) => receiving.deadline(since, config),
            State::Writing | State::Reading | State::Over => None,
        }
    }

    /// For people.
    pub(super) fn name(&self) -> &'static str {
        match self {
            State::Handshake(_) => "handshake",
            State::Writing => "writing",
            State::Reading => "reading",
            State::Sending(_) => "sending",
            State::Receiving(_) => "receiving",
            State::Parting { .. } => "parting",
            State::Over => "over",
        }
    }
}
