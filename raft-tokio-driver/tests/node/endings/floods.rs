//! Too much of everything, and those who do not listen.

use std::pin::pin;
use std::task::Poll;

use raft_std_driver::raft_core::Bytes;
use raft_tokio_driver::{Missed, StartError};

use super::{Guarded, alone, eventually, poll_once};
use crate::cluster::{Cluster, in_time};
use crate::commands::small;

/// What a listener has missed and what it has heard, now that the node is gone.
async fn hear_out(events: &mut raft_tokio_driver::Events, missed: &mut u64, heard: &mut u64) {
    while let Some(event) = in_time("an event", events.next()).await {
        match event {
            Ok(_) => *heard += 1,
            Err(Missed(count)) => *missed += count,
        }
    }
}

#[tokio::test]
async fn who_listens_slowly_misses_the_oldest_and_is_told_how_many() {
    let (mut cluster, node, _) = alone().await;
    let (mut slow, mut quick) = (node.events(), node.events());
    let (mut missed, mut heard) = (0, 0);
    for _ in 0..150 {
        in_time("the node waits for no listener", node.start("x")).await.unwrap();
        in_time("a snapshot", node.snapshot()).await.unwrap();
        while let Poll::Ready(event) = poll_once(pin!(quick.next())) {
            event.unwrap().unwrap();
            heard += 1;
        }
    }
    assert!(heard >= 300, "a snapshot begins and ends");
    cluster.members[0].node = None;
    drop(node);
    hear_out(&mut quick, &mut missed, &mut heard).await;
    assert_eq!(missed, 0);
    let Some(Err(Missed(count))) = in_time("an event", slow.next()).await else { panic!("it missed some") };
    let (mut more_missed, mut kept) = (0, 0);
    hear_out(&mut slow, &mut more_missed, &mut kept).await;
    assert_eq!((more_missed, count + kept), (0, heard), "each is heard or counted");
    assert!(count > 0 && kept >= 256, "only the oldest are missed");
}

/// Whatever the number of callers, only so much enters; each hears, and the node still answers in the midst of it.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_callers_at_once_all_hear() {
    let mut cluster = Cluster::asleep(1);
    let tune = |config: &mut raft_tokio_driver::NodeConfig| config.inbox_bytes_max = 2000;
    cluster.wake(0, |builder| builder.tune(tune)).await;
    cluster.leader().await;
    let node = cluster.members[0].node().clone();
    let callers: Vec<_> = (0..10_000)
        .map(|_| {
            let node = node.clone();
            tokio::spawn(async move { node.start("x").await })
        })
        .collect();
    assert!(in_time("status", node.status()).await.running);
    for caller in callers {
        assert!(in_time("an answer", caller).await.unwrap().is_ok());
    }
    assert_eq!(cluster.members[0].ledger.lines().len(), 10_000);
}

/// With a machine that stands still, only the backlog's worth is taken in and all others hear that it is too much.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_callers_of_a_node_that_stands_still_hear_busy() {
    let mut cluster = Cluster::asleep(1);
    let guarded = Guarded { ledger: cluster.members[0].ledger.clone(), ..Guarded::default() };
    cluster.wake(0, |builder| builder.machine(guarded.clone()).tune(small)).await;
    cluster.leader().await;
    let node = cluster.members[0].node().clone();
    guarded.apply.set_shut(true);
    let callers: Vec<_> = (0..10_000)
        .map(|_| {
            let node = node.clone();
            tokio::spawn(async move { node.start(vec![b'x'; 90]).await })
        })
        .collect();
    let refused = || callers.iter().filter(|caller| caller.is_finished()).count();
    eventually("nearly all are refused", || refused() >= 9_990).await;
    let status = in_time("status", node.status()).await;
    assert!(status.backlog_bytes <= 1000 && status.last.index.0 <= 11, "{status:?}");
    guarded.apply.set_shut(false);
    let mut taken = 0;
    for caller in callers {
        match in_time("an answer", caller).await.unwrap() {
            Ok(_) => taken += 1,
            Err(why) => assert_eq!(why, StartError::Busy { max: 1000 }),
        }
    }
    assert!(taken > 0 && cluster.members[0].ledger.lines().len() == taken);
}

/// Those who are polled first enter first, although there is no room for them then and they are polled backwards later.
#[tokio::test]
async fn callers_of_one_task_enter_in_the_order_in_which_they_came() {
    let mut cluster = Cluster::asleep(1);
    cluster.wake(0, |builder| builder.tune(|config| config.inbox_bytes_max = 200)).await;
    cluster.leader().await;
    let node = cluster.members[0].node();
    let names: Vec<Bytes> = (0..100).map(|number| format!("{number}").into()).collect();
    let mut callers: Vec<_> = names.iter().map(|name| Box::pin(node.start(name.clone()))).collect();
    assert!(callers.iter_mut().all(|caller| poll_once(caller.as_mut()).is_pending()));
    for caller in callers.into_iter().rev() {
        in_time("an answer", caller).await.unwrap();
    }
    assert_eq!(*cluster.members[0].ledger.lines(), names);
}
