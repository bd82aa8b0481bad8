//! What a node writes to its log, all in one place; and the spans in which it does.

use std::time::Duration;

use raft_core::{EntryId, Index, NodeId, RoleKind, Term};
use tracing::Span;

use crate::error::NodeError;
use crate::events::NodeEvent;
use crate::queue::lock;
use crate::storage::{StorageError, StorageErrorKind};
use crate::sync::Mutex;

/// Writes for one node.
pub(crate) struct LogLines {
    node: u64,
    /// Around all that the node does.
    span: Span,
    /// Around the campaign that is not decided yet.
    election: Mutex<Option<Span>>,
    /// Why the last snapshot failed, until one is written.
    snapshot_failure: Mutex<Option<StorageErrorKind>>,
}

impl LogLines {
    pub(crate) fn new(id: NodeId) -> LogLines {
        let node = id.0;
        // Of the highest level: whatever is filtered out, the lines that are left say whose they are.
        LogLines {
            node,
            span: tracing::error_span!("raft", node),
            election: Mutex::default(),
            snapshot_failure: Mutex::default(),
        }
    }

    /// What the node does on any thread, it does within this.
    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    /// Around the taking of a snapshot, from when the machine is asked until it is written.
    pub(crate) fn taking(&self, last: EntryId) -> Span {
        tracing::info_span!("take_snapshot", node = self.node, snapshot = %last)
    }

    /// Around the machine's work on a snapshot that replaces its state.
    pub(crate) fn restoring(&self, last: EntryId) -> Span {
        tracing::info_span!("restore_snapshot", node = self.node, snapshot = %last)
    }

    /// Around one sync of the storage.
    pub(crate) fn syncing(&self, writes: usize) -> Span {
        tracing::debug_span!("sync", node = self.node, writes)
    }

    /// Around one call of the machine with what is committed.
    pub(crate) fn applying(&self, commands: usize) -> Span {
        tracing::debug_span!("apply", node = self.node, commands)
    }

    pub(crate) fn committed(&self, term: Term, from: Index, to: Index) {
        if to > from {
            let (term, count) = (term.0, from.distance_to(to));
            tracing::debug!(node = self.node, term, index = to.0, count, "committed");
        }
    }

    pub(crate) fn synced(&self, writes: usize, bytes: u64, took: Duration) {
        tracing::trace!(node = self.node, writes, bytes, ?took, "synced");
    }

    pub(crate) fn applied(&self, commands: usize, took: Duration) {
        tracing::trace!(node = self.node, commands, ?took, "applied");
    }

    pub(crate) fn dropped(&self, from: NodeId) {
        tracing::debug!(node = self.node, peer = from.0, "inbox full: message dropped");
    }

    pub(crate) fn happened(&self, event: &NodeEvent) {
        let node = self.node;
        match event {
            NodeEvent::Role { term, role, leader } => self.role(*term, *role, *leader),
            NodeEvent::PeerWiped { peer } => tracing::warn!(node, peer = peer.0, "peer came back with another disk"),
            NodeEvent::Unreachable { peer } => tracing::debug!(node, peer = peer.0, "unreachable"),
            NodeEvent::Reachable { peer } => tracing::debug!(node, peer = peer.0, "reachable"),
            NodeEvent::SnapshotBegun { last } => tracing::info!(node, snapshot = %last, "takes a snapshot"),
            NodeEvent::SnapshotWritten { last, bytes } => {
                *lock(&self.snapshot_failure) = None;
                tracing::debug!(node, snapshot = %last, bytes, "snapshot written");
            }
            NodeEvent::DiskFull { why } => {
                tracing::warn!(node, %why, "no room for the log to grow: free some, the node goes on by itself");
            }
            NodeEvent::DiskFreed => tracing::info!(node, "there is room for the log again"),
            NodeEvent::SnapshotFailed { last, cause } => self.snapshot_failed(*last, cause),
            NodeEvent::Compacted { last } => tracing::info!(node, snapshot = %last, "log compacted"),
            NodeEvent::SnapshotArriving { from, last } => {
                tracing::info!(node, peer = from.0, snapshot = %last, "receives a snapshot");
            }
            NodeEvent::SnapshotReceived { from, last, bytes } => {
                tracing::info!(node, peer = from.0, snapshot = %last, bytes, "snapshot received");
            }
            NodeEvent::SnapshotUnwanted { last } => {
                tracing::info!(node, snapshot = %last, "received snapshot not wanted");
            }
            NodeEvent::SnapshotSending { to, last, bytes } => {
                tracing::info!(node, peer = to.0, snapshot = %last, bytes, "sends a snapshot");
            }
            NodeEvent::SnapshotSent { to, last, delivered } => {
                tracing::info!(node, peer = to.0, snapshot = %last, delivered, "snapshot sent");
            }
            NodeEvent::Restored { last, bytes } => tracing::info!(node, snapshot = %last, bytes, "machine restored"),
            NodeEvent::Stops { cause } => self.stops(cause.as_ref()),
        }
    }

    /// A campaign ends with the next news of any kind: won, lost, or with nobody elected.
    fn role(&self, term: Term, role: RoleKind, leader: Option<NodeId>) {
        let (node, term, leader) = (self.node, term.0, leader.map(|leader| leader.0));
        let mut election = lock(&self.election);
        let was = election.take();
        if role == RoleKind::Candidate {
            drop(was);
            let span = election.insert(tracing::info_span!(parent: &self.span, "election", node, term)).clone();
            drop(election);
            return span.in_scope(|| tracing::info!(node, term, %role, leader, "campaigns"));
        }
        drop(election);
        match (was, role) {
            (Some(span), RoleKind::Leader) => {
                span.in_scope(|| tracing::info!(node, term, %role, leader, "election won"));
            }
            (Some(span), _) => span.in_scope(|| tracing::info!(node, term, %role, leader, "election lost")),
            (None, _) => tracing::info!(node, term, %role, leader, "role"),
        }
    }

    /// Once for each kind of cause, until one is written.
    fn snapshot_failed(&self, last: EntryId, error: &StorageError) {
        let (node, kind) = (self.node, error.kind());
        if lock(&self.snapshot_failure).replace(kind) == Some(kind) {
            tracing::debug!(node, snapshot = %last, %error, "snapshot failed again");
        } else {
            tracing::warn!(node, snapshot = %last, %error, "snapshot failed: it is tried again later");
        }
    }

    fn stops(&self, cause: Option<&NodeError>) {
        let node = self.node;
        drop(lock(&self.election).take());
        match cause {
            Some(cause) => tracing::error!(node, %cause, "stops"),
            None => tracing::info!(node, "stops"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;
    use std::sync::Arc;

    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id};
    use tracing::{Event, Subscriber};
    use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
    use tracing_subscriber::registry::LookupSpan;

    use super::*;

    /// Writes down messages with the innermost span around them, and when spans begin and end.
    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<String>>>);

    struct Message<'a>(&'a mut String);

    impl Visit for Message<'_> {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            if field.name() == "message" {
                *self.0 = format!("{value:?}");
            }
        }
    }

    impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Paper {
        fn on_new_span(&self, _: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
            let name = context.span(id).unwrap().name();
            lock(&self.0).push(format!("begins: {name}"));
        }

        fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
            let (mut message, span) = (String::new(), context.event_span(event).map_or("nothing", |span| span.name()));
            event.record(&mut Message(&mut message));
            lock(&self.0).push(format!("{message}, within {span}"));
        }

        fn on_close(&self, id: Id, context: Context<'_, S>) {
            let name = context.span(&id).unwrap().name();
            lock(&self.0).push(format!("ends: {name}"));
        }
    }

    #[test]
    fn a_campaign_is_told_from_its_begin_to_its_end() {
        let paper = Paper::default();
        let of = |role, term, leader: u64| NodeEvent::Role {
            term: Term(term),
            role,
            leader: (leader > 0).then_some(NodeId(leader)),
        };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(paper.clone()), || {
            let lines = LogLines::new(NodeId(1));
            let news = [
                of(RoleKind::PreCandidate, 4, 0),
                of(RoleKind::Candidate, 5, 0),
                of(RoleKind::Candidate, 6, 0),
                of(RoleKind::Follower, 7, 2),
                of(RoleKind::Follower, 8, 0),
                of(RoleKind::Candidate, 9, 0),
                of(RoleKind::Leader, 9, 1),
                of(RoleKind::Candidate, 11, 0),
                NodeEvent::Stops { cause: None },
            ];
            news.iter().for_each(|event| lines.happened(event));
        });
        let expected = [
            "begins: raft",
            "role, within nothing",
            "begins: election",
            "campaigns, within election",
            "ends: election",
            "begins: election",
            "campaigns, within election",
            "election lost, within election",
            "ends: election",
            "role, within nothing",
            "begins: election",
            "campaigns, within election",
            "election won, within election",
            "ends: election",
            "begins: election",
            "campaigns, within election",
            "ends: election",
            "stops, within nothing",
            "ends: raft",
        ];
        assert_eq!(*lock(&paper.0), expected);
    }
}
