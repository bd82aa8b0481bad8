//! Snapshots arrive whole or not at all, and the sender learns which.

use std::io::{self, Cursor, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;
use std::time::Duration;

use raft_core::{EntryId, NodeId, Term};
use raft_std_driver::transport::tcp::TcpConfig;
use raft_std_driver::transport::wire::{Channel, Offer, Verdict};
use raft_std_driver::transport::{OutgoingSnapshot, Transport};

use super::support::*;

fn data(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| (i.wrapping_mul(2_654_435_761) >> 7).to_le_bytes()[0]).collect()
}

fn snapshot(index: u64, len: u64, data: impl Read + Send + 'static) -> OutgoingSnapshot {
    OutgoingSnapshot { term: Term(4), meta: meta(index), len, data: Box::new(data) }
}

fn whole(index: u64, data: &[u8]) -> OutgoingSnapshot {
    snapshot(index, data.len() as u64, Cursor::new(data.to_vec()))
}

/// Data that comes only when the test says so; then it goes on with `rest`.
struct Gated(mpsc::Receiver<()>, Cursor<Vec<u8>>);

impl Read for Gated {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let _ = self.0.recv();
        self.1.read(bytes)
    }
}

fn sent(server: &Server) -> Vec<(EntryId, bool)> {
    server.heard().look(|heard| heard.sent.iter().map(|(_, last, delivered)| (*last, *delivered)).collect())
}

fn wait_sent(server: &Server, index: u64, delivered: bool) {
    let expected = (EntryId::new(3, index), delivered);
    server.heard().wait("the end of the transfer", |heard| {
        heard.sent.last().is_some_and(|(_, last, delivered)| (*last, *delivered) == expected)
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

#[test]
fn nobody_there_is_not_delivered() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let one = Server::bind(&config(1)).knows(2, nobody).start();
    one.transport.send_snapshot(NodeId(2), whole(10, &data(10)));
    wait_sent(&one, 10, false);
    one.transport.send_snapshot(NodeId(3), whole(11, &data(10)));
    assert_eq!(sent(&one).last(), Some(&(EntryId::new(3, 11), false)), "an unknown peer is refused at once");
}

/// A receiver that stops at any point is given up.
#[test]
fn a_receiver_that_stalls_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let short = Duration::from_millis(200);
    let hasty = TcpConfig { stall_timeout: short, confirm_timeout: short, ..config(1) };
    let one = Server::bind(&hasty).knows(2, listener.local_addr().unwrap()).start();
    let next_snapshot = || {
        loop {
            let (raw, hello) = Raw::accept(&listener);
            if hello.channel == Channel::Snapshot {
                return raw;
            }
        }
    };
    // It never says "go".
    one.transport.send_snapshot(NodeId(2), whole(1, &data(10)));
    let _silent = next_snapshot();
    wait_sent(&one, 1, false);
    // It takes no data: more than all buffers hold.
    one.transport.send_snapshot(NodeId(2), snapshot(2, 1 << 40, io::repeat(7)));
    let mut full = next_snapshot();
    full.write(&[Verdict::Go.encode()]);
    wait_sent(&one, 2, false);
    // It never confirms.
    one.transport.send_snapshot(NodeId(2), whole(3, &data(10)));
    let mut unsure = next_snapshot();
    unsure.write(&[Verdict::Go.encode()]);
    wait_sent(&one, 3, false);
    // It answers nonsense.
    one.transport.send_snapshot(NodeId(2), whole(4, &data(10)));
    let mut confused = next_snapshot();
    confused.write(&[99]);
    wait_sent(&one, 4, false);
}

fn offer(address: SocketAddr, length: u64) -> Raw {
    let mut raw = Raw::connect(address);
    assert_eq!(raw.greet(&hello(2, 1, Channel::Snapshot).encode()), Ok(()));
    let offer = Offer { term: Term(4), meta: meta(10), length };
    raw.write(&frame(&offer.encode().unwrap()));
    raw
}

/// A sender that breaks off, damages a chunk, sends too much or stalls leaves nothing behind.
#[test]
fn what_breaks_off_on_the_way_leaves_nothing() {
    let one = Server::bind(&config(1)).knows(2, "127.0.0.1:1".parse().unwrap()).start();
    let accepted_by = |server: &Server, length| {
        let mut raw = offer(server.address(), length);
        assert_eq!(raw.read(), [Verdict::Go.encode()]);
        raw
    };
    let accepted = |length| accepted_by(&one, length);
    let abandoned = |count| one.heard().wait("the sink's end", |heard| heard.abandoned == count);

    let mut dies = accepted(2000);
    dies.write(&frame(&[1; 1000]));
    dies.write(&frame(&[1; 1000])[..500]);
    drop(dies);
    abandoned(1);

    let mut damages = accepted(1000);
    let mut chunk = frame(&[1; 1000]);
    chunk[700] ^= 0x10;
    damages.write(&chunk);
    damages.wait_for_end();
    abandoned(2);

    let mut too_much = accepted(1000);
    too_much.write(&frame(&[1; 1001]));
    too_much.wait_for_end();
    abandoned(3);

    // A newer transfer ends the older one, and begins only when nothing is left of it.
    let mut older = accepted(2000);
    older.write(&frame(&[1; 1000]));
    let mut newer = accepted(1000);
    assert_eq!(one.heard().look(|heard| heard.abandoned), 4);
    newer.write(&frame(&[2; 1000]));
    assert_eq!(newer.read(), [Verdict::Stored.encode()]);

    let mut nonsense = Raw::connect(one.address());
    assert_eq!(nonsense.greet(&hello(2, 1, Channel::Snapshot).encode()), Ok(()));
    nonsense.write(&frame(&[0xff; 20]));
    nonsense.wait_for_end();

    let (received, stored) = one.heard().look(|heard| (heard.received.len(), heard.stored.clone()));
    assert_eq!((received, stored), (1, vec![vec![2; 1000]]), "only the whole one counts");

    let hasty = TcpConfig { stall_timeout: Duration::from_secs(1), ..config(1) };
    let hasty = Server::bind(&hasty).knows(2, "127.0.0.1:1".parse().unwrap()).start();
    let mut stalls = accepted_by(&hasty, 1000);
    // If this comes too late, it was given up as well.
    let _gone = stalls.0.write_all(&frame(&[1; 999]));
    stalls.wait_for_end();
    hasty.heard().wait("the sink's end", |heard| heard.abandoned == 1);
}
