//! A snapshot's state is the one that applying every entry through its last would make (§7), whoever made it and however it
//! came here; and it names the configuration that was in force at its last entry.

use std::format;

use super::committed::Committed;
use crate::SnapshotMeta;
use crate::sim::machine::SnapshotFile;
use crate::sim::violation::{Invariant, Verdict, ensure};

/// The data of a snapshot are used: sent, installed, or named by the log.
pub(crate) fn used(file: &SnapshotFile, committed: &Committed) -> Verdict {
    let replayed = committed.state_at(file.meta.last.index);
    let same = replayed == Some(file.state) && file.state.last == file.meta.last;
    ensure(same, Invariant::SnapshotState, || {
        format!("the snapshot {} holds {:?}, but the entries make {replayed:?}", file.meta, file.state)
    })
}

/// A snapshot is said to stand for this.
pub(crate) fn named(meta: &SnapshotMeta, committed: &Committed) -> Verdict {
    let in_force = committed.configuration_at(meta.last.index);
    ensure(in_force == Some(&*meta.membership), Invariant::SnapshotState, || {
        format!("the snapshot {meta} stands where {in_force:?} was in force")
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::found;
    use super::*;
    use crate::sim::machine::State;
    use crate::{EntryId, Membership, NodeId, Payload, Term};

    #[test]
    fn a_snapshot_of_something_else_is_found() {
        let mut committed = Committed::default();
        committed.push(Term(1), Term(1), &Payload::Noop);
        committed.push(Term(1), Term(1), &Payload::Noop);
        let mut state = State::default();
        state.apply(EntryId::new(1, 1), &Payload::Noop);
        let meta = SnapshotMeta { last: EntryId::new(1, 1), membership: Membership::new([NodeId(1)]).into() };
        let file = SnapshotFile { meta, state };
        assert!(used(&file, &committed).is_ok());
        let mut twice = file.clone();
        twice.state.apply(EntryId::new(1, 1), &Payload::Noop);
        let mut renamed = file;
        renamed.meta.last = EntryId::new(1, 2);
        for wrong in [twice, renamed] {
            assert_eq!(used(&wrong, &committed).unwrap_err().invariant, Invariant::SnapshotState);
        }
    }

    #[test]
    fn a_snapshot_that_names_the_configuration_of_another_index_is_found() {
        let of = |count: u64| Membership::new((1..=count).map(NodeId));
        let mut committed = Committed::of(of(3).into());
        for payload in
            [Payload::Noop, Payload::Membership(of(4).into()), Payload::Noop, Payload::Membership(of(5).into())]
        {
            committed.push(Term(1), Term(1), &payload);
        }
        let names = |index, count| {
            let meta = SnapshotMeta { last: EntryId::new(1, index), membership: of(count).into() };
            found(named(&meta, &committed))
        };
        for (index, count) in [(1, 3), (2, 4), (3, 4), (4, 5)] {
            let broken = Some(Invariant::SnapshotState);
            assert_eq!((names(index, count), names(index, count - 1), names(index, count + 1)), (None, broken, broken));
        }
    }
}
