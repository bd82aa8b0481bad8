//! What only this driver's transport has: others than servers at the same port.

use std::io::{self, Read, Write};
use std::sync::Arc;

use raft_core::{Bytes, Membership, NodeId};
use raft_std_driver::machine::{Command, SnapshotWriter, StateMachine};
use raft_std_driver::storage::Birth;
use raft_std_driver::storage::mem::MemDisk;
use raft_std_driver::transport::wire::{Channel, MAGIC};
use raft_std_driver::{Node, NodeConfig, NodeError};

use super::support::*;

/// Peers and clients may call at one port: who begins in another way than a peer is handed over, with all it says.
#[test]
fn strangers_can_be_served_at_the_same_port() {
    let server = Server::bind(&config(361)).knows(362, "127.0.0.1:1".parse().unwrap());
    server.transport.serve_strangers(|mut stream, first| {
        let mut rest = [0; 5];
        stream.read_exact(&mut rest).unwrap();
        stream.write_all(&[&first[..], &rest].concat()).unwrap();
    });
    let server = server.start();
    let mut peer = Raw::connect(server.address());
    assert_eq!(peer.greet(&hello(362, 361, Channel::Messages).encode()), Ok(()));
    let mut stranger = Raw::connect(server.address());
    stranger.write(b"hello, echo!!");
    assert_eq!(&stranger.read::<13>(), b"hello, echo!!");
    stranger.wait_for_end();
    let mut damaged = Raw::connect(server.address());
    damaged.write(&[&MAGIC[..], &[0xff; 32]].concat());
    damaged.wait_for_end();
    peer.write(&message_frame(&vote(5)));
    server.heard().wait("the vote", |heard| heard.messages == [(NodeId(362), vote(5))]);
}

/// The replicated state: nothing.
struct Nothing;

impl StateMachine for Nothing {
    fn apply(&mut self, commands: &[Command<'_>], answers: &mut Vec<Bytes>) -> io::Result<()> {
        answers.extend(commands.iter().map(|_| Bytes::new()));
        Ok(())
    }

    fn snapshot(&mut self) -> SnapshotWriter {
        Box::new(|_| Ok(()))
    }

    fn restore(&mut self, _: &mut dyn Read) -> io::Result<()> {
        Ok(())
    }
}

/// The thread that panics is one that the node's end has to wait for.
#[test]
fn a_panic_in_a_thread_stops_the_node() {
    let id = NodeId(931);
    let Server { transport, .. } = Server::bind(&config(id.0));
    transport.serve_strangers(|_, _| panic!("cannot serve this"));
    let address = transport.local_addr();
    let disk = MemDisk::new(Birth::founder(CLUSTER, id, Membership::new([id])));
    let node = Node::spawn(NodeConfig::new(id), disk.open().unwrap(), Nothing, Arc::new(transport)).unwrap();
    Raw::connect(address).write(b"a stranger");
    match node.wait() {
        Err(NodeError::Thread { thread, message }) => {
            assert_eq!(thread, "transport");
            assert_eq!(message, "raft931-in panicked: cannot serve this");
        }
        other => panic!("{other:?}"),
    }
}
