//! Snapshots, each on a connection of its own: offered, taken, streamed in chunks, made durable, confirmed. Their data is
//! read and written by parts that may block; a few chunks lie between these and the connection's task.

use std::sync::Arc;
use std::time::Duration;

use raft_std_driver::raft_core::NodeId;
use raft_std_driver::transport::OutgoingSnapshot;
use raft_std_driver::transport::parts::{self, Chunks, Frames, Occupied, Receiving, Transfer, Trouble};
use raft_std_driver::transport::wire::{CHUNK_BYTES_MAX, Channel, FRAME_HEADER_BYTES, OFFER_BYTES_MAX, Offer, Verdict};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tracing::Instrument;

use super::incoming::next_frame;
use super::life::Line;
use super::outgoing::{connect, within, write};
use super::{Hub, Peer};
use crate::transport::link::BoxStream;

/// How many chunks are read ahead, and how many that came may wait for the disk.
const CHUNKS_AHEAD: usize = 2;

/// Send a snapshot by a task and a part of its own, unless one is under way to this peer.
pub(super) fn begin(hub: &Arc<Hub>, peer: Arc<Peer>, snapshot: OutgoingSnapshot) {
    let (id, last) = (peer.id, snapshot.meta.last);
    let Some(transfer) = peer.sending.begin(peer.id, last, &hub.inbound()) else { return };
    let task_hub = Arc::clone(hub);
    let task = async move {
        // Whoever reads the data holds it too: the next transfer begins when nothing is left of this one.
        let transfer = Arc::new(transfer);
        let lines = &task_hub.peers.lines;
        let outcome = send(&task_hub, &peer, snapshot, &transfer).instrument(lines.sending(id, last)).await;
        transfer.ended(lines, outcome);
    };
    // If this fails, the transfer goes with the task, and reports its end.
    if let Err(error) = hub.spawn("snap-out", task) {
        hub.peers.lines.not_delivered(id, last, &error);
    }
}

async fn send(
    hub: &Arc<Hub>,
    peer: &Peer,
    snapshot: OutgoingSnapshot,
    transfer: &Arc<Transfer>,
) -> Result<(), Trouble> {
    let OutgoingSnapshot { term, meta, len: length, data } = snapshot;
    let mut connection = connect(hub, peer, Channel::Snapshot).await?;
    let stream = &mut connection.stream;
    let stall = hub.config.stall_timeout;
    let served = async {
        let mut offer = Vec::new();
        parts::put_offer(&mut offer, term, meta, length)?;
        write(stream, &offer, stall).await?;
        peer.traffic.snapshot_sent(offer.len());
        expect(Verdict::Go, stream, stall).await?;
        let mut chunks = read_ahead(hub, Chunks::new(data, length, hub.config.chunk_bytes), Arc::clone(transfer))?;
        while let Some(frame) = chunks.recv().await.ok_or(Trouble::Abandoned)?? {
            write(stream, &frame, stall).await?;
            peer.traffic.snapshot_sent(frame.len());
        }
        expect(Verdict::Stored, stream, hub.config.confirm_timeout).await
    };
    connection.line.unless_cut(served).await
}

/// Frame after frame; `None` when all has been read.
type Ahead = mpsc::Receiver<Result<Option<Vec<u8>>, Trouble>>;

fn read_ahead(hub: &Arc<Hub>, mut chunks: Chunks, transfer: Arc<Transfer>) -> Result<Ahead, Trouble> {
    let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
    hub.spawn_part("send", "snap-out", async move {
        let _transfer = transfer;
        loop {
            let mut frame = Vec::new();
            let read = chunks.put_next(&mut frame).map(|more| more.then_some(frame));
            let ends = !matches!(read, Ok(Some(_)));
            if sender.send(read).await.is_err() || ends {
                return;
            }
        }
    })?;
    Ok(receiver)
}

async fn expect(expected: Verdict, stream: &mut BoxStream, time: Duration) -> Result<(), Trouble> {
    parts::expect(expected, within(time, stream.read_u8()).await?)
}

/// Receive one snapshot. Unless all of it comes, nothing of it remains. `place` is kept until nothing does.
pub(super) async fn receive(
    hub: &Arc<Hub>,
    peer: &Peer,
    mut stream: BoxStream,
    place: Occupied<Line>,
) -> Result<(), Trouble> {
    let (stall, mut frames) = (hub.config.stall_timeout, Frames::new());
    let offer = next_frame(&mut frames, &mut stream, OFFER_BYTES_MAX, stall).await?;
    peer.traffic.snapshot_received(FRAME_HEADER_BYTES + offer.len());
    let offer = Offer::decode(&offer)?;
    let span = hub.peers.lines.receiving(peer.id, offer.meta.last);
    let left = offer.length;
    let store = span.in_scope(|| store(hub, peer.id, offer, place))?;
    take(peer, store, (stream, frames), left, stall).instrument(span).await
}

/// Take what was offered, so many bytes, and tell the sender what becomes of it.
async fn take(
    peer: &Peer,
    (chunks, mut news): Store,
    (mut stream, mut frames): (BoxStream, Frames),
    mut left: u64,
    stall: Duration,
) -> Result<(), Trouble> {
    let say = async |verdict: Verdict, stream: &mut BoxStream| write(stream, &[verdict.encode()], stall).await;
    let refused = match news.recv().await {
        Some(Progress::Begun) => None,
        Some(Progress::Ended(outcome)) => outcome.err(),
        None => Some(Trouble::Abandoned),
    };
    if let Some(trouble) = refused {
        let _heard_or_not = say(Verdict::Refused, &mut stream).await;
        return Err(trouble);
    }
    say(Verdict::Go, &mut stream).await?;
    while left > 0 {
        let chunk = next_frame(&mut frames, &mut stream, CHUNK_BYTES_MAX, stall).await?;
        peer.traffic.snapshot_received(FRAME_HEADER_BYTES + chunk.len());
        left = left.checked_sub(chunk.len() as u64).ok_or(Trouble::SnapshotLength)?;
        if chunks.send(chunk).await.is_err() {
            break;
        }
    }
    match news.recv().await {
        Some(Progress::Ended(Ok(()))) => Ok(say(Verdict::Stored, &mut stream).await?),
        Some(Progress::Ended(Err(trouble))) => {
            let _heard_or_not = say(Verdict::Refused, &mut stream).await;
            let _ends_well_or_not = stream.shutdown().await;
            Err(trouble)
        }
        Some(Progress::Begun) | None => Err(Trouble::Abandoned),
    }
}

/// What becomes of a snapshot that comes in.
enum Progress {
    /// There is a place for it.
    Begun,
    /// It is durable, and the node knows; or not.
    Ended(Result<(), Trouble>),
}

/// Where chunks go, and what becomes of them.
type Store = (mpsc::Sender<Vec<u8>>, mpsc::Receiver<Progress>);

fn store(hub: &Arc<Hub>, from: NodeId, offer: Offer, place: Occupied<Line>) -> Result<Store, Trouble> {
    let (sender, mut chunks) = mpsc::channel::<Vec<u8>>(CHUNKS_AHEAD);
    let (news, receiver) = mpsc::channel(2);
    let gate = hub.inbound();
    let part = async move {
        let stored = async {
            let mut receiving = Receiving::begin(from, offer, &*gate)?;
            if news.send(Progress::Begun).await.is_err() {
                return Err(Trouble::Abandoned);
            }
            while !receiving.is_whole() {
                let chunk = chunks.recv().await.ok_or(Trouble::Abandoned)?;
                receiving.write(&chunk)?;
            }
            receiving.finish(|from, term, meta| gate.snapshot_received(from, term, meta))
        };
        let outcome = stored.await;
        // Whoever hears this may send the next one at once.
        drop(place);
        let _heard_or_not = news.send(Progress::Ended(outcome)).await;
    };
    hub.spawn_part("receive", "in", part.in_current_span())?;
    Ok((sender, receiver))
}
