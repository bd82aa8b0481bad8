//! One server without IO: what has come in goes in, one call each; what is to be done comes out, as values.
//!
//! Nothing here waits, blocks, locks or looks at a clock: a simulation runs it as it is. Whoever owns a [`Server`] feeds it
//! (time first), and carries out its [`Outputs`] after each round.
//!
//! One command's way: [`propose`](Server::propose) joins all that wait into one `Start`, and parks who waits for them at the
//! applier; the core's actions become messages to the peers, and a job for the log writer. [`hear`](Server::hear) takes the
//! word that the write is durable, and [`receive`](Server::receive) the peers' replies; then the core's `Apply` becomes a job
//! for the applier, which answers.

mod compaction;
mod disk_care;
pub(crate) mod jobs;
mod requests;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use futures_channel::oneshot;
use raft_core::{
    Action, BATCH_ENTRIES_MAX, Change, Commands, EntryId, Event, Fatal, Index, Message, News, NodeId, Raft, Refusal,
    RequestId, RoleKind, SnapshotMeta, SnapshotWrite, Term,
};

use self::compaction::Compaction;
use self::disk_care::DiskCare;
use self::jobs::{ApplyJob, LogJob};
use self::requests::{Requests, answer_to};
use crate::asked::Answer;
use crate::changes::ChangeWaiter;
use crate::error::ReadError;
use crate::events::NodeEvent;
use crate::inbox::{Submission, joinable};
use crate::peers::{LinkId, Orders, Peers, TransferDone, TransferJob};
use crate::storage::StorageErrorKind;
use crate::waiters::{RefusedCall, StartError};

/// Commands are joined into one `Start` as long as they count no more than this (nor more than the whole backlog may): what
/// one step appends is one write, and has to fit into a frame.
const JOINED_BYTES_MAX: u64 = 4 << 20;

/// What is to be done, each kind in its order.
#[derive(Default)]
pub(crate) struct Outputs {
    /// For the peers, if they are reached by a transport of their own.
    pub(crate) messages: Vec<(NodeId, Message)>,
    /// For followers that are too far behind, in the same case.
    pub(crate) snapshots: Vec<SnapshotOrder>,
    /// Work on the files of snapshots on their way, otherwise.
    pub(crate) transfers: Vec<TransferJob>,
    /// What is to be done with sockets.
    pub(crate) orders: Orders,
    /// For the log writer.
    pub(crate) log: Vec<LogJob>,
    /// For the applier.
    pub(crate) apply: Vec<ApplyJob>,
    /// Callers to be told that their commands were refused. What is called may take its time.
    pub(crate) refused: Vec<RefusedCall>,
    /// For who watches.
    pub(crate) events: Vec<NodeEvent>,
    /// Why the core has halted, if it has: it is to be stopped.
    pub(crate) halted: Option<Fatal>,
}

/// A snapshot that is to be sent.
pub(crate) struct SnapshotOrder {
    pub(crate) to: NodeId,
    pub(crate) term: Term,
    pub(crate) snapshot: SnapshotMeta,
}

/// The core and what surrounds it. Dropped, it tells all callers whose requests it holds that there will be no answer.
pub(crate) struct Server {
    id: NodeId,
    raft: Raft,
    /// The connections to its peers, unless they are reached by a transport of their own.
    peers: Option<Peers>,
    now: Instant,
    tick: Duration,
    /// Ticks have been fed up to here.
    ticked: Instant,
    joined_bytes_max: u64,
    actions: Vec<Action>,
    last_request: u64,
    requests: Requests,
    compaction: Compaction,
    disk_care: DiskCare,
    out: Outputs,
}

impl Server {
    /// A server whose clock begins `now`. A state machine that is behind the snapshot is restored by the first outputs.
    pub(crate) fn new(
        raft: Raft,
        peers: Option<Peers>,
        tick: Duration,
        backlog_bytes_max: u64,
        now: Instant,
    ) -> Server {
        let mut server = Server {
            id: raft.status().id(),
            raft,
            peers,
            now,
            tick,
            ticked: now,
            joined_bytes_max: JOINED_BYTES_MAX.min(backlog_bytes_max),
            actions: Vec::new(),
            last_request: 0,
            requests: Requests::default(),
            compaction: Compaction::default(),
            disk_care: DiskCare::default(),
            out: Outputs::default(),
        };
        server.step(Event::Tick { elapsed: 0 });
        server
    }

    pub(crate) fn raft(&self) -> &Raft {
        &self.raft
    }

    /// When there is something to do even if nothing comes in.
    pub(crate) fn due(&self) -> Option<Instant> {
        let tick = self.ticked.checked_add(self.tick.saturating_mul(self.raft.ticks_until_due()));
        let disk = self.disk_care.due(self.compaction.newest());
        tick.into_iter().chain(disk).chain(self.peers.as_ref().and_then(Peers::due)).min()
    }

    /// What is to be done; it is put into `outputs`, which must be empty.
    pub(crate) fn take_outputs(&mut self, outputs: &mut Outputs) {
        self.out.log.extend(self.disk_care.work(self.compaction.newest(), self.now));
        std::mem::swap(&mut self.out, outputs);
        if let Some(peers) = &mut self.peers {
            peers.flush(self.now);
            peers.take_orders(&mut outputs.orders);
            outputs.transfers.append(&mut peers.word().jobs);
            outputs.events.append(&mut peers.word().told);
        }
    }

    /// The connections to its peers, if they are its own.
    pub(crate) fn peers(&mut self) -> Option<&mut Peers> {
        self.peers.as_mut()
    }

    /// Who the peers are and where, from now on; without effect if they are reached by a transport.
    pub(crate) fn set_peers(&mut self, members: &[(NodeId, String)]) {
        if let Some(peers) = &mut self.peers {
            peers.set_table(members, self.now);
        }
    }

    /// Hear what the peers have said, or what became of their connections; gives the number of messages.
    pub(crate) fn hear_peers(&mut self) -> usize {
        let Some(peers) = &mut self.peers else { return 0 };
        // What comes of these is heard the next time.
        let mut events = std::mem::take(&mut peers.word().events);
        let messages = events.iter().filter(|event| matches!(event, Event::Receive { .. })).count();
        for event in events.drain(..) {
            self.step(event);
        }
        if let Some(peers) = &mut self.peers
            && peers.word().events.is_empty()
        {
            peers.word().events = events;
        }
        messages
    }

    /// A job on the file of a snapshot on its way has ended.
    pub(crate) fn transfer_done(&mut self, transfer: LinkId, done: TransferDone) {
        if let Some(peers) = &mut self.peers {
            peers.transfer_done(transfer, done, self.now);
            self.hear_peers();
        }
    }

    /// Whether something is left to be heard.
    pub(crate) fn is_behind(&self) -> bool {
        self.peers.as_ref().is_some_and(Peers::has_word)
    }

    /// Time first: the core must know how late it is before it hears what came in meanwhile.
    pub(crate) fn pass_time(&mut self, now: Instant) {
        self.now = now.max(self.now);
        let passed = now.saturating_duration_since(self.ticked).as_nanos() / self.tick.as_nanos().max(1);
        let elapsed = u32::try_from(passed).unwrap_or(u32::MAX);
        if elapsed > 0 {
            self.ticked = self.ticked.checked_add(self.tick.saturating_mul(elapsed)).unwrap_or(now);
            self.step(Event::Tick { elapsed });
        }
        if let Some(peers) = &mut self.peers {
            peers.pass_time(now);
        }
        if self.disk_care.hands_over(self.raft.status().role()) {
            let request = self.next_request();
            self.step(Event::Transfer { request, to: None });
        }
    }

    /// Word from who works for this server, or from what connects it.
    pub(crate) fn hear(&mut self, event: Event) {
        match event {
            Event::SnapshotReceived { from, term, snapshot } => self.receive_snapshot(from, term, snapshot),
            Event::Persisted(id) => {
                self.compaction.persisted(id);
                self.disk_care.durable(id, self.now);
                self.step(event);
                self.finish_compaction();
            }
            event => self.step(event),
        }
    }

    /// A message of a peer.
    pub(crate) fn receive(&mut self, from: NodeId, message: Message) {
        self.step(Event::Receive { from, message });
    }

    /// The core installs it, discards it, or does neither, as it is a copy of what a write names already. The storage knows what
    /// to keep of a copy: the state machine's snapshots have other names there than received ones.
    fn receive_snapshot(&mut self, from: NodeId, term: Term, snapshot: SnapshotMeta) {
        let (last, jobs) = (snapshot.last, self.out.log.len());
        self.step(Event::SnapshotReceived { from, term, snapshot });
        let new = self.out.log.get(jobs..).unwrap_or_default();
        let is_decided = new.iter().any(|job| match job {
            LogJob::Persist(write) => matches!(write.snapshot, Some(SnapshotWrite::Installed { .. })),
            LogJob::Discard(_) => true,
            LogJob::Read { .. } | LogJob::TryAgain | LogJob::CloseTail => false,
        });
        if !is_decided {
            // Behind the write that names it.
            self.out.log.push(LogJob::Discard(last));
        }
    }

    /// The state machine's snapshot through here is durable under its name.
    pub(crate) fn built(&mut self, snapshot: EntryId) {
        self.step(Event::Compact { index: snapshot.index });
        self.compaction.asked();
        self.finish_compaction();
    }

    /// The log cannot grow, for want of this; or it can again.
    pub(crate) fn short_of(&mut self, what: Option<StorageErrorKind>) {
        self.disk_care.short(what, self.now);
    }

    /// Tell the applier when its snapshot, or a newer one from a leader, is durably the current one.
    fn finish_compaction(&mut self) {
        if self.compaction.take_if_done() {
            let last = self.raft.status().snapshot().last;
            self.out.events.push(NodeEvent::Compacted { last });
            self.out.apply.push(ApplyJob::Compacted(last));
        }
    }

    /// One read for all who wait for one now; who comes later waits for another.
    pub(crate) fn read(&mut self, answer: Answer<Result<Index, ReadError>>) {
        let request = self.next_request();
        self.requests.read(request, answer);
        self.step(Event::Read { request });
    }

    /// Hand leadership over. `answer` hears who leads then; dropped, it tells that nobody knows any more.
    pub(crate) fn transfer(&mut self, to: Option<NodeId>, answer: oneshot::Sender<Result<NodeId, Refusal>>) {
        let request = self.next_request();
        self.requests.transfer(request, answer);
        self.step(Event::Transfer { request, to });
    }

    /// Change the membership. The applier knows first what becomes of it, as of commands.
    pub(crate) fn change(&mut self, change: Box<Change>, mut waiter: ChangeWaiter) {
        let request = self.next_request();
        match self.ask(Event::Change { request, change }, request) {
            Ok(change) => {
                waiter.enter();
                self.out.apply.push(ApplyJob::ParkChange { change, waiter });
            }
            Err(why) => waiter.resolve(Err(why.into())),
        }
    }

    /// Join what clients want into as few `Start`s as fit. All of one is taken or none, so what is refused as too much is
    /// tried again by halves.
    pub(crate) fn propose(&mut self, proposals: &mut Vec<Submission>) {
        if let Some(why) = self.disk_care.shortage().filter(|_| self.raft.status().role() == RoleKind::Leader) {
            return self.refuse(proposals.drain(..), StartError::NoRoom { why });
        }
        let most = usize::try_from(BATCH_ENTRIES_MAX).unwrap_or(usize::MAX);
        let mut count_max = most;
        while !proposals.is_empty() {
            let count = joinable(proposals, self.joined_bytes_max).min(count_max);
            match self.start(proposals.get(..count).unwrap_or_default()) {
                Ok(first) => {
                    self.park(first, proposals.drain(..count));
                    count_max = most;
                }
                Err(Refusal::Busy { .. }) if count > 1 => count_max = count / 2,
                // Only a single one can be: what is joined is far from any limit.
                Err(why @ Refusal::TooLarge { .. }) => self.refuse(proposals.drain(..count), why.into()),
                Err(why) => self.refuse(proposals.drain(..), why.into()),
            }
        }
    }

    fn start(&mut self, proposals: &[Submission]) -> Result<EntryId, Refusal> {
        let request = self.next_request();
        let commands: Commands = proposals.iter().map(|proposal| proposal.command.clone()).collect();
        self.ask(Event::Start { request, commands }, request)
    }

    /// The applier knows first what becomes of commands. It has none of these yet: they are not durable here.
    fn park(&mut self, first: EntryId, proposals: impl Iterator<Item = Submission>) {
        let waiters = (first.index.0..).zip(proposals).map(|(index, mut proposal)| {
            proposal.waiter.enter(EntryId { index: index.into(), ..first });
            proposal.waiter
        });
        self.out.apply.push(ApplyJob::Park { first, waiters: waiters.collect() });
    }

    fn refuse(&mut self, proposals: impl Iterator<Item = Submission>, why: StartError) {
        self.out.refused.extend(proposals.filter_map(|proposal| proposal.waiter.refuse(why)));
    }

    fn next_request(&mut self) -> RequestId {
        self.last_request += 1;
        RequestId(self.last_request)
    }

    /// Step the core with a request that is answered at once.
    fn ask(&mut self, event: Event, request: RequestId) -> Result<EntryId, Refusal> {
        self.feed(event);
        let answer = answer_to(&self.actions, request);
        self.carry_out();
        answer
    }

    fn step(&mut self, event: Event) {
        self.feed(event);
        self.carry_out();
    }

    fn feed(&mut self, event: Event) {
        tracing::trace!(node = self.id.0, %event, "core event");
        self.raft.step_into(event, &mut self.actions);
    }

    /// What the core said, in order.
    fn carry_out(&mut self) {
        let Server { actions, out, requests, compaction, peers, now, .. } = self;
        for action in actions.drain(..) {
            match action {
                Action::Send { to, message } => match peers {
                    Some(peers) => peers.send(to, &message, *now),
                    None => out.messages.push((to, message)),
                },
                Action::Persist(write) => {
                    compaction.issued(write.id);
                    out.log.push(LogJob::Persist(write));
                }
                Action::Apply(entries) => out.apply.push(ApplyJob::Apply(entries)),
                Action::Restore(snapshot) => out.apply.push(ApplyJob::Restore(snapshot)),
                Action::SendSnapshot { to, term, snapshot } => match peers {
                    Some(peers) => peers.send_snapshot(to, term, snapshot, *now),
                    None => out.snapshots.push(SnapshotOrder { to, term, snapshot }),
                },
                Action::Discard(snapshot) => {
                    out.events.push(NodeEvent::SnapshotUnwanted { last: snapshot.last });
                    out.log.push(LogJob::Discard(snapshot.last));
                }
                Action::Fetch { id, from, to, bytes_max } => out.log.push(LogJob::Read { id, from, to, bytes_max }),
                Action::Transferred { request, leader } => requests.transferred(request, leader),
                Action::Readable { request, at } => requests.readable(request, at),
                // Commands and changes hear of it where they were asked for.
                Action::Refused { request, why } => requests.refused(request, why),
                Action::Accepted { .. } => {}
                Action::Halt { why } => out.halted = Some(why),
                Action::News(News::Role { term, role, leader }) => {
                    out.events.push(NodeEvent::Role { term, role, leader });
                }
                Action::News(News::PeerWiped { peer }) => out.events.push(NodeEvent::PeerWiped { peer }),
                Action::News(_) => {}
            }
        }
    }
}
