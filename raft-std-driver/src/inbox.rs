//! What waits for the core thread.

use std::sync::mpsc::SyncSender;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use raft_core::{Bytes, ENTRY_OVERHEAD_BYTES, EntryId, Event, Message, NodeId, Rpc};

use crate::node::NodeStatus;
use crate::queue::lock;
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
    Status(SyncSender<NodeStatus>),
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
    filled: Condvar,
    room: Condvar,
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
    core_sleeps: bool,
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
        Inbox { bytes_max, state: Mutex::default(), filled: Condvar::new(), room: Condvar::new() }
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

    /// Waits for room. The core makes it quickly: it takes all that waits, whatever the disk, the machine and the network
    /// do, and refuses what is too much for it. Callers who hear slowly of what was refused make it as they hear.
    ///
    /// # Errors
    /// Gives it back if the inbox is closed.
    pub(crate) fn submit(&self, submission: Submission, caller: Caller) -> Result<(), Submission> {
        let mut state = self.wait_for_room(caller);
        if state.closed {
            return Err(submission);
        }
        state.command_bytes += submission.bytes();
        state.mail.commands.push(submission);
        self.wake(state);
        Ok(())
    }

    /// A command is refused without having waited for the core; waits for room as if it had.
    pub(crate) fn refused_at_the_door(&self, caller: Caller) {
        self.wait_for_room(caller).refused += 1;
    }

    fn wait_for_room(&self, caller: Caller) -> MutexGuard<'_, State> {
        let full = |state: &mut State| !state.closed && state.bytes_before(caller) > self.bytes_max;
        self.room.wait_while(lock(&self.state), full).unwrap_or_else(PoisonError::into_inner)
    }

    /// A command that the core took is refused; it keeps some room until its caller has been called.
    pub(crate) fn refused(&self) {
        lock(&self.state).refused += 1;
    }

    /// The caller of a refused command has been called.
    pub(crate) fn refusal_heard(&self) {
        let mut state = lock(&self.state);
        let was_full = state.bytes_before(Caller::Outside) > self.bytes_max;
        state.refused -= 1;
        let has_room = state.bytes_before(Caller::Outside) <= self.bytes_max;
        drop(state);
        if was_full && has_room {
            self.room.notify_all();
        }
    }

    fn wake(&self, mut state: MutexGuard<'_, State>) {
        let sleeps = std::mem::take(&mut state.core_sleeps);
        drop(state);
        if sleeps {
            self.filled.notify_one();
        }
    }

    /// Wait until there is something or `until` has come, and move all of it into `mail`, which must be empty. `false`,
    /// and nothing taken, once the inbox is closed.
    pub(crate) fn take(&self, mail: &mut Mail, until: Option<Instant>) -> bool {
        let mut state = lock(&self.state);
        while state.mail.is_empty() && !state.closed {
            state.core_sleeps = true;
            state = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                None => self.filled.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) if left.is_zero() => break,
                Some(left) => self.filled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
        state.core_sleeps = false;
        if state.closed {
            return false;
        }
        std::mem::swap(&mut state.mail, mail);
        state.message_bytes = 0;
        let was_full = std::mem::take(&mut state.command_bytes) > self.bytes_max;
        drop(state);
        if was_full {
            self.room.notify_all();
        }
        true
    }

    /// Take nothing more in, and send everyone home.
    pub(crate) fn close(&self) {
        lock(&self.state).closed = true;
        self.filled.notify_all();
        self.room.notify_all();
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

    fn message(rpc: Rpc) -> Message {
        Message { term: Term(1), incarnation: Incarnation(1), rpc }
    }

    fn append(bytes: usize) -> Message {
        let entry = Entry { term: Term(1), payload: Payload::Command(vec![0; bytes].into()) };
        let entries = Entries::from_vec(Index(1), vec![entry]).unwrap();
        let (prev, commit) = (EntryId::ZERO, Index(0));
        message(Rpc::AppendEntries { prev, entries, commit, round: 1, reply: true })
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
        assert!(inbox.take(&mut mail, None));
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
        inbox.submit(submission(2000), Caller::Outside).ok().unwrap();
        let (tell, told) = channel();
        let caller = {
            let inbox = Arc::clone(&inbox);
            std::thread::spawn(move || {
                for bytes in [1, 2000, 1] {
                    tell.send(inbox.submit(submission(bytes), Caller::Outside).is_ok()).unwrap();
                }
            })
        };
        assert!(told.recv_timeout(Duration::from_millis(20)).is_err(), "full");
        let mut mail = Mail::default();
        assert!(inbox.take(&mut mail, None));
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
        inbox.refused_at_the_door(Caller::Outside);
        let (tell, told) = channel();
        let caller = {
            let inbox = Arc::clone(&inbox);
            std::thread::spawn(move || {
                tell.send(inbox.submit(submission(0), Caller::Outside).is_ok()).unwrap();
            })
        };
        assert!(told.recv_timeout(Duration::from_millis(20)).is_err(), "full");
        let mut mail = Mail::default();
        assert!(inbox.submit(submission(0), Caller::OwnThread).is_ok(), "or nobody would ever call");
        assert!(inbox.take(&mut mail, None));
        assert!(told.recv_timeout(Duration::from_millis(20)).is_err(), "the core makes no room here");
        inbox.refusal_heard();
        assert!(told.recv().unwrap());
        caller.join().unwrap();
    }

    #[test]
    fn an_empty_inbox_sleeps_until_the_next_tick_is_due() {
        let inbox = Inbox::new(1);
        let (mut mail, now) = (Mail::default(), Instant::now());
        let due = now + Duration::from_millis(30);
        assert!(inbox.take(&mut mail, Some(due)));
        assert!(mail.is_empty() && Instant::now() >= due);
        inbox.close();
        assert!(!inbox.take(&mut mail, None));
    }
}
