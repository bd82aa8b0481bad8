//! Only a server with a vote campaigns (§6, thesis §4.2.2): in the newest configuration of its log, if its disk is the one
//! that counts there. A server without a vote in the newest, but with one in the configuration before, may campaign until it
//! knows the newest to be committed: others may depend on it.

use std::format;

use crate::sim::server::Server;
use crate::sim::violation::{Invariant, Verdict, ensure};

/// `server` has become a candidate of some kind, or a leader.
pub(crate) fn stands(server: &Server) -> Verdict {
    let configurations = server.disk.written.configurations();
    let mut newest_first = configurations.iter().rev();
    let (newest, before) = (newest_first.next(), newest_first.next());
    let votes = newest.is_some_and(|(at, newest)| match newest.member(server.id).filter(|member| member.votes()) {
        Some(member) => member.counts(server.incarnation),
        None => *at > server.seen.commit && before.is_some_and(|(_, before)| before.is_voter(server.id)),
    });
    ensure(votes, Invariant::Candidacy, || {
        let (role, commit, disk) = (server.seen.role, server.seen.commit, server.incarnation);
        format!("is {role} on disk {disk} with commit {commit}, where these are the configurations: {configurations:?}")
    })
}

#[cfg(test)]
mod tests {
    use core::slice::from_ref;

    use super::super::testing::{found, server_of};
    use super::*;
    use crate::{
        Entries, Entry, EntryId, Incarnation, Index, Member, MemberRole, Membership, NodeId, Payload, Term, Write,
        WriteId,
    };

    /// Server 1 stands, with these configurations in its log from index 1 on, behind the first.
    fn found_with(first: &Membership, later: &[Membership], commit: u64) -> Option<Invariant> {
        let mut server = server_of(1, first);
        let entry = |membership: &Membership| Payload::Membership(membership.clone().into());
        let entries = later.iter().map(|membership| Entry { term: Term(1), payload: entry(membership) });
        let entries = Entries::from_vec(Index(1), entries.collect()).unwrap();
        server.disk.written.take(&Write { id: WriteId::from_number(1), hard_state: None, snapshot: None, entries });
        server.seen.commit = Index(commit);
        found(stands(&server))
    }

    #[test]
    fn whoever_stands_without_a_vote_is_found() {
        let of = |voters: &[u64]| Membership::new(voters.iter().map(|id| NodeId(*id)));
        let broken = Some(Invariant::Candidacy);
        assert_eq!(found_with(&of(&[1, 2]), &[], 0), None);
        assert_eq!(found_with(&Membership::default(), &[], 0), broken, "it knows nobody");
        assert_eq!(found_with(&of(&[2, 3]), &[], 0), broken);
        let learner = Membership::joint([NodeId(2)], [], [NodeId(1)]);
        assert_eq!(found_with(&learner, &[], 0), broken);
        let leaving = Membership::joint([NodeId(2)], [NodeId(1), NodeId(2)], []);
        assert_eq!(found_with(&of(&[2]), from_ref(&leaving), 1), None, "it votes in the outgoing half");
        let member = |disk| Member { disk: Incarnation(disk), ..Member::new(NodeId(1), MemberRole::Voter) };
        let on_disk = |disk| Membership::from_members(EntryId::ZERO, [member(disk)].into()).unwrap();
        assert_eq!((found_with(&on_disk(1), &[], 0), found_with(&on_disk(9), &[], 0)), (None, broken));
        // The last to hold the configuration that it is removed by may lead until that is committed.
        assert_eq!(found_with(&of(&[2]), &[leaving.clone(), of(&[2])], 1), None);
        assert_eq!(found_with(&of(&[2]), &[leaving.clone(), of(&[2])], 2), broken, "it knows that it is gone");
        assert_eq!(found_with(&leaving, &[of(&[2]), of(&[2, 3])], 0), broken, "not in the one before");
    }
}
