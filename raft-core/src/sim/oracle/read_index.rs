//! A read sees everything that anyone was told before it was asked for (§8, thesis §6.4): each command that was acknowledged
//! to its client, and whatever an earlier read has seen. It is answered when the application of its server has got so far, and
//! not while that is being given a snapshot.

use std::collections::BTreeMap;
use std::format;

use crate::sim::server::Server;
use crate::sim::violation::{Invariant, Verdict, ensure};
use crate::{Index, RequestId};

#[derive(Default)]
pub(crate) struct ReadIndex {
    /// The last index that anyone has been told of.
    told: Index,
    /// For each read that waits, what that was when it was asked for.
    asked: BTreeMap<RequestId, Index>,
}

impl ReadIndex {
    /// A client was told of an entry.
    pub(crate) fn told(&mut self, index: Index) {
        self.told = self.told.max(index);
    }

    pub(crate) fn asked(&mut self, request: RequestId) {
        self.asked.insert(request, self.told);
    }

    /// A request was refused. Says whether it was a read.
    pub(crate) fn refused(&mut self, request: RequestId) -> bool {
        self.asked.remove(&request).is_some()
    }

    /// `server` answers a read: its reader looks at the application's state.
    pub(crate) fn answered(&mut self, server: &Server, request: RequestId, at: Index) -> Verdict {
        let told = self.asked.remove(&request);
        let seen = server.machine.state.last.index;
        ensure(told.is_some_and(|told| told <= at), Invariant::ReadIndex, || {
            format!("read {request} may be answered at {at}, and {told:?} had been told before it was asked for")
        })?;
        ensure(at <= seen && !server.machine.is_to_be_restored(), Invariant::ReadIndex, || {
            format!("read {request} may be answered at {at}, while the application is at {seen}, or is being restored")
        })?;
        self.told(seen);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{found, server};
    use super::*;
    use crate::sim::machine::{State, Work};
    use crate::{EntryId, Payload};

    #[test]
    fn a_read_that_misses_something_is_found() {
        let mut server = server();
        for index in 1..=3 {
            server.machine.state.apply(EntryId::new(1, index), &Payload::Noop);
        }
        let broken = Some(Invariant::ReadIndex);
        let mut oracle = ReadIndex::default();
        let ask = |oracle: &mut ReadIndex, request| {
            oracle.asked(RequestId(request));
            RequestId(request)
        };
        let early = ask(&mut oracle, 1);
        oracle.told(Index(2));
        let late = ask(&mut oracle, 2);
        assert_eq!(found(oracle.answered(&server, late, Index(1))), broken, "what was told is missing");
        assert_eq!(found(oracle.answered(&server, late, Index(2))), broken, "nobody asks any more");
        assert_eq!(found(oracle.answered(&server, early, Index(1))), None, "it was asked for before");
        // Its reader has seen the state as it is.
        let next = ask(&mut oracle, 3);
        assert_eq!(found(oracle.answered(&server, next, Index(2))), broken, "an earlier read saw more");
        let ahead = ask(&mut oracle, 4);
        assert_eq!(found(oracle.answered(&server, ahead, Index(4))), broken, "the application is not there");
        let restoring = ask(&mut oracle, 5);
        server.machine.give(Work::Restore(State::default()));
        assert_eq!(found(oracle.answered(&server, restoring, Index(3))), broken, "its state is about to be replaced");
        let refused = ask(&mut oracle, 6);
        assert!(oracle.refused(refused) && !oracle.refused(refused));
    }
}
