//! The faults that befall whole servers and links: crashes, partitions, stalled disks, pauses, stopped clocks.

use std::vec::Vec;

use super::cluster::Cluster;
use super::coverage::Happening;
use super::entropy::Entropy;
use super::queue::Time;

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
    StallDisk,
    Pause,
    StopClock,
    /// Some election timers run out, at about the same time perhaps.
    TimeOut,
}

const FAULTS: [Fault; 10] = [
    Fault::Crash,
    Fault::CrashBetweenActions,
    Fault::CrashAll,
    Fault::Partition,
    Fault::CutOneWay,
    Fault::Isolate,
    Fault::StallDisk,
    Fault::Pause,
    Fault::StopClock,
    Fault::TimeOut,
];

pub(crate) struct Nemesis {
    /// What this run has to bear, never nothing.
    faults: Vec<Fault>,
    /// The longest time between two faults.
    pub(crate) pause: Time,
    /// The longest time that a fault lasts.
    longest: Time,
}

impl Nemesis {
    pub(crate) fn new(entropy: &mut Entropy, pause: Time, longest: Time) -> Nemesis {
        let mut faults: Vec<Fault> = FAULTS.into_iter().filter(|_| entropy.flip()).collect();
        faults.insert(0, Fault::Mend);
        Nemesis { faults, pause, longest }
    }

    /// How long crashed servers stay down.
    pub(crate) fn downtime(&self) -> (Time, Time) {
        (0, self.longest)
    }

    pub(crate) fn strike(&self, cluster: &mut Cluster) {
        // Who is cut off sees nothing of other faults: every second strike on a cut network mends it.
        let mend = cluster.network.is_cut() && cluster.entropy.flip();
        let fault = if mend { Fault::Mend } else { self.faults[cluster.entropy.place(self.faults.len())] };
        let victim = self.victim(cluster);
        cluster.trace.remark(format_args!("{fault:?}, if of one server then of s{}", cluster.servers[victim].id));
        let until = cluster.now + cluster.entropy.between(1, self.longest);
        let up = cluster.servers[victim].is_up();
        match fault {
            Fault::Mend => {
                cluster.network.mend();
                cluster.coverage.count(Happening::Mended);
            }
            Fault::Crash => cluster.crash(victim),
            Fault::CrashBetweenActions => {
                let actions = cluster.entropy.below(6);
                cluster.servers[victim].crash_in.get_or_insert(actions);
            }
            Fault::CrashAll => {
                (0..cluster.servers.len()).for_each(|slot| cluster.crash(slot));
                cluster.coverage.count(Happening::CrashedAll);
            }
            Fault::Partition => partition(cluster),
            Fault::CutOneWay => {
                let other = cluster.entropy.place(cluster.servers.len());
                if other != victim {
                    cluster.network.cut(victim, other);
                    cluster.coverage.count(Happening::PartitionedOneWay);
                }
            }
            Fault::Isolate => {
                cut(cluster, |slot| slot == victim);
                cluster.coverage.count(Happening::ServerIsolated);
            }
            Fault::StallDisk => {
                cluster.servers[victim].disk.stalled_until = until;
                cluster.coverage.count(Happening::DiskStalled);
            }
            Fault::Pause if up => {
                cluster.servers[victim].paused_until = until;
                cluster.coverage.count(Happening::Paused);
            }
            Fault::StopClock if up => {
                cluster.servers[victim].clock_stopped_until = until;
                cluster.coverage.count(Happening::ClockStopped);
            }
            Fault::Pause | Fault::StopClock => {}
            Fault::TimeOut => time_out(cluster),
        }
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

fn partition(cluster: &mut Cluster) {
    let side = cluster.entropy.below(1 << cluster.servers.len());
    cut(cluster, |slot| side & (1 << slot) != 0);
    cluster.coverage.count(Happening::PartitionedInTwo);
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
