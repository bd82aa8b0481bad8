//! State Machine Safety (§5.4.3): all servers apply the same commands at the same indexes, each once per life and without
//! leaving one out, from the beginning or from where a snapshot ends. So what each has applied is always a prefix of the one
//! history, and nothing that anyone has applied is ever lost.

use std::collections::BTreeMap;

pub(crate) struct History {
    /// What was applied first at each index, by whomever.
    commands: BTreeMap<u64, u64>,
    /// The last index that each server's machine has applied in this life.
    last: Vec<u64>,
}

impl History {
    pub(crate) fn new(hosts: usize) -> History {
        History { commands: BTreeMap::new(), last: vec![0; hosts] }
    }

    pub(crate) fn starts(&mut self, host: usize) {
        self.last[host] = 0;
    }

    pub(crate) fn command_at(&self, index: u64) -> Option<u64> {
        self.commands.get(&index).copied()
    }

    fn end(&self) -> u64 {
        self.commands.last_key_value().map_or(0, |(index, _)| *index)
    }

    /// Whether this server has applied all that anyone has.
    pub(crate) fn is_whole(&self, host: usize) -> bool {
        self.last[host] == self.end()
    }

    /// Says whether it is the first to apply it.
    pub(crate) fn applied(&mut self, host: usize, index: u64, command: u64) -> Result<bool, String> {
        let who = host + 1;
        let last = std::mem::replace(&mut self.last[host], index);
        if index <= last {
            return Err(format!("history: s{who} applies index {index} behind {last}"));
        }
        if let Some((left_out, what)) = self.commands.range(last + 1..index).next() {
            return Err(format!("history: s{who} applies index {index} without command {what} at {left_out}"));
        }
        match self.command_at(index) {
            Some(same) if same == command => Ok(false),
            Some(other) => Err(format!("history: s{who} applies command {command} at {index}, others {other}")),
            None if index < self.end() => Err(format!("history: s{who} alone applies {command} at {index}")),
            None => {
                self.commands.insert(index, command);
                Ok(true)
            }
        }
    }

    /// The run is over, and a server's machine holds this: the whole history and nothing else.
    pub(crate) fn finish(&self, host: usize, machine: &[(u64, u64)]) -> Result<(), String> {
        if self.commands.iter().map(|(index, command)| (*index, *command)).eq(machine.iter().copied()) {
            return Ok(());
        }
        let history = &self.commands;
        let extra = machine.iter().find(|(index, command)| history.get(index) != Some(command));
        let missing = history.iter().find(|(index, _)| machine.binary_search_by_key(*index, |(at, _)| *at).is_err());
        let (who, count) = (host + 1, history.len());
        Err(format!(
            "history: at the end s{who} is not the same: of {count} it lacks {missing:?}, and it has {extra:?}"
        ))
    }

    /// A server's machine was replaced by what a snapshot holds.
    pub(crate) fn restored(&mut self, host: usize, state: &[(u64, u64)]) -> Result<(), String> {
        let last = state.last().map_or(0, |(index, _)| *index);
        let same = self.commands.range(..=last).map(|(index, command)| (*index, *command)).eq(state.iter().copied());
        let before = std::mem::replace(&mut self.last[host], last);
        if last < before || !same {
            return Err(format!("history: s{} restores a snapshot through {last} over {before}: {state:?}", host + 1));
        }
        Ok(())
    }
}
