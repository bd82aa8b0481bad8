//! What must hold of one server, whatever the others do. These are twins of the oracles in `sim/oracle` that look at states
//! in place of a whole run.

use std::format;

use super::local::{Local, command};
use super::mail::{Content, Mail};
use crate::entries::Payload;
use crate::sim::disk::Image;
use crate::sim::violation::{Invariant, Verdict, ensure};
use crate::{
    AppendOutcome, Entries, EntryId, FollowerStatus, Index, Message, NodeId, Raft, RoleKind, Rpc, SnapshotMeta, Status,
    Term,
};

/// Where a log is known: its terms from the entry before the first through the last.
pub(crate) trait Known {
    fn term_of(&self, index: Index) -> Option<Term>;
    fn last_id(&self) -> EntryId;
    fn snapshot_id(&self) -> EntryId;

    /// Whether the entry is there or behind the snapshot.
    fn keeps(&self, id: EntryId) -> bool {
        id.index <= self.snapshot_id().index || self.term_of(id.index) == Some(id.term)
    }
}

impl Known for Image {
    fn term_of(&self, index: Index) -> Option<Term> {
        self.term_at(index)
    }

    fn last_id(&self) -> EntryId {
        self.last()
    }

    fn snapshot_id(&self) -> EntryId {
        self.snapshot.last
    }
}

impl Known for Raft {
    fn term_of(&self, index: Index) -> Option<Term> {
        self.status().term_at(index)
    }

    fn last_id(&self) -> EntryId {
        self.status().last()
    }

    fn snapshot_id(&self) -> EntryId {
        self.status().snapshot().last
    }
}

/// A life went on from `before` to `after`: term, commit, applied and what a leader knows never fall (Figure 2), a vote is
/// never changed (§5.2), a leader only appends (§5.3).
pub(crate) fn lived(before: &Raft, after: &Raft) -> Verdict {
    let (old, new) = (before.status(), after.status());
    let falls = new.term() < old.term()
        || new.commit() < old.commit()
        || new.handed_out() < old.handed_out()
        || new.applied() < old.applied();
    ensure(!falls, Invariant::Monotone, || format!("{} falls to {}", facts(old), facts(new)))?;
    let changed = new.term() == old.term() && old.voted_for().is_some() && new.voted_for() != old.voted_for();
    ensure(!changed, Invariant::SingleVote, || format!("{} votes again: {}", facts(old), facts(new)))?;
    if old.role() != RoleKind::Leader || new.role() != RoleKind::Leader || old.term() != new.term() {
        return Ok(());
    }
    let first = new.first_index().max(old.first_index());
    let kept = (first.0..=old.last().index.0).all(|index| old.term_at(Index(index)) == new.term_at(Index(index)));
    ensure(kept && new.last() >= old.last(), Invariant::LeaderAppendOnly, || {
        format!("leads, and changes its log: {} to {}", facts(old), facts(new))
    })?;
    for new in new.followers() {
        // Of one that has just come, or answers on another disk, nothing was known.
        let same = |old: &FollowerStatus| old.id == new.id && old.disk == new.disk;
        let known = old.followers().find(same).map_or(EntryId::ZERO, |old| old.matched);
        let sound = new.matched >= known && new.next > new.matched.index;
        ensure(sound, Invariant::MatchIndex, || format!("knew {known} of a follower, and now knows {new:?}"))?;
    }
    Ok(())
}

/// Only a voter campaigns, on the disk that counts for it (§6, thesis §4.2.2). Who lost its vote with the newest configuration
/// may, until it knows that one to be committed.
pub(crate) fn campaigns(before: &Local, after: &Raft) -> Verdict {
    let (old, new) = (before.raft.status(), after.status());
    if new.role() != RoleKind::Candidate || old.role() == RoleKind::Candidate && old.term() == new.term() {
        return Ok(());
    }
    let mut written = before.image.clone();
    before.outstanding.iter().for_each(|write| written.take(write));
    let mut newest_first = written.configurations().iter().rev();
    let (newest, earlier) = (newest_first.next(), newest_first.next());
    let may = newest.is_some_and(|(at, newest)| match newest.member(new.id()).filter(|member| member.votes()) {
        Some(member) => member.counts(new.incarnation()),
        None => *at > old.commit() && earlier.is_some_and(|(_, earlier)| earlier.is_voter(new.id())),
    });
    ensure(may, Invariant::Candidacy, || format!("is {}, without a vote in {newest:?}", facts(new)))
}

/// A leader appends a configuration only behind one that is committed (§6): by then, where the two are appended in one act.
pub(crate) fn changes(before: &Raft, after: &Raft) -> Verdict {
    let (old, new) = (before.status(), after.status());
    if new.role() != RoleKind::Leader {
        return Ok(());
    }
    let is_configuration = |index: &u64| matches!(new.entry(Index(*index)), Some(Payload::Membership(_)));
    let mut earlier = new.snapshot().last.index;
    for index in (new.first_index().0..=new.last().index.0).filter(is_configuration).map(Index) {
        let appended = index > old.last().index && new.term_at(index) == Some(new.term());
        ensure(!appended || earlier <= new.commit(), Invariant::OnePending, || {
            format!("appends the configuration {index} behind {earlier}, being {}", facts(new))
        })?;
        earlier = index;
    }
    Ok(())
}

/// A vote goes only to a log that is at least as up-to-date as the voter's (§5.4.1).
pub(crate) fn grants(before: &Raft, after: &Raft, mail: &Mail) -> Verdict {
    let Content::Message(Message { rpc: Rpc::RequestVote { last, .. }, term, .. }) = &mail.content else {
        return Ok(());
    };
    let vote = |raft: &Raft| (raft.status().term(), raft.status().voted_for());
    let granted = vote(after) == (*term, Some(mail.from)) && vote(before) != vote(after);
    ensure(!granted || *last >= before.status().last(), Invariant::ElectionRestriction, || {
        format!("votes for a log through {last}, being {}", facts(before.status()))
    })
}

/// What holds between two steps: terms never fall within a log, each entry is what its leader made it, what is taken as
/// durable is, and what is known is on its way to the disk.
pub(crate) fn stands(local: &Local) -> Verdict {
    let status = local.raft.status();
    let mut follows = local.raft.term_of(status.first_index().prev()).unwrap_or_default();
    for index in status.first_index().0..=status.last().index.0 {
        let id = EntryId { term: status.term_at(Index(index)).unwrap_or_default(), index: Index(index) };
        let intact = match status.entry(id.index) {
            // That a configuration is what its leader made it shows where two logs have the same entry.
            Some(Payload::Noop | Payload::Membership(_)) => true,
            Some(Payload::Command(bytes)) => *bytes == command(id),
            None => false,
        };
        ensure(id.term >= follows && id.term <= status.term() && intact, Invariant::LogMatching, || {
            format!("the entry {id} follows term {follows} in term {}, intact: {intact}", status.term())
        })?;
        follows = id.term;
    }
    let durable = status.durable();
    let kept = status
        .term_at(durable)
        .map_or(durable <= local.image.last().index, |term| local.image.keeps(EntryId { term, index: durable }));
    ensure(kept, Invariant::Promises, || {
        format!("takes {durable} as durable, but its disk holds a log through {}", local.image.last())
    })?;
    let mut written = local.image.clone();
    local.outstanding.iter().for_each(|write| written.take(write));
    let hard_state = status.hard_state();
    let same = written.hard_state == hard_state
        && written.last() == status.last()
        && written.snapshot.last == status.snapshot().last;
    ensure(same, Invariant::WriteThrough, || {
        format!("is {}, but wrote {:?} and a log through {}", facts(status), written.hard_state, written.last())
    })
}

/// A server has started from what its disk kept.
pub(crate) fn restarted(local: &Local) -> Verdict {
    let (status, image) = (local.raft.status(), &local.image);
    let same = status.hard_state() == image.hard_state
        && status.last() == image.last()
        && status.snapshot().last == image.snapshot.last
        && status.commit() == image.snapshot.last.index;
    ensure(same, Invariant::Restart, || format!("starts as {} from {:?}", facts(status), image.hard_state))
}

/// A message goes out: what it promises is durable (Figure 2).
pub(crate) fn sends(local: &Local, to: NodeId, message: &Message) -> Verdict {
    let (image, id) = (&local.image, local.id());
    let vote = |candidate| (message.term, Some(candidate));
    let kept_vote = (image.hard_state.term, image.hard_state.voted_for.map(|vote| vote.id));
    let kept = match &message.rpc {
        Rpc::RequestVote { last, .. } => kept_vote == vote(id) && image.last() == *last,
        Rpc::RequestVoteReply { granted: true } => kept_vote == vote(to),
        Rpc::AppendEntries { .. } => image.hard_state.term == message.term,
        Rpc::AppendEntriesReply { outcome, .. } => match *outcome {
            AppendOutcome::Matched { durable, .. } | AppendOutcome::Full { durable, .. } => {
                let term = local.raft.term_of(durable);
                let held =
                    term.map_or(durable <= image.last().index, |term| image.keeps(EntryId { term, index: durable }));
                durable == Index(0) || image.hard_state.term == message.term && held
            }
            AppendOutcome::Conflict { .. } | AppendOutcome::OlderTerm => true,
        },
        Rpc::PreVote { .. }
        | Rpc::PreVoteReply { .. }
        | Rpc::RequestVoteReply { granted: false }
        | Rpc::TimeoutNow { .. }
        | Rpc::ReadIndex { .. }
        | Rpc::ReadIndexReply { .. } => true,
    };
    ensure(kept, Invariant::Promises, || {
        format!(
            "server {id} sends {message}, but its disk holds {:?} and a log through {}",
            image.hard_state,
            image.last()
        )
    })
}

/// A message goes out: a vote is the first that the server shows in this term, across restarts (§5.2).
pub(crate) fn votes(local: &mut Local, to: NodeId, message: &Message) -> Verdict {
    let id = local.id();
    match message.rpc {
        Rpc::RequestVote { .. } => shows_vote(local, message.term, id),
        Rpc::RequestVoteReply { granted: true } => shows_vote(local, message.term, to),
        _ => Ok(()),
    }
}

/// Who leads has voted for itself.
pub(crate) fn leads(local: &mut Local) -> Verdict {
    let status = local.raft.status();
    let (role, term, id) = (status.role(), status.term(), status.id());
    if role == RoleKind::Leader { shows_vote(local, term, id) } else { Ok(()) }
}

fn shows_vote(local: &mut Local, term: Term, candidate: NodeId) -> Verdict {
    let (shown, earlier) = local.vote_shown;
    let sound = term > shown || term == shown && earlier == Some(candidate);
    ensure(sound, Invariant::SingleVote, || {
        let id = local.id();
        format!("server {id} votes for {candidate} in term {term}, after its vote for {earlier:?} in term {shown}")
    })?;
    local.vote_shown = (term, Some(candidate));
    Ok(())
}

/// Entries are handed to the application: the next ones, once, committed and durable here (§5.3).
pub(crate) fn applies(local: &Local, handed: Index, entries: &Entries) -> Verdict {
    let status = local.raft.status();
    let next = entries.first().is_some_and(|first| first.index == handed.next());
    let last = entries.last().unwrap_or_default();
    let own = entries.iter().all(|(id, _)| status.term_at(id.index) == Some(id.term));
    let sound = next && own && last.index <= status.commit() && local.image.keeps(last);
    ensure(sound, Invariant::ApplyOrder, || format!("applies {entries} after {handed}, being {}", facts(status)))
}

/// The application is to start from a snapshot, which must be durable.
pub(crate) fn restores(local: &Local, snapshot: &SnapshotMeta) -> Verdict {
    ensure(local.image.snapshot == *snapshot, Invariant::ApplyOrder, || {
        format!("restores {snapshot}, but its disk holds {}", local.image.snapshot)
    })
}

/// A server in a few words.
pub(crate) fn facts(status: Status<'_>) -> std::string::String {
    let vote = status.voted_for().map_or_else(|| "-".into(), |id| format!("{id}"));
    let (role, term, last) = (status.role(), status.term(), status.last());
    let (durable, commit) = (status.durable(), status.commit());
    let terms = (status.first_index().0..=last.index.0).filter_map(|index| status.term_at(Index(index)));
    let log = terms.map(|term| format!("{term}")).collect::<std::vec::Vec<_>>().join(" ");
    let snapshot = status.snapshot().last;
    let behind = if snapshot == EntryId::ZERO { std::string::String::new() } else { format!("{snapshot}|") };
    format!("{role} t{term} vote {vote} log [{behind}{log}] durable {durable} commit {commit}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::oracle::testing::leader_of;
    use crate::{Event, Incarnation, Membership};

    /// A leader with an entry, of which it knows that this follower keeps it.
    fn leads(voters: &[u64], learners: &[u64], keeper: u64) -> Raft {
        let ids = |ids: &[u64]| ids.iter().map(|id| NodeId(*id)).collect::<std::vec::Vec<_>>();
        let mut raft = leader_of(1, &Membership::joint(ids(voters), [], ids(learners))).raft.unwrap();
        let outcome = AppendOutcome::Matched { received: Index(1), durable: Index(1) };
        let rpc = Rpc::AppendEntriesReply { round: 1, outcome };
        let message = Message { term: Term(2), incarnation: Incarnation(keeper), rpc };
        let _ = raft.step(Event::Receive { from: NodeId(keeper), message });
        raft
    }

    #[test]
    fn followers_are_told_apart_by_name() {
        let before = leads(&[1, 2, 3], &[], 2);
        let judged = |after: &Raft| lived(&before, after).err().map(|violation| violation.invariant);
        assert_eq!(judged(&before), None);
        assert_eq!(judged(&leads(&[1, 3, 4], &[], 3)), None, "2 is gone, and 3 may be anywhere");
        let nothing = leads(&[1, 2, 3], &[], 9);
        assert_eq!(judged(&nothing), None, "2 was never heard on any disk");
        let outcome = AppendOutcome::Matched { received: Index(0), durable: Index(0) };
        let rpc = Rpc::AppendEntriesReply { round: 1, outcome };
        let message = Message { term: Term(2), incarnation: Incarnation(2), rpc };
        let mut forgot = leads(&[1, 3], &[2], 3);
        let _ = forgot.step(Event::Receive { from: NodeId(2), message });
        assert_eq!(judged(&forgot), Some(Invariant::MatchIndex), "2 is a learner now, and had that entry");
    }
}
