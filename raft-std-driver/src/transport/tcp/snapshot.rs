//! Snapshots, each on a connection of its own: offered, taken, streamed in chunks, made durable, confirmed.

use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use super::incoming::next_frame;
use super::outgoing::{connect, read_within};
use super::{Hub, Peer, TcpConfig};
use crate::transport::parts::{self, Chunks, Frames, Receiving, Trouble};
use crate::transport::wire::{CHUNK_BYTES_MAX, Channel, FRAME_HEADER_BYTES, OFFER_BYTES_MAX, Offer, Verdict};
use crate::transport::{Inbound, OutgoingSnapshot};

/// Send a snapshot on a thread of its own, unless one is under way to this peer.
pub(super) fn begin(hub: &Arc<Hub>, peer: Arc<Peer>, inbound: &Arc<dyn Inbound>, snapshot: OutgoingSnapshot) {
    let (id, last) = (peer.id, snapshot.meta.last);
    let Some(transfer) = peer.sending.begin(peer.id, last, inbound) else { return };
    let thread_hub = Arc::clone(hub);
    let spawned = hub.threads.spawn(hub.thread_name("snap-out"), inbound, move || {
        let lines = &thread_hub.peers.lines;
        let sent = lines.sending(id, last).in_scope(|| send(&thread_hub, &peer, snapshot));
        transfer.ended(lines, sent);
    });
    // If this fails, the transfer went with the closure, and has reported its end.
    if let Err(error) = spawned {
        hub.peers.lines.not_delivered(id, last, &error);
    }
}

fn send(hub: &Hub, peer: &Peer, snapshot: OutgoingSnapshot) -> Result<(), Trouble> {
    let TcpConfig { chunk_bytes, stall_timeout, confirm_timeout, .. } = hub.config;
    let OutgoingSnapshot { term, meta, len: length, data } = snapshot;
    let connection = connect(hub, peer, Channel::Snapshot)?;
    let mut stream = &*connection.stream;

    let mut frame = Vec::new();
    parts::put_offer(&mut frame, term, meta, length)?;
    stream.write_all(&frame)?;
    peer.traffic.snapshot_sent(frame.len());
    expect(Verdict::Go, stream, stall_timeout)?;

    let mut chunks = Chunks::new(data, length, chunk_bytes);
    frame.clear();
    while chunks.put_next(&mut frame)? {
        stream.write_all(&frame)?;
        peer.traffic.snapshot_sent(frame.len());
        frame.clear();
    }
    expect(Verdict::Stored, stream, confirm_timeout)
}

fn expect(expected: Verdict, stream: &TcpStream, time: Duration) -> Result<(), Trouble> {
    let mut byte = [0];
    read_within(stream, &mut byte, time)?;
    parts::expect(expected, byte[0])
}

/// Receive one snapshot. Unless all of it comes, nothing of it remains.
pub(super) fn receive(hub: &Hub, peer: &Peer, stream: &TcpStream, inbound: &dyn Inbound) -> Result<(), Trouble> {
    let say = |verdict: Verdict| -> io::Result<()> { { stream }.write_all(&[verdict.encode()]) };
    stream.set_read_timeout(Some(hub.config.stall_timeout))?;
    let mut frames = Frames::new();
    let mut next = |max| -> Result<Vec<u8>, Trouble> {
        let body =
            next_frame(&mut frames, stream, max)?.ok_or(io::ErrorKind::UnexpectedEof).map_err(io::Error::from)?;
        peer.traffic.snapshot_received(FRAME_HEADER_BYTES + body.len());
        Ok(body)
    };
    let offer = Offer::decode(&next(OFFER_BYTES_MAX)?)?;
    let _span = hub.peers.lines.receiving(peer.id, offer.meta.last).entered();
    let mut receiving = Receiving::begin(peer.id, offer, inbound).inspect_err(|_| drop(say(Verdict::Refused)))?;
    say(Verdict::Go)?;
    while !receiving.is_whole() {
        receiving.write(&next(CHUNK_BYTES_MAX)?)?;
    }
    let deliver = |from, term, meta| inbound.snapshot_received(from, term, meta);
    receiving.finish(deliver).inspect_err(|_| drop(say(Verdict::Refused)))?;
    Ok(say(Verdict::Stored)?)
}
