//! Part 3C: persistence.

use crate::harness::Cluster;

/// Crashes of all, of the leader, and of a follower that missed something lose nothing that was committed.
#[test]
fn basic_persistence() {
    let cluster = Cluster::new("basic persistence (3C)", 3);
    let mut expected = 0;
    let mut agree = |cluster: &Cluster, servers| {
        expected += 1;
        let command = cluster.fresh();
        assert_eq!(cluster.one(command, servers, true), expected);
    };
    agree(&cluster, 3);

    for server in 0..3 {
        cluster.crash(server);
    }
    for server in 0..3 {
        cluster.restart(server);
    }
    agree(&cluster, 3);

    let leader = cluster.check_one_leader();
    cluster.restart(leader);
    agree(&cluster, 3);

    // A leader that is away while the others go on, and restarts.
    let leader = cluster.check_one_leader();
    cluster.disconnect(leader);
    agree(&cluster, 2);
    cluster.restart(leader);
    cluster.wait(4, 3, None);

    // A follower likewise.
    let follower = cluster.after(cluster.check_one_leader());
    cluster.crash(follower);
    agree(&cluster, 2);
    cluster.restart(follower);
    agree(&cluster, 3);
    cluster.passed();
}
