//! Disks that are lost, at any moment and in every stage of a change, and old ones that come back: a server is its id and its
//! disk, and may have lived more than one life under one name.

use std::vec::Vec;

use super::cluster::Cluster;
use super::coverage::Happening;
use super::violation::Verdict;
use crate::{Member, MemberRole};

/// How many disks a server loses at most: the pauses between two healings double.
const LOSSES_MAX: usize = 3;

/// A server loses its disk, or gets an old one back, if its cluster can bear that.
pub(crate) fn strike(cluster: &mut Cluster) -> Verdict {
    let victim = victim(cluster);
    let server = &cluster.servers[victim];
    let old: Vec<_> = server.old_disks().map(|(disk, _)| disk).collect();
    let comes_back = !old.is_empty() && cluster.entropy.below(4) == 3;
    let disk = if comes_back { old[cluster.entropy.place(old.len())] } else { server.next_disk() };
    if !comes_back && old.len() >= LOSSES_MAX || !cluster.bears(Some((victim, disk)), None) {
        return Ok(());
    }
    count(cluster, victim, comes_back);
    if comes_back {
        cluster.mount(victim, disk);
    } else {
        cluster.wipe(victim);
    }
    Ok(())
}

/// Anyone; a leader, a voter, and who is healing, more often than others.
fn victim(cluster: &mut Cluster) -> usize {
    let anyone = cluster.entropy.place(cluster.servers.len());
    let preferred = match cluster.entropy.below(4) {
        0 => cluster.leader(),
        1 => (0..cluster.servers.len()).find(|slot| is_healing(cluster, *slot)),
        2 => {
            let voters: Vec<usize> = (0..cluster.servers.len()).filter(|slot| is_counted(cluster, *slot)).collect();
            voters.get(cluster.entropy.place(voters.len())).copied()
        }
        _ => None,
    };
    preferred.unwrap_or(anyone)
}

/// What the newest leader's configuration says of a server.
fn member(cluster: &Cluster, slot: usize) -> Option<Member> {
    let leader = cluster.servers[cluster.leader()?].raft.as_ref()?;
    leader.status().membership().member(cluster.servers[slot].id).cloned()
}

/// Whether a server votes, on a disk that counts.
fn is_counted(cluster: &Cluster, slot: usize) -> bool {
    member(cluster, slot).is_some_and(|member| member.votes() && member.counts(cluster.servers[slot].incarnation))
}

/// Whether a member has lost a disk and does not vote with its new one yet.
fn is_healing(cluster: &Cluster, slot: usize) -> bool {
    let server = &cluster.servers[slot];
    let votes = |member: &Member| member.role == MemberRole::Voter && member.counts(server.incarnation);
    server.old_disks().next().is_some() && member(cluster, slot).is_some_and(|member| !votes(&member))
}

fn count(cluster: &mut Cluster, victim: usize, comes_back: bool) {
    let leader = cluster.leader();
    let raft = leader.and_then(|leader| cluster.servers[leader].raft.as_ref());
    let is_joint = raft.is_some_and(|raft| raft.status().membership().is_joint());
    let happened = [
        (comes_back, Happening::OldDiskCameBack),
        (!comes_back, Happening::Wiped),
        (!comes_back && leader == Some(victim), Happening::WipedLeader),
        (!comes_back && is_counted(cluster, victim), Happening::WipedVoter),
        (!comes_back && is_joint && member(cluster, victim).is_some(), Happening::WipedWhileJoint),
        (!comes_back && is_healing(cluster, victim), Happening::WipedWhileHealing),
    ];
    for (_, happening) in happened.into_iter().filter(|(happened, _)| *happened) {
        cluster.coverage.count(happening);
    }
}
