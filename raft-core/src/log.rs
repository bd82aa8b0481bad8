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

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::entries::{Entries, Entry, Payload, Run};
#[cfg(feature = "sim")]
use crate::fingerprint::Fingerprint;
use crate::membership::Membership;
use crate::types::{EntryId, Index, Term};

/// A slice of more runs than this is merged into one, in the log too, so that it is done once.
pub(crate) const RUNS_MAX: usize = 8;

/// What a snapshot stands for (§7): everything through `last`, and who the members were there. The data itself never
/// enters the core.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotMeta {
    /// The last entry that the snapshot replaces.
    pub last: EntryId,
    /// The configuration in force at that entry.
    pub membership: Arc<Membership>,
}

impl fmt::Display for SnapshotMeta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.last, self.membership)
    }
}

#[cfg(feature = "sim")]
impl SnapshotMeta {
    pub(crate) fn fingerprint(&self, print: &mut Fingerprint<'_>) {
        let SnapshotMeta { last, membership } = self;
        print.entry_id(*last);
        membership.fingerprint(print);
    }
}

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

/// The log of one server, as far as it is resident.
#[derive(Clone)]
pub(crate) struct Log {
    base: EntryId,
    last: EntryId,
    runs: VecDeque<Placed>,
    /// Where each term starts, so that terms stay known apart from the entries.
    terms: VecDeque<EntryId>,
    bytes_end: u64,
}

impl Log {
    pub(crate) fn new(base: EntryId) -> Log {
        Log { base, last: base, runs: VecDeque::new(), terms: VecDeque::new(), bytes_end: 0 }
    }

    /// The last entry that is forgotten; it matches every leader's log, for it is committed.
    pub(crate) fn base(&self) -> EntryId {
        self.base
    }

    /// Where the first resident entry is or will be.
    pub(crate) fn first_index(&self) -> Index {
        self.base.index.next()
    }

    pub(crate) fn last(&self) -> EntryId {
        self.last
    }

    /// The term at `index`, known from the base through the last entry.
    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        let last = self.last();
        if index == last.index {
            return Some(last.term);
        }
        if index < self.base.index || index > last.index {
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

    /// What the entry at `index` carries, if it is resident.
    pub(crate) fn entry(&self, index: Index) -> Option<&Payload> {
        let run = &self.runs.get(self.run_at(index)?)?.run;
        run.entries().get(usize::try_from(run.first.distance_to(index)).ok()?).map(|entry| &entry.payload)
    }

    /// Which run holds `index`, or would if it went on so far. Most questions are about the newest.
    fn run_at(&self, index: Index) -> Option<usize> {
        let newest = self.runs.len().checked_sub(1)?;
        if self.runs[newest].run.first <= index {
            return Some(newest);
        }
        self.runs.partition_point(|p| p.run.first <= index).checked_sub(1)
    }

    pub(crate) fn contains(&self, id: EntryId) -> bool {
        self.term_at(id.index) == Some(id.term)
    }

    /// Append a segment that continues the log.
    pub(crate) fn append(&mut self, entries: &Entries) {
        for run in entries.runs() {
            debug_assert_eq!(run.first, self.last().index.next());
            self.note_terms(run);
            self.runs.push_back(Placed { run: run.clone(), offset: self.bytes_end });
            self.bytes_end += run.bytes;
            self.last = EntryId { term: run.last_term(), index: run.last() };
        }
    }

    fn note_terms(&mut self, run: &Run) {
        let mut newest = self.terms.back().map_or(self.base.term, |start| start.term);
        if run.last_term() == newest {
            return;
        }
        for (i, entry) in run.entries().iter().enumerate() {
            if entry.term != newest {
                newest = entry.term;
                self.terms.push_back(EntryId { term: newest, index: run.first.plus(i as u64) });
            }
        }
    }

    /// How a leader's `entries` after `prev` fit (§5.3). Where `prev` is below our base it matches: what we forgot is
    /// committed, and so is in every leader's log.
    pub(crate) fn fit(&self, prev: EntryId, entries: &Entries) -> Fit {
        if prev.index >= self.base.index && !self.contains(prev) {
            return Fit::Conflict { hint: self.last_at_most(prev) };
        }
        let last = self.last();
        let end = prev.index.plus(entries.len());
        if end < self.base.index {
            return Fit::Matches { new_from: None };
        }
        if prev.index == last.index {
            return Fit::Matches { new_from: entries.first().map(|id| id.index) };
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

    /// Where the term of the entry at `index` starts in the resident log.
    fn term_start(&self, index: Index) -> Index {
        let after = self.terms.partition_point(|start| start.index <= index);
        let start = after.checked_sub(1).and_then(|i| self.terms.get(i)).map_or(Index(0), |start| start.index);
        start.max(self.first_index())
    }

    /// Drop everything from `from` on.
    pub(crate) fn truncate(&mut self, from: Index) {
        while let Some(placed) = self.runs.back_mut() {
            if placed.run.last() < from {
                break;
            }
            self.bytes_end = placed.offset;
            if placed.run.first >= from {
                self.runs.pop_back();
                continue;
            }
            placed.run = placed.run.clip(placed.run.first, from.prev()).settled();
            self.bytes_end += placed.run.bytes;
            break;
        }
        while self.terms.back().is_some_and(|start| start.index >= from) {
            self.terms.pop_back();
        }
        let newest = self.runs.back().map(|p| EntryId { term: p.run.last_term(), index: p.run.last() });
        self.last = newest.unwrap_or(self.base);
    }

    /// Forget everything through `index`, which must be committed.
    pub(crate) fn compact(&mut self, index: Index) {
        let Some(base) = self.id_at(index) else { return };
        while let Some(placed) = self.runs.front_mut() {
            if placed.run.first > index {
                break;
            }
            if placed.run.last() <= index {
                self.runs.pop_front();
                continue;
            }
            let clipped = placed.run.clip(index.next(), Index::MAX);
            placed.offset += placed.run.bytes - clipped.bytes;
            placed.run = clipped;
            break;
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
    pub(crate) fn bytes_after(&self, index: Index) -> u64 {
        if index >= self.last.index {
            return 0;
        }
        let next = index.next();
        let offset = match self.run_at(next).and_then(|i| self.runs.get(i)) {
            Some(Placed { run, offset }) => {
                let skipped = usize::try_from(run.first.distance_to(next)).unwrap_or(usize::MAX);
                offset + run.entries().iter().take(skipped).map(Entry::bytes).sum::<u64>()
            }
            None => self.runs.front().map_or(self.bytes_end, |p| p.offset),
        };
        self.bytes_end - offset
    }

    /// The entries from `from` through `to`, at most `count` and `bytes` of them, yet at least one if there is one.
    pub(crate) fn slice(&self, from: Index, to: Index, count: u64, bytes: u64) -> Entries {
        let mut slice = Entries::new();
        let to = to.min(self.last().index).min(from.plus(count.max(1)).prev());
        if from <= self.base.index || from > to {
            return slice;
        }
        let first_run = self.run_at(from).unwrap_or(0);
        if let Some(Placed { run, .. }) = self.runs.get(first_run).filter(|p| p.run.last() >= to) {
            let run = run.clip(from, to);
            if run.bytes <= bytes {
                return Entries::one(run);
            }
        }
        let mut left = bytes;
        for Placed { run, .. } in self.runs.range(first_run..).take_while(|p| p.run.first <= to) {
            let run = run.clip(from, to);
            if run.bytes <= left {
                left -= run.bytes;
                slice.push_run(run);
                continue;
            }
            let fitting = run.entries().iter().scan(0, |sum, entry| {
                *sum += entry.bytes();
                (*sum <= left).then_some(())
            });
            let fitting = (fitting.count() as u64).max(u64::from(slice.is_empty()));
            if fitting > 0 {
                slice.push_run(run.clip(from, run.first.plus(fitting - 1)));
            }
            break;
        }
        slice
    }

    /// As [`slice`](Log::slice), for a follower that is behind: many small runs are merged into one, in the log too, so
    /// that it is done once for all followers.
    pub(crate) fn slice_merged(&mut self, from: Index, to: Index, count: u64, bytes: u64) -> Entries {
        let slice = self.slice(from, to, count, bytes);
        if slice.runs().len() <= RUNS_MAX {
            return slice;
        }
        let Some(merged) = slice.merged() else { return slice };
        let start = self.runs.partition_point(|p| p.run.first < merged.first);
        let end = self.runs.partition_point(|p| p.run.last() <= merged.last());
        if start < end {
            let run = merged.clip(self.runs[start].run.first, self.runs[end - 1].run.last());
            self.runs[start].run = run.settled();
            self.runs.drain(start + 1..end);
        }
        Entries::one(merged)
    }

    /// Not how entries are shared, and not how many were ever counted.
    #[cfg(feature = "sim")]
    pub(crate) fn fingerprint(&self, print: &mut Fingerprint<'_>) {
        let Log { base, last, runs: _, terms, bytes_end: _ } = self;
        print.entry_id(*base);
        print.entry_id(*last);
        self.slice(self.first_index(), Index::MAX, u64::MAX, u64::MAX).fingerprint(print);
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

    use quickcheck::quickcheck;

    use super::*;

    /// The log, said slowly: a base and a list.
    struct Slow {
        base: EntryId,
        entries: Vec<Entry>,
    }

    impl Slow {
        fn last(&self) -> EntryId {
            let index = self.base.index.plus(self.entries.len() as u64);
            EntryId { term: self.entries.last().map_or(self.base.term, |entry| entry.term), index }
        }

        fn term_at(&self, index: Index) -> Option<Term> {
            match index.0.checked_sub(self.base.index.0)? {
                0 => Some(self.base.term),
                n => self.entries.get(usize::try_from(n - 1).unwrap()).map(|entry| entry.term),
            }
        }

        fn last_at_most(&self, id: EntryId) -> EntryId {
            let entries = self.entries.iter().zip(self.base.index.0 + 1..);
            let ids = entries.map(|(entry, index)| EntryId { term: entry.term, index: Index(index) });
            ids.filter(|ours| ours.index <= id.index && ours.term <= id.term).last().unwrap_or(self.base)
        }

        fn after(&self, index: Index) -> &[Entry] {
            let forgotten = usize::try_from(self.base.index.distance_to(index)).unwrap();
            &self.entries[forgotten.min(self.entries.len())..]
        }

        fn bytes_after(&self, index: Index) -> u64 {
            self.after(index).iter().map(Entry::bytes).sum()
        }

        fn slice(&self, from: Index, to: Index, count: u64, bytes: u64) -> &[Entry] {
            if from <= self.base.index {
                return &[];
            }
            let some = self.after(from.prev());
            let wanted = usize::try_from(to.0.saturating_add(1).saturating_sub(from.0).min(count.max(1))).unwrap();
            let some = &some[..wanted.min(some.len())];
            let mut sum = 0;
            let mut fits = |entry: &&Entry| {
                sum += entry.bytes();
                sum <= bytes
            };
            let most = some.iter().take_while(|entry| fits(entry)).count();
            &some[..most.max(some.len().min(1))]
        }

        fn fit(&self, prev: EntryId, entries: &Entries) -> Fit {
            if prev.index >= self.base.index && self.term_at(prev.index) != Some(prev.term) {
                return Fit::Conflict { hint: self.last_at_most(prev) };
            }
            let ids = entries.iter().map(|(id, _)| id);
            let new = ids.filter(|id| id.index >= self.base.index).find(|id| self.term_at(id.index) != Some(id.term));
            Fit::Matches { new_from: new.map(|id| id.index) }
        }
    }

    /// Entries of these terms and sizes, each command of bytes that tell it from the others.
    fn run(first: Index, terms: &[u64], bytes: u8) -> Entries {
        let command = |i: usize| vec![u8::try_from(i).unwrap() ^ bytes; usize::from(bytes % 5)];
        let entry =
            |(i, term): (usize, &u64)| Entry { term: Term(*term), payload: Payload::Command(command(i).into()) };
        Entries::from_vec(first, terms.iter().enumerate().map(entry).collect()).unwrap()
    }

    fn same(found: &Entries, first: Index, expected: &[Entry]) -> bool {
        *found == Entries::from_vec(first, expected.to_vec()).unwrap()
    }

    fn check(log: &Log, slow: &Slow, a: u8, b: u8) {
        let last = slow.last();
        assert_eq!((log.base(), log.last(), log.first_index()), (slow.base, last, slow.base.index.next()));
        for index in (slow.base.index.0.saturating_sub(2)..=last.index.0 + 2).map(Index) {
            assert_eq!(log.term_at(index), slow.term_at(index));
            let resident = slow.slice(index, index, 1, u64::MAX).first();
            assert_eq!(log.entry(index), resident.map(|entry| &entry.payload));
            assert_eq!(log.bytes_after(index), slow.bytes_after(index));
        }
        let from = Index(slow.base.index.0.saturating_sub(2) + u64::from(a) % (slow.entries.len() as u64 + 5));
        for (to, count, bytes) in [(3, 9, 90), (9, 3, 1000), (30, 30, u64::from(b) * 8), (0, 0, 0), (90, 90, 2000)] {
            let slice = log.slice(from, from.plus(to), count, bytes);
            assert!(same(&slice, from, slow.slice(from, from.plus(to), count, bytes)), "{from} {to} {count} {bytes}");
        }
        for term in 0..=last.term.0 + 1 {
            let id = EntryId { term: Term(term), index: from };
            assert_eq!(log.last_at_most(id), slow.last_at_most(id));
            // A leader's segment: ours for a while, then, if its term is later, its own.
            let ours = slow.slice(from.next(), Index::MAX, u64::from(b % 8), u64::MAX).iter().map(|entry| entry.term.0);
            let mut terms: Vec<u64> = if u64::from(b) % 8 == 0 { vec![] } else { ours.collect() };
            let own = last.term.0 + u64::from(b % 3);
            terms.extend(vec![own.max(1); usize::from(b / 64)]);
            let entries = run(from.next(), &terms, 1);
            assert_eq!(log.fit(id, &entries), slow.fit(id, &entries), "{id} {entries}");
        }
    }

    quickcheck! {
        /// Whatever happens to it, the log holds what a list would hold.
        fn log_vs_list(steps: Vec<(u8, u8, u8)>) -> bool {
            let (mut log, mut slow) = (Log::new(EntryId::ZERO), Slow { base: EntryId::ZERO, entries: vec![] });
            for (kind, a, b) in steps {
                let (last, len) = (slow.last(), slow.entries.len() as u64);
                let (here, next) = (slow.base.index.plus(u64::from(a) % (len + 1)), last.index.next());
                match kind % 16 {
                    13 => {
                        log.truncate(here.next());
                        slow.entries.truncate(usize::try_from(slow.base.index.distance_to(here)).unwrap());
                    }
                    14 => {
                        let base = EntryId { term: slow.term_at(here).unwrap(), index: here };
                        log.compact(here);
                        slow = Slow { base, entries: slow.after(here).to_vec() };
                    }
                    15 if a % 4 == 0 => {
                        slow = Slow { base: EntryId { term: last.term.next(), index: next }, entries: vec![] };
                        log.reset(slow.base);
                    }
                    12 | 15 => {
                        let (count, bytes) = (u64::from(b % 32), u64::from(b) * 64);
                        let slice = log.slice_merged(here, Index::MAX, count, bytes);
                        assert!(same(&slice, here, slow.slice(here, Index::MAX, count, bytes)), "{here} {count} {bytes}");
                    }
                    _ => {
                        let term = last.term.0.max(1);
                        let terms: Vec<u64> = (0..=u64::from(a % 4)).map(|i| term + i * u64::from(b % 3 / 2)).collect();
                        let terms: Vec<u64> = terms.iter().map(|term| term + u64::from(b % 7 / 6)).collect();
                        let entries = run(next, &terms, b);
                        log.append(&entries);
                        slow.entries.extend(entries.slices().flat_map(|(_, slice)| slice.to_vec()));
                    }
                }
                check(&log, &slow, a, b);
            }
            true
        }
    }

    /// What was merged for one follower is not merged again for the next, nor does it stay behind.
    #[test]
    fn merging_is_done_once() {
        let mut log = Log::new(EntryId::ZERO);
        for index in 1..=20 {
            log.append(&run(Index(index), &[1], 1));
        }
        log.slice_merged(Index(1), Index(8), 8, u64::MAX);
        assert_eq!(log.runs.len(), 20, "few enough");
        log.slice_merged(Index(3), Index(18), 16, u64::MAX);
        let places: Vec<_> = log.runs.iter().map(|p| (p.run.first.0, p.run.last().0, p.offset)).collect();
        assert_eq!(places, [(1, 1, 0), (2, 2, 17), (3, 18, 34), (19, 19, 306), (20, 20, 323)]);
    }

    /// What is compacted is forgotten, down to its last entry.
    #[test]
    fn compaction_frees() {
        let mut log = Log::new(EntryId::ZERO);
        for first in [1, 4, 7] {
            log.append(&run(Index(first), &[first, first, first], 1));
        }
        for (through, first, runs, terms) in [(3, 4, 2, 2), (4, 5, 2, 1), (7, 8, 1, 0), (9, 10, 0, 0)] {
            log.compact(Index(through));
            let front = log.runs.front().map_or(10, |placed| placed.run.first.0);
            assert_eq!((front, log.runs.len(), log.terms.len()), (first, runs, terms));
        }
    }
}
