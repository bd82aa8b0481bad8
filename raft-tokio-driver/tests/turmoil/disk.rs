//! The real log on a simulated disk, with a witness beside it; and workers that take their time, so that what is to be
//! written still waits when the power goes.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use raft_std_driver::raft_core::{Membership, NodeId, SnapshotWrite, Write};
use raft_std_driver::storage::sim::SimDisk;
use raft_std_driver::storage::{
    Birth, ClusterId, FileOptions, FileStorage, Recovered, Snapshots, Storage, StorageError,
};
use raft_tokio_driver::workers::{Part, Tasks, Workers};
use tokio::time::{Sleep, sleep};

use crate::lab::{Lab, SNAPSHOT_INSTALLED};

const OPTIONS: FileOptions = FileOptions { segment_bytes: 2048 };

/// A storage whose promises are remembered by the lab.
pub(crate) struct Witnessed {
    storage: FileStorage,
    lab: Lab,
    host: usize,
}

impl Witnessed {
    /// Later starts.
    pub(crate) fn open(disk: &SimDisk, host: usize, lab: &Lab) -> Result<Witnessed, StorageError> {
        Ok(Witnessed { storage: disk.open(OPTIONS)?, lab: lab.clone(), host })
    }

    /// The first start of a member, before the simulation begins.
    pub(crate) fn init(disk: &SimDisk, host: usize, hosts: usize) -> Result<(), StorageError> {
        let node = NodeId(host as u64 + 1);
        let membership = Membership::new((1..=hosts as u64).map(NodeId));
        disk.init(Birth::founder(ClusterId(0), node, membership).with_incarnation(100 + node.0), OPTIONS).map(drop)
    }
}

impl Storage for Witnessed {
    fn recover(&mut self) -> Result<Recovered, StorageError> {
        let kept = self.storage.recover()?;
        let (who, hard_state) = (self.host + 1, kept.hard_state);
        let what = format!("finds {hard_state:?}, {} and entries {}", kept.snapshot.last, kept.entries);
        self.lab.say(format_args!("s{who}"), what);
        self.lab.judge(|oracles| oracles.promises.stands(self.host, hard_state));
        self.lab.judge(|oracles| oracles.logs.finds(self.host, kept.snapshot.last, &kept.entries));
        Ok(kept)
    }

    fn persist(&mut self, writes: &[Write]) -> Result<(), StorageError> {
        let who = self.host + 1;
        let done = self.storage.persist(writes);
        for write in writes {
            let Write { id, hard_state, snapshot, entries } = write;
            let kept = if done.is_ok() { "keeps" } else { "may have kept" };
            let what = format!("{kept} {id}: {hard_state:?} {snapshot:?} {entries}");
            self.lab.say(format_args!("s{who}"), what);
            if let (Ok(()), Some(hard_state)) = (&done, hard_state) {
                self.lab.judge(|oracles| oracles.promises.stands(self.host, *hard_state));
            }
            if done.is_ok() {
                self.lab.judge(|oracles| oracles.logs.writes(self.host, snapshot.as_ref(), entries));
            }
            if let (Ok(()), Some(SnapshotWrite::Installed { .. })) = (&done, snapshot) {
                self.lab.count(SNAPSHOT_INSTALLED);
            }
        }
        done
    }

    fn snapshots(&self) -> Arc<dyn Snapshots> {
        self.storage.snapshots()
    }
}

/// Tasks that sleep before they do what they were woken for.
pub(crate) struct Drowsy {
    lab: Lab,
    random: Mutex<fastrand::Rng>,
}

impl Drowsy {
    pub(crate) fn new(lab: &Lab, seed: u64) -> Drowsy {
        Drowsy { lab: lab.clone(), random: Mutex::new(fastrand::Rng::with_seed(seed)) }
    }
}

impl Workers for Drowsy {
    fn spawn(&self, name: &str, part: Part) -> io::Result<()> {
        let random = self.random.lock().expect("one thread").fork();
        Tasks.spawn(name, Box::pin(Napping { part, nap: None, lab: self.lab.clone(), random }))
    }
}

struct Napping {
    part: Part,
    nap: Option<Pin<Box<Sleep>>>,
    lab: Lab,
    random: fastrand::Rng,
}

impl Future for Napping {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Napping { part, nap, lab, random } = &mut *self;
        let nap_ms_max = lab.state().nap_ms_max;
        if nap.is_none() && nap_ms_max > 0 && random.bool() {
            *nap = Some(Box::pin(sleep(Duration::from_millis(random.u64(0..=nap_ms_max)))));
        }
        if let Some(sleeping) = nap {
            ready!(sleeping.as_mut().poll(context));
            *nap = None;
        }
        part.as_mut().poll(context)
    }
}
