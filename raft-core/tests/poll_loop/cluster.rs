//! Three servers in one thread, each a poll loop of its own, through deaths and torn files.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::disk::{create, seal};
use super::driver::{Node, Outcome};
use super::{Applied, PATIENCE, Scratch, Sockets, recorder};
use raft_core::{Bytes, EntryId, NodeId, RequestId, RoleKind, Status};

const IDS: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

struct Server {
    node: Node,
    applied: Applied,
}

struct Cluster {
    scratch: Scratch,
    sockets: Sockets,
    servers: BTreeMap<NodeId, Server>,
    /// Commands that nobody has spoken of yet, and who has them.
    asked: BTreeMap<u64, (NodeId, Bytes)>,
    requests: u64,
    /// What clients were told is applied, and where.
    acknowledged: BTreeMap<EntryId, Bytes>,
}

impl Cluster {
    fn new() -> Cluster {
        let (scratch, sockets) = (Scratch::new(), Sockets::new(3));
        let (servers, asked, acknowledged) = Default::default();
        let mut cluster = Cluster { scratch, sockets, servers, asked, requests: 0, acknowledged };
        for id in IDS {
            create(&cluster.dir(id), id, &IDS).unwrap();
            cluster.start(id);
        }
        cluster
    }

    fn dir(&self, id: NodeId) -> PathBuf {
        self.scratch.dir(id)
    }

    fn start(&mut self, id: NodeId) {
        let (applied, apply) = recorder();
        let node = Node::open(id, &self.dir(id), self.sockets.of(id), self.sockets.peers(), apply)
            .unwrap_or_else(|error| panic!("server {id} does not start from its file: {error}"));
        self.servers.insert(id, Server { node, applied });
    }

    /// Without any farewell. What it was asked and has not answered is unknown for ever.
    fn kill(&mut self, id: NodeId) {
        self.servers.remove(&id).expect("it lives");
        self.asked.retain(|_, (asked, _)| *asked != id);
    }

    /// Power fails while the file of a dead server is being written.
    fn tear(&self, id: NodeId) {
        let path = self.dir(id).join("raft.log");
        let end = path.metadata().unwrap().len();
        let frame = seal(end, b"a write that nobody was told of").unwrap();
        OpenOptions::new().append(true).open(path).unwrap().write_all(&frame[..frame.len() - 5]).unwrap();
    }

    fn leader(&self) -> Option<NodeId> {
        let leads = |server: &&Server| server.node.raft().status().role() == RoleKind::Leader;
        let leaders = self.servers.values().filter(leads).map(|server| server.node.raft().status());
        leaders.max_by_key(|status| status.term()).map(Status::id)
    }

    fn await_leader(&mut self) -> NodeId {
        let mut leader = None;
        self.until("somebody leads", |cluster| {
            leader = cluster.leader();
            leader.is_some()
        });
        leader.expect("it was awaited")
    }

    fn turn(&mut self, id: NodeId, commands: Vec<Bytes>) {
        let Some(server) = self.servers.get_mut(&id) else { return };
        let first = self.requests + 1;
        self.requests += commands.len() as u64;
        let commands: Vec<_> = (first..).map(RequestId).zip(commands).collect();
        self.asked.extend(commands.iter().map(|(request, command)| (request.0, (id, command.clone()))));
        let outcomes = server.node.turn(Duration::from_millis(1), commands);
        for (request, outcome) in outcomes.unwrap_or_else(|error| panic!("server {id} stops: {error}")) {
            let (asked, command) = self.asked.remove(&request.0).expect("each request has one outcome, once");
            assert_eq!(asked, id);
            if let Outcome::Applied(at) = outcome {
                assert_eq!(self.acknowledged.insert(at, command), None, "two commands at {at}");
            }
        }
    }

    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Cluster) -> bool) {
        let start = Instant::now();
        while !done(self) {
            assert!(start.elapsed() < PATIENCE, "waited in vain: {what}\n{}", self.story());
            for id in IDS {
                self.turn(id, vec![]);
            }
        }
    }

    /// Has `count` more commands acknowledged; each is put once.
    fn commit(&mut self, count: usize, bytes: usize) {
        let goal = self.acknowledged.len() + count;
        self.until("commands are acknowledged", |cluster| {
            let missing = goal.saturating_sub(cluster.acknowledged.len());
            if let Some(leader) = cluster.leader().filter(|_| cluster.asked.len() < missing) {
                let numbers = (1..).map(|number| cluster.requests + number).take(missing - cluster.asked.len());
                let command = |number: u64| Bytes::from(format!("{number:0bytes$}"));
                cluster.turn(leader, numbers.map(command).collect());
            }
            missing == 0
        });
    }

    /// All live servers have applied what the most advanced one has.
    fn converge(&mut self) {
        self.until("all servers apply the same", |cluster| {
            let mut lengths: Vec<_> = cluster.servers.values().map(|server| server.applied.borrow().len()).collect();
            lengths.dedup();
            let acknowledged = cluster.acknowledged.keys().last().map(|id| id.index);
            let behind = |server: &Server| Some(server.node.raft().status().applied()) < acknowledged;
            lengths.len() == 1 && !cluster.servers.values().any(behind)
        });
        self.check();
    }

    /// One history, in order, with everything in it that a client was told of.
    fn check(&self) {
        let longest = self.servers.values().map(|server| server.applied.borrow()).max_by_key(|applied| applied.len());
        let Some(longest) = longest else { return };
        assert!(
            longest.is_sorted_by(|a, b| a.0.index < b.0.index),
            "an index twice, or out of order\n{}",
            self.story()
        );
        for (id, server) in &self.servers {
            let applied = server.applied.borrow();
            let differs = applied.iter().zip(longest.iter()).find(|(ours, theirs)| ours != theirs);
            assert!(differs.is_none(), "server {id} differs: {differs:?}\n{}", self.story());
        }
        let applied: BTreeMap<_, _> = longest.iter().map(|(id, command)| (*id, command.as_slice())).collect();
        for (id, command) in &self.acknowledged {
            assert_eq!(applied.get(id), Some(&&command[..]), "acknowledged at {id}\n{}", self.story());
        }
    }

    fn story(&self) -> String {
        let mut story = String::new();
        for (id, server) in &self.servers {
            let (status, applied) = (server.node.raft().status(), server.applied.borrow().len());
            let (role, term, last, commit) = (status.role(), status.term(), status.last(), status.commit());
            writeln!(story, "server {id}: {role} t{term} last {last} commit {commit}, {applied} commands").unwrap();
        }
        write!(story, "{} acknowledged, {} asked", self.acknowledged.len(), self.asked.len()).unwrap();
        story
    }
}

#[test]
fn leaders_die_and_come_back_from_their_files() {
    let mut cluster = Cluster::new();
    cluster.commit(50, 8);
    cluster.converge();
    for round in 0..3 {
        let dead = cluster.await_leader();
        // Commands are under way when it dies: some of the others may have them.
        let under_way = (0..20).map(|number| format!("round {round} number {number}").into()).collect();
        cluster.turn(dead, under_way);
        cluster.kill(dead);
        cluster.commit(50, 8);
        if round > 0 {
            cluster.tear(dead);
        }
        cluster.start(dead);
        cluster.commit(20, 8);
        cluster.converge();
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_all_die_at_once() {
    let mut cluster = Cluster::new();
    for _ in 0..3 {
        cluster.commit(30, 100);
        for id in IDS {
            cluster.kill(id);
            cluster.tear(id);
        }
        for id in IDS {
            cluster.start(id);
        }
    }
    cluster.commit(1, 8);
    cluster.converge();
}

/// The limits that `open` sets keep every message within a datagram, many small commands and the largest ones alike.
#[test]
fn a_follower_that_missed_much_catches_up_in_datagrams() {
    let mut cluster = Cluster::new();
    cluster.commit(1, 8);
    let leader = cluster.await_leader();
    let dead = IDS.into_iter().find(|id| *id != leader).expect("there are three");
    cluster.kill(dead);
    for (count, bytes) in [(2000, 8), (200, 8 << 10), (1000, 100)] {
        cluster.commit(count, bytes);
    }
    cluster.start(dead);
    cluster.converge();
}
