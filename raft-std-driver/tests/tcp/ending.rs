//! Shutting down is prompt whatever is going on, and leaves no thread.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use raft_core::{NodeId, Term};
use raft_std_driver::transport::tcp::TcpConfig;
use raft_std_driver::transport::wire::{Channel, Verdict};
use raft_std_driver::transport::{OutgoingSnapshot, Transport};
use socket2::{Domain, Socket, Type};

use super::driver::Tested;
use super::support::*;

/// A listener whose queue is full, so that connecting to it hangs.
fn dead_end() -> (Socket, Vec<TcpStream>, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(300)).ok();
    let queued = std::iter::from_fn(connect).take(100).collect();
    (socket, queued, address)
}

/// Every wait in the transport is set to an hour; all of them are going on at once.
#[test]
fn shutdown_is_prompt_and_leaves_no_thread() {
    let hour = Duration::from_secs(3600);
    let patient = TcpConfig {
        connect_timeout: hour,
        handshake_timeout: hour,
        stall_timeout: hour,
        confirm_timeout: hour,
        backoff_min: hour,
        backoff_max: hour,
        ..config(901)
    };
    let (_socket, _queued, nowhere) = dead_end();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let stuck = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let unconfirmed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Server::bind(&patient);
    let friend = Server::bind(&config(902)).knows(901, server.address()).start();
    let server = server
        .knows(902, friend.address())
        .knows(903, nowhere)
        .knows(904, closed)
        .knows(905, stuck.local_addr().unwrap())
        .knows(906, unconfirmed.local_addr().unwrap())
        .start();
    // A peer that takes messages and snapshots and reads neither; one that never confirms; one without an end of data.
    let repeat = |len, data| OutgoingSnapshot { term: Term(1), meta: meta(1), len, data };
    let (stuck_messages, _) = Raw::accept(&stuck);
    server.transport.send_snapshot(NodeId(905), repeat(1 << 40, Box::new(io::repeat(1))));
    let (mut stuck_snapshot, _) = Raw::accept(&stuck);
    stuck_snapshot.write(&[Verdict::Go.encode()]);
    let (unconfirmed_messages, _) = Raw::accept(&unconfirmed);
    server.transport.send_snapshot(NodeId(906), repeat(0, Box::new(io::empty())));
    let (mut unconfirmed_snapshot, _) = Raw::accept(&unconfirmed);
    unconfirmed_snapshot.write(&[Verdict::Go.encode()]);
    server.transport.send_snapshot(NodeId(903), repeat(0, Box::new(io::empty())));
    server.transport.send_snapshot(NodeId(902), repeat(1 << 40, Box::new(io::repeat(1))));
    friend.heard().wait("a snapshot to begin", |heard| heard.begun == 1);
    // Guests that say nothing, half a handshake, half a frame, half a snapshot.
    let silent = Raw::connect(server.address());
    let mut half = Raw::connect(server.address());
    half.write(&[b'r'; 7]);
    let mut frame = Raw::connect(server.address());
    frame.greet(&hello(904, 901, Channel::Messages).encode()).unwrap();
    frame.write(&message_frame(&vote(1))[..10]);
    let mut snapshot = Raw::connect(server.address());
    snapshot.greet(&hello(904, 901, Channel::Snapshot).encode()).unwrap();

    let stop = Arc::new(AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                server.send(905, append(1, 200_000));
                server.send(902, append(1, 2_000));
                std::thread::yield_now();
            }
        });
        friend.heard().wait("messages to flow", |heard| heard.messages.len() > 10);
        let began = Instant::now();
        server.transport.shutdown();
        let took = began.elapsed();
        server.heard().look(|heard| heard.ended = true);
        stop.store(true, Ordering::SeqCst);
        assert!(took < Duration::from_secs(5), "{took:?}");
    });
    Tested::wait_for_end(901);
    assert!(TcpStream::connect(server.address()).is_err(), "nobody listens any more");
    server.transport.shutdown();
    server.send(902, vote(1));
    server.transport.send_snapshot(NodeId(902), repeat(0, Box::new(io::empty())));
    drop((stuck_messages, unconfirmed_messages, silent, half, frame, snapshot));
    friend.heard().wait("the end of the snapshot", |heard| heard.abandoned == 1);
    assert_eq!(server.heard().look(|heard| heard.late), 0, "nothing is delivered afterwards");
    let outcomes: Vec<bool> = server.heard().look(|heard| heard.sent.iter().map(|(_, _, ok)| *ok).collect());
    assert_eq!(outcomes, [false; 4], "each transfer's end was told");
}

#[test]
fn dropping_a_transport_frees_its_port_and_threads() {
    let server = Server::bind(&config(911)).start();
    let address = server.address().to_string();
    drop(server);
    Tested::wait_for_end(911);
    let again = Server::bind_at(&address, &config(911), Disk::Sound);
    assert_eq!(again.address().to_string(), address);
    drop(again); // never started
}

#[test]
fn a_panic_in_a_thread_is_told_at_once() {
    let server = Server::bind(&config(921)).knows(922, "127.0.0.1:1".parse().unwrap()).start();
    let mut peer = Raw::connect(server.address());
    peer.greet(&hello(922, 921, Channel::Messages).encode()).unwrap();
    peer.write(&message_frame(&vote(POISON)));
    server.heard().wait("word of the panic", |heard| !heard.failed.is_empty());
    let causes = server.heard().look(|heard| heard.failed.clone());
    let [cause] = &causes[..] else { panic!("told more than once: {causes:?}") };
    assert!(cause.starts_with("raft921-in panicked: ") && cause.contains("cannot digest this"), "{cause}");
}
