//! What was asked of the disk beside the disk itself. The twin knows nothing of write ids, marks and minima: it keeps the log
//! in memory, what each write leaves behind, and how many changes there ever were. What is durable is as much of the log in
//! memory as the disk has too; a promise may go out when every change that was made before it is on the disk.

use std::collections::VecDeque;
use std::format;
use std::string::String;
use std::vec::Vec;

use quickcheck::{Arbitrary, Gen, QuickCheck, TestResult};

use crate::disk::Disk;
use crate::{EntryId, Index, NodeId, SnapshotMeta, SnapshotWrite, WriteId};

#[derive(Clone, Debug)]
enum Operation {
    /// So many of the newest entries are cut off, never what is committed, and so many others take their place.
    Entries {
        cut: u8,
        added: u8,
    },
    HardState,
    /// The application's own snapshot is durable.
    Compact,
    /// A received snapshot replaces the log: so many entries behind its end.
    Install {
        beyond: u8,
    },
    /// So many more entries are committed.
    Commit(u8),
    /// The step ends with a write of all that changed.
    Issue,
    Tick(u8),
    /// Of the writes that were ever issued, this one counted from the newest is reported; the one after it, if none is so old.
    Confirm(u8),
    OweVote(u8),
    OweAcknowledgement(u8),
    OweNothing,
    Pay,
}

impl Arbitrary for Operation {
    fn arbitrary(g: &mut Gen) -> Operation {
        let below = |g: &mut Gen, bound: u8| u8::arbitrary(g) % bound;
        match below(g, 32) {
            0..=6 => Operation::Entries { cut: below(g, 8).saturating_sub(2), added: 1 + below(g, 4) },
            7 | 8 => Operation::HardState,
            9 => Operation::Compact,
            10 => Operation::Install { beyond: 1 + below(g, 4) },
            11 => Operation::Commit(below(g, 4)),
            12..=18 => Operation::Issue,
            19 | 20 => Operation::Tick(below(g, 4)),
            21..=24 => Operation::Confirm(below(g, 5)),
            25 | 26 => Operation::OweVote(below(g, 3)),
            27 | 28 => Operation::OweAcknowledgement(below(g, 3)),
            29 => Operation::OweNothing,
            _ => Operation::Pay,
        }
    }
}

/// A write that is under way.
struct Plain {
    /// The log as it leaves it on the disk: no two entries that were ever made have the same number.
    log: Vec<u64>,
    /// How many changes there were when it was issued.
    changes: u64,
    at: u64,
    /// A write behind another waits for that one's sync and then for its own.
    syncs: u64,
}

/// What is owed, in numbers of changes.
struct Owed {
    to: NodeId,
    /// May be paid when so many are on the disk, and no later for what is owed since.
    first: u64,
    /// Is paid for good when so many are.
    last: u64,
    /// It was paid a part when so many writes were done.
    paid_at: Option<u64>,
}

#[derive(Default)]
struct Twin {
    log: Vec<u64>,
    made: u64,
    committed: usize,
    /// Of all that happened to log, hard state and snapshot; each is a number.
    changes: u64,
    hard_state_changed: u64,
    installed: u64,
    /// What changed since the last write: whether the hard state did, and the snapshot, to a received one or not.
    unwritten: (bool, Option<bool>),
    writes: VecDeque<Plain>,
    issued: u64,
    /// What the newest write that was ever issued leaves on the disk.
    written: Vec<u64>,
    /// The log on the disk, and how many changes are there.
    disk: Vec<u64>,
    done: u64,
    now: u64,
    vote: Option<(NodeId, u64)>,
    acknowledgement: Option<Owed>,
}

impl Twin {
    fn new(entries: usize) -> Twin {
        let log: Vec<u64> = (0..entries as u64).collect();
        Twin { made: entries as u64, disk: log.clone(), written: log.clone(), log, ..Twin::default() }
    }

    fn extend(&mut self, count: u8) {
        for _ in 0..count {
            self.log.push(self.made);
            self.made += 1;
        }
    }

    fn change(&mut self) -> u64 {
        self.changes += 1;
        self.changes
    }

    fn confirmed(&self) -> u64 {
        self.issued - self.writes.len() as u64
    }

    /// As much of the log as the disk has too.
    fn durable(&self) -> Index {
        Index(self.log.iter().zip(&self.disk).take_while(|(ours, kept)| ours == kept).count() as u64)
    }

    fn is_installing(&self) -> bool {
        self.installed > self.done
    }

    fn confirm(&mut self, id: u64) -> Option<bool> {
        if id > self.issued || id <= self.confirmed() {
            return None;
        }
        let before = self.is_installing();
        while self.confirmed() < id {
            let Plain { log, changes, .. } = self.writes.pop_front()?;
            (self.disk, self.done) = (log, changes);
        }
        Some(before && !self.is_installing())
    }

    fn owe_acknowledgement(&mut self, to: NodeId) {
        let last = self.changes;
        match &mut self.acknowledgement {
            Some(owed) if owed.to == to => owed.last = last,
            owed => *owed = Some(Owed { to, first: last, last, paid_at: None }),
        }
    }

    fn take_vote(&mut self) -> Option<NodeId> {
        let (done, vote) = (self.done, self.vote);
        vote.filter(|(_, after)| *after <= done).map(|(to, _)| {
            self.vote = None;
            to
        })
    }

    fn take_acknowledgement(&mut self) -> Option<NodeId> {
        let (done, confirmed) = (self.done, self.confirmed());
        let owed =
            self.acknowledgement.as_mut().filter(|owed| owed.first <= done && owed.paid_at != Some(confirmed))?;
        owed.paid_at = Some(confirmed);
        let to = owed.to;
        if owed.last <= done {
            self.acknowledgement = None;
        }
        Some(to)
    }
}

struct Pair {
    disk: Disk,
    twin: Twin,
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, disk: &T, twin: &T) -> Result<(), String> {
    if disk == twin { Ok(()) } else { Err(format!("{what} is {disk:?}, and the twin says {twin:?}")) }
}

fn meta(last: usize) -> SnapshotMeta {
    SnapshotMeta { last: EntryId::new(1, last as u64), ..SnapshotMeta::default() }
}

impl Pair {
    fn carry_out(&mut self, operation: &Operation) -> Result<(), String> {
        let Pair { disk, twin } = self;
        match *operation {
            Operation::Entries { cut, added } => {
                let kept = twin.log.len().saturating_sub(usize::from(cut)).max(twin.committed);
                let from = Index(kept as u64).next();
                if kept < twin.log.len() {
                    disk.truncated(from);
                }
                disk.appended(from);
                twin.log.truncate(kept);
                twin.extend(added);
                twin.change();
            }
            Operation::HardState => {
                disk.hard_state_changed();
                twin.hard_state_changed = twin.change();
                twin.unwritten.0 = true;
            }
            // Nothing is applied while a snapshot is being installed, so nobody makes one.
            Operation::Compact if !twin.is_installing() => {
                let snapshot = meta(twin.committed);
                disk.compacted(SnapshotWrite::Compacted { snapshot, first: Index(twin.committed as u64).next() });
                twin.change();
                twin.unwritten.1 = Some(false);
            }
            Operation::Compact => {}
            Operation::Install { beyond } => self.install(beyond),
            Operation::Commit(count) => twin.committed = twin.log.len().min(twin.committed + usize::from(count)),
            Operation::Issue => return self.issue(),
            Operation::Tick(ticks) => twin.now += u64::from(ticks),
            Operation::Confirm(back) => {
                let id = (twin.issued + 1).saturating_sub(u64::from(back));
                return same("a confirmation", &disk.confirm(WriteId::from_number(id)), &twin.confirm(id));
            }
            Operation::OweVote(to) => {
                disk.owe_vote(NodeId(to.into()));
                twin.vote = Some((NodeId(to.into()), twin.changes));
            }
            Operation::OweAcknowledgement(to) => {
                disk.owe_acknowledgement(NodeId(to.into()));
                twin.owe_acknowledgement(NodeId(to.into()));
            }
            Operation::OweNothing => {
                disk.owe_nothing();
                (twin.vote, twin.acknowledgement) = (None, None);
            }
            Operation::Pay => {
                same("the vote to pay", &disk.take_vote(), &twin.take_vote())?;
                return same("the acknowledgement to pay", &disk.take_acknowledgement(), &twin.take_acknowledgement());
            }
        }
        Ok(())
    }

    fn install(&mut self, beyond: u8) {
        let Pair { disk, twin } = self;
        let last = twin.log.len() + usize::from(beyond);
        twin.log.truncate(twin.committed);
        while twin.log.len() < last {
            twin.extend(1);
        }
        disk.installed(SnapshotWrite::Installed { snapshot: meta(last) }, Index(twin.committed as u64));
        twin.committed = last;
        twin.installed = twin.change();
        twin.unwritten.1 = Some(true);
    }

    /// What the write carries must leave on the disk what is in memory.
    fn issue(&mut self) -> Result<(), String> {
        let Pair { disk, twin } = self;
        let before = twin.writes.back().map_or(twin.done, |write| write.changes);
        same("whether anything is to be written", &disk.has_changes(), &(twin.changes > before))?;
        if !disk.has_changes() {
            return Ok(());
        }
        let (id, changes) = disk.issue(Index(twin.log.len() as u64), twin.now);
        twin.issued += 1;
        same("the write's number", &id.number(), &twin.issued)?;
        let (hard_state, snapshot) = std::mem::take(&mut twin.unwritten);
        same("whether it has a hard state", &changes.hard_state, &hard_state)?;
        let installs = changes.snapshot.as_deref().map(|write| matches!(write, SnapshotWrite::Installed { .. }));
        same("whether it has a snapshot, a received one", &installs, &snapshot)?;
        if let Some(SnapshotWrite::Installed { snapshot }) = changes.snapshot.as_deref() {
            // Nothing before its end is in the log any more: no slice of that can be written.
            let behind = changes.entries_from.is_none_or(|from| from > snapshot.last.index);
            same("whether its entries are behind the snapshot", &behind, &true)?;
            twin.written = twin.log[..usize::try_from(snapshot.last.index.0).unwrap()].to_vec();
        }
        if let Some(from) = changes.entries_from {
            let kept = usize::try_from(from.prev().0).unwrap();
            same("the gap that it leaves", &kept.saturating_sub(twin.written.len()), &0)?;
            twin.written.truncate(kept);
            twin.written.extend_from_slice(&twin.log[kept..]);
        }
        same("the log that it leaves", &twin.written, &twin.log)?;
        let syncs = if twin.writes.is_empty() { 1 } else { 2 };
        twin.writes.push_back(Plain { log: twin.log.clone(), changes: twin.changes, at: twin.now, syncs });
        Ok(())
    }

    fn compare(&self) -> Result<(), String> {
        let Pair { disk, twin } = self;
        same("durable", &disk.durable(), &twin.durable())?;
        same("whether the hard state is", &disk.hard_state_is_durable(), &(twin.hard_state_changed <= twin.done))?;
        same("whether all is", &disk.is_durable(disk.barrier()), &(twin.changes <= twin.done))?;
        same("whether a snapshot is on its way", &disk.is_installing(), &twin.is_installing())?;
        for ticks in [1, 2, 5, 9] {
            let late = |oldest: &Plain| twin.now - oldest.at >= u64::from(ticks) * oldest.syncs;
            let stalled = twin.writes.front().is_some_and(late);
            same("whether it is stalled", &disk.is_stalled(twin.now, ticks), &stalled)?;
        }
        Ok(())
    }
}

/// Whatever order writes, truncations and confirmations come in, nothing is taken as durable that the disk may not hold, and
/// no promise goes out before what it rests on is there, nor later than it could.
#[test]
fn disk_vs_naive() {
    #[expect(clippy::needless_pass_by_value, reason = "quickcheck hands values over")]
    fn property(restored: u8, operations: Vec<Operation>) -> TestResult {
        let entries = usize::from(restored % 6);
        let mut pair = Pair { disk: Disk::new(Index(entries as u64)), twin: Twin::new(entries) };
        for (number, operation) in operations.iter().enumerate() {
            if let Err(differs) = pair.carry_out(operation).and_then(|()| pair.compare()) {
                return TestResult::error(format!("after operation {number}, {operation:?}: {differs}"));
            }
        }
        TestResult::passed()
    }
    QuickCheck::new().tests(5000).quickcheck(property as fn(u8, Vec<Operation>) -> TestResult);
}
