//! A snapshot's state is the one that applying every entry through its last would make (§7), whoever made it and however it
//! came here.

use std::format;

use super::committed::Committed;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::machine::State;
    use crate::{EntryId, Membership, NodeId, Payload, SnapshotMeta, Term};

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
}
