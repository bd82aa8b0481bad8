//! The application's part: applies what is committed, answers who waits for it, restores, and takes snapshots.

use std::future::poll_fn;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use raft_core::{Bytes, Entries, EntryId, Event, Membership, Payload};

use crate::asked::Answer;
use crate::changes::Changes;
use crate::error::SnapshotError;
use crate::events::NodeEvent;
use crate::inbox::Note;
use crate::machine::{Command, SnapshotWriter, StateMachine};
use crate::receiving::Custody;
use crate::server::jobs::ApplyJob;
use crate::shared::Shared;
use crate::storage::{SnapshotOrigin, SnapshotSink, Snapshots, StorageError};
use crate::waiters::Waiters;

/// How long a node waits before it tries again to write a snapshot that failed: doubled each time, up to the longest.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(300);

/// To those who asked for a snapshot, and wait for it to be in force.
type SnapshotAnswer = Answer<Result<EntryId, SnapshotError>>;

pub(crate) struct MachinePart {
    shared: Arc<Shared>,
    machine: Box<dyn StateMachine>,
    snapshots: Arc<dyn Snapshots>,
    custody: Arc<Custody>,
    waiters: Waiters,
    changes: Changes,
    answers: Vec<Bytes>,
    /// The last entry that the machine has applied.
    applied: EntryId,
    /// What the current snapshot ends at.
    snapshot: EntryId,
    /// What the entries applied since the last snapshot count; a snapshot is due above `log_bytes_max`, unless that is 0.
    log_bytes: u64,
    log_bytes_max: u64,
    /// A snapshot is being built, of so many bytes of the log.
    building: Option<u64>,
    /// The last one failed: how long to wait, and from when on, before the next is due.
    failed: Option<(Duration, Instant)>,
    /// Who waits for it. Who asks since it was begun asks for the next: it may lack what they want in it.
    awaited: Option<SnapshotAnswer>,
    /// A snapshot to restore was overtaken by a newer one, which comes next: what comes before it is covered by it.
    overtaken: bool,
}

/// Where the machine stands when its node starts.
#[derive(Clone, Copy)]
pub(crate) struct Standing {
    pub(crate) applied: EntryId,
    pub(crate) snapshot: EntryId,
    pub(crate) log_bytes: u64,
    pub(crate) log_bytes_max: u64,
}

impl MachinePart {
    pub(crate) fn new(
        shared: Arc<Shared>,
        machine: Box<dyn StateMachine>,
        snapshots: Arc<dyn Snapshots>,
        custody: Arc<Custody>,
        standing: Standing,
    ) -> Self {
        let Standing { applied, snapshot, log_bytes, log_bytes_max } = standing;
        MachinePart {
            shared,
            machine,
            snapshots,
            custody,
            waiters: Waiters::default(),
            changes: Changes::default(),
            answers: Vec::new(),
            applied,
            snapshot,
            log_bytes,
            log_bytes_max,
            building: None,
            failed: None,
            awaited: None,
            overtaken: false,
        }
    }

    /// Until the node stops, or the machine fails. What it owns outlives that: first the node stops, with the cause.
    pub(crate) fn run(mut self) -> impl Future<Output = Result<(), String>> {
        let mut waiting = Vec::new();
        poll_fn(move |context| self.poll(context, &mut waiting))
    }

    fn poll(&mut self, context: &Context<'_>, waiting: &mut Vec<ApplyJob>) -> Poll<Result<(), String>> {
        while ready!(self.shared.apply.poll_take(context, waiting)) {
            for work in waiting.drain(..) {
                self.carry_out(work)?;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn carry_out(&mut self, work: ApplyJob) -> Result<(), String> {
        match work {
            ApplyJob::Park { first, waiters } => self.waiters.park(first, waiters),
            ApplyJob::Apply(entries) => self.apply(&entries)?,
            ApplyJob::ParkChange { change, waiter } => self.changes.park(change, waiter),
            ApplyJob::Restore(snapshot) => self.restore(snapshot.last, &snapshot.membership)?,
            // It is due below.
            ApplyJob::Snapshot => {}
            ApplyJob::Compacted(last) => self.compacted(last),
            ApplyJob::Failed(last, error) => self.failed(last, error),
        }
        self.build_if_due();
        Ok(())
    }

    fn apply(&mut self, entries: &Entries) -> Result<(), String> {
        let Some(last) = entries.last().filter(|_| !self.overtaken) else { return Ok(()) };
        let commands: Vec<Command<'_>> = entries
            .iter()
            .filter_map(|(id, payload)| match payload {
                Payload::Command(bytes) => Some(Command { index: id.index, bytes }),
                Payload::Noop | Payload::Membership(_) => None,
            })
            .collect();
        if !commands.is_empty() {
            let began = Instant::now();
            let span = self.shared.lines.applying(commands.len());
            let applied = span.in_scope(|| self.machine.apply(&commands, &mut self.answers));
            applied.map_err(|error| format!("cannot apply what follows {}: {error}", self.applied))?;
            self.shared.applied(commands.len(), began.elapsed());
        }
        if self.answers.len() != commands.len() {
            return Err(format!("the machine gave {} answers to {} commands", self.answers.len(), commands.len()));
        }
        self.applied = last;
        self.log_bytes += entries.bytes();
        self.shared.inbox.tell(Event::Applied(last.index));
        let mut answers = self.answers.drain(..);
        for (id, payload) in entries.iter() {
            let answer = if let Payload::Command(_) = payload { answers.next() } else { None };
            self.waiters.applied(id, answer);
            let membership = if let Payload::Membership(membership) = payload { Some(&**membership) } else { None };
            self.changes.applied(id, membership);
        }
        Ok(())
    }

    fn restore(&mut self, last: EntryId, membership: &Membership) -> Result<(), String> {
        let opened = self.snapshots.open(last).map_err(|error| error.to_string())?;
        let Some((bytes, mut data)) = opened else {
            // Its data goes when a newer one is durable; then the core will say so next.
            self.overtaken = self.custody.has_newer_than(last);
            return if self.overtaken { Ok(()) } else { Err(format!("the data of snapshot {last} is not there")) };
        };
        self.overtaken = false;
        let restored = self.shared.lines.restoring(last).in_scope(|| self.machine.restore(&mut data));
        restored.map_err(|error| format!("cannot restore snapshot {last}: {error}"))?;
        self.shared.tell(&NodeEvent::Restored { last, bytes });
        (self.applied, self.snapshot, self.log_bytes) = (last, last, 0);
        self.shared.inbox.tell(Event::Applied(last.index));
        self.waiters.restored(last);
        self.changes.restored(last, membership);
        Ok(())
    }

    /// One snapshot at a time; who asks meanwhile, or what grows meanwhile, gets the next one.
    fn build_if_due(&mut self) {
        if self.building.is_some() {
            return;
        }
        if self.applied.index <= self.snapshot.index {
            if let Some(answer) = self.shared.snapshot.take() {
                answer.say(Ok(self.snapshot));
            }
            return;
        }
        let waits = self.failed.is_some_and(|(wait, since)| since.elapsed() < wait);
        let due = self.log_bytes_max > 0 && self.log_bytes >= self.log_bytes_max && !waits;
        if !due && !self.shared.snapshot.is_open() {
            return;
        }
        (self.building, self.awaited) = (Some(std::mem::take(&mut self.log_bytes)), self.shared.snapshot.take());
        let last = self.applied;
        let span = self.shared.lines.taking(last);
        let writer = span.in_scope(|| {
            self.shared.tell(&NodeEvent::SnapshotBegun { last });
            self.machine.snapshot()
        });
        let (shared, snapshots) = (Arc::clone(&self.shared), Arc::clone(&self.snapshots));
        let spawned = self.shared.spawn("snapshot", async move {
            let _span = span.enter();
            match write_snapshot(&shared, &*snapshots, last, writer) {
                Ok(bytes) => {
                    shared.tell(&NodeEvent::SnapshotWritten { last, bytes });
                    let _stopped = shared.inbox.note(Note::Built(last));
                }
                Err(error) => drop(shared.apply.push(ApplyJob::Failed(last, error))),
            }
            Ok(())
        });
        if let Err(source) = spawned {
            let path = format!("snapshot {last}").into();
            self.failed(last, StorageError::Io { doing: "start a thread for", path, source });
        }
    }

    /// Nothing of it remains. The next is due after a while, or when somebody asks for it.
    fn failed(&mut self, last: EntryId, error: StorageError) {
        if self.shared.is_stopping() {
            // Given up. Dropped, the answer says that the node has stopped.
            self.awaited = None;
            return;
        }
        self.log_bytes = self.log_bytes.saturating_add(self.building.take().unwrap_or(0));
        let wait = self.failed.map_or(RETRY_MIN, |(wait, _)| wait.saturating_mul(2).min(RETRY_MAX));
        self.failed = Some((wait, Instant::now()));
        if let Some(answer) = self.awaited.take() {
            answer.say(Err(SnapshotError::Failed { kind: error.kind(), message: error.to_string() }));
        }
        self.shared.tell(&NodeEvent::SnapshotFailed { last, cause: Arc::new(error) });
    }

    fn compacted(&mut self, last: EntryId) {
        self.snapshot = self.snapshot.max(last);
        (self.building, self.failed) = (None, None);
        if let Some(answer) = self.awaited.take() {
            answer.say(Ok(last));
        }
    }
}

impl Drop for MachinePart {
    fn drop(&mut self) {
        // It may have been dropped by its workers; or another has begun to stop the node and not come so far.
        self.shared.stop(None);
        self.shared.apply.close();
        drop(self.shared.apply.leftovers());
        self.shared.snapshot.close();
    }
}

fn write_snapshot(
    shared: &Shared,
    snapshots: &dyn Snapshots,
    last: EntryId,
    writer: SnapshotWriter,
) -> Result<u64, StorageError> {
    let failed = |source| StorageError::Io { doing: "write", path: format!("snapshot {last}").into(), source };
    let data = snapshots.create(last, SnapshotOrigin::Local)?;
    let mut out = BufWriter::with_capacity(1 << 16, WhileRunning { shared, data, bytes: 0 });
    writer(&mut out).map_err(failed)?;
    let WhileRunning { data, bytes, .. } = out.into_inner().map_err(|error| failed(error.into_error()))?;
    data.finish()?;
    Ok(bytes)
}

/// Counts, and refuses to go on once the node stops, so that nobody waits for a large snapshot.
struct WhileRunning<'a> {
    shared: &'a Shared,
    data: Box<dyn SnapshotSink>,
    /// So many were written.
    bytes: u64,
}

impl Write for WhileRunning<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.shared.is_stopping() {
            return Err(io::Error::other("the node stops"));
        }
        let written = self.data.write(data)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.data.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use raft_core::{Entry, Index, NodeId, SnapshotMeta, SnapshotWrite, Term, WriteId};

    use super::*;
    use crate::queue::lock;
    use crate::storage::mem::MemDisk;
    use crate::storage::{Birth, ClusterId, Storage};
    use crate::workers::Threads;

    /// Its state is the list of what it was given.
    #[derive(Clone, Default)]
    struct Seen(Arc<Mutex<Vec<String>>>);

    impl StateMachine for Seen {
        fn apply(&mut self, commands: &[Command<'_>], answers: &mut Vec<Bytes>) -> io::Result<()> {
            for command in commands {
                lock(&self.0).push(String::from_utf8_lossy(command.bytes).into_owned());
                answers.push(Bytes::new());
            }
            Ok(())
        }

        fn snapshot(&mut self) -> SnapshotWriter {
            Box::new(|_| Ok(()))
        }

        fn restore(&mut self, data: &mut dyn io::Read) -> io::Result<()> {
            *lock(&self.0) = vec![io::read_to_string(data)?];
            Ok(())
        }
    }

    fn meta(last: EntryId) -> SnapshotMeta {
        SnapshotMeta { last, membership: Membership::new([NodeId(1)]).into() }
    }

    fn command(index: u64) -> ApplyJob {
        let payload = Payload::Command(format!("command {index}").into());
        ApplyJob::Apply(Entries::from_vec(Index(index), vec![Entry { term: Term(1), payload }]).unwrap())
    }

    /// The disk installs a newer snapshot while the machine has yet to restore an older one, whose data is gone by then. What
    /// follows the older one lacks its predecessors, and must not be applied.
    #[test]
    fn nothing_is_applied_between_a_restore_that_was_overtaken_and_the_newer_one() {
        let disk = MemDisk::new(Birth::founder(ClusterId(1), NodeId(1), Membership::new([NodeId(1)])));
        let (mut storage, seen, custody) = (disk.open().unwrap(), Seen::default(), Arc::new(Custody::default()));
        let shared = Arc::new(Shared::new(NodeId(1), 1 << 20, Arc::new(Threads), Arc::new(())));
        let standing = Standing { applied: EntryId::ZERO, snapshot: EntryId::ZERO, log_bytes: 0, log_bytes_max: 0 };
        let machine = Box::new(seen.clone());
        let mut part = MachinePart::new(shared, machine, storage.snapshots(), custody.clone(), standing);
        part.carry_out(command(1)).unwrap();

        let [older, newer] = [10, 20].map(|index| EntryId::new(1, index));
        for last in [older, newer] {
            let mut sink = storage.snapshots().create(last, SnapshotOrigin::Received).unwrap();
            write!(sink, "up to {last}").unwrap();
            sink.finish().unwrap();
            custody.installing(last);
            let snapshot = Some(SnapshotWrite::Installed { snapshot: meta(last) });
            let (id, entries) = (WriteId::from_number(last.index.0), Entries::new());
            storage.persist(&[raft_core::Write { id, hard_state: None, snapshot, entries }]).unwrap();
        }
        for work in [ApplyJob::Restore(meta(older)), command(11), command(12)] {
            part.carry_out(work).unwrap();
        }
        assert_eq!(*lock(&seen.0), ["command 1"], "as if none of it had been");
        for work in [ApplyJob::Restore(meta(newer)), command(21)] {
            part.carry_out(work).unwrap();
        }
        assert_eq!(*lock(&seen.0), [format!("up to {newer}"), "command 21".to_owned()]);
        assert!(part.carry_out(ApplyJob::Restore(meta(EntryId::new(1, 30)))).is_err(), "nothing is newer than that");
    }
}
