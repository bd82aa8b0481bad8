//! Who waits for a change of the membership: every change that is asked for has exactly one outcome.

use futures_channel::oneshot;
use raft_core::{EntryId, Membership, Refusal};

/// What became of a change of the membership that entered the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum ChangeOutcome {
    /// A configuration that is not joint and belongs to this change was committed, and has been applied here.
    Done {
        /// The entry that began the change: what the next change may
        /// [expect](raft_core::Change::expected) the configuration in force to be.
        change: EntryId,
    },
    /// Another leader's entry was committed in its place: it never took effect and never will. Safe to ask for again.
    Superseded,
    /// It may have taken effect or not, and this server cannot tell any more: a leader's snapshot covered its entry and
    /// names the configuration of another change, or the node stopped.
    Unknown,
}

/// Why a change of the membership did not enter the log. It had no effect and never will.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// The server refused it, and says why; [`Refusal::NotLeader`] names the leader if it is known.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The node has stopped.
    #[error("the node has stopped")]
    Stopped,
    /// It was asked for on one of the node's own threads.
    #[error("a thread of the node itself cannot wait for a change")]
    OwnThread,
}

type Answer = oneshot::Sender<Result<ChangeOutcome, ChangeError>>;

/// Waits for what becomes of a change. Dropped, it answers that the outcome is unknown, or that the node has stopped before the
/// change was in the log.
pub(crate) struct ChangeWaiter {
    answer: Option<Answer>,
    entered: bool,
}

impl ChangeWaiter {
    pub(crate) fn new(answer: Answer) -> ChangeWaiter {
        ChangeWaiter { answer: Some(answer), entered: false }
    }

    /// The change is in the log.
    pub(crate) fn enter(&mut self) {
        self.entered = true;
    }

    pub(crate) fn resolve(mut self, result: Result<ChangeOutcome, ChangeError>) {
        if let Some(answer) = self.answer.take() {
            // Whoever dropped the receiver has stopped waiting.
            let _gone = answer.send(result);
        }
    }

    fn is_heard(&self) -> bool {
        self.answer.as_ref().is_some_and(|answer| !answer.is_canceled())
    }
}

impl Drop for ChangeWaiter {
    fn drop(&mut self) {
        let result = if self.entered { Ok(ChangeOutcome::Unknown) } else { Err(ChangeError::Stopped) };
        if let Some(answer) = self.answer.take() {
            let _gone = answer.send(result);
        }
    }
}

/// A change that is in the log.
struct Pending {
    change: EntryId,
    /// Whether its own entry was applied: then only its end is missing.
    begun: bool,
    waiter: ChangeWaiter,
}

/// The changes whose outcome is not known yet. Only what is applied decides.
#[derive(Default)]
pub(crate) struct Changes {
    pending: Vec<Pending>,
}

impl Changes {
    /// This one waits for the change that began with the entry `change`.
    pub(crate) fn park(&mut self, change: EntryId, waiter: ChangeWaiter) {
        // A caller that waits no longer takes no memory. Of the others there are few: a leader has one change at a time.
        self.pending.retain(|pending| pending.waiter.is_heard());
        self.pending.push(Pending { change, begun: false, waiter });
    }

    /// The entry `id` was applied, with the configuration that it holds, if it is one. Terms never fall within a log, so a
    /// change of an earlier term that has not begun by now never will.
    pub(crate) fn applied(&mut self, id: EntryId, membership: Option<&Membership>) {
        if self.pending.is_empty() {
            return;
        }
        for mut pending in std::mem::take(&mut self.pending) {
            pending.begun |= pending.change == id;
            if is_done(pending.change, membership) {
                pending.waiter.resolve(Ok(ChangeOutcome::Done { change: pending.change }));
            } else if !pending.begun && pending.change < id {
                pending.waiter.resolve(Ok(ChangeOutcome::Superseded));
            } else {
                self.pending.push(pending);
            }
        }
    }

    /// The state machine was restored from a snapshot that ends at `last`, where this configuration was in force.
    pub(crate) fn restored(&mut self, last: EntryId, membership: &Membership) {
        for mut pending in std::mem::take(&mut self.pending) {
            let change = pending.change;
            pending.begun |= membership.change() == change;
            if is_done(change, Some(membership)) {
                pending.waiter.resolve(Ok(ChangeOutcome::Done { change }));
            } else if change.index <= last.index && membership.change() != change {
                pending.waiter.resolve(Ok(ChangeOutcome::Unknown));
            } else if !pending.begun && change.term < last.term {
                pending.waiter.resolve(Ok(ChangeOutcome::Superseded));
            } else {
                self.pending.push(pending);
            }
        }
    }
}

fn is_done(change: EntryId, membership: Option<&Membership>) -> bool {
    membership.is_some_and(|membership| membership.change() == change && !membership.is_joint())
}

#[cfg(test)]
mod tests {
    use raft_core::{Member, MemberRole, NodeId};

    use super::*;

    type Heard = oneshot::Receiver<Result<ChangeOutcome, ChangeError>>;

    fn park(changes: &mut Changes, change: EntryId) -> Heard {
        let (answer, heard) = oneshot::channel();
        let mut waiter = ChangeWaiter::new(answer);
        waiter.enter();
        changes.park(change, waiter);
        heard
    }

    /// The configuration of a change, joint or not.
    fn of(change: EntryId, joint: bool) -> Membership {
        let voter = Member { outgoing: joint, ..Member::new(NodeId(1), MemberRole::Voter) };
        Membership::from_members(change, vec![voter]).unwrap()
    }

    fn now(heard: &mut Heard) -> Option<ChangeOutcome> {
        heard.try_recv().unwrap().map(Result::unwrap)
    }

    #[test]
    fn a_change_is_done_when_its_settled_configuration_is_applied() {
        let (mut changes, change) = (Changes::default(), EntryId::new(2, 5));
        let mut heard = park(&mut changes, change);
        changes.applied(EntryId::new(2, 4), None);
        changes.applied(change, Some(&of(change, true)));
        // Another leader finishes it.
        changes.applied(EntryId::new(3, 6), None);
        assert_eq!(now(&mut heard), None);
        changes.applied(EntryId::new(3, 7), Some(&of(change, false)));
        assert_eq!(now(&mut heard), Some(ChangeOutcome::Done { change }));
    }

    #[test]
    fn a_change_is_superseded_when_another_entry_is_committed_in_its_place() {
        let (mut changes, change) = (Changes::default(), EntryId::new(2, 5));
        let mut heard = park(&mut changes, change);
        let other = EntryId::new(3, 5);
        changes.applied(other, Some(&of(other, false)));
        assert_eq!(now(&mut heard), Some(ChangeOutcome::Superseded));

        let mut heard = park(&mut changes, change);
        changes.restored(EntryId::new(3, 4), &of(EntryId::ZERO, false));
        assert_eq!(now(&mut heard), Some(ChangeOutcome::Superseded), "a later term never goes back");
    }

    #[test]
    fn a_snapshot_decides_if_it_names_the_change() {
        let (mut changes, change) = (Changes::default(), EntryId::new(2, 5));
        let mut heard = park(&mut changes, change);
        changes.restored(EntryId::new(2, 4), &of(EntryId::ZERO, false));
        changes.restored(EntryId::new(3, 8), &of(change, true));
        assert_eq!(now(&mut heard), None);
        changes.restored(EntryId::new(3, 9), &of(change, false));
        assert_eq!(now(&mut heard), Some(ChangeOutcome::Done { change }));

        let mut heard = park(&mut changes, change);
        changes.restored(EntryId::new(4, 10), &of(EntryId::new(4, 9), false));
        assert_eq!(now(&mut heard), Some(ChangeOutcome::Unknown));
    }

    #[test]
    fn a_waiter_that_is_dropped_answers_once() {
        let (answer, mut heard) = oneshot::channel();
        drop(ChangeWaiter::new(answer));
        assert_eq!(heard.try_recv().unwrap(), Some(Err(ChangeError::Stopped)));
        let mut changes = Changes::default();
        let mut heard = park(&mut changes, EntryId::new(1, 1));
        drop(changes);
        assert_eq!(now(&mut heard), Some(ChangeOutcome::Unknown));
    }

    #[test]
    fn callers_that_wait_no_longer_take_no_memory() {
        let mut changes = Changes::default();
        for index in 1..100 {
            drop(park(&mut changes, EntryId::new(1, index)));
        }
        assert_eq!(changes.pending.len(), 1);
    }
}
