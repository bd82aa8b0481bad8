//! A request that is answered later, as a transfer of leadership is, has exactly one answer while its server lives, and none
//! after that.

use std::collections::BTreeMap;
use std::format;
use std::vec::Vec;

#[cfg(test)]
use crate::Membership;
use crate::sim::server::Server;
use crate::sim::violation::{Invariant, Verdict, broken, ensure};
use crate::{EntryId, Payload, RequestId};

#[derive(Default)]
pub(crate) struct OneAnswer {
    /// What waits, and at which server.
    waiting: BTreeMap<RequestId, usize>,
}

impl OneAnswer {
    pub(crate) fn asked(&mut self, slot: usize, request: RequestId) {
        self.waiting.insert(request, slot);
    }

    pub(crate) fn answered(&mut self, slot: usize, request: RequestId) -> Verdict {
        match self.waiting.remove(&request) {
            Some(asked) if asked == slot => Ok(()),
            _ => broken(Invariant::OneAnswer, format!("an answer to {request}, which does not wait there")),
        }
    }

    /// Whoever asked a server that died must not hear from it any more.
    pub(crate) fn crashed(&mut self, slot: usize) {
        self.waiting.retain(|_, asked| *asked != slot);
    }

    /// Whether nothing waits.
    pub(crate) fn all_answered(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Everything had time enough to be answered.
    pub(crate) fn finish(&self, ticks: u64) -> Verdict {
        if self.all_answered() {
            return Ok(());
        }
        let waiting: Vec<u64> = self.waiting.keys().map(|request| request.0).collect();
        broken(Invariant::OneAnswer, format!("no answer to {waiting:?}, {ticks} ticks after the last fault"))
    }
}

/// A change is said to have begun with the entry `first`: that is a configuration, and names the change.
pub(crate) fn changes(server: &Server, request: RequestId, first: EntryId, count: u64) -> Verdict {
    let status = server.raft.as_ref().map(|raft| raft.status());
    let entry =
        status.and_then(|status| status.entry(first.index).filter(|_| status.term_at(first.index) == Some(first.term)));
    let begins = matches!(entry, Some(Payload::Membership(membership)) if membership.change() == first);
    ensure(begins && count == 1, Invariant::OneAnswer, || {
        format!("{request} is {first} with {count}, which is {entry:?}")
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{found, leader_of};
    use super::*;
    use crate::{Change, Edit, Event, NodeId};

    #[test]
    fn a_change_that_did_not_begin_is_found() {
        let mut server = leader_of(1, &Membership::new([NodeId(1)]));
        let raft = server.raft.as_mut().unwrap();
        let write = crate::WriteId::from_number(2);
        let _ = raft.step(Event::Persisted(write));
        let change = Change::of(Edit::AddLearner { id: NodeId(2), address: crate::Address::default() });
        let _ = raft.step(Event::Change { request: RequestId(1), change: change.into() });
        let last = raft.status().last();
        let broken = Some(Invariant::OneAnswer);
        let begins = |first, count| found(changes(&server, RequestId(1), first, count));
        assert_eq!(begins(last, 1), None, "{last}");
        assert_eq!(begins(last, 2), broken);
        assert_eq!(begins(EntryId::new(2, last.index.0 - 1), 1), broken, "no configuration");
        assert_eq!(begins(EntryId::new(1, last.index.0), 1), broken, "of another term");
        assert_eq!(begins(EntryId::new(1, 1), 1), broken, "it names another change");
    }

    #[test]
    fn an_answer_too_many_or_too_few_or_after_a_crash_is_found() {
        let mut oracle = OneAnswer::default();
        let (one, other) = (RequestId(1), RequestId(2));
        assert_eq!(found(oracle.answered(0, one)), Some(Invariant::OneAnswer), "nobody asked");
        oracle.asked(0, one);
        oracle.asked(1, other);
        assert_eq!(found(oracle.finish(9)), Some(Invariant::OneAnswer), "no answer");
        assert_eq!(oracle.answered(0, one), Ok(()));
        assert_eq!(found(oracle.answered(0, one)), Some(Invariant::OneAnswer), "two answers");
        oracle.crashed(0);
        assert!(!oracle.all_answered(), "another server's request waits on");
        oracle.crashed(1);
        assert_eq!(oracle.finish(9), Ok(()));
        assert_eq!(found(oracle.answered(1, other)), Some(Invariant::OneAnswer), "after a crash");
        oracle.asked(0, one);
        assert_eq!(found(oracle.answered(1, one)), Some(Invariant::OneAnswer), "by another server");
    }
}
