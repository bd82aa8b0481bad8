//! What must never be.

use std::collections::{BTreeMap, BTreeSet};

/// What a client was told of its command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Applied(u64),
    /// It never took effect, and never will.
    Never,
    Unknown,
}

#[derive(Default)]
pub(crate) struct Oracles {
    /// What was applied at each index, by whoever came there first.
    log: BTreeMap<u64, u64>,
    commands: BTreeSet<u64>,
    told: BTreeMap<u64, Told>,
    leaders: BTreeMap<u64, usize>,
    last_command: u64,
    /// The last index that was acknowledged to anyone.
    acknowledged: u64,
    /// The first thing that must not be.
    pub(crate) violation: Option<String>,
}

impl Oracles {
    fn must(&mut self, holds: bool, why: impl FnOnce() -> String) {
        if !holds && self.violation.is_none() {
            self.violation = Some(why());
        }
    }

    pub(crate) fn next_command(&mut self) -> u64 {
        self.last_command += 1;
        self.last_command
    }

    /// A machine applies a command after another one.
    pub(crate) fn applied(&mut self, host: usize, before: u64, index: u64, command: u64) {
        self.must(before < index, || format!("server {host} applies {index} after {before}"));
        let there = *self.log.entry(index).or_insert(command);
        self.must(there == command, || {
            format!("server {host} applies {command} at {index}, where {there} was applied")
        });
        let twice = there == command
            && !self.commands.insert(command)
            && self.log.iter().any(|(at, of)| *of == command && *at != index);
        self.must(!twice, || format!("{command} is applied at two indexes"));
        let told = self.told.get(&command).copied();
        self.must(told != Some(Told::Never), || {
            format!("{command} is applied at {index}, and its client was told that it never will be")
        });
    }

    /// A client hears of its command.
    pub(crate) fn heard(&mut self, command: u64, told: Told) {
        let before = self.told.insert(command, told);
        self.must(before.is_none(), || format!("{command} has two outcomes: {before:?} and {told:?}"));
        match told {
            Told::Applied(index) => {
                let there = self.log.get(&index).copied();
                self.must(there == Some(command), || {
                    format!("{command} is acknowledged at {index}, where {there:?} was applied")
                });
                self.acknowledged = self.acknowledged.max(index);
            }
            Told::Never => {
                let applied = self.commands.contains(&command);
                self.must(!applied, || format!("{command} was applied, and its client is told that it never will be"));
            }
            Told::Unknown => {}
        }
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// A read has been served by a machine that had applied all through here.
    pub(crate) fn read(&mut self, host: usize, acknowledged_before: u64, applied: u64) {
        self.must(applied >= acknowledged_before, || {
            format!("a read of server {host} saw the state at {applied}; {acknowledged_before} had been acknowledged")
        });
    }

    pub(crate) fn leads(&mut self, host: usize, term: u64) {
        let first = *self.leaders.entry(term).or_insert(host);
        self.must(first == host, || format!("servers {first} and {host} lead in term {term}"));
    }

    /// The faults are over, and everyone has caught up.
    pub(crate) fn finish(&mut self, states: &[(usize, Vec<(u64, u64)>)]) {
        let log: Vec<(u64, u64)> = self.log.iter().map(|(index, command)| (*index, *command)).collect();
        for (host, state) in states {
            let same = *state == log;
            let (has, all) = (state.len(), log.len());
            self.must(same, || {
                format!("server {host} ends with {has} commands that are not the {all} that were applied")
            });
        }
    }

    pub(crate) fn last_applied(&self) -> u64 {
        self.log.last_key_value().map_or(0, |(index, _)| *index)
    }
}
