//! Within a life, neither what is committed nor what is applied ever goes back, and nothing is applied before it is
//! committed.

use raft_std_driver::raft_core::Index;

pub(crate) struct Commits(Vec<(Index, Index)>);

impl Commits {
    pub(crate) fn new(hosts: usize) -> Commits {
        Commits(vec![(Index(0), Index(0)); hosts])
    }

    pub(crate) fn starts(&mut self, host: usize) {
        self.0[host] = (Index(0), Index(0));
    }

    pub(crate) fn stands(&mut self, host: usize, commit: Index, applied: Index) -> Result<(), String> {
        let before = std::mem::replace(&mut self.0[host], (commit, applied));
        if commit >= before.0 && applied >= before.1 && applied <= commit {
            return Ok(());
        }
        let (was, now) = (format!("{before:?}"), (commit, applied));
        Err(format!("commits: s{} had committed and applied {was}, and now {now:?}", host + 1))
    }
}
