//! Persistent state is updated on stable storage before responding to RPCs (Figure 2): nothing is promised before it is
//! durable. The promises: RequestVote itself, a granted vote, an acknowledgement; and what a server takes as durable. A
//! leader's AppendEntries may leave before its entries are durable, its term may not (thesis §10.2.1).

use std::format;

use crate::sim::server::Server;
use crate::sim::violation::{Invariant, Verdict, ensure};
use crate::{AppendOutcome, EntryId, HardState, Index, Message, NodeId, Rpc};

/// `server` sends `message`: its disk must already hold what that promises.
pub(crate) fn sending(server: &Server, to: NodeId, message: &Message) -> Verdict {
    let image = &server.disk.durable;
    // An answer does not say for which disk of its receiver the vote is.
    let vote = |id| (message.term, Some(id));
    let kept_vote = (image.hard_state.term, image.hard_state.voted_for.map(|vote| vote.id));
    let own_vote = HardState { term: message.term, voted_for: Some(server.server_id()) };
    let kept = match &message.rpc {
        Rpc::RequestVote { last, .. } => image.hard_state == own_vote && image.last() == *last,
        Rpc::RequestVoteReply { granted: true } => kept_vote == vote(to),
        Rpc::AppendEntries { .. } => image.hard_state.term == message.term,
        Rpc::AppendEntriesReply { outcome, .. } => match *outcome {
            AppendOutcome::Matched { durable, .. } | AppendOutcome::Full { durable, .. } => {
                durable == Index(0) || image.hard_state.term == message.term && holds(server, durable)
            }
            AppendOutcome::Conflict { .. } | AppendOutcome::OlderTerm => true,
        },
        Rpc::PreVote { .. }
        | Rpc::PreVoteReply { .. }
        | Rpc::RequestVoteReply { granted: false }
        | Rpc::TimeoutNow { .. }
        | Rpc::ReadIndex { .. }
        | Rpc::ReadIndexReply { .. } => true,
    };
    ensure(kept, Invariant::Promises, || {
        let (HardState { term, voted_for }, last) = (image.hard_state, image.last());
        format!("sends {message} to {to}, but its disk holds term {term}, vote {voted_for:?}, log through {last}")
    })
}

/// `server` takes its log as durable through `seen.durable`.
pub(crate) fn stepped(server: &Server) -> Verdict {
    let durable = server.seen.durable;
    ensure(holds(server, durable), Invariant::Promises, || {
        format!("takes {durable} as durable, but its disk holds a log through {}", server.disk.durable.last())
    })
}

/// Whether the disk holds the server's own entry at `index`; of one that the server has forgotten, some entry is enough.
fn holds(server: &Server, index: Index) -> bool {
    let image = &server.disk.durable;
    let term = server.raft.as_ref().and_then(|raft| raft.status().term_at(index));
    term.map_or(index <= image.last().index, |term| image.holds(EntryId { term, index }))
}
