//! The way out: connect, say who we are, and write what waits.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};

use super::{Hub, Peer, TcpConfig};
use crate::transport::Inbound;
use crate::transport::parts::{self, Attempts, Mailbox, Occupied, Trouble};
use crate::transport::wire::{self, ANSWER_BYTES, Channel, Hello};
use crate::workers::{block_on, block_on_until};

/// A connection that the other side has accepted.
pub(super) struct Connection {
    pub(super) stream: Arc<TcpStream>,
    _place: Occupied<TcpStream>,
}

/// Keep a connection to `peer` and write what waits for it, until the peer is closed.
pub(super) fn run(hub: &Arc<Hub>, peer: &Peer, inbound: &dyn Inbound) {
    let mut attempts = Attempts::new(&hub.config, peer.id);
    while !peer.mailbox.is_closed() {
        let began = Instant::now();
        let connection = connect(hub, peer, Channel::Messages);
        let connected = connection.is_ok();
        let ended = connection.and_then(|connection| {
            attempts.connected(peer, inbound);
            hub.peers.lines.connection(peer.id, "out").in_scope(|| deliver(hub, &connection.stream, peer))
        });
        let stood = connected.then(|| began.elapsed());
        let Some(pause) = attempts.ended(peer, inbound, ended, stood) else { break };
        block_on_until(peer.mailbox.reason(), Instant::now().checked_add(pause));
    }
}

/// Connect to `peer` and shake hands. The connection ends when the peer is closed, or earlier.
pub(super) fn connect(hub: &Hub, peer: &Peer, channel: Channel) -> Result<Connection, Trouble> {
    let mut trouble = Trouble::NoAddress;
    for address in peer.address().to_socket_addrs()? {
        match connect_to(hub, peer, channel, address) {
            Ok(connection) => return Ok(connection),
            Err(error) => trouble = error,
        }
    }
    Err(trouble)
}

fn connect_to(hub: &Hub, peer: &Peer, channel: Channel, address: SocketAddr) -> Result<Connection, Trouble> {
    let config = &hub.config;
    // Known to the slot before it connects, so that closing the peer ends the attempt too.
    let stream = Arc::new(TcpStream::from(Socket::new(Domain::for_address(address), Type::STREAM, None)?));
    let place = peer.outgoing(channel).enter_now(&stream).ok_or(Trouble::Closed)?;
    SockRef::from(&*stream).connect_timeout(&address.into(), config.connect_timeout)?;
    prepare(&stream, config)?;
    let hello = Hello { channel, cluster: config.cluster, from: config.id, to: peer.id };
    (&*stream).write_all(&hello.encode())?;
    let mut answer = [0; ANSWER_BYTES];
    read_within(&stream, &mut answer, config.handshake_timeout)?;
    wire::decode_answer(&answer)?.map_err(Trouble::Refused)?;
    Ok(Connection { stream, _place: place })
}

/// Settings of every connection.
pub(super) fn prepare(stream: &TcpStream, config: &TcpConfig) -> io::Result<()> {
    stream.set_write_timeout(Some(config.stall_timeout))?;
    parts::prepare(stream, config.stall_timeout)
}

/// Fill `bytes` before `time` has passed, however slowly they drip in. Afterwards reads wait without limit.
pub(super) fn read_within(mut stream: &TcpStream, bytes: &mut [u8], time: Duration) -> io::Result<()> {
    let deadline = Instant::now() + time;
    let mut filled = 0;
    while filled < bytes.len() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut bytes[filled..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
            Err(error) => return Err(error),
        }
    }
    stream.set_read_timeout(None)
}

/// Write what is posted until the connection breaks or the mailbox is closed.
fn deliver(hub: &Hub, stream: &TcpStream, peer: &Peer) -> Result<(), Trouble> {
    thread::scope(|scope| {
        let watcher = thread::Builder::new().name(hub.thread_name("watch"));
        watcher.spawn_scoped(scope, || watch(stream, &peer.mailbox))?;
        let written = write_mail(hub, stream, peer);
        // This ends the watcher.
        let _ = stream.shutdown(Shutdown::Both);
        written
    })
}

/// The peer says nothing on this connection: what can be read is its end. Without this, the first message after a peer's
/// restart would be lost unnoticed.
fn watch(mut stream: &TcpStream, mailbox: &Mailbox) {
    while stream.read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::Interrupted) {}
    mailbox.break_off();
}

fn write_mail(hub: &Hub, mut stream: &TcpStream, peer: &Peer) -> Result<(), Trouble> {
    let (mut batch, mut bytes) = (Vec::new(), Vec::new());
    while block_on(peer.mailbox.take(&mut batch)) {
        let count = parts::put_messages(hub.config.id, &mut batch, &mut bytes);
        stream.write_all(&bytes)?;
        peer.traffic.sent(count, bytes.len());
        parts::reuse(&mut bytes);
    }
    Ok(())
}
