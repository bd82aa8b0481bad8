//! One server and what it stands on.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use raft_std_driver::engine::{Connections, Engine, Setup};
use raft_std_driver::net::LinkConfig;
use raft_std_driver::observer::{NodeEvent, Observer};
use raft_std_driver::peers::{LinkId, Orders, Protection};
use raft_std_driver::raft_core::{Membership, NodeId};
use raft_std_driver::storage::sim::SimDisk;
use raft_std_driver::storage::{Birth, ClusterId, FileOptions};
use raft_std_driver::workers::{Part, Workers};
use raft_std_driver::{Control, NodeConfig};

use crate::machine::{Machine, Shared, State};
use crate::oracle::Oracles;

const OPTIONS: FileOptions = FileOptions { segment_bytes: 8192 };

/// Limits that are small enough to be met.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) append_entries_max: u64,
    pub(crate) inflight_appends_max: u64,
    pub(crate) bytes_max: u64,
    pub(crate) trailing_entries: u64,
    pub(crate) snapshot_log_bytes: u64,
    pub(crate) chunk_bytes: usize,
}

impl Limits {
    pub(crate) fn draw(random: &mut fastrand::Rng) -> Limits {
        Limits {
            append_entries_max: random.u64(1..20),
            inflight_appends_max: random.u64(1..6),
            bytes_max: random.u64(300..3000),
            trailing_entries: random.u64(0..8),
            snapshot_log_bytes: random.u64(300..4000),
            chunk_bytes: random.usize(16..400),
        }
    }

    fn node(self, id: NodeId, seed: u64) -> NodeConfig {
        let mut config = NodeConfig::new(id);
        let raft = &mut config.raft;
        raft.seed = seed;
        (raft.heartbeat_ticks, raft.election_ticks_min, raft.election_ticks_max) = (5, 12, 24);
        (raft.append_entries_max, raft.append_bytes_max) = (self.append_entries_max, self.bytes_max);
        (raft.inflight_appends_max, raft.inflight_bytes_max) = (self.inflight_appends_max, self.bytes_max * 2);
        (raft.command_bytes_max, raft.backlog_bytes_max) = (150, self.bytes_max * 4);
        (raft.unpersisted_bytes_max, raft.apply_bytes_max) = (self.bytes_max * 2, self.bytes_max);
        (raft.trailing_entries, raft.transfer_bytes_max) = (self.trailing_entries, self.bytes_max);
        (raft.disk_stall_ticks, raft.snapshot_timeout_ticks) = (60, 1000);
        (config.snapshot_log_bytes, config.inbox_bytes_max) = (self.snapshot_log_bytes, self.bytes_max);
        config
    }

    fn links(self, config: &NodeConfig, seed: u64) -> LinkConfig {
        let ms = Duration::from_millis;
        LinkConfig {
            batch_bytes: usize::try_from(self.bytes_max).unwrap(),
            chunk_bytes: self.chunk_bytes,
            connect_timeout: ms(200),
            handshake_timeout: ms(300),
            stall_timeout: ms(700),
            confirm_timeout: ms(1500),
            backoff_min: ms(10),
            backoff_max: ms(200),
            seed: Some(seed),
            ..LinkConfig::new(ClusterId(1), &config.raft)
        }
    }
}

/// Parts are polled by the world, when it says so.
#[derive(Default)]
pub(crate) struct Parts(Mutex<Vec<(String, Part)>>);

impl Workers for Parts {
    fn spawn(&self, name: &str, part: Part) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((name.to_owned(), part));
        Ok(())
    }
}

impl Parts {
    /// Let each do what waits for it; those of the disk only if it is not slow now.
    fn poll(&self, context: &mut Context<'_>, disk: bool) {
        let mut parts = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        parts.retain_mut(|(name, part)| {
            let waits = !disk && name.ends_with("-disk");
            waits || part.as_mut().poll(context).is_pending()
        });
        self.0.lock().unwrap_or_else(PoisonError::into_inner).splice(0..0, parts);
    }

    /// The process is gone.
    fn clear(&self) {
        let parts = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        drop(parts);
    }
}

/// Writes down what happens.
pub(crate) struct Witness {
    pub(crate) host: usize,
    pub(crate) news: Shared<Vec<(usize, NodeEvent)>>,
}

impl Observer for Witness {
    fn happened(&self, event: &NodeEvent) {
        self.news.look().push((self.host, event.clone()));
    }
}

/// A server that runs.
pub(crate) struct Life {
    pub(crate) number: u64,
    pub(crate) engine: Engine,
    pub(crate) control: Arc<Control>,
    parts: Arc<Parts>,
    /// Sockets that stand, or (false) whose connection is being made.
    pub(crate) links: BTreeMap<LinkId, bool>,
    /// Those that have bytes which were not taken.
    pub(crate) writing: Vec<LinkId>,
    pub(crate) orders: Orders,
}

pub(crate) struct Host {
    pub(crate) index: usize,
    pub(crate) disk: SimDisk,
    pub(crate) life: Option<Life>,
    pub(crate) lives: u64,
    pub(crate) state: State,
    /// Until then it does nothing.
    pub(crate) paused_until: u64,
    /// Until then its disk does nothing, and how long each of its turns takes.
    pub(crate) disk_busy_until: u64,
    pub(crate) disk_takes: u64,
    /// When it hears where the others are.
    pub(crate) told_at: Option<u64>,
}

impl Host {
    pub(crate) fn new(index: usize, members: usize) -> Host {
        let (disk, node) = (SimDisk::new(), NodeId(index as u64 + 1));
        let membership = Membership::new((1..=members as u64).map(NodeId));
        disk.init(Birth::founder(ClusterId(1), node, membership).with_incarnation(100 + node.0), OPTIONS)
            .map(drop)
            .unwrap();
        let state = State::default();
        Host {
            index,
            disk,
            life: None,
            lives: 0,
            state,
            paused_until: 0,
            disk_busy_until: 0,
            disk_takes: 0,
            told_at: None,
        }
    }

    /// Start it on what its disk kept.
    pub(crate) fn start(
        &mut self,
        peers: &[(NodeId, String)],
        limits: Limits,
        seed: u64,
        now: Instant,
        oracles: &Shared<Oracles>,
        news: &Shared<Vec<(usize, NodeEvent)>>,
    ) -> Result<(), String> {
        self.lives += 1;
        let seed = seed ^ (self.lives << 8 | self.index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let storage = self.disk.open(OPTIONS).map_err(|error| error.to_string())?;
        let config = limits.node(NodeId(self.index as u64 + 1), seed);
        let peers = peers.to_vec();
        let connections =
            Connections::Own { config: Box::new(limits.links(&config, seed)), protection: Protection::Open, peers };
        let parts = Arc::new(Parts::default());
        self.state = State::default();
        let machine = Machine { host: self.index, state: self.state.clone(), oracles: oracles.clone() };
        let observer = Arc::new(Witness { host: self.index, news: news.clone() });
        let workers = Arc::clone(&parts) as Arc<dyn Workers>;
        let setup =
            Setup { config, storage: Box::new(storage), machine: Box::new(machine), connections, workers, observer };
        let (engine, control) = setup.start(now).map_err(|error| error.to_string())?;
        self.life = Some(Life {
            number: self.lives,
            engine,
            control: Arc::new(control),
            parts,
            links: BTreeMap::new(),
            writing: Vec::new(),
            orders: Orders::default(),
        });
        Ok(())
    }

    /// Whatever ran is gone, with what it had in memory.
    pub(crate) fn end(&mut self) {
        if let Some(life) = self.life.take() {
            life.parts.clear();
            drop(life);
        }
    }
}

impl Life {
    /// Deal with what has come in; `false` once the node has stopped.
    pub(crate) fn round(&mut self, now: Instant, disk: bool) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..4 {
            match self.engine.poll(&context, now) {
                Poll::Ready(true) => {}
                Poll::Ready(false) => return false,
                Poll::Pending => break,
            }
        }
        self.parts.poll(&mut context, disk);
        self.engine.take_orders(&mut self.orders);
        true
    }

    /// What one vectored write would write.
    pub(crate) fn unsent(&mut self, link: LinkId) -> Vec<u8> {
        let gather = |peers: &mut raft_std_driver::peers::Peers| {
            let mut slices: Vec<IoSlice<'_>> = Vec::new();
            peers.unsent(link, &mut slices);
            slices.iter().flat_map(|slice| slice.iter().copied()).collect()
        };
        self.engine.tell_peers(gather).unwrap_or_default()
    }
}
