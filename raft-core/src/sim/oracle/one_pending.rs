//! A leader appends a configuration only when the one in force is committed and not joint, and an entry of its own term is
//! committed (§6, and the correction of the single-server change); but for the second half of what is committed.

use std::format;

use crate::sim::server::Server;
use crate::sim::violation::{Invariant, Verdict, ensure};
use crate::{EntryId, Index, Membership};

/// The leader `server` has appended the configuration `next` in the entry `id`, behind the one before, which stands at `at`.
pub(crate) fn appends(server: &Server, (at, before): (Index, &Membership), id: EntryId, next: &Membership) -> Verdict {
    let Some(raft) = &server.raft else { return Ok(()) };
    let commit = server.seen.commit;
    let of_term = raft.status().term_at(commit) == Some(id.term);
    let ends = before.is_joint() && !next.is_joint() && before.change() == next.change();
    let sound = at <= commit && (ends || !before.is_joint() && of_term);
    ensure(sound, Invariant::OnePending, || {
        let own = if of_term { "" } else { ", nothing of its term" };
        format!("appended {id}, {next}, behind {before} at {at}, and {commit} is committed{own}")
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{found, leader_of};
    use super::*;
    use crate::NodeId;

    #[test]
    fn what_is_appended_too_early_is_found() {
        let broken = Some(Invariant::OnePending);
        let of = |outgoing: &[u64]| Membership::joint([1, 2].map(NodeId), outgoing.iter().map(|id| NodeId(*id)), []);
        let (settled, joint) = (of(&[]), of(&[1, 2, 3]));
        // It leads in term 2; 1@1 is the configuration, 2@2 a no-op.
        let appends = |before: &Membership, commit: u64, next: &Membership| {
            let mut server = leader_of(1, before);
            server.seen.commit = Index(commit);
            found(appends(&server, (Index(1), before), EntryId::new(2, 3), next))
        };
        assert_eq!(appends(&settled, 2, &joint), None);
        assert_eq!(appends(&settled, 1, &joint), broken, "nothing of its term is committed");
        assert_eq!(appends(&settled, 0, &joint), broken, "the one in force is not committed");
        assert_eq!(appends(&joint, 2, &settled), None);
        assert_eq!(appends(&joint, 1, &settled), None, "the second half of what is committed");
        assert_eq!(appends(&joint, 0, &settled), broken);
        assert_eq!(appends(&joint, 2, &joint), broken, "a change is under way");
    }
}
