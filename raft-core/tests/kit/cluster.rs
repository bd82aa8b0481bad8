//! A few servers and a network that delivers at once, in order, unless a test cuts it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use raft_core::{Action, Event, Index, Message, NodeId, RoleKind, Rpc};

use super::{Kept, Server, config};

/// Servers 1, 2, 3, ... and the mail between them.
pub(crate) struct Cluster {
    pub(crate) servers: Vec<Server>,
    mail: VecDeque<(u64, u64, Message)>,
    /// Servers whose mail is lost, in both directions.
    pub(crate) cut: BTreeSet<u64>,
    /// Every transfer of a snapshot fails at once.
    pub(crate) snapshots_fail: bool,
    /// How many messages were delivered.
    pub(crate) delivered: u64,
    /// How many entries were sent to each server, those that were sent again counted again.
    entries_sent: BTreeMap<u64, u64>,
}

impl Cluster {
    pub(crate) fn of(servers: Vec<Server>) -> Cluster {
        Cluster {
            servers,
            mail: VecDeque::new(),
            cut: BTreeSet::new(),
            snapshots_fail: false,
            delivered: 0,
            entries_sent: BTreeMap::new(),
        }
    }

    pub(crate) fn new(count: u64, change: impl Fn(&mut raft_core::Config)) -> Cluster {
        let members: Vec<u64> = (1..=count).collect();
        let server = |&id: &u64| {
            let mut config = config(id);
            change(&mut config);
            Server::restored(config, Kept::new(id, &members))
        };
        Cluster::of(members.iter().map(server).collect())
    }

    pub(crate) fn server(&mut self, id: u64) -> &mut Server {
        &mut self.servers[usize::try_from(id).unwrap() - 1]
    }

    /// How many entries were sent to this server, those that were sent again counted again.
    pub(crate) fn entries_to(&self, id: u64) -> u64 {
        self.entries_sent.get(&id).copied().unwrap_or_default()
    }

    /// Give one server an event, and deliver all mail that follows from it.
    pub(crate) fn step(&mut self, id: u64, event: Event) -> Vec<Action> {
        let actions = self.server(id).step(event);
        self.route(id, &actions);
        self.deliver();
        actions
    }

    /// Put what a server did on its way. Snapshots arrive at once.
    pub(crate) fn route(&mut self, from: u64, actions: &[Action]) {
        for action in actions {
            match action {
                Action::Send { to, message } => {
                    if let Rpc::AppendEntries { entries, .. } = &message.rpc {
                        *self.entries_sent.entry(to.0).or_default() += entries.len();
                    }
                    self.mail.push_back((from, to.0, message.clone()));
                }
                Action::SendSnapshot { to, term, snapshot } => {
                    let cut = self.cut.contains(&from) || self.cut.contains(&to.0);
                    let delivered = !cut && !self.snapshots_fail;
                    if delivered {
                        let (term, snapshot) = (*term, snapshot.clone());
                        let event = Event::SnapshotReceived { from: NodeId(from), term, snapshot };
                        let answers = self.server(to.0).step(event);
                        self.route(to.0, &answers);
                    }
                    let sent = Event::SnapshotSent { to: *to, snapshot: snapshot.last, delivered };
                    let next = self.server(from).step(sent);
                    self.route(from, &next);
                }
                Action::Halt { why } => panic!("server {from} halted: {why}"),
                _ => {}
            }
        }
    }

    fn deliver(&mut self) {
        let bound = self.delivered + 100_000;
        while let Some((from, to, message)) = self.mail.pop_front() {
            if self.cut.contains(&from) || self.cut.contains(&to) {
                continue;
            }
            self.delivered += 1;
            assert!(self.delivered < bound, "the servers talk without end");
            let actions = self.server(to).step(Event::Receive { from: NodeId(from), message });
            self.route(to, &actions);
        }
    }

    pub(crate) fn tick(&mut self) {
        for id in 1..=self.servers.len() as u64 {
            self.step(id, Event::Tick { elapsed: 1 });
        }
    }

    /// A tick that comes to all before any mail that follows from it: whose timers run out in it campaign side by side.
    pub(crate) fn tick_together(&mut self) {
        for id in 1..=self.servers.len() as u64 {
            let actions = self.server(id).step(Event::Tick { elapsed: 1 });
            self.route(id, &actions);
        }
        self.deliver();
    }

    /// The leader of the newest term among those who can be reached.
    pub(crate) fn leader(&self) -> Option<u64> {
        let reachable = self.servers.iter().filter(|s| !self.cut.contains(&s.config.id.0));
        let leaders = reachable.filter(|s| s.status().role() == RoleKind::Leader);
        leaders.max_by_key(|s| s.status().term()).map(|s| s.config.id.0)
    }

    /// Ticks until `done`; fails after `limit`.
    pub(crate) fn tick_until(&mut self, limit: u32, done: impl Fn(&Cluster) -> bool) -> u32 {
        for tick in 0..limit {
            if done(self) {
                return tick;
            }
            self.tick();
        }
        panic!("not within {limit} ticks");
    }

    /// Whether all who can be reached have the same log, committed and applied to its end.
    pub(crate) fn agrees(&self) -> bool {
        let reachable: Vec<_> = self.servers.iter().filter(|s| !self.cut.contains(&s.config.id.0)).collect();
        let last = reachable[0].last();
        let done = |s: &&Server| s.last() == last && [s.status().commit(), s.status().applied()] == [last.index; 2];
        last.index > Index(0) && reachable.iter().all(done)
    }
}
