//! Storage in a directory: a write-ahead log and snapshot files beside it.

use std::path::Path;
use std::sync::Arc;

use raft_core::{Entries, Index, Membership, NodeId, Write};

use super::disk::{Directory, Disk, io_error};
use super::replay::Replay;
use super::segment::{check_names, segment_number};
use super::snapshots::{self, SnapshotFiles};
use super::wal::Wal;
use super::{Birth, ClusterId, Identity, Recovered, Snapshots, Storage, StorageError, StorageErrorKind};

/// How a [`FileStorage`] uses its directory. May differ from one start to the next.
#[derive(Clone, Copy, Debug)]
pub struct FileOptions {
    /// How long a segment of the log is, in bytes. Compaction gives space back in steps of this size, and a start needs
    /// so much memory besides the log itself. A group commit that is larger gets a segment of its own.
    pub segment_bytes: u64,
}

impl Default for FileOptions {
    fn default() -> FileOptions {
        FileOptions { segment_bytes: 64 << 20 }
    }
}

/// A server's promises in a directory of its own. `docs/storage-format.md` says what the files hold, which damage is
/// found, and what is assumed of the disk.
///
/// The directory is locked while this value, its [`snapshots`](Storage::snapshots) or a snapshot being written is alive.
pub struct FileStorage {
    wal: Wal,
    snapshots: Arc<SnapshotFiles>,
    recovered: Option<Recovered>,
    failed: Option<String>,
}

impl FileStorage {
    /// The first start of a member: make identity and members durable, at once and together. After a crash
    /// there is either nothing and this can be called again, or everything and [`open`](FileStorage::open) succeeds. The
    /// directory is created if it is missing.
    ///
    /// # Errors
    /// [`NotEmpty`](StorageError::NotEmpty) if a server lives here, [`InUse`](StorageError::InUse) if another process
    /// does, [`Unfit`](StorageError::Unfit) if there are too many members, or what the operating system says.
    pub fn init(dir: impl AsRef<Path>, birth: Birth, options: FileOptions) -> Result<FileStorage, StorageError> {
        FileStorage::init_on(Arc::new(Directory::create(dir.as_ref())?), birth, options)
    }

    /// A later start: read everything back, check it, and make sure that it is durable.
    ///
    /// # Errors
    /// [`Empty`](StorageError::Empty) if no server lives here, [`InUse`](StorageError::InUse) if another process does,
    /// [`Damaged`](StorageError::Damaged) or [`Version`](StorageError::Version) with nothing changed, or what the
    /// operating system says.
    pub fn open(dir: impl AsRef<Path>, options: FileOptions) -> Result<FileStorage, StorageError> {
        let dir = dir.as_ref();
        match std::fs::exists(dir) {
            Ok(true) => FileStorage::open_on(Arc::new(Directory::lock(dir)?), options),
            Ok(false) => Err(StorageError::Empty { path: dir.to_path_buf() }),
            Err(source) => Err(io_error("open", dir)(source)),
        }
    }

    /// Whose storage it is, from the first start on.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.wal.identity()
    }

    /// Check that the directory belongs to this server of this cluster, before anything is done in its name.
    ///
    /// # Errors
    /// [`OtherCluster`](StorageError::OtherCluster) or [`OtherServer`](StorageError::OtherServer), with both ids.
    pub fn check_identity(&self, cluster: ClusterId, node: NodeId) -> Result<(), StorageError> {
        let (Identity { cluster: stored, node: server, .. }, path) = (self.identity(), self.wal.path());
        if stored != cluster {
            return Err(StorageError::OtherCluster { path, configured: cluster, stored });
        }
        if server != node {
            return Err(StorageError::OtherServer { path, configured: node, stored: server });
        }
        Ok(())
    }

    pub(super) fn init_on(
        disk: Arc<dyn Disk>,
        birth: Birth,
        options: FileOptions,
    ) -> Result<FileStorage, StorageError> {
        let names = disk.names()?;
        if snapshots::any(&names) || names.iter().any(|name| segment_number(name).is_some()) {
            return Err(StorageError::NotEmpty { path: disk.path("") });
        }
        if birth.membership.members().len() > Membership::MEMBERS_MAX {
            return Err(StorageError::Unfit { what: format!("more than {} members", Membership::MEMBERS_MAX) });
        }
        let (identity, members) = (birth.identity, birth.membership.clone());
        Wal::create(&disk, birth, options.segment_bytes)?;
        tracing::info!(cluster = identity.cluster.0, node = identity.node.0, %members, "storage initialised");
        FileStorage::open_on(disk, options)
    }

    pub(super) fn open_on(disk: Arc<dyn Disk>, options: FileOptions) -> Result<FileStorage, StorageError> {
        let mut replay = match Replay::read(&*disk) {
            Err(StorageError::Empty { path }) if snapshots::any(&disk.names()?) => {
                return Err(StorageError::Damaged { path, offset: 0, what: "snapshots, but no log".into() });
            }
            replay => replay?,
        };
        let recovered = replay.recovered(&*disk)?;
        let current = replay.kept.current();
        SnapshotFiles::check(&*disk, current)?;
        // Everything fits: from here on files may change.
        check_names(&*disk)?;
        let wal = Wal::resume(disk.clone(), replay, options.segment_bytes)?;
        let snapshots = Arc::new(SnapshotFiles::open(disk, current)?);
        tracing::info!(
            node = recovered.identity.node.0,
            term = recovered.hard_state.term.0,
            snapshot = %recovered.snapshot,
            entries = %recovered.entries,
            "storage opened"
        );
        Ok(FileStorage { wal, snapshots, recovered: Some(recovered), failed: None })
    }

    fn append(&mut self, writes: &[Write]) -> Result<(), StorageError> {
        for write in writes {
            self.snapshots.check_named(write)?;
        }
        self.wal.append(writes)?;
        if writes.iter().any(|write| write.snapshot.is_some()) {
            self.snapshots.make_current(self.wal.kept().current());
        }
        Ok(())
    }
}

impl Storage for FileStorage {
    fn recover(&mut self) -> Result<Recovered, StorageError> {
        self.recovered.take().ok_or_else(|| StorageError::Failed("what it kept was asked for twice".into()))
    }

    fn persist(&mut self, writes: &[Write]) -> Result<(), StorageError> {
        if let Some(cause) = &self.failed {
            return Err(StorageError::Failed(cause.clone()));
        }
        if writes.is_empty() {
            return Ok(());
        }
        self.append(writes).inspect_err(|error| {
            if !matches!(error, StorageError::NotWritten { .. }) {
                tracing::error!(%error, "storage failed");
                self.failed = Some(error.to_string());
            }
        })
    }

    fn shortage(&self) -> Option<StorageErrorKind> {
        self.wal.shortage()
    }

    fn close_tail(&mut self) -> Result<(), StorageError> {
        if self.failed.is_some() {
            return Ok(());
        }
        self.wal.close_tail().inspect_err(|error| {
            tracing::error!(%error, "storage failed");
            self.failed = Some(error.to_string());
        })
    }

    fn make_room(&mut self) {
        if self.failed.is_none() {
            self.wal.make_room();
        }
    }

    fn read(&mut self, from: Index, to: Index, bytes_max: u64) -> Result<Entries, StorageError> {
        if let Some(cause) = &self.failed {
            return Err(StorageError::Failed(cause.clone()));
        }
        self.wal.read(from, to, bytes_max)
    }

    fn snapshots(&self) -> Arc<dyn Snapshots> {
        self.snapshots.clone()
    }
}
