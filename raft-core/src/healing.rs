//! A server is its id and its disk. A disk that came back empty has forgotten votes and entries: what it says is not counted
//! before the configuration names it, and the configuration names a new disk only for a member without a vote. So a voter
//! that lost its disk is demoted, recorded anew, and promoted again when it has caught up.

use crate::action::{Action, Fatal, News};
use crate::chores::Chores;
use crate::config::WipedPolicy;
use crate::edit::Edit;
use crate::member::{Member, MemberRole};
use crate::membership::Membership;
use crate::progress::Progress;
use crate::role::Leader;
use crate::server::Server;
use crate::types::{EntryId, Incarnation, NodeId};

/// The interval between two attempts for one member doubles no more often than this.
const DOUBLINGS_MAX: u32 = 16;

/// A reply came from another disk than the one that `progress` is about. Says whether it is to be acted on: from the disk
/// that counts always, from another one only when that one has been silent for the longest election timeout.
#[cold]
pub(crate) fn disk_changed(server: &mut Server, progress: &mut Progress, disk: Incarnation) -> bool {
    let member = server.membership().member(progress.id);
    let counts = member.is_some_and(|member| member.counts(disk));
    let votes = member.is_some_and(Member::votes);
    if votes && !counts && progress.other_disk != disk {
        server.actions.push(Action::News(News::PeerWiped { peer: progress.id }));
    }
    if progress.disk == Incarnation(0) {
        (progress.disk, progress.counted, progress.disk_since) = (disk, counts, server.now);
        server.chores.note(Chores::CHANGE);
        return true;
    }
    let silent = server.now - progress.heard_at >= u64::from(server.config.election_ticks_max);
    if !counts && progress.counted && !silent {
        progress.other_disk = disk;
        return false;
    }
    progress.change_disk(disk, counts, server.log.last().index.next(), server.now);
    server.chores.note(Chores::CHANGE);
    true
}

/// A voter on a disk that does not count answers in a newer term, which is not adopted: it is there, all the same.
#[cold]
pub(crate) fn notice(server: &mut Server, leader: &mut Leader, from: NodeId, disk: Incarnation) {
    let Some(progress) = leader.follower(from) else { return };
    if progress.disk == disk || disk_changed(server, progress, disk) {
        progress.heard_at = server.now;
    }
}

/// Proof that the cluster counts another disk for this server: a committed configuration names it, and an earlier one
/// counted ours.
pub(crate) fn replaced(server: &Server) -> Option<Fatal> {
    let own = |membership: &Membership| membership.member(server.id()).cloned();
    let committed = own(server.history.at(server.commit))?;
    if committed.disk == Incarnation(0) || committed.disk == server.incarnation {
        return None;
    }
    let mut earlier = server.history.all().take_while(|(index, _)| *index <= server.commit);
    let counted = earlier.any(|(_, membership)| own(membership).is_some_and(|m| m.counts(server.incarnation)));
    counted.then_some(Fatal::Replaced { by: committed.disk })
}

/// The configuration that records the disks of the first voters, once all of them were heard.
pub(crate) fn record_founders(server: &Server, leader: &Leader, change: EntryId) -> Option<Membership> {
    let membership = server.membership();
    let unrecorded = |member: &&Member| member.votes() && member.disk == Incarnation(0);
    if !server.config.record_disks || !membership.members().iter().any(|member| unrecorded(&member)) {
        return None;
    }
    let disk_of = |id: NodeId| match leader.progress(id) {
        Some(progress) => Some(progress.disk).filter(|disk| disk.is_founder()),
        None => (id == server.id()).then_some(server.incarnation).filter(|disk| disk.is_founder()),
    };
    let all_heard = membership.members().iter().filter(unrecorded).all(|member| disk_of(member.id).is_some());
    all_heard.then(|| {
        membership.with_disks(change, |member| match unrecorded(&member) {
            true => disk_of(member.id).unwrap_or_default(),
            false => member.disk,
        })
    })
}

/// The configuration that records the disk of a member without a vote: one that has none recorded at once, one that has
/// another one when that has been silent long enough.
pub(crate) fn record_newcomer(server: &Server, leader: &mut Leader, change: EntryId) -> Option<Membership> {
    let membership = server.membership();
    let found = membership.members().iter().filter(|member| !member.votes()).find_map(|member| {
        let progress = leader.progress(member.id)?;
        let is_new = progress.disk != Incarnation(0) && progress.disk != member.disk;
        let due = member.disk == Incarnation(0) || is_due(server, progress);
        (is_new && due && is_heard(server, progress)).then_some((member.id, progress.disk))
    });
    let (id, disk) = found?;
    if let Some(progress) = leader.follower(id).filter(|_| membership.member(id).is_some_and(|m| m.disk.0 != 0)) {
        progress.healed += 1;
    }
    Some(membership.with_disks(change, |member| if member.id == id { disk } else { member.disk }))
}

/// The configuration that readmits a voter whose disk was lost, if the policy is to do so.
pub(crate) fn readmit(server: &Server, leader: &mut Leader, change: EntryId) -> Option<Membership> {
    if server.config.wiped != WipedPolicy::Heal {
        return None;
    }
    let membership = server.membership();
    let lost = |progress: &&mut Progress| {
        let voter = membership.member(progress.id).is_some_and(|member| member.role == MemberRole::Voter);
        let lost = !progress.counted && !progress.regressed;
        voter && lost && is_heard(server, progress) && is_due(server, progress)
    };
    let progress = leader.followers.iter_mut().find(lost)?;
    let edited = membership.edited(change, &[Edit::Readmit { id: progress.id }], |_| false).ok()?;
    progress.healed += 1;
    Some(edited)
}

/// Whether a member is heard now.
pub(crate) fn is_heard(server: &Server, progress: &Progress) -> bool {
    server.now - progress.heard_at < u64::from(server.config.election_ticks_min)
}

/// Whether the disk that counts has been silent, and the other one heard, for long enough: longer each time, so that a
/// server which loses its disk at each start keeps nobody busy.
fn is_due(server: &Server, progress: &Progress) -> bool {
    let patience = u64::from(server.config.election_ticks_max) << progress.healed.min(DOUBLINGS_MAX);
    server.now - progress.disk_since >= patience
}
