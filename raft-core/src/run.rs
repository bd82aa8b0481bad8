//! Log entries, and runs of them: parts of what was made together, shared by log, messages, writes and applies.

use alloc::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

#[cfg(feature = "sim")]
use crate::fingerprint::Fingerprint;
use crate::membership::Membership;
use crate::types::{Index, Term};

/// What an entry counts against byte limits besides its command, so that empty commands are not free.
pub const ENTRY_OVERHEAD_BYTES: u64 = 16;

/// What a log entry carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// A leader's first entry of its term (§8); the state machine has nothing to do.
    Noop,
    /// A command for the state machine.
    Command(Bytes),
    /// A configuration (§6), in force from the moment a server has it in its log.
    Membership(Arc<Membership>),
}

/// One log entry; its index is its place in the [`Entries`](crate::Entries) that hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The term in which a leader created it.
    pub term: Term,
    /// What it carries.
    pub payload: Payload,
}

impl Entry {
    /// What the entry counts against byte limits.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let payload = match &self.payload {
            Payload::Noop => 0,
            Payload::Command(command) => command.len() as u64,
            Payload::Membership(membership) => membership.bytes(),
        };
        payload + ENTRY_OVERHEAD_BYTES
    }
}

#[cfg(feature = "sim")]
impl Payload {
    pub(crate) fn fingerprint(&self, print: &mut Fingerprint<'_>) {
        match self {
            Payload::Noop => print.word(0),
            Payload::Command(command) => {
                print.word(1);
                print.bytes(command);
            }
            Payload::Membership(membership) => {
                print.word(2);
                membership.fingerprint(print);
            }
        }
    }
}

/// Entries that were made together, in one shared, immutable allocation; a single one lies in it directly. Never empty.
struct Batch {
    first: Index,
    entries: SmallVec<[Entry; 1]>,
    bytes: u64,
    /// Whether there is a configuration among them: most have none, and need not be searched on every server.
    has_membership: bool,
}

/// A part of one batch; never empty. Small, for it moves through every message, write and apply.
#[derive(Clone)]
pub(crate) struct Run {
    batch: Arc<Batch>,
    start: u32,
    end: u32,
    pub(crate) bytes: u64,
}

impl Run {
    /// `entries` must not be empty.
    pub(crate) fn new(first: Index, entries: SmallVec<[Entry; 1]>) -> Run {
        let (mut bytes, mut has_membership) = (0, false);
        for entry in &entries {
            bytes += entry.bytes();
            has_membership |= matches!(entry.payload, Payload::Membership(_));
        }
        let end = u32::try_from(entries.len()).unwrap_or(u32::MAX);
        Run { batch: Arc::new(Batch { first, entries, bytes, has_membership }), start: 0, end, bytes }
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.batch.entries[self.start as usize..self.end as usize]
    }

    pub(crate) fn has_membership(&self) -> bool {
        self.batch.has_membership
    }

    pub(crate) fn len(&self) -> u64 {
        u64::from(self.end - self.start)
    }

    /// What its whole batch counts against byte limits: all of that lives as long as the run does.
    pub(crate) fn bytes_kept_alive(&self) -> u64 {
        self.batch.bytes
    }

    pub(crate) fn first(&self) -> Index {
        Index(self.batch.first.0 + u64::from(self.start))
    }

    pub(crate) fn last(&self) -> Index {
        Index(self.batch.first.0 + u64::from(self.end) - 1)
    }

    pub(crate) fn last_term(&self) -> Term {
        self.batch.entries[self.end as usize - 1].term
    }

    pub(crate) fn first_term(&self) -> Term {
        self.batch.entries[self.start as usize].term
    }

    /// The entries from `from` through `to`, which must overlap the run.
    pub(crate) fn clip(&self, from: Index, to: Index) -> Run {
        let mut run = self.clone();
        if from <= self.first() && to >= self.last() {
            return run;
        }
        run.start += u32::try_from(self.first().distance_to(from)).unwrap_or(u32::MAX);
        run.end -= u32::try_from(to.distance_to(self.last())).unwrap_or(u32::MAX);
        run.bytes = run.entries().iter().map(Entry::bytes).sum();
        run
    }

    /// What is left of a run that was cut: were it less than half of what it keeps alive, it gets an allocation of its own,
    /// and so do its commands, which live in the frame they came in. Else a peer could make us hold a frame for each entry.
    #[cold]
    pub(crate) fn settled(self) -> Run {
        if self.bytes_kept_alive() <= 2 * self.bytes {
            return self;
        }
        let own = |entry: &Entry| match &entry.payload {
            Payload::Command(command) => {
                Entry { term: entry.term, payload: Payload::Command(Bytes::copy_from_slice(command)) }
            }
            Payload::Noop | Payload::Membership(_) => entry.clone(),
        };
        Run::new(self.first(), self.entries().iter().map(own).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::NodeId;

    #[test]
    fn members_count_against_byte_limits() {
        let membership = Membership::joint([NodeId(1), NodeId(2)], [NodeId(3)], [NodeId(4), NodeId(5)]);
        let entry = Entry { term: Term(1), payload: Payload::Membership(membership.into()) };
        assert_eq!(entry.bytes(), 5 * Membership::MEMBER_BYTES + ENTRY_OVERHEAD_BYTES);
    }
}
