//! Why a storage cannot be used, and what to do then.

use std::fmt;
use std::io;
use std::path::PathBuf;

use raft_core::NodeId;

use super::ClusterId;

/// "Too many open files", of the process (`EMFILE`) and of the machine (`ENFILE`). `std::io::ErrorKind` has no name for
/// them; every Unix has these numbers.
const TOO_MANY_FILES: [i32; 2] = [24, 23];

/// Why a storage cannot be used. None of these changes what was durable before.
///
/// [`kind`](StorageError::kind) tells the cases apart that need different actions; the message of each error names the file
/// and says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The operating system refused an operation.
    #[error("cannot {doing} {path}: {source}{advice}", path = path.display(), advice = advice_on(source))]
    Io {
        /// What was tried: "open", "write", "sync", ...
        doing: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A write could not be begun, for there was no room or no file descriptor. Nothing of it is kept, and the storage can
    /// still be used: try the same write again later, before any other.
    #[error("{source}; nothing was written, it is tried again")]
    NotWritten {
        /// What was missing.
        source: Box<StorageError>,
    },
    /// Bytes that were once written whole no longer make sense.
    #[error("{path} is damaged at offset {offset}: {what}", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in it, in bytes.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// Another process, or another value in this process, uses the directory.
    #[error("{path} is in use by another process: stop that one first", path = path.display())]
    InUse {
        /// The data directory.
        path: PathBuf,
    },
    /// The directory holds no server yet: initialise it as a member of a new cluster, or join an existing one.
    #[error("{path} is empty: initialise it with the members of a new cluster, or join an existing one", path = path.display())]
    Empty {
        /// The data directory.
        path: PathBuf,
    },
    /// The directory was initialised before: its promises must not be forgotten.
    #[error("{path} already belongs to a server: open it instead of initialising it", path = path.display())]
    NotEmpty {
        /// The data directory.
        path: PathBuf,
    },
    /// The directory belongs to a server of another cluster.
    #[error("{path} belongs to cluster {stored}, not to cluster {configured}: check the directory and the cluster id",
            path = path.display(), stored = stored.0, configured = configured.0)]
    OtherCluster {
        /// The data directory.
        path: PathBuf,
        /// The cluster that was asked for.
        configured: ClusterId,
        /// The cluster that the directory belongs to.
        stored: ClusterId,
    },
    /// The directory belongs to another server of the cluster.
    #[error("{path} belongs to server {stored}, not to server {configured}: check the directory and the server id",
            path = path.display())]
    OtherServer {
        /// The data directory.
        path: PathBuf,
        /// The server that was asked for.
        configured: NodeId,
        /// The server that the directory belongs to.
        stored: NodeId,
    },
    /// The files have a format that this build does not know.
    #[error("{path} has format version {found}; this build reads version {known}", path = path.display())]
    Version {
        /// The file that says so.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The version that this build knows.
        known: u32,
    },
    /// A write from which no server could start again, or an initial state that makes no sense: an error of the caller.
    #[error("this does not fit what is stored: {what}")]
    Unfit {
        /// What, and why.
        what: String,
    },
    /// An earlier write or sync failed, so that nobody knows what is durable.
    #[error("the storage has failed before: {0}")]
    Failed(String),
}

/// What kind of [`StorageError`] it is: match on this to decide what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StorageErrorKind {
    /// The disk or a quota is full: free some space.
    DiskFull,
    /// The file system is mounted read-only, often after an error of the disk: look into the system's log.
    ReadOnly,
    /// The process may not do this: change the owner or the mode of the directory, or the user of the process.
    Permission,
    /// The process or the machine has no file descriptor left: raise the limit (`ulimit -n`).
    TooManyOpenFiles,
    /// Bytes have changed on the disk: remove this server from the cluster and add it again with an empty directory.
    Damaged,
    /// Another process uses the directory: stop that one first.
    InUse,
    /// The directory holds no server yet.
    Empty,
    /// The directory holds a server already.
    NotEmpty,
    /// The directory belongs to another cluster.
    OtherCluster,
    /// The directory belongs to another server.
    OtherServer,
    /// The files have a format that this build does not know.
    Version,
    /// An error of the caller.
    Unfit,
    /// The storage has failed before.
    Failed,
    /// Any other error of the operating system.
    Io,
}

impl fmt::Display for StorageErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StorageErrorKind::DiskFull => "disk full",
            StorageErrorKind::ReadOnly => "read-only file system",
            StorageErrorKind::Permission => "permission denied",
            StorageErrorKind::TooManyOpenFiles => "too many open files",
            StorageErrorKind::Damaged => "damaged",
            StorageErrorKind::InUse => "in use",
            StorageErrorKind::Empty => "empty",
            StorageErrorKind::NotEmpty => "not empty",
            StorageErrorKind::OtherCluster => "of another cluster",
            StorageErrorKind::OtherServer => "of another server",
            StorageErrorKind::Version => "unknown format version",
            StorageErrorKind::Unfit => "does not fit",
            StorageErrorKind::Failed => "failed before",
            StorageErrorKind::Io => "input/output error",
        })
    }
}

impl StorageError {
    /// What the operating system was short of, if that is the reason: it may be there again later.
    pub(super) fn shortage(&self) -> Option<StorageErrorKind> {
        Some(self.kind()).filter(|kind| matches!(kind, StorageErrorKind::DiskFull | StorageErrorKind::TooManyOpenFiles))
    }

    /// The same, if it came before anything of a write could count.
    pub(super) fn before_the_write(self) -> StorageError {
        if self.shortage().is_none() { self } else { StorageError::NotWritten { source: Box::new(self) } }
    }

    /// What kind of error it is.
    #[must_use]
    pub fn kind(&self) -> StorageErrorKind {
        match self {
            StorageError::Io { source, .. } => kind_of(source),
            StorageError::NotWritten { source } => source.kind(),
            StorageError::Damaged { .. } => StorageErrorKind::Damaged,
            StorageError::InUse { .. } => StorageErrorKind::InUse,
            StorageError::Empty { .. } => StorageErrorKind::Empty,
            StorageError::NotEmpty { .. } => StorageErrorKind::NotEmpty,
            StorageError::OtherCluster { .. } => StorageErrorKind::OtherCluster,
            StorageError::OtherServer { .. } => StorageErrorKind::OtherServer,
            StorageError::Version { .. } => StorageErrorKind::Version,
            StorageError::Unfit { .. } => StorageErrorKind::Unfit,
            StorageError::Failed(_) => StorageErrorKind::Failed,
        }
    }
}

/// Through an [`io::Write`] or an [`io::Read`], a storage's error keeps its kind.
impl From<StorageError> for io::Error {
    fn from(error: StorageError) -> io::Error {
        let kind = match &error {
            StorageError::Io { source, .. } => source.kind(),
            StorageError::Damaged { .. } => io::ErrorKind::InvalidData,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

fn kind_of(error: &io::Error) -> StorageErrorKind {
    if let Some(inner) = error.get_ref().and_then(|inner| inner.downcast_ref::<StorageError>()) {
        return inner.kind();
    }
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StorageErrorKind::DiskFull,
        io::ErrorKind::ReadOnlyFilesystem => StorageErrorKind::ReadOnly,
        io::ErrorKind::PermissionDenied => StorageErrorKind::Permission,
        _ if is_too_many_files(error) => StorageErrorKind::TooManyOpenFiles,
        _ => StorageErrorKind::Io,
    }
}

/// Whether the process or the machine had no descriptor left.
pub(super) fn is_too_many_files(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|code| TOO_MANY_FILES.contains(&code))
}

/// What to do about an error of the operating system; nothing if that error has said it already.
fn advice_on(error: &io::Error) -> &'static str {
    if error.get_ref().and_then(|inner| inner.downcast_ref::<StorageError>()).is_some() {
        return "";
    }
    match kind_of(error) {
        StorageErrorKind::DiskFull => ": free some disk space",
        StorageErrorKind::ReadOnly => ": mount it writable; the system's log may say why it is not",
        StorageErrorKind::Permission => ": this process needs to read, write and create files there",
        StorageErrorKind::TooManyOpenFiles => ": raise the limit of open files (ulimit -n)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn io_error(source: io::Error) -> StorageError {
        StorageError::Io { doing: "write", path: "wal".into(), source }
    }

    #[test]
    fn errors_of_the_operating_system_have_kinds_and_say_what_to_do() {
        for (code, kind, advice) in [
            (28, StorageErrorKind::DiskFull, "free some disk space"),
            (122, StorageErrorKind::DiskFull, "free some disk space"),
            (30, StorageErrorKind::ReadOnly, "mount it writable"),
            (13, StorageErrorKind::Permission, "needs to read, write and create"),
            (24, StorageErrorKind::TooManyOpenFiles, "ulimit -n"),
            (23, StorageErrorKind::TooManyOpenFiles, "ulimit -n"),
            (5, StorageErrorKind::Io, "os error 5)"),
        ] {
            let error = io_error(io::Error::from_raw_os_error(code));
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(advice), "{error}");
        }
    }

    #[test]
    fn a_kind_survives_the_way_through_a_writer() {
        for code in [28, 30, 13, 24] {
            let kind = io_error(io::Error::from_raw_os_error(code)).kind();
            let through = io_error(io_error(io::Error::from_raw_os_error(code)).into());
            assert_eq!(through.kind(), kind, "{through}");
            assert_eq!(through.to_string().matches("os error").count(), 1, "said once: {through}");
        }
        let damaged = || StorageError::Damaged { path: "wal".into(), offset: 3, what: "torn".into() };
        assert_eq!(io_error(damaged().into()).kind(), StorageErrorKind::Damaged);
        assert_eq!(io::Error::from(damaged()).kind(), io::ErrorKind::InvalidData);
    }
}
