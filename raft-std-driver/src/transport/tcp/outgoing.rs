//! The way out: connect, say who we are, and write what waits.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use raft_core::codec;
use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};

use super::life::Occupied;
use super::mailbox::Mailbox;
use super::trouble::Trouble;
use super::{Hub, Peer, TcpConfig};
use crate::transport::Inbound;
use crate::transport::wire::{self, ANSWER_BYTES, Channel, Hello};

/// A buffer that grew beyond this gives its memory back.
const BUFFER_KEPT_BYTES: usize = 4 << 20;

/// A connection that the other side has accepted.
pub(super) struct Connection<'a> {
    pub(super) stream: Arc<TcpStream>,
    _place: Occupied<'a>,
}

/// Keep a connection to `peer` and write what waits for it, until the peer is closed.
pub(super) fn run(hub: &Arc<Hub>, peer: &Peer, inbound: &dyn Inbound) {
    let me = hub.config.id;
    let mut backoff = Backoff::new(&hub.config);
    let mut told = String::new();
    while !peer.mailbox.is_closed() {
        let began = Instant::now();
        let connection = connect(hub, peer, Channel::Messages);
        let connected = connection.is_ok();
        let ended = connection.and_then(|connection| {
            tracing::info!("server {me}: connected to server {}", peer.id);
            told.clear();
            deliver(hub, &connection.stream, &peer.mailbox)
        });
        let lost = peer.mailbox.lose();
        if peer.mailbox.is_closed() {
            break;
        }
        // What was written last may be lost as well, and nobody else would say so.
        if connected || lost {
            inbound.unreachable(peer.id);
        }
        let reason = ended.err().map_or_else(|| "the connection is closed".to_owned(), |trouble| trouble.to_string());
        if reason == told {
            tracing::debug!("server {me}: still no way to server {}: {reason}", peer.id);
        } else {
            tracing::warn!("server {me}: no way to server {}: {reason}", peer.id);
            told = reason;
        }
        if connected && began.elapsed() > hub.config.backoff_max {
            backoff = Backoff::new(&hub.config);
        }
        peer.mailbox.pause(backoff.next());
    }
}

/// Connect to `peer` and shake hands. The connection ends when the peer is closed, or earlier.
pub(super) fn connect<'a>(hub: &Hub, peer: &'a Peer, channel: Channel) -> Result<Connection<'a>, Trouble> {
    let mut trouble = Trouble::NoAddress;
    for address in peer.addresses()? {
        match connect_to(hub, peer, channel, address) {
            Ok(connection) => return Ok(connection),
            Err(error) => trouble = error,
        }
    }
    Err(trouble)
}

fn connect_to<'a>(hub: &Hub, peer: &'a Peer, channel: Channel, address: SocketAddr) -> Result<Connection<'a>, Trouble> {
    let config = &hub.config;
    // Known to the slot before it connects, so that closing the peer ends the attempt too.
    let stream = Arc::new(TcpStream::from(Socket::new(Domain::for_address(address), Type::STREAM, None)?));
    let place = peer.outgoing(channel).enter(&stream, Duration::ZERO).ok_or(Trouble::Closed)?;
    SockRef::from(&*stream).connect_timeout(&address.into(), config.connect_timeout)?;
    prepare(&stream, config)?;
    let hello = Hello { channel, cluster: config.cluster, from: config.id, to: peer.id };
    (&*stream).write_all(&hello.encode())?;
    let mut answer = [0; ANSWER_BYTES];
    read_within(&stream, &mut answer, config.handshake_timeout)?;
    wire::decode_answer(&answer)?.map_err(Trouble::Refused)?;
    Ok(Connection { stream, _place: place })
}

/// Settings of every connection: no delay, and no waiting for a host that is gone.
pub(super) fn prepare(stream: &TcpStream, config: &TcpConfig) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(config.stall_timeout))?;
    let socket = SockRef::from(stream);
    // A host that is gone sends no reset. Keep-alive, which counts in whole seconds, notices it on an idle connection.
    let idle = config.stall_timeout.max(Duration::from_secs(1));
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle))?;
    // And on a busy one, without this the system would go on resending for a quarter of an hour, ever more seldom.
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(config.stall_timeout))?;
    Ok(())
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
fn deliver(hub: &Hub, stream: &TcpStream, mailbox: &Mailbox) -> Result<(), Trouble> {
    thread::scope(|scope| {
        let watcher = thread::Builder::new().name(hub.thread_name("watch"));
        watcher.spawn_scoped(scope, || watch(stream, mailbox))?;
        let written = write_mail(hub, stream, mailbox);
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

fn write_mail(hub: &Hub, mut stream: &TcpStream, mailbox: &Mailbox) -> Result<(), Trouble> {
    let (mut batch, mut bytes) = (Vec::new(), Vec::new());
    while mailbox.take(&mut batch) {
        for message in batch.drain(..) {
            let written = wire::put_frame(&mut bytes, |out| Ok::<_, Trouble>(codec::encode_message(&message, out)?));
            if let Err(error) = written {
                tracing::error!("server {}: {message} is dropped: {error}", hub.config.id);
            }
        }
        stream.write_all(&bytes)?;
        bytes.clear();
        bytes.shrink_to(BUFFER_KEPT_BYTES);
    }
    Ok(())
}

/// Pauses that double, each shortened at random by up to a half, so that servers do not stay in step.
struct Backoff {
    next: Duration,
    max: Duration,
    random: RandomState,
    drawn: u64,
}

impl Backoff {
    fn new(config: &TcpConfig) -> Backoff {
        let next = config.backoff_min.min(config.backoff_max);
        Backoff { next, max: config.backoff_max, random: RandomState::new(), drawn: 0 }
    }

    fn next(&mut self) -> Duration {
        let mut hasher = self.random.build_hasher();
        hasher.write_u64(self.drawn);
        self.drawn += 1;
        let pause = self.next;
        self.next = self.next.saturating_mul(2).min(self.max);
        let percent = u32::try_from(hasher.finish() % 51).unwrap_or(0);
        pause.saturating_sub(pause / 100 * percent)
    }
}

#[cfg(test)]
mod tests {
    use raft_core::{Config, NodeId};

    use super::*;
    use crate::storage::ClusterId;

    #[test]
    fn pauses_double_up_to_a_limit_and_differ() {
        let config = TcpConfig {
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_millis(1000),
            ..TcpConfig::new(ClusterId(1), &Config::new(NodeId(1)))
        };
        let pauses = || {
            let mut backoff = Backoff::new(&config);
            (0..20).map(|_| backoff.next()).collect::<Vec<_>>()
        };
        let drawn = pauses();
        let full = [100, 200, 400, 800].into_iter().chain([1000; 16]).map(Duration::from_millis);
        for (pause, full) in drawn.iter().zip(full) {
            assert!(*pause <= full && *pause >= full / 2, "{pause:?} of {full:?}");
        }
        assert_ne!(drawn, pauses());
    }
}
