//! The application: it applies late and in parts, snapshots its state, and may keep its own durable copy.

use std::collections::VecDeque;

use super::digest::Digest;
use super::entropy::{Entropy, Odds};
use super::queue::{TICK, Time};
use crate::{Entries, EntryId, Index, Payload, SnapshotMeta};

/// The state of a replicated machine that remembers, as a digest, everything that it ever applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) last: EntryId,
    pub(crate) history: Digest,
}

impl State {
    pub(crate) fn apply(&mut self, id: EntryId, payload: &Payload) {
        self.last = id;
        self.history = self.history.with(id.term.0).with(id.index.0).with(Digest::of_payload(payload).0);
    }
}

/// A snapshot as a file: what it stands for, and the data.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotFile {
    pub(crate) meta: SnapshotMeta,
    pub(crate) state: State,
}

/// What the core has handed out and the machine has not yet done.
pub(crate) enum Work {
    Apply(Entries),
    Restore(State),
}

/// How the machines of a run behave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MachineTemper {
    pub(crate) delay: (Time, Time),
    pub(crate) confirm: (Time, Time),
    pub(crate) in_parts: Odds,
    pub(crate) repeat: Odds,
    /// Whether the machine has a disk of its own, and how often it writes its state there.
    pub(crate) keeps: Odds,
    pub(crate) snapshots: Odds,
    /// A snapshot whenever so many more indexes are applied, instead of by chance.
    pub(crate) snapshot_every: Option<u64>,
    pub(crate) snapshot_delay: (Time, Time),
}

impl MachineTemper {
    pub(crate) const FAST: MachineTemper = MachineTemper {
        delay: (0, TICK / 8),
        confirm: (0, 0),
        in_parts: Odds::NEVER,
        repeat: Odds::NEVER,
        keeps: Odds::NEVER,
        snapshots: Odds::NEVER,
        snapshot_every: None,
        snapshot_delay: (0, TICK),
    };

    /// How many of these entries may be applied before a snapshot is due, if snapshots are due at indexes.
    pub(crate) fn until_snapshot(&self, entries: &Entries) -> Option<u64> {
        let first = entries.first()?.index.0;
        self.snapshot_every.map(|every| every - (first - 1) % every)
    }

    pub(crate) fn draw(entropy: &mut Entropy) -> MachineTemper {
        MachineTemper {
            delay: (0, entropy.magnitude(1, 4 * TICK)),
            confirm: (0, if entropy.flip() { 0 } else { entropy.magnitude(1, TICK) }),
            in_parts: entropy.odds_up_to(Odds::percent(50)),
            repeat: entropy.odds_up_to(Odds::percent(5)),
            keeps: entropy.odds_up_to(Odds::percent(50)),
            snapshots: if entropy.flip() { entropy.odds_up_to(Odds::percent(50)) } else { Odds::percent(50) },
            snapshot_every: None,
            snapshot_delay: (0, entropy.magnitude(1, 10 * TICK)),
        }
    }
}

#[derive(Default)]
pub(crate) struct Machine {
    pub(crate) state: State,
    /// What it has durably itself; nothing, if it keeps nothing.
    pub(crate) kept: State,
    /// Until then everything takes longer.
    pub(crate) slow_until: Time,
    queue: VecDeque<Work>,
    running: bool,
}

impl Machine {
    /// Hand it work. Says whether it must be woken.
    pub(crate) fn give(&mut self, work: Work) -> bool {
        self.queue.push_back(work);
        !std::mem::replace(&mut self.running, true)
    }

    /// Do the next piece of work, or as many of its entries as `count` says; `applied` hears of every entry and what it made, and `restored`
    /// of a new state.
    pub(crate) fn run(
        &mut self,
        count: impl FnOnce(&Entries) -> u64,
        mut applied: impl FnMut(&State, &Payload),
        restored: impl FnOnce(Index),
    ) -> Done {
        let mut in_parts = false;
        match self.queue.pop_front() {
            Some(Work::Apply(entries)) => {
                let count = count(&entries);
                in_parts = count < entries.len();
                for (id, payload) in entries.iter().take(usize::try_from(count).unwrap_or(usize::MAX)) {
                    self.state.apply(id, payload);
                    applied(&self.state, payload);
                }
                if in_parts {
                    self.queue.push_front(Work::Apply(entries.starting_at(self.state.last.index.next())));
                }
            }
            Some(Work::Restore(state)) => {
                self.state = state;
                restored(state.last.index);
            }
            None => {}
        }
        self.running = !self.queue.is_empty();
        Done { in_parts, more: self.running }
    }

    /// The first index of its next piece of work, if it has any.
    pub(crate) fn next_index(&self) -> Option<Index> {
        match self.queue.front()? {
            Work::Apply(entries) => entries.first().map(|first| first.index),
            Work::Restore(state) => Some(state.last.index),
        }
    }

    /// The bytes of the entries that it was given and has not yet applied; what a later state replaces is not counted.
    pub(crate) fn waiting_bytes(&self) -> u64 {
        let newest_first = self.queue.iter().rev();
        newest_first.map_while(|work| if let Work::Apply(entries) = work { Some(entries.bytes()) } else { None }).sum()
    }

    /// Whether a state waits that is to replace its own.
    pub(crate) fn is_to_be_restored(&self) -> bool {
        self.queue.iter().any(|work| matches!(work, Work::Restore(_)))
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) fn crash(&mut self) {
        *self = Machine { state: self.kept, kept: self.kept, ..Machine::default() };
    }
}

/// What became of a piece of work.
pub(crate) struct Done {
    pub(crate) in_parts: bool,
    pub(crate) more: bool,
}
