//! Each server votes for at most one candidate in a given term (§5.2), whatever it forgets in a crash. Seen from outside:
//! in the grants that it sends, in its own candidacy, and in its leadership, which took its own vote. A server is its name
//! and its disk: who has lost all that it promised may vote again, and does not count.

use std::collections::BTreeMap;
use std::format;

use crate::sim::violation::{Invariant, Verdict, ensure};
use crate::{ServerId, Term};

#[derive(Default)]
pub(crate) struct SingleVote {
    /// For each term, whom each server voted for.
    votes: BTreeMap<(Term, ServerId), ServerId>,
}

impl SingleVote {
    /// `voter` has shown that its vote in `term` is for `candidate`.
    pub(crate) fn votes(&mut self, voter: ServerId, term: Term, candidate: ServerId) -> Verdict {
        let earlier = *self.votes.entry((term, voter)).or_insert(candidate);
        ensure(earlier == candidate, Invariant::SingleVote, || {
            format!("voted for {earlier} and for {candidate} in term {term}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::found;
    use super::*;
    use crate::{Incarnation, NodeId};

    #[test]
    fn a_second_vote_in_a_term_is_found_whatever_was_forgotten() {
        let mut oracle = SingleVote::default();
        let server = |(id, disk)| ServerId { id: NodeId(id), incarnation: Incarnation(disk) };
        let mut votes = |voter, term, candidate| found(oracle.votes(server(voter), Term(term), server(candidate)));
        assert_eq!(votes((1, 1), 2, (1, 1)), None);
        assert_eq!(votes((1, 1), 2, (1, 1)), None, "shown again");
        assert_eq!(votes((2, 2), 2, (3, 3)), None, "another server");
        assert_eq!(votes((1, 1), 3, (3, 3)), None, "another term");
        assert_eq!(votes((1, 9), 2, (3, 3)), None, "another disk, which knows of no vote");
        let broken = Some(Invariant::SingleVote);
        assert_eq!(votes((1, 1), 2, (3, 3)), broken);
        assert_eq!(votes((1, 9), 2, (1, 1)), broken, "the other disk has voted too");
        assert_eq!(votes((2, 2), 2, (3, 9)), broken, "two disks of one name are two candidates");
    }
}
