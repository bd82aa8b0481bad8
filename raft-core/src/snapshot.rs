//! Snapshots by metadata (§7, Figure 13), both ends. The data is the driver's: it never enters the core.

use alloc::sync::Arc;

use crate::action::{Fatal, SnapshotWrite};
use crate::appending::acknowledge;
use crate::history::History;
use crate::log::SnapshotMeta;
use crate::progress::{Flow, Progress};
use crate::replication::snapshot_failed;
use crate::role::Follower;
use crate::server::Server;
use crate::types::{EntryId, NodeId};

/// A transfer has ended. If it was delivered, the next heartbeat shows how the follower stands: behind the snapshot, or in
/// need of another one. A report about another snapshot than the one that was offered last is late, and ends nothing.
pub(crate) fn sent(server: &mut Server, progress: Option<&mut Progress>, snapshot: EntryId, delivered: bool) {
    match progress {
        Some(progress) if matches!(progress.flow, Flow::Snapshot { last, .. } if last == snapshot) => {
            if delivered {
                progress.probe(snapshot.index.next(), true, true);
            } else {
                snapshot_failed(server, progress);
            }
        }
        _ => server.counters.late += 1,
    }
}

/// A snapshot of our own term's leader is here, durable but not yet named by any write: accept it, or discard it.
pub(crate) fn received(server: &mut Server, follower: &mut Follower, from: NodeId, snapshot: SnapshotMeta) {
    let last = snapshot.last;
    if last.index <= server.commit {
        // What is committed here is the same everywhere, or a disk lied.
        if let Some(ours) = server.log.id_at(last.index).filter(|ours| *ours != last) {
            server.fatal = Some(Fatal::CommittedEntryContradicted { from, ours, theirs: last });
            return;
        }
    }
    follower.verified = follower.verified.max(last.index);
    if last.index <= server.commit || server.log.contains(last) {
        server.commit_to(last.index);
        server.discard(snapshot);
        return acknowledge(server, follower, from);
    }
    let committed = server.commit;
    // What was verified beyond it is gone with the log. No leader contradicts itself so; a hostile one does.
    follower.verified = last.index;
    server.log.reset(last);
    server.history = History::new(last.index, Arc::clone(&snapshot.membership));
    server.members_changed();
    server.snapshot = snapshot.clone();
    server.commit_to(last.index);
    server.disk.installed(SnapshotWrite::Installed { snapshot }, committed);
    server.name_snapshot();
    server.disk.owe_acknowledgement(from);
}
