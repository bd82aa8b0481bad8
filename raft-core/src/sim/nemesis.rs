//! The faults that befall whole servers and links: crashes, partitions, stalled disks, pauses, stopped clocks.

use std::vec::Vec;

use super::cluster::{Cluster, Item};
use super::coverage::Happening;
use super::entropy::Entropy;
use super::network::SERVERS_MAX;
use super::queue::Time;
use super::transfers;
use super::violation::Verdict;

/// A fault, or the end of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Mend,
    Crash,
    CrashBetweenActions,
    CrashAll,
    Partition,
    CutOneWay,
    Isolate,
    Bridge,
    Flap,
    StallDisk,
    SlowDisk,
    SlowMachine,
    Compact,
    Pause,
    StopClock,
    /// Some election timers run out, at about the same time perhaps.
    TimeOut,
    /// Somebody asks for a transfer of leadership.
    Transfer,
}

const FAULTS: [Fault; 16] = [
    Fault::Crash,
    Fault::CrashBetweenActions,
    Fault::CrashAll,
    Fault::Partition,
    Fault::CutOneWay,
    Fault::Isolate,
    Fault::Bridge,
    Fault::Flap,
    Fault::StallDisk,
    Fault::SlowDisk,
    Fault::SlowMachine,
    Fault::Compact,
    Fault::Pause,
    Fault::StopClock,
    Fault::TimeOut,
    Fault::Transfer,
];

pub(crate) struct Nemesis {
    /// What this run has to bear, never nothing: one to three of all there are, or any part of them.
    faults: Vec<Fault>,
    /// The longest time between two faults.
    pub(crate) pause: Time,
    /// The longest time that a fault lasts.
    longest: Time,
}

impl Nemesis {
    pub(crate) fn new(entropy: &mut Entropy, pause: Time, longest: Time) -> Nemesis {
        let mut faults: Vec<Fault> = if entropy.flip() {
            (0..entropy.between(1, 3)).map(|_| FAULTS[entropy.place(FAULTS.len())]).collect()
        } else {
            FAULTS.into_iter().filter(|_| entropy.flip()).collect()
        };
        faults.insert(0, Fault::Mend);
        Nemesis { faults, pause, longest }
    }

    /// How long crashed servers stay down.
    pub(crate) fn downtime(&self) -> (Time, Time) {
        (0, self.longest)
    }

    pub(crate) fn strike(&self, cluster: &mut Cluster) -> Verdict {
        // Who is cut off sees nothing of other faults: every second strike on a cut network mends it.
        let mend = cluster.network.is_cut() && cluster.entropy.flip();
        let fault = if mend { Fault::Mend } else { self.faults[cluster.entropy.place(self.faults.len())] };
        let victim = self.victim(cluster);
        cluster.trace.remark(format_args!("{fault:?}, if of one server then of s{}", cluster.servers[victim].id));
        let until = cluster.now + cluster.entropy.between(1, self.longest);
        match fault {
            Fault::Mend => {
                cluster.network.mend();
                cluster.coverage.count(Happening::Mended);
            }
            Fault::CrashAll => {
                (0..cluster.servers.len()).for_each(|slot| cluster.crash(slot));
                cluster.coverage.count(Happening::CrashedAll);
            }
            Fault::Partition => partition(cluster),
            Fault::CutOneWay => cut_one_way(cluster, victim),
            Fault::Isolate => {
                cut(cluster, |slot| slot == victim);
                cluster.coverage.count(Happening::ServerIsolated);
            }
            Fault::Bridge => bridge(cluster, victim),
            Fault::Flap => begin_to_flap(cluster, until),
            Fault::TimeOut => time_out(cluster),
            Fault::Transfer => return transfers::ask(cluster),
            _ => return befall(cluster, fault, victim, until),
        }
        Ok(())
    }

    /// Anyone; a leader, and whoever waits for its disk, more often than others.
    fn victim(&self, cluster: &mut Cluster) -> usize {
        let anyone = cluster.entropy.place(cluster.servers.len());
        let preferred = match cluster.entropy.below(4) {
            0 | 1 => None,
            2 => cluster.leader(),
            _ => cluster.servers.iter().position(|server| !server.disk.is_idle()),
        };
        preferred.unwrap_or(anyone)
    }
}

/// What happens to one server, for a while perhaps.
fn befall(cluster: &mut Cluster, fault: Fault, victim: usize, until: Time) -> Verdict {
    let now = cluster.now;
    let server = &mut cluster.servers[victim];
    let happening = match fault {
        Fault::Crash => {
            cluster.crash(victim);
            return Ok(());
        }
        Fault::CrashBetweenActions => {
            // A step has a few actions as a rule, and dozens where a leader feeds followers an entry at a time.
            let left = cluster.entropy.magnitude(1, 64) - 1;
            server.crash_in.get_or_insert(left);
            return Ok(());
        }
        Fault::StallDisk => {
            server.disk.stalled_until = until;
            Happening::DiskStalled
        }
        Fault::SlowDisk => {
            server.disk.slow_until = until;
            Happening::DiskSlowed
        }
        Fault::SlowMachine => {
            server.machine.slow_until = until;
            Happening::MachineSlowed
        }
        Fault::Pause if server.is_up() => {
            server.paused_until = until;
            Happening::Paused
        }
        Fault::StopClock if server.is_up() => {
            server.clock_stopped_until = until;
            Happening::ClockStopped
        }
        Fault::Compact if server.is_up() && now >= server.paused_until => {
            cluster.coverage.count(Happening::SnapshotAtRandom);
            return cluster.snapshot(victim);
        }
        _ => return Ok(()),
    };
    cluster.coverage.count(happening);
    Ok(())
}

fn cut_one_way(cluster: &mut Cluster, from: usize) {
    let to = cluster.entropy.place(cluster.servers.len());
    if to != from {
        cluster.network.cut(from, to);
        cluster.coverage.count(Happening::PartitionedOneWay);
    }
}

fn partition(cluster: &mut Cluster) {
    let side = cluster.entropy.below(1 << cluster.servers.len());
    cut(cluster, |slot| side & (1 << slot) != 0);
    cluster.coverage.count(Happening::PartitionedInTwo);
}

/// Only over one server are the two sides connected: both may hear of each other, and neither reaches a majority without it.
fn bridge(cluster: &mut Cluster, middle: usize) {
    let side = cluster.entropy.below(1 << cluster.servers.len());
    for from in (0..cluster.servers.len()).filter(|from| *from != middle) {
        for to in (0..cluster.servers.len()).filter(|to| *to != middle && side >> to & 1 != side >> from & 1) {
            cluster.network.cut(from, to);
            cluster.coverage.count(Happening::Bridged);
        }
    }
}

/// Some links, each way by itself, come and go until then.
fn begin_to_flap(cluster: &mut Cluster, until: Time) {
    let everyone = u8::MAX >> (SERVERS_MAX - cluster.servers.len());
    let links = std::array::from_fn(|_| u8::try_from(cluster.entropy.below(1 << SERVERS_MAX)).unwrap_or(0) & everyone);
    let number = cluster.network.start_flapping(links);
    let pause = 1 + cluster.entropy.below(until.saturating_sub(cluster.now) / 2);
    cluster.queue.push(cluster.now, Item::Flap(Flap { number, pause, until }));
}

/// Nothing crosses the line between the two sides any more.
fn cut(cluster: &mut Cluster, side: impl Fn(usize) -> bool) {
    for from in 0..cluster.servers.len() {
        for to in (0..cluster.servers.len()).filter(|to| side(*to) != side(from)) {
            cluster.network.cut(from, to);
        }
    }
}

fn time_out(cluster: &mut Cluster) {
    for server in &mut cluster.servers {
        if let Some(raft) = server.raft.as_mut().filter(|_| cluster.entropy.flip()) {
            let ticks = cluster.entropy.between_u32(0, 2);
            raft.set_election_timeout(ticks);
            cluster.trace.event(cluster.now, server.id, format_args!("timeout in {ticks}"));
            cluster.coverage.count(Happening::TimeoutForced);
        }
    }
}

/// When links that come and go do so, and through when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flap {
    /// Which of all that ever flapped.
    pub(crate) number: u32,
    pub(crate) pause: Time,
    pub(crate) until: Time,
}

/// Links come or go, until their time is over or the network is mended.
pub(crate) fn flap(cluster: &mut Cluster, flap: Flap) {
    if cluster.network.flap(flap.number, cluster.now < flap.until) {
        cluster.coverage.count(Happening::LinkFlapped);
        let at = (cluster.now + flap.pause).min(flap.until);
        cluster.queue.push(at, Item::Flap(flap));
    }
}
