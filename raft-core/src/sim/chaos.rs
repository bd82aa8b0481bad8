//! A run: a faulty phase in which nothing may go wrong, then a calm one in which all must go right.

use std::boxed::Box;
use std::cmp::Ordering;
use std::fmt;
use std::format;
use std::string::String;
use std::vec::Vec;

use super::account::Account;
use super::clients::{COMMAND_BYTES_MIN, CommandId, Outcome};
use super::cluster::{Cluster, Temper};
use super::coverage::{Coverage, Happening};
use super::entropy::Entropy;
use super::moves;
use super::plan::Plan;
use super::queue::{TICK, Time};
use super::reads;
use super::script::{SHRINK_COMMANDS, Shrunk, settings, shrink_script};
use super::server::{Beginning, Clock};
use super::trace::Trace;
use super::violation::{Verdict, Violation};
use crate::{Event, NodeId};

/// What may be said about a run beside its entropy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// How many first members, from 1 through 5; drawn, if it is not said. Others may wait to be added.
    pub servers: Option<usize>,
    /// Print every event and action.
    pub trace: bool,
}

/// A run in which all went well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Steps of all cores.
    pub steps: u64,
    /// Virtual ticks of the whole run.
    pub ticks: u64,
    /// Virtual ticks from the end of all faults until all had converged.
    pub healing_ticks: u64,
    /// A digest of everything that happened: the same entropy gives the same.
    pub trace_hash: u64,
    /// What happened.
    pub coverage: Coverage,
}

/// A run in which an invariant was broken.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Which, and how.
    pub violation: Violation,
    /// When, in virtual ticks.
    pub tick: u64,
    /// On which server.
    pub server: NodeId,
    /// Steps of all cores until then.
    pub steps: u64,
    /// The last events and actions.
    pub story: Vec<String>,
    /// How to see it again, whole.
    pub replay: String,
    /// Where its choices came from.
    entropy: Entropy,
    options: Options,
}

impl Failure {
    /// The story of the run cut down to what it takes to break the same invariant, as a script that may be put into
    /// `tests/scripts`. Takes seconds. Nothing, if it is time that breaks it: a script has none.
    #[must_use]
    pub fn shrunk(&self) -> Option<Shrunk> {
        let shrunk = shrink_script(&story(self.entropy.clone(), self.options), SHRINK_COMMANDS);
        shrunk.filter(|shrunk| shrunk.violation.invariant == self.violation.invariant)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.story.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        writeln!(
            f,
            "broken at tick {}, step {}, on server {}: {}",
            self.tick, self.steps, self.server, self.violation
        )?;
        let shrunk = self.replay.strip_suffix(" --trace").unwrap_or(&self.replay);
        write!(f, "replay: {}\ncut it down to a script: {shrunk}", self.replay)
    }
}

impl std::error::Error for Failure {}

/// Run all that `seed` says. With `SIM_TRACE=1` in the environment, every event and action is printed.
///
/// # Errors
/// If an invariant was broken: which, where, the story that led to it, and how to see it again.
pub fn run_seed(seed: u64, options: Options) -> Result<Report, Box<Failure>> {
    run(&Entropy::from_seed(seed), options, || replay(&format!("--seed {seed}"), options))
}

/// As [`run_seed`], with bytes for a seed: for a fuzzer.
///
/// # Errors
/// As [`run_seed`].
pub fn run_bytes(bytes: &[u8], options: Options) -> Result<Report, Box<Failure>> {
    run(&Entropy::from_bytes(bytes), options, || {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        replay(&format!("--bytes '{hex}'"), options)
    })
}

/// The bytes with which [`run_bytes`] does what [`run_seed`] does, or the first `wanted` of them: a run that begins the
/// same and then comes to rest.
#[must_use]
pub fn bytes_of_seed(seed: u64, options: Options, wanted: usize) -> Vec<u8> {
    let mut chaos = Chaos::new(Entropy::recorded(seed, wanted), options, Trace::off());
    // Whether all goes well is for those to say who run it.
    let _ = chaos.run();
    let mut bytes = chaos.cluster.entropy.into_record();
    bytes.truncate(wanted);
    bytes
}

/// The story of a seed as a script (`docs/scripts.md`), to its end or to where an invariant is broken: it may be put into a
/// file, cut down, and run by itself.
#[must_use]
pub fn script_of_seed(seed: u64, options: Options) -> String {
    story(Entropy::from_seed(seed), options)
}

fn story(entropy: Entropy, options: Options) -> String {
    let mut chaos = Chaos::new(entropy, options, Trace::all());
    if let Err(violation) = chaos.run() {
        chaos.cluster.trace.remark(violation);
    }
    chaos.cluster.trace.take().join("\n") + "\n"
}

fn replay(entropy: &str, options: Options) -> String {
    let servers = options.servers.map(|count| format!(" --servers {count}")).unwrap_or_default();
    format!("cargo run --release -p raft-core --features sim --example chaos -- {entropy}{servers} --trace")
}

/// A failed run is run again, to tell its story: nobody pays for stories of runs that go well.
fn run(entropy: &Entropy, options: Options, replay: impl Fn() -> String) -> Result<Report, Box<Failure>> {
    let print = options.trace || std::env::var_os("SIM_TRACE").is_some_and(|value| value == "1");
    let trace = if print { Trace::print() } else { Trace::off() };
    let mut chaos = Chaos::new(entropy.clone(), options, trace);
    let Err(violation) = chaos.run() else { return Ok(chaos.report()) };
    let mut again = Chaos::new(entropy.clone(), options, Trace::newest());
    let same = again.run();
    debug_assert_eq!(same, Err(violation.clone()), "a run is the same every time");
    let cluster = &chaos.cluster;
    Err(Box::new(Failure {
        violation: *violation,
        tick: cluster.now / TICK,
        server: cluster.servers[cluster.busy].id,
        steps: cluster.steps,
        story: again.cluster.trace.take(),
        replay: replay(),
        entropy: entropy.clone(),
        options,
    }))
}

struct Chaos {
    cluster: Cluster,
    plan: Plan,
    healed_at: Time,
}

impl Chaos {
    fn new(mut entropy: Entropy, options: Options, trace: Trace) -> Chaos {
        let plan = Plan::draw(&mut entropy, options.servers);
        let mut cluster = Cluster::new(plan.seats.clone(), plan.temper, entropy, trace);
        cluster.downtime = plan.nemesis.downtime();
        if let Some(moves) = &plan.moves {
            cluster.account = Account::new(moves.wiped, moves.memory);
        }
        for (server, period) in cluster.servers.iter_mut().zip(&plan.periods) {
            server.period = *period;
            match period.cmp(&TICK) {
                Ordering::Less => cluster.coverage.count(Happening::ClockFast),
                Ordering::Greater => cluster.coverage.count(Happening::ClockSlow),
                Ordering::Equal => {}
            }
        }
        Chaos { cluster, plan, healed_at: 0 }
    }

    fn report(&self) -> Report {
        let cluster = &self.cluster;
        Report {
            steps: cluster.steps,
            ticks: cluster.now / TICK,
            healing_ticks: (cluster.now - self.healed_at) / TICK,
            trace_hash: cluster.digest.0,
            coverage: cluster.coverage.clone(),
        }
    }

    fn run(&mut self) -> Verdict {
        let seats = &self.plan.seats;
        self.cluster.trace.command(|| settings::opening(seats));
        for slot in (0..seats.len()).filter(|slot| seats[*slot].beginning != Beginning::LateSpare) {
            self.cluster.start(slot)?;
        }
        self.storm()?;
        self.heal()?;
        self.converge()
    }

    /// The faulty phase: clients, servers and the nemesis, each in its own rhythm.
    fn storm(&mut self) -> Verdict {
        let (mut request_at, mut strike_at) = (0, self.plan.nemesis.pause);
        let mut move_at = self.plan.moves.map_or(Time::MAX, |moves| moves.pause);
        let end = self.plan.ticks * TICK;
        while self.cluster.steps < self.plan.steps && self.cluster.now < end && !self.cluster.entropy.is_spent() {
            self.cluster.run(request_at.min(strike_at).min(move_at))?;
            let now = self.cluster.now;
            if now == request_at {
                self.request()?;
                request_at = now + self.cluster.entropy.between(1, self.plan.workload.pause);
            }
            if now == strike_at {
                self.plan.nemesis.strike(&mut self.cluster)?;
                strike_at = now + self.cluster.entropy.between(1, self.plan.nemesis.pause);
            }
            if let Some(moves) = self.plan.moves.filter(|_| now == move_at) {
                moves.strike(&mut self.cluster)?;
                move_at = now + self.cluster.entropy.between(1, moves.pause);
            }
        }
        Ok(())
    }

    /// A client comes, to the leader as a rule; if nobody leads it goes away.
    fn request(&mut self) -> Verdict {
        let workload = self.plan.workload;
        if self.cluster.entropy.chance(workload.readers.come) {
            reads::ask(&mut self.cluster, workload.readers)?;
        }
        let entropy = &mut self.cluster.entropy;
        let mut count = entropy.between(1, workload.batch);
        let mut bytes = COMMAND_BYTES_MIN + entropy.place(usize::try_from(workload.padding).unwrap_or_default());
        if entropy.chance(workload.odd) {
            (count, bytes) = if entropy.flip() { (0, bytes) } else { (count, 256) };
        }
        let everywhere = entropy.chance(workload.everywhere);
        let anyone = entropy.place(self.cluster.servers.len());
        let astray = entropy.chance(workload.astray);
        let target = if astray { Some(anyone) } else { self.cluster.leader() };
        if everywhere {
            self.cluster.coverage.count(Happening::StartedEverywhere);
            return (0..self.cluster.servers.len()).try_for_each(|slot| self.start(slot, count, bytes).map(|_| ()));
        }
        let Some(slot) = target else { return Ok(()) };
        let command = self.start(slot, count, bytes)?;
        if self.cluster.entropy.chance(workload.retries) {
            self.insist(command, slot, bytes)?;
        }
        Ok(())
    }

    /// A client that does not give up: it goes from server to server until one takes its command, and it comes back with a
    /// command of which it heard nothing, or nothing good. Each try is a command of its own: sessions are not the core's.
    fn insist(&mut self, mut command: Option<CommandId>, first: usize, bytes: usize) -> Verdict {
        let servers = self.cluster.servers.len();
        for offset in 1..servers {
            let refused = command.is_none_or(|id| self.cluster.clients.outcome(id) == Some(Outcome::Refused));
            if !refused {
                break;
            }
            self.cluster.coverage.count(Happening::ClientWentOn);
            command = self.start((first + offset) % servers, 1, bytes)?;
        }
        let Some(leader) = self.cluster.leader().filter(|_| self.cluster.clients.regret()) else { return Ok(()) };
        self.cluster.coverage.count(Happening::ClientRetried);
        self.start(leader, 1, bytes).map(|_| ())
    }

    /// Feed a request to a server, if it is up and awake. Names its first command.
    fn start(&mut self, slot: usize, count: u64, bytes: usize) -> Verdict<Option<CommandId>> {
        let cluster = &mut self.cluster;
        if cluster.now < cluster.servers[slot].paused_until {
            return Ok(None);
        }
        cluster.catch_up(slot)?;
        // Only what reaches a server has a number.
        if !cluster.servers[slot].is_up() {
            return Ok(None);
        }
        let (request, commands) = cluster.clients.request(count, bytes);
        cluster.step(slot, Event::Start { request, commands })?;
        Ok(CommandId::try_from(request.0).ok())
    }

    /// All faults end, and whoever is down starts.
    fn heal(&mut self) -> Verdict {
        let cluster = &mut self.cluster;
        cluster.trace.remark("all faults end");
        self.healed_at = cluster.now;
        cluster.network.mend();
        cluster.set_temper(Temper::CALM);
        for slot in 0..cluster.servers.len() {
            let server = &mut cluster.servers[slot];
            server.crash_in = None;
            server.was_replaced = false;
            server.paused_until = 0;
            server.clock_stopped_until = 0;
            server.disk.stalled_until = 0;
            server.disk.slow_until = 0;
            server.machine.slow_until = 0;
            server.period = TICK;
            if let Clock::Coarse(_) = server.clock {
                server.clock = Clock::Steady;
            }
            cluster.start(slot)?;
        }
        Ok(())
    }

    /// A leader must stand, take a command, and all must come to the same state, in bounded time (§5.6).
    fn converge(&mut self) -> Verdict {
        let deadline = self.cluster.now + self.patience();
        let mut command = None;
        let mut ask_again_at = 0;
        while self.cluster.now < deadline {
            self.cluster.run(self.cluster.now + TICK)?;
            moves::take_replaced_away(&mut self.cluster)?;
            let applied = command.is_some_and(|id| self.cluster.clients.outcome(id) == Some(Outcome::Applied));
            if applied && self.cluster.oracles.have_converged(&self.cluster.servers) {
                return self.cluster.oracles.finish(&self.cluster.clients);
            }
            // One that stands after the command was applied may need another: without a no-op, only an entry of its own
            // term commits what is before it (§5.4.2).
            if self.cluster.now >= ask_again_at {
                moves::readmit_lost(&mut self.cluster)?;
                if let Some(leader) = self.cluster.leader() {
                    command = self.start(leader, 1, COMMAND_BYTES_MIN)?;
                }
                ask_again_at = self.cluster.now + 8 * u64::from(self.plan.seats[0].config.election_ticks_max) * TICK;
            }
        }
        self.cluster.oracles.diverged(&self.cluster.servers, self.patience() / TICK)
    }

    /// How long the calm phase may take: what is still on its way, elections, a lagging log one entry at a time, and the pauses
    /// of a leader that heals a server which has lost its disk again and again.
    fn patience(&self) -> Time {
        let config = &self.plan.seats[0].config;
        let handicap = self.plan.seats.iter().map(|seat| seat.config.handicap_ticks).max().unwrap_or_default();
        let timeout = u64::from(config.election_ticks_max) + u64::from(handicap);
        let entries = self.cluster.servers.iter().map(|server| server.seen.last.index.0).max().unwrap_or_default();
        let lost = self.cluster.servers.iter().map(|server| server.old_disks().count()).max().unwrap_or_default();
        let pauses = if lost > 0 { timeout << (2 * lost + 1).min(16) } else { 0 };
        let snapshot = self.plan.seats.iter().map(|seat| u64::from(seat.config.snapshot_timeout_ticks)).max();
        TICK * (1000
            + 100 * timeout
            + pauses
            + 4 * snapshot.unwrap_or_default()
            + entries * u64::from(config.heartbeat_ticks + 1))
    }
}
