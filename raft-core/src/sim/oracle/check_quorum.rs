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
