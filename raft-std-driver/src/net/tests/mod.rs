//! Two links talk to each other, byte by byte.

mod deadlines;
mod frames;
mod handshake;
mod outbox;
mod snapshots;
mod streams;
#[cfg(feature = "tls")]
mod tls;
mod wire;

use std::io::IoSlice;
use std::sync::Arc;
use std::time::{Duration, Instant};

use raft_core::{Bytes, Config, EntryId, Membership, NodeId, SnapshotMeta, Term};

use super::*;
use crate::storage::ClusterId;

const CLUSTER: ClusterId = ClusterId(0x0102_0304);

/// Settings of server `id`: small, so that limits are reached.
fn config(id: u64) -> LinkConfig {
    let mut config = LinkConfig::new(CLUSTER, &Config::new(NodeId(id)));
    config.address = format!("server-{id}:4001");
    config.batch_bytes = 1000;
    config.chunk_bytes = 100;
    config
}

/// What a server does when a peer comes in.
#[derive(Clone, Copy)]
enum Door {
    Open,
    Refuse(Refusal),
    Wait,
}

/// One end of a connection, its server, and the socket's buffer towards it.
struct End {
    link: Link,
    door: Door,
    heard: Vec<Heard>,
    troubles: Vec<Trouble>,
    /// The most bytes that one read gives.
    piece: usize,
    closed: bool,
}

impl End {
    fn new(link: Link) -> End {
        End { link, door: Door::Open, heard: Vec::new(), troubles: Vec::new(), piece: usize::MAX, closed: false }
    }

    /// Take from the socket, as a loop does; returns how many bytes.
    fn read(&mut self, bytes: &[u8], now: Instant) -> usize {
        let mut taken = 0;
        while self.link.wants_read() && taken < bytes.len() {
            let room = self.link.room();
            assert!(!room.is_empty(), "an empty read would look like the end");
            let count = room.len().min(self.piece).min(bytes.len() - taken);
            room[..count].copy_from_slice(&bytes[taken..taken + count]);
            taken += count;
            self.link.received(count, now);
            self.listen(now);
        }
        taken
    }

    /// The other end has closed its socket.
    fn read_end(&mut self, now: Instant) {
        if self.link.wants_read() {
            self.link.received(0, now);
            self.listen(now);
        }
    }

    fn listen(&mut self, now: Instant) {
        loop {
            match self.link.next(now) {
                Ok(None) => return,
                Ok(Some(heard)) => {
                    if let Heard::Hello(_) = heard {
                        match self.door {
                            Door::Open => self.link.admit(now),
                            Door::Refuse(why) => self.link.refuse(why, now),
                            Door::Wait => {}
                        }
                    }
                    self.heard.push(heard);
                }
                Err(trouble) => self.troubles.push(trouble),
            }
        }
    }

    /// What it has to say, all of it.
    fn say(&mut self, now: Instant) -> Vec<u8> {
        let mut said = Vec::new();
        while self.link.wants_write() {
            let mut slices: Vec<IoSlice<'_>> = Vec::new();
            self.link.unsent(&mut slices);
            assert!(slices.iter().all(|slice| !slice.is_empty()) && !slices.is_empty());
            let bytes = slices.iter().flat_map(|slice| slice.iter().copied()).collect::<Vec<u8>>();
            self.link.written(bytes.len(), now);
            said.extend(bytes);
        }
        said
    }

    fn frames(&self) -> Vec<&Bytes> {
        let frames = self.heard.iter().map(|heard| if let Heard::Frame(frame) = heard { Some(frame) } else { None });
        frames.flatten().collect()
    }

    fn trouble(&self) -> String {
        self.troubles.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }
}

/// Two ends, the first of which dials.
struct Pair {
    ends: [End; 2],
    /// What each has said and the other has not read.
    wires: [Vec<u8>; 2],
    now: Instant,
}

impl Pair {
    fn of(configs: [LinkConfig; 2], security: &[Security; 2], channel: Channel) -> Pair {
        let now = Instant::now();
        let [dialing, accepting] = configs.map(Arc::new);
        let dialing = Link::dial(&dialing, &security[0], NodeId(2), channel, now).unwrap();
        let accepting = Link::accept(&accepting, &security[1], now).unwrap();
        Pair { ends: [dialing, accepting].map(End::new), wires: [Vec::new(), Vec::new()], now }
    }

    fn new(channel: Channel) -> Pair {
        Pair::of([config(1), config(2)], &[Security::Open, Security::Open], channel)
    }

    /// Both know each other.
    fn met(channel: Channel) -> Pair {
        let mut pair = Pair::new(channel);
        pair.talk();
        assert_eq!(pair.ends[0].heard, [Heard::Admitted], "{} {}", pair.ends[0].trouble(), pair.ends[1].trouble());
        pair
    }

    fn pieces(mut self, piece: usize) -> Pair {
        self.ends[0].piece = piece;
        self.ends[1].piece = piece;
        self
    }

    fn send(&mut self, frame: Frame) {
        self.ends[0].link.send(frame, self.now);
    }

    /// Carry bytes until neither has more to say, or takes any.
    fn talk(&mut self) {
        loop {
            let mut moved = 0;
            for from in 0..2 {
                self.wires[from].extend(self.ends[from].say(self.now));
                let taken = self.ends[1 - from].read(&self.wires[from], self.now);
                self.wires[from].drain(..taken);
                moved += taken;
                if self.ends[from].link.is_over() && self.wires[from].is_empty() && !self.ends[from].closed {
                    self.ends[from].closed = true;
                    self.ends[1 - from].read_end(self.now);
                }
            }
            if moved == 0 {
                return;
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        for end in &mut self.ends {
            if end.link.due().is_some_and(|due| due <= self.now) {
                end.troubles.extend(end.link.expire(self.now).err());
                assert!(end.link.is_over(), "what is due ends the link");
            }
        }
    }
}

fn body(number: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| (at.wrapping_mul(31) ^ number).to_le_bytes()[0]).collect()
}

fn frame(number: usize, length: usize) -> Frame {
    Frame::whole(&body(number, length)).unwrap()
}

fn offer(length: u64) -> Offer {
    let membership = Arc::new(Membership::joint([1, 2].map(NodeId), [], [NodeId(3)]));
    Offer { term: Term(4), meta: SnapshotMeta { last: EntryId::new(3, 300), membership }, length }
}
