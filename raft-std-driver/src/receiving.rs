//! What the transport hands in: messages for the core, and snapshots on their way to the disk.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use raft_core::{EntryId, Event, Index, Message, NodeId, SnapshotMeta, Term};

use crate::error::NodeError;
use crate::events::NodeEvent;
use crate::queue::lock;
use crate::shared::{Alive, Shared};
use crate::storage::{SnapshotOrigin, SnapshotSink, Snapshots, StorageError};
use crate::sync::Mutex;
use crate::transport::Inbound;

/// One received snapshot at a time is in our custody, from its first byte until the disk has carried out what the core
/// said about it: else the discarding of one could hit the next, which may have the same name.
#[derive(Default)]
pub(crate) struct Custody {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    place: Place,
    transfers: u64,
    /// The length of what is whole.
    bytes: u64,
    installing: Index,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Free,
    /// This transfer is writing. A newer one takes the place: its leader is as likely the live one.
    Writing(u64),
    /// The data is whole, or about to be; the core has not decided, or the disk not followed.
    Whole,
}

impl Custody {
    fn begin(&self) -> Option<u64> {
        let mut state = lock(&self.state);
        if state.place == Place::Whole {
            return None;
        }
        state.transfers += 1;
        state.place = Place::Writing(state.transfers);
        Some(state.transfers)
    }

    fn holds(&self, transfer: u64) -> bool {
        lock(&self.state).place == Place::Writing(transfer)
    }

    /// Move on, if `transfer` still has the place.
    fn advance(&self, transfer: u64, to: Place, bytes: u64) -> bool {
        let mut state = lock(&self.state);
        let holds = state.place == Place::Writing(transfer);
        if holds {
            (state.place, state.bytes) = (to, bytes);
        }
        holds
    }

    /// The length of the data that is whole.
    fn bytes(&self) -> u64 {
        lock(&self.state).bytes
    }

    /// The received snapshot was discarded, or is now the current one.
    pub(crate) fn settle(&self) {
        let mut state = lock(&self.state);
        if state.place == Place::Whole {
            state.place = Place::Free;
        }
    }

    /// The disk is about to make this the current snapshot, and to drop the one before.
    pub(crate) fn installing(&self, last: EntryId) {
        let mut state = lock(&self.state);
        state.installing = state.installing.max(last.index);
    }

    /// Whether a newer received snapshot than `last` has become current, or is about to.
    pub(crate) fn has_newer_than(&self, last: EntryId) -> bool {
        lock(&self.state).installing > last.index
    }
}

/// The node, as its transport sees it.
pub(crate) struct Reception {
    pub(crate) shared: Arc<Shared>,
    pub(crate) snapshots: Arc<dyn Snapshots>,
    pub(crate) custody: Arc<Custody>,
}

impl Inbound for Reception {
    fn message(&self, from: NodeId, message: Message) {
        if !self.shared.inbox.message(from, message) {
            self.shared.dropped(from);
        }
    }

    fn arriving(&self, from: NodeId, term: Term) {
        self.shared.inbox.tell(Event::Arriving { from, term });
    }

    fn unreachable(&self, peer: NodeId) {
        self.shared.tell(&NodeEvent::Unreachable { peer });
        self.shared.inbox.tell(Event::Unreachable { peer });
    }

    fn reachable(&self, peer: NodeId) {
        self.shared.tell(&NodeEvent::Reachable { peer });
    }

    fn snapshot_sent(&self, to: NodeId, snapshot: EntryId, delivered: bool) {
        self.shared.tell(&NodeEvent::SnapshotSent { to, last: snapshot, delivered });
        self.shared.inbox.tell(Event::SnapshotSent { to, snapshot, delivered });
    }

    fn snapshot_begin(&self, from: NodeId, meta: &SnapshotMeta) -> Result<Box<dyn SnapshotSink>, StorageError> {
        let refused = |why: &str| StorageError::Io {
            doing: "receive",
            path: PathBuf::from(format!("snapshot {}", meta.last)),
            source: io::Error::new(io::ErrorKind::ResourceBusy, why),
        };
        if self.shared.is_stopping() {
            return Err(refused("the node stops"));
        }
        let Some(transfer) = self.custody.begin() else { return Err(refused("another one has just arrived")) };
        let place = Claim { custody: Arc::clone(&self.custody), transfer };
        self.shared.tell(&NodeEvent::SnapshotArriving { from, last: meta.last });
        let data = self.snapshots.create(meta.last, SnapshotOrigin::Received)?;
        Ok(Box::new(ReceivedData { data, place, bytes: 0, _alive: self.shared.keep_alive() }))
    }

    fn snapshot_received(&self, from: NodeId, term: Term, meta: SnapshotMeta) {
        self.shared.tell(&NodeEvent::SnapshotReceived { from, last: meta.last, bytes: self.custody.bytes() });
        self.shared.inbox.tell(Event::SnapshotReceived { from, term, snapshot: meta });
    }

    fn failed(&self, cause: String) {
        self.shared.stop(Some(NodeError::Thread { thread: "transport".to_owned(), message: cause }));
    }
}

/// A transfer's hold on the place; given up when it is dropped before its data is whole.
struct Claim {
    custody: Arc<Custody>,
    transfer: u64,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.custody.advance(self.transfer, Place::Free, 0);
    }
}

struct ReceivedData {
    data: Box<dyn SnapshotSink>,
    place: Claim,
    /// So many have arrived.
    bytes: u64,
    /// It holds on to the storage: whoever waits for the node's end wants to open that again.
    _alive: Alive,
}

fn overtaken() -> io::Error {
    io::Error::new(io::ErrorKind::ResourceBusy, "a newer transfer has begun")
}

impl Write for ReceivedData {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if !self.place.custody.holds(self.place.transfer) {
            return Err(overtaken());
        }
        let written = self.data.write(data)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.data.flush()
    }
}

impl SnapshotSink for ReceivedData {
    fn finish(self: Box<Self>) -> Result<(), StorageError> {
        // Dropped in reverse: the data first, so that nothing holds on to the storage when the node has ended.
        let ReceivedData { _alive, place, data, bytes } = *self;
        if !place.custody.advance(place.transfer, Place::Whole, bytes) {
            return Err(StorageError::Io { doing: "finish", path: PathBuf::from("snapshot"), source: overtaken() });
        }
        data.finish().inspect_err(|_| place.custody.settle())
    }
}

#[cfg(test)]
mod tests {
    use raft_core::Membership;

    use super::*;
    use crate::storage::mem::MemDisk;
    use crate::storage::{Birth, ClusterId};
    use crate::workers::Threads;

    fn disk() -> MemDisk {
        MemDisk::new(Birth::founder(ClusterId(1), NodeId(1), Membership::new([NodeId(1)])))
    }

    fn reception() -> Reception {
        Reception {
            shared: Arc::new(Shared::new(NodeId(1), 1, Arc::new(Threads), Arc::new(()))),
            snapshots: Arc::new(disk()),
            custody: Arc::default(),
        }
    }

    fn begin(reception: &Reception, from: u64) -> Option<Box<dyn SnapshotSink>> {
        let meta = SnapshotMeta { last: EntryId::new(3, 7), ..SnapshotMeta::default() };
        reception.snapshot_begin(NodeId(from), &meta).ok()
    }

    #[test]
    fn a_newer_transfer_takes_the_place_of_one_that_is_not_whole() {
        let reception = reception();
        let mut old = begin(&reception, 2).unwrap();
        old.write_all(b"old").unwrap();
        let mut new = begin(&reception, 3).unwrap();
        assert!(old.write_all(b"more").is_err());
        assert!(old.finish().is_err(), "and its end takes nothing away from the other");
        new.write_all(b"new").unwrap();
        new.finish().unwrap();
    }

    #[test]
    fn a_snapshot_that_cannot_be_finished_leaves_room_for_the_next() {
        let (mut reception, disk) = (reception(), disk());
        reception.snapshots = Arc::new(disk.clone());
        for _ in 0..2 {
            disk.set_failure(Some("no room"));
            let mut data = begin(&reception, 2).unwrap();
            data.write_all(b"data").unwrap();
            assert!(data.finish().is_err());
            disk.set_failure(None);
            let next = begin(&reception, 3).expect("its place is free");
            next.finish().unwrap();
            reception.custody.settle();
        }
    }

    #[test]
    fn what_is_whole_keeps_its_place_until_the_disk_has_followed_the_core() {
        let reception = reception();
        begin(&reception, 2).unwrap().finish().unwrap();
        assert!(begin(&reception, 3).is_none());
        reception.custody.settle();
        let given_up = begin(&reception, 3);
        assert!(given_up.is_some());
        reception.custody.settle();
        assert!(given_up.unwrap().finish().is_ok(), "what is not whole is not settled");
        reception.custody.settle();

        drop(begin(&reception, 2));
        assert!(begin(&reception, 3).is_some());
        reception.shared.stop(None);
        assert!(begin(&reception, 3).is_none(), "a node that stops takes nothing in");
    }
}
