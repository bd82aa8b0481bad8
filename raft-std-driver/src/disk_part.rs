//! Group commit: one part of a node makes durable, with one sync, all that waits for the disk.

use std::sync::Arc;
use std::time::Instant;

use raft_core::{EntryId, Event, SnapshotWrite, Write};

use crate::receiving::Custody;
use crate::shared::Shared;
use crate::storage::{Snapshots, Storage, StorageError};

pub(crate) enum DiskWork {
    Persist(Write),
    /// The received snapshot that ends here is not wanted.
    Discard(EntryId),
}

pub(crate) struct DiskPart {
    pub(crate) shared: Arc<Shared>,
    pub(crate) storage: Box<dyn Storage>,
    pub(crate) snapshots: Arc<dyn Snapshots>,
    pub(crate) custody: Arc<Custody>,
}

impl DiskPart {
    /// Until the node stops, or the storage fails: then what is durable is not known, and nothing more may be promised.
    pub(crate) async fn run(mut self) -> Result<(), String> {
        let (mut waiting, mut writes, mut unwanted) = (Vec::new(), Vec::new(), Vec::new());
        while self.shared.disk.take(&mut waiting).await {
            for work in waiting.drain(..) {
                match work {
                    DiskWork::Persist(write) => writes.push(write),
                    DiskWork::Discard(last) => unwanted.push(last),
                }
            }
            self.persist(&writes).map_err(|error| error.to_string())?;
            writes.clear();
            for last in unwanted.drain(..) {
                self.snapshots.discard(last).map_err(|error| error.to_string())?;
                self.custody.settle();
            }
        }
        Ok(())
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
        self.storage.persist(writes)?;
        if installed.is_some() {
            self.custody.settle();
        }
        self.shared.inbox.tell(Event::Persisted(last.id));
        let bytes = writes.iter().map(|write| write.entries.bytes()).sum();
        self.shared.synced(writes.len(), bytes, began.elapsed());
        Ok(())
    }
}
