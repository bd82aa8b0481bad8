//! A server gives one vote per term (§5.2), whatever happens to it meanwhile: heard where it says so to others.

use std::collections::BTreeMap;

use raft_std_driver::raft_core::{NodeId, Term};

pub(crate) const HEARD: &str = "vote granted to another";

#[derive(Default)]
pub(crate) struct Votes(BTreeMap<(Term, usize), NodeId>);

impl Votes {
    pub(crate) fn votes(&mut self, voter: usize, term: Term, candidate: NodeId) -> Result<(), String> {
        let first = *self.0.entry((term, voter)).or_insert(candidate);
        if first == candidate {
            return Ok(());
        }
        Err(format!("votes: s{} votes for {first} and for {candidate} in term {term}", voter + 1))
    }
}
