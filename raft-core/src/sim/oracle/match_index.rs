//! What a leader knows of a follower (Figure 2, matchIndex and nextIndex): within a leadership matchIndex only rises, and
//! nextIndex stays above it. What is known of a follower is of one disk: of another one nothing is known at first.

use std::format;

use smallvec::SmallVec;

use crate::sim::network::SERVERS_MAX;
use crate::sim::server::Server;
use crate::sim::violation::{Invariant, Verdict, ensure};
use crate::{EntryId, ServerId, Term};

#[derive(Clone, Default)]
struct Leadership {
    life: u32,
    term: Term,
    /// By name and disk: followers come and go within a leadership.
    matched: SmallVec<[(ServerId, EntryId); SERVERS_MAX]>,
}

#[derive(Default)]
pub(crate) struct MatchIndex {
    /// For each server, what it knew when it last led.
    known: [Leadership; SERVERS_MAX],
}

impl MatchIndex {
    /// The leader in `slot`, between two steps. Of a follower that is gone and comes back nothing is known either.
    pub(crate) fn leading(&mut self, slot: usize, server: &Server) -> Verdict {
        let Some(raft) = &server.raft else { return Ok(()) };
        let (life, term) = (server.life, server.seen.hard_state.term);
        let known = &mut self.known[slot];
        if (known.life, known.term) != (life, term) {
            *known = Leadership { life, term, ..Leadership::default() };
        }
        let mut matched = SmallVec::new();
        for follower in raft.status().followers() {
            let server = ServerId { id: follower.id, incarnation: follower.disk };
            let of_it = known.matched.iter().find(|(known, _)| *known == server);
            let earlier = of_it.map_or(EntryId::ZERO, |(_, matched)| *matched);
            let sound = follower.matched >= earlier && follower.next > follower.matched.index;
            ensure(sound, Invariant::MatchIndex, || {
                format!("knew {earlier} of a follower, and now knows {follower:?}")
            })?;
            matched.push((server, follower.matched));
        }
        known.matched = matched;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::super::testing::{advance, found, leader, leader_of};
    use super::*;
    use crate::{Incarnation, Membership, NodeId};

    #[test]
    fn what_falls_within_a_leadership_is_found() {
        let (mut oracle, mut server) = (MatchIndex::default(), leader());
        assert_eq!(found(oracle.leading(0, &server)), None);
        oracle.known[0].matched[1].1 = EntryId::new(1, 3);
        assert_eq!(found(oracle.leading(0, &server)), Some(Invariant::MatchIndex));
        server.life += 1;
        assert_eq!(found(oracle.leading(0, &server)), None, "another life knows nothing");
    }

    /// As if the configuration in force had changed within the leadership: places shift, names do not.
    #[test]
    fn followers_are_told_apart_by_name() {
        let led = |voters: &[u64], outgoing: &[u64], learners: &[u64]| {
            let [voters, outgoing, learners] = [voters, outgoing, learners].map(|ids| ids.iter().map(|id| NodeId(*id)));
            leader_of(1, &Membership::joint(voters, outgoing, learners))
        };
        let mut oracle = MatchIndex::default();
        let known =
            |oracle: &MatchIndex| oracle.known[0].matched.iter().map(|(known, _)| known.id.0).collect::<Vec<_>>();
        assert_eq!(found(oracle.leading(0, &led(&[1, 2, 3], &[], &[]))), None);
        oracle.known[0].matched[0].1 = EntryId::new(1, 3);
        let mut before = oracle.known[0].clone();
        let joint = led(&[1, 3, 4], &[1, 2, 3], &[5]);
        assert_eq!(found(oracle.leading(0, &joint)), Some(Invariant::MatchIndex), "2 is still a follower");
        assert_eq!(found(oracle.leading(0, &led(&[1, 3, 4], &[], &[5]))), None, "2 is gone, and 3 was never matched");
        assert_eq!(known(&oracle), [3, 4, 5]);
        assert_eq!(found(oracle.leading(0, &joint)), None, "2 is back, and nothing is known of it");
        before.matched[0].0.id = NodeId(5);
        oracle.known[0] = before;
        assert_eq!(found(oracle.leading(0, &joint)), Some(Invariant::MatchIndex), "5 is the last of the list now");
    }

    #[test]
    fn what_is_known_is_of_one_disk() {
        let (mut oracle, mut server) = (MatchIndex::default(), leader());
        advance(&mut server, 10, &[2]);
        assert_eq!(found(oracle.leading(0, &server)), None);
        let (second, matched) = &mut oracle.known[0].matched[0];
        assert_eq!(second.incarnation, Incarnation(2));
        *matched = EntryId::new(1, 3);
        assert_eq!(found(oracle.leading(0, &server)), Some(Invariant::MatchIndex));
        oracle.known[0].matched[0].0.incarnation = Incarnation(9);
        assert_eq!(found(oracle.leading(0, &server)), None, "it was another disk that had so much");
    }
}
