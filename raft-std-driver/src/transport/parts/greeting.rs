//! Who is let in.

use super::{TcpConfig, Trouble};
use crate::transport::wire::{self, ANSWER_BYTES, HELLO_BYTES, Hello, HelloError, Refusal};

/// Somebody who is not let in.
#[derive(Debug)]
pub struct Unwelcome {
    /// What is answered before the connection is closed; whoever does not speak the protocol gets no answer.
    pub answer: Option<[u8; ANSWER_BYTES]>,
    /// Why.
    pub trouble: Trouble,
}

impl Unwelcome {
    /// Read what was said on an accepted connection.
    ///
    /// # Errors
    /// If it is no hello of this version.
    pub fn unless_hello(bytes: &[u8; HELLO_BYTES]) -> Result<Hello, Unwelcome> {
        Hello::decode(bytes).map_err(|error| {
            let other = matches!(error, HelloError::Version { .. });
            let answer = other.then(|| wire::encode_answer(Err(Refusal::Version { theirs: wire::PROTOCOL })));
            Unwelcome { answer, trouble: error.into() }
        })
    }

    /// Whether the server that `config` is for expects who says `hello`, where `peer` is what it knows of the sender.
    ///
    /// # Errors
    /// If it does not.
    pub fn unless_expected<P>(hello: Hello, config: &TcpConfig, peer: Option<P>) -> Result<P, Unwelcome> {
        hello.judge(config.cluster, config.id, peer).map_err(|why| Unwelcome {
            answer: Some(wire::encode_answer(Err(why))),
            trouble: Trouble::Unwanted { hello, why },
        })
    }
}

impl From<Trouble> for Unwelcome {
    fn from(trouble: Trouble) -> Unwelcome {
        Unwelcome { answer: None, trouble }
    }
}
