//! Snapshots arrive whole or not at all, and the sender learns which.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use raft_core::{EntryId, NodeId, Term};
use raft_std_driver::transport::Transport;
use raft_std_driver::transport::tcp::TcpConfig;
use raft_std_driver::transport::wire::{Channel, Offer, Verdict};

use super::support::*;

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
