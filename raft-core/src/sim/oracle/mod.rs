//! The oracles: one file per invariant. They look at every step from outside, know the one true history, and cost little:
//! each looks only at what changed.

mod acknowledged;
mod acknowledgements;
mod adjacent;
mod append_only;
mod apply_order;
mod candidacy;
mod check_quorum;
mod commit_rule;
mod committed;
mod configuration;
mod convergence;
mod discards;
mod ears;
mod election_restriction;
mod election_safety;
mod farewell;
mod fetch_exact;
mod frugality;
mod healed;
mod leader_completeness;
mod leaves_once;
mod limits;
mod linearizable;
mod log_matching;
mod match_index;
mod monotone;
mod no_halt;
mod one_answer;
mod one_pending;
mod outcomes;
mod promises;
mod promoted_was_ready;
mod read_index;
mod recorded_disk_counts;
mod restart;
mod single_vote;
mod snapshot_state;
mod state_machine_safety;
mod terms_rise;
#[cfg(test)]
pub(crate) mod testing;
mod timers;
mod transfer_is_quiet;
mod uncounted_is_silent;
mod write_through;

use std::sync::Arc;

use super::clients::{Clients, CommandId};
use super::disk::Image;
use super::machine::{SnapshotFile, State};
use super::server::{Seen, Server};
use super::violation::Verdict;
use crate::{
    Entries, EntryId, Event, Fatal, FetchId, Index, Membership, Message, News, NodeId, Payload, RequestId,
    RestoreError, RoleKind, Rpc, SnapshotMeta, SnapshotWrite, Term, Write,
};
use committed::Committed;
use uncounted_is_silent::UncountedIsSilent;

/// Everything that is remembered of a run to judge it.
#[derive(Default)]
pub(crate) struct Oracles {
    committed: Committed,
    election_safety: election_safety::ElectionSafety,
    election_restriction: election_restriction::ElectionRestriction,
    single_vote: single_vote::SingleVote,
    log_matching: log_matching::LogMatching,
    match_index: match_index::MatchIndex,
    outcomes: outcomes::Outcomes,
    one_answer: one_answer::OneAnswer,
    transfer_is_quiet: transfer_is_quiet::TransferIsQuiet,
    acknowledged: acknowledged::Acknowledged,
    linearizable: linearizable::Linearizable,
    read_index: read_index::ReadIndex,
    ears: ears::Ears,
    uncounted_is_silent: UncountedIsSilent,
    recorded_disk_counts: recorded_disk_counts::RecordedDiskCounts,
    farewell: farewell::Farewell,
    fetch_exact: fetch_exact::FetchExact,
    timers: timers::TimersMove,
    pub(crate) frugality: frugality::Frugality,
}

impl Oracles {
    /// Of a cluster of these first members.
    pub(crate) fn new(first: Arc<Membership>) -> Oracles {
        Oracles { committed: Committed::of(first), ..Oracles::default() }
    }

    pub(crate) fn started(&mut self, server: &Server) -> Verdict {
        restart::started(server)?;
        terms_rise::started(&server.disk.durable)?;
        state_machine_safety::commits(server, Index(0), &self.committed)
    }

    pub(crate) fn start_refused(&self, error: &RestoreError) -> Verdict {
        restart::refused(error)
    }

    /// The server in `slot` is about to be fed this.
    pub(crate) fn feeding(&mut self, slot: usize, server: &Server, event: &Event) {
        self.ears.fed(slot, server, event);
        self.fetch_exact.feeding(slot, &server.config, event);
        self.timers.feeding(server, event);
    }

    /// The server in `slot`, which was `before`, has stepped; none of the actions has been carried out.
    pub(crate) fn stepped(&mut self, servers: &[Server], slot: usize, before: &Seen) -> Verdict {
        let server = &servers[slot];
        let seen = &server.seen;
        monotone::stepped(before, seen)?;
        self.timers.stepped(server, before)?;
        self.transfer_is_quiet.stepped(slot, server, before)?;
        self.ears.stepped(slot, server, before);
        self.farewell.stepped(slot, server);
        if seen.durable != before.durable {
            promises::stepped(server)?;
        }
        if seen.hard_state != before.hard_state
            && let Some(candidate) = seen.hard_state.voted_for.filter(|candidate| *candidate != server.server_id())
        {
            self.election_restriction.votes(before, candidate, seen.hard_state.term)?;
        }
        let standing = |seen: &Seen| (seen.role, seen.hard_state.term);
        if seen.role != RoleKind::Follower && standing(seen) != standing(before) {
            candidacy::stands(server)?;
        }
        let leads = seen.role == RoleKind::Leader;
        if leads && !seen.leads_on_from(before) {
            self.election_safety.leads(server.server_id(), seen.hard_state.term)?;
            self.single_vote.votes(server.server_id(), seen.hard_state.term, server.server_id())?;
            self.uncounted_is_silent.stands(server)?;
            leader_completeness::stands(server, &self.committed)?;
        }
        if let Some(reply) = self.ears.reply.filter(|_| seen.leads_on_from(before)) {
            self.recorded_disk_counts.answered(slot, server, reply)?;
        }
        if leads {
            self.match_index.leading(slot, server)?;
        }
        if seen.commit > before.commit {
            // A leader that is not in what it commits follows in the same step.
            let led = before.role == RoleKind::Leader && before.hard_state.term == seen.hard_state.term;
            if leads || led {
                self.leader_commits(servers, slot, before.commit)?;
            }
            state_machine_safety::commits(server, before.commit, &self.committed)?;
        }
        Ok(())
    }

    fn leader_commits(&mut self, servers: &[Server], slot: usize, from: Index) -> Verdict {
        let seen = &servers[slot].seen;
        commit_rule::commits(servers, slot)?;
        let Some(raft) = &servers[slot].raft else { return Ok(()) };
        let status = raft.status();
        for index in from.max(self.committed.last_index()).next().0..=seen.commit.0 {
            let index = Index(index);
            let payload = status.entry(index).or_else(|| servers[slot].disk.durable.entry(index));
            let entry = status.term_at(index).zip(payload);
            let Some((term, payload)) = entry.filter(|_| index == self.committed.last_index().next()) else { break };
            self.committed.push(seen.hard_state.term, term, payload);
        }
        leader_completeness::commits(servers, seen.hard_state.term, seen.commit, &self.committed)
    }

    /// Time has passed for the server in `slot`.
    pub(crate) fn ticked(&self, slot: usize, server: &Server) -> Verdict {
        if server.leads() {
            check_quorum::leading(server)?;
            UncountedIsSilent::leading(slot, server, &self.ears)?;
            limits::leading(server)?;
        }
        Ok(())
    }

    /// The server in `slot` sends a message to the server of this name, if there is one.
    pub(crate) fn sending(&mut self, servers: &[Server], slot: usize, to: NodeId, message: &Message) -> Verdict {
        let server = &servers[slot];
        let sender = server.server_id();
        promises::sending(server, to, message)?;
        if !message.is_reply() && !matches!(message.rpc, Rpc::ReadIndex { .. } | Rpc::ReadIndexReply { .. }) {
            let append = matches!(message.rpc, Rpc::AppendEntries { .. });
            self.farewell.writes(slot, server, to, (append, self.ears.now(slot)))?;
        }
        match &message.rpc {
            Rpc::RequestVote { last, .. } => {
                self.election_restriction.asks(sender, message.term, *last);
                self.single_vote.votes(sender, message.term, sender)
            }
            Rpc::RequestVoteReply { granted: true } => match server.disk.durable.hard_state.voted_for {
                Some(candidate) => {
                    self.uncounted_is_silent.grants(sender, message.term, candidate);
                    self.single_vote.votes(sender, message.term, candidate)
                }
                None => Ok(()),
            },
            Rpc::AppendEntries { entries, .. } => {
                limits::sending(server, message)?;
                fetch_exact::used(server, entries)?;
                self.election_safety.leads(sender, message.term)
            }
            Rpc::AppendEntriesReply { .. } => acknowledgements::sending(servers, server, to, message),
            Rpc::PreVote { .. }
            | Rpc::PreVoteReply { .. }
            | Rpc::RequestVoteReply { granted: false }
            | Rpc::TimeoutNow { .. }
            | Rpc::ReadIndex { .. }
            | Rpc::ReadIndexReply { .. } => Ok(()),
        }
    }

    /// The leader in `slot` offers a snapshot to another server.
    pub(crate) fn sending_snapshot(&mut self, slot: usize, server: &Server, to: NodeId) -> Verdict {
        self.farewell.writes(slot, server, to, (true, self.ears.now(slot)))
    }

    /// Observers of the server in `slot` hear this.
    pub(crate) fn told(&mut self, slot: usize, server: &Server, news: News) {
        if let News::PeerRegressed { peer } = news {
            self.recorded_disk_counts.regressed(slot, server.life, peer);
        }
    }

    /// `write` is about to be put behind what the server in `slot` wrote so far.
    pub(crate) fn writing(&mut self, servers: &[Server], slot: usize, before: &Seen, write: &Write) -> Verdict {
        let server = &servers[slot];
        self.frugality.writes(write.entries.len());
        append_only::writing(before, &server.seen, write)?;
        limits::writing(server, before, write)?;
        terms_rise::writing(&server.disk.written, server.seen.hard_state.term, write)?;
        if write.entries.may_hold_membership() {
            self.writing_configurations(servers, slot, before, write)?;
        }
        self.log_matching.writing(&server.disk.written, write)
    }

    /// Each configuration of a write follows the one before it in the log, if that is known.
    fn writing_configurations(&self, servers: &[Server], slot: usize, was: &Seen, write: &Write) -> Verdict {
        let server = &servers[slot];
        let term = server.seen.hard_state.term;
        let led = server.leads() || was.role == RoleKind::Leader && was.hard_state.term == term;
        let first = write.entries.first_index().unwrap_or_default();
        let mut known = server.disk.written.configurations().iter().filter(|(at, _)| *at < first);
        let mut before = known.next_back().map(|(at, known)| (*at, Arc::clone(known)));
        if let Some(SnapshotWrite::Installed { snapshot }) = &write.snapshot {
            before = Some((snapshot.last.index, Arc::clone(&snapshot.membership)));
        }
        for (id, payload) in write.entries.iter() {
            let Payload::Membership(next) = payload else { continue };
            if let Some((at, before)) = before.filter(|(_, before)| !before.members().is_empty()) {
                adjacent::follows(&before, next)?;
                leaves_once::follows(&before, id, next)?;
                if led && id.term == term {
                    one_pending::appends(server, (at, &before), id, next)?;
                    promoted_was_ready::appends(servers, slot, &self.ears, (at, &before), next)?;
                }
            }
            before = Some((id.index, Arc::clone(next)));
        }
        Ok(())
    }

    /// A write that names a snapshot is about to be carried out.
    pub(crate) fn writing_snapshot(&self, server: &Server, meta: &SnapshotMeta) -> Verdict {
        state_machine_safety::snapshot(meta.last, &self.committed)?;
        snapshot_state::named(meta, &self.committed)?;
        self.file(server, meta).map(|_| ())
    }

    /// The data of this snapshot is about to be deleted.
    pub(crate) fn discarding(&self, server: &Server, meta: &SnapshotMeta) -> Verdict {
        discards::discarding(server, meta)
    }

    pub(crate) fn applying(&self, server: &Server, entries: &Entries) -> Verdict {
        apply_order::applying(server, entries)?;
        limits::applying(server, entries)?;
        fetch_exact::used(server, entries)?;
        state_machine_safety::applying(entries, &self.committed)
    }

    /// The machine's state is to be replaced by this snapshot, whose data the driver must have.
    pub(crate) fn restoring(&self, server: &Server, meta: &SnapshotMeta) -> Verdict {
        apply_order::restoring(server, meta)
    }

    pub(crate) fn file<'a>(&self, server: &'a Server, meta: &SnapshotMeta) -> Verdict<&'a SnapshotFile> {
        let file = restart::file(server, meta)?;
        snapshot_state::used(file, &self.committed)?;
        Ok(file)
    }

    /// A machine has come to this state.
    pub(crate) fn state(&self, state: &State) -> Verdict {
        state_machine_safety::state(state, &self.committed)
    }

    pub(crate) fn asked(&mut self, request: RequestId, count: u64) {
        self.linearizable.asked(request, count);
        self.outcomes.asked(request, count);
    }

    /// An answer to a request. Says how many commands it had.
    pub(crate) fn answered(&mut self, request: RequestId, accepted: Option<u64>) -> Verdict<u64> {
        self.outcomes.answered(request, accepted)
    }

    /// The server in `slot`, in this term, is asked for a transfer of leadership.
    pub(crate) fn transfer_asked(&mut self, slot: usize, request: RequestId, term: Term) {
        self.one_answer.asked(slot, request);
        self.transfer_is_quiet.asked(slot, request, term);
    }

    /// The server in `slot` is asked for a change of the membership, which it takes or refuses at once.
    pub(crate) fn change_asked(&mut self, slot: usize, request: RequestId) {
        self.one_answer.asked(slot, request);
    }

    pub(crate) fn change_accepted(
        &mut self,
        slot: usize,
        server: &Server,
        request: RequestId,
        (first, count): (EntryId, u64),
    ) -> Verdict {
        self.one_answer.answered(slot, request)?;
        one_answer::changes(server, request, first, count)
    }

    /// The server in `slot` answers a request that is no command; a transfer of leadership by who leads now.
    pub(crate) fn ask_answered(
        &mut self,
        servers: &[Server],
        slot: usize,
        request: RequestId,
        leader: Option<NodeId>,
    ) -> Verdict {
        self.one_answer.answered(slot, request)?;
        self.transfer_is_quiet.answered(slot, &servers[slot], request, leader)
    }

    /// The server in `slot` is asked for a read.
    pub(crate) fn read_asked(&mut self, slot: usize, request: RequestId) {
        self.one_answer.asked(slot, request);
        self.read_index.asked(request);
    }

    /// The server in `slot` lets a read be answered.
    pub(crate) fn readable(&mut self, slot: usize, server: &Server, request: RequestId, at: Index) -> Verdict {
        self.one_answer.answered(slot, request)?;
        self.read_index.answered(server, request, at)
    }

    /// A request was refused that is no command. Says whether it was a read.
    pub(crate) fn read_refused(&mut self, request: RequestId) -> bool {
        self.read_index.refused(request)
    }

    /// A client is told that its command has taken effect, as the last entry that made `state`.
    pub(crate) fn acknowledged(&mut self, command: CommandId, state: &State) -> Verdict {
        self.acknowledged.told(command, state.last, &self.committed)?;
        self.read_index.told(state.last.index);
        self.linearizable.answered(command, state.last.index, state.history, &self.committed)
    }

    /// The server in `slot` wants these entries read back from its disk.
    pub(crate) fn fetch_asked(&mut self, slot: usize, server: &Server, id: FetchId, range: (Index, Index)) -> Verdict {
        self.fetch_exact.asked(slot, server, id, range)
    }

    /// All actions of a step of the server in `slot` have been carried out.
    pub(crate) fn settled(&mut self, slot: usize, server: &Server) -> Verdict {
        self.outcomes.settled()?;
        self.transfer_is_quiet.settled(slot)?;
        self.fetch_exact.settled(slot, server);
        limits::settled(server)?;
        write_through::settled(server)?;
        configuration::settled(server)
    }

    /// The server in `slot` has died.
    pub(crate) fn crashed(&mut self, slot: usize) {
        self.outcomes.crashed();
        self.one_answer.crashed(slot);
        self.fetch_exact.crashed(slot);
        self.transfer_is_quiet.crashed(slot);
    }

    pub(crate) fn halted(&self, server: &Server, why: &Fatal) -> Verdict {
        no_halt::halted(server, why, &self.committed)
    }

    /// Whether the calm phase of a run is over.
    pub(crate) fn have_converged(&self, servers: &[Server]) -> bool {
        convergence::have_converged(servers, self.committed.last_index())
            && healed::have_healed(servers)
            && self.one_answer.all_answered()
    }

    /// The calm phase of a run has taken as long as it may.
    pub(crate) fn diverged(&self, servers: &[Server], ticks: u64) -> Verdict {
        self.one_answer.finish(ticks)?;
        if convergence::have_converged(servers, self.committed.last_index()) {
            healed::finish(servers, ticks)?;
        }
        convergence::diverged(servers, ticks)
    }

    /// A server is stated to start with what `write` puts behind `image`.
    pub(crate) fn stated(&mut self, image: &Image, write: &Write) -> Verdict {
        self.log_matching.writing(image, write)
    }

    /// These entries are stated to be committed, each by a leader of its own term.
    pub(crate) fn stated_committed(&mut self, entries: &Entries) {
        for (id, payload) in entries.iter() {
            if id.index == self.committed.last_index().next() {
                self.committed.push(id.term, id.term, payload);
            }
        }
    }

    /// The state that everything committed through `index` makes.
    pub(crate) fn state_at(&self, index: Index) -> Option<State> {
        self.committed.state_at(index)
    }

    /// Through where leaders have committed.
    pub(crate) fn committed(&self) -> Index {
        self.committed.last_index()
    }

    /// The newest committed configuration, and its entry.
    pub(crate) fn configuration(&self) -> (EntryId, &Membership) {
        self.committed.configuration()
    }

    /// The run is over and all have converged.
    pub(crate) fn finish(&self, clients: &Clients) -> Verdict {
        self.acknowledged.finish(&self.committed)?;
        self.linearizable.finish(&self.committed)?;
        outcomes::finish(&self.committed, clients)
    }
}
