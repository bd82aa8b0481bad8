//! What was asked of the disk, what is durable, and what is owed to others once it is.
//!
//! A server promises by voting, by acknowledging entries, and by asking for votes with the tail of its log. Each promise
//! waits for the newest [`Write`](crate::Write) that was issued when it was made. What is owed is a fact, at most one
//! vote and one acknowledgement in a term, not a queue of messages; an acknowledgement is paid in parts, as far as the
//! disk got.

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use crate::action::{SnapshotWrite, WriteId};
#[cfg(feature = "sim")]
use crate::fingerprint::Fingerprint;
use crate::types::{Index, NodeId};

/// A write that is not yet known to be durable.
#[derive(Clone, Copy, Debug)]
struct Outstanding {
    id: u64,
    /// When it is durable, the log is durable through here; less, if the log was truncated since.
    last: Index,
    issued_at: u64,
    /// Issued while another was outstanding: it waits for that one's sync first, then for its own.
    is_behind: bool,
}

/// Something that is owed to `to` once the write `after` is durable, and again with each later one through `through`.
#[derive(Clone, Copy, Debug)]
struct Owed {
    to: NodeId,
    after: u64,
    through: u64,
}

/// What of it may be paid now that all writes through `confirmed` are durable.
fn take_due(owed: &mut Option<Owed>, confirmed: u64) -> Option<NodeId> {
    let due = owed.as_mut().filter(|owed| owed.after <= confirmed)?;
    let to = due.to;
    if due.through > confirmed {
        due.after = confirmed + 1;
    } else {
        *owed = None;
    }
    Some(to)
}

/// What changed since the last write was issued.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
    pub(crate) hard_state: bool,
    /// Rare, so boxed.
    pub(crate) snapshot: Option<Box<SnapshotWrite>>,
    /// The log changed from here on.
    pub(crate) entries_from: Option<Index>,
}

#[derive(Clone, Debug)]
pub(crate) struct Disk {
    changes: Changes,
    /// The write that everything decided so far is in: the next one, if there are changes.
    barrier: u64,
    issued: u64,
    confirmed: u64,
    outstanding: VecDeque<Outstanding>,
    durable: Index,
    /// The last write that carried a hard state.
    hard_state_in: u64,
    /// The write that replaces log and application by a received snapshot, while it is outstanding.
    installing_in: Option<u64>,
    vote: Option<Owed>,
    acknowledgement: Option<Owed>,
}

impl Disk {
    /// A disk on which the log is durable through `durable`, and all else that was restored.
    pub(crate) fn new(durable: Index) -> Disk {
        Disk {
            changes: Changes::default(),
            barrier: 0,
            issued: 0,
            confirmed: 0,
            outstanding: VecDeque::new(),
            durable,
            hard_state_in: 0,
            installing_in: None,
            vote: None,
            acknowledgement: None,
        }
    }

    /// The log is durable through here: as it is in memory, not as it once was.
    pub(crate) fn durable(&self) -> Index {
        self.durable
    }

    /// What the next write must say.
    fn changes(&mut self) -> &mut Changes {
        self.barrier = self.issued + 1;
        &mut self.changes
    }

    pub(crate) fn hard_state_changed(&mut self) {
        self.changes().hard_state = true;
    }

    /// The log goes on with new entries from `from` on, behind what it has.
    pub(crate) fn appended(&mut self, from: Index) {
        let changes = self.changes();
        let earliest = changes.entries_from.map_or(from, |earlier| earlier.min(from));
        changes.entries_from = Some(earliest);
    }

    /// The log was cut at `from`: what was or will be durable from there on is not what memory holds now.
    pub(crate) fn truncated(&mut self, from: Index) {
        self.durable = self.durable.min(from.prev());
        for write in self.outstanding.iter_mut().rev().take_while(|write| write.last >= from) {
            write.last = from.prev();
        }
    }

    pub(crate) fn compacted(&mut self, snapshot: SnapshotWrite) {
        self.changes().snapshot = Some(Box::new(snapshot));
    }

    /// A received snapshot replaces the log, of which what was committed stays true.
    pub(crate) fn installed(&mut self, snapshot: SnapshotWrite, committed: Index) {
        self.truncated(committed.next());
        let changes = self.changes();
        changes.snapshot = Some(Box::new(snapshot));
        changes.entries_from = None;
        self.installing_in = Some(self.barrier);
    }

    /// The write that everything decided so far is in.
    pub(crate) fn barrier(&self) -> u64 {
        self.barrier
    }

    pub(crate) fn is_durable(&self, barrier: u64) -> bool {
        barrier <= self.confirmed
    }

    /// Whether term and vote are durable.
    pub(crate) fn hard_state_is_durable(&self) -> bool {
        !self.changes.hard_state && self.is_durable(self.hard_state_in)
    }

    /// Whether a vote would be written at once: no term or vote of an earlier step is still on its way to the disk.
    pub(crate) fn can_vote(&self) -> bool {
        self.is_durable(self.hard_state_in)
    }

    /// Whether a received snapshot is on its way to the disk.
    pub(crate) fn is_installing(&self) -> bool {
        self.installing_in.is_some()
    }

    /// Whether a sync takes `ticks` or more, as far as can be told from the oldest write.
    pub(crate) fn is_stalled(&self, now: u64, ticks: u32) -> bool {
        self.outstanding.front().is_some_and(|oldest| {
            let syncs = if oldest.is_behind { 2 } else { 1 };
            now - oldest.issued_at >= syncs * u64::from(ticks)
        })
    }

    /// Whether something waits to be written.
    pub(crate) fn has_changes(&self) -> bool {
        self.barrier != self.issued
    }

    /// Issue one write with all that changed. `log_end` is the log's last index.
    pub(crate) fn issue(&mut self, log_end: Index, now: u64) -> (WriteId, Changes) {
        let id = self.barrier;
        let changes = core::mem::take(&mut self.changes);
        self.issued = id;
        if changes.hard_state {
            self.hard_state_in = id;
        }
        let is_behind = !self.outstanding.is_empty();
        self.outstanding.push_back(Outstanding { id, last: log_end, issued_at: now, is_behind });
        (WriteId(id), changes)
    }

    /// This write and all before it are durable. Says `None` to an id that was never issued or is already confirmed,
    /// else whether a received snapshot became durable with it.
    pub(crate) fn confirm(&mut self, WriteId(id): WriteId) -> Option<bool> {
        if id > self.issued || id <= self.confirmed {
            return None;
        }
        self.confirmed = id;
        while let Some(write) = self.outstanding.front().filter(|write| write.id <= id) {
            self.durable = self.durable.max(write.last);
            self.outstanding.pop_front();
        }
        Some(self.installing_in.take_if(|write| *write <= id).is_some())
    }

    pub(crate) fn owe_vote(&mut self, to: NodeId) {
        let barrier = self.barrier();
        self.vote = Some(Owed { to, after: barrier, through: barrier });
    }

    /// What is owed already goes out no later: else the next append would put it off for ever while entries keep coming.
    pub(crate) fn owe_acknowledgement(&mut self, to: NodeId) {
        let through = self.barrier();
        let after = self.acknowledgement.filter(|owed| owed.to == to).map_or(through, |owed| owed.after);
        self.acknowledgement = Some(Owed { to, after, through });
    }

    /// A promise belongs to the term it was made in.
    pub(crate) fn owe_nothing(&mut self) {
        self.vote = None;
        self.acknowledgement = None;
    }

    /// The vote that may go out now.
    pub(crate) fn take_vote(&mut self) -> Option<NodeId> {
        take_due(&mut self.vote, self.confirmed)
    }

    /// The acknowledgement that may go out now: it says what is durable, which may be more or less than was received when
    /// it was made.
    pub(crate) fn take_acknowledgement(&mut self) -> Option<NodeId> {
        take_due(&mut self.acknowledgement, self.confirmed)
    }
}

#[cfg(feature = "sim")]
impl Disk {
    /// Writes are counted from the newest that is durable: how many there were before it means nothing.
    pub(crate) fn fingerprint(&self, print: &mut Fingerprint<'_>, now: u64) {
        let Disk {
            changes: Changes { hard_state, snapshot, entries_from },
            barrier: _,
            issued,
            confirmed,
            outstanding,
            durable,
            hard_state_in,
            installing_in,
            vote,
            acknowledgement,
        } = self;
        let since = |id: u64| id.saturating_sub(*confirmed);
        print.flag(*hard_state);
        print.set(snapshot, |print, snapshot| snapshot.fingerprint(print));
        print.set(entries_from, |print, from| print.index(*from));
        print.word(since(*issued));
        for Outstanding { id, last, issued_at, is_behind } in outstanding {
            print.word(since(*id));
            print.index(*last);
            print.words([now.wrapping_sub(*issued_at), u64::from(*is_behind)]);
        }
        print.index(*durable);
        print.word(since(*hard_state_in));
        print.set(installing_in, |print, id| print.word(since(*id)));
        for owed in [vote, acknowledgement] {
            print.set(owed, |print, Owed { to, after, through }| {
                print.node(*to);
                print.word(since(*after));
                print.word(since(*through));
            });
        }
    }

    /// How many writes after the newest durable one `barrier` is.
    pub(crate) fn distance_to(&self, barrier: u64) -> u64 {
        barrier.saturating_sub(self.confirmed)
    }

    /// As if everything that is outstanding had been issued at time 0, to an idle disk.
    pub(crate) fn rewind_clock(&mut self) {
        self.outstanding.iter_mut().for_each(|write| (write.issued_at, write.is_behind) = (0, false));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(disk: &mut Disk, from: u64) {
        disk.truncated(Index(from));
        disk.appended(Index(from));
    }

    fn wrote(disk: &mut Disk, from: u64, last: u64) -> WriteId {
        replaced(disk, from);
        disk.issue(Index(last), 0).0
    }

    #[test]
    fn a_late_confirmation_of_overwritten_entries_counts_only_what_is_still_there() {
        let mut disk = Disk::new(Index(3));
        let first = wrote(&mut disk, 4, 10);
        let second = wrote(&mut disk, 6, 8);
        assert_eq!(disk.confirm(first), Some(false));
        assert_eq!(disk.durable(), Index(5));
        assert_eq!(disk.confirm(second), Some(false));
        assert_eq!(disk.durable(), Index(8));
    }

    /// Whatever order the changes of a step come in.
    #[test]
    fn a_write_reaches_back_to_the_earliest_change() {
        let mut disk = Disk::new(Index(9));
        for from in [5, 3, 4] {
            replaced(&mut disk, from);
        }
        let (_, changes) = disk.issue(Index(7), 0);
        assert_eq!(changes.entries_from, Some(Index(3)));
    }

    /// A disk that takes just less than the limit for each sync is not stalled, however busy it is; one that takes the limit is,
    /// and what is issued later does not hide it.
    #[test]
    fn a_stall_is_judged_by_the_oldest_write_and_its_syncs() {
        let mut disk = Disk::new(Index(0));
        let issue = |disk: &mut Disk, at: u64| {
            disk.appended(Index(at));
            disk.issue(Index(at), at).0
        };
        let first = issue(&mut disk, 1);
        let second = issue(&mut disk, 2);
        issue(&mut disk, 9);
        assert!(!disk.is_stalled(10, 10) && disk.is_stalled(11, 10));
        disk.confirm(first);
        assert!(!disk.is_stalled(21, 10) && disk.is_stalled(22, 10), "it waited for the first");
        disk.confirm(second);
        assert!(!disk.is_stalled(28, 10) && disk.is_stalled(29, 10));
    }

    #[test]
    fn completion_reorder() {
        let mut disk = Disk::new(Index(0));
        let first = wrote(&mut disk, 1, 1);
        let second = wrote(&mut disk, 2, 2);
        assert_eq!(disk.confirm(second), Some(false));
        assert_eq!(disk.durable(), Index(2));
        assert_eq!(disk.confirm(first), None, "already confirmed");
        assert_eq!(disk.confirm(WriteId(9)), None, "never issued");
        assert_eq!(disk.durable(), Index(2));
    }

    #[test]
    fn a_promise_waits_for_the_newest_write_issued_when_it_is_made() {
        let mut disk = Disk::new(Index(0));
        disk.owe_vote(NodeId(2));
        assert_eq!(disk.take_vote(), Some(NodeId(2)), "nothing to wait for");
        let first = wrote(&mut disk, 1, 1);
        disk.hard_state_changed();
        disk.owe_vote(NodeId(3));
        let second = disk.issue(Index(1), 0).0;
        disk.confirm(first);
        assert_eq!(disk.take_vote(), None);
        disk.confirm(second);
        assert_eq!(disk.take_vote(), Some(NodeId(3)));
        assert_eq!(disk.take_vote(), None);
    }

    #[test]
    fn later_entries_do_not_put_off_an_acknowledgement() {
        let mut disk = Disk::new(Index(0));
        let first = wrote(&mut disk, 1, 1);
        disk.owe_acknowledgement(NodeId(2));
        let second = wrote(&mut disk, 2, 2);
        disk.owe_acknowledgement(NodeId(2));
        disk.confirm(first);
        assert_eq!(disk.take_acknowledgement(), Some(NodeId(2)));
        assert_eq!(disk.take_acknowledgement(), None, "nothing new to say");
        disk.confirm(second);
        assert_eq!(disk.take_acknowledgement(), Some(NodeId(2)));
        assert_eq!(disk.take_acknowledgement(), None);
    }
}
