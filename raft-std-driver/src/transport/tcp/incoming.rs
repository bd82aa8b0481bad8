//! The way in: accept, learn who comes, and read what is said.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use raft_core::{FRAME_BYTES_MAX, codec};

use super::outgoing::{prepare, read_within};
use super::{Hub, Peer, Strangers, snapshot};
use crate::transport::Inbound;
use crate::transport::parts::{ARRIVING_PAUSE, Frames, Trouble, Unwelcome, Waiting};
use crate::transport::wire::{self, Channel, FRAME_HEADER_BYTES, HELLO_BYTES, MAGIC};
use crate::workers::block_on_until;

/// Accept connections, each with a thread of its own, until the transport is closed.
pub(super) fn accept(hub: &Arc<Hub>, listener: &TcpListener, inbound: &Arc<dyn Inbound>) {
    loop {
        let accepted = listener.accept();
        if hub.peers.is_closed() {
            return;
        }
        let spawned = accepted.and_then(|(stream, address)| {
            let stream = Arc::new(stream);
            let Some(place) = hub.lobby.enter(&stream) else { return Ok(()) };
            if place.crowded {
                hub.peers.lines.crowded();
            }
            let (guest_hub, guest_inbound) = (Arc::clone(hub), Arc::clone(inbound));
            let name = hub.thread_name("in");
            hub.threads.spawn(name, inbound, move || welcome(&guest_hub, &stream, place, address, &*guest_inbound))
        });
        if let Err(error) = spawned {
            hub.peers.lines.cannot_accept(&error);
            // Out of descriptors or threads: trying again at once would not help.
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A connection's whole life.
fn welcome(hub: &Hub, stream: &Arc<TcpStream>, place: Waiting<TcpStream>, address: SocketAddr, inbound: &dyn Inbound) {
    let greeted = shake_hands(hub, stream);
    drop(place);
    let (who, trouble) = match greeted {
        Ok(Guest::Peer(peer, channel)) => {
            let span = hub.peers.lines.connection(peer.id, "in");
            let served = span.in_scope(|| serve(hub, &peer, channel, stream, inbound));
            // A message connection that ends tells nothing new: the peer's own side reports it.
            (Some(peer.id), served.err().filter(|_| !peer.mailbox.is_closed()))
        }
        Ok(Guest::Stranger { handler, first }) => {
            let own = stream.try_clone().map(|stream| handler(stream, first));
            (None, own.err().map(Trouble::from))
        }
        Err(Unwelcome { answer, trouble }) => {
            let _heard_or_not = answer.map(|answer| { &**stream }.write_all(&answer));
            (None, Some(trouble))
        }
    };
    if trouble.is_none() || !hub.peers.is_closed() {
        hub.peers.lines.ended(who, address, trouble.as_ref());
    }
}

/// Who comes.
enum Guest<'a> {
    Peer(Arc<Peer>, Channel),
    Stranger { handler: &'a Strangers, first: [u8; MAGIC.len()] },
}

/// Learn who comes, within a limit of time.
fn shake_hands<'a>(hub: &'a Hub, stream: &TcpStream) -> Result<Guest<'a>, Unwelcome> {
    let mut bytes = [0; HELLO_BYTES];
    if let Some(stranger) = read_hello(hub, stream, &mut bytes)? {
        return Ok(stranger);
    }
    let hello = Unwelcome::unless_hello(&bytes)?;
    let peer = Unwelcome::unless_expected(hello, &hub.config, hub.peers.find(hello.from))?;
    Ok(Guest::Peer(peer, hello.channel))
}

/// Read so many bytes as a hello has, unless it is a stranger who comes, and strangers are served.
fn read_hello<'a>(
    hub: &'a Hub,
    stream: &TcpStream,
    bytes: &mut [u8; HELLO_BYTES],
) -> Result<Option<Guest<'a>>, Trouble> {
    let config = &hub.config;
    prepare(stream, config)?;
    let (began, (magic, rest)) = (Instant::now(), bytes.split_at_mut(MAGIC.len()));
    read_within(stream, magic, config.handshake_timeout)?;
    if let Some(handler) = hub.strangers.get()
        && let Some(&first) = magic.first_chunk()
        && first != MAGIC
    {
        return Ok(Some(Guest::Stranger { handler, first }));
    }
    read_within(stream, rest, config.handshake_timeout.saturating_sub(began.elapsed()))?;
    Ok(None)
}

fn serve(
    hub: &Hub,
    peer: &Peer,
    channel: Channel,
    stream: &Arc<TcpStream>,
    inbound: &dyn Inbound,
) -> Result<(), Trouble> {
    let patience = Instant::now().checked_add(hub.config.stall_timeout);
    let place = block_on_until(peer.incoming(channel).enter(stream), patience);
    let _place = place.ok_or(Trouble::Busy)??;
    { &**stream }.write_all(&wire::encode_answer(Ok(())))?;
    match channel {
        Channel::Messages => {
            // Who reaches us can be reached: there is no need to wait out a pause.
            peer.mailbox.kick();
            read_messages(peer, stream, inbound)
        }
        Channel::Snapshot => snapshot::receive(hub, peer, stream, inbound),
    }
}

fn read_messages(peer: &Peer, stream: &TcpStream, inbound: &dyn Inbound) -> Result<(), Trouble> {
    let (mut frames, mut told_at) = (Frames::new(), Instant::now());
    loop {
        while let Some(body) = frames.next(FRAME_BYTES_MAX)? {
            peer.traffic.received(FRAME_HEADER_BYTES + body.len());
            inbound.message(peer.id, codec::decode_message(body.into())?);
        }
        if let Some(term) = frames.begun().and_then(codec::message_term)
            && told_at.elapsed() >= ARRIVING_PAUSE
        {
            told_at = Instant::now();
            inbound.arriving(peer.id, term);
        }
        if !read_some(&mut frames, stream)? {
            return Ok(());
        }
    }
}

/// `None` at a good end of the stream.
pub(super) fn next_frame(frames: &mut Frames, stream: &TcpStream, max: usize) -> Result<Option<Vec<u8>>, Trouble> {
    loop {
        if let Some(body) = frames.next(max)? {
            return Ok(Some(body));
        }
        if !read_some(frames, stream)? {
            return Ok(None);
        }
    }
}

/// `false` at a good end of the stream.
fn read_some(frames: &mut Frames, mut stream: &TcpStream) -> Result<bool, Trouble> {
    loop {
        match stream.read(frames.spare()) {
            Ok(count) => return Ok(frames.filled(count)?),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}
