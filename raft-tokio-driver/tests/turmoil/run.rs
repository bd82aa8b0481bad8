//! One simulation, from its seed to its report: a time of faults, then a time in which all must be well again.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use raft_std_driver::storage::sim::SimDisk;
use tokio::sync::Notify;
use turmoil::{Builder, Sim};

use crate::clients::{self, Client};
use crate::disk::Witnessed;
use crate::host::{Host, Limits, name};
use crate::lab::Lab;
use crate::nemesis::Nemesis;
use crate::net::Net;

/// A step is a millisecond of virtual time.
const FAULTY_STEPS: u64 = 6_000;
/// So long after the last fault all must agree, and have taken new writes.
const HEALING_STEPS: u64 = 15_000;

/// What became of a simulation.
pub(crate) struct Report {
    pub(crate) trace: Vec<String>,
    pub(crate) happened: BTreeMap<&'static str, u64>,
    pub(crate) failure: Option<String>,
}

impl Report {
    pub(crate) fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.trace.hash(&mut hasher);
        hasher.finish()
    }
}

thread_local! {
    /// What a panic on this thread has said: most of them are caught by somebody.
    static PANIC: Cell<Option<String>> = const { Cell::new(None) };
}

fn keep_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let tell = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANIC.set(Some(panic.to_string()));
            tell(panic);
        }));
    });
    PANIC.set(None);
}

/// A runtime that is dropped drops its tasks in an order that depends on their ids modulo a small power of two, and these
/// count up in the whole process: a run has the process for itself, and begins with an id that depends on nothing.
fn alone() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let next_id = || runtime.spawn(async {}).id().to_string().parse::<u64>().expect("ids are numbers");
    while next_id() % 64 != 0 {}
    alone
}

pub(crate) fn run(seed: u64) -> Report {
    let _alone = alone();
    keep_panics();
    let mut random = fastrand::Rng::with_seed(seed);
    let count = if random.u8(..) < 64 { 5 } else { 3 };
    let lab = Lab::new(count);
    let mut sim = simulation(&mut random);
    let hosts = hosts(&mut sim, &mut random, &lab, count);
    for me in 0..clients::COUNT {
        let (lab, random) = (lab.clone(), random.fork());
        let client = Cell::new(Some(Client { me, hosts: count, lab, random }));
        sim.host(format!("client{me}"), move || {
            let client = client.take().expect("clients start once");
            async move {
                client.run().await;
                Ok(())
            }
        });
    }
    let mut nemesis = Nemesis::draw(random.fork(), count);
    lab.state().nap_ms_max = nemesis.usual_nap_ms();
    let failure = play(&mut sim, &mut nemesis, &lab, &hosts);
    // Nothing of a node may outlive the runtime that it runs on.
    (0..count).for_each(|host| lab.set_node(host, None));
    drop((sim, hosts));
    let failure = failure.err().or_else(|| PANIC.take());
    let mut state = lab.state();
    Report { trace: std::mem::take(&mut state.trace), happened: std::mem::take(&mut state.happened), failure }
}

fn simulation<'a>(random: &mut fastrand::Rng) -> Sim<'a> {
    Builder::new()
        .rng_seed(random.u64(..))
        .epoch(UNIX_EPOCH)
        .tick_duration(Duration::from_millis(1))
        .simulation_duration(Duration::MAX)
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(random.u64(2..20)))
        .tcp_capacity(4096)
        .enable_random_order()
        .build()
}

fn hosts(sim: &mut Sim<'_>, random: &mut fastrand::Rng, lab: &Lab, count: usize) -> Vec<Host> {
    let net = Net::new(lab, Duration::from_millis(random.u64(100..800)));
    let limits = Limits::draw(random);
    let seed = random.u64(..);
    let make = |host: usize| {
        let disk = SimDisk::new();
        Witnessed::init(&disk, host, count).expect("an empty disk");
        let (lab, net) = (lab.clone(), Arc::clone(&net));
        let server = Host {
            host,
            hosts: count,
            seed,
            lab,
            net,
            disk,
            stop: Arc::new(Notify::new()),
            disk_fails: Rc::new(Cell::new(false)),
            limits,
            lives: Rc::new(Cell::new(0)),
        };
        let process = server.clone();
        sim.host(name(host), move || process.clone().live());
        server
    };
    lab.say("--", format_args!("{count} servers, {limits:?}"));
    (0..count).map(make).collect()
}

fn play(sim: &mut Sim<'_>, nemesis: &mut Nemesis, lab: &Lab, hosts: &[Host]) -> Result<(), String> {
    let step = |sim: &mut Sim<'_>| {
        let stepped = sim.step().map_err(|why| why.to_string());
        lab.listen(sim.elapsed());
        lab.state().violation.take().or_else(|| PANIC.take()).map_or(Ok(()), Err)?;
        stepped.map(drop)
    };
    for at in 0..FAULTY_STEPS {
        nemesis.act(at, sim, hosts);
        step(sim)?;
    }
    lab.say("--", "all faults end");
    nemesis.end(sim, hosts);
    lab.state().healed = true;
    for at in 0..HEALING_STEPS {
        // Who was about to stop when the faults ended does so now.
        if at % 100 == 0 {
            nemesis.end(sim, hosts);
        }
        step(sim)?;
        let state = lab.state();
        let history = &state.oracles.history;
        if state.clients_done == clients::COUNT && hosts.iter().all(|server| history.is_whole(server.host)) {
            let machines: Vec<_> = state.machines.iter().map(|machine| machine.now().clone()).collect();
            return state.oracles.finish(&machines);
        }
    }
    let state = lab.state();
    let behind: Vec<_> = hosts.iter().filter(|s| !state.oracles.history.is_whole(s.host)).map(|s| s.host + 1).collect();
    let clients = clients::COUNT - state.clients_done;
    Err(format!("liveness: {HEALING_STEPS} ms after the faults {clients} clients wait, and behind are {behind:?}"))
}
