//! Which snapshots' data must stay: those that a durable write names or a write under way will name. So that a driver may
//! delete what it is told to discard without asking.

use smallvec::{SmallVec, smallvec};

#[cfg(feature = "sim")]
use crate::fingerprint::Fingerprint;
use crate::types::{EntryId, Index};

#[derive(Clone, Debug)]
pub(crate) struct NamedSnapshots {
    /// The snapshot that the newest durable write names, and those of later writes: each with the number of its write.
    writes: SmallVec<[(u64, EntryId); 2]>,
    /// The first and the last index of snapshots that were discarded where the application may have one of its own, which
    /// lies under the same name.
    discarded: Option<(Index, Index)>,
}

impl NamedSnapshots {
    /// What the disk kept is named by a durable write. The snapshot at index 0 has no data.
    pub(crate) fn new(last: EntryId) -> NamedSnapshots {
        let writes = if last == EntryId::ZERO { SmallVec::new() } else { smallvec![(0, last)] };
        NamedSnapshots { writes, discarded: None }
    }

    /// The write of this number will name the snapshot. Those before the newest durable one are old; `is_durable` tells.
    pub(crate) fn name(&mut self, write: u64, last: EntryId, is_durable: impl Fn(u64) -> bool) {
        let newest = self.writes.iter().rposition(|(write, _)| is_durable(*write));
        self.writes.drain(..newest.unwrap_or(0));
        self.writes.push((write, last));
        self.discarded = self.discarded.filter(|(_, highest)| *highest > last.index);
    }

    /// Whether the data of this snapshot must stay.
    pub(crate) fn contains(&self, last: EntryId, is_durable: impl Fn(u64) -> bool) -> bool {
        let newest = self.writes.iter().rposition(|(write, _)| is_durable(*write));
        self.writes[newest.unwrap_or(0)..].iter().any(|(_, named)| *named == last)
    }

    /// The data of a snapshot that ends at `index` is deleted.
    pub(crate) fn discard(&mut self, index: Index) {
        let (first, last) = self.discarded.unwrap_or((index, index));
        self.discarded = Some((first.min(index), last.max(index)));
    }

    /// Whether the application's snapshot at `index` may have been deleted with a received one.
    pub(crate) fn may_be_deleted(&self, index: Index) -> bool {
        self.discarded.is_some_and(|(first, last)| first <= index && index <= last)
    }

    #[cfg(feature = "sim")]
    pub(crate) fn fingerprint(&self, print: &mut Fingerprint<'_>, distance_to: impl Fn(u64) -> u64) {
        let newest = self.writes.iter().rposition(|(write, _)| distance_to(*write) == 0);
        for (write, last) in &self.writes[newest.unwrap_or(0)..] {
            print.word(distance_to(*write));
            print.entry_id(*last);
        }
        let (first, last) = self.discarded.unwrap_or_default();
        print.words([first.0, last.0]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_named_until_a_later_write_is_durable_that_names_another() {
        let mut named = NamedSnapshots::new(EntryId::new(1, 5));
        let (five, seven, nine) = (EntryId::new(1, 5), EntryId::new(1, 7), EntryId::new(2, 9));
        named.name(3, seven, |write| write <= 1);
        named.name(4, nine, |write| write <= 1);
        let contained = |named: &NamedSnapshots, durable| {
            [five, seven, nine].map(|id| named.contains(id, |write| write <= durable))
        };
        assert_eq!(contained(&named, 2), [true; 3]);
        assert_eq!(contained(&named, 3), [false, true, true]);
        assert_eq!(contained(&named, 4), [false, false, true]);
        assert!(!named.contains(EntryId::new(3, 9), |_| false), "another one");
        named.name(6, EntryId::new(2, 12), |write| write <= 4);
        assert_eq!(named.writes.len(), 2, "what is old is forgotten");
    }

    #[test]
    fn what_was_discarded_counts_until_a_later_snapshot_is_named() {
        let mut named = NamedSnapshots::new(EntryId::ZERO);
        assert!(!named.may_be_deleted(Index(0)));
        named.discard(Index(7));
        named.discard(Index(5));
        let deleted = |named: &NamedSnapshots| [4, 5, 6, 7, 8].map(|index| named.may_be_deleted(Index(index)));
        assert_eq!(deleted(&named), [false, true, true, true, false]);
        named.name(1, EntryId::new(1, 6), |_| true);
        assert!(named.may_be_deleted(Index(7)));
        named.name(2, EntryId::new(1, 8), |_| true);
        assert_eq!(deleted(&named), [false; 5]);
    }
}
