//! The way in: accept, learn who comes, and read what is said.

use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use raft_core::{FRAME_BYTES_MAX, NodeId, codec};

use super::life::Waiting;
use super::outgoing::{prepare, read_within};
use super::trouble::Trouble;
use super::{Hub, Peer, Strangers, snapshot};
use crate::transport::Inbound;
use crate::transport::wire::{
    self, Channel, FRAME_HEADER_BYTES, FrameHeader, HELLO_BYTES, Hello, HelloError, MAGIC, Refusal,
};

/// Small frames are read many at once.
const READ_BUFFER_BYTES: usize = 64 << 10;

/// What is reserved for a frame before any of it has come.
const FRAME_RESERVED_BYTES: usize = 1 << 20;

/// Accept connections, each with a thread of its own, until the transport is closed.
pub(super) fn accept(hub: &Arc<Hub>, listener: &TcpListener, inbound: &Arc<dyn Inbound>) {
    let me = hub.config.id;
    loop {
        let accepted = listener.accept();
        if hub.is_closed() {
            return;
        }
        let spawned = accepted.and_then(|(stream, address)| {
            let stream = Arc::new(stream);
            let Some(place) = hub.lobby.enter(&stream) else { return Ok(()) };
            let (guest_hub, guest_inbound) = (Arc::clone(hub), Arc::clone(inbound));
            let name = hub.thread_name("in");
            hub.threads.spawn(name, inbound, move || welcome(&guest_hub, &stream, place, address, &*guest_inbound))
        });
        if let Err(error) = spawned {
            tracing::warn!("server {me}: cannot accept a connection: {error}");
            // Out of descriptors or threads: trying again at once would not help.
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A connection's whole life.
fn welcome(hub: &Hub, stream: &Arc<TcpStream>, place: Waiting, address: SocketAddr, inbound: &dyn Inbound) {
    let me = hub.config.id;
    let greeted = shake_hands(hub, stream);
    drop(place);
    let (who, trouble) = match greeted {
        Ok(Guest::Peer(peer, channel)) => {
            let served = serve(hub, &peer, channel, stream, inbound);
            // A message connection that ends tells nothing new: the peer's own side reports it.
            (format!("server {}", peer.id), served.err().filter(|_| !peer.mailbox.is_closed()))
        }
        Ok(Guest::Stranger { handler, first }) => {
            let own = stream.try_clone().map(|stream| handler(stream, first));
            ("someone".to_owned(), own.err().map(Trouble::from))
        }
        Err(trouble) => ("someone".to_owned(), Some(trouble)),
    };
    match trouble {
        None => tracing::debug!("server {me}: {who} at {address} is gone"),
        Some(_) if hub.is_closed() => {}
        Some(trouble) => tracing::warn!("server {me}: {who} at {address} is disconnected: {trouble}"),
    }
}

/// Who comes.
enum Guest<'a> {
    Peer(Arc<Peer>, Channel),
    Stranger { handler: &'a Strangers, first: [u8; MAGIC.len()] },
}

/// Learn who comes, within a limit of time, and refuse whoever is not expected.
fn shake_hands<'a>(hub: &'a Hub, stream: &TcpStream) -> Result<Guest<'a>, Trouble> {
    let config = &hub.config;
    prepare(stream, config)?;
    let mut bytes = [0; HELLO_BYTES];
    let (began, (magic, rest)) = (Instant::now(), bytes.split_at_mut(MAGIC.len()));
    read_within(stream, magic, config.handshake_timeout)?;
    if let Some(handler) = hub.strangers.get()
        && let Some(&first) = magic.first_chunk()
        && first != MAGIC
    {
        return Ok(Guest::Stranger { handler, first });
    }
    read_within(stream, rest, config.handshake_timeout.saturating_sub(began.elapsed()))?;
    let refuse = |why| { stream }.write_all(&wire::encode_answer(Err(why)));
    let hello = Hello::decode(&bytes).inspect_err(|error| {
        if let HelloError::Version { .. } = error {
            drop(refuse(Refusal::Version { theirs: wire::PROTOCOL }));
        }
    })?;
    let peer = hello.judge(config.cluster, config.id, hub.peer(hello.from)).map_err(|why| {
        drop(refuse(why));
        Trouble::Unwanted { hello, why }
    })?;
    Ok(Guest::Peer(peer, hello.channel))
}

fn serve(
    hub: &Hub,
    peer: &Peer,
    channel: Channel,
    stream: &Arc<TcpStream>,
    inbound: &dyn Inbound,
) -> Result<(), Trouble> {
    let _place = peer.incoming(channel).enter(stream, hub.config.stall_timeout).ok_or(Trouble::Busy)?;
    { &**stream }.write_all(&wire::encode_answer(Ok(())))?;
    match channel {
        Channel::Messages => {
            // Who reaches us can be reached: there is no need to wait out a pause.
            peer.mailbox.kick();
            read_messages(peer.id, stream, inbound)
        }
        Channel::Snapshot => snapshot::receive(hub, peer.id, stream, inbound),
    }
}

fn read_messages(from: NodeId, stream: &TcpStream, inbound: &dyn Inbound) -> Result<(), Trouble> {
    let mut reader = reader(stream);
    loop {
        // Each message has memory of its own: its commands keep it, for as long as the log keeps them.
        let mut body = Vec::new();
        if !read_frame(&mut reader, FRAME_BYTES_MAX, &mut body)? {
            return Ok(());
        }
        inbound.message(from, codec::decode_message(body.into())?);
    }
}

pub(super) fn reader(stream: &TcpStream) -> BufReader<&TcpStream> {
    BufReader::with_capacity(READ_BUFFER_BYTES, stream)
}

/// Read a frame's body into `body`, which is empty; `false` at the end of the stream.
pub(super) fn read_frame(reader: &mut impl Read, max: usize, body: &mut Vec<u8>) -> Result<bool, Trouble> {
    let mut header = [0; FRAME_HEADER_BYTES];
    let first = loop {
        match reader.read(&mut header) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => break read?,
        }
    };
    if first == 0 {
        return Ok(false);
    }
    reader.read_exact(&mut header[first..])?;
    let header = FrameHeader::decode(&header, max)?;
    body.reserve_exact(header.length.min(FRAME_RESERVED_BYTES));
    reader.take(header.length as u64).read_to_end(body)?;
    if body.len() < header.length {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    header.check(body)?;
    // It has grown by doubling, and what it becomes may be kept for long.
    if body.capacity() - body.len() > body.len() / 8 {
        body.shrink_to_fit();
    }
    Ok(true)
}
