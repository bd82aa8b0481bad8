//! The clients' histories are linearizable (§8): to them there is one list, to which each command appends itself, at one
//! moment between its request and its answer, and the answer is the list as it then was.
//!
//! To search for the moments is costly; but the committed history is the only order in which they can stand, since an answer
//! tells everything before it. So two things are enough: an answer is true to that history, and whoever asks after another
//! one's answer stands behind it. A command of which its client hears nothing has its place too, or none. A client that
//! tries again asks anew: that only one of its tries takes effect is the affair of sessions, outside the core.

use std::format;
use std::vec::Vec;

use super::committed::Committed;
use crate::sim::clients::CommandId;
use crate::sim::digest::Digest;
use crate::sim::violation::{Invariant, Verdict, ensure};
use crate::{Index, RequestId};

#[derive(Default)]
pub(crate) struct Linearizable {
    /// For each command, the last place that anyone had been told when it was asked for: it must stand behind.
    behind: Vec<Index>,
    /// The last place that anyone has been told.
    told: Index,
}

impl Linearizable {
    /// A request of so many commands reaches a server.
    pub(crate) fn asked(&mut self, request: RequestId, count: u64) {
        let end = usize::try_from(request.0.saturating_add(count)).unwrap_or_default();
        self.behind.resize(end.max(self.behind.len()), self.told);
    }

    /// A client hears that its command stands at `index`, and what everything through there makes.
    pub(crate) fn answered(
        &mut self,
        command: CommandId,
        index: Index,
        answer: Digest,
        committed: &Committed,
    ) -> Verdict {
        self.stands(command, index)?;
        let state = committed.state_at(index).map(|state| state.history);
        ensure(state == Some(answer), Invariant::Linearizable, || {
            format!("command {command} at {index} got {answer:?} for an answer, and {state:?} is right")
        })?;
        self.told = self.told.max(index);
        Ok(())
    }

    /// The run is over: what was never answered has its place too.
    pub(crate) fn finish(&self, committed: &Committed) -> Verdict {
        committed.commands().try_for_each(|(entry, command)| self.stands(command, entry.index))
    }

    fn stands(&self, command: CommandId, index: Index) -> Verdict {
        let behind = self.behind.get(command as usize).copied();
        ensure(behind.is_some_and(|behind| behind < index), Invariant::Linearizable, || {
            format!("command {command} stands at {index}, and {behind:?} had been answered before it was asked for")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::entropy::Entropy;
    use crate::{Bytes, Payload, Term};

    const OPS: usize = 4;

    /// When each operation is asked for and answered, and where it stands in the committed order.
    struct History {
        asked: [usize; OPS],
        answered: [usize; OPS],
        order: Vec<usize>,
    }

    fn drawn(entropy: &mut Entropy) -> History {
        let mut shuffled = |count: usize| {
            let mut list: Vec<usize> = (0..count).collect();
            (1..count).for_each(|i| list.swap(i, entropy.place(i + 1)));
            list
        };
        let (times, order) = (shuffled(2 * OPS), shuffled(OPS));
        let pair = |op: usize| (times[2 * op].min(times[2 * op + 1]), times[2 * op].max(times[2 * op + 1]));
        History { asked: std::array::from_fn(|op| pair(op).0), answered: std::array::from_fn(|op| pair(op).1), order }
    }

    /// Any order at all in which every operation stands between its ends and finds before it what it was told.
    fn naive(history: &History) -> bool {
        fn search(history: &History, placed: &mut Vec<usize>) -> bool {
            let fits = |op: usize, placed: &[usize]| {
                let told = history.order.iter().position(|other| *other == op).unwrap();
                let before = placed.iter().all(|other| history.asked[*other] < history.answered[op]);
                before && placed == &history.order[..told] && !placed.contains(&op)
            };
            placed.len() == OPS
                || (0..OPS).any(|op| {
                    let waits = (0..OPS).any(|other| {
                        !placed.contains(&other) && other != op && history.answered[other] < history.asked[op]
                    });
                    if waits || !fits(op, placed) {
                        return false;
                    }
                    placed.push(op);
                    let found = search(history, placed);
                    placed.pop();
                    found
                })
        }
        search(history, &mut Vec::new())
    }

    fn checked(history: &History, wrong_answer: bool) -> Verdict {
        let mut committed = Committed::default();
        for op in &history.order {
            let id = CommandId::try_from(place_when_asked(history, *op)).unwrap();
            committed.push(Term(1), Term(1), &Payload::Command(Bytes::from(id.to_le_bytes().to_vec())));
        }
        let mut oracle = Linearizable::default();
        for time in 0..2 * OPS {
            for op in 0..OPS {
                let id = place_when_asked(history, op);
                if history.asked[op] == time {
                    oracle.asked(RequestId(id as u64), 1);
                } else if history.answered[op] == time {
                    let place = history.order.iter().position(|other| *other == op).unwrap() as u64;
                    let index = Index(place + 1);
                    let answer = committed.state_at(Index(if wrong_answer { place } else { index.0 })).unwrap().history;
                    oracle.answered(CommandId::try_from(id).unwrap(), index, answer, &committed)?;
                }
            }
        }
        oracle.finish(&committed)
    }

    /// Commands are numbered in the order in which they are asked for.
    fn place_when_asked(history: &History, op: usize) -> usize {
        history.asked.iter().filter(|other| **other < history.asked[op]).count()
    }

    #[test]
    fn it_finds_what_a_search_finds() {
        let mut entropy = Entropy::from_seed(1);
        let mut found = [0; 2];
        for _ in 0..5000 {
            let history = drawn(&mut entropy);
            let linearizable = checked(&history, false).is_ok();
            assert_eq!(linearizable, naive(&history), "{:?} {:?} {:?}", history.asked, history.answered, history.order);
            found[usize::from(linearizable)] += 1;
            assert!(checked(&history, true).is_err());
        }
        assert!(found.iter().all(|count| *count > 100), "{found:?}");
    }

    /// Nobody heard of it, but it stands before what was answered before it was asked for.
    #[test]
    fn what_was_never_answered_has_its_place_too() {
        let mut committed = Committed::default();
        for id in [1_u32, 0] {
            committed.push(Term(1), Term(1), &Payload::Command(Bytes::from(id.to_le_bytes().to_vec())));
        }
        let mut oracle = Linearizable::default();
        oracle.asked(RequestId(0), 1);
        oracle.answered(0, Index(2), committed.state_at(Index(2)).unwrap().history, &committed).unwrap();
        oracle.asked(RequestId(1), 1);
        assert_eq!(oracle.finish(&committed).unwrap_err().invariant, Invariant::Linearizable);
    }
}
