//! Terms increase monotonically (§5.1); commitIndex and lastApplied too (Figure 2), within a life; a vote stands for its
//! term. And lastApplied <= commitIndex <= the end of the log.

use std::format;

use crate::sim::server::Seen;
use crate::sim::violation::{Invariant, Verdict, ensure};

/// A server has stepped from `before` to `after`.
pub(crate) fn stepped(before: &Seen, after: &Seen) -> Verdict {
    let (earlier, later) = (before.hard_state, after.hard_state);
    let rises = later.term >= earlier.term
        && after.commit >= before.commit
        && after.handed_out >= before.handed_out
        && after.applied >= before.applied;
    let ordered = after.applied <= after.handed_out
        && after.handed_out <= after.commit
        && after.commit <= after.last.index
        && after.durable <= after.last.index;
    let vote_stands = later.term > earlier.term || earlier.voted_for.is_none() || later.voted_for == earlier.voted_for;
    ensure(rises && ordered && vote_stands, Invariant::Monotone, || format!("went from {before:?} to {after:?}"))
}
