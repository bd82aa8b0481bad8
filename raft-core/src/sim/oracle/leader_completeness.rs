//! Leader Completeness (§5.4, Figure 3): an entry committed in a given term is in the logs of the leaders of all later
//! terms. Checked when a leader stands, and against later leaders when an old one still commits. With Log Matching it is
//! enough to look at the last committed entry.

use std::format;

use super::committed::Committed;
use crate::sim::server::Server;
use crate::sim::violation::{Invariant, Verdict, ensure};
use crate::{Index, Term};

/// `server` has just been elected.
pub(crate) fn stands(server: &Server, committed: &Committed) -> Verdict {
    has(server, committed, committed.last_before(server.seen.hard_state.term))
}

/// A leader of `term` has just committed everything through `index`.
pub(crate) fn commits(servers: &[Server], term: Term, index: Index, committed: &Committed) -> Verdict {
    let mut later = servers.iter().filter(|server| server.leads() && server.seen.hard_state.term > term);
    later.try_for_each(|server| has(server, committed, index))
}

fn has(leader: &Server, committed: &Committed, index: Index) -> Verdict {
    let Some((raft, entry)) = leader.raft.as_ref().zip(committed.id_at(index)) else { return Ok(()) };
    let status = raft.status();
    let behind_snapshot = index <= status.snapshot().last.index;
    ensure(behind_snapshot || status.term_at(index) == Some(entry.term), Invariant::LeaderCompleteness, || {
        let term = status.term();
        format!("server {} leads in term {term} with a log through {} and lacks {entry}", leader.id, status.last())
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{committed, found, leader};
    use super::*;

    #[test]
    fn a_leader_that_lacks_what_was_committed_before_is_found() {
        let mut server = leader();
        assert_eq!(found(stands(&server, &committed(&[]))), None);
        assert_eq!(found(stands(&server, &committed(&[1]))), None, "committed in its own term, by itself");
        server.seen.hard_state.term = Term(3);
        assert_eq!(found(stands(&server, &committed(&[1]))), Some(Invariant::LeaderCompleteness));
        let late = [server];
        assert_eq!(found(commits(&late, Term(2), Index(1), &committed(&[2]))), Some(Invariant::LeaderCompleteness));
        assert_eq!(found(commits(&late, Term(3), Index(1), &committed(&[3]))), None, "no later one");
    }
}
