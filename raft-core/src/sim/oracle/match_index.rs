//! What a leader knows of a follower (Figure 2, matchIndex and nextIndex): within a leadership matchIndex only rises, and
//! nextIndex stays above it. Looked at when time passes.

use std::format;

use crate::sim::network::SERVERS_MAX;
use crate::sim::server::Server;
use crate::sim::violation::{Invariant, Verdict, ensure};
use crate::{EntryId, Term};

#[derive(Clone, Copy, Default)]
struct Leadership {
    life: u32,
    term: Term,
    matched: [EntryId; SERVERS_MAX],
}

#[derive(Default)]
pub(crate) struct MatchIndex {
    /// For each server, what it knew when it last led.
    known: [Leadership; SERVERS_MAX],
}

impl MatchIndex {
    /// The leader in `slot`, between two steps.
    pub(crate) fn leading(&mut self, slot: usize, server: &Server) -> Verdict {
        let Some(raft) = &server.raft else { return Ok(()) };
        let (life, term) = (server.life, server.seen.hard_state.term);
        let known = &mut self.known[slot];
        if (known.life, known.term) != (life, term) {
            *known = Leadership { life, term, ..Leadership::default() };
        }
        for (follower, earlier) in raft.status().followers().zip(&mut known.matched) {
            let sound = follower.matched >= *earlier && follower.next > follower.matched.index;
            ensure(sound, Invariant::MatchIndex, || {
                format!("knew {earlier} of a follower, and now knows {follower:?}")
            })?;
            *earlier = follower.matched;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{found, leader};
    use super::*;

    #[test]
    fn what_falls_within_a_leadership_is_found() {
        let (mut oracle, mut server) = (MatchIndex::default(), leader());
        assert_eq!(found(oracle.leading(0, &server)), None);
        oracle.known[0].matched[1] = EntryId::new(1, 3);
        assert_eq!(found(oracle.leading(0, &server)), Some(Invariant::MatchIndex));
        server.life += 1;
        assert_eq!(found(oracle.leading(0, &server)), None, "another life knows nothing");
    }
}
