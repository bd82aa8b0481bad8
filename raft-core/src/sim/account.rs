//! What a cluster can afford to lose. Who loses half of the voters of a configuration, or more, heals by nobody; so the
//! simulator keeps an honest account: of each configuration that may still count, more than half of the voters of each half
//! are on the disks that count for them, and stay so whatever leaders do next by themselves. And somebody could be elected: the
//! script `a_learner_that_is_ahead_holds_up_an_election` shows that this does not follow from that.

use std::sync::Arc;
use std::vec::Vec;

use super::cluster::Cluster;
use super::disk::Image;
use super::queue::Time;
use super::quorum::is_quorum;
use super::server::Server;
use crate::{
    Entries, EntryId, Incarnation, Index, Member, MemberRole, Membership, NodeId, Payload, Wanted, WipedPolicy,
};

/// The configurations that may still count.
#[derive(Default)]
pub(crate) struct Account {
    /// Those that were ever appended, or sent, behind what is known to be committed.
    appended: Vec<(EntryId, Arc<Membership>)>,
    /// Whether leaders readmit by themselves, and how long a lost disk may be heard after its last life.
    pub(crate) healing: Option<Time>,
}

/// The cluster as it is, or as it would be if one server ran on another disk.
pub(crate) struct View<'a> {
    pub(crate) servers: &'a [Server],
    pub(crate) now: Time,
    pub(crate) other: Option<(usize, Incarnation)>,
}

impl View<'_> {
    /// The disk that the server of this name runs on.
    fn disk(&self, id: NodeId) -> Option<Incarnation> {
        let slot = self.servers.iter().position(|server| server.id == id)?;
        let other = self.other.filter(|(other, _)| *other == slot).map(|(_, disk)| disk);
        Some(other.unwrap_or(self.servers[slot].incarnation))
    }

    /// Whether a member is there, on the disk that counts for it.
    fn has(&self, member: &Member) -> bool {
        self.disk(member.id).is_some_and(|disk| member.counts(disk))
    }

    /// Whether the disk that is recorded for a member holds this entry, or held it when it was lost.
    fn held(&self, member: &Member, id: EntryId) -> bool {
        let mut disks = self.servers.iter().filter(|server| server.id == member.id).flat_map(Server::disks);
        disks.any(|(disk, held)| disk == member.disk && held.durable.holds(id))
    }

    /// Whether a leader may hear another disk of a member, which was lost not longer than this ago.
    fn hears_another(&self, member: &Member, memory: Time) -> bool {
        let mut servers = self.servers.iter().filter(|server| server.id == member.id).flat_map(Server::old_disks);
        servers.any(|(disk, left_at)| !member.counts(disk) && self.now < left_at + memory)
    }
}

impl View<'_> {
    /// Whether one of the servers that keep their disks could be elected by the others, if these images were all there is: by a
    /// configuration in which it votes, and by voters whose logs are not ahead of its own. What is on its way is not looked at.
    fn elects(&self, image: fn(&Server) -> &Image) -> bool {
        let stays = |slot: usize| self.other.is_none_or(|(other, _)| other != slot);
        let servers = || self.servers.iter().enumerate().filter(|(slot, _)| stays(*slot)).map(|(_, server)| server);
        servers().any(|candidate| {
            let mut newest_first = image(candidate).configurations().iter().rev().map(|(_, membership)| membership);
            let (Some(newest), before) = (newest_first.next(), newest_first.next()) else { return false };
            let counts = |membership: &Membership, server: &Server| {
                membership.member(server.id).is_some_and(|member| member.votes() && member.counts(server.incarnation))
            };
            let stands = counts(newest, candidate) || before.is_some_and(|before| counts(before, candidate));
            let last = image(candidate).last();
            let grants =
                |id| servers().any(|voter| voter.id == id && counts(newest, voter) && image(voter).last() <= last);
            stands && is_quorum(newest, grants)
        })
    }
}

impl Account {
    pub(crate) fn new(policy: WipedPolicy, memory: Time) -> Account {
        Account { appended: Vec::new(), healing: (policy == WipedPolicy::Heal).then_some(memory) }
    }

    /// These entries stand in a log, or are on their way to one.
    pub(crate) fn note(&mut self, entries: &Entries) {
        if !entries.may_hold_membership() {
            return;
        }
        for (id, payload) in entries.iter() {
            if let Payload::Membership(membership) = payload
                && self.appended.iter().all(|(known, _)| *known != id)
            {
                self.appended.push((id, Arc::clone(membership)));
            }
        }
    }

    /// Whether every configuration that may still count can afford to be seen so; `committed` is the newest committed one, and
    /// everything through `through` is decided.
    pub(crate) fn bears(&mut self, view: &View<'_>, committed: (EntryId, &Membership), through: Index) -> bool {
        self.appended.retain(|(id, _)| id.index > through);
        let mut all = self.appended.iter().map(|(id, membership)| (*id, &**membership)).chain([committed]);
        all.all(|(id, membership)| self.bears_one(view, Some(id), membership))
    }

    /// Whether this configuration can, which stands in that entry, or in none yet.
    pub(crate) fn bears_one(&self, view: &View<'_>, id: Option<EntryId>, membership: &Membership) -> bool {
        let members = membership.members();
        let incoming = members.iter().filter(|member| member.role == MemberRole::Voter);
        let outgoing = members.iter().filter(|member| member.outgoing);
        let lost = |voters: &mut dyn Iterator<Item = &Member>| voters.filter(|member| !view.has(member)).count();
        let (voters, gone) = (incoming.clone().count(), lost(&mut incoming.clone()));
        if 2 * lost(&mut outgoing.clone()) >= outgoing.clone().count().max(1) {
            return false;
        }
        // Those that are there and may be readmitted all the same, one after the other, because another disk was heard.
        let doubtful =
            |memory| incoming.clone().filter(|voter| view.has(voter) && view.hears_another(voter, memory)).count();
        let doubtful = self.healing.map_or(0, doubtful);
        if 2 * gone + doubtful >= voters {
            return false;
        }
        // A learner that is lost, and that its leader promotes before it knows: it had this configuration.
        members.iter().all(|member| match member.role {
            MemberRole::Learner { wanted: Some(Wanted { replaces }) }
                if !view.has(member) && id.is_some_and(|id| view.held(member, id)) =>
            {
                let leaves =
                    replaces.and_then(|old| membership.member(old)).is_some_and(|old| old.role == MemberRole::Voter);
                2 * (gone + 1) + doubtful < voters + usize::from(!leaves)
            }
            _ => true,
        })
    }
}

impl Cluster {
    /// Whether the cluster can afford that one server runs on another disk; or that there is such a configuration.
    pub(crate) fn bears(&mut self, other: Option<(usize, Incarnation)>, configuration: Option<&Membership>) -> bool {
        let view = View { servers: &self.servers, now: self.now, other };
        match configuration {
            Some(configuration) => self.account.bears_one(&view, None, configuration),
            None => {
                self.account.bears(&view, self.oracles.configuration(), self.oracles.committed())
                    && view.elects(|server| &server.disk.durable)
                    && view.elects(|server| &server.disk.written)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::oracle::testing::server_of;
    use super::*;

    fn members(table: &[(u64, MemberRole, bool, u64)]) -> Membership {
        let member = |(id, role, outgoing, disk): &(u64, MemberRole, bool, u64)| Member {
            outgoing: *outgoing,
            disk: Incarnation(*disk),
            ..Member::new(NodeId(*id), *role)
        };
        Membership::from_members(EntryId::ZERO, table.iter().map(member).collect()).unwrap()
    }

    /// Whether servers 1 through 5, of which these have lost their disks, are enough.
    fn bears(membership: &Membership, lost: &[u64]) -> bool {
        let mut servers: Vec<Server> = (1..=5).map(|id| server_of(id, membership)).collect();
        servers.iter_mut().filter(|server| lost.contains(&server.id.0)).for_each(|server| server.wipe(100));
        let view = View { servers: &servers, now: 200, other: None };
        Account::new(WipedPolicy::Heal, 50).bears_one(&view, Some(EntryId::ZERO), membership)
    }

    #[test]
    fn more_than_half_of_each_half_must_stay() {
        let three = Membership::new([1, 2, 3].map(NodeId));
        assert!(bears(&three, &[]) && bears(&three, &[2]) && bears(&three, &[2, 4, 5]) && !bears(&three, &[2, 3]));
        assert!(!bears(&Membership::new([1, 2].map(NodeId)), &[1]), "half of two");
        let joint = Membership::joint([1, 3].map(NodeId), [1, 2, 3].map(NodeId), [NodeId(2)]);
        assert!(bears(&joint, &[2]) && !bears(&joint, &[3]));
        let other = Membership::joint([1, 2, 3].map(NodeId), [1, 3].map(NodeId), []);
        assert!(bears(&other, &[2]) && !bears(&other, &[3]));
        assert!(!bears(&Membership::new([1, 2, 9].map(NodeId)), &[1]), "who does not exist is lost from the beginning");
    }

    #[test]
    fn a_newcomer_that_may_be_promoted_is_counted() {
        use MemberRole::{Learner, Voter};
        let wanted = |replaces: Option<u64>| Learner { wanted: Some(Wanted { replaces: replaces.map(NodeId) }) };
        let with = |role, disk| members(&[(1, Voter, false, 0), (2, role, false, disk)]);
        assert!(bears(&with(wanted(None), 2), &[]) && !bears(&with(wanted(None), 2), &[2]));
        assert!(bears(&with(wanted(None), 0), &[2]), "it is not recorded yet");
        assert!(bears(&with(Learner { wanted: None }, 2), &[2]));
        assert!(!bears(&with(wanted(Some(1)), 2), &[2]), "alone");
        let (ahead, servers) = (Some(EntryId::new(1, 1)), [1, 2].map(|id| server_of(id, &with(wanted(None), 2))));
        let view = View { servers: &servers, now: 0, other: Some((1, Incarnation::joined(9))) };
        let bears_ahead = Account::default().bears_one(&view, ahead, &with(wanted(None), 2));
        assert!(bears_ahead, "it did not have the entry that says so");
        let two = |role| members(&[(1, Voter, false, 0), (2, Voter, false, 0), (3, role, false, 3)]);
        assert!(bears(&two(wanted(None)), &[3]) && !bears(&two(wanted(Some(1))), &[3]));
    }

    #[test]
    fn a_disk_that_is_back_is_in_doubt_for_a_while() {
        let three = Membership::new([1, 2, 3].map(NodeId));
        let mut servers: Vec<Server> = (1..=3).map(|id| server_of(id, &three)).collect();
        servers[1].wipe(100);
        assert!(servers[1].mount(Incarnation(2), 200));
        let bears = |now, healing| {
            let other = Some((2, Incarnation::joined(9)));
            let policy = if healing { WipedPolicy::Heal } else { WipedPolicy::Report };
            Account::new(policy, 50).bears_one(&View { servers: &servers, now, other }, None, &three)
        };
        assert!(!bears(249, true), "it may be demoted because its other disk was heard");
        assert!(bears(250, true) && bears(249, false));
    }

    /// Server 1 alone holds the promotion of server 4, which is ahead of it and knows of none.
    #[test]
    fn somebody_must_be_able_to_win() {
        use crate::{Entry, Term, Write, WriteId};
        let ids = |ids: &[u64]| ids.iter().map(|id| NodeId(*id)).collect::<Vec<_>>();
        let before = Membership::joint(ids(&[1, 2, 3]), [], ids(&[4]));
        let promotion = Membership::joint(ids(&[1, 2, 3, 4]), ids(&[1, 2, 3]), []);
        let mut servers: Vec<Server> = (1..=4).map(|id| server_of(id, &before)).collect();
        let hold = |server: &mut Server, term, payload| {
            let entries = Entries::from_vec(Index(1), [Entry { term: Term(term), payload }].into()).unwrap();
            let id = WriteId::from_number(1);
            server.disk.durable.take(&Write { id, hard_state: None, snapshot: None, entries });
        };
        let elects = |servers: &[Server], lost| {
            let other = Some((lost, Incarnation::joined(9)));
            View { servers, now: 0, other }.elects(|server| &server.disk.durable)
        };
        assert!((0..4).all(|lost| elects(&servers, lost)));
        hold(&mut servers[0], 1, Payload::Membership(promotion.into()));
        assert!((0..4).all(|lost| elects(&servers, lost)), "server 4 grants, or is not needed");
        hold(&mut servers[3], 2, Payload::Noop);
        hold(&mut servers[2], 2, Payload::Noop);
        assert!(elects(&servers, 0) && elects(&servers, 1) && !elects(&servers, 2) && elects(&servers, 3));
        hold(&mut servers[1], 2, Payload::Noop);
        assert!((0..4).all(|lost| elects(&servers, lost)), "another voter is as far");
    }

    #[test]
    fn what_is_decided_counts_no_more() {
        let lost = Membership::new([1, 9].map(NodeId));
        let entry = |term| crate::Entry { term: crate::Term(term), payload: Payload::Membership(lost.clone().into()) };
        let mut account = Account::default();
        account.note(&Entries::from_vec(Index(5), [entry(1)].into()).unwrap());
        let one = Membership::new([NodeId(1)]);
        let servers = [server_of(1, &one)];
        let view = View { servers: &servers, now: 0, other: None };
        assert!(!account.bears(&view, (EntryId::ZERO, &one), Index(4)));
        assert!(account.bears(&view, (EntryId::ZERO, &one), Index(5)), "another entry is committed there");
    }
}
