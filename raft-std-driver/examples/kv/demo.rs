//! Three servers under load lose their leader to SIGKILL. Is anything lost?

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use crate::args::DemoOptions;
use crate::client::{self, Client, ClientError, Connection};
use crate::cluster::{self, Cluster};
use crate::load::{self, Latencies};
use crate::progress::{Progress, grouped};
use crate::protocol::{Request, Response};
use crate::stop::{Failure, Interrupted, Stop};

const PUT_TIMEOUT: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(2);
/// How many local reads are asked for in one go.
const CHECK_BATCH: usize = 256;

pub fn run(options: &DemoOptions, stop: &Stop) -> Result<(), Failure> {
    let servers = cluster::Options { keep: options.keep, ..cluster::Options::new(options.dir.clone())? };
    let mut cluster = Cluster::start(servers)?;
    println!("three servers at {}, data in {}", cluster.addresses().join(", "), cluster.dir().display());
    let began = Instant::now();
    let leader = cluster.wait_for_leader(stop)?;
    println!("server {leader} leads after {:.2} s", began.elapsed().as_secs_f64());

    let writes = Writes::new(options);
    let (latencies, took) = write_all(&mut cluster, &writes, options.clients, stop)?;
    let state = cluster.wait_for_agreement(stop)?;
    println!(
        "all three agree: {} keys, checksum {:016x}, applied through {}",
        grouped(state.keys),
        state.checksum.unwrap_or_default(),
        grouped(state.applied)
    );
    let lost = count_lost(&cluster, &writes, stop)?;
    let acknowledged = writes.acknowledged.load(Ordering::Relaxed);
    println!("looked for {} acknowledged writes on each of the three", grouped(acknowledged));

    let failover = lock(&writes.outage).as_ref().and_then(Outage::length).unwrap_or_default();
    println!();
    let rate = acknowledged as f64 / took.as_secs_f64();
    println!("rate          {} writes/s from {} clients, the outage included", grouped(rate), options.clients);
    println!("latency       p50 {:.2} ms, p99 {:.2} ms", latencies.percentile_ms(50), latencies.percentile_ms(99));
    println!("failover      {:.2} s from SIGKILL to the next acknowledged write", failover.as_secs_f64());
    println!("acknowledged  {} of {}", grouped(acknowledged), grouped(options.keys));
    println!("lost          {}", grouped(lost));
    if lost > 0 { Err("acknowledged writes were lost".into()) } else { Ok(()) }
}

/// What the writing threads share with the one that watches and kills.
struct Writes {
    keys: usize,
    value_bytes: usize,
    next: AtomicUsize,
    acknowledged: AtomicUsize,
    /// By key.
    done: Vec<AtomicBool>,
    outage: Mutex<Option<Outage>>,
    stop: Stop,
}

struct Outage {
    /// The address of the server that was killed.
    dead: String,
    killed: Instant,
    resumed: Option<Instant>,
}

impl Outage {
    fn length(&self) -> Option<Duration> {
        self.resumed.map(|resumed| resumed - self.killed)
    }
}

impl Writes {
    fn new(options: &DemoOptions) -> Writes {
        Writes {
            keys: options.keys,
            value_bytes: options.value_bytes,
            next: AtomicUsize::new(0),
            acknowledged: AtomicUsize::new(0),
            done: (0..options.keys).map(|_| AtomicBool::new(false)).collect(),
            outage: Mutex::new(None),
            stop: Stop::default(),
        }
    }

    /// One client: takes a key, writes it, takes the next.
    fn write(&self, servers: Vec<String>) -> Result<Vec<Duration>, ClientError> {
        let mut client = Client::new(servers, PUT_TIMEOUT, self.stop.clone());
        let mut latencies = Vec::new();
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.keys || self.stop.is_set() {
                return Ok(latencies);
            }
            self.keep_some_for_after_the_kill(number);
            let (key, value) = (load::key(number), load::value(number, self.value_bytes));
            let began = Instant::now();
            client.put(&key, &value)?;
            latencies.push(began.elapsed());
            self.acknowledge(number, client.server());
        }
    }

    /// However fast the writes go, the last quarter of them comes after the kill.
    fn keep_some_for_after_the_kill(&self, number: usize) {
        while number >= self.keys - self.keys.div_ceil(4) && lock(&self.outage).is_none() && !self.stop.is_set() {
            thread::sleep(POLL);
        }
    }

    fn acknowledge(&self, number: usize, server: &str) {
        self.done[number].store(true, Ordering::Relaxed);
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
        if let Some(outage) = &mut *lock(&self.outage)
            && outage.resumed.is_none()
            && outage.dead != server
        {
            outage.resumed = Some(Instant::now());
        }
    }
}

/// A panic elsewhere has its own message.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// However its thread leaves, the others stop.
struct StopOnDrop<'a>(&'a Stop);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.set();
    }
}

fn write_all(
    cluster: &mut Cluster,
    writes: &Writes,
    clients: usize,
    stop: &Stop,
) -> Result<(Latencies, Duration), Failure> {
    let began = Instant::now();
    let servers = cluster.addresses();
    thread::scope(|scope| {
        let _end = StopOnDrop(&writes.stop);
        let clients: Vec<_> = (0..clients).map(|_| scope.spawn(|| writes.write(servers.clone()))).collect();
        watch(cluster, writes, &clients, stop)?;
        let took = began.elapsed();
        let mut latencies = Vec::new();
        for client in clients {
            latencies.extend(client.join().map_err(|_| "a client panicked")??);
        }
        Ok((Latencies::new(latencies), took))
    })
}

/// Kills the leader in the middle, and brings it back when writes flow again.
fn watch(
    cluster: &mut Cluster,
    writes: &Writes,
    clients: &[ScopedJoinHandle<'_, Result<Vec<Duration>, ClientError>>],
    stop: &Stop,
) -> Result<(), Failure> {
    let mut progress = Progress::new(writes.keys);
    let mut killed = None;
    let mut restarted = false;
    while !(restarted && clients.iter().all(ScopedJoinHandle::is_finished)) {
        if stop.is_set() {
            return Err(Interrupted.into());
        }
        cluster.check_alive()?;
        let acknowledged = writes.acknowledged.load(Ordering::Relaxed);
        progress.show(acknowledged)?;
        let outage = lock(&writes.outage).as_ref().and_then(Outage::length);
        match (killed, outage) {
            (None, _) if acknowledged >= writes.keys / 2 => {
                let leader = cluster.wait_for_leader(stop)?;
                kill(cluster, writes, leader)?;
                progress
                    .line(&format!("killed server {leader}, the leader, after {} writes", grouped(acknowledged)))?;
                killed = Some(leader);
            }
            (Some(dead), Some(outage)) if !restarted => {
                progress.line(&format!("writes flow again after {:.2} s", outage.as_secs_f64()))?;
                cluster.restart(dead)?;
                progress.line(&format!("restarted server {dead}"))?;
                restarted = true;
            }
            _ if clients.iter().all(ScopedJoinHandle::is_finished) => return Ok(()), // they failed, and will say why
            _ => {}
        }
        thread::sleep(POLL);
    }
    Ok(progress.show(writes.acknowledged.load(Ordering::Relaxed))?)
}

fn kill(cluster: &mut Cluster, writes: &Writes, leader: u64) -> Result<(), Failure> {
    let dead = cluster.address_of(leader)?;
    // Set before the kill is done: no answer of another server can come too early for it.
    let outage = Outage { dead, killed: Instant::now(), resumed: None };
    *lock(&writes.outage) = Some(outage);
    cluster.kill(leader)
}

/// Asks each server by itself for every acknowledged write; how many of them are not everywhere as they were written.
fn count_lost(cluster: &Cluster, writes: &Writes, stop: &Stop) -> Result<usize, Failure> {
    let done = |number: &usize| writes.done[*number].load(Ordering::Relaxed);
    let numbers: Vec<usize> = (0..writes.keys).filter(done).collect();
    let mut lost = BTreeSet::new();
    for server in cluster.addresses() {
        let mut connection = Connection::open(&server)?;
        for batch in numbers.chunks(CHECK_BATCH) {
            if stop.is_set() {
                return Err(Interrupted.into());
            }
            lost.extend(missing(&mut connection, batch, writes.value_bytes)?);
        }
    }
    Ok(lost.len())
}

/// Which of these writes the server does not have.
fn missing(connection: &mut Connection, numbers: &[usize], value_bytes: usize) -> io::Result<Vec<usize>> {
    for &number in numbers {
        connection.push(&Request::Peek { key: &load::key(number) });
    }
    connection.flush()?;
    let mut missing = Vec::new();
    for &number in numbers {
        match connection.receive()? {
            Response::Peeked(value) if value == Some(&load::value(number, value_bytes)) => {}
            Response::Peeked(_) => missing.push(number),
            _ => return Err(client::unasked()),
        }
    }
    Ok(missing)
}
