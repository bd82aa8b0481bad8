//! Entries that a server does not hold in memory: its disk reads them back, at once or late, all or some, right or wrong, or
//! never.

use std::vec::Vec;

use super::cluster::{Cluster, Item};
use super::coverage::Happening;
use super::disk::SLOWNESS;
use super::entropy::{Entropy, Odds};
use super::queue::{TICK, Time};
use super::violation::Verdict;
use crate::{Entries, Entry, Event, FetchId, Index, Term};

/// How disks are read in a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FetchTemper {
    pub(crate) delay: (Time, Time),
    /// How often nothing is answered.
    pub(crate) never: Odds,
    /// How often reading fails.
    pub(crate) fails: Odds,
    /// How often less comes than was asked for.
    pub(crate) short: Odds,
    /// How often something else comes.
    pub(crate) wrong: Odds,
    /// How often, and by how much at most, an answer comes when it may not be needed any more.
    pub(crate) late: Odds,
    pub(crate) late_moments: Time,
}

impl FetchTemper {
    pub(crate) const FAST: FetchTemper = FetchTemper {
        delay: (0, TICK / 8),
        never: Odds::NEVER,
        fails: Odds::NEVER,
        short: Odds::NEVER,
        wrong: Odds::NEVER,
        late: Odds::NEVER,
        late_moments: 0,
    };

    pub(crate) fn draw(entropy: &mut Entropy) -> FetchTemper {
        FetchTemper {
            delay: (0, entropy.magnitude(1, 8 * TICK)),
            never: entropy.odds_up_to(Odds::percent(10)),
            fails: entropy.odds_up_to(Odds::percent(20)),
            short: entropy.odds_up_to(Odds::percent(50)),
            wrong: entropy.odds_up_to(Odds::percent(20)),
            late: entropy.odds_up_to(Odds::percent(30)),
            late_moments: entropy.magnitude(TICK, 300 * TICK),
        }
    }
}

impl Cluster {
    /// The server in `slot` wants entries read back.
    pub(crate) fn fetch(&mut self, slot: usize, id: FetchId, (from, to): (Index, Index), bytes_max: u64) -> Verdict {
        self.oracles.fetch_asked(slot, &self.servers[slot], id, (from, to))?;
        self.digest.fold(id.number() << 32 ^ from.0);
        let server = &self.servers[slot];
        let (life, temper) = (server.life, self.temper.fetches);
        let read = server.disk.durable.read(from, to, bytes_max);
        let slowness = if self.now < server.disk.slow_until { SLOWNESS } else { 1 };
        if self.entropy.chance(temper.never) {
            self.coverage.count(Happening::FetchUnanswered);
            return Ok(());
        }
        let mut at = self.now + slowness * self.entropy.between(temper.delay.0, temper.delay.1);
        if self.entropy.chance(temper.late) {
            self.coverage.count(Happening::FetchLate);
            at += self.entropy.below(temper.late_moments);
        }
        let (id, entries) = self.spoil(id, read, to);
        self.queue.push(at, Item::Fetched { slot, life, id, entries });
        Ok(())
    }

    /// What comes of entries that were read well, as far as `to` at most.
    fn spoil(&mut self, id: FetchId, read: Entries, to: Index) -> (FetchId, Entries) {
        let temper = self.temper.fetches;
        let Cluster { entropy, coverage, .. } = self;
        if entropy.chance(temper.fails) {
            coverage.count(Happening::FetchFailed);
            return (id, Entries::new());
        }
        if entropy.chance(temper.wrong) {
            coverage.count(Happening::FetchWrong);
            return wrong(entropy, id, &read, to);
        }
        if read.len() > 1 && entropy.chance(temper.short) {
            coverage.count(Happening::FetchShort);
            let count = entropy.between(1, read.len() - 1);
            return (id, read.at_most(count, u64::MAX));
        }
        (id, read)
    }

    /// Entries have been read back.
    pub(crate) fn fetched(&mut self, slot: usize, id: FetchId, entries: Entries) -> Verdict {
        self.catch_up(slot)?;
        let state = |cluster: &Cluster| {
            let server = &cluster.servers[slot];
            let counters = server.raft.as_ref().map(|raft| *raft.status().counters()).unwrap_or_default();
            (counters.late, counters.unfounded, server.seen.handed_out)
        };
        let (before, none) = (state(self), entries.is_empty());
        self.feed(slot, Event::Fetched { id, entries })?;
        let after = state(self);
        let happening = match () {
            () if !self.servers[slot].is_up() || none => return Ok(()),
            () if after.0 > before.0 => Happening::FetchVoided,
            () if after.1 > before.1 => Happening::FetchRefused,
            () if after.2 > before.2 => Happening::FetchedForApplication,
            () => Happening::FetchedForFollower,
        };
        self.coverage.count(happening);
        Ok(())
    }
}

/// Other entries than those that were asked for, or the answer to another request; always such that the core can find out. It knows
/// indexes and terms, and not what a command was: that is the checksums' business.
fn wrong(entropy: &mut Entropy, id: FetchId, read: &Entries, to: Index) -> (FetchId, Entries) {
    let first = read.first().map_or(Index(1), |first| first.index);
    let mut list: Vec<Entry> = read.slices().flat_map(|(_, entries)| entries.iter().cloned()).collect();
    let first = match entropy.below(5) {
        0 => return (FetchId::from_number(id.number().wrapping_add(1)), read.clone()),
        1 => return (FetchId::from_number(id.number().saturating_sub(1)), read.clone()),
        2 => first.next(),
        3 => {
            let from = entropy.place(list.len().max(1));
            list.iter_mut().skip(from).for_each(|entry| entry.term = entry.term.next());
            first
        }
        _ => {
            // Beyond the range: within it, entries of the right terms would be taken for the right ones.
            let (term, count) = (list.last().map_or(Term(1), |entry| entry.term), to.0.saturating_sub(first.0) + 2);
            list.resize(usize::try_from(count).unwrap_or(1), Entry { term, payload: crate::Payload::Noop });
            first
        }
    };
    (id, Entries::from_vec(first, list).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::disk::Image;
    use crate::sim::oracle::testing::{meta, write};

    #[test]
    fn a_disk_reads_what_fits_and_at_least_one() {
        let mut image = Image::new(meta(1, 4));
        image.take(&write(5, &[1, 1, 2, 2]));
        let one = image.read(Index(5), Index(5), 0).bytes();
        let read =
            |from, to, bytes| image.read(Index(from), Index(to), bytes).iter().map(|(id, _)| id.index.0).collect();
        let cases: [(u64, u64, u64, &[u64]); 6] = [
            (5, 8, u64::MAX, &[5, 6, 7, 8]),
            (6, 7, u64::MAX, &[6, 7]),
            (6, 8, 2 * one, &[6, 7]),
            (6, 8, 1, &[6]),
            (3, 6, u64::MAX, &[]),
            (9, 12, u64::MAX, &[]),
        ];
        for (from, to, bytes, expected) in cases {
            let found: Vec<u64> = read(from, to, bytes);
            assert_eq!(found, expected, "{from} to {to} of {bytes}");
        }
    }

    #[test]
    fn what_is_wrong_can_be_found_out() {
        let mut image = Image::new(meta(1, 4));
        image.take(&write(5, &[1; 600]));
        let (id, to) = (FetchId::from_number(3), Index(604));
        // All that was asked for, or less: there was room for one.
        for bytes in [u64::MAX, 0] {
            let read = image.read(Index(5), to, bytes);
            for seed in 0..50 {
                let (other, entries) = wrong(&mut Entropy::from_seed(seed), id, &read, to);
                let in_range = entries.first_index() == Some(Index(5)) && entries.last_index() <= Some(to);
                let is_taken = in_range && entries.iter().all(|(id, _)| image.term_at(id.index) == Some(id.term));
                assert!(other != id || !is_taken, "seed {seed}");
            }
        }
    }
}
