//! What the oracles' own tests are made of: servers, writes and histories, right and wrong.

use std::collections::VecDeque;
use std::format;
use std::vec::Vec;

use super::committed::Committed;
use crate::message::{Message, Rpc};
use crate::quorum::Voters;
use crate::sim::server::{Clock, Seat, Seen, Server};
use crate::sim::violation::{Invariant, Verdict};
use crate::{
    Action, AppendOutcome, Bytes, Config, Entries, Entry, EntryId, Event, HardState, Incarnation, Index, Membership,
    NodeId, Payload, Raft, RoleKind, SnapshotMeta, Term, Write, WriteId,
};

/// What was found, if anything.
pub(crate) fn found<T>(verdict: Verdict<T>) -> Option<Invariant> {
    verdict.err().map(|violation| violation.invariant)
}

pub(crate) fn entries(first: u64, terms: &[u64]) -> Entries {
    let entry = |(at, term): (usize, &u64)| {
        let command = format!("{at}, long enough to count");
        Entry { term: Term(*term), payload: Payload::Command(Bytes::from(command.into_bytes())) }
    };
    Entries::from_vec(Index(first), terms.iter().enumerate().map(entry).collect()).unwrap()
}

pub(crate) fn write(first: u64, terms: &[u64]) -> Write {
    Write { id: WriteId::from_number(1), hard_state: None, snapshot: None, entries: entries(first, terms) }
}

/// Committed by the leaders of these terms, in entries of their own.
pub(crate) fn committed(terms: &[u64]) -> Committed {
    let mut committed = Committed::default();
    terms.iter().for_each(|term| committed.push(Term(*term), Term(*term), &Payload::Noop));
    committed
}

pub(crate) fn meta(term: u64, index: u64) -> SnapshotMeta {
    SnapshotMeta { last: EntryId::new(term, index), membership: three().into() }
}

/// A server of three that is down.
pub(crate) fn server() -> Server {
    server_of(1, &three())
}

/// A server that is down, with this configuration on its disk.
pub(crate) fn server_of(id: u64, membership: &Membership) -> Server {
    let snapshot = SnapshotMeta { last: EntryId::ZERO, membership: membership.clone().into() };
    Server::new(Seat::founder(Config::new(NodeId(id)), Clock::Steady), &snapshot)
}

fn three() -> Membership {
    Membership::new([1, 2, 3].map(NodeId))
}

/// One of three that leads in term 1, with an empty log.
pub(crate) fn leader() -> Server {
    elected(server())
}

/// One that leads in term 2 by the configuration in its log, 1@1, which is not committed; a no-op stands behind it, 2@2.
pub(crate) fn leader_of(id: u64, membership: &Membership) -> Server {
    let Voters { incoming, outgoing } = membership.voters();
    let first = if outgoing.is_empty() { incoming } else { outgoing };
    let mut server = server_of(id, &Membership::new(first.iter().copied()));
    let entry = Entry { term: Term(1), payload: Payload::Membership(membership.clone().into()) };
    let hard_state = Some(HardState { term: Term(1), voted_for: None });
    let entries = Entries::from_vec(Index(1), Vec::from([entry])).unwrap();
    let write = Write { id: WriteId::from_number(0), hard_state, snapshot: None, entries };
    server.disk.submit(write);
    server.disk.complete_through(WriteId::from_number(0));
    let server = elected(server);
    assert_eq!(server.seen.last, EntryId::new(2, 2));
    server
}

/// Elected at once: whoever is asked grants. Its disk is quick.
fn elected(mut server: Server) -> Server {
    let config = Config { leader_noop: false, ..server.config.clone() };
    let mut raft = Raft::new(config, server.restored()).unwrap();
    let mut events = VecDeque::new();
    while raft.status().role() != RoleKind::Leader || !events.is_empty() {
        let event = events.pop_front().unwrap_or(Event::Tick { elapsed: 1 });
        for action in raft.step(event) {
            let answer = match action {
                Action::Persist(write) => {
                    let id = write.id;
                    server.disk.submit(write);
                    server.disk.complete_through(id);
                    Event::Persisted(id)
                }
                Action::Send { to, message: Message { term, rpc: Rpc::PreVote { .. }, .. } } => {
                    answer(to, term, Rpc::PreVoteReply { granted: true })
                }
                Action::Send { to, message: Message { term, rpc: Rpc::RequestVote { .. }, .. } } => {
                    answer(to, term, Rpc::RequestVoteReply { granted: true })
                }
                _ => continue,
            };
            events.push_back(answer);
        }
    }
    server.seen = Seen::of(raft.status());
    server.raft = Some(raft);
    server
}

/// A server that has started, and follows this leader.
pub(crate) fn started(mut server: Server, leader: &Server) -> Server {
    server.raft = Raft::new(server.config.clone(), server.restored()).ok();
    server.seen = Seen { role: RoleKind::Follower, ..leader.seen };
    server
}

fn answer(from: NodeId, term: Term, rpc: Rpc) -> Event {
    Event::Receive { from, message: Message { term, incarnation: Incarnation(from.0), rpc } }
}

/// Let time pass for a leader; of those to whom it writes, only these answer: each holds what comes before the message, and
/// takes no entries.
pub(crate) fn advance(leader: &mut Server, ticks: u32, answering: &[u64]) {
    let Some(raft) = &mut leader.raft else { return };
    for _ in 0..ticks {
        let sent = raft.step(Event::Tick { elapsed: 1 });
        for action in sent {
            if let Action::Send { to, message: Message { term, rpc: Rpc::AppendEntries { prev, round, .. }, .. } } =
                action
                && answering.contains(&to.0)
            {
                let outcome = AppendOutcome::Matched { received: prev.index, durable: prev.index };
                let _ = raft.step(answer(to, term, Rpc::AppendEntriesReply { round, outcome }));
            }
        }
    }
    leader.seen = Seen::of(raft.status());
}
