//! A small kit for tests of one server: it plays the disk, the application and the peers, and picks out what was done.
#![allow(dead_code)]

pub(crate) mod cluster;

use std::collections::{BTreeMap, VecDeque};

use raft_core::{
    Action, AppendOutcome, Bytes, Config, Entries, Entry, EntryId, Event, Fatal, HardState, Incarnation, Index,
    Membership, Message, NodeId, Payload, Raft, RequestId, Restored, RoleKind, Rpc, SnapshotMeta, SnapshotWrite,
    Status, Term, Write, WriteId,
};

/// A clock of few ticks, no no-op and nothing kept behind a snapshot, so that tests can count.
pub(crate) fn config(id: u64) -> Config {
    Config {
        heartbeat_ticks: 2,
        election_ticks_min: 10,
        election_ticks_max: 20,
        leader_noop: false,
        trailing_entries: 0,
        ..Config::new(NodeId(id))
    }
}

pub(crate) fn membership(ids: &[u64]) -> Membership {
    Membership::new(ids.iter().map(|&id| NodeId(id)))
}

/// The incarnation that the kit gives to server `id`.
pub(crate) fn life(id: u64) -> Incarnation {
    Incarnation(100 + id)
}

pub(crate) fn id(term: u64, index: u64) -> EntryId {
    EntryId::new(term, index)
}

fn command(id: EntryId) -> Payload {
    Payload::Command(Bytes::from(format!("{id}")))
}

/// Entries from `first` on with these terms; each command names its entry.
pub(crate) fn log(first: u64, terms: &[u64]) -> Entries {
    let entries = (first..).zip(terms).map(|(i, &t)| Entry { term: Term(t), payload: command(id(t, i)) });
    Entries::from_vec(Index(first), entries.collect()).unwrap()
}

/// What a disk keeps: all that survives a crash.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    pub(crate) incarnation: Incarnation,
    pub(crate) hard_state: HardState,
    pub(crate) snapshot: SnapshotMeta,
    pub(crate) entries: BTreeMap<Index, Entry>,
}

impl Kept {
    pub(crate) fn new(id: u64, members: &[u64]) -> Kept {
        let snapshot = SnapshotMeta { last: EntryId::ZERO, membership: membership(members).into() };
        Kept { incarnation: life(id), snapshot, ..Kept::default() }
    }

    /// A log with these terms, in a server that has voted for nobody in `term`.
    pub(crate) fn with_log(mut self, term: u64, terms: &[u64]) -> Kept {
        self.hard_state = HardState { term: Term(term), voted_for: None };
        for (id, payload) in log(1, terms).iter() {
            self.entries.insert(id.index, Entry { term: id.term, payload: payload.clone() });
        }
        self
    }

    pub(crate) fn write(&mut self, write: &Write) {
        self.hard_state = write.hard_state.unwrap_or(self.hard_state);
        match &write.snapshot {
            Some(SnapshotWrite::Compacted { snapshot, first }) => {
                self.snapshot = snapshot.clone();
                self.entries = self.entries.split_off(first);
            }
            Some(SnapshotWrite::Installed { snapshot }) => {
                self.snapshot = snapshot.clone();
                self.entries.clear();
            }
            None => {}
        }
        if let Some(first) = write.entries.first() {
            self.entries.split_off(&first.index);
        }
        for (id, payload) in write.entries.iter() {
            self.entries.insert(id.index, Entry { term: id.term, payload: payload.clone() });
        }
    }

    pub(crate) fn restored(&self, applied: u64) -> Restored {
        let first = self.entries.keys().next().copied().unwrap_or_default();
        Restored {
            incarnation: self.incarnation,
            boot: 1,
            hard_state: self.hard_state,
            snapshot: self.snapshot.clone(),
            entries: Entries::from_vec(first, self.entries.values().cloned().collect()).unwrap(),
            applied: Index(applied),
            ..Restored::default()
        }
    }
}

/// A server with its disk and its application. Both are quick, unless a test holds them.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) raft: Raft,
    pub(crate) config: Config,
    pub(crate) kept: Kept,
    /// Writes that wait for the disk.
    pub(crate) writes: VecDeque<Write>,
    pub(crate) disk_held: bool,
    pub(crate) application_held: bool,
}

impl Server {
    pub(crate) fn new(id: u64, members: &[u64]) -> Server {
        Server::restored(config(id), Kept::new(id, members))
    }

    pub(crate) fn with_log(id: u64, members: &[u64], term: u64, terms: &[u64]) -> Server {
        Server::restored(config(id), Kept::new(id, members).with_log(term, terms))
    }

    /// Started with what its disk kept; its application kept nothing.
    pub(crate) fn restored(config: Config, kept: Kept) -> Server {
        let raft = Raft::new(config.clone(), kept.restored(0)).unwrap();
        Server { raft, config, kept, writes: VecDeque::new(), disk_held: false, application_held: false }
    }

    /// The same server after a crash: what was not durable is gone.
    pub(crate) fn crashed(&self) -> Server {
        Server::restored(self.config.clone(), self.kept.clone())
    }

    pub(crate) fn status(&self) -> Status<'_> {
        self.raft.status()
    }

    /// Role and term, which tests ask for all the time.
    pub(crate) fn role(&self) -> (RoleKind, u64) {
        (self.status().role(), self.status().term().0)
    }

    pub(crate) fn last(&self) -> EntryId {
        self.status().last()
    }

    /// The terms of its log, from the first entry that it still has.
    pub(crate) fn terms(&self) -> Vec<u64> {
        let status = self.status();
        (status.first_index().0..=status.last().index.0).map(|i| status.term_at(Index(i)).unwrap().0).collect()
    }

    /// Step, and let disk and application follow at once unless they are held. What they caused is among the actions.
    pub(crate) fn step(&mut self, event: Event) -> Vec<Action> {
        let mut actions = self.raft.step(event);
        let mut seen = 0;
        while seen < actions.len() {
            let answer = match &actions[seen] {
                Action::Persist(write) => {
                    self.writes.push_back(write.clone());
                    (!self.disk_held).then(|| self.next_write_is_durable())
                }
                Action::Apply(entries) => {
                    (!self.application_held).then(|| Event::Applied(entries.last().unwrap().index))
                }
                Action::Restore(snapshot) => (!self.application_held).then(|| Event::Applied(snapshot.last.index)),
                _ => None,
            };
            if let Some(event) = answer {
                self.raft.step_into(event, &mut actions);
            }
            seen += 1;
        }
        actions
    }

    /// The oldest write that waits becomes durable; the event says so.
    pub(crate) fn next_write_is_durable(&mut self) -> Event {
        let write = self.writes.pop_front().unwrap();
        self.kept.write(&write);
        Event::Persisted(write.id)
    }

    /// The oldest write that waits becomes durable.
    pub(crate) fn persist_one(&mut self) -> Vec<Action> {
        let event = self.next_write_is_durable();
        self.step(event)
    }

    /// All writes that wait become durable with one sync, and only the last is reported.
    pub(crate) fn persist(&mut self) -> Vec<Action> {
        let last = self.writes.back().unwrap().id;
        for write in self.writes.drain(..) {
            self.kept.write(&write);
        }
        self.step(Event::Persisted(last))
    }

    /// Confirm a write by its number, as a broken driver might.
    pub(crate) fn claim_persisted(&mut self, number: u64) -> Vec<Action> {
        self.step(Event::Persisted(WriteId::from_number(number)))
    }

    pub(crate) fn receive(&mut self, from: u64, term: u64, rpc: Rpc) -> Vec<Action> {
        self.receive_from_life(from, life(from), term, rpc)
    }

    pub(crate) fn receive_from_life(
        &mut self,
        from: u64,
        incarnation: Incarnation,
        term: u64,
        rpc: Rpc,
    ) -> Vec<Action> {
        self.step(Event::Receive { from: NodeId(from), message: Message { term: Term(term), incarnation, rpc } })
    }

    pub(crate) fn receive_snapshot(&mut self, from: u64, term: u64, snapshot: &SnapshotMeta) -> Vec<Action> {
        self.step(Event::SnapshotReceived { from: NodeId(from), term: Term(term), snapshot: snapshot.clone() })
    }

    /// Time passes, tick by tick.
    pub(crate) fn ticks(&mut self, count: u32) -> Vec<Action> {
        (0..count).flat_map(|_| self.step(Event::Tick { elapsed: 1 })).collect()
    }

    /// The election timer runs out with the next tick, which is now.
    pub(crate) fn time_out(&mut self) -> Vec<Action> {
        self.raft.set_election_timeout(1);
        self.ticks(1)
    }

    /// Time out, and win the pre-vote with all votes: a candidate whose own vote is with the disk.
    pub(crate) fn campaign(&mut self) -> Vec<Action> {
        let mut actions = self.time_out();
        let term = self.status().term().0;
        for peer in self.peers() {
            actions.extend(self.receive(peer, term, Rpc::PreVoteReply { granted: true }));
        }
        actions
    }

    /// Win an election with all votes.
    pub(crate) fn elect(&mut self) -> Vec<Action> {
        let mut actions = self.campaign();
        let term = self.status().term().0;
        for peer in self.peers() {
            actions.extend(self.receive(peer, term, Rpc::RequestVoteReply { granted: true }));
        }
        assert_eq!(self.role(), (RoleKind::Leader, term));
        actions
    }

    fn peers(&self) -> Vec<u64> {
        self.status().membership().ids().filter(|id| *id != self.config.id).map(|id| id.0).collect()
    }

    pub(crate) fn start(&mut self, commands: &[&str]) -> Vec<Action> {
        let commands = commands.iter().map(|command| Bytes::from((*command).to_owned())).collect();
        self.step(Event::Start { request: RequestId(7), commands })
    }

    /// A follower's view, as its leader has it.
    pub(crate) fn follower(&self, peer: u64) -> raft_core::FollowerStatus {
        self.status().followers().find(|f| f.id == NodeId(peer)).unwrap()
    }
}

/// A leader of three in term 1 whose followers both answered its first heartbeat.
pub(crate) fn leader(change: impl Fn(&mut Config)) -> Server {
    let mut config = config(1);
    change(&mut config);
    let mut server = Server::restored(config, Kept::new(1, &[1, 2, 3]));
    server.elect();
    server.receive(2, 1, matched(0));
    server.receive(3, 1, matched(0));
    server
}

/// AppendEntries with round 1 that wants an answer.
pub(crate) fn append(prev: EntryId, entries: Entries, commit: u64) -> Rpc {
    Rpc::AppendEntries { prev, entries, commit: Index(commit), round: 1, reply: true }
}

pub(crate) fn heartbeat(prev: EntryId, commit: u64) -> Rpc {
    append(prev, Entries::new(), commit)
}

/// Everything through here has arrived and is durable; answers round `round`.
pub(crate) fn matched_in(round: u64, through: u64) -> Rpc {
    received_in(round, through, through)
}

pub(crate) fn received_in(round: u64, received: u64, durable: u64) -> Rpc {
    let outcome = AppendOutcome::Matched { received: Index(received), durable: Index(durable) };
    Rpc::AppendEntriesReply { round, outcome }
}

/// As [`matched_in`], in the first round, which is what most tests need.
pub(crate) fn matched(through: u64) -> Rpc {
    matched_in(1, through)
}

pub(crate) fn full_in(round: u64, received: u64, durable: u64) -> Rpc {
    let outcome = AppendOutcome::Full { received: Index(received), durable: Index(durable) };
    Rpc::AppendEntriesReply { round, outcome }
}

pub(crate) fn full(received: u64, durable: u64) -> Rpc {
    full_in(1, received, durable)
}

pub(crate) fn conflict_in(round: u64, prev: u64, hint: EntryId) -> Rpc {
    Rpc::AppendEntriesReply { round, outcome: AppendOutcome::Conflict { prev: Index(prev), hint } }
}

pub(crate) fn conflict(prev: u64, hint: EntryId) -> Rpc {
    conflict_in(1, prev, hint)
}

pub(crate) const GRANTED: Rpc = Rpc::RequestVoteReply { granted: true };
pub(crate) const REFUSED: Rpc = Rpc::RequestVoteReply { granted: false };
pub(crate) const PRE_GRANTED: Rpc = Rpc::PreVoteReply { granted: true };
pub(crate) const PRE_REFUSED: Rpc = Rpc::PreVoteReply { granted: false };

/// A snapshot of servers 1 to 3.
pub(crate) fn snapshot(last: EntryId) -> SnapshotMeta {
    SnapshotMeta { last, membership: membership(&[1, 2, 3]).into() }
}

/// All messages, with who they go to.
pub(crate) fn sent(actions: &[Action]) -> Vec<(u64, Message)> {
    let sends = actions.iter().filter_map(|action| match action {
        Action::Send { to, message } => Some((to.0, message.clone())),
        _ => None,
    });
    sends.collect()
}

/// What was said to one peer.
pub(crate) fn sent_to(actions: &[Action], peer: u64) -> Vec<Rpc> {
    sent(actions).into_iter().filter(|(to, _)| *to == peer).map(|(_, message)| message.rpc).collect()
}

/// The AppendEntries to one peer: the entry before, where it ends, and the commit index.
pub(crate) fn appends_to(actions: &[Action], peer: u64) -> Vec<(EntryId, u64, u64)> {
    let appends = sent_to(actions, peer).into_iter().filter_map(|rpc| match rpc {
        Rpc::AppendEntries { prev, entries, commit, .. } => {
            Some((prev, entries.last().unwrap_or(prev).index.0, commit.0))
        }
        _ => None,
    });
    appends.collect()
}

pub(crate) fn written(actions: &[Action]) -> Vec<Write> {
    let writes = actions.iter().filter_map(|action| match action {
        Action::Persist(write) => Some(write.clone()),
        _ => None,
    });
    writes.collect()
}

pub(crate) fn applied(actions: &[Action]) -> Vec<EntryId> {
    let applies = actions.iter().filter_map(|action| match action {
        Action::Apply(entries) => Some(entries.iter().map(|(id, _)| id).collect::<Vec<_>>()),
        _ => None,
    });
    applies.flatten().collect()
}

/// The snapshots that go out, and to whom.
pub(crate) fn snapshots_sent(actions: &[Action]) -> Vec<(u64, EntryId)> {
    let snapshots = actions.iter().filter_map(|action| match action {
        Action::SendSnapshot { to, snapshot, .. } => Some((to.0, snapshot.last)),
        _ => None,
    });
    snapshots.collect()
}

pub(crate) fn halted(actions: &[Action]) -> Option<Fatal> {
    match actions {
        [Action::Halt { why }] => Some(*why),
        _ => None,
    }
}
