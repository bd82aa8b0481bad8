//! Asked to stop, or let go of.

use std::io::{self, Write};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use raft_std_driver::observer::NodeEvent;
use raft_std_driver::raft_core::{EntryId, NodeId, Write as DiskWrite};
use raft_std_driver::storage::mem::MemStorage;
use raft_std_driver::storage::{
    Recovered, SnapshotData, SnapshotOrigin, SnapshotSink, Snapshots, Storage, StorageError,
};
use raft_std_driver::workers::block_on;
use raft_tokio_driver::{Node, SnapshotError, StartError};
use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinHandle, yield_now};

use super::{Door, Guarded, alone, entered, eventually, poll_once, stopping};
use crate::cluster::{Cluster, Member, in_time};
use crate::commands::small;

/// Every caller hears one answer, and what it says is true of the cluster that goes on.
#[tokio::test(flavor = "multi_thread")]
async fn callers_under_way_hear_what_is_true() {
    let mut cluster = Cluster::new(3).await;
    cluster.put("begin").await;
    let id = cluster.leader().await.id;
    let member = cluster.members.iter().position(|member| member.id == id).unwrap();
    let node = cluster.members[member].node.take().unwrap();
    let answered = Arc::new(AtomicUsize::new(0));
    let callers: Vec<_> = (0..32)
        .map(|caller| {
            let (node, answered) = (node.clone(), Arc::clone(&answered));
            tokio::spawn(async move {
                let mut heard = Vec::new();
                loop {
                    let command = format!("{caller}:{}", heard.len());
                    let answer = node.start(command.clone()).await;
                    answered.fetch_add(usize::from(answer.is_ok()), Ordering::Relaxed);
                    let over = answer == Err(StartError::ShutDown);
                    heard.push((command, answer));
                    if over {
                        return heard;
                    }
                }
            })
        })
        .collect();
    eventually("answers", || answered.load(Ordering::Relaxed) > 100).await;
    in_time("shutdown", node.shutdown()).await.unwrap();
    let mut heard = Vec::new();
    for caller in callers {
        heard.extend(in_time("answers", caller).await.unwrap());
    }
    cluster.put("end").await;
    let survivor = &cluster.leader().await.ledger;
    let lines = survivor.lines().clone();
    for (command, answer) in heard {
        let count = lines.iter().filter(|line| **line == command).count();
        match answer {
            Ok(_) => assert_eq!(count, 1, "{command} was answered"),
            Err(StartError::Unknown) => assert!(count <= 1, "{command} may be there"),
            Err(why) => assert_eq!(count, 0, "{command}: {why}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_being_written_is_given_up_and_waited_for() {
    let (cluster, node, guarded) = alone().await;
    node.start("x").await.unwrap();
    guarded.snapshot.set_shut(true);
    let snapshot = tokio::spawn({
        let node = node.clone();
        async move { node.snapshot().await }
    });
    guarded.snapshot.knock().await;
    let shutdown = tokio::spawn({
        let node = node.clone();
        async move { node.shutdown().await }
    });
    stopping(&node).await;
    assert!(!shutdown.is_finished(), "it still writes");
    guarded.snapshot.set_shut(false);
    in_time("shutdown", shutdown).await.unwrap().unwrap();
    assert_eq!(in_time("an answer", snapshot).await.unwrap(), Err(SnapshotError::Stopped));
    assert_eq!(cluster.members[0].disk.open().unwrap().recover().unwrap().snapshot.last, EntryId::ZERO);
}

/// A disk with doors.
struct Held {
    storage: MemStorage,
    writes: Door,
    snapshots: Door,
}

struct HeldSnapshots(Arc<dyn Snapshots>, Door);

struct HeldSink(Box<dyn SnapshotSink>, Door);

impl Storage for Held {
    fn recover(&mut self) -> Result<Recovered, StorageError> {
        self.storage.recover()
    }

    fn persist(&mut self, writes: &[DiskWrite]) -> Result<(), StorageError> {
        self.writes.pass();
        self.storage.persist(writes)
    }

    fn snapshots(&self) -> Arc<dyn Snapshots> {
        Arc::new(HeldSnapshots(self.storage.snapshots(), self.snapshots.clone()))
    }
}

impl Snapshots for HeldSnapshots {
    fn create(&self, last: EntryId, origin: SnapshotOrigin) -> Result<Box<dyn SnapshotSink>, StorageError> {
        Ok(Box::new(HeldSink(self.0.create(last, origin)?, self.1.clone())))
    }

    fn open(&self, last: EntryId) -> Result<Option<SnapshotData>, StorageError> {
        self.0.open(last)
    }

    fn discard(&self, last: EntryId) -> Result<(), StorageError> {
        self.0.discard(last)
    }
}

impl Write for HeldSink {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.1.pass();
        self.0.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl SnapshotSink for HeldSink {
    fn finish(self: Box<Self>) -> Result<(), StorageError> {
        self.0.finish()
    }
}

/// Start a member on a disk with these doors.
async fn hold(cluster: &Cluster, member: usize, writes: Door, snapshots: Door) -> Node {
    let Member { id, disk, ledger, .. } = &cluster.members[member];
    let storage = Held { storage: disk.open().unwrap(), writes, snapshots };
    let transport = cluster.network.attach(NodeId(*id));
    let builder = Node::builder().id(*id).cluster(1).storage(storage).machine(ledger.clone());
    builder.transport(transport).start().await.unwrap()
}

/// Whichever end stops, or both of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_snapshot_on_its_way_is_waited_for_at_both_ends() {
    for (sender_stops, receiver_stops) in [(true, false), (false, true), (true, true)] {
        let mut cluster = Cluster::asleep(3);
        for member in [0, 1] {
            cluster.wake(member, |builder| builder.tune(|config| config.raft.trailing_entries = 0)).await;
        }
        cluster.put("x").await;
        let sender = cluster.leader().await.id;
        let sender = cluster.members.iter().position(|member| member.id == sender).unwrap();
        cluster.members[sender].node().snapshot().await.unwrap();
        let door = Door::default();
        door.set_shut(true);
        cluster.members[2].node = Some(hold(&cluster, 2, Door::default(), door.clone()).await);
        door.knock().await;
        let stop = |member: usize| {
            let node = cluster.members[member].node().clone();
            tokio::spawn(async move { node.shutdown().await })
        };
        let mut stopped = Vec::new();
        for member in
            [(sender, sender_stops), (2, receiver_stops)].into_iter().filter_map(|(m, stops)| stops.then_some(m))
        {
            stopped.push(stop(member));
            stopping(cluster.members[member].node()).await;
        }
        assert!(!stopped.iter().any(JoinHandle::is_finished), "the data is under way");
        door.set_shut(false);
        for stopped in stopped {
            in_time("shutdown", stopped).await.unwrap().unwrap();
        }
        for (member, stops) in [(sender, sender_stops), (2, receiver_stops)] {
            if stops {
                cluster.wake(member, |builder| builder).await;
            }
        }
        cluster.put("y").await;
        cluster.agree_on(&["x", "y"]).await;
    }
}

/// A leader's snapshot is durable, and the machine has not taken it over.
#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_being_restored_is_waited_for() {
    let mut cluster = Cluster::asleep(3);
    for member in [0, 1] {
        cluster.wake(member, |builder| builder.tune(|config| config.raft.trailing_entries = 0)).await;
    }
    cluster.put("x").await;
    cluster.leader().await.node().snapshot().await.unwrap();
    let guarded = Guarded { ledger: cluster.members[2].ledger.clone(), ..Guarded::default() };
    guarded.restore.set_shut(true);
    cluster.wake(2, |builder| builder.machine(guarded.clone())).await;
    guarded.restore.knock().await;
    let node = cluster.members[2].node().clone();
    let mut shutdown = pin!(node.shutdown());
    assert!(poll_once(shutdown.as_mut()).is_pending());
    stopping(&node).await;
    assert!(poll_once(shutdown.as_mut()).is_pending(), "it still restores");
    guarded.restore.set_shut(false);
    in_time("shutdown", shutdown).await.unwrap();
    let kept = cluster.members[2].disk.open().unwrap().recover().unwrap();
    assert!(kept.snapshot.last.index.0 > 0);
    cluster.wake(2, |builder| builder).await;
    cluster.put("y").await;
    cluster.agree_on(&["x", "y"]).await;
}

/// Only the end of the node waits for it, and nobody else.
#[tokio::test]
async fn a_disk_that_stands_still_is_waited_for() {
    let (cluster, door) = (Cluster::asleep(1), Door::default());
    let node = hold(&cluster, 0, door.clone(), Door::default()).await;
    in_time("it leads", node.watch().wait_for(|now| now.applied.0 == 1)).await.unwrap();
    door.set_shut(true);
    let mut answer = pin!(node.start("x"));
    assert!(poll_once(answer.as_mut()).is_pending());
    door.knock().await;
    let mut shutdown = pin!(node.shutdown());
    assert!(poll_once(shutdown.as_mut()).is_pending());
    let status = in_time("status", node.status()).await;
    assert!(!status.running && status.last.index.0 == 2, "the core does not wait for the disk");
    assert_eq!(in_time("an answer", answer).await, Err(StartError::Unknown), "nor does who called");
    let disk = &cluster.members[0].disk;
    assert!(disk.open().is_err() && poll_once(shutdown.as_mut()).is_pending());
    door.set_shut(false);
    in_time("shutdown", shutdown).await.unwrap();
    assert_eq!(disk.open().unwrap().recover().unwrap().entries.len(), 2, "it came to an end");
}

/// What the machine has begun is answered; what it has not may have happened or not.
#[tokio::test]
async fn a_machine_at_work_is_waited_for() {
    let (cluster, node, guarded) = alone().await;
    guarded.apply.set_shut(true);
    let mut first = pin!(node.start("x"));
    assert!(poll_once(first.as_mut()).is_pending());
    guarded.apply.knock().await;
    let mut second = pin!(node.start("y"));
    assert!(poll_once(second.as_mut()).is_pending());
    in_time("committed", node.watch().wait_for(|now| now.commit.0 == 3)).await.unwrap();
    let mut shutdown = pin!(node.shutdown());
    assert!(poll_once(shutdown.as_mut()).is_pending());
    assert_eq!(poll_once(pin!(node.start("z"))).map(Result::unwrap_err), std::task::Poll::Ready(StartError::ShutDown));
    guarded.apply.set_shut(false);
    in_time("shutdown", shutdown).await.unwrap();
    assert_eq!(in_time("an answer", first).await.unwrap(), "1");
    assert_eq!(in_time("an answer", second).await, Err(StartError::Unknown));
    assert_eq!(*guarded.ledger.lines(), ["x"]);
    drop(cluster.members[0].disk.open().unwrap());
}

/// On one thread, the core cannot make room before this task waits; by then the node stops.
#[tokio::test]
async fn callers_who_wait_for_room_are_sent_home() {
    let mut cluster = Cluster::asleep(1);
    cluster.wake(0, |builder| builder.tune(small)).await;
    cluster.leader().await;
    let node = cluster.members[0].node();
    let mut callers: Vec<_> = (0..10).map(|_| Box::pin(node.start(vec![b'x'; 90]))).collect();
    assert!(callers.iter_mut().all(|caller| poll_once(caller.as_mut()).is_pending()));
    in_time("shutdown", node.shutdown()).await.unwrap();
    for caller in callers {
        assert_eq!(in_time("an answer", caller).await, Err(StartError::ShutDown));
    }
    assert!(cluster.members[0].ledger.lines().is_empty());
}

#[tokio::test]
async fn shutdown_may_be_called_twice_and_dropped_half_way() {
    let (cluster, node, _) = alone().await;
    node.start("x").await.unwrap();
    {
        let mut dropped = pin!(node.shutdown());
        assert!(poll_once(dropped.as_mut()).is_pending());
    }
    let other = node.clone();
    let (one, two, three) =
        in_time("shutdown", async { tokio::join!(node.shutdown(), other.shutdown(), node.stopped()) }).await;
    assert!(one.is_ok() && two.is_ok() && three.is_ok());
    node.shutdown().await.unwrap();
    drop(cluster.members[0].disk.open().unwrap());
}

/// Disk and address are free at once, with commands under way as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_can_be_started_again_as_soon_as_it_has_stopped() {
    let mut cluster = Cluster::asleep(1);
    for turn in 0..20_u32 {
        cluster.wake(0, |builder| builder).await;
        let node = cluster.members[0].node().clone();
        if turn % 4 == 0 {
            cluster.put("x").await;
        }
        let under_way = tokio::spawn({
            let node = node.clone();
            async move { node.start("y").await }
        });
        for _ in 0..turn {
            yield_now().await;
        }
        in_time("shutdown", node.shutdown()).await.unwrap();
        let _whatever = in_time("an answer", under_way).await.unwrap();
    }
}

#[tokio::test]
async fn the_last_handle_dropped_stops_the_node() {
    let (mut cluster, node, _) = alone().await;
    let (mut events, other) = (node.events(), node.clone());
    cluster.members[0].node = None;
    drop(node);
    assert!(other.start("x").await.is_ok(), "one is left");
    let mut watch = other.watch();
    drop(other);
    let mut last = None;
    while let Some(event) = in_time("the end", events.next()).await {
        last = Some(event.unwrap());
    }
    assert!(matches!(last, Some(NodeEvent::Stops { cause: None })), "{last:?}");
    in_time("no more", async { while watch.changed().await.is_ok() {} }).await;
    assert!(!watch.borrow().running);
    eventually("the disk is free", || cluster.members[0].disk.open().is_ok()).await;
}

fn runtimes() -> [Runtime; 2] {
    [Builder::new_multi_thread().worker_threads(2), &mut Builder::new_current_thread()]
        .map(|builder| builder.enable_all().build().unwrap())
}

/// Threads end, disk and address are free, and whoever waits outside of the runtime hears.
#[test]
fn a_runtime_that_is_dropped_takes_its_nodes_along() {
    for runtime in runtimes() {
        let (mut cluster, node, _) = runtime.block_on(alone());
        let disk = cluster.members[0].disk.clone();
        disk.set_stalled(true);
        let under_way = std::thread::spawn({
            let node = node.clone();
            move || block_on(node.start("x"))
        });
        runtime.block_on(entered(&node, 2));
        drop(runtime);
        disk.set_stalled(false);
        block_on(node.stopped()).unwrap();
        assert_eq!(under_way.join().unwrap(), Err(StartError::Unknown));
        assert_eq!(block_on(node.start("y")), Err(StartError::ShutDown));
        assert_eq!(block_on(node.snapshot()), Err(SnapshotError::Stopped));
        assert!(!block_on(node.status()).running && !node.watch().borrow().running);
        block_on(node.shutdown()).unwrap();
        let again = Builder::new_current_thread().enable_all().build().unwrap();
        again.block_on(async {
            cluster.wake(0, |builder| builder).await;
            cluster.put("z").await;
            let lines = cluster.members[0].ledger.lines().clone();
            // Nobody can tell whether the disk had begun with the first.
            assert!(lines == ["x", "z"] || lines == ["z"], "{lines:?}");
        });
    }
}

/// A handle works on any runtime, and on none.
#[test]
fn a_node_can_be_used_from_anywhere() {
    let [home, away] = runtimes();
    let (cluster, node, _) = home.block_on(alone());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..25 {
                    block_on(node.start("x")).unwrap();
                    assert!(block_on(node.status()).running);
                }
            });
        }
        away.block_on(async {
            for _ in 0..25 {
                in_time("an answer", node.start("y")).await.unwrap();
            }
            in_time("a snapshot", node.snapshot()).await.unwrap();
            in_time("applied", node.watch().wait_for(|now| now.applied.0 >= 26)).await.unwrap();
        });
    });
    assert_eq!(cluster.members[0].ledger.lines().len(), 125);
    away.block_on(in_time("shutdown", node.shutdown())).unwrap();
    drop(cluster.members[0].disk.open().unwrap());
}
