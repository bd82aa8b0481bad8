//! The heart of a node: feeds the core what has come in, one event at a time, and carries out what it says. Waits for
//! nothing: the loop around it waits for the inbox and the clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use raft_core::{
    Action, BATCH_ENTRIES_MAX, Change, Commands, EntryId, Event, Fatal, Index, News, NodeId, Raft, Refusal, RequestId,
    SnapshotMeta, SnapshotWrite, Term, WriteId,
};

use crate::changes::ChangeWaiter;
use crate::disk_part::DiskWork;
use crate::error::NodeError;
use crate::inbox::{Mail, Note, Submission};
use crate::machine_part::MachineWork;
use crate::observer::{NodeEvent, Round};
use crate::outgoing::open_snapshot;
use crate::queue::lock;
use crate::requests::{Requests, answer_to};
use crate::shared::Shared;
use crate::status::NodeStatus;
use crate::storage::Snapshots;
use crate::sync::Mutex;
use crate::transport::Transport;
use crate::waiters::Waiter;

/// Commands are joined into one `Start` as long as they count no more than this (nor more than the whole backlog may): what
/// one step appends is one write, and has to fit into a frame.
const JOINED_BYTES_MAX: u64 = 4 << 20;

pub(crate) struct Heart {
    shared: Arc<Shared>,
    raft: Raft,
    transport: Arc<dyn Transport>,
    snapshots: Arc<dyn Snapshots>,
    tick: Duration,
    /// Ticks have been fed up to here.
    ticked: Instant,
    joined_bytes_max: u64,
    /// What the log says is committed.
    committed: Index,
    mail: Mail,
    actions: Vec<Action>,
    last_request: u64,
    /// Dropped with this, its callers hear that the node has stopped.
    requests: Requests,
    issued: Option<WriteId>,
    durable: Option<WriteId>,
    /// The machine's snapshot is in force when this write is durable.
    compacting: Option<Option<WriteId>>,
    /// The snapshot that last could not be opened for each peer: it is asked for at each heartbeat, and told once.
    unreadable: Arc<Mutex<BTreeMap<NodeId, EntryId>>>,
    /// Who could not be handed on, since the parts that call them have ended. They hear of it when this has ended as well:
    /// who is called may ask the core how things stand, and must not do so on the thread that would have to answer.
    stranded: Vec<Waiter>,
}

impl Heart {
    pub(crate) fn new(
        shared: Arc<Shared>,
        raft: Raft,
        transport: Arc<dyn Transport>,
        snapshots: Arc<dyn Snapshots>,
        tick: Duration,
        backlog_bytes_max: u64,
        now: Instant,
    ) -> Heart {
        Heart {
            committed: raft.status().commit(),
            shared,
            raft,
            transport,
            snapshots,
            tick,
            ticked: now,
            joined_bytes_max: JOINED_BYTES_MAX.min(backlog_bytes_max),
            mail: Mail::default(),
            actions: Vec::new(),
            last_request: 0,
            requests: Requests::default(),
            issued: None,
            durable: None,
            compacting: None,
            unreadable: Arc::default(),
            stranded: Vec::new(),
        }
    }

    /// A machine that is behind the snapshot is restored in the first step.
    pub(crate) fn begin(&mut self) {
        self.step(Event::Tick { elapsed: 0 });
        self.carry_out();
    }

    /// Take what has come in, and deal with it and with the time that has passed. Pending if there is neither; `false` once
    /// the node stops.
    pub(crate) fn poll_round(&mut self, context: &Context<'_>, now: Instant) -> Poll<bool> {
        match self.shared.inbox.poll_take(context, &mut self.mail) {
            Poll::Ready(false) => return Poll::Ready(false),
            Poll::Pending if self.due().is_none_or(|due| now < due) => return Poll::Pending,
            Poll::Ready(true) | Poll::Pending => {}
        }
        let (commands, messages) = (self.mail.commands.len(), self.mail.messages.len());
        self.pass_time(now);
        self.hear_notes();
        self.hear_peers();
        self.start_commands();
        self.show(commands, messages);
        Poll::Ready(true)
    }

    /// Let who watches see how things stand, after so much has come in.
    pub(crate) fn show(&mut self, commands: usize, messages: usize) {
        let status = self.raft.status();
        let told = std::mem::replace(&mut self.committed, status.commit());
        self.shared.lines.committed(status.term(), told, status.commit());
        self.shared.observer.round(&Round { raft: &self.raft, shared: &self.shared, commands, messages });
    }

    #[cfg(test)]
    pub(crate) fn leads(&self) -> bool {
        self.raft.status().role() == raft_core::RoleKind::Leader
    }

    /// When there is something to do even if nothing comes in.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.ticked.checked_add(self.tick.saturating_mul(self.raft.ticks_until_due()))
    }

    /// Time first: the core must know how late it is before it hears what came in meanwhile.
    fn pass_time(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.ticked).as_nanos() / self.tick.as_nanos();
        let elapsed = u32::try_from(passed).unwrap_or(u32::MAX);
        if elapsed > 0 {
            self.ticked = self.ticked.checked_add(self.tick.saturating_mul(elapsed)).unwrap_or(now);
            self.step(Event::Tick { elapsed });
            self.carry_out();
        }
    }

    /// Word from the other threads and from handles.
    fn hear_notes(&mut self) {
        let mut notes = std::mem::take(&mut self.mail.notes);
        for note in notes.drain(..) {
            match note {
                Note::Event(event) => {
                    if let Event::Persisted(id) = event {
                        self.durable = self.durable.max(Some(id));
                    }
                    match event {
                        Event::SnapshotReceived { from, term, snapshot } => self.receive_snapshot(from, term, snapshot),
                        event => self.step(event),
                    }
                }
                Note::Built(snapshot) => {
                    self.step(Event::Compact { index: snapshot.index });
                    self.carry_out();
                    self.compacting = Some(self.issued);
                }
                Note::Status => {
                    if let Some(answer) = self.shared.status.take() {
                        answer.say(NodeStatus::of(&self.raft));
                    }
                }
                Note::Transfer { to, answer } => {
                    let request = self.next_request();
                    self.requests.transfer(request, answer);
                    self.step(Event::Transfer { request, to });
                }
                Note::Read => self.read(),
                Note::Change { change, waiter } => self.change(change, waiter),
            }
        }
        self.mail.notes = notes;
        self.carry_out();
        self.finish_compaction();
    }

    /// The core installs it, discards it, or does neither, as it is a copy of what a write names already. The storage knows what
    /// to keep of a copy: the machine's snapshots have other names there than received ones.
    fn receive_snapshot(&mut self, from: NodeId, term: Term, snapshot: SnapshotMeta) {
        let (last, before) = (snapshot.last, self.actions.len());
        self.step(Event::SnapshotReceived { from, term, snapshot });
        let is_decided = self.actions[before..].iter().any(|action| match action {
            Action::Persist(write) => matches!(write.snapshot, Some(SnapshotWrite::Installed { .. })),
            action => matches!(action, Action::Discard(_)),
        });
        if !is_decided {
            // Behind the write that names it.
            self.carry_out();
            self.shared.give_disk(DiskWork::Discard(last));
        }
    }

    /// One read for all who wait for one now; who comes later waits for another.
    fn read(&mut self) {
        if let Some(answer) = self.shared.read.take() {
            let request = self.next_request();
            self.requests.read(request, answer);
            self.step(Event::Read { request });
        }
    }

    /// Tell the machine when its snapshot, or a newer one from a leader, is durably the current one.
    fn finish_compaction(&mut self) {
        if self.compacting.take_if(|write| self.durable >= *write).is_some() {
            let current = self.raft.status().snapshot().last;
            self.shared.tell(&NodeEvent::Compacted { last: current });
            self.shared.give_machine(MachineWork::Compacted(current));
        }
    }

    fn hear_peers(&mut self) {
        let mut messages = std::mem::take(&mut self.mail.messages);
        for (from, message) in messages.drain(..) {
            self.step(Event::Receive { from, message });
        }
        self.mail.messages = messages;
        self.carry_out();
    }

    /// Join what clients want into as few `Start`s as fit. All of one is taken or none, so what is refused as too much is
    /// tried again by halves.
    fn start_commands(&mut self) {
        let most = usize::try_from(BATCH_ENTRIES_MAX).unwrap_or(usize::MAX);
        let mut count_max = most;
        while !self.mail.commands.is_empty() {
            let count = joinable(&self.mail.commands, self.joined_bytes_max).min(count_max);
            match self.start(count) {
                Ok(first) => {
                    self.park(first, count);
                    count_max = most;
                }
                Err(Refusal::Busy { .. }) if count > 1 => count_max = count / 2,
                // Only a single one can be: what is joined is far from any limit.
                Err(why @ Refusal::TooLarge { .. }) => self.refuse(count, why),
                Err(why) => self.refuse(self.mail.commands.len(), why),
            }
            self.carry_out();
        }
    }

    fn start(&mut self, count: usize) -> Result<EntryId, Refusal> {
        let request = self.next_request();
        let commands: Commands = self.mail.commands[..count].iter().map(|waiting| waiting.command.clone()).collect();
        let before = self.actions.len();
        self.step(Event::Start { request, commands });
        answer_to(&self.actions[before..], request)
    }

    /// The applier knows first what becomes of a change, as of commands.
    fn change(&mut self, change: Box<Change>, mut waiter: ChangeWaiter) {
        let (request, before) = (self.next_request(), self.actions.len());
        self.step(Event::Change { request, change });
        match answer_to(&self.actions[before..], request) {
            Ok(change) => {
                waiter.enter();
                // The applier of a node that stops drops it, which answers that the outcome is unknown.
                drop(self.shared.machine.push_quietly(MachineWork::ParkChange { change, waiter }));
            }
            Err(why) => waiter.resolve(Err(why.into())),
        }
    }

    fn next_request(&mut self) -> RequestId {
        self.last_request += 1;
        RequestId(self.last_request)
    }

    /// The machine thread knows first what becomes of commands; nothing of these can be on its way to it yet, so it need
    /// not be woken.
    fn park(&mut self, first: EntryId, count: usize) {
        let waiters = (first.index.0..).zip(self.mail.commands.drain(..count)).map(|(index, mut waiting)| {
            waiting.waiter.enter(EntryId { index: index.into(), ..first });
            waiting.waiter
        });
        let work = MachineWork::Park { first, waiters: waiters.collect() };
        if let Err(MachineWork::Park { waiters, .. }) = self.shared.machine.push_quietly(work) {
            self.stranded.extend(waiters);
        }
    }

    fn refuse(&mut self, count: usize, why: Refusal) {
        for call in self.mail.commands.drain(..count).filter_map(|waiting| waiting.waiter.refuse(why)) {
            self.shared.inbox.refused();
            if let Err(call) = self.shared.refusals.push(call) {
                self.stranded.push(call.waiter);
            }
        }
    }

    fn step(&mut self, event: Event) {
        tracing::trace!(node = self.shared.id.0, %event, "core event");
        self.raft.step_into(event, &mut self.actions);
    }

    /// What the core said, in order.
    fn carry_out(&mut self) {
        let mut actions = std::mem::take(&mut self.actions);
        for action in actions.drain(..) {
            match action {
                Action::Send { to, message } => self.transport.send(to, message),
                Action::Persist(write) => {
                    self.issued = Some(write.id);
                    self.shared.give_disk(DiskWork::Persist(write));
                }
                Action::Apply(entries) => self.shared.give_machine(MachineWork::Apply(entries)),
                Action::Restore(snapshot) => self.shared.give_machine(MachineWork::Restore(snapshot)),
                Action::SendSnapshot { to, term, snapshot } => self.send_snapshot(to, term, snapshot),
                Action::Discard(snapshot) => {
                    self.shared.tell(&NodeEvent::SnapshotUnwanted { last: snapshot.last });
                    self.shared.give_disk(DiskWork::Discard(snapshot.last));
                }
                Action::Transferred { request, leader } => self.requests.transferred(request, leader),
                Action::Readable { request, at } => self.requests.readable(request, at),
                // Commands hear of it where they were started.
                Action::Refused { request, why } => self.requests.refused(request, why),
                Action::Accepted { .. } => {}
                Action::Fetch { id, from, to, bytes_max } => {
                    self.shared.give_disk(DiskWork::Read { id, from, to, bytes_max });
                }
                Action::Halt { why } => self.halt(why),
                Action::News(news) => self.tell(news),
            }
        }
        self.actions = actions;
    }

    /// Opening a snapshot may take long: it has a thread of its own.
    fn send_snapshot(&self, to: NodeId, term: Term, meta: SnapshotMeta) {
        let (snapshots, transport) = (Arc::clone(&self.snapshots), Arc::clone(&self.transport));
        let (shared, last, unreadable) = (Arc::clone(&self.shared), meta.last, Arc::clone(&self.unreadable));
        let alive = self.shared.keep_alive();
        let spawned = self.shared.spawn("send", async move {
            match open_snapshot(&*snapshots, term, &meta, alive) {
                Ok(Some(snapshot)) => {
                    shared.tell(&NodeEvent::SnapshotSending { to, last, bytes: snapshot.len });
                    transport.send_snapshot(to, snapshot);
                    return Ok(());
                }
                Ok(None) => {
                    tracing::info!(node = shared.id.0, peer = to.0, snapshot = %last, "snapshot to send is gone");
                }
                Err(error) => {
                    if lock(&unreadable).insert(to, last) != Some(last) {
                        tracing::error!(node = shared.id.0, peer = to.0, snapshot = %last, %error, "cannot send");
                    }
                }
            }
            shared.inbox.tell(Event::SnapshotSent { to, snapshot: last, delivered: false });
            Ok(())
        });
        if let Err(error) = spawned {
            tracing::error!(node = self.shared.id.0, peer = to.0, %error, "no thread to send a snapshot");
            self.shared.inbox.tell(Event::SnapshotSent { to, snapshot: last, delivered: false });
        }
    }

    fn halt(&self, why: Fatal) {
        self.shared.stop(Some(NodeError::Halted(why)));
    }

    fn tell(&self, news: News) {
        match news {
            News::Role { term, role, leader } => self.shared.tell(&NodeEvent::Role { term, role, leader }),
            News::PeerWiped { peer } => self.shared.tell(&NodeEvent::PeerWiped { peer }),
            _ => {}
        }
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        self.shared.stop(None);
        // Another may have begun to stop the node and not have come so far.
        self.shared.inbox.close();
        self.shared.leave_word(NodeStatus { running: false, ..NodeStatus::of(&self.raft) });
        self.shared.status.close();
        self.shared.read.close();
        self.transport.shutdown();
        drop(self.shared.inbox.leftovers());
    }
}

/// How many of the first commands fit into one `Start`; at least one.
fn joinable(commands: &[Submission], bytes_max: u64) -> usize {
    let mut bytes = 0;
    let fit = commands.iter().take_while(|command| {
        bytes += command.bytes();
        bytes <= bytes_max
    });
    fit.count().max(1)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures_channel::oneshot;
    use raft_core::{
        AppendOutcome, Bytes, Config, Entries, FRAME_ROOM_BYTES, Incarnation, Membership, Message, Restored, RoleKind,
        Rpc, Write,
    };

    use super::*;
    use crate::StartError;
    use crate::storage::mem::MemDisk;
    use crate::storage::{Birth, ClusterId, Identity};
    use crate::transport::local::LocalNetwork;
    use crate::waiters::RefusedCall;
    use crate::workers::{Threads, block_on};

    fn writes(core: &Heart) -> Vec<Write> {
        let mut work = Vec::new();
        let _stopped = core.shared.disk.push(DiskWork::Discard(EntryId::ZERO));
        block_on(core.shared.disk.take(&mut work));
        work.into_iter()
            .filter_map(|work| if let DiskWork::Persist(write) = work { Some(write) } else { None })
            .collect()
    }

    /// The core thread of the first of these members, on this thread.
    fn heart(members: &[u64], tune: fn(&mut Config)) -> Heart {
        let id = NodeId(1);
        let (membership, incarnation) = (Membership::new(members.iter().copied().map(NodeId)), Incarnation(1));
        let mut config = Config::new(id);
        tune(&mut config);
        let backlog_bytes_max = config.backlog_bytes_max;
        let raft = Raft::new(config, Restored::new_cluster(incarnation, membership.clone())).unwrap();
        let disk =
            MemDisk::new(Birth { identity: Identity { cluster: ClusterId(1), node: id, incarnation }, membership });
        let transport: Arc<dyn Transport> = LocalNetwork::new().attach(id);
        let shared = Arc::new(Shared::new(id, 1 << 20, Arc::new(Threads), Arc::new(())));
        let tick = Duration::from_millis(1);
        let now = Instant::now();
        Heart::new(shared, raft, transport, Arc::new(disk), tick, backlog_bytes_max, now)
    }

    /// A leader without followers, with nothing left to be done.
    fn leader(tune: fn(&mut Config)) -> Heart {
        let mut core = heart(&[1], tune);
        while core.raft.status().applied() < 1.into() {
            core.step(Event::Tick { elapsed: 1 });
            core.carry_out();
            for write in writes(&core) {
                core.step(Event::Persisted(write.id));
            }
            core.step(Event::Applied(core.raft.status().handed_out()));
            core.carry_out();
        }
        core
    }

    type Heard = Arc<Mutex<Vec<(usize, Result<crate::Outcome, StartError>)>>>;

    /// Let clients want these at one moment, and carry it out; returns whom the core refused, in order.
    fn start(core: &mut Heart, commands: impl Iterator<Item = usize>) -> Vec<(usize, StartError)> {
        let heard = Heard::default();
        core.mail.commands.extend(commands.enumerate().map(|(i, bytes)| {
            let heard = Arc::clone(&heard);
            let waiter = Waiter::calling(Box::new(move |result| lock(&heard).push((i, result))));
            Submission { command: Bytes::from(vec![0; bytes]), waiter }
        }));
        core.start_commands();
        core.shared.refusals.leftovers().into_iter().for_each(RefusedCall::call);
        let heard = lock(&heard);
        heard.iter().map(|(i, result)| (*i, result.clone().unwrap_err())).collect()
    }

    /// The disk part gives the place of a received snapshot to the next one when it has installed or discarded it. A copy of an
    /// installed one is neither to the core, and is settled all the same, behind the write that installs it.
    #[test]
    fn each_received_snapshot_is_settled_by_the_disk_part() {
        let mut core = heart(&[1, 2, 3], |_| {});
        let snapshot =
            SnapshotMeta { last: EntryId::new(1, 9), membership: Membership::new([1, 2, 3].map(NodeId)).into() };
        for _ in 0..2 {
            let snapshot = snapshot.clone();
            core.mail.notes.push(Note::Event(Event::SnapshotReceived { from: NodeId(2), term: Term(1), snapshot }));
        }
        core.hear_notes();
        let mut work = Vec::new();
        block_on(core.shared.disk.take(&mut work));
        let settled: Vec<_> = work
            .iter()
            .map(|work| match work {
                DiskWork::Persist(write) => matches!(write.snapshot, Some(SnapshotWrite::Installed { .. })),
                DiskWork::Discard(last) => *last != snapshot.last,
                DiskWork::Read { .. } => true,
            })
            .collect();
        assert_eq!(settled, [true, false]);
    }

    #[test]
    fn what_waits_becomes_one_write() {
        let mut core = leader(|_| {});
        assert_eq!(start(&mut core, (0..1000).map(|_| 100)), []);
        let lengths: Vec<u64> = writes(&core).iter().map(|write| write.entries.len()).collect();
        assert_eq!(lengths, [1000]);
    }

    #[test]
    fn a_write_stays_far_from_what_a_frame_carries() {
        let mut core = leader(|config| config.backlog_bytes_max = 1 << 40);
        assert_eq!(start(&mut core, (0..100).map(|_| 1 << 20)), []);
        assert!(writes(&core).iter().all(|write| write.entries.bytes() <= JOINED_BYTES_MAX));
        assert_eq!(core.raft.status().last().index, 101.into());
    }

    #[test]
    fn what_fits_is_taken_and_the_rest_is_refused() {
        let mut core = leader(|config| config.backlog_bytes_max = 1000);
        // 116 bytes each, with what an entry counts besides: eight fit, and no power of two of them does.
        assert_eq!(start(&mut core, [100].into_iter()), []);
        let busy = StartError::Refused(Refusal::Busy { max: 1000 });
        let refused = start(&mut core, (0..100).map(|_| 100));
        assert_eq!(refused, (7..100).map(|i| (i, busy)).collect::<Vec<_>>());
        assert_eq!(core.raft.status().last().index, 9.into());
    }

    /// A command that is only just within its own limit is too large with what an entry counts besides.
    #[test]
    fn a_command_too_large_is_refused_alone() {
        let mut core = leader(|config| {
            config.command_bytes_max = FRAME_ROOM_BYTES;
            config.backlog_bytes_max = 1 << 40;
        });
        let size = usize::try_from(FRAME_ROOM_BYTES).unwrap();
        let refused = start(&mut core, [1, size, 1].into_iter());
        assert!(matches!(refused[..], [(1, StartError::Refused(Refusal::TooLarge { .. }))]), "{refused:?}");
        assert_eq!(core.raft.status().last().index, 3.into());
    }

    /// The answer to a transfer, if there is one yet.
    fn answer(answer: &mut oneshot::Receiver<Result<NodeId, Refusal>>) -> Result<Option<Result<NodeId, Refusal>>, ()> {
        answer.try_recv().map_err(|_| ())
    }

    fn ask_for_transfer(core: &mut Heart, to: Option<NodeId>) -> oneshot::Receiver<Result<NodeId, Refusal>> {
        let (answer, outcome) = oneshot::channel();
        core.mail.notes.push(Note::Transfer { to, answer });
        core.hear_notes();
        outcome
    }

    /// Leads two followers, of which the second has answered.
    fn leader_of_three() -> Heart {
        let mut core = leader(|_| {});
        let membership = Membership::new([1, 2, 3].map(NodeId));
        let config = Config { leader_noop: false, ..Config::new(NodeId(1)) };
        core.raft = Raft::new(config, Restored::new_cluster(Incarnation(1), membership)).unwrap();
        let hear = |core: &mut Heart, rpc: Rpc| {
            let message = Message { term: core.raft.status().term(), incarnation: Incarnation(2), rpc };
            core.step(Event::Receive { from: NodeId(2), message });
            core.carry_out();
            for write in writes(core) {
                core.step(Event::Persisted(write.id));
                core.carry_out();
            }
        };
        while core.raft.status().role() != RoleKind::PreCandidate {
            core.step(Event::Tick { elapsed: 1 });
        }
        hear(&mut core, Rpc::PreVoteReply { granted: true });
        hear(&mut core, Rpc::RequestVoteReply { granted: true });
        let outcome = AppendOutcome::Matched { received: Index(0), durable: Index(0) };
        hear(&mut core, Rpc::AppendEntriesReply { round: 1, outcome });
        assert!(core.leads());
        core
    }

    #[test]
    fn a_transfer_is_answered_once_whatever_becomes_of_the_node() {
        let mut core = leader_of_three();
        let mut first = ask_for_transfer(&mut core, Some(NodeId(2)));
        assert_eq!(answer(&mut first), Ok(None));
        let mut second = ask_for_transfer(&mut core, None);
        assert_eq!(answer(&mut second), Ok(Some(Err(Refusal::Transferring))), "the first one waits on");
        assert_eq!(start(&mut core, [1, 1].into_iter()).len(), 2, "and so do commands");
        assert_eq!(answer(&mut first), Ok(None));
        let heartbeat = Rpc::AppendEntries {
            prev: EntryId::ZERO,
            entries: Entries::new(),
            commit: Index(0),
            round: 1,
            reply: true,
        };
        let message = Message { term: Term(9), incarnation: Incarnation(2), rpc: heartbeat };
        core.mail.messages.push((NodeId(2), message));
        core.hear_peers();
        assert_eq!(answer(&mut first), Ok(Some(Ok(NodeId(2)))));
        assert!(core.requests.is_empty());

        let mut core = leader_of_three();
        let mut waiting = ask_for_transfer(&mut core, Some(NodeId(2)));
        assert_eq!(answer(&mut waiting), Ok(None));
        drop(core);
        assert_eq!(answer(&mut waiting), Err(()), "nobody answers any more");
    }

    /// However many wait for a read at one moment, the core is asked once.
    #[test]
    fn reads_of_one_moment_are_one() {
        let mut core = leader(|_| {});
        let before = core.last_request;
        let readers: Vec<_> = (0..3).map(|_| core.shared.read.ask().unwrap().0).collect();
        core.read();
        core.read();
        core.carry_out();
        assert_eq!(core.last_request, before + 1);
        readers.into_iter().for_each(|reader| assert_eq!(block_on(reader), Some(Ok(Index(1)))));
    }

    /// Each reader hears once: what the core says, or that the node has stopped.
    #[test]
    fn a_reader_hears_of_the_refusal_and_of_the_end() {
        let mut core = leader(|config| config.reads_max = 1);
        assert_eq!(start(&mut core, [1].into_iter()), []);
        for write in writes(&core) {
            core.step(Event::Persisted(write.id));
        }
        // It waits for the machine; behind it there is no room.
        let ask = |core: &mut Heart| {
            let (reader, first) = core.shared.read.ask().unwrap();
            assert!(first);
            core.read();
            core.carry_out();
            reader
        };
        let waits = ask(&mut core);
        let refused = ask(&mut core);
        assert_eq!(block_on(refused), Some(Err(Refusal::TooManyReads { max: 1 }.into())));
        let (untold, _) = core.shared.read.ask().unwrap();
        let shared = Arc::clone(&core.shared);
        drop(core);
        assert_eq!((block_on(waits), block_on(untold)), (None, None));
        assert!(shared.read.ask().is_none());
    }

    #[test]
    fn a_snapshot_that_is_not_there_is_reported_as_not_sent() {
        let core = leader(|_| {});
        core.send_snapshot(NodeId(2), Term(1), SnapshotMeta { last: EntryId::new(1, 7), ..SnapshotMeta::default() });
        let mut mail = Mail::default();
        assert!(block_on(poll_fn(|context| core.shared.inbox.poll_take(context, &mut mail))));
        let lost = |note: &Note| matches!(note, Note::Event(Event::SnapshotSent { to: NodeId(2), snapshot, delivered: false }) if *snapshot == EntryId::new(1, 7));
        assert!(mail.notes.iter().any(lost));
    }
}
