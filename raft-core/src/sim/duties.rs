//! The driver's duties: carry out each action, and come back with what became of it.

use std::format;
use std::sync::Arc;

use super::clients::is_ask;
use super::cluster::{Cluster, Item, Transfer};
use super::coverage::Happening;
use super::disk::SLOWNESS;
use super::entropy::{Entropy, Odds};
use super::kinds;
use super::machine::{Done, SnapshotFile, Work};
use super::network::Parcel;
use super::queue::{TICK, Time};
use super::server::Seen;
use super::slow_links;
use super::violation::{Invariant, Verdict, broken};
use crate::{
    Action, Entries, Event, Index, Membership, Message, NodeId, Rpc, SnapshotMeta, SnapshotWrite, Term, Write,
};

/// How snapshots travel in a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TransferTemper {
    pub(crate) delay: (Time, Time),
    pub(crate) failure: Odds,
    pub(crate) duplicate: Odds,
    /// How often, and by how much at most, one comes late, when nobody waits for it any more.
    pub(crate) late: Odds,
    pub(crate) late_moments: Time,
    /// How often the sender never hears what became of it.
    pub(crate) report_lost: Odds,
    /// How often the sender hears of a failure although it was delivered.
    pub(crate) report_wrong: Odds,
}

impl TransferTemper {
    pub(crate) const FAST: TransferTemper = TransferTemper {
        delay: (0, TICK),
        failure: Odds::NEVER,
        duplicate: Odds::NEVER,
        late: Odds::NEVER,
        late_moments: 0,
        report_lost: Odds::NEVER,
        report_wrong: Odds::NEVER,
    };

    pub(crate) fn draw(entropy: &mut Entropy) -> TransferTemper {
        TransferTemper {
            delay: (0, entropy.magnitude(1, 30 * TICK)),
            failure: entropy.odds_up_to(Odds::percent(50)),
            duplicate: entropy.odds_up_to(Odds::percent(30)),
            late: entropy.odds_up_to(Odds::percent(30)),
            late_moments: entropy.magnitude(TICK, 300 * TICK),
            report_lost: entropy.odds_up_to(Odds::percent(30)),
            report_wrong: entropy.odds_up_to(Odds::percent(20)),
        }
    }
}

impl Cluster {
    /// Do what the server in `slot` wants done; it was `before` when the step began.
    pub(crate) fn carry_out(&mut self, slot: usize, before: &Seen, action: Action) -> Verdict {
        self.coverage.count_action(&action);
        match action {
            Action::Send { to, message } => self.send(slot, to, message),
            Action::Persist(write) => self.persist(slot, before, write),
            Action::Apply(entries) => self.apply(slot, entries),
            Action::Restore(meta) => self.restore(slot, &meta),
            Action::SendSnapshot { to, term, snapshot } => self.send_snapshot(slot, to, term, &snapshot),
            Action::Discard(meta) => {
                self.oracles.discarding(&self.servers[slot], &meta)?;
                self.servers[slot].discard_file(meta.last);
                Ok(())
            }
            // What becomes of a change is seen in the configuration.
            Action::Accepted { request, first, count } if is_ask(request) => {
                self.change_accepted(slot, request, (first, count))
            }
            Action::Accepted { request, first, count } => {
                self.oracles.answered(request, Some(count))?;
                if let Some(lab) = &mut self.lab {
                    lab.accepted = Some(first);
                    return Ok(());
                }
                let Err(taken) = self.clients.accepted(slot, request, first, count) else { return Ok(()) };
                broken(Invariant::Outcomes, format!("request {request} was put at {taken}, where another one waits"))
            }
            Action::Refused { request, why } if is_ask(request) => {
                if self.oracles.read_refused(request) {
                    self.coverage.count_refused_read(&why);
                } else if self.change == Some(request) {
                    self.coverage.count_refused_change(&why);
                }
                self.oracles.ask_answered(&self.servers, slot, request, None)
            }
            Action::Transferred { request, leader } => {
                self.oracles.ask_answered(&self.servers, slot, request, Some(leader))
            }
            Action::Refused { request, .. } => {
                let count = self.oracles.answered(request, None)?;
                self.clients.refused(request, count);
                Ok(())
            }
            Action::Fetch { id, from, to, bytes_max } => self.fetch(slot, id, (from, to), bytes_max),
            Action::Readable { request, at } => self.readable(slot, before, request, at),
            Action::Halt { why } => {
                self.oracles.halted(&self.servers[slot], &why)?;
                self.halt(slot);
                self.servers[slot].was_replaced = true;
                Ok(())
            }
            Action::News(news) => {
                self.told(slot, news);
                Ok(())
            }
        }
    }

    fn send(&mut self, slot: usize, to: NodeId, message: Message) -> Verdict {
        self.oracles.sending(&self.servers, slot, to, &message)?;
        if let Rpc::AppendEntries { entries, .. } = &message.rpc {
            self.account.note(entries);
        }
        self.digest.fold(message.term.0 << 8 | to.0);
        let Some(receiver) = self.slot_of(to) else {
            self.coverage.count(Happening::MessageToNobody);
            self.notice_loss(slot, to);
            return Ok(());
        };
        let parcel = Parcel { ends: (slot, receiver), reply: message.is_reply(), bytes: slow_links::bytes(&message) };
        let arrivals = self.network.route(&mut self.entropy, &mut self.coverage, parcel, self.now);
        if let Some(lab) = &mut self.lab {
            lab.sent(receiver, &message, !arrivals.is_empty());
        }
        let Some((last, copies)) = arrivals.split_last() else {
            self.notice_loss(slot, to);
            return Ok(());
        };
        for arrival in &arrivals {
            self.trickle(*arrival, (slot, receiver), message.term);
        }
        for copy in copies {
            self.queue.push(copy.at, Item::Deliver { from: slot, to: receiver, message: message.clone() });
        }
        self.queue.push(last.at, Item::Deliver { from: slot, to: receiver, message });
        Ok(())
    }

    /// The sender of a message that is lost may hear of it.
    fn notice_loss(&mut self, slot: usize, peer: NodeId) {
        if self.entropy.chance(self.network.weather.noticed) {
            let life = self.servers[slot].life;
            self.queue.push(self.now + TICK, Item::Unreachable { slot, life, peer });
        }
    }

    fn persist(&mut self, slot: usize, before: &Seen, write: Write) -> Verdict {
        self.account.note(&write.entries);
        kinds::count_written(&mut self.coverage, &self.servers, slot, before, &write);
        self.oracles.writing(&self.servers, slot, before, &write)?;
        let server = &mut self.servers[slot];
        if let Some(SnapshotWrite::Compacted { snapshot, .. } | SnapshotWrite::Installed { snapshot }) = &write.snapshot
        {
            self.oracles.writing_snapshot(server, snapshot)?;
        }
        if write.entries.first().is_some_and(|first| first.index <= server.disk.written.last().index) {
            self.coverage.count(Happening::LogTruncated);
        }
        server.longest_run = server.longest_run.max(write.entries.bytes());
        server.disk.submit(write);
        self.sync(slot);
        Ok(())
    }

    fn sync(&mut self, slot: usize) {
        let server = &mut self.servers[slot];
        if let Some(at) = server.disk.sync(&mut self.entropy, &self.temper.disk, self.now) {
            self.queue.push(at, Item::Synced { slot, life: server.life });
        }
    }

    /// A sync has ended: say so, or leave it to the next one, and go on with what waits.
    pub(crate) fn synced(&mut self, slot: usize) -> Verdict {
        let server = &mut self.servers[slot];
        let life = server.life;
        let Some(id) = server.disk.synced() else { return Ok(()) };
        server.drop_old_files();
        let temper = &self.temper.disk;
        if !server.disk.is_idle() && self.entropy.chance(temper.collapse) {
            self.coverage.count(Happening::AcksCollapsed);
        } else {
            let at = server.disk.confirmation(&mut self.entropy, temper, self.now);
            self.queue.push(at, Item::Confirmed { slot, life, id });
            if self.entropy.chance(temper.repeat) {
                self.coverage.count(Happening::ConfirmationRepeated);
                self.queue.push(at + self.entropy.below(10 * TICK), Item::Confirmed { slot, life, id });
            }
        }
        self.sync(slot);
        Ok(())
    }

    fn apply(&mut self, slot: usize, entries: Entries) -> Verdict {
        let server = &mut self.servers[slot];
        self.oracles.applying(server, &entries)?;
        server.handed = entries.last().map_or(server.handed, |last| last.index);
        self.give(slot, Work::Apply(entries));
        Ok(())
    }

    fn restore(&mut self, slot: usize, meta: &SnapshotMeta) -> Verdict {
        let server = &mut self.servers[slot];
        self.oracles.restoring(server, meta)?;
        let state = self.oracles.file(server, meta)?.state;
        server.handed = meta.last.index;
        let own = meta.last == server.started_from;
        self.coverage.count(if own { Happening::RestoredAtStart } else { Happening::RestoredFromLeader });
        self.give(slot, Work::Restore(state));
        Ok(())
    }

    fn give(&mut self, slot: usize, work: Work) {
        let server = &mut self.servers[slot];
        if server.machine.give(work) {
            let life = server.life;
            let at = self.now + self.pace(slot);
            self.queue.push(at, Item::Run { slot, life });
        }
    }

    /// How long the machine lets its next piece of work wait.
    fn pace(&mut self, slot: usize) -> Time {
        let (shortest, longest) = self.temper.machine.delay;
        let slowness = if self.now < self.servers[slot].machine.slow_until { SLOWNESS } else { 1 };
        slowness * self.entropy.between(shortest, longest)
    }

    /// The machine does a piece of its work.
    pub(crate) fn run_machine(&mut self, slot: usize) -> Verdict {
        let temper = self.temper.machine;
        let done = self.do_work(slot, |entropy, entries| match entries.len() {
            count if count > 1 && entropy.chance(temper.in_parts) => entropy.between(1, count - 1),
            count => temper.until_snapshot(entries).map_or(count, |until| until.min(count)),
        })?;
        let Cluster { servers, entropy, coverage, trace, .. } = self;
        let server = &mut servers[slot];
        let (life, state) = (server.life, server.machine.state);
        if entropy.chance(temper.keeps) {
            server.machine.kept = state;
            trace.event(self.now, server.id, format_args!("keeps {}", state.last.index));
        }
        let confirmed = self.now + entropy.between(temper.confirm.0, temper.confirm.1);
        self.queue.push(confirmed, Item::Applied { slot, life, index: state.last.index });
        if entropy.chance(temper.repeat) {
            coverage.count(Happening::ConfirmationRepeated);
            let again = confirmed + entropy.below(10 * TICK);
            self.queue.push(again, Item::Applied { slot, life, index: state.last.index });
        }
        if done.in_parts {
            coverage.count(Happening::AppliedInParts);
        }
        if done.more {
            let at = self.now + entropy.between(temper.delay.0, temper.delay.1);
            self.queue.push(at, Item::Run { slot, life });
        }
        let snapshot_is_due = temper.snapshot_every.is_some_and(|every| state.last.index.0 % every == 0);
        if snapshot_is_due || self.entropy.chance(temper.snapshots) {
            self.snapshot(slot)?;
        }
        Ok(())
    }

    /// The machine does its next piece of work, or as much of it as `count` says; the clients hear of it.
    pub(crate) fn do_work(&mut self, slot: usize, count: impl FnOnce(&mut Entropy, &Entries) -> u64) -> Verdict<Done> {
        let Cluster { servers, entropy, clients, coverage, oracles, lab, .. } = self;
        let server = &mut servers[slot];
        let mut answers = Ok(());
        let mut restored = None;
        let done = server.machine.run(
            |entries| count(entropy, entries),
            |state, payload| {
                if let Some(lab) = lab {
                    lab.applied(state.last, payload);
                }
                if answers.is_ok() {
                    answers = match clients.applied(coverage, slot, state.last, payload) {
                        Ok(None) => Ok(()),
                        Ok(Some(command)) => oracles.acknowledged(command, state),
                        Err(command) => {
                            broken(Invariant::Outcomes, format!("command {command} got no answer, or another one's"))
                        }
                    };
                }
            },
            |index| restored = Some(index),
        );
        if let Some(index) = restored {
            clients.restored(coverage, slot, index);
        }
        answers?;
        self.oracles.state(&server.machine.state)?;
        Ok(done)
    }

    /// The machine writes its state down; when that is durable the log may go.
    pub(crate) fn snapshot(&mut self, slot: usize) -> Verdict {
        let server = &mut self.servers[slot];
        let state = server.machine.state;
        let Some(raft) = &server.raft else { return Ok(()) };
        if state.last.index <= server.seen.snapshot.index {
            return Ok(());
        }
        // A server that joined does not know who the members were before the first configuration in its log.
        let knows = |(at, known): &(Index, Arc<Membership>)| *at <= state.last.index && !known.members().is_empty();
        if !server.disk.written.configurations().iter().any(knows) {
            return Ok(());
        }
        let Some(meta) = raft.snapshot_at(state.last.index).filter(|meta| meta.last == state.last) else {
            return broken(Invariant::Restart, format!("does not know what a snapshot at {} stands for", state.last));
        };
        server.keep_file(SnapshotFile { meta, state });
        let (shortest, longest) = self.temper.machine.snapshot_delay;
        let at = self.now + self.entropy.between(shortest, longest);
        self.queue.push(at, Item::SnapshotMade { slot, life: server.life, index: state.last.index });
        Ok(())
    }

    fn send_snapshot(&mut self, slot: usize, to: NodeId, term: Term, meta: &SnapshotMeta) -> Verdict {
        let server = &self.servers[slot];
        self.oracles.sending_snapshot(slot, server, to)?;
        let file = self.oracles.file(server, meta)?.clone();
        let Some(receiver) = self.slot_of(to) else {
            self.coverage.count(Happening::MessageToNobody);
            let (life, snapshot) = (server.life, meta.last);
            self.queue.push(self.now + TICK, Item::TransferEnded { slot, life, to, snapshot, delivered: false });
            return Ok(());
        };
        let transfer = Transfer { from: slot, to: receiver, life: server.life, term, file };
        let temper = &self.temper.transfer;
        let mut at = self.now + self.entropy.between(temper.delay.0, temper.delay.1);
        if let Some(lab) = &mut self.lab {
            let reachable = self.network.connects(slot, receiver) && self.servers[receiver].is_up();
            lab.sent_snapshot(receiver, meta, reachable);
            if !reachable {
                at += self.entropy.below(lab.unreachable_moments);
            }
        }
        if self.entropy.chance(temper.failure) {
            self.coverage.count(Happening::SnapshotFailed);
            self.report_transfer(&transfer, at, false);
            return Ok(());
        }
        if self.entropy.chance(temper.late) {
            self.coverage.count(Happening::SnapshotLate);
            at += self.entropy.below(temper.late_moments);
        }
        if self.entropy.chance(temper.duplicate) {
            self.coverage.count(Happening::SnapshotDoubled);
            let again = at + self.entropy.below(self.temper.transfer.late_moments);
            self.queue.push(again, Item::Arrive(transfer.clone()));
        }
        self.queue.push(at, Item::Arrive(transfer));
        Ok(())
    }

    /// A snapshot has come to its end: the receiver has it as a file, or not.
    pub(crate) fn snapshot_arrives(&mut self, transfer: Transfer) -> Verdict {
        let Transfer { from, to, term, .. } = transfer;
        let connects = self.network.connects(from, to) && self.network.connects(to, from);
        if !connects || !self.servers[to].is_up() {
            self.coverage.count(Happening::SnapshotFailed);
            self.report_transfer(&transfer, self.now, false);
            return Ok(());
        }
        self.coverage.count(Happening::SnapshotDelivered);
        if self.servers[from].seen.snapshot.index > transfer.file.meta.last.index {
            self.coverage.count(Happening::SnapshotOutdated);
        }
        let delivered = !self.entropy.chance(self.temper.transfer.report_wrong);
        let after = self.now + self.entropy.below(TICK);
        self.report_transfer(&transfer, after, delivered);
        let snapshot = transfer.file.meta.clone();
        self.servers[to].keep_file(transfer.file);
        let from = self.servers[from].id;
        self.feed(to, Event::SnapshotReceived { from, term, snapshot })
    }

    fn report_transfer(&mut self, transfer: &Transfer, at: Time, delivered: bool) {
        if self.entropy.chance(self.temper.transfer.report_lost) {
            self.coverage.count(Happening::SnapshotReportLost);
            return;
        }
        let to = self.servers[transfer.to].id;
        let (slot, life, snapshot) = (transfer.from, transfer.life, transfer.file.meta.last);
        self.queue.push(at, Item::TransferEnded { slot, life, to, snapshot, delivered });
    }
}

#[cfg(test)]
mod tests {
    use super::super::cluster::Temper;
    use std::sync::Arc;

    use super::super::disk::Disk;
    use super::super::oracle::Oracles;
    use super::super::server::{Clock, Seat};
    use super::super::trace::Trace;
    use super::*;
    use crate::{Config, EntryId, Membership};

    /// Two of three voters are there, and no learner. What is sent to the others is lost, snapshots too, and no rule is broken.
    #[test]
    fn a_member_need_not_exist() {
        let config = |id| Config { trailing_entries: 0, ..Config::new(NodeId(id)) };
        let seats = [1, 2].map(|id| Seat::founder(config(id), Clock::Steady)).into();
        let mut cluster = Cluster::new(seats, Temper::CALM, Entropy::from_seed(1), Trace::off());
        let membership = Membership::joint([1, 2, 3].map(NodeId), [], [NodeId(4)]);
        let snapshot = SnapshotMeta { last: EntryId::ZERO, membership: membership.into() };
        cluster.oracles = Oracles::new(Arc::clone(&snapshot.membership));
        for slot in 0..2 {
            cluster.servers[slot].disk = Disk::new(snapshot.clone());
            cluster.start(slot).unwrap();
        }
        cluster.network.weather.noticed = Odds::percent(100);
        cluster.temper.machine.snapshot_every = Some(2);
        cluster.run(100 * TICK).unwrap();
        for _ in 0..10 {
            let (request, commands) = cluster.clients.request(1, 8);
            let leader = cluster.leader().unwrap();
            cluster.feed(leader, Event::Start { request, commands }).unwrap();
            cluster.run(cluster.now + 20 * TICK).unwrap();
        }
        for happening in [Happening::MessageToNobody, Happening::UnreachableReported, Happening::SnapshotSendAsked] {
            assert!(cluster.coverage.of(happening) > 4, "{}", happening.words());
        }
        assert!(cluster.oracles.committed() >= Index(10));
        assert!(cluster.oracles.have_converged(&cluster.servers), "nobody waits for those who do not exist");
    }
}
