//! Clients: one command, read or transfer at a time each, to whoever seems to lead.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use raft_std_driver::raft_core::{Index, NodeId};
use raft_std_driver::{Control, Outcome, ReadError, StartError, TransferError};

use crate::machine::{Shared, command, index_of};
use crate::oracle::{Oracles, Told};

type Asked<T> = Pin<Box<dyn Future<Output = T>>>;

/// What a client waits for.
enum Waits {
    Command { number: u64, answer: Asked<Result<Outcome, StartError>> },
    Read { host: usize, acknowledged: u64, answer: Asked<Result<Index, ReadError>> },
    HandOver(Asked<Result<NodeId, TransferError>>),
}

#[derive(Default)]
pub(crate) struct Client {
    waits: Option<Waits>,
}

/// What came of it, for the books.
pub(crate) enum Came {
    Nothing,
    Event(&'static str),
    /// A read of this server was served; everything through here must be applied there.
    Read {
        host: usize,
        acknowledged: u64,
    },
}

impl Client {
    pub(crate) fn is_idle(&self) -> bool {
        self.waits.is_none()
    }

    pub(crate) fn ask(
        &mut self,
        host: usize,
        control: Arc<Control>,
        random: &mut fastrand::Rng,
        oracles: &Shared<Oracles>,
    ) {
        self.waits = Some(match random.u32(0..100) {
            0..78 => {
                let number = oracles.look().next_command();
                let bytes = command(number, random.usize(0..120));
                let answer = async move { control.start(bytes).await };
                Waits::Command { number, answer: Box::pin(answer) }
            }
            78..98 => {
                let acknowledged = oracles.look().acknowledged();
                Waits::Read { host, acknowledged, answer: Box::pin(async move { control.read().await }) }
            }
            _ => Waits::HandOver(Box::pin(async move { control.transfer(None).await })),
        });
    }

    pub(crate) fn poll(&mut self, oracles: &Shared<Oracles>) -> Came {
        let mut context = Context::from_waker(Waker::noop());
        let Some(waits) = &mut self.waits else { return Came::Nothing };
        let came = match waits {
            Waits::Command { number, answer } => {
                let Poll::Ready(outcome) = answer.as_mut().poll(&mut context) else { return Came::Nothing };
                let (told, what) = match outcome {
                    Ok(Outcome::Applied(answer)) => (Told::Applied(index_of(&answer)), "command applied"),
                    Ok(Outcome::Superseded) => (Told::Never, "command superseded"),
                    Ok(Outcome::Unknown) => (Told::Unknown, "outcome unknown"),
                    Err(_) => (Told::Never, "command refused"),
                };
                oracles.look().heard(*number, told);
                Came::Event(what)
            }
            Waits::Read { host, acknowledged, answer } => {
                let Poll::Ready(read) = answer.as_mut().poll(&mut context) else { return Came::Nothing };
                match read {
                    Ok(_) => Came::Read { host: *host, acknowledged: *acknowledged },
                    Err(_) => Came::Event("read refused"),
                }
            }
            Waits::HandOver(answer) => {
                let Poll::Ready(moved) = answer.as_mut().poll(&mut context) else { return Came::Nothing };
                Came::Event(if moved.is_ok() { "leadership handed over" } else { "leadership kept" })
            }
        };
        self.waits = None;
        came
    }
}
