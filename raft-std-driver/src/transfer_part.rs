//! Work on the file of one snapshot on its way, in or out, beside everything else.

use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use raft_core::{Bytes, EntryId, NodeId, SnapshotMeta, Term};

use crate::inbox::Note;
use crate::peers::{LinkId, TransferDone, TransferJob};
use crate::queue::Queue;
use crate::receiving::Reception;
use crate::shared::Shared;
use crate::storage::{SnapshotSink, Snapshots};
use crate::transport::Inbound;

pub(crate) struct TransferPart {
    shared: Arc<Shared>,
    snapshots: Arc<dyn Snapshots>,
    reception: Arc<Reception>,
    jobs: Arc<Queue<TransferJob>>,
    transfer: LinkId,
    file: File,
}

enum File {
    None,
    /// It is read; so many bytes are left.
    Read {
        data: Box<dyn Read + Send>,
        left: u64,
    },
    /// It is written.
    Written {
        sink: Box<dyn SnapshotSink>,
        from: NodeId,
        term: Term,
        meta: SnapshotMeta,
    },
}

impl TransferPart {
    pub(crate) fn new(
        shared: Arc<Shared>,
        snapshots: Arc<dyn Snapshots>,
        reception: Arc<Reception>,
        jobs: Arc<Queue<TransferJob>>,
        transfer: LinkId,
    ) -> TransferPart {
        TransferPart { shared, snapshots, reception, jobs, transfer, file: File::None }
    }

    /// Until the transfer is over.
    pub(crate) fn run(mut self) -> impl Future<Output = Result<(), String>> {
        let mut waiting = Vec::new();
        poll_fn(move |context| self.poll(context, &mut waiting))
    }

    fn poll(&mut self, context: &Context<'_>, waiting: &mut Vec<TransferJob>) -> Poll<Result<(), String>> {
        while ready!(self.jobs.poll_take(context, waiting)) {
            for job in waiting.drain(..) {
                if let Some(done) = self.carry_out(job) {
                    let _stopped = self.shared.inbox.note(Note::Transfer(self.transfer, done));
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn carry_out(&mut self, job: TransferJob) -> Option<TransferDone> {
        Some(match job {
            TransferJob::Open { last, .. } => TransferDone::Opened(self.open(last)),
            TransferJob::Read { bytes, .. } => TransferDone::Read(self.read(bytes).map_err(|error| error.to_string())),
            TransferJob::Create { from, term, meta, .. } => TransferDone::Created(self.create(from, term, meta)),
            TransferJob::Write { chunk, .. } => TransferDone::Written(self.write(&chunk)),
            TransferJob::Finish { .. } => TransferDone::Finished(self.finish()),
            TransferJob::Close { .. } => return None,
        })
    }

    fn open(&mut self, last: EntryId) -> Result<Option<u64>, String> {
        let opened = self.snapshots.open(last).map_err(|error| error.to_string())?;
        Ok(opened.map(|(left, data)| {
            self.file = File::Read { data, left };
            left
        }))
    }

    /// The file must end where it said.
    fn read(&mut self, bytes: usize) -> io::Result<Bytes> {
        let File::Read { data, left } = &mut self.file else { return Err(io::ErrorKind::NotFound.into()) };
        let mut chunk = Vec::with_capacity(bytes);
        data.take(bytes as u64).read_to_end(&mut chunk)?;
        *left = left.saturating_sub(chunk.len() as u64);
        if *left == 0 && data.read(&mut [0])? != 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the snapshot's file is longer than it was"));
        }
        Ok(chunk.into())
    }

    fn create(&mut self, from: NodeId, term: Term, meta: SnapshotMeta) -> Result<(), String> {
        let sink = self.reception.snapshot_begin(from, &meta).map_err(|error| error.to_string())?;
        self.file = File::Written { sink, from, term, meta };
        Ok(())
    }

    fn write(&mut self, chunk: &[u8]) -> Result<(), String> {
        let File::Written { sink, .. } = &mut self.file else { return Err("nothing was offered".to_owned()) };
        sink.write_all(chunk).map_err(|error| error.to_string())
    }

    fn finish(&mut self) -> Result<(), String> {
        match std::mem::replace(&mut self.file, File::None) {
            File::Written { sink, from, term, meta } => {
                sink.finish().map_err(|error| error.to_string())?;
                self.reception.snapshot_received(from, term, meta);
                Ok(())
            }
            File::None | File::Read { .. } => Err("nothing was offered".to_owned()),
        }
    }
}
