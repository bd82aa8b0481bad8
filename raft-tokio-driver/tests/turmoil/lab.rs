//! What everybody in a simulation knows: its trace, its oracles, who runs.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_core::Stream;
use raft_std_driver::observer::NodeEvent;
use raft_tokio_driver::{Events, Node, RoleKind};

use crate::machine::Applied;
use crate::oracle::Oracles;

pub(crate) const SNAPSHOT_TAKEN: &str = "snapshot taken";
pub(crate) const SNAPSHOT_DELIVERED: &str = "snapshot delivered";
pub(crate) const SNAPSHOT_FAILED: &str = "snapshot transfer failed";
pub(crate) const SNAPSHOT_INSTALLED: &str = "snapshot of a leader installed";
pub(crate) const LEADER_CHANGE: &str = "leader change";

/// Shared by all hosts of a simulation; all of them run on one thread.
#[derive(Clone)]
pub(crate) struct Lab(Arc<Mutex<State>>);

pub(crate) struct State {
    pub(crate) trace: Vec<String>,
    pub(crate) happened: BTreeMap<&'static str, u64>,
    pub(crate) oracles: Oracles,
    /// The first thing that must not be.
    pub(crate) violation: Option<String>,
    /// Which node runs on each host, if one does, and what happens there.
    nodes: Vec<Option<(Node, Events)>>,
    /// What the machine of each host's last life holds.
    pub(crate) machines: Vec<Applied>,
    /// Faults are over: clients come to an end.
    pub(crate) healed: bool,
    pub(crate) clients_done: usize,
    /// How long parts may sleep before they do their work, in milliseconds.
    pub(crate) nap_ms_max: u64,
    /// How many campaigns there were.
    pub(crate) campaigns: u64,
    now: Duration,
}

impl Lab {
    pub(crate) fn new(hosts: usize) -> Lab {
        let state = State {
            trace: Vec::new(),
            happened: BTreeMap::new(),
            oracles: Oracles::new(hosts),
            violation: None,
            nodes: (0..hosts).map(|_| None).collect(),
            machines: vec![Applied::default(); hosts],
            healed: false,
            clients_done: 0,
            nap_ms_max: 0,
            campaigns: 0,
            now: Duration::ZERO,
        };
        Lab(Arc::new(Mutex::new(state)))
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn say(&self, who: impl Display, what: impl Display) {
        let at = turmoil::sim_elapsed();
        let mut state = self.state();
        let at = at.unwrap_or(state.now).as_micros();
        state.trace.push(format!("{at:>9} {who} {what}"));
    }

    pub(crate) fn count(&self, what: &'static str) {
        *self.state().happened.entry(what).or_default() += 1;
    }

    /// Ask the oracles.
    pub(crate) fn judge(&self, judge: impl FnOnce(&mut Oracles) -> Result<(), String>) {
        let mut state = self.state();
        let verdict = judge(&mut state.oracles);
        if let Err(why) = verdict {
            state.violation.get_or_insert(why);
        }
    }

    pub(crate) fn node(&self, host: usize) -> Option<Node> {
        self.state().nodes[host].as_ref().map(|(node, _)| node.clone())
    }

    pub(crate) fn set_node(&self, host: usize, node: Option<&Node>) {
        let node = node.map(|node| (node.clone(), node.events()));
        let before = std::mem::replace(&mut self.state().nodes[host], node);
        drop(before);
    }

    /// Who leads in the latest term, as far as any of them believes.
    pub(crate) fn leader(&self) -> Option<usize> {
        let state = self.state();
        let standing = |host: usize| state.nodes[host].as_ref().map(|(node, _)| *node.watch().borrow());
        let leads = |host: &usize| standing(*host).is_some_and(|now| now.running && now.role == RoleKind::Leader);
        (0..state.nodes.len()).filter(leads).max_by_key(|host| standing(*host).map(|now| now.term))
    }

    /// A step of the simulation is over: hear what happened in the nodes.
    pub(crate) fn listen(&self, now: Duration) {
        self.state().now = now;
        let hosts = self.state().nodes.len();
        for host in 0..hosts {
            let (events, standing) = {
                let mut state = self.state();
                let Some((node, events)) = &mut state.nodes[host] else { continue };
                (drain(events), *node.watch().borrow())
            };
            for event in events {
                self.hear(host, &event);
            }
            self.judge(|oracles| oracles.commits.stands(host, standing.commit, standing.applied));
        }
    }

    fn hear(&self, host: usize, event: &NodeEvent) {
        self.say(format_args!("s{}", host + 1), format_args!("{event:?}"));
        match event {
            NodeEvent::Role { term, role: RoleKind::Leader, .. } => {
                self.count(LEADER_CHANGE);
                self.judge(|oracles| oracles.leaders.leads(host, *term));
            }
            NodeEvent::Role { role: RoleKind::Candidate, .. } => self.state().campaigns += 1,
            NodeEvent::Compacted { .. } => self.count(SNAPSHOT_TAKEN),
            NodeEvent::SnapshotSent { delivered: true, .. } => self.count(SNAPSHOT_DELIVERED),
            NodeEvent::SnapshotSent { delivered: false, .. } => self.count(SNAPSHOT_FAILED),
            _ => {}
        }
    }
}

fn drain(events: &mut Events) -> Vec<NodeEvent> {
    let mut heard = Vec::new();
    let mut context = Context::from_waker(Waker::noop());
    while let Poll::Ready(Some(event)) = Pin::new(&mut *events).poll_next(&mut context) {
        heard.push(event.expect("a step has less than 256 events"));
    }
    heard
}
