//! The same over TCP: who is connected, who is not and why, and how much of a log others can fill.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use raft_std_driver::net::LinkConfig;
use raft_tokio_driver::{Builder, NodeConfig};

use crate::cluster::{Cluster, in_time};
use crate::ports::ports;
use crate::subscriber::{Memory, Told, memory};
use crate::three;
use crate::told::{events, everything_has_ended};

/// Where these servers listen, and where they are.
fn places(first: u64) -> (Vec<TcpListener>, Vec<(u64, String)>) {
    let ports = ports(3);
    let addresses = ports.iter().map(|port| port.local_addr().unwrap().to_string());
    let members = (first..).zip(addresses).collect();
    (ports, members)
}

async fn wake(cluster: &mut Cluster, member: usize, port: TcpListener, members: &[(u64, String)]) {
    let small = |config: &mut NodeConfig| config.raft.trailing_entries = 0;
    let quick = |config: &mut LinkConfig| config.backoff_max = Duration::from_millis(50);
    let members = members.to_vec();
    let over_tcp = |builder: Builder| builder.tune(small).tune_tcp(quick).listener(port).members(members);
    cluster.wake_over_tcp(member, over_tcp).await;
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let holding = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    in_time(what, holding).await;
}

/// Names of the spans around it, from the outermost, with the node's own id and the peer's, where they say one.
fn around(told: &Told) -> Vec<(&str, Option<&str>, Option<&str>)> {
    let within = told.within.iter();
    within
        .map(|(name, fields)| (&**name, fields.get("node").map(|id| &**id), fields.get("peer").map(|id| &**id)))
        .collect()
}

fn count(memory: &Memory, node: u64, message: &str, level: &str) -> usize {
    events(&memory.of(node), message).iter().filter(|told| told.line.level == level).count()
}

#[tokio::test]
async fn connections_and_snapshots_are_told_within_the_node() {
    let (memory, mut cluster, (ports, members)) = (memory(), three(41), places(41));
    // Nobody listens at the third's port yet.
    let mut ports = ports.into_iter();
    let mut next = || ports.next().unwrap();
    let (first, second, third) = (next(), next(), next());
    wake(&mut cluster, 0, first, &members).await;
    wake(&mut cluster, 1, second, &members).await;
    drop(third);
    cluster.put("a").await;
    for member in &cluster.members[..2] {
        in_time("a snapshot", member.node().snapshot()).await.unwrap();
    }
    eventually("the third is missed", || count(memory, 41, "no connection to a peer", "warn") > 0).await;
    let third = TcpListener::bind(&members[2].1).unwrap();
    wake(&mut cluster, 2, third, &members).await;
    cluster.agree_on(&["a"]).await;
    eventually("all are connected", || (41..44).all(|node| count(memory, node, "connected", "info") >= 2)).await;
    let leader = cluster.leader().await.id;
    eventually("the leader hears of it", || !events(&memory.of(leader), "snapshot sent").is_empty()).await;
    for member in &cluster.members {
        in_time("its end", member.node().shutdown()).await.unwrap();
    }
    for message in ["connected", "no connection to a peer"] {
        let told = memory.of(41);
        for told in events(&told, message) {
            assert_eq!(around(told), [("raft", Some("41"), None)], "{told:?}");
            assert!(["42", "43"].contains(&&*told.fields["peer"]), "{told:?}");
        }
    }
    let restored = memory.of(43);
    let received = events(&restored, "snapshot received");
    assert_eq!(around(received[0]), [("raft", Some("43"), None)]);
    for node in 41..44 {
        everything_has_ended(&memory.of(node));
    }
    each_says_its_node(memory);
}

/// Whose a line is can be seen by its own field, or by the span around it.
pub(crate) fn each_says_its_node(memory: &Memory) {
    for told in memory.all() {
        let within = told.within.iter().any(|(name, fields)| name == "raft" && fields.contains_key("node"));
        assert!(told.fields.contains_key("node") || within, "whose is it? {told:?}");
    }
}

/// Says something that is no hello, and waits for the end of it.
fn bother(address: SocketAddr, what: &[u8]) {
    let mut stream = TcpStream::connect(address).unwrap();
    // A reset is an end as well.
    let _said = stream.write_all(what);
    let _end = stream.read(&mut [0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_fill_no_log() {
    const STRANGERS: usize = 350;
    let (memory, mut cluster, (ports, members)) = (memory(), three(51), places(51));
    let (address, first) = (ports[0].local_addr().unwrap(), ports.into_iter().next().unwrap());
    wake(&mut cluster, 0, first, &members).await;
    let crowd = tokio::task::spawn_blocking(move || {
        // A different one each time.
        (0..STRANGERS).for_each(|number| bother(address, format!("{number:040}").as_bytes()));
        bother(address, &[7; 3]);
    });
    in_time("all of them", crowd).await.unwrap();
    let (quiet, loud) = (|| count(memory, 51, "disconnected", "debug"), || count(memory, 51, "disconnected", "warn"));
    eventually("all are told", || quiet() + loud() > STRANGERS).await;
    assert_eq!(loud(), 2, "two kinds of them");
    in_time("its end", cluster.members[0].node().shutdown()).await.unwrap();
}
