//! A read-only view of a server: for operators, oracles and the curious.

use crate::action::{Fatal, FetchId, HardState, RoleKind};
use crate::counters::Counters;
use crate::entries::Payload;
use crate::fetch::Fetch;
use crate::log::SnapshotMeta;
use crate::membership::Membership;
use crate::progress::{Flow, Progress};
use crate::role::Role;
use crate::server::Server;
use crate::types::{EntryId, Incarnation, Index, NodeId, Term};
use crate::why::{self, FollowerWhy, Why};

/// A view of a [`Raft`](crate::Raft) between two steps.
#[derive(Clone, Copy, Debug)]
pub struct Status<'a> {
    server: &'a Server,
    role: &'a Role,
}

/// How entries flow to a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FlowKind {
    /// One message at a time, until it is known where the logs meet.
    Probe,
    /// Many messages in flight.
    Replicate,
    /// A snapshot is on its way.
    Snapshot,
}

/// One follower as its leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowerStatus {
    /// Which server.
    pub id: NodeId,
    /// Figure 2's matchIndex, with its term.
    pub matched: EntryId,
    /// Figure 2's nextIndex.
    pub next: Index,
    /// How entries flow to it.
    pub flow: FlowKind,
    /// Messages with entries that it has not yet promised to keep.
    pub inflight: usize,
    /// The entries that it needs next are being read from disk.
    pub fetching: Option<FetchId>,
    /// Ticks since it last answered, or since the election.
    pub silent_ticks: u64,
    /// The disk that all of this is about; 0 until it was heard.
    pub disk: Incarnation,
    /// Whether what it says is counted: this disk is the one that counts for it.
    pub counted: bool,
    /// It has left the cluster and is being told so.
    pub leaving: bool,
    /// How it stands with it, in one word.
    pub why: FollowerWhy,
}

impl<'a> Status<'a> {
    pub(crate) fn new(server: &'a Server, role: &'a Role) -> Status<'a> {
        Status { server, role }
    }

    /// This server.
    #[must_use]
    pub fn id(self) -> NodeId {
        self.server.id()
    }

    /// Which life of its disk it runs on.
    #[must_use]
    pub fn incarnation(self) -> Incarnation {
        self.server.incarnation
    }

    /// Figure 2's currentTerm.
    #[must_use]
    pub fn term(self) -> Term {
        self.server.term()
    }

    /// Figure 2's votedFor.
    #[must_use]
    pub fn voted_for(self) -> Option<NodeId> {
        self.server.hard_state.voted_for.map(|voted_for| voted_for.id)
    }

    /// Figure 2's currentTerm and votedFor, with the disk that the vote is for.
    #[must_use]
    pub fn hard_state(self) -> HardState {
        self.server.hard_state
    }

    /// Its role.
    #[must_use]
    pub fn role(self) -> RoleKind {
        self.role.kind()
    }

    /// This term's leader, if it is known.
    #[must_use]
    pub fn leader(self) -> Option<NodeId> {
        match self.role {
            Role::Follower(follower) => follower.leader,
            Role::Candidate(_) => None,
            Role::Leader(_) => Some(self.id()),
        }
    }

    /// The leader, of whatever term, for whose sake requests for votes are refused: it was heard within
    /// `election_ticks_min` (thesis §4.2.3). This server itself, if it led until now, or leads and hears a quorum.
    #[must_use]
    pub fn live_leader(self) -> Option<NodeId> {
        match self.role {
            Role::Leader(leader) => leader.hears_quorum(self.server).then(|| self.id()),
            Role::Follower(_) | Role::Candidate(_) => self.server.live_leader(),
        }
    }

    /// Figure 2's commitIndex.
    #[must_use]
    pub fn commit(self) -> Index {
        self.server.commit
    }

    /// The last index that was given to the application.
    #[must_use]
    pub fn handed_out(self) -> Index {
        self.server.handed_out
    }

    /// The last index that the application has reported applied.
    #[must_use]
    pub fn applied(self) -> Index {
        self.server.applied
    }

    /// The log is durable through here.
    #[must_use]
    pub fn durable(self) -> Index {
        self.server.disk.durable()
    }

    /// The index of the first entry that is still in the log, or of the next one if there is none.
    #[must_use]
    pub fn first_index(self) -> Index {
        self.server.log.first_index()
    }

    /// The index of the first entry that is in memory, or of the next one if there is none. Those before it, back to
    /// [`first_index`](Status::first_index), are on disk alone.
    #[must_use]
    pub fn resident_first(self) -> Index {
        self.server.log.resident_first()
    }

    /// How many bytes of the log are in memory, about `resident_bytes_max` at most.
    #[must_use]
    pub fn resident_bytes(self) -> u64 {
        self.server.log.resident_bytes()
    }

    /// The entries that the application needs next are being read from disk.
    #[must_use]
    pub fn fetching(self) -> Option<FetchId> {
        self.server.fetching.and_then(Fetch::id)
    }

    /// The last entry of the log.
    #[must_use]
    pub fn last(self) -> EntryId {
        self.server.log.last()
    }

    /// The term of the entry at `index`; known from the one before the first through the last.
    #[must_use]
    pub fn term_at(self, index: Index) -> Option<Term> {
        self.server.log.term_at(index)
    }

    /// What the entry at `index` carries, if it is in memory.
    #[must_use]
    pub fn entry(self, index: Index) -> Option<&'a Payload> {
        self.server.log.entry(index)
    }

    /// The snapshot before the log.
    #[must_use]
    pub fn snapshot(self) -> &'a SnapshotMeta {
        &self.server.snapshot
    }

    /// The configuration in force: the newest in the log.
    #[must_use]
    pub fn membership(self) -> &'a Membership {
        self.server.membership()
    }

    /// Bytes not yet both committed and applied, which `backlog_bytes_max` limits.
    #[must_use]
    pub fn backlog_bytes(self) -> u64 {
        self.server.backlog_bytes()
    }

    /// Why it halted, if it did.
    #[must_use]
    pub fn halted(self) -> Option<Fatal> {
        self.server.fatal
    }

    /// The followers, if it leads.
    pub fn followers(self) -> impl Iterator<Item = FollowerStatus> + 'a {
        let followers: &'a [Progress] = match self.role {
            Role::Leader(leader) => &leader.followers,
            Role::Follower(_) | Role::Candidate(_) => &[],
        };
        let (server, now) = (self.server, self.server.now);
        followers.iter().map(move |progress| {
            let (flow, inflight, fetching) = match &progress.flow {
                Flow::Probe { .. } => (FlowKind::Probe, 0, None),
                Flow::Replicate(inflight) => {
                    (FlowKind::Replicate, inflight.len(), inflight.fetching.and_then(Fetch::id))
                }
                Flow::Snapshot { .. } => (FlowKind::Snapshot, 0, None),
            };
            FollowerStatus {
                id: progress.id,
                matched: progress.matched,
                next: progress.next,
                flow,
                inflight,
                fetching,
                silent_ticks: now - progress.heard_at,
                disk: progress.disk,
                counted: progress.counted,
                leaving: progress.farewell.is_some(),
                why: why::of_follower(server, progress),
            }
        })
    }

    /// Why commands do not get through here, if they do not. A follower whose leader is heard says only what concerns itself.
    #[must_use]
    pub fn why(self) -> Option<Why> {
        why::of_server(self.server, self.role)
    }

    /// What made no sense so far.
    #[must_use]
    pub fn counters(self) -> &'a Counters {
        &self.server.counters
    }
}
