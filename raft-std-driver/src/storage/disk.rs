//! The few file operations that storage is made of: one directory, names in it, files that are read and written at
//! offsets. Behind a trait so that a simulation can cut the power after any of them.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::StorageError;
use super::error::is_too_many_files;
use crate::queue::lock;

/// Held locked while a process uses the directory.
const LOCK_NAME: &str = "lock";
/// How many descriptors a directory keeps for the time when the process has none left: for the next segment, a list of
/// names, a snapshot that is written and one that is read.
const SPARES: usize = 4;

/// One directory. What a call did to names is durable after [`sync_names`](Disk::sync_names).
pub(super) trait Disk: Send + Sync + 'static {
    /// The path of a name, or of the directory if it is empty: for error messages.
    fn path(&self, name: &str) -> PathBuf;
    /// Whether files may be prepared on threads of their own. Where the order of all steps matters they are not.
    fn has_threads(&self) -> bool {
        true
    }
    /// Whether there is a file of this name. Needs no descriptor.
    fn exists(&self, name: &str) -> Result<bool, StorageError>;
    /// All names, sorted: what is done with them is always done in the same order.
    fn names(&self) -> Result<Vec<String>, StorageError>;
    /// A new, empty file in place of whatever had this name.
    fn create(&self, name: &str) -> Result<Box<dyn DiskFile>, StorageError>;
    /// An existing file, to be read and written.
    fn open(&self, name: &str) -> Result<Box<dyn DiskFile>, StorageError>;
    /// Give a file another name; a file that had it is gone.
    fn rename(&self, from: &str, to: &str) -> Result<(), StorageError>;
    /// Remove a file. That it is gone already is no error.
    fn remove(&self, name: &str) -> Result<(), StorageError>;
    /// Make the names durable.
    fn sync_names(&self) -> Result<(), StorageError>;
}

/// One file. What was written is durable after [`sync`](DiskFile::sync).
pub(super) trait DiskFile: Send + Sync {
    /// How long it is.
    fn len(&self) -> Result<u64, StorageError>;
    /// Fill `bytes` from `offset` on.
    fn read(&self, bytes: &mut [u8], offset: u64) -> Result<(), StorageError>;
    /// Write all of `bytes` at `offset`.
    fn write(&self, bytes: &[u8], offset: u64) -> Result<(), StorageError>;
    /// Make everything that was written durable, and the length.
    fn sync(&self) -> Result<(), StorageError>;
    /// The file was renamed: errors name it by its new path.
    fn set_path(&mut self, path: PathBuf);
}

pub(super) fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StorageError {
    move |source| StorageError::Io { doing, path: path.to_path_buf(), source }
}

/// A directory of the file system, locked against other processes as long as this lives. The lock is on the directory
/// itself, which nobody removes by mistake, and on the file `lock`, which shows people that there is one and serves on file
/// systems that do not lock directories.
pub(super) struct Directory {
    path: PathBuf,
    handle: File,
    _lock: File,
    /// Descriptors that are closed when another one is needed and the process has none left.
    spares: Mutex<Vec<File>>,
}

impl Directory {
    /// Create the directory and those above it, durably, and lock it.
    pub(super) fn create(path: &Path) -> Result<Directory, StorageError> {
        let missing: Vec<&Path> =
            path.ancestors().take_while(|part| !part.as_os_str().is_empty() && !part.exists()).collect();
        fs::create_dir_all(path).map_err(io_error("create", path))?;
        for parent in missing.iter().filter_map(|part| part.parent()) {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            File::open(parent).and_then(|dir| dir.sync_all()).map_err(io_error("sync", parent))?;
        }
        Directory::lock(path)
    }

    /// Lock a directory that exists.
    pub(super) fn lock(path: &Path) -> Result<Directory, StorageError> {
        let handle = File::open(path).map_err(io_error("open", path))?;
        match handle.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(StorageError::InUse { path: path.to_path_buf() }),
            Err(TryLockError::Error(error)) => {
                tracing::warn!(path = %path.display(), %error, "the directory cannot be locked, only the file in it");
            }
            Ok(()) => {}
        }
        let name = path.join(LOCK_NAME);
        let options = OpenOptions::new().create(true).truncate(false).write(true).open(&name);
        let lock = options.map_err(io_error("open", &name))?;
        match lock.try_lock() {
            Ok(()) => {
                let spares = (0..SPARES).map(|_| handle.try_clone()).collect::<io::Result<Vec<File>>>();
                let spares = Mutex::new(spares.map_err(io_error("keep descriptors for", path))?);
                Ok(Directory { path: path.to_path_buf(), handle, _lock: lock, spares })
            }
            Err(TryLockError::WouldBlock) => Err(StorageError::InUse { path: path.to_path_buf() }),
            Err(TryLockError::Error(source)) => Err(io_error("lock", &name)(source)),
        }
    }
}

impl Directory {
    /// Do what needs a descriptor: with one of the spares if the process has none left.
    fn with_descriptor<T>(&self, open: impl Fn() -> io::Result<T>) -> io::Result<T> {
        loop {
            match open() {
                Err(error) if is_too_many_files(&error) => match lock(&self.spares).pop() {
                    // Another thread may be quicker to take what this closes.
                    Some(spare) => drop(spare),
                    None => return Err(error),
                },
                opened => {
                    self.refill();
                    return opened;
                }
            }
        }
    }

    /// Take a spare descriptor again, if there is one to be had.
    fn refill(&self) {
        let mut spares = lock(&self.spares);
        if spares.len() < SPARES {
            spares.extend(self.handle.try_clone());
        }
    }

    fn named(&self, name: &str, doing: &'static str, how: &OpenOptions) -> Result<Box<dyn DiskFile>, StorageError> {
        let path = self.path(name);
        let file = self.with_descriptor(|| how.open(&path)).map_err(io_error(doing, &path))?;
        Ok(Box::new(Named { file, path }))
    }
}

impl Disk for Directory {
    fn path(&self, name: &str) -> PathBuf {
        if name.is_empty() { self.path.clone() } else { self.path.join(name) }
    }

    fn exists(&self, name: &str) -> Result<bool, StorageError> {
        let path = self.path(name);
        fs::exists(&path).map_err(io_error("find", &path))
    }

    fn names(&self) -> Result<Vec<String>, StorageError> {
        let list = || -> io::Result<Vec<String>> {
            let names = fs::read_dir(&self.path)?.map(|entry| Ok(entry?.file_name().into_string().ok()));
            let mut names = names.filter_map(Result::transpose).collect::<io::Result<Vec<String>>>()?;
            names.sort_unstable();
            Ok(names)
        };
        self.with_descriptor(list).map_err(io_error("list", &self.path))
    }

    fn create(&self, name: &str) -> Result<Box<dyn DiskFile>, StorageError> {
        self.named(name, "create", OpenOptions::new().create(true).truncate(true).read(true).write(true))
    }

    fn open(&self, name: &str) -> Result<Box<dyn DiskFile>, StorageError> {
        self.named(name, "open", OpenOptions::new().read(true).write(true))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), StorageError> {
        let from = self.path(from);
        fs::rename(&from, self.path(to)).map_err(io_error("rename", &from))
    }

    fn remove(&self, name: &str) -> Result<(), StorageError> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("remove", &path)(error)),
            _ => Ok(()),
        }
    }

    fn sync_names(&self) -> Result<(), StorageError> {
        self.handle.sync_all().map_err(io_error("sync", &self.path))
    }
}

struct Named {
    file: File,
    path: PathBuf,
}

impl DiskFile for Named {
    fn len(&self) -> Result<u64, StorageError> {
        self.file.metadata().map(|metadata| metadata.len()).map_err(io_error("measure", &self.path))
    }

    fn read(&self, bytes: &mut [u8], offset: u64) -> Result<(), StorageError> {
        self.file.read_exact_at(bytes, offset).map_err(io_error("read", &self.path))
    }

    fn write(&self, bytes: &[u8], offset: u64) -> Result<(), StorageError> {
        self.file.write_all_at(bytes, offset).map_err(io_error("write", &self.path))
    }

    fn sync(&self) -> Result<(), StorageError> {
        self.file.sync_data().map_err(io_error("sync", &self.path))
    }

    fn set_path(&mut self, path: PathBuf) {
        self.path = path;
    }
}
