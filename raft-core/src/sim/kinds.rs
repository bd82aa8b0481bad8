//! What leaders put into configurations, and what becomes of requests for changes: for the coverage of a campaign.

use super::coverage::{Coverage, Happening};
use super::server::{Seen, Server};
use crate::{EditError, EntryId, Incarnation, Member, MemberRole, Membership, Payload, Refusal, RoleKind, Write};

/// `server`, which leads, or led when this step began, writes what it appended.
pub(crate) fn count_written(coverage: &mut Coverage, servers: &[Server], slot: usize, before: &Seen, write: &Write) {
    let server = &servers[slot];
    let term = server.seen.hard_state.term;
    let led = before.role == RoleKind::Leader && before.hard_state.term == term || server.leads();
    if !led || !write.entries.may_hold_membership() {
        return;
    }
    let mut configuration = server.disk.written.configuration();
    for (id, payload) in write.entries.iter().filter(|(id, _)| id.term == term) {
        let Payload::Membership(next) = payload else { continue };
        count(coverage, configuration, next, id);
        if configuration.is_joint() && !next.contains(server.id) {
            coverage.count(Happening::LeaderRemovedItself);
        }
        let lost_another = |id| servers.iter().any(|server| server.id == id && server.old_disks().next().is_some());
        let promoted = promoted(configuration, next);
        if next.is_joint() && promoted.iter().any(|member| !member.disk.is_founder() && lost_another(member.id)) {
            coverage.count(Happening::HealedDiskPromoted);
        }
        configuration = next;
    }
}

fn promoted<'a>(before: &Membership, next: &'a Membership) -> std::vec::Vec<&'a Member> {
    let voted = |member: &Member| before.member(member.id).is_some_and(|before| before.role == MemberRole::Voter);
    next.members().iter().filter(|member| member.role == MemberRole::Voter && !voted(member)).collect()
}

/// The entry `id` makes the configuration `next` of the one before.
fn count(coverage: &mut Coverage, before: &Membership, next: &Membership, id: EntryId) {
    if before.is_joint() {
        let another = next.change().term < id.term;
        coverage.count(if another { Happening::ChangeCarriedOn } else { Happening::ChangeFinished });
        return;
    }
    let mut kinds = 0;
    for member in next.members() {
        if let Some(kind) = kind(before.member(member.id), member, next) {
            coverage.count(kind);
            kinds += 1;
        }
    }
    for member in before.members().iter().filter(|member| !next.contains(member.id)) {
        debug_assert!(!member.votes(), "a voter leaves in the outgoing half");
        coverage.count(Happening::LearnerRemoved);
        kinds += 1;
    }
    if kinds > 1 {
        coverage.count(Happening::SeveralEdits);
    }
}

/// What happens to a member.
fn kind(before: Option<&Member>, member: &Member, next: &Membership) -> Option<Happening> {
    use MemberRole::{Learner, Leaving, Voter};
    let replaces = |wanted: Option<crate::Wanted>| wanted.and_then(|wanted| wanted.replaces);
    let recorded = |before: &Member| match (before.disk == member.disk, before.disk == Incarnation(0), member.role) {
        (true, ..) => (before.address != member.address).then_some(Happening::AddressChanged),
        (_, true, Voter) => Some(Happening::FoundersRecorded),
        (_, true, _) => Some(Happening::NewcomerRecorded),
        (_, false, _) => Some(Happening::DiskRecordedAnew),
    };
    match (before, before.map(|before| before.role), member.role) {
        (_, None, Learner { wanted: None }) => Some(Happening::LearnerAdded),
        (_, None, _) => Some(Happening::NewcomerAdded),
        (_, Some(Learner { wanted }), Voter) => {
            let leaves = |old| next.member(old).is_some_and(|old| old.role == Leaving);
            let replaced = replaces(wanted).is_some_and(leaves);
            Some(if replaced { Happening::VoterReplaced } else { Happening::LearnerPromoted })
        }
        (_, Some(Learner { wanted: None }), Learner { wanted: Some(_) }) => Some(Happening::LearnerWanted),
        (_, Some(Learner { wanted: Some(_) }), Learner { wanted: None }) => Some(Happening::LearnerKept),
        (_, Some(Voter), Learner { wanted: None }) => Some(Happening::VoterDemoted),
        (_, Some(Voter), Learner { wanted: Some(_) }) => Some(Happening::VoterReadmitted),
        (_, Some(Voter), Leaving) => Some(Happening::VoterRemoved),
        (Some(before), ..) => recorded(before),
        (None, ..) => None,
    }
}

impl Coverage {
    /// A change was refused.
    pub(crate) fn count_refused_change(&mut self, why: &Refusal) {
        let happening = match why {
            Refusal::NotLeader { .. } => Happening::ChangeRefusedNotLeader,
            Refusal::NotReady => Happening::ChangeRefusedNotReady,
            Refusal::ChangePending { .. } => Happening::ChangeRefusedPending,
            Refusal::Expected { .. } => Happening::ChangeRefusedExpected,
            Refusal::Transferring => Happening::ChangeRefusedTransferring,
            Refusal::Edit(error) => match error {
                EditError::NoVoters => Happening::ChangeRefusedNoVoters,
                EditError::UnknownServer { .. } => Happening::ChangeRefusedUnknownServer,
                EditError::AlreadyMember { .. } => Happening::ChangeRefusedAlreadyMember,
                EditError::NotAVoter { .. } => Happening::ChangeRefusedNotAVoter,
                EditError::AlreadyReplaced { .. } => Happening::ChangeRefusedAlreadyReplaced,
                EditError::NotCaughtUp { .. } => Happening::ChangeRefusedNotCaughtUp,
                EditError::TwoEdits { .. } => Happening::ChangeRefusedTwoEdits,
                EditError::TooManyMembers => Happening::ChangeRefusedTooManyMembers,
                EditError::NothingToDo => Happening::ChangeRefusedNothingToDo,
            },
            _ => return,
        };
        self.count(happening);
    }
}
