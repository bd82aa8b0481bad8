//! Leader Append-Only (§5.3, Figure 3): a leader never overwrites or deletes entries in its log; it only appends.

use std::format;

use crate::sim::server::Seen;
use crate::sim::violation::{Invariant, Verdict, ensure};
use crate::{SnapshotWrite, Write};

/// A server writes in a step that it entered as `before` and left as `after`.
pub(crate) fn writing(before: &Seen, after: &Seen, write: &Write) -> Verdict {
    if !after.leads_on_from(before) {
        return Ok(());
    }
    let appends = write.entries.first().is_none_or(|first| first.index > before.last.index);
    let installs = matches!(write.snapshot, Some(SnapshotWrite::Installed { .. }));
    ensure(appends && !installs, Invariant::LeaderAppendOnly, || {
        format!("leads in term {} with a log through {} and writes {write}", before.hard_state.term, before.last)
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{found, leader, meta, write};
    use super::*;
    use crate::RoleKind;

    #[test]
    fn a_leader_that_overwrites_is_found() {
        let mut leads = leader().seen;
        leads.last = crate::EntryId::new(1, 4);
        let follows = Seen { role: RoleKind::Follower, ..leads };
        let replaces = write(4, &[1]);
        assert_eq!(found(writing(&leads, &leads, &write(5, &[1]))), None);
        assert_eq!(found(writing(&leads, &leads, &replaces)), Some(Invariant::LeaderAppendOnly));
        let installs = Write { snapshot: Some(SnapshotWrite::Installed { snapshot: meta(1, 9) }), ..write(5, &[]) };
        assert_eq!(found(writing(&leads, &leads, &installs)), Some(Invariant::LeaderAppendOnly));
        assert_eq!(found(writing(&leads, &follows, &replaces)), None, "it leads no more");
        assert_eq!(found(writing(&follows, &leads, &replaces)), None, "it did not lead yet");
    }
}
