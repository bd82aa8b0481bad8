//! The replicated state: which command was applied at which index. The oracles hear of everything.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use raft_std_driver::machine::{Command, SnapshotWriter, StateMachine};
use raft_std_driver::raft_core::Bytes;

use crate::lab::Lab;
use crate::oracle::outcomes::Known;

/// What a machine holds: commands by their indexes, in the order in which they were applied.
#[derive(Clone, Default)]
pub(crate) struct Applied(Arc<Mutex<Vec<(u64, u64)>>>);

impl Applied {
    pub(crate) fn now(&self) -> MutexGuard<'_, Vec<(u64, u64)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) struct Machine {
    lab: Lab,
    host: usize,
    applied: Applied,
}

impl Machine {
    /// The machine of this host's new life; the lab can look into it.
    pub(crate) fn new(lab: &Lab, host: usize) -> Machine {
        let applied = Applied::default();
        lab.state().machines[host] = applied.clone();
        Machine { lab: lab.clone(), host, applied }
    }
}

/// A command is its number, and some bytes that only take room.
pub(crate) fn command(number: u64, padding: usize) -> Bytes {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.resize(8 + padding, 0xAA);
    bytes.into()
}

/// What an answer says.
pub(crate) fn outcome(answer: &Bytes) -> Known {
    answer[..].try_into().map_or(Known::Nothing, |bytes| Known::Applied(u64::from_le_bytes(bytes)))
}

fn number(bytes: &[u8]) -> io::Result<u64> {
    let bytes = bytes.get(..8).and_then(|bytes| bytes.try_into().ok());
    bytes.map(u64::from_le_bytes).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

impl StateMachine for Machine {
    fn apply(&mut self, commands: &[Command<'_>], answers: &mut Vec<Bytes>) -> io::Result<()> {
        for Command { index, bytes } in commands {
            let command = number(bytes)?;
            self.applied.now().push((index.0, command));
            answers.push(index.0.to_le_bytes().to_vec().into());
            self.lab.say(format_args!("s{}", self.host + 1), format_args!("applies {command} at {index}"));
            self.lab.judge(|oracles| oracles.applied(self.host, index.0, command));
        }
        Ok(())
    }

    fn snapshot(&mut self) -> SnapshotWriter {
        let applied = self.applied.now().clone();
        Box::new(move |out| {
            applied.iter().try_for_each(|(index, command)| {
                out.write_all(&index.to_le_bytes())?;
                out.write_all(&command.to_le_bytes())
            })
        })
    }

    fn restore(&mut self, data: &mut dyn io::Read) -> io::Result<()> {
        let mut bytes = Vec::new();
        data.read_to_end(&mut bytes)?;
        let pair = |pair: &[u8]| Ok((number(pair)?, number(pair.get(8..).unwrap_or_default())?));
        let state = bytes.chunks(16).map(pair).collect::<io::Result<Vec<_>>>()?;
        self.lab.say(format_args!("s{}", self.host + 1), format_args!("restores {} commands", state.len()));
        self.lab.judge(|oracles| oracles.history.restored(self.host, &state));
        *self.applied.now() = state;
        Ok(())
    }
}
