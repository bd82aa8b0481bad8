//! What waits for the core thread.

use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use futures_channel::oneshot::Sender;
use raft_core::{Bytes, ENTRY_OVERHEAD_BYTES, EntryId, Event, Message, NodeId, Rpc};

use crate::queue::{Sleeper, lock};
use crate::status::NodeStatus;
use crate::waiters::Waiter;

/// So many messages may wait, whatever they carry; more are dropped.
const MESSAGES_MAX: usize = 1 << 16;

/// A command on its way to the log.
pub(crate) struct Submission {
    pub(crate) command: Bytes,
    pub(crate) waiter: Waiter,
}

impl Submission {
    pub(crate) fn bytes(&self) -> u64 {
        self.command.len() as u64 + ENTRY_OVERHEAD_BYTES
    }
}

/// Word from the node's own threads and handles.
pub(crate) enum Note {
    /// For the core as it is.
    Event(Event),
    /// The machine's snapshot through here is durable under its name.
    Built(EntryId),
    /// A handle wants to know how things stand.
    Status(Sender<NodeStatus>),
}

/// All that waited at one moment, each kind in its order.
#[derive(Default)]
pub(crate) struct Mail {
    pub(crate) notes: Vec<Note>,
    pub(crate) messages: Vec<(NodeId, Message)>,
    pub(crate) commands: Vec<Submission>,
}

impl Mail {
    fn is_empty(&self) -> bool {
        self.notes.is_empty() && self.messages.is_empty() && self.commands.is_empty()
    }
}

/// Clients wait for room, peers' messages are dropped when there is none, and the node's own word always gets in: there
/// is only so much of it under way.
pub(crate) struct Inbox {
    bytes_max: u64,
    state: Mutex<State>,
}

/// Who submits: a thread of the node must not wait for calls that it may be the one to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    OwnThread,
    Outside,
}

#[derive(Default)]
struct State {
    mail: Mail,
    command_bytes: u64,
    /// Commands that were refused and whose callers have not been called yet.
    refused: u64,
    message_bytes: u64,
    core: Sleeper,
    /// Who waits for room.
    outside: Vec<Waker>,
    closed: bool,
}

impl State {
    /// How much is there that the caller has to wait for.
    fn bytes_before(&self, caller: Caller) -> u64 {
        match caller {
            Caller::OwnThread => self.command_bytes,
            Caller::Outside => self.command_bytes + self.refused * ENTRY_OVERHEAD_BYTES,
        }
    }
}

impl Inbox {
    pub(crate) fn new(bytes_max: u64) -> Inbox {
        Inbox { bytes_max, state: Mutex::default() }
    }

    /// # Errors
    /// Gives it back if the inbox is closed.
    pub(crate) fn note(&self, note: Note) -> Result<(), Note> {
        let mut state = lock(&self.state);
        if state.closed {
            return Err(note);
        }
        state.mail.notes.push(note);
        self.wake(state);
        Ok(())
    }

    /// Word that nobody misses if the node has stopped.
    pub(crate) fn tell(&self, event: Event) {
        let _stopped = self.note(Note::Event(event));
    }

    /// Whether it got in. Losing a message is what Raft is made for.
    pub(crate) fn message(&self, from: NodeId, message: Message) -> bool {
        let bytes = match &message.rpc {
            Rpc::AppendEntries { entries, .. } => entries.bytes(),
            _ => 0,
        };
        let mut state = lock(&self.state);
        let full = bytes > 0 && state.message_bytes > self.bytes_max || state.mail.messages.len() >= MESSAGES_MAX;
        if full || state.closed {
            return false;
        }
        state.message_bytes += bytes;
        state.mail.messages.push((from, message));
        self.wake(state);
        true
    }

    /// Waits for room, once for all of them. The core makes it quickly: it takes all that waits, whatever the disk, the
    /// machine and the network do, and refuses what is too much for it. Callers who hear slowly of what was refused make it
    /// as they hear. What is left over, because the inbox is closed or the caller waits no longer, never was in here.
    pub(crate) async fn submit(&self, submissions: impl IntoIterator<Item = Submission>, caller: Caller) {
        let mut submissions = submissions.into_iter();
        let mut state = self.room(caller).await;
        if state.closed {
            return;
        }
        for submission in submissions.by_ref() {
            state.command_bytes += submission.bytes();
            state.mail.commands.push(submission);
        }
        self.wake(state);
    }

    /// A command is refused without having waited for the core; waits for room as if it had.
    pub(crate) async fn refused_at_the_door(&self, caller: Caller) {
        self.room(caller).await.refused += 1;
    }

    async fn room(&self, caller: Caller) -> MutexGuard<'_, State> {
        poll_fn(|context| {
            let mut state = lock(&self.state);
            if state.closed || state.bytes_before(caller) <= self.bytes_max {
                return Poll::Ready(state);
            }
            if !state.outside.iter().any(|waker| waker.will_wake(context.waker())) {
                state.outside.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await
    }

    /// A command that the core took is refused; it keeps some room until its caller has been called.
    pub(crate) fn refused(&self) {
        lock(&self.state).refused += 1;
    }

    /// The caller of a refused command has been called.
    pub(crate) fn refusal_heard(&self) {
        let mut state = lock(&self.state);
        state.refused -= 1;
        let outside = self.roused(&mut state);
        drop(state);
        outside.iter().for_each(Waker::wake_by_ref);
    }

    /// Who has waited for room, if there is some now, to be woken once no lock is held.
    fn roused(&self, state: &mut State) -> Vec<Waker> {
        let room = state.bytes_before(Caller::Outside) <= self.bytes_max;
        if room { std::mem::take(&mut state.outside) } else { Vec::new() }
    }

    fn wake(&self, mut state: MutexGuard<'_, State>) {
        let core = state.core.rouse();
        drop(state);
        core.inspect(Waker::wake_by_ref);
    }

    /// Wait until there is something, and move all of it into `mail`, which must be empty. `false`, and nothing taken, once
    /// the inbox is closed.
    pub(crate) fn poll_take(&self, context: &Context<'_>, mail: &mut Mail) -> Poll<bool> {
        let mut state = lock(&self.state);
        if state.closed {
            return Poll::Ready(false);
        }
        if state.mail.is_empty() {
            return state.core.sleep(context);
        }
        std::mem::swap(&mut state.mail, mail);
        (state.message_bytes, state.command_bytes) = (0, 0);
        let outside = self.roused(&mut state);
        drop(state);
        outside.iter().for_each(Waker::wake_by_ref);
        Poll::Ready(true)
    }

    /// Take nothing more in, and send everyone home.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        let (core, outside) = (state.core.rouse(), std::mem::take(&mut state.outside));
        drop(state);
        core.iter().chain(&outside).for_each(Waker::wake_by_ref);
    }

    /// What was left when the inbox was closed.
    pub(crate) fn leftovers(&self) -> Mail {
        std::mem::take(&mut lock(&self.state).mail)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use raft_core::{Entries, Entry, Incarnation, Index, Payload, Term};

    use super::*;
    use crate::workers::{block_on, block_on_until};

    fn message(rpc: Rpc) -> Message {
        Message { term: Term(1), incarnation: Incarnation(1), rpc }
    }

    fn append(bytes: usize) -> Message {
        let entry = Entry { term: Term(1), payload: Payload::Command(vec![0; bytes].into()) };
        let entries = Entries::from_vec(Index(1), vec![entry]).unwrap();
        let (prev, commit) = (EntryId::ZERO, Index(0));
        message(Rpc::AppendEntries { prev, entries, commit, round: 1, reply: true })
    }

    fn take(inbox: &Inbox, mail: &mut Mail) -> bool {
        block_on(poll_fn(|context| inbox.poll_take(context, mail)))
    }

    /// Whether it got in.
    fn submit(inbox: &Inbox, submission: Submission, caller: Caller) -> bool {
        let mut one = Some(submission);
        block_on(inbox.submit(std::iter::from_fn(|| one.take()), caller));
        one.is_none()
    }

    fn submission(bytes: usize) -> Submission {
        Submission { command: vec![0; bytes].into(), waiter: Waiter::calling(Box::new(|_| {})) }
    }

    #[test]
    fn entries_from_peers_are_dropped_above_the_limit_and_nothing_else() {
        let inbox = Inbox::new(1000);
        let (from, vote) = (NodeId(2), message(Rpc::PreVote { last: EntryId::ZERO }));
        assert!(inbox.message(from, append(900)) && inbox.message(from, append(900)), "the limit is on what waits");
        assert!(!inbox.message(from, append(1)));
        assert!(inbox.message(from, vote.clone()));
        let mut mail = Mail::default();
        assert!(take(&inbox, &mut mail));
        assert_eq!(mail.messages.len(), 3);
        assert!(inbox.message(from, append(1)));
        let taken = (1..MESSAGES_MAX * 2).filter(|_| inbox.message(from, vote.clone())).count();
        assert_eq!(taken, MESSAGES_MAX - 1, "even small ones end somewhere");
        inbox.close();
        assert!(!inbox.message(from, vote));
    }

    #[test]
    fn callers_wait_until_the_core_has_taken_what_waits() {
        let inbox = Arc::new(Inbox::new(1000));
        assert!(submit(&inbox, submission(2000), Caller::Outside));
        let (tell, told) = channel();
        let caller = {
            let inbox = Arc::clone(&inbox);
            std::thread::spawn(move || {
                for bytes in [1, 2000, 1] {
                    tell.send(submit(&inbox, submission(bytes), Caller::Outside)).unwrap();
                }
            })
        };
        assert!(told.recv_timeout(Duration::from_millis(20)).is_err(), "full");
        let mut mail = Mail::default();
        assert!(take(&inbox, &mut mail));
        assert_eq!(mail.commands.len(), 1);
        assert!(told.recv().unwrap() && told.recv().unwrap());
        inbox.close();
        assert!(!told.recv().unwrap(), "closed: given back");
        caller.join().unwrap();
        assert!(!inbox.leftovers().commands.is_empty());
    }

    #[test]
    fn refused_commands_keep_room_until_their_callers_were_called() {
        let inbox = Arc::new(Inbox::new(3 * ENTRY_OVERHEAD_BYTES));
        (0..3).for_each(|_| inbox.refused());
        block_on(inbox.refused_at_the_door(Caller::Outside));
        let (tell, told) = channel();
        let caller = {
            let inbox = Arc::clone(&inbox);
            std::thread::spawn(move || {
                tell.send(submit(&inbox, submission(0), Caller::Outside)).unwrap();
            })
        };
        assert!(told.recv_timeout(Duration::from_millis(20)).is_err(), "full");
        let mut mail = Mail::default();
        assert!(submit(&inbox, submission(0), Caller::OwnThread), "or nobody would ever call");
        assert!(take(&inbox, &mut mail));
        assert!(told.recv_timeout(Duration::from_millis(20)).is_err(), "the core makes no room here");
        inbox.refusal_heard();
        assert!(told.recv().unwrap());
        caller.join().unwrap();
    }

    #[test]
    fn an_empty_inbox_can_be_waited_for_until_a_deadline() {
        let inbox = Inbox::new(1);
        let (mut mail, now) = (Mail::default(), std::time::Instant::now());
        let due = now + Duration::from_millis(30);
        let taken = block_on_until(poll_fn(|context| inbox.poll_take(context, &mut mail)), Some(due));
        assert!(taken.is_none() && std::time::Instant::now() >= due);
        inbox.close();
        assert!(!take(&inbox, &mut mail));
    }

    #[test]
    fn who_waits_for_room_no_longer_leaves_nothing_behind() {
        let inbox = Inbox::new(1000);
        assert!(submit(&inbox, submission(2000), Caller::Outside));
        let now = std::time::Instant::now();
        let mut one = Some(submission(7));
        assert!(block_on_until(inbox.submit(std::iter::from_fn(|| one.take()), Caller::Outside), Some(now)).is_none());
        assert!(one.is_some());
        let mut mail = Mail::default();
        assert!(take(&inbox, &mut mail));
        assert_eq!(mail.commands.len(), 1);
    }
}
