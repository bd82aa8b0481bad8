//! Snapshots on their way, each over a connection of its own. Their files are others' work: a job goes out for each step, and
//! the next one when that is done.

use std::time::Instant;

use raft_core::{Bytes, EntryId, Event, NodeId, SnapshotMeta, Term};

use super::links::{Purpose, Stage};
use super::{LinkId, Peers, order_write};
use crate::events::NodeEvent;
use crate::net::wire::FRAME_HEADER_BYTES;
use crate::net::{Link, Offer, Trouble};

/// Work on the file of a snapshot under way. Those of one transfer are done in order.
pub(crate) enum TransferJob {
    /// Open the current snapshot, if it ends here, to be sent.
    Open { transfer: LinkId, last: EntryId },
    /// Read its next bytes.
    Read { transfer: LinkId, bytes: usize },
    /// Begin to store one that a peer offers.
    Create { transfer: LinkId, from: NodeId, term: Term, meta: SnapshotMeta },
    /// Store its next bytes.
    Write { transfer: LinkId, chunk: Bytes },
    /// All of it is there: make it durable, and tell the core.
    Finish { transfer: LinkId },
    /// It is over, for whatever reason.
    Close { transfer: LinkId },
}

impl TransferJob {
    /// Which transfer it belongs to.
    pub(crate) fn transfer(&self) -> LinkId {
        match self {
            TransferJob::Open { transfer, .. }
            | TransferJob::Read { transfer, .. }
            | TransferJob::Create { transfer, .. }
            | TransferJob::Write { transfer, .. }
            | TransferJob::Finish { transfer }
            | TransferJob::Close { transfer } => *transfer,
        }
    }
}

/// How such a job ended. An error ends the transfer.
pub(crate) enum TransferDone {
    /// It has so many bytes; none, if another snapshot is current by now.
    Opened(Result<Option<u64>, String>),
    Read(Result<Bytes, String>),
    Created(Result<(), String>),
    Written(Result<(), String>),
    Finished(Result<(), String>),
}

/// The snapshot that is on its way to a peer.
pub(super) struct Sending {
    link: LinkId,
    term: Term,
    snapshot: SnapshotMeta,
}

impl Peers {
    /// Send a snapshot; ends with [`Event::SnapshotSent`]. While one is under way to the same peer, another is refused, and
    /// the same one ignored.
    pub(crate) fn send_snapshot(&mut self, to: NodeId, term: Term, snapshot: SnapshotMeta, now: Instant) {
        let last = snapshot.last;
        let under_way = self.peer(to).and_then(|peer| peer.sending.as_ref()).map(|sending| sending.snapshot.last);
        if under_way == Some(last) {
            return;
        }
        let link = if under_way.is_none() { self.dial(to, Purpose::SnapshotTo(to), now) } else { None };
        match (link, self.peer(to)) {
            (Some(link), Some(peer)) => peer.sending = Some(Sending { link, term, snapshot }),
            _ => self.sent(to, last, false),
        }
    }

    /// The peer has let this server in: now there is somebody to open it for.
    pub(super) fn open_snapshot(&mut self, peer: NodeId, transfer: LinkId) {
        if let Some(last) = self.sending(peer, transfer).map(|sending| sending.snapshot.last) {
            self.word.jobs.push(TransferJob::Open { transfer, last });
        }
    }

    fn sending(&mut self, peer: NodeId, link: LinkId) -> Option<&mut Sending> {
        self.peer(peer)?.sending.as_mut().filter(|sending| sending.link == link)
    }

    /// A job of a transfer has ended.
    pub(crate) fn transfer_done(&mut self, id: LinkId, done: TransferDone, now: Instant) {
        let Some(purpose) = self.links.get(id).map(|connection| connection.purpose) else { return };
        let went_on = match (done, purpose) {
            (TransferDone::Opened(Ok(Some(length))), Purpose::SnapshotTo(peer)) => self.offer(peer, id, length, now),
            (TransferDone::Opened(Ok(None)), _) => Err(Trouble::Abandoned("the snapshot is no longer current".into())),
            (TransferDone::Read(Ok(chunk)), _) => {
                let bytes = (FRAME_HEADER_BYTES + chunk.len()) as u64;
                if let Purpose::SnapshotTo(peer) = purpose
                    && let Some(peer) = self.peer(peer)
                {
                    peer.traffic.snapshot_bytes_sent += bytes;
                }
                self.link(id).map_or(Ok(()), |link| link.chunk(chunk, now))
            }
            (TransferDone::Created(Ok(())), _) => {
                self.link(id).into_iter().for_each(|link| link.take(now));
                Ok(())
            }
            (TransferDone::Written(Ok(())), _) => {
                self.link(id).into_iter().for_each(|link| link.stored(1, now));
                Ok(())
            }
            (TransferDone::Finished(Ok(())), Purpose::SnapshotFrom(peer)) => {
                self.confirm(peer, id, now);
                Ok(())
            }
            (
                TransferDone::Opened(Err(why))
                | TransferDone::Read(Err(why))
                | TransferDone::Created(Err(why))
                | TransferDone::Written(Err(why))
                | TransferDone::Finished(Err(why)),
                _,
            ) => Err(Trouble::Abandoned(why)),
            (TransferDone::Opened(Ok(_)) | TransferDone::Finished(Ok(())), _) => Ok(()),
        };
        match went_on {
            // What could not be read before may have come long ago.
            Ok(()) => {
                self.orders.read.push(id);
                self.listen(id, now);
            }
            Err(trouble) => {
                self.link(id).into_iter().for_each(|link| link.fail(now));
                self.lose(id, Some(trouble), now);
            }
        }
    }

    fn link(&mut self, id: LinkId) -> Option<&mut Link> {
        self.links.link_mut(id)
    }

    fn offer(&mut self, peer: NodeId, id: LinkId, length: u64, now: Instant) -> Result<(), Trouble> {
        let Some(Sending { term, snapshot, .. }) = self.sending(peer, id) else { return Ok(()) };
        let offer = Offer { term: *term, meta: snapshot.clone(), length };
        let last = offer.meta.last;
        self.word.told.push(NodeEvent::SnapshotSending { to: peer, last, bytes: length });
        self.link(id).map_or(Ok(()), |link| link.offer(&offer, now))
    }

    /// Have the next bytes read, if the connection has room for them.
    pub(super) fn ask_for_chunk(&mut self, id: LinkId) {
        if let Some(bytes) = self.link(id).and_then(Link::wants_chunk) {
            self.word.jobs.push(TransferJob::Read { transfer: id, bytes });
        }
    }

    /// The peer has made it durable.
    pub(super) fn delivered(&mut self, peer: NodeId, id: LinkId) {
        self.end_sending(peer, id, true);
        if let Some(connection) = self.links.get_mut(id) {
            connection.purpose = Purpose::Parting;
        }
    }

    pub(super) fn lose_sending(&mut self, peer: NodeId, id: LinkId, trouble: Option<Trouble>, now: Instant) {
        let Some(last) = self.sending(peer, id).map(|sending| sending.snapshot.last) else { return };
        if let Some(trouble) = trouble {
            self.lines.not_delivered(peer, last, &trouble, now);
        }
        self.end_sending(peer, id, false);
    }

    fn end_sending(&mut self, peer: NodeId, id: LinkId, delivered: bool) {
        let ended = self.peer(peer).and_then(|peer| peer.sending.take_if(|sending| sending.link == id));
        if let Some(Sending { snapshot, .. }) = ended {
            self.word.jobs.push(TransferJob::Close { transfer: id });
            self.sent(peer, snapshot.last, delivered);
        }
    }

    fn sent(&mut self, to: NodeId, snapshot: EntryId, delivered: bool) {
        self.word.told.push(NodeEvent::SnapshotSent { to, last: snapshot, delivered });
        self.word.events.push(Event::SnapshotSent { to, snapshot, delivered });
    }

    pub(super) fn hear_offer(&mut self, from: NodeId, transfer: LinkId, offer: Offer) {
        let Offer { term, meta, .. } = offer;
        self.word.jobs.push(TransferJob::Create { transfer, from, term, meta });
    }

    pub(super) fn hear_chunk(&mut self, from: NodeId, transfer: LinkId, chunk: Bytes) {
        if let Some(peer) = self.peer(from) {
            peer.traffic.snapshot_bytes_received += (FRAME_HEADER_BYTES + chunk.len()) as u64;
        }
        self.word.jobs.push(TransferJob::Write { transfer, chunk });
    }

    /// Have it made durable when all of it is stored.
    pub(super) fn finish_if_complete(&mut self, id: LinkId) {
        let Some(connection) = self.links.get_mut(id) else { return };
        if let Stage::Open(link) = &connection.stage
            && link.is_complete()
            && !std::mem::replace(&mut connection.finishing, true)
        {
            self.word.jobs.push(TransferJob::Finish { transfer: id });
        }
    }

    /// It is durable here, and the peer is told.
    fn confirm(&mut self, peer: NodeId, id: LinkId, now: Instant) {
        if let Some(peer) = self.peer(peer) {
            peer.receiving.take_if(|link| *link == id);
        }
        self.word.jobs.push(TransferJob::Close { transfer: id });
        let Peers { links, orders, .. } = self;
        if let Some(connection) = links.get_mut(id) {
            connection.purpose = Purpose::Parting;
            if let Stage::Open(link) = &mut connection.stage {
                link.confirm(now);
            }
            order_write(orders, id, connection);
        }
    }

    pub(super) fn lose_receiving(&mut self, peer: NodeId, id: LinkId, trouble: Option<Trouble>, now: Instant) {
        if let Some(of) = self.peer(peer) {
            of.receiving.take_if(|link| *link == id);
        }
        self.word.jobs.push(TransferJob::Close { transfer: id });
        if let Some(trouble) = trouble {
            self.lines.not_received(peer, &trouble, now);
        }
    }
}
