//! The way out: connect, say who we are, and write what waits.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use raft_std_driver::transport::parts::{self, Attempts, Occupied, Trouble};
use raft_std_driver::transport::wire::{self, ANSWER_BYTES, Channel, Hello};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout};
use tracing::Instrument;

use super::life::Line;
use super::{Hub, Peer};
use crate::transport::link::BoxStream;

/// A connection that the other side has accepted.
pub(super) struct Connection {
    pub(super) stream: BoxStream,
    pub(super) line: Arc<Line>,
    _place: Occupied<Line>,
}

/// Keep a connection to `peer` and write what waits for it, until the peer is closed.
pub(super) async fn run(hub: Arc<Hub>, peer: Arc<Peer>) {
    let mut attempts = Attempts::new(&hub.config, peer.id);
    while !peer.mailbox.is_closed() {
        let began = Instant::now();
        let connection = connect(&hub, &peer, Channel::Messages).await;
        let connected = connection.is_ok();
        let ended = match connection {
            Ok(Connection { stream, line, _place }) => {
                attempts.connected(&*peer, &*hub.gate);
                let span = hub.peers.lines.connection(peer.id, "out");
                match line.unless_cut(deliver(&hub, &peer, stream)).instrument(span).await {
                    Err(Trouble::GivesWay) => Ok(()),
                    ended => ended,
                }
            }
            Err(trouble) => Err(trouble),
        };
        let stood = connected.then(|| began.elapsed());
        let Some(pause) = attempts.ended(&*peer, &*hub.gate, ended, stood) else { break };
        let _reason = timeout(pause, peer.mailbox.reason()).await;
    }
}

/// Connect to `peer` and shake hands.
pub(super) async fn connect(hub: &Hub, peer: &Peer, channel: Channel) -> Result<Connection, Trouble> {
    let address = peer.address();
    // Known to the slot before it connects, so that closing the peer or moving it ends the attempt too.
    let line = Arc::new(Line::default());
    let place = peer.outgoing(channel).enter_now(&line).ok_or(Trouble::Closed)?;
    let attempt = async {
        let mut trouble = Trouble::NoAddress;
        for address in within(hub.config.connect_timeout, hub.sockets.resolve(&address)).await? {
            match connect_to(hub, peer, channel, address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => trouble = error,
            }
        }
        Err(trouble)
    };
    let stream = line.unless_cut(attempt).await?;
    Ok(Connection { stream, line, _place: place })
}

async fn connect_to(hub: &Hub, peer: &Peer, channel: Channel, address: SocketAddr) -> Result<BoxStream, Trouble> {
    let config = &hub.config;
    let stream = within(config.connect_timeout, hub.sockets.connect(address)).await?;
    let greeted = async {
        let mut stream = match &hub.guard {
            Some(guard) => guard.secure_outgoing(peer.id, stream).await.map_err(Trouble::Unsafe)?,
            None => stream,
        };
        let hello = Hello { channel, cluster: config.cluster, from: config.id, to: peer.id };
        stream.write_all(&hello.encode()).await?;
        stream.flush().await?;
        let mut answer = [0; ANSWER_BYTES];
        stream.read_exact(&mut answer).await?;
        wire::decode_answer(&answer)?.map_err(Trouble::Refused)?;
        Ok(stream)
    };
    timeout(config.handshake_timeout, greeted).await.map_err(|_| timed_out())?
}

fn timed_out() -> io::Error {
    io::ErrorKind::TimedOut.into()
}

/// What is not done in this time has failed.
pub(super) async fn within<T>(time: Duration, io: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(time, io).await.map_err(|_| timed_out())?
}

/// Write all of it, as long as the other side takes something every so often.
pub(super) async fn write(stream: &mut (impl AsyncWrite + Unpin), mut bytes: &[u8], stall: Duration) -> io::Result<()> {
    while !bytes.is_empty() {
        match within(stall, stream.write(bytes)).await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => bytes = bytes.get(count..).unwrap_or_default(),
        }
    }
    within(stall, stream.flush()).await
}

/// Write what is posted until the connection breaks or the mailbox is closed.
async fn deliver(hub: &Hub, peer: &Peer, stream: BoxStream) -> Result<(), Trouble> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let (mut batch, mut bytes) = (Vec::new(), Vec::new());
    loop {
        tokio::select! {
            biased;
            over = ended(&mut reader) => return over,
            more = peer.mailbox.take(&mut batch) => if !more { return Ok(()) },
        }
        let count = parts::put_messages(hub.config.id, &mut batch, &mut bytes);
        tokio::select! {
            biased;
            over = ended(&mut reader) => return over,
            written = write(&mut writer, &bytes, hub.config.stall_timeout) => written?,
        }
        peer.traffic.sent(count, bytes.len());
        parts::reuse(&mut bytes);
    }
}

/// The peer says nothing on this connection: what can be read is its end. Without this, the first message after a peer's
/// restart would be lost unnoticed.
async fn ended(reader: &mut (impl AsyncRead + Unpin)) -> Result<(), Trouble> {
    let _nothing_or_nonsense = reader.read(&mut [0]).await?;
    Ok(())
}
