//! A custom driver: one thread, one UDP socket, one log file, nothing but `std` and `raft-core`.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use raft_core::codec::{decode_message, encode_message};
use raft_core::{Action, Bytes, Config, EntryId, Event, Index, NodeId, Payload, Raft, Refusal, RequestId, Term};

use super::disk::{Disk, seal, unseal};

const TICK: Duration = Duration::from_millis(10);
const DATAGRAMS_MAX: usize = 256; // per turn, about what the socket holds: a flood must not delay the clock
const DATAGRAM_BYTES_MAX: usize = 9 << 10; // the largest that every system's loopback takes
const COMMAND_BYTES_MAX: u64 = 8 << 10; // the rest of a datagram is for the message around a command

/// The outcome of a command. Without one when the node stops, it is unknown: the command may have taken effect.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It took effect.
    Applied(EntryId),
    /// Another entry was committed in its place: it never took effect and never will.
    Superseded,
    /// It never entered the log.
    Refused(Refusal),
}

/// Applies a command to the replicated state, which is empty at each start and is given all commands again.
pub type Apply = Box<dyn FnMut(EntryId, &[u8])>;

/// One server.
pub struct Node {
    raft: Raft,
    disk: Disk,
    socket: UdpSocket,
    peers: BTreeMap<NodeId, SocketAddr>,
    apply: Apply,
    clock: Instant, // the time that the core has been told
    waiting: BTreeMap<(Index, Term), RequestId>,
    outcomes: Vec<(RequestId, Outcome)>,
    stopped: bool,
}

impl Node {
    /// Opens the server whose file is in `dir`. `socket` is bound to the address that its peers send to.
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

    /// The core, for inspection.
    pub fn raft(&self) -> &Raft {
        &self.raft
    }

    /// Runs one turn of the loop. Without `commands` it first waits for a message or the clock, at most `wait`. Returns
    /// outcomes of these and of earlier commands. After an error the node has stopped: open another one from its file.
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
        for _ in 0..DATAGRAMS_MAX {
            let Ok((length, address)) = self.socket.recv_from(&mut datagram) else { break };
            // The address identifies the sender, not the message.
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

    /// Waits for a message or the clock. `std` has no poll(2); for one socket, a peek with a timeout does the same.
    fn sleep(&self, wait: Duration) -> io::Result<()> {
        let due = self.clock + TICK * self.raft.ticks_until_due();
        let wait = wait.min(due.saturating_duration_since(Instant::now()));
        if wait.is_zero() {
            return Ok(()); // a socket takes no timeout of 0
        }
        self.socket.set_read_timeout(Some(wait))?;
        self.socket.set_nonblocking(false)?;
        let _ = self.socket.peek(&mut [0]);
        self.socket.set_nonblocking(true)
    }

    /// Feeds an event, carries out the actions, and feeds the events that result.
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
                    Action::Readable { .. } | Action::Transferred { .. } => {} // never requested here
                }
            }
        }
        Ok(())
    }

    /// Applies an entry, and resolves the requests that wait for its index, whichever term they were accepted in.
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
