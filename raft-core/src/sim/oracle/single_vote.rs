//! Each server votes for at most one candidate in a given term (§5.2), whatever it forgets in a crash. Seen from outside:
//! in the grants that it sends, in its own candidacy, and in its leadership, which took its own vote.

use std::format;
use std::vec::Vec;

use crate::sim::network::SERVERS_MAX;
use crate::sim::violation::{Invariant, Verdict, ensure};
use crate::{NodeId, Term};

#[derive(Default)]
pub(crate) struct SingleVote {
    /// For each term, whom each server voted for.
    votes: Vec<[Option<NodeId>; SERVERS_MAX]>,
}

impl SingleVote {
    /// The server in `slot` has shown that its vote in `term` is for `candidate`.
    pub(crate) fn votes(&mut self, slot: usize, term: Term, candidate: NodeId) -> Verdict {
        let place = usize::try_from(term.0).unwrap_or(usize::MAX);
        if self.votes.len() <= place {
            self.votes.resize(place + 1, [None; SERVERS_MAX]);
        }
        let earlier = *self.votes[place][slot].get_or_insert(candidate);
        ensure(earlier == candidate, Invariant::SingleVote, || {
            format!("voted for {earlier} and for {candidate} in term {term}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::found;
    use super::*;

    #[test]
    fn a_second_vote_in_a_term_is_found_whatever_was_forgotten() {
        let mut oracle = SingleVote::default();
        let mut votes = |slot, term, candidate| found(oracle.votes(slot, Term(term), NodeId(candidate)));
        assert_eq!(votes(0, 2, 1), None);
        assert_eq!(votes(0, 2, 1), None, "shown again");
        assert_eq!(votes(1, 2, 3), None, "another server");
        assert_eq!(votes(0, 3, 3), None, "another term");
        assert_eq!(votes(0, 2, 3), Some(Invariant::SingleVote));
    }
}
