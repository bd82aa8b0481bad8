//! Part 3D: log compaction.

use super::cluster::Cluster;
use super::world::{SNAPSHOT_INTERVAL, World};

/// What is saved of the log stays below this, in bytes, while snapshots are made.
const LOG_SIZE_MAX: usize = 2000;
const ROUNDS: u64 = 30;

/// Thirty bursts of commands: snapshots keep the log short, and everyone gets everything.
pub(crate) fn snapshots_basic<W: World>() {
    let cluster = Cluster::<W>::with_snapshots("snapshots basic (3D)", 3);
    cluster.agree(3);
    for _ in 0..ROUNDS {
        burst(&cluster, cluster.check_one_leader());
        cluster.agree(3);
        check_log_size(&cluster);
    }
    cluster.passed();
}

/// Half a snapshot's worth of commands to one and a half, for one server.
fn burst<W: World>(cluster: &Cluster<W>, server: usize) {
    cluster.start_many(server, SNAPSHOT_INTERVAL / 2 + cluster.world.below(SNAPSHOT_INTERVAL));
}

fn check_log_size<W: World>(cluster: &Cluster<W>) {
    let size = cluster.world.state_bytes();
    assert!(size < LOG_SIZE_MAX, "{size} bytes of log are saved");
}

/// How a server is taken away while the others go on.
#[derive(Clone, Copy)]
enum Away {
    CutOff,
    Crashed,
}

/// Followers, and every third time the leader, miss a burst that the others compact away.
pub(crate) fn install_snapshots_disconnect<W: World>() {
    install_snapshots::<W>("install snapshots (disconnect) (3D)", Away::CutOff, false);
}

/// The same on a network that loses and delays.
pub(crate) fn install_snapshots_disconnect_unreliable<W: World>() {
    install_snapshots::<W>("install snapshots (disconnect, unreliable) (3D)", Away::CutOff, true);
}

/// The same with servers that crash and restart.
pub(crate) fn install_snapshots_crash<W: World>() {
    install_snapshots::<W>("install snapshots (crash) (3D)", Away::Crashed, false);
}

/// The same with servers that crash and restart, on a network that loses and delays.
pub(crate) fn install_snapshots_crash_unreliable<W: World>() {
    install_snapshots::<W>("install snapshots (crash, unreliable) (3D)", Away::Crashed, true);
}

fn install_snapshots<W: World>(title: &'static str, how: Away, unreliable: bool) {
    let cluster = Cluster::<W>::with_snapshots(title, 3);
    cluster.world.set_unreliable(unreliable);
    cluster.agree(3);
    for round in 0..ROUNDS {
        let (mut sender, mut victim) = (cluster.check_one_leader(), cluster.any());
        if round % 3 == 1 {
            (sender, victim) = (cluster.after(sender, 1), sender);
        } else if victim == sender {
            victim = cluster.after(sender, 1);
        }
        match how {
            Away::CutOff => cluster.disconnect([victim]),
            Away::Crashed => cluster.crash([victim]),
        }
        cluster.agree(2);
        burst(&cluster, sender);
        cluster.agree(2);
        check_log_size(&cluster);
        match how {
            Away::CutOff => cluster.connect([victim]),
            Away::Crashed => cluster.restart([victim]),
        }
        cluster.agree(3);
    }
    cluster.passed();
}

/// All crash, five times over, and come back with their snapshots: indexes go on where they were.
pub(crate) fn crash_and_restart_all_servers<W: World>() {
    let cluster = Cluster::<W>::with_snapshots("crash and restart all servers (3D)", 3);
    let mut index = cluster.agree(3);
    for _ in 0..5 {
        for _ in 0..SNAPSHOT_INTERVAL / 2 + cluster.world.below(SNAPSHOT_INTERVAL) {
            index = cluster.agree(3);
        }
        cluster.crash(0..3);
        cluster.restart(0..3);
        let next = cluster.agree(3);
        assert!(next > index, "index {next} after {index}");
        index = next;
    }
    cluster.passed();
}

/// Two crashes of all after a snapshot: the second life saves its state anew, and must not lose the snapshot thereby.
pub(crate) fn snapshot_initialization_after_crash<W: World>() {
    let cluster = Cluster::<W>::with_snapshots("snapshot initialization after crash (3D)", 3);
    cluster.agree_on_many(SNAPSHOT_INTERVAL + 1, 3);
    for expected in [SNAPSHOT_INTERVAL + 2, SNAPSHOT_INTERVAL + 3] {
        cluster.crash(0..3);
        cluster.restart(0..3);
        assert!((0..3).all(|server| cluster.world.has_snapshot(server)));
        assert_eq!(cluster.agree(3), expected);
    }
    cluster.passed();
}

/// Beyond the labs: a follower that was away while the log before it was cut gets the snapshot, and then goes on with the
/// others.
pub(crate) fn snapshot_for_a_follower_that_was_away<W: World>() {
    let cluster = Cluster::<W>::with_snapshots("snapshot for a follower that was away (beyond the labs)", 3);
    let away = cluster.after(cluster.check_one_leader(), 1);
    cluster.disconnect([away]);
    cluster.agree_on_many(3 * SNAPSHOT_INTERVAL, 2);
    assert!(!cluster.world.has_snapshot(away));
    cluster.connect([away]);
    cluster.agree(3);
    assert!(cluster.world.has_snapshot(away));
    cluster.passed();
}
