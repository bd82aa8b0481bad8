//! A leader that is out of touch with a majority for an election timeout leads no longer (thesis §6.2): its clients would
//! wait for ever, and a new leader for its leave.

use std::format;

use crate::quorum::majority;
use crate::sim::server::Server;
use crate::sim::violation::{Invariant, Verdict, ensure};

/// `server` leads, and time has just passed for it.
pub(crate) fn leading(server: &Server) -> Verdict {
    let Some(raft) = &server.raft else { return Ok(()) };
    let timeout = u64::from(server.config.election_ticks_min);
    let (mut members, mut heard) = (1, 1);
    for follower in raft.status().followers() {
        members += 1;
        heard += usize::from(follower.silent_ticks < timeout);
    }
    ensure(heard >= majority(members), Invariant::CheckQuorum, || {
        format!("leads, and has heard {heard} of {members} servers within {timeout} ticks, itself among them")
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{found, leader};
    use super::*;

    #[test]
    fn a_leader_out_of_touch_is_found() {
        let mut server = leader();
        assert_eq!(found(leading(&server)), None, "its term has just begun");
        server.config.election_ticks_min = 0;
        assert_eq!(found(leading(&server)), Some(Invariant::CheckQuorum), "as if an election timeout had passed");
    }
}
