//! One stream between two servers: handshake, then what it is for, each with its deadlines.

use std::fmt;
use std::io::IoSlice;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use raft_core::{Bytes, NodeId, codec};

use super::handshake::{Handshake, Side};
use super::input::Input;
use super::limits::{LinkConfig, after};
use super::output::{Frame, Output};
use super::receiving::Receiving;
use super::session::{Security, Session};
use super::state::{Heard, Parts, State};
use super::trouble::{Awaited, Trouble};
use super::wire::{self, Channel, HelloError, Offer, PROTOCOL, Refusal, Verdict};

/// At most so often a link says that part of a message has come.
const ARRIVING_PAUSE: Duration = Duration::from_millis(10);

/// As long, and for as many bytes, a refused peer is listened to. A socket that is closed with something unread is reset,
/// and the reset may overtake the answer.
const PARTING: Duration = Duration::from_millis(200);
const PARTING_BYTES_MAX: usize = 64 << 10;

/// One stream between two servers. See the [module](super) for its life.
pub struct Link {
    config: Arc<LinkConfig>,
    session: Session,
    input: Input,
    output: Output,
    state: State,
    /// When something came last.
    heard_at: Instant,
    /// When the other end took something last, or something began to wait; nothing while nothing waits.
    taken_at: Option<Instant>,
    /// When this server began to wait for the other end again: what it kept waiting itself is not late.
    resumed_at: Instant,
    /// When the link said last that part of a message has come.
    arriving_at: Instant,
}

impl Link {
    /// The link of a socket that has just been connected to `peer`: says hello.
    ///
    /// # Errors
    /// If no name of a certificate can be made of `peer`'s id.
    pub fn dial(
        config: &Arc<LinkConfig>,
        security: &Security,
        peer: NodeId,
        channel: Channel,
        now: Instant,
    ) -> Result<Link, Trouble> {
        Link::new(config, Session::dial(security, peer)?, Side::Dialing { peer, channel }, now)
    }

    /// The link of a socket that has just been accepted.
    ///
    /// # Errors
    /// If no TLS session can be made.
    pub fn accept(config: &Arc<LinkConfig>, security: &Security, now: Instant) -> Result<Link, Trouble> {
        Link::new(config, Session::accept(security)?, Side::Accepting, now)
    }

    fn new(config: &Arc<LinkConfig>, session: Session, side: Side, now: Instant) -> Result<Link, Trouble> {
        let mut link = Link {
            config: Arc::clone(config),
            session,
            input: Input::new(),
            output: Output::default(),
            state: State::Handshake(Handshake::new(side, after(now, config.handshake_timeout))),
            heard_at: now,
            taken_at: None,
            resumed_at: now,
            arriving_at: now,
        };
        link.next(now)?;
        Ok(link)
    }

    /// Where the socket is to be read into, while [`wants_read`](Link::wants_read). Long frames are read in place.
    pub fn room(&mut self) -> &mut [u8] {
        let wanted = match &self.state {
            State::Handshake(handshake) if self.session.is_open() => handshake.bytes_wanted(&self.input),
            _ => usize::MAX,
        };
        let room = self.session.room(&mut self.input);
        let count = room.len().min(wanted);
        room.get_mut(..count).unwrap_or_default()
    }

    /// So many bytes have been read into the [`room`](Link::room); 0 at the end of the stream. Call [`next`](Link::next)
    /// then.
    pub fn received(&mut self, count: usize, now: Instant) {
        match count {
            0 => self.input.end(),
            _ => {
                self.session.filled(&mut self.input, count, now);
                self.heard_at = now;
                if let State::Parting { bytes_left, .. } = &mut self.state {
                    *bytes_left = bytes_left.saturating_sub(count);
                }
            }
        }
    }

    /// What has been heard; to be called until there is nothing.
    ///
    /// # Errors
    /// Why the link has ended, once. It is over at once, or as soon as its last words have been written: keep its socket
    /// until it [`is_over`](Link::is_over).
    pub fn next(&mut self, now: Instant) -> Result<Option<Heard>, Trouble> {
        let heard = self.listen(now).map_err(|trouble| self.end(trouble, now));
        self.settle(now);
        heard
    }

    /// Let the peer in that said [`Heard::Hello`]. Without effect if none has, or no longer waits.
    pub fn admit(&mut self, now: Instant) {
        if let Some(channel) = self.state.decides() {
            self.output.gather(&wire::encode_answer(Ok(())));
            self.input.expect_frames();
            self.resumed_at = now;
            self.state = match channel {
                Channel::Messages => State::Reading,
                Channel::Snapshot => {
                    State::Receiving(Receiving::Waiting { deadline: after(now, self.config.stall_timeout) })
                }
            };
            self.settle(now);
        }
    }

    /// Turn away the peer that said [`Heard::Hello`]. The link is over once it knows, or a moment later. Without effect if
    /// none has, or no longer waits.
    pub fn refuse(&mut self, why: Refusal, now: Instant) {
        if self.state.decides().is_some() {
            self.part(&wire::encode_answer(Err(why)), PARTING, now);
        }
    }

    /// Whether frames may be sent, and less than `batch_bytes` wait to be written.
    #[must_use]
    pub fn takes_frames(&self) -> bool {
        matches!(self.state, State::Writing) && self.unsent_bytes() < self.config.batch_bytes.max(1)
    }

    /// Send a frame. Without effect unless the link is for messages and has been [admitted](Heard::Admitted).
    pub fn send(&mut self, frame: Frame, now: Instant) {
        if let State::Writing = self.state {
            self.output.push_frame(frame);
            self.settle(now);
        }
    }

    /// How many bytes wait to be written.
    #[must_use]
    pub fn unsent_bytes(&self) -> usize {
        self.output.len().saturating_add(self.session.pending())
    }

    /// Append what is to be written now, in one vectored write.
    pub fn unsent<'a>(&'a self, slices: &mut Vec<IoSlice<'a>>) {
        self.session.slices(&self.output, slices);
    }

    /// The other end has taken so many bytes.
    pub fn written(&mut self, count: usize, now: Instant) {
        self.session.written(&mut self.output, count);
        if count > 0 {
            self.taken_at = None;
            if let State::Sending(sending) = &mut self.state {
                sending.written(&self.config, now);
            }
        }
        self.settle(now);
    }

    /// Whether the socket should be read.
    #[must_use]
    pub fn wants_read(&self) -> bool {
        self.state.wants_read() && !self.input.is_ended() && self.session.has_room(&self.input)
    }

    /// Whether something waits to be written.
    #[must_use]
    pub fn wants_write(&self) -> bool {
        !self.is_over() && self.unsent_bytes() > 0
    }

    /// Whether only the last words are left to be written and heard.
    #[must_use]
    pub fn is_parting(&self) -> bool {
        matches!(self.state, State::Parting { .. })
    }

    /// Whether the socket can be closed.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// When [`expire`](Link::expire) is to be called; never, if nothing is waited for.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.deadline().map(|(at, _)| at)
    }

    /// Give the link up, if something has not come in time.
    ///
    /// # Errors
    /// What that is. The link is over then. A link that was refused ends without an error.
    pub fn expire(&mut self, now: Instant) -> Result<(), Trouble> {
        let Some((_, awaited)) = self.deadline().filter(|(at, _)| *at <= now) else { return Ok(()) };
        let state = mem::replace(&mut self.state, State::Over);
        self.settle(now);
        match state {
            State::Parting { .. } => Ok(()),
            _ => Err(Trouble::TimedOut(awaited)),
        }
    }

    /// Offer a snapshot, on a link of [`Channel::Snapshot`] that has been [admitted](Heard::Admitted); elsewhere without
    /// effect. Ends with [`Heard::Wanted`] or an error.
    ///
    /// # Errors
    /// If the offer is too large.
    pub fn offer(&mut self, offer: &Offer, now: Instant) -> Result<(), Trouble> {
        let State::Sending(sending) = &mut self.state else { return Ok(()) };
        let offered = sending.offer(offer, &self.config, &mut self.output, now);
        self.settle(now);
        offered.map_err(|trouble| self.end(trouble, now))
    }

    /// How many bytes of the snapshot are to be read and given to [`chunk`](Link::chunk): asked once for each chunk, and
    /// only when less than one waits to be written.
    pub fn wants_chunk(&mut self) -> Option<usize> {
        let has_room = self.unsent_bytes() < self.config.chunk_bytes();
        match &mut self.state {
            State::Sending(sending) if has_room => sending.ask(&self.config),
            _ => None,
        }
    }

    /// The bytes that [`wants_chunk`](Link::wants_chunk) asked for; without effect if it did not. The caller makes sure
    /// that the file ends where the offer said.
    ///
    /// # Errors
    /// If they are not as many, because the file is shorter, say.
    pub fn chunk(&mut self, chunk: Bytes, now: Instant) -> Result<(), Trouble> {
        let State::Sending(sending) = &mut self.state else { return Ok(()) };
        let taken = sending.chunk(chunk, &self.config, &mut self.output, now);
        self.settle(now);
        taken.map_err(|trouble| self.end(trouble, now))
    }

    /// Take the snapshot that was [offered](Heard::Offer). Without effect if none was.
    pub fn take(&mut self, now: Instant) {
        if let State::Receiving(receiving) = &mut self.state
            && receiving.take()
        {
            self.resumed_at = now;
            self.output.gather(&[Verdict::Go.encode()]);
            self.settle(now);
        }
    }

    /// So many [chunks](Heard::Chunk) have been stored: call [`next`](Link::next) again, for more may have come.
    pub fn stored(&mut self, chunks: usize, now: Instant) {
        if let State::Receiving(receiving) = &mut self.state {
            receiving.stored(chunks);
            self.resumed_at = now;
        }
    }

    /// Whether all of a snapshot's data has come and been stored: make it durable, and [`confirm`](Link::confirm).
    #[must_use]
    pub fn is_complete(&self) -> bool {
        matches!(&self.state, State::Receiving(receiving) if receiving.is_complete())
    }

    /// The snapshot is durable here. The link is over once the other end knows. Without effect if it is not complete.
    pub fn confirm(&mut self, now: Instant) {
        if self.is_complete() {
            self.part(&[Verdict::Stored.encode()], self.config.stall_timeout, now);
        }
    }

    /// The snapshot cannot be taken, or not be stored. The link is over once the other end knows, or a moment later.
    /// Without effect if none has been offered.
    pub fn fail(&mut self, now: Instant) {
        if let State::Receiving(Receiving::Offered { .. } | Receiving::Data { .. }) = self.state {
            self.part(&[Verdict::Refused.encode()], PARTING, now);
        }
    }

    fn listen(&mut self, now: Instant) -> Result<Option<Heard>, Trouble> {
        loop {
            let Link { config, session, input, output, state, .. } = self;
            let heard = state.advance(Parts { config, session, input, output }, now)?;
            if heard.is_some() {
                return Ok(heard);
            }
            if self.is_over() || !self.session.decrypt(&mut self.input)? {
                break;
            }
        }
        if self.input.is_ended() {
            self.state.end_of_input(&self.input)?;
        }
        Ok(self.arriving(now))
    }

    /// Whether part of a message has come, and it is time to say so.
    fn arriving(&mut self, now: Instant) -> Option<Heard> {
        let State::Reading = self.state else { return None };
        let term = self.input.begun().and_then(codec::message_term)?;
        if now.saturating_duration_since(self.arriving_at) < ARRIVING_PAUSE {
            return None;
        }
        self.arriving_at = now;
        Some(Heard::Arriving(term))
    }

    /// End because of `trouble`: at once, or when the other end has been told.
    fn end(&mut self, trouble: Trouble, now: Instant) -> Trouble {
        match &trouble {
            Trouble::Unwanted { why, .. } => self.part(&wire::encode_answer(Err(*why)), PARTING, now),
            Trouble::Hello(HelloError::Version { .. }) => {
                self.part(&wire::encode_answer(Err(Refusal::Version { theirs: PROTOCOL })), PARTING, now);
            }
            // TLS has an alert for the other end.
            #[cfg(feature = "tls")]
            Trouble::Tls(_) => self.part(&[], PARTING, now),
            _ => self.state = State::Over,
        }
        trouble
    }

    /// Say the last words, and listen until the other end has heard them.
    fn part(&mut self, last_words: &[u8], patience: Duration, now: Instant) {
        self.output.gather(last_words);
        self.input.clear();
        self.state = State::Parting { deadline: after(now, patience), bytes_left: PARTING_BYTES_MAX };
        self.settle(now);
    }

    /// After every change: encrypt what can be encrypted, let the clock of the writes run, notice the end of a parting.
    fn settle(&mut self, now: Instant) {
        self.session.encrypt(&mut self.output);
        let waiting = self.unsent_bytes() > 0;
        self.taken_at = if waiting { self.taken_at.or(Some(now)) } else { None };
        if let State::Parting { bytes_left, .. } = self.state
            && (bytes_left == 0 || (self.input.is_ended() && !waiting))
        {
            self.state = State::Over;
        }
        if self.is_over() {
            self.output.clear();
            self.taken_at = None;
        }
    }

    /// The first thing that is waited for, and until when.
    fn deadline(&self) -> Option<(Instant, Awaited)> {
        let since = self.heard_at.max(self.resumed_at);
        let reading = self.state.deadline(&self.input, since, &self.config);
        let record = self.session.record_began().filter(|_| self.state.wants_read());
        let record = record.map(|began| (began.max(self.resumed_at), Awaited::Frame));
        let writing = self.taken_at.map(|at| (at, Awaited::Write));
        let stalls = record.into_iter().chain(writing);
        let stalls = stalls.filter_map(|(at, awaited)| Some((after(at, self.config.stall_timeout)?, awaited)));
        reading.into_iter().chain(stalls).min_by_key(|(at, _)| *at)
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("state", &self.state.name())
            .field("unsent_bytes", &self.unsent_bytes())
            .finish_non_exhaustive()
    }
}
