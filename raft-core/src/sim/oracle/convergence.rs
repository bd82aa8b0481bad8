//! When faults stop, a leader stands and all converge, in bounded time (§5.6).

use std::format;
use std::string::String;
use std::vec::Vec;

use crate::Index;
use crate::sim::server::Server;
use crate::sim::violation::{Invariant, Verdict, broken};

/// Whether all servers have the same log, applied to its end, which is what is `committed`, and know the same leader.
pub(crate) fn have_converged(servers: &[Server], committed: Index) -> bool {
    let first = &servers[0];
    let same = servers.iter().all(|server| {
        let seen = &server.seen;
        server.machine.is_idle()
            && server.machine.state == first.machine.state
            && seen.commit == seen.last.index
            && seen.last == first.seen.last
            && seen.applied == seen.commit
            && seen.leader.is_some()
            && seen.leader == first.seen.leader
    });
    same && first.machine.state.last == first.seen.last && first.seen.commit == committed
}

/// They have not, so many ticks after the last fault.
pub(crate) fn diverged(servers: &[Server], ticks: u64) -> Verdict {
    let word =
        |server: &Server| format!("\n  s{}: machine at {}, {:?}", server.id, server.machine.state.last, server.seen);
    let words: Vec<String> = servers.iter().map(word).collect();
    broken(Invariant::Convergence, format!("{ticks} ticks after the last fault:{}", words.concat()))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{found, leader, server};
    use super::*;
    use crate::sim::server::Seen;
    use crate::{EntryId, NodeId, Payload, RoleKind};

    #[test]
    fn servers_that_differ_have_not_converged() {
        let pair = || {
            let mut pair = [leader(), server()];
            pair[0].seen.leader = Some(NodeId(1));
            pair[1].seen = Seen { role: RoleKind::Follower, ..pair[0].seen };
            pair
        };
        assert!(have_converged(&pair(), Index(0)));
        assert!(!have_converged(&pair(), Index(1)), "more is committed");
        let changes: [fn(&mut Server); 4] = [
            |server| server.seen.last = EntryId::new(1, 1),
            |server| server.seen.leader = None,
            |server| server.seen.leader = Some(NodeId(2)),
            |server| server.machine.state.apply(EntryId::new(1, 1), &Payload::Noop),
        ];
        for change in changes {
            let mut pair = pair();
            change(&mut pair[1]);
            assert!(!have_converged(&pair, Index(0)));
        }
        assert_eq!(found(diverged(&pair(), 9)), Some(Invariant::Convergence));
    }
}
