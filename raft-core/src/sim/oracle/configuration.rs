//! The configuration in force is the newest in the log, committed or not (§6): it comes with its entry, and goes when that is
//! truncated.

use std::format;

use crate::sim::server::Server;
use crate::sim::violation::{Invariant, Verdict, ensure};

/// All actions of a step have been carried out: what is written is the log.
pub(crate) fn settled(server: &Server) -> Verdict {
    let Some(raft) = &server.raft else { return Ok(()) };
    let (in_force, newest) = (raft.status().membership(), server.disk.written.configuration());
    ensure(in_force == newest, Invariant::Configuration, || {
        let all = server.disk.written.configurations();
        format!("goes by {in_force} where {newest} is the newest configuration of its log: {all:?}")
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{found, leader_of};
    use super::*;
    use crate::{Index, Membership, NodeId, Payload, Term, Write, WriteId};

    #[test]
    fn a_configuration_that_came_too_early_or_stays_too_long_is_found() {
        let joint = Membership::joint([1, 2].map(NodeId), [1, 2, 3].map(NodeId), []);
        let mut server = leader_of(1, &joint);
        assert_eq!(found(settled(&server)), None);
        let write = |index, payload| {
            let entry = crate::Entry { term: Term(2), payload };
            let entries = crate::Entries::from_vec(Index(index), [entry].into()).unwrap();
            Write { id: WriteId::from_number(9), hard_state: None, snapshot: None, entries }
        };
        let mut follows = |write: &Write| {
            server.disk.written.take(write);
            found(settled(&server))
        };
        assert_eq!(follows(&write(3, Payload::Noop)), None);
        let settled = Payload::Membership(Membership::new([1, 2].map(NodeId)).into());
        assert_eq!(follows(&write(4, settled)), Some(Invariant::Configuration), "a newer one is in the log");
        assert_eq!(follows(&write(4, Payload::Noop)), None, "it was truncated");
        assert_eq!(follows(&write(1, Payload::Noop)), Some(Invariant::Configuration), "the one in force was truncated");
    }
}
