//! The workload "put", end to end: closed-loop clients, three servers on one machine, every write synced.

use std::io;
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use crate::args::BenchOptions;
use crate::cluster::{self, Cluster};
use crate::link::Link;
use crate::load::{self, Latencies};
use crate::progress::grouped;
use crate::protocol::{self, Answer, Command, GREETING, Request, Response};
use crate::stop::{Failure, Interrupted, Stop};

const WARM_UP: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(10);
/// Values are overwritten: what is measured is writing, not an ever larger map.
const KEYS: usize = 10_000;

/// What the clients are about.
const WARMING_UP: u8 = 0;
const MEASURED: u8 = 1;
const OVER: u8 = 2;

pub fn run(options: &BenchOptions, stop: &Stop) -> Result<(), Failure> {
    let mut cluster = Cluster::start(cluster::Options::new(options.dir.clone())?)?;
    let leader = cluster.wait_for_leader(stop)?;
    let (latencies, took) = measure(&mut cluster, leader, options, stop)?;
    print(options, &latencies, took, cluster.dir());
    Ok(())
}

fn measure(
    cluster: &mut Cluster,
    leader: u64,
    options: &BenchOptions,
    stop: &Stop,
) -> Result<(Latencies, Duration), Failure> {
    // A thread serves many clients, so that what is measured is the servers more than the clients' threads.
    let threads = thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2)).min(options.clients);
    let (leader, phase) = (cluster.address_of(leader)?, AtomicU8::new(WARMING_UP));
    let put = |numbers| put_all(&leader, numbers, options.value_bytes, &phase);
    let put = &put;
    thread::scope(|scope| {
        let numbers = |thread| (thread..options.clients).step_by(threads);
        let clients: Vec<_> = (0..threads).map(|thread| scope.spawn(move || put(numbers(thread)))).collect();
        let mut pass = |length| {
            let began = Instant::now();
            while began.elapsed() < length && !stop.is_set() && !clients.iter().any(ScopedJoinHandle::is_finished) {
                cluster.check_alive()?;
                thread::sleep(POLL.min(length.saturating_sub(began.elapsed())));
            }
            Ok::<_, Failure>(began.elapsed())
        };
        let took = pass(WARM_UP).and_then(|_| {
            phase.store(MEASURED, Ordering::Relaxed);
            pass(Duration::from_secs(options.seconds as u64))
        });
        phase.store(OVER, Ordering::Relaxed);
        let results: Vec<_> =
            clients.into_iter().map(|client| client.join().map_err(|_| "a client panicked")).collect();
        if stop.is_set() {
            return Err(Interrupted.into());
        }
        let (took, mut latencies) = (took?, Vec::new());
        for result in results {
            latencies.extend(result??);
        }
        Ok((Latencies::new(latencies), took))
    })
}

/// These clients, on one thread; the latencies of the puts that ended while measured.
fn put_all(
    leader: &str,
    clients: impl Iterator<Item = usize>,
    value_bytes: usize,
    phase: &AtomicU8,
) -> Result<Vec<Duration>, Failure> {
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(1024));
    let mut clients: Vec<_> =
        clients.map(|number| Client::new(leader, number, value_bytes)).collect::<Result<_, _>>()?;
    for (at, client) in clients.iter_mut().enumerate() {
        client.link.register(poll.registry(), Token(at))?;
        client.send(&protocol::encode(&Command::Register))?;
    }
    let mut latencies = Vec::new();
    while phase.load(Ordering::Relaxed) != OVER {
        poll.poll(&mut events, Some(POLL)).or_else(|error| match error.kind() {
            io::ErrorKind::Interrupted => Ok(()),
            _ => Err(error),
        })?;
        for event in &events {
            let client = &mut clients[event.token().0];
            client.link.note(event);
            let latency = client.go_on()?;
            latencies.extend(latency.filter(|_| phase.load(Ordering::Relaxed) == MEASURED));
        }
    }
    Ok(latencies)
}

/// One connection with one command under way: the next one starts when it is answered.
struct Client {
    link: Link,
    session: u64,
    sequence: u64,
    key: usize,
    value: Vec<u8>,
    command: Vec<u8>,
    began: Instant,
}

impl Client {
    fn new(leader: &str, number: usize, value_bytes: usize) -> io::Result<Client> {
        let mut link = Link::new(TcpStream::connect(leader)?)?;
        link.push_bytes(&GREETING);
        let (key, value) = (number * 97, load::value(number, value_bytes));
        Ok(Client { link, session: 0, sequence: 0, key, value, command: Vec::new(), began: Instant::now() })
    }

    fn send(&mut self, command: &[u8]) -> io::Result<()> {
        self.link.push(&Request::Command(command));
        self.link.flush().map(drop)
    }

    /// Takes the answer, if it is there, and puts the next value; how long the last one took.
    fn go_on(&mut self) -> Result<Option<Duration>, Failure> {
        self.link.flush()?;
        while self.link.fill()? > 0 {}
        let Some(frame) = self.link.next_frame()? else { return Ok(None) };
        let latency = match protocol::decode(frame) {
            Some(Response::Applied(answer)) => match protocol::decode(answer) {
                Some(Answer::Registered { session }) => {
                    self.session = session;
                    None
                }
                Some(Answer::Put) => Some(self.began.elapsed()),
                answer => return Err(format!("the servers answered {answer:?}").into()),
            },
            Some(Response::TryAgain | Response::Unknown) => {
                let command = std::mem::take(&mut self.command);
                self.send(&command)?;
                self.command = command;
                return Ok(None);
            }
            Some(Response::NotLeader { .. }) => return Err("the leader has changed: nothing was measured".into()),
            response => return Err(format!("the leader answered {response:?}").into()),
        };
        self.put_next()?;
        Ok(latency)
    }

    fn put_next(&mut self) -> io::Result<()> {
        self.sequence += 1;
        self.key = (self.key + 1) % KEYS;
        let Client { session, sequence, .. } = *self;
        let put = Command::Put { session, sequence, key: &load::key(self.key), value: &self.value };
        self.began = Instant::now();
        self.command = protocol::encode(&put);
        self.link.push(&Request::Command(&self.command));
        self.link.flush().map(drop)
    }
}

fn print(options: &BenchOptions, latencies: &Latencies, took: Duration, dir: &Path) {
    let BenchOptions { clients, value_bytes, .. } = options;
    let (puts, seconds) = (latencies.count(), took.as_secs_f64());
    let rate = puts as f64 / seconds;
    let [p50, p99, max] = [50, 99, 100].map(|percent| latencies.percentile_ms(percent));
    let file_system = file_system_of(dir).unwrap_or_else(|| "unknown".into());
    if ["tmpfs", "ramfs"].contains(&file_system.as_str()) {
        eprintln!("{} is on {file_system}, where a sync costs nothing: choose a disk with --dir", dir.display());
    }
    if options.json {
        println!(
            "{{\"clients\": {clients}, \"value_bytes\": {value_bytes}, \"seconds\": {seconds:.3}, \"puts\": {puts}, \
             \"puts_per_s\": {rate:.0}, \"p50_ms\": {p50:.3}, \"p99_ms\": {p99:.3}, \"max_ms\": {max:.3}, \
             \"file_system\": \"{file_system}\"}}"
        );
    } else {
        let rate = grouped(rate);
        println!(
            "{clients} clients, {value_bytes} bytes, {seconds:.1} s: {rate} puts/s, p50 {p50:.2} ms, p99 {p99:.2} ms \
             ({file_system} at {})",
            dir.display()
        );
    }
}

/// The kind of file system behind `dir`, where the system tells (Linux): the longest mount point above it counts.
fn file_system_of(dir: &Path) -> Option<String> {
    let dir = dir.canonicalize().ok()?;
    let mounts = std::fs::read_to_string("/proc/mounts").ok()?;
    let above = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (point, kind) = (words.next()?, words.next()?);
        dir.starts_with(point).then_some((point.len(), kind))
    });
    above.max_by_key(|(length, _)| *length).map(|(_, kind)| kind.to_owned())
}
