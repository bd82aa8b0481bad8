//! Part 3C: persistence.

use std::time::Duration;

use super::cluster::{Cluster, ELECTION_TIMEOUT};
use super::turmoil;
use super::world::{Task, World};

/// Crashes of all, of the leader, and of a follower that missed something lose nothing that was committed.
pub(crate) fn basic_persistence<W: World>() {
    let cluster = Cluster::<W>::new("basic persistence (3C)", 3);
    assert_eq!(cluster.agree(3), 1);
    cluster.crash(0..3);
    cluster.restart(0..3);
    assert_eq!(cluster.agree(3), 2);
    cluster.restart([cluster.check_one_leader()]);
    assert_eq!(cluster.agree(3), 3);

    // A leader that is away while the others go on, and restarts.
    let leader = cluster.check_one_leader();
    cluster.disconnect([leader]);
    assert_eq!(cluster.agree(2), 4);
    cluster.restart([leader]);
    cluster.wait(4, 3, None);

    // A follower likewise.
    let follower = cluster.after(cluster.check_one_leader(), 1);
    cluster.crash([follower]);
    assert_eq!(cluster.agree(2), 5);
    cluster.restart([follower]);
    assert_eq!(cluster.agree(3), 6);
    cluster.passed();
}

/// Majorities that overlap in one server hand on what is committed, whoever crashes.
pub(crate) fn more_persistence<W: World>() {
    let cluster = Cluster::<W>::new("more persistence (3C)", 5);
    let mut index = 0;
    let mut agree = |servers| {
        index += 1;
        assert_eq!(cluster.agree(servers), index);
    };
    for _ in 0..5 {
        agree(5);
        let leader = cluster.check_one_leader();
        let [late, later, bridge, last] = [1, 2, 3, 4].map(|places| cluster.after(leader, places));
        cluster.crash([late, later]);
        agree(3);

        cluster.crash([leader, bridge, last]);
        cluster.restart([late, later]);
        cluster.world.pass(ELECTION_TIMEOUT);
        cluster.restart([bridge]);
        agree(3);
        cluster.restart([leader, last]);
    }
    agree(5);
    cluster.passed();
}

/// The leader alone knows what was committed with a follower that is down; one that knows less joins it.
pub(crate) fn partitioned_leader_and_one_follower_crash_leader_restarts<W: World>() {
    let cluster = Cluster::<W>::new("partitioned leader and one follower crash, leader restarts (3C)", 3);
    assert_eq!(cluster.agree(3), 1);
    let leader = cluster.check_one_leader();
    let (follower, away) = (cluster.after(leader, 1), cluster.after(leader, 2));
    cluster.disconnect([away]);
    assert_eq!(cluster.agree(2), 2);

    cluster.crash([leader, follower]);
    cluster.connect([away]);
    cluster.restart([leader]);
    assert_eq!(cluster.agree(2), 3);
    cluster.restart([follower]);
    assert_eq!(cluster.agree(3), 4);
    cluster.passed();
}

/// §5.4.2: leaders crash soon after they took a command, again and again.
pub(crate) fn figure_8<W: World>() {
    let cluster = Cluster::<W>::new("Figure 8 (3C)", 5);
    cluster.agree(1);
    for _ in 0..1000 {
        let leader = start_everywhere(&cluster);
        soon(&cluster);
        if let Some(leader) = leader {
            cluster.crash([leader]);
        }
        let up = (0..5).filter(|server| cluster.is_up(*server)).count();
        let anyone = cluster.any();
        if up < 3 && !cluster.is_up(anyone) {
            cluster.restart([anyone]);
        }
    }
    cluster.restart((0..5).filter(|server| !cluster.is_up(*server)));
    cluster.agree(5);
    cluster.passed();
}

/// The same with leaders that are cut off, messages that are lost, and replies that come much later.
pub(crate) fn figure_8_unreliable<W: World>() {
    let cluster = Cluster::<W>::new("Figure 8 (unreliable) (3C)", 5);
    cluster.world.set_unreliable(true);
    cluster.agree(1);
    for round in 0..1000 {
        if round == 200 {
            cluster.world.set_long_reordering(true);
        }
        let leader = start_everywhere(&cluster).filter(|leader| cluster.world.is_connected(*leader));
        soon(&cluster);
        if let Some(leader) = leader.filter(|_| cluster.world.below(2) == 0) {
            cluster.disconnect([leader]);
        }
        let connected = (0..5).filter(|server| cluster.world.is_connected(*server)).count();
        if connected < 3 {
            cluster.connect([cluster.any()]);
        }
    }
    cluster.connect(0..5);
    cluster.agree(5);
    cluster.passed();
}

/// Start a command on all servers. Says who took it.
fn start_everywhere<W: World>(cluster: &Cluster<W>) -> Option<usize> {
    let took = |server: &usize| cluster.world.start(*server, cluster.fresh()).is_some();
    (0..cluster.servers()).filter(took).last()
}

/// Let pass what a command needs to get about, now and then as long as an election takes.
fn soon<W: World>(cluster: &Cluster<W>) {
    let most = if cluster.world.below(10) == 0 { 500 } else { 13 };
    cluster.world.pass(Duration::from_millis(cluster.world.below(most)));
}

/// Five clients at once, on a network that loses and delays.
pub(crate) fn unreliable_agreement<W: World>() {
    let cluster = Cluster::<W>::new("unreliable agreement (3C)", 5);
    cluster.world.set_unreliable(true);
    for _ in 0..50 {
        let tasks = (0..5).map(|_| {
            let mut agreement = cluster.agreement(cluster.fresh(), 1, true);
            let task: Task<'_> = Box::new(move || agreement.look().is_some());
            task
        });
        cluster.world.together(tasks.collect());
    }
    cluster.world.set_unreliable(false);
    cluster.agree(5);
    cluster.passed();
}

/// Three clients, while servers are cut off, crash and restart.
pub(crate) fn churn<W: World>() {
    let cluster = Cluster::<W>::new("churn (3C)", 5);
    turmoil::churn(&cluster);
    cluster.passed();
}

/// The same on a network that loses and delays.
pub(crate) fn unreliable_churn<W: World>() {
    let cluster = Cluster::<W>::new("unreliable churn (3C)", 5);
    cluster.world.set_unreliable(true);
    turmoil::churn(&cluster);
    cluster.passed();
}
