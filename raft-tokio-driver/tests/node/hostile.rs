//! A node over TCP among those who mean it no good: whoever can reach its port, and a member that talks nonsense.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use raft_std_driver::net::wire::{self, ANSWER_BYTES, FrameHeader};
use raft_std_driver::net::{Channel, Hello};
use raft_std_driver::raft_core::{
    AppendOutcome, Bytes, Entries, Entry, EntryId, FRAME_BYTES_MAX, Incarnation, Index, Message, NodeId, Payload, Rpc,
    Term, codec,
};
use raft_std_driver::storage::ClusterId;

use crate::cluster::{Cluster, in_time};
use crate::ports::ports;

/// What goes on until the end, and how often it came through.
#[derive(Default)]
struct Attack {
    over: AtomicBool,
    rounds: AtomicU64,
}

impl Attack {
    fn run(&self, mut round: impl FnMut(u64) -> bool) {
        let mut number = 0;
        while !self.over.load(Ordering::SeqCst) {
            let came_through = round(number);
            number += 1;
            self.rounds.fetch_add(u64::from(came_through), Ordering::SeqCst);
        }
    }
}

/// Of no use, and not of the protocol: some are refused at once, some hold their places in the lobby.
fn garbage(address: SocketAddr, number: u64, held: &mut Vec<TcpStream>) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    let _refused = match number % 4 {
        0 => stream.write_all(&[0xff; 40]),
        1 => stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n and so on and on"),
        2 => stream.write_all(&hello(8, 9, Channel::Messages).encode()),
        _ => Ok(()),
    };
    held.push(stream);
    if held.len() > 100 {
        held.clear();
    }
    true
}

fn hello(from: u64, to: u64, channel: Channel) -> Hello {
    Hello { channel, cluster: ClusterId(1), birth: 0, from: NodeId(from), to: NodeId(to), address: String::new() }
}

/// A connection as member 3.
fn as_member(address: SocketAddr, to: u64, channel: Channel) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.write_all(&hello(3, to, channel).encode()).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    let mut answer = [0; ANSWER_BYTES];
    stream.read_exact(&mut answer).ok()?;
    wire::decode_answer(&answer).ok()?.ok()?;
    Some(stream)
}

/// All of an age that is past, or replies that nobody waits for: valid, and absurd.
fn absurd() -> Vec<u8> {
    let far = Index::MAX;
    let entry = Entry { term: Term(1), payload: Payload::Command(Bytes::from_static(b"absurd")) };
    let entries = Entries::from_vec(far, vec![entry]).unwrap();
    let prev = EntryId { term: Term(1), index: Index(far.0 - 1) };
    let rpcs = [
        Rpc::PreVote { last: EntryId { term: Term::MAX, index: far } },
        Rpc::PreVoteReply { granted: true },
        Rpc::RequestVote { last: EntryId { term: Term::MAX, index: far }, transfer: false },
        Rpc::RequestVoteReply { granted: true },
        Rpc::AppendEntries { prev, entries, commit: far, round: u64::MAX, reply: true },
        Rpc::AppendEntriesReply { round: u64::MAX, outcome: AppendOutcome::Matched { received: far, durable: far } },
        Rpc::AppendEntriesReply { round: 0, outcome: AppendOutcome::Conflict { prev: far, hint: prev } },
    ];
    let mut bytes = Vec::new();
    for (number, rpc) in (0..).zip(rpcs) {
        let message = Message { term: Term(number % 2), incarnation: Incarnation(103), rpc };
        let mut body = Vec::new();
        codec::encode_message(&message, &mut body).unwrap();
        let header = FrameHeader::new(body.len(), crc32c::crc32c(&body), FRAME_BYTES_MAX).unwrap();
        bytes.extend(header.encode());
        bytes.extend(body);
    }
    bytes
}

/// Talk as the member does, as fast as the node reads; now and then from the start.
fn flood(address: SocketAddr, to: u64, bytes: &[u8]) -> bool {
    let stream = as_member(address, to, Channel::Messages);
    stream.is_some_and(|mut stream| (0..2).all(|_| stream.write_all(bytes).is_ok()))
}

/// Two of three members are nodes, and have to agree on everything; the third is the enemy.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_goes_on_committing_whatever_others_send() {
    let mut cluster = Cluster::asleep(3);
    let ports = ports(2);
    let addresses: Vec<SocketAddr> = ports.iter().map(|port| port.local_addr().unwrap()).collect();
    let others = [addresses[0].to_string(), addresses[1].to_string(), "127.0.0.1:1".to_owned()];
    for (member, port) in ports.into_iter().enumerate() {
        let members: Vec<(u64, String)> = (1..).zip(others.iter().cloned()).collect();
        cluster.wake_over_tcp(member, |builder| builder.listener(port).members(members)).await;
    }
    let addresses = [addresses[0], addresses[1]];
    cluster.put("first").await;

    let (strangers, talk, snapshots) = (Attack::default(), Attack::default(), Attack::default());
    let attacks = Arc::new([strangers, talk, snapshots]);
    let enemies: Vec<_> = (0..3)
        .map(|which| {
            let attacks = Arc::clone(&attacks);
            thread::spawn(move || {
                let (mut held, many) = (Vec::new(), absurd().repeat(500));
                attacks[which].run(|number| {
                    let (to, at) = if number % 2 == 0 { (1, addresses[0]) } else { (2, addresses[1]) };
                    match which {
                        0 => garbage(at, number, &mut held),
                        1 => flood(at, to, &many),
                        // Its place is taken, and nothing comes.
                        _ => {
                            let connected = as_member(at, to, Channel::Snapshot);
                            let came_through = connected.is_some();
                            held.truncate(100);
                            held.extend(connected);
                            came_through
                        }
                    }
                });
            })
        })
        .collect();
    let mut lines = vec!["first"];
    let through_it = async {
        while lines.len() < 50 || attacks.iter().any(|attack| attack.rounds.load(Ordering::SeqCst) < 20) {
            cluster.put("more").await;
            lines.push("more");
        }
    };
    in_time("fifty commands, and twenty rounds of each attack", through_it).await;
    attacks.iter().for_each(|attack| attack.over.store(true, Ordering::SeqCst));
    tokio::task::spawn_blocking(|| enemies.into_iter().for_each(|enemy| enemy.join().unwrap())).await.unwrap();
    cluster.agree_on(&lines).await;
    for member in &cluster.members[..2] {
        let status = member.node().status().await;
        let absurd = status.counters.malformed + status.counters.stale;
        assert!(status.running && absurd > 1000, "{status:?}");
        in_time("its end", member.node().shutdown()).await.unwrap();
    }
}
