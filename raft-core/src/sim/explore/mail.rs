//! What travels between the servers of a small world.

use crate::fingerprint::Fingerprint;
use crate::{EntryId, Event, Message, NodeId, SnapshotMeta, Term};

/// What is on its way to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Message(Message),
    /// A snapshot with all its data.
    Snapshot {
        term: Term,
        meta: SnapshotMeta,
    },
    /// The transport's word to a leader that its snapshot has arrived.
    Report {
        snapshot: EntryId,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mail {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) content: Content,
}

impl Mail {
    pub(crate) fn fingerprint(&self, names: &[(NodeId, u64)]) -> u128 {
        let mut print = Fingerprint::new(names);
        print.word(7);
        print.node(self.from);
        print.node(self.to);
        match &self.content {
            Content::Message(message) => message.fingerprint(&mut print),
            Content::Snapshot { term, meta } => {
                print.words([u64::MAX, term.0]);
                meta.fingerprint(&mut print);
            }
            Content::Report { snapshot } => {
                print.words([u64::MAX, u64::MAX]);
                print.entry_id(*snapshot);
            }
        }
        print.finish()
    }
}

/// What a server is told when mail arrives.
pub(crate) fn receipt(mail: &Mail) -> Event {
    let from = mail.from;
    match &mail.content {
        Content::Message(message) => Event::Receive { from, message: message.clone() },
        Content::Snapshot { term, meta } => Event::SnapshotReceived { from, term: *term, snapshot: meta.clone() },
        Content::Report { snapshot } => Event::SnapshotSent { to: from, snapshot: *snapshot, delivered: true },
    }
}

/// What the sender of a snapshot is told when that is lost.
pub(crate) fn loss(mail: &Mail) -> Event {
    let snapshot = match &mail.content {
        Content::Snapshot { meta, .. } => meta.last,
        Content::Message(_) | Content::Report { .. } => EntryId::ZERO,
    };
    Event::SnapshotSent { to: mail.to, snapshot, delivered: false }
}
