//! Majorities, of one set of voters or of two at once (joint consensus, §6): pure arithmetic, nothing else.

use smallvec::SmallVec;

use crate::types::{Index, NodeId};

/// The voters whose agreement counts: one set, or while a joint configuration is in force two, each of which must
/// agree by its own majority.
#[derive(Clone, Copy, Debug)]
pub struct Voters<'a> {
    /// The voters of the configuration; of the new one, while it is joint.
    pub incoming: &'a [NodeId],
    /// The voters of the old configuration while it is joint, else empty.
    pub outgoing: &'a [NodeId],
}

/// How an election stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tally {
    /// A quorum said yes.
    Won,
    /// A quorum can no longer say yes.
    Lost,
    /// Not decided.
    Open,
}

/// How many of `voters` make a majority.
#[must_use]
pub const fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

impl Voters<'_> {
    /// The largest index that a quorum has reached, where `reached` says how far each voter got. Without any voter,
    /// nothing is reached.
    #[must_use]
    pub fn reached(self, reached: impl Fn(NodeId) -> Index) -> Index {
        let incoming = reached_by_majority(self.incoming, &reached);
        if self.outgoing.is_empty() { incoming } else { incoming.min(reached_by_majority(self.outgoing, &reached)) }
    }

    /// How the votes stand, where `vote` is a voter's answer, if there is one. Without any voter, it is lost.
    #[must_use]
    pub fn tally(self, vote: impl Fn(NodeId) -> Option<bool>) -> Tally {
        let incoming = tally_of(self.incoming, &vote);
        let outgoing = if self.outgoing.is_empty() { Tally::Won } else { tally_of(self.outgoing, &vote) };
        match (incoming, outgoing) {
            (Tally::Won, Tally::Won) => Tally::Won,
            (Tally::Lost, _) | (_, Tally::Lost) => Tally::Lost,
            _ => Tally::Open,
        }
    }
}

#[inline(always)]
fn reached_by_majority(voters: &[NodeId], reached: &impl Fn(NodeId) -> Index) -> Index {
    if let [a, b, c] = *voters {
        // The usual number: the middle one needs no sorting.
        let (a, b, c) = (reached(a), reached(b), reached(c));
        return a.min(b).max(a.max(b).min(c));
    }
    let mut indexes: SmallVec<[Index; 8]> = voters.iter().map(|&id| reached(id)).collect();
    indexes.sort_unstable_by(|a, b| b.cmp(a));
    indexes.get(majority(voters.len()) - 1).copied().unwrap_or_default()
}

fn tally_of(voters: &[NodeId], vote: &impl Fn(NodeId) -> Option<bool>) -> Tally {
    let (mut yes, mut open) = (0, 0);
    for &id in voters {
        match vote(id) {
            Some(true) => yes += 1,
            Some(false) => {}
            None => open += 1,
        }
    }
    let needed = majority(voters.len());
    if yes >= needed {
        Tally::Won
    } else if yes + open < needed {
        Tally::Lost
    } else {
        Tally::Open
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use quickcheck::quickcheck;

    use super::*;

    /// The definition, said slowly: the largest value that more than half have reached.
    fn naive_reached(values: &[u8]) -> u64 {
        (0..=255u64)
            .rev()
            .find(|v| values.iter().filter(|&&x| u64::from(x) >= *v).count() * 2 > values.len())
            .unwrap_or(0)
    }

    fn ids(from: usize, count: usize) -> Vec<NodeId> {
        (from..from + count).map(|i| NodeId(i as u64)).collect()
    }

    quickcheck! {
        fn quorum_vs_bruteforce(incoming: Vec<u8>, outgoing: Vec<u8>) -> bool {
            let (left, right) = (ids(0, incoming.len()), ids(incoming.len(), outgoing.len()));
            let all: Vec<u8> = incoming.iter().chain(&outgoing).copied().collect();
            let voters = Voters { incoming: &left, outgoing: &right };
            let mut expected = naive_reached(&incoming);
            if !outgoing.is_empty() {
                expected = expected.min(naive_reached(&outgoing));
            }
            voters.reached(|id| Index(u64::from(all[usize::try_from(id.0).unwrap()]))) == Index(expected)
        }

        fn tally_vs_bruteforce(incoming: Vec<Option<bool>>, outgoing: Vec<Option<bool>>) -> bool {
            let (left, right) = (ids(0, incoming.len()), ids(incoming.len(), outgoing.len()));
            let all: Vec<Option<bool>> = incoming.iter().chain(&outgoing).copied().collect();
            let wins = |votes: &[Option<bool>], open: bool| {
                votes.iter().filter(|vote| vote.unwrap_or(open)).count() * 2 > votes.len()
            };
            let both = |open| wins(&incoming, open) && (outgoing.is_empty() || wins(&outgoing, open));
            let expected = if both(false) { Tally::Won } else if both(true) { Tally::Open } else { Tally::Lost };
            let voters = Voters { incoming: &left, outgoing: &right };
            voters.tally(|id| all[usize::try_from(id.0).unwrap()]) == expected
        }
    }

    #[test]
    fn nobody_agrees_without_voters() {
        let none = Voters { incoming: &[], outgoing: &[] };
        assert_eq!(none.tally(|_| Some(true)), Tally::Lost);
        assert_eq!(none.reached(|_| Index(9)), Index(0));
    }
}
