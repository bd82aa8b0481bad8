//! The cluster: servers, what is yet to happen to them, and one virtual time. What a driver does for its server stands in
//! `duties.rs`.

use std::vec::Vec;

use super::account::Account;
use super::clients::Clients;
use super::coverage::{Coverage, Happening};
use super::digest::Digest;
use super::disk::DiskTemper;
use super::duties::TransferTemper;
use super::entropy::Entropy;
use super::fuzz::{Feed, Recorder};
use super::lab::Book;
use super::machine::{MachineTemper, SnapshotFile};
use super::nemesis::{self, Flap};
use super::network::{Network, Weather};
use super::oracle::Oracles;
use super::paging::FetchTemper;
use super::queue::{Queue, TICK, Time};
use super::reads;
use super::server::{Beginning, Clock, Seat, Seen, Server};
use super::trace::Trace;
use super::violation::Verdict;
use crate::{
    Action, Entries, EntryId, Event, FetchId, Index, Membership, Message, NodeId, RequestId, RoleKind, SnapshotMeta,
    WriteId,
};

/// Something that will happen. A server's own affairs end with its life.
pub(crate) enum Item {
    /// A tick of a server's clock.
    Pulse {
        slot: usize,
        life: u32,
    },
    Deliver {
        from: usize,
        to: usize,
        message: Message,
    },
    /// Part of a message has come in, and the rest will by then.
    Arriving {
        from: usize,
        to: usize,
        term: crate::Term,
        until: Time,
    },
    /// The disk's running sync ends.
    Synced {
        slot: usize,
        life: u32,
    },
    Confirmed {
        slot: usize,
        life: u32,
        id: WriteId,
    },
    /// The machine does its next piece of work.
    Run {
        slot: usize,
        life: u32,
    },
    Applied {
        slot: usize,
        life: u32,
        index: Index,
    },
    /// The machine's own snapshot is durable.
    SnapshotMade {
        slot: usize,
        life: u32,
        index: Index,
    },
    Arrive(Transfer),
    TransferEnded {
        slot: usize,
        life: u32,
        to: NodeId,
        snapshot: EntryId,
        delivered: bool,
    },
    Unreachable {
        slot: usize,
        life: u32,
        peer: NodeId,
    },
    /// Entries have been read back from disk.
    Fetched {
        slot: usize,
        life: u32,
        id: FetchId,
        entries: Entries,
    },
    Restart {
        slot: usize,
        life: u32,
    },
    /// Links that come and go change their mind.
    Flap(Flap),
}

/// A snapshot on its way.
#[derive(Clone)]
pub(crate) struct Transfer {
    pub(crate) from: usize,
    pub(crate) to: usize,
    /// The sender's life, to which the report goes.
    pub(crate) life: u32,
    pub(crate) term: crate::Term,
    pub(crate) file: SnapshotFile,
}

/// How everything around the servers behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Temper {
    pub(crate) weather: Weather,
    pub(crate) disk: DiskTemper,
    pub(crate) machine: MachineTemper,
    pub(crate) transfer: TransferTemper,
    pub(crate) fetches: FetchTemper,
}

pub(crate) struct Cluster {
    pub(crate) servers: Vec<Server>,
    pub(crate) network: Network,
    pub(crate) temper: Temper,
    pub(crate) queue: Queue<Item>,
    pub(crate) now: Time,
    pub(crate) entropy: Entropy,
    pub(crate) oracles: Oracles,
    pub(crate) clients: Clients,
    /// What the labs' tests ask for; they start commands themselves, in place of the clients.
    pub(crate) lab: Option<Book>,
    pub(crate) coverage: Coverage,
    pub(crate) trace: Trace,
    pub(crate) recorder: Recorder,
    /// How long a server that crashed stays down.
    pub(crate) downtime: (Time, Time),
    /// Of everything that happened.
    pub(crate) digest: Digest,
    /// Steps of all cores.
    pub(crate) steps: u64,
    /// The server whose affairs are being looked after, for reports.
    pub(crate) busy: usize,
    /// What reads would be answered by that are answered in this step.
    pub(crate) answers_by: Option<Happening>,
    /// The change that is asked for in this step.
    pub(crate) change: Option<RequestId>,
    /// What may be lost.
    pub(crate) account: Account,
    /// Of which voters a leader has said that they lost their disks.
    pub(crate) said_lost: Vec<NodeId>,
    actions: Vec<Action>,
}

impl Cluster {
    /// A new cluster of servers that are still down.
    pub(crate) fn new(seats: Vec<Seat>, temper: Temper, entropy: Entropy, trace: Trace) -> Cluster {
        let founders = seats.iter().filter(|seat| seat.beginning == Beginning::Founder);
        let membership = Membership::new(founders.map(|seat| seat.config.id));
        let first = SnapshotMeta { last: EntryId::ZERO, membership: membership.into() };
        let servers = seats.into_iter().map(|seat| Server::new(seat, &first)).collect();
        Cluster {
            servers,
            network: Network::new(temper.weather),
            temper,
            queue: Queue::new(),
            now: 0,
            entropy,
            oracles: Oracles::new(first.membership),
            clients: Clients::default(),
            lab: None,
            coverage: Coverage::default(),
            trace,
            recorder: Recorder::default(),
            downtime: (0, 0),
            digest: Digest::default(),
            steps: 0,
            busy: 0,
            answers_by: None,
            change: None,
            account: Account::default(),
            said_lost: Vec::new(),
            actions: Vec::new(),
        }
    }

    /// Let everything around the servers behave differently from now on.
    pub(crate) fn set_temper(&mut self, temper: Temper) {
        self.network.weather = temper.weather;
        self.temper = temper;
    }

    /// Let happen what happens through `until`.
    pub(crate) fn run(&mut self, until: Time) -> Verdict {
        while let Some((at, item)) = self.queue.pop(until) {
            self.oracles.frugality.tick(at / TICK, self.steps);
            self.now = at;
            self.happen(item)?;
            self.oracles.frugality.stepped(self.steps)?;
        }
        self.now = until;
        Ok(())
    }

    fn happen(&mut self, item: Item) -> Verdict {
        match item {
            Item::Pulse { slot, life } if self.lives(slot, life) => self.pulse(slot),
            Item::Restart { slot, life } if self.servers[slot].life == life => self.start(slot),
            Item::Synced { slot, life } if self.lives(slot, life) => self.synced(slot),
            Item::Flap(flap) => {
                nemesis::flap(self, flap);
                Ok(())
            }
            Item::Arriving { from, to, term, until } => self.arriving((from, to), term, until),
            Item::Deliver { to: slot, .. } | Item::Arrive(Transfer { to: slot, .. }) => {
                if self.servers[slot].is_up() && self.now < self.servers[slot].paused_until {
                    self.queue.push(self.servers[slot].paused_until, item);
                    return Ok(());
                }
                self.arrive(item)
            }
            Item::Confirmed { slot, life, .. }
            | Item::Run { slot, life }
            | Item::Applied { slot, life, .. }
            | Item::SnapshotMade { slot, life, .. }
            | Item::TransferEnded { slot, life, .. }
            | Item::Unreachable { slot, life, .. }
            | Item::Fetched { slot, life, .. }
                if self.lives(slot, life) =>
            {
                if self.now < self.servers[slot].paused_until {
                    self.queue.push(self.servers[slot].paused_until, item);
                    return Ok(());
                }
                if let Item::Fetched { id, entries, .. } = item {
                    return self.fetched(slot, id, entries);
                }
                self.own_affair(slot, &item)
            }
            // It belongs to an earlier life.
            _ => Ok(()),
        }
    }

    fn arrive(&mut self, item: Item) -> Verdict {
        match item {
            Item::Deliver { from, to, message } => {
                if !self.servers[to].is_up() {
                    self.coverage.count(Happening::MessageToTheDead);
                } else if self.network.connects(from, to) {
                    let from = self.servers[from].id;
                    return self.feed(to, Event::Receive { from, message });
                } else {
                    self.coverage.count(Happening::MessageCutOff);
                }
                Ok(())
            }
            Item::Arrive(transfer) => self.snapshot_arrives(transfer),
            _ => Ok(()),
        }
    }

    fn own_affair(&mut self, slot: usize, item: &Item) -> Verdict {
        let event = match *item {
            Item::Confirmed { id, .. } => Event::Persisted(id),
            Item::Applied { index, .. } => Event::Applied(index),
            Item::SnapshotMade { index, .. } => Event::Compact { index },
            Item::Unreachable { peer, .. } => Event::Unreachable { peer },
            Item::TransferEnded { to, snapshot, delivered, .. } => Event::SnapshotSent { to, snapshot, delivered },
            _ => return self.run_machine(slot),
        };
        self.feed(slot, event)
    }

    fn lives(&self, slot: usize, life: u32) -> bool {
        self.servers[slot].is_up() && self.servers[slot].life == life
    }

    /// A tick has passed for a server; when the core hears of it is a matter of its driver's clock.
    fn pulse(&mut self, slot: usize) -> Verdict {
        let server = &mut self.servers[slot];
        self.queue.push(self.now + server.period, Item::Pulse { slot, life: server.life });
        if self.now < server.clock_stopped_until {
            return Ok(());
        }
        server.unfed_ticks += 1;
        let Some(raft) = server.raft.as_ref().filter(|_| self.now >= server.paused_until) else { return Ok(()) };
        let due = match server.clock {
            Clock::Steady => 1,
            Clock::Sleepy => raft.ticks_until_due(),
            Clock::Coarse(ticks) => ticks,
        };
        if server.unfed_ticks >= due { self.tick(slot) } else { Ok(()) }
    }

    fn tick(&mut self, slot: usize) -> Verdict {
        let elapsed = std::mem::take(&mut self.servers[slot].unfed_ticks);
        self.step(slot, Event::Tick { elapsed })?;
        self.oracles.ticked(slot, &self.servers[slot])
    }

    /// Feed an event to a server that is up: time first.
    pub(crate) fn feed(&mut self, slot: usize, event: Event) -> Verdict {
        self.catch_up(slot)?;
        self.step(slot, event)
    }

    /// Feed a server the time that has passed, of which it may die.
    pub(crate) fn catch_up(&mut self, slot: usize) -> Verdict {
        if self.servers[slot].unfed_ticks > 0 && !matches!(self.servers[slot].clock, Clock::Coarse(_)) {
            self.tick(slot)?;
        }
        Ok(())
    }

    pub(crate) fn step(&mut self, slot: usize, event: Event) -> Verdict {
        let server = &mut self.servers[slot];
        if !server.is_up() {
            return Ok(());
        }
        self.busy = slot;
        self.steps += 1;
        self.coverage.count_event(&event);
        self.answers_by = reads::answers_by(&event);
        match &event {
            Event::Start { request, commands } => self.oracles.asked(*request, commands.len() as u64),
            Event::Read { request } => self.oracles.read_asked(slot, *request),
            Event::Change { request, .. } => {
                self.change = Some(*request);
                self.oracles.change_asked(slot, *request);
            }
            Event::Transfer { request, .. } => self.oracles.transfer_asked(slot, *request, server.seen.hard_state.term),
            _ => {}
        }
        self.oracles.feeding(slot, server, &event);
        let in_part = matches!(event, Event::Arriving { .. });
        self.trace.event(self.now, server.id, &event);
        self.recorder.fed(server.id, || Feed::Event(event.clone()));
        let mut actions = std::mem::take(&mut self.actions);
        let Some(raft) = &mut server.raft else { return Ok(()) };
        raft.step_into(event, &mut actions);
        self.recorder.answered(server.id, &actions);
        let seen = Seen::of(raft.status());
        let before = std::mem::replace(&mut server.seen, seen);
        self.note_step(slot, &before, actions.len());
        if in_part && actions.iter().any(|action| matches!(action, Action::Send { .. })) {
            self.coverage.count(Happening::LeaderHeardInPart);
        }
        self.oracles.stepped(&self.servers, slot, &before)?;
        let mut undone = 0;
        for action in actions.drain(..) {
            self.trace.action(&action);
            if undone > 0 || self.crash_is_due(slot) {
                undone += 1;
            } else {
                self.carry_out(slot, &before, action)?;
            }
        }
        if undone > 0 {
            self.coverage.count(Happening::CrashedBetweenActions);
            self.trace.remark(format_args!("the last {undone} of these were not carried out"));
            self.crash(slot);
        }
        self.actions = actions;
        if self.servers[slot].is_up() {
            self.oracles.settled(slot, &self.servers[slot])?;
        }
        Ok(())
    }

    fn note_step(&mut self, slot: usize, before: &Seen, actions: usize) {
        let seen = &self.servers[slot].seen;
        self.digest.fold(self.now << 8 | slot as u64);
        self.digest.fold(seen.hard_state.term.0 << 32 ^ seen.last.index.0 << 16 ^ seen.commit.0);
        self.digest.fold(seen.durable.0 << 32 ^ seen.applied.0 << 16 ^ (seen.role as u64) << 8 ^ actions as u64);
        if seen.role == RoleKind::Leader && !seen.leads_on_from(before) {
            self.coverage.count(Happening::StoodAsLeader);
        }
        if before.role == RoleKind::Leader && !seen.leads_on_from(before) {
            self.coverage.count(Happening::SteppedDown);
        }
        if seen.resident_first > seen.first && seen.resident_first > before.resident_first {
            self.coverage.count(Happening::Evicted);
        }
    }

    /// The server that leads in the latest term.
    pub(crate) fn leader(&self) -> Option<usize> {
        let leaders = (0..self.servers.len()).filter(|slot| self.servers[*slot].leads());
        leaders.max_by_key(|slot| self.servers[*slot].seen.hard_state.term)
    }

    /// Where the server of this name sits, if there is one: a member need not exist.
    pub(crate) fn slot_of(&self, id: NodeId) -> Option<usize> {
        self.servers.iter().position(|server| server.id == id)
    }
}
