//! Makes trouble between the steps of a simulation. Each seed draws which faults it knows and how often they strike.

use raft_std_driver::storage::sim::Fate;
use turmoil::Sim;

use crate::host::{Host, name};

pub(crate) const CUT: &str = "partition of two";
pub(crate) const CUT_ONE_WAY: &str = "partition in one direction";
pub(crate) const ISOLATE: &str = "partition from all";
pub(crate) const HOLD: &str = "delay of all between two";
pub(crate) const HEAL: &str = "network healed";
pub(crate) const LOSSY: &str = "network becomes lossy";
pub(crate) const POWER_LOST: &str = "power cut, nothing unsynced kept";
pub(crate) const POWER_TORN: &str = "power cut, unsynced torn";
pub(crate) const KILL: &str = "process killed";
pub(crate) const KILL_AND_START: &str = "process killed and started at once";
pub(crate) const RESTART_IN_ELECTION: &str = "power cut and start during an election";
pub(crate) const SILENT_POWER_CUT: &str = "power cut that no peer hears of";
pub(crate) const POWER_GOES_DURING_WRITES: &str = "power goes during writes";
pub(crate) const SYNCS_FAIL: &str = "syncs fail";
pub(crate) const CLEAN_STOP: &str = "clean stop";
pub(crate) const ALL_DOWN: &str = "power cut of all";
pub(crate) const SLOW_DISKS: &str = "disks become slow";

/// What can be drawn.
const FAULTS: [&str; 15] = [
    CUT,
    CUT_ONE_WAY,
    ISOLATE,
    HOLD,
    HEAL,
    LOSSY,
    POWER_LOST,
    POWER_TORN,
    KILL,
    KILL_AND_START,
    SILENT_POWER_CUT,
    POWER_GOES_DURING_WRITES,
    SYNCS_FAIL,
    CLEAN_STOP,
    SLOW_DISKS,
];

pub(crate) struct Nemesis {
    random: fastrand::Rng,
    /// As often as it is drawn.
    faults: Vec<&'static str>,
    /// The longest pause between two faults and the longest time that a server is down, in steps.
    pause_max: u64,
    down_max: u64,
    next_at: u64,
    /// When servers that do not run start again.
    start_at: Vec<Option<u64>>,
    usual_nap_ms: u64,
    /// Of 256 campaigns so many see a server restart.
    election_odds: u8,
    campaigns_seen: u64,
    restart_at: Option<u64>,
}

impl Nemesis {
    pub(crate) fn draw(mut random: fastrand::Rng, hosts: usize) -> Nemesis {
        let mut faults = vec![HEAL];
        for fault in FAULTS {
            let times = if random.bool() { random.usize(1..5) } else { 0 };
            faults.extend(std::iter::repeat_n(fault, times));
        }
        if random.u8(..) < 64 {
            faults.push(ALL_DOWN);
        }
        let (pause_max, down_max) = (random.u64(50..900), random.u64(20..1200));
        let usual_nap_ms = random.u64(0..20);
        let election_odds = if random.bool() { random.u8(..) } else { 0 };
        Nemesis {
            random,
            faults,
            pause_max,
            down_max,
            next_at: 300,
            start_at: vec![None; hosts],
            usual_nap_ms,
            election_odds,
            campaigns_seen: 0,
            restart_at: None,
        }
    }

    /// How long the parts of a node may sleep when nothing is wrong.
    pub(crate) fn usual_nap_ms(&self) -> u64 {
        self.usual_nap_ms
    }

    pub(crate) fn act(&mut self, step: u64, sim: &mut Sim<'_>, hosts: &[Host]) {
        self.start_again(step, sim, hosts);
        self.disturb_elections(step, sim, hosts);
        if step < self.next_at {
            return;
        }
        self.next_at = step + self.random.u64(1..=self.pause_max);
        let fault = self.faults[self.random.usize(0..self.faults.len())];
        let victim = self.victim(hosts);
        self.strike(fault, victim, sim, hosts);
    }

    /// Votes are what a server most needs to remember, and only for a moment.
    fn disturb_elections(&mut self, step: u64, sim: &mut Sim<'_>, hosts: &[Host]) {
        let campaigns = hosts[0].lab.state().campaigns;
        if campaigns > self.campaigns_seen && self.random.u8(..) < self.election_odds {
            self.restart_at = Some(step + self.random.u64(0..60));
        }
        self.campaigns_seen = campaigns;
        if self.restart_at.take_if(|at| *at <= step).is_none() {
            return;
        }
        let server = &hosts[self.random.usize(0..hosts.len())];
        if sim.is_host_running(name(server.host)) {
            power_cut(sim, server, Fate::Lost);
            self.start(sim, server);
            tell(server, RESTART_IN_ELECTION);
        }
    }

    /// Every second time the leader, if there is one.
    fn victim(&mut self, hosts: &[Host]) -> usize {
        let any = self.random.usize(0..hosts.len());
        if self.random.bool() { hosts[0].lab.leader().unwrap_or(any) } else { any }
    }

    /// Servers that do not run start a while after that was noticed, with power.
    fn start_again(&mut self, step: u64, sim: &mut Sim<'_>, hosts: &[Host]) {
        for server in hosts {
            if sim.is_host_running(name(server.host)) {
                continue;
            }
            match self.start_at[server.host] {
                None => self.start_at[server.host] = Some(step + self.random.u64(1..=self.down_max)),
                Some(at) if at <= step => self.start(sim, server),
                Some(_) => {}
            }
        }
    }

    fn start(&mut self, sim: &mut Sim<'_>, server: &Host) {
        self.start_at[server.host] = None;
        server.disk_fails.set(false);
        if server.disk.is_stopped() {
            server.disk.power_cycle(self.fate());
        }
        server.disk.end_process();
        sim.bounce(name(server.host));
    }

    fn fate(&mut self) -> Fate {
        match self.random.u8(0..3) {
            0 => Fate::Lost,
            1 => Fate::Kept,
            _ => Fate::Torn(self.random.u64(..)),
        }
    }

    fn strike(&mut self, fault: &'static str, victim: usize, sim: &mut Sim<'_>, hosts: &[Host]) {
        let server = &hosts[victim];
        let other = &hosts[(victim + self.random.usize(1..hosts.len())) % hosts.len()];
        let (me, peer) = (name(victim), name(other.host));
        let running = sim.is_host_running(&*me);
        match fault {
            CUT => cut(sim, server, other),
            CUT_ONE_WAY => {
                pass(sim, server, other);
                server.net.breaks(victim, other.host);
                let (from, to) = if self.random.bool() { (me, peer) } else { (peer, me) };
                sim.partition_oneway(from, to);
            }
            ISOLATE => each_other(server, hosts, |other| cut(sim, server, other)),
            HOLD => {
                pass(sim, server, other);
                sim.hold(me, peer);
            }
            HEAL => heal(sim, hosts),
            LOSSY => server.net.set_loss(self.random.u32(1..300)),
            ALL_DOWN => {
                for server in hosts {
                    sim.crash(name(server.host));
                    server.disk.power_cycle(self.fate());
                }
            }
            SLOW_DISKS => server.lab.state().nap_ms_max = self.random.u64(50..700),
            _ if !running => return,
            POWER_LOST => power_cut(sim, server, Fate::Lost),
            POWER_TORN => power_cut(sim, server, Fate::Torn(self.random.u64(..))),
            SILENT_POWER_CUT => {
                each_other(server, hosts, |other| cut(sim, server, other));
                power_cut(sim, server, self.fate());
                each_other(server, hosts, |other| pass(sim, server, other));
            }
            KILL => {
                sim.crash(me);
                server.disk.end_process();
            }
            KILL_AND_START => {
                server.disk_fails.set(false);
                server.disk.end_process();
                sim.bounce(me);
            }
            POWER_GOES_DURING_WRITES => {
                server.disk_fails.set(true);
                server.disk.stop_after(self.random.u64(0..40));
            }
            SYNCS_FAIL => {
                server.disk_fails.set(true);
                server.disk.fail_syncs(true);
            }
            CLEAN_STOP => server.stop.notify_one(),
            _ => unreachable!("{fault} is not known"),
        }
        tell(server, fault);
    }

    /// All faults end: who is down starts, the network heals.
    pub(crate) fn end(&mut self, sim: &mut Sim<'_>, hosts: &[Host]) {
        heal(sim, hosts);
        for server in hosts {
            server.lab.state().nap_ms_max = self.usual_nap_ms;
            if server.disk_fails.get() && sim.is_host_running(name(server.host)) {
                sim.crash(name(server.host));
            }
            if !sim.is_host_running(name(server.host)) {
                self.start(sim, server);
            }
        }
    }
}

fn tell(server: &Host, what: &'static str) {
    server.lab.count(what);
    server.lab.say("--", format_args!("{what} (s{})", server.host + 1));
}

fn each_other(server: &Host, hosts: &[Host], act: impl FnMut(&Host)) {
    hosts.iter().filter(|other| other.host != server.host).for_each(act);
}

fn power_cut(sim: &mut Sim<'_>, server: &Host, fate: Fate) {
    sim.crash(name(server.host));
    server.disk.power_cycle(fate);
}

fn cut(sim: &Sim<'_>, one: &Host, other: &Host) {
    pass(sim, one, other);
    one.net.breaks(one.host, other.host);
    sim.partition(name(one.host), name(other.host));
}

/// Let everything through between the two.
fn pass(sim: &Sim<'_>, one: &Host, other: &Host) {
    sim.release(name(one.host), name(other.host));
    sim.repair(name(one.host), name(other.host));
    one.net.heals(one.host, other.host);
}

fn heal(sim: &Sim<'_>, hosts: &[Host]) {
    for one in hosts {
        each_other(one, hosts, |other| pass(sim, one, other));
        one.net.set_loss(0);
    }
}
