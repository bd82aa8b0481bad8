//! The labs' world on real threads: a thread per server, one per service, one for the network.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use raft_core::{Bytes, EntryId, Term};
use raft_std_driver::lab::{Network, Persister, Raft, apply_channel};

use crate::service::{self, Ledger};
use crate::suite::cluster::POLL;
use crate::suite::world::{Task, World};

pub(crate) struct RealTime {
    begun: Instant,
    network: Network,
    places: Mutex<Vec<Place>>,
    ledger: Arc<Ledger>,
    snapshots: bool,
}

struct Place {
    raft: Option<Raft>,
    persister: Arc<Persister>,
}

impl RealTime {
    /// The server, if it lives.
    fn raft(&self, server: usize) -> Option<Raft> {
        self.places()[server].raft.clone()
    }

    fn places(&self) -> MutexGuard<'_, Vec<Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl World for RealTime {
    fn new(servers: usize, snapshots: bool) -> RealTime {
        let places = (0..servers).map(|_| Place { raft: None, persister: Arc::new(Persister::new()) });
        let world = RealTime {
            begun: Instant::now(),
            network: Network::new(servers).unwrap(),
            places: Mutex::new(places.collect()),
            ledger: Arc::new(Ledger::new(servers)),
            snapshots,
        };
        world.network.set_long_delays(true);
        for server in 0..servers {
            world.restart(server);
        }
        world
    }

    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    fn pass(&self, time: Duration) {
        thread::sleep(time);
    }

    fn below(&self, bound: u64) -> u64 {
        fastrand::u64(..bound)
    }

    /// A thread for each.
    fn together(&self, tasks: Vec<Task<'_>>) {
        thread::scope(|scope| {
            for mut task in tasks {
                scope.spawn(move || {
                    while !task() {
                        thread::sleep(POLL);
                    }
                });
            }
        });
    }

    fn start(&self, server: usize, command: Bytes) -> Option<EntryId> {
        self.raft(server)?.start(command).ok()
    }

    fn state(&self, server: usize) -> Option<(Term, bool)> {
        Some(self.raft(server)?.get_state())
    }

    /// Only what its persister has by now is left of it.
    fn crash(&self, server: usize) {
        self.network.disconnect(server);
        self.network.delete_server(server);
        let dying = {
            let place = &mut self.places()[server];
            // What it might save while it dies is not on the disk of its next life.
            place.persister = Arc::new(Persister::clone(&place.persister));
            place.raft.take()
        };
        if let Some(raft) = dying {
            raft.kill();
        }
    }

    fn restart(&self, server: usize) {
        self.crash(server);
        let life = self.ledger.begin_life(server);
        let (apply_ch, messages) = apply_channel();
        let persister = Arc::clone(&self.places()[server].persister);
        let raft = Raft::make(self.network.peers(server), server, persister, apply_ch).unwrap();
        let (ledger, service, snapshots) = (Arc::clone(&self.ledger), raft.clone(), self.snapshots);
        thread::spawn(move || service::serve(server, life, &ledger, &service, messages, snapshots));
        self.network.add_server(server, raft.clone());
        self.places()[server].raft = Some(raft);
        self.network.connect(server);
    }

    fn set_connected(&self, server: usize, connected: bool) {
        if connected {
            self.network.connect(server);
        } else {
            self.network.disconnect(server);
        }
    }

    fn is_connected(&self, server: usize) -> bool {
        self.network.is_connected(server)
    }

    fn set_unreliable(&self, on: bool) {
        self.network.set_unreliable(on);
    }

    fn set_long_reordering(&self, on: bool) {
        self.network.set_long_reordering(on);
    }

    fn rpcs_of(&self, server: usize) -> u64 {
        self.network.rpcs_of(server)
    }

    fn rpcs(&self) -> u64 {
        self.network.rpcs()
    }

    fn bytes(&self) -> u64 {
        self.network.bytes()
    }

    fn committed(&self, index: u64) -> (usize, Option<Bytes>) {
        self.ledger.committed(index)
    }

    fn commands(&self) -> usize {
        self.ledger.commands()
    }

    fn state_bytes(&self) -> usize {
        self.places().iter().map(|place| place.persister.raft_state_size()).max().unwrap_or(0)
    }

    fn has_snapshot(&self, server: usize) -> bool {
        !self.places()[server].persister.read_snapshot().is_empty()
    }

    fn check(&self) {
        self.ledger.check();
    }
}

impl Drop for RealTime {
    fn drop(&mut self) {
        for raft in self.places().iter().flat_map(|place| &place.raft) {
            raft.kill();
        }
    }
}
