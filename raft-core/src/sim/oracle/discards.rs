//! A driver deletes what it is told to discard (§7), so that is never a snapshot that a write names, durable or under way:
//! after a crash it could be the one to start from.

use std::format;

use crate::SnapshotMeta;
use crate::sim::server::Server;
use crate::sim::violation::{Invariant, Verdict, ensure};

/// `server` has its driver delete the data of this snapshot.
pub(crate) fn discarding(server: &Server, meta: &SnapshotMeta) -> Verdict {
    ensure(!server.disk.names(meta.last), Invariant::Discards, || {
        format!("discards {meta}, which a write names; the newest durable one names {}", server.disk.durable.snapshot)
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{found, meta, server, write};
    use super::*;
    use crate::{Entries, SnapshotWrite, Write};

    #[test]
    fn the_end_of_a_snapshot_that_a_write_names_is_found() {
        let mut server = server();
        assert_eq!(found(discarding(&server, &meta(1, 4))), None);
        let snapshot = Some(SnapshotWrite::Installed { snapshot: meta(1, 4) });
        server.disk.submit(Write { snapshot: snapshot.clone(), entries: Entries::new(), ..write(1, &[]) });
        assert_eq!(found(discarding(&server, &meta(1, 4))), Some(Invariant::Discards), "under way");
        assert_eq!(found(discarding(&server, &meta(2, 4))), None, "another one");
        server.disk.durable.take(&Write { snapshot, ..write(1, &[]) });
        assert_eq!(found(discarding(&server, &meta(1, 4))), Some(Invariant::Discards), "durable");
    }
}
