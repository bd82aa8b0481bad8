//! What was done to a server's log in a life, or asked of it.

use std::vec::Vec;

use super::{LogOperation, Sketch};
use crate::sim::fuzz::{Feed, Life};
use crate::{Action, Entries, EntryId, Event, Message, Payload, Rpc, SnapshotWrite};

impl Life {
    /// What was done to the server's log in this life, or asked of it.
    #[must_use]
    pub fn log_operations(&self) -> Vec<LogOperation> {
        let restored = &self.birth.restored;
        let base = restored.entries.first().filter(|first| first.index <= restored.snapshot.last.index);
        // What a head's entries carry is not known: the log begins behind it.
        let head = restored.head.first().map(|_| restored.head.last);
        let base = head.or(base).unwrap_or(restored.snapshot.last);
        let mut operations = Vec::from([LogOperation::Reset { base }]);
        operations
            .push(LogOperation::Append { entries: sketched(&restored.entries.clone().starting_at(base.index.next())) });
        for (feed, actions) in &self.steps {
            if let Feed::Event(Event::Receive { message: Message { rpc, .. }, .. }) = feed
                && let Rpc::AppendEntries { prev, entries, .. } = rpc
            {
                operations.push(LogOperation::Receive { prev: *prev, entries: sketched(entries) });
            }
            actions.iter().for_each(|action| note(action, &mut operations));
        }
        operations
    }
}

fn note(action: &Action, operations: &mut Vec<LogOperation>) {
    let part = |entries: &Entries, merged| {
        let (first, last) = (entries.first()?, entries.last()?);
        let (count, bytes) = (entries.len(), entries.bytes());
        Some(LogOperation::Slice { from: first.index, to: last.index, count, bytes, merged })
    };
    match action {
        Action::Persist(write) => {
            match &write.snapshot {
                Some(SnapshotWrite::Compacted { first, .. }) => {
                    operations.push(LogOperation::Compact { index: first.prev() });
                }
                Some(SnapshotWrite::Installed { snapshot }) => {
                    operations.push(LogOperation::Reset { base: snapshot.last });
                }
                None => {}
            }
            if let Some(first) = write.entries.first() {
                operations.push(LogOperation::Truncate { from: first.index });
                operations.push(LogOperation::Append { entries: sketched(&write.entries) });
            }
        }
        Action::Send { message: Message { rpc: Rpc::AppendEntries { entries, .. }, .. }, .. } => {
            operations.extend(part(entries, true));
        }
        Action::Apply(entries) => operations.extend(part(entries, false)),
        Action::Fetch { to, .. } => operations.push(LogOperation::Evict { through: *to, bytes: 0 }),
        _ => {}
    }
}

fn sketched(entries: &Entries) -> Vec<Sketch> {
    let sketch = |(id, payload): (EntryId, &Payload)| {
        let bytes = if let Payload::Command(command) = payload { command.len() } else { 0 };
        Sketch { term: id.term, bytes: u8::try_from(bytes).unwrap_or(u8::MAX) }
    };
    entries.iter().map(sketch).collect()
}
