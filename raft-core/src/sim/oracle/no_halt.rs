//! No server of a cluster that keeps its promises halts (§5.4.3): who halts has seen what cannot be, or was replaced by a
//! server of its name on another disk, which a committed configuration counts.

use std::format;

use super::committed::Committed;
use crate::Fatal;
use crate::sim::server::Server;
use crate::sim::violation::{Invariant, Verdict, ensure};

/// `server` has stopped for good.
pub(crate) fn halted(server: &Server, why: &Fatal, committed: &Committed) -> Verdict {
    // What a process finds out whose server runs on another disk by now is no contradiction.
    let replaced = match *why {
        Fatal::Replaced { by } => by != server.incarnation && committed.counted(server.id, by),
        _ => false,
    };
    ensure(replaced, Invariant::NoHalt, || format!("server {} halts: {why}", server.server_id()))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{found, server_of};
    use super::*;
    use crate::{EntryId, Incarnation, Member, MemberRole, Membership, NodeId, Payload, Term};

    #[test]
    fn whoever_halts_is_found() {
        let broken = Some(Invariant::NoHalt);
        let member = Member { disk: Incarnation(9), ..Member::new(NodeId(3), MemberRole::Voter) };
        let on_another = Membership::from_members(EntryId::ZERO, [member].into()).unwrap();
        let mut committed = Committed::default();
        committed.push(Term(1), Term(1), &Payload::Membership(on_another.into()));
        let halts =
            |id, why, committed: &Committed| found(halted(&server_of(id, &Membership::default()), &why, committed));
        let why = Fatal::TwoLeaders { term: Term(1), one: NodeId(1), other: NodeId(2) };
        assert_eq!(halts(3, why, &committed), broken);
        let by = |disk| Fatal::Replaced { by: Incarnation(disk) };
        assert_eq!(halts(3, by(9), &committed), None);
        assert_eq!(halts(3, by(9), &Committed::default()), broken, "that is not committed");
        assert_eq!(halts(3, by(8), &committed), broken, "another disk");
        assert_eq!(halts(9, by(9), &committed), broken, "another server, on that disk");
    }
}
