//! What waits to be written to one peer: bounded, and never in the way of who posts it.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::mem;
use std::task::{Context, Poll, Waker};

use raft_core::{Message, Rpc};

use crate::queue::lock;
use crate::sync::Mutex;

/// What a message without entries counts.
const MESSAGE_BYTES: u64 = 64;

/// How much a mailbox holds.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// AppendEntries.
    pub appends_max: usize,
    /// Bytes of AppendEntries; one is taken whatever its size.
    pub bytes_max: u64,
    /// Votes and replies.
    pub urgent_max: usize,
    /// About how many bytes are handed out at once.
    pub batch_bytes: u64,
}

/// What waits for one peer. Votes and replies wait apart from AppendEntries, which can neither crowd them out nor delay them.
///
/// Many may post, one writes: a thread or a task.
pub struct Mailbox {
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    urgent: VecDeque<Message>,
    appends: VecDeque<Message>,
    append_bytes: u64,
    /// The writer, while it waits for mail: posting to a busy one wakes nobody.
    reader: Option<Waker>,
    /// The writer, while it waits to connect again.
    pauser: Option<Waker>,
    /// The connection is gone.
    broken: bool,
    /// There is reason to connect at once.
    kicked: bool,
    closed: bool,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Posted {
    /// It waits to be written.
    Queued,
    /// There was no room: it is gone, and all AppendEntries that waited before it, for without them it is no use.
    Overflowed {
        /// How many AppendEntries are gone.
        lost: usize,
    },
}

impl Mailbox {
    /// An empty one.
    #[must_use]
    pub fn new(limits: Limits) -> Mailbox {
        Mailbox { limits, state: Mutex::default() }
    }

    /// Leave a message for the writer. When the mailbox is closed, nothing becomes of it.
    pub fn post(&self, message: Message) -> Posted {
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
                    || state.append_bytes.saturating_add(bytes) > self.limits.bytes_max;
                if full && !state.appends.is_empty() {
                    let lost = state.take_appends();
                    drop(state);
                    return Posted::Overflowed { lost: lost.len() + 1 };
                }
                state.append_bytes = state.append_bytes.saturating_add(bytes);
                state.appends.push_back(message);
            }
        }
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
        Posted::Queued
    }

    /// Move about `batch_bytes` of mail to `batch`, votes and replies first. `false` when the connection is over. Until
    /// there is mail, who polled last is woken when it comes.
    pub fn poll_take(&self, context: &mut Context<'_>, batch: &mut Vec<Message>) -> Poll<bool> {
        let mut state = lock(&self.state);
        if state.broken || state.closed {
            return Poll::Ready(false);
        }
        if state.urgent.is_empty() && state.appends.is_empty() {
            state.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        batch.extend(state.urgent.drain(..));
        let mut taken: u64 = 0;
        while taken < self.limits.batch_bytes {
            let Some(message) = state.appends.pop_front() else { break };
            if let Rpc::AppendEntries { entries, .. } = &message.rpc {
                taken = taken.saturating_add(MESSAGE_BYTES + entries.bytes());
            }
            batch.push(message);
        }
        state.append_bytes = if state.appends.is_empty() { 0 } else { state.append_bytes.saturating_sub(taken) };
        Poll::Ready(true)
    }

    /// Wait for mail: see [`poll_take`](Mailbox::poll_take). Nothing is lost if the future is dropped.
    pub fn take<'a>(&'a self, batch: &'a mut Vec<Message>) -> impl Future<Output = bool> + 'a {
        poll_fn(move |context| self.poll_take(context, batch))
    }

    /// Drop all mail of a connection that is over or never came to be, and say how many AppendEntries were among it.
    pub fn lose(&self) -> usize {
        let mut state = lock(&self.state);
        state.broken = false;
        let lost = (mem::take(&mut state.urgent), state.take_appends());
        drop(state);
        lost.1.len()
    }

    /// Wait until there is reason to connect at once, or the mailbox is closed. Whoever pauses between two attempts waits
    /// for this or for the clock, whichever comes first.
    pub fn reason(&self) -> impl Future<Output = ()> {
        poll_fn(|context| {
            let mut state = lock(&self.state);
            if mem::take(&mut state.kicked) || state.closed {
                return Poll::Ready(());
            }
            state.pauser = Some(context.waker().clone());
            Poll::Pending
        })
    }

    /// The connection is gone.
    pub fn break_off(&self) {
        self.change(|state| state.broken = true);
    }

    /// The peer was heard: it is worth to connect now.
    pub fn kick(&self) {
        self.change(|state| state.kicked = true);
    }

    /// No more mail.
    pub fn close(&self) {
        self.change(|state| state.closed = true);
        self.lose();
    }

    /// How many messages wait.
    #[must_use]
    pub fn len(&self) -> usize {
        let state = lock(&self.state);
        state.urgent.len() + state.appends.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        lock(&self.state).closed
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let wakers = {
            let mut state = lock(&self.state);
            change(&mut state);
            [state.reader.take(), state.pauser.take()]
        };
        wakers.into_iter().flatten().for_each(Waker::wake);
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
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use raft_core::{Entries, Entry, EntryId, Incarnation, Index, Payload, Term};

    use super::*;
    use crate::workers::block_on;

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
        message(Rpc::RequestVote { last: EntryId::new(1, index), transfer: false })
    }

    fn taken(mailbox: &Mailbox) -> Vec<Message> {
        let mut batch = Vec::new();
        assert!(block_on(mailbox.take(&mut batch)));
        batch
    }

    #[test]
    fn votes_pass_appends_and_batches_are_bounded() {
        let mailbox = Mailbox::new(LIMITS);
        for message in [append(1, 0), append(2, 0), append(3, 0), vote(4)] {
            assert_eq!(mailbox.post(message), Posted::Queued);
        }
        assert_eq!(mailbox.len(), 4);
        assert_eq!(taken(&mailbox), [vote(4), append(1, 0), append(2, 0)], "80 bytes each: two make a batch of 150");
        assert_eq!(taken(&mailbox), [append(3, 0)]);
        assert!(mailbox.is_empty());
    }

    #[test]
    fn too_many_appends_go_together_and_votes_stay() {
        let mailbox = Mailbox::new(LIMITS);
        for message in [append(1, 0), append(2, 0), vote(9), append(3, 0)] {
            assert_eq!(mailbox.post(message), Posted::Queued);
        }
        assert_eq!(mailbox.post(append(4, 0)), Posted::Overflowed { lost: 4 });
        assert_eq!(mailbox.post(append(5, 0)), Posted::Queued, "once per loss");
        assert_eq!(taken(&mailbox), [vote(9), append(5, 0)]);
    }

    #[test]
    fn too_many_bytes_overflow_but_one_append_may_be_larger() {
        let mailbox = Mailbox::new(LIMITS);
        assert_eq!(mailbox.post(append(1, 5000)), Posted::Queued);
        assert_eq!(mailbox.post(append(2, 0)), Posted::Overflowed { lost: 2 });
        assert_eq!(mailbox.post(append(3, 900)), Posted::Queued);
        assert_eq!(mailbox.post(append(4, 10)), Posted::Overflowed { lost: 2 }, "980 and 90");
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
        assert!(!block_on(mailbox.take(&mut Vec::new())));
        assert_eq!(mailbox.lose(), 1);
        assert_eq!(mailbox.lose(), 0);
        assert_eq!(mailbox.post(vote(2)), Posted::Queued);
        assert_eq!(taken(&mailbox), [vote(2)], "the next connection starts empty and whole");
    }

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn only_who_waits_for_it_is_woken() {
        let (mailbox, reader, pauser) = (Mailbox::new(LIMITS), Arc::new(Count::default()), Arc::new(Count::default()));
        let woken = || (reader.0.load(Ordering::SeqCst), pauser.0.load(Ordering::SeqCst));
        let read = || {
            let (waker, mut batch) = (Waker::from(Arc::clone(&reader)), Vec::new());
            mailbox.poll_take(&mut Context::from_waker(&waker), &mut batch).map(|more| (more, batch.len()))
        };
        let pause = || {
            let waker = Waker::from(Arc::clone(&pauser));
            std::pin::pin!(mailbox.reason()).poll(&mut Context::from_waker(&waker))
        };
        assert_eq!((read(), pause()), (Poll::Pending, Poll::Pending));
        assert_eq!(mailbox.post(vote(1)), Posted::Queued);
        assert_eq!(mailbox.post(vote(2)), Posted::Queued);
        assert_eq!(woken(), (1, 0), "once, and not for a reason to connect");
        assert_eq!(read(), Poll::Ready((true, 2)));
        assert_eq!(mailbox.post(vote(3)), Posted::Queued);
        assert_eq!(woken(), (1, 0), "a busy writer needs no wake");
        mailbox.kick();
        assert_eq!((woken(), pause(), pause()), ((1, 1), Poll::Ready(()), Poll::Pending), "one reason, one attempt");
        assert_eq!((read(), read()), (Poll::Ready((true, 1)), Poll::Pending));
        mailbox.break_off();
        assert_eq!((woken(), read()), ((2, 2), Poll::Ready((false, 0))));
    }

    #[test]
    fn a_closed_mailbox_lets_nobody_wait() {
        let mailbox = Mailbox::new(LIMITS);
        mailbox.kick();
        block_on(mailbox.reason());
        mailbox.close();
        block_on(mailbox.reason());
        assert!(mailbox.is_closed() && !block_on(mailbox.take(&mut Vec::new())));
    }
}
