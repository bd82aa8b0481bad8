//! What stands between two configurations of a log (§6): behind a joint one its own second half and nothing else, once; any
//! other one begins a change that is named by its own entry.

use std::format;

use crate::sim::violation::{Invariant, Verdict, ensure};
use crate::{EntryId, Membership};

/// `next` stands in the entry `id` of a log, and `before` is the configuration before it.
pub(crate) fn follows(before: &Membership, id: EntryId, next: &Membership) -> Verdict {
    let sound = if before.is_joint() { *next == before.settled() } else { next.change() == id };
    ensure(sound, Invariant::LeavesOnce, || format!("{id} is {next}, behind {before}"))
}

#[cfg(test)]
mod tests {
    use super::super::testing::found;
    use super::*;
    use crate::{Edit, NodeId};

    #[test]
    fn what_does_not_end_its_change_or_begin_another_is_found() {
        let broken = Some(Invariant::LeavesOnce);
        let first = Membership::new([1, 2, 3].map(NodeId));
        let (begins, ends, later) = (EntryId::new(1, 5), EntryId::new(1, 6), EntryId::new(1, 7));
        let without = |id, change| first.edited(change, &[Edit::Remove { id: NodeId(id) }], |_| false).unwrap();
        let joint = without(3, begins);
        assert_eq!(found(follows(&first, begins, &joint)), None);
        assert_eq!(found(follows(&first, ends, &joint)), broken, "another entry began it");
        assert_eq!(found(follows(&joint, ends, &joint.settled())), None);
        assert_eq!(found(follows(&joint, ends, &without(2, begins).settled())), broken, "another change's");
        assert_eq!(found(follows(&joint, ends, &without(2, ends))), broken, "a change while one is under way");
        assert_eq!(found(follows(&joint.settled(), later, &joint.settled())), broken, "it has ended before");
    }
}
