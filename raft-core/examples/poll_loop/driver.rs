//! A driver of one's own: one thread, one UDP socket, one log file, nothing but `std` and `raft-core`.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use raft_core::codec::{decode_message, encode_message};
use raft_core::{Action, Bytes, Config, EntryId, Event, Index, NodeId, Payload, Raft, Refusal, RequestId, Term};

use super::disk::{Disk, seal, unseal};

const TICK: Duration = Duration::from_millis(10);
const MAIL_MAX: usize = 256; // in one turn, about what the socket holds: a flood must not hold up the clock
const DATAGRAM_BYTES_MAX: usize = 9 << 10; // the largest that every system's loopback takes
const COMMAND_BYTES_MAX: u64 = 8 << 10; // the rest of a datagram is for what surrounds them

/// What became of a command. What was asked for and not answered when a node stops is unknown: it may have taken effect.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It took effect.
    Applied(EntryId),
    /// Another one stands in its place: it never took effect and never will.
    Superseded,
    /// It never entered the log.
    Refused(Refusal),
}

/// The replicated state takes a command. It begins empty at every start, and is given everything again.
pub type Apply = Box<dyn FnMut(EntryId, &[u8])>;

/// One server.
pub struct Node {
    raft: Raft,
    disk: Disk,
    socket: UdpSocket,
    peers: BTreeMap<NodeId, SocketAddr>,
    apply: Apply,
    clock: Instant, // the core knows the time up to here
    waiting: BTreeMap<(Index, Term), RequestId>,
    outcomes: Vec<(RequestId, Outcome)>,
    stopped: bool,
}

impl Node {
    /// The server whose file is in `dir`. `socket` is bound to where its peers send.
    pub fn open(
        id: NodeId,
        dir: &Path,
        socket: UdpSocket,
        peers: BTreeMap<NodeId, SocketAddr>,
        apply: Apply,
    ) -> io::Result<Node> {
        let (disk, restored) = Disk::open(dir, id)?;
        let config = Config {
            command_bytes_max: COMMAND_BYTES_MAX,
            append_bytes_max: COMMAND_BYTES_MAX,
            inflight_bytes_max: 64 << 10, // a socket holds more, on every system
            inflight_appends_max: 16,
            ..Config::new(id)
        };
        let raft = Raft::new(config, restored).map_err(io::Error::other)?;
        socket.set_nonblocking(true)?;
        let (waiting, outcomes) = Default::default();
        Ok(Node { raft, disk, socket, peers, apply, clock: Instant::now(), waiting, outcomes, stopped: false })
    }

    /// The core, to look at.
    pub fn raft(&self) -> &Raft {
        &self.raft
    }

    /// One turn of the loop. Without `commands` it first waits, no longer than `wait`, for mail or the clock. Returns what
    /// became of commands, these and earlier ones. After an error it has stopped for good: only its file can bring it back.
    pub fn turn(&mut self, wait: Duration, commands: Vec<(RequestId, Bytes)>) -> io::Result<Vec<(RequestId, Outcome)>> {
        if std::mem::replace(&mut self.stopped, true) {
            return Err(io::Error::other("the node has stopped"));
        }
        if commands.is_empty() {
            self.sleep(wait)?;
        }
        let ticks = u32::try_from(self.clock.elapsed().as_millis() / TICK.as_millis()).unwrap_or(u32::MAX);
        if ticks > 0 {
            self.clock += TICK * ticks;
            self.step(Event::Tick { elapsed: ticks })?;
        }
        let mut datagram = [0; DATAGRAM_BYTES_MAX];
        for _ in 0..MAIL_MAX {
            let Ok((length, address)) = self.socket.recv_from(&mut datagram) else { break };
            // The address says who it is from, not the message.
            let from = self.peers.iter().find(|(_, peer)| **peer == address).map(|(from, _)| *from);
            let body = unseal(0, &datagram[..length]).map(|(body, _)| Bytes::copy_from_slice(body));
            if let (Some(from), Some(Ok(message))) = (from, body.map(decode_message)) {
                self.step(Event::Receive { from, message })?;
            }
        }
        for (request, command) in commands {
            self.step(Event::Start { request, commands: [command].into() })?;
        }
        while let Some(durable) = self.disk.sync()? {
            self.step(Event::Persisted(durable))?;
        }
        self.stopped = false;
        Ok(std::mem::take(&mut self.outcomes))
    }

    /// std has no poll(2), but for one socket a peek with a time limit does the same.
    fn sleep(&self, wait: Duration) -> io::Result<()> {
        let due = self.clock + TICK * self.raft.ticks_until_due();
        let wait = wait.min(due.saturating_duration_since(Instant::now()));
        if wait.is_zero() {
            return Ok(()); // for a socket it would mean for ever
        }
        self.socket.set_read_timeout(Some(wait))?;
        self.socket.set_nonblocking(false)?;
        let _ = self.socket.peek(&mut [0]);
        self.socket.set_nonblocking(true)
    }

    /// Feeds an event, carries out what the core wants, and feeds what comes of that.
    fn step(&mut self, event: Event) -> io::Result<()> {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for action in self.raft.step(event) {
                match action {
                    Action::Send { to, message } => {
                        let mut body = Vec::new();
                        encode_message(&message, &mut body).map_err(io::Error::other)?;
                        let _ = self.peers.get(&to).map(|peer| self.socket.send_to(&seal(0, &body)?, peer)); // or it is lost
                    }
                    Action::Persist(write) => self.disk.append(&write)?,
                    Action::Apply(entries) => {
                        entries.iter().for_each(|(id, payload)| self.apply(id, payload));
                        events.extend(entries.last().map(|last| Event::Applied(last.index)));
                    }
                    Action::Accepted { request, first, .. } => {
                        self.waiting.insert((first.index, first.term), request);
                    }
                    Action::Refused { request, why } => self.outcomes.push((request, Outcome::Refused(why))),
                    Action::Halt { why } => return Err(io::Error::other(why)),
                    Action::News(_) => {}
                    Action::SendSnapshot { .. } | Action::Restore(_) | Action::Discard(_) | Action::Fetch { .. } => {
                        return Err(io::Error::other("there are no snapshots, and the whole log is in memory"));
                    }
                    Action::Readable { .. } | Action::Transferred { .. } => {} // nobody asks
                }
            }
        }
        Ok(())
    }

    /// Whoever waits for this index learns what became of its command, in whichever term it was accepted.
    fn apply(&mut self, id: EntryId, payload: &Payload) {
        if let Payload::Command(command) = payload {
            (self.apply)(id, command);
        }
        while let Some(place) = self.waiting.first_entry().filter(|place| place.key().0 <= id.index) {
            let ((_, term), request) = place.remove_entry();
            let outcome = if term == id.term { Outcome::Applied(id) } else { Outcome::Superseded };
            self.outcomes.push((request, outcome));
        }
    }
}
