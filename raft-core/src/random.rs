//! The dice for election timeouts (§5.2): small, seeded, the same on every machine.

use crate::types::NodeId;

/// SplitMix64 (Steele, Lea and Flood, 2014).
#[derive(Clone, Debug)]
pub(crate) struct Random {
    state: u64,
    /// What every draw says, where no dice are thrown.
    #[cfg(feature = "sim")]
    fixed: Option<u32>,
}

impl Random {
    /// Servers with the same seed must not draw the same timeouts: the id is mixed in.
    pub(crate) fn new(seed: u64, id: NodeId) -> Random {
        let mixed = Random::from_state(id.0).next();
        Random::from_state(seed ^ mixed)
    }

    fn from_state(state: u64) -> Random {
        Random {
            state,
            #[cfg(feature = "sim")]
            fixed: None,
        }
    }

    /// Let every draw say this from now on.
    #[cfg(feature = "sim")]
    pub(crate) fn fix(&mut self, draw: u32) {
        self.fixed = Some(draw);
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `min` through `max`.
    pub(crate) fn between(&mut self, min: u32, max: u32) -> u32 {
        #[cfg(feature = "sim")]
        if let Some(fixed) = self.fixed {
            return fixed;
        }
        let span = u64::from(max.saturating_sub(min)) + 1;
        min.saturating_add(u32::try_from(self.next() % span).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_differ_between_servers_and_stay_in_bounds() {
        let draws = |id| {
            let mut random = Random::new(7, NodeId(id));
            core::array::from_fn::<u32, 64, _>(|_| random.between(10, 20))
        };
        assert_ne!(draws(1), draws(2));
        assert_eq!(draws(1), draws(1));
        assert!((10..=20).all(|wanted| draws(3).contains(&wanted)) && draws(3).iter().all(|d| (10..=20).contains(d)));
    }
}
