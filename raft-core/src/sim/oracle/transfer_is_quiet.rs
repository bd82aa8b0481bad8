//! While leadership is being transferred, nothing enters the leader's log, or the target would be behind at once (thesis §3.10).
//! And a transfer that is said to be done is done: another server leads, in a newer term.

use std::format;
use std::vec::Vec;

use crate::sim::server::{Seen, Server};
use crate::sim::violation::{Invariant, Verdict, ensure};
use crate::{EntryId, Index, NodeId, Payload, RequestId, Term};

/// A transfer that is under way.
#[derive(Clone, Copy)]
struct UnderWay {
    slot: usize,
    request: RequestId,
    /// The term in which it was asked for.
    term: Term,
    /// The step in which it is asked for is not over: it may be refused, and what enters the log is judged when that is known.
    is_new: bool,
    /// What entered the log in that step.
    noise: Option<(Index, EntryId)>,
}

impl UnderWay {
    fn is_quiet(&self) -> Verdict {
        ensure(self.noise.is_none(), Invariant::TransferIsQuiet, || {
            let (first, last) = self.noise.unwrap_or_default();
            format!("entries {first}..{last} during a transfer")
        })
    }
}

#[derive(Default)]
pub(crate) struct TransferIsQuiet {
    /// At most one for each server.
    under_way: Vec<UnderWay>,
}

impl TransferIsQuiet {
    /// A server is asked for a transfer. While it has one under way it must refuse a second, which this does not look at.
    pub(crate) fn asked(&mut self, slot: usize, request: RequestId, term: Term) {
        if self.of(slot).is_none() {
            self.under_way.push(UnderWay { slot, request, term, is_new: true, noise: None });
        }
    }

    fn of(&self, slot: usize) -> Option<UnderWay> {
        self.under_way.iter().copied().find(|transfer| transfer.slot == slot)
    }

    /// The server in `slot`, which was `before`, has stepped.
    pub(crate) fn stepped(&mut self, slot: usize, server: &Server, before: &Seen) -> Verdict {
        let seen = &server.seen;
        if !seen.leads_on_from(before) || seen.last == before.last {
            return Ok(());
        }
        let Some(transfer) = self.under_way.iter_mut().find(|transfer| transfer.slot == slot) else { return Ok(()) };
        let status = server.raft.as_ref().map(|raft| raft.status());
        let payload = |index| status.and_then(|status| status.entry(Index(index)));
        let noise = (before.last.index.next().0..=seen.last.index.0).any(|index| !ends_a_change(payload(index)));
        transfer.noise = noise.then(|| (before.last.index.next(), seen.last));
        if transfer.is_new { Ok(()) } else { transfer.is_quiet() }
    }

    /// The step of the server in `slot` is over. A transfer that was asked for in it and is still there has begun.
    pub(crate) fn settled(&mut self, slot: usize) -> Verdict {
        match self.under_way.iter_mut().find(|transfer| transfer.slot == slot && transfer.is_new) {
            Some(transfer) => {
                transfer.is_new = false;
                transfer.is_quiet()
            }
            None => Ok(()),
        }
    }

    /// A request was answered, by the name of the new leader if it was granted.
    pub(crate) fn answered(
        &mut self,
        slot: usize,
        server: &Server,
        request: RequestId,
        leader: Option<NodeId>,
    ) -> Verdict {
        let transfer = self.of(slot).filter(|transfer| transfer.request == request);
        self.under_way.retain(|transfer| (transfer.slot, transfer.request) != (slot, request));
        let Some(leader) = leader else { return Ok(()) };
        let seen = &server.seen;
        let true_answer = leader != server.id
            && seen.leader == Some(leader)
            && transfer.is_some_and(|transfer| seen.hard_state.term > transfer.term);
        ensure(true_answer, Invariant::TransferIsQuiet, || {
            format!("{request} was answered by {leader}, but {:?} leads in term {}", seen.leader, seen.hard_state.term)
        })
    }

    pub(crate) fn crashed(&mut self, slot: usize) {
        self.under_way.retain(|transfer| transfer.slot != slot);
    }
}

/// The second half of a change that began before: it is owed to the configuration, not to a client.
fn ends_a_change(payload: Option<&Payload>) -> bool {
    matches!(payload, Some(Payload::Membership(membership)) if !membership.is_joint())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{found, leader};
    use super::*;
    use crate::{Bytes, Event, Membership};

    const REQUEST: RequestId = RequestId(900_001);

    /// A leader in term 1, and how it stood before a command entered its log.
    fn appended() -> (Server, Seen) {
        let mut server = leader();
        let before = server.seen;
        let raft = server.raft.as_mut().unwrap();
        let command = Event::Start { request: RequestId(0), commands: [Bytes::from("x")].into() };
        let _ = raft.step(command);
        server.seen = Seen::of(raft.status());
        assert_eq!(server.seen.last, EntryId::new(1, 1));
        (server, before)
    }

    #[test]
    fn an_entry_during_a_transfer_is_found() {
        let (server, before) = appended();
        let mut oracle = TransferIsQuiet::default();
        assert_eq!(oracle.stepped(0, &server, &before), Ok(()), "nobody asked");
        oracle.asked(0, REQUEST, Term(1));
        assert_eq!(oracle.settled(0), Ok(()));
        assert_eq!(found(oracle.stepped(0, &server, &before)), Some(Invariant::TransferIsQuiet));
        assert_eq!(oracle.stepped(1, &server, &before), Ok(()), "another server");
        assert_eq!(oracle.answered(0, &server, RequestId(900_002), None), Ok(()), "a second one that is refused");
        assert!(oracle.stepped(0, &server, &before).is_err(), "ends nothing");
        assert_eq!(oracle.answered(0, &server, REQUEST, None), Ok(()));
        assert_eq!(oracle.stepped(0, &server, &before), Ok(()), "it is over");
        oracle.asked(0, REQUEST, Term(1));
        oracle.crashed(0);
        assert_eq!(oracle.stepped(0, &server, &before), Ok(()), "so it is after a crash");
    }

    /// What stands in the log behind the request is noise, unless the request is refused in the same step.
    #[test]
    fn an_entry_in_the_step_of_the_request_is_found_if_the_transfer_begins() {
        let (server, before) = appended();
        let mut oracle = TransferIsQuiet::default();
        oracle.asked(0, REQUEST, Term(1));
        assert_eq!(oracle.stepped(0, &server, &before), Ok(()), "it is not known yet");
        assert_eq!(found(oracle.settled(0)), Some(Invariant::TransferIsQuiet));
        let mut oracle = TransferIsQuiet::default();
        oracle.asked(0, REQUEST, Term(1));
        assert_eq!(oracle.stepped(0, &server, &before), Ok(()));
        assert_eq!(oracle.answered(0, &server, REQUEST, None), Ok(()), "refused");
        assert_eq!(oracle.settled(0), Ok(()));
    }

    #[test]
    fn the_end_of_a_change_is_no_noise() {
        let ids = [1, 2, 3].map(NodeId);
        assert!(ends_a_change(Some(&Payload::Membership(Membership::new(ids).into()))));
        assert!(!ends_a_change(Some(&Payload::Membership(Membership::joint(ids, ids, []).into()))));
        assert!(!ends_a_change(Some(&Payload::Noop)) && !ends_a_change(None));
    }

    #[test]
    fn a_transfer_that_did_not_happen_is_found() {
        let answered = |change: fn(&mut Seen), asked_in: u64, by: u64| {
            let mut server = leader();
            (server.seen.leader, server.seen.hard_state.term) = (Some(NodeId(2)), Term(2));
            change(&mut server.seen);
            let mut oracle = TransferIsQuiet::default();
            oracle.asked(0, REQUEST, Term(asked_in));
            found(oracle.answered(0, &server, REQUEST, Some(NodeId(by))))
        };
        assert_eq!(answered(|_| {}, 1, 2), None);
        assert_eq!(answered(|_| {}, 1, 3), Some(Invariant::TransferIsQuiet), "another one leads");
        assert_eq!(answered(|seen| seen.leader = None, 1, 2), Some(Invariant::TransferIsQuiet), "nobody leads");
        assert_eq!(answered(|_| {}, 2, 2), Some(Invariant::TransferIsQuiet), "the term is the old one");
        assert_eq!(answered(|seen| seen.leader = Some(NodeId(1)), 1, 1), Some(Invariant::TransferIsQuiet), "itself");
        let mut oracle = TransferIsQuiet::default();
        assert!(oracle.answered(0, &leader(), REQUEST, Some(NodeId(1))).is_err(), "nobody asked");
    }
}
