//! Operators who change the membership at any moment (§6, thesis §4), also where it makes no sense; and what they do when
//! all faults have ended.

use std::boxed::Box;
use std::format;
use std::vec::Vec;

use super::cluster::Cluster;
use super::coverage::Happening;
use super::entropy::{Entropy, Odds};
use super::queue::{TICK, Time};
use super::violation::Verdict;
use super::wipes;
use crate::{
    Address, Change, Config, Edit, EntryId, Event, Member, MemberRole, Membership, News, NodeId, RequestId, WipedPolicy,
};

/// The changes of a run, and the losses of disks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moves {
    /// The longest time between two.
    pub(crate) pause: Time,
    /// How often it is a disk that is lost.
    losses: Odds,
    pub(crate) wiped: WipedPolicy,
    pub(crate) record_disks: bool,
    pub(crate) farewell_ticks: u32,
    /// Whether there is one more spare server.
    pub(crate) spare: bool,
    /// How long a lost disk may be heard after its last life: its messages are late, and its leader pauses.
    pub(crate) memory: Time,
}

/// More members than a configuration can have.
const CROWD: u64 = Membership::MEMBERS_MAX as u64 + 1;

impl Moves {
    /// Nothing of the kind in every second run.
    pub(crate) fn draw(entropy: &mut Entropy, config: &Config) -> Option<Moves> {
        if !entropy.flip() {
            return None;
        }
        let timeout = u64::from(config.election_ticks_max) * TICK;
        let losses = [0, 30, 60, 100][entropy.place(4)];
        Some(Moves {
            pause: entropy.magnitude(timeout / 2, 16 * timeout),
            losses: Odds::percent(losses),
            wiped: if entropy.below(4) == 3 { WipedPolicy::Report } else { WipedPolicy::Heal },
            record_disks: losses > 0 && entropy.below(8) > 0 || entropy.flip(),
            farewell_ticks: entropy.between_u32(1, 8 * config.election_ticks_max),
            spare: entropy.flip(),
            memory: 40 * timeout,
        })
    }

    pub(crate) fn strike(&self, cluster: &mut Cluster) -> Verdict {
        if cluster.entropy.chance(self.losses) { wipes::strike(cluster) } else { ask(cluster) }
    }
}

/// Ask the leader as a rule, or anyone.
fn ask(cluster: &mut Cluster) -> Verdict {
    let anyone = cluster.entropy.place(cluster.servers.len());
    let astray = cluster.entropy.below(4) == 3;
    let slot = cluster.leader().filter(|_| !astray).unwrap_or(anyone);
    if cluster.now < cluster.servers[slot].paused_until {
        return Ok(());
    }
    cluster.catch_up(slot)?;
    let Some(raft) = &cluster.servers[slot].raft else { return Ok(()) };
    let (membership, last) = (raft.status().membership().clone(), raft.status().last());
    let change = draw(&mut cluster.entropy, &membership, last, cluster.servers.len() as u64);
    request(cluster, slot, change)
}

/// Ask a server for a change, unless half of a half would be lost by it: an operator who does that has lost the cluster.
fn request(cluster: &mut Cluster, slot: usize, change: Change) -> Verdict {
    let Some(raft) = &cluster.servers[slot].raft else { return Ok(()) };
    let edited = raft.status().membership().edited(EntryId::ZERO, &change.edits, |_| true);
    if edited.is_ok_and(|edited| !cluster.bears(None, Some(&edited))) {
        return Ok(());
    }
    let request = cluster.clients.ask();
    cluster.step(slot, Event::Change { request, change: Box::new(change) })
}

/// One edit as a rule; now and then several, none, or far too many.
fn draw(entropy: &mut Entropy, membership: &Membership, last: EntryId, servers: u64) -> Change {
    let address = Address::default();
    let edits = match entropy.below(64) {
        63 => (0..CROWD).map(|id| Edit::AddLearner { id: NodeId(1000 + id), address: address.clone() }).collect(),
        62 => Vec::new(),
        40.. => (0..entropy.between(2, 4)).map(|_| edit(entropy, membership, servers)).collect(),
        _ => Vec::from([edit(entropy, membership, servers)]),
    };
    let expected = match entropy.below(8) {
        7 => Some(membership.change()),
        6 => Some(last),
        _ => None,
    };
    Change { expected, edits }
}

fn edit(entropy: &mut Entropy, membership: &Membership, servers: u64) -> Edit {
    let is_learner = |member: &Member| matches!(member.role, MemberRole::Learner { .. });
    let voter = |member: Option<&Member>| member.is_some_and(|member| member.role == MemberRole::Voter);
    let learner = |member: Option<&Member>| member.is_some_and(is_learner);
    let candidate = |member: Option<&Member>| member.is_none_or(is_learner);
    let wanted = |member: Option<&Member>| {
        member.is_some_and(|member| matches!(member.role, MemberRole::Learner { wanted: Some(_) }))
    };
    let kind = entropy.below(12);
    let mut one = |sensible: &dyn Fn(Option<&Member>) -> bool| one_of(entropy, membership, servers, sensible);
    match kind {
        0 => Edit::AddLearner { id: one(&|member| member.is_none()), address: address(entropy) },
        1 | 2 => Edit::AddVoter { id: one(&candidate), address: address(entropy) },
        3 | 4 => Edit::Replace { old: one(&voter), new: one(&candidate), address: address(entropy) },
        5 | 6 => Edit::Promote { id: one(&learner) },
        7 => Edit::Demote { id: one(&voter) },
        8 => Edit::Remove { id: one(&|member| member.is_some()) },
        9 => Edit::Readmit { id: one(&voter) },
        10 => Edit::SetAddress { id: one(&|member| member.is_some()), address: address(entropy) },
        _ => Edit::KeepLearner { id: one(&wanted) },
    }
}

/// As a rule a server for which an edit makes sense. One of those that are drawn does not exist.
fn one_of(
    entropy: &mut Entropy,
    membership: &Membership,
    servers: u64,
    sensible: &dyn Fn(Option<&Member>) -> bool,
) -> NodeId {
    let all = (1..=servers + 1).map(NodeId);
    let some: Vec<NodeId> = all.filter(|id| sensible(membership.member(*id))).collect();
    let sane = entropy.below(4) < 3 && !some.is_empty();
    if sane { some[entropy.place(some.len())] } else { NodeId(1 + entropy.below(servers + 1)) }
}

fn address(entropy: &mut Entropy) -> Address {
    let text = match entropy.below(4) {
        0 | 1 => return Address::default(),
        number => format!("h:{number}"),
    };
    Address::new(&text).unwrap_or_default()
}

/// All faults have ended: a server that halts because it was replaced begins anew on an empty disk.
pub(crate) fn take_replaced_away(cluster: &mut Cluster) -> Verdict {
    for slot in 0..cluster.servers.len() {
        let disk = cluster.servers[slot].next_disk();
        if cluster.servers[slot].was_replaced && cluster.bears(Some((slot, disk)), None) {
            cluster.wipe(slot);
            cluster.start(slot)?;
        }
    }
    Ok(())
}

/// Where leaders only say which voters have lost their disks, operators readmit them: those of which they hear.
pub(crate) fn readmit_lost(cluster: &mut Cluster) -> Verdict {
    let Some(leader) = cluster.leader().filter(|_| cluster.account.healing.is_none()) else { return Ok(()) };
    let Some(raft) = &cluster.servers[leader].raft else { return Ok(()) };
    let membership = raft.status().membership();
    let mut heard_of = cluster.servers.iter().filter(|server| cluster.said_lost.contains(&server.id));
    let lost = heard_of.find(|server| {
        let member = membership.member(server.id);
        member.is_some_and(|member| member.role == MemberRole::Voter && !member.counts(server.incarnation))
    });
    match lost.map(|server| server.id) {
        Some(id) => request(cluster, leader, Change::of(Edit::Readmit { id })),
        None => Ok(()),
    }
}

impl Cluster {
    /// A change has begun with the entry `first`.
    pub(crate) fn change_accepted(&mut self, slot: usize, request: RequestId, first: (EntryId, u64)) -> Verdict {
        self.coverage.count(Happening::ChangeAccepted);
        self.oracles.change_accepted(slot, &self.servers[slot], request, first)
    }

    /// Operators hear what the server in `slot` tells its observers.
    pub(crate) fn told(&mut self, slot: usize, news: News) {
        if let News::PeerWiped { peer } = news {
            self.said_lost.push(peer);
        }
        self.oracles.told(slot, &self.servers[slot], news);
    }
}
