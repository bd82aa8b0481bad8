//! Acknowledged writes outlive SIGKILL: of each server in turn, and of all at once, under load.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::client::{Client, Connection};
use crate::cluster::{Cluster, Options};
use crate::protocol::{Request, Response};
use crate::stop::Stop;
use crate::{program, wait_until};

const CLIENTS: usize = 8;
const ROUNDS: usize = 2;
/// What a client has until it gives up: far more than an election takes.
const PUT_TIMEOUT: Duration = Duration::from_secs(30);

/// Snapshots and transfers of them happen too: the log is kept very short.
const SHORT_LOG: [&str; 4] = ["--snapshot-bytes", "20000", "--trailing-entries", "50"];

#[test]
fn acknowledged_writes_outlive_kills() {
    let dir = tempfile::tempdir().unwrap();
    let (stop, acknowledged) = (Stop::default(), AtomicUsize::new(0));
    let arguments = SHORT_LOG.map(str::to_owned).to_vec();
    let options = Options { program: program(), dir: Some(dir.path().join("cluster")), keep: false, arguments };
    let mut cluster = Cluster::start(options).unwrap();
    let servers = cluster.addresses();

    let written = thread::scope(|scope| {
        let _end = StopOnDrop(&stop);
        let write = |client| write(client, servers.clone(), &acknowledged, &stop);
        let clients: Vec<_> = (0..CLIENTS).map(|client| scope.spawn(move || write(client))).collect();
        let flow = || {
            let before = acknowledged.load(Ordering::Relaxed);
            wait_until("more writes", || acknowledged.load(Ordering::Relaxed) > before + 200);
        };
        flow();
        for _ in 0..ROUNDS {
            for id in 1..=3 {
                cluster.kill(id).unwrap();
                flow();
                cluster.restart(id).unwrap();
                cluster
                    .wait_until("the restarted server sees no leader", false, &stop, |statuses| {
                        (statuses.len() == 3 && statuses.iter().all(|status| status.leader.is_some())).then_some(())
                    })
                    .unwrap();
            }
            for id in 1..=3 {
                cluster.kill(id).unwrap();
            }
            for id in 1..=3 {
                cluster.restart(id).unwrap();
            }
            flow();
        }
        stop.set();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect::<Vec<_>>()
    });

    cluster.wait_for_agreement(&Stop::default()).unwrap();
    assert!(written.len() > 200 * 4 * ROUNDS);
    for server in servers {
        let mut connection = Connection::open(&server).unwrap();
        for (number, kept) in &written {
            let key = format!("key-{number}");
            let Response::Peeked(value) = connection.call(&Request::Peek { key: key.as_bytes() }).unwrap() else {
                panic!("an answer to something else");
            };
            let expected = kept.then(|| value_of(*number));
            assert_eq!(value, expected.as_deref(), "{key} at {server}");
        }
    }
}

fn value_of(number: usize) -> Vec<u8> {
    format!("value {number}").repeat(10).into_bytes()
}

/// Puts keys of its own, and deletes some again; each with its number, and whether it should be there.
fn write(client: usize, servers: Vec<String>, acknowledged: &AtomicUsize, stop: &Stop) -> Vec<(usize, bool)> {
    let mut written = Vec::new();
    let mut session = Client::new(servers, PUT_TIMEOUT, Stop::default());
    for number in (client..).step_by(CLIENTS) {
        if stop.is_set() {
            break;
        }
        let key = format!("key-{number}");
        session.put(key.as_bytes(), &value_of(number)).unwrap();
        let deleted = number % 3 == 0;
        if deleted {
            // Sent again after its first coming took effect, it must not find the key gone already.
            assert!(session.delete(key.as_bytes()).unwrap(), "{key} was deleted twice, or lost");
        }
        written.push((number, !deleted));
        acknowledged.fetch_add(1, Ordering::Relaxed);
    }
    written
}

struct StopOnDrop<'a>(&'a Stop);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.set();
    }
}
