//! Messages arrive, in order, again after a restart; what does not fit is dropped as a whole.

use std::net::TcpListener;
use std::time::Duration;

use raft_core::{Config, NodeId, Rpc};
use raft_std_driver::transport::Transport;
use raft_std_driver::transport::tcp::TcpConfig;
use raft_std_driver::transport::wire::Channel;

use super::driver::Tested;
use super::support::*;

/// With a pause of an hour, only being heard can bring the connection back.
#[test]
fn a_peer_that_connects_is_worth_connecting_to() {
    let hour = Duration::from_secs(3600);
    let patient = TcpConfig { backoff_min: hour, backoff_max: hour, ..config(1) };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let one = Server::bind(&patient).knows(2, address).start();
    let (raw, _) = Raw::accept(&listener);
    drop((raw, listener));
    one.heard().wait("news of the loss", |heard| heard.unreachable == [NodeId(2)]);
    let other = Server::bind_at(&address.to_string(), &config(2), Disk::Sound).knows(1, one.address()).start();
    poll("a vote", || {
        one.send(2, vote(1));
        other.heard().look(|heard| !heard.messages.is_empty())
    });
}

/// The peer accepts the connection and reads nothing until the queue is over.
#[test]
fn appends_overflow_together_and_votes_pass() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let small = TcpConfig { queue_appends_max: 4, batch_bytes: 1, stall_timeout: PATIENCE, ..config(1) };
    let one = Server::bind(&small).knows(2, listener.local_addr().unwrap()).start();
    let (mut raw, _) = Raw::accept(&listener);
    let mut sent = 0;
    // The sockets' buffers are full once nothing is taken from the queue any more.
    while one.heard().look(|heard| heard.unreachable.is_empty()) {
        one.send(2, append(sent, 100_000));
        sent += 1;
    }
    for index in 0..3 {
        one.send(2, vote(index));
    }
    assert_eq!(one.heard().look(|heard| heard.unreachable.clone()), [NodeId(2)], "once per loss");
    one.send(2, append(1_000_000, 10));
    let mut appends = Vec::new();
    let mut votes = Vec::new();
    loop {
        let message = raw.read_message();
        match round_of(&message) {
            Some(1_000_000) => break,
            Some(round) => appends.push(round),
            None => votes.push(message),
        }
    }
    assert_eq!(votes, [vote(0), vote(1), vote(2)]);
    let arrived = appends.len() as u64;
    assert!(appends.iter().copied().eq(0..arrived), "what arrives has no gaps: {appends:?}");
    assert!(arrived + 5 <= sent, "the four that waited and the one too many are gone: {arrived} of {sent}");
}

/// Nothing overflows here: only a write that takes too long tells.
#[test]
fn a_peer_that_reads_nothing_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let hasty = TcpConfig {
        stall_timeout: Duration::from_millis(200),
        queue_appends_max: usize::MAX,
        queue_bytes_max: u64::MAX,
        ..config(381)
    };
    let one = Server::bind(&hasty).knows(382, listener.local_addr().unwrap()).start();
    let (_deaf, _) = Raw::accept(&listener);
    for round in 0..1000 {
        one.send(382, append(round, 100_000));
    }
    one.heard().wait("the loss", |heard| !heard.unreachable.is_empty());
    assert!(one.transport.traffic()[0].1.appends_dropped > 0, "what waited is gone");
}

/// The node is told of a message that takes long before it has come whole, and of none that does not.
#[test]
fn a_long_message_is_told_of_while_it_arrives() {
    let one = Server::bind(&config(391)).knows(392, "127.0.0.1:1".parse().unwrap()).start();
    let mut raw = Raw::connect(one.address());
    assert_eq!(raw.greet(&hello(392, 391, Channel::Messages).encode()), Ok(()));
    raw.write(&message_frame(&vote(1)));
    one.heard().wait("a vote", |heard| heard.messages.len() == 1);
    let message = append(7, 100_000);
    let bytes = message_frame(&message);
    let (first, rest) = bytes.split_at(50_000);
    for piece in first.chunks(5_000) {
        raw.write(piece);
        std::thread::sleep(Duration::from_millis(15));
    }
    one.heard().wait("a part of it", |heard| !heard.arriving.is_empty());
    one.heard().look(|heard| {
        assert!(heard.arriving.iter().all(|part| *part == (NodeId(392), message.term)), "{:?}", heard.arriving);
        assert!(heard.arriving.len() <= 10 && heard.messages.len() == 1);
    });
    raw.write(rest);
    one.heard().wait("all of it", |heard| heard.messages.last() == Some(&(NodeId(392), message.clone())));
}

/// The peer reads nothing until that was seen.
#[test]
fn what_waits_is_counted() {
    const COUNT: u64 = 640;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let deep =
        TcpConfig { queue_appends_max: usize::MAX, queue_bytes_max: u64::MAX, stall_timeout: PATIENCE, ..config(1) };
    let one = Server::bind(&deep).knows(2, listener.local_addr().unwrap()).start();
    let (mut raw, _) = Raw::accept(&listener);
    let message = append(1, 100_000);
    (0..COUNT).for_each(|_| one.send(2, message.clone()));
    let waiting = || one.transport.traffic()[0].1.waiting;
    // It is more than all buffers on the way hold.
    assert!((1..=COUNT).contains(&waiting()), "{}", waiting());
    (0..COUNT).for_each(|_| assert_eq!(raw.read_message(), message));
    poll("nothing to wait", || waiting() == 0);
}

#[test]
fn defaults_hold_more_than_the_cores_window() {
    let core = Config::new(NodeId(1));
    let queues = TcpConfig::new(CLUSTER, &core);
    assert!(queues.queue_appends_max as u64 > core.inflight_appends_max);
    assert!(queues.queue_urgent_max as u64 > core.inflight_appends_max);
    assert!(queues.queue_bytes_max > core.inflight_bytes_max + core.append_bytes_max);
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let error = Tested::listen_at(&address, config(1)).map(drop).unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot listen on {address}: Address already in use")), "{error}");
    assert!(Tested::listen_at("nonsense", config(1)).is_err());
}

#[test]
fn peers_come_move_and_go() {
    let one = Server::bind(&config(1)).start();
    let here = one.address();
    one.send(2, vote(0)); // nobody knows where to
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    one.transport.set_peer(NodeId(2), listener.local_addr().unwrap().to_string()).unwrap();
    let (mut raw, _) = Raw::accept(&listener);
    one.send(2, vote(1));
    assert!(matches!(raw.read_message().rpc, Rpc::RequestVote { last, transfer: false } if last.index.0 == 1));

    let other = Server::bind(&config(2)).knows(1, here).start();
    one.transport.set_peer(NodeId(2), other.address().to_string()).unwrap();
    raw.wait_for_end();
    poll("a vote at the new address", || {
        one.send(2, vote(2));
        other.heard().look(|heard| !heard.messages.is_empty())
    });

    other.heard().wait("its own way", |heard| !heard.reachable.is_empty());
    one.forgets(2);
    other.heard().wait("the loss", |heard| !heard.unreachable.is_empty());
    poll("the refusal", || logged(&["node=2 ", "server 2 is not a peer of the accepting server"]));
}

#[test]
fn a_transport_starts_once() {
    let one = Server::bind(&config(1)).start();
    assert!(one.transport.start(std::sync::Arc::new(Ear(std::sync::Arc::clone(&one.ear)))).is_err());
}
