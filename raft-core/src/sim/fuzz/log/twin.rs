//! What a log is, and no more: a plain list.

use std::vec::Vec;

use crate::log::Fit;
use crate::{ENTRY_OVERHEAD_BYTES, EntryId, Index, Payload, Term};

/// An entry with its place, as `Entries::iter` gives it.
pub(crate) type Placed = (EntryId, Payload);

pub(crate) fn bytes_of(entries: &[Placed]) -> u64 {
    let commands =
        entries.iter().map(|(_, payload)| if let Payload::Command(command) = payload { command.len() } else { 0 });
    commands.map(|bytes| bytes as u64 + ENTRY_OVERHEAD_BYTES).sum()
}

/// What a log is, and no more.
#[derive(Clone, Debug, Default)]
pub(crate) struct Twin {
    pub(crate) base: EntryId,
    pub(crate) entries: Vec<Placed>,
    /// What is before it is not in memory; nothing of that is above the base, as a rule.
    pub(crate) resident: Index,
    /// Of what is before it the log knows a sum of bytes, and takes all entries to be of equal size.
    pub(crate) even_through: Index,
}

impl Twin {
    pub(crate) fn last(&self) -> EntryId {
        self.entries.last().map_or(self.base, |(id, _)| *id)
    }

    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        let known = self.entries.iter().map(|(id, _)| *id).find(|id| id.index == index);
        known.or(Some(self.base).filter(|base| base.index == index)).map(|id| id.term)
    }

    pub(crate) fn resident_first(&self) -> Index {
        self.resident.max(self.base.index.next())
    }

    pub(crate) fn truncate(&mut self, from: Index) {
        self.entries.retain(|(id, _)| id.index < from);
        self.resident = self.resident.min(self.last().index.next());
        self.even_through = self.even_through.min(self.last().index);
    }

    pub(crate) fn compact(&mut self, index: Index) {
        if let Some(term) = self.term_at(index) {
            self.entries = self.after(index).to_vec();
            self.base = EntryId { term, index };
        }
    }

    pub(crate) fn entry(&self, index: Index) -> Option<&Payload> {
        let resident = self.entries.iter().filter(|(id, _)| id.index >= self.resident_first());
        resident.map(|(id, payload)| (id, payload)).find(|(id, _)| id.index == index).map(|(_, payload)| payload)
    }

    pub(crate) fn contains(&self, id: EntryId) -> bool {
        self.term_at(id.index) == Some(id.term)
    }

    pub(crate) fn last_at_most(&self, wanted: EntryId) -> EntryId {
        let ids = self.entries.iter().map(|(id, _)| *id);
        ids.rev().find(|id| id.index <= wanted.index && id.term <= wanted.term).unwrap_or(self.base)
    }

    pub(crate) fn fit(&self, prev: EntryId, segment: &[Placed]) -> Fit {
        if prev.index >= self.base.index && !self.contains(prev) {
            return Fit::Conflict { hint: self.last_at_most(prev) };
        }
        let new = segment.iter().map(|(id, _)| *id).find(|id| id.index >= self.base.index && !self.contains(*id));
        Fit::Matches { new_from: new.map(|id| id.index) }
    }

    pub(crate) fn after(&self, index: Index) -> &[Placed] {
        let start = self.entries.iter().position(|(id, _)| id.index > index);
        &self.entries[start.unwrap_or(self.entries.len())..]
    }

    pub(crate) fn slice(&self, from: Index, to: Index, count: u64, bytes: u64) -> Vec<Placed> {
        let mut slice = Vec::new();
        if from >= self.resident_first() {
            for entry in self.entries.iter().filter(|(id, _)| (from..=to).contains(&id.index)) {
                slice.push(entry.clone());
                let too_much = slice.len() as u64 > count || bytes_of(&slice) > bytes;
                if too_much && slice.len() > 1 {
                    slice.pop();
                    break;
                }
            }
        }
        slice
    }
}
