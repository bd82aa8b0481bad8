//! One server: the core under test, and the driver's belongings around it.

use std::vec::Vec;

use super::disk::Disk;
use super::fuzz::Birth;
use super::machine::{Machine, SnapshotFile};
use super::queue::{TICK, Time};
use crate::{
    Config, EntryId, HardState, Incarnation, Index, LogHead, NodeId, Raft, Restored, RoleKind, ServerId, SnapshotMeta,
    Status,
};

/// How a driver keeps time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// Every tick is fed when it passes.
    Steady,
    /// The driver sleeps until the core says that something is due, and feeds the time that passed before anything else.
    Sleepy,
    /// The driver's clock only sees every so many ticks.
    Coarse(u32),
}

/// How a server begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beginning {
    /// As one of the first members of the cluster.
    Founder,
    /// On an empty disk: it knows nobody, and waits to be added.
    Spare,
    /// As `Spare`, but it is down until all faults have ended, or until somebody starts it.
    LateSpare,
}

/// A server before its first start.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) beginning: Beginning,
}

impl Seat {
    pub(crate) fn founder(config: Config, clock: Clock) -> Seat {
        Seat { config, clock, beginning: Beginning::Founder }
    }
}

/// What the oracles remember of a server between two steps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) hard_state: HardState,
    pub(crate) role: RoleKind,
    pub(crate) leader: Option<NodeId>,
    pub(crate) commit: Index,
    pub(crate) handed_out: Index,
    pub(crate) applied: Index,
    pub(crate) durable: Index,
    pub(crate) last: EntryId,
    pub(crate) snapshot: EntryId,
    pub(crate) first: Index,
    pub(crate) resident_first: Index,
}

impl Seen {
    pub(crate) fn of(status: Status<'_>) -> Seen {
        Seen {
            hard_state: status.hard_state(),
            role: status.role(),
            leader: status.leader(),
            commit: status.commit(),
            handed_out: status.handed_out(),
            applied: status.applied(),
            durable: status.durable(),
            last: status.last(),
            snapshot: status.snapshot().last,
            first: status.first_index(),
            resident_first: status.resident_first(),
        }
    }

    /// Whether it leads, in the same term as `other` does.
    pub(crate) fn leads_on_from(&self, other: &Seen) -> bool {
        self.role == RoleKind::Leader && other.role == RoleKind::Leader && self.hard_state.term == other.hard_state.term
    }
}

/// A disk that its server does not run on any more, and what was kept beside it.
struct Belongings {
    incarnation: Incarnation,
    disk: Disk,
    machine: Machine,
    files: Vec<SnapshotFile>,
    /// When the server ran on it last.
    left_at: Time,
}

pub(crate) struct Server {
    pub(crate) id: NodeId,
    /// The disk that it runs on.
    pub(crate) incarnation: Incarnation,
    pub(crate) config: Config,
    /// None while it is down.
    pub(crate) raft: Option<Raft>,
    /// Counts its starts: what was under way in an earlier life is void.
    pub(crate) life: u32,
    /// As it stood after its last step.
    pub(crate) seen: Seen,
    pub(crate) disk: Disk,
    pub(crate) machine: Machine,
    pub(crate) files: Vec<SnapshotFile>,
    /// The disks that it does not run on any more, in the order in which they were lost.
    drawer: Vec<Belongings>,
    pub(crate) clock: Clock,
    /// How many moments a tick of its own clock lasts.
    pub(crate) period: Time,
    /// The election timeout of a script's server, which throws no dice.
    pub(crate) stated_timeout: Option<u32>,
    /// Ticks that passed and are not yet fed.
    pub(crate) unfed_ticks: u32,
    pub(crate) paused_until: Time,
    pub(crate) clock_stopped_until: Time,
    /// It crashes when so many more actions are carried out.
    pub(crate) crash_in: Option<u64>,
    /// Through where entries or states were handed out in this life.
    pub(crate) handed: Index,
    /// The snapshot that this life started from.
    pub(crate) started_from: EntryId,
    /// It has halted on this disk, because the cluster counts another one for it.
    pub(crate) was_replaced: bool,
    /// It starts with no more than so many bytes of its log in memory.
    pub(crate) tail_bytes_max: u64,
    /// What a script says of that for the next start.
    pub(crate) stated_tail: Option<u64>,
    /// The bytes of the longest run that its core may hold: of entries that came to it together.
    pub(crate) longest_run: u64,
}

impl Server {
    /// A server that was never started; `first` names the first members.
    pub(crate) fn new(seat: Seat, first: &SnapshotMeta) -> Server {
        let Seat { config, clock, beginning } = seat;
        let nothing = EntryId::ZERO;
        let (incarnation, snapshot) = match beginning {
            Beginning::Founder => (Incarnation::founder(config.id.0), first.clone()),
            Beginning::Spare | Beginning::LateSpare => (Incarnation::joined(config.id.0), SnapshotMeta::default()),
        };
        Server {
            id: config.id,
            incarnation,
            config,
            raft: None,
            life: 0,
            seen: Seen {
                hard_state: HardState::default(),
                role: RoleKind::Follower,
                leader: None,
                commit: Index(0),
                handed_out: Index(0),
                applied: Index(0),
                durable: Index(0),
                last: nothing,
                snapshot: nothing,
                first: Index(1),
                resident_first: Index(1),
            },
            disk: Disk::new(snapshot),
            machine: Machine::default(),
            files: Vec::new(),
            drawer: Vec::new(),
            clock,
            period: TICK,
            stated_timeout: None,
            unfed_ticks: 0,
            paused_until: 0,
            clock_stopped_until: 0,
            crash_in: None,
            handed: Index(0),
            started_from: nothing,
            was_replaced: false,
            tail_bytes_max: u64::MAX,
            stated_tail: None,
            longest_run: 0,
        }
    }

    pub(crate) fn server_id(&self) -> ServerId {
        ServerId { id: self.id, incarnation: self.incarnation }
    }

    /// Take another disk, and put the one in use away.
    fn change_disk(&mut self, new: Belongings, now: Time) {
        let old = Belongings {
            incarnation: std::mem::replace(&mut self.incarnation, new.incarnation),
            disk: std::mem::replace(&mut self.disk, new.disk),
            machine: std::mem::replace(&mut self.machine, new.machine),
            files: std::mem::replace(&mut self.files, new.files),
            left_at: now,
        };
        self.drawer.push(old);
        self.was_replaced = false;
    }

    /// The disk that it would run on after its next loss. Server 3's first new disk is j301, its second j302.
    pub(crate) fn next_disk(&self) -> Incarnation {
        Incarnation::joined(self.id.0 * 100 + self.drawer.len() as u64 + 1)
    }

    /// A server that is down has lost everything: it begins anew on an empty disk, and joins.
    pub(crate) fn wipe(&mut self, now: Time) {
        let (incarnation, disk) = (self.next_disk(), Disk::new(SnapshotMeta::default()));
        let machine = Machine::default();
        self.change_disk(Belongings { incarnation, disk, machine, files: Vec::new(), left_at: now }, now);
    }

    /// A server that is down gets back a disk that it once had. Says whether there is such a one.
    pub(crate) fn mount(&mut self, disk: Incarnation, now: Time) -> bool {
        let place = self.drawer.iter().position(|old| old.incarnation == disk);
        let Some(place) = place else { return false };
        let old = self.drawer.remove(place);
        self.change_disk(old, now);
        true
    }

    /// The disks that it does not run on any more, each with when it last did.
    pub(crate) fn old_disks(&self) -> impl Iterator<Item = (Incarnation, Time)> + '_ {
        self.drawer.iter().map(|old| (old.incarnation, old.left_at))
    }

    /// Every disk that it ever had, and what each holds, or held when it was lost.
    pub(crate) fn disks(&self) -> impl Iterator<Item = (Incarnation, &Disk)> {
        let old = self.drawer.iter().map(|old| (old.incarnation, &old.disk));
        core::iter::once((self.incarnation, &self.disk)).chain(old)
    }

    pub(crate) fn is_up(&self) -> bool {
        self.raft.is_some()
    }

    pub(crate) fn leads(&self) -> bool {
        self.is_up() && self.seen.role == RoleKind::Leader
    }

    /// What its disk and its application kept.
    pub(crate) fn restored(&self) -> Restored {
        let image = &self.disk.durable;
        Restored {
            incarnation: self.incarnation,
            boot: u64::from(self.life) + 1,
            hard_state: image.hard_state,
            snapshot: image.snapshot.clone(),
            head: LogHead::default(),
            entries: image.entries(),
            applied: self.machine.kept.last.index,
        }
    }

    /// What a core is made of that; each life throws other dice, or those that are stated.
    pub(crate) fn birth(&self) -> Birth {
        let config = Config { seed: self.config.seed.wrapping_add(self.life.into()), ..self.config.clone() };
        let restored = self.restored().keep_tail(self.tail_bytes_max);
        Birth { config, restored, timeout: self.stated_timeout }
    }

    /// The data of a snapshot.
    pub(crate) fn file(&self, last: EntryId) -> Option<&SnapshotFile> {
        self.files.iter().find(|file| file.meta.last == last)
    }

    /// Put a file beside the others. Two of one name are the same snapshot, whether its machine made it or a leader sent it.
    pub(crate) fn keep_file(&mut self, file: SnapshotFile) {
        if self.file(file.meta.last).is_none() {
            self.files.push(file);
        }
    }

    /// A received file is not wanted: delete it without asking.
    pub(crate) fn discard_file(&mut self, last: EntryId) {
        self.files.retain(|file| file.meta.last != last);
    }

    /// Delete the files that a durable write has made old.
    pub(crate) fn drop_old_files(&mut self) {
        let named = self.disk.durable.snapshot.last.index;
        self.files.retain(|file| file.meta.last.index >= named);
    }

    /// Delete the files that no write names, as storage does when it is opened.
    pub(crate) fn drop_unnamed_files(&mut self) {
        let named = self.disk.durable.snapshot.last;
        self.files.retain(|file| file.meta.last == named);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Action, AppendOutcome, Entries, Event, Message, Rpc, Term};

    /// A server that waits to be added hears what others say, for they may depend on it (thesis §4.2.2), and never campaigns.
    #[test]
    fn a_server_that_knows_nobody_answers_and_never_campaigns() {
        let config = Config::new(NodeId(4));
        let spare = Seat { config, clock: Clock::Steady, beginning: Beginning::Spare };
        let first = SnapshotMeta { last: EntryId::ZERO, membership: crate::Membership::new([NodeId(1)]).into() };
        let server = Server::new(spare, &first);
        assert!(!server.incarnation.is_founder());
        let mut raft = server.birth().server().unwrap();
        assert!(raft.status().membership().members().is_empty());
        for _ in 0..1000 {
            assert!(raft.step(Event::Tick { elapsed: 1 }).is_empty());
        }
        let mut said = |term, rpc| {
            let message = Message { term: Term(term), incarnation: Incarnation(1), rpc };
            let mut actions = raft.step(Event::Receive { from: NodeId(1), message });
            let write = |action: &Action| if let Action::Persist(write) = action { Some(write.id) } else { None };
            if let Some(id) = actions.iter().find_map(write) {
                raft.step_into(Event::Persisted(id), &mut actions);
            }
            actions.into_iter().find_map(|action| match action {
                Action::Send { message, .. } => Some(message.rpc),
                _ => None,
            })
        };
        let last = EntryId::ZERO;
        assert_eq!(said(2, Rpc::PreVote { last }), Some(Rpc::PreVoteReply { granted: true }));
        let vote = Rpc::RequestVote { last, transfer: false };
        assert_eq!(said(3, vote), Some(Rpc::RequestVoteReply { granted: true }));
        let entries = Entries::new();
        let append = Rpc::AppendEntries { prev: last, entries, commit: Index(0), round: 1, reply: true };
        let outcome = AppendOutcome::Matched { received: Index(0), durable: Index(0) };
        assert_eq!(said(3, append), Some(Rpc::AppendEntriesReply { round: 1, outcome }));
    }
}
