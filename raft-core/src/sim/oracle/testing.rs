//! What the oracles' own tests are made of: servers, writes and histories, right and wrong.

use std::collections::VecDeque;
use std::format;

use super::committed::Committed;
use crate::message::{Message, Rpc};
use crate::sim::server::{Clock, Seen, Server};
use crate::sim::violation::{Invariant, Verdict};
use crate::{
    Action, Bytes, Config, Entries, Entry, EntryId, Event, Incarnation, Index, Membership, NodeId, Payload, Raft,
    Restored, RoleKind, SnapshotMeta, Term, Write, WriteId,
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
    SnapshotMeta { last: EntryId::new(term, index), membership: Membership::new([1, 2, 3].map(NodeId)).into() }
}

/// A server of three that is down.
pub(crate) fn server() -> Server {
    Server::new(Config::new(NodeId(1)), Clock::Steady, meta(0, 0))
}

/// One of three that leads in term 1, with an empty log.
pub(crate) fn leader() -> Server {
    let mut server = server();
    let config = Config { leader_noop: false, ..server.config.clone() };
    let restored = Restored::new_cluster(Incarnation(1), Membership::new([1, 2, 3].map(NodeId)));
    let mut raft = Raft::new(config, restored).unwrap();
    let mut events = VecDeque::new();
    while raft.status().role() != RoleKind::Leader {
        let event = events.pop_front().unwrap_or(Event::Tick { elapsed: 1 });
        for action in raft.step(event) {
            let answer = match action {
                Action::Persist(write) => {
                    server.disk.written.take(&write);
                    server.disk.durable.take(&write);
                    Event::Persisted(write.id)
                }
                Action::Send { to, message: Message { term, rpc, .. } } => {
                    let rpc = match rpc {
                        Rpc::PreVote { .. } => Rpc::PreVoteReply { granted: true },
                        _ => Rpc::RequestVoteReply { granted: true },
                    };
                    Event::Receive { from: to, message: Message { term, incarnation: Incarnation(to.0), rpc } }
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
