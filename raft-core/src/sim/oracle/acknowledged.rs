//! Acknowledged writes survive (§8): a command whose success a client was told stands in the committed history where it
//! stood then, for ever, and only once.

use std::format;
use std::vec::Vec;

use super::committed::Committed;
use crate::EntryId;
use crate::sim::clients::CommandId;
use crate::sim::violation::{Invariant, Verdict, ensure};

#[derive(Default)]
pub(crate) struct Acknowledged {
    told: Vec<(CommandId, EntryId)>,
}

impl Acknowledged {
    /// A client is told that its command has taken effect as `entry`.
    pub(crate) fn told(&mut self, command: CommandId, entry: EntryId, committed: &Committed) -> Verdict {
        self.told.push((command, entry));
        survives(command, entry, committed)
    }

    /// The run is over.
    pub(crate) fn finish(&self, committed: &Committed) -> Verdict {
        self.told.iter().try_for_each(|(command, entry)| survives(*command, *entry, committed))
    }
}

fn survives(command: CommandId, entry: EntryId, committed: &Committed) -> Verdict {
    let there = committed.id_at(entry.index).zip(committed.command_at(entry.index));
    ensure(there == Some((entry, command)), Invariant::Acknowledged, || {
        format!("command {command} was acknowledged at {entry}, where {there:?} is committed")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Bytes, Payload, Term};

    #[test]
    fn an_acknowledged_command_that_is_not_there_is_found() {
        let command = |id: CommandId| Payload::Command(Bytes::from(id.to_le_bytes().to_vec()));
        let mut committed = Committed::default();
        committed.push(Term(2), Term(2), &command(7));
        let tell = |id, entry| Acknowledged::default().told(id, entry, &committed);
        assert!(tell(7, EntryId::new(2, 1)).is_ok());
        for (id, entry) in [(8, EntryId::new(2, 1)), (7, EntryId::new(1, 1)), (7, EntryId::new(2, 2))] {
            assert_eq!(tell(id, entry).unwrap_err().invariant, Invariant::Acknowledged);
        }
        let mut acknowledged = Acknowledged::default();
        acknowledged.told(7, EntryId::new(2, 1), &committed).unwrap();
        assert!(acknowledged.finish(&committed).is_ok() && acknowledged.finish(&Committed::default()).is_err());
    }
}
