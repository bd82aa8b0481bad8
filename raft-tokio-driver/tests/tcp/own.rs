//! What only a transport of tasks can do or get wrong.

use std::future::poll_fn;
use std::io::{self, Cursor, Read};
use std::net::TcpListener;
use std::sync::{Arc, mpsc};
use std::task::{Context, Waker};
use std::time::Duration;

use raft_core::{EntryId, NodeId};
use raft_std_driver::transport::Transport;
use raft_std_driver::transport::tcp::TcpConfig;
use raft_std_driver::transport::wire::Channel;
use raft_tokio_driver::transport::tcp::TcpTransport;

use super::support::*;

/// Data that says when it is read for the first time, and comes when it may.
struct Gated {
    asked: mpsc::Sender<()>,
    gate: mpsc::Receiver<()>,
}

impl Read for Gated {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        let _ = self.asked.send(());
        let _ = self.gate.recv();
        Ok(0)
    }
}

/// A shutdown returns although a disk is stuck; the end is another matter.
#[test]
fn a_shutdown_does_not_wait_but_its_end_can_be_awaited() {
    let (one, other) = pair(&config(501), &config(502), Disk::Sound);
    let ((asked, asks), (go, gate)) = (mpsc::channel(), mpsc::channel());
    one.transport.send_snapshot(NodeId(502), snapshot(10, 1000, Gated { asked, gate }));
    asks.recv().unwrap();
    let transport = &one.transport.transport;
    transport.shutdown();
    one.heard().look(|heard| {
        heard.ended = true;
        assert_eq!(heard.sent, [(NodeId(502), EntryId::new(3, 10), false)], "told before it returns");
    });
    other.heard().wait("the end of the connection", |heard| heard.abandoned == 1);
    let mut context = Context::from_waker(Waker::noop());
    assert!(transport.poll_closed(&mut context).is_pending(), "the reader is stuck");
    drop(go);
    one.transport.wait_until_closed();
    let bound = one.transport.runtime.block_on(TcpTransport::bind(&one.address().to_string(), config(501), []));
    assert!(bound.is_ok(), "the port is free at once");
    assert_eq!(one.heard().look(|heard| heard.late), 0);
}

#[test]
fn without_a_runtime_it_cannot_start() {
    let one = Server::bind(&config(511));
    let ear = || Arc::new(Ear(Arc::clone(&one.ear)));
    let error = one.transport.transport.start(ear()).unwrap_err().to_string();
    assert_eq!(error, "the TCP transport has to be started from within a tokio runtime");
    one.transport.start(ear()).unwrap();
    assert!(Raw::connect(one.address()).greet(&hello(512, 511, Channel::Messages).encode()).is_err());
}

/// All on one thread, which nothing here may block.
#[tokio::test]
async fn two_servers_can_share_one_thread() {
    async fn until(what: &str, done: impl Fn() -> bool) {
        let patience = tokio::time::Instant::now() + PATIENCE;
        while !done() {
            assert!(tokio::time::Instant::now() < patience, "{what} did not happen");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    watch_log();
    let one = TcpTransport::bind("127.0.0.1:0", config(521), []).await.unwrap();
    let known = [(NodeId(521), one.local_addr().to_string())];
    let other = TcpTransport::bind("127.0.0.1:0", config(522), known).await.unwrap();
    let address = other.local_addr().to_string();
    let ears = [Arc::new(Endpoint(Recorder::default())), Arc::new(Endpoint(Recorder::default()))];
    let [mine, theirs] = &ears;
    one.start(Arc::new(Ear(Arc::clone(mine)))).unwrap();
    one.set_peer(NodeId(522), address.clone()).unwrap();
    other.start(Arc::new(Ear(Arc::clone(theirs)))).unwrap();
    one.send(NodeId(522), vote(1));
    until("a vote", || theirs.0.look(|heard| heard.messages == [(NodeId(521), vote(1))])).await;
    let data = vec![7; 2_000_000];
    one.send_snapshot(NodeId(522), snapshot(10, 2_000_000, Cursor::new(data.clone())));
    until("the snapshot", || mine.0.look(|heard| heard.sent == [(NodeId(522), EntryId::new(3, 10), true)])).await;
    assert!(theirs.0.look(|heard| heard.stored == [data]));
    // Endless in both directions, and ended in the middle.
    one.send_snapshot(NodeId(522), snapshot(20, 1 << 40, io::repeat(1)));
    other.send_snapshot(NodeId(521), snapshot(30, 1 << 40, io::repeat(1)));
    until("both to begin", || ears.iter().all(|ear| ear.0.look(|heard| heard.begun > heard.stored.len()))).await;
    other.shutdown();
    poll_fn(|context| other.poll_closed(context)).await;
    TcpTransport::bind(&address, config(522), []).await.unwrap();
    until("the end of both", || mine.0.look(|heard| (heard.sent.len(), heard.abandoned) == (2, 1))).await;
    assert_eq!(
        theirs.0.look(|heard| (heard.sent.clone(), heard.abandoned)),
        (vec![(NodeId(521), EntryId::new(3, 30), false)], 1)
    );
    // Dropping it is a shutdown as well.
    let address = one.local_addr().to_string();
    drop(one);
    let patience = tokio::time::Instant::now() + PATIENCE;
    while let Err(error) = TcpTransport::bind(&address, config(521), []).await {
        assert!(tokio::time::Instant::now() < patience, "{error}");
        tokio::task::yield_now().await;
    }
}

/// Four hundred who say nothing, half of them half a word, while two servers go on talking.
#[test]
fn a_flood_of_connections_disturbs_nobody() {
    let patient = TcpConfig { handshake_timeout: Duration::from_secs(3600), ..config(531) };
    let (one, other) = pair(&patient, &config(532), Disk::Sound);
    other.send(531, vote(0));
    one.heard().wait("a connection", |heard| heard.messages.len() == 1);
    let mut crowd: Vec<Raw> = Vec::new();
    for guest in 1..=400 {
        let mut raw = Raw::connect(one.address());
        if guest % 2 == 0 {
            // It may be closed already.
            let _said = io::Write::write_all(&mut raw.0, b"raft");
        }
        crowd.push(raw);
        other.send(531, vote(guest));
    }
    one.heard().wait("all votes", |heard| heard.messages.len() == 401);
    assert!(one.heard().look(|heard| heard.messages.iter().map(|(_, vote)| vote.clone()).eq((0..=400).map(vote))));
    let room = patient.handshakes_max;
    let (turned_away, waiting) = crowd.split_at_mut(400 - room);
    turned_away.iter_mut().for_each(Raw::wait_for_end);
    for raw in waiting {
        raw.0.set_nonblocking(true).unwrap();
        assert_eq!(raw.0.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
    assert_eq!(other.heard().look(|heard| heard.unreachable.len()), 0);
}

/// A move ends what is on its way to the old address.
#[test]
fn a_move_ends_a_snapshot_on_its_way() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let hour = Duration::from_secs(3600);
    let one = Server::bind(&TcpConfig { stall_timeout: hour, confirm_timeout: hour, ..config(541) });
    let one = one.knows(542, listener.local_addr().unwrap()).start();
    one.transport.send_snapshot(NodeId(542), snapshot(10, 4, &b"data"[..]));
    let old: Vec<_> = (0..2).map(|_| Raw::accept(&listener)).collect();
    let other = Server::bind(&config(542)).knows(541, one.address()).start();
    Testable::set_peer(&one.transport, NodeId(542), other.address().to_string()).unwrap();
    one.heard().wait("the end of the transfer", |heard| heard.sent == [(NodeId(542), EntryId::new(3, 10), false)]);
    one.transport.send_snapshot(NodeId(542), snapshot(11, 4, &b"data"[..]));
    one.heard().wait("the next one", |heard| heard.sent.last() == Some(&(NodeId(542), EntryId::new(3, 11), true)));
    for (mut raw, _) in old {
        raw.wait_for_end();
    }
}
