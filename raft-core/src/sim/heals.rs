//! A disk is lost under load, and nobody lifts a hand: how long it takes until its server is a voter again that counts.

use std::boxed::Box;

use super::clients::{COMMAND_BYTES_MIN, Outcome};
use super::cluster::{Cluster, Temper};
use super::disk::DiskTemper;
use super::duties::TransferTemper;
use super::entropy::{Entropy, Odds};
use super::machine::MachineTemper;
use super::network::Weather;
use super::paging::FetchTemper;
use super::queue::{TICK, Time};
use super::server::{Clock, Seat};
use super::trace::Trace;
use super::violation::{Verdict, Violation};
use crate::{Config, Event, MemberRole, NodeId, WipedPolicy};

/// How long a cluster may take to record its first disks, and to heal.
const PATIENCE: Time = 5000 * TICK;

/// How a server that lost its disk fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Healing {
    /// Servers of the cluster: 3 or 5.
    pub servers: usize,
    /// Whether it led when it lost its disk.
    pub led: bool,
    /// Ticks from the loss until the newest configuration is committed, not joint, and counts it as a voter on its new disk.
    /// Nothing, if it did not come to that in 5,000 ticks.
    pub ticks: Option<u64>,
    /// Commands whose clients were told of their success, before and after that: all of them are there in the end.
    pub acknowledged: usize,
}

/// Let a server of a cluster lose its disk while clients write, with [`WipedPolicy::Heal`], the default settings, and messages
/// that are lost, doubled and late at times. `seed` draws all the rest: 3 or 5 servers, which of them, and when.
///
/// # Errors
/// If an invariant was broken.
pub fn heal_seed(seed: u64) -> Result<Healing, Box<Violation>> {
    let mut entropy = Entropy::from_seed(seed);
    let servers = if entropy.flip() { 3 } else { 5 };
    let config =
        Config { seed, wiped: WipedPolicy::Heal, record_disks: true, trailing_entries: 20, ..Config::new(NodeId(0)) };
    let seats = (1..=servers).map(|id| Seat::founder(Config { id: NodeId(id), ..config.clone() }, Clock::Steady));
    let temper = temper(&mut entropy);
    let mut load = Load { cluster: Cluster::new(seats.collect(), temper, entropy, Trace::off()), write_at: 0 };
    load.cluster.downtime = (0, 100 * TICK);
    for slot in 0..load.cluster.servers.len() {
        load.cluster.start(slot)?;
    }
    load.run_until(|cluster| (0..cluster.servers.len()).all(|slot| counts(cluster, slot)))?;
    let settles = load.cluster.entropy.between(1, 200 * TICK);
    load.run(load.cluster.now + settles)?;
    let victim = load.cluster.entropy.place(load.cluster.servers.len());
    let led = load.cluster.leader() == Some(victim);
    let lost_at = load.cluster.now;
    load.cluster.wipe(victim);
    let healed = load.run_until(|cluster| counts(cluster, victim))?;
    let ticks = healed.then(|| (load.cluster.now - lost_at) / TICK);
    load.run(load.cluster.now + 100 * TICK)?;
    let Load { mut cluster, .. } = load;
    cluster.network.mend();
    cluster.set_temper(Temper::CALM);
    let end = cluster.now + PATIENCE;
    while cluster.now < end && !cluster.oracles.have_converged(&cluster.servers) {
        cluster.run(cluster.now + TICK)?;
    }
    if !cluster.oracles.have_converged(&cluster.servers) {
        cluster.oracles.diverged(&cluster.servers, PATIENCE / TICK)?;
    }
    cluster.oracles.finish(&cluster.clients)?;
    let acknowledged = cluster.clients.outcomes().iter().filter(|outcome| **outcome == Outcome::Applied).count();
    Ok(Healing { servers: cluster.servers.len(), led, ticks, acknowledged })
}

/// A network that is not the best, disks that take a while, and snapshots, so that a newcomer needs one.
fn temper(entropy: &mut Entropy) -> Temper {
    let delay = (0, entropy.magnitude(TICK / 8, 2 * TICK));
    let (loss, duplicate) = (entropy.odds_up_to(Odds::percent(5)), entropy.odds_up_to(Odds::percent(5)));
    Temper {
        weather: Weather { loss, duplicate, delay, in_order: false, ..Weather::FAIR },
        disk: DiskTemper { latency: (0, entropy.magnitude(TICK / 8, 4 * TICK)), ..DiskTemper::FAST },
        machine: MachineTemper { snapshot_every: Some(entropy.between(20, 100)), ..MachineTemper::FAST },
        transfer: TransferTemper { delay: (0, 20 * TICK), ..TransferTemper::FAST },
        fetches: FetchTemper::FAST,
    }
}

/// Whether a server is a voter on the disk that it runs on, by a configuration that is settled and committed.
fn counts(cluster: &Cluster, slot: usize) -> bool {
    let server = &cluster.servers[slot];
    let (_, committed) = cluster.oracles.configuration();
    let leads = cluster.leader().and_then(|leader| cluster.servers[leader].raft.as_ref());
    let member = committed.member(server.id).filter(|member| member.role == MemberRole::Voter);
    server.is_up()
        && !committed.is_joint()
        && member.is_some_and(|member| member.disk == server.incarnation)
        && leads.is_some_and(|leader| leader.status().membership() == committed)
}

/// A cluster whose clients write.
struct Load {
    cluster: Cluster,
    write_at: Time,
}

impl Load {
    fn run(&mut self, until: Time) -> Verdict {
        while self.cluster.now < until {
            self.cluster.run(self.write_at.min(until))?;
            if self.cluster.now == self.write_at {
                self.write()?;
                self.write_at = self.cluster.now + self.cluster.entropy.between(1, 4 * TICK);
            }
        }
        Ok(())
    }

    /// Says whether it came to that.
    fn run_until(&mut self, done: impl Fn(&Cluster) -> bool) -> Verdict<bool> {
        let end = self.cluster.now + PATIENCE;
        while self.cluster.now < end && !done(&self.cluster) {
            self.run(self.cluster.now + TICK)?;
        }
        Ok(done(&self.cluster))
    }

    fn write(&mut self) -> Verdict {
        let Some(leader) = self.cluster.leader() else { return Ok(()) };
        self.cluster.catch_up(leader)?;
        if !self.cluster.servers[leader].is_up() {
            return Ok(());
        }
        let (request, commands) = self.cluster.clients.request(1, COMMAND_BYTES_MIN);
        self.cluster.step(leader, Event::Start { request, commands })
    }
}
