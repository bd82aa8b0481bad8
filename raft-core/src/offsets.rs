//! Where entries lie that are not in memory: how many bytes come before them, so that byte counts do not depend on what is
//! resident.
//!
//! Each entry has a mark until there are too many; then marks that are close together go, and what lies between two is taken
//! to be of equal size. A log of any length needs 64 KiB at most.

use alloc::collections::VecDeque;

use crate::run::{Entry, Run};
use crate::types::Index;

const MARKS_MAX: usize = 4096;

/// The evicted part of a log, by bytes. Its end is where the resident part begins, which the log knows.
#[derive(Clone, Default)]
pub(crate) struct Offsets {
    /// Some entries, the first of the part among them, each with the bytes of all entries before it.
    marks: VecDeque<(Index, u64)>,
    /// Marks are at least so many bytes apart.
    grain: u64,
}

impl Offsets {
    /// The part that begins at `first`, of whose inside nothing is known.
    pub(crate) fn starting_at(first: Index) -> Offsets {
        Offsets { marks: [(first, 0)].into(), grain: 0 }
    }

    /// The part goes on with a run that has `offset` bytes before it.
    pub(crate) fn push(&mut self, run: &Run, offset: u64) {
        self.mark(run.first(), offset);
        if run.bytes <= self.grain {
            return;
        }
        let mut at = offset;
        for (index, entry) in (run.first().0..).map(Index).zip(run.entries()) {
            self.mark(index, at);
            at += entry.bytes();
        }
    }

    fn mark(&mut self, index: Index, offset: u64) {
        if let Some((newest, before)) = self.marks.back()
            && (*newest >= index || offset - before < self.grain)
        {
            return;
        }
        self.marks.push_back((index, offset));
        if self.marks.len() > MARKS_MAX {
            self.thin_out();
        }
    }

    /// Keep every second mark or fewer.
    #[cold]
    fn thin_out(&mut self) {
        let (Some((_, first)), Some((_, last))) = (self.marks.front(), self.marks.back()) else { return };
        let grain = 2 * ((last - first) / MARKS_MAX as u64 + 1);
        self.grain = self.grain.max(grain);
        let mut kept: Option<u64> = None;
        self.marks.retain(|(_, offset)| {
            let keep = kept.is_none_or(|before| offset - before >= grain);
            if keep {
                kept = Some(*offset);
            }
            keep
        });
    }

    /// The bytes before the entry at `index`, if the part ends before the entry at `end.0`, which has `end.1` bytes before it.
    #[cold]
    pub(crate) fn before(&self, index: Index, end: (Index, u64)) -> u64 {
        let Some(first) = self.marks.front() else { return end.1 };
        let after = self.marks.partition_point(|(mark, _)| *mark <= index);
        let lower = after.checked_sub(1).and_then(|at| self.marks.get(at)).unwrap_or(first);
        let upper = self.marks.get(after).unwrap_or(&end);
        let (width, place) = (lower.0.distance_to(upper.0), lower.0.distance_to(index.min(upper.0)));
        let bytes = u128::from(upper.1 - lower.1) * u128::from(place) / u128::from(width.max(1));
        lower.1 + u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    /// The part begins at `first` now, or is gone.
    pub(crate) fn compact(&mut self, first: Index, end: (Index, u64)) {
        let offset = self.before(first, end);
        while self.marks.pop_front_if(|(mark, _)| *mark <= first).is_some() {}
        if first < end.0 {
            self.marks.push_front((first, offset));
        } else {
            self.marks.clear();
        }
    }

    /// The part ends before `from` now.
    pub(crate) fn truncate(&mut self, from: Index) {
        while self.marks.pop_back_if(|(mark, _)| *mark >= from).is_some() {}
    }
}

/// What `entries` count against byte limits.
pub(crate) fn bytes_of(entries: &[Entry]) -> u64 {
    entries.iter().map(Entry::bytes).sum()
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::run::Payload;
    use crate::types::Term;

    fn run(first: u64, sizes: &[usize]) -> Run {
        let entry = |size: &usize| Entry { term: Term(1), payload: Payload::Command(alloc::vec![0; *size].into()) };
        Run::new(Index(first), sizes.iter().map(entry).collect())
    }

    #[test]
    fn a_short_part_is_known_entry_by_entry() {
        let mut offsets = Offsets::default();
        offsets.push(&run(4, &[1, 100, 7]), 50);
        offsets.push(&run(7, &[9]), 206);
        let end = (Index(8), 231);
        let before: Vec<u64> = (3..=9).map(|index| offsets.before(Index(index), end)).collect();
        assert_eq!(before, [50, 50, 67, 183, 206, 231, 231]);
        offsets.compact(Index(6), end);
        let before: Vec<u64> = (5..=8).map(|index| offsets.before(Index(index), end)).collect();
        assert_eq!(before, [183, 183, 206, 231]);
        offsets.truncate(Index(7));
        assert_eq!((offsets.before(Index(6), (Index(7), 206)), offsets.before(Index(7), (Index(7), 206))), (183, 206));
        offsets.compact(Index(7), (Index(7), 206));
        assert!(offsets.marks.is_empty());
    }

    /// However long the part, its marks take the same room, and are off by less than two of their distances.
    #[test]
    fn a_long_part_keeps_few_marks() {
        let mut offsets = Offsets::default();
        let mut sums = Vec::from([0]);
        for index in 1..=100_000 {
            let run = run(index, &[usize::try_from(index * 7919 % 61).unwrap()]);
            let before = sums[sums.len() - 1];
            offsets.push(&run, before);
            sums.push(before + run.bytes);
            assert!(offsets.marks.len() <= MARKS_MAX);
        }
        let end = (Index(100_001), sums[100_000]);
        assert!(offsets.marks.len() > MARKS_MAX / 4 && offsets.grain < 8 * end.1 / MARKS_MAX as u64);
        for (at, sum) in sums.iter().enumerate() {
            let found = offsets.before(Index(at as u64 + 1), end);
            assert!(found.abs_diff(*sum) <= 2 * offsets.grain, "{found} and {sum} before {at}");
        }
    }

    #[test]
    fn what_is_known_of_its_ends_only_is_taken_to_be_even() {
        let offsets = Offsets::starting_at(Index(11));
        let end = (Index(21), 1000);
        assert_eq!([10, 11, 16, 20, 21].map(|index| offsets.before(Index(index), end)), [0, 0, 500, 900, 1000]);
    }
}
