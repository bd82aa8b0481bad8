//! Pauses between attempts to connect.

use std::time::Duration;

use raft_core::NodeId;

use crate::net::LinkConfig;

/// Pauses that double, each shortened at random by up to a half, so that servers do not stay in step.
pub(super) struct Backoff {
    next: Duration,
    min: Duration,
    max: Duration,
    random: fastrand::Rng,
}

impl Backoff {
    /// From `backoff_min` to `backoff_max`.
    pub(super) fn new(config: &LinkConfig, peer: NodeId) -> Backoff {
        let min = config.backoff_min.min(config.backoff_max);
        let random = config.seed.map_or_else(fastrand::Rng::new, |seed| {
            // Odd factors, so that no two pairs of servers start alike.
            let pair = config.id.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ peer.0.wrapping_mul(0xd1b5_4a32_d192_ed03);
            fastrand::Rng::with_seed(seed ^ pair)
        });
        Backoff { next: min, min, max: config.backoff_max, random }
    }

    /// The next pause.
    pub(super) fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = self.next.saturating_mul(2).min(self.max);
        pause.saturating_sub(pause / 100 * self.random.u32(0..=50))
    }

    /// Start again with the shortest.
    pub(super) fn reset(&mut self) {
        self.next = self.min;
    }
}

#[cfg(test)]
mod tests {
    use raft_core::Config;

    use super::*;
    use crate::storage::ClusterId;

    fn pauses(seed: Option<u64>, peer: u64) -> Vec<Duration> {
        let config = LinkConfig {
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_millis(1000),
            seed,
            ..LinkConfig::new(ClusterId(1), &Config::new(NodeId(1)))
        };
        let mut backoff = Backoff::new(&config, NodeId(peer));
        (0..20).map(|_| backoff.pause()).collect()
    }

    #[test]
    fn pauses_double_up_to_a_limit_and_differ() {
        let drawn = pauses(None, 2);
        let full = [100, 200, 400, 800].into_iter().chain([1000; 16]).map(Duration::from_millis);
        for (pause, full) in drawn.iter().zip(full) {
            assert!(*pause <= full && *pause >= full / 2, "{pause:?} of {full:?}");
        }
        assert_ne!(drawn, pauses(None, 2));
    }

    #[test]
    fn a_seed_makes_them_the_same_each_time_but_not_for_each_peer() {
        assert_eq!(pauses(Some(7), 2), pauses(Some(7), 2));
        assert_ne!(pauses(Some(7), 2), pauses(Some(7), 3));
        assert_ne!(pauses(Some(7), 2), pauses(Some(8), 2));
    }
}
