//! Listens in on what a server says on a connection of its own, and asks the oracles.

use raft_std_driver::net::wire::{Channel, FRAME_HEADER_BYTES, FrameHeader, Hello};
use raft_std_driver::raft_core::{Bytes, FRAME_BYTES_MAX, Message, NodeId, Rpc, codec};

use crate::lab::Lab;
use crate::oracle::votes::HEARD;

/// What is written on one connection.
pub(crate) struct Tap {
    lab: Lab,
    me: usize,
    /// What has been written of a hello, a frame or an answer that is not complete.
    begun: Vec<u8>,
    listener: Listener,
}

enum Listener {
    /// Nobody has been greeted yet.
    Nobody,
    Peer(NodeId),
    /// What else is said is no message.
    Other,
}

impl Tap {
    pub(crate) fn new(lab: &Lab, me: usize) -> Tap {
        Tap { lab: lab.clone(), me, begun: Vec::new(), listener: Listener::Nobody }
    }

    pub(crate) fn hear(&mut self, bytes: &[u8]) {
        let heard = self.take(bytes);
        self.lab.judge(|_| heard.map_err(|why| format!("s{} writes what makes no sense: {why}", self.me + 1)));
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), String> {
        if let Listener::Other = self.listener {
            return Ok(());
        }
        self.begun.extend(bytes);
        if let Listener::Nobody = self.listener {
            let Some((hello, length)) = Hello::decode(&self.begun).map_err(|why| why.to_string())? else {
                return Ok(());
            };
            self.begun.drain(..length);
            self.listener = match hello.channel {
                Channel::Messages => Listener::Peer(hello.to),
                Channel::Snapshot => Listener::Other,
            };
        }
        let Listener::Peer(to) = self.listener else { return Ok(()) };
        while let Some(header) = self.begun.first_chunk::<FRAME_HEADER_BYTES>() {
            let header = FrameHeader::decode(header, FRAME_BYTES_MAX).map_err(|why| why.to_string())?;
            let end = FRAME_HEADER_BYTES + header.length;
            let Some(body) = self.begun.get(FRAME_HEADER_BYTES..end) else { return Ok(()) };
            header.check(body).map_err(|why| why.to_string())?;
            let message = codec::decode_message(Bytes::copy_from_slice(body)).map_err(|why| why.to_string())?;
            self.begun.drain(..end);
            says(&self.lab, self.me, to, &message);
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
