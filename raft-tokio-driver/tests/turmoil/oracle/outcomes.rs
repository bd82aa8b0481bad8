//! Each command has one outcome, and it is true (§8): what was acknowledged is in the history, what was refused or
//! superseded never is, and nothing is there twice.

use std::collections::{BTreeMap, BTreeSet};

use raft_tokio_driver::StartError;

pub(crate) const APPLIED: &str = "command applied";
pub(crate) const REFUSED: &str = "command refused";
pub(crate) const SUPERSEDED: &str = "command superseded";
pub(crate) const UNKNOWN: &str = "command with unknown outcome";
pub(crate) const GIVEN_UP: &str = "command given up by its caller";

/// What a client knows of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// It waits to hear.
    Nothing,
    /// Acknowledged, at this index.
    Applied(u64),
    Refused,
    Superseded,
    Unknown,
    /// It has stopped waiting.
    GivenUp,
}

impl Known {
    pub(crate) fn from_error(why: &StartError) -> Known {
        match why {
            StartError::Unknown => Known::Unknown,
            StartError::Superseded => Known::Superseded,
            _ => Known::Refused,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Known::Nothing => "command started",
            Known::Applied(_) => APPLIED,
            Known::Refused => REFUSED,
            Known::Superseded => SUPERSEDED,
            Known::Unknown => UNKNOWN,
            Known::GivenUp => GIVEN_UP,
        }
    }

    fn has_no_effect(self) -> bool {
        matches!(self, Known::Refused | Known::Superseded)
    }
}

#[derive(Default)]
pub(crate) struct Outcomes {
    known: Vec<Known>,
    committed: BTreeSet<u64>,
}

impl Outcomes {
    /// A client makes a new command: its number.
    pub(crate) fn start(&mut self) -> u64 {
        self.known.push(Known::Nothing);
        self.known.len() as u64 - 1
    }

    fn known(&mut self, command: u64) -> Option<&mut Known> {
        self.known.get_mut(usize::try_from(command).ok()?)
    }

    /// A client hears of its command; `there` is what the history has at the index that it was told, if it was.
    pub(crate) fn heard(&mut self, command: u64, outcome: Known, there: Option<u64>) -> Result<(), String> {
        let committed = self.committed.contains(&command);
        let Some(known) = self.known(command) else { return Err(format!("outcomes: nobody started {command}")) };
        let before = std::mem::replace(known, outcome);
        if before != Known::Nothing {
            return Err(format!("outcomes: command {command} has two: {before:?} and {outcome:?}"));
        }
        if matches!(outcome, Known::Applied(_)) && there != Some(command) {
            return Err(format!("outcomes: command {command} is said to be {outcome:?}, but {there:?} is there"));
        }
        if outcome.has_no_effect() && committed {
            return Err(format!("outcomes: command {command} is in the history, and said to be {outcome:?}"));
        }
        Ok(())
    }

    /// A command has come into the history.
    pub(crate) fn committed(&mut self, index: u64, command: u64) -> Result<(), String> {
        if !self.committed.insert(command) {
            return Err(format!("outcomes: command {command} is in the history again, at {index}"));
        }
        match self.known(command) {
            Some(known) if !known.has_no_effect() => Ok(()),
            known => Err(format!("outcomes: command {command} at {index} is in the history, but {known:?}")),
        }
    }

    /// The run is over, and the servers' machines hold this: each of them all that was acknowledged, where it was said to
    /// be, and nothing that was said to have had no effect.
    pub(crate) fn finish(&self, machines: &[Vec<(u64, u64)>]) -> Result<(), String> {
        let nowhere = |known: &Known| matches!(known, Known::Nothing);
        if let Some(command) = self.known.iter().position(nowhere) {
            return Err(format!("outcomes: command {command} has none"));
        }
        for (machine, who) in machines.iter().zip(1..) {
            let there: BTreeMap<u64, u64> = machine.iter().copied().collect();
            let commands: BTreeSet<u64> = there.values().copied().collect();
            for (command, known) in (0..).zip(&self.known) {
                match known {
                    Known::Applied(index) if there.get(index) != Some(&command) => {
                        let found = there.get(index);
                        let lost = format!("acknowledged command {command} at {index} is lost");
                        return Err(format!("outcomes: {lost}: there s{who} has {found:?}"));
                    }
                    known if known.has_no_effect() && commands.contains(&command) => {
                        return Err(format!("outcomes: command {command} is {known:?}, and s{who} has it"));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}
