//! Snapshots, each on a connection of its own: offered, taken, streamed in chunks, made durable, confirmed.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use raft_core::{EntryId, NodeId};

use super::incoming::{read_frame, reader};
use super::outgoing::{connect, read_within};
use super::trouble::Trouble;
use super::{Hub, Peer, TcpConfig};
use crate::queue::lock;
use crate::transport::wire::{self, CHUNK_BYTES_MAX, Channel, OFFER_BYTES_MAX, Offer, Verdict};
use crate::transport::{Inbound, OutgoingSnapshot};

/// A transfer under way. Its end is reported however it ends, by a panic of the data's reader too.
struct Transfer {
    peer: Arc<Peer>,
    inbound: Arc<dyn Inbound>,
    last: EntryId,
    delivered: bool,
}

impl Drop for Transfer {
    fn drop(&mut self) {
        *lock(&self.peer.sending) = None;
        self.inbound.snapshot_sent(self.peer.id, self.last, self.delivered);
    }
}

/// Send a snapshot on a thread of its own, unless one is under way to this peer.
pub(super) fn begin(hub: &Arc<Hub>, peer: Arc<Peer>, inbound: &Arc<dyn Inbound>, snapshot: OutgoingSnapshot) {
    let last = snapshot.meta.last;
    let under_way = {
        let mut sending = lock(&peer.sending);
        let before = *sending;
        *sending = before.or(Some(last));
        before
    };
    match under_way {
        None => {}
        Some(same) if same == last => return,
        Some(_) => return inbound.snapshot_sent(peer.id, last, false),
    }
    let transfer = Transfer { peer, inbound: Arc::clone(inbound), last, delivered: false };
    let thread_hub = Arc::clone(hub);
    let spawned = hub.threads.spawn(hub.thread_name("snap-out"), inbound, move || transfer.run(&thread_hub, snapshot));
    // If this fails, the transfer went with the closure, and has reported its end.
    if let Err(error) = spawned {
        tracing::warn!("server {}: no thread for snapshot {last}: {error}", hub.config.id);
    }
}

impl Transfer {
    fn run(mut self, hub: &Hub, snapshot: OutgoingSnapshot) {
        let (me, to, last) = (hub.config.id, self.peer.id, self.last);
        match send(hub, &self.peer, snapshot) {
            Ok(()) => {
                tracing::info!("server {me}: snapshot {last} is delivered to server {to}");
                self.delivered = true;
            }
            Err(trouble) => tracing::warn!("server {me}: snapshot {last} is not delivered to server {to}: {trouble}"),
        }
    }
}

fn send(hub: &Hub, peer: &Peer, snapshot: OutgoingSnapshot) -> Result<(), Trouble> {
    let TcpConfig { chunk_bytes, stall_timeout, confirm_timeout, .. } = hub.config;
    let OutgoingSnapshot { term, meta, len: length, mut data } = snapshot;
    let connection = connect(hub, peer, Channel::Snapshot)?;
    let mut stream = &*connection.stream;

    let offer = Offer { term, meta, length }.encode()?;
    let mut frame = Vec::new();
    wire::put_frame(&mut frame, |out| {
        out.extend(offer);
        Ok::<_, Trouble>(())
    })?;
    stream.write_all(&frame)?;
    expect(Verdict::Go, stream, stall_timeout)?;

    let mut left = length;
    while left > 0 {
        let chunk = left.min(chunk_bytes.clamp(1, CHUNK_BYTES_MAX) as u64);
        frame.clear();
        wire::put_frame(&mut frame, |out| match (&mut data).take(chunk).read_to_end(out)? as u64 {
            read if read == chunk => Ok(()),
            _ => Err(Trouble::SnapshotLength),
        })?;
        stream.write_all(&frame)?;
        left -= chunk;
    }
    if data.read(&mut [0])? != 0 {
        return Err(Trouble::SnapshotLength);
    }
    expect(Verdict::Stored, stream, confirm_timeout)
}

fn expect(expected: Verdict, stream: &TcpStream, time: Duration) -> Result<(), Trouble> {
    let mut byte = [0];
    read_within(stream, &mut byte, time)?;
    match Verdict::decode(byte[0]) {
        Some(verdict) if verdict == expected => Ok(()),
        Some(Verdict::Refused) => Err(Trouble::SnapshotRefused),
        _ => Err(Trouble::Verdict),
    }
}

/// Receive one snapshot. Unless all of it comes, the sink is dropped unfinished, and nothing remains.
pub(super) fn receive(hub: &Hub, from: NodeId, stream: &TcpStream, inbound: &dyn Inbound) -> Result<(), Trouble> {
    let say = |verdict: Verdict| -> io::Result<()> { { stream }.write_all(&[verdict.encode()]) };
    stream.set_read_timeout(Some(hub.config.stall_timeout))?;
    let mut reader = reader(stream);
    let mut body = Vec::new();
    next_frame(&mut reader, OFFER_BYTES_MAX, &mut body)?;
    let offer = Offer::decode(&body)?;
    let begun = inbound.snapshot_begin(from, &offer.meta);
    let mut sink = begun.inspect_err(|_| drop(say(Verdict::Refused)))?;
    say(Verdict::Go)?;

    let mut left = offer.length;
    while left > 0 {
        next_frame(&mut reader, CHUNK_BYTES_MAX, &mut body)?;
        left = left.checked_sub(body.len() as u64).ok_or(Trouble::SnapshotLength)?;
        sink.write_all(&body)?;
    }
    sink.finish().inspect_err(|_| drop(say(Verdict::Refused)))?;
    tracing::info!("server {}: snapshot {} is received from server {from}", hub.config.id, offer.meta.last);
    // It is durable here: this server must hear of it, whether or not the sender does.
    inbound.snapshot_received(from, offer.term, offer.meta);
    Ok(say(Verdict::Stored)?)
}

fn next_frame(reader: &mut impl Read, max: usize, body: &mut Vec<u8>) -> Result<(), Trouble> {
    body.clear();
    if read_frame(reader, max, body)? { Ok(()) } else { Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()) }
}
