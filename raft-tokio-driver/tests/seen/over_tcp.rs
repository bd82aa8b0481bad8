//! The same over TCP: who is connected, who is not and why, and how much of a log others can fill.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use raft_std_driver::raft_core::{Config, NodeId};
use raft_std_driver::storage::ClusterId;
use raft_tokio_driver::NodeConfig;
use raft_tokio_driver::transport::Transport;
use raft_tokio_driver::transport::tcp::{TcpConfig, TcpTransport};

use crate::cluster::{Cluster, in_time};
use crate::subscriber::{Memory, Told, What, memory};
use crate::three;
use crate::told::{events, everything_has_ended};

const CLUSTER: ClusterId = ClusterId(1);

/// Transports of these servers that know each other.
async fn transports(first: u64) -> Vec<Arc<TcpTransport>> {
    let mut all: Vec<Arc<TcpTransport>> = Vec::new();
    for id in first..first + 3 {
        let config =
            TcpConfig { backoff_max: Duration::from_millis(50), ..TcpConfig::new(CLUSTER, &Config::new(NodeId(id))) };
        all.push(Arc::new(TcpTransport::bind("127.0.0.1:0", config, []).await.unwrap()));
    }
    let addresses: Vec<String> = all.iter().map(|transport| transport.local_addr().to_string()).collect();
    for transport in &all {
        for (id, address) in (first..).zip(&addresses) {
            transport.set_peer(NodeId(id), address.clone()).unwrap();
        }
    }
    all
}

async fn wake(cluster: &mut Cluster, member: usize, transport: &Arc<TcpTransport>) {
    let transport = Arc::clone(transport) as Arc<dyn Transport>;
    let small = |config: &mut NodeConfig| config.raft.trailing_entries = 0;
    cluster.wake(member, |builder| builder.tune(small).transport(transport)).await;
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
    let (memory, mut cluster, transports) = (memory(), three(41), transports(41).await);
    wake(&mut cluster, 0, &transports[0]).await;
    wake(&mut cluster, 1, &transports[1]).await;
    cluster.put("a").await;
    for member in &cluster.members[..2] {
        in_time("a snapshot", member.node().snapshot()).await.unwrap();
    }
    eventually("the third is missed", || count(memory, 41, "no way to a peer", "warn") > 0).await;
    wake(&mut cluster, 2, &transports[2]).await;
    cluster.agree_on(&["a"]).await;
    eventually("all are connected", || (41..44).all(|node| count(memory, node, "connected", "info") >= 2)).await;
    let leader = cluster.leader().await.id;
    eventually("the leader hears of it", || !events(&memory.of(leader), "snapshot sent").is_empty()).await;
    for member in &cluster.members {
        in_time("its end", member.node().shutdown()).await.unwrap();
    }
    for message in ["connected", "no way to a peer"] {
        let told = memory.of(41);
        for told in events(&told, message) {
            assert_eq!(around(told), [("raft", Some("41"), None)], "{told:?}");
            assert!(["42", "43"].contains(&&*told.fields["peer"]), "{told:?}");
        }
    }
    let restored = memory.of(43);
    let received = events(&restored, "snapshot received");
    let sender = Some(&*received[0].fields["peer"]);
    let spans =
        [("raft", Some("43"), None), ("connection", Some("43"), sender), ("receive_snapshot", Some("43"), sender)];
    assert_eq!(around(received[0]), spans);
    let opened = |node, name: &str| {
        memory.of(node).iter().filter(|told| told.what == What::Opened && told.line.name == name).count()
    };
    assert!(opened(leader, "send_snapshot") > 0);
    for node in 41..44 {
        assert!(opened(node, "connection") >= 4, "two each way");
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
    let (memory, mut cluster, transports) = (memory(), three(51), transports(51).await);
    wake(&mut cluster, 0, &transports[0]).await;
    let address = transports[0].local_addr();
    let crowd = tokio::task::spawn_blocking(move || {
        // A different one each time.
        (0..STRANGERS).for_each(|number| bother(address, format!("{number:040}").as_bytes()));
        bother(address, &[7; 3]);
    });
    drop(transports);
    in_time("all of them", crowd).await.unwrap();
    let (quiet, loud) = (|| count(memory, 51, "disconnected", "debug"), || count(memory, 51, "disconnected", "warn"));
    eventually("all are told", || quiet() + loud() > STRANGERS).await;
    assert_eq!(loud(), 2, "two kinds of them");
    in_time("its end", cluster.members[0].node().shutdown()).await.unwrap();
}
