//! A server that has left is told so, and nobody writes to it any more after `farewell_ticks` (thesis §4.2.2): a leader forgets
//! it with the next heartbeat.

use std::format;

use smallvec::SmallVec;

use crate::sim::network::SERVERS_MAX;
use crate::sim::server::Server;
use crate::sim::violation::{Invariant, Verdict, ensure};
use crate::{NodeId, Term};

#[derive(Clone, Default)]
struct Leadership {
    life: u32,
    term: Term,
    /// Who was written to without being a member, and since when, by the leader's clock.
    seen_off: SmallVec<[(NodeId, u64); 2]>,
}

#[derive(Default)]
pub(crate) struct Farewell {
    of: [Leadership; SERVERS_MAX],
}

impl Farewell {
    /// The server in `slot` has stepped: who is a member again, if only until the next change, will be seen off anew. The leader
    /// need not have written to it in between.
    pub(crate) fn stepped(&mut self, slot: usize, server: &Server) {
        let of = &mut self.of[slot];
        if of.seen_off.is_empty() {
            return;
        }
        if let Some(raft) = &server.raft {
            of.seen_off.retain(|(id, _)| !raft.status().membership().contains(*id));
        }
    }

    /// The server in `slot` writes to another one, and not in reply: an append, or a snapshot, at its own time `now`; or
    /// anything else.
    pub(crate) fn writes(&mut self, slot: usize, server: &Server, to: NodeId, (append, now): (bool, u64)) -> Verdict {
        let Some(raft) = &server.raft else { return Ok(()) };
        let of = &mut self.of[slot];
        let (life, term) = (server.life, raft.status().term());
        if (of.life, of.term) != (life, term) {
            *of = Leadership { life, term, seen_off: SmallVec::new() };
        }
        if raft.status().membership().contains(to) {
            return Ok(());
        }
        let since = match of.seen_off.iter().find(|(id, _)| *id == to) {
            Some((_, since)) => *since,
            None => {
                of.seen_off.push((to, now));
                now
            }
        };
        let farewell = u64::from(server.config.farewell_ticks) + u64::from(server.config.heartbeat_ticks);
        ensure(append && now - since <= farewell, Invariant::Farewell, || {
            let membership = raft.status().membership();
            format!(
                "writes to {to}, which is not in {membership} and was first written to so {} ticks ago",
                now - since
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{found, leader, leader_of};
    use super::*;
    use crate::Membership;

    #[test]
    fn whoever_is_written_to_for_too_long_is_found() {
        let mut server = leader();
        (server.config.farewell_ticks, server.config.heartbeat_ticks) = (8, 2);
        let broken = Some(Invariant::Farewell);
        let mut oracle = Farewell::default();
        let mut writes = |server: &Server, to, append, now| found(oracle.writes(0, server, NodeId(to), (append, now)));
        assert_eq!((writes(&server, 2, true, 0), writes(&server, 2, true, 100)), (None, None), "a member");
        assert_eq!((writes(&server, 4, true, 5), writes(&server, 4, true, 15)), (None, None));
        assert_eq!(writes(&server, 4, true, 16), broken);
        assert_eq!(writes(&server, 5, false, 16), broken, "a stranger is asked for its vote");
        server.life += 1;
        assert_eq!(writes(&server, 4, true, 16), None, "another leader begins anew");
    }

    #[test]
    fn who_was_a_member_in_between_is_seen_off_anew() {
        let of = |members: &[u64]| {
            let mut server = leader_of(1, &Membership::new(members.iter().copied().map(NodeId)));
            (server.config.farewell_ticks, server.config.heartbeat_ticks) = (8, 2);
            server
        };
        let (with, without) = (of(&[1, 2]), of(&[1]));
        let mut oracle = Farewell::default();
        let writes = |oracle: &mut Farewell, now| found(oracle.writes(0, &without, NodeId(2), (true, now)));
        assert_eq!(writes(&mut oracle, 5), None);
        oracle.stepped(0, &without);
        assert_eq!(writes(&mut oracle, 16), Some(Invariant::Farewell));
        oracle.stepped(0, &with);
        oracle.stepped(0, &without);
        assert_eq!((writes(&mut oracle, 16), writes(&mut oracle, 26)), (None, None));
        assert_eq!(writes(&mut oracle, 27), Some(Invariant::Farewell));
    }
}
