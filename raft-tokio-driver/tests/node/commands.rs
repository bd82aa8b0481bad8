//! Commands, their answers, and who no longer waits for them.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use raft_std_driver::observer::NodeEvent;
use raft_std_driver::raft_core::{Bytes, Change, Edit, NodeId, Refusal};
use raft_std_driver::storage::mem::MemDisk;
use raft_tokio_driver::{ChangeError, ChangeOutcome, NodeConfig, ReadError, RoleKind, StartError, TransferError};

use crate::cluster::{Cluster, in_time};

pub(crate) fn small(config: &mut NodeConfig) {
    config.raft.command_bytes_max = 100;
    config.raft.backlog_bytes_max = 1000;
    config.inbox_bytes_max = 200;
}

#[tokio::test]
async fn a_command_resolves_to_the_machines_answer() {
    let cluster = Cluster::new(3).await;
    let leader = cluster.leader().await;
    for count in 1..=3 {
        assert_eq!(in_time("an answer", leader.node().start("x")).await.unwrap(), count.to_string());
    }
    cluster.agree_on(&["x", "x", "x"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_are_answered_in_order_and_refused_one_by_one() {
    let mut cluster = Cluster::asleep(1);
    cluster.wake(0, |builder| builder.tune(small)).await;
    cluster.leader().await;
    let node = cluster.members[0].node();
    let commands = [Bytes::from_static(b"a"), Bytes::from(vec![0; 101]), Bytes::from_static(b"b")];
    let answers = in_time("answers", node.start_all(commands)).await;
    let expected = [Ok("1".into()), Err(StartError::TooLarge { bytes: 101, max: 100 }), Ok("2".into())];
    assert_eq!(answers, expected);
    assert_eq!(in_time("nothing", node.start_all([] as [Bytes; 0])).await, []);
    // What a single one may be made of, many may be made of too; and what they come from may stay on this thread.
    let texts = Rc::new(["c", "d"]);
    let of_texts = node.start_all(texts.iter().copied());
    assert_eq!(in_time("answers", sendable(of_texts)).await, [Ok("3".into()), Ok("4".into())]);
}

pub(crate) fn sendable<F: Future + Send>(future: F) -> F {
    future
}

#[tokio::test]
async fn a_follower_refuses_and_names_the_leader() {
    let cluster = Cluster::new(3).await;
    cluster.put("x").await;
    cluster.agree_on(&["x"]).await;
    let leader = cluster.leader().await.node().id();
    let follower = cluster.members.iter().find(|member| member.node().id() != leader).unwrap();
    let why = in_time("a refusal", follower.node().start("y")).await.unwrap_err();
    assert_eq!((why, why.leader()), (StartError::NotLeader { leader: Some(leader) }, Some(leader)));
    assert!(why.to_string().ends_with(&format!("start it at server {leader}")) && !why.may_have_happened());
}

#[tokio::test]
async fn a_command_cut_off_with_its_leader_is_superseded() {
    let cluster = Cluster::new(3).await;
    cluster.put("x").await;
    let old = cluster.leader().await;
    cluster.network.isolate(old.node().id());
    let lost = tokio::spawn({
        let node = old.node().clone();
        async move { node.start("lost").await }
    });
    let others = || cluster.members.iter().filter(|member| member.id != old.id);
    let leads = |member: &&crate::cluster::Member| member.node().watch().borrow().role == RoleKind::Leader;
    let new = async {
        loop {
            if let Some(member) = others().find(leads) {
                return member;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    in_time("a new leader", new).await.node().start("kept").await.unwrap();
    cluster.network.heal();
    assert_eq!(in_time("an outcome", lost).await.unwrap(), Err(StartError::Superseded));
    cluster.agree_on(&["x", "kept"]).await;
}

/// A slow machine: more waits than may, and every caller hears of it. The rest of the node goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_machine_makes_callers_hear_busy() {
    let mut cluster = Cluster::asleep(1);
    cluster.wake(0, |builder| builder.tune(small)).await;
    cluster.leader().await;
    let (node, ledger) = (cluster.members[0].node(), cluster.members[0].ledger.clone());
    let gate = Arc::clone(&ledger.gate);
    let closed = tokio::task::spawn_blocking(move || {
        let (open, opened) = std::sync::mpsc::channel::<()>();
        let (shut, is_shut) = std::sync::mpsc::channel();
        let holder = std::thread::spawn(move || {
            let _gate = gate.lock().unwrap();
            shut.send(()).unwrap();
            let _ = opened.recv();
        });
        is_shut.recv().unwrap();
        (open, holder)
    });
    let (open, holder) = closed.await.unwrap();
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let node = node.clone();
        callers.spawn(async move { node.start(vec![b'x'; 90]).await });
    }
    // Nothing can be applied now: whoever hears something hears this.
    let refused = in_time("busy", callers.join_next()).await.unwrap().unwrap();
    assert_eq!(refused, Err(StartError::Busy { max: 1000 }));
    assert!(in_time("status", node.status()).await.running, "the core waits for nobody");
    drop(open);
    holder.join().unwrap();
    let answers = in_time("answers", callers.join_all()).await;
    assert!(answers.iter().any(Result::is_ok));
    assert!(answers.iter().all(|answer| matches!(answer, Ok(_) | Err(StartError::Busy { .. }))));
}

fn poll_once<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Dropped at whatever moment, a caller loses its answer and nothing else: all is applied at most once, in order, and the
/// node serves the next.
#[tokio::test]
async fn a_dropped_caller_loses_its_answer_and_nothing_else() {
    let cluster = Cluster::new(3).await;
    cluster.put("first").await;
    let leader = cluster.leader().await;
    let node = leader.node();
    {
        // Never polled: never started.
        drop(node.start("never"));
        let mut once = pin!(node.start("once"));
        assert!(poll_once(once.as_mut()).is_pending());
    }
    for turn in 0..20_u32 {
        let start = node.start("maybe");
        tokio::select! {
            biased;
            () = async { for _ in 0..turn { tokio::task::yield_now().await } } => {}
            answer = start => assert!(answer.is_ok()),
        }
    }
    {
        let mut snapshot = pin!(node.snapshot());
        let mut status = pin!(node.status());
        assert!(poll_once(snapshot.as_mut()).is_pending() && poll_once(status.as_mut()).is_pending());
    }
    cluster.put("last").await;
    let lines = leader.ledger.lines().clone();
    assert_eq!((&lines[0], &lines[1], &lines[lines.len() - 1]), (&"first".into(), &"once".into(), &"last".into()));
    assert!(lines.len() <= 23 && lines[2..lines.len() - 1].iter().all(|line| line == "maybe"));
}

/// Callers wait while more than the inbox takes waits for the core, which only takes it when it is polled.
#[tokio::test]
async fn too_many_callers_wait_for_room() {
    let mut cluster = Cluster::asleep(1);
    cluster.wake(0, |builder| builder.tune(small)).await;
    cluster.leader().await;
    let node = cluster.members[0].node();
    // On this thread the core runs only when this task waits.
    let mut callers: Vec<_> = (0..10).map(|_| Box::pin(node.start(vec![b'x'; 90]))).collect();
    for caller in &mut callers {
        assert!(poll_once(caller.as_mut()).is_pending());
    }
    // 106 bytes each with an entry's overhead: two exceed 200, and the others have not entered.
    callers.truncate(5);
    let answers = in_time("answers", futures_join(callers)).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    let lines = cluster.members[0].ledger.lines().len();
    assert_eq!(lines, 5, "who gave up waiting for room has started nothing");
}

async fn futures_join<T>(futures: Vec<std::pin::Pin<Box<impl Future<Output = T>>>>) -> Vec<T> {
    let mut results = Vec::new();
    for future in futures {
        results.push(future.await);
    }
    results
}

#[tokio::test]
async fn who_watches_sees_every_change_and_its_end() {
    let mut cluster = Cluster::asleep(1);
    cluster.wake(0, |builder| builder).await;
    let node = cluster.members[0].node().clone();
    let mut watch = node.watch();
    let leads = in_time("leads", watch.wait_for(|now| now.role == RoleKind::Leader)).await.unwrap().term;
    assert!(leads.0 > 0);
    let mut events = node.events();
    node.start("x").await.unwrap();
    let applied = in_time("applied", watch.wait_for(|now| now.applied == now.commit && now.applied.0 == 2)).await;
    assert_eq!(applied.unwrap().leader, Some(node.id()));
    node.shutdown().await.unwrap();
    assert!(!in_time("the end", watch.wait_for(|now| !now.running)).await.unwrap().running);
    let mut last = None;
    while let Some(event) = in_time("an event", events.next()).await {
        last = Some(event.unwrap());
    }
    assert!(matches!(last, Some(NodeEvent::Stops { cause: None })), "{last:?}");
    assert!(in_time("nothing", node.events().next()).await.is_none());
    let status = in_time("status", node.status()).await;
    assert!(!status.running && status.applied.0 == 2);
    // There is a handle, but nothing will ever change, and who led leads no more.
    for mut watch in [watch, node.watch()] {
        let last = *watch.borrow();
        assert_eq!((last.role, last.leader, last.running), (RoleKind::Follower, None, false));
        assert_eq!((last.term, last.applied.0), (leads, 2));
        assert!(in_time("a leader", watch.wait_for(|now| now.role == RoleKind::Leader)).await.is_err());
        assert!(in_time("no other end", watch.changed()).await.is_err());
        assert!(in_time("what never comes", watch.wait_for(|now| now.term > leads.next())).await.is_err());
    }
    let _: &MemDisk = &cluster.members[0].disk;
}

/// What the core can do besides commands, by the same handle.
#[tokio::test]
async fn reads_transfers_and_changes_are_awaited() {
    let cluster = Cluster::new(3).await;
    cluster.put("a").await;
    for member in &cluster.members {
        // One that does not know its leader yet refuses.
        let read = async {
            while member.node().read().await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        in_time("a read", read).await;
        assert_eq!(*member.ledger.lines(), ["a"], "nobody's state is older than what was acknowledged");
    }
    let old = cluster.leader().await.node().clone();
    let new = in_time("a transfer", old.transfer(None)).await.unwrap();
    assert_ne!(new, old.id());
    let leader = cluster.leader().await.node().clone();
    let gone = cluster.members.iter().map(|member| NodeId(member.id)).find(|id| *id != leader.id()).unwrap();
    let change = async {
        loop {
            // It has not committed in its own term yet.
            match leader.change(Change::of(Edit::Remove { id: gone })).await {
                Err(ChangeError::Refused(Refusal::NotReady)) => tokio::time::sleep(Duration::from_millis(5)).await,
                changed => return changed,
            }
        }
    };
    let changed = in_time("a change", change).await;
    assert!(matches!(changed, Ok(ChangeOutcome::Done { .. })), "{changed:?}");
    assert_eq!(leader.status().await.membership.members().len(), 2);
    in_time("its end", leader.shutdown()).await.unwrap();
    let stopped = (leader.read().await, leader.transfer(None).await);
    assert_eq!(stopped, (Err(ReadError::Stopped), Err(TransferError::Stopped)));
}
