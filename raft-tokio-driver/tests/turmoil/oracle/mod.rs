//! What must never be: one file per invariant. They look at the cluster from outside.

pub(crate) mod commits;
pub(crate) mod history;
pub(crate) mod leaders;
pub(crate) mod logs;
pub(crate) mod order;
pub(crate) mod outcomes;
pub(crate) mod promises;
pub(crate) mod votes;

#[cfg(test)]
mod tests;

use self::outcomes::Known;

pub(crate) struct Oracles {
    pub(crate) leaders: leaders::Leaders,
    pub(crate) commits: commits::Commits,
    pub(crate) history: history::History,
    pub(crate) logs: logs::Logs,
    order: order::Order,
    outcomes: outcomes::Outcomes,
    pub(crate) promises: promises::Promises,
    pub(crate) votes: votes::Votes,
}

impl Oracles {
    pub(crate) fn new(hosts: usize) -> Oracles {
        Oracles {
            leaders: leaders::Leaders::default(),
            commits: commits::Commits::new(hosts),
            history: history::History::new(hosts),
            logs: logs::Logs::new(hosts),
            order: order::Order::default(),
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

    /// A client starts a new command: its number.
    pub(crate) fn start(&mut self) -> u64 {
        self.order.starts();
        self.outcomes.start()
    }

    /// A client hears what became of its command.
    pub(crate) fn heard(&mut self, command: u64, known: Known) -> Result<(), String> {
        let mut there = None;
        if let Known::Applied(index) = known {
            self.order.acknowledged(index);
            there = self.history.command_at(index);
        }
        self.outcomes.heard(command, known, there)
    }

    /// A machine has applied a command at an index.
    pub(crate) fn applied(&mut self, host: usize, index: u64, command: u64) -> Result<(), String> {
        self.order.applied(host, index, command)?;
        if self.history.applied(host, index, command)? {
            self.outcomes.committed(index, command)?;
        }
        Ok(())
    }

    /// The run is over: every server's machine holds the same, and what clients were told is true of it.
    pub(crate) fn finish(&self, machines: &[Vec<(u64, u64)>]) -> Result<(), String> {
        self.outcomes.finish(machines)?;
        (0..).zip(machines).try_for_each(|(host, machine)| self.history.finish(host, machine))
    }
}
