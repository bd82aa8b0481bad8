//! No server of a cluster that keeps its promises halts (§5.4.3): who halts has seen what cannot be, or was replaced by a
//! server of its name on another disk.

use std::format;

use crate::sim::violation::{Invariant, Verdict, broken};
use crate::{Fatal, NodeId};

/// `server` has stopped for good.
pub(crate) fn halted(server: NodeId, why: &Fatal) -> Verdict {
    // What a process finds out whose server runs on another disk by now is no contradiction.
    if matches!(why, Fatal::Replaced { .. }) {
        return Ok(());
    }
    broken(Invariant::NoHalt, format!("server {server} halts: {why}"))
}

#[cfg(test)]
mod tests {
    use super::super::testing::found;
    use super::*;
    use crate::Term;

    #[test]
    fn whoever_halts_is_found() {
        let why = Fatal::TwoLeaders { term: Term(1), one: NodeId(1), other: NodeId(2) };
        assert_eq!(found(halted(NodeId(3), &why)), Some(Invariant::NoHalt));
    }
}
