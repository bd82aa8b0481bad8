//! Listens in on what a server says on a connection of its own, and asks the oracles.

use raft_std_driver::raft_core::{FRAME_BYTES_MAX, Message, NodeId, Rpc, codec};
use raft_std_driver::transport::parts::Frames;
use raft_std_driver::transport::wire::{Channel, HELLO_BYTES, Hello};

use crate::lab::Lab;
use crate::oracle::votes::HEARD;

/// What is written on one connection.
pub(crate) struct Tap {
    lab: Lab,
    me: usize,
    /// As long as it is not complete.
    hello: Vec<u8>,
    listener: Listener,
}

enum Listener {
    /// Nobody has been greeted yet.
    Nobody,
    Peer(NodeId, Box<Frames>),
    /// What else is said is no message.
    Other,
}

impl Tap {
    pub(crate) fn new(lab: &Lab, me: usize) -> Tap {
        Tap { lab: lab.clone(), me, hello: Vec::new(), listener: Listener::Nobody }
    }

    pub(crate) fn hear(&mut self, bytes: &[u8]) {
        let heard = self.take(bytes);
        self.lab.judge(|_| heard.map_err(|why| format!("s{} writes what makes no sense: {why}", self.me + 1)));
    }

    fn take(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        if let Listener::Nobody = self.listener {
            let (greeting, rest) = bytes.split_at(bytes.len().min(HELLO_BYTES - self.hello.len()));
            self.hello.extend(greeting);
            bytes = rest;
            let Ok(whole) = <&[u8; HELLO_BYTES]>::try_from(&self.hello[..]) else { return Ok(()) };
            let hello = Hello::decode(whole).map_err(|why| why.to_string())?;
            self.listener = match hello.channel {
                Channel::Messages => Listener::Peer(hello.to, Box::new(Frames::new())),
                Channel::Snapshot => Listener::Other,
            };
        }
        let Listener::Peer(to, frames) = &mut self.listener else { return Ok(()) };
        while !bytes.is_empty() {
            let room = frames.spare();
            let (now, later) = bytes.split_at(bytes.len().min(room.len()));
            room[..now.len()].copy_from_slice(now);
            frames.filled(now.len()).map_err(|why| why.to_string())?;
            bytes = later;
            while let Some(body) = frames.next(FRAME_BYTES_MAX).map_err(|why| why.to_string())? {
                let message = codec::decode_message(body.into()).map_err(|why| why.to_string())?;
                says(&self.lab, self.me, *to, &message);
            }
        }
        Ok(())
    }
}

/// A server says this to another.
fn says(lab: &Lab, me: usize, to: NodeId, message: &Message) {
    let term = message.term;
    if let Rpc::RequestVoteReply { granted: true } = message.rpc {
        lab.count(HEARD);
    }
    lab.judge(|oracles| match message.rpc {
        // Who asks has voted for itself.
        Rpc::RequestVote { .. } => oracles.votes.votes(me, term, NodeId(me as u64 + 1)),
        Rpc::RequestVoteReply { granted: true } => oracles.votes.votes(me, term, to),
        Rpc::AppendEntries { .. } => oracles.leaders.leads(me, term),
        _ => Ok(()),
    });
}
