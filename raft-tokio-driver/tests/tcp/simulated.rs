//! On a simulated network everything is the same each time, and mends itself.

use std::fmt::Display;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use raft_core::{EntryId, Message, NodeId, SnapshotMeta, Term};
use raft_std_driver::storage::{SnapshotSink, StorageError};
use raft_std_driver::transport::tcp::TcpConfig;
use raft_std_driver::transport::{Inbound, OutgoingSnapshot, Transport};
use raft_std_driver::workers::{Part, Workers};
use raft_tokio_driver::transport::link::{BoxFuture, BoxStream, Listener, Sockets};
use raft_tokio_driver::transport::tcp::TcpTransport;
use turmoil::net::{TcpListener, TcpStream};

use super::support::{append, config, meta, round_of, vote};

/// Turmoil's network; names are its hosts'.
#[derive(Debug)]
struct Simulated;

struct Accepting(TcpListener);

impl Sockets for Simulated {
    fn resolve<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move {
            let (host, port) = address.rsplit_once(':').ok_or(io::ErrorKind::InvalidInput)?;
            let port: u16 = port.parse().map_err(io::Error::other)?;
            Ok(vec![(turmoil::lookup(host), port).into()])
        })
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<BoxStream>> {
        Box::pin(async move { Ok(Box::new(TcpStream::connect(address).await?) as BoxStream) })
    }

    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move { Ok(Box::new(Accepting(TcpListener::bind(address).await?)) as Box<dyn Listener>) })
    }
}

impl Listener for Accepting {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxStream, SocketAddr)>> {
        Box::pin(async move {
            let (stream, address) = self.0.accept().await?;
            Ok((Box::new(stream) as BoxStream, address))
        })
    }
}

/// Parts run on the host's one thread.
struct Inline;

impl Workers for Inline {
    fn spawn(&self, _: &str, part: Part) -> io::Result<()> {
        tokio::spawn(part);
        Ok(())
    }
}

/// All that happens, with its time.
#[derive(Clone, Default)]
struct Trace(Arc<Mutex<Vec<String>>>);

impl Trace {
    fn add(&self, line: impl Display) {
        let time = turmoil::sim_elapsed().unwrap_or_default();
        self.0.lock().unwrap().push(format!("{} {line}", time.as_micros()));
    }
}

struct Ear {
    id: NodeId,
    trace: Trace,
    /// The last round that came on from each other server, and how often one did not follow the other.
    heard: Arc<Mutex<[u64; 4]>>,
}

impl Inbound for Ear {
    fn message(&self, from: NodeId, message: Message) {
        self.trace.add(format_args!("{} hears {from}: {message}", self.id));
        if let Some(round) = round_of(&message) {
            let mut heard = self.heard.lock().unwrap();
            let last = &mut heard[usize::try_from(from.0).unwrap()];
            assert!(round > *last, "{round} of {from} after {last}: nothing overtakes, nothing comes twice");
            *last = round;
        }
    }

    fn unreachable(&self, peer: NodeId) {
        self.trace.add(format_args!("{} cannot reach {peer}", self.id));
    }

    fn snapshot_sent(&self, to: NodeId, snapshot: EntryId, delivered: bool) {
        self.trace.add(format_args!("{} has sent {snapshot} to {to}: {delivered}", self.id));
    }

    fn snapshot_begin(&self, from: NodeId, meta: &SnapshotMeta) -> Result<Box<dyn SnapshotSink>, StorageError> {
        self.trace.add(format_args!("{} begins {} of {from}", self.id, meta.last));
        Ok(Box::new(Sink { of: self.id, trace: self.trace.clone(), bytes: 0, finished: false }))
    }

    fn snapshot_received(&self, from: NodeId, _: Term, meta: SnapshotMeta) {
        self.trace.add(format_args!("{} has {} of {from}", self.id, meta.last));
    }

    fn failed(&self, cause: String) {
        panic!("{cause}");
    }
}

struct Sink {
    of: NodeId,
    trace: Trace,
    bytes: usize,
    finished: bool,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl SnapshotSink for Sink {
    fn finish(mut self: Box<Self>) -> Result<(), StorageError> {
        self.finished = true;
        Ok(())
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let what = if self.finished { "stores" } else { "abandons" };
        // A crash drops it outside of the simulation's time.
        if turmoil::in_simulation() {
            self.trace.add(format_args!("{} {what} {} bytes", self.of, self.bytes));
        }
    }
}

const SNAPSHOT_BYTES: u64 = 3_000_000;

/// One life of a server: talks to both others for ever, and sends a snapshot to the next one now and then.
async fn live(id: u64, seed: u64, trace: Trace, round: Arc<Mutex<u64>>) -> turmoil::Result {
    let soon = Duration::from_millis(200);
    let config = TcpConfig {
        connect_timeout: soon,
        handshake_timeout: soon,
        stall_timeout: soon,
        seed: Some(seed),
        ..config(id)
    };
    let others: Vec<u64> = (1..=3).filter(|other| *other != id).collect();
    let transport = TcpTransport::builder(config)
        .peers((1..=3).map(|id| (NodeId(id), format!("server{id}:4001"))))
        .sockets(Arc::new(Simulated))
        .workers(Arc::new(Inline))
        .bind("0.0.0.0:4001")
        .await?;
    let heard = Arc::default();
    transport.start(Arc::new(Ear { id: NodeId(id), trace: trace.clone(), heard: Arc::clone(&heard) }))?;
    loop {
        let round = {
            let mut round = round.lock().unwrap();
            *round += 1;
            *round
        };
        for other in &others {
            transport.send(NodeId(*other), append(round, usize::try_from(round % 7).unwrap() * 500));
            transport.send(NodeId(*other), vote(round));
        }
        if round % 20 == 1 {
            let (data, len) = (Box::new(io::Read::take(io::repeat(7), SNAPSHOT_BYTES)), SNAPSHOT_BYTES);
            transport
                .send_snapshot(NodeId(id % 3 + 1), OutgoingSnapshot { term: Term(1), meta: meta(round), len, data });
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Two partitions, one of them one-way, and two crashes.
fn simulate(seed: u64) -> Vec<String> {
    let trace = Trace::default();
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .simulation_duration(Duration::from_secs(60))
        // What a partition loses is never sent again: then nothing comes out, and soon nothing goes in.
        .tcp_capacity(16)
        .epoch(std::time::UNIX_EPOCH)
        .build();
    for id in 1..=3 {
        let (trace, round) = (trace.clone(), Arc::new(Mutex::new(0)));
        sim.host(format!("server{id}"), move || live(id, seed, trace.clone(), Arc::clone(&round)));
    }
    let until = |sim: &mut turmoil::Sim<'_>, millis| {
        while sim.elapsed() < Duration::from_millis(millis) {
            sim.step().unwrap();
        }
    };
    until(&mut sim, 500);
    sim.partition("server1", "server2");
    until(&mut sim, 1500);
    sim.repair("server1", "server2");
    sim.partition_oneway("server2", "server3");
    until(&mut sim, 2500);
    sim.repair_oneway("server2", "server3");
    sim.crash("server3");
    until(&mut sim, 3000);
    sim.bounce("server3");
    until(&mut sim, 3100);
    sim.bounce("server1");
    until(&mut sim, 5000);
    std::mem::take(&mut trace.0.lock().unwrap())
}

#[test]
fn partitions_and_crashes_are_survived_the_same_way_each_time() {
    let trace = simulate(4);
    let last = |what: &str| trace.iter().rposition(|line| line.contains(what)).map(|at| trace[at].clone());
    for (hearer, speaker) in [(1, 2), (1, 3), (2, 1), (2, 3), (3, 1), (3, 2)] {
        let line = last(&format!("{hearer} hears {speaker}:")).unwrap();
        let micros: u64 = line.split_once(' ').unwrap().0.parse().unwrap();
        assert!(micros > 4_800_000, "{hearer} hears {speaker} again: {line}");
    }
    for line in ["1 cannot reach 2", "2 abandons", "3 abandons"] {
        assert!(last(line).is_some(), "{line}");
    }
    for receiver in 1..=3 {
        assert!(last(&format!("{receiver} stores {SNAPSHOT_BYTES} bytes")).is_some(), "server {receiver}");
    }
    for again in [4, 4] {
        let again = simulate(again);
        let difference = trace.iter().zip(&again).find(|(first, second)| first != second);
        assert_eq!(difference, None);
        assert_eq!(trace.len(), again.len());
    }
    assert_ne!(trace, simulate(5));
}
