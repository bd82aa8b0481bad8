//! One server of the cluster, from the start of its process to its end.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use raft_std_driver::NodeConfig;
use raft_std_driver::net::LinkConfig;
use raft_std_driver::storage::sim::SimDisk;
use raft_tokio_driver::Node;
use tokio::sync::Notify;

use crate::disk::{Drowsy, Witnessed};
use crate::lab::Lab;
use crate::machine::Machine;
use crate::net::{Net, SimSockets};

pub(crate) const STORAGE_ERROR: &str = "storage error, and another life";

const PORT: u16 = 7000;

pub(crate) fn name(host: usize) -> String {
    format!("s{}", host + 1)
}

/// What outlives the process.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) host: usize,
    pub(crate) hosts: usize,
    pub(crate) seed: u64,
    pub(crate) lab: Lab,
    pub(crate) net: Arc<Net>,
    pub(crate) disk: SimDisk,
    /// Asks it to stop by itself.
    pub(crate) stop: Arc<Notify>,
    /// Its disk has been told to fail, with or without power.
    pub(crate) disk_fails: Rc<Cell<bool>>,
    pub(crate) limits: Limits,
    pub(crate) lives: Rc<Cell<u64>>,
}

/// Small ones, so that they are met.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    election_ticks_max: u32,
    append_entries_max: u64,
    inflight_appends_max: u64,
    bytes_max: u64,
    trailing_entries: u64,
    snapshot_log_bytes: u64,
    chunk_bytes: usize,
}

impl Limits {
    pub(crate) fn draw(random: &mut fastrand::Rng) -> Limits {
        Limits {
            election_ticks_max: random.u32(13..30),
            append_entries_max: random.u64(1..20),
            inflight_appends_max: random.u64(1..6),
            bytes_max: random.u64(200..2000),
            trailing_entries: random.u64(0..8),
            snapshot_log_bytes: random.u64(200..3000),
            chunk_bytes: random.usize(16..400),
        }
    }

    fn tune(self, config: &mut NodeConfig) {
        let raft = &mut config.raft;
        (raft.heartbeat_ticks, raft.election_ticks_min, raft.election_ticks_max) = (5, 12, self.election_ticks_max);
        (raft.append_entries_max, raft.append_bytes_max) = (self.append_entries_max, self.bytes_max);
        (raft.inflight_appends_max, raft.inflight_bytes_max) = (self.inflight_appends_max, self.bytes_max * 2);
        (raft.command_bytes_max, raft.backlog_bytes_max) = (100, self.bytes_max * 4);
        (raft.unpersisted_bytes_max, raft.apply_bytes_max) = (self.bytes_max * 2, self.bytes_max);
        (raft.trailing_entries, raft.transfer_bytes_max) = (self.trailing_entries, self.bytes_max);
        (raft.disk_stall_ticks, raft.snapshot_timeout_ticks) = (60, 1000);
        (config.snapshot_log_bytes, config.inbox_bytes_max) = (self.snapshot_log_bytes, self.bytes_max);
    }

    fn tune_tcp(self, config: &mut LinkConfig) {
        let ms = Duration::from_millis;
        (config.batch_bytes, config.chunk_bytes) = (usize::try_from(self.bytes_max).unwrap(), self.chunk_bytes);
        (config.connect_timeout, config.handshake_timeout) = (ms(200), ms(300));
        (config.stall_timeout, config.confirm_timeout) = (ms(700), ms(1500));
        (config.backoff_min, config.backoff_max) = (ms(10), ms(200));
    }
}

impl Host {
    /// Until the node stops. Any other end than one that was asked for or that the disk explains is a violation.
    pub(crate) async fn live(self) -> turmoil::Result {
        let me = name(self.host);
        self.lives.set(self.lives.get() + 1);
        self.lab.say(&me, format_args!("begins life {}", self.lives.get()));
        self.lab.set_node(self.host, None);
        self.lab.state().oracles.starts(self.host);
        let ended = match self.start().await {
            Ok(node) => {
                self.lab.set_node(self.host, Some(&node));
                tokio::select! {
                    biased;
                    () = self.stop.notified() => node.shutdown().await.map_err(|why| why.to_string()),
                    ended = node.stopped() => ended.map_err(|why| why.to_string()),
                }
            }
            Err(why) => Err(why),
        };
        self.lab.say(&me, format_args!("ends: {ended:?}"));
        match ended {
            Err(why) if !self.disk_fails.get() || why.starts_with("halted") => {
                Err(format!("{me} ends for no good reason: {why}").into())
            }
            Err(_) => {
                self.lab.count(STORAGE_ERROR);
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    async fn start(&self) -> Result<Node, String> {
        let Host { host, seed, limits, .. } = *self;
        let life = seed ^ (self.lives.get() << 8 | host as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let storage = Witnessed::open(&self.disk, host, &self.lab).map_err(|why| why.to_string())?;
        let builder = Node::builder()
            .id(host as u64 + 1)
            .members((0..self.hosts).map(|other| (other as u64 + 1, format!("{}:{PORT}", name(other)))))
            .storage(storage)
            .machine(Machine::new(&self.lab, host))
            .sockets(SimSockets::new(&self.net, host, life))
            .workers(Drowsy::new(&self.lab, life + 1))
            .tune(move |config| {
                limits.tune(config);
                config.raft.seed = life;
            })
            .tune_tcp(move |config| {
                limits.tune_tcp(config);
                config.seed = Some(life);
            });
        builder.start().await.map_err(|why| why.to_string())
    }
}
