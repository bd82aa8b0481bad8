//! Two of our own servers, or three: what one says is heard by the other, whole and in order, or it learns that it was not.
//! Over safe links as over open ones.

use std::io::{self, Cursor, Read};
use std::sync::mpsc;

use raft_core::{EntryId, NodeId, Term};
use raft_std_driver::transport::Transport;
use raft_std_driver::transport::tcp::TcpConfig;
use raft_std_driver::transport::wire::Offer;

use super::support::*;

#[test]
fn three_servers_hear_each_other_whole_and_in_order() {
    const COUNT: u64 = 300;
    let ids = [1, 2, 3];
    let servers = ids.map(|id| Server::bind(&TcpConfig { queue_appends_max: 1000, ..config(id) }));
    let addresses = [0, 1, 2].map(|i| (ids[i], servers[i].address()));
    let servers = servers
        .map(|server| addresses.iter().fold(server, |server, (id, address)| server.knows(*id, *address)).start());
    // Sizes from empty to larger than any buffer on the way.
    let message = |round: u64| append(round, [0, 1, 100, 5_000, 300_000][usize::try_from(round % 5).unwrap()]);
    for server in &servers {
        for round in 0..COUNT {
            ids.iter().for_each(|to| server.send(*to, message(round)));
        }
    }
    for server in &servers {
        server.heard().wait("all messages", |heard| heard.messages.len() as u64 == 2 * COUNT);
        for from in ids.map(NodeId).into_iter().filter(|id| *id != server.id) {
            let heard = server.heard().look(|heard| {
                heard.messages.iter().filter(|(who, _)| *who == from).map(|(_, said)| said.clone()).collect::<Vec<_>>()
            });
            assert!(heard.into_iter().eq((0..COUNT).map(message)), "{from} to {}", server.id);
        }
        assert_eq!(server.heard().look(|heard| heard.unreachable.clone()), []);
    }
}

#[test]
fn a_peer_that_restarts_is_reached_again() {
    let (one, other) = pair(&config(1), &config(2), Disk::Sound);
    one.send(2, vote(1));
    other.heard().wait("the first vote", |heard| heard.messages == [(NodeId(1), vote(1))]);
    let address = other.address().to_string();
    drop(other);
    one.heard().wait("news of the loss", |heard| heard.unreachable == [NodeId(2)]);
    let again = Server::bind_at(&address, &config(2), Disk::Sound).knows(1, one.address()).start();
    poll("the second vote", || {
        one.send(2, vote(2));
        again.heard().look(|heard| heard.messages.contains(&(NodeId(1), vote(2))))
    });
    assert_eq!(one.heard().look(|heard| heard.reachable.clone()), [NodeId(2), NodeId(2)]);
}

#[test]
fn what_is_exchanged_is_counted() {
    let (one, other) = pair(&config(1), &config(2), Disk::Sound);
    for index in 0..10 {
        one.send(2, vote(index));
    }
    one.send(2, append(1, 1000));
    other.heard().wait("all of it", |heard| heard.messages.len() == 11);
    let bytes = (0..10).map(|index| message_frame(&vote(index))).chain([message_frame(&append(1, 1000))]);
    let bytes = bytes.map(|frame| frame.len() as u64).sum();
    let of = |server: &Server, peer| {
        let (id, traffic) = server.transport.traffic()[0];
        assert_eq!(id, NodeId(peer));
        traffic
    };
    let heard = of(&other, 1);
    assert_eq!((heard.messages_received, heard.bytes_received, heard.messages_sent), (11, bytes, 0));
    // Counted when the write has returned, which may be after it has arrived.
    poll("the count", || of(&one, 2).messages_sent == 11);
    let sent = of(&one, 2);
    assert_eq!((sent.bytes_sent, sent.messages_received, sent.appends_dropped), (bytes, 0, 0));
    assert!(sent.connected && sent.waiting == 0);

    assert_eq!((sent.snapshot_bytes_sent, heard.snapshot_bytes_received), (0, 0));
    let (data, chunk_bytes) = (data(1_000_000), config(1).chunk_bytes);
    one.transport.send_snapshot(NodeId(2), whole(10, &data));
    wait_sent(&one, 10, true);
    let offer = Offer { term: Term(4), meta: meta(10), length: data.len() as u64 }.encode().unwrap();
    let bytes = data.chunks(chunk_bytes).chain([&offer[..]]).map(|body| frame(body).len() as u64).sum();
    let (sent, heard) = (of(&one, 2), of(&other, 1));
    assert_eq!((sent.snapshot_bytes_sent, heard.snapshot_bytes_received), (bytes, bytes));
    assert_eq!((sent.snapshot_bytes_received, heard.snapshot_bytes_sent), (0, 0));

    drop(other);
    one.heard().wait("the loss", |heard| !heard.unreachable.is_empty());
    assert!(!of(&one, 2).connected);
    poll("appends that are dropped", || {
        one.send(2, append(2, 10));
        of(&one, 2).appends_dropped > 0
    });
}

#[test]
fn snapshots_arrive_whole() {
    let (one, other) = pair(&config(1), &config(2), Disk::Sound);
    for (index, bytes) in [(10, 5_000_003), (20, 0), (30, 1), (40, one_chunk()), (50, one_chunk() + 1)] {
        let data = data(bytes);
        one.transport.send_snapshot(NodeId(2), whole(index, &data));
        wait_sent(&one, index, true);
        other.heard().wait("it", |heard| heard.received.last().is_some_and(|(_, _, m)| *m == meta(index)));
        let (stored, received) =
            other.heard().look(|heard| (heard.stored.last().cloned(), heard.received.last().cloned()));
        assert!(stored.as_ref() == Some(&data), "{bytes} bytes");
        assert_eq!(received, Some((NodeId(1), Term(4), meta(index))));
    }
    assert_eq!(other.heard().look(|heard| heard.abandoned), 0);
}

fn one_chunk() -> usize {
    config(1).chunk_bytes
}

/// Data that comes only when the test says so; then it goes on with `rest`.
struct Gated(mpsc::Receiver<()>, Cursor<Vec<u8>>);

impl Read for Gated {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let _ = self.0.recv();
        self.1.read(bytes)
    }
}

#[test]
fn one_at_a_time_to_each_peer() {
    let (one, other) = pair(&config(1), &config(2), Disk::Sound);
    let (go, gate) = mpsc::channel();
    let bytes = data(1000);
    one.transport.send_snapshot(NodeId(2), snapshot(10, 1000, Gated(gate, Cursor::new(bytes.clone()))));
    other.heard().wait("the beginning", |heard| heard.begun == 1);
    one.transport.send_snapshot(NodeId(2), whole(10, &bytes));
    assert_eq!(sent(&one), [], "the same one is under way");
    one.transport.send_snapshot(NodeId(2), whole(11, &bytes));
    assert_eq!(sent(&one), [(EntryId::new(3, 11), false)], "another one has to wait");
    drop(go);
    wait_sent(&one, 10, true);
    one.transport.send_snapshot(NodeId(2), whole(11, &bytes));
    wait_sent(&one, 11, true);
    assert_eq!(other.heard().look(|heard| heard.begun), 2);
}

struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("the disk is broken"))
    }
}

struct Panicking;

impl Read for Panicking {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        panic!("a reader that panics")
    }
}

/// Data that ends too early, too late, in an error or in a panic: nothing of it remains, and the next transfer works.
#[test]
fn what_breaks_off_at_the_sender_leaves_nothing() {
    let (one, other) = pair(&config(1), &config(2), Disk::Sound);
    let half = data(600_000);
    let broken = [
        snapshot(1, 1_200_000, Cursor::new(half.clone())),
        snapshot(2, 599_999, Cursor::new(half.clone())),
        snapshot(3, 1_200_000, Cursor::new(half.clone()).chain(Broken)),
        snapshot(4, 1_200_000, Cursor::new(half.clone()).chain(Panicking)),
    ];
    for (index, snapshot) in (1..).zip(broken) {
        one.transport.send_snapshot(NodeId(2), snapshot);
        wait_sent(&one, index, false);
        other.heard().wait("the sink's end", |heard| heard.abandoned as u64 + heard.stored.len() as u64 == index);
    }
    // Of the one that was too long, the receiver got all it was promised, but no more: it cannot know better.
    one.transport.send_snapshot(NodeId(2), whole(5, &half));
    wait_sent(&one, 5, true);
}

#[test]
fn a_receiver_that_cannot_store_says_so() {
    for disk in [Disk::Full, Disk::Failing] {
        let (one, other) = pair(&config(1), &config(2), disk);
        one.transport.send_snapshot(NodeId(2), whole(10, &data(300_000)));
        wait_sent(&one, 10, false);
        other.heard().wait("the sink's end", |heard| heard.begun == heard.abandoned);
        assert!(other.heard().look(|heard| heard.received.is_empty()), "{disk:?}");
    }
}
