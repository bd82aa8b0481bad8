//! The election restriction (§5.4.1): a voter grants its vote only to a candidate whose log is at least as up-to-date as its
//! own. What a candidate quotes is remembered when it asks.

use std::format;
use std::vec::Vec;

use smallvec::SmallVec;

use crate::sim::server::Seen;
use crate::sim::violation::{Invariant, Verdict, ensure};
use crate::{EntryId, ServerId, Term};

#[derive(Default)]
pub(crate) struct ElectionRestriction {
    /// For each term, the end of the log that each candidate quoted.
    quoted: Vec<SmallVec<[(ServerId, EntryId); 2]>>,
}

impl ElectionRestriction {
    /// `candidate` asks for votes.
    pub(crate) fn asks(&mut self, candidate: ServerId, term: Term, last: EntryId) {
        let place = usize::try_from(term.0).unwrap_or(usize::MAX);
        if self.quoted.len() <= place {
            self.quoted.resize(place + 1, SmallVec::new());
        }
        let quoted = &mut self.quoted[place];
        match quoted.iter_mut().find(|(known, _)| *known == candidate) {
            Some((_, known)) => *known = last,
            None => quoted.push((candidate, last)),
        }
    }

    /// A server that was `before` has just voted for `candidate`.
    pub(crate) fn votes(&self, before: &Seen, candidate: ServerId, term: Term) -> Verdict {
        let place = usize::try_from(term.0).unwrap_or(usize::MAX);
        let mut candidates = self.quoted.get(place).into_iter().flatten();
        let quoted = candidates.find(|(known, _)| *known == candidate).map(|(_, last)| *last);
        ensure(quoted >= Some(before.last), Invariant::ElectionRestriction, || {
            format!("votes in term {term} for a log through {quoted:?}, and has {} itself", before.last)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{found, server};
    use super::*;
    use crate::{Incarnation, NodeId};

    #[test]
    fn a_vote_for_a_poorer_log_and_one_that_nobody_asked_for_are_found() {
        let mut oracle = ElectionRestriction::default();
        let candidate = |id, disk| ServerId { id: NodeId(id), incarnation: Incarnation(disk) };
        oracle.asks(candidate(2, 2), Term(3), EntryId::new(2, 4));
        oracle.asks(candidate(2, 9), Term(3), EntryId::ZERO);
        oracle.asks(candidate(3, 3), Term(3), EntryId::new(1, 9));
        let voter = Seen { last: EntryId::new(2, 4), ..server().seen };
        let votes = |id, disk, term| found(oracle.votes(&voter, candidate(id, disk), Term(term)));
        assert_eq!(votes(2, 2, 3), None);
        let broken = Some(Invariant::ElectionRestriction);
        assert_eq!(votes(2, 9, 3), broken, "its other disk had such a log");
        assert_eq!((votes(3, 3, 3), votes(2, 2, 4), votes(4, 4, 3)), (broken, broken, broken));
    }
}
