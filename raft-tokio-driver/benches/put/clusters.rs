//! Three members of each driver, and callers who put.

use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use raft_std_driver::machine::{Command, SnapshotWriter, StateMachine};
use raft_std_driver::net::LinkConfig;
use raft_std_driver::raft_core::{Bytes, Config, Membership, NodeId, RoleKind};
use raft_std_driver::storage::{Birth, ClusterId, FileOptions, FileStorage};
use raft_std_driver::tcp::Tcp;
use raft_std_driver::{NodeConfig, Outcome, Started};
use tokio::runtime::Runtime;

use crate::Latencies;

const VALUE_BYTES: usize = 256;

/// Keeps the last value only: what is measured is the way there.
struct Register(Bytes);

impl StateMachine for Register {
    fn apply(&mut self, commands: &[Command<'_>], answers: &mut Vec<Bytes>) -> io::Result<()> {
        if let Some(last) = commands.last() {
            self.0 = last.bytes.clone();
        }
        answers.extend(commands.iter().map(|_| Bytes::new()));
        Ok(())
    }

    fn snapshot(&mut self) -> SnapshotWriter {
        let value = self.0.clone();
        Box::new(move |out| out.write_all(&value))
    }

    fn restore(&mut self, data: &mut dyn io::Read) -> io::Result<()> {
        let mut value = Vec::new();
        data.read_to_end(&mut value)?;
        self.0 = value.into();
        Ok(())
    }
}

/// Three servers, where they are, and what they listen on.
fn members() -> (Vec<(u64, String)>, Vec<TcpListener>) {
    let ports: Vec<_> = (1..=3).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    let address = |port: &TcpListener| port.local_addr().expect("an address").to_string();
    ((1..).zip(ports.iter().map(address)).collect(), ports)
}

fn value() -> Bytes {
    Bytes::from(vec![7; VALUE_BYTES])
}

/// The std driver's nodes.
pub(crate) struct OnThreads {
    nodes: Vec<raft_std_driver::Node>,
}

impl OnThreads {
    pub(crate) fn start(directory: &Path) -> OnThreads {
        let (members, ports) = members();
        let spawn = |((id, _), port): (&(u64, String), TcpListener)| {
            let id = NodeId(*id);
            let membership = Membership::new(members.iter().map(|(id, _)| NodeId(*id)));
            let storage = FileStorage::init(
                directory.join(id.to_string()),
                Birth::founder(ClusterId(1), id, membership),
                FileOptions::default(),
            );
            let peers = members.iter().map(|(id, address)| (NodeId(*id), address.clone()));
            let tcp = Tcp::listen_on(port, LinkConfig::new(ClusterId(1), &Config::new(id)), peers).expect("a listener");
            let (storage, machine) = (storage.expect("a new directory"), Register(Bytes::new()));
            raft_std_driver::Node::spawn(NodeConfig::new(id), storage, machine, tcp).expect("a node")
        };
        OnThreads { nodes: members.iter().zip(ports).map(spawn).collect() }
    }

    fn leader(&self) -> &raft_std_driver::Node {
        loop {
            if let Some(leader) = self.nodes.iter().find(|node| node.status().role == RoleKind::Leader) {
                return leader;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// A thread for each caller, which waits for each answer.
    pub(crate) fn threads_that_wait(&self, callers: usize, time: Duration) -> (Latencies, Duration) {
        let (leader, over) = (self.leader(), AtomicBool::new(false));
        let caller = || {
            let mut latencies = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let began = Instant::now();
                let outcome = leader.start(value()).map(Started::wait);
                assert!(matches!(outcome, Ok(Outcome::Applied(_))), "{outcome:?}");
                latencies.push(began.elapsed());
            }
            latencies
        };
        thread::scope(|scope| {
            let began = Instant::now();
            let threads: Vec<_> = (0..callers).map(|_| scope.spawn(caller)).collect();
            thread::sleep(time);
            let took = began.elapsed();
            over.store(true, Ordering::Relaxed);
            (threads.into_iter().flat_map(|thread| thread.join().expect("a caller")).collect(), took)
        })
    }

    /// Each answer is called back, and the call puts the next one.
    pub(crate) fn callbacks(&self, callers: usize, time: Duration) -> (Latencies, Duration) {
        let (over, (tell, told)) = (Arc::new(AtomicBool::new(false)), mpsc::channel());
        let began = Instant::now();
        for _ in 0..callers {
            Caller { node: self.leader().clone(), over: over.clone(), latencies: Vec::new(), tell: tell.clone() }.put();
        }
        thread::sleep(time);
        let took = began.elapsed();
        over.store(true, Ordering::Relaxed);
        drop(tell);
        (told.iter().flatten().collect(), took)
    }
}

struct Caller {
    node: raft_std_driver::Node,
    over: Arc<AtomicBool>,
    latencies: Latencies,
    tell: mpsc::Sender<Latencies>,
}

impl Caller {
    fn put(mut self) {
        let (node, began) = (self.node.clone(), Instant::now());
        node.submit(value(), move |outcome| {
            assert!(matches!(outcome, Ok(Outcome::Applied(_))), "{outcome:?}");
            self.latencies.push(began.elapsed());
            if self.over.load(Ordering::Relaxed) {
                let _ = self.tell.send(self.latencies);
            } else {
                self.put();
            }
        });
    }
}

/// The tokio driver's nodes, on one runtime.
pub(crate) struct OnTokio {
    runtime: Runtime,
    nodes: Vec<raft_tokio_driver::Node>,
}

impl OnTokio {
    pub(crate) fn start(directory: &Path) -> OnTokio {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        let (members, ports) = members();
        let start = |((id, _), port): (&(u64, String), TcpListener)| {
            let builder = raft_tokio_driver::Node::builder()
                .id(*id)
                .members(members.clone())
                .listener(port)
                .create(directory.join(id.to_string()))
                .machine(Register(Bytes::new()));
            runtime.block_on(builder.start()).expect("a node")
        };
        let nodes = members.iter().zip(ports).map(start).collect();
        OnTokio { runtime, nodes }
    }

    /// A task for each caller.
    pub(crate) fn tasks(&self, callers: usize, time: Duration) -> (Latencies, Duration) {
        let over = Arc::new(AtomicBool::new(false));
        self.runtime.block_on(async {
            let leader = loop {
                if let Some(leader) = self.nodes.iter().find(|node| node.watch().borrow().role == RoleKind::Leader) {
                    break leader;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            };
            let began = Instant::now();
            let caller = |_| {
                let (node, over) = (leader.clone(), over.clone());
                tokio::spawn(async move {
                    let mut latencies = Vec::new();
                    while !over.load(Ordering::Relaxed) {
                        let began = Instant::now();
                        node.start(value()).await.expect("an answer");
                        latencies.push(began.elapsed());
                    }
                    latencies
                })
            };
            let tasks: Vec<_> = (0..callers).map(caller).collect();
            tokio::time::sleep(time).await;
            let took = began.elapsed();
            over.store(true, Ordering::Relaxed);
            let mut latencies = Vec::new();
            for task in tasks {
                latencies.extend(task.await.expect("a caller"));
            }
            (latencies, took)
        })
    }
}
