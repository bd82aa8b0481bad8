//! State Machine Safety (§5.4.3, Figure 3): if a server has applied an entry at an index, no other server ever applies a
//! different one there. Checked from the moment a server believes an index committed, again when it is handed out, and on
//! the state of the machine itself.

use std::format;

use super::committed::Committed;
use crate::sim::digest::Digest;
use crate::sim::machine::State;
use crate::sim::server::Server;
use crate::sim::violation::{Invariant, Verdict, ensure};
use crate::{Entries, EntryId, Index};

/// A server's commit index has moved on from `from`; what a leader committed first is already in `committed`.
pub(crate) fn commits(server: &Server, from: Index, committed: &Committed) -> Verdict {
    let Some(raft) = &server.raft else { return Ok(()) };
    let status = raft.status();
    let through = status.commit();
    ensure(through <= committed.last_index(), Invariant::StateMachineSafety, || {
        format!("believes {through} committed, but leaders committed through {}", committed.last_index())
    })?;
    for index in from.next().max(status.first_index()).0..=through.0 {
        let index = Index(index);
        let (ours, theirs) = (status.term_at(index), committed.id_at(index).map(|id| id.term));
        ensure(ours == theirs, Invariant::StateMachineSafety, || {
            format!("believes index {index} of term {ours:?} committed, but {theirs:?} is")
        })?;
    }
    Ok(())
}

/// Entries are handed out to be applied.
pub(crate) fn applying(entries: &Entries, committed: &Committed) -> Verdict {
    for (id, payload) in entries.iter() {
        let same = committed.id_at(id.index) == Some(id)
            && committed.payload_at(id.index) == Some(Digest::of_payload(payload));
        ensure(same, Invariant::StateMachineSafety, || {
            format!("applies {id}, but {:?} is committed there, or another payload", committed.id_at(id.index))
        })?;
    }
    Ok(())
}

/// A machine is in this state, or a snapshot holds it.
pub(crate) fn state(state: &State, committed: &Committed) -> Verdict {
    ensure(committed.state_at(state.last.index) == Some(*state), Invariant::StateMachineSafety, || {
        format!("the machine's state at {} is not that of the committed entries", state.last)
    })
}

/// A snapshot stands for everything through `last`.
pub(crate) fn snapshot(last: EntryId, committed: &Committed) -> Verdict {
    ensure(committed.id_at(last.index) == Some(last), Invariant::StateMachineSafety, || {
        format!("a snapshot ends at {last}, but {:?} is committed there", committed.id_at(last.index))
    })
}
