//! Group commit: one part of a node makes durable, with one sync, all that waits for the disk.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use raft_core::{EntryId, Event, SnapshotWrite, Write};

use crate::events::NodeEvent;
use crate::inbox::Note;
use crate::receiving::Custody;
use crate::server::jobs::LogJob;
use crate::shared::Shared;
use crate::storage::{Snapshots, Storage, StorageError, StorageErrorKind};

pub(crate) struct DiskPart {
    shared: Arc<Shared>,
    storage: Box<dyn Storage>,
    snapshots: Arc<dyn Snapshots>,
    custody: Arc<Custody>,
    /// What is to be written, in order; and what is to be discarded behind it.
    writes: Vec<Write>,
    unwanted: Vec<EntryId>,
    /// There was no room for the writes: they wait until it is time to try again.
    blocked: Option<StorageErrorKind>,
    /// What the core was told to be short.
    told: Option<StorageErrorKind>,
}

impl Drop for DiskPart {
    fn drop(&mut self) {
        // It may have been dropped by its workers.
        self.shared.stop(None);
    }
}

impl DiskPart {
    pub(crate) fn new(
        shared: Arc<Shared>,
        storage: Box<dyn Storage>,
        snapshots: Arc<dyn Snapshots>,
        custody: Arc<Custody>,
    ) -> DiskPart {
        let (writes, unwanted) = (Vec::new(), Vec::new());
        DiskPart { shared, storage, snapshots, custody, writes, unwanted, blocked: None, told: None }
    }

    /// Until the node stops, or the storage fails: then what is durable is not known, and nothing more may be promised. What
    /// it owns outlives that: first the node stops, with the cause.
    pub(crate) fn run(mut self) -> impl Future<Output = Result<(), String>> {
        let mut waiting = Vec::new();
        poll_fn(move |context| self.poll(context, &mut waiting).map_err(|error| error.to_string()))
    }

    fn poll(&mut self, context: &Context<'_>, waiting: &mut Vec<LogJob>) -> Poll<Result<(), StorageError>> {
        while ready!(self.shared.log.poll_take(context, waiting)) {
            self.carry_out(waiting)?;
        }
        // What waits was never promised, and is lost with the node.
        Poll::Ready(if self.writes.is_empty() { self.storage.close_tail() } else { Ok(()) })
    }

    fn carry_out(&mut self, waiting: &mut Vec<LogJob>) -> Result<(), StorageError> {
        let (mut wanted, mut is_idle) = (Vec::new(), false);
        for work in waiting.drain(..) {
            match work {
                LogJob::Persist(write) => self.writes.push(write),
                LogJob::Discard(last) => self.unwanted.push(last),
                LogJob::Read { id, from, to, bytes_max } => wanted.push((id, from, to, bytes_max)),
                LogJob::TryAgain => {
                    self.storage.make_room();
                    self.blocked = None;
                }
                LogJob::CloseTail => is_idle = true,
            }
        }
        if self.blocked.is_none() {
            self.write()?;
            if is_idle && self.writes.is_empty() {
                self.storage.close_tail()?;
            }
        }
        self.tell_of_shortage();
        for (id, from, to, bytes_max) in wanted {
            let entries = self.storage.read(from, to, bytes_max)?;
            self.shared.inbox.tell(Event::Fetched { id, entries });
        }
        Ok(())
    }

    /// Make durable what waits, as far as there is room, then discard.
    fn write(&mut self) -> Result<(), StorageError> {
        let mut writes = std::mem::take(&mut self.writes);
        let result = self.persist(&writes);
        if let Err(error @ StorageError::NotWritten { .. }) = &result {
            self.blocked = Some(error.kind());
            // What comes before the first entries may fit into what the storage reserves: terms, votes, compactions.
            let small = writes.iter().take_while(|write| write.entries.is_empty()).count();
            if small < writes.len() {
                match self.persist(&writes[..small]) {
                    Ok(()) => drop(writes.drain(..small)),
                    Err(StorageError::NotWritten { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            self.writes = writes;
            return Ok(());
        }
        result?;
        for last in std::mem::take(&mut self.unwanted) {
            self.snapshots.discard(last)?;
            self.custody.settle();
        }
        Ok(())
    }

    fn tell_of_shortage(&mut self) {
        let shortage = self.blocked.or_else(|| self.storage.shortage());
        if std::mem::replace(&mut self.told, shortage) != shortage {
            self.shared.tell(&match shortage {
                Some(why) => NodeEvent::DiskFull { why },
                None => NodeEvent::DiskFreed,
            });
            let _stopped = self.shared.inbox.note(Note::Shortage(shortage));
        }
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
