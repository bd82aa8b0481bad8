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
use crate::queue::lock;
use crate::server::jobs::ApplyJob;
use crate::server::{Outputs, Server, SnapshotOrder};
use crate::shared::Shared;
use crate::status::NodeStatus;
use crate::storage::Snapshots;
use crate::sync::Mutex;
use crate::transport::Transport;
use crate::waiters::RefusedCall;

pub(crate) struct CoreLoop {
    shared: Arc<Shared>,
    server: Server,
    transport: Arc<dyn Transport>,
    snapshots: Arc<dyn Snapshots>,
    /// What the log says is committed.
    committed: Index,
    mail: Mail,
    outputs: Outputs,
    /// The snapshot that last could not be opened for each peer: it is asked for again and again, and told once.
    unreadable: Arc<Mutex<BTreeMap<NodeId, EntryId>>>,
    /// Who could not be handed on, since the parts that call them have ended. They hear of it when this has ended as well:
    /// who is called may ask the core how things stand, and must not do so on the thread that would have to answer.
    _stranded: Stranded,
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
        transport: Arc<dyn Transport>,
        snapshots: Arc<dyn Snapshots>,
    ) -> CoreLoop {
        CoreLoop {
            committed: server.raft().status().commit(),
            shared,
            server,
            transport,
            snapshots,
            mail: Mail::default(),
            outputs: Outputs::default(),
            unreadable: Arc::default(),
            _stranded: Stranded::default(),
        }
    }

    /// Take what has come in, and deal with it and with the time that has passed. Pending if there is neither; `false` once
    /// the node stops.
    pub(crate) fn poll_round(&mut self, context: &Context<'_>, now: Instant) -> Poll<bool> {
        match self.shared.inbox.poll_take(context, &mut self.mail) {
            Poll::Ready(false) => return Poll::Ready(false),
            Poll::Pending if self.due().is_none_or(|due| now < due) => return Poll::Pending,
            Poll::Ready(true) | Poll::Pending => {}
        }
        let (commands, messages) = (self.mail.commands.len(), self.mail.messages.len());
        self.server.pass_time(now);
        self.hear_notes();
        for (from, message) in self.mail.messages.drain(..) {
            self.server.receive(from, message);
        }
        self.server.propose(&mut self.mail.commands);
        self.carry_out();
        self.show(commands, messages);
        Poll::Ready(true)
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
                Note::Built(snapshot) => self.server.built(snapshot),
                Note::Status => {
                    if let Some(answer) = self.shared.status.take() {
                        answer.say(NodeStatus::of(self.server.raft()));
                    }
                }
                Note::Transfer { to, answer } => self.server.transfer(to, answer),
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
        for (to, message) in outputs.messages.drain(..) {
            self.transport.send(to, message);
        }
        self.shared.log.push_all(&mut outputs.log, true);
        let wake = !outputs.apply.iter().all(ApplyJob::is_quiet);
        self.shared.apply.push_all(&mut outputs.apply, wake);
        outputs.log.clear();
        self._stranded.jobs.append(&mut outputs.apply);
        for event in outputs.events.drain(..) {
            self.shared.tell(&event);
        }
        for order in outputs.snapshots.drain(..) {
            self.send_snapshot(order);
        }
        self.shared.inbox.refused(outputs.refused.len() as u64);
        self.shared.refusals.push_all(&mut outputs.refused, true);
        self._stranded.refused.append(&mut outputs.refused);
        if let Some(why) = outputs.halted.take() {
            self.shared.stop(Some(NodeError::Halted(why)));
        }
        self.outputs = outputs;
    }

    /// Opening a snapshot may take long: it has a thread of its own.
    fn send_snapshot(&self, order: SnapshotOrder) {
        let SnapshotOrder { to, term, snapshot } = order;
        let (snapshots, transport) = (Arc::clone(&self.snapshots), Arc::clone(&self.transport));
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
        self.transport.shutdown();
        drop(self.shared.inbox.leftovers());
    }
}
