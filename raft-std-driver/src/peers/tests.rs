use raft_core::{Config, Incarnation, Message, Rpc, Term};

use super::*;
use crate::storage::ClusterId;

const FROM: ([u8; 4], u16) = ([127, 0, 0, 1], 1);

fn peers(id: u64, members: &[(u64, &str)], now: Instant) -> Peers {
    let config = LinkConfig { seed: Some(id), ..LinkConfig::new(ClusterId(1), &Config::new(NodeId(id))) };
    let mut peers = Peers::new(config, Protection::Open);
    peers.set_table(&members.iter().map(|(id, at)| (NodeId(*id), (*at).to_owned())).collect::<Vec<_>>(), now);
    peers
}

fn orders(peers: &mut Peers) -> Orders {
    let mut orders = Orders::default();
    peers.take_orders(&mut orders);
    orders
}

/// Carry what one end has to write to the other.
fn carry(from: &mut Peers, out: LinkId, to: &mut Peers, into: LinkId, now: Instant) {
    let mut slices = Vec::new();
    from.unsent(out, &mut slices);
    let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
    from.written(out, bytes.len(), now);
    let mut left = &bytes[..];
    while !left.is_empty() {
        let room = to.room(into);
        let count = room.len().min(left.len());
        room[..count].copy_from_slice(&left[..count]);
        to.received(into, count, now);
        left = &left[count..];
    }
}

/// Server 1 has connected to server 2, which has let it in, and has not written so yet.
fn connected(now: Instant) -> ((Peers, LinkId), (Peers, LinkId)) {
    let (mut one, mut two) = (peers(1, &[(2, "b:1")], now), peers(2, &[(1, "a:1")], now));
    let (link, address) = orders(&mut one).connect.remove(0);
    assert_eq!(address, "b:1");
    let accepted = two.accepted(FROM.into(), now).unwrap();
    one.connected(link, now);
    carry(&mut one, link, &mut two, accepted, now);
    ((one, link), (two, accepted))
}

fn message() -> Message {
    Message { term: Term(7), incarnation: Incarnation(1), rpc: Rpc::RequestVoteReply { granted: true } }
}

#[test]
fn messages_arrive() {
    let now = Instant::now();
    let ((mut one, link), (mut two, accepted)) = connected(now);
    carry(&mut two, accepted, &mut one, link, now);
    one.send(NodeId(2), &message(), now);
    one.flush(now);
    carry(&mut one, link, &mut two, accepted, now);
    assert!(
        matches!(&two.word().events[..], [Event::Receive { from: NodeId(1), message: heard }] if *heard == message())
    );
}

/// A connection of a peer that is somewhere else now is closed at once, whatever it still has to write: left open, it would
/// swallow what the peer sends, and the peer would take it for good.
#[test]
fn a_peer_that_moves_loses_its_connections_at_once() {
    let now = Instant::now();
    let ((_, _), (mut two, accepted)) = connected(now);
    assert!(two.links.link(accepted).unwrap().wants_write());
    let before = orders(&mut two);
    assert!(before.close.is_empty());
    two.set_table(&[(NodeId(1), "a:2".to_owned())], now);
    let after = orders(&mut two);
    assert!(after.close.contains(&accepted));
    assert_eq!(after.connect.len(), 1, "and is connected to where it is now");
}

/// The newer connection of a peer is heard, and the older one is closed.
#[test]
fn a_newer_connection_takes_the_place_of_an_older_one() {
    let now = Instant::now();
    let ((mut one, link), (mut two, accepted)) = connected(now);
    carry(&mut two, accepted, &mut one, link, now);
    let mut again = peers(1, &[(2, "b:1")], now);
    let (newer, _) = orders(&mut again).connect.remove(0);
    let place = two.accepted(FROM.into(), now).unwrap();
    again.connected(newer, now);
    carry(&mut again, newer, &mut two, place, now);
    assert!(orders(&mut two).close.contains(&accepted));
    carry(&mut two, place, &mut again, newer, now);
    again.send(NodeId(2), &message(), now);
    again.flush(now);
    carry(&mut again, newer, &mut two, place, now);
    assert_eq!(two.word().events.len(), 1);
}

/// It hears the refusal, and its connection is closed when it has, or a moment later.
#[test]
fn an_unknown_server_is_refused() {
    let now = Instant::now();
    let (mut one, mut two) = (peers(1, &[(2, "b:1")], now), peers(2, &[(3, "c:1")], now));
    let (link, _) = orders(&mut one).connect.remove(0);
    let accepted = two.accepted(FROM.into(), now).unwrap();
    one.connected(link, now);
    carry(&mut one, link, &mut two, accepted, now);
    carry(&mut two, accepted, &mut one, link, now);
    assert!(orders(&mut one).close.contains(&link));
    let retry = one.due().unwrap();
    assert!(retry > now && retry <= now + one.config.backoff_min);
    let later = two.due().unwrap();
    two.pass_time(later);
    assert!(orders(&mut two).close.contains(&accepted));
}

/// Beyond the limit the oldest are closed.
#[test]
fn connections_without_a_hello_are_bounded() {
    let now = Instant::now();
    let mut one = peers(1, &[], now);
    let crowd: Vec<LinkId> = (0..100).map(|_| one.accepted(FROM.into(), now).unwrap()).collect();
    let most = one.config.handshakes_max;
    assert_eq!(orders(&mut one).close, crowd[..100 - most]);
    let late = one.due().unwrap();
    one.pass_time(late);
    let (mut closed, mut last) = (orders(&mut one).close, crowd[100 - most..].to_vec());
    closed.sort_unstable();
    last.sort_unstable();
    assert_eq!(closed, last);
}
