//! How many log entries travel together: segments of a log, contiguous by construction, whose clones share what they hold.

use alloc::vec;
use alloc::vec::Vec;
use core::{fmt, mem, slice};

use smallvec::SmallVec;

#[cfg(feature = "sim")]
use crate::fingerprint::Fingerprint;
pub(crate) use crate::run::Run;
pub use crate::run::{ENTRY_OVERHEAD_BYTES, Entry, Payload};
use crate::types::{EntryId, Index, Term};

/// A longer segment is made of several runs: work on a part of a run, and the memory it keeps alive, stay small.
const RUN_ENTRIES_MAX: usize = 4096;

/// Why a list of entries is no segment of any log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntriesError {
    /// Terms never fall within a log.
    #[error("term {later} follows term {earlier} at index {at}: terms never fall within a log")]
    TermFalls {
        /// Where it happens.
        at: Index,
        /// The term before it.
        earlier: Term,
        /// The lower term that follows.
        later: Term,
    },
    /// Index 0, or beyond [`Index::MAX`]; or term 0, or beyond [`Term::MAX`].
    #[error("entry {id} is outside of what a log can hold")]
    OutOfRange {
        /// The first or last entry, whichever is outside.
        id: EntryId,
    },
}

/// Runs that follow each other without gaps. Most segments are a single run, which takes no allocation.
#[derive(Clone, Default)]
enum Runs {
    #[default]
    None,
    One(Run),
    Many(Vec<Run>),
}

/// A contiguous segment of a log: indexes without gaps and terms that never fall, by construction. A clone costs a
/// counter per run, never per entry.
#[derive(Clone, Default)]
pub struct Entries {
    runs: Runs,
}

impl Entries {
    /// No entries.
    #[must_use]
    pub fn new() -> Entries {
        Entries::default()
    }

    /// The segment that starts at `first`.
    ///
    /// # Errors
    /// If terms fall, or if an index or a term is outside of what a log can hold.
    pub fn from_vec(first: Index, entries: Vec<Entry>) -> Result<Entries, EntriesError> {
        let (Some(head), Some(tail)) = (entries.first(), entries.last()) else { return Ok(Entries::new()) };
        let ends = [(head.term, first), (tail.term, first.plus(entries.len() as u64 - 1))];
        for (term, index) in ends {
            if term == Term(0) || term > Term::MAX || index == Index(0) || index > Index::MAX {
                return Err(EntriesError::OutOfRange { id: EntryId { term, index } });
            }
        }
        for (i, pair) in entries.windows(2).enumerate() {
            if pair[1].term < pair[0].term {
                let at = first.plus(i as u64 + 1);
                return Err(EntriesError::TermFalls { at, earlier: pair[0].term, later: pair[1].term });
            }
        }
        if entries.len() <= RUN_ENTRIES_MAX {
            return Ok(Entries::one(Run::new(first, entries.into())));
        }
        let mut all = Entries::new();
        let mut next = first;
        let mut rest = entries.into_iter();
        while !rest.as_slice().is_empty() {
            let run = Run::new(next, rest.by_ref().take(RUN_ENTRIES_MAX).collect());
            next = run.last().next();
            all.push_run(run);
        }
        Ok(all)
    }

    /// What a leader appends: `payloads` in its own term from `first` on.
    pub(crate) fn of_term(first: EntryId, payloads: impl ExactSizeIterator<Item = Payload>) -> Entries {
        let EntryId { term, index } = first;
        let entries: SmallVec<[Entry; 1]> = payloads.map(|payload| Entry { term, payload }).collect();
        if entries.is_empty() { Entries::new() } else { Entries::one(Run::new(index, entries)) }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs().is_empty()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.sum(Run::len)
    }

    /// What they count against byte limits.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.sum(|run| run.bytes)
    }

    fn sum(&self, of_run: impl Fn(&Run) -> u64) -> u64 {
        match &self.runs {
            Runs::None => 0,
            Runs::One(run) => of_run(run),
            Runs::Many(runs) => runs.iter().map(of_run).sum(),
        }
    }

    /// The id of the first one.
    #[must_use]
    pub fn first(&self) -> Option<EntryId> {
        self.first_run().map(|run| EntryId { term: run.first_term(), index: run.first() })
    }

    /// The id of the last one.
    #[must_use]
    pub fn last(&self) -> Option<EntryId> {
        self.last_run().map(|run| EntryId { term: run.last_term(), index: run.last() })
    }

    pub(crate) fn first_index(&self) -> Option<Index> {
        self.first_run().map(Run::first)
    }

    pub(crate) fn last_index(&self) -> Option<Index> {
        self.last_run().map(Run::last)
    }

    fn first_run(&self) -> Option<&Run> {
        match &self.runs {
            Runs::None => None,
            Runs::One(run) => Some(run),
            Runs::Many(runs) => runs.first(),
        }
    }

    fn last_run(&self) -> Option<&Run> {
        match &self.runs {
            Runs::None => None,
            Runs::One(run) => Some(run),
            Runs::Many(runs) => runs.last(),
        }
    }

    /// Whether there may be a configuration among them.
    pub(crate) fn may_hold_membership(&self) -> bool {
        match &self.runs {
            Runs::None => false,
            Runs::One(run) => run.has_membership(),
            Runs::Many(runs) => runs.iter().any(Run::has_membership),
        }
    }

    /// All of them in order, each with its id.
    pub fn iter(&self) -> impl Iterator<Item = (EntryId, &Payload)> + '_ {
        self.runs().iter().flat_map(|run| {
            (run.first().0..)
                .zip(run.entries())
                .map(|(index, entry)| (EntryId { term: entry.term, index: Index(index) }, &entry.payload))
        })
    }

    /// The shared allocations behind them, each a slice with the index of its first entry: for those who encode.
    pub fn slices(&self) -> impl Iterator<Item = (Index, &[Entry])> + '_ {
        self.runs().iter().map(|run| (run.first(), run.entries()))
    }

    /// Those from index `from` on. What is left of a run that is cut keeps no more than twice itself alive.
    #[must_use]
    #[inline]
    pub fn starting_at(self, from: Index) -> Entries {
        if self.first_index().is_none_or(|first| from <= first) { self } else { self.cut_before(from) }
    }

    #[inline(never)]
    fn cut_before(self, from: Index) -> Entries {
        let mut tail = Entries::new();
        for run in self.runs().iter().filter(|run| run.last() >= from) {
            tail.push_run(run.clip(from, Index::MAX).settled());
        }
        tail
    }

    /// Those through index `to`.
    #[must_use]
    pub fn through(self, to: Index) -> Entries {
        if self.last_index().is_none_or(|last| last <= to) {
            return self;
        }
        let mut head = Entries::new();
        for run in self.runs().iter().filter(|run| run.first() <= to) {
            head.push_run(run.clip(Index(0), to).settled());
        }
        head
    }

    /// The first ones: at most `count` and `bytes` of them, yet at least one if there is one.
    #[cold]
    pub(crate) fn at_most(self, count: u64, bytes: u64) -> Entries {
        let Some(first) = self.first_index() else { return self };
        let sizes = self.runs().iter().flat_map(Run::entries).map(Entry::bytes);
        let sums = sizes.scan(0_u64, |sum, size| {
            *sum = sum.saturating_add(size);
            Some(*sum)
        });
        let fitting = sums.take_while(|sum| *sum <= bytes).count() as u64;
        self.through(first.plus(fitting.min(count).max(1)).prev())
    }

    pub(crate) fn one(run: Run) -> Entries {
        Entries { runs: Runs::One(run) }
    }

    pub(crate) fn runs(&self) -> &[Run] {
        match &self.runs {
            Runs::None => &[],
            Runs::One(run) => slice::from_ref(run),
            Runs::Many(runs) => runs,
        }
    }

    /// The run, if they are one.
    #[inline(always)]
    pub(crate) fn into_one(self) -> Result<Run, Entries> {
        match self.runs {
            Runs::One(run) => Ok(run),
            runs @ (Runs::None | Runs::Many(_)) => Err(Entries { runs }),
        }
    }

    pub(crate) fn for_each_run(self, mut take: impl FnMut(Run)) {
        match self.runs {
            Runs::None => {}
            Runs::One(run) => take(run),
            Runs::Many(runs) => runs.into_iter().for_each(take),
        }
    }

    /// However they are shared.
    #[cfg(feature = "sim")]
    pub(crate) fn fingerprint(&self, print: &mut Fingerprint<'_>) {
        print.word(self.len());
        for (id, payload) in self.iter() {
            print.entry_id(id);
            payload.fingerprint(print);
        }
    }

    /// The caller keeps runs contiguous.
    pub(crate) fn push_run(&mut self, run: Run) {
        debug_assert!(self.last_index().is_none_or(|last| last.next() == run.first()));
        self.runs = match mem::take(&mut self.runs) {
            Runs::None => Runs::One(run),
            Runs::One(first) => Runs::Many(vec![first, run]),
            Runs::Many(mut runs) => {
                runs.push(run);
                Runs::Many(runs)
            }
        };
    }

    /// The same entries in one allocation: what a lagging follower is fed should not be a thousand runs of one.
    pub(crate) fn merged(&self) -> Option<Run> {
        let first = self.first_index()?;
        let entries = self.runs().iter().flat_map(|run| run.entries().iter().cloned()).collect();
        Some(Run::new(first, entries))
    }
}

impl PartialEq for Entries {
    /// Equal entries at equal places, however they are shared.
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Eq for Entries {}

impl fmt::Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(id, payload)| (alloc::format!("{id}"), payload))).finish()
    }
}

impl fmt::Display for Entries {
    /// `-` for none, `4@2` for one, `4@2..9@3` for more.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.first(), self.last()) {
            (Some(first), Some(last)) if first == last => write!(f, "{first}"),
            (Some(first), Some(last)) => write!(f, "{first}..{last}"),
            _ => f.write_str("-"),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn entry(term: u64) -> Entry {
        Entry { term: Term(term), payload: Payload::Noop }
    }

    #[test]
    fn segments_are_checked_when_made() {
        let falls = Entries::from_vec(Index(4), vec![entry(2), entry(3), entry(2)]);
        assert_eq!(falls, Err(EntriesError::TermFalls { at: Index(6), earlier: Term(3), later: Term(2) }));
        for (first, term) in [(0, 1), (1, 0), (u64::MAX, 1), (1, u64::MAX)] {
            assert!(matches!(Entries::from_vec(Index(first), vec![entry(term)]), Err(EntriesError::OutOfRange { .. })));
        }
        assert!(Entries::from_vec(Index(0), vec![]).unwrap().is_empty());
        assert_eq!(Entries::from_vec(Index::MAX, vec![entry(Term::MAX.0)]).unwrap().len(), 1);
    }

    /// Ten commands that came in one frame: of what is left, that which is less than half is copied, and the frame may go.
    #[test]
    fn what_is_left_of_a_segment_keeps_no_more_than_twice_itself_alive() {
        for from in 1..=10 {
            let frame = Bytes::from(vec![7; 1000]);
            let command = |at: usize| Payload::Command(frame.slice(100 * at..100 * (at + 1)));
            let list = (0..10).map(|at| Entry { term: Term(1), payload: command(at) }).collect();
            let all = Entries::from_vec(Index(1), list).unwrap();
            let (whole, place) = (all.bytes(), frame.as_ptr_range());
            let left = all.starting_at(Index(from));
            assert_eq!((left.len(), left.bytes()), (11 - from, 116 * (11 - from)));
            let is_half = from <= 6;
            assert_eq!(left.runs()[0].bytes_kept_alive() == whole, is_half, "from {from}");
            for (_, payload) in left.iter() {
                let Payload::Command(command) = payload else { panic!("all are commands") };
                assert_eq!(place.contains(&command.as_ptr()), is_half, "from {from}");
            }
        }
    }

    #[test]
    fn equal_is_what_holds_the_same_however_it_is_shared() {
        let all = |terms: &[u64]| Entries::from_vec(Index(4), terms.iter().map(|term| entry(*term)).collect()).unwrap();
        let mut parts = all(&[2]);
        parts.push_run(Entries::from_vec(Index(5), vec![entry(3)]).unwrap().runs()[0].clone());
        assert_eq!(parts, all(&[2, 3]));
        for other in [all(&[]), all(&[2]), all(&[2, 2]), all(&[2, 3, 3]), all(&[1, 2, 3]).starting_at(Index(5))] {
            assert_ne!(parts, other);
        }
    }

    #[test]
    fn long_segments_are_made_of_short_runs() {
        let long = Entries::from_vec(Index(4), vec![entry(2); 2 * RUN_ENTRIES_MAX + 1]).unwrap();
        let runs: Vec<_> = long.slices().map(|(first, entries)| (first.0, entries.len())).collect();
        assert_eq!(runs, [(4, 4096), (4100, 4096), (8196, 1)]);
        assert_eq!((long.len(), long.last()), (8193, Some(EntryId::new(2, 8196))));
    }

    #[test]
    fn parts_know_their_place_and_size() {
        let all = Entries::from_vec(Index(4), vec![entry(2), entry(3), entry(3)]).unwrap();
        let tail = all.clone().starting_at(Index(5));
        assert_eq!((tail.first(), tail.last()), (Some(EntryId::new(3, 5)), Some(EntryId::new(3, 6))));
        assert_eq!((tail.len(), tail.bytes()), (2, 2 * ENTRY_OVERHEAD_BYTES));
        assert!(all.clone().starting_at(Index(7)).is_empty());
        assert_eq!(all.clone().starting_at(Index(1)), all);
    }
}
