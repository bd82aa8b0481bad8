//! Holds a recording against `docs/storage-format.md`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read;
use std::path::PathBuf;

use raft_std_driver::raft_core::Payload;
use raft_std_driver::storage::sim::SimDisk;
use raft_std_driver::storage::{Storage, StorageError};

use super::disk::{Directory, FileId};
use super::server::{OPTIONS, SERVERS, lines_of, name_of};
use super::trace::{Call, Moment, Place, Trace};

/// What a sync is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sync {
    /// A frame of the log.
    Frame,
    /// A file that becomes a segment.
    Segment,
    /// A file that becomes a snapshot.
    Snapshot,
    SegmentName,
    SnapshotName,
    /// Of segments that are not needed any more.
    OldNames,
    /// Of all names that the start has found.
    NamesAtStart,
    /// Of the directories above the data directory.
    NewDirectory,
}

impl Sync {
    pub(crate) const ALL: [Sync; 8] = [
        Sync::Frame,
        Sync::Segment,
        Sync::Snapshot,
        Sync::SegmentName,
        Sync::SnapshotName,
        Sync::OldNames,
        Sync::NamesAtStart,
        Sync::NewDirectory,
    ];
}

#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) acknowledged: usize,
    pub(crate) starts: usize,
    pub(crate) segments: usize,
    pub(crate) local: usize,
    pub(crate) received: usize,
    pub(crate) recycled: usize,
    pub(crate) removed: usize,
    pub(crate) syncs: BTreeMap<Sync, usize>,
}

/// What was done to names last, so that the next sync is for it.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Last {
    #[default]
    Started,
    SegmentNamed,
    SnapshotNamed,
    SegmentGone,
}

#[derive(Default)]
struct Server {
    directory: Directory,
    last: Last,
    /// How many writes to segments there were since the start, and whether all names were synced behind the first.
    writes: usize,
    names_synced: bool,
    /// What was acknowledged with this server's disk among those that had it.
    promised: BTreeSet<u64>,
}

#[derive(Default)]
struct Checker {
    servers: BTreeMap<u64, Server>,
    open: HashMap<u32, (Place, FileId)>,
    /// Directories whose parents are not synced yet.
    new_directories: BTreeSet<PathBuf>,
    /// For a sync that has begun: how many writes it covers, or which names.
    covered: HashMap<usize, usize>,
    names: HashMap<usize, BTreeMap<String, FileId>>,
    found: Found,
    /// Whether the order of calls is held against rules as well.
    rules: bool,
}

/// Replay the calls, as if syncs of one kind had been left out.
pub(crate) fn check(trace: &Trace, left_out: Option<Sync>) -> Result<Found, String> {
    run(trace, left_out, true)
}

/// The same without the rules about the order: only whether what was acknowledged is there.
pub(crate) fn replay(trace: &Trace, left_out: Option<Sync>) -> Result<Found, String> {
    run(trace, left_out, false)
}

fn run(trace: &Trace, left_out: Option<Sync>, rules: bool) -> Result<Found, String> {
    let mut checker = Checker { rules, ..Checker::default() };
    for &moment in &trace.moments {
        match moment {
            Moment::Begins(at) => checker.begins(at, &trace.calls[at], left_out)?,
            Moment::Ends(at) => checker.ends(at, &trace.calls[at])?,
        }
    }
    Ok(checker.found)
}

impl Checker {
    fn begins(&mut self, at: usize, call: &Call, left_out: Option<Sync>) -> Result<(), String> {
        match call {
            Call::Close { fd } => drop(self.open.remove(fd)),
            Call::Write { fd, offset, bytes } => match self.open.get(fd).cloned() {
                Some((Place::Acks, _)) => return self.acknowledges(bytes),
                Some((Place::File { server, .. }, id)) => self.write_begins(server, id, *offset, bytes)?,
                _ => {}
            },
            Call::Sync { fd } => {
                if let Some(place) = self.open.get(fd).cloned() {
                    self.sync_begins(at, place, left_out);
                }
            }
            Call::Rename { server, from, to } => self.rename_begins(*server, from, to)?,
            Call::Other { fd, line } if self.open.contains_key(fd) => {
                return Err(format!("a call that this test does not know: {line}"));
            }
            Call::Open { .. } | Call::Remove { .. } | Call::MakeDir(_) | Call::Other { .. } => {}
        }
        Ok(())
    }

    fn ends(&mut self, at: usize, call: &Call) -> Result<(), String> {
        match call {
            Call::Open { place, creates, fd } => self.opened(place, *creates, *fd),
            Call::Write { fd, .. } => {
                if let Some((Place::File { server, .. }, id)) = self.open.get(fd).cloned() {
                    self.server(server).directory.files[id].write_ends();
                }
            }
            Call::Sync { fd } => {
                if let Some((place, id)) = self.open.get(fd).cloned() {
                    return self.sync_ends(at, &place, id);
                }
            }
            Call::Rename { server, from, to } => {
                let names = &mut self.server(*server).directory.names;
                let id = names.remove(from).ok_or("a file without a name is renamed")?;
                names.insert(to.clone(), id);
                self.renamed(*server, from, to);
                return self.survives(*server);
            }
            Call::Remove { server, name } => {
                if self.server(*server).directory.names.remove(name).is_some() {
                    if !name.starts_with("blank-") {
                        self.found.removed += 1;
                        self.server(*server).last = Last::SegmentGone;
                    }
                    return self.survives(*server);
                }
            }
            Call::MakeDir(path) => drop(self.new_directories.insert(path.clone())),
            Call::Close { .. } | Call::Other { .. } => {}
        }
        Ok(())
    }

    fn server(&mut self, id: u64) -> &mut Server {
        self.servers.entry(id).or_default()
    }

    fn opened(&mut self, place: &Place, creates: bool, fd: u32) {
        let mut id = usize::MAX;
        if let Place::File { server, name } = place {
            if name == "lock" {
                self.found.starts += 1;
                let server = self.server(*server);
                (server.last, server.writes, server.names_synced) = (Last::Started, 0, false);
            }
            let directory = &mut self.server(*server).directory;
            let there = directory.names.get(name).copied();
            id = there.filter(|_| !creates || name == "lock").unwrap_or_else(|| directory.create(name));
        }
        self.open.insert(fd, (place.clone(), id));
    }

    fn write_begins(&mut self, server: u64, id: FileId, offset: Option<u64>, bytes: &[u8]) -> Result<(), String> {
        let rules = self.rules;
        let server = self.server(server);
        let name = name_of_file(&server.directory, id);
        let offset = offset.ok_or_else(|| format!("{name} is written without an offset"))?;
        let file = &mut server.directory.files[id];
        let was_segment = file.was_segment;
        server.writes += usize::from(name.starts_with("wal-"));
        if rules && name.starts_with("wal-") {
            if !file.is_synced() {
                return Err(format!("{name}: a frame is written before the one before it is synced"));
            }
            if server.writes > 1 && !server.names_synced {
                return Err(format!("{name}: written to before the start has synced the names"));
            }
            if server.directory.durable_names.get(&name) != Some(&id) {
                return Err(format!("{name}: written to before its name is synced"));
            }
        }
        if rules && name.starts_with("blank-") && was_segment && server.directory.durable_names.get(&name) != Some(&id)
        {
            return Err(format!("{name}: an old segment is overwritten before its new name is synced"));
        }
        let offset = usize::try_from(offset).map_err(|error| error.to_string())?;
        server.directory.files[id].write_begins(offset, bytes);
        Ok(())
    }

    fn rename_begins(&mut self, server: u64, from: &str, to: &str) -> Result<(), String> {
        let directory = &mut self.server(server).directory;
        let file = directory.file(from).ok_or("a file without a name is renamed")?;
        if !to.starts_with("blank-") && !file.is_synced() {
            return Err(format!("{from} is renamed to {to} before it is synced"));
        }
        Ok(())
    }

    fn renamed(&mut self, server: u64, from: &str, to: &str) {
        if !from.starts_with("wal-") && to.starts_with("blank-") {
            return;
        }
        let kind = if to.starts_with("blank-") {
            self.found.recycled += 1;
            Last::SegmentGone
        } else if to.starts_with("wal-") {
            self.found.segments += 1;
            Last::SegmentNamed
        } else {
            let count = if to.ends_with("local") { &mut self.found.local } else { &mut self.found.received };
            *count += 1;
            Last::SnapshotNamed
        };
        let server = self.server(server);
        server.last = kind;
        if let Some(file) = server.directory.file(to).filter(|_| from.starts_with("wal-")) {
            file.was_segment = true;
        }
    }

    fn sync_begins(&mut self, at: usize, (place, id): (Place, FileId), left_out: Option<Sync>) {
        let server = match &place {
            Place::File { server, .. } | Place::Data { server } => *server,
            _ => 0,
        };
        let state = self.servers.entry(server).or_default();
        let kind = match place {
            Place::File { .. } => match name_of_file(&state.directory, id) {
                name if name.starts_with("wal-") => Sync::Frame,
                name if name.starts_with("snapshot-") => Sync::Snapshot,
                _ => Sync::Segment,
            },
            Place::Data { .. } => match state.last {
                // Behind the first write to the log, which repeats its end.
                _ if state.writes == 1 && !state.names_synced => Sync::NamesAtStart,
                Last::Started => Sync::NamesAtStart,
                Last::SegmentNamed => Sync::SegmentName,
                Last::SnapshotNamed => Sync::SnapshotName,
                Last::SegmentGone => Sync::OldNames,
            },
            Place::Above(_) => Sync::NewDirectory,
            Place::Acks => return,
        };
        if left_out == Some(kind) {
            return;
        }
        *self.found.syncs.entry(kind).or_default() += 1;
        if let Place::File { .. } = place {
            self.covered.insert(at, state.directory.files[id].sync_begins());
        } else {
            self.names.insert(at, state.directory.names.clone());
        }
    }

    fn sync_ends(&mut self, at: usize, place: &Place, id: FileId) -> Result<(), String> {
        match place {
            Place::File { server, .. } => {
                let Some(count) = self.covered.remove(&at) else { return Ok(()) };
                self.server(*server).directory.files[id].sync_ends(count);
                self.survives(*server)
            }
            Place::Data { server } => {
                let Some(names) = self.names.remove(&at) else { return Ok(()) };
                let state = self.server(*server);
                state.directory.durable_names = names;
                state.names_synced |= state.writes > 0;
                self.survives(*server)
            }
            Place::Above(path) => {
                if self.names.remove(&at).is_some() {
                    self.new_directories.retain(|new| new.parent() != Some(path));
                }
                Ok(())
            }
            Place::Acks => Ok(()),
        }
    }

    /// A client is told that its command took effect: then a majority has it, whatever becomes of what is not synced.
    fn acknowledges(&mut self, line: &[u8]) -> Result<(), String> {
        let command = String::from_utf8_lossy(line).trim().parse::<u64>().map_err(|error| error.to_string())?;
        self.found.acknowledged += 1;
        if let Some(new) = self.new_directories.first() {
            return Err(format!("{} is acknowledged before the directory {} is synced", command, new.display()));
        }
        let mut holders = 0;
        for server in self.servers.values_mut() {
            if kept_by(&server.directory).is_ok_and(|kept| kept.contains(&command)) {
                server.promised.insert(command);
                holders += 1;
            }
        }
        if holders * 2 > SERVERS {
            return Ok(());
        }
        Err(format!("command {command} is acknowledged, and only {holders} of {SERVERS} disks are sure to have it"))
    }

    /// If the power goes now, the server finds what was acknowledged because of it.
    fn survives(&mut self, id: u64) -> Result<(), String> {
        let server = self.server(id);
        if server.promised.is_empty() {
            return Ok(());
        }
        let kept = kept_by(&server.directory).map_err(|error| format!("server {id}: {error}"))?;
        match server.promised.iter().find(|command| !kept.contains(command)) {
            None => Ok(()),
            Some(lost) => Err(format!("server {id} would lose command {lost}, which was acknowledged")),
        }
    }
}

/// By the number, for the model knows a file by it.
fn name_of_file(directory: &Directory, id: FileId) -> String {
    directory.names.iter().find(|(_, other)| **other == id).map_or(String::new(), |(name, _)| name.clone())
}

/// The commands that are there in any case: with or without what is not synced, of names and of bytes.
fn kept_by(directory: &Directory) -> Result<BTreeSet<u64>, StorageError> {
    let mut kept: Option<BTreeSet<u64>> = None;
    for (names_kept, bytes_kept) in [(false, false), (false, true), (true, false), (true, true)] {
        let commands = commands_on(directory.contents(names_kept, bytes_kept))?;
        kept = Some(kept.map_or(commands.clone(), |kept| kept.intersection(&commands).copied().collect()));
    }
    Ok(kept.unwrap_or_default())
}

fn commands_on(contents: Vec<(String, Vec<u8>)>) -> Result<BTreeSet<u64>, StorageError> {
    let mut storage = SimDisk::with_contents(contents).open(OPTIONS)?;
    let recovered = storage.recover()?;
    let mut commands = BTreeSet::new();
    if let Some((_, mut data)) = storage.snapshots().open(recovered.snapshot.last)? {
        let mut text = String::new();
        data.read_to_string(&mut text).map_err(|error| StorageError::Failed(error.to_string()))?;
        commands.extend(lines_of(&text));
    }
    let payloads = recovered.entries.iter().filter_map(|(_, payload)| match payload {
        Payload::Command(bytes) => name_of(bytes),
        Payload::Noop | Payload::Membership(_) => None,
    });
    commands.extend(payloads);
    Ok(commands)
}
