//! The service above each server, and the ledger in which all of them write what they applied.

use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use raft_core::Bytes;
use raft_std_driver::lab::{ApplyMsg, ApplyReceiver, Raft};

use crate::suite::world::SNAPSHOT_INTERVAL;

/// What was ever applied anywhere: State Machine Safety (§5.4.3) over all servers and all their lives.
pub(crate) struct Ledger(Mutex<Pages>);

struct Pages {
    /// The command of index 1, of index 2, ...
    history: Vec<Bytes>,
    servers: Vec<Applied>,
    faults: Vec<String>,
}

/// How far the service of a server is, in which life of the server.
#[derive(Clone, Default)]
struct Applied {
    life: u64,
    through: u64,
}

impl Ledger {
    pub(crate) fn new(servers: usize) -> Ledger {
        Ledger(Mutex::new(Pages {
            history: Vec::new(),
            servers: vec![Applied::default(); servers],
            faults: Vec::new(),
        }))
    }

    /// A server starts, with nothing applied. What an earlier life still has in hand no longer counts.
    pub(crate) fn begin_life(&self, server: usize) -> u64 {
        let mut pages = self.0.lock().unwrap();
        let life = pages.servers[server].life + 1;
        pages.servers[server] = Applied { life, through: 0 };
        life
    }

    /// How many servers have applied `index`, and what stands there.
    pub(crate) fn committed(&self, index: u64) -> (usize, Option<Bytes>) {
        let pages = self.0.lock().unwrap();
        let count = pages.servers.iter().filter(|applied| applied.through >= index).count();
        let command = index.checked_sub(1).and_then(|at| pages.history.get(usize::try_from(at).unwrap()));
        (count, command.cloned())
    }

    /// How many commands were ever committed.
    pub(crate) fn commands(&self) -> usize {
        self.0.lock().unwrap().history.len()
    }

    pub(crate) fn check(&self) {
        let faults = self.0.lock().unwrap().faults.clone();
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }

    /// A service applies a message. Says whether it is still the current life's.
    fn apply(&self, server: usize, life: u64, message: &ApplyMsg) -> bool {
        let mut pages = self.0.lock().unwrap();
        let Applied { life: current, through } = pages.servers[server];
        if life != current {
            return false;
        }
        let fault = match message {
            ApplyMsg::Command { index, .. } if index.0 != through + 1 => {
                Some(format!("server {server} applied {index} after {through}"))
            }
            ApplyMsg::Command { index, command } => pages.note(index.0, command, server),
            ApplyMsg::Snapshot { index, .. } if index.0 < through => {
                Some(format!("server {server} went back from {through} to a snapshot at {index}"))
            }
            ApplyMsg::Snapshot { index, snapshot, .. } => {
                let state = decode(snapshot);
                if state.len() as u64 == index.0 && pages.history.starts_with(&state) {
                    None
                } else {
                    Some(format!("server {server} got a snapshot at {index} that nobody can have made"))
                }
            }
        };
        pages.faults.extend(fault);
        pages.servers[server].through = message.index().0;
        true
    }
}

impl Pages {
    fn note(&mut self, index: u64, command: &Bytes, server: usize) -> Option<String> {
        let at = usize::try_from(index - 1).unwrap();
        match self.history.get(at) {
            None => {
                self.history.push(command.clone());
                None
            }
            Some(known) if known == command => None,
            Some(known) => Some(format!("server {server} applied {command:?} at {index}, another one {known:?}")),
        }
    }
}

/// One life of one service: applies what comes until its server is killed, and calls back from there.
pub(crate) fn serve(server: usize, life: u64, ledger: &Ledger, raft: &Raft, messages: ApplyReceiver, snapshots: bool) {
    let mut state = Vec::new();
    for message in messages {
        if !ledger.apply(server, life, &message) {
            return;
        }
        match message {
            ApplyMsg::Command { index, command } => {
                state.push(command);
                if snapshots && index.0 % SNAPSHOT_INTERVAL == 0 {
                    // A service is slow at times.
                    thread::sleep(Duration::from_millis(5));
                    raft.snapshot(index, encode(&state));
                }
            }
            ApplyMsg::Snapshot { snapshot, .. } => state = decode(&snapshot),
        }
    }
}

/// Everything so far, each command behind its length.
fn encode(state: &[Bytes]) -> Vec<u8> {
    state.iter().flat_map(|command| [&(command.len() as u64).to_le_bytes()[..], command].concat()).collect()
}

fn decode(mut snapshot: &[u8]) -> Vec<Bytes> {
    let mut state = Vec::new();
    while let Some((length, rest)) = snapshot.split_first_chunk() {
        let (command, rest) = rest.split_at(usize::try_from(u64::from_le_bytes(*length)).unwrap());
        state.push(Bytes::copy_from_slice(command));
        snapshot = rest;
    }
    state
}
