//! How a server stands.

use raft_core::{
    Counters, EntryId, FollowerStatus, Incarnation, Index, Membership, NodeId, Raft, RoleKind, SnapshotMeta, Term,
};

/// How a server stands.
#[derive(Clone, Debug)]
pub struct NodeStatus {
    /// This server.
    pub id: NodeId,
    /// Which life of its disk it runs on.
    pub incarnation: Incarnation,
    /// Its current term.
    pub term: Term,
    /// Its role.
    pub role: RoleKind,
    /// Who leads, as far as it knows.
    pub leader: Option<NodeId>,
    /// The last index known to be committed.
    pub commit: Index,
    /// The last index that its machine has applied.
    pub applied: Index,
    /// The last index that is durable here.
    pub durable: Index,
    /// The first index that its log still holds.
    pub first_index: Index,
    /// The end of its log.
    pub last: EntryId,
    /// Its current snapshot.
    pub snapshot: SnapshotMeta,
    /// The members of the cluster.
    pub membership: Membership,
    /// Bytes of the log that are not yet both committed and applied.
    pub backlog_bytes: u64,
    /// The others as a leader sees them; empty unless it leads.
    pub followers: Vec<FollowerStatus>,
    /// What the core was told that made no sense.
    pub counters: Counters,
    /// Whether the node runs; if not, this is how it stood when it stopped.
    pub running: bool,
}

impl NodeStatus {
    pub(crate) fn of(raft: &Raft) -> NodeStatus {
        let status = raft.status();
        NodeStatus {
            id: status.id(),
            incarnation: status.incarnation(),
            term: status.term(),
            role: status.role(),
            leader: status.leader(),
            commit: status.commit(),
            applied: status.applied(),
            durable: status.durable(),
            first_index: status.first_index(),
            last: status.last(),
            snapshot: status.snapshot().clone(),
            membership: status.membership().clone(),
            backlog_bytes: status.backlog_bytes(),
            followers: status.followers().collect(),
            counters: *status.counters(),
            running: true,
        }
    }
}
