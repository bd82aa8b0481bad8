//! What a run is made of: every number drawn, small limits likely, and a mix of faults of its own for each run.

use std::vec::Vec;

use super::clients::{COMMAND_BYTES_MIN, Workload};
use super::cluster::Temper;
use super::disk::DiskTemper;
use super::duties::TransferTemper;
use super::entropy::{Entropy, Odds};
use super::machine::MachineTemper;
use super::moves::Moves;
use super::nemesis::Nemesis;
use super::network::Weather;
use super::paging::FetchTemper;
use super::queue::{TICK, Time};
use super::server::{Beginning, Clock, Seat};
use crate::{Config, NodeId};

/// The most first members that a run draws or is given.
const FOUNDERS_MAX: usize = 5;

pub(crate) struct Plan {
    /// The first members, then those who belong to no cluster yet.
    pub(crate) seats: Vec<Seat>,
    /// How many moments a tick lasts on each server's clock.
    pub(crate) periods: Vec<Time>,
    pub(crate) temper: Temper,
    pub(crate) workload: Workload,
    pub(crate) nemesis: Nemesis,
    /// Changes of the membership, and lost disks.
    pub(crate) moves: Option<Moves>,
    /// The faulty phase ends after so many steps of all cores, or so many ticks.
    pub(crate) steps: u64,
    pub(crate) ticks: u64,
}

impl Temper {
    /// How everything behaves when faults have stopped.
    pub(crate) const CALM: Temper = Temper {
        weather: Weather::FAIR,
        disk: DiskTemper::FAST,
        machine: MachineTemper::FAST,
        transfer: TransferTemper::FAST,
        fetches: FetchTemper::FAST,
    };

    /// Slow enough, for a timeout of so many moments, to be in the way of elections; far too slow now and then.
    fn draw(entropy: &mut Entropy, timeout: Time) -> Temper {
        let mut longest = || if entropy.below(8) == 7 { 2 * timeout } else { timeout / 4 };
        let (delay, latency) = (longest(), longest());
        Temper {
            weather: Weather::draw(entropy, delay, timeout),
            disk: DiskTemper::draw(entropy, latency),
            machine: MachineTemper::draw(entropy),
            transfer: TransferTemper::draw(entropy),
            fetches: FetchTemper::draw(entropy),
        }
    }
}

impl Plan {
    pub(crate) fn draw(entropy: &mut Entropy, founders: Option<usize>) -> Plan {
        let drawn = [3, 5, 3, 5, 3, 4, 2, 1][entropy.place(8)];
        let founders = founders.unwrap_or(drawn).clamp(1, FOUNDERS_MAX);
        let count = founders + [0, 0, 1, 2][entropy.place(4)];
        let common = config(entropy);
        let alike = !entropy.chance(Odds::percent(25));
        let seats = (1..=count as u64).map(|id| {
            let limits = if alike { common.clone() } else { limits(entropy, &common) };
            let clock = clock(entropy, common.heartbeat_ticks);
            let beginning = match id {
                _ if id <= founders as u64 => Beginning::Founder,
                _ if entropy.flip() => Beginning::LateSpare,
                _ => Beginning::Spare,
            };
            Seat { config: Config { id: NodeId(id), ..limits }, clock, beginning }
        });
        let seats: Vec<Seat> = seats.collect();
        let exact = entropy.flip();
        let period = |_| if exact { TICK } else { entropy.between(TICK / 2, 2 * TICK) };
        let periods = (0..count).map(period).collect();
        let plan = Plan {
            seats,
            periods,
            temper: Temper::draw(entropy, u64::from(common.election_ticks_min) * TICK),
            workload: Workload::draw(entropy),
            nemesis: Nemesis::draw(entropy, &common),
            moves: None,
            steps: entropy.magnitude(500, 8000),
            ticks: 3000,
        };
        match Moves::draw(&mut entropy.split(), &common) {
            Some(moves) => plan.with_moves(moves, &common),
            None => plan,
        }
    }

    /// What changes of the membership and lost disks ask of servers; and one more spare perhaps.
    fn with_moves(mut self, moves: Moves, common: &Config) -> Plan {
        if moves.spare {
            let config = Config { id: NodeId(self.seats.len() as u64 + 1), ..common.clone() };
            self.seats.push(Seat { config, clock: Clock::Steady, beginning: Beginning::Spare });
            self.periods.push(TICK);
        }
        for Seat { config, .. } in &mut self.seats {
            let Moves { wiped, record_disks, farewell_ticks, .. } = moves;
            *config = Config { wiped, record_disks, farewell_ticks, ..config.clone() };
        }
        Plan { moves: Some(moves), ..self }
    }
}

fn clock(entropy: &mut Entropy, heartbeat_ticks: u32) -> Clock {
    match entropy.below(6) {
        0 => Clock::Coarse(entropy.between_u32(2, heartbeat_ticks.max(2) + 1)),
        1 | 2 => Clock::Sleepy,
        _ => Clock::Steady,
    }
}

/// One to three in every second draw.
fn limit(entropy: &mut Entropy, most: u64) -> u64 {
    if entropy.flip() { entropy.between(1, 3) } else { entropy.magnitude(1, most) }
}

fn ticks(entropy: &mut Entropy, most: u64) -> u32 {
    u32::try_from(limit(entropy, most)).unwrap_or(u32::MAX)
}

fn config(entropy: &mut Entropy) -> Config {
    let heartbeat_ticks = ticks(entropy, 8);
    let election_ticks_min = heartbeat_ticks + ticks(entropy, 24);
    let clocks = Config {
        seed: entropy.below(1 << 32),
        heartbeat_ticks,
        election_ticks_min,
        election_ticks_max: election_ticks_min + ticks(entropy, 24),
        leader_noop: entropy.below(4) > 0,
        ..Config::new(NodeId(0))
    };
    limits(entropy, &clocks)
}

/// The same clocks, and limits of its own.
fn limits(entropy: &mut Entropy, clocks: &Config) -> Config {
    let most_bytes = 1 << 12;
    let least = COMMAND_BYTES_MIN as u64;
    Config {
        append_entries_max: limit(entropy, 64),
        append_bytes_max: limit(entropy, most_bytes),
        inflight_appends_max: limit(entropy, 32),
        inflight_bytes_max: limit(entropy, most_bytes),
        command_bytes_max: entropy.between(least, least + 80),
        backlog_bytes_max: limit(entropy, 1 << 14),
        unpersisted_bytes_max: limit(entropy, most_bytes),
        apply_bytes_max: limit(entropy, most_bytes),
        trailing_entries: limit(entropy, 64) - 1,
        transfer_bytes_max: limit(entropy, most_bytes),
        reads_max: limit(entropy, 32),
        // Every second run keeps all of its log in memory.
        resident_bytes_max: if entropy.flip() { limit(entropy, most_bytes) } else { u64::MAX },
        disk_stall_ticks: ticks(entropy, 128),
        snapshot_timeout_ticks: ticks(entropy, 128),
        // One in eight should rather not lead.
        handicap_ticks: if entropy.below(8) == 7 { ticks(entropy, 24) } else { 0 },
        ..clocks.clone()
    }
}

impl Nemesis {
    fn draw(entropy: &mut Entropy, config: &Config) -> Nemesis {
        let timeout = u64::from(config.election_ticks_max) * TICK;
        let pause = entropy.magnitude(timeout / 2, 32 * timeout);
        let longest = entropy.magnitude(TICK, 16 * timeout);
        Nemesis::new(entropy, pause, longest)
    }
}
