//! What a node measures of itself, for whatever recorder of the crate `metrics` the program has installed. Without one,
//! every handle here is empty and its calls do nothing.
//!
//! `docs/observability.md` lists all of them for their readers; a test holds the two together.

mod handles;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use raft_std_driver::observer::{NodeEvent, Observer, Round};
use raft_std_driver::raft_core::{Bytes, Index, NodeId, RoleKind, Term};
use raft_std_driver::transport::Traffic;
use raft_std_driver::workers::lock;
use tokio::time::Instant;

use self::handles::{NodeHandles, Outcomes, PeerHandles};
use crate::error::StartError;

/// The handles of one node. They are looked up when it starts, and those of a peer when it is first heard of.
pub(crate) struct Meters {
    id: NodeId,
    node: NodeHandles,
    outcomes: Outcomes,
    peers: Mutex<BTreeMap<NodeId, PeerMeters>>,
    /// The last term whose leader became known.
    led: AtomicU64,
}

struct PeerMeters {
    handles: PeerHandles,
    /// What the transport had counted when it was last asked.
    traffic: Traffic,
    /// The length of the snapshot that is on its way there, and since when it is.
    sending: Option<(u64, Instant)>,
}

impl Meters {
    pub(crate) fn new(id: NodeId) -> Meters {
        Meters {
            id,
            node: NodeHandles::new(id),
            outcomes: Outcomes::new(id),
            peers: Mutex::default(),
            led: AtomicU64::new(0),
        }
    }

    /// So many commands are being started.
    pub(crate) fn call(&self, commands: usize) -> Call<'_> {
        Call { meters: self, began: Instant::now(), waiting: commands as u64 }
    }

    /// Add what has been exchanged since the last time.
    pub(crate) fn traffic(&self, traffic: Vec<(NodeId, Traffic)>) {
        for (peer, now) in traffic {
            self.with_peer(peer, |PeerMeters { handles, traffic, .. }| {
                // A peer that was removed and added again is counted from nothing.
                let since = |now: u64, before: u64| now.checked_sub(before).unwrap_or(now);
                handles.messages_sent.increment(since(now.messages_sent, traffic.messages_sent));
                handles.bytes_sent.increment(since(now.bytes_sent, traffic.bytes_sent));
                handles.messages_received.increment(since(now.messages_received, traffic.messages_received));
                handles.bytes_received.increment(since(now.bytes_received, traffic.bytes_received));
                handles.appends_dropped.increment(since(now.appends_dropped, traffic.appends_dropped));
                let sent = since(now.snapshot_bytes_sent, traffic.snapshot_bytes_sent);
                handles.snapshot_wire_sent.increment(sent);
                let received = since(now.snapshot_bytes_received, traffic.snapshot_bytes_received);
                handles.snapshot_wire_received.increment(received);
                handles.queue_depth.set(figure(now.waiting));
                handles.connected.set(u32::from(now.connected));
                *traffic = now;
            });
        }
    }

    /// The node is gone: what stays readable must not say that it leads, or that anything waits.
    pub(crate) fn retire(&self) {
        let node = &self.node;
        let queues = [&node.disk_depth, &node.machine_depth, &node.callers_waiting];
        for gauge in [&node.running, &node.is_leader, &node.has_leader, &node.role].into_iter().chain(queues) {
            gauge.set(0);
        }
        for PeerMeters { handles, .. } in self.peers().values() {
            [&handles.lag, &handles.queue_depth, &handles.connected].into_iter().for_each(|gauge| gauge.set(0));
        }
    }

    fn peers(&self) -> MutexGuard<'_, BTreeMap<NodeId, PeerMeters>> {
        lock(&self.peers)
    }

    fn with_peer<T>(&self, peer: NodeId, work: impl FnOnce(&mut PeerMeters) -> T) -> T {
        work(self.entry(&mut self.peers(), peer))
    }

    fn entry<'a>(&self, peers: &'a mut BTreeMap<NodeId, PeerMeters>, peer: NodeId) -> &'a mut PeerMeters {
        peers.entry(peer).or_insert_with(|| PeerMeters {
            handles: PeerHandles::new(self.id, peer),
            traffic: Traffic::default(),
            sending: None,
        })
    }

    fn role(&self, term: Term, role: RoleKind, leader: Option<NodeId>) {
        match role {
            RoleKind::Candidate => self.node.elections_started.increment(1),
            RoleKind::Leader => self.node.elections_won.increment(1),
            RoleKind::Follower | RoleKind::PreCandidate => {}
        }
        // A term has at most one leader.
        if leader.is_some() && self.led.swap(term.0, Ordering::Relaxed) != term.0 {
            self.node.leader_changes.increment(1);
        }
    }

    fn snapshot_sent(&self, to: NodeId, delivered: bool) {
        self.with_peer(to, |PeerMeters { handles, sending, .. }| match sending.take() {
            Some((bytes, began)) if delivered => {
                handles.snapshots_sent.increment(1);
                handles.snapshot_bytes_sent.increment(bytes);
                handles.transfer_seconds.record(began.elapsed());
            }
            None if delivered => handles.snapshots_sent.increment(1),
            _ => handles.snapshots_not_delivered.increment(1),
        });
    }

    /// How far the followers are behind. Only a leader knows; elsewhere it is 0.
    fn lags(&self, round: &Round<'_>) {
        let (status, mut peers) = (round.status(), self.peers());
        for follower in status.followers() {
            self.entry(&mut peers, follower.id);
        }
        let last = status.last().index;
        for (id, peer) in &*peers {
            let follower = status.followers().find(|follower| follower.id == *id);
            let lag = follower.map_or(0, |follower| follower.matched.index.distance_to(last));
            peer.handles.lag.set(figure(lag));
        }
    }
}

impl Observer for Meters {
    fn happened(&self, event: &NodeEvent) {
        let node = &self.node;
        match event {
            NodeEvent::Role { term, role, leader } => self.role(*term, *role, *leader),
            NodeEvent::PeerWiped { peer } => self.with_peer(*peer, |peer| peer.handles.wiped.increment(1)),
            NodeEvent::Unreachable { peer } => self.with_peer(*peer, |peer| peer.handles.unreachable.increment(1)),
            NodeEvent::SnapshotWritten { bytes, .. } => {
                node.snapshots_taken.increment(1);
                node.snapshot_bytes_taken.increment(*bytes);
            }
            NodeEvent::SnapshotReceived { from, bytes, .. } => self.with_peer(*from, |peer| {
                peer.handles.snapshots_received.increment(1);
                peer.handles.snapshot_bytes_received.increment(*bytes);
            }),
            NodeEvent::SnapshotSending { to, bytes, .. } => {
                self.with_peer(*to, |peer| peer.sending = Some((*bytes, Instant::now())));
            }
            NodeEvent::SnapshotSent { to, delivered, .. } => self.snapshot_sent(*to, *delivered),
            NodeEvent::Restored { bytes, .. } => {
                node.snapshots_restored.increment(1);
                node.snapshot_bytes_restored.increment(*bytes);
            }
            _ => {}
        }
    }

    fn round(&self, round: &Round<'_>) {
        let (node, status) = (&self.node, round.status());
        node.running.set(1);
        node.term.set(figure(status.term().0));
        node.role.set(match status.role() {
            RoleKind::Follower => 0,
            RoleKind::PreCandidate => 1,
            RoleKind::Candidate => 2,
            RoleKind::Leader => 3,
        });
        node.is_leader.set(u32::from(status.role() == RoleKind::Leader));
        node.has_leader.set(u32::from(status.leader().is_some()));
        let index = |index: Index| figure(index.0);
        node.commit_index.set(index(status.commit()));
        node.apply_index.set(index(status.applied()));
        node.last_index.set(index(status.last().index));
        node.durable_index.set(index(status.durable()));
        node.snapshot_index.set(index(status.snapshot().last.index));
        node.backlog_bytes.set(figure(status.backlog_bytes()));
        node.disk_depth.set(figure(round.disk_depth() as u64));
        node.machine_depth.set(figure(round.machine_depth() as u64));
        node.callers_waiting.set(figure(round.callers_waiting() as u64));
        if round.commands() > 0 {
            node.round_commands.record(figure(round.commands() as u64));
        }
        if round.messages() > 0 {
            node.round_messages.record(figure(round.messages() as u64));
        }
        self.lags(round);
    }

    fn synced(&self, writes: usize, bytes: u64, took: Duration) {
        self.node.sync_seconds.record(took);
        self.node.sync_writes.record(figure(writes as u64));
        self.node.sync_bytes.record(figure(bytes));
    }

    fn applied(&self, commands: usize, took: Duration) {
        self.node.apply_seconds.record(took);
        self.node.apply_commands.record(figure(commands as u64));
    }

    fn dropped(&self, from: NodeId) {
        self.with_peer(from, |peer| peer.handles.inbox_dropped.increment(1));
    }
}

/// A recorder's gauges and histograms know no other numbers. Exact up to 2^53.
fn figure(number: u64) -> f64 {
    number as f64
}

/// Commands that wait for their answers. Dropped before they have them, it counts them as given up.
#[must_use]
pub(crate) struct Call<'a> {
    meters: &'a Meters,
    began: Instant,
    waiting: u64,
}

impl Call<'_> {
    /// They all have them. How long that took is only told if one was applied: refusals are quick, and would hide how slow
    /// the others are.
    pub(crate) fn answered(mut self, answers: &[Result<Bytes, StartError>]) {
        self.waiting = 0;
        let Meters { node, outcomes, .. } = self.meters;
        if answers.iter().any(Result::is_ok) {
            node.proposal_seconds.record(self.began.elapsed());
        }
        for answer in answers {
            let outcome = match answer {
                Ok(_) => &outcomes.applied,
                Err(StartError::NotLeader { .. }) => &outcomes.not_leader,
                Err(StartError::Superseded) => &outcomes.superseded,
                Err(StartError::Unknown) => &outcomes.unknown,
                Err(StartError::Busy { .. }) => &outcomes.busy,
                Err(StartError::TooLarge { .. }) => &outcomes.too_large,
                Err(StartError::Refused(_) | StartError::NoRoom { .. } | StartError::OwnThread) => &outcomes.refused,
                Err(StartError::ShutDown) => &outcomes.shut_down,
            };
            outcome.increment(1);
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if self.waiting > 0 {
            self.meters.outcomes.given_up.increment(self.waiting);
        }
    }
}
