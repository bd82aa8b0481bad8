//! Who waits for what: every started command has exactly one outcome, and this file sees to it.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use futures_channel::oneshot;
use raft_core::{Bytes, EntryId, Index, Refusal};

use crate::mark::NodeMark;
use crate::storage::StorageErrorKind;
use crate::sync::{Receiver, RecvTimeoutError, SyncSender, sync_channel};

/// What became of a command that entered the log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// It was committed and applied here; this is the machine's answer.
    Applied(Bytes),
    /// Another leader's entry was committed in its place: it never took effect and never will. Safe to start again.
    Superseded,
    /// It may have taken effect or not, and this server cannot tell any more: a leader's snapshot covered its index, or
    /// the node stopped.
    Unknown,
}

/// Why a command did not enter the log. It had no effect and never will.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The server refused it, and says why; [`Refusal::NotLeader`] names the leader if it is known.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The server leads, and its log has no room to grow: the disk is full, or the process has no file descriptor left. The
    /// node goes on by itself when there is room again.
    #[error("the leader's log has no room to grow ({why}): try again when there is")]
    NoRoom {
        /// What is short.
        why: StorageErrorKind,
    },
    /// The node has stopped.
    #[error("the node has stopped")]
    Stopped,
    /// One of the node's own parts (its machine, for one) asked for an outcome by a future of
    /// [`Control`](crate::Control), and would wait for itself.
    #[error("a thread of the node itself cannot wait for a command")]
    OwnThread,
}

/// A command that is in the log, though not yet committed.
#[derive(Debug)]
pub struct Started {
    /// Where it stands, and in which term.
    pub id: EntryId,
    words: Receiver<Word>,
    node: NodeMark,
}

impl Started {
    /// Wait until its outcome is known, however long: a leader that lost its majority waits until it is found again. On
    /// one of the node's own threads (inside of the machine, or of a callback) waiting would keep the answer from coming:
    /// there the outcome is [`Outcome::Unknown`] at once.
    pub fn wait(self) -> Outcome {
        if self.node.is_here() {
            return Outcome::Unknown;
        }
        self.words.recv().map_or(Outcome::Unknown, Word::outcome)
    }

    /// Wait for so long.
    ///
    /// # Errors
    /// Gives itself back if the outcome is not known by then.
    pub fn wait_timeout(self, timeout: Duration) -> Result<Outcome, Started> {
        match self.words.recv_timeout(timeout) {
            Ok(word) => Ok(word.outcome()),
            Err(RecvTimeoutError::Disconnected) => Ok(Outcome::Unknown),
            Err(RecvTimeoutError::Timeout) => Err(self),
        }
    }
}

/// What a [`Started`] hears: first that the command entered the log, then what became of it.
#[derive(Debug)]
enum Word {
    Entered(EntryId),
    Done(Result<Outcome, StartError>),
}

impl Word {
    fn outcome(self) -> Outcome {
        match self {
            Word::Done(Ok(outcome)) => outcome,
            Word::Done(Err(_)) | Word::Entered(_) => Outcome::Unknown,
        }
    }
}

/// What [`Node::submit`](crate::Node::submit) calls.
type Call = Box<dyn FnOnce(Result<Outcome, StartError>) + Send>;

enum Ear {
    Channel(SyncSender<Word>),
    /// Wants to hear of the outcome only, and is told wherever it becomes known.
    Reply(oneshot::Sender<Result<Outcome, StartError>>),
    Call(Call),
}

impl Ear {
    fn hear(self, result: Result<Outcome, StartError>) {
        match self {
            // A receiver that is gone has stopped waiting.
            Ear::Channel(words) => {
                let _gone = words.try_send(Word::Done(result));
            }
            Ear::Reply(reply) => {
                let _gone = reply.send(result);
            }
            Ear::Call(call) => call(result),
        }
    }
}

/// One who waits for a command's outcome. Hears exactly one: who is dropped before it was known hears that it never will
/// be.
pub(crate) struct Waiter {
    ear: Option<Ear>,
    entered: bool,
}

/// The first half of a waiter for [`Started`].
pub(crate) struct Entrance(Receiver<Word>);

impl Entrance {
    /// Wait for the core's answer.
    pub(crate) fn wait(self, node: NodeMark) -> Result<Started, StartError> {
        match self.0.recv() {
            Ok(Word::Entered(id)) => Ok(Started { id, words: self.0, node }),
            Ok(Word::Done(Err(why))) => Err(why),
            Ok(Word::Done(Ok(_))) | Err(_) => Err(StartError::Stopped),
        }
    }
}

/// A refusal that is to be called back off the core thread: what is called may take its time.
pub(crate) struct RefusedCall {
    pub(crate) waiter: Waiter,
    why: StartError,
}

impl RefusedCall {
    pub(crate) fn call(self) {
        self.waiter.resolve(Err(self.why));
    }
}

impl Waiter {
    pub(crate) fn calling(call: Call) -> Waiter {
        Waiter { ear: Some(Ear::Call(call)), entered: false }
    }

    /// One that hears only what became of the command.
    pub(crate) fn replying() -> (Waiter, oneshot::Receiver<Result<Outcome, StartError>>) {
        let (reply, outcome) = oneshot::channel();
        (Waiter { ear: Some(Ear::Reply(reply)), entered: false }, outcome)
    }

    pub(crate) fn for_started() -> (Waiter, Entrance) {
        // Room for both words: whoever says them never waits.
        let (ear, words) = sync_channel(2);
        (Waiter { ear: Some(Ear::Channel(ear)), entered: false }, Entrance(words))
    }

    /// The command is in the log, at `id`.
    pub(crate) fn enter(&mut self, id: EntryId) {
        self.entered = true;
        if let Some(Ear::Channel(words)) = &self.ear {
            let _gone = words.try_send(Word::Entered(id));
        }
    }

    /// The core refused the command. One who waits on a channel hears it at once; a call, which may take its time, is
    /// given back to be made elsewhere.
    pub(crate) fn refuse(self, why: StartError) -> Option<RefusedCall> {
        if matches!(self.ear, Some(Ear::Call(_))) {
            return Some(RefusedCall { waiter: self, why });
        }
        self.resolve(Err(why));
        None
    }

    pub(crate) fn resolve(mut self, result: Result<Outcome, StartError>) {
        if let Some(ear) = self.ear.take() {
            ear.hear(result);
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if let Some(ear) = self.ear.take() {
            let result = if self.entered { Ok(Outcome::Unknown) } else { Err(StartError::Stopped) };
            // A call that panics must not keep the others from theirs.
            let _panic = catch_unwind(AssertUnwindSafe(|| ear.hear(result)));
        }
    }
}

/// All who wait for commands in this server's log, in the order of their ids, which is the order in which the commands
/// entered it. Only what was committed decides: truncation brings nobody an outcome, because another leader may bring the
/// entry back (Figure 8).
#[derive(Default)]
pub(crate) struct Waiters {
    parked: VecDeque<(EntryId, Waiter)>,
}

impl Waiters {
    /// These wait for consecutive entries from `first` on.
    pub(crate) fn park(&mut self, first: EntryId, waiters: Vec<Waiter>) {
        let ids = (first.index.0..).map(|index| EntryId { term: first.term, index: Index(index) });
        self.parked.extend(ids.zip(waiters));
    }

    /// The entry `id` was applied, with the machine's answer if it held a command. Terms never fall within a log, so who
    /// waits for an earlier term, at whatever index, waits for an entry that cannot be committed any more.
    pub(crate) fn applied(&mut self, id: EntryId, answer: Option<Bytes>) {
        let mut answer = answer;
        while self.parked.front().is_some_and(|(parked, _)| *parked <= id) {
            let Some((parked, waiter)) = self.parked.pop_front() else { return };
            let outcome = match answer.take_if(|_| parked == id) {
                Some(answer) => Outcome::Applied(answer),
                None => Outcome::Superseded,
            };
            waiter.resolve(Ok(outcome));
        }
    }

    /// The machine was restored from a snapshot that ends at `last`: what it covers may or may not have taken effect.
    pub(crate) fn restored(&mut self, last: EntryId) {
        for (id, waiter) in std::mem::take(&mut self.parked) {
            if id.index <= last.index {
                waiter.resolve(Ok(Outcome::Unknown));
            } else if id.term < last.term {
                waiter.resolve(Ok(Outcome::Superseded));
            } else {
                self.parked.push_back((id, waiter));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    type Heard = Arc<Mutex<Vec<(u64, Result<Outcome, StartError>)>>>;

    fn waiter(name: u64, heard: &Heard) -> Waiter {
        let heard = Arc::clone(heard);
        Waiter::calling(Box::new(move |result| heard.lock().unwrap().push((name, result))))
    }

    fn park(waiters: &mut Waiters, first: EntryId, count: u64, heard: &Heard) {
        let new = (0..count).map(|i| {
            let mut waiter = waiter(first.term.0 * 100 + first.index.0 + i, heard);
            waiter.enter(EntryId { term: first.term, index: first.index.plus(i) });
            waiter
        });
        let new = new.collect();
        waiters.park(first, new);
    }

    fn took(heard: &Heard) -> Vec<(u64, Outcome)> {
        heard.lock().unwrap().drain(..).map(|(name, result)| (name, result.unwrap())).collect()
    }

    /// Led in term 2 (entries 5 to 8), lost it, led again in term 4 from 6 on: whatever was truncated in between, each
    /// hears what was committed.
    #[test]
    fn only_what_was_committed_decides() {
        let (mut waiters, heard) = (Waiters::default(), Heard::default());
        park(&mut waiters, EntryId::new(2, 5), 4, &heard);
        park(&mut waiters, EntryId::new(4, 6), 2, &heard);
        let yes = || Some(Bytes::from_static(b"yes"));
        let applied = || Outcome::Applied(Bytes::from_static(b"yes"));

        waiters.applied(EntryId::new(1, 4), None);
        assert_eq!(took(&heard), []);
        waiters.applied(EntryId::new(2, 5), yes());
        assert_eq!(took(&heard), [(205, applied())]);
        // 6@4 is committed: 6@2 was not, and 7@2 and 8@2 never will be.
        waiters.applied(EntryId::new(4, 6), yes());
        let superseded = |name| (name, Outcome::Superseded);
        assert_eq!(took(&heard), [superseded(206), superseded(207), superseded(208), (406, applied())]);
        waiters.applied(EntryId::new(5, 7), yes());
        assert_eq!(took(&heard), [superseded(407)]);
    }

    #[test]
    fn a_snapshot_leaves_unknown_what_it_covers() {
        let (mut waiters, heard) = (Waiters::default(), Heard::default());
        park(&mut waiters, EntryId::new(2, 5), 3, &heard);
        park(&mut waiters, EntryId::new(4, 7), 1, &heard);
        waiters.restored(EntryId::new(3, 6));
        assert_eq!(took(&heard), [(205, Outcome::Unknown), (206, Outcome::Unknown), (207, Outcome::Superseded)]);
        waiters.applied(EntryId::new(4, 7), Some(Bytes::new()));
        assert_eq!(took(&heard), [(407, Outcome::Applied(Bytes::new()))]);
    }

    #[test]
    fn who_is_dropped_hears_so_once() {
        let heard = Heard::default();
        let mut entered = waiter(1, &heard);
        entered.enter(EntryId::new(1, 1));
        drop(entered);
        drop(waiter(2, &heard));
        drop(Waiter::calling(Box::new(|_| panic!("a careless client"))));
        let refusal = Refusal::NotLeader { leader: None };
        waiter(3, &heard).refuse(refusal.into()).unwrap().call();
        let expected = [(1, Ok(Outcome::Unknown)), (2, Err(StartError::Stopped)), (3, Err(refusal.into()))];
        assert_eq!(*heard.lock().unwrap(), expected);
    }
}
