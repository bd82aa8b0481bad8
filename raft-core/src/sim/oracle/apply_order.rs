//! Each index is applied exactly once in a life, in order and without gaps (Figure 2, lastApplied), and only when it is
//! committed and durable here; a snapshot takes the machine forward, never back (§7).

use std::format;

use crate::sim::server::Server;
use crate::sim::violation::{Invariant, Verdict, ensure};
use crate::{Entries, SnapshotMeta};

/// Entries are handed out to be applied.
pub(crate) fn applying(server: &Server, entries: &Entries) -> Verdict {
    let due = server.handed.next();
    let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
        return ensure(false, Invariant::ApplyOrder, || "asks to apply nothing".into());
    };
    let allowed = first.index == due && last.index <= server.seen.commit && server.disk.durable.holds(last);
    ensure(allowed, Invariant::ApplyOrder, || {
        let (commit, disk) = (server.seen.commit, server.disk.durable.last());
        format!("applies {entries} where {due} is due, {commit} is committed and the disk holds a log through {disk}")
    })
}

/// The machine's state is to be replaced.
pub(crate) fn restoring(server: &Server, snapshot: &SnapshotMeta) -> Verdict {
    let durable = server.disk.durable.snapshot.last;
    ensure(snapshot.last.index > server.handed && snapshot.last == durable, Invariant::ApplyOrder, || {
        format!("restores {snapshot} where {} is handed out and {durable} is the durable snapshot", server.handed)
    })
}
