//! Clients and a nemesis that go on beside each other.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use raft_core::Bytes;

use super::cluster::{Cluster, ELECTION_TIMEOUT};
use super::world::{Task, World};

const CLIENTS: u64 = 3;
/// So many times servers may be cut off, crashed and restarted.
const STRIKES: u32 = 20;
/// How long a client looks for what became of its command.
const PATIENCE: Duration = Duration::from_millis(400);

/// What a client saw committed stays, whatever happens to the servers meanwhile.
pub(crate) fn churn<W: World>(cluster: &Cluster<W>) {
    let seen = Mutex::new(Vec::new());
    let over = AtomicBool::new(false);
    let clients = (0..CLIENTS).map(|number| client(cluster, number, &seen, &over));
    cluster.world.together(clients.chain([nemesis(cluster, &over)]).collect());

    cluster.world.pass(ELECTION_TIMEOUT);
    let last = cluster.agree(cluster.servers());
    let log: BTreeSet<Bytes> = (1..=last).filter_map(|index| cluster.wait(index, cluster.servers(), None)).collect();
    let seen = seen.into_inner().unwrap();
    assert!(!seen.is_empty(), "no client saw anything committed");
    for command in seen {
        assert!(log.contains(&command), "{command:?} was committed, and is lost");
    }
}

/// Starts a command on all servers, looks for a while whether it stands where it should, and so on.
fn client<'a, W: World>(
    cluster: &'a Cluster<W>,
    number: u64,
    seen: &'a Mutex<Vec<Bytes>>,
    over: &'a AtomicBool,
) -> Task<'a> {
    let mut waiting: Option<(u64, Bytes, Duration)> = None;
    let mut begin_at = Duration::ZERO;
    Box::new(move || {
        cluster.check();
        let now = cluster.world.now();
        if let Some((index, command, since)) = &waiting {
            let (count, applied) = cluster.world.committed(*index);
            if count > 0 && applied.as_ref() == Some(command) {
                seen.lock().unwrap().push(command.clone());
            } else if count == 0 && now - *since < PATIENCE {
                return false;
            }
            waiting = None;
        }
        if now >= begin_at && !over.load(Relaxed) {
            let command = cluster.fresh();
            let starts = (0..cluster.servers()).filter_map(|server| cluster.world.start(server, command.clone()));
            match starts.last() {
                Some(at) => waiting = Some((at.index.0, command, now)),
                None => begin_at = now + Duration::from_millis(80 + 17 * number),
            }
        }
        over.load(Relaxed) && waiting.is_none()
    })
}

/// Strikes again and again, and in the end makes all well.
fn nemesis<'a, W: World>(cluster: &'a Cluster<W>, over: &'a AtomicBool) -> Task<'a> {
    let mut strikes = 0;
    let mut strike_at = Duration::ZERO;
    Box::new(move || {
        if cluster.world.now() < strike_at {
            return false;
        }
        strike_at = cluster.world.now() + ELECTION_TIMEOUT * 7 / 10;
        strikes += 1;
        if strikes <= STRIKES {
            strike(cluster);
            return false;
        }
        cluster.world.set_unreliable(false);
        for server in 0..cluster.servers() {
            revive(cluster, server);
        }
        over.store(true, Relaxed);
        true
    })
}

fn strike<W: World>(cluster: &Cluster<W>) {
    let happens = |percent| cluster.world.below(100) < percent;
    if happens(20) {
        cluster.disconnect([cluster.any()]);
    }
    if happens(50) {
        revive(cluster, cluster.any());
    }
    if happens(20) {
        cluster.crash([cluster.any()]);
    }
}

fn revive<W: World>(cluster: &Cluster<W>, server: usize) {
    if cluster.is_up(server) {
        cluster.connect([server]);
    } else {
        cluster.restart([server]);
    }
}
