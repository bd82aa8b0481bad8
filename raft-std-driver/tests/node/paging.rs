//! A log of which next to nothing is in memory.

use crate::cluster::{Cluster, numbered};

/// A follower that was away gets what it lacks from the leader's disk; after a restart each machine, which kept nothing, is
/// given the whole log from its own.
#[test]
fn evicted_entries_are_read_back_for_followers_and_machines() {
    let mut cluster = Cluster::new(3, |config| {
        config.snapshot_log_bytes = 0;
        config.raft.resident_bytes_max = 1;
    });
    cluster.put("c1");
    cluster.agree_on(&numbered(1, 1));
    cluster.sleep(2);
    let commands = numbered(1, 100);
    cluster.put_all(&commands[1..], |_| true);
    cluster.wake(2);
    cluster.agree_on(&commands);
    for member in 0..3 {
        cluster.sleep(member);
    }
    for member in 0..3 {
        cluster.wake(member);
    }
    cluster.put("c101");
    cluster.agree_on(&numbered(1, 101));
    assert!(cluster.members.iter().all(|member| member.seen.get().restores == 0), "there is no snapshot");
}
