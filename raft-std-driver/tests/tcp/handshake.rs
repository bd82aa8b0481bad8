//! Who is let in, and what happens to those who are not or who misbehave.

use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use raft_core::{FRAME_BYTES_MAX, NodeId};
use raft_std_driver::storage::ClusterId;
use raft_std_driver::transport::tcp::TcpConfig;
use raft_std_driver::transport::wire::{Channel, Hello, MAGIC, PROTOCOL, Refusal};

use super::support::*;

#[test]
fn strangers_are_refused_with_a_reason_that_is_logged() {
    let server = Server::bind(&config(301)).knows(302, "127.0.0.1:1".parse().unwrap()).start();
    let good = hello(302, 301, Channel::Messages);
    let mut version = good.encode();
    version[8..10].copy_from_slice(&(PROTOCOL + 1).to_le_bytes());
    let cases = [
        (version, Refusal::Version { theirs: PROTOCOL }, "it speaks protocol version 3"),
        (
            Hello { cluster: ClusterId(5), ..good }.encode(),
            Refusal::Cluster { theirs: CLUSTER },
            "as server 302 of cluster 5 it looks for server 301: the accepting server belongs to cluster 77",
        ),
        (
            Hello { to: NodeId(309), ..good }.encode(),
            Refusal::NotMe { theirs: NodeId(301) },
            "it looks for server 309: the accepting server is server 301",
        ),
        (
            Hello { from: NodeId(308), ..good }.encode(),
            Refusal::UnknownPeer { you: NodeId(308) },
            "server 308 is not a peer of the accepting server",
        ),
        (
            Hello { from: NodeId(301), ..good }.encode(),
            Refusal::UnknownPeer { you: NodeId(301) },
            "server 301 is not a peer of the accepting server",
        ),
    ];
    for (bytes, refusal, line) in cases {
        for channel in [0, 1] {
            let mut bytes = bytes;
            if channel == 1 {
                bytes =
                    Hello::decode(&bytes).map_or(bytes, |hello| Hello { channel: Channel::Snapshot, ..hello }.encode());
            }
            let mut raw = Raw::connect(server.address());
            assert_eq!(raw.greet(&bytes), Err(refusal));
            raw.wait_for_end();
            poll("a line in the log", || logged(&["node=301 ", "disconnected", line]));
        }
    }
    assert_eq!(Raw::connect(server.address()).greet(&good.encode()), Ok(()));
}

#[test]
fn who_is_refused_logs_the_reason_and_tries_again() {
    let strict = Server::bind(&config(311));
    let lost = Server::bind(&TcpConfig { cluster: ClusterId(6), ..config(312) }).knows(311, strict.address()).start();
    let strict = strict.knows(312, lost.address()).start();
    poll("both lines", || {
        logged(&[
            "node=312 peer=311 ",
            "no way to a peer",
            "refuses this one: the accepting server belongs to cluster 77",
        ]) && logged(&[
            "node=311 peer=312 ",
            "no way to a peer",
            "refuses this one: the accepting server belongs to cluster 6",
        ])
    });
    assert!(strict.heard().look(|heard| heard.messages.is_empty()));
}

/// What must end in a hang-up, each sent right after connecting or after a good handshake.
#[test]
fn malformed_bytes_end_the_connection_and_disturb_nobody() {
    let (one, other) = pair(&config(321), &config(322), Disk::Sound);
    let one = one.knows(323, "127.0.0.1:1".parse().unwrap());
    let mut damaged = hello(323, 321, Channel::Messages).encode();
    damaged[30] ^= 1;
    let mut checksum = message_frame(&vote(1));
    checksum[5] ^= 1;
    let mut huge = message_frame(&vote(1));
    huge[..4].copy_from_slice(&(u32::try_from(FRAME_BYTES_MAX).unwrap() + 1).to_le_bytes());
    let trailing = [&message_frame(&vote(7))[..], &frame(&[9, 9, 9])].concat();
    let cases: [(bool, &[u8], &str); 8] = [
        (false, &[b'x'; 40], "it does not speak this protocol"),
        (false, b"GET / HTTP/1.1\r\nHost: localhost:1234567890\r\n\r\n", "it does not speak this protocol"),
        (false, &damaged, "its handshake is damaged"),
        (true, &checksum, "the checksum of a frame is wrong"),
        (true, &huge, "a frame of 67108865 bytes: between 1 and 67108864 are allowed"),
        (true, &[0; 8], "a frame of 0 bytes"),
        (true, &frame(&[2, 2, 3]), "the frame ends too early"),
        (true, &trailing, "format version 9 is not known"),
    ];
    for (after_handshake, bytes, line) in cases {
        let mut raw = Raw::connect(one.address());
        if after_handshake {
            assert_eq!(raw.greet(&hello(323, 321, Channel::Messages).encode()), Ok(()));
        }
        raw.write(bytes);
        raw.wait_for_end();
        poll(line, || logged(&["node=321 ", "disconnected", line]));
        // A frame broken off in the middle says nothing either.
        let mut raw = Raw::connect(one.address());
        assert_eq!(raw.greet(&hello(323, 321, Channel::Messages).encode()), Ok(()));
        raw.write(&message_frame(&vote(8))[..11]);
        drop(raw);
    }
    let mail: Vec<_> = one.heard().look(|heard| heard.messages.clone());
    assert_eq!(mail, [(NodeId(323), vote(7))], "only the one good message was heard");
    other.send(321, vote(1));
    one.heard().wait("a vote of the good peer", |heard| heard.messages.last() == Some(&(NodeId(322), vote(1))));
    assert_eq!(other.heard().look(|heard| heard.unreachable.len()), 0, "its connection stood all the time");
}

#[test]
fn half_a_handshake_ends_in_time_even_if_it_drips() {
    let limit = Duration::from_millis(300);
    let server = Server::bind(&TcpConfig { handshake_timeout: limit, ..config(331) }).start();
    let mut silent = Raw::connect(server.address());
    let mut half = Raw::connect(server.address());
    half.write(&MAGIC);
    let mut drip = Raw::connect(server.address());
    drip.0.set_read_timeout(Some(limit / 3)).unwrap();
    // Thirteen times as long as the limit, if each byte bought more time.
    let dropped = hello(332, 331, Channel::Messages).encode()[..39].iter().any(|byte| {
        let written = drip.0.write_all(&[*byte]);
        let waits = |error: io::Error| matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
        written.is_err() || !drip.0.read(&mut [0]).is_err_and(waits)
    });
    assert!(dropped, "each byte bought more time");
    silent.wait_for_end();
    half.wait_for_end();
}

/// Nobody who only takes up room can keep a peer out, however long a handshake may take.
#[test]
fn idle_connections_give_way_to_newer_ones() {
    let hour = Duration::from_secs(3600);
    let config = TcpConfig { handshakes_max: 4, handshake_timeout: hour, ..config(341) };
    let server = Server::bind(&config).knows(342, "127.0.0.1:1".parse().unwrap()).start();
    let mut idle: Vec<Raw> = (0..12).map(|_| Raw::connect(server.address())).collect();
    let mut peer = Raw::connect(server.address());
    assert_eq!(peer.greet(&hello(342, 341, Channel::Messages).encode()), Ok(()));
    peer.write(&message_frame(&vote(3)));
    server.heard().wait("the vote", |heard| heard.messages.len() == 1);
    idle[..8].iter_mut().for_each(Raw::wait_for_end);
}

#[test]
fn a_newer_connection_replaces_the_older() {
    let server = Server::bind(&config(351)).knows(352, "127.0.0.1:1".parse().unwrap()).start();
    let hello = hello(352, 351, Channel::Messages).encode();
    let mut older = Raw::connect(server.address());
    assert_eq!(older.greet(&hello), Ok(()));
    let mut newer = Raw::connect(server.address());
    assert_eq!(newer.greet(&hello), Ok(()));
    older.wait_for_end();
    newer.write(&message_frame(&vote(4)));
    server.heard().wait("the vote", |heard| heard.messages == [(NodeId(352), vote(4))]);
}

/// A server that answers nonsense is not taken for a peer.
#[test]
fn nonsense_in_answer_to_a_handshake_is_no_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Server::bind(&config(361)).knows(362, listener.local_addr().unwrap()).start();
    let (stream, _) = listener.accept().unwrap();
    let mut raw = Raw(stream);
    raw.write(&[0x5a; 16]);
    poll("a line in the log", || {
        logged(&["node=361 peer=362 ", "no way to a peer", "answer to the handshake makes no sense"])
    });
    let (mut raw, hello) = Raw::accept(&listener);
    assert_eq!((hello.from, hello.to, hello.cluster), (NodeId(361), NodeId(362), CLUSTER));
    server.send(362, vote(5));
    assert_eq!(raw.read_message(), vote(5));
}
