//! The replicated log (§5.3): append, reconcile with a leader's, slice for a follower, compact behind a snapshot (§7).
//!
//! ```text
//!              base          snapshot                    last
//!                |              |                         |
//!    forgotten   |   trailing   |   entries after it      |
//!   -------------|==============|=========================|
//! ```
//!
//! Everything through `base` is committed and forgotten. `base <= snapshot.last`: entries may be kept behind the snapshot
//! for followers that are a little late.
//!
//! The log may be larger than memory: its oldest entries are *evicted*, and only the disk has them.
//!
//! ```text
//!              base             resident_first              last
//!                |                    |                      |
//!    forgotten   |  on disk alone     |  on disk and here    |
//!   -------------|====================|======================|
//!                |  terms and bytes   |  terms, bytes, entries
//! ```
//!
//! Terms and bytes are known apart from the entries: where logs meet, what is committed, and what counts against a limit do
//! not depend on what is resident. A slice that starts among evicted entries is empty: they are fetched (`paging.rs`).

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;

use crate::entries::{Entries, Payload, Run};
#[cfg(feature = "sim")]
use crate::fingerprint::Fingerprint;
pub use crate::meta::SnapshotMeta;
use crate::offsets::{Offsets, bytes_of};
use crate::types::{EntryId, Index, Term};

mod slice;

/// A slice of more runs than this is merged into one, in the log too, so that it is done once.
pub(crate) const RUNS_MAX: usize = 8;

/// How a leader's segment fits our log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// We hold the entry before it. `new_from` is the first entry that we lack or hold with another term: from there on
    /// the segment replaces our log.
    Matches { new_from: Option<Index> },
    /// We do not hold the entry before it. The hint is the last entry of ours that the leader may hold too.
    Conflict { hint: EntryId },
}

/// A run and how many bytes all runs before it ever counted.
#[derive(Clone)]
struct Placed {
    run: Run,
    offset: u64,
}

/// The log of one server.
#[derive(Clone)]
pub(crate) struct Log {
    base: EntryId,
    last: EntryId,
    /// What is resident: through `last`, without gaps.
    runs: VecDeque<Placed>,
    /// Where each term starts, so that terms stay known apart from the entries.
    terms: VecDeque<EntryId>,
    bytes_end: u64,
    /// How many bytes lie before what is evicted.
    evicted: Offsets,
}

impl Log {
    pub(crate) fn new(base: EntryId) -> Log {
        let evicted = Offsets::default();
        Log { base, last: base, runs: VecDeque::new(), terms: VecDeque::new(), bytes_end: 0, evicted }
    }

    /// A log of which nothing is resident: `terms` has its first entry and the first of each later term, and all through
    /// `last` counts `bytes`. What is not behind `base` is forgotten.
    pub(crate) fn evicted(base: EntryId, terms: &[EntryId], last: EntryId, bytes: u64) -> Log {
        let Some(first) = terms.first() else { return Log::new(base) };
        let is_start = |start: &EntryId| start.index > base.index && start.term != base.term;
        let starts = terms.iter().copied().filter(is_start).collect();
        let evicted = Offsets::starting_at(first.index);
        let mut log = Log { last, terms: starts, bytes_end: bytes, evicted, ..Log::new(base) };
        log.evicted.compact(log.first_index(), log.resident_start());
        log
    }

    /// The last entry that is forgotten; it matches every leader's log, for it is committed.
    pub(crate) fn base(&self) -> EntryId {
        self.base
    }

    /// Where the first entry is or will be that is not forgotten.
    pub(crate) fn first_index(&self) -> Index {
        self.base.index.next()
    }

    /// Where the first resident entry is or will be.
    pub(crate) fn resident_first(&self) -> Index {
        self.resident_start().0
    }

    /// The same, and how many bytes lie before it.
    fn resident_start(&self) -> (Index, u64) {
        self.runs.front().map_or((self.last.index.next(), self.bytes_end), |p| (p.run.first(), p.offset))
    }

    /// What the resident entries count against byte limits.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.runs.front().map_or(0, |p| self.bytes_end - p.offset)
    }

    pub(crate) fn last(&self) -> EntryId {
        self.last
    }

    /// The term at `index`, known from the base through the last entry.
    #[inline(always)]
    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.last.index { Some(self.last.term) } else { self.earlier_term_at(index) }
    }

    #[inline(never)]
    fn earlier_term_at(&self, index: Index) -> Option<Term> {
        if index < self.base.index || index > self.last.index {
            return None;
        }
        if let Some(newest) = self.terms.back().filter(|start| start.index <= index) {
            return Some(newest.term);
        }
        let after = self.terms.partition_point(|start| start.index <= index);
        Some(after.checked_sub(1).and_then(|i| self.terms.get(i)).map_or(self.base.term, |start| start.term))
    }

    pub(crate) fn id_at(&self, index: Index) -> Option<EntryId> {
        self.term_at(index).map(|term| EntryId { term, index })
    }

    /// The entry at `from`, and the first of each later term through `to`.
    pub(crate) fn term_starts(&self, from: Index, to: Index) -> Vec<EntryId> {
        let later = self.terms.iter().copied().filter(|start| from < start.index && start.index <= to);
        self.id_at(from).into_iter().chain(later).collect()
    }

    /// What the entry at `index` carries, if it is resident.
    pub(crate) fn entry(&self, index: Index) -> Option<&Payload> {
        let run = &self.runs.get(self.run_at(index)?)?.run;
        run.entries().get(usize::try_from(run.first().distance_to(index)).ok()?).map(|entry| &entry.payload)
    }

    /// Which run holds `index`, or would if it went on so far. Most questions are about the newest.
    fn run_at(&self, index: Index) -> Option<usize> {
        let newest = self.runs.len().checked_sub(1)?;
        if self.runs[newest].run.first() <= index {
            return Some(newest);
        }
        self.runs.partition_point(|p| p.run.first() <= index).checked_sub(1)
    }

    pub(crate) fn contains(&self, id: EntryId) -> bool {
        self.term_at(id.index) == Some(id.term)
    }

    /// Append a segment that continues the log.
    #[inline(always)] // called once; a call would move the entries again
    pub(crate) fn append(&mut self, entries: Entries) {
        match entries.into_one() {
            Ok(run) => self.append_run(run),
            Err(entries) => self.append_runs(entries),
        }
    }

    #[inline(never)]
    fn append_runs(&mut self, entries: Entries) {
        entries.for_each_run(|run| self.append_run(run));
    }

    #[inline(always)]
    fn append_run(&mut self, run: Run) {
        debug_assert_eq!(run.first(), self.last().index.next());
        let last = EntryId { term: run.last_term(), index: run.last() };
        if last.term != self.last.term {
            self.note_terms(&run);
        }
        let offset = self.bytes_end;
        self.bytes_end += run.bytes;
        self.last = last;
        self.runs.push_back(Placed { run, offset });
    }

    /// Before the run is in: where it begins a new term.
    #[cold]
    fn note_terms(&mut self, run: &Run) {
        let mut newest = self.last.term;
        for (i, entry) in run.entries().iter().enumerate() {
            if entry.term != newest {
                newest = entry.term;
                self.terms.push_back(EntryId { term: newest, index: run.first().plus(i as u64) });
            }
        }
    }

    /// How a leader's `entries` after `prev` fit (§5.3). Where `prev` is below our base it matches: what we forgot is
    /// committed, and so is in every leader's log.
    #[inline]
    pub(crate) fn fit(&self, prev: EntryId, entries: &Entries) -> Fit {
        // Most continue our log.
        if prev == self.last {
            return Fit::Matches { new_from: entries.first_index() };
        }
        self.fit_before_end(prev, entries)
    }

    #[inline(never)]
    fn fit_before_end(&self, prev: EntryId, entries: &Entries) -> Fit {
        if prev.index >= self.base.index && !self.contains(prev) {
            return Fit::Conflict { hint: self.last_at_most(prev) };
        }
        if prev.index.plus(entries.len()) < self.base.index {
            return Fit::Matches { new_from: None };
        }
        // The base is compared too: what follows it in a log that has another entry there does not belong to ours.
        let differs = entries.iter().find(|(id, _)| id.index >= self.base.index && !self.contains(*id));
        Fit::Matches { new_from: differs.map(|(id, _)| id.index) }
    }

    /// The last entry of ours at or below `id.index` whose term is at most `id.term`: where two logs may still agree
    /// after they disagree at `id` (fast backup by term, §5.3). At least the base, which always matches.
    pub(crate) fn last_at_most(&self, id: EntryId) -> EntryId {
        let mut index = id.index.min(self.last().index);
        while index > self.base.index {
            match self.term_at(index) {
                Some(term) if term > id.term => index = self.term_start(index).prev(),
                Some(term) => return EntryId { term, index },
                None => break,
            }
        }
        self.base
    }

    /// Where the term of the entry at `index` starts behind the base.
    fn term_start(&self, index: Index) -> Index {
        let after = self.terms.partition_point(|start| start.index <= index);
        let start = after.checked_sub(1).and_then(|i| self.terms.get(i)).map_or(Index(0), |start| start.index);
        start.max(self.first_index())
    }

    /// Drop everything from `from` on.
    #[cold]
    pub(crate) fn truncate(&mut self, from: Index) {
        if from > self.last.index {
            return;
        }
        let last = self.id_at(from.prev()).unwrap_or(self.base);
        let resident = self.resident_start();
        if from < resident.0 {
            self.bytes_end = self.evicted.before(from, resident);
            self.evicted.truncate(from);
            self.runs.clear();
        }
        while let Some(placed) = self.runs.back_mut() {
            if placed.run.last() < from {
                break;
            }
            self.bytes_end = placed.offset;
            if placed.run.first() >= from {
                self.runs.pop_back();
                continue;
            }
            placed.run = placed.run.clip(placed.run.first(), from.prev()).settled();
            self.bytes_end += placed.run.bytes;
            break;
        }
        while self.terms.back().is_some_and(|start| start.index >= from) {
            self.terms.pop_back();
        }
        self.last = last;
    }

    /// Keep the oldest runs on disk alone, of those that end at `through` or before, while more than `bytes_max` is
    /// resident. They must be durable.
    #[cold]
    pub(crate) fn evict(&mut self, through: Index, bytes_max: u64) {
        while self.resident_bytes() > bytes_max {
            let Some(Placed { run, offset }) = self.runs.pop_front_if(|p| p.run.last() <= through) else { return };
            self.evicted.push(&run, offset);
        }
    }

    /// Forget everything through `index`, which must be committed.
    pub(crate) fn compact(&mut self, index: Index) {
        let Some(base) = self.id_at(index) else { return };
        self.evicted.compact(index.next(), self.resident_start());
        let whole = self.runs.partition_point(|p| p.run.last() <= index);
        self.runs.drain(..whole);
        if let Some(placed) = self.runs.front_mut().filter(|p| p.run.first() <= index) {
            let clipped = placed.run.clip(index.next(), Index::MAX);
            placed.offset += placed.run.bytes - clipped.bytes;
            placed.run = clipped;
        }
        while self.terms.front().is_some_and(|start| start.index <= index) {
            self.terms.pop_front();
        }
        // The base's own term may go on behind it: `terms` names only where a term starts after the base.
        self.base = base;
    }

    /// Replace everything by a snapshot that ends at `base`.
    pub(crate) fn reset(&mut self, base: EntryId) {
        *self = Log::new(base);
    }

    /// What the entries after `index` count against byte limits.
    #[inline(always)]
    pub(crate) fn bytes_after(&self, index: Index) -> u64 {
        if index >= self.last.index { 0 } else { self.bytes_after_earlier(index) }
    }

    #[inline(never)]
    fn bytes_after_earlier(&self, index: Index) -> u64 {
        let next = index.next();
        let offset = match self.run_at(next).and_then(|i| self.runs.get(i)) {
            Some(Placed { run, offset }) => {
                let skipped = usize::try_from(run.first().distance_to(next)).unwrap_or(usize::MAX);
                offset + bytes_of(run.entries().get(..skipped).unwrap_or(run.entries()))
            }
            None => self.evicted.before(next, self.resident_start()),
        };
        self.bytes_end - offset
    }

    /// Not how entries are shared, and not how many were ever counted.
    #[cfg(feature = "sim")]
    pub(crate) fn fingerprint(&self, print: &mut Fingerprint<'_>) {
        let Log { base, last, runs: _, terms, bytes_end: _, evicted: _ } = self;
        print.entry_id(*base);
        print.entry_id(*last);
        self.starting_at(self.resident_first()).fingerprint(print);
        print.word(terms.len() as u64);
        terms.iter().for_each(|start| print.entry_id(*start));
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Log({}..{})", self.base, self.last())
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use quickcheck::{Arbitrary, Gen, QuickCheck, TestResult};

    use super::*;
    use crate::entries::Entry;
    use crate::sim::fuzz::{LogOperation, Sketch, check_log};

    /// Operations that mean something as a rule: on short logs, with limits that bite.
    impl Arbitrary for LogOperation {
        fn arbitrary(g: &mut Gen) -> LogOperation {
            let below = |g: &mut Gen, bound: u64| u64::arbitrary(g) % bound;
            let index = |g: &mut Gen| Index(below(g, 40));
            let id = |g: &mut Gen| EntryId::new(1 + below(g, 5), 1 + below(g, 40));
            let entries = |g: &mut Gen, most: u64| {
                let sketch =
                    |g: &mut Gen| Sketch { term: Term(below(g, 6)), bytes: u8::try_from(below(g, 20)).unwrap() };
                (0..below(g, most + 1)).map(|_| sketch(g)).collect()
            };
            match below(g, 18) {
                0..=4 => LogOperation::Append { entries: entries(g, 3) },
                5..=8 => LogOperation::Receive { prev: id(g), entries: entries(g, 8) },
                9 => LogOperation::Truncate { from: index(g) },
                10 => LogOperation::Compact { index: Index(below(g, 20)) },
                11 if below(g, 4) == 0 => LogOperation::Reset { base: id(g) },
                12 | 13 => LogOperation::Evict { through: index(g), bytes: below(g, 300) },
                14 if below(g, 4) == 0 => LogOperation::Restart { bytes: below(g, 300) },
                _ => {
                    let (from, to, merged) = (index(g), index(g), bool::arbitrary(g));
                    LogOperation::Slice { from, to, count: below(g, 30), bytes: below(g, 400), merged }
                }
            }
        }
    }

    /// Whatever happens to it, the log holds what a plain list would hold.
    #[test]
    fn log_vs_naive() {
        #[expect(clippy::needless_pass_by_value, reason = "quickcheck hands over what it made")]
        fn property(operations: Vec<LogOperation>) -> TestResult {
            check_log(&operations).map_or_else(TestResult::error, |()| TestResult::passed())
        }
        QuickCheck::new().tests(300).quickcheck(property as fn(Vec<LogOperation>) -> TestResult);
    }

    /// Entries of these terms and sizes, each command of bytes that tell it from the others.
    fn run(first: Index, terms: &[u64], bytes: u8) -> Entries {
        let command = |i: usize| vec![u8::try_from(i).unwrap() ^ bytes; usize::from(bytes % 5)];
        let entry =
            |(i, term): (usize, &u64)| Entry { term: Term(*term), payload: Payload::Command(command(i).into()) };
        Entries::from_vec(first, terms.iter().enumerate().map(entry).collect()).unwrap()
    }

    /// What was merged for one follower is not merged again for the next, nor does it stay behind.
    #[test]
    fn merging_is_done_once() {
        let mut log = Log::new(EntryId::ZERO);
        for index in 1..=20 {
            log.append(run(Index(index), &[1], 1));
        }
        log.slice_merged(Index(1), Index(8), 8, u64::MAX);
        assert_eq!(log.runs.len(), 20, "few enough");
        log.slice_merged(Index(3), Index(18), 16, u64::MAX);
        let places: Vec<_> = log.runs.iter().map(|p| (p.run.first().0, p.run.last().0, p.offset)).collect();
        assert_eq!(places, [(1, 1, 0), (2, 2, 17), (3, 18, 34), (19, 19, 306), (20, 20, 323)]);
    }

    /// What is compacted is forgotten, down to its last entry.
    #[test]
    fn compaction_frees() {
        let mut log = Log::new(EntryId::ZERO);
        for first in [1, 4, 7] {
            log.append(run(Index(first), &[first, first, first], 1));
        }
        for (through, first, runs, terms) in [(3, 4, 2, 2), (4, 5, 2, 1), (7, 8, 1, 0), (9, 10, 0, 0)] {
            log.compact(Index(through));
            let front = log.runs.front().map_or(10, |placed| placed.run.first().0);
            assert_eq!((front, log.runs.len(), log.terms.len()), (first, runs, terms));
        }
    }
}
