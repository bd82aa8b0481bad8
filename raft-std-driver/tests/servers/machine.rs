//! The replicated state: which command was applied at which index.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use raft_std_driver::machine::{Command, SnapshotWriter, StateMachine};
use raft_std_driver::raft_core::Bytes;

use crate::oracle::Oracles;

/// Looked at from several places, all of one thread.
#[derive(Default)]
pub(crate) struct Shared<T>(Arc<Mutex<T>>);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Shared(Arc::clone(&self.0))
    }
}

impl<T> Shared<T> {
    pub(crate) fn look(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Commands by their indexes, in the order in which they were applied.
pub(crate) type State = Shared<Vec<(u64, u64)>>;

pub(crate) struct Machine {
    pub(crate) host: usize,
    pub(crate) state: State,
    pub(crate) oracles: Shared<Oracles>,
}

/// A command is its number, and some bytes that only take room.
pub(crate) fn command(number: u64, padding: usize) -> Bytes {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.resize(8 + padding, 0xAA);
    bytes.into()
}

/// The index at which a command was applied.
pub(crate) fn index_of(answer: &Bytes) -> u64 {
    number(answer).unwrap()
}

fn number(bytes: &[u8]) -> io::Result<u64> {
    let bytes = bytes.get(..8).and_then(|bytes| bytes.try_into().ok());
    bytes.map(u64::from_le_bytes).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

impl StateMachine for Machine {
    fn apply(&mut self, commands: &[Command<'_>], answers: &mut Vec<Bytes>) -> io::Result<()> {
        for Command { index, bytes } in commands {
            let command = number(bytes)?;
            let before = self.state.look().last().map_or(0, |(index, _)| *index);
            self.oracles.look().applied(self.host, before, index.0, command);
            self.state.look().push((index.0, command));
            answers.push(index.0.to_le_bytes().to_vec().into());
        }
        Ok(())
    }

    fn snapshot(&mut self) -> SnapshotWriter {
        let state = self.state.look().clone();
        Box::new(move |out| {
            state.iter().try_for_each(|(index, command)| {
                out.write_all(&index.to_le_bytes())?;
                out.write_all(&command.to_le_bytes())
            })
        })
    }

    fn restore(&mut self, data: &mut dyn io::Read) -> io::Result<()> {
        let mut bytes = Vec::new();
        data.read_to_end(&mut bytes)?;
        let pair = |pair: &[u8]| Ok((number(pair)?, number(pair.get(8..).unwrap_or_default())?));
        *self.state.look() = bytes.chunks(16).map(pair).collect::<io::Result<Vec<_>>>()?;
        Ok(())
    }
}
