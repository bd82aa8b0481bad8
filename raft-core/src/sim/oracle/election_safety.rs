//! Election Safety (§5.2, Figure 3): at most one leader can be elected in a given term. Seen in two ways: who stands as
//! leader, and who sends AppendEntries.

use std::format;
use std::vec::Vec;

use crate::sim::violation::{Invariant, Verdict, ensure};
use crate::{NodeId, Term};

#[derive(Default)]
pub(crate) struct ElectionSafety {
    /// The leader of each term.
    leaders: Vec<Option<NodeId>>,
}

impl ElectionSafety {
    /// `server` acts as the leader of `term`.
    pub(crate) fn leads(&mut self, server: NodeId, term: Term) -> Verdict {
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
