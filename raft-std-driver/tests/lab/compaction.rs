//! Part 3D: log compaction.

use crate::harness::Cluster;
use crate::service::SNAPSHOT_INTERVAL;

/// What is saved of the log stays below this, in bytes, while snapshots are made.
const LOG_SIZE_MAX: usize = 2000;

/// Thirty bursts of commands: snapshots keep the log short, and everyone gets everything.
#[test]
fn snapshots_basic() {
    let cluster = Cluster::with_snapshots("snapshots basic (3D)", 3);
    let first = cluster.fresh();
    cluster.one(first, 3, true);
    for _ in 0..30 {
        let leader = cluster.check_one_leader();
        for _ in 0..fastrand::u64(SNAPSHOT_INTERVAL / 2..SNAPSHOT_INTERVAL * 3 / 2) {
            let command = cluster.fresh();
            // A leader that was deposed refuses it, which is no harm here.
            let _ = cluster.raft(leader).map(|raft| raft.start(command));
        }
        let last = cluster.fresh();
        cluster.one(last, 3, true);
        let size = cluster.log_size();
        assert!(size < LOG_SIZE_MAX, "{size} bytes of log are saved");
    }
    cluster.passed();
}

/// A follower that was away while the log before it was cut gets the snapshot, and then goes on with the others.
#[test]
fn snapshot_for_a_follower_that_was_away() {
    let cluster = Cluster::with_snapshots("snapshot for a follower that was away (3D)", 3);
    let away = cluster.after(cluster.check_one_leader());
    cluster.disconnect(away);
    for _ in 0..3 * SNAPSHOT_INTERVAL {
        let command = cluster.fresh();
        cluster.one(command, 2, true);
    }
    assert!(cluster.persister(away).read_snapshot().is_empty());
    cluster.connect(away);
    let last = cluster.fresh();
    cluster.one(last, 3, true);
    assert!(!cluster.persister(away).read_snapshot().is_empty());
    cluster.passed();
}
