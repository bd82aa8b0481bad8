//! Figure 2's "State on all servers", and what every rule does with it.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::action::{Action, CompactDeclined, Fatal, HardState, News, SnapshotWrite, Write};
use crate::chores::Chores;
use crate::config::Config;
use crate::counters::Counters;
use crate::disk::Disk;
use crate::entries::{Entries, Payload};
use crate::fetch::Fetch;
#[cfg(feature = "sim")]
use crate::fingerprint::Fingerprint;
use crate::history::History;
use crate::log::{Log, SnapshotMeta};
use crate::membership::Membership;
use crate::message::{Message, Rpc};
use crate::named::NamedSnapshots;
use crate::random::Random;
use crate::restored::Restored;
use crate::types::{EntryId, Incarnation, Index, NodeId, ServerId, Term};

/// What a server knows whatever its role.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) config: Config,
    pub(crate) incarnation: Incarnation,
    /// Figure 2's currentTerm and votedFor.
    pub(crate) hard_state: HardState,
    pub(crate) log: Log,
    pub(crate) snapshot: SnapshotMeta,
    named: NamedSnapshots,
    pub(crate) history: History,
    /// Whether this server has a vote, and its disk is the one that counts for it.
    pub(crate) counts_itself: bool,
    /// Figure 2's commitIndex.
    pub(crate) commit: Index,
    /// What the application was given; Figure 2's lastApplied, asked for.
    pub(crate) handed_out: Index,
    /// What the application has reported; Figure 2's lastApplied, done.
    pub(crate) applied: Index,
    /// What was handed out and not reported: the last index and the bytes of each Apply.
    pub(crate) applying: VecDeque<(Index, u64)>,
    pub(crate) applying_bytes: u64,
    /// What the application needs next is being fetched.
    pub(crate) fetching: Option<Fetch>,
    /// How many requests for entries there ever were.
    pub(crate) fetches: u64,
    /// The application must start from `snapshot`, and has not been told.
    pub(crate) restore_due: bool,
    pub(crate) disk: Disk,
    /// Ticks that passed, each pause counted as one heartbeat interval at most.
    pub(crate) now: u64,
    /// The leader that was heard last, and when: it is not disturbed for a while, whatever became of our term and role
    /// since (thesis §4.2.3). A server that has led until now stands here itself, with the last time that it heard a
    /// quorum. Who leads the current term is the role's to know.
    pub(crate) heard: Option<(NodeId, u64)>,
    /// Until when this server led.
    pub(crate) led_until: u64,
    /// When a newer term was last adopted from a server whose disk does not count.
    pub(crate) foreign_term_at: Option<u64>,
    pub(crate) random: Random,
    /// The election timeout in force, drawn anew for each campaign (§5.2).
    pub(crate) timeout: u32,
    /// The rare duties that the end of a step must look at.
    pub(crate) chores: Chores,
    pub(crate) counters: Counters,
    pub(crate) fatal: Option<Fatal>,
    /// Term, role or leader may be others than observers were told.
    pub(crate) role_changed: bool,
    /// What this step wants done, in order.
    pub(crate) actions: Vec<Action>,
}

impl Server {
    /// The caller has checked `config` and `restored`.
    pub(crate) fn new(config: Config, restored: Restored) -> Server {
        let (first, last) = (restored.first(), restored.last());
        let Restored { incarnation, boot: _, hard_state, snapshot, head, entries, applied } = restored;
        // Where entries behind the snapshot were kept, the first of them is the base: its term is known.
        let base = first.filter(|first| first.index <= snapshot.last.index).unwrap_or(snapshot.last);
        let random = Random::new(config.seed, config.id);
        let mut server = Server {
            log: Log::evicted(base, &head.terms, head.last, head.bytes),
            named: NamedSnapshots::new(snapshot.last),
            history: History::new(snapshot.last.index, Arc::clone(&snapshot.membership)),
            counts_itself: false,
            commit: applied.max(snapshot.last.index),
            handed_out: applied,
            applied,
            applying: VecDeque::new(),
            applying_bytes: 0,
            fetching: None,
            fetches: 0,
            restore_due: applied < snapshot.last.index,
            disk: Disk::new(last.index),
            now: 0,
            heard: None,
            led_until: 0,
            foreign_term_at: None,
            random,
            timeout: 0,
            chores: Chores::default(),
            counters: Counters::default(),
            fatal: None,
            role_changed: false,
            actions: Vec::new(),
            config,
            incarnation,
            hard_state,
            snapshot,
        };
        server.draw_timeout();
        for (at, membership) in head.memberships.into_iter().filter(|(at, _)| *at > base.index) {
            server.history.push(at, membership);
        }
        server.append_to_log(entries.starting_at(base.index.next()));
        server.members_changed();
        server.evict();
        server
    }

    pub(crate) fn id(&self) -> NodeId {
        self.config.id
    }

    /// This server on its disk.
    pub(crate) fn identity(&self) -> ServerId {
        ServerId { id: self.id(), incarnation: self.incarnation }
    }

    pub(crate) fn term(&self) -> Term {
        self.hard_state.term
    }

    /// The configuration in force: the newest in the log, committed or not (§6).
    pub(crate) fn membership(&self) -> &Arc<Membership> {
        self.history.current()
    }

    pub(crate) fn send(&mut self, to: NodeId, rpc: Rpc) {
        let message = Message { term: self.term(), incarnation: self.incarnation, rpc };
        self.actions.push(Action::Send { to, message });
    }

    /// Enter a newer term, in which nothing was promised yet.
    pub(crate) fn adopt(&mut self, term: Term, voted_for: Option<ServerId>) {
        self.hard_state = HardState { term, voted_for };
        self.role_changed = true;
        self.disk.hard_state_changed();
        self.disk.owe_nothing();
    }

    pub(crate) fn vote_for(&mut self, candidate: ServerId) {
        if self.hard_state.voted_for != Some(candidate) {
            self.hard_state.voted_for = Some(candidate);
            self.disk.hard_state_changed();
        }
    }

    /// The leader that was heard within the shortest election timeout (thesis §4.2.3).
    pub(crate) fn live_leader(&self) -> Option<NodeId> {
        let (leader, at) = self.heard?;
        (self.now - at < u64::from(self.config.election_ticks_min)).then_some(leader)
    }

    /// A server with a handicap waits longer, so that others come before it if they can (thesis §3.10).
    pub(crate) fn draw_timeout(&mut self) {
        let drawn = self.random.between(self.config.election_ticks_min, self.config.election_ticks_max);
        self.timeout = drawn.saturating_add(self.config.handicap_ticks);
    }

    /// Put entries that continue the log behind it. A configuration among them is in force at once (§6).
    pub(crate) fn append(&mut self, entries: Entries) {
        if let Some(first) = entries.first_index() {
            self.disk.appended(first);
            self.append_to_log(entries);
        }
    }

    fn append_to_log(&mut self, entries: Entries) {
        if entries.may_hold_membership() {
            self.note_memberships(&entries);
        }
        self.log.append(entries);
    }

    #[cold]
    fn note_memberships(&mut self, entries: &Entries) {
        for (id, payload) in entries.iter() {
            if let Payload::Membership(membership) = payload {
                self.history.push(id.index, Arc::clone(membership));
                self.members_changed();
            }
        }
    }

    /// Replace the log from `entries` on (§5.3).
    pub(crate) fn replace(&mut self, entries: Entries) {
        if let Some(first) = entries.first_index().filter(|first| *first <= self.log.last().index) {
            self.log.truncate(first);
            if self.history.truncate(first) {
                self.members_changed();
            }
            self.disk.truncated(first);
        }
        self.append(entries);
    }

    pub(crate) fn commit_to(&mut self, index: Index) {
        let newest = self.history.current_index();
        if self.commit < newest && newest <= index {
            self.chores.note(Chores::CHANGE);
        }
        self.commit = self.commit.max(index);
    }

    /// Whether an entry of the own term is committed.
    pub(crate) fn commit_is_of_term(&self) -> bool {
        self.log.term_at(self.commit) == Some(self.term())
    }

    /// What the snapshot at `index` would stand for.
    pub(crate) fn snapshot_at(&self, index: Index) -> Option<SnapshotMeta> {
        if index < self.snapshot.last.index || index > self.handed_out {
            return None;
        }
        let term = self.log.term_at(index)?;
        // A server that joined does not know the members before the first configuration in its log.
        let membership = Some(self.history.at(index)).filter(|membership| !membership.members().is_empty())?;
        Some(SnapshotMeta { last: EntryId { term, index }, membership: Arc::clone(membership) })
    }

    /// Hand the disk one record of all that changed in this step.
    #[inline]
    pub(crate) fn hand_over_write(&mut self) {
        if self.disk.has_changes() {
            self.issue_write();
        }
    }

    #[inline(never)]
    fn issue_write(&mut self) {
        let (id, changes) = self.disk.issue(self.log.last().index, self.now);
        let write = Write {
            id,
            hard_state: changes.hard_state.then_some(self.hard_state),
            snapshot: changes.snapshot.map(|snapshot| *snapshot),
            entries: changes.entries_from.map_or_else(Entries::new, |from| self.log.starting_at(from)),
        };
        self.actions.push(Action::Persist(write));
    }

    /// What a snapshot of the application's own through `index` stands for, if it may become the current one.
    fn compactable(&self, index: Index) -> Result<SnapshotMeta, CompactDeclined> {
        if index > self.applied {
            Err(CompactDeclined::NotApplied)
        } else if index <= self.snapshot.last.index {
            Err(CompactDeclined::Superseded)
        } else if self.named.may_be_deleted(index) {
            // Its data may have gone with a received one of the same name.
            Err(CompactDeclined::Discarded)
        } else {
            self.snapshot_at(index).ok_or(CompactDeclined::MembersUnknown)
        }
    }

    /// The application's snapshot through `index` is durable: the log goes on behind it (§7), but for what is kept for
    /// those who need it still. `needed_from` is what running transfers will need next.
    pub(crate) fn compact(&mut self, index: Index, needed_from: Option<Index>) {
        let snapshot = match self.compactable(index) {
            Ok(snapshot) => snapshot,
            Err(why) => {
                self.counters.unfounded += u64::from(why == CompactDeclined::NotApplied);
                return self.actions.push(Action::News(News::CompactDeclined { index, why }));
            }
        };
        let trailing = Index(index.0.saturating_sub(self.config.trailing_entries));
        let needed = needed_from.map_or(index, Index::prev).clamp(self.log.base().index, index);
        let kept_bytes = self.log.bytes_after(needed) - self.log.bytes_after(index);
        let base = if kept_bytes <= self.config.transfer_bytes_max { trailing.min(needed) } else { trailing };
        self.log.compact(base.max(self.log.base().index));
        self.history.compact(index);
        self.snapshot = snapshot.clone();
        self.disk.compacted(SnapshotWrite::Compacted { snapshot, first: self.log.first_index() });
        self.name_snapshot();
    }

    /// The next write names the snapshot.
    pub(crate) fn name_snapshot(&mut self) {
        self.named.name(self.disk.barrier(), self.snapshot.last, |write| self.disk.is_durable(write));
    }

    /// A received snapshot is not wanted: have its data deleted, unless a write names the same snapshot, durable or under way.
    pub(crate) fn discard(&mut self, snapshot: SnapshotMeta) {
        let last = snapshot.last;
        if self.named.contains(last, |write| self.disk.is_durable(write)) {
            return;
        }
        if last.index > self.snapshot.last.index && last.index <= self.handed_out {
            self.named.discard(last.index);
        }
        self.actions.push(Action::Discard(snapshot));
    }
}

#[cfg(feature = "sim")]
impl Server {
    /// All but the settings, the dice, the counters, and the actions, of which there are none between two steps.
    pub(crate) fn fingerprint(&self, print: &mut Fingerprint<'_>) {
        let Server {
            config,
            incarnation,
            hard_state,
            log,
            snapshot,
            named,
            history,
            counts_itself: _,
            commit,
            handed_out,
            applied,
            applying,
            applying_bytes,
            fetching,
            fetches: _,
            restore_due,
            disk,
            now,
            heard,
            led_until: _,
            foreign_term_at,
            random: _,
            timeout,
            chores: _,
            counters: _,
            fatal,
            role_changed: _,
            actions: _,
        } = self;
        print.node(config.id);
        print.words([incarnation.0, u64::from(*timeout), *applying_bytes]);
        hard_state.fingerprint(print);
        log.fingerprint(print);
        snapshot.fingerprint(print);
        named.fingerprint(print, |write| disk.distance_to(write));
        history.fingerprint(print);
        print.words([commit.0, handed_out.0, applied.0]);
        print.word(applying.len() as u64);
        applying.iter().for_each(|(index, bytes)| print.words([index.0, *bytes]));
        print.set(fetching, |print, fetch| fetch.fingerprint(print, *now));
        print.words([*restore_due, fatal.is_some()].map(u64::from));
        print.set(foreign_term_at, |print, at| print.word(now.wrapping_sub(*at)));
        disk.fingerprint(print, *now);
        print.set(heard, |print, (leader, at)| {
            print.node(*leader);
            print.word(now.wrapping_sub(*at));
        });
    }
}
