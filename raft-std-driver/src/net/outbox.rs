//! What waits for one peer. It outlives the connections to that peer.

use std::collections::VecDeque;
use std::mem;
use std::time::Instant;

use raft_core::{Message, Rpc};

use super::limits::LinkConfig;
use super::link::Link;
use super::output::Frame;

/// Which queue a frame waits in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// Votes, replies, heartbeats: they pass what waits. Of too many the oldest are dropped, for the newest say most.
    Urgent,
    /// AppendEntries with entries. They go in order; when they are too many, all of them are dropped, for without the ones
    /// before it none is of use.
    Append,
}

impl Urgency {
    /// The urgency of a message.
    #[must_use]
    pub fn of(message: &Message) -> Urgency {
        match &message.rpc {
            Rpc::AppendEntries { entries, .. } if !entries.is_empty() => Urgency::Append,
            _ => Urgency::Urgent,
        }
    }
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Posted {
    /// It waits to be written.
    Queued,
    /// There was no room: it is gone, and all AppendEntries that waited before it. The core should hear that the peer is
    /// unreachable.
    Overflowed {
        /// How many AppendEntries are gone.
        lost: usize,
    },
}

/// What waits for one peer: bounded, urgent frames before AppendEntries.
#[derive(Debug)]
pub struct Outbox {
    urgent_max: usize,
    appends_max: usize,
    bytes_max: usize,
    urgent: VecDeque<Frame>,
    appends: VecDeque<Frame>,
    append_bytes: usize,
}

impl Outbox {
    /// An empty one with the limits of `config`.
    #[must_use]
    pub fn new(config: &LinkConfig) -> Outbox {
        Outbox {
            urgent_max: config.queue_urgent_max.max(1),
            appends_max: config.queue_appends_max,
            bytes_max: config.queue_bytes_max,
            urgent: VecDeque::new(),
            appends: VecDeque::new(),
            append_bytes: 0,
        }
    }

    /// Leave a frame for the peer.
    pub fn post(&mut self, frame: Frame, urgency: Urgency) -> Posted {
        match urgency {
            Urgency::Urgent => {
                if self.urgent.len() >= self.urgent_max {
                    self.urgent.pop_front();
                }
                self.urgent.push_back(frame);
            }
            Urgency::Append => {
                let bytes = self.append_bytes.saturating_add(frame.len());
                let full = self.appends.len() >= self.appends_max || bytes > self.bytes_max;
                if full && !self.appends.is_empty() {
                    return Posted::Overflowed { lost: self.drop_appends() + 1 };
                }
                self.append_bytes = bytes;
                self.appends.push_back(frame);
            }
        }
        Posted::Queued
    }

    /// Move frames into `link`, while that takes frames and has less than `batch_bytes` unsent. Returns how many went.
    pub fn fill(&mut self, link: &mut Link, now: Instant) -> usize {
        let mut moved = 0;
        while link.takes_frames() {
            let frame = match self.urgent.pop_front() {
                Some(frame) => frame,
                None => match self.appends.pop_front() {
                    Some(frame) => {
                        self.append_bytes = self.append_bytes.saturating_sub(frame.len());
                        frame
                    }
                    None => break,
                },
            };
            link.send(frame, now);
            moved += 1;
        }
        moved
    }

    /// Drop everything, because there is no connection. Returns how many AppendEntries were among it.
    pub fn clear(&mut self) -> usize {
        self.urgent.clear();
        self.drop_appends()
    }

    /// How many frames wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.urgent.len() + self.appends.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.urgent.is_empty() && self.appends.is_empty()
    }

    fn drop_appends(&mut self) -> usize {
        self.append_bytes = 0;
        mem::take(&mut self.appends).len()
    }
}
