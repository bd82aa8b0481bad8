//! The cluster as the MIT labs' tests want it: nothing strikes by itself; the test cuts servers off, crashes and restarts
//! them, and chooses one of the labs' networks. The oracles watch as always.

use std::boxed::Box;
use std::time::Duration;
use std::vec;
use std::vec::Vec;

use super::cluster::{Cluster, Temper};
use super::disk::DiskTemper;
use super::duties::TransferTemper;
use super::entropy::{Entropy, Odds};
use super::machine::MachineTemper;
use super::network::{SERVERS_MAX, Weather};
use super::paging::FetchTemper;
use super::queue::{TICK, Time};
use super::server::{Clock, Seat};
use super::trace::Trace;
use super::violation::Violation;
use crate::{
    Bytes, Config, EntryId, Event, Index, Message, NodeId, Payload, RequestId, RoleKind, SnapshotMeta, SnapshotWrite,
    Term, Write, WriteId, codec,
};

const TICK_MS: u64 = 10;

/// Servers, numbered from 0, under the labs' rules (`raft-std-driver`'s `lab` plays by the same): a tick is 10 ms, leaders
/// are heard every 100 ms, elections start after 500 to 1000 ms, the first command has index 1. At most 8 servers.
///
/// Whatever goes on is a matter of the seed and of what is asked; time passes only in [`run`](Lab::run).
pub struct Lab {
    cluster: Cluster,
    connected: Vec<bool>,
    unreliable: bool,
    long_reordering: bool,
    requests: u64,
}

/// What is noted for the labs' tests.
#[derive(Default)]
pub(crate) struct Book {
    /// The answer to the last `Start`, if it was taken.
    pub(crate) accepted: Option<EntryId>,
    /// Snapshots to servers that cannot be reached fail after up to so long.
    pub(crate) unreachable_moments: Time,
    /// The command of index 1, of index 2, ...
    history: Vec<Bytes>,
    /// Requests sent, and those that the network carried to each server.
    rpcs: u64,
    rpcs_to: [u64; SERVERS_MAX],
    bytes: u64,
    frame: Vec<u8>,
}

impl Book {
    /// A reply is part of the RPC that it answers.
    pub(crate) fn sent(&mut self, to: usize, message: &Message, carried: bool) {
        self.frame.clear();
        // What is too large for a frame is never sent.
        let _ = codec::encode_message(message, &mut self.frame);
        self.bytes += self.frame.len() as u64;
        if !message.is_reply() {
            self.called(to, carried);
        }
    }

    /// The data of a snapshot is everything that was ever applied.
    pub(crate) fn sent_snapshot(&mut self, to: usize, meta: &SnapshotMeta, carried: bool) {
        let commands = usize::try_from(meta.last.index.0).unwrap_or(usize::MAX);
        self.bytes += self.history.iter().take(commands).map(|command| command.len() as u64).sum::<u64>();
        self.called(to, carried);
    }

    fn called(&mut self, to: usize, carried: bool) {
        self.rpcs += 1;
        self.rpcs_to[to] += u64::from(carried);
    }

    /// A service has applied an entry. That it is the same everywhere is the oracles' affair.
    pub(crate) fn applied(&mut self, id: EntryId, payload: &Payload) {
        if let Payload::Command(command) = payload
            && id.index == Index(self.history.len() as u64 + 1)
        {
            self.history.push(command.clone());
        }
    }
}

impl Lab {
    /// So many servers, all started and connected, on a reliable network on which calls to unreachable servers fail late.
    /// Services make a snapshot at every `snapshot_every`th index, if that is said.
    ///
    /// # Errors
    /// If an invariant was broken. With `SIM_TRACE=1` in the environment, every event and action is printed.
    pub fn new(servers: usize, snapshot_every: Option<u64>, seed: u64) -> Result<Lab, Box<Violation>> {
        let servers = servers.min(SERVERS_MAX);
        let seats = (0..servers).map(|server| Seat::founder(config(node_id(server), seed), Clock::Sleepy)).collect();
        let print = std::env::var_os("SIM_TRACE").is_some_and(|value| value == "1");
        let trace = if print { Trace::print() } else { Trace::off() };
        let mut cluster = Cluster::new(seats, temper(false, snapshot_every), Entropy::from_seed(seed), trace);
        // Whoever crashes stays down until it is restarted.
        cluster.downtime = (Time::MAX / 2, Time::MAX / 2);
        cluster.lab = Some(Book { unreachable_moments: moments(Duration::from_secs(7)), ..Book::default() });
        let connected = vec![true; servers];
        let mut lab = Lab { cluster, connected, unreliable: false, long_reordering: false, requests: 0 };
        for server in 0..servers {
            lab.restart(server)?;
        }
        Ok(lab)
    }

    /// How much virtual time has passed.
    #[must_use]
    pub fn now(&self) -> Duration {
        Duration::from_micros(self.cluster.now * 1000 * TICK_MS / TICK)
    }

    /// Let time pass.
    ///
    /// # Errors
    /// If an invariant was broken.
    pub fn run(&mut self, time: Duration) -> Result<(), Box<Violation>> {
        self.cluster.run(self.cluster.now + moments(time))
    }

    /// A number below `bound`, from the run's seed; 0 if the bound is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.cluster.entropy.below(bound)
    }

    /// The labs' `Start`: says where the command will stand, if it is ever committed. None if this server is down or does
    /// not lead.
    ///
    /// # Errors
    /// If an invariant was broken.
    pub fn start(&mut self, server: usize, command: Bytes) -> Result<Option<EntryId>, Box<Violation>> {
        if !self.cluster.servers[server].is_up() {
            return Ok(None);
        }
        let request = RequestId(self.requests);
        self.requests += 1;
        self.cluster.feed(server, Event::Start { request, commands: [command].into() })?;
        Ok(self.cluster.lab.as_mut().and_then(|book| book.accepted.take()))
    }

    /// The labs' `GetState`: the current term, and whether the server believes that it leads. None while it is down.
    #[must_use]
    pub fn state(&self, server: usize) -> Option<(Term, bool)> {
        let server = self.cluster.servers.get(server).filter(|server| server.is_up())?;
        Some((server.seen.hard_state.term, server.seen.role == RoleKind::Leader))
    }

    /// End a server's life; a write that was still under way may be lost.
    pub fn crash(&mut self, server: usize) {
        self.set_connected(server, false);
        self.cluster.crash(server);
    }

    /// Begin a server's next life, crashing it first if it runs, and connect it.
    ///
    /// # Errors
    /// If an invariant was broken.
    pub fn restart(&mut self, server: usize) -> Result<(), Box<Violation>> {
        self.crash(server);
        self.cluster.start(server)?;
        self.set_connected(server, true);
        Ok(())
    }

    /// Connect a server, or cut it off both ways, what is on its way included.
    pub fn set_connected(&mut self, server: usize, connected: bool) {
        self.connected[server] = connected;
        let network = &mut self.cluster.network;
        network.mend();
        let away = self.connected.iter().enumerate().filter(|(_, connected)| !**connected);
        for (away, _) in away {
            for other in 0..self.connected.len() {
                network.cut(away, other);
                network.cut(other, away);
            }
        }
    }

    /// Whether a server can call and be called.
    #[must_use]
    pub fn is_connected(&self, server: usize) -> bool {
        self.connected[server]
    }

    /// Requests are delayed by up to 26 ms, and 10 % of requests and of replies are lost.
    pub fn set_unreliable(&mut self, on: bool) {
        self.unreliable = on;
        self.set_weather();
    }

    /// Two thirds of the replies are delayed by 200 ms to 2.2 s.
    pub fn set_long_reordering(&mut self, on: bool) {
        self.long_reordering = on;
        self.set_weather();
    }

    fn set_weather(&mut self) {
        self.cluster.set_temper(temper(self.unreliable, self.cluster.temper.machine.snapshot_every));
        let fair = Weather { loss: loss(self.unreliable), in_order: false, ..Weather::FAIR };
        let slow_moments = (moments(Duration::from_millis(200)), moments(Duration::from_millis(2200)));
        let slow = if self.long_reordering { Odds::percent(67) } else { Odds::NEVER };
        let replies = Weather { slow, slow_moments, ..fair };
        self.cluster.network.reply_weather = (self.unreliable || self.long_reordering).then_some(replies);
    }

    /// How many RPCs the network has carried to this server.
    #[must_use]
    pub fn rpcs_of(&self, server: usize) -> u64 {
        self.cluster.lab.as_ref().and_then(|book| book.rpcs_to.get(server)).copied().unwrap_or_default()
    }

    /// How many RPCs were tried, whatever became of them.
    #[must_use]
    pub fn rpcs(&self) -> u64 {
        self.cluster.lab.as_ref().map_or(0, |book| book.rpcs)
    }

    /// How many bytes all requests and replies had.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.cluster.lab.as_ref().map_or(0, |book| book.bytes)
    }

    /// How many servers have applied `index`, and what stands there.
    #[must_use]
    pub fn committed(&self, index: u64) -> (usize, Option<Bytes>) {
        let servers = self.cluster.servers.iter();
        let count = servers.filter(|server| server.is_up() && server.machine.state.last.index.0 >= index).count();
        let place = index.checked_sub(1).and_then(|place| usize::try_from(place).ok());
        (count, place.and_then(|place| self.cluster.lab.as_ref()?.history.get(place)).cloned())
    }

    /// How many commands were ever committed.
    #[must_use]
    pub fn commands(&self) -> usize {
        self.cluster.lab.as_ref().map_or(0, |book| book.history.len())
    }

    /// Through which index a server's disk holds a snapshot.
    #[must_use]
    pub fn snapshot_of(&self, server: usize) -> Index {
        self.cluster.servers[server].disk.durable.snapshot.last.index
    }

    /// How many bytes the largest state of any server takes, without its snapshot's data: the labs' `RaftStateSize`.
    #[must_use]
    pub fn state_bytes(&self) -> usize {
        let images = self.cluster.servers.iter().map(|server| &server.disk.durable);
        let sizes = images.map(|image| {
            let entries = image.entries();
            let (snapshot, first) = (image.snapshot.clone(), image.snapshot.last.index.next());
            let first = entries.first().map_or(first, |entry| entry.index);
            let everything = Write {
                id: WriteId::from_number(0),
                hard_state: Some(image.hard_state),
                snapshot: Some(SnapshotWrite::Compacted { snapshot, first }),
                entries,
            };
            let mut frame = Vec::new();
            codec::encode_write(&everything, &mut frame).map_or(usize::MAX, |()| frame.len())
        });
        sizes.max().unwrap_or_default()
    }
}

fn node_id(server: usize) -> NodeId {
    NodeId(server as u64 + 1)
}

fn moments(time: Duration) -> Time {
    Time::try_from(time.as_micros()).unwrap_or(Time::MAX) * TICK / (1000 * TICK_MS)
}

fn config(id: NodeId, seed: u64) -> Config {
    Config {
        seed,
        heartbeat_ticks: 10,
        election_ticks_min: 50,
        election_ticks_max: 100,
        leader_noop: false,
        inflight_appends_max: 8,
        trailing_entries: 0,
        transfer_bytes_max: 512,
        snapshot_timeout_ticks: 1000,
        ..Config::new(id)
    }
}

fn loss(unreliable: bool) -> Odds {
    if unreliable { Odds::percent(10) } else { Odds::NEVER }
}

/// A snapshot whose reply is lost has failed for all that its sender knows.
fn temper(unreliable: bool, snapshot_every: Option<u64>) -> Temper {
    let loss = loss(unreliable);
    let delay = if unreliable { (0, moments(Duration::from_millis(26))) } else { Weather::FAIR.delay };
    Temper {
        weather: Weather { loss, delay, in_order: !unreliable, ..Weather::FAIR },
        disk: DiskTemper::FAST,
        machine: MachineTemper { snapshot_every, ..MachineTemper::FAST },
        fetches: FetchTemper::FAST,
        transfer: TransferTemper { delay, failure: loss, report_wrong: loss, ..TransferTemper::FAST },
    }
}
