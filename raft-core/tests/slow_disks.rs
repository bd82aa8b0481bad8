//! Elections on slow disks: whatever a sync takes, below `disk_stall_ticks`, a leader stands within six syncs and six election
//! timeouts, and stays. Each disk syncs one batch at a time; what is written meanwhile waits for the next sync.
//!
//! `SEEDS=1000 cargo test --release -p raft-core --test slow_disks -- --ignored --nocapture` is the long form, which prints
//! the worst of each case.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;

use raft_core::{
    Action, Config, Event, Incarnation, Membership, Message, NodeId, Raft, RequestId, Restored, RoleKind, Status,
    WriteId,
};

/// So many moments make a tick: messages and the ticks of different servers do not come in step.
const TICK: u64 = 10;
const LATENCY_MAX: u64 = 3;

/// What a sync may take, in ticks.
const SYNCS: [u32; 9] = [0, 5, 10, 20, 38, 60, 100, 200, 400];
/// A leader that stands so many of the longest election timeouts is one that stays.
const STAYS_TIMEOUTS: u64 = 10;

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

enum Item {
    Tick,
    Message {
        from: NodeId,
        message: Message,
    },
    /// The running sync ends.
    Synced,
}

struct Server {
    raft: Raft,
    up: bool,
    sync_moments: u64,
    /// The newest write that the running sync covers.
    syncing: Option<WriteId>,
    /// The newest write that waits for the next sync.
    waiting: Option<WriteId>,
}

struct World {
    now: u64,
    /// By time, then by order of coming in.
    queue: BTreeMap<Reverse<(u64, u64)>, (usize, Item)>,
    queued: u64,
    servers: Vec<Server>,
    dice: Dice,
    timeout_ticks: u64,
    /// Whether clients start a command on every server with each tick.
    commands: bool,
}

impl World {
    fn new(seed: u64, syncs: &[u32]) -> World {
        let ids = || (1..=syncs.len() as u64).map(NodeId);
        let mut dice = Dice(seed);
        let server = |(id, ticks): (NodeId, &u32)| {
            let config = Config { seed, ..Config::new(id) };
            assert!(*ticks < config.disk_stall_ticks);
            let restored = Restored::new_cluster(Incarnation(id.0), Membership::new(ids()));
            let raft = Raft::new(config, restored).unwrap();
            Server { raft, up: true, sync_moments: u64::from(*ticks) * TICK, syncing: None, waiting: None }
        };
        let servers: Vec<_> = ids().zip(syncs).map(server).collect();
        let timeout_ticks = u64::from(Config::new(NodeId(1)).election_ticks_max);
        let mut world =
            World { now: 0, queue: BTreeMap::new(), queued: 0, servers, dice: Dice(0), timeout_ticks, commands: false };
        for slot in 0..syncs.len() {
            let phase = dice.below(TICK);
            world.push(phase, slot, Item::Tick);
        }
        world.dice = dice;
        world
    }

    fn push(&mut self, at: u64, slot: usize, item: Item) {
        self.queued += 1;
        self.queue.insert(Reverse((at, self.queued)), (slot, item));
    }

    /// The next thing happens.
    fn go_on(&mut self) {
        let (Reverse((at, _)), (slot, item)) = self.queue.pop_last().expect("ticks never end");
        self.now = at;
        if !self.servers[slot].up {
            return;
        }
        match item {
            Item::Tick => {
                self.push(at + TICK, slot, Item::Tick);
                self.step(slot, Event::Tick { elapsed: 1 });
                if self.commands {
                    self.step(slot, Event::Start { request: RequestId(at), commands: [(&b"x"[..]).into()].into() });
                }
            }
            Item::Message { from, message } => self.step(slot, Event::Receive { from, message }),
            Item::Synced => {
                let done = self.servers[slot].syncing.take().expect("a sync was running");
                self.sync(slot);
                self.step(slot, Event::Persisted(done));
            }
        }
    }

    fn step(&mut self, slot: usize, event: Event) {
        let from = NodeId(slot as u64 + 1);
        for action in self.servers[slot].raft.step(event) {
            match action {
                Action::Send { to, message } => {
                    let at = self.now + 1 + self.dice.below(LATENCY_MAX);
                    self.push(at, usize::try_from(to.0).unwrap() - 1, Item::Message { from, message });
                }
                Action::Persist(write) => {
                    self.servers[slot].waiting = Some(write.id);
                    self.sync(slot);
                }
                Action::Apply(entries) => self.step(slot, Event::Applied(entries.last().unwrap().index)),
                Action::Halt { why } => panic!("{why:?}"),
                _ => {}
            }
        }
    }

    fn sync(&mut self, slot: usize) {
        let server = &mut self.servers[slot];
        if server.syncing.is_none() && server.waiting.is_some() {
            server.syncing = server.waiting.take();
            let at = self.now + server.sync_moments;
            self.push(at, slot, Item::Synced);
        }
    }

    fn status(&self, slot: usize) -> Status<'_> {
        self.servers[slot].raft.status()
    }

    /// The server that leads in the newest term that any server that is up knows.
    fn leader(&self) -> Option<usize> {
        let up = (0..self.servers.len()).filter(|slot| self.servers[*slot].up);
        let newest =
            up.max_by_key(|slot| (self.status(*slot).term(), self.status(*slot).role() == RoleKind::Leader))?;
        (self.status(newest).role() == RoleKind::Leader).then_some(newest)
    }

    fn term(&self) -> u64 {
        (0..self.servers.len()).map(|slot| self.status(slot).term().0).max().unwrap()
    }

    /// Go on for so many ticks, or until a leader stands.
    fn until_leader(&mut self, ticks: u64) -> Option<usize> {
        let until = self.now + ticks * TICK;
        while self.now < until && self.leader().is_none() {
            self.go_on();
        }
        self.leader()
    }
}

/// How long an election took, in ticks and terms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Took {
    ticks: u64,
    terms: u64,
}

/// What happens to a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Story {
    /// All start together.
    Boot,
    /// All but as many as a cluster survives start together.
    BootWithoutMinority,
    /// Some disks are slow, the others take no time.
    BootMixed,
    /// The leader dies under load.
    LeaderDies,
}

const STORIES: [Story; 4] = [Story::Boot, Story::BootWithoutMinority, Story::BootMixed, Story::LeaderDies];

/// One election in a story. Nothing, if no leader stood for ten times as long as it may take.
fn elect(story: Story, count: usize, sync_ticks: u32, seed: u64) -> Option<Took> {
    let mut dice = Dice(seed ^ 0x5107_d15c);
    let mut syncs = vec![sync_ticks; count];
    if story == Story::BootMixed {
        syncs.iter_mut().for_each(|ticks| *ticks *= u32::from(dice.below(2) == 0));
    }
    let mut world = World::new(seed, &syncs);
    let patience = 10 * bound(sync_ticks, world.timeout_ticks);
    match story {
        Story::Boot | Story::BootMixed => {}
        Story::BootWithoutMinority => (count / 2 + 1..count).for_each(|slot| world.servers[slot].up = false),
        Story::LeaderDies => {
            world.commands = true;
            let leader = world.until_leader(patience)?;
            let until = world.now + (u64::from(sync_ticks) * 3 + 50 + dice.below(100)) * TICK;
            while world.now < until {
                world.go_on();
            }
            world.servers[leader].up = false;
        }
    }
    let (began, term) = (world.now, world.term());
    while world.now < began + patience * TICK {
        let leads = world.until_leader(patience)?;
        let took = Took { ticks: (world.now - began) / TICK, terms: world.term() - term };
        let until = world.now + STAYS_TIMEOUTS * world.timeout_ticks * TICK;
        while world.now < until && world.leader() == Some(leads) {
            world.go_on();
        }
        if world.now >= until {
            return Some(took);
        }
    }
    None
}

/// How long an election may take.
fn bound(sync_ticks: u32, timeout_ticks: u64) -> u64 {
    6 * u64::from(sync_ticks) + 6 * timeout_ticks
}

/// The worst of many seeds.
struct Worst {
    story: Story,
    count: usize,
    sync_ticks: u32,
    ticks: u64,
    terms: u64,
    seed: u64,
    never: u64,
    bound: u64,
}

impl fmt::Display for Worst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Worst { story, count, sync_ticks, ticks, terms, seed, never, bound } = self;
        let story = format!("{story:?}");
        write!(f, "{story:<20} {count} servers, sync {sync_ticks:>3}: {ticks:>5} of {bound:>4} ticks (seed {seed}), ")?;
        write!(f, "{terms:>2} terms, {never} never")
    }
}

fn worst(story: Story, count: usize, sync_ticks: u32, seeds: u64) -> Worst {
    let timeout = u64::from(Config::new(NodeId(1)).election_ticks_max);
    let bound = bound(sync_ticks, timeout);
    let mut worst = Worst { story, count, sync_ticks, ticks: 0, terms: 0, seed: 0, never: 0, bound };
    for seed in 0..seeds {
        match elect(story, count, sync_ticks, seed) {
            Some(took) => {
                worst.terms = worst.terms.max(took.terms);
                if took.ticks > worst.ticks {
                    (worst.ticks, worst.seed) = (took.ticks, seed);
                }
            }
            None => (worst.never, worst.seed) = (worst.never + 1, seed),
        }
    }
    worst
}

fn elections_converge(seeds: u64) {
    let mut late = vec![];
    for story in STORIES {
        for count in [3, 5] {
            for sync_ticks in SYNCS {
                let worst = worst(story, count, sync_ticks, seeds);
                println!("{worst}");
                if worst.never > 0 || worst.ticks > worst.bound {
                    late.push(worst.to_string());
                }
            }
        }
    }
    assert!(late.is_empty(), "too late:\n{}", late.join("\n"));
}

#[test]
fn elections_converge_on_slow_disks() {
    elections_converge(10);
}

#[test]
#[ignore = "takes minutes: SEEDS=1000, with --release"]
fn elections_converge_on_slow_disks_in_many_seeds() {
    elections_converge(std::env::var("SEEDS").map_or(1000, |seeds| seeds.parse().unwrap()));
}
