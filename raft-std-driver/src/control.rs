//! What can be asked of a running node, by whatever waits: a thread, or a task.

use std::sync::Arc;

use futures_channel::oneshot;
use raft_core::{Bytes, Change, EntryId, Index, NodeId, Refusal};

use crate::changes::{ChangeError, ChangeOutcome, ChangeWaiter};
use crate::error::{NodeError, ReadError, SnapshotError, TransferError};
use crate::inbox::{Note, Submission};
use crate::refusals::call_refused;
use crate::server::jobs::ApplyJob;
use crate::shared::{Alive, Shared};
use crate::status::NodeStatus;
use crate::waiters::{Entrance, Outcome, StartError, Waiter};
use crate::workers::block_on;

/// A handle on a node made by [`Setup::start`](crate::engine::Setup::start). The last one dropped, the node stops.
///
/// Its futures need no runtime: [`block_on`] does. Within the node's own parts, inside of the machine for one, none of them
/// waits for what only these parts can do: each says what it does there instead.
pub struct Control {
    pub(crate) shared: Arc<Shared>,
    command_bytes_max: u64,
}

impl Drop for Control {
    fn drop(&mut self) {
        self.shared.stop(None);
    }
}

impl Control {
    pub(crate) fn new(shared: Arc<Shared>, command_bytes_max: u64) -> Control {
        Control { shared, command_bytes_max }
    }

    /// Put a command into the log and wait for its outcome. Waits for room first, if too much waits already. Dropped before
    /// it is done, it loses the outcome and nothing else: the command may or may not be in the log.
    ///
    /// # Errors
    /// If the command did not enter the log: refused, with the reason, or the node has stopped; or if called within one of
    /// the node's own parts, where waiting would keep it from happening.
    pub async fn start(&self, command: Bytes) -> Result<Outcome, StartError> {
        if self.shared.mark.is_here() {
            return Err(StartError::OwnThread);
        }
        if let Some(why) = self.too_large(&command) {
            return Err(why.into());
        }
        let (waiter, outcome) = Waiter::replying();
        self.shared.inbox.submit([Submission { command, waiter }], self.shared.caller()).await;
        // Who waits for a command always hears.
        outcome.await.unwrap_or(Err(StartError::Stopped))
    }

    /// Put many commands into the log, next to each other as far as they fit, and wait for all of their outcomes, in the
    /// order of the commands. Each may be refused alone; all are, within one of the node's own parts.
    pub async fn start_all(&self, commands: Vec<Bytes>) -> Vec<Result<Outcome, StartError>> {
        if self.shared.mark.is_here() {
            return commands.iter().map(|_| Err(StartError::OwnThread)).collect();
        }
        let (mut submissions, mut outcomes) = (Vec::with_capacity(commands.len()), Vec::with_capacity(commands.len()));
        for command in commands {
            outcomes.push(match self.too_large(&command) {
                Some(why) => Err(why),
                None => {
                    let (waiter, outcome) = Waiter::replying();
                    submissions.push(Submission { command, waiter });
                    Ok(outcome)
                }
            });
        }
        self.shared.inbox.submit(submissions, self.shared.caller()).await;
        let mut results = Vec::with_capacity(outcomes.len());
        for outcome in outcomes {
            results.push(match outcome {
                Ok(outcome) => outcome.await.unwrap_or(Err(StartError::Stopped)),
                Err(why) => Err(why.into()),
            });
        }
        results
    }

    pub(crate) async fn begin(&self, command: Bytes) -> Result<Entrance, StartError> {
        if let Some(why) = self.too_large(&command) {
            return Err(why.into());
        }
        let (waiter, entrance) = Waiter::for_started();
        self.shared.inbox.submit([Submission { command, waiter }], self.shared.caller()).await;
        Ok(entrance)
    }

    pub(crate) async fn call(&self, command: Bytes, waiter: Waiter) {
        let caller = self.shared.caller();
        match self.too_large(&command) {
            None => self.shared.inbox.submit([Submission { command, waiter }], caller).await,
            Some(why) => {
                self.shared.inbox.refused_at_the_door(caller).await;
                drop(waiter.refuse(why.into()).map(|call| self.shared.refusals.push(call)));
            }
        }
    }

    /// One oversize command must not be joined with others and have them refused as well.
    fn too_large(&self, command: &Bytes) -> Option<Refusal> {
        let (bytes, max) = (command.len() as u64, self.command_bytes_max);
        (bytes > max).then_some(Refusal::TooLarge { bytes, max })
    }

    /// How things stand, as of one moment; after the node has stopped, how they stood then. The loop that polls the engine
    /// answers: on its own thread this must not be waited for.
    pub async fn status(&self) -> NodeStatus {
        if let Some((asking, first)) = self.shared.status.ask() {
            if first {
                // If the node has stopped, the core leaves word when it ends.
                let _stopped = self.shared.inbox.note(Note::Status);
            }
            if let Some(status) = asking.await {
                return status;
            }
        }
        self.shared.last_status().await
    }

    /// Wait until this server's machine has applied everything that was acknowledged to anyone, by whatever server, before
    /// this was called (linearizable reads, §8); returns an index that it has applied. All that wait at one moment share one
    /// question. Dropped before it is done, it leaves nothing behind.
    ///
    /// # Errors
    /// If the server refuses, with the reason; if the node has stopped or stops before; or if called within one of the node's
    /// own parts, where waiting would keep it from happening.
    pub async fn read(&self) -> Result<Index, ReadError> {
        if self.shared.mark.is_here() {
            return Err(ReadError::OwnThread);
        }
        let Some((asking, first)) = self.shared.read.ask() else { return Err(ReadError::Stopped) };
        if first {
            // If the node has stopped, the core gives the question up when it ends.
            let _stopped = self.shared.inbox.note(Note::Read);
        }
        asking.await.unwrap_or(Err(ReadError::Stopped))
    }

    /// Take a snapshot of all that is applied now, and return what it ends at when it is durable and the log behind it
    /// compacted. Concurrent calls may share one. Dropped before it is done, the snapshot is taken all the same.
    ///
    /// # Errors
    /// If the node stops before, or if called within one of the node's own parts (inside of the machine, or of a callback),
    /// where waiting would keep it from happening.
    pub async fn snapshot(&self) -> Result<EntryId, SnapshotError> {
        if self.shared.mark.is_here() {
            return Err(SnapshotError::OwnThread);
        }
        let Some((asking, first)) = self.shared.snapshot.ask() else { return Err(SnapshotError::Stopped) };
        if first {
            // If the node has stopped, the machine's part gives the question up when it ends.
            drop(self.shared.apply.push(ApplyJob::Snapshot));
        }
        asking.await.unwrap_or(Err(SnapshotError::Stopped))
    }

    /// Hand leadership over to `to`, or to the voter that has most of the log, and wait until another server leads: gives its
    /// id. Until then the server refuses commands ([`Refusal::Transferring`]). Takes the longest election timeout at most.
    /// Dropped before it is done, leadership may go over all the same.
    ///
    /// # Errors
    /// If this server does not lead, is handing over already, or the target cannot lead; if nobody else leads in time; if the
    /// node stops before; or if called within one of the node's own parts, where waiting would keep it from happening.
    pub async fn transfer(&self, to: Option<NodeId>) -> Result<NodeId, TransferError> {
        if self.shared.mark.is_here() {
            return Err(TransferError::OwnThread);
        }
        let (answer, outcome) = oneshot::channel();
        // Given back by a node that has stopped, it is dropped, which answers it.
        drop(self.shared.inbox.note(Note::HandOver { to, answer }));
        Ok(outcome.await.map_err(|_| TransferError::Stopped)??)
    }

    /// Change who belongs to the cluster (§6), if this server leads, and wait until that is done: until the configuration that
    /// comes of it is committed and applied here. Dropped before it is done, it loses the outcome and nothing else.
    ///
    /// # Errors
    /// If the change did not enter the log: refused, with the reason, or the node has stopped; or if called within one of the
    /// node's own parts, where waiting would keep it from happening.
    pub async fn change(&self, change: Change) -> Result<ChangeOutcome, ChangeError> {
        if self.shared.mark.is_here() {
            return Err(ChangeError::OwnThread);
        }
        let (answer, outcome) = oneshot::channel();
        // Given back by a node that has stopped, the waiter is dropped, which answers it.
        drop(self.shared.inbox.note(Note::Change { change: Box::new(change), waiter: ChangeWaiter::new(answer) }));
        outcome.await.unwrap_or(Err(ChangeError::Stopped))
    }

    /// Replace the list of peers and their addresses, each a `host:port`. Connections to a peer that is not in the list, or has another
    /// address in it, are closed. This server itself may be in the list. Without effect on a node with a transport of its own.
    pub fn set_peers(&self, peers: Vec<(NodeId, String)>) {
        // A node that has stopped reaches nobody.
        drop(self.shared.inbox.note(Note::Peers(peers)));
    }

    /// Stop the node; it ends a little later.
    pub fn stop(&self) {
        self.shared.stop(None);
    }

    /// Wait until the node has stopped, by whomever, and everything of it has ended: every waiter has its outcome, and the
    /// storage can be opened again. Within one of its parts it is done at once.
    ///
    /// # Errors
    /// The cause, if the node failed.
    pub async fn ended(&self) -> Result<(), NodeError> {
        self.shared.ended().await
    }

    /// The node has not [`ended`](Control::ended) before what this returns is dropped: for what a driver runs beside the
    /// engine.
    #[must_use]
    pub fn keep_alive(&self) -> Alive {
        self.shared.keep_alive()
    }

    /// Have refused calls made on a thread of their own.
    pub(crate) fn spawn_refusals(&self) -> Result<(), NodeError> {
        let spawned = self.shared.spawn("refusals", call_refused(Arc::clone(&self.shared)));
        spawned.map_err(|error| {
            let cause = NodeError::NoThread(Arc::new(error));
            self.shared.stop(Some(cause.clone()));
            block_on(self.ended()).err().unwrap_or(cause)
        })
    }
}
