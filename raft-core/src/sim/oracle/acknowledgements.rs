//! What a follower acknowledges it has from its leader (§5.3): its log is the leader's through there. An acknowledgement
//! beyond what was verified lets a leader commit what nobody else has.

use std::format;

use crate::sim::server::Server;
use crate::sim::violation::{Invariant, Verdict, ensure};
use crate::{AppendOutcome, Message, NodeId, Rpc};

/// `server` sends `message` to the server of this name, if there is one.
pub(crate) fn sending(servers: &[Server], server: &Server, to: NodeId, message: &Message) -> Verdict {
    let Rpc::AppendEntriesReply { outcome, .. } = &message.rpc else { return Ok(()) };
    let (AppendOutcome::Matched { received, .. } | AppendOutcome::Full { received, .. }) = *outcome else {
        return Ok(());
    };
    let Some(leader) = servers.iter().find(|leader| leader.id == to && leader.leads()) else { return Ok(()) };
    let (Some(ours), Some(theirs)) = (&server.raft, &leader.raft) else { return Ok(()) };
    let (ours, theirs) = (ours.status(), theirs.status());
    if theirs.term() != message.term {
        return Ok(());
    }
    let same = match (ours.term_at(received), theirs.term_at(received)) {
        (Some(ours), Some(theirs)) => ours == theirs,
        // Behind either snapshot it is committed, which other oracles look after.
        _ => received <= ours.snapshot().last.index.max(theirs.snapshot().last.index),
    };
    ensure(same, Invariant::Acknowledgements, || {
        let id = leader.id;
        format!("sends {message} to {id}; its log ends at {} and the leader's at {}", ours.last(), theirs.last())
    })
}
