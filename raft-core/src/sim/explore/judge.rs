//! What must hold of all servers together: the invariants of Figure 3 in each state, and the rules that keep them.

use std::format;
use std::vec::Vec;

use super::SERVERS;
use super::bounds::slot;
use super::local::Local;
use super::rules::{Known, facts};
use super::tables::{History, Tables, Touched};
use crate::sim::disk::Image;
use crate::sim::quorum::is_quorum;
use crate::sim::violation::{Invariant, Verdict, ensure};
use crate::{EntryId, HardState, Index, Membership, NodeId, Payload, RoleKind, Status};

/// The rules of the whole cluster, as far as this change can break them. `known` is the history so far, `before` the server
/// in `slot` before the change. Says what the history is now.
pub(crate) fn judge(
    tables: &mut Tables,
    known: u32,
    slot: usize,
    before: u32,
    locals: &[u32; SERVERS],
    touched: Touched,
) -> Verdict<u32> {
    let Touched { leads, commits, log, promises, .. } = touched;
    if !leads && !commits && !log && !promises {
        return Ok(known);
    }
    let bounds = tables.bounds;
    let servers = locals.map(|local| &tables.locals[local as usize]);
    let history = &tables.histories[known as usize];
    let mut news = None;
    if leads {
        let status = servers[slot].raft.status();
        let term = usize::try_from(status.term().0).unwrap_or(usize::MAX).min(history.leaders.len() - 1);
        let earlier = usize::from(history.leaders[term]);
        ensure(earlier == 0 || earlier == slot + 1, Invariant::ElectionSafety, || {
            format!("servers {earlier} and {} both lead in term {term}", slot + 1)
        })?;
        news.get_or_insert_with(|| history.clone()).leaders[term] = u8::try_from(slot + 1).unwrap_or(0);
        bounds.heed(quorum_elects(&servers, slot, before_of(tables, before)))?;
    }
    let before = before_of(tables, before);
    if commits && (leads_in(before, servers[slot]) || servers[slot].raft.status().role() == RoleKind::Leader) {
        bounds.heed(quorum_keeps(&servers, slot, before))?;
        record(servers[slot], news.get_or_insert_with(|| history.clone()));
    }
    let now = news.as_ref().unwrap_or(history);
    if commits || log {
        is_committed(servers[slot], now)?;
    }
    if leads || commits {
        servers.iter().try_for_each(|server| is_complete(server, now))?;
    }
    if log {
        let others = (0..SERVERS).filter(|other| *other != slot);
        others.map(|other| servers[other]).try_for_each(|other| logs_match(servers[slot], other))?;
    }
    if promises {
        let kept = (0..SERVERS).try_for_each(|leader| promises_are_kept(&servers, leader));
        bounds.heed(kept)?;
    }
    Ok(news.map_or(known, |history| tables.history(&history)))
}

fn before_of(tables: &Tables, before: u32) -> Status<'_> {
    tables.locals[before as usize].raft.status()
}

/// Whether one of the disks that `membership` counts for `id` is as `holds` says.
fn has_disk(servers: &[&Local; SERVERS], membership: &Membership, id: NodeId, holds: impl Fn(&Image) -> bool) -> bool {
    let of_name = servers.iter().filter(|server| server.id() == id);
    let counts = |disk| membership.member(id).is_some_and(|member| member.counts(disk));
    of_name.flat_map(|server| server.disks()).any(|(disk, image)| counts(disk) && holds(image))
}

/// A leader has the votes of a quorum of the configuration in force (§5.2, §6): on the disks that count, which say so as long as
/// they are in its term.
fn quorum_elects(servers: &[&Local; SERVERS], slot: usize, before: Status<'_>) -> Verdict {
    let status = servers[slot].raft.status();
    let (term, id, membership) = (status.term(), status.id(), before.membership());
    let votes = |image: &Image| {
        let HardState { term: in_term, voted_for } = image.hard_state;
        in_term > term || in_term == term && voted_for.is_some_and(|vote| vote.id == id)
    };
    let elected = is_quorum(membership, |voter| has_disk(servers, membership, voter, votes));
    ensure(elected, Invariant::UncountedIsSilent, || {
        format!("server {id} of {membership} leads in term {term} without the votes of a quorum")
    })
}

/// Whether it led before, in the term that it is in now: a leader that is not in what it commits follows at once.
fn leads_in(before: Status<'_>, after: &Local) -> bool {
    before.role() == RoleKind::Leader && before.term() == after.raft.status().term()
}

/// A leader commits an entry of its own term that a quorum of the configuration in force has durably (§5.4.2, §6). What it
/// appends because of that may be in force at once, and be committed in the same act: a configuration, which belongs to one
/// that was committed before it.
fn quorum_keeps(servers: &[&Local; SERVERS], slot: usize, before: Status<'_>) -> Verdict {
    let status = servers[slot].raft.status();
    let (term, commit) = (status.term(), status.commit());
    let id = EntryId { term: status.term_at(commit).unwrap_or_default(), index: commit };
    let keeps = |membership: &Membership, id: EntryId| {
        is_quorum(membership, |voter| has_disk(servers, membership, voter, |image| image.keeps(id)))
    };
    let kept = keeps(before.membership(), id) || keeps(status.membership(), id);
    // The configuration before is gone only when it is committed, by itself.
    let is_configuration = |index: &Index| matches!(before.entry(*index), Some(Payload::Membership(_)));
    let configured = (1..=before.last().index.0).map(Index).rfind(is_configuration);
    let configured = configured.and_then(|index| before.term_at(index).map(|term| EntryId { term, index }));
    let settled = before.membership() == status.membership()
        || configured.is_none_or(|id| id.index <= before.commit() || keeps(before.membership(), id));
    ensure(id.term == term && kept && settled, Invariant::CommitRule, || {
        let keepers: Vec<NodeId> =
            servers.iter().filter(|server| server.image.keeps(id)).map(|server| server.id()).collect();
        format!("server {} of {} commits {id} in term {term}, and {keepers:?} keep it", slot + 1, before.membership())
    })
}

/// What a leader commits, and what is before it, becomes history.
fn record(leader: &Local, history: &mut History) {
    let status = leader.raft.status();
    for index in history.committed.len() as u64 + 1..=status.commit().0 {
        let id = status.term_at(Index(index)).map(|term| EntryId { term, index: Index(index) });
        history.committed.push((id.unwrap_or_default(), status.term()));
    }
}

/// State Machine Safety (§5.4.3, Figure 3): what a server believes committed is what is.
fn is_committed(server: &Local, history: &History) -> Verdict {
    let status = server.raft.status();
    let (commit, known) = (status.commit(), history.committed.len() as u64);
    ensure(commit.0 <= known, Invariant::StateMachineSafety, || {
        format!("server {} believes {commit} committed, but leaders committed through {known}", status.id())
    })?;
    let snapshot = status.snapshot().last;
    let first = status.first_index().min(snapshot.index.next());
    for (id, _) in history.committed.iter().filter(|(id, _)| id.index >= first && id.index <= commit) {
        let ours = status.term_at(id.index);
        ensure(ours == Some(id.term), Invariant::StateMachineSafety, || {
            format!("server {} believes index {} of term {ours:?} committed, but {id} is", status.id(), id.index)
        })?;
    }
    let stands_for = history.committed.get(usize::try_from(snapshot.index.prev().0).unwrap_or(usize::MAX));
    let sound = snapshot == EntryId::ZERO || stands_for.is_some_and(|(id, _)| *id == snapshot);
    ensure(sound, Invariant::StateMachineSafety, || {
        format!("server {} has a snapshot at {snapshot}, but {stands_for:?} is committed there", status.id())
    })
}

/// Leader Completeness (§5.4, Figure 3): a leader has every entry that was committed in an earlier term.
fn is_complete(server: &Local, history: &History) -> Verdict {
    let status = server.raft.status();
    if status.role() != RoleKind::Leader {
        return Ok(());
    }
    let mut earlier = history.committed.iter().filter(|(_, term)| *term < status.term());
    let lacking = earlier.find(|(id, _)| !server.raft.keeps(*id));
    lacking.map_or(Ok(()), |(id, term)| {
        ensure(false, Invariant::LeaderCompleteness, || {
            format!("server {} is {}, and lacks {id}, committed in term {term}", status.id(), facts(status))
        })
    })
}

/// Log Matching (§5.3, Figure 3), of logs in memory and on disks: where two have the same entry, they are the same
/// through it. A command names its entry, which is looked at elsewhere; of configurations each is compared.
fn logs_match(one: &Local, other: &Local) -> Verdict {
    let ours: [&dyn Known; 2] = [&one.raft, &one.image];
    let theirs: [&dyn Known; 2] = [&other.raft, &other.image];
    for (ours, theirs) in ours.into_iter().flat_map(|ours| theirs.map(|theirs| (ours, theirs))) {
        let mut same = false;
        for index in (1..=ours.last_id().index.min(theirs.last_id().index).0).rev() {
            let (Some(our), Some(their)) = (ours.term_of(Index(index)), theirs.term_of(Index(index))) else { break };
            ensure(!same || our == their, Invariant::LogMatching, || {
                let (left, right) = (one.id(), other.id());
                format!(
                    "the logs of servers {left} and {right} meet behind {index}, where their terms are {our} and {their}"
                )
            })?;
            same = our == their;
        }
    }
    configurations_match(one, other)
}

/// Of two entries with the same id, both are the same configuration, or neither is one.
fn configurations_match(one: &Local, other: &Local) -> Verdict {
    let (ours, theirs) = (one.raft.status(), other.raft.status());
    for index in (1..=ours.last().index.min(theirs.last().index).0).map(Index) {
        let (Some(our), Some(their)) = (ours.entry(index), theirs.entry(index)) else { continue };
        let is_configuration = |payload: &Payload| matches!(payload, Payload::Membership(_));
        if (is_configuration(our) || is_configuration(their)) && ours.term_at(index) == theirs.term_at(index) {
            ensure(our == their, Invariant::LogMatching, || {
                format!("the entry {index} of term {:?} is {our:?} or {their:?}", ours.term_at(index))
            })?;
        }
    }
    Ok(())
}

/// What a leader takes as durable at a follower is (§5.3), as long as the follower has heard of no later leader.
fn promises_are_kept(servers: &[&Local; SERVERS], leader: usize) -> Verdict {
    let status = servers[leader].raft.status();
    for follower in status.followers() {
        let Some(server) = slot(follower.id).map(|slot| servers[slot]) else { continue };
        let Some((_, image)) = server.disks().find(|(disk, _)| *disk == follower.disk) else { continue };
        let kept = image.hard_state.term != status.term() || image.keeps(follower.matched);
        ensure(kept, Invariant::Promises, || {
            let (id, matched, last) = (follower.id, follower.matched, image.last());
            format!("server {} takes {matched} as durable at {id}, whose disk holds a log through {last}", leader + 1)
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::bounds::{Bounds, node};
    use super::super::local::start;
    use super::super::rules;
    use super::*;
    use crate::sim::oracle::testing::leader_of;
    use crate::{
        AppendOutcome, Entries, Entry, Event, HardState, Incarnation, Message, Raft, Rpc, Term, Write, WriteId,
    };

    /// A server with these entries on its disk and in memory, of term 1 all but the last.
    fn holding(slot: usize, first: &Membership, payloads: &[Payload], last: u64) -> Local {
        let mut local = Local::of(slot, first.clone(), &Bounds::CALM).unwrap();
        let terms = (1..).map(|index| if index == payloads.len() { last } else { 1 });
        let entries = terms.zip(payloads).map(|(term, payload)| Entry { term: Term(term), payload: payload.clone() });
        let entries = Entries::from_vec(Index(1), entries.collect()).unwrap();
        let hard_state = Some(HardState { term: Term(last), voted_for: None });
        local.image.take(&Write { id: WriteId::from_number(1), hard_state, snapshot: None, entries });
        local.raft = start(&local.image, node(slot), (local.disk, 1), &Bounds::CALM).unwrap();
        local
    }

    fn entry(membership: &Membership) -> Payload {
        Payload::Membership(membership.clone().into())
    }

    /// The leader of this configuration, before and after it is told that all have its no-op.
    fn commits(membership: &Membership) -> (Raft, Raft) {
        let before = leader_of(1, membership).raft.unwrap();
        let mut after = before.clone();
        for id in [2, 3].map(NodeId) {
            let outcome = AppendOutcome::Matched { received: Index(2), durable: Index(2) };
            let rpc = Rpc::AppendEntriesReply { round: 1, outcome };
            let message = Message { term: Term(2), incarnation: Incarnation(id.0), rpc };
            let _ = after.step(Event::Receive { from: id, message });
        }
        assert_eq!(after.status().commit(), Index(2));
        (before, after)
    }

    /// What is judged where only these servers keep the no-op.
    fn judged(membership: &Membership, keepers: &[usize]) -> Option<Invariant> {
        let (before, after) = commits(membership);
        let payloads = [entry(membership), Payload::Noop];
        let server =
            |slot: usize| holding(slot, membership, &payloads[..if keepers.contains(&slot) { 2 } else { 1 }], 2);
        let mut servers: [Local; SERVERS] = std::array::from_fn(server);
        servers[0].raft = after;
        quorum_keeps(&servers.each_ref(), 0, before.status()).err().map(|violation| violation.invariant)
    }

    #[test]
    fn a_commit_is_judged_by_the_configuration_in_force() {
        let broken = Some(Invariant::CommitRule);
        let alone = Membership::joint([node(0)], [], [node(1), node(2)]);
        assert_eq!(judged(&alone, &[0]), None, "the only voter");
        assert_eq!(judged(&alone, &[1, 2]), broken, "learners do not count");
        let joint = Membership::joint([node(0), node(1)], [node(0), node(2)], []);
        assert_eq!(judged(&joint, &[0, 1, 2]), None);
        assert_eq!(judged(&joint, &[0, 2]), broken, "two of three, but one of the new half");
    }

    /// The leader ends a joint configuration as soon as it is committed: by both halves, whatever comes in the same act.
    #[test]
    fn a_joint_configuration_is_ended_by_both_halves() {
        let joint = Membership::joint([node(0), node(1)], [node(0), node(2)], []);
        let (before, after) = commits(&joint);
        assert!(before.status().membership().is_joint() && !after.status().membership().is_joint());
        let ended = |third: &[Payload]| {
            let all = [entry(&joint), Payload::Noop];
            let mut servers = [holding(0, &joint, &all, 2), holding(1, &joint, &all, 2), holding(2, &joint, third, 2)];
            servers[0].raft = after.clone();
            quorum_keeps(&servers.each_ref(), 0, before.status()).err().map(|violation| violation.invariant)
        };
        assert_eq!(ended(&[Payload::Noop]), Some(Invariant::CommitRule), "the old half has only its leader");
        assert_eq!(ended(&[entry(&joint), Payload::Noop]), None);
    }

    #[test]
    fn one_entry_is_one_configuration() {
        let first = Membership::new([node(0), node(1), node(2)]);
        let joint = Membership::joint([node(0), node(1)], [node(0), node(1), node(2)], []);
        let judged = |ours: &[Payload], theirs: &[Payload]| {
            let verdict = logs_match(&holding(0, &first, ours, 1), &holding(1, &first, theirs, 1));
            verdict.err().map(|violation| violation.invariant)
        };
        assert!(rules::stands(&holding(0, &first, &[entry(&joint)], 1)).is_ok(), "a log may hold one");
        assert_eq!(judged(&[entry(&joint)], &[entry(&joint), Payload::Noop]), None);
        let without_joint = Membership::joint([node(0), node(1)], [], [node(2)]);
        let broken = Some(Invariant::LogMatching);
        assert_eq!(judged(&[entry(&joint)], &[entry(&without_joint)]), broken);
        assert_eq!(judged(&[Payload::Noop], &[entry(&joint)]), broken);
    }
}
