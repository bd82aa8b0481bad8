//! The machine: each step passes the gate, follows one rule, settles what the rules leave to be done, and hands over.

use alloc::vec::Vec;

use crate::action::{Action, News, RoleKind};
use crate::appending::{self, Append};
use crate::change;
use crate::chores::Chores;
use crate::config::Config;
use crate::election;
use crate::event::Event;
use crate::fetching;
use crate::gate;
use crate::log::SnapshotMeta;
use crate::message::{Message, Rpc};
use crate::progress::Progress;
use crate::read::{self, Reads};
use crate::replication;
use crate::restored::{RestoreError, Restored};
use crate::role::{Follower, Role};
use crate::server::Server;
use crate::snapshot;
use crate::status::Status;
use crate::transfer::{self, Transfer};
use crate::types::{Index, NodeId, ServerId, Term};

/// What tests and explorers do to a server, and drivers never.
#[cfg(feature = "sim")]
pub(crate) mod stage;

/// One Raft server: a deterministic state machine without threads, timers or IO.
///
/// ```
/// use raft_core::{Action, Config, Event, Incarnation, Membership, NodeId, Raft, RequestId, Restored};
///
/// // A cluster of one: it elects itself as soon as its vote is durable, and commits what its disk has.
/// let restored = Restored::new_cluster(Incarnation(1), Membership::new([NodeId(1)]));
/// let mut raft = Raft::new(Config::new(NodeId(1)), restored)?;
/// let mut applied = 0;
/// let mut events = vec![];
/// for round in 0..100 {
///     events.push(Event::Tick { elapsed: 1 });
///     if round == 99 {
///         events.push(Event::Start { request: RequestId(7), commands: [b"x".to_vec().into()].into() });
///     }
///     while !events.is_empty() {
///         for action in raft.step(events.remove(0)) {
///             match action {
///                 Action::Persist(write) => events.push(Event::Persisted(write.id)), // pretend it is on disk
///                 Action::Apply(entries) => applied += entries.len(),
///                 _ => {}
///             }
///         }
///     }
/// }
/// assert_eq!(applied, 2, "the leader's no-op and the command");
/// # Ok::<(), raft_core::RestoreError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Raft {
    server: Server,
    role: Role,
    /// The request to transfer leadership that waits.
    transfer: Option<Transfer>,
    /// Those that wait.
    reads: Reads,
    /// What observers were last told.
    told: (Term, RoleKind, Option<NodeId>),
}

impl Raft {
    /// A server made of what its disk and its application kept.
    ///
    /// # Errors
    /// If the configuration contradicts itself, or the restored parts do not fit together.
    pub fn new(config: Config, restored: Restored) -> Result<Raft, RestoreError> {
        config.check()?;
        restored.check()?;
        let reads = Reads::new(restored.boot);
        let server = Server::new(config, restored);
        let role = Role::Follower(Follower::new(&server, u64::from(server.timeout)));
        let told = (server.term(), RoleKind::Follower, None);
        Ok(Raft { server, role, transfer: None, reads, told })
    }

    /// Take one event and say what is to be done about it. Total: it never panics and never blocks, whatever the event
    /// and whoever sent it.
    #[must_use = "actions not carried out are broken promises"]
    pub fn step(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        self.step_into(event, &mut actions);
        actions
    }

    /// As [`step`](Raft::step), into a buffer that the caller reuses: actions are added behind what it holds.
    pub fn step_into(&mut self, event: Event, actions: &mut Vec<Action>) {
        if self.server.fatal.is_some() {
            return;
        }
        let own_report = self.follow_rule(event);
        if self.server.fatal.is_none() {
            self.settle(own_report);
            self.hand_over();
        }
        if let Some(why) = self.server.fatal {
            self.server.actions.clear();
            self.server.actions.push(Action::Halt { why });
        }
        // Two buffers take turns: the one that comes back is empty, and has room.
        if actions.is_empty() {
            core::mem::swap(actions, &mut self.server.actions);
        } else {
            actions.append(&mut self.server.actions);
        }
    }

    /// How many ticks a driver may sleep if nothing else happens; at least 1.
    #[must_use]
    pub fn ticks_until_due(&self) -> u32 {
        let due = match &self.role {
            Role::Leader(leader) => leader.heartbeat_at,
            Role::Candidate(candidate) => candidate.deadline.min(candidate.ask_again_at),
            Role::Follower(follower) => follower.deadline,
        };
        let due = self.transfer.as_ref().map_or(due, |transfer| due.min(transfer.deadline()));
        let due = due.min(self.reads.due(&self.server.config).unwrap_or(u64::MAX));
        let ticks = due.saturating_sub(self.server.now).min(u64::from(self.server.config.heartbeat_ticks));
        u32::try_from(ticks).unwrap_or(u32::MAX).max(1)
    }

    /// What a snapshot through `index` would stand for: term and membership there. Known from the current snapshot through
    /// what was handed out to be applied.
    #[must_use]
    pub fn snapshot_at(&self, index: Index) -> Option<SnapshotMeta> {
        self.server.snapshot_at(index)
    }

    /// What this server could be made of again: its whole state as its disk has it once all writes so far are done, before the first
    /// of them too. For drivers that keep the state as a whole: whoever has made it durable may confirm all writes. `applied` is what
    /// the application has reported: set it to what the application itself keeps. A new start needs another `boot`.
    #[must_use]
    pub fn restored(&self) -> Restored {
        let Server { incarnation, hard_state, snapshot, log, applied, .. } = &self.server;
        Restored {
            incarnation: *incarnation,
            boot: self.reads.boot(),
            hard_state: *hard_state,
            snapshot: snapshot.clone(),
            head: self.server.log_head(),
            entries: log.starting_at(log.resident_first()),
            applied: *applied,
        }
    }

    /// A read-only view.
    #[must_use]
    pub fn status(&self) -> Status<'_> {
        Status::new(&self.server, &self.role)
    }

    /// Says whether it was a report of the own disk or application.
    #[inline(always)] // called once; a call would move the event again
    fn follow_rule(&mut self, event: Event) -> bool {
        let Raft { server, role, transfer, reads, .. } = self;
        match event {
            Event::Tick { elapsed } => self.tick(elapsed),
            Event::Receive { from, message } => self.receive(from, message),
            Event::Start { request, commands } => replication::start(server, role, request, commands),
            Event::Change { request, change } => change::asked(server, role, request, &change),
            Event::Transfer { request, to } => transfer::requested(server, role, transfer, request, to),
            Event::Read { request } => read::requested(server, role, reads, request),
            Event::Arriving { from, term } => gate::arriving(server, role, from, term),
            Event::Fetched { id, entries } => fetching::fetched(server, role, id, entries),
            Event::Persisted(id) => {
                // It owns nothing; the compiler would look for what to drop in each step.
                core::mem::forget(event);
                match server.disk.confirm(id) {
                    Some(installed) => server.restore_due |= installed,
                    None => server.counters.unknown_write += 1,
                }
                return true;
            }
            Event::Applied(index) => {
                core::mem::forget(event);
                server.applied_to(index);
                return true;
            }
            Event::Compact { index } => {
                let needed_from = if let Role::Leader(leader) = role { leader.needed_from() } else { None };
                server.compact(index, needed_from);
            }
            Event::SnapshotSent { to, snapshot, delivered } => {
                snapshot::sent(server, follower_of(role, to), snapshot, delivered);
            }
            Event::SnapshotReceived { from, term, snapshot } => self.receive_snapshot(from, term, snapshot),
            Event::Unreachable { peer } => {
                if let Some(progress) = follower_of(role, peer) {
                    replication::unreachable(progress);
                }
            }
        }
        false
    }

    /// A pause is not an outage: election and check-quorum clocks move on by one heartbeat interval at most, so that mail
    /// that waited out the pause is heard before anyone campaigns or steps down.
    fn tick(&mut self, elapsed: u32) {
        let Raft { server, role, .. } = self;
        server.now += u64::from(elapsed.min(server.config.heartbeat_ticks));
        if server.fetching.is_some() {
            server.review_fetching();
        }
        let stalled = server.disk.is_stalled(server.now, server.config.disk_stall_ticks);
        match role {
            Role::Leader(leader) if stalled || !leader.hears_quorum(server) => role.resign(server),
            Role::Candidate(_) if stalled => role.follow(server),
            Role::Follower(_) | Role::Candidate(_) if role.deadline() <= Some(server.now) => {
                election::time_out(server, role);
            }
            Role::Candidate(candidate) => election::ask_again(server, candidate),
            Role::Leader(leader) if server.now >= leader.heartbeat_at => server.chores.note(Chores::CHANGE),
            Role::Follower(_) | Role::Leader(_) => {}
        }
    }

    /// What passes the gate is in our own term, and finds its rule.
    fn receive(&mut self, from: NodeId, message: Message) {
        let Raft { server, role, reads, .. } = self;
        if !gate::admit(server, role, from, &message) {
            return;
        }
        match message.rpc {
            Rpc::PreVote { last } => election::pre_vote_requested(server, role, from, last),
            Rpc::PreVoteReply { granted } => election::pre_vote_answered(server, role, from, granted),
            Rpc::RequestVote { last, .. } => {
                let candidate = ServerId { id: from, incarnation: message.incarnation };
                election::vote_requested(server, role, candidate, last);
            }
            Rpc::RequestVoteReply { granted } => election::vote_answered(server, role, from, granted),
            Rpc::AppendEntries { prev, entries, commit, round, reply } => {
                if let Some(follower) = gate::follow_leader(server, role, from) {
                    let append = Append { prev, entries, commit, round, reply };
                    appending::append_requested(server, follower, from, append);
                }
            }
            Rpc::AppendEntriesReply { round, outcome } => match role {
                Role::Leader(leader) => {
                    replication::append_answered(server, leader, from, message.incarnation, round, outcome);
                }
                _ => server.counters.stale += 1,
            },
            Rpc::TimeoutNow { target } => {
                let sender = ServerId { id: from, incarnation: message.incarnation };
                transfer::timeout_now(server, role, sender, target);
            }
            Rpc::ReadIndex { boot, seq } => read::index_requested(server, role, reads, from, (boot, seq)),
            Rpc::ReadIndexReply { boot, seq, at } => read::index_answered(server, reads, (boot, seq), at),
        }
    }

    /// As [`receive`](Raft::receive), for a snapshot, which the driver received.
    fn receive_snapshot(&mut self, from: NodeId, term: Term, snapshot: SnapshotMeta) {
        let Raft { server, role, .. } = self;
        let Some(snapshot) = gate::admit_snapshot(server, role, from, term, snapshot) else { return };
        if let Some(follower) = gate::follow_leader(server, role, from) {
            snapshot::received(server, follower, from, snapshot);
        }
    }

    /// Make the standing rules true: won? lead. Leader: commit, and send what followers lack. Else: pay what is owed.
    /// What the own disk or application reports gives followers nothing, unless it commits.
    #[inline(always)]
    fn settle(&mut self, own_report: bool) {
        let Raft { server, role, .. } = self;
        election::settle(server, role);
        match role {
            Role::Leader(leader) => {
                let commit = server.commit;
                replication::advance_commit(server, leader);
                if !server.chores.is_empty() {
                    return self.settle_chores();
                }
                if !own_report || server.commit > commit {
                    replication::feed_all(server, leader);
                }
            }
            // Who leads owes nothing: its term began with its own vote.
            Role::Follower(_) | Role::Candidate(_) => {
                election::settle_vote(server, role);
                appending::settle_acknowledgement(server, role);
                if !server.chores.is_empty() {
                    self.settle_chores();
                }
            }
        }
    }

    /// The standing rules about what is rare.
    #[cold]
    fn settle_chores(&mut self) {
        let Raft { server, role, transfer, reads, .. } = self;
        if server.chores.contains(Chores::CHANGE) {
            server.chores.done(Chores::CHANGE);
            change::committed(server);
        }
        if let Role::Leader(leader) = role {
            change::settle(server, leader);
            replication::feed_all(server, leader);
        }
        if server.chores.contains(Chores::TRANSFER) {
            transfer::settle(server, role, transfer);
        }
        change::leave(server, role);
        // Last: whoever does not lead any more refuses its reads at once.
        if server.chores.contains(Chores::READ) {
            read::settle(server, role, reads);
        }
    }

    /// Mail that promises nothing is out; then one write with all that changed, then what may be applied.
    fn hand_over(&mut self) {
        let server = &mut self.server;
        server.hand_over_write();
        server.hand_over_committed();
        if server.role_changed {
            self.tell_role();
        }
        debug_assert_eq!(self.told, self.role_now(), "a change of role was not noted");
    }

    /// Observers hear of what is different from what they were told last.
    #[cold]
    fn tell_role(&mut self) {
        self.server.role_changed = false;
        let now = self.role_now();
        if now != self.told {
            self.told = now;
            let (term, role, leader) = now;
            self.server.actions.push(Action::News(News::Role { term, role, leader }));
        }
    }

    fn role_now(&self) -> (Term, RoleKind, Option<NodeId>) {
        let leader = match &self.role {
            Role::Follower(follower) => follower.leader,
            Role::Candidate(_) => None,
            Role::Leader(_) => Some(self.server.id()),
        };
        (self.server.term(), self.role.kind(), leader)
    }
}

fn follower_of(role: &mut Role, id: NodeId) -> Option<&mut Progress> {
    match role {
        Role::Leader(leader) => leader.follower(id),
        Role::Follower(_) | Role::Candidate(_) => None,
    }
}
