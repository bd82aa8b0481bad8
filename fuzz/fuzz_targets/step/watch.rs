//! What must hold of one server whatever comes to it: Figure 2's monotony, promises that wait for the disk, the limits of its
//! configuration, and memory in proportion to what it holds.

use std::collections::{BTreeMap, VecDeque};

use raft_core::sim::fuzz::{Birth, Feed};
use raft_core::{
    Action, AppendOutcome, Bytes, Config, ENTRY_OVERHEAD_BYTES, Entries, Entry, EntryId, Event, FetchId, HardState,
    Index, Message, News, NodeId, Raft, RequestId, RoleKind, Rpc, ServerId, SnapshotWrite, Status, Write, WriteId,
};

use crate::memory;

// What may be allocated, in bytes, for a server without anything and for each thing that it holds: about twice what it takes,
// as lists that grow have room to spare.
const SERVER_BYTES: usize = 2048;
const ENTRY_BYTES: usize = 200;
const PLACE_BYTES: usize = 128;
const WRITE_BYTES: usize = 64;
const READ_BYTES: usize = 64;
const MEMBER_BYTES: usize = 160;
const FOLLOWER_BYTES: usize = 512;
const INFLIGHT_BYTES: usize = 64;
/// Of an entry that is not in memory: its mark in the log, and its size here.
const MARK_BYTES: usize = 96;
/// So many of the newest requests for entries may be answered.
const FETCHES: usize = 4;

/// So many requests can be told apart.
const PLACES: usize = 32;

/// A server between two steps.
struct View {
    hard_state: HardState,
    commit: EntryId,
    handed_out: Index,
    applied: Index,
    durable: Index,
    role: RoleKind,
    last: EntryId,
    backlog: u64,
    /// Whether it may take entries from a leader.
    has_room: bool,
    halted: bool,
}

fn view(watch: &Watch, status: Status<'_>) -> View {
    let commit = status.commit();
    View {
        hard_state: status.hard_state(),
        commit: EntryId { term: status.term_at(commit).unwrap_or_default(), index: commit },
        handed_out: status.handed_out(),
        applied: status.applied(),
        durable: status.durable(),
        role: status.role(),
        last: status.last(),
        backlog: status.backlog_bytes(),
        has_room: watch.bytes(status.durable(), Index::MAX) < watch.config.unpersisted_bytes_max
            && watch.applying() + watch.bytes(status.handed_out(), commit) < watch.config.backlog_bytes_max,
        halted: status.halted().is_some(),
    }
}

pub(crate) struct Watch {
    config: Config,
    before: Option<View>,
    /// Who waits for an answer in this step.
    request: Option<RequestId>,
    /// Whether that is for commands, which count against the limits.
    starts: bool,
    /// How many answers are still to come, in this step or later; several requests share a place.
    asked: [u32; PLACES],
    issued: u64,
    /// What the driver was asked to write and has not confirmed.
    writes: VecDeque<(WriteId, Option<HardState>)>,
    durable: HardState,
    newest_write: Option<WriteId>,
    /// The bytes of each entry of the log, in memory or not. Unknown, of a server that starts with a tail of its log.
    sizes: BTreeMap<Index, u64>,
    sizes_known: bool,
    /// What the application was given and has not applied: the last index and the bytes of each portion.
    portions: VecDeque<(Index, u64)>,
    /// The newest requests for entries: the id, the first and the last.
    fetches: VecDeque<(FetchId, Index, Index)>,
    empty: usize,
    /// The most that ever was: of entries in the log, of writes, and of bytes in one piece that came or went.
    entries_max: usize,
    writes_max: usize,
    /// The most reads that waited at once, in any of the queues that they pass through.
    asked_max: usize,
    /// The most actions of a step: the core keeps the room for so many.
    actions_max: usize,
    piece_max: usize,
}

impl Watch {
    /// `empty` is what was allocated before there was a server.
    pub(crate) fn new(birth: &Birth, empty: usize) -> Watch {
        let mut watch = Watch {
            config: birth.config.clone(),
            before: None,
            request: None,
            starts: false,
            asked: [0; PLACES],
            issued: 0,
            writes: VecDeque::new(),
            durable: birth.restored.hard_state,
            newest_write: None,
            sizes: BTreeMap::new(),
            sizes_known: birth.restored.head.first().is_none(),
            portions: VecDeque::new(),
            fetches: VecDeque::new(),
            empty,
            entries_max: 0,
            writes_max: 0,
            asked_max: 0,
            actions_max: 0,
            piece_max: 0,
        };
        watch.note_entries(&birth.restored.entries);
        watch.note_sizes(&birth.restored.entries);
        watch
    }

    fn note_sizes(&mut self, entries: &Entries) {
        let Some(first) = entries.first() else { return };
        self.sizes.split_off(&first.index);
        let sizes = entries.slices().flat_map(|(_, slice)| slice).map(Entry::bytes);
        self.sizes.extend((first.index.0..).map(Index).zip(sizes));
    }

    /// Bytes of the entries after `from` through `to`.
    fn bytes(&self, from: Index, to: Index) -> u64 {
        if from >= to { 0 } else { self.sizes.range(from.next()..=to).map(|(_, bytes)| bytes).sum() }
    }

    /// What the application was given and has not applied.
    fn applying(&self) -> u64 {
        self.portions.iter().map(|(_, bytes)| bytes).sum()
    }

    /// One of the newest requests for entries, which has perhaps no answer yet.
    pub(crate) fn fetch(&self, back: usize) -> Option<(FetchId, Index, Index)> {
        self.fetches.iter().rev().nth(back).copied()
    }

    /// What the step did to the log, and what it handed out and asked for.
    fn note_actions(&mut self, status: Status<'_>, actions: &[Action]) {
        for action in actions {
            match action {
                Action::Persist(write) => {
                    if let Some(SnapshotWrite::Installed { .. }) = write.snapshot {
                        self.sizes.clear();
                        self.sizes_known = true;
                    }
                    self.note_sizes(&write.entries);
                }
                Action::Restore(_) => self.portions.clear(),
                Action::Apply(entries) => {
                    self.portions.push_back((entries.last().unwrap_or_default().index, entries.bytes()));
                }
                Action::Fetch { id, from, to, bytes_max } => {
                    assert!(*from <= *to && *from >= status.first_index() && *bytes_max > 0);
                    assert!(*to < status.resident_first(), "what is in memory is not fetched");
                    self.fetches.push_back((*id, *from, *to));
                    if self.fetches.len() > FETCHES {
                        self.fetches.pop_front();
                    }
                }
                _ => {}
            }
        }
        self.sizes = self.sizes.split_off(&status.first_index());
    }

    /// The write that the driver was asked for in the last step.
    pub(crate) fn take_newest_write(&mut self) -> Option<WriteId> {
        self.newest_write.take()
    }

    /// This is about to come.
    pub(crate) fn before(&mut self, status: Status<'_>, feed: &Feed) {
        self.sizes = self.sizes.split_off(&status.first_index());
        self.before = Some(view(self, status));
        (self.request, self.starts) = (None, false);
        let Feed::Event(event) = feed else { return };
        if let Event::Start { request, .. }
        | Event::Change { request, .. }
        | Event::Read { request }
        | Event::Transfer { request, .. } = event
        {
            self.asked[place(*request)] += 1;
            self.asked_max = self.asked_max.max(self.asked.iter().sum::<u32>() as usize);
        }
        match event {
            Event::Change { request, .. } => self.request = Some(*request),
            Event::Applied(index) if *index <= status.handed_out() => {
                while self.portions.pop_front_if(|(last, _)| *last <= *index).is_some() {}
            }
            Event::Fetched { entries, .. } => self.note_entries(entries),
            Event::Start { request, commands } => {
                (self.request, self.starts) = (Some(*request), true);
                self.note_piece(commands.len(), commands.iter().map(Bytes::len).sum());
            }
            Event::Receive { message: Message { rpc: Rpc::AppendEntries { entries, .. }, .. }, .. } => {
                self.note_entries(entries);
            }
            Event::Persisted(id) if id.number() <= self.issued => {
                while let Some((_, hard_state)) = self.writes.pop_front_if(|(write, _)| *write <= *id) {
                    self.durable = hard_state.unwrap_or(self.durable);
                }
            }
            _ => {}
        }
    }

    fn note_piece(&mut self, entries: usize, bytes: usize) {
        self.piece_max = self.piece_max.max(entries * ENTRY_BYTES + 2 * bytes);
    }

    fn note_entries(&mut self, entries: &Entries) {
        self.note_piece(entries.len() as usize, entries.bytes() as usize);
    }

    /// This came of it.
    pub(crate) fn after(&mut self, raft: &Raft, actions: &[Action]) {
        self.actions_max = self.actions_max.max(actions.len());
        let status = raft.status();
        let Some(before) = self.before.take() else { return };
        if before.halted || status.halted().is_some() {
            let news = usize::from(!before.halted);
            assert!(actions.len() == news, "a halted server is silent");
            assert!(actions.iter().all(|action| matches!(action, Action::Halt { .. })));
            return;
        }
        self.newest_write = None;
        self.note_actions(status, actions);
        let after = view(self, status);
        self.check_monotony(&before, &after, status);
        self.check_writes(&before, &after, actions);
        self.check_applied(&before, status, actions);
        for action in actions {
            self.check_action(&before, status, action);
        }
        self.check_answers(actions);
        self.check_followers(status);
        assert!(raft.ticks_until_due() > 0);
        let snapshot = raft.snapshot_at(status.snapshot().last.index);
        assert!(snapshot.is_none_or(|snapshot| snapshot.last == status.snapshot().last));
        self.entries_max = self.entries_max.max(resident(status));
    }

    fn check_monotony(&self, before: &View, after: &View, status: Status<'_>) {
        assert!(after.hard_state.term >= before.hard_state.term, "terms never fall");
        assert!(after.commit.index >= before.commit.index, "commits never fall");
        assert!(after.handed_out >= before.handed_out && after.applied >= before.applied, "nothing is applied twice");
        assert!(
            after.applied <= after.handed_out && after.handed_out <= after.commit.index,
            "only commits are applied"
        );
        assert!(after.commit.index <= after.last.index && after.durable <= after.last.index);
        let (snapshot, first) = (status.snapshot().last.index, status.first_index());
        assert!(snapshot <= after.commit.index && first <= snapshot.next(), "snapshots are committed, the log follows");
        let committed = status.term_at(before.commit.index);
        assert!(committed.is_none_or(|term| term == before.commit.term), "what is committed stays");
        if after.hard_state.term == before.hard_state.term {
            let vote = before.hard_state.voted_for;
            assert!(vote.is_none() || vote == after.hard_state.voted_for, "one vote per term");
            assert!(before.role != RoleKind::Leader || after.last >= before.last, "a leader never overwrites its log");
        }
        if after.role == RoleKind::Leader {
            let own = ServerId { id: self.config.id, incarnation: status.incarnation() };
            let own = HardState { term: after.hard_state.term, voted_for: Some(own) };
            assert!(self.durable == own, "a leader's term and vote are durable before it leads");
            assert!(status.leader() == Some(self.config.id));
        }
        assert!(after.last.term <= after.hard_state.term, "no entry is of a later term");
    }

    fn check_writes(&mut self, before: &View, after: &View, actions: &[Action]) {
        let mut writes =
            actions.iter().filter_map(|action| if let Action::Persist(write) = action { Some(write) } else { None });
        let (write, second) = (writes.next(), writes.next());
        assert!(second.is_none(), "one write per step");
        let hard_state = write.and_then(|write| write.hard_state);
        assert!(
            before.hard_state == after.hard_state || hard_state == Some(after.hard_state),
            "what changed is written"
        );
        assert!(hard_state.is_none_or(|written| written == after.hard_state));
        let Some(Write { id, snapshot, entries, .. }) = write else {
            assert!(before.last == after.last, "what changed is written");
            return;
        };
        self.issued += 1;
        assert!(id.number() == self.issued, "writes are counted");
        if let (Some(first), Some(last)) = (entries.first(), entries.last()) {
            assert!(first.index > before.commit.index && last == after.last, "what is committed is not overwritten");
            let is_own = before.role == RoleKind::Leader || after.role == RoleKind::Leader;
            assert!(is_own || before.has_room || !self.sizes_known, "a follower that is full takes no entries");
        } else {
            assert!(before.last == after.last || snapshot.is_some(), "what changed is written");
        }
        self.writes.push_back((*id, hard_state));
        self.writes_max = self.writes_max.max(self.writes.len());
        self.newest_write = Some(*id);
    }

    fn check_applied(&self, before: &View, status: Status<'_>, actions: &[Action]) {
        let mut handed_out = before.handed_out;
        for action in actions {
            match action {
                Action::Restore(snapshot) => {
                    assert!(snapshot == status.snapshot() && snapshot.last.index > status.applied());
                    handed_out = snapshot.last.index;
                }
                Action::Apply(entries) => {
                    let waiting = self.bytes(status.applied(), handed_out);
                    let fits = waiting + entries.bytes() <= self.config.apply_bytes_max;
                    assert!(fits || waiting == 0 && entries.len() == 1, "the application is not flooded");
                    assert!(entries.first().is_some_and(|first| first.index == handed_out.next()), "in order");
                    assert!(entries.iter().all(|(id, _)| status.term_at(id.index) == Some(id.term)));
                    handed_out = entries.last().map_or(handed_out, |last| last.index);
                    assert!(handed_out <= status.commit().min(status.durable()), "committed and durable here");
                }
                _ => {}
            }
        }
        assert!(handed_out == status.handed_out());
    }

    fn check_action(&mut self, before: &View, status: Status<'_>, action: &Action) {
        match action {
            Action::Send { to, message } => {
                assert!(*to != self.config.id && message.term == status.term());
                assert!(message.incarnation == status.incarnation());
                self.check_message(before, *to, message, status);
            }
            Action::Accepted { first, count, .. } => {
                assert!(before.role == RoleKind::Leader && first.term == status.term());
                let last = first.index.plus(*count).prev();
                assert!(last <= status.last().index && first.index == before.last.index.next());
                let added = self.bytes(first.index.prev(), last);
                let alone = before.backlog == 0 || before.last.term < first.term;
                assert!(
                    alone || !self.starts || before.backlog + added <= self.config.backlog_bytes_max,
                    "a leader that is busy refuses"
                );
            }
            Action::SendSnapshot { snapshot, term, .. } => {
                assert!(status.role() == RoleKind::Leader && *term == status.term() && snapshot == status.snapshot());
            }
            Action::Readable { at, .. } => assert!(*at <= status.applied(), "a read waits for the application"),
            Action::Transferred { leader, .. } => assert!(*leader != self.config.id, "another server leads"),
            Action::News(News::Role { term, role, leader }) => {
                assert!((*term, *role, *leader) == (status.term(), status.role(), status.leader()));
            }
            _ => {}
        }
    }

    /// No promise is given that the disk does not keep.
    fn check_message(&mut self, before: &View, to: NodeId, message: &Message, status: Status<'_>) {
        let promised = |durable: HardState, vote| {
            durable.term == message.term && durable.voted_for.is_some_and(|voted_for| voted_for.id == vote)
        };
        match &message.rpc {
            Rpc::RequestVoteReply { granted: true } => {
                assert!(promised(self.durable, to), "a vote waits for the disk")
            }
            Rpc::RequestVote { last, transfer: _ } => {
                assert!(promised(self.durable, self.config.id), "a candidate's own vote waits for the disk");
                assert!(*last == status.last() && last.index <= status.durable(), "and so does the log it stands on");
            }
            Rpc::AppendEntries { prev, entries, commit, .. } => {
                assert!(
                    (before.role == RoleKind::Leader || status.role() == RoleKind::Leader)
                        && *commit == status.commit()
                );
                assert!(status.term_at(prev.index).is_none_or(|term| term == prev.term));
                assert!(entries.iter().all(|(id, _)| status.term_at(id.index) == Some(id.term)));
                let (count, bytes) = (entries.len(), entries.bytes());
                let fits = count <= self.config.append_entries_max && bytes <= self.config.append_bytes_max;
                assert!(fits || count <= 1, "a message keeps to its limits");
                self.note_entries(entries);
            }
            Rpc::AppendEntriesReply { round, outcome } => match *outcome {
                AppendOutcome::OlderTerm => assert!(*round == 0, "an answer to an older term echoes nothing"),
                AppendOutcome::Matched { received, durable } | AppendOutcome::Full { received, durable } => {
                    assert!(durable <= received && received <= status.last().index && durable <= status.durable());
                    assert!(durable == Index(0) || self.durable.term == message.term, "the term is durable too");
                }
                AppendOutcome::Conflict { prev, hint } => assert!(hint.index <= prev),
            },
            _ => {}
        }
    }

    fn check_answers(&mut self, actions: &[Action]) {
        let mut answered = false;
        for action in actions {
            let (Action::Accepted { request, .. }
            | Action::Refused { request, .. }
            | Action::Readable { request, .. }
            | Action::Transferred { request, .. }) = action
            else {
                continue;
            };
            answered |= Some(*request) == self.request;
            let asked = &mut self.asked[place(*request)];
            assert!(*asked > 0, "one answer per request");
            *asked -= 1;
        }
        assert!(self.request.is_none() || answered, "commands and changes are answered at once");
    }

    fn check_followers(&self, status: Status<'_>) {
        for follower in status.followers() {
            assert!(follower.inflight as u64 <= self.config.inflight_appends_max, "a window keeps to its limit");
            assert!(follower.matched.index < follower.next && follower.matched.index <= status.last().index);
            assert!(follower.next <= status.last().index.next());
        }
    }

    /// Time for the next look: what is allocated, besides `spare`, is a few times what the server holds. The rest of a piece that
    /// was cut up may be held with the first entry, and what once grew by doubling keeps its room.
    pub(crate) fn weigh(&self, status: Status<'_>, spare: usize) {
        let allocated = memory::in_use().saturating_sub(self.empty + spare);
        let log = status.resident_bytes();
        let first = status.resident_first();
        let sizes = self.sizes.range(first..).map(|(_, bytes)| bytes).sum::<u64>();
        let next = status.handed_out().next().max(status.first_index());
        let after = self.sizes.range(next..).map(|(_, bytes)| bytes).sum::<u64>();
        // What a halted server did last is not known.
        if status.halted().is_none() {
            let counted = self.applying() + after;
            assert!(!self.sizes_known || status.backlog_bytes() == counted, "{counted} bytes are counted: {status:?}");
            assert!(log == sizes, "{sizes} bytes are in memory: {status:?}");
        }
        let entries = resident(status);
        let followers = status.followers().map(|follower| FOLLOWER_BYTES + follower.inflight * INFLIGHT_BYTES);
        let members = [status.membership(), &status.snapshot().membership].map(|some| some.members().len());
        let held = SERVER_BYTES
            + members.iter().sum::<usize>() * MEMBER_BYTES
            + entries * ENTRY_BYTES
            + 2 * (log - entries as u64 * ENTRY_OVERHEAD_BYTES) as usize
            + self.piece_max
            + self.entries_max * PLACE_BYTES
            + (status.last().index.0 + 1 - status.first_index().0) as usize * MARK_BYTES
            + self.writes_max * WRITE_BYTES
            + self.asked_max * READ_BYTES
            + self.actions_max * size_of::<Action>()
            + followers.sum::<usize>();
        assert!(allocated <= 2 * held, "{allocated} bytes are allocated for what may take twice {held}");
    }
}

/// Where the answers to a request are counted.
fn place(request: RequestId) -> usize {
    (request.0 % PLACES as u64) as usize
}

/// How many entries are in memory.
fn resident(status: Status<'_>) -> usize {
    (status.last().index.0 + 1 - status.resident_first().0) as usize
}
