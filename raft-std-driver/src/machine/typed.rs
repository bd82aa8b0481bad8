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
/// would be worse. Types that postcard writes but cannot read (`#[serde(untagged)]`, `#[serde(flatten)]`, values of any
/// type such as JSON's) must do no such harm: a snapshot is read back before it takes the log's place, and commands are to
/// be written by [`encode_readable`]. An answer that cannot be written is lost, which the log tells.
///
/// Should a command that nobody can read be in the log all the same, put there as bytes or by another program, then every
/// server stops at it, and again at each start. The way on is a [`StateMachine`] that wraps this one and answers what it
/// cannot [`decode`] with nothing, instead of handing it on. It must run on all servers before any of them goes on without
/// it, and can go when all of them have taken a snapshot behind that command.
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

/// Write it, and make sure that it can be read back: what is in a log has to be read by every server, for ever.
///
/// # Errors
/// If it cannot be written, or not be read back.
pub fn encode_readable<T: Serialize + DeserializeOwned>(value: &T) -> Result<Bytes, CodecError> {
    let bytes = encode(value)?;
    decode::<T>(&bytes)
        .map(|_| bytes)
        .map_err(|CodecError(why)| CodecError(format!("it could not be read back: {why}")))
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
            // To stop would stop every server, at each of its starts; the caller hears that there is nothing to read.
            answers.push(encode(&response).unwrap_or_else(|error| {
                tracing::error!(index = index.0, %error, "an answer cannot be written");
                Bytes::new()
            }));
        }
        Ok(())
    }

    fn snapshot(&mut self) -> SnapshotWriter {
        let frozen = self.0.clone();
        Box::new(move |out| out.write_all(&encode_readable(&frozen).map_err(io::Error::other)?))
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

    /// Postcard writes it without complaint.
    #[derive(Clone, Debug, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Unreadable {
        Number(u64),
    }

    /// Postcard wants to know a map's length before.
    #[derive(Debug, Serialize, Deserialize)]
    struct Unwritable {
        #[serde(flatten)]
        parts: std::collections::BTreeMap<String, u64>,
    }

    impl Application for Unreadable {
        type Command = u64;
        type Response = Unwritable;

        fn apply(&mut self, number: u64) -> Unwritable {
            *self = Unreadable::Number(number);
            Unwritable { parts: [("number".to_owned(), number)].into() }
        }
    }

    #[test]
    fn what_could_not_be_read_again_is_not_kept_and_an_answer_stops_nobody() {
        assert!(encode(&Unreadable::Number(1)).is_ok());
        let error = encode_readable(&Unreadable::Number(1)).unwrap_err().to_string();
        assert!(error.starts_with("it could not be read back: "), "{error}");
        assert_eq!(encode_readable(&7_u64), encode(&7_u64));
        let (mut machine, mut answers) = (Typed(Unreadable::Number(1)), Vec::new());
        let command = encode(&2_u64).unwrap();
        machine.apply(&[Command { index: Index(7), bytes: &command }], &mut answers).unwrap();
        assert!(matches!(machine.0, Unreadable::Number(2)));
        assert!(matches!(&answers[..], [answer] if decode::<Unwritable>(answer).is_err()));
        let mut data = Vec::new();
        assert!(machine.snapshot()(&mut data).is_err());
        assert!(data.is_empty());
    }

    #[test]
    fn a_command_that_cannot_be_read_is_an_error_that_says_where() {
        let mut machine = Typed(Words::default());
        let commands = [encode(&"a").unwrap(), Bytes::from_static(&[9, 1])];
        let error = apply(&mut machine, &commands).unwrap_err().to_string();
        assert!(error.starts_with("the command at 8 cannot be read here: "), "{error}");
    }
}
