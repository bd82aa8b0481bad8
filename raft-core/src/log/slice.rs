//! What is read of the log: by followers, the application and the disk.

use super::{Log, Placed, RUNS_MAX};
use crate::entries::Entries;
use crate::types::Index;

impl Log {
    /// All entries from `from` on, which is resident.
    #[inline]
    pub(crate) fn starting_at(&self, from: Index) -> Entries {
        self.slice(from, Index::MAX, u64::MAX, u64::MAX)
    }

    /// The entries from `from` through `to`, at most `count` and `bytes` of them, yet at least one if there is one. None, if
    /// the first of them is not resident.
    #[inline]
    pub(crate) fn slice(&self, from: Index, to: Index, count: u64, bytes: u64) -> Entries {
        // Most often the newest run is wanted, and all of it.
        match self.runs.back() {
            Some(Placed { run, .. })
                if run.first() == from && self.last.index <= to && run.len() <= count && run.bytes <= bytes =>
            {
                Entries::one(run.clone())
            }
            _ => self.slice_of_any(from, to, count, bytes),
        }
    }

    #[inline(never)]
    fn slice_of_any(&self, from: Index, to: Index, count: u64, bytes: u64) -> Entries {
        let to = to.min(self.last().index).min(from.plus(count.max(1)).prev());
        let mut slice = Entries::new();
        if from < self.resident_first() || from > to {
            return slice;
        }
        let start = self.run_at(from).unwrap_or(0);
        let mut left = bytes;
        for Placed { run, .. } in self.runs.range(start..).take_while(|p| p.run.first() <= to) {
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
                slice.push_run(run.clip(from, run.first().plus(fitting - 1)));
            }
            break;
        }
        slice
    }

    /// As [`slice`](Log::slice), for a follower that is behind: many small runs are merged into one, in the log too, so
    /// that it is done once for all followers.
    #[inline]
    pub(crate) fn slice_merged(&mut self, from: Index, to: Index, count: u64, bytes: u64) -> Entries {
        let slice = self.slice(from, to, count, bytes);
        if slice.runs().len() <= RUNS_MAX { slice } else { self.merge(slice) }
    }

    #[cold]
    fn merge(&mut self, slice: Entries) -> Entries {
        let Some(merged) = slice.merged() else { return slice };
        let start = self.runs.partition_point(|p| p.run.first() < merged.first());
        let end = self.runs.partition_point(|p| p.run.last() <= merged.last());
        if start < end {
            let run = merged.clip(self.runs[start].run.first(), self.runs[end - 1].run.last());
            self.runs[start].run = run.settled();
            self.runs.drain(start + 1..end);
        }
        Entries::one(merged)
    }
}
