//! What must never be: one file per invariant. They look at the cluster from outside.

pub(crate) mod commits;
pub(crate) mod history;
pub(crate) mod leaders;
pub(crate) mod outcomes;
pub(crate) mod promises;
pub(crate) mod votes;

pub(crate) struct Oracles {
    pub(crate) leaders: leaders::Leaders,
    pub(crate) commits: commits::Commits,
    pub(crate) history: history::History,
    pub(crate) outcomes: outcomes::Outcomes,
    pub(crate) promises: promises::Promises,
    pub(crate) votes: votes::Votes,
}

impl Oracles {
    pub(crate) fn new(hosts: usize) -> Oracles {
        Oracles {
            leaders: leaders::Leaders::default(),
            commits: commits::Commits::new(hosts),
            history: history::History::new(hosts),
            outcomes: outcomes::Outcomes::default(),
            promises: promises::Promises::new(hosts),
            votes: votes::Votes::default(),
        }
    }

    /// A server begins a life: with an empty machine, which knows of nothing committed.
    pub(crate) fn starts(&mut self, host: usize) {
        self.commits.starts(host);
        self.history.starts(host);
    }

    /// A machine has applied a command at an index.
    pub(crate) fn applied(&mut self, host: usize, index: u64, command: u64) -> Result<(), String> {
        if self.history.applied(host, index, command)? {
            self.outcomes.committed(index, command)?;
        }
        Ok(())
    }
}
