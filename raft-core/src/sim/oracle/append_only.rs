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
