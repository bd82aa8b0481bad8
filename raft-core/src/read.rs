//! Linearizable reads without log entries (§8, thesis §6.4), on any server.
//!
//! A leader takes its commit index for the read index, and lets a quorum confirm in a round that it still leads. Another
//! server asks its leader for a read index. Either way the read is answered when the application has applied so far.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::action::Action;
use crate::chores::Chores;
use crate::config::Config;
#[cfg(feature = "sim")]
use crate::fingerprint::Fingerprint;
use crate::message::Rpc;
#[cfg(feature = "sim")]
use crate::progress::Progress;
use crate::refusal::Refusal;
use crate::replication;
use crate::role::{Leader, Role};
use crate::server::Server;
use crate::types::{Index, NodeId, RequestId, Term};

/// The reads that wait, whatever the role: a role ends, and each read is answered all the same.
#[derive(Clone, Debug)]
pub(crate) struct Reads {
    /// Tells this start of the server from others; 0 if it cannot be told.
    boot: u64,
    /// Counts the questions to leaders since then.
    seq: u64,
    /// How many reads wait, in any stage.
    waiting: u64,
    /// This server leads: its own reads, in order of arrival.
    led: VecDeque<Led>,
    /// It leads: what others ask, one question each.
    questions: Vec<Question>,
    /// Another one leads, or nobody: reads in order of arrival. The first of them wait for the answer to `asked`.
    forwarded: VecDeque<Forwarded>,
    asked: Option<Asked>,
    /// Confirmed, in order of their read indexes: the application has not yet applied so far.
    confirmed: VecDeque<(Index, RequestId)>,
}

/// A read on the leader.
#[derive(Clone, Debug)]
struct Led {
    request: RequestId,
    /// The commit index when it arrived.
    at: Index,
    /// The first round that begins after it arrived.
    round: u64,
}

/// What another server asks this leader.
#[derive(Clone, Debug)]
struct Question {
    from: NodeId,
    boot: u64,
    seq: u64,
    at: Index,
    round: u64,
}

/// A read that needs a leader's answer.
#[derive(Clone, Debug)]
struct Forwarded {
    request: RequestId,
    /// When it arrived.
    since: u64,
}

/// The question that is under way.
#[derive(Clone, Debug)]
struct Asked {
    /// How many of the first forwarded reads it is for: those that were there when it was first sent.
    count: usize,
    /// Whom it was last sent to.
    leader: (Term, NodeId),
    /// When to send it again.
    again_at: u64,
}

impl Reads {
    pub(crate) fn new(boot: u64) -> Reads {
        Reads {
            boot,
            seq: 0,
            waiting: 0,
            led: VecDeque::new(),
            questions: Vec::new(),
            forwarded: VecDeque::new(),
            asked: None,
            confirmed: VecDeque::new(),
        }
    }

    /// What tells this start of the server from others.
    pub(crate) fn boot(&self) -> u64 {
        self.boot
    }

    /// When a question must be sent again, or a read given up.
    pub(crate) fn due(&self, config: &Config) -> Option<u64> {
        let given_up = self.forwarded.front().map(|read| read.since + u64::from(config.election_ticks_max));
        given_up.into_iter().chain(self.asked.as_ref().map(|asked| asked.again_at)).min()
    }

    fn is_empty(&self) -> bool {
        self.waiting == 0 && self.questions.is_empty()
    }

    /// Everything acknowledged before the read arrived is at or below `at`.
    fn confirm(&mut self, at: Index, request: RequestId) {
        let place = self.confirmed.partition_point(|(earlier, _)| *earlier <= at);
        self.confirmed.insert(place, (at, request));
    }

    fn refuse(&mut self, server: &mut Server, request: RequestId, why: Refusal) {
        self.waiting -= 1;
        server.actions.push(Action::Refused { request, why });
    }
}

/// A client wants to read.
pub(crate) fn requested(server: &mut Server, role: &Role, reads: &mut Reads, request: RequestId) {
    let max = server.config.reads_max;
    let why = match role {
        Role::Leader(_) if !server.commit_is_of_term() => Some(Refusal::NotReady),
        Role::Follower(_) | Role::Candidate(_) if reads.boot == 0 => {
            Some(Refusal::NotLeader { leader: followed(role) })
        }
        _ => (reads.waiting >= max).then_some(Refusal::TooManyReads { max }),
    };
    if let Some(why) = why {
        return server.actions.push(Action::Refused { request, why });
    }
    match role {
        Role::Leader(leader) => reads.led.push_back(Led { request, at: server.commit, round: leader.round + 1 }),
        Role::Follower(_) | Role::Candidate(_) => reads.forwarded.push_back(Forwarded { request, since: server.now }),
    }
    reads.waiting += 1;
    server.chores.note(Chores::READ);
}

/// The leader of a server that does not lead.
fn followed(role: &Role) -> Option<NodeId> {
    if let Role::Follower(follower) = role { follower.leader } else { None }
}

/// Another server asks for a read index. Asking again keeps its place; asking for something newer takes a new one.
pub(crate) fn index_requested(
    server: &mut Server,
    role: &Role,
    reads: &mut Reads,
    from: NodeId,
    (boot, seq): (u64, u64),
) {
    let Role::Leader(leader) = role else {
        server.counters.stale += 1;
        return;
    };
    if leader.progress(from).is_none() {
        server.counters.not_a_member += 1;
        return;
    }
    // It asks again.
    if !server.commit_is_of_term() {
        return;
    }
    let question = Question { from, boot, seq, at: server.commit, round: leader.round + 1 };
    match reads.questions.iter_mut().find(|known| known.from == from) {
        Some(known) if known.boot == boot && known.seq >= seq => {}
        Some(known) => *known = question,
        None => reads.questions.push(question),
    }
    server.chores.note(Chores::READ);
}

/// The leader has answered: what was asked for may be read at `at`.
pub(crate) fn index_answered(server: &mut Server, reads: &mut Reads, (boot, seq): (u64, u64), at: Index) {
    if boot != reads.boot || seq != reads.seq {
        server.counters.stale += 1;
        return;
    }
    let Some(asked) = reads.asked.take() else {
        server.counters.stale += 1;
        return;
    };
    for _ in 0..asked.count {
        if let Some(read) = reads.forwarded.pop_front() {
            reads.confirm(at, read.request);
        }
    }
}

/// The standing rules about reads, for as long as any wait.
pub(crate) fn settle(server: &mut Server, role: &mut Role, reads: &mut Reads) {
    match role {
        Role::Leader(leader) => {
            // What it forwarded before it led. Its clients ask again, when it is ready.
            refuse_forwarded(server, reads);
            confirm_leadership(server, leader, reads);
            send_round(server, leader, reads);
        }
        Role::Follower(_) | Role::Candidate(_) => {
            refuse_led(server, reads, followed(role));
            give_up(server, reads);
            ask(server, reads, followed(role));
        }
    }
    answer(server, reads);
    if reads.is_empty() {
        server.chores.done(Chores::READ);
    }
}

fn refuse_forwarded(server: &mut Server, reads: &mut Reads) {
    reads.asked = None;
    while let Some(read) = reads.forwarded.pop_front() {
        reads.refuse(server, read.request, Refusal::NotReady);
    }
}

/// This server leads no longer: what is not confirmed never will be. Others ask its successor.
fn refuse_led(server: &mut Server, reads: &mut Reads, leader: Option<NodeId>) {
    reads.questions.clear();
    while let Some(read) = reads.led.pop_front() {
        reads.refuse(server, read.request, Refusal::NotLeader { leader });
    }
}

/// Whatever waits for a round that a quorum has echoed is confirmed. Then, if nothing else is being confirmed, the next
/// round begins, for all that came meanwhile; a heartbeat may have begun it before.
fn confirm_leadership(server: &mut Server, leader: &mut Leader, reads: &mut Reads) {
    loop {
        let echoed = echoed_by_quorum(server, leader);
        while let Some(read) = reads.led.pop_front_if(|read| read.round <= echoed) {
            reads.confirm(read.at, read.request);
        }
        reads.questions.retain(|question| {
            let Question { from, boot, seq, at, round } = *question;
            if round <= echoed {
                server.send(from, Rpc::ReadIndexReply { boot, seq, at });
            }
            round > echoed
        });
        let something_waits = !reads.led.is_empty() || !reads.questions.is_empty();
        if !something_waits || newest_begun(leader, reads).is_some() {
            return;
        }
        leader.round += 1;
    }
}

/// The newest round that a quorum has echoed: each of its servers has heard this leader after that round began, and has
/// helped to elect no other one until then. Only servers on the disks that count are counted.
fn echoed_by_quorum(server: &Server, leader: &Leader) -> u64 {
    let echoed = |id: NodeId| match leader.progress(id) {
        Some(progress) if progress.counted => Index(progress.echoed),
        None if id == server.id() && server.counts_itself => Index(leader.round),
        _ => Index(0),
    };
    // The same arithmetic as for what a quorum has of the log.
    server.membership().voters().reached(echoed).0
}

/// The newest round that has begun and that something waits for.
fn newest_begun(leader: &Leader, reads: &Reads) -> Option<u64> {
    let begun = reads.led.partition_point(|read| read.round <= leader.round);
    let led = begun.checked_sub(1).and_then(|newest| reads.led.get(newest)).map(|read| read.round);
    let rounds = reads.questions.iter().map(|question| question.round);
    rounds.filter(|round| *round <= leader.round).chain(led).max()
}

/// Ask every voter that has not been asked in this round, whatever flows to it. An append with entries does not count as
/// asked: its answer waits for the follower's disk.
fn send_round(server: &mut Server, leader: &mut Leader, reads: &Reads) {
    let Some(round) = newest_begun(leader, reads) else { return };
    let membership = server.membership().clone();
    for progress in leader.followers.iter_mut().filter(|p| p.round_told < round && membership.is_voter(p.id)) {
        replication::ask_at_matched(server, progress, leader.round);
    }
}

/// No leader has answered for the longest election timeout.
fn give_up(server: &mut Server, reads: &mut Reads) {
    let longest = u64::from(server.config.election_ticks_max);
    while let Some(read) = reads.forwarded.pop_front_if(|read| server.now - read.since >= longest) {
        reads.refuse(server, read.request, Refusal::NoLeader);
        let asked = reads.asked.take().filter(|asked| asked.count > 1);
        reads.asked = asked.map(|asked| Asked { count: asked.count - 1, ..asked });
    }
    // Nor does one bring the log through where it is to be read: this server may have left the cluster.
    if server.heard.is_none_or(|(_, at)| server.now - at >= longest) {
        let here = reads.confirmed.partition_point(|(at, _)| *at <= server.commit);
        for (_, request) in reads.confirmed.split_off(here) {
            reads.refuse(server, request, Refusal::NoLeader);
        }
    }
}

/// Ask the leader, if there is one: for all reads that wait, or again what it has not answered.
fn ask(server: &mut Server, reads: &mut Reads, leader: Option<NodeId>) {
    let Some(to) = leader.filter(|_| !reads.forwarded.is_empty()) else { return };
    let leader = (server.term(), to);
    let count = match &reads.asked {
        Some(asked) if asked.leader == leader && server.now < asked.again_at => return,
        Some(asked) => asked.count,
        None => {
            reads.seq += 1;
            reads.forwarded.len()
        }
    };
    let again_at = server.now + u64::from(server.config.heartbeat_ticks);
    reads.asked = Some(Asked { count, leader, again_at });
    server.send(to, Rpc::ReadIndex { boot: reads.boot, seq: reads.seq });
}

/// Answer what the application has applied, unless it is being given a snapshot.
fn answer(server: &mut Server, reads: &mut Reads) {
    if server.applied < server.snapshot.last.index {
        return;
    }
    while let Some((at, request)) = reads.confirmed.pop_front_if(|(at, _)| *at <= server.applied) {
        reads.waiting -= 1;
        server.actions.push(Action::Readable { request, at });
    }
}

#[cfg(feature = "sim")]
impl Reads {
    /// Requests are called by their numbers. What followers were asked and have echoed matters to what waits.
    pub(crate) fn fingerprint(&self, print: &mut Fingerprint<'_>, role: &Role, now: u64) {
        if let Role::Leader(leader) = role
            && !self.is_empty()
        {
            print.set(&leader.followers, |print, Progress { id, round_told, echoed, .. }| {
                print.node(*id);
                print.words([*round_told, *echoed]);
            });
        }
        let Reads { boot, seq, waiting: _, led, questions, forwarded, asked, confirmed } = self;
        print.words([*boot, *seq, led.len() as u64, forwarded.len() as u64, confirmed.len() as u64]);
        for Led { request, at, round } in led {
            print.words([request.0, at.0, *round]);
        }
        print.set(questions, |print, Question { from, boot, seq, at, round }| {
            print.node(*from);
            print.words([*boot, *seq, at.0, *round]);
        });
        for Forwarded { request, since } in forwarded {
            print.words([request.0, now.wrapping_sub(*since)]);
        }
        print.set(asked, |print, Asked { count, leader: (term, leader), again_at }| {
            print.term(*term);
            print.node(*leader);
            print.words([*count as u64, again_at.wrapping_sub(now)]);
        });
        confirmed.iter().for_each(|(at, request)| print.words([at.0, request.0]));
    }

    /// As if all reads had arrived at time 0, and the question under way had been sent then.
    pub(crate) fn rewind_clock(&mut self, heartbeat_ticks: u32) {
        self.forwarded.iter_mut().for_each(|read| read.since = 0);
        if let Some(asked) = &mut self.asked {
            asked.again_at = u64::from(heartbeat_ticks);
        }
    }
}
