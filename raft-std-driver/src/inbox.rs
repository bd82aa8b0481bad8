//! What waits for the core thread.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use futures_channel::oneshot;
use raft_core::{Bytes, Change, ENTRY_OVERHEAD_BYTES, EntryId, Event, Message, NodeId, Refusal, Rpc};

use crate::changes::ChangeWaiter;
use crate::peers::{LinkId, TransferDone};
use crate::queue::{Sleeper, lock};
use crate::storage::StorageErrorKind;
use crate::sync::{Mutex, MutexGuard};
use crate::waiters::Waiter;

#[cfg(test)]
#[path = "inbox/tests.rs"]
mod tests;

/// So many messages of one peer may wait, whatever they carry; more are dropped.
const PEER_MESSAGES_MAX: usize = 1 << 13;

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

/// How many of the first commands fit into one `Start`; at least one.
pub(crate) fn joinable(commands: &[Submission], bytes_max: u64) -> usize {
    let mut bytes = 0;
    let fit = commands.iter().take_while(|command| {
        bytes += command.bytes();
        bytes <= bytes_max
    });
    fit.count().max(1)
}

/// Word from the node's own threads and handles.
pub(crate) enum Note {
    /// For the core as it is.
    Event(Event),
    /// The machine's snapshot through here is durable under its name.
    Built(EntryId),
    /// A job on the file of a snapshot on its way has ended.
    Transfer(LinkId, TransferDone),
    /// The log will have no room when what is prepared is used up, for want of this; or there is room again.
    Shortage(Option<StorageErrorKind>),
    /// Where the peers are, from now on.
    Peers(Vec<(NodeId, String)>),
    /// Handles want to know how things stand.
    Status,
    /// A handle wants leadership to be handed over.
    HandOver {
        /// To which voter, if it is named.
        to: Option<NodeId>,
        /// Hears who leads. Dropped, it tells that nobody knows any more.
        answer: oneshot::Sender<Result<NodeId, Refusal>>,
    },
    /// Handles want to read.
    Read,
    /// A handle wants the membership to be changed.
    Change { change: Box<Change>, waiter: ChangeWaiter },
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
    /// What the messages that wait take up, of each peer that has any: who floods takes nothing away from others.
    shares: Vec<Share>,
    core: Sleeper,
    /// Who waits for room: threads of the node, and all others.
    own: Line,
    outside: Line,
    closed: bool,
}

/// What waits of one peer.
struct Share {
    from: NodeId,
    messages: usize,
    bytes: u64,
}

/// First come, first served: whoever comes while others wait gets in behind them.
#[derive(Default)]
struct Line {
    tickets: u64,
    parties: BTreeMap<u64, Party>,
}

/// What one caller brings in at once. The core lets it in as there is room, whether or not its caller is polled.
struct Party {
    submissions: Vec<Submission>,
    refused: u64,
    waker: Option<Waker>,
}

impl State {
    fn line(&mut self, caller: Caller) -> &mut Line {
        match caller {
            Caller::OwnThread => &mut self.own,
            Caller::Outside => &mut self.outside,
        }
    }

    fn has_room(&self, caller: Caller, bytes_max: u64) -> bool {
        self.bytes_before(caller) <= bytes_max
    }

    /// A cluster is small: it is found in a few steps.
    fn share(&mut self, from: NodeId) -> &mut Share {
        let found = self.shares.iter().position(|share| share.from == from);
        let place = found.unwrap_or_else(|| {
            self.shares.push(Share { from, messages: 0, bytes: 0 });
            self.shares.len() - 1
        });
        &mut self.shares[place]
    }

    fn take_in(&mut self, submission: Submission) {
        self.command_bytes += submission.bytes();
        self.mail.commands.push(submission);
    }

    /// Let in who waits, as long as there is room. They are to be woken once no lock is held.
    #[must_use]
    fn admit(&mut self, bytes_max: u64) -> Vec<Waker> {
        let mut admitted = Vec::new();
        for caller in [Caller::OwnThread, Caller::Outside] {
            while !self.closed
                && self.has_room(caller, bytes_max)
                && let Some((_, party)) = self.line(caller).parties.pop_first()
            {
                party.submissions.into_iter().for_each(|submission| self.take_in(submission));
                self.refused += party.refused;
                admitted.extend(party.waker);
            }
        }
        admitted
    }

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
        if state.closed {
            return false;
        }
        let share = state.share(from);
        if bytes > 0 && share.bytes > self.bytes_max || share.messages >= PEER_MESSAGES_MAX {
            return false;
        }
        share.messages += 1;
        share.bytes += bytes;
        state.mail.messages.push((from, message));
        self.wake(state);
        true
    }

    /// Waits for room, once for all of them. The core makes it quickly: it takes all that waits, whatever the disk, the
    /// machine and the network do, and refuses what is too much for it. Callers who hear slowly of what was refused make it
    /// as they hear. What did not get in, because the inbox is closed or the caller waits no longer, is dropped by its caller.
    pub(crate) async fn submit(&self, submissions: impl IntoIterator<Item = Submission>, caller: Caller) {
        if let Some(place) = self.join(submissions, 0, caller) {
            place.await;
        }
    }

    /// A command is refused without having waited for the core; waits for room as if it had.
    pub(crate) async fn refused_at_the_door(&self, caller: Caller) {
        if let Some(place) = self.join([], 1, caller) {
            place.await;
        }
    }

    /// Get in at once, or else a place in the line.
    fn join(
        &self,
        submissions: impl IntoIterator<Item = Submission>,
        refused: u64,
        caller: Caller,
    ) -> Option<Place<'_>> {
        let submissions = submissions.into_iter();
        let mut state = lock(&self.state);
        if state.closed {
            // Who waits for these hears of it, which may be foreign code.
            drop(state);
            return None;
        }
        // While others wait, there is none.
        if state.has_room(caller, self.bytes_max) {
            state.refused += refused;
            submissions.for_each(|submission| state.take_in(submission));
            self.wake(state);
            return None;
        }
        let line = state.line(caller);
        line.tickets += 1;
        let ticket = line.tickets;
        line.parties.insert(ticket, Party { submissions: submissions.collect(), refused, waker: None });
        Some(Place { inbox: self, caller, ticket })
    }

    /// How many calls wait for room.
    pub(crate) fn callers_waiting(&self) -> usize {
        let state = lock(&self.state);
        state.own.parties.len() + state.outside.parties.len()
    }

    /// So many commands that the core took are refused; they keep some room until their callers have been called.
    pub(crate) fn refused(&self, count: u64) {
        if count > 0 {
            lock(&self.state).refused += count;
        }
    }

    /// The caller of a refused command has been called.
    pub(crate) fn refusal_heard(&self) {
        let mut state = lock(&self.state);
        // Who came to a closed door did not wait for room, and was not counted.
        state.refused = state.refused.saturating_sub(1);
        let admitted = state.admit(self.bytes_max);
        let core = if state.mail.commands.is_empty() { None } else { state.core.rouse() };
        drop(state);
        core.iter().chain(&admitted).for_each(Waker::wake_by_ref);
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
        state.shares.clear();
        state.command_bytes = 0;
        let admitted = state.admit(self.bytes_max);
        drop(state);
        admitted.iter().for_each(Waker::wake_by_ref);
        Poll::Ready(true)
    }

    /// Take nothing more in, and send everyone home.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        let State { core, own, outside, .. } = &mut *state;
        let parties = own.parties.values_mut().chain(outside.parties.values_mut());
        let wakers: Vec<Waker> = parties.filter_map(|party| party.waker.take()).chain(core.rouse()).collect();
        drop(state);
        wakers.iter().for_each(Waker::wake_by_ref);
    }

    /// What was left when the inbox was closed.
    pub(crate) fn leftovers(&self) -> Mail {
        std::mem::take(&mut lock(&self.state).mail)
    }
}

/// A caller's place in the line, until its party has got in or the inbox is closed.
struct Place<'a> {
    inbox: &'a Inbox,
    caller: Caller,
    ticket: u64,
}

impl Future for Place<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = lock(&self.inbox.state);
        let closed = state.closed;
        let party = state.line(self.caller).parties.get_mut(&self.ticket).filter(|_| !closed);
        let Some(party) = party else { return Poll::Ready(()) };
        let before = party.waker.replace(context.waker().clone());
        // What a waker drops is foreign code.
        drop(state);
        drop(before);
        Poll::Pending
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let party = lock(&self.inbox.state).line(self.caller).parties.remove(&self.ticket);
        // Not under the lock: who waits for a command hears of it.
        drop(party);
    }
}
