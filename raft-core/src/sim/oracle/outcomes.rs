//! Every request has exactly one outcome, and it is true (§8): a command that was refused or superseded is not in the
//! history, and none is there twice.

use std::format;
use std::vec;

use super::committed::Committed;
use crate::RequestId;
use crate::sim::clients::{Clients, Outcome};
use crate::sim::violation::{Invariant, Verdict, broken, ensure};

/// A request that must be answered in the step that takes it.
#[derive(Clone, Copy)]
struct Asked {
    request: RequestId,
    count: u64,
    answers: u32,
}

#[derive(Default)]
pub(crate) struct Outcomes {
    asked: Option<Asked>,
}

impl Outcomes {
    pub(crate) fn asked(&mut self, request: RequestId, count: u64) {
        self.asked = Some(Asked { request, count, answers: 0 });
    }

    /// An answer came. Says how many commands the request had.
    pub(crate) fn answered(&mut self, request: RequestId, accepted: Option<u64>) -> Verdict<u64> {
        match &mut self.asked {
            Some(asked) if asked.request == request && accepted.is_none_or(|count| count == asked.count) => {
                asked.answers += 1;
                Ok(asked.count)
            }
            _ => broken(Invariant::Outcomes, format!("an answer to {request} that nobody asked for")),
        }
    }

    /// All actions of a step have been carried out.
    pub(crate) fn settled(&mut self) -> Verdict {
        let Some(asked) = self.asked.take() else { return Ok(()) };
        ensure(asked.answers == 1, Invariant::Outcomes, || {
            format!("request {} was answered {} times", asked.request, asked.answers)
        })
    }

    /// The server died in the step, its answer with it.
    pub(crate) fn crashed(&mut self) {
        self.asked = None;
    }
}

/// The run is over.
pub(crate) fn finish(committed: &Committed, clients: &Clients) -> Verdict {
    let mut seen = vec![false; clients.outcomes().len()];
    for (entry, id) in committed.commands() {
        let outcome = clients.outcome(id);
        let possible = outcome.is_some_and(|outcome| !matches!(outcome, Outcome::Refused | Outcome::Superseded));
        ensure(possible, Invariant::Outcomes, || format!("{outcome:?} command {id} is committed at {entry}"))?;
        let again = std::mem::replace(&mut seen[id as usize], true);
        ensure(!again, Invariant::Outcomes, || format!("command {id} is committed again at {entry}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::found;
    use super::*;
    use crate::{Payload, Term};

    #[test]
    fn an_answer_too_many_too_few_or_to_nobody_is_found() {
        let mut oracle = Outcomes::default();
        let request = RequestId(7);
        assert_eq!(found(oracle.answered(request, None)), Some(Invariant::Outcomes), "nobody asked");
        oracle.asked(request, 2);
        assert_eq!(found(oracle.answered(request, Some(3))), Some(Invariant::Outcomes), "of another size");
        assert_eq!(found(oracle.settled()), Some(Invariant::Outcomes), "no answer");
        oracle.asked(request, 2);
        assert_eq!(oracle.answered(request, Some(2)), Ok(2));
        assert_eq!(found(oracle.settled()), None);
        oracle.asked(request, 2);
        assert!(oracle.answered(request, None).is_ok() && oracle.answered(request, None).is_ok());
        assert_eq!(found(oracle.settled()), Some(Invariant::Outcomes), "two answers");
    }

    #[test]
    fn an_outcome_that_is_not_true_is_found() {
        let (mut clients, mut committed) = (Clients::default(), Committed::default());
        let (request, commands) = clients.request(1, 8);
        let payload = Payload::Command(commands[0].clone());
        committed.push(Term(1), Term(1), &payload);
        assert_eq!(found(finish(&committed, &clients)), None, "nobody knows");
        clients.refused(request, 1);
        assert_eq!(found(finish(&committed, &clients)), Some(Invariant::Outcomes), "refused, and there");
        let (mut clients, mut committed) = (Clients::default(), Committed::default());
        clients.request(1, 8);
        committed.push(Term(1), Term(1), &payload);
        committed.push(Term(1), Term(1), &payload);
        assert_eq!(found(finish(&committed, &clients)), Some(Invariant::Outcomes), "there twice");
    }
}
