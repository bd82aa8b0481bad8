//! Starts: given up half way, without a runtime that fits, and on what is there already.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::Pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Waker};

use raft_std_driver::raft_core::{NodeId, Write};
use raft_std_driver::storage::mem::MemStorage;
use raft_std_driver::storage::{FileOptions, Recovered, Snapshots, Storage, StorageError};
use raft_std_driver::workers::block_on;
use raft_tokio_driver::transport::LocalNetwork;
use raft_tokio_driver::transport::link::{BoxFuture, BoxStream, Listener, Sockets};
use raft_tokio_driver::{BuildError, Builder, Node, RoleKind};
use tokio::runtime;
use tokio::task::spawn_blocking;

use crate::cluster::{Cluster, Ledger, in_time};

/// Server 1, the only member, at an address of its own.
fn tcp() -> Builder {
    Node::builder().id(1).members([(1, "127.0.0.1:0")]).machine(Ledger::default())
}

/// The same, on a network of its own.
fn local() -> Builder {
    tcp().transport(LocalNetwork::new().attach(NodeId(1)))
}

fn poll_once<T>(future: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn without_a_runtime_that_fits_nothing_is_touched() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("data");
    let single = || runtime::Builder::new_current_thread();
    let (no_timers, no_io) = (single().enable_io().build().unwrap(), single().enable_time().build().unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let refused = [
        block_on(local().create(&dir).start()),
        no_timers.block_on(local().create(&dir).start()),
        no_io.block_on(tcp().create(&dir).start()),
        no_io.block_on(tcp().sockets(NoSockets).listener(listener).create(&dir).start()),
    ];
    for error in refused.map(Result::unwrap_err) {
        assert!(matches!(error, BuildError::NoRuntime(_)), "{error:?}");
        assert!(error.to_string().starts_with("a node starts within a tokio runtime with time and IO enabled: "));
    }
    // Those who bring sockets of their own know what they need.
    let error = no_io.block_on(tcp().sockets(NoSockets).create(&dir).start()).unwrap_err();
    assert!(error.to_string().ends_with("there are none"), "{error}");
    assert!(!dir.exists());
    no_io.block_on(async { local().create(&dir).start().await.unwrap().shutdown().await.unwrap() });
}

#[derive(Debug)]
struct NoSockets;

impl NoSockets {
    fn none<'a, T: 'a>() -> BoxFuture<'a, io::Result<T>> {
        Box::pin(async { Err(io::Error::other("there are none")) })
    }
}

impl Sockets for NoSockets {
    fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        NoSockets::none()
    }

    fn connect(&self, _: SocketAddr) -> BoxFuture<'_, io::Result<BoxStream>> {
        NoSockets::none()
    }

    fn listen<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        NoSockets::none()
    }
}

/// The runtime has one thread for what blocks, which does one thing after the other.
#[test]
fn a_first_start_that_is_given_up_before_its_turn_makes_no_directory() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("data");
    let runtime = runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let (go, gate) = mpsc::channel::<()>();
        let busy = spawn_blocking(move || assert!(gate.recv().is_err()));
        let mut start = Box::pin(local().create(&dir).start());
        assert!(poll_once(start.as_mut()).is_pending());
        drop(start);
        drop(go);
        in_time("its turn", busy).await.unwrap();
        in_time("the end of its turn", spawn_blocking(|| ())).await.unwrap();
        assert!(!dir.exists());
        in_time("a start", local().create(&dir).start()).await.unwrap().shutdown().await.unwrap();
    });
}

/// Says when it is asked for what it kept, and answers when it may.
struct Slow {
    storage: MemStorage,
    asked: mpsc::Sender<()>,
    gate: mpsc::Receiver<()>,
}

impl Storage for Slow {
    fn recover(&mut self) -> Result<Recovered, StorageError> {
        self.asked.send(()).unwrap();
        let _ = self.gate.recv();
        self.storage.recover()
    }

    fn persist(&mut self, writes: &[Write]) -> Result<(), StorageError> {
        self.storage.persist(writes)
    }

    fn snapshots(&self) -> Arc<dyn Snapshots> {
        self.storage.snapshots()
    }
}

#[tokio::test]
async fn a_start_that_is_given_up_in_the_middle_lets_go_of_its_disk() {
    let mut cluster = Cluster::asleep(1);
    let ((asked, asks), (go, gate)) = (mpsc::channel(), mpsc::channel::<()>());
    let storage = Slow { storage: cluster.members[0].disk.open().unwrap(), asked, gate };
    let mut start = Box::pin(local().cluster(1).storage(storage).start());
    assert!(poll_once(start.as_mut()).is_pending());
    asks.recv().unwrap();
    drop(start);
    assert!(cluster.members[0].disk.open().is_err(), "it still reads");
    drop(go);
    let free = async {
        while cluster.members[0].disk.open().is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    };
    in_time("a free disk", free).await;
    cluster.wake(0, |builder| builder).await;
    cluster.put("x").await;
}

/// It is refused, and let go of.
#[tokio::test]
async fn a_storage_of_ones_own_is_of_the_same_cluster() {
    let mut cluster = Cluster::asleep(1);
    let disk = cluster.members[0].disk.clone();
    for configured in [0, 2] {
        let error = local().cluster(configured).storage(disk.open().unwrap()).start().await.unwrap_err();
        assert!(matches!(error, BuildError::Cluster { configured: c, stored: 1 } if c == configured), "{error:?}");
    }
    cluster.wake(0, |builder| builder).await;
    cluster.put("x").await;
}

#[tokio::test]
async fn a_node_says_where_it_listens_and_takes_what_is_bound_already() {
    let home = tempfile::tempdir().unwrap();
    let (one, other) = (home.path().join("one"), home.path().join("other"));
    let node = in_time("a start", tcp().create(&one).start()).await.unwrap();
    let address = node.local_addr().unwrap();
    assert!(address.ip().is_loopback() && address.port() != 0);
    TcpStream::connect(address).unwrap();
    node.shutdown().await.unwrap();

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // The last word counts.
    let builder = tcp().members([(1, "nowhere.invalid:1")]).listen("nowhere.invalid:2").listener(listener);
    let node = in_time("a start", builder.create(&other).start()).await.unwrap();
    assert_eq!(node.local_addr(), Some(address));
    TcpStream::connect(address).unwrap();
    in_time("it leads", node.watch().wait_for(|now| now.role == RoleKind::Leader)).await.unwrap();
    node.shutdown().await.unwrap();
    assert!(TcpStream::connect(address).is_err(), "it is free again");

    let node = in_time("a start", local().open(&other).start()).await.unwrap();
    assert_eq!(node.local_addr(), None);
    node.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_directory_is_used_as_its_options_say() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("data");
    let small = FileOptions { segment_bytes: 16 << 10 };
    for builder in [local().create(&dir), local().open(&dir)] {
        let node = in_time("a start", builder.file_options(small).start()).await.unwrap();
        in_time("it leads", node.watch().wait_for(|now| now.role == RoleKind::Leader)).await.unwrap();
        node.start("x").await.unwrap();
        node.shutdown().await.unwrap();
        let files = std::fs::read_dir(&dir).unwrap().map(|file| file.unwrap().metadata().unwrap().len());
        assert!(files.max().unwrap() <= 16 << 10);
    }
    let disk = Cluster::asleep(1).members[0].disk.clone();
    let error = local().storage(disk.open().unwrap()).file_options(small).start().await.unwrap_err();
    assert!(matches!(error, BuildError::NotFiles), "{error}");
}
