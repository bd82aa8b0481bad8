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

#[cfg(test)]
mod tests {
    use super::super::testing::{entries, found, meta, server, write};
    use super::*;
    use crate::Index;

    #[test]
    fn what_is_not_due_not_committed_or_not_durable_is_found() {
        let mut server = server();
        server.disk.durable.take(&write(1, &[1, 1, 2]));
        (server.handed, server.seen.commit) = (Index(1), Index(3));
        let applies = |server: &Server, first, terms| found(applying(server, &entries(first, terms)));
        assert_eq!(applies(&server, 2, &[1, 2]), None);
        let wrong: [(u64, &[u64]); 4] = [(1, &[1]), (3, &[2]), (2, &[1, 3]), (2, &[])];
        for (first, terms) in wrong {
            assert_eq!(applies(&server, first, terms), Some(Invariant::ApplyOrder), "{first} {terms:?}");
        }
        server.seen.commit = Index(2);
        assert_eq!(applies(&server, 2, &[1, 2]), Some(Invariant::ApplyOrder));
    }

    #[test]
    fn a_snapshot_that_leads_back_or_is_not_durable_is_found() {
        let mut server = server();
        assert_eq!(found(restoring(&server, &meta(2, 5))), Some(Invariant::ApplyOrder), "not durable");
        server.disk.durable.snapshot = meta(2, 5);
        assert_eq!(found(restoring(&server, &meta(2, 5))), None);
        server.handed = Index(5);
        assert_eq!(found(restoring(&server, &meta(2, 5))), Some(Invariant::ApplyOrder), "back");
    }
}
