//! When to connect again, and what is said of it.

use std::time::{Duration, Instant};

use raft_core::NodeId;

use super::lines::{kind, say};
use super::{Cut, Peer, TcpConfig, Telling, Told, Trouble};
use crate::transport::Inbound;

/// So many reasons are told apart.
const REASONS_MOST: usize = 16;

/// The attempts to keep a connection for messages to one peer: each reason is told once until there is one that stands, and
/// the pauses between them grow.
pub struct Attempts {
    me: NodeId,
    peer: NodeId,
    backoff: Backoff,
    told: Told<String>,
    /// The last connection ended as soon as it stood.
    flaps: bool,
}

impl Attempts {
    /// Of the server that `config` is for, to reach `peer`.
    #[must_use]
    pub fn new(config: &TcpConfig, peer: NodeId) -> Attempts {
        Attempts {
            me: config.id,
            peer,
            backoff: Backoff::new(config, peer),
            told: Told::new(REASONS_MOST),
            flaps: false,
        }
    }

    /// The peer has accepted a connection for messages.
    pub fn connected<C: Cut>(&mut self, to: &Peer<C>, inbound: &dyn Inbound) {
        let (node, peer) = (self.me.0, self.peer.0);
        if self.flaps {
            tracing::debug!(node, peer, "connected");
        } else {
            tracing::info!(node, peer, "connected");
        }
        to.traffic.connected(true);
        inbound.reachable(to.id);
    }

    /// An attempt or a connection for messages has ended; `stood` is how long it lasted, if the peer had accepted it. Its mail
    /// is lost. Gives the pause before the next attempt, if there is to be one.
    #[must_use]
    pub fn ended<C: Cut>(
        &mut self,
        peer: &Peer<C>,
        inbound: &dyn Inbound,
        why: Result<(), Trouble>,
        stood: Option<Duration>,
    ) -> Option<Duration> {
        peer.traffic.connected(false);
        let lost = peer.lose_mail();
        if peer.mailbox.is_closed() {
            return None;
        }
        // What was written last may be lost as well, and nobody else would say so.
        if stood.is_some() || lost {
            inbound.unreachable(peer.id);
        }
        Some(self.failed(why, stood))
    }

    fn failed(&mut self, why: Result<(), Trouble>, stood: Option<Duration>) -> Duration {
        let (node, peer) = (self.me.0, self.peer.0);
        // A connection that ends as soon as it stands is no success.
        if stood.is_some_and(|time| time > self.backoff.max) {
            self.backoff.reset();
            self.told.forget();
            self.flaps = false;
        } else {
            self.flaps |= stood.is_some();
        }
        let error = why.err().map_or_else(|| "the connection is closed".to_owned(), |trouble| trouble.to_string());
        say!(self.told.tell(kind(&error), Instant::now()), node, peer, error, "no way to a peer");
        self.backoff.pause()
    }
}

/// Pauses that double, each shortened at random by up to a half, so that servers do not stay in step.
pub struct Backoff {
    next: Duration,
    min: Duration,
    max: Duration,
    random: fastrand::Rng,
}

impl Backoff {
    /// From `backoff_min` to `backoff_max`.
    #[must_use]
    pub fn new(config: &TcpConfig, peer: NodeId) -> Backoff {
        let min = config.backoff_min.min(config.backoff_max);
        let random = config.seed.map_or_else(fastrand::Rng::new, |seed| {
            // Odd factors, so that no two pairs of servers start alike.
            let pair = config.id.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ peer.0.wrapping_mul(0xd1b5_4a32_d192_ed03);
            fastrand::Rng::with_seed(seed ^ pair)
        });
        Backoff { next: min, min, max: config.backoff_max, random }
    }

    /// The next pause.
    #[must_use]
    pub fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = self.next.saturating_mul(2).min(self.max);
        pause.saturating_sub(pause / 100 * self.random.u32(0..=50))
    }

    /// Start again with the shortest.
    pub fn reset(&mut self) {
        self.next = self.min;
    }
}

#[cfg(test)]
mod tests {
    use raft_core::Config;

    use super::*;
    use crate::storage::ClusterId;

    fn config(seed: Option<u64>) -> TcpConfig {
        TcpConfig {
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_millis(1000),
            seed,
            ..TcpConfig::new(ClusterId(1), &Config::new(NodeId(1)))
        }
    }

    fn pauses(seed: Option<u64>, peer: u64) -> Vec<Duration> {
        let mut backoff = Backoff::new(&config(seed), NodeId(peer));
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

    #[test]
    fn only_a_connection_that_stood_makes_pauses_short_again() {
        let mut attempts = Attempts::new(&config(None), NodeId(2));
        let mut ended = |stood| attempts.failed(Err(Trouble::NoAddress), stood);
        for _ in 0..4 {
            let _grows = ended(None);
        }
        assert!(ended(Some(Duration::from_millis(900))) >= Duration::from_millis(500));
        assert!(ended(Some(Duration::from_millis(1100))) <= Duration::from_millis(100));
    }
}
