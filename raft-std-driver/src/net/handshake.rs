//! How two servers get to know each other: certificates where links are safe, hello, answer.

use std::time::Instant;

use raft_core::NodeId;

use super::input::Input;
use super::limits::LinkConfig;
use super::output::Output;
use super::session::Session;
use super::trouble::{Awaited, Trouble};
use super::wire::{self, Channel, Hello, HelloError, MAGIC};
#[cfg(feature = "tls")]
use crate::tls::TlsError;

/// A handshake on its way. Its time is granted once, for all of it.
pub(super) struct Handshake {
    stage: Stage,
    pub(super) deadline: Option<Instant>,
}

#[derive(Clone, Copy)]
enum Stage {
    /// Both ends show their certificates.
    Securing(Side),
    /// The dialing side has said hello and waits for the answer.
    Greeting(Channel),
    /// The accepting side waits for the hello.
    Accepting,
    /// This server decides whether it takes the other end in.
    Deciding(Channel),
}

/// Which end of the stream this is.
#[derive(Clone, Copy)]
pub(super) enum Side {
    Dialing { peer: NodeId, channel: Channel },
    Accepting,
}

impl Side {
    fn peer(self) -> Option<NodeId> {
        match self {
            Side::Dialing { peer, .. } => Some(peer),
            Side::Accepting => None,
        }
    }
}

/// How a handshake went on.
pub(super) enum Met {
    Stranger([u8; MAGIC.len()]),
    Hello(Hello),
    Admitted(Channel),
}

impl Handshake {
    pub(super) fn new(side: Side, deadline: Option<Instant>) -> Handshake {
        Handshake { stage: Stage::Securing(side), deadline }
    }

    /// Go on with what has come.
    pub(super) fn advance(
        &mut self,
        config: &LinkConfig,
        session: &mut Session,
        input: &mut Input,
        output: &mut Output,
    ) -> Result<Option<Met>, Trouble> {
        if let Stage::Securing(side) = self.stage
            && session.is_secure(side.peer())?
        {
            self.stage = greet(side, config, output);
        }
        match self.stage {
            Stage::Securing(_) | Stage::Deciding(_) => Ok(None),
            Stage::Greeting(channel) => match input.take() {
                Some(answer) => {
                    wire::decode_answer(&answer)?.map_err(Trouble::Refused)?;
                    Ok(Some(Met::Admitted(channel)))
                }
                None => Ok(None),
            },
            Stage::Accepting => {
                let met = hear_hello(config, session, input)?;
                if let Some(Met::Hello(hello)) = &met {
                    self.stage = Stage::Deciding(hello.channel);
                }
                Ok(met)
            }
        }
    }

    /// What the connection will be for, while this server decides whether it takes the other end in.
    pub(super) fn decides(&self) -> Option<Channel> {
        match self.stage {
            Stage::Deciding(channel) => Some(channel),
            Stage::Securing(_) | Stage::Greeting(_) | Stage::Accepting => None,
        }
    }

    /// How many bytes may be read at most: a stranger's bytes after its first are not ours to read.
    pub(super) fn bytes_wanted(&self, input: &Input) -> usize {
        match self.stage {
            Stage::Accepting => MAGIC.len().checked_sub(input.waiting().len()).filter(|&n| n > 0).unwrap_or(usize::MAX),
            Stage::Securing(_) | Stage::Greeting(_) | Stage::Deciding(_) => usize::MAX,
        }
    }

    /// What it means that the other end has closed the connection.
    pub(super) fn cut(&self, input: &Input) -> Trouble {
        match self.stage {
            #[cfg(feature = "tls")]
            Stage::Securing(Side::Dialing { .. }) => TlsError::Ended.into(),
            // It has not said a word.
            Stage::Securing(Side::Accepting) => Trouble::Ended,
            Stage::Accepting if !input.has_part() => Trouble::Ended,
            _ => Trouble::Cut(Awaited::Handshake),
        }
    }
}

fn greet(side: Side, config: &LinkConfig, output: &mut Output) -> Stage {
    match side {
        Side::Dialing { peer, channel } => {
            let (cluster, birth, from) = (config.cluster, config.birth, config.id);
            let hello = Hello { channel, cluster, birth, from, to: peer, address: config.address.clone() };
            output.gather(&hello.encode());
            Stage::Greeting(channel)
        }
        Side::Accepting => Stage::Accepting,
    }
}

fn hear_hello(config: &LinkConfig, session: &Session, input: &mut Input) -> Result<Option<Met>, Trouble> {
    let Some(first) = input.waiting().first_chunk().copied() else { return Ok(None) };
    if first != MAGIC {
        return if session.is_open() { Ok(Some(Met::Stranger(first))) } else { Err(HelloError::Foreign.into()) };
    }
    let Some((hello, length)) = Hello::decode(input.waiting())? else { return Ok(None) };
    input.skip(length);
    // An impostor gets no answer.
    session.check_name(hello.from)?;
    match config.judge(&hello) {
        Ok(()) => Ok(Some(Met::Hello(hello))),
        Err(why) => Err(Trouble::Unwanted { hello: Box::new(hello), why }),
    }
}
