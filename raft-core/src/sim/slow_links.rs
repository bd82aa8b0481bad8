//! Links that carry so many bytes in a tick: a long message takes its time, and the receiver's driver says that it is arriving.

use super::cluster::{Cluster, Item};
use super::coverage::Happening;
use super::network::Arrival;
use super::queue::{TICK, Time};
use super::violation::Verdict;
use crate::{Event, Message, Rpc, Term};

/// What a message takes on a link beside its entries.
const ENVELOPE_BYTES: u64 = 32;

/// About how long a message is.
pub(crate) fn bytes(message: &Message) -> u64 {
    ENVELOPE_BYTES + if let Rpc::AppendEntries { entries, .. } = &message.rpc { entries.bytes() } else { 0 }
}

impl Cluster {
    /// A message comes in over some time: its receiver notices with each tick.
    pub(crate) fn trickle(&mut self, arrival: Arrival, (from, to): (usize, usize), term: Term) {
        let Arrival { begins, at: until } = arrival;
        if until - begins > TICK {
            self.coverage.count(Happening::MessageTrickled);
            self.queue.push(begins + TICK, Item::Arriving { from, to, term, until });
        }
    }

    /// Part of a message has come in, if it is not lost after all.
    pub(crate) fn arriving(&mut self, (from, to): (usize, usize), term: Term, until: Time) -> Verdict {
        if self.now + TICK < until {
            self.queue.push(self.now + TICK, Item::Arriving { from, to, term, until });
        }
        let server = &self.servers[to];
        if !server.is_up() || self.now < server.paused_until || !self.network.connects(from, to) {
            return Ok(());
        }
        let from = self.servers[from].id;
        self.feed(to, Event::Arriving { from, term })
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::super::cluster::Temper;
    use super::super::entropy::Entropy;
    use super::super::server::{Clock, Seat};
    use super::super::trace::Trace;
    use super::*;
    use crate::{Config, Index, NodeId, RoleKind};

    /// Ticks of 10 ms: 4 MB/s.
    const BYTES_PER_TICK: u64 = 40_000;
    const ENTRY_BYTES: usize = 1 << 20;

    /// Three servers whose links are slow. The third is down if it is said.
    fn cluster(seed: u64, third_is_up: bool) -> Cluster {
        let config = |id| Config { seed, ..Config::new(NodeId(id)) };
        let seats = [1, 2, 3].map(|id| Seat::founder(config(id), Clock::Steady)).into();
        let mut cluster = Cluster::new(seats, Temper::CALM, Entropy::from_seed(seed), Trace::off());
        for slot in 0..2 + usize::from(third_is_up) {
            cluster.start(slot).unwrap();
        }
        cluster.network.weather.bytes_per_tick = BYTES_PER_TICK;
        cluster.network.weather.longest_wait = 1000 * TICK;
        cluster.run(200 * TICK).unwrap();
        cluster
    }

    fn start(cluster: &mut Cluster, leader: usize) {
        let (request, commands) = cluster.clients.request(1, ENTRY_BYTES);
        cluster.feed(leader, Event::Start { request, commands }).unwrap();
    }

    /// An entry of 1 MiB at 4 MB/s takes longer than an election timeout. There is no election, and all of it arrives.
    #[test]
    fn leadership_holds_as_long_as_bytes_flow() {
        for seed in 0..3 {
            for third_is_up in [true, false] {
                let mut cluster = cluster(seed, third_is_up);
                let leader = cluster.leader().expect("a leader stands");
                let term = cluster.servers[leader].seen.hard_state.term;
                for _ in 0..20 {
                    start(&mut cluster, leader);
                    cluster.run(cluster.now + 30 * TICK).unwrap();
                }
                cluster.run(cluster.now + 400 * TICK).unwrap();
                let up: Vec<_> = cluster.servers.iter().filter(|server| server.is_up()).collect();
                assert!(up.iter().all(|server| server.seen.hard_state.term == term), "seed {seed}: an election");
                assert!(up.iter().all(|server| server.seen.commit >= Index(21)), "seed {seed}: too slow");
                assert_eq!(cluster.servers[leader].seen.role, RoleKind::Leader);
                assert!(cluster.coverage.of(Happening::LeaderHeardInPart) > 20);
            }
        }
    }
}
