//! Where a node's promises are kept, and how that is opened.

use std::path::{Path, PathBuf};

use raft_std_driver::raft_core::{Incarnation, Membership, NodeId};
use raft_std_driver::storage::{Birth, FileOptions, FileStorage, Identity, Storage, StorageError};

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
            Place::Other(storage) => return Ok(storage),
            Place::Directory { path, first_start } => (path, first_start),
        };
        let create = |path: &Path| {
            if !members.contains(&identity.node) {
                let what =
                    format!("a first start needs the cluster's members, with server {} among them", identity.node);
                return Err(BuildError::Members { what });
            }
            let identity = Identity { incarnation: Incarnation(fastrand::u64(1..)), ..identity };
            let birth = Birth { identity, membership: Membership::new(members.iter().copied()) };
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
        let (configured, stored) = (identity.cluster.0, storage.identity().cluster.0);
        if configured != stored {
            return Err(BuildError::Cluster { configured, stored });
        }
        Ok(Box::new(storage))
    }
}
