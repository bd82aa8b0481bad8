//! A request that is answered later, as a transfer of leadership is, has exactly one answer while its server lives, and none
//! after that.

use std::collections::BTreeMap;
use std::format;
use std::vec::Vec;

use crate::RequestId;
use crate::sim::violation::{Invariant, Verdict, broken};

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

#[cfg(test)]
mod tests {
    use super::super::testing::found;
    use super::*;

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
