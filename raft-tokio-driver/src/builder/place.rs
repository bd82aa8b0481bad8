//! Where a node's promises are kept, and how that is opened.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use raft_std_driver::NodeError;
use raft_std_driver::raft_core::{Entries, Index, Membership, NodeId, Write};
use raft_std_driver::storage::{
    Birth, ClusterId, FileOptions, FileStorage, Identity, Recovered, Snapshots, Storage, StorageError, StorageErrorKind,
};

use crate::error::BuildError;

/// Where promises are kept.
pub(super) enum Place {
    Directory { path: PathBuf, first_start: FirstStart },
    Other(Box<dyn Storage>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum FirstStart {
    Yes,
    No,
    IfEmpty,
}

impl Place {
    /// Blocks. On a first start, `members` become the cluster's.
    pub(super) fn open(
        self,
        files: FileOptions,
        identity: Identity,
        members: &[NodeId],
    ) -> Result<Box<dyn Storage>, BuildError> {
        let (path, first_start) = match self {
            Place::Other(storage) => return Ok(Box::new(Asked::new(storage, identity.cluster)?)),
            Place::Directory { path, first_start } => (path, first_start),
        };
        let create = |path: &Path| {
            if !members.contains(&identity.node) {
                let what =
                    format!("a first start needs the cluster's members, with server {} among them", identity.node);
                return Err(BuildError::Members { what });
            }
            let birth = Birth::founder(identity.cluster, identity.node, Membership::new(members.iter().copied()));
            Ok(FileStorage::init(path, birth, files)?)
        };
        let storage = match first_start {
            FirstStart::Yes => create(&path)?,
            FirstStart::No => FileStorage::open(&path, files)?,
            FirstStart::IfEmpty => match FileStorage::open(&path, files) {
                Err(StorageError::Empty { .. }) => create(&path)?,
                opened => opened?,
            },
        };
        same(identity.cluster, storage.identity().cluster)?;
        Ok(Box::new(storage))
    }
}

fn same(configured: ClusterId, stored: ClusterId) -> Result<(), BuildError> {
    let (configured, stored) = (configured.0, stored.0);
    if configured == stored { Ok(()) } else { Err(BuildError::Cluster { configured, stored }) }
}

/// A storage that has been asked for what it kept, which may be asked once: it says only there of which cluster it is.
struct Asked {
    kept: Option<Recovered>,
    storage: Box<dyn Storage>,
}

impl Asked {
    fn new(mut storage: Box<dyn Storage>, cluster: ClusterId) -> Result<Asked, BuildError> {
        let kept = storage.recover().map_err(|error| NodeError::Storage(Arc::new(error)))?;
        same(cluster, kept.identity.cluster)?;
        Ok(Asked { kept: Some(kept), storage })
    }
}

impl Storage for Asked {
    fn recover(&mut self) -> Result<Recovered, StorageError> {
        self.kept.take().map_or_else(|| self.storage.recover(), Ok)
    }

    fn persist(&mut self, writes: &[Write]) -> Result<(), StorageError> {
        self.storage.persist(writes)
    }

    fn read(&mut self, from: Index, to: Index, bytes_max: u64) -> Result<Entries, StorageError> {
        self.storage.read(from, to, bytes_max)
    }

    fn shortage(&self) -> Option<StorageErrorKind> {
        self.storage.shortage()
    }

    fn close_tail(&mut self) -> Result<(), StorageError> {
        self.storage.close_tail()
    }

    fn make_room(&mut self) {
        self.storage.make_room();
    }

    fn snapshots(&self) -> Arc<dyn Snapshots> {
        self.storage.snapshots()
    }
}
