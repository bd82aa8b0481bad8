//! The one true history: what leaders have committed, in order. No server knows all of it; the oracles do.

use std::sync::Arc;
use std::vec::Vec;

use crate::sim::clients::{CommandId, command_id};
use crate::sim::digest::Digest;
use crate::sim::machine::State;
use crate::{EntryId, Incarnation, Index, Membership, NodeId, Payload, Term};

struct Known {
    payload: Digest,
    command: Option<CommandId>,
    /// The term of the leader that committed it first; it never falls from one index to the next.
    committed_in: Term,
    /// The state of a machine that has applied everything through here.
    state: State,
}

#[derive(Default)]
pub(crate) struct Committed {
    entries: Vec<Known>,
    /// The first configuration, then the committed ones, each with its index.
    configurations: Vec<(Index, Arc<Membership>)>,
    nobody: Membership,
}

impl Committed {
    /// Nothing yet, in a cluster of these first members.
    pub(crate) fn of(first: Arc<Membership>) -> Committed {
        Committed { configurations: Vec::from([(Index(0), first)]), ..Committed::default() }
    }

    pub(crate) fn last_index(&self) -> Index {
        Index(self.entries.len() as u64)
    }

    /// A leader of `committed_in` has committed the next entry.
    pub(crate) fn push(&mut self, committed_in: Term, term: Term, payload: &Payload) {
        let mut state = self.entries.last().map_or_else(State::default, |known| known.state);
        state.apply(EntryId { term, index: self.last_index().next() }, payload);
        if let Payload::Membership(membership) = payload {
            self.configurations.push((self.last_index().next(), Arc::clone(membership)));
        }
        let (payload, command) = (Digest::of_payload(payload), command_id(payload));
        self.entries.push(Known { payload, command, committed_in, state });
    }

    /// Through where leaders of terms before `term` have committed.
    pub(crate) fn last_before(&self, term: Term) -> Index {
        Index(self.entries.partition_point(|known| known.committed_in < term) as u64)
    }

    fn at(&self, index: Index) -> Option<&Known> {
        self.entries.get(usize::try_from(index.prev().0).ok()?).filter(|_| index > Index(0))
    }

    /// The committed entry at `index`; that of index 0 is the empty log.
    pub(crate) fn id_at(&self, index: Index) -> Option<EntryId> {
        self.state_at(index).map(|state| state.last)
    }

    pub(crate) fn command_at(&self, index: Index) -> Option<CommandId> {
        self.at(index)?.command
    }

    pub(crate) fn payload_at(&self, index: Index) -> Option<Digest> {
        self.at(index).map(|known| known.payload)
    }

    /// The configuration in force at `index`, which is committed.
    pub(crate) fn configuration_at(&self, index: Index) -> Option<&Membership> {
        let newest_first = self.configurations.iter().rev();
        newest_first.map(|(at, membership)| (at, &**membership)).find(|(at, _)| **at <= index).map(|(_, found)| found)
    }

    /// Whether one of them records this disk for a member.
    pub(crate) fn counted(&self, id: NodeId, disk: Incarnation) -> bool {
        self.configurations.iter().any(|(_, known)| known.member(id).is_some_and(|member| member.disk == disk))
    }

    /// The newest one, and its entry.
    pub(crate) fn configuration(&self) -> (EntryId, &Membership) {
        match self.configurations.last() {
            Some((at, newest)) => (self.id_at(*at).unwrap_or(EntryId::ZERO), newest),
            None => (EntryId::ZERO, &self.nobody),
        }
    }

    /// The state that everything through `index` makes.
    pub(crate) fn state_at(&self, index: Index) -> Option<State> {
        if index == Index(0) { Some(State::default()) } else { self.at(index).map(|known| known.state) }
    }

    /// All committed commands, in order.
    pub(crate) fn commands(&self) -> impl Iterator<Item = (EntryId, CommandId)> + '_ {
        self.entries.iter().filter_map(|known| known.command.map(|id| (known.state.last, id)))
    }
}
