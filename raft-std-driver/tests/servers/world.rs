//! The world: time, servers, streams between them, clients; one millisecond after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use raft_std_driver::observer::NodeEvent;
use raft_std_driver::peers::LinkId;
use raft_std_driver::raft_core::{NodeId, RoleKind};
use raft_std_driver::storage::sim::Fate;

use crate::clients::{self, Client};
use crate::host::{Host, Limits};
use crate::machine::Shared;
use crate::oracle::Oracles;
use crate::streams::{Came, End, Streams, Weather};

/// Faults for so long, in milliseconds; then everything works, and all must agree within as long again.
const TROUBLE_MS: u64 = 8_000;
const PEACE_MS: u64 = 20_000;

pub(crate) struct World {
    seed: u64,
    pub(crate) random: fastrand::Rng,
    limits: Limits,
    pub(crate) now: u64,
    began: Instant,
    pub(crate) hosts: Vec<Host>,
    pub(crate) streams: Streams,
    pub(crate) weather: Weather,
    pub(crate) partitions: BTreeSet<(usize, usize)>,
    clients: Vec<Client>,
    /// Who led last, as far as was seen.
    leader: usize,
    oracles: Shared<Oracles>,
    news: Shared<Vec<(usize, NodeEvent)>>,
    /// Why each server has stopped.
    causes: Vec<Option<String>>,
    report: Report,
}

#[derive(Default)]
pub(crate) struct Report {
    pub(crate) trace: Vec<String>,
    pub(crate) happened: BTreeMap<&'static str, u64>,
    pub(crate) violation: Option<String>,
}

impl World {
    pub(crate) fn new(seed: u64) -> World {
        // The servers draw from this thread's source.
        fastrand::seed(seed);
        let mut random = fastrand::Rng::with_seed(seed);
        let members = [1, 2, 3, 3, 3, 4, 5][random.usize(0..7)];
        World {
            seed,
            limits: Limits::draw(&mut random),
            now: 0,
            began: Instant::now(),
            hosts: (0..members).map(|index| Host::new(index, members)).collect(),
            streams: Streams::default(),
            weather: Weather { delay: 2, bandwidth: 10_000 },
            partitions: BTreeSet::new(),
            clients: (0..random.usize(1..5)).map(|_| Client::default()).collect(),
            leader: 0,
            oracles: Shared::default(),
            news: Shared::default(),
            causes: vec![None; members],
            report: Report::default(),
            random,
        }
    }

    pub(crate) fn run(mut self) -> Report {
        while self.now < TROUBLE_MS && self.is_well() {
            self.disturb();
            self.step(true);
        }
        self.mend();
        let deadline = self.now + PEACE_MS;
        while self.is_well() && !self.agree() {
            if self.now > deadline {
                self.oracles.look().violation = Some(self.why_they_do_not_agree());
            }
            self.step(false);
        }
        let states: Vec<_> = self.hosts.iter().map(|host| (host.index, host.state.look().clone())).collect();
        self.oracles.look().finish(&states);
        self.hosts.iter_mut().for_each(Host::end);
        self.report.violation = self.oracles.look().violation.take();
        self.report
    }

    fn is_well(&self) -> bool {
        self.oracles.look().violation.is_none()
    }

    /// Whether everyone is there, has applied everything, and no client waits.
    fn agree(&self) -> bool {
        let last = self.oracles.look().last_applied();
        let there = |host: &Host| {
            host.life.is_some() && host.state.look().last().is_some_and(|(index, _)| *index == last) || last == 0
        };
        self.clients.iter().all(Client::is_idle) && self.hosts.iter().all(there)
    }

    fn why_they_do_not_agree(&self) -> String {
        let last = self.oracles.look().last_applied();
        let waiting = self.clients.iter().filter(|client| !client.is_idle()).count();
        let hosts: Vec<_> = self
            .hosts
            .iter()
            .map(|host| {
                format!(
                    "server {} {} at {:?}",
                    host.index,
                    if host.life.is_some() { "runs" } else { "is down" },
                    host.state.look().last()
                )
            })
            .collect();
        format!("{PEACE_MS} ms after the last fault {waiting} clients wait, {last} was applied, {hosts:?}")
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        *self.report.happened.entry(what).or_default() += 1;
        self.say(what);
    }

    fn say(&mut self, what: impl std::fmt::Display) {
        self.report.trace.push(format!("{:>6} {what}", self.now));
    }

    fn instant(&self) -> Instant {
        self.began + Duration::from_millis(self.now)
    }

    /// One millisecond.
    fn step(&mut self, clients_ask: bool) {
        self.now += 1;
        let mut order: Vec<usize> = (0..self.hosts.len()).collect();
        self.random.shuffle(&mut order);
        for index in order {
            self.step_host(index);
        }
        self.hear_news();
        self.step_clients(clients_ask);
    }

    fn step_host(&mut self, index: usize) {
        if self.hosts[index].paused_until > self.now {
            return;
        }
        if self.hosts[index].life.is_none() {
            // A moment passes before somebody starts it again.
            if self.random.u32(0..40) == 0 || self.now > TROUBLE_MS {
                self.start(index);
            }
            return;
        }
        if self.hosts[index].disk.is_stopped() {
            self.count("power cut");
            return self.lose_power(index);
        }
        if self.hosts[index].told_at.take_if(|at| *at <= self.now).is_some() {
            let known = self.addresses();
            if let Some(life) = &self.hosts[index].life {
                life.control.set_peers(known);
            }
        }
        self.read(index);
        let (now, ms) = (self.instant(), self.now);
        let host = &mut self.hosts[index];
        let disk = host.disk_busy_until <= ms;
        if disk {
            host.disk_busy_until = ms + host.disk_takes;
        }
        let goes_on = host.life.as_mut().is_some_and(|life| life.round(now, disk));
        if !goes_on {
            return self.stopped(index);
        }
        self.carry_out(index);
    }

    fn start(&mut self, index: usize) {
        self.hosts[index].disk.fail_syncs(false);
        let (seed, now, known) = (self.seed, self.instant(), self.addresses());
        // It listens somewhere else in each life, and the others hear of that one after the other.
        for other in 0..self.hosts.len() {
            self.hosts[other].told_at = Some(self.now + self.random.u64(0..100));
        }
        let started = self.hosts[index].start(&known, self.limits, seed, now, &self.oracles, &self.news);
        self.say(format_args!("server {index} starts: {started:?}"));
        if let Err(why) = started {
            self.kill(index);
            if self.hosts[index].disk.is_stopped() {
                let fate = Fate::Torn(self.random.u64(..));
                self.hosts[index].disk.power_cycle(fate);
            } else {
                self.oracles.look().violation = Some(format!("server {index} cannot start: {why}"));
            }
        }
    }

    /// Where everyone listens now, or will when it is started: the server and its life.
    fn addresses(&self) -> Vec<(NodeId, String)> {
        let lives = self.hosts.iter().map(|host| if host.life.is_some() { host.lives } else { host.lives + 1 });
        (0..).zip(lives).map(|(index, life)| (NodeId(index + 1), format!("{} {life}", index + 1))).collect()
    }

    /// The node has stopped by itself: only a disk that failed is a reason.
    fn stopped(&mut self, index: usize) {
        self.hear_news();
        let why = std::mem::take(&mut self.causes[index]).unwrap_or_else(|| "nobody knows why".to_owned());
        self.say(format_args!("server {index} stops: {why}"));
        if !self.hosts[index].disk.is_stopped() && !why.contains("the disk is broken") {
            self.oracles.look().violation = Some(format!("server {index} stops for no good reason: {why}"));
        }
        self.lose_power(index);
    }

    fn lose_power(&mut self, index: usize) {
        self.kill(index);
        let fate = Fate::Torn(self.random.u64(..));
        self.hosts[index].disk.power_cycle(fate);
    }

    /// What ran there is gone.
    pub(crate) fn kill(&mut self, index: usize) {
        self.hosts[index].end();
        self.streams.reset_of(index);
    }

    fn end_of(&self, index: usize, link: LinkId) -> End {
        let life = self.hosts[index].life.as_ref().map_or(0, |life| life.number);
        End { host: index, life, link }
    }

    /// Bytes come in, in pieces.
    fn read(&mut self, index: usize) {
        let (now, ms) = (self.instant(), self.now);
        let links: Vec<LinkId> = match &self.hosts[index].life {
            Some(life) => life.links.iter().filter(|(_, open)| **open).map(|(link, _)| *link).collect(),
            None => return,
        };
        for link in links {
            let end = self.end_of(index, link);
            let most = if self.random.bool() { self.random.usize(1..64) } else { usize::MAX };
            let Some(life) = &mut self.hosts[index].life else { return };
            let streams = &mut self.streams;
            life.engine.tell_peers(|peers| {
                if !peers.wants_read(link) {
                    return;
                }
                let room = peers.room(link);
                let length = room.len().min(most);
                match streams.read(end, &mut room[..length], ms) {
                    Came::Bytes(count) => peers.received(link, count, now),
                    Came::End => peers.received(link, 0, now),
                    Came::Reset => peers.broken(link, io::ErrorKind::ConnectionReset.into(), now),
                    Came::Nothing => {}
                }
            });
        }
    }

    /// What the engine wants done with its sockets.
    fn carry_out(&mut self, index: usize) {
        for _ in 0..8 {
            let Some(life) = &mut self.hosts[index].life else { return };
            life.engine.take_orders(&mut life.orders);
            let mut orders = std::mem::take(&mut life.orders);
            let mut writing = std::mem::take(&mut life.writing);
            if orders.is_empty() && writing.is_empty() {
                return;
            }
            writing.append(&mut orders.write);
            for (link, address) in orders.connect.drain(..) {
                let (host, life) = address.split_once(' ').unwrap();
                self.connect(index, link, host.parse::<usize>().unwrap() - 1, life.parse().unwrap());
            }
            for link in writing {
                self.write(index, link);
            }
            for link in orders.close.drain(..) {
                let end = self.end_of(index, link);
                self.streams.close(end);
                if let Some(life) = &mut self.hosts[index].life {
                    life.links.remove(&link);
                }
            }
            assert!(orders.strangers.is_empty(), "nobody else connects here");
            if self.hosts[index].life.as_ref().is_some_and(|life| !life.writing.is_empty()) {
                return;
            }
        }
    }

    fn connect(&mut self, from: usize, link: LinkId, to: usize, life: u64) {
        let (now, reachable) = (self.instant(), !self.partitions.contains(&(from.min(to), from.max(to))));
        let address: SocketAddr = ([127, 0, 0, 1], 1000 + u16::try_from(from).unwrap()).into();
        let listens = reachable && self.hosts[to].life.as_ref().is_some_and(|there| there.number == life);
        let accepted = match &mut self.hosts[to].life {
            Some(life) if listens => life.engine.tell_peers(|peers| peers.accepted(address, now)).flatten(),
            _ => None,
        };
        let ends = accepted.map(|accepted| (self.end_of(from, link), self.end_of(to, accepted)));
        if let (Some((_, other)), Some(life)) = (ends, &mut self.hosts[to].life) {
            life.links.insert(other.link, true);
        }
        let Some(life) = &mut self.hosts[from].life else { return };
        life.links.insert(link, ends.is_some());
        match ends {
            Some((one, other)) => {
                self.streams.connect(one, other);
                life.engine.tell_peers(|peers| peers.connected(link, now));
            }
            // Nobody says no where the network is cut.
            None if !reachable => {}
            None => {
                life.engine.tell_peers(|peers| peers.broken(link, io::ErrorKind::ConnectionRefused.into(), now));
            }
        }
    }

    fn write(&mut self, index: usize, link: LinkId) {
        let (now, ms, end) = (self.instant(), self.now, self.end_of(index, link));
        let most = if self.random.bool() { self.random.usize(1..200) } else { usize::MAX };
        let Some(life) = &mut self.hosts[index].life else { return };
        let bytes = life.unsent(link);
        let taken = self.streams.write(end, &bytes, ms, self.weather, most);
        let more = life.engine.tell_peers(|peers| match taken {
            Ok(count) => peers.written(link, count, now),
            Err(()) => {
                peers.broken(link, io::ErrorKind::ConnectionReset.into(), now);
                false
            }
        });
        if more == Some(true) {
            life.writing.push(link);
        }
    }

    fn hear_news(&mut self) {
        let news = std::mem::take(&mut *self.news.look());
        for (host, event) in news {
            self.say(format_args!("server {host}: {event:?}"));
            match event {
                NodeEvent::Role { term, role: RoleKind::Leader, .. } => {
                    self.oracles.look().leads(host, term.0);
                    self.leader = host;
                    self.count("leader elected");
                }
                NodeEvent::Compacted { .. } => self.count("snapshot taken"),
                NodeEvent::SnapshotSent { delivered: true, .. } => self.count("snapshot delivered"),
                NodeEvent::SnapshotSent { delivered: false, .. } => self.count("snapshot not delivered"),
                NodeEvent::Restored { .. } => self.count("snapshot restored"),
                NodeEvent::Stops { cause: Some(cause) } => self.causes[host] = Some(cause.to_string()),
                _ => {}
            }
        }
    }

    fn step_clients(&mut self, ask: bool) {
        for client in 0..self.clients.len() {
            if self.clients[client].is_idle() && (ask || self.now.is_multiple_of(50) && !self.agree()) {
                let host = if self.random.u32(0..4) > 0 { self.leader } else { self.random.usize(0..self.hosts.len()) };
                if let Some(life) = &self.hosts[host].life
                    && self.random.u32(0..4) == 0
                {
                    let control = life.control.clone();
                    self.clients[client].ask(host, control, &mut self.random, &self.oracles);
                }
            }
            match self.clients[client].poll(&self.oracles) {
                clients::Came::Nothing => {}
                clients::Came::Event(what) => self.count(what),
                clients::Came::Read { host, acknowledged } => {
                    let applied = self.hosts[host].state.look().last().map_or(0, |(index, _)| *index);
                    if self.hosts[host].life.is_some() {
                        self.oracles.look().read(host, acknowledged, applied);
                    }
                    self.count("read served");
                }
            }
        }
    }
}
