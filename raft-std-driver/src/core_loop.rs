//! Feeds the server with what has come in, and carries out what it says. Waits for nothing: the loop around it waits for the
//! inbox and the clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use raft_core::{EntryId, Event, Index, NodeId};

use crate::error::NodeError;
use crate::events::NodeEvent;
use crate::inbox::{Mail, Note};
use crate::observer::Round;
use crate::outgoing::open_snapshot;
use crate::peers::{LinkId, Orders, Peers, TransferDone, TransferJob};
use crate::queue::{Queue, lock};
use crate::receiving::Reception;
use crate::server::jobs::ApplyJob;
use crate::server::{Outputs, Server, SnapshotOrder};
use crate::shared::Shared;
use crate::status::NodeStatus;
use crate::storage::Snapshots;
use crate::sync::Mutex;
use crate::transfer_part::TransferPart;
use crate::transport::Transport;
use crate::waiters::RefusedCall;

pub(crate) struct CoreLoop {
    shared: Arc<Shared>,
    server: Server,
    /// How the peers are reached, unless the server has connections of its own.
    transport: Option<Arc<dyn Transport>>,
    snapshots: Arc<dyn Snapshots>,
    reception: Arc<Reception>,
    /// The snapshots under way on the server's own connections, and what is to be done with their files.
    transfers: BTreeMap<LinkId, Arc<Queue<TransferJob>>>,
    /// What the log says is committed.
    committed: Index,
    /// What is to be done with sockets, until the loop takes it.
    orders: Orders,
    /// Whether something has been heard from sockets, and not been dealt with.
    heard: bool,
    mail: Mail,
    outputs: Outputs,
    /// The snapshot that last could not be opened for each peer: it is asked for again and again, and told once.
    unreadable: Arc<Mutex<BTreeMap<NodeId, EntryId>>>,
    /// Jobs and refusals whose callers could not be told, because the parts that tell them have ended. They are told when this is
    /// dropped: a callback may ask for the status, and must not do so on the thread that would have to answer.
    stranded: Stranded,
}

#[derive(Default)]
struct Stranded {
    jobs: Vec<ApplyJob>,
    refused: Vec<RefusedCall>,
}

impl CoreLoop {
    pub(crate) fn new(
        shared: Arc<Shared>,
        server: Server,
        transport: Option<Arc<dyn Transport>>,
        snapshots: Arc<dyn Snapshots>,
        reception: Arc<Reception>,
    ) -> CoreLoop {
        CoreLoop {
            committed: server.raft().status().commit(),
            shared,
            server,
            transport,
            snapshots,
            reception,
            transfers: BTreeMap::new(),
            orders: Orders::default(),
            heard: false,
            mail: Mail::default(),
            outputs: Outputs::default(),
            unreadable: Arc::default(),
            stranded: Stranded::default(),
        }
    }

    /// Take what has come in, and deal with it and with the time that has passed. Pending if there is neither; `false` once
    /// the node stops.
    pub(crate) fn poll_round(&mut self, context: &Context<'_>, now: Instant) -> Poll<bool> {
        match self.shared.inbox.poll_take(context, &mut self.mail) {
            Poll::Ready(false) => return Poll::Ready(false),
            Poll::Pending if !self.heard && self.due().is_none_or(|due| now < due) => return Poll::Pending,
            Poll::Ready(true) | Poll::Pending => {}
        }
        let (commands, mut messages) = (self.mail.commands.len(), self.mail.messages.len());
        self.server.pass_time(now);
        messages += self.server.hear_peers();
        self.hear_notes();
        for (from, message) in self.mail.messages.drain(..) {
            self.server.receive(from, message);
        }
        self.server.propose(&mut self.mail.commands);
        self.carry_out();
        self.heard = self.server.is_behind();
        self.show(commands, messages);
        Poll::Ready(true)
    }

    /// Tell the server what has happened to its sockets, `now`; it is dealt with in the next round.
    pub(crate) fn tell_peers<T>(&mut self, tell: impl FnOnce(&mut Peers) -> T) -> Option<T> {
        let peers = self.server.peers()?;
        let told = tell(peers);
        self.heard |= peers.has_word();
        Some(told)
    }

    /// What is to be done with sockets; it is added to `orders`.
    pub(crate) fn take_orders(&mut self, orders: &mut Orders) {
        orders.append(&mut self.orders);
        if let Some(peers) = self.server.peers() {
            peers.take_orders(orders);
        }
    }

    /// When there is something to do even if nothing comes in.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.server.due()
    }

    /// Let who watches see how things stand, after so much has come in.
    pub(crate) fn show(&mut self, commands: usize, messages: usize) {
        let status = self.server.raft().status();
        let told = std::mem::replace(&mut self.committed, status.commit());
        self.shared.lines.committed(status.term(), told, status.commit());
        let round = Round { raft: self.server.raft(), depths: &*self.shared, commands, messages };
        self.shared.observer.round(&round);
    }

    #[cfg(test)]
    pub(crate) fn leads(&self) -> bool {
        self.server.raft().status().role() == raft_core::RoleKind::Leader
    }

    /// Word from the other threads and from handles.
    fn hear_notes(&mut self) {
        for note in self.mail.notes.drain(..) {
            match note {
                Note::Event(event) => self.server.hear(event),
                Note::Shortage(what) => self.server.short_of(what),
                Note::Peers(peers) => self.server.set_peers(&peers),
                Note::Built(snapshot) => self.server.built(snapshot),
                Note::Status => {
                    if let Some(answer) = self.shared.status.take() {
                        answer.say(NodeStatus::of(self.server.raft()));
                    }
                }
                Note::HandOver { to, answer } => self.server.transfer(to, answer),
                Note::Transfer(transfer, done) => self.server.transfer_done(transfer, done),
                Note::Read => {
                    if let Some(answer) = self.shared.read.take() {
                        self.server.read(answer);
                    }
                }
                Note::Change { change, waiter } => self.server.change(change, waiter),
            }
        }
    }

    /// The peers first: they have the longest way.
    pub(crate) fn carry_out(&mut self) {
        let mut outputs = std::mem::take(&mut self.outputs);
        self.server.take_outputs(&mut outputs);
        if let Some(transport) = &self.transport {
            outputs.messages.drain(..).for_each(|(to, message)| transport.send(to, message));
        }
        self.orders.append(&mut outputs.orders);
        self.shared.log.push_all(&mut outputs.log, true);
        let wake = !outputs.apply.iter().all(ApplyJob::is_quiet);
        self.shared.apply.push_all(&mut outputs.apply, wake);
        outputs.log.clear();
        self.stranded.jobs.append(&mut outputs.apply);
        for event in outputs.events.drain(..) {
            self.shared.tell(&event);
        }
        for order in outputs.snapshots.drain(..) {
            self.send_snapshot(order);
        }
        for job in outputs.transfers.drain(..) {
            self.work_on_transfer(job);
        }
        self.shared.inbox.refused(outputs.refused.len() as u64);
        self.shared.refusals.push_all(&mut outputs.refused, true);
        self.stranded.refused.append(&mut outputs.refused);
        if let Some(why) = outputs.halted.take() {
            self.shared.stop(Some(NodeError::Halted(why)));
        }
        self.outputs = outputs;
    }

    /// Each transfer has a thread of its own for its file.
    fn work_on_transfer(&mut self, job: TransferJob) {
        let transfer = job.transfer();
        let failed: fn(String) -> TransferDone = match job {
            TransferJob::Open { .. } => |why| TransferDone::Opened(Err(why)),
            TransferJob::Create { .. } => |why| TransferDone::Created(Err(why)),
            TransferJob::Close { .. } => return drop(self.transfers.remove(&transfer).inspect(|jobs| jobs.close())),
            TransferJob::Read { .. } | TransferJob::Write { .. } | TransferJob::Finish { .. } => {
                if let Some(jobs) = self.transfers.get(&transfer) {
                    drop(jobs.push(job));
                }
                return;
            }
        };
        let jobs = Arc::new(Queue::default());
        drop(jobs.push(job));
        self.transfers.insert(transfer, Arc::clone(&jobs));
        let (shared, snapshots) = (Arc::clone(&self.shared), Arc::clone(&self.snapshots));
        let part = TransferPart::new(shared, snapshots, Arc::clone(&self.reception), jobs, transfer);
        if let Err(error) = self.shared.spawn("transfer", part.run()) {
            let why = format!("no thread for the snapshot's file: {error}");
            let _stopped = self.shared.inbox.note(Note::Transfer(transfer, failed(why)));
        }
    }

    /// Opening a snapshot may take long: it has a thread of its own.
    fn send_snapshot(&self, order: SnapshotOrder) {
        let SnapshotOrder { to, term, snapshot } = order;
        let Some(transport) = self.transport.clone() else { return };
        let snapshots = Arc::clone(&self.snapshots);
        let (shared, last, unreadable) = (Arc::clone(&self.shared), snapshot.last, Arc::clone(&self.unreadable));
        let alive = self.shared.keep_alive();
        let spawned = self.shared.spawn("send", async move {
            match open_snapshot(&*snapshots, term, &snapshot, alive) {
                Ok(Some(snapshot)) => {
                    shared.tell(&NodeEvent::SnapshotSending { to, last, bytes: snapshot.len });
                    transport.send_snapshot(to, snapshot);
                    return Ok(());
                }
                Ok(None) => {
                    tracing::info!(node = shared.id.0, peer = to.0, snapshot = %last, "snapshot to send is gone");
                }
                Err(error) => {
                    if lock(&unreadable).insert(to, last) != Some(last) {
                        tracing::error!(node = shared.id.0, peer = to.0, snapshot = %last, %error, "cannot send");
                    }
                }
            }
            shared.inbox.tell(Event::SnapshotSent { to, snapshot: last, delivered: false });
            Ok(())
        });
        if let Err(error) = spawned {
            tracing::error!(node = self.shared.id.0, peer = to.0, %error, "no thread to send a snapshot");
            self.shared.inbox.tell(Event::SnapshotSent { to, snapshot: last, delivered: false });
        }
    }
}

impl Drop for CoreLoop {
    fn drop(&mut self) {
        self.shared.stop(None);
        // Another may have begun to stop the node and not have come so far.
        self.shared.inbox.close();
        self.shared.leave_word(NodeStatus { running: false, ..NodeStatus::of(self.server.raft()) });
        self.shared.status.close();
        self.shared.read.close();
        self.transfers.values().for_each(|jobs| jobs.close());
        if let Some(transport) = &self.transport {
            transport.shutdown();
        }
        drop(self.shared.inbox.leftovers());
    }
}
