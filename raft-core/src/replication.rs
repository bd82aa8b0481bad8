//! Log replication (§5.3) and commitment (§5.4.2), the leader's end: it feeds followers and counts what they keep.

use crate::action::{Action, News};
use crate::config::{BATCH_ENTRIES_MAX, FRAME_ROOM_BYTES};
use crate::entries::{ENTRY_OVERHEAD_BYTES, Entries, Payload};
use crate::event::Commands;
use crate::healing;
use crate::message::{AppendOutcome, Rpc};
use crate::progress::{Flow, Progress, Transfer};
use crate::refusal::Refusal;
use crate::role::{Leader, Role};
use crate::server::Server;
use crate::types::{EntryId, Incarnation, Index, NodeId, RequestId};

/// How often the pause between two transfers of a snapshot doubles, if they go on failing: from one heartbeat to 64.
const RETRY_DOUBLINGS_MAX: u8 = 6;

/// A client's commands: all enter the log, or none.
pub(crate) fn start(server: &mut Server, role: &Role, request: RequestId, commands: Commands) {
    let action = match refusal(server, role, &commands) {
        Some(why) => Action::Refused { request, why },
        None => {
            let first = EntryId { term: server.term(), index: server.log.last().index.next() };
            let count = commands.len() as u64;
            server.append(Entries::of_term(first, commands.into_iter().map(Payload::Command)));
            Action::Accepted { request, first, count }
        }
    };
    server.actions.push(action);
}

fn refusal(server: &Server, role: &Role, commands: &Commands) -> Option<Refusal> {
    let config = &server.config;
    match role {
        Role::Leader(leader) if leader.is_transferring() => return Some(Refusal::Transferring),
        Role::Leader(_) => {}
        Role::Follower(follower) => return Some(Refusal::NotLeader { leader: follower.leader }),
        Role::Candidate(_) => return Some(Refusal::NotLeader { leader: None }),
    }
    if commands.is_empty() {
        return Some(Refusal::Empty);
    }
    if commands.len() as u64 > BATCH_ENTRIES_MAX {
        return Some(Refusal::TooMany { count: commands.len() as u64, max: BATCH_ENTRIES_MAX });
    }
    let sizes = commands.iter().map(|command| command.len() as u64);
    let (largest, added) = sizes.fold((0, 0), |(max, sum), size| (size.max(max), sum + size + ENTRY_OVERHEAD_BYTES));
    if largest > config.command_bytes_max {
        return Some(Refusal::TooLarge { bytes: largest, max: config.command_bytes_max });
    }
    // They become one write, which must fit into a frame.
    if added > FRAME_ROOM_BYTES {
        return Some(Refusal::TooLarge { bytes: added, max: FRAME_ROOM_BYTES });
    }
    if server.log.last().index.plus(commands.len() as u64) > Index::MAX {
        return Some(Refusal::LogFull);
    }
    // With nothing waiting, anything is taken: a limit never stops a single command. Nor does what earlier terms left,
    // for without a no-op only a command of our own term can commit it (§5.4.2).
    let is_first_of_term = server.log.last().term < server.term();
    let backlog = if is_first_of_term { 0 } else { server.backlog_bytes() };
    (backlog > 0 && backlog + added > config.backlog_bytes_max)
        .then_some(Refusal::Busy { max: config.backlog_bytes_max })
}

/// Commit what a quorum keeps durably, if it is of our own term: older entries commit with it, never by counting
/// (§5.4.2, Figure 8). Our own place in the count is what our own disk has.
pub(crate) fn advance_commit(server: &mut Server, leader: &Leader) {
    if server.commit == server.log.last().index {
        return;
    }
    let voters = server.membership().voters();
    let place = |id: NodeId| match leader.followers.iter().find(|p| p.id == id) {
        Some(progress) if progress.counted => progress.matched.index,
        None if id == server.id() && server.counts_itself => server.disk.durable(),
        _ => Index(0),
    };
    let reached = voters.reached(place);
    if reached > server.commit && server.log.term_at(reached) == Some(server.term()) {
        server.commit_to(reached);
    }
}

/// Send every follower what it lacks and has room for.
pub(crate) fn feed_all(server: &mut Server, leader: &mut Leader) {
    let heartbeat = server.now >= leader.heartbeat_at;
    if heartbeat {
        leader.heartbeat_at = server.now + u64::from(server.config.heartbeat_ticks);
        leader.round += 1;
    }
    for progress in &mut leader.followers {
        if heartbeat {
            begin_round(server, progress, leader.round);
        }
        feed(server, progress, leader.round);
    }
}

/// A heartbeat asserts leadership and asks for an answer (§5.2), whatever the flow. A probe is its own heartbeat; all others
/// ask at `matched`, where the logs are known to meet.
fn begin_round(server: &mut Server, progress: &mut Progress, round: u64) {
    progress.heartbeat_round = round;
    progress.sent_before_round = progress.next.prev();
    progress.opened_in_round = false;
    progress.measure(server.log.last().index, server.now, u64::from(server.config.election_ticks_min));
    match &mut progress.flow {
        Flow::Replicate(inflight) => {
            if inflight.fetching.is_some() {
                inflight.review_fetching(server, progress.next);
            }
            return ask_at_matched(server, progress, round);
        }
        Flow::Probe { waiting, .. } => {
            // What it was sent before may still be on its way: it is asked again without entries.
            if let Some(prev) = server.log.id_at(progress.next.prev()).filter(|_| *waiting) {
                progress.round_told = round;
                return send_append(server, progress, prev, Entries::new(), round, true);
            }
            *waiting = false;
        }
        Flow::Snapshot { .. } => offer_again_when_due(server, progress),
    }
    // A probe about what is compacted becomes a snapshot, which may never arrive: that is no heartbeat.
    if matches!(progress.flow, Flow::Snapshot { .. }) || server.log.id_at(progress.next.prev()).is_none() {
        ask_at_matched(server, progress, round);
    }
}

/// Ask for an answer where the logs are known to meet: it says at once what is durable, and echoes the round.
pub(crate) fn ask_at_matched(server: &mut Server, progress: &mut Progress, round: u64) {
    let told = progress.commit_told;
    progress.round_told = round;
    send_append(server, progress, progress.matched, Entries::new(), round, true);
    // It may lack what is committed, and cannot follow then. It is told again when it has it.
    if !matches!(progress.flow, Flow::Replicate(_)) {
        progress.commit_told = told;
    }
}

fn feed(server: &mut Server, progress: &mut Progress, round: u64) {
    match &mut progress.flow {
        Flow::Probe { waiting: true, .. } | Flow::Snapshot { .. } => {}
        Flow::Probe { waiting, empty } => {
            let empty = *empty;
            let Some(prev) = server.log.id_at(progress.next.prev()) else { return send_snapshot(server, progress) };
            *waiting = true;
            let entries = if empty { Entries::new() } else { next_batch(server, progress.next) };
            if entries.is_empty() {
                progress.round_told = round;
            }
            send_append(server, progress, prev, entries, round, true);
        }
        Flow::Replicate(_) => fill_window(server, progress, round),
    }
}

/// Send on without waiting for answers, as far as the window reaches.
fn fill_window(server: &mut Server, progress: &mut Progress, round: u64) {
    while let Flow::Replicate(inflight) = &mut progress.flow {
        if progress.next > server.log.last().index {
            // News of a commit rides on the next append; alone it goes only where nothing is on its way.
            if inflight.is_empty() && progress.commit_told < server.commit {
                send_append(server, progress, progress.matched, Entries::new(), round, false);
            }
            return;
        }
        if inflight.is_full(server.config.inflight_appends_max, server.config.inflight_bytes_max) {
            return;
        }
        let Some(prev) = server.log.id_at(progress.next.prev()) else { return send_snapshot(server, progress) };
        let entries = next_batch(server, progress.next);
        let Some(last) = entries.last() else { return inflight.fetch(server, progress.next) };
        inflight.push(last.index, entries.bytes());
        progress.next = last.index.next();
        send_append(server, progress, prev, entries, round, true);
    }
}

/// The entries of one AppendEntries: batched by count and by bytes.
#[inline]
fn next_batch(server: &mut Server, next: Index) -> Entries {
    let (count, bytes) = (server.config.append_entries_max.min(BATCH_ENTRIES_MAX), server.config.append_bytes_max);
    server.log.slice_merged(next, Index::MAX, count, bytes)
}

/// Send a follower one AppendEntries, with the news of the commit.
pub(crate) fn send_append(
    server: &mut Server,
    progress: &mut Progress,
    prev: EntryId,
    entries: Entries,
    round: u64,
    reply: bool,
) {
    let commit = server.commit;
    progress.commit_told = commit;
    server.send(progress.id, Rpc::AppendEntries { prev, entries, commit, round, reply });
}

/// What the follower lacks next is compacted (§7): offer our newest snapshot.
fn send_snapshot(server: &mut Server, progress: &mut Progress) {
    let failures = if let Flow::Snapshot { failures, .. } = progress.flow { failures } else { 0 };
    let snapshot = server.snapshot.clone();
    progress.flow =
        Flow::Snapshot { last: snapshot.last, transfer: Transfer::UnderWay { since: server.now }, failures };
    server.actions.push(Action::SendSnapshot { to: progress.id, term: server.term(), snapshot });
}

/// A transfer that took too long has failed. One that failed is followed by another, after a pause.
fn offer_again_when_due(server: &mut Server, progress: &mut Progress) {
    let timeout = u64::from(server.config.snapshot_timeout_ticks);
    if let Flow::Snapshot { transfer: Transfer::UnderWay { since }, .. } = progress.flow
        && server.now - since >= timeout
    {
        snapshot_failed(server, progress);
    }
    if let Flow::Snapshot { transfer: Transfer::Failed { again_at }, .. } = progress.flow
        && server.now >= again_at
    {
        send_snapshot(server, progress);
    }
}

/// A transfer failed. The next one begins with the next heartbeat; after that the pauses double. Observers hear of the first
/// failure in a series, which ends when a snapshot is delivered or the follower's log meets ours.
pub(crate) fn snapshot_failed(server: &mut Server, progress: &mut Progress) {
    let Flow::Snapshot { last, transfer: transfer @ Transfer::UnderWay { .. }, failures } = &mut progress.flow else {
        return;
    };
    // Heartbeats that bring no transfer: none, then one, three, seven. One tick more, as a failure may come with a heartbeat.
    let left_out = ((1 << *failures) - 1) * u64::from(server.config.heartbeat_ticks);
    *transfer = Transfer::Failed { again_at: server.now + left_out + u64::from(left_out > 0) };
    if *failures == 0 {
        server.actions.push(Action::News(News::SnapshotFailed { peer: progress.id, snapshot: *last }));
    }
    *failures = RETRY_DOUBLINGS_MAX.min(*failures + 1);
}

/// A member answered an AppendEntries or a snapshot.
pub(crate) fn append_answered(
    server: &mut Server,
    leader: &mut Leader,
    from: NodeId,
    incarnation: Incarnation,
    round: u64,
    outcome: AppendOutcome,
) {
    let current_round = leader.round;
    let Some(progress) = leader.follower(from) else {
        server.counters.not_a_member += 1;
        return;
    };
    if round > current_round {
        server.counters.malformed += 1;
        return;
    }
    // It answers what this server sent in an earlier term, and is no echo of any round of this one.
    if outcome == AppendOutcome::OlderTerm {
        server.counters.stale += 1;
        return;
    }
    if progress.disk != incarnation && !healing::disk_changed(server, progress, incarnation) {
        server.counters.wiped += 1;
        return;
    }
    progress.heard_at = server.now;
    progress.echoed = progress.echoed.max(round);
    match outcome {
        AppendOutcome::Conflict { prev, hint } => {
            if Index(0) < prev && prev <= progress.matched.index && round > progress.matched_in {
                regressed(server, progress, prev);
            }
            search(server, progress, prev, hint);
        }
        AppendOutcome::OlderTerm => {}
        AppendOutcome::Matched { received, durable } | AppendOutcome::Full { received, durable } => {
            if received > server.log.last().index {
                server.counters.malformed += 1;
                return;
            }
            let news = matched_through(server, progress, durable, current_round) || received >= progress.next;
            let full = matches!(outcome, AppendOutcome::Full { .. });
            let this_round = round >= progress.heartbeat_round;
            flow_on(server, progress, Heard { received, news, full, this_round });
        }
    }
}

/// The follower keeps our log through `durable`. Late answers lower nothing. Says whether that is news.
fn matched_through(server: &Server, progress: &mut Progress, durable: Index, round: u64) -> bool {
    if durable <= progress.matched.index {
        return false;
    }
    if let Some(id) = server.log.id_at(durable) {
        (progress.matched, progress.matched_in) = (id, round);
    }
    if let Flow::Replicate(inflight) = &mut progress.flow {
        inflight.free_through(durable);
    }
    progress.next = progress.next.max(progress.matched.index.next());
    true
}

/// What an answer says about the flow.
#[derive(Clone, Copy)]
struct Heard {
    /// The follower's log is ours through here, in its memory at least.
    received: Index,
    /// That, or what it keeps, goes further than was known.
    news: bool,
    /// It takes no more for now.
    full: bool,
    /// It has seen the current round of its flow.
    this_round: bool,
}

/// Where the logs meet is known: let entries flow on behind it. Old answers must not: each would send a window, whose
/// answers would send more. So the flow opens once in a round, and after that each news lets one message go.
fn flow_on(server: &Server, progress: &mut Progress, heard: Heard) {
    let Heard { received, news, full, this_round } = heard;
    let next = received.next();
    let lacks_something = next <= server.log.last().index;
    match progress.flow {
        // Entries would be thrown away: ask without any at the next heartbeat, or hear when its disk got further.
        _ if full => {
            progress.probe(next, true, true);
            (progress.opened_in_round, progress.is_full) = (true, true);
        }
        Flow::Probe { .. } if lacks_something && progress.opened_in_round => {
            if news {
                progress.probe(next, false, false);
            }
        }
        Flow::Probe { .. } => open_window(server, progress, received),
        // It has seen this round, but not what was sent before: that is lost.
        Flow::Replicate(_) if this_round && received < progress.sent_before_round => progress.probe(next, false, false),
        Flow::Replicate(_) => {}
        // Whatever reconnects it to our log ends the transfer.
        Flow::Snapshot { .. } if progress.matched.index >= server.log.base().index => {
            open_window(server, progress, received);
        }
        Flow::Snapshot { .. } => {}
    }
}

/// Send on behind what the follower has received. A follower whose disk is behind gets no more than a window beyond what its
/// disk has: else each opening would send it another one, which it cannot take.
fn open_window(server: &Server, progress: &mut Progress, received: Index) {
    let unsent = server.log.bytes_after(received);
    let undurable = server.log.bytes_after(progress.matched.index).saturating_sub(unsent);
    progress.replicate(received, undurable);
}

/// It lacks at `prev` what it has acknowledged to be durable, and says so after that: its log went back, to an old copy or
/// before a damaged end. What a quorum was counted with stays committed. It is fed again, and this leader counts it no more.
#[cold]
fn regressed(server: &mut Server, progress: &mut Progress, prev: Index) {
    progress.regress(prev.next(), server.now);
    server.actions.push(Action::News(News::PeerRegressed { peer: progress.id }));
}

/// The logs do not meet before `prev`: go on behind the latest entry that may be common, a term at a time (§5.3). An
/// answer to anything but the latest question is stale.
fn search(server: &mut Server, progress: &mut Progress, prev: Index, hint: EntryId) {
    let asked = match progress.flow {
        Flow::Probe { .. } => prev == progress.next.prev(),
        Flow::Replicate(_) => prev < progress.next,
        Flow::Snapshot { .. } => false,
    };
    if !asked || prev <= progress.matched.index {
        server.counters.stale += 1;
        return;
    }
    let common = if hint.index < server.log.base().index { hint } else { server.log.last_at_most(hint) };
    progress.probe(common.index.next().min(prev), false, true);
}

/// The transport lost touch: what was sent is lost, and it is no use to send more before the next heartbeat.
pub(crate) fn unreachable(progress: &mut Progress) {
    if let Flow::Replicate(_) = progress.flow {
        progress.probe(progress.matched.index.next(), true, false);
    }
}
