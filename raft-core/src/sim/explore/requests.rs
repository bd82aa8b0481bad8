//! What clients have asked a server and still wait for: each read and each transfer is answered once, and truly (§8, thesis
//! §3.10, §6.4).

use std::format;

use smallvec::SmallVec;

use super::local::Local;
use super::rules::facts;
use crate::fingerprint::Fingerprint;
use crate::sim::violation::{Invariant, Verdict, ensure};
use crate::{Index, Message, NodeId, Payload, RequestId, RoleKind, Rpc, Status, Term};

/// The request of every transfer: no server is asked for a second one while the first one waits.
const TRANSFER: RequestId = RequestId(200);

/// The requests of reads begin here.
const READS: u64 = 100;

/// The request of every command and of every change, which are answered at once.
pub(crate) const AT_ONCE: RequestId = RequestId(1);

/// What waits at one server. A crash ends it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Requests {
    /// Each read, with the last index that any leader had committed when it was asked for.
    reads: SmallVec<[(RequestId, Index); 2]>,
    /// The term in which a transfer was asked for.
    transfer: Option<Term>,
}

impl Requests {
    pub(crate) fn fingerprint(&self, print: &mut Fingerprint<'_>) {
        let Requests { reads, transfer } = self;
        print.word(reads.len() as u64);
        reads.iter().for_each(|(request, told)| print.words([request.0, told.0]));
        print.set(transfer, |print, term| print.term(*term));
    }

    /// Whether a transfer waits.
    pub(crate) fn is_transferring(&self) -> bool {
        self.transfer.is_some()
    }

    pub(crate) fn read(&mut self, told: Index) -> RequestId {
        let newest = self.reads.iter().map(|(request, _)| request.0).max().unwrap_or(READS);
        self.reads.push((RequestId(newest + 1), told));
        RequestId(newest + 1)
    }

    pub(crate) fn transfer(&mut self, term: Term) -> RequestId {
        self.transfer = Some(term);
        TRANSFER
    }

    /// This had no effect.
    pub(crate) fn refused(&mut self, request: RequestId) -> Verdict {
        let waits = match request {
            AT_ONCE => true,
            TRANSFER => self.transfer.take().is_some(),
            _ => self.answer(request).is_some(),
        };
        ensure(waits, Invariant::OneAnswer, || format!("refuses {request}, which does not wait"))
    }

    fn answer(&mut self, request: RequestId) -> Option<Index> {
        let at = self.reads.iter().position(|(waiting, _)| *waiting == request)?;
        Some(self.reads.remove(at).1)
    }
}

/// A read may be answered: at or after all that anyone was told before it was asked for, and the application is so far.
pub(crate) fn readable(local: &mut Local, request: RequestId, at: Index) -> Verdict {
    let told = local.requests.answer(request);
    ensure(told.is_some(), Invariant::OneAnswer, || format!("answers {request}, which does not wait"))?;
    let applied = local.raft.status().applied();
    ensure(told <= Some(at) && at <= applied, Invariant::ReadIndex, || {
        format!("the read {request} may be answered at {at}, after {told:?} was committed; {applied} is applied")
    })
}

/// A transfer is done: another server leads in a newer term.
pub(crate) fn transferred(local: &mut Local, request: RequestId, leader: NodeId) -> Verdict {
    let asked_in = local.requests.transfer.take().filter(|_| request == TRANSFER);
    ensure(asked_in.is_some(), Invariant::OneAnswer, || format!("answers {request}, which does not wait"))?;
    let status = local.raft.status();
    let leads = leader != status.id() && status.leader() == Some(leader) && Some(status.term()) > asked_in;
    ensure(leads, Invariant::TransferIsQuiet, || {
        format!("{leader} leads after a transfer in {asked_in:?}, says {}", facts(status))
    })
}

/// While a leader hands over, nothing but the second half of a change enters its log.
pub(crate) fn is_quiet(before: &Local, after: &Local) -> Verdict {
    let (old, new) = (before.raft.status(), after.raft.status());
    if !before.requests.is_transferring() || !leads_on(old, new) {
        return Ok(());
    }
    let ends_a_change =
        |index| matches!(new.entry(Index(index)), Some(Payload::Membership(membership)) if !membership.is_joint());
    let quiet = (old.last().index.next().0..=new.last().index.0).all(ends_a_change);
    ensure(quiet, Invariant::TransferIsQuiet, || format!("hands over, and {} becomes {}", facts(old), facts(new)))
}

pub(crate) fn leads_on(old: Status<'_>, new: Status<'_>) -> bool {
    old.role() == RoleKind::Leader && new.role() == RoleKind::Leader && old.term() == new.term()
}

/// A leader that hands over asks a server to campaign only when that has all of its log durably.
pub(crate) fn hands_over(local: &Local, to: NodeId, message: &Message) -> Verdict {
    let status = local.raft.status();
    if !matches!(message.rpc, Rpc::TimeoutNow { .. }) || status.role() != RoleKind::Leader {
        return Ok(());
    }
    let matched = status.followers().find(|follower| follower.id == to).map(|follower| follower.matched);
    ensure(matched == Some(status.last()), Invariant::TransferIsQuiet, || {
        format!("asks {to}, which has {matched:?}, to campaign, being {}", facts(status))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_has_one_answer() {
        let mut requests = Requests::default();
        assert!(requests.refused(AT_ONCE).is_ok() && requests.refused(RequestId(READS + 1)).is_err());
        let (first, second) = (requests.read(Index(1)), requests.read(Index(2)));
        assert_ne!(first, second);
        assert_eq!((requests.answer(first), requests.answer(first)), (Some(Index(1)), None));
        assert!(requests.refused(second).is_ok() && requests.refused(second).is_err());
        let transfer = requests.transfer(Term(1));
        assert!(
            requests.is_transferring() && requests.refused(transfer).is_ok() && requests.refused(transfer).is_err()
        );
    }
}
