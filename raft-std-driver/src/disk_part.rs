//! Group commit: one part of a node makes durable, with one sync, all that waits for the disk.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use raft_core::{Event, SnapshotWrite, Write};

use crate::receiving::Custody;
use crate::server::jobs::LogJob;
use crate::shared::Shared;
use crate::storage::{Snapshots, Storage, StorageError};

pub(crate) struct DiskPart {
    pub(crate) shared: Arc<Shared>,
    pub(crate) storage: Box<dyn Storage>,
    pub(crate) snapshots: Arc<dyn Snapshots>,
    pub(crate) custody: Arc<Custody>,
}

impl Drop for DiskPart {
    fn drop(&mut self) {
        // It may have been dropped by its workers.
        self.shared.stop(None);
    }
}

impl DiskPart {
    /// Until the node stops, or the storage fails: then what is durable is not known, and nothing more may be promised. What
    /// it owns outlives that: first the node stops, with the cause.
    pub(crate) fn run(mut self) -> impl Future<Output = Result<(), String>> {
        let mut waiting = Vec::new();
        poll_fn(move |context| self.poll(context, &mut waiting))
    }

    fn poll(&mut self, context: &Context<'_>, waiting: &mut Vec<LogJob>) -> Poll<Result<(), String>> {
        let (mut writes, mut unwanted, mut wanted) = (Vec::new(), Vec::new(), Vec::new());
        while ready!(self.shared.log.poll_take(context, waiting)) {
            for work in waiting.drain(..) {
                match work {
                    LogJob::Persist(write) => writes.push(write),
                    LogJob::Discard(last) => unwanted.push(last),
                    LogJob::Read { id, from, to, bytes_max } => wanted.push((id, from, to, bytes_max)),
                }
            }
            self.persist(&writes).map_err(|error| error.to_string())?;
            writes.clear();
            for last in unwanted.drain(..) {
                self.snapshots.discard(last).map_err(|error| error.to_string())?;
                self.custody.settle();
            }
            for (id, from, to, bytes_max) in wanted.drain(..) {
                let entries = self.storage.read(from, to, bytes_max).map_err(|error| error.to_string())?;
                self.shared.inbox.tell(Event::Fetched { id, entries });
            }
        }
        Poll::Ready(Ok(()))
    }

    fn persist(&mut self, writes: &[Write]) -> Result<(), StorageError> {
        let Some(last) = writes.last() else { return Ok(()) };
        let installed = writes.iter().rev().find_map(|write| match &write.snapshot {
            Some(SnapshotWrite::Installed { snapshot }) => Some(snapshot.last),
            _ => None,
        });
        if let Some(snapshot) = installed {
            self.custody.installing(snapshot);
        }
        let began = Instant::now();
        self.shared.lines.syncing(writes.len()).in_scope(|| self.storage.persist(writes))?;
        if installed.is_some() {
            self.custody.settle();
        }
        self.shared.inbox.tell(Event::Persisted(last.id));
        let bytes = writes.iter().map(|write| write.entries.bytes()).sum();
        self.shared.synced(writes.len(), bytes, began.elapsed());
        Ok(())
    }
}
