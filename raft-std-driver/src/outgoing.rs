//! A snapshot on its way out.

use std::io::{self, Read};

use raft_core::{SnapshotMeta, Term};

use crate::shared::Alive;
use crate::storage::{Snapshots, StorageError};
use crate::transport::OutgoingSnapshot;

/// Opens a snapshot to be sent; none, if there is another one by now.
pub(crate) fn open_snapshot(
    snapshots: &dyn Snapshots,
    term: Term,
    meta: &SnapshotMeta,
    alive: Alive,
) -> Result<Option<OutgoingSnapshot>, StorageError> {
    let opened = snapshots.open(meta.last)?;
    Ok(opened.map(|(len, data)| {
        let data = Box::new(Lent { data, _alive: alive });
        OutgoingSnapshot { term, meta: meta.clone(), len, data }
    }))
}

/// Data that holds on to the storage: whoever waits for the node's end wants to open that again.
struct Lent {
    data: Box<dyn Read + Send>,
    _alive: Alive,
}

impl Read for Lent {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.data.read(into)
    }
}
