//! Election Safety (§5.2): at most one leader in each term.

use std::collections::BTreeMap;

use raft_std_driver::raft_core::Term;

#[derive(Default)]
pub(crate) struct Leaders(BTreeMap<Term, usize>);

impl Leaders {
    pub(crate) fn leads(&mut self, host: usize, term: Term) -> Result<(), String> {
        let first = *self.0.entry(term).or_insert(host);
        if first == host {
            return Ok(());
        }
        Err(format!("election safety: s{} and s{} both lead in term {term}", first + 1, host + 1))
    }
}
