//! A server's disk: it completes late and in order, confirms several writes at once, stalls, and at a crash loses a
//! suffix of what was not yet durable. A `Write` is atomic.

use std::collections::VecDeque;
use std::sync::Arc;
use std::vec::Vec;

use super::entropy::{Entropy, Odds};
use super::queue::{TICK, Time};
use crate::{
    Entries, Entry, EntryId, HardState, Index, Membership, Payload, SnapshotMeta, SnapshotWrite, Term, Write, WriteId,
};

/// What a disk holds, or will hold when all writes are done.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) hard_state: HardState,
    pub(crate) snapshot: SnapshotMeta,
    /// The index of the log's first entry, or where it will be.
    first: Index,
    log: VecDeque<Entry>,
    /// The snapshot's configuration, then those in the log behind it, oldest first.
    configurations: Vec<(Index, Arc<Membership>)>,
}

impl Image {
    pub(crate) fn new(snapshot: SnapshotMeta) -> Image {
        Image {
            hard_state: HardState::default(),
            first: snapshot.last.index.next(),
            log: VecDeque::new(),
            configurations: Vec::from([(snapshot.last.index, Arc::clone(&snapshot.membership))]),
            snapshot,
        }
    }

    /// Carry a write out.
    pub(crate) fn take(&mut self, write: &Write) {
        if let Some(hard_state) = write.hard_state {
            self.hard_state = hard_state;
        }
        if let Some(SnapshotWrite::Compacted { snapshot, .. } | SnapshotWrite::Installed { snapshot }) = &write.snapshot
        {
            let installed = matches!(write.snapshot, Some(SnapshotWrite::Installed { .. }));
            self.configurations.retain(|(at, _)| *at > snapshot.last.index && !installed);
            self.configurations.insert(0, (snapshot.last.index, Arc::clone(&snapshot.membership)));
        }
        match &write.snapshot {
            Some(SnapshotWrite::Compacted { snapshot, first }) => {
                self.snapshot = snapshot.clone();
                let forgotten = self.first.distance_to(*first);
                self.log.drain(..self.log.len().min(usize::try_from(forgotten).unwrap_or(usize::MAX)));
                self.first = self.first.max(*first);
            }
            Some(SnapshotWrite::Installed { snapshot }) => {
                self.snapshot = snapshot.clone();
                self.log.clear();
                self.first = snapshot.last.index.next();
            }
            None => {}
        }
        if let Some(first) = write.entries.first() {
            self.log.truncate(usize::try_from(self.first.distance_to(first.index)).unwrap_or(usize::MAX));
            for (_, entries) in write.entries.slices() {
                self.log.extend(entries.iter().cloned());
            }
            let base = self.snapshot.last.index;
            self.configurations.retain(|(at, _)| *at == base || *at < first.index);
            for (id, payload) in write.entries.iter() {
                if let Payload::Membership(membership) = payload {
                    self.configurations.push((id.index, Arc::clone(membership)));
                }
            }
        }
    }

    pub(crate) fn last(&self) -> EntryId {
        match self.log.back() {
            Some(entry) => EntryId { term: entry.term, index: self.first.plus(self.log.len() as u64).prev() },
            None => self.snapshot.last,
        }
    }

    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.snapshot.last.index {
            return Some(self.snapshot.last.term);
        }
        if index < self.first {
            return None;
        }
        self.log.get(usize::try_from(self.first.distance_to(index)).unwrap_or(usize::MAX)).map(|entry| entry.term)
    }

    /// Whether the entry is in the log or behind the snapshot.
    pub(crate) fn holds(&self, id: EntryId) -> bool {
        id.index <= self.snapshot.last.index || self.term_at(id.index) == Some(id.term)
    }

    /// What the entries behind `index` count against byte limits.
    pub(crate) fn bytes_after(&self, index: Index) -> u64 {
        let skipped = usize::try_from(self.first.distance_to(index.next())).unwrap_or(usize::MAX);
        self.log.iter().skip(skipped).map(Entry::bytes).sum()
    }

    /// The configurations that it holds, oldest first, each with its index: the snapshot's, and those in the log behind it.
    pub(crate) fn configurations(&self) -> &[(Index, Arc<Membership>)] {
        &self.configurations
    }

    /// The newest configuration that it holds: the one that is in force (§6).
    pub(crate) fn configuration(&self) -> &Membership {
        self.configurations.last().map_or(&*self.snapshot.membership, |(_, newest)| &**newest)
    }

    /// What the entry at `index` carries.
    pub(crate) fn entry(&self, index: Index) -> Option<&Payload> {
        let place = usize::try_from(self.first.distance_to(index)).ok().filter(|_| index >= self.first)?;
        self.log.get(place).map(|entry| &entry.payload)
    }

    /// The entries from `from` through `to`, at most so many bytes of them, yet at least one if it has the first.
    pub(crate) fn read(&self, from: Index, to: Index, bytes_max: u64) -> Entries {
        if from < self.first {
            return Entries::new();
        }
        let skipped = usize::try_from(self.first.distance_to(from)).unwrap_or(usize::MAX);
        let count = usize::try_from(from.distance_to(to.next())).unwrap_or(usize::MAX);
        let list = self.log.iter().skip(skipped).take(count).cloned().collect();
        Entries::from_vec(from, list).unwrap_or_default().at_most(u64::MAX, bytes_max)
    }

    /// The whole log. Nothing, if it were none: but Log Matching is checked before anything is written.
    pub(crate) fn entries(&self) -> Entries {
        Entries::from_vec(self.first, self.log.iter().cloned().collect()).unwrap_or_default()
    }
}

/// How much longer everything takes on a disk, and in an application, that is slow for a while.
pub(crate) const SLOWNESS: u64 = 12;

/// How the disks of a run behave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DiskTemper {
    pub(crate) latency: (Time, Time),
    /// How long the news of a finished write takes.
    pub(crate) confirm: (Time, Time),
    /// How often a confirmation is left to the next one.
    pub(crate) collapse: Odds,
    /// How often a confirmation comes twice.
    pub(crate) repeat: Odds,
}

impl DiskTemper {
    pub(crate) const FAST: DiskTemper =
        DiskTemper { latency: (0, TICK / 8), confirm: (0, 0), collapse: Odds::NEVER, repeat: Odds::NEVER };

    /// Latencies up to `longest`.
    pub(crate) fn draw(entropy: &mut Entropy, longest: Time) -> DiskTemper {
        let longest = entropy.magnitude(1, longest);
        DiskTemper {
            latency: (entropy.below(longest), longest),
            confirm: (0, if entropy.flip() { 0 } else { entropy.magnitude(1, TICK) }),
            collapse: entropy.odds_up_to(Odds::percent(60)),
            repeat: entropy.odds_up_to(Odds::percent(5)),
        }
    }
}

pub(crate) struct Disk {
    /// What survives a crash for certain.
    pub(crate) durable: Image,
    /// What it will hold when everything asked for is done.
    pub(crate) written: Image,
    outstanding: VecDeque<Write>,
    /// The newest write of this life that is durable.
    through: WriteId,
    /// How many of the outstanding writes the running sync covers; 0 if none runs.
    syncing: usize,
    pub(crate) stalled_until: Time,
    /// Until then everything takes [`SLOWNESS`] times as long.
    pub(crate) slow_until: Time,
    newest_confirmation: Time,
}

/// What a crash did to the writes that were not yet known to be durable.
pub(crate) struct Loss {
    pub(crate) kept: usize,
    pub(crate) lost: usize,
    /// The newest write that is durable.
    pub(crate) through: WriteId,
}

impl Disk {
    pub(crate) fn new(snapshot: SnapshotMeta) -> Disk {
        let image = Image::new(snapshot);
        Disk {
            durable: image.clone(),
            written: image,
            outstanding: VecDeque::new(),
            through: WriteId::from_number(0),
            syncing: 0,
            stalled_until: 0,
            slow_until: 0,
            newest_confirmation: 0,
        }
    }

    pub(crate) fn submit(&mut self, write: Write) {
        self.written.take(&write);
        self.outstanding.push_back(write);
    }

    /// Start a sync of some of what is waiting, if none runs. Says when it will be done.
    pub(crate) fn sync(&mut self, entropy: &mut Entropy, temper: &DiskTemper, now: Time) -> Option<Time> {
        if self.syncing > 0 || self.outstanding.is_empty() {
            return None;
        }
        self.syncing = 1 + entropy.place(self.outstanding.len());
        let (shortest, longest) = temper.latency;
        let slowness = if now < self.slow_until { SLOWNESS } else { 1 };
        Some(now.max(self.stalled_until) + slowness * entropy.between(shortest, longest))
    }

    /// The running sync is done: what it covers is durable. Names the newest of its writes.
    pub(crate) fn synced(&mut self) -> Option<WriteId> {
        let count = std::mem::take(&mut self.syncing);
        self.complete(count);
        (count > 0).then_some(self.through)
    }

    /// The oldest `count` writes become durable.
    fn complete(&mut self, count: usize) {
        for write in self.outstanding.drain(..count) {
            self.durable.take(&write);
            self.through = write.id;
        }
    }

    /// Everything through this write becomes durable at once.
    pub(crate) fn complete_through(&mut self, id: WriteId) {
        self.syncing = 0;
        self.complete(self.outstanding.partition_point(|write| write.id <= id));
    }

    /// The newest write of this life that is durable.
    pub(crate) fn through(&self) -> WriteId {
        self.through
    }

    /// The writes that are not yet durable, oldest first.
    pub(crate) fn outstanding(&self) -> impl Iterator<Item = WriteId> + '_ {
        self.outstanding.iter().map(|write| write.id)
    }

    /// Whether a snapshot is, or may be after a crash, the one before the log.
    pub(crate) fn names(&self, last: EntryId) -> bool {
        let named = |write: &Write| match &write.snapshot {
            Some(SnapshotWrite::Compacted { snapshot, .. } | SnapshotWrite::Installed { snapshot }) => {
                snapshot.last == last
            }
            None => false,
        };
        self.durable.snapshot.last == last || self.outstanding.iter().any(named)
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.outstanding.is_empty()
    }

    /// When the news of a write that is durable `now` arrives: never before earlier news.
    pub(crate) fn confirmation(&mut self, entropy: &mut Entropy, temper: &DiskTemper, now: Time) -> Time {
        let at = now + entropy.between(temper.confirm.0, temper.confirm.1);
        self.newest_confirmation = self.newest_confirmation.max(at);
        self.newest_confirmation
    }

    /// The power goes: some first part of what was outstanding has made it, the rest is gone.
    pub(crate) fn crash(&mut self, entropy: &mut Entropy) -> Loss {
        let kept = entropy.place(self.outstanding.len() + 1);
        let lost = self.outstanding.len() - kept;
        self.complete(kept);
        let through = std::mem::replace(&mut self.through, WriteId::from_number(0));
        self.outstanding.clear();
        self.syncing = 0;
        self.stalled_until = 0;
        self.slow_until = 0;
        self.written = self.durable.clone();
        Loss { kept, lost, through }
    }
}
