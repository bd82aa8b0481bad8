//! Three servers in one thread, each a poll loop of its own, over real sockets and files: they take commands, lose their
//! leader, take more, and get it back from its file. `docs/embedding.md` walks through the driver.
//!
//! `cargo run -p raft-core --example poll_loop`

pub mod disk;
pub mod driver;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};
use std::{env, fs, io, process};

use driver::{Node, Outcome};
use raft_core::{NodeId, RequestId, RoleKind};

const SERVERS: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];
const COMMANDS: u64 = 1000;

/// A server, or the place of a dead one, and how many commands it has applied.
struct Place {
    id: NodeId,
    dir: PathBuf,
    node: Option<Node>,
    applied: Rc<Cell<u64>>,
}

impl Place {
    fn start(&mut self, socket: UdpSocket, peers: &BTreeMap<NodeId, SocketAddr>) -> io::Result<()> {
        let applied = Rc::new(Cell::new(0));
        let count = Rc::clone(&applied);
        let apply = Box::new(move |_, _: &[u8]| count.set(count.get() + 1));
        self.node = Some(Node::open(self.id, &self.dir, socket, peers.clone(), apply)?);
        self.applied = applied;
        Ok(())
    }

    fn leads(&self) -> bool {
        self.node.as_ref().is_some_and(|node| node.raft().status().role() == RoleKind::Leader)
    }
}

fn main() -> io::Result<()> {
    let dir = env::temp_dir().join(format!("raft-poll-loop-{}", process::id()));
    let done = run(&dir);
    fs::remove_dir_all(&dir)?;
    done
}

fn run(dir: &Path) -> io::Result<()> {
    let (mut places, mut sockets, mut peers) = (vec![], vec![], BTreeMap::new());
    for id in SERVERS {
        let dir = dir.join(id.to_string());
        fs::create_dir_all(&dir)?;
        disk::create(&dir, id, &SERVERS)?;
        let socket = UdpSocket::bind(("127.0.0.1", 0))?;
        peers.insert(id, socket.local_addr()?);
        sockets.push(socket);
        places.push(Place { id, dir, node: None, applied: Rc::default() });
    }
    for (place, socket) in places.iter_mut().zip(sockets) {
        place.start(socket, &peers)?;
    }
    put(&mut places, 0, "by three servers")?;
    let Some(dead) = places.iter_mut().find(|place| place.leads()) else { return Ok(()) };
    let id = dead.id;
    dead.node = None; // no farewell: its last word is in its file
    println!("server {id} is gone");
    put(&mut places, COMMANDS, "by the other two")?;
    for place in places.iter_mut().filter(|place| place.id == id) {
        place.start(UdpSocket::bind(peers[&id])?, &peers)?;
    }
    println!("server {id} is back");
    let start = Instant::now();
    while places.iter().any(|place| place.applied.get() < 2 * COMMANDS) {
        for node in places.iter_mut().filter_map(|place| place.node.as_mut()) {
            node.turn(Duration::from_millis(1), vec![])?;
        }
    }
    println!("all have applied the same {} commands, {:?} after that", 2 * COMMANDS, start.elapsed());
    Ok(())
}

/// Commands through whoever leads, one turn's worth at a time; those that were refused or superseded are put again.
fn put(places: &mut [Place], first: u64, by: &str) -> io::Result<()> {
    let start = Instant::now();
    let mut todo: Vec<u64> = (first..first + COMMANDS).collect();
    let mut applied = 0;
    while applied < COMMANDS {
        for place in places.iter_mut() {
            let count = if place.leads() { todo.len().min(100) } else { 0 };
            let commands = todo.drain(..count).map(|number| (RequestId(number), number.to_string().into())).collect();
            let Some(node) = place.node.as_mut() else { continue };
            for (RequestId(number), outcome) in node.turn(Duration::from_millis(1), commands)? {
                match outcome {
                    Outcome::Applied(_) => applied += 1,
                    Outcome::Refused(_) | Outcome::Superseded => todo.push(number),
                }
            }
        }
    }
    println!("{COMMANDS} commands {by}: {:?}", start.elapsed());
    Ok(())
}
