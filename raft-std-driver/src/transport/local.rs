//! A network in memory, for several nodes in one process: tests, examples, simulations in real time.

use std::collections::{HashMap, HashSet};
use std::io::{self, Read, Write};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;

use raft_core::{EntryId, Message, NodeId};

use super::{Inbound, OutgoingSnapshot, Transport};
use crate::queue::lock;

const CHUNK_BYTES: usize = 64 << 10;

/// Says whether a message from the first to the second is delivered. It must not use the network itself.
pub type Filter = Box<dyn Fn(NodeId, NodeId, &Message) -> bool + Send + Sync>;

/// Joins the nodes that [`attach`](LocalNetwork::attach) to it. Messages arrive at once and in order, unless a link is cut
/// or a filter drops them. Clones are the same network.
#[derive(Clone, Default)]
pub struct LocalNetwork(Arc<Shared>);

#[derive(Default)]
struct Shared {
    wires: RwLock<Wires>,
    /// The snapshots under way, by sender and receiver.
    transfers: Mutex<HashMap<(NodeId, NodeId), EntryId>>,
    transfer_ended: Condvar,
}

#[derive(Default)]
struct Wires {
    attached: HashMap<NodeId, Arc<dyn Inbound>>,
    cut: HashSet<(NodeId, NodeId)>,
    isolated: HashSet<NodeId>,
    filter: Option<Filter>,
}

impl Wires {
    /// Where what `from` sends arrives at `to`, if it does. Who left hears nothing and is not heard.
    fn end_of(&self, from: NodeId, to: NodeId) -> Option<&Arc<dyn Inbound>> {
        let alone = self.isolated.contains(&from) || self.isolated.contains(&to) || !self.attached.contains_key(&from);
        self.attached.get(&to).filter(|_| !alone && !self.cut.contains(&(from, to)))
    }
}

impl LocalNetwork {
    /// A network with nobody on it.
    #[must_use]
    pub fn new() -> LocalNetwork {
        LocalNetwork::default()
    }

    /// The transport of node `id`. A node that was stopped attaches anew when it is started again.
    #[must_use]
    pub fn attach(&self, id: NodeId) -> Arc<dyn Transport> {
        Arc::new(LocalTransport { id, network: self.clone() })
    }

    /// Lose what `from` sends to `to`; the other way stays open.
    pub fn cut(&self, from: NodeId, to: NodeId) {
        self.wires_mut().cut.insert((from, to));
    }

    /// Lose what `id` sends, and what is sent to it.
    pub fn isolate(&self, id: NodeId) {
        self.wires_mut().isolated.insert(id);
    }

    /// Mend all links.
    pub fn heal(&self) {
        let mut wires = self.wires_mut();
        wires.cut.clear();
        wires.isolated.clear();
    }

    /// Deliver only what this says `true` to; `None` delivers all.
    pub fn set_filter(&self, filter: Option<Filter>) {
        self.wires_mut().filter = filter;
    }

    fn wires(&self) -> RwLockReadGuard<'_, Wires> {
        self.0.wires.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn wires_mut(&self) -> RwLockWriteGuard<'_, Wires> {
        self.0.wires.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn end_of(&self, from: NodeId, to: NodeId) -> Option<Arc<dyn Inbound>> {
        self.wires().end_of(from, to).cloned()
    }

    /// # Errors
    /// Gives the snapshot that is on its way on this link already.
    fn begin(&self, from: NodeId, to: NodeId, snapshot: EntryId) -> Result<Transfer, EntryId> {
        let mut transfers = lock(&self.0.transfers);
        if let Some(other) = transfers.get(&(from, to)) {
            return Err(*other);
        }
        transfers.insert((from, to), snapshot);
        Ok(Transfer { network: self.clone(), link: (from, to) })
    }

    fn report(&self, from: NodeId, to: NodeId, snapshot: EntryId, delivered: bool) {
        if let Some(inbound) = self.wires().attached.get(&from) {
            inbound.snapshot_sent(to, snapshot, delivered);
        }
    }

    /// Copy the data chunk by chunk, as long as the link is open.
    fn copy(&self, from: NodeId, to: NodeId, snapshot: OutgoingSnapshot) -> io::Result<()> {
        let OutgoingSnapshot { term, meta, mut data, .. } = snapshot;
        let lost = || io::Error::new(io::ErrorKind::ConnectionReset, "the link is cut");
        let end = self.end_of(from, to).ok_or_else(lost)?;
        let mut sink = end.snapshot_begin(from, &meta).map_err(io::Error::other)?;
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let count = data.read(&mut chunk)?;
            self.end_of(from, to).ok_or_else(lost)?;
            if count == 0 {
                break;
            }
            sink.write_all(&chunk[..count])?;
        }
        sink.finish().map_err(io::Error::other)?;
        end.snapshot_received(from, term, meta);
        Ok(())
    }
}

/// A snapshot under way; both ends wait for its end when they leave.
struct Transfer {
    network: LocalNetwork,
    link: (NodeId, NodeId),
}

impl Drop for Transfer {
    fn drop(&mut self) {
        lock(&self.network.0.transfers).remove(&self.link);
        self.network.0.transfer_ended.notify_all();
    }
}

struct LocalTransport {
    id: NodeId,
    network: LocalNetwork,
}

impl Transport for LocalTransport {
    fn start(&self, inbound: Arc<dyn Inbound>) -> io::Result<()> {
        let mut wires = self.network.wires_mut();
        if wires.attached.contains_key(&self.id) {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, format!("server {} is attached already", self.id)));
        }
        wires.attached.insert(self.id, inbound);
        Ok(())
    }

    fn send(&self, to: NodeId, message: Message) {
        // Delivered under the lock, which all readers share: who has left hears nothing more.
        let wires = self.network.wires();
        let Some(end) = wires.end_of(self.id, to) else { return };
        if wires.filter.as_ref().is_none_or(|filter| filter(self.id, to, &message)) {
            end.message(self.id, message);
        }
    }

    fn send_snapshot(&self, to: NodeId, snapshot: OutgoingSnapshot) {
        let (from, last) = (self.id, snapshot.meta.last);
        match self.network.begin(from, to, last) {
            Ok(transfer) => {
                let network = self.network.clone();
                let copy = move || {
                    let result = network.copy(from, to, snapshot);
                    drop(transfer);
                    if let Err(error) = &result {
                        tracing::info!(node = from.0, peer = to.0, snapshot = %last, %error, "snapshot not delivered");
                    }
                    network.report(from, to, last, result.is_ok());
                };
                if thread::Builder::new().name(format!("raft-{from}-copy")).spawn(copy).is_err() {
                    self.network.report(from, to, last, false);
                }
            }
            Err(other) if other == last => {}
            Err(_) => self.network.report(from, to, last, false),
        }
    }

    fn shutdown(&self) {
        self.network.wires_mut().attached.remove(&self.id);
        let of_mine = |(from, to): &(NodeId, NodeId)| *from == self.id || *to == self.id;
        let transfers = lock(&self.network.0.transfers);
        drop(self.network.0.transfer_ended.wait_while(transfers, |transfers| transfers.keys().any(of_mine)));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use raft_core::{Incarnation, Rpc, SnapshotMeta, Term};

    use super::*;
    use crate::storage::{SnapshotSink, StorageError};

    /// Writes down what it hears; a sink tells each chunk and then waits to be let on.
    struct Ear {
        heard: Sender<String>,
        let_on: Mutex<Option<Receiver<()>>>,
    }

    struct Sink(Sender<String>, Option<Receiver<()>>);

    impl Write for Sink {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            self.0.send(format!("{} bytes", data.len())).unwrap();
            let _go = self.1.as_ref().map(Receiver::recv);
            Ok(data.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl SnapshotSink for Sink {
        fn finish(self: Box<Self>) -> Result<(), StorageError> {
            Ok(())
        }
    }

    impl Inbound for Ear {
        fn message(&self, from: NodeId, message: Message) {
            self.heard.send(format!("{from}: {message}")).unwrap();
        }

        fn unreachable(&self, _: NodeId) {}

        fn snapshot_sent(&self, to: NodeId, snapshot: EntryId, delivered: bool) {
            self.heard.send(format!("sent {snapshot} to {to}: {delivered}")).unwrap();
        }

        fn snapshot_begin(&self, _: NodeId, _: &SnapshotMeta) -> Result<Box<dyn SnapshotSink>, StorageError> {
            Ok(Box::new(Sink(self.heard.clone(), lock(&self.let_on).take())))
        }

        fn snapshot_received(&self, from: NodeId, term: Term, meta: SnapshotMeta) {
            self.heard.send(format!("{from} t{term}: {}", meta.last)).unwrap();
        }

        fn failed(&self, cause: String) {
            self.heard.send(cause).unwrap();
        }
    }

    fn attach(network: &LocalNetwork, id: u64, let_on: Option<Receiver<()>>) -> (Arc<dyn Transport>, Receiver<String>) {
        let (transport, (heard, hears)) = (network.attach(NodeId(id)), channel());
        transport.start(Arc::new(Ear { heard, let_on: Mutex::new(let_on) })).unwrap();
        (transport, hears)
    }

    fn hello(term: u64) -> Message {
        let rpc = Rpc::PreVoteReply { granted: true };
        Message { term: Term(term), incarnation: Incarnation(1), rpc }
    }

    fn snapshot(index: u64, len: usize) -> OutgoingSnapshot {
        let meta = SnapshotMeta { last: EntryId::new(2, index), ..SnapshotMeta::default() };
        let data = Box::new(io::repeat(1).take(len as u64));
        OutgoingSnapshot { term: Term(3), meta, len: len as u64, data }
    }

    #[test]
    fn a_cut_is_one_way_and_who_left_hears_nothing() {
        let network = LocalNetwork::new();
        let ((one, hears_one), (two, hears_two)) = (attach(&network, 1, None), attach(&network, 2, None));
        network.cut(NodeId(1), NodeId(2));
        one.send(NodeId(2), hello(1));
        two.send(NodeId(1), hello(2));
        network.heal();
        network.set_filter(Some(Box::new(|_, _, message| message.term != Term(3))));
        one.send(NodeId(2), hello(3));
        network.isolate(NodeId(1));
        two.send(NodeId(1), hello(4));
        network.heal();
        one.send(NodeId(2), hello(5));
        assert!(
            network.attach(NodeId(2)).start(Arc::new(Ear { heard: channel().0, let_on: Mutex::default() })).is_err()
        );
        two.shutdown();
        one.send(NodeId(2), hello(6));
        two.send(NodeId(1), hello(7));
        one.shutdown();
        assert_eq!(hears_one.iter().collect::<Vec<_>>(), ["2: PreVoteReply t2 granted"]);
        assert_eq!(hears_two.iter().collect::<Vec<_>>(), ["1: PreVoteReply t5 granted"]);
    }

    #[test]
    fn one_snapshot_at_a_time_and_both_ends_hear_of_its_end() {
        let network = LocalNetwork::new();
        let (go, let_on) = channel();
        let (one, hears_one) = attach(&network, 1, None);
        let (two, hears_two) = attach(&network, 2, Some(let_on));
        one.send_snapshot(NodeId(2), snapshot(5, 3));
        assert_eq!(hears_two.recv().unwrap(), "3 bytes");
        one.send_snapshot(NodeId(2), snapshot(5, 3));
        one.send_snapshot(NodeId(2), snapshot(6, 3));
        assert_eq!(hears_one.recv().unwrap(), "sent 6@2 to 2: false");
        go.send(()).unwrap();
        assert_eq!(hears_two.recv().unwrap(), "1 t3: 5@2");
        assert_eq!(hears_one.recv().unwrap(), "sent 5@2 to 2: true");
        one.shutdown();
        two.shutdown();
    }

    #[test]
    fn a_cut_in_the_middle_ends_a_transfer_and_a_shutdown_waits_for_it() {
        let network = LocalNetwork::new();
        let (go, let_on) = channel();
        let (one, hears_one) = attach(&network, 1, None);
        let (two, hears_two) = attach(&network, 2, Some(let_on));
        one.send_snapshot(NodeId(2), snapshot(5, CHUNK_BYTES + 1));
        assert_eq!(hears_two.recv().unwrap(), format!("{CHUNK_BYTES} bytes"));
        let leaves = thread::spawn(move || two.shutdown());
        while network.end_of(NodeId(1), NodeId(2)).is_some() {
            thread::yield_now();
        }
        assert!(!leaves.is_finished());
        go.send(()).unwrap();
        leaves.join().unwrap();
        assert_eq!(hears_two.iter().count(), 0, "neither more data nor its end");
        assert_eq!(hears_one.recv().unwrap(), "sent 5@2 to 2: false");
    }
}
