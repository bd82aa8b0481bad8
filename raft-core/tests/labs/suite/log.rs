//! Part 3B: the log.

use std::sync::Mutex;

use raft_core::{Bytes, Term};

use super::cluster::{Cluster, ELECTION_TIMEOUT};
use super::world::{Task, World};

/// Commands land at 1, 2, 3 on all servers, and not before somebody starts them.
pub(crate) fn basic_agreement<W: World>() {
    let cluster = Cluster::<W>::new("basic agreement (3B)", 3);
    for expected in 1..=3 {
        assert_eq!(cluster.n_committed(expected), 0, "committed before it was started");
        assert_eq!(cluster.one(&cluster.fresh(), 3, false), expected);
    }
    cluster.passed();
}

/// Each command is sent to each peer once.
pub(crate) fn rpc_byte_count<W: World>() {
    const COMMANDS: u64 = 10;
    const COMMAND_BYTES: usize = 5000;
    let cluster = Cluster::<W>::new("RPC byte count (3B)", 3);
    cluster.agree(3);
    let before = cluster.world.bytes();
    for index in 2..2 + COMMANDS {
        assert_eq!(cluster.one(&cluster.fresh_of(COMMAND_BYTES), 3, false), index);
    }
    let bytes = cluster.world.bytes() - before;
    let most = 3 * COMMANDS * COMMAND_BYTES as u64 + 50_000;
    assert!(bytes <= most, "{bytes} bytes for {COMMANDS} commands of {COMMAND_BYTES} bytes");
    cluster.passed();
}

/// Agreement goes on without one follower, and not without two.
pub(crate) fn progressive_failure_of_followers<W: World>() {
    let cluster = Cluster::<W>::new("progressive failure of followers (3B)", 3);
    cluster.agree(3);
    let leader = cluster.check_one_leader();
    cluster.disconnect([cluster.after(leader, 1)]);
    cluster.agree(2);
    cluster.world.pass(ELECTION_TIMEOUT);
    cluster.agree(2);

    let leader = cluster.check_one_leader();
    cluster.disconnect((1..3).map(|places| cluster.after(leader, places)));
    lone_leader_commits_nothing(&cluster, leader, 4);
    cluster.passed();
}

/// Agreement goes on without the first leader, and not without the second too.
pub(crate) fn failure_of_leaders<W: World>() {
    let cluster = Cluster::<W>::new("failure of leaders (3B)", 3);
    cluster.agree(3);
    cluster.disconnect([cluster.check_one_leader()]);
    cluster.agree(2);
    cluster.world.pass(ELECTION_TIMEOUT);
    cluster.agree(2);

    let leader = cluster.check_one_leader();
    cluster.disconnect([leader]);
    lone_leader_commits_nothing(&cluster, leader, 4);
    (0..3).for_each(|server| cluster.start_many(server, 1));
    cluster.world.pass(2 * ELECTION_TIMEOUT);
    assert_eq!(cluster.n_committed(4), 0, "committed by one of three");
    cluster.passed();
}

/// A leader that nobody hears takes a command for `index`, and nothing comes of it.
fn lone_leader_commits_nothing<W: World>(cluster: &Cluster<W>, leader: usize, index: u64) {
    let at = cluster.world.start(leader, cluster.fresh()).expect("it has just led");
    assert_eq!(at.index.0, index);
    cluster.world.pass(2 * ELECTION_TIMEOUT);
    assert_eq!(cluster.n_committed(index), 0, "committed without a majority");
}

/// A follower that was away gets what it missed.
pub(crate) fn agreement_after_follower_reconnects<W: World>() {
    let cluster = Cluster::<W>::new("agreement after follower reconnects (3B)", 3);
    cluster.agree(3);
    let away = cluster.after(cluster.check_one_leader(), 1);
    cluster.disconnect([away]);
    cluster.agree_on_many(2, 2);
    cluster.world.pass(ELECTION_TIMEOUT);
    cluster.agree_on_many(2, 2);

    cluster.connect([away]);
    cluster.agree(3);
    cluster.world.pass(ELECTION_TIMEOUT);
    assert_eq!(cluster.agree(3), 7);
    cluster.passed();
}

/// Without three of five nothing commits; with them the rest goes on, whatever became of the command in between.
pub(crate) fn no_agreement_if_too_many_followers_disconnect<W: World>() {
    let cluster = Cluster::<W>::new("no agreement if too many followers disconnect (3B)", 5);
    cluster.agree(5);
    let leader = cluster.check_one_leader();
    let away: Vec<_> = (1..4).map(|places| cluster.after(leader, places)).collect();
    cluster.disconnect(away.iter().copied());
    lone_leader_commits_nothing(&cluster, leader, 2);

    cluster.connect(away);
    let leader = cluster.check_one_leader();
    let at = cluster.world.start(leader, cluster.fresh()).expect("it has just led");
    assert!((2..=3).contains(&at.index.0), "the next command stands at {at}");
    cluster.agree(5);
    cluster.passed();
}

/// Commands that several clients start at once in one term all commit, each at an index of its own.
pub(crate) fn concurrent_starts<W: World>() {
    let cluster = Cluster::<W>::new("concurrent Start()s (3B)", 3);
    // When the leader changes under way, it says nothing: once more.
    let agreed = (0..5).any(|_| five_at_once(&cluster).is_some());
    assert!(agreed, "no leader stays for five commands");
    cluster.passed();
}

fn five_at_once<W: World>(cluster: &Cluster<W>) -> Option<()> {
    let leader = cluster.check_one_leader();
    let (term, _) = cluster.world.state(leader)?;
    let started = Mutex::new(Vec::new());
    let tasks = (0..5).map(|_| {
        let task: Task<'_> = Box::new(|| {
            let command = cluster.fresh();
            let at = cluster.world.start(leader, command.clone());
            started.lock().unwrap().push((at, command));
            true
        });
        task
    });
    cluster.world.together(tasks.collect());
    let mut indexes = Vec::new();
    for (at, command) in started.into_inner().unwrap() {
        let at = at.filter(|at| at.term == term)?;
        assert_eq!(cluster.wait(at.index.0, cluster.servers(), Some(term))?, command);
        indexes.push(at.index.0);
    }
    indexes.sort_unstable();
    indexes.dedup();
    assert_eq!(indexes.len(), 5, "two commands have one index");
    Some(())
}

/// What a leader that was cut off could not commit gives way to what the others did.
pub(crate) fn rejoin_of_partitioned_leader<W: World>() {
    let cluster = Cluster::<W>::new("rejoin of partitioned leader (3B)", 3);
    cluster.agree(3);
    let first = cluster.check_one_leader();
    cluster.disconnect([first]);
    cluster.start_many(first, 3);
    assert_eq!(cluster.agree(2), 2);

    let second = cluster.check_one_leader();
    cluster.disconnect([second]);
    cluster.connect([first]);
    assert_eq!(cluster.agree(2), 3);
    cluster.connect([second]);
    assert_eq!(cluster.agree(3), 4);
    cluster.passed();
}

/// Two sides of five servers take turns in gathering what cannot commit; then all agree, promptly.
pub(crate) fn leader_backs_up_quickly_over_incorrect_follower_logs<W: World>() {
    const BURST: u64 = 50;
    let cluster = Cluster::<W>::new("leader backs up quickly over incorrect follower logs (3B)", 5);
    cluster.agree(5);

    // A leader with one follower gathers what cannot commit.
    let first = cluster.check_one_leader();
    let (pair, others) = ([first, cluster.after(first, 1)], [2, 3, 4].map(|places| cluster.after(first, places)));
    cluster.disconnect(others);
    cluster.start_many(first, BURST);
    cluster.world.pass(ELECTION_TIMEOUT / 2);
    cluster.disconnect(pair);

    // The others gather what can.
    cluster.connect(others);
    cluster.agree_on_many(BURST, 3);

    // Then again what cannot, one of them away.
    let second = cluster.check_one_leader();
    let out = others.into_iter().find(|server| *server != second).unwrap();
    cluster.disconnect([out]);
    cluster.start_many(second, BURST);
    cluster.world.pass(ELECTION_TIMEOUT / 2);

    // The first pair comes back with that one: it knows what has committed, and leads. It finds out where their logs meet
    // a term at a time, not an index at a time: a slow network would show it in time, any network does in RPCs.
    cluster.disconnect(others);
    let before = cluster.rpcs_carried();
    cluster.connect(pair.into_iter().chain([out]));
    cluster.agree(3);
    let rpcs = cluster.rpcs_carried() - before;
    assert!(rpcs <= 80, "{rpcs} RPCs until the logs agree again");
    cluster.agree_on_many(BURST - 1, 3);

    cluster.connect(0..5);
    cluster.agree(5);
    cluster.passed();
}

/// An election, a burst of commands and idleness each have a price in RPCs.
pub(crate) fn rpc_counts_are_not_too_high<W: World>() {
    let cluster = Cluster::<W>::new("RPC counts aren't too high (3B)", 3);
    cluster.check_one_leader();
    let election = cluster.rpcs_carried();
    assert!((1..=30).contains(&election), "{election} RPCs to elect the first leader");

    // When the leader changes under way, the count says nothing: once more.
    let burst = (0..5).find_map(|_| ten_commands(&cluster)).expect("a leader that stays for ten commands");
    assert!(burst <= 42, "{burst} RPCs for ten commands");

    let before = cluster.rpcs_carried();
    cluster.world.pass(ELECTION_TIMEOUT);
    let idle = cluster.rpcs_carried() - before;
    assert!(idle <= 60, "{idle} RPCs in an idle second");
    cluster.passed();
}

/// How many RPCs a leader needs to commit ten commands that it gets at once, all on all servers; `None` if its term ends.
fn ten_commands<W: World>(cluster: &Cluster<W>) -> Option<u64> {
    let leader = cluster.check_one_leader();
    let before = cluster.rpcs_carried();
    let commands: Vec<Bytes> = (0..10).map(|_| cluster.fresh()).collect();
    let mut term = Term(0);
    let mut first = 0;
    for (i, command) in commands.iter().enumerate() {
        let at = cluster.world.start(leader, command.clone())?;
        if i == 0 {
            (term, first) = (at.term, at.index.0);
        } else if at.term != term {
            return None;
        }
        assert_eq!(at.index.0, first + i as u64, "indexes are consecutive");
    }
    for (index, command) in (first..).zip(&commands) {
        assert_eq!(cluster.wait(index, cluster.servers(), Some(term))?, command);
    }
    let rpcs = cluster.rpcs_carried() - before;
    (cluster.check_terms() == term).then_some(rpcs)
}
