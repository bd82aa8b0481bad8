//! The way in: accept, learn who comes, and read what is said.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use raft_std_driver::raft_core::{FRAME_BYTES_MAX, Message, codec};
use raft_std_driver::transport::parts::{ARRIVING_PAUSE, Frames, Trouble, Unwelcome, Waiting};
use raft_std_driver::transport::wire::{self, Channel, FRAME_HEADER_BYTES, HELLO_BYTES};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};
use tracing::Instrument;

use super::life::Line;
use super::{Hub, Peer, snapshot};
use crate::transport::link::{BoxStream, Listener};

/// Accept connections, each with a task of its own, until the transport is closed.
pub(super) async fn accept(hub: Arc<Hub>, mut listener: Box<dyn Listener>) {
    loop {
        let spawned = listener.accept().await.and_then(|(stream, address)| {
            let line = Arc::new(Line::default());
            let Some(place) = hub.lobby.enter(&line) else { return Ok(()) };
            if place.crowded {
                hub.peers.lines.crowded();
            }
            hub.spawn("in", welcome(Arc::clone(&hub), stream, line, place, address))
        });
        if hub.peers.is_closed() {
            return;
        }
        if let Err(error) = spawned {
            hub.peers.lines.cannot_accept(&error);
            // Out of descriptors: trying again at once would not help.
            sleep(Duration::from_millis(10)).await;
        }
    }
}

/// A connection's whole life.
async fn welcome(hub: Arc<Hub>, stream: BoxStream, line: Arc<Line>, place: Waiting<Line>, address: SocketAddr) {
    let greeted = line.unless_cut(async { Ok(shake_hands(&hub, stream).await) }).await;
    drop(place);
    let (who, trouble) = match greeted.unwrap_or_else(|cut| Err(cut.into())) {
        Ok((peer, channel, stream)) => {
            let served = line.unless_cut(serve(&hub, &peer, channel, stream, &line));
            let served = served.instrument(hub.peers.lines.connection(peer.id, "in")).await;
            // A message connection that ends tells nothing new: the peer's own side reports it.
            (Some(peer.id), served.err().filter(|_| !peer.mailbox.is_closed()))
        }
        Err(Unwelcome { trouble, .. }) => (None, Some(trouble)),
    };
    hub.peers.lines.ended(who, address, trouble.as_ref());
}

type Guest = (Arc<Peer>, Channel, BoxStream);

/// Learn who comes, within a limit of time, and tell whoever is not expected.
async fn shake_hands(hub: &Hub, stream: BoxStream) -> Result<Guest, Unwelcome> {
    let greeted = timeout(hub.config.handshake_timeout, async {
        let (mut stream, proof) = match &hub.guard {
            Some(guard) => {
                let (stream, proof) = guard.secure_incoming(stream).await.map_err(Trouble::Unsafe)?;
                (stream, Some(proof))
            }
            None => (stream, None),
        };
        let mut bytes = [0; HELLO_BYTES];
        stream.read_exact(&mut bytes).await.map_err(Trouble::from)?;
        let judged = Unwelcome::unless_hello(&bytes).and_then(|hello| {
            // Before anything is said: impostors are told nothing.
            if let Some(proof) = &proof {
                proof.check(hello.from).map_err(|why| Trouble::Impostor { claimed: hello.from, why })?;
            }
            let peer = Unwelcome::unless_expected(hello, &hub.config, hub.peers.find(hello.from))?;
            Ok((peer, hello.channel))
        });
        if let Err(Unwelcome { answer: Some(answer), .. }) = &judged {
            let _heard_or_not = stream.write_all(answer).await;
            let _ends_well_or_not = stream.shutdown().await;
        }
        let (peer, channel) = judged?;
        Ok((peer, channel, stream))
    });
    let late = |_| Trouble::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
    greeted.await.map_err(late)?
}

async fn serve(
    hub: &Arc<Hub>,
    peer: &Arc<Peer>,
    channel: Channel,
    mut stream: BoxStream,
    line: &Arc<Line>,
) -> Result<(), Trouble> {
    let place = timeout(hub.config.stall_timeout, peer.incoming(channel).enter(line)).await;
    let place = place.map_err(|_| Trouble::Busy)??;
    super::outgoing::write(&mut stream, &wire::encode_answer(Ok(())), hub.config.stall_timeout).await?;
    match channel {
        Channel::Messages => {
            // Who reaches us can be reached: there is no need to wait out a pause.
            peer.mailbox.kick();
            read_messages(hub, peer, stream).await
        }
        Channel::Snapshot => snapshot::receive(hub, peer, stream, place).await,
    }
}

async fn read_messages(hub: &Hub, peer: &Peer, mut stream: BoxStream) -> Result<(), Trouble> {
    let (mut frames, mut told_at) = (Frames::new(), Instant::now());
    loop {
        // All that one read has brought is delivered before the next.
        let heard = hub.gate.deliver(|inbound| {
            while let Some(body) = frames.next(FRAME_BYTES_MAX)? {
                peer.traffic.received(FRAME_HEADER_BYTES + body.len());
                let message: Message = codec::decode_message(body.into())?;
                inbound.message(peer.id, message);
            }
            if let Some(term) = frames.begun().and_then(codec::message_term)
                && told_at.elapsed() >= ARRIVING_PAUSE
            {
                told_at = Instant::now();
                inbound.arriving(peer.id, term);
            }
            Ok::<_, Trouble>(())
        });
        heard.ok_or(Trouble::Closed)??;
        let count = stream.read(frames.spare()).await?;
        if !frames.filled(count)? {
            return Ok(());
        }
    }
}

/// The next frame; an error at the end of the stream.
pub(super) async fn next_frame(
    frames: &mut Frames,
    stream: &mut BoxStream,
    max: usize,
    stall: Duration,
) -> Result<Vec<u8>, Trouble> {
    loop {
        if let Some(body) = frames.next(max)? {
            return Ok(body);
        }
        let count = super::outgoing::within(stall, stream.read(frames.spare())).await?;
        if !frames.filled(count)? {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
    }
}
