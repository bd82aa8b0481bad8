//! What waits to be written to one peer: bounded, and never in the way of who posts it.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use raft_core::{Message, Rpc};

use crate::queue::lock;

/// What a message without entries counts.
const MESSAGE_BYTES: u64 = 64;

/// How much a mailbox holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// AppendEntries.
    pub(super) appends_max: usize,
    /// Bytes of AppendEntries; one is taken whatever its size.
    pub(super) bytes_max: u64,
    /// Votes and replies.
    pub(super) urgent_max: usize,
    /// About how many bytes are handed out at once.
    pub(super) batch_bytes: u64,
}

/// Votes and replies wait apart from AppendEntries, which can neither crowd them out nor delay them.
pub(super) struct Mailbox {
    limits: Limits,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    urgent: VecDeque<Message>,
    appends: VecDeque<Message>,
    append_bytes: u64,
    /// Whether the writer waits, so that posting to a busy one costs no system call.
    waiting: bool,
    /// The connection is gone.
    broken: bool,
    /// There is reason to connect at once.
    kicked: bool,
    closed: bool,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Posted {
    /// It waits to be written.
    Queued,
    /// There was no room: it is gone, and all AppendEntries that waited before it, for without them it is no use.
    Overflowed,
}

impl Mailbox {
    pub(super) fn new(limits: Limits) -> Mailbox {
        Mailbox { limits, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Leave a message for the writer.
    pub(super) fn post(&self, message: Message) -> Posted {
        let bytes = match &message.rpc {
            Rpc::AppendEntries { entries, .. } => Some(MESSAGE_BYTES + entries.bytes()),
            _ => None,
        };
        let mut state = lock(&self.state);
        if state.closed {
            return Posted::Queued;
        }
        match bytes {
            // Of votes and replies the newest say most.
            None => {
                if state.urgent.len() >= self.limits.urgent_max {
                    state.urgent.pop_front();
                }
                state.urgent.push_back(message);
            }
            Some(bytes) => {
                let full = state.appends.len() >= self.limits.appends_max
                    || state.append_bytes + bytes > self.limits.bytes_max;
                if full && !state.appends.is_empty() {
                    let lost = state.take_appends();
                    drop(state);
                    drop(lost);
                    return Posted::Overflowed;
                }
                state.append_bytes += bytes;
                state.appends.push_back(message);
            }
        }
        if state.waiting {
            self.changed.notify_one();
        }
        Posted::Queued
    }

    /// Wait for mail and move about `batch_bytes` of it to `batch`, votes and replies first. `false` when the connection
    /// is over.
    pub(super) fn take(&self, batch: &mut Vec<Message>) -> bool {
        let mut state = lock(&self.state);
        while !state.broken && !state.closed && state.urgent.is_empty() && state.appends.is_empty() {
            state.waiting = true;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting = false;
        }
        if state.broken || state.closed {
            return false;
        }
        batch.extend(state.urgent.drain(..));
        let mut taken = 0;
        while taken < self.limits.batch_bytes {
            let Some(message) = state.appends.pop_front() else { break };
            if let Rpc::AppendEntries { entries, .. } = &message.rpc {
                taken += MESSAGE_BYTES + entries.bytes();
            }
            batch.push(message);
        }
        state.append_bytes = if state.appends.is_empty() { 0 } else { state.append_bytes.saturating_sub(taken) };
        true
    }

    /// Drop all mail of a connection that is over or never came to be, and say whether AppendEntries were among it.
    pub(super) fn lose(&self) -> bool {
        let mut state = lock(&self.state);
        state.broken = false;
        let lost = (mem::take(&mut state.urgent), state.take_appends());
        drop(state);
        !lost.1.is_empty()
    }

    /// Wait before the next attempt to connect, less long if there is reason to.
    pub(super) fn pause(&self, time: Duration) {
        let deadline = Instant::now() + time;
        let mut state = lock(&self.state);
        while !state.kicked && !state.closed {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.kicked = false;
    }

    /// The connection is gone.
    pub(super) fn break_off(&self) {
        self.change(|state| state.broken = true);
    }

    /// The peer was heard: it is worth to connect now.
    pub(super) fn kick(&self) {
        self.change(|state| state.kicked = true);
    }

    /// No more mail.
    pub(super) fn close(&self) {
        self.change(|state| state.closed = true);
        self.lose();
    }

    pub(super) fn is_closed(&self) -> bool {
        lock(&self.state).closed
    }

    fn change(&self, change: impl FnOnce(&mut MutexGuard<'_, State>)) {
        change(&mut lock(&self.state));
        self.changed.notify_all();
    }
}

impl State {
    fn take_appends(&mut self) -> VecDeque<Message> {
        self.append_bytes = 0;
        mem::take(&mut self.appends)
    }
}

#[cfg(test)]
mod tests {
    use raft_core::{Entries, Entry, EntryId, Incarnation, Index, Payload, Term};

    use super::*;

    const LIMITS: Limits = Limits { appends_max: 3, bytes_max: 1000, urgent_max: 2, batch_bytes: 150 };

    fn message(rpc: Rpc) -> Message {
        Message { term: Term(1), incarnation: Incarnation(1), rpc }
    }

    fn append(round: u64, bytes: usize) -> Message {
        let entry = Entry { term: Term(1), payload: Payload::Command(vec![0; bytes].into()) };
        let entries = Entries::from_vec(Index(1), vec![entry]).unwrap();
        message(Rpc::AppendEntries { prev: EntryId::ZERO, entries, commit: Index(0), round, reply: true })
    }

    fn vote(index: u64) -> Message {
        message(Rpc::RequestVote { last: EntryId::new(1, index) })
    }

    fn taken(mailbox: &Mailbox) -> Vec<Message> {
        let mut batch = Vec::new();
        assert!(mailbox.take(&mut batch));
        batch
    }

    #[test]
    fn votes_pass_appends_and_batches_are_bounded() {
        let mailbox = Mailbox::new(LIMITS);
        for message in [append(1, 0), append(2, 0), append(3, 0), vote(4)] {
            assert_eq!(mailbox.post(message), Posted::Queued);
        }
        assert_eq!(taken(&mailbox), [vote(4), append(1, 0), append(2, 0)], "80 bytes each: two make a batch of 150");
        assert_eq!(taken(&mailbox), [append(3, 0)]);
    }

    #[test]
    fn too_many_appends_go_together_and_votes_stay() {
        let mailbox = Mailbox::new(LIMITS);
        for message in [append(1, 0), append(2, 0), vote(9), append(3, 0)] {
            assert_eq!(mailbox.post(message), Posted::Queued);
        }
        assert_eq!(mailbox.post(append(4, 0)), Posted::Overflowed);
        assert_eq!(mailbox.post(append(5, 0)), Posted::Queued, "once per loss");
        assert_eq!(taken(&mailbox), [vote(9), append(5, 0)]);
    }

    #[test]
    fn too_many_bytes_overflow_but_one_append_may_be_larger() {
        let mailbox = Mailbox::new(LIMITS);
        assert_eq!(mailbox.post(append(1, 5000)), Posted::Queued);
        assert_eq!(mailbox.post(append(2, 0)), Posted::Overflowed);
        assert_eq!(mailbox.post(append(3, 900)), Posted::Queued);
        assert_eq!(mailbox.post(append(4, 10)), Posted::Overflowed, "980 and 90");
        assert_eq!(mailbox.post(append(5, 900)), Posted::Queued, "bytes are counted from 0 again");
        assert_eq!(taken(&mailbox), [append(5, 900)]);
        assert_eq!(mailbox.post(append(6, 900)), Posted::Queued, "what was taken counts no more");
    }

    #[test]
    fn of_votes_and_replies_the_newest_stay() {
        let mailbox = Mailbox::new(LIMITS);
        for index in 1..=4 {
            assert_eq!(mailbox.post(vote(index)), Posted::Queued);
        }
        assert_eq!(taken(&mailbox), [vote(3), vote(4)]);
    }

    #[test]
    fn a_broken_connection_loses_its_mail_once() {
        let mailbox = Mailbox::new(LIMITS);
        assert_eq!(mailbox.post(append(1, 0)), Posted::Queued);
        assert_eq!(mailbox.post(vote(1)), Posted::Queued);
        mailbox.break_off();
        assert!(!mailbox.take(&mut Vec::new()));
        assert!(mailbox.lose());
        assert!(!mailbox.lose());
        assert_eq!(mailbox.post(vote(2)), Posted::Queued);
        assert_eq!(taken(&mailbox), [vote(2)], "the next connection starts empty and whole");
    }

    /// Would wait for an hour otherwise.
    #[test]
    fn a_pause_ends_when_there_is_reason() {
        let mailbox = Mailbox::new(LIMITS);
        let hour = Duration::from_secs(3600);
        mailbox.kick();
        mailbox.pause(hour);
        mailbox.close();
        mailbox.pause(hour);
        assert!(mailbox.is_closed() && !mailbox.take(&mut Vec::new()));
    }
}
