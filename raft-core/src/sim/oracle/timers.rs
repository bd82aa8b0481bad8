//! Who moves a timer: docs/figure2.md has the table. An election that is put off by what may not put it off comes late, and one
//! that is not put off disturbs a leader. Neither breaks any other rule.

use std::format;
use std::string::String;

use crate::raft::stage::Timers;
use crate::sim::server::{Seen, Server};
use crate::sim::violation::{Invariant, Verdict, ensure};
use crate::{AppendOutcome, Config, EntryId, Event, Message, NodeId, RoleKind, Rpc, ServerId, Term};

/// What a server is fed, as far as a timer may move by it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Fed {
    Tick {
        elapsed: u32,
    },
    /// An append, or a snapshot.
    Leader {
        from: NodeId,
        term: Term,
    },
    Arriving {
        from: NodeId,
        term: Term,
    },
    RequestVote {
        from: ServerId,
        term: Term,
        last: EntryId,
    },
    PreVoteReply,
    TimeoutNow {
        from: NodeId,
    },
    AppendReply {
        from: ServerId,
        term: Term,
        /// It answers what was sent in an older term.
        older: bool,
    },
    Persisted,
    #[default]
    Other,
}

impl Fed {
    fn of(event: &Event) -> Fed {
        match event {
            Event::Tick { elapsed } => Fed::Tick { elapsed: *elapsed },
            Event::SnapshotReceived { from, term, .. } => Fed::Leader { from: *from, term: *term },
            Event::Arriving { from, term } => Fed::Arriving { from: *from, term: *term },
            Event::Persisted(_) => Fed::Persisted,
            Event::Receive { from, message: Message { term, incarnation, rpc } } => {
                let (term, sender) = (*term, ServerId { id: *from, incarnation: *incarnation });
                match rpc {
                    Rpc::AppendEntries { .. } => Fed::Leader { from: *from, term },
                    Rpc::RequestVote { last, .. } => Fed::RequestVote { from: sender, term, last: *last },
                    Rpc::PreVoteReply { .. } => Fed::PreVoteReply,
                    Rpc::TimeoutNow { .. } => Fed::TimeoutNow { from: *from },
                    Rpc::AppendEntriesReply { outcome, .. } => {
                        Fed::AppendReply { from: sender, term, older: *outcome == AppendOutcome::OlderTerm }
                    }
                    _ => Fed::Other,
                }
            }
            _ => Fed::Other,
        }
    }
}

/// The step that is about to be made.
#[derive(Default)]
pub(crate) struct TimersMove {
    before: Timers,
    fed: Fed,
}

impl TimersMove {
    pub(crate) fn feeding(&mut self, server: &Server, event: &Event) {
        if let Some(raft) = &server.raft {
            *self = TimersMove { before: raft.timers(), fed: Fed::of(event) };
        }
    }

    pub(crate) fn stepped(&self, server: &Server, was: &Seen) -> Verdict {
        let Some(raft) = server.raft.as_ref().filter(|raft| raft.status().halted().is_none()) else { return Ok(()) };
        let after = raft.timers();
        let step = Step { server, was, is: &server.seen, before: &self.before, after: &after, fed: self.fed };
        step.time()?;
        step.election()?;
        step.patience()?;
        step.leader_heard()?;
        step.leading()?;
        step.sleep(raft.ticks_until_due())
    }
}

struct Step<'a> {
    server: &'a Server,
    was: &'a Seen,
    is: &'a Seen,
    before: &'a Timers,
    after: &'a Timers,
    fed: Fed,
}

impl Step<'_> {
    fn config(&self) -> &Config {
        &self.server.config
    }

    fn heartbeat(&self) -> u64 {
        u64::from(self.config().heartbeat_ticks)
    }

    fn check(&self, holds: bool, what: impl FnOnce() -> String) -> Verdict {
        ensure(holds, Invariant::Timers, || {
            let Step { was, is, before, after, fed, .. } = self;
            format!("{}: {} was {before:?}, and is {} with {after:?} by {fed:?}", what(), was.role, is.role)
        })
    }

    /// The leader that it hears by this step.
    fn hears(&self) -> Option<NodeId> {
        let (was, is) = (self.was, self.is);
        match self.fed {
            Fed::Leader { from, term } if (is.hard_state.term, is.leader) == (term, Some(from)) => Some(from),
            Fed::Arriving { from, term }
                if was.role == RoleKind::Follower && (was.hard_state.term, was.leader) == (term, Some(from)) =>
            {
                Some(from)
            }
            _ => None,
        }
    }

    fn term_is_newer(&self) -> bool {
        self.is.hard_state.term > self.was.hard_state.term
    }

    /// The election timer has run out. A candidate whose disk is stalled follows, and another tick does the rest.
    fn timed_out(&self) -> bool {
        let gives_up = self.was.role != RoleKind::Follower && self.is.role == RoleKind::Follower;
        matches!(self.fed, Fed::Tick { .. })
            && !gives_up
            && self.before.election_at.is_some_and(|at| at <= self.after.now)
    }

    /// It has begun to campaign in a new term.
    fn campaigns(&self) -> bool {
        self.is.role == RoleKind::Candidate && self.term_is_newer()
    }

    /// Its vote for itself is durable, and it asks the others.
    fn asks(&self) -> bool {
        self.after.asked && !self.before.asked
    }

    /// Whether it votes for who asks: for the first time, or once more.
    fn grants(&self) -> Option<bool> {
        let Fed::RequestVote { from, term, last } = self.fed else { return None };
        let votes = self.is.role == RoleKind::Follower
            && self.is.hard_state.term == term
            && self.is.hard_state.voted_for == Some(from)
            && last >= self.was.last;
        votes.then_some(self.was.hard_state != self.is.hard_state)
    }

    /// A vote has gone out: its candidate has time to win.
    fn vote_is_out(&self) -> bool {
        let for_another = self.is.hard_state.voted_for.is_some_and(|vote| vote != self.server.server_id());
        let until = self.after.now + u64::from(self.config().election_ticks_min);
        self.is.role == RoleKind::Follower
            && (self.fed == Fed::Persisted || self.grants().is_some())
            && for_another
            && self.after.waits_until == until
            && self.before.waits_until != until
    }

    /// Time passes with ticks only, a pause counted as one heartbeat interval at most.
    fn time(&self) -> Verdict {
        let elapsed = if let Fed::Tick { elapsed } = self.fed { u64::from(elapsed).min(self.heartbeat()) } else { 0 };
        self.check(self.after.now == self.before.now + elapsed, || format!("{elapsed} ticks passed"))
    }

    fn election(&self) -> Verdict {
        let (before, after) = (self.before, self.after);
        if self.campaigns() {
            let by = match self.fed {
                Fed::Tick { .. } => self.timed_out(),
                Fed::PreVoteReply => self.was.role == RoleKind::PreCandidate,
                Fed::TimeoutNow { from } => self.was.leader == Some(from),
                _ => false,
            };
            self.check(by, || "it campaigns for no reason".into())?;
        }
        let redraws = self.timed_out() || self.campaigns();
        self.check(redraws || after.timeout == before.timeout, || "its election timeout was drawn anew".into())?;
        if redraws && after.timeout != before.timeout && self.server.stated_timeout.is_none() {
            let Config { election_ticks_min: min, election_ticks_max: max, handicap_ticks, .. } = self.config();
            let drawn = after.timeout.checked_sub(*handicap_ticks);
            self.check(drawn.is_some_and(|drawn| (*min..=*max).contains(&drawn)), || {
                "its election timeout is out of bounds".into()
            })?;
        }
        let Some(at) = after.election_at else { return Ok(()) };
        let put_off = at == after.now + u64::from(after.timeout);
        let stays = before.election_at == Some(at);
        let must = before.election_at.is_none()
            || redraws
            || self.asks()
            || self.hears().is_some()
            || self.grants() == Some(true)
            || self.vote_is_out();
        if must {
            return self.check(put_off, || "the election is not put off".into());
        }
        self.check(stays || put_off && self.grants().is_some(), || "the election timer moved".into())
    }

    /// How long it leaves to others, and when it asks again.
    fn patience(&self) -> Verdict {
        let (before, after) = (self.before, self.after);
        let in_a_while = after.now + self.heartbeat();
        let candidacy_is_new = self.timed_out() || self.campaigns();
        if self.is.role == RoleKind::Follower {
            let is_new = after.waits_until == 0 && (self.was.role != RoleKind::Follower || self.term_is_newer());
            let holds = after.waits_until == before.waits_until || is_new || self.vote_is_out();
            return self.check(holds, || "it waits for a candidate that it did not vote for just now".into());
        }
        let Some(at) = after.ask_again_at else { return Ok(()) };
        let holds = after.waits_until == if candidacy_is_new { in_a_while } else { before.waits_until };
        // It cannot campaign yet, perhaps, and stays what it was.
        let holds = holds || self.timed_out() && after.waits_until == before.waits_until;
        self.check(holds, || "it waits for a rival of another campaign".into())?;
        let is_due = matches!(self.fed, Fed::Tick { .. }) && before.ask_again_at.is_some_and(|at| at <= after.now);
        let holds = match before.ask_again_at {
            Some(before) if !candidacy_is_new && !is_due => at == before,
            before => at == in_a_while || candidacy_is_new && Some(at) == before,
        };
        self.check(holds, || "it asks again at another time".into())
    }

    /// For whose sake it refuses candidates.
    fn leader_heard(&self) -> Verdict {
        let (heard, now) = (self.after.heard, self.after.now);
        let stops_leading = self.was.role == RoleKind::Leader && self.is.role != RoleKind::Leader;
        let holds = match self.hears() {
            Some(leader) => heard == Some((leader, now)),
            // Out of touch, or with a stalled disk: it keeps nobody from electing another one.
            None if stops_leading && matches!(self.fed, Fed::Tick { .. }) => heard.is_none(),
            None if stops_leading => heard.is_some_and(|(id, at)| id == self.server.id && at <= now),
            None => heard == self.before.heard,
        };
        self.check(holds, || "it heard a leader by what is none's".into())
    }

    /// A leader's heartbeat, and its check-quorum clock.
    fn leading(&self) -> Verdict {
        let Some(at) = self.after.heartbeat_at else { return Ok(()) };
        let (now, leads_on) = (self.after.now, self.is.leads_on_from(self.was));
        let holds = match self.before.heartbeat_at.filter(|before| leads_on && *before > now) {
            Some(before) => at == before,
            None => at == now + self.heartbeat(),
        };
        self.check(holds, || "its next heartbeat is due at another time".into())?;
        for (id, heard_at) in &self.after.followers {
            let known = self.before.followers.iter().find(|(known, _)| leads_on && known == id);
            let holds = *heard_at == known.map_or(now, |(_, before)| *before) || *heard_at == now && self.is_heard(*id);
            self.check(holds, || format!("it heard {id} by what is no answer"))?;
        }
        Ok(())
    }

    /// An answer of this follower's comes to its leader. An answer to an older term is none, nor is one in a newer term, but for a
    /// voter on a disk that does not count.
    fn is_heard(&self, id: NodeId) -> bool {
        let Fed::AppendReply { from, term, older } = self.fed else { return false };
        let Some(raft) = self.server.raft.as_ref().filter(|_| from.id == id) else { return false };
        let member = raft.status().membership().member(id);
        let is_foreign = member.is_some_and(|member| member.votes() && !member.counts(from.incarnation));
        let own = self.is.hard_state.term;
        term == own && !older || term > own && is_foreign
    }

    /// A driver that sleeps for so long misses nothing.
    fn sleep(&self, ticks: u32) -> Verdict {
        let Timers { now, election_at, ask_again_at, heartbeat_at, .. } = self.after;
        let due = [*election_at, *ask_again_at, *heartbeat_at].into_iter().flatten().min();
        let awake_at = now + u64::from(ticks.max(1));
        self.check(due.is_none_or(|due| awake_at <= due.max(now + 1)), || format!("a driver may sleep {ticks} ticks"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{found, leader, meta, server, started};
    use super::*;
    use crate::{Entries, HardState, Incarnation, Index, Raft};

    const BROKEN: Option<Invariant> = Some(Invariant::Timers);

    /// Server 1 of three, which follows nobody, in term 1.
    fn follower() -> Server {
        let mut server = server();
        server.disk.durable.hard_state = HardState { term: Term(1), voted_for: None };
        server.disk.written.hard_state = server.disk.durable.hard_state;
        let mut server = started(server, &leader());
        server.seen = Seen::of(server.raft.as_ref().unwrap().status());
        assert_eq!((server.seen.role, server.seen.hard_state.term), (RoleKind::Follower, Term(1)));
        server
    }

    fn from(id: u64, term: u64, rpc: Rpc) -> Event {
        Event::Receive { from: NodeId(id), message: Message { term: Term(term), incarnation: Incarnation(id), rpc } }
    }

    fn append(term: u64) -> Event {
        let prev = EntryId::ZERO;
        from(2, term, Rpc::AppendEntries { prev, entries: Entries::new(), commit: Index(0), round: 1, reply: true })
    }

    fn request_vote(term: u64) -> Event {
        from(2, term, Rpc::RequestVote { last: EntryId::ZERO, transfer: false })
    }

    fn reply(term: u64) -> Event {
        let outcome = AppendOutcome::Matched { received: Index(0), durable: Index(0) };
        from(2, term, Rpc::AppendEntriesReply { round: 1, outcome })
    }

    /// A step by `event`, in which something else happens too: what is found.
    fn step(server: &mut Server, event: Event, but: impl FnOnce(&mut Raft)) -> Option<Invariant> {
        let mut oracle = TimersMove::default();
        oracle.feeding(server, &event);
        let raft = server.raft.as_mut().unwrap();
        let _ = raft.step(event);
        but(raft);
        let was = std::mem::replace(&mut server.seen, Seen::of(server.raft.as_ref().unwrap().status()));
        found(oracle.stepped(server, &was))
    }

    fn tick() -> Event {
        Event::Tick { elapsed: 1 }
    }

    /// As if the core had taken `other` for what it was fed.
    fn as_if(other: Event) -> impl FnOnce(&mut Raft) {
        move |raft| {
            let _ = raft.step(other);
        }
    }

    fn nothing(_: &mut Raft) {}

    #[test]
    fn what_puts_off_an_election_may_do_so() {
        let snapshot = Event::SnapshotReceived { from: NodeId(2), term: Term(1), snapshot: meta(1, 3) };
        for event in [append(1), append(2), snapshot, request_vote(1), request_vote(2)] {
            let mut server = follower();
            assert_eq!(step(&mut server, tick(), nothing), None);
            assert_eq!(step(&mut server, event.clone(), nothing), None, "{event}");
            let Timers { now, timeout, election_at, .. } = server.raft.as_ref().unwrap().timers();
            assert_eq!(election_at, Some(now + u64::from(timeout)), "{event}");
        }
    }

    #[test]
    fn what_does_not_put_off_an_election_must_not() {
        let pre_vote = from(2, 1, Rpc::PreVote { last: EntryId::ZERO });
        let arriving = Event::Arriving { from: NodeId(2), term: Term(1) };
        let question = from(2, 1, Rpc::ReadIndex { boot: 1, seq: 1 });
        for event in [pre_vote, arriving, question, append(0), request_vote(0), tick()] {
            let mut server = follower();
            assert_eq!(step(&mut server, tick(), nothing), None);
            assert_eq!(step(&mut server, event.clone(), nothing), None, "{event}");
            assert_eq!(step(&mut server, event.clone(), as_if(append(1))), BROKEN, "{event}");
        }
        // A vote for another candidate, and none for this one.
        let mut server = follower();
        assert_eq!(step(&mut server, request_vote(1), nothing), None);
        assert_eq!(step(&mut server, tick(), nothing), None);
        let refused = from(3, 1, Rpc::RequestVote { last: EntryId::ZERO, transfer: false });
        assert_eq!(step(&mut server, refused.clone(), nothing), None);
        assert_eq!(step(&mut server, refused, as_if(request_vote(1))), BROKEN);
    }

    #[test]
    fn who_hears_a_leader_puts_off_its_election() {
        let mut server = follower();
        assert_eq!(step(&mut server, append(1), |raft| raft.set_election_timeout(3)), BROKEN);
    }

    /// The election timer runs out: it campaigns, and asks again at each heartbeat.
    #[test]
    fn time_moves_what_is_due() {
        let mut server = follower();
        for _ in 0..200 {
            assert_eq!(step(&mut server, tick(), nothing), None);
        }
        assert_eq!(server.seen.role, RoleKind::PreCandidate);
        let granted = from(2, 1, Rpc::PreVoteReply { granted: true });
        assert_eq!(step(&mut server, granted, nothing), None);
        assert_eq!(server.seen.role, RoleKind::Candidate);
        let time_passes = Event::Compact { index: Index(1) };
        assert_eq!(step(&mut server, time_passes, as_if(tick())), BROKEN);
    }

    #[test]
    fn an_answer_alone_moves_check_quorums_clock() {
        for (event, taken_for) in [
            (reply(0), reply(1)),
            (from(2, 1, Rpc::PreVoteReply { granted: true }), reply(1)),
            (request_vote(1), reply(1)),
            (from(3, 1, Rpc::RequestVoteReply { granted: true }), reply(1)),
            (Event::SnapshotSent { to: NodeId(2), snapshot: EntryId::ZERO, delivered: true }, reply(1)),
        ] {
            let mut server = leader();
            assert_eq!(step(&mut server, tick(), nothing), None);
            assert_eq!(step(&mut server, event.clone(), nothing), None, "{event}");
            assert_eq!(step(&mut server, event.clone(), as_if(taken_for)), BROKEN, "{event}");
        }
        let mut server = leader();
        assert_eq!(step(&mut server, tick(), nothing), None);
        assert_eq!(step(&mut server, reply(1), nothing), None);
    }

    #[test]
    fn a_heartbeat_comes_when_it_is_due() {
        let mut server = leader();
        for _ in 0..12 {
            assert_eq!(step(&mut server, tick(), nothing), None);
        }
        let mut server = leader();
        let heartbeat = Event::Tick { elapsed: server.config.heartbeat_ticks };
        assert_eq!(step(&mut server, heartbeat.clone(), nothing), None);
        assert_eq!(step(&mut server, heartbeat.clone(), as_if(heartbeat)), BROKEN);
    }
}
