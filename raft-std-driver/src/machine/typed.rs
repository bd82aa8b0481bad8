//! A state machine of one's own types, instead of bytes: commands, answers and snapshots are written by postcard.

use std::io;

use raft_core::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Command, SnapshotWriter, StateMachine};

/// A replicated state that fits in memory, and what its commands do. All servers must run the same code on it: what a
/// command means may only be changed for commands that are not in any log.
pub trait Application: Clone + Serialize + DeserializeOwned + Send + 'static {
    /// What clients want. New variants of an enum go to its end, and only when all servers know them.
    type Command: Serialize + DeserializeOwned;
    /// What they are answered.
    type Response: Serialize + DeserializeOwned;

    /// Apply one committed command. The same command on the same state must do the same on every server: no clock, no
    /// random numbers, no order of a hash map.
    fn apply(&mut self, command: Self::Command) -> Self::Response;
}

/// The [`StateMachine`] of an [`Application`]. A snapshot clones the state, and writes the clone while the log goes on; a
/// state that is expensive to clone is better kept behind an `Arc`, or in a [`StateMachine`] of its own.
///
/// A command that this server cannot read, because it comes from a newer one, stops it, for to pass over what others apply
/// would be worse.
#[derive(Clone, Debug, Default)]
pub struct Typed<A>(pub A);

/// Bytes and type do not fit together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CodecError(String);

/// Write a command or an answer.
///
/// # Errors
/// If its `Serialize` fails, or wants what postcard cannot do, such as sequences of unknown length.
pub fn encode(value: &impl Serialize) -> Result<Bytes, CodecError> {
    postcard::to_allocvec(value).map(Bytes::from).map_err(|error| CodecError(error.to_string()))
}

/// Read it back.
///
/// # Errors
/// If these are not exactly the bytes of a `T`.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(CodecError(format!("{} bytes are left over", rest.len()))),
        Err(error) => Err(CodecError(error.to_string())),
    }
}

impl<A: Application> StateMachine for Typed<A> {
    fn apply(&mut self, commands: &[Command<'_>], answers: &mut Vec<Bytes>) -> io::Result<()> {
        for Command { index, bytes } in commands {
            let unreadable = |error| io::Error::other(format!("the command at {index} cannot be read here: {error}"));
            let response = self.0.apply(decode(bytes).map_err(unreadable)?);
            answers.push(encode(&response).map_err(io::Error::other)?);
        }
        Ok(())
    }

    fn snapshot(&mut self) -> SnapshotWriter {
        let frozen = self.0.clone();
        Box::new(move |out| out.write_all(&encode(&frozen).map_err(io::Error::other)?))
    }

    fn restore(&mut self, data: &mut dyn io::Read) -> io::Result<()> {
        let mut bytes = Vec::new();
        data.read_to_end(&mut bytes)?;
        self.0 = decode(&bytes).map_err(io::Error::other)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use raft_core::Index;
    use serde::Deserialize;

    use super::*;

    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    struct Words(Vec<String>);

    impl Application for Words {
        type Command = String;
        type Response = usize;

        fn apply(&mut self, word: String) -> usize {
            self.0.push(word);
            self.0.len()
        }
    }

    fn apply(machine: &mut Typed<Words>, commands: &[Bytes]) -> io::Result<Vec<usize>> {
        let commands: Vec<_> =
            commands.iter().zip(7..).map(|(bytes, index)| Command { index: Index(index), bytes }).collect();
        let mut answers = Vec::new();
        machine.apply(&commands, &mut answers)?;
        Ok(answers.iter().map(|answer| decode(answer).unwrap()).collect())
    }

    #[test]
    fn commands_answers_and_snapshots_come_back() {
        let mut machine = Typed(Words::default());
        let words = ["a", "bc"].map(|word| encode(&word).unwrap());
        assert_eq!(apply(&mut machine, &words).unwrap(), [1, 2]);
        let frozen = machine.snapshot();
        apply(&mut machine, &words).unwrap();
        let mut data = Vec::new();
        frozen(&mut data).unwrap();
        let mut other = Typed(Words(vec!["old".into()]));
        other.restore(&mut &data[..]).unwrap();
        assert_eq!(other.0, Words(vec!["a".into(), "bc".into()]));
        data.push(0);
        assert!(other.restore(&mut &data[..]).is_err());
    }

    #[test]
    fn a_command_that_cannot_be_read_is_an_error_that_says_where() {
        let mut machine = Typed(Words::default());
        let commands = [encode(&"a").unwrap(), Bytes::from_static(&[9, 1])];
        let error = apply(&mut machine, &commands).unwrap_err().to_string();
        assert!(error.starts_with("the command at 8 cannot be read here: "), "{error}");
    }
}
