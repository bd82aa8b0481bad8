//! A leader commits by counting only entries of its own term (§5.4.2), and counts only servers, itself among them, whose
//! disks hold the entry.

use std::format;

use crate::quorum::majority;
use crate::sim::server::{Seen, Server};
use crate::sim::violation::{Invariant, Verdict, ensure};

/// The leader in `slot` has moved its commit index.
pub(crate) fn commits(servers: &[Server], slot: usize, seen: &Seen) -> Verdict {
    let Some(raft) = &servers[slot].raft else { return Ok(()) };
    let (index, term) = (seen.commit, seen.hard_state.term);
    let of_term = raft.status().term_at(index);
    ensure(of_term == Some(term), Invariant::CommitRule, || {
        format!("the leader of term {term} counted the copies of {index}, which is of term {of_term:?}")
    })?;
    let id = crate::EntryId { term, index };
    let holders = servers.iter().filter(|server| server.disk.durable.holds(id)).count();
    ensure(holders >= majority(servers.len()), Invariant::CommitRule, || {
        format!("committed {id}, which is durable on {holders} of {} servers", servers.len())
    })
}
