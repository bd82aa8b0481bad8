//! What becomes of commands.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use raft_std_driver::raft_core::{Bytes, EntryId, Index, NodeId, Refusal, RoleKind};
use raft_std_driver::{Node, NodeConfig, Outcome, StartError, Started};

use crate::cluster::{Cluster, Machine, eventually, numbered};

fn applied(text: &str) -> Outcome {
    Outcome::Applied(Bytes::copy_from_slice(text.as_bytes()))
}

#[test]
fn a_command_is_applied_on_all_and_answered() {
    let cluster = Cluster::new(3, |_| {});
    let commands = numbered(1, 30);
    for (i, command) in (1..).zip(&commands) {
        assert_eq!(cluster.put(command), format!("{i}:{command}"));
    }
    cluster.agree_on(&commands);
    for member in &cluster.members {
        member.node().shutdown().unwrap();
    }
}

#[test]
fn commands_of_one_caller_keep_their_order() {
    let cluster = Cluster::new(1, |_| {});
    let node = cluster.leader().node();
    let (tell, told) = mpsc::channel();
    for command in numbered(1, 2000) {
        let tell = tell.clone();
        node.submit(command.into(), move |outcome| tell.send(outcome).unwrap());
    }
    for (i, command) in (1..).zip(numbered(1, 2000)) {
        assert_eq!(told.recv().unwrap(), Ok(applied(&format!("{i}:{command}"))));
    }
}

#[test]
fn a_follower_refuses_and_names_the_leader() {
    let cluster = Cluster::new(3, |_| {});
    eventually("followers name the leader", || {
        let leader = cluster.leader().id;
        let refused = Err(StartError::Refused(Refusal::NotLeader { leader: Some(leader) }));
        let others = cluster.members.iter().filter(|member| member.id != leader);
        let answers = others.map(|follower| {
            let (tell, told) = mpsc::channel();
            follower.node().submit(Bytes::from_static(b"x"), move |outcome| tell.send(outcome).unwrap());
            (follower.node().start(Bytes::from_static(b"x")).map(|started| started.id), told.recv().unwrap())
        });
        answers
            .into_iter()
            .all(|(start, submit)| start.is_err() && start.map(|_| applied("")) == refused && submit == refused)
            .then_some(())
    });
}

/// A leader takes `command` that it cannot commit: it is cut off before. Returns who it was.
fn start_on_cut_off_leader(cluster: &Cluster, command: &'static str) -> (NodeId, Started) {
    eventually("a leader takes a command just before it steps down", || {
        cluster.network.heal();
        let leader = cluster.leader();
        cluster.network.isolate(leader.id);
        match leader.node().start(Bytes::from_static(command.as_bytes())) {
            Ok(started) => Some((leader.id, started)),
            Err(StartError::Refused(Refusal::NotLeader { .. })) => None,
            Err(other) => panic!("{other}"),
        }
    })
}

#[test]
fn what_another_leader_replaced_is_superseded() {
    let cluster = Cluster::new(3, |_| {});
    cluster.put("before");
    let (old, lost) = start_on_cut_off_leader(&cluster, "lost");
    cluster.put_among("kept", |id| id != old);
    let lost = lost.wait_timeout(Duration::from_millis(20)).expect_err("nothing is decided while it is cut off");
    cluster.network.heal();
    assert_eq!(lost.wait(), Outcome::Superseded);
    cluster.agree_on(&["before".to_owned(), "kept".to_owned()]);
}

#[test]
fn what_a_snapshot_covers_is_unknown() {
    let cluster = Cluster::new(3, |_| {});
    cluster.put("before");
    let (old, lost) = start_on_cut_off_leader(&cluster, "lost");
    let id: EntryId = lost.id;
    let after: Vec<String> = (0..5).map(|i| format!("after {i}")).collect();
    cluster.put_all(&after, |id| id != old);
    // Whoever leads next, it has no log left for the one that was away.
    for member in cluster.members.iter().filter(|member| member.id != old) {
        eventually("a snapshot covers the index", || {
            member.node().snapshot().ok().filter(|snapshot| snapshot.index > id.index)
        });
    }
    cluster.network.heal();
    assert_eq!(lost.wait(), Outcome::Unknown);
    let all: Vec<String> = ["before".to_owned()].into_iter().chain(after).collect();
    cluster.agree_on(&all);
}

/// A leader that was cut off alone and comes back before anyone else stood: what it took then is applied after all.
#[test]
fn what_was_only_delayed_is_applied() {
    let cluster = Cluster::new(3, |_| {});
    let (leader, started) = eventually("a leader survives a short cut", || {
        let (leader, started) = start_on_cut_off_leader(&cluster, "late");
        cluster.network.heal();
        match started.wait() {
            Outcome::Applied(answer) => Some((leader, answer)),
            _ => None,
        }
    });
    assert!(started.ends_with(b":late"), "{leader}: {started:?}");
}

#[test]
fn waiting_commands_are_joined_into_few_syncs() {
    let cluster = Cluster::new(1, |_| {});
    let (leader, (tell, told)) = (cluster.leader(), mpsc::channel());
    cluster.put("first");
    leader.disk.set_stalled(true);
    let (before, _) = leader.disk.persisted();
    for i in 0..1000 {
        let tell = tell.clone();
        leader.node().submit(format!("c{i}").into(), move |outcome| tell.send(outcome).unwrap());
    }
    eventually("the core has all", || (leader.node().status().last.index == Index(1002)).then_some(()));
    leader.disk.set_stalled(false);
    for _ in 0..1000 {
        assert!(matches!(told.recv().unwrap(), Ok(Outcome::Applied(_))));
    }
    let (after, _) = leader.disk.persisted();
    // What the disk was busy with when it was held, and all that waited then.
    assert!(after - before <= 2, "{} syncs for 1000 commands", after - before);
}

/// A follower gets many messages while its disk is busy with one write: all that wait make one group.
#[test]
fn waiting_writes_are_joined_into_one_sync() {
    let cluster = Cluster::new(3, |_| {});
    cluster.put("first");
    let leader = cluster.leader();
    let follower = cluster.members.iter().find(|member| member.id != leader.id).unwrap();
    eventually("the leader knows where it stands", || {
        let status = leader.node().status();
        status.followers.iter().any(|it| it.id == follower.id && it.matched == status.last).then_some(())
    });
    follower.disk.set_stalled(true);
    let before = follower.disk.persisted();
    for i in 0..20 {
        cluster.put(&format!("c{i}"));
    }
    eventually("the follower has all", || (follower.node().status().last.index >= Index(22)).then_some(()));
    // Nothing may come in any more, so that nothing is counted but what waited.
    cluster.network.isolate(follower.id);
    let _taken = follower.node().status();
    let last = follower.node().status().last;
    follower.disk.set_stalled(false);
    eventually("it is durable", || (follower.node().status().durable == last.index).then_some(()));
    let after = follower.disk.persisted();
    let (persists, writes) = (after.0 - before.0, after.1 - before.1);
    assert!(writes >= 10 && persists <= 2, "{writes} writes in {persists} syncs");
}

#[test]
fn each_of_many_concurrent_callers_gets_its_own_answer() {
    let cluster = Cluster::new(3, |_| {});
    let applied: Vec<String> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..16)
            .map(|client| {
                let cluster = &cluster;
                scope.spawn(move || {
                    (0..100).filter_map(|i| put_once(cluster, &format!("{client}/{i}"))).collect::<Vec<_>>()
                })
            })
            .collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    assert_eq!(applied.len(), 1600);
    let ledger = cluster.leader().seen.commands();
    assert_eq!(ledger.iter().collect::<HashSet<_>>(), applied.iter().collect(), "each exactly once");
    assert_eq!(ledger.len(), 1600);
    cluster.agree_on(&ledger);
}

/// Start it again as long as it surely had no effect; the answer must be this command's own.
fn put_once(cluster: &Cluster, command: &str) -> Option<String> {
    let answer = cluster.put(command);
    assert!(answer.ends_with(&format!(":{command}")), "{command} was answered {answer}");
    Some(command.to_owned())
}

#[test]
fn too_much_is_refused_and_what_fits_is_taken() {
    let cluster = Cluster::new(1, |config| {
        config.raft.backlog_bytes_max = 1000;
        config.raft.disk_stall_ticks = 1_000_000;
    });
    cluster.put("first");
    let (leader, (tell, told)) = (cluster.leader(), mpsc::channel());
    eventually("nothing waits", || (leader.node().status().backlog_bytes == 0).then_some(()));
    leader.disk.set_stalled(true);
    for i in 0..100 {
        let tell = tell.clone();
        let command = format!("{i:0>100}");
        leader.node().submit(command.into(), move |outcome| tell.send((i, outcome)).unwrap());
    }
    // Eight of 100 bytes and what an entry counts besides; whichever way they were joined.
    let busy = Err(StartError::Refused(Refusal::Busy { max: 1000 }));
    let refused: Vec<_> = (8..100).map(|_| told.recv().unwrap()).collect();
    assert_eq!(refused, (8..100).map(|i| (i, busy.clone())).collect::<Vec<_>>());
    leader.disk.set_stalled(false);
    for i in 0..8 {
        let answer = format!("{}:{i:0>100}", i + 2);
        assert_eq!(told.recv().unwrap(), (i, Ok(applied(&answer))));
    }
}

#[test]
fn an_oversize_command_takes_no_others_down() {
    let cluster = Cluster::new(1, |config| config.raft.command_bytes_max = 10);
    let (node, (tell, told)) = (cluster.leader().node(), mpsc::channel());
    for command in ["0123456789", "0123456789a", "b"] {
        let tell = tell.clone();
        node.submit(command.into(), move |outcome| tell.send((command, outcome)).unwrap());
    }
    let mut heard: Vec<_> = (0..3).map(|_| told.recv().unwrap()).collect();
    heard.sort_by_key(|(command, _)| *command);
    let too_large = StartError::Refused(Refusal::TooLarge { bytes: 11, max: 10 });
    let expected =
        [("0123456789", Ok(applied("1:0123456789"))), ("0123456789a", Err(too_large)), ("b", Ok(applied("2:b")))];
    assert_eq!(heard, expected);
    assert_eq!(node.start(Bytes::from_static(b"0123456789a")).unwrap_err(), too_large);
}

/// A network that loses every fifth message costs time, and nothing else.
#[test]
fn a_lossy_network_loses_no_command() {
    let cluster = Cluster::new(3, |_| {});
    let count = AtomicU64::new(0);
    let lossy = move |_, _, _: &_| !count.fetch_add(1, Ordering::Relaxed).is_multiple_of(5);
    cluster.network.set_filter(Some(Box::new(lossy)));
    let commands = numbered(1, 100);
    cluster.put_all(&commands, |_| true);
    cluster.agree_on(&commands);
}

#[test]
fn a_restart_keeps_everything() {
    let mut cluster = Cluster::new(3, |_| {});
    let mut commands = numbered(1, 50);
    cluster.put_all(&commands, |_| true);
    for round in 0..3 {
        (0..3).for_each(|i| cluster.sleep(i));
        (0..3).for_each(|i| cluster.wake(i));
        let command = format!("after restart {round}");
        cluster.put(&command);
        commands.push(command);
        cluster.agree_on(&commands);
    }
}

#[test]
fn status_tells_how_things_stand() {
    let cluster = Cluster::new(3, |_| {});
    cluster.put("x");
    let leader = cluster.leader();
    let status = eventually("all have it", || {
        let status = leader.node().status();
        (status.followers.len() == 2 && status.followers.iter().all(|f| f.matched == status.last)).then_some(status)
    });
    assert_eq!((status.id, status.leader, status.role), (leader.id, Some(leader.id), RoleKind::Leader));
    assert_eq!(
        (status.commit, status.applied, status.durable),
        (status.last.index, status.last.index, status.last.index)
    );
    assert_eq!((status.membership.members().len(), status.running), (3, true));
    leader.node().shutdown().unwrap();
    let after = leader.node().status();
    assert_eq!((after.running, after.last, after.incarnation), (false, status.last, status.incarnation));
}

/// Handles are one node: it lives as long as the last of them.
#[test]
fn a_node_without_handles_stops() {
    let mut cluster = Cluster::new(1, |_| {});
    cluster.put("x");
    let node: Node = cluster.members[0].node.take().unwrap();
    let other = node.clone();
    drop(node);
    assert!(other.status().running);
    drop(other);
    let disk = &cluster.members[0].disk;
    eventually("the storage is closed", || disk.open().ok());
}

#[test]
fn a_stalled_disk_loses_the_leadership() {
    let cluster = Cluster::new(3, |config| config.raft.disk_stall_ticks = 20);
    cluster.put("before");
    let old = cluster.leader();
    old.disk.set_stalled(true);
    // Others can commit it without the leader's own disk, but it cannot lead for long.
    let started = old.node().start(Bytes::from_static(b"x"));
    let new = cluster.leader_among(|id| id != old.id);
    cluster.put_among("after", |id| id != old.id);
    let commands = new.seen.commands();
    old.disk.set_stalled(false);
    cluster.agree_on(&commands);
    if let Ok(started) = started {
        let outcome = started.wait();
        assert_eq!(outcome == Outcome::Superseded, !commands.contains(&"x".to_owned()), "{outcome:?}");
    }
}

#[test]
fn a_slow_machine_does_not_keep_refusals_waiting() {
    let mut cluster = Cluster::asleep(3, |_| {});
    cluster.wake(0);
    cluster.wake(1);
    cluster.put("x");
    let seen = cluster.members[2].seen.clone();
    let (gate, closed) = mpsc::channel::<()>();
    let mut machine = Machine::new(&seen);
    machine.on_apply = Box::new(move |_| {
        let _opened = closed.recv();
    });
    cluster.wake_with(2, machine);
    let node = cluster.members[2].node().clone();
    eventually("the third is being applied to", || (node.status().commit.0 >= 2).then_some(()));
    let (tell, told) = mpsc::channel();
    node.submit(Bytes::from_static(b"y"), move |outcome| tell.send(outcome).unwrap());
    assert!(matches!(told.recv(), Ok(Err(StartError::Refused(Refusal::NotLeader { .. })))));
    assert_eq!(seen.commands().len(), 0, "the machine still waits");
    drop(gate);
    cluster.agree_on(&["x".to_owned()]);
}

/// The inbox is smaller than what a caller wants in: it waits, and everything gets through.
#[test]
fn a_full_inbox_makes_callers_wait() {
    let cluster = Cluster::new(1, |config: &mut NodeConfig| config.inbox_bytes_max = 1);
    let node = cluster.leader().node();
    let done = Arc::new(AtomicU64::new(0));
    for command in numbered(1, 500) {
        let done = Arc::clone(&done);
        node.submit(command.into(), move |outcome| {
            assert!(matches!(outcome, Ok(Outcome::Applied(_))));
            done.fetch_add(1, Ordering::Relaxed);
        });
    }
    eventually("all are applied", || (done.load(Ordering::Relaxed) == 500).then_some(()));
}
