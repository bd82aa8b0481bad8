//! What goes through safe links, and what the log says of those that cannot be had.

use std::io::{self, Cursor};
use std::sync::Arc;
use std::time::Duration;

use raft_core::{NodeId, Term};
use raft_std_driver::transport::{OutgoingSnapshot, Transport};
use raft_tokio_driver::machine::{Command, SnapshotWriter};
use raft_tokio_driver::tls::Tls;
use raft_tokio_driver::transport::tcp::TcpTransport;
use raft_tokio_driver::{Bytes, Node, StateMachine};

use super::AUTHORITY;
use super::certs::{Authority, Files};
use super::driver::Tested;
use super::support::*;

struct Silent;

impl StateMachine for Silent {
    fn apply(&mut self, _: &[Command<'_>], _: &mut Vec<Bytes>) -> io::Result<()> {
        Ok(())
    }

    fn snapshot(&mut self) -> SnapshotWriter {
        Box::new(|_| Ok(()))
    }

    fn restore(&mut self, _: &mut dyn io::Read) -> io::Result<()> {
        Ok(())
    }
}

fn with(id: u64, tls: Option<Tls>) -> Server {
    watch_log();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut builder = TcpTransport::builder(config(id));
    if let Some(tls) = tls {
        builder = builder.guard(tls);
    }
    let transport = runtime.block_on(builder.bind("127.0.0.1:0")).unwrap();
    ServerOn { id: NodeId(id), transport: Tested { transport, runtime }, ear: Arc::new(Endpoint(Recorder::default())) }
}

fn acquaint(one: Server, other: Server) -> (Server, Server) {
    let ((here, there), (id, other_id)) = ((one.address(), other.address()), (one.id.0, other.id.0));
    (one.knows(other_id, there).start(), other.knows(id, here).start())
}

#[test]
fn messages_and_snapshots_go_through_before_and_after_a_reload() {
    let tls = AUTHORITY.tls(631);
    let (one, other) = acquaint(with(631, Some(tls.clone())), with(632, Some(AUTHORITY.tls(632))));
    for round in 1..=3 {
        one.send(632, vote(round));
        other.send(631, vote(round + 100));
        other.heard().wait("a vote", |heard| heard.messages.last() == Some(&(NodeId(631), vote(round))));
        one.heard().wait("a vote", |heard| heard.messages.last() == Some(&(NodeId(632), vote(round + 100))));
        // A new connection each time.
        let data: Vec<u8> = (0..3_000_001_u32).map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()[2]).collect();
        let (len, copy) = (data.len() as u64, data.clone());
        let snapshot = OutgoingSnapshot { term: Term(4), meta: meta(round), len, data: Box::new(Cursor::new(copy)) };
        one.transport.send_snapshot(NodeId(632), snapshot);
        other.heard().wait("a snapshot", |heard| heard.received.last().is_some_and(|(_, _, m)| *m == meta(round)));
        assert!(other.heard().look(|heard| heard.stored.last() == Some(&data)));
        // Until then the sender begins no other.
        one.heard().wait("its end", |heard| heard.sent.last() == Some(&(NodeId(632), meta(round).last, true)));
        tls.replace(AUTHORITY.node(631).trusting(&[&AUTHORITY])).unwrap();
    }
}

#[test]
fn an_authority_that_only_one_side_knows() {
    let old = Authority::new("old");
    let both = old.node(602).trusting(&[&old, &AUTHORITY]).load(NodeId(602)).unwrap();
    let _servers = acquaint(with(601, Some(AUTHORITY.tls(601))), with(602, Some(both)));
    poll("both sides' lines", || {
        logged(&["node=601 ", "disconnected", "the peer's certificate was issued by none of our authorities"])
            && logged(&["node=602 peer=601 ", "no way to a peer", "it does not trust the authority of our certificate"])
    });
}

#[test]
fn one_side_without_tls() {
    let _servers = acquaint(with(611, Some(AUTHORITY.tls(611))), with(612, None));
    poll("both sides' lines", || {
        logged(&["node=611 ", "disconnected", "does not speak TLS"])
            && logged(&["node=611 peer=612 ", "no way to a peer", "it may be set to plain TCP"])
    });
}

/// It is found at home, not by peers that let nobody in.
#[tokio::test]
async fn a_node_with_the_certificate_of_another_does_not_start() {
    let builder = Node::builder().id(641).members([(641, "127.0.0.1:0")]).tls(&AUTHORITY.tls(642));
    let error = builder.open("/nowhere").machine(Silent).start().await.unwrap_err();
    assert_eq!(error.to_string(), "this is server 641, but its TLS was loaded for server 642");
}

/// The builder keeps the watch, so that nobody has to.
#[tokio::test]
async fn a_node_watches_the_files_of_its_certificates_until_it_stops() {
    let (home, files) = (tempfile::tempdir().unwrap(), Files::new(&AUTHORITY.node(651), &[&AUTHORITY]));
    let tls = files.config().load(NodeId(651)).unwrap();
    let builder = Node::builder().id(651).members([(651, "127.0.0.1:0")]).tls_watched(&tls, Duration::from_millis(1));
    let node = builder.create(home.path().join("data")).machine(Silent).start().await.unwrap();
    files.put(&AUTHORITY.node(651));
    let looked = async {
        while tls.changes() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    in_time(looked).await;
    node.shutdown().await.unwrap();
    let before = tls.changes();
    for _ in 0..3 {
        files.put(&AUTHORITY.node(651));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(tls.changes() <= before + 1, "a look that had begun, and no other");
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it takes too long")
}

/// A good certificate, and another id in the hello.
#[test]
fn a_member_that_says_it_is_another() {
    let strict = with(621, Some(AUTHORITY.tls(621)));
    let (strict, wrong) = acquaint(strict, with(622, Some(AUTHORITY.tls(623))));
    poll("both lines", || {
        logged(&["node=621 ", "disconnected", "claims to be server 622", "is for \"node-623\", not for \"node-622\""])
            && logged(&["node=621 peer=622 ", "no way to a peer", "is for \\\"node-623\\\", not for \\\"node-622\\\""])
    });
    wrong.send(621, vote(1));
    assert!(strict.heard().look(|heard| heard.messages.is_empty()));
}
