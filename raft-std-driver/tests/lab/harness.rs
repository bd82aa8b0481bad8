//! A cluster under test: servers that are connected, cut off, crashed and restarted, and what is asked of them. Everything
//! may be asked from several threads.
#![allow(dead_code, reason = "some of the labs' tests need what others do not")]

use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use raft_core::{Bytes, Term};
use raft_std_driver::lab::{Network, Persister, Raft, apply_channel};

use crate::service::{self, Ledger};

/// No test takes longer.
const TEST_MAX: Duration = Duration::from_secs(120);
/// What the labs call an election timeout: a leader that stands for two of these is a leader.
pub(crate) const ELECTION_TIMEOUT: Duration = Duration::from_secs(1);
/// A leader stands within this time of a failure.
const ELECTION_MAX: Duration = Duration::from_secs(5);
/// A command that can commit does within this time.
const AGREEMENT_MAX: Duration = Duration::from_secs(10);
/// How long a leader that took a command may take to commit it, before another leader is looked for.
const COMMIT_MAX: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(10);

pub(crate) struct Cluster {
    title: &'static str,
    begun: Instant,
    pub(crate) network: Network,
    places: Mutex<Vec<Place>>,
    ledger: Arc<Ledger>,
    snapshots: bool,
    servers: usize,
    /// Where to look for a leader first.
    next: AtomicUsize,
    fresh: AtomicUsize,
}

struct Place {
    raft: Option<Raft>,
    persister: Arc<Persister>,
}

impl Cluster {
    /// So many servers, all started and connected, whose services make no snapshots.
    pub(crate) fn new(title: &'static str, servers: usize) -> Cluster {
        Cluster::start(title, servers, false)
    }

    /// The same with services that make snapshots.
    pub(crate) fn with_snapshots(title: &'static str, servers: usize) -> Cluster {
        Cluster::start(title, servers, true)
    }

    fn start(title: &'static str, servers: usize, snapshots: bool) -> Cluster {
        let places = (0..servers).map(|_| Place { raft: None, persister: Arc::new(Persister::new()) });
        let cluster = Cluster {
            title,
            begun: Instant::now(),
            network: Network::new(servers).unwrap(),
            places: Mutex::new(places.collect()),
            ledger: Arc::new(Ledger::new(servers)),
            snapshots,
            servers,
            next: AtomicUsize::new(0),
            fresh: AtomicUsize::new(0),
        };
        for server in 0..servers {
            cluster.restart(server);
        }
        cluster
    }

    /// The test is over: print its figures.
    pub(crate) fn passed(self) {
        self.check();
        println!(
            "{}: passed in {:.1} s with {} servers, {} RPCs of {} bytes, {} commands committed",
            self.title,
            self.begun.elapsed().as_secs_f64(),
            self.servers,
            self.network.rpcs(),
            self.network.bytes(),
            self.ledger.commands(),
        );
    }

    pub(crate) fn servers(&self) -> usize {
        self.servers
    }

    /// The server, if it lives.
    pub(crate) fn raft(&self, server: usize) -> Option<Raft> {
        self.places()[server].raft.clone()
    }

    pub(crate) fn persister(&self, server: usize) -> Arc<Persister> {
        Arc::clone(&self.places()[server].persister)
    }

    fn places(&self) -> MutexGuard<'_, Vec<Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server after this one.
    pub(crate) fn after(&self, server: usize) -> usize {
        (server + 1) % self.servers
    }

    pub(crate) fn connect(&self, server: usize) {
        self.network.connect(server);
    }

    pub(crate) fn disconnect(&self, server: usize) {
        self.network.disconnect(server);
    }

    /// End a server's life. Only what its persister has by now is left of it.
    pub(crate) fn crash(&self, server: usize) {
        self.disconnect(server);
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

    /// Begin a server's next life, crashing it first if it runs, and connect it.
    pub(crate) fn restart(&self, server: usize) {
        self.crash(server);
        let life = self.ledger.begin_life(server);
        let (apply_ch, messages) = apply_channel();
        let raft = Raft::make(self.network.peers(server), server, self.persister(server), apply_ch).unwrap();
        let (ledger, service, snapshots) = (Arc::clone(&self.ledger), raft.clone(), self.snapshots);
        thread::spawn(move || service::serve(server, life, &ledger, &service, messages, snapshots));
        self.network.add_server(server, raft.clone());
        self.places()[server].raft = Some(raft);
        self.connect(server);
    }

    /// Those that live and are connected.
    fn reachable(&self) -> Vec<(usize, Raft)> {
        let living = (0..self.servers).filter_map(|server| Some((server, self.raft(server)?)));
        living.filter(|(server, _)| self.network.is_connected(*server)).collect()
    }

    /// The newest term among the connected servers, and who leads in it. No term ever has two.
    fn newest_term(&self) -> (Term, Option<usize>) {
        let mut newest = Term(0);
        let mut leaders = BTreeMap::new();
        for (server, raft) in self.reachable() {
            let (term, leads) = raft.get_state();
            newest = newest.max(term);
            if leads {
                let twin = leaders.insert(term, server);
                assert!(twin.is_none(), "{}: servers {twin:?} and {server} both lead in term {term}", self.title);
            }
        }
        (newest, leaders.remove(&newest))
    }

    /// The connected servers' one leader, which must stand soon. A stale leader that others have left behind is none.
    pub(crate) fn check_one_leader(&self) -> usize {
        self.within(ELECTION_MAX, "no leader", || self.newest_term().1)
    }

    /// Nobody connected believes to lead; a leader that lost touch may take an election timeout to see it.
    pub(crate) fn check_no_leader(&self) {
        let leads = || self.reachable().iter().any(|(_, raft)| raft.get_state().1);
        self.within(2 * ELECTION_TIMEOUT, "a leader without a majority", || (!leads()).then_some(()));
        let watched = Instant::now();
        while watched.elapsed() < 2 * ELECTION_TIMEOUT {
            assert!(!leads(), "a leader without a majority");
            thread::sleep(POLL);
        }
    }

    /// The one term of all connected servers, on which they agree soon.
    pub(crate) fn check_terms(&self) -> Term {
        self.within(ELECTION_MAX, "no agreement on the term", || {
            let terms: Vec<_> = self.reachable().iter().map(|(_, raft)| raft.get_state().0).collect();
            let first = *terms.first()?;
            terms.iter().all(|term| *term == first).then_some(first)
        })
    }

    /// How many servers have applied `index`, and what stands there.
    pub(crate) fn n_committed(&self, index: u64) -> (usize, Option<Bytes>) {
        self.check();
        self.ledger.committed(index)
    }

    /// A command that was never used before.
    pub(crate) fn fresh(&self) -> String {
        format!("command {}", self.fresh.fetch_add(1, Relaxed))
    }

    /// Find a leader that takes `command`, and wait until `expected` servers have applied it. With `retry`, try anew when
    /// a leader fails. Says at which index it stands.
    pub(crate) fn one(&self, command: impl Into<Bytes>, expected: usize, retry: bool) -> u64 {
        let command = command.into();
        let begun = Instant::now();
        while begun.elapsed() < AGREEMENT_MAX {
            self.check();
            let Some(index) = self.start_somewhere(&command) else {
                thread::sleep(POLL);
                continue;
            };
            let taken = Instant::now();
            while taken.elapsed() < COMMIT_MAX {
                let (count, applied) = self.n_committed(index);
                if count >= expected && applied.as_ref() == Some(&command) {
                    return index;
                }
                thread::sleep(POLL);
            }
            assert!(retry, "{}: no agreement on {command:?}", self.title);
        }
        panic!("{}: no agreement on {command:?}", self.title);
    }

    fn start_somewhere(&self, command: &Bytes) -> Option<u64> {
        let mut reachable = self.reachable();
        let turn = self.next.fetch_add(1, Relaxed) % self.servers;
        reachable.sort_by_key(|(server, _)| (server + turn) % self.servers);
        let at = reachable.iter().find_map(|(_, raft)| raft.start(command.clone()).ok());
        at.map(|at| at.index.0)
    }

    /// Wait until `expected` servers have applied `index`, and say what stands there; `None` if meanwhile somebody has left
    /// `term`, so that it may never come.
    pub(crate) fn wait(&self, index: u64, expected: usize, term: Option<Term>) -> Option<Bytes> {
        self.within(AGREEMENT_MAX, "no agreement", || {
            let (count, command) = self.n_committed(index);
            if count >= expected {
                return Some(command);
            }
            let term = term?;
            let mut living = (0..self.servers).filter_map(|server| self.raft(server));
            living.any(|raft| raft.get_state().0 > term).then_some(None)
        })
    }

    /// How many RPCs reached any server.
    pub(crate) fn rpcs(&self) -> u64 {
        (0..self.servers).map(|server| self.network.rpcs_of(server)).sum()
    }

    /// The largest saved state of Raft, in bytes.
    pub(crate) fn log_size(&self) -> usize {
        self.places().iter().map(|place| place.persister.raft_state_size()).max().unwrap_or(0)
    }

    /// Poll until there is an answer.
    pub(crate) fn within<T>(&self, patience: Duration, or_else: &str, mut poll: impl FnMut() -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            self.check();
            if let Some(answer) = poll() {
                return answer;
            }
            assert!(begun.elapsed() < patience, "{}: {or_else} within {patience:?}", self.title);
            thread::sleep(POLL);
        }
    }

    fn check(&self) {
        self.ledger.check();
        assert!(self.begun.elapsed() < TEST_MAX, "{}: takes longer than {TEST_MAX:?}", self.title);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for raft in self.places().iter().flat_map(|place| &place.raft) {
            raft.kill();
        }
    }
}
