//! Servers in one thread, with the plainest driver there is.

use std::collections::VecDeque;

use raft_core::{
    Action, Bytes, Config, Entries, Event, Incarnation, Index, Membership, NodeId, Payload, Raft, RequestId, Restored,
    RoleKind, Write,
};

const COMPACT_EVERY: u64 = 4096;

#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) nodes: usize,
    pub(crate) payload: usize,
    pub(crate) batch: usize,
}

struct Node {
    raft: Raft,
    /// The in-memory log: what a disk would hold.
    log: Vec<Write>,
    applied: Index,
    compacted: Index,
    commands: u64,
    bytes: u64,
}

pub(crate) struct Cluster {
    shape: Shape,
    nodes: Vec<Node>,
    mail: VecDeque<(NodeId, Event)>,
    actions: Vec<Action>,
    started: u64,
}

impl Cluster {
    /// With a leader, which is the first server.
    pub(crate) fn elect(shape: Shape) -> Cluster {
        let ids = (1..=shape.nodes as u64).map(NodeId);
        let members = Membership::new(ids.clone());
        let node = |id: NodeId| {
            let config = Config { trailing_entries: 0, ..Config::new(id) };
            let restored = Restored::new_cluster(Incarnation(id.0), members.clone());
            let raft = Raft::new(config, restored).expect("a good configuration");
            Node { raft, log: Vec::new(), applied: Index(0), compacted: Index(0), commands: 0, bytes: 0 }
        };
        let nodes = ids.map(node).collect();
        let mut cluster = Cluster { shape, nodes, mail: VecDeque::new(), actions: Vec::new(), started: 0 };
        while cluster.nodes[0].raft.status().role() != RoleKind::Leader {
            cluster.deliver(0, Event::Tick { elapsed: 1 });
        }
        cluster
    }

    pub(crate) fn run(&mut self, rounds: usize) {
        for _ in 0..rounds {
            let command = || Bytes::from(vec![0xa5; self.shape.payload]);
            let commands = (0..self.shape.batch).map(|_| command()).collect();
            self.started += self.shape.batch as u64;
            self.deliver(0, Event::Start { request: RequestId(self.started), commands });
            assert!(self.nodes.iter().all(|node| node.commands == self.started), "a round ends when all have applied");
        }
    }

    /// One event, and all that follows from it.
    fn deliver(&mut self, to: usize, event: Event) {
        self.step(to, event);
        while let Some((to, event)) = self.mail.pop_front() {
            self.step(slot(to), event);
        }
    }

    /// A step, and what the driver has to report at once.
    fn step(&mut self, at: usize, event: Event) {
        let Cluster { nodes, mail, actions, .. } = self;
        let node = &mut nodes[at];
        let from = NodeId(at as u64 + 1);
        node.raft.step_into(event, actions);
        while !actions.is_empty() {
            let (mut persisted, mut applied) = (None, None);
            for action in actions.drain(..) {
                match action {
                    Action::Send { to, message } => mail.push_back((to, Event::Receive { from, message })),
                    Action::Persist(write) => {
                        persisted = Some(write.id);
                        node.log.push(write);
                    }
                    Action::Apply(entries) => applied = Some(node.apply(&entries)),
                    Action::Accepted { .. } | Action::News(_) => {}
                    other => panic!("not in this workload: {other}"),
                }
            }
            if let Some(id) = persisted {
                node.raft.step_into(Event::Persisted(id), actions);
            }
            if let Some(index) = applied {
                node.raft.step_into(Event::Applied(index), actions);
                node.compact(index, actions);
            }
        }
    }
}

fn slot(id: NodeId) -> usize {
    usize::try_from(id.0).expect("a small id") - 1
}

impl Node {
    fn apply(&mut self, entries: &Entries) -> Index {
        for (id, payload) in entries.iter() {
            self.applied = id.index;
            if let Payload::Command(command) = payload {
                self.commands += 1;
                self.bytes += command.len() as u64;
            }
        }
        self.applied
    }

    fn compact(&mut self, applied: Index, actions: &mut Vec<Action>) {
        if self.compacted.distance_to(applied) >= COMPACT_EVERY {
            self.compacted = applied;
            self.log.clear();
            self.raft.step_into(Event::Compact { index: applied }, actions);
        }
    }
}
