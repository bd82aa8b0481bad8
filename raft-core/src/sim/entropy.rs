//! The one source of all that is random in a run.

use std::vec::Vec;

/// Where every choice of a run comes from: a seed, or bytes that a fuzzer mutates. The same source makes the same run, on
/// every machine.
#[derive(Clone, Debug)]
pub(crate) struct Entropy {
    source: Source,
    /// The bytes that make the same choices as a seed did, and how many are wanted.
    record: Option<(Vec<u8>, usize)>,
}

#[derive(Clone, Debug)]
enum Source {
    /// The state of a SplitMix64 generator.
    Seed(u64),
    Bytes {
        bytes: Vec<u8>,
        next: usize,
    },
}

/// How often something happens, of 65,536 times; never, always and all between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Odds(pub(crate) u32);

impl Odds {
    pub(crate) const NEVER: Odds = Odds(0);
    const ALWAYS: u64 = 1 << 16;

    pub(crate) const fn percent(percent: u32) -> Odds {
        Odds(percent * 65_536 / 100)
    }
}

impl Entropy {
    /// Choices without end, all from `seed`.
    pub(crate) fn from_seed(seed: u64) -> Entropy {
        Entropy { source: Source::Seed(seed), record: None }
    }

    /// Choices read from `bytes`. When they are spent every further choice is the quietest one: no fault, the shortest
    /// delay.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Entropy {
        Entropy { source: Source::Bytes { bytes: bytes.to_vec(), next: 0 }, record: None }
    }

    /// As [`Entropy::from_seed`], and the first `wanted` bytes that would make the same choices are written down.
    pub(crate) fn recorded(seed: u64, wanted: usize) -> Entropy {
        Entropy { record: Some((Vec::new(), wanted)), ..Entropy::from_seed(seed) }
    }

    /// Choices of their own, which leave those of this one as they are: what is drawn for a new kind of fault does not change
    /// what a seed did before. Of bytes eight say which; none are the quietest.
    pub(crate) fn split(&mut self) -> Entropy {
        let word = match &mut self.source {
            Source::Seed(state) => Entropy::from_seed(*state ^ 0x5851_f42d_4c95_7f2d).below(u64::MAX),
            Source::Bytes { bytes, next } => {
                let word = (0..8)
                    .fold(0, |word, at| word << 8 | u64::from(bytes.get(*next + at).copied().unwrap_or_default()));
                *next += 8;
                word
            }
        };
        if let Some((bytes, _)) = self.record.as_mut().filter(|(bytes, wanted)| bytes.len() < *wanted) {
            bytes.extend_from_slice(&word.to_be_bytes());
        }
        if word == 0 { Entropy::from_bytes(&[]) } else { Entropy::from_seed(word) }
    }

    pub(crate) fn into_record(self) -> Vec<u8> {
        self.record.map(|(bytes, _)| bytes).unwrap_or_default()
    }

    /// Whether no choice is left; a seed has choices without end.
    pub(crate) fn is_spent(&self) -> bool {
        match &self.source {
            Source::Seed(_) => false,
            Source::Bytes { bytes, next } => *next >= bytes.len(),
        }
    }

    /// A number below `bound`; 0 if the bound is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        if bound <= 1 {
            return 0;
        }
        let width = (71 - (bound - 1).leading_zeros()) as usize / 8;
        match &mut self.source {
            Source::Seed(state) => {
                *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut word = *state;
                word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                word ^= word >> 31;
                let product = u128::from(word) * u128::from(bound);
                let number = u64::try_from(product >> 64).unwrap_or_default();
                if let Some((bytes, _)) = self.record.as_mut().filter(|(bytes, wanted)| bytes.len() < *wanted) {
                    bytes.extend_from_slice(&number.to_be_bytes()[8 - width..]);
                }
                number
            }
            Source::Bytes { bytes, next } => {
                let mut word = 0;
                for _ in 0..width {
                    word = word << 8 | u64::from(bytes.get(*next).copied().unwrap_or_default());
                    *next += 1;
                }
                word % bound
            }
        }
    }

    /// A number from `low` through `high`.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// As [`Entropy::between`], for lengths and tick counts.
    pub(crate) fn between_u32(&mut self, low: u32, high: u32) -> u32 {
        u32::try_from(self.between(low.into(), high.into())).unwrap_or(high)
    }

    /// A place in a list of `len`; 0 if it is empty.
    pub(crate) fn place(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap_or_default()
    }

    pub(crate) fn chance(&mut self, odds: Odds) -> bool {
        odds != Odds::NEVER && self.below(Odds::ALWAYS) + u64::from(odds.0) >= Odds::ALWAYS
    }

    pub(crate) fn flip(&mut self) -> bool {
        self.below(2) == 1
    }

    /// A number from `low` through `high`, every order of magnitude as likely as every other.
    pub(crate) fn magnitude(&mut self, low: u64, high: u64) -> u64 {
        let doublings = u64::from((high.max(1) / low.max(1)).ilog2());
        let ceiling = low.max(1) << self.below(doublings + 1);
        self.between(low, (ceiling * 2 - 1).min(high))
    }

    /// Odds of a fault in this run: none in every second run, else anything up to `most`.
    pub(crate) fn odds_up_to(&mut self, most: Odds) -> Odds {
        if self.flip() { Odds(u32::try_from(self.magnitude(64, most.0.into())).unwrap_or(most.0)) } else { Odds::NEVER }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_the_same_for_ever_and_within_bounds() {
        let mut entropy = Entropy::from_seed(7);
        let drawn: Vec<u64> = (0..4).map(|_| entropy.below(1000)).collect();
        assert_eq!(drawn, [389, 16, 900, 582]);
        for bound in 1..2000 {
            assert!(entropy.below(bound) < bound);
            assert!((3..=3 + bound).contains(&entropy.magnitude(3, 3 + bound)));
        }
    }

    #[test]
    fn spent_bytes_are_quiet() {
        let mut entropy = Entropy::from_bytes(&[1, 2, 255, 255]);
        assert_eq!((entropy.below(256), entropy.below(256)), (1, 2));
        assert!(entropy.chance(Odds(1)));
        assert!(entropy.is_spent());
        assert!(!entropy.chance(Odds(65_535)));
        assert_eq!(entropy.between(4, 9), 4);
    }

    #[test]
    fn a_split_changes_nothing_and_bytes_split_alike() {
        let (mut whole, mut recorded) = (Entropy::from_seed(7), Entropy::recorded(7, 100));
        let (_, mut split) = (recorded.below(1000), recorded.split());
        assert_eq!((whole.below(1000), whole.below(1000)), (389, 16));
        assert_eq!(recorded.below(1000), 16);
        let mut bytes = Entropy::from_bytes(&recorded.into_record());
        assert_eq!(bytes.below(1000), 389);
        let mut same = bytes.split();
        assert!((0..9).all(|_| split.below(1000) == same.below(1000)));
        assert_eq!(bytes.below(1000), 16);
        assert!(bytes.split().is_spent(), "spent bytes split into quiet ones");
    }

    #[test]
    fn odds_are_what_they_say() {
        let mut entropy = Entropy::from_seed(1);
        let hits = (0..100_000).filter(|_| entropy.chance(Odds::percent(30))).count();
        assert!((29_000..31_000).contains(&hits), "{hits}");
    }
}
