//! The driver of `docs/embedding.md`, as its readers would run it: real sockets, real files, servers that die without a
//! word. Conditions are awaited; no time that passes is a verdict.

#[path = "../examples/poll_loop/disk.rs"]
pub mod disk;
#[path = "../examples/poll_loop/driver.rs"]
pub mod driver;

#[path = "poll_loop/alone.rs"]
mod alone;
#[path = "poll_loop/cluster.rs"]
mod cluster;
#[path = "poll_loop/document.rs"]
mod document;
#[path = "poll_loop/file.rs"]
mod file;
#[path = "poll_loop/threads.rs"]
mod threads;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use driver::Node;
use raft_core::{EntryId, NodeId, Payload, Term};

/// Longer than any machine needs: only a hang takes as long.
const PATIENCE: Duration = Duration::from_secs(120);

/// A directory that is gone when the test is over.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("poll-loop-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    fn dir(&self, name: impl Display + Copy) -> PathBuf {
        let dir = self.0.join(name.to_string());
        fs::create_dir_all(&dir).unwrap();
        dir
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// One socket for each server, on free ports. They outlive the servers, so that no other program takes a dead server's
/// port; mail that comes while it is dead is delivered late, as the contract allows.
struct Sockets(BTreeMap<NodeId, UdpSocket>);

impl Sockets {
    fn new(count: u64) -> Sockets {
        Sockets((1..=count).map(|id| (NodeId(id), UdpSocket::bind(("127.0.0.1", 0)).unwrap())).collect())
    }

    fn of(&self, id: NodeId) -> UdpSocket {
        self.0[&id].try_clone().unwrap()
    }

    fn peers(&self) -> BTreeMap<NodeId, SocketAddr> {
        self.0.iter().map(|(id, socket)| (*id, socket.local_addr().unwrap())).collect()
    }
}

/// What a machine has been given, in order.
type Applied = Rc<RefCell<Vec<(EntryId, Vec<u8>)>>>;

fn recorder() -> (Applied, driver::Apply) {
    let applied = Applied::default();
    let record = Rc::clone(&applied);
    (applied, Box::new(move |id, command| record.borrow_mut().push((id, command.to_vec()))))
}

/// All that a disk has to bring back.
#[derive(Clone, Debug, PartialEq)]
struct Kept {
    term: Term,
    vote: Option<NodeId>,
    log: Vec<(EntryId, Payload)>,
}

fn kept(node: &Node) -> Kept {
    let status = node.raft().status();
    let ids = (1..=status.last().index.0).map(|index| (index, status.term_at(index.into()).unwrap()));
    let log = ids.map(|(index, term)| (EntryId::new(term.0, index), status.entry(index.into()).unwrap().clone()));
    Kept { term: status.term(), vote: status.voted_for(), log: log.collect() }
}

/// Calls `go` until it says that it is done.
fn until(what: &str, mut go: impl FnMut() -> bool) {
    let start = Instant::now();
    while !go() {
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
    }
}
