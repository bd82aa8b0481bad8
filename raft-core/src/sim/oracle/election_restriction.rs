//! The election restriction (§5.4.1): a voter grants its vote only to a candidate whose log is at least as up-to-date as its
//! own. What a candidate quotes is remembered when it asks.

use std::format;
use std::vec::Vec;

use crate::sim::network::SERVERS_MAX;
use crate::sim::server::Seen;
use crate::sim::violation::{Invariant, Verdict, ensure};
use crate::{EntryId, Term};

#[derive(Default)]
pub(crate) struct ElectionRestriction {
    /// For each term, the end of the log that each candidate quoted.
    quoted: Vec<[Option<EntryId>; SERVERS_MAX]>,
}

impl ElectionRestriction {
    /// The candidate in `slot` asks for votes.
    pub(crate) fn asks(&mut self, slot: usize, term: Term, last: EntryId) {
        let place = usize::try_from(term.0).unwrap_or(usize::MAX);
        if self.quoted.len() <= place {
            self.quoted.resize(place + 1, [None; SERVERS_MAX]);
        }
        self.quoted[place][slot] = Some(last);
    }

    /// A server that was `before` has just voted for the candidate in `slot`.
    pub(crate) fn votes(&self, before: &Seen, slot: usize, term: Term) -> Verdict {
        let place = usize::try_from(term.0).unwrap_or(usize::MAX);
        let quoted = self.quoted.get(place).and_then(|candidates| candidates[slot]);
        ensure(quoted >= Some(before.last), Invariant::ElectionRestriction, || {
            format!("votes in term {term} for a log through {quoted:?}, and has {} itself", before.last)
        })
    }
}
