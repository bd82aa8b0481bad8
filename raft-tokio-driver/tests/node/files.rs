//! Data directories: which start is the first, whose they are, and that both drivers write the same.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use raft_std_driver::raft_core::{Bytes, Incarnation, Membership, NodeId};
use raft_std_driver::storage::{Birth, ClusterId, FileOptions, FileStorage, StorageError};
use raft_tokio_driver::transport::{LocalNetwork, TcpSockets};
use raft_tokio_driver::{BuildError, Builder, Node, NodeConfig, NodeError, RoleKind};

use crate::cluster::{Ledger, in_time};

/// Server 1, the only member of cluster 7, on a network of its own.
fn builder(ledger: &Ledger) -> Builder {
    let transport = LocalNetwork::new().attach(NodeId(1));
    Node::builder().id(1).cluster(7).members([(1, "unused:1")]).machine(ledger.clone()).transport(transport)
}

type Opens = fn(Builder, &Path) -> Builder;

const CREATE: Opens = |builder, dir| builder.create(dir);
const OPEN: Opens = |builder, dir| builder.open(dir);
const EITHER: Opens = |builder, dir| builder.open_or_create(dir);

async fn refused(builder: Builder) -> BuildError {
    in_time("a start", builder.start()).await.expect_err("it must not start")
}

fn storage_error(error: &BuildError) -> &StorageError {
    match error {
        BuildError::Storage(error) => error,
        other => panic!("{other:?}"),
    }
}

/// Start a command as soon as it leads; all of its log is applied then.
async fn put(node: &Node, command: &'static str) -> Bytes {
    in_time("it leads", node.watch().wait_for(|now| now.role == RoleKind::Leader)).await.unwrap();
    in_time("an answer", node.start(command)).await.unwrap()
}

#[tokio::test]
async fn the_first_start_creates_and_later_ones_open() {
    let (home, ledger) = (tempfile::tempdir().unwrap(), Ledger::default());
    let dir = home.path().join("deep").join("data");
    let error = refused(builder(&ledger).open(&dir)).await;
    assert!(matches!(storage_error(&error), StorageError::Empty { .. }), "{error}");
    assert!(error.to_string().contains("is empty: initialise it"), "{error}");

    let node = builder(&ledger).create(&dir).start().await.unwrap();
    assert_eq!(put(&node, "x").await, "1");
    node.shutdown().await.unwrap();
    let error = refused(builder(&ledger).create(&dir)).await;
    assert!(matches!(storage_error(&error), StorageError::NotEmpty { .. }), "{error}");
    assert!(error.to_string().contains("already belongs to a server: open it"), "{error}");

    for open in [OPEN, EITHER] {
        let ledger = Ledger::default();
        // Later the disk says who the members are.
        let node = open(builder(&ledger).members([(9, "nobody:1")]), &dir).start().await.unwrap();
        put(&node, "y").await;
        assert_eq!(ledger.lines()[0], "x");
        node.shutdown().await.unwrap();
    }
    let (fresh, ledger) = (home.path().join("fresh"), Ledger::default());
    let node = builder(&ledger).open_or_create(&fresh).start().await.unwrap();
    assert_eq!(put(&node, "z").await, "1");
    node.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_first_start_needs_members_with_this_server_among_them() {
    let (home, ledger) = (tempfile::tempdir().unwrap(), Ledger::default());
    let dir = home.path().join("data");
    let nobody: [(u64, &str); 0] = [];
    for create in [CREATE, EITHER] {
        for builder in [builder(&ledger).members(nobody), builder(&ledger).members([(2, "a:1"), (3, "b:1")])] {
            let error = refused(create(builder, &dir)).await;
            assert!(matches!(error, BuildError::Members { .. }), "{error:?}");
            assert!(error.to_string().ends_with("with server 1 among them"), "{error}");
        }
    }
    let node = builder(&ledger).create(&dir).start().await.unwrap();
    node.shutdown().await.unwrap();
}

/// A mistake changes nothing, and the directory is free again at once.
#[tokio::test]
async fn a_directory_serves_one_server_of_one_cluster_at_a_time() {
    let (home, ledger) = (tempfile::tempdir().unwrap(), Ledger::default());
    let dir = home.path().join("data");
    builder(&ledger).create(&dir).start().await.unwrap().shutdown().await.unwrap();

    let error = refused(builder(&ledger).cluster(8).open(&dir)).await;
    assert!(matches!(error, BuildError::Cluster { configured: 8, stored: 7 }), "{error:?}");
    assert_eq!(error.to_string(), "the storage is of cluster 7, not of cluster 8");
    let error = refused(builder(&ledger).id(2).open(&dir)).await;
    let (configured, stored) = (NodeId(2), NodeId(1));
    assert!(
        matches!(error, BuildError::Node(NodeError::Stranger { configured: c, stored: s }) if (c, s) == (configured, stored)),
        "{error:?}"
    );
    assert_eq!(error.to_string(), "the storage is server 1's, not server 2's");
    let error = refused(builder(&ledger).tune(|config| config.tick = Duration::ZERO).open(&dir)).await;
    assert!(matches!(error, BuildError::Node(NodeError::NoTick)), "{error:?}");

    let node = builder(&ledger).open(&dir).start().await.unwrap();
    for open in [CREATE, OPEN, EITHER] {
        let error = refused(open(builder(&ledger), &dir)).await;
        assert!(matches!(storage_error(&error), StorageError::InUse { .. }), "{error:?}");
        assert!(error.to_string().contains("is in use by another process: stop"), "{error}");
    }
    assert_eq!(put(&node, "x").await, "1");
    node.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_was_not_said_is_named() {
    let (home, ledger) = (tempfile::tempdir().unwrap(), Ledger::default());
    let dir = home.path().join("data");
    builder(&ledger).create(&dir).start().await.unwrap().shutdown().await.unwrap();
    let incomplete = [
        (Node::builder().machine(ledger.clone()).open(&dir), "id"),
        (Node::builder().id(1).open(&dir), "machine"),
        (Node::builder().id(1).machine(ledger.clone()), "open"),
        // Neither a transport nor members.
        (Node::builder().id(1).cluster(7).machine(ledger.clone()).open(&dir), ""),
    ];
    for (builder, missing) in incomplete {
        let error = refused(builder).await;
        let BuildError::Missing { call, .. } = error else { panic!("{error:?}") };
        assert!(missing.is_empty() || call == missing, "{error}");
        assert!(error.to_string().ends_with(&format!("is missing: call Builder::{call}")), "{error}");
    }
    builder(&ledger).open(&dir).start().await.unwrap().shutdown().await.unwrap();
}

/// Links that would be open although TLS was asked for, for one.
#[tokio::test]
async fn what_would_not_come_into_force_is_refused() {
    let (home, ledger) = (tempfile::tempdir().unwrap(), Ledger::default());
    let dir = home.path().join("data");
    let said: [fn(Builder) -> Builder; 4] = [
        |builder| builder.listen("127.0.0.1:0"),
        |builder| builder.listener(std::net::TcpListener::bind("127.0.0.1:0").unwrap()),
        |builder| builder.tune_tcp(|_| {}),
        |builder| builder.sockets(TcpSockets { stall_timeout: Duration::from_secs(1) }),
    ];
    for say in said {
        let error = refused(say(builder(&ledger)).create(&dir)).await;
        assert!(matches!(error, BuildError::NotTcp { .. }), "{error:?}");
    }
    let error = refused(builder(&ledger).members([(1, "a:1"), (2, "b:1"), (1, "c:1")]).create(&dir)).await;
    assert_eq!(error.to_string(), "server 1 is twice among the members");
    assert!(!dir.exists(), "nothing was touched");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_starts_at_once_one_fails_clearly() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("data");
    for round in 0..5 {
        let open = if round == 0 { CREATE } else { OPEN };
        let start = || tokio::spawn(open(builder(&Ledger::default()), &dir).start());
        let starts = [start(), start()];
        let (mut won, mut lost) = (Vec::new(), Vec::new());
        for start in starts {
            match in_time("a start", start).await.unwrap() {
                Ok(node) => won.push(node),
                Err(error) => lost.push(error),
            }
        }
        assert_eq!((won.len(), lost.len()), (1, 1), "{lost:?}");
        assert!(matches!(storage_error(&lost[0]), StorageError::InUse { .. }), "{}", lost[0]);
        won[0].shutdown().await.unwrap();
    }
}

/// What the std driver's node says, run on the same files.
struct OnThreads {
    node: raft_std_driver::Node,
    ledger: Ledger,
}

impl OnThreads {
    fn start(storage: FileStorage) -> OnThreads {
        let (ledger, transport) = (Ledger::default(), LocalNetwork::new().attach(NodeId(1)));
        let node = raft_std_driver::Node::spawn(NodeConfig::new(NodeId(1)), storage, ledger.clone(), transport);
        OnThreads { node: node.unwrap(), ledger }
    }

    /// Start a command until it leads; all of its log is applied then.
    fn put(&self, command: &'static str) {
        loop {
            match self.node.start(Bytes::from_static(command.as_bytes())) {
                Ok(started) => {
                    let outcome = started.wait();
                    assert!(matches!(outcome, raft_std_driver::Outcome::Applied(_)), "{outcome:?}");
                    return;
                }
                Err(raft_std_driver::StartError::Refused(_)) => std::thread::yield_now(),
                Err(why) => panic!("{why}"),
            }
        }
    }

    fn holds(&self, lines: &[&'static str]) {
        assert_eq!(*self.ledger.lines(), lines);
    }
}

/// The same directory by turns, with snapshots and a compacted log in between.
#[tokio::test(flavor = "multi_thread")]
async fn what_one_driver_writes_the_other_reads_and_back_again() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("data");
    let (id, path) = (NodeId(1), dir.clone());
    let snapshot = tokio::task::spawn_blocking(move || {
        let birth = Birth::founder(ClusterId(7), id, Membership::new([id])).with_incarnation(5);
        let threads = OnThreads::start(FileStorage::init(path, birth, FileOptions::default()).unwrap());
        threads.put("a");
        threads.put("b");
        let snapshot = threads.node.snapshot().unwrap();
        threads.put("c");
        threads.node.shutdown().unwrap();
        snapshot
    });
    let snapshot = snapshot.await.unwrap();

    let ledger = Ledger::default();
    let compact = |config: &mut NodeConfig| config.raft.trailing_entries = 0;
    let node = builder(&ledger).open(&dir).tune(compact).start().await.unwrap();
    assert_eq!(put(&node, "d").await, "4");
    assert_eq!(*ledger.lines(), ["a", "b", "c", "d"]);
    let status = node.status().await;
    assert_eq!((status.snapshot.last, status.incarnation), (snapshot, Incarnation(5)));
    let newer = in_time("a snapshot", node.snapshot()).await.unwrap();
    assert!(newer > snapshot && node.status().await.first_index == newer.index.next());
    put(&node, "e").await;
    node.shutdown().await.unwrap();

    let path = Arc::new(dir.clone());
    let again = tokio::task::spawn_blocking(move || {
        let threads = OnThreads::start(FileStorage::open(&*path, FileOptions::default()).unwrap());
        threads.put("f");
        threads.holds(&["a", "b", "c", "d", "e", "f"]);
        assert_eq!(threads.node.status().snapshot.last, newer);
        threads.node.shutdown().unwrap();
    });
    again.await.unwrap();

    let ledger = Ledger::default();
    let node = builder(&ledger).open(&dir).start().await.unwrap();
    assert_eq!(put(&node, "g").await, "7");
    assert_eq!(*ledger.lines(), ["a", "b", "c", "d", "e", "f", "g"]);
    node.shutdown().await.unwrap();
}

/// A directory cannot be made twice: whatever else is wrong must be found before.
#[tokio::test]
async fn a_first_start_that_fails_leaves_no_directory() {
    let (home, taken) = (tempfile::tempdir().unwrap(), std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let dir = home.path().join("data");
    let address = taken.local_addr().unwrap().to_string();
    let tcp = || Node::builder().id(1).members([(1, address.clone())]).machine(Ledger::default()).create(&dir);

    let error = refused(tcp()).await;
    assert!(matches!(error, BuildError::Bind(_)) && error.to_string().contains(&address), "{error}");
    let error = refused(tcp().members([(2, "b:1"), (3, "c:1")])).await;
    assert!(matches!(error, BuildError::Missing { call: "members", .. }), "{error}");
    drop(taken);
    let error = refused(tcp().tune(|config| config.tick = Duration::ZERO)).await;
    assert!(matches!(error, BuildError::Node(NodeError::NoTick)), "{error}");
    let error = refused(tcp().tune(|config| config.raft.append_bytes_max = 0)).await;
    assert!(matches!(error, BuildError::Node(NodeError::Restore(_))), "{error}");
    let node = tcp().start().await.unwrap();
    assert_eq!(put(&node, "x").await, "1");
    node.shutdown().await.unwrap();
}
