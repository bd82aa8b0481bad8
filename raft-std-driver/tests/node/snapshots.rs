//! Snapshots: taken, kept, sent, restored.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use raft_std_driver::SnapshotError;
use raft_std_driver::raft_core::{EntryId, Index};

use crate::cluster::{Cluster, Machine, eventually, numbered, write_lines};

#[test]
fn a_snapshot_is_durable_and_the_log_compacted_when_it_returns() {
    let mut cluster = Cluster::new(1, |_| {});
    let commands = numbered(1, 20);
    cluster.put_all(&commands, |_| true);
    let node = cluster.members[0].node();
    assert_eq!(node.status().snapshot.last, EntryId::ZERO);
    cluster.members[0].disk.set_delay(Duration::from_millis(30));
    let id = node.snapshot().unwrap();
    assert_eq!(id.index, Index(21), "the leader's first entry and 20 commands");
    let status = node.status();
    assert_eq!((status.snapshot.last, status.first_index), (id, Index(22)));
    let kept = cluster.members[0].disk.recovered();
    assert_eq!((kept.snapshot.last, kept.entries.len()), (id, 0));
    assert_eq!(node.snapshot(), Ok(id), "nothing new: the same one");
    cluster.members[0].disk.set_delay(Duration::ZERO);

    cluster.sleep(0);
    cluster.wake(0);
    cluster.agree_on(&commands);
    assert_eq!(cluster.members[0].seen.get().restores, 1);
    assert_eq!(cluster.put("more"), "21:more");
}

#[test]
fn a_new_node_has_the_snapshot_of_nothing() {
    let mut cluster = Cluster::asleep(3, |_| {});
    cluster.wake(0);
    assert_eq!(cluster.members[0].node().snapshot(), Ok(EntryId::ZERO));
}

#[test]
fn a_lagging_follower_catches_up_by_snapshot() {
    let mut cluster = Cluster::new(3, |config| config.snapshot_log_bytes = 300);
    cluster.put("c1");
    cluster.agree_on(&numbered(1, 1));
    cluster.sleep(2);
    let commands = numbered(1, 100);
    cluster.put_all(&commands[1..], |_| true);
    for member in &cluster.members[..2] {
        eventually("the log is cut", || (member.node().status().first_index > Index(50)).then_some(()));
    }
    cluster.wake(2);
    cluster.agree_on(&commands);
    assert!(cluster.members[2].seen.get().restores > 0);
    cluster.put("c101");
    cluster.agree_on(&numbered(1, 101));

    // What it received is what it starts from next time.
    (0..3).for_each(|i| cluster.sleep(i));
    (0..3).for_each(|i| cluster.wake(i));
    cluster.put("c102");
    cluster.agree_on(&numbered(1, 102));
}

/// Cut the line in the middle of transfers, often: each time the follower ends up whole.
#[test]
fn a_follower_that_keeps_losing_touch_catches_up() {
    let cluster = Cluster::new(3, |config| config.snapshot_log_bytes = 100);
    let mut commands = Vec::new();
    for round in 0..10 {
        let away = cluster.members[round % 3].id;
        cluster.network.isolate(away);
        let more: Vec<_> = (0..20).map(|i| format!("{round}/{i}")).collect();
        cluster.put_all(&more, |id| id != away);
        commands.extend(more);
        cluster.network.heal();
    }
    cluster.agree_on(&commands);
}

/// A machine whose first snapshot is not written before the gate opens.
fn gated(cluster: &Cluster, taken: &Arc<AtomicU64>) -> (mpsc::Sender<()>, Machine) {
    let (gate, closed) = mpsc::channel();
    let closed = Arc::new(Mutex::new(closed));
    let mut machine = Machine::new(&cluster.members[0].seen);
    let taken = Arc::clone(taken);
    machine.on_snapshot = Box::new(move |lines| {
        let first = taken.fetch_add(1, Ordering::Relaxed) == 0;
        let closed = Arc::clone(&closed);
        Box::new(move |out| {
            if first {
                let _opened = closed.lock().unwrap().recv();
            }
            write_lines(lines)(out)
        })
    });
    (gate, machine)
}

#[test]
fn who_asks_during_a_build_gets_the_next_one() {
    let mut cluster = Cluster::asleep(1, |_| {});
    let taken = Arc::default();
    let (gate, machine) = gated(&cluster, &taken);
    cluster.wake_with(0, machine);
    cluster.put("c1");
    let (node, (tell, told)) = (cluster.members[0].node(), mpsc::channel());
    std::thread::scope(|scope| {
        let first = scope.spawn(|| node.snapshot());
        eventually("the first is frozen", || (taken.load(Ordering::Relaxed) == 1).then_some(()));
        cluster.put("c2");
        let second = scope.spawn(|| {
            tell.send(()).unwrap();
            node.snapshot()
        });
        told.recv().unwrap();
        // The log goes on during the build; this also lets the second request arrive.
        cluster.put("c3");
        gate.send(()).unwrap();
        assert_eq!(first.join().unwrap().unwrap().index, Index(2));
        let second = second.join().unwrap().unwrap().index;
        assert!(second >= Index(3), "{second}");
    });
}

/// What grows beyond the limit during a build leads to another one, though nothing is applied afterwards.
#[test]
fn what_grows_during_a_build_is_not_forgotten() {
    let mut cluster = Cluster::asleep(1, |config| config.snapshot_log_bytes = 200);
    let taken = Arc::default();
    let (gate, machine) = gated(&cluster, &taken);
    cluster.wake_with(0, machine);
    cluster.put_all(&numbered(1, 100), |_| true);
    assert_eq!(taken.load(Ordering::Relaxed), 1);
    gate.send(()).unwrap();
    let node = cluster.members[0].node();
    eventually("the second covers all", || (node.status().snapshot.last.index == Index(101)).then_some(()));
    assert_eq!(taken.load(Ordering::Relaxed), 2);
}

/// The leader's snapshot overtakes the own one that is still being written.
#[test]
fn an_own_snapshot_that_comes_too_late_is_not_missed() {
    let mut cluster = Cluster::asleep(3, |_| {});
    let taken = Arc::default();
    let (gate, machine) = gated(&cluster, &taken);
    cluster.wake_with(0, machine);
    (1..3).for_each(|i| cluster.wake(i));
    cluster.put("c1");
    cluster.agree_on(&numbered(1, 1));
    let slow = cluster.members[0].id;
    let node = cluster.members[0].node();
    std::thread::scope(|scope| {
        let late = scope.spawn(|| node.snapshot());
        eventually("it is frozen", || (taken.load(Ordering::Relaxed) == 1).then_some(()));
        cluster.network.isolate(slow);
        cluster.put_all(&numbered(2, 9), |id| id != slow);
        for member in &cluster.members[1..] {
            member.node().snapshot().unwrap();
        }
        cluster.network.heal();
        eventually("it is restored", || (cluster.members[0].seen.commands().len() == 9).then_some(()));
        gate.send(()).unwrap();
        let current = late.join().unwrap().unwrap();
        assert!(current.index >= Index(9), "{current}");
        assert_eq!(node.status().snapshot.last, current);
    });
    cluster.put("c10");
    cluster.agree_on(&numbered(1, 10));
    assert!(cluster.members[0].seen.get().restores > 0);
}

#[test]
fn nobody_waits_for_a_snapshot_of_a_node_that_stops() {
    let mut cluster = Cluster::asleep(1, |_| {});
    let (frozen, mut machine) = (Arc::new(AtomicBool::new(false)), Machine::new(&cluster.members[0].seen));
    let noted = Arc::clone(&frozen);
    machine.on_snapshot = Box::new(move |_| {
        noted.store(true, Ordering::Relaxed);
        // Without an end, but for the node's own.
        Box::new(|out| {
            loop {
                out.write_all(&[0; 1 << 16])?;
                std::thread::yield_now();
            }
        })
    });
    cluster.wake_with(0, machine);
    cluster.put("x");
    let node = cluster.members[0].node();
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| node.snapshot());
        eventually("it is being written", || frozen.load(Ordering::Relaxed).then_some(()));
        node.shutdown().unwrap();
        assert_eq!(asked.join().unwrap(), Err(SnapshotError::Stopped));
    });
    assert_eq!(node.snapshot(), Err(SnapshotError::Stopped));
}

/// While its machine stands still, a follower is sent two snapshots: the data of the first is gone when the machine gets
/// to it.
#[test]
fn a_snapshot_overtaken_by_a_newer_one_is_not_restored() {
    let mut cluster = Cluster::asleep(3, |_| {});
    (0..2).for_each(|i| cluster.wake(i));
    cluster.put("c1");
    let (gate, closed) = mpsc::channel::<()>();
    let mut machine = Machine::new(&cluster.members[2].seen);
    machine.on_apply = Box::new(move |_| {
        let _opened = closed.recv();
    });
    cluster.wake_with(2, machine);
    let slow = cluster.members[2].id;
    let node = cluster.members[2].node().clone();
    eventually("it is being applied to", || (node.status().commit >= Index(2)).then_some(()));
    for range in [2..=5, 6..=9] {
        cluster.network.isolate(slow);
        cluster.put_all(&numbered(*range.start(), *range.end()), |id| id != slow);
        let newest = cluster.members[..2].iter().map(|member| member.node().snapshot().unwrap()).min().unwrap();
        cluster.network.heal();
        eventually("it has the snapshot", || (node.status().snapshot.last >= newest).then_some(()));
        // Until the leader knows, it keeps what follows for the transfer, and would have no need of another snapshot.
        eventually("its leader knows", || {
            let followers = cluster.leader_among(|id| id != slow).node().status().followers;
            followers.iter().any(|follower| follower.id == slow && follower.matched >= newest).then_some(())
        });
    }
    drop(gate);
    cluster.agree_on(&numbered(1, 9));
    assert_eq!(cluster.members[2].seen.get().restores, 1);
    cluster.put("c10");
    cluster.agree_on(&numbered(1, 10));
}
