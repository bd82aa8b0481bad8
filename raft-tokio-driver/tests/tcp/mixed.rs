//! A server of the std driver and one of this driver understand each other.

use std::io::Cursor;

use raft_core::{EntryId, NodeId, Term};
use raft_std_driver::transport::{OutgoingSnapshot, Transport, tcp};

use super::driver::Tested;
use super::support::*;

type StdServer = ServerOn<tcp::TcpTransport>;

fn both() -> (StdServer, Server) {
    let (threads, tasks) = (StdServer::bind(&config(1)), Server::bind(&config(2)));
    let (there, here) = (tasks.address(), threads.address());
    (threads.knows(2, there).start(), tasks.knows(1, here).start())
}

/// Sizes from empty to larger than any buffer on the way.
fn message(round: u64) -> raft_core::Message {
    append(round, [0, 1, 100, 5_000, 300_000][usize::try_from(round % 5).unwrap()])
}

fn converse<A: Testable, B: Testable>(one: &ServerOn<A>, other: &ServerOn<B>) {
    const COUNT: u64 = 60;
    let to = other.id.0;
    let before = other.heard().look(|heard| heard.messages.len());
    for round in 0..COUNT {
        one.send(to, message(round));
    }
    other.heard().wait("all messages", |heard| heard.messages.len() as u64 == before as u64 + COUNT);
    let heard = other.heard().look(|heard| heard.messages.split_off(before));
    assert!(heard.into_iter().eq((0..COUNT).map(|round| (one.id, message(round)))), "{} to {to}", one.id);

    let data: Vec<u8> = (0..1_500_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 9).to_le_bytes()[0]).collect();
    let snapshot =
        OutgoingSnapshot { term: Term(4), meta: meta(10), len: 1_500_000, data: Box::new(Cursor::new(data.clone())) };
    one.transport.send_snapshot(other.id, snapshot);
    one.heard().wait("the delivery", |heard| heard.sent == [(NodeId(to), EntryId::new(3, 10), true)]);
    let (stored, received) = other.heard().look(|heard| (heard.stored.clone(), heard.received.clone()));
    assert!(stored == [data], "the data");
    assert_eq!(received, [(one.id, Term(4), meta(10))]);
}

#[test]
fn threads_and_tasks_hear_each_other() {
    let (threads, tasks) = both();
    converse(&threads, &tasks);
    converse(&tasks, &threads);
    let losses =
        (threads.heard().look(|heard| heard.unreachable.len()), tasks.heard().look(|heard| heard.unreachable.len()));
    assert_eq!(losses, (0, 0));
}

#[test]
fn a_snapshot_that_one_cannot_store_the_other_hears_of() {
    let (threads, tasks) = (StdServer::bind(&config(1)), Server::bind_at("127.0.0.1:0", &config(2), Disk::Failing));
    let (there, here) = (tasks.address(), threads.address());
    let (threads, tasks) = (threads.knows(2, there).start(), tasks.knows(1, here).start());
    let whole =
        |index| OutgoingSnapshot { term: Term(4), meta: meta(index), len: 9, data: Box::new(&b"some data"[..]) };
    threads.transport.send_snapshot(NodeId(2), whole(10));
    threads.heard().wait("the refusal", |heard| heard.sent == [(NodeId(2), EntryId::new(3, 10), false)]);
    tasks.transport.send_snapshot(NodeId(1), whole(20));
    tasks.heard().wait("the delivery", |heard| heard.sent == [(NodeId(1), EntryId::new(3, 20), true)]);
}

/// Either may be replaced by the other kind at the same address.
#[test]
fn one_takes_the_place_of_the_other() {
    let (threads, tasks) = both();
    converse(&threads, &tasks);
    let address = tasks.address().to_string();
    drop(tasks);
    threads.heard().wait("the loss", |heard| heard.unreachable == [NodeId(2)]);
    let again = StdServer::bind_at(&address, &config(2), Disk::Sound).knows(1, threads.address()).start();
    poll("a vote", || {
        threads.send(2, vote(1));
        again.heard().look(|heard| heard.messages.contains(&(NodeId(1), vote(1))))
    });
    // Only who had a connection can lose it.
    poll("a vote the other way", || {
        again.send(1, vote(3));
        threads.heard().look(|heard| heard.messages.contains(&(NodeId(2), vote(3))))
    });
    let address = threads.address().to_string();
    drop(threads);
    again.heard().wait("the loss", |heard| heard.unreachable == [NodeId(1)]);
    let last = ServerOn::<Tested>::bind_at(&address, &config(1), Disk::Sound).knows(2, again.address()).start();
    poll("a vote", || {
        again.send(1, vote(2));
        last.heard().look(|heard| heard.messages.contains(&(NodeId(2), vote(2))))
    });
}
