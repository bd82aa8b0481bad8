//! What is news, and what only repeats.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What goes on for so long is told again.
pub(crate) const TOLD_AGAIN_AFTER: Duration = Duration::from_secs(600);

/// What was told lately, by its kind, so that nobody fills the log by repetition: the first of a kind is told aloud, and what
/// follows quietly, but for one in every [`TOLD_AGAIN_AFTER`], which says how many there were. A bounded number of kinds is
/// remembered; of more, all are one.
pub(crate) struct Told<K> {
    most: usize,
    kinds: BTreeMap<K, Kind>,
    others: Kind,
}

#[derive(Default)]
struct Kind {
    told: Option<Instant>,
    repeats: u64,
}

/// How something is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Telling {
    /// It is news, or it goes on.
    Aloud {
        /// How many of its kind were told quietly since the last one that was not.
        repeats: u64,
    },
    /// It only repeats what is known.
    Quietly,
}

impl Kind {
    fn is_fresh(&self, now: Instant) -> bool {
        self.told.is_some_and(|told| now.saturating_duration_since(told) < TOLD_AGAIN_AFTER)
    }
}

impl<K: Ord> Told<K> {
    /// Remembers so many kinds.
    #[must_use]
    pub(crate) fn new(most: usize) -> Told<K> {
        Told { most, kinds: BTreeMap::new(), others: Kind::default() }
    }

    /// Something of this kind has happened.
    pub(crate) fn tell(&mut self, kind: K, now: Instant) -> Telling {
        if self.kinds.len() >= self.most && !self.kinds.contains_key(&kind) {
            self.kinds.retain(|_, kind| kind.is_fresh(now));
        }
        let has_room = self.kinds.len() < self.most || self.kinds.contains_key(&kind);
        let known = if has_room { self.kinds.entry(kind).or_default() } else { &mut self.others };
        if known.is_fresh(now) {
            known.repeats += 1;
            return Telling::Quietly;
        }
        known.told = Some(now);
        Telling::Aloud { repeats: std::mem::take(&mut known.repeats) }
    }

    /// From now on these kinds are news again.
    pub(crate) fn forget_if(&mut self, mut of: impl FnMut(&K) -> bool) {
        self.kinds.retain(|kind, _| !of(kind));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEWS: Telling = Telling::Aloud { repeats: 0 };

    #[test]
    fn the_first_of_a_kind_is_news_and_what_goes_on_is_counted() {
        let (mut told, began) = (Told::new(2), Instant::now());
        assert_eq!(told.tell("a", began), NEWS);
        for second in 1..600 {
            assert_eq!(told.tell("a", began + Duration::from_secs(second)), Telling::Quietly);
        }
        assert_eq!(told.tell("b", began + Duration::from_secs(5)), NEWS, "another kind");
        let later = began + TOLD_AGAIN_AFTER;
        assert_eq!(told.tell("a", later), Telling::Aloud { repeats: 599 });
        assert_eq!(told.tell("a", later), Telling::Quietly);
        assert_eq!(told.tell("a", later + TOLD_AGAIN_AFTER), Telling::Aloud { repeats: 1 });
        told.forget_if(|kind| *kind == "a");
        assert_eq!(told.tell("a", later + TOLD_AGAIN_AFTER), NEWS);
    }

    #[test]
    fn however_many_kinds_there_are_few_are_told_and_kept() {
        let (mut told, began) = (Told::new(3), Instant::now());
        let aloud =
            |told: &mut Told<u32>, now| (0..1000).filter(|kind| told.tell(*kind, now) != Telling::Quietly).count();
        assert_eq!(aloud(&mut told, began), 4, "three, and one for all others");
        assert_eq!(told.kinds.len(), 3);
        assert_eq!(aloud(&mut told, began + Duration::from_secs(1)), 0);
        assert_eq!(told.tell(7777, began + TOLD_AGAIN_AFTER), NEWS, "what is long ago makes room");
        assert_eq!(told.kinds.len(), 1);
    }
}
