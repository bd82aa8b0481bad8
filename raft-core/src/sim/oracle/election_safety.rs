//! Election Safety (§5.2, Figure 3): at most one leader can be elected in a given term. Seen in two ways: who stands as
//! leader, and who sends AppendEntries. Two disks of one name are two servers.

use std::format;
use std::vec::Vec;

use crate::sim::violation::{Invariant, Verdict, ensure};
use crate::{ServerId, Term};

#[derive(Default)]
pub(crate) struct ElectionSafety {
    /// The leader of each term.
    leaders: Vec<Option<ServerId>>,
}

impl ElectionSafety {
    /// `server` acts as the leader of `term`.
    pub(crate) fn leads(&mut self, server: ServerId, term: Term) -> Verdict {
        let place = usize::try_from(term.0).unwrap_or(usize::MAX);
        if self.leaders.len() <= place {
            self.leaders.resize(place + 1, None);
        }
        let leader = *self.leaders[place].get_or_insert(server);
        ensure(leader == server, Invariant::ElectionSafety, || {
            format!("servers {leader} and {server} both lead in term {term}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::found;
    use super::*;
    use crate::{Incarnation, NodeId};

    #[test]
    fn a_second_leader_of_a_term_is_found() {
        let mut oracle = ElectionSafety::default();
        let mut leads = |id, disk, term| {
            found(oracle.leads(ServerId { id: NodeId(id), incarnation: Incarnation(disk) }, Term(term)))
        };
        assert_eq!(leads(1, 1, 2), None);
        assert_eq!(leads(1, 1, 2), None, "seen again");
        assert_eq!(leads(2, 2, 3), None, "another term");
        assert_eq!(leads(2, 2, 2), Some(Invariant::ElectionSafety));
        assert_eq!(leads(1, 9, 2), Some(Invariant::ElectionSafety), "another disk of the same name");
    }
}
