//! A cluster under test: what is asked of a world again and again. Everything may be asked from several tasks.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use raft_core::{Bytes, Term};

use super::world::World;

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
/// How often a condition is looked at.
pub(crate) const POLL: Duration = Duration::from_millis(10);

/// A world, the name of the test in it, and its commands.
pub(crate) struct Cluster<W> {
    title: &'static str,
    pub(crate) world: W,
    servers: usize,
    /// Where to look for a leader first.
    next: AtomicUsize,
    fresh: AtomicUsize,
}

impl<W: World> Cluster<W> {
    /// So many servers, whose services make no snapshots.
    pub(crate) fn new(title: &'static str, servers: usize) -> Cluster<W> {
        Cluster::over(title, servers, W::new(servers, false))
    }

    /// The same with services that make snapshots.
    pub(crate) fn with_snapshots(title: &'static str, servers: usize) -> Cluster<W> {
        Cluster::over(title, servers, W::new(servers, true))
    }

    fn over(title: &'static str, servers: usize, world: W) -> Cluster<W> {
        Cluster { title, world, servers, next: AtomicUsize::new(0), fresh: AtomicUsize::new(0) }
    }

    /// The test is over: print the labs' five figures.
    pub(crate) fn passed(self) {
        self.check();
        println!(
            "{}: passed in {:.1} s with {} servers, {} RPCs of {} bytes, {} commands committed",
            self.title,
            self.world.now().as_secs_f64(),
            self.servers,
            self.world.rpcs(),
            self.world.bytes(),
            self.world.commands(),
        );
    }

    pub(crate) fn servers(&self) -> usize {
        self.servers
    }

    /// The server so many places after this one.
    pub(crate) fn after(&self, server: usize, places: usize) -> usize {
        (server + places) % self.servers
    }

    /// A server by chance.
    pub(crate) fn any(&self) -> usize {
        usize::try_from(self.world.below(self.servers as u64)).unwrap()
    }

    pub(crate) fn connect(&self, servers: impl IntoIterator<Item = usize>) {
        servers.into_iter().for_each(|server| self.world.set_connected(server, true));
    }

    pub(crate) fn disconnect(&self, servers: impl IntoIterator<Item = usize>) {
        servers.into_iter().for_each(|server| self.world.set_connected(server, false));
    }

    pub(crate) fn crash(&self, servers: impl IntoIterator<Item = usize>) {
        servers.into_iter().for_each(|server| self.world.crash(server));
    }

    pub(crate) fn restart(&self, servers: impl IntoIterator<Item = usize>) {
        servers.into_iter().for_each(|server| self.world.restart(server));
    }

    pub(crate) fn is_up(&self, server: usize) -> bool {
        self.world.state(server).is_some()
    }

    /// Those that live and are connected, with their terms and whether they believe to lead.
    fn reachable(&self) -> Vec<(usize, (Term, bool))> {
        let connected = (0..self.servers).filter(|server| self.world.is_connected(*server));
        connected.filter_map(|server| Some((server, self.world.state(server)?))).collect()
    }

    /// The newest term among the connected servers, and who leads in it. No term ever has two.
    fn newest_term(&self) -> (Term, Option<usize>) {
        let mut newest = Term(0);
        let mut leaders = BTreeMap::new();
        for (server, (term, leads)) in self.reachable() {
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

    /// As [`check_one_leader`](Cluster::check_one_leader), and soon nobody else believes to lead.
    pub(crate) fn check_only_leader(&self) -> usize {
        self.within(ELECTION_MAX, "no single leader", || {
            let leaders = self.reachable().iter().filter(|(_, (_, leads))| *leads).count();
            self.newest_term().1.filter(|_| leaders == 1)
        })
    }

    /// Nobody connected believes to lead; a leader that lost touch may take two election timeouts to see it.
    pub(crate) fn check_no_leader(&self) {
        let leads = || self.reachable().iter().any(|(_, (_, leads))| *leads);
        self.within(2 * ELECTION_TIMEOUT, "a leader without a majority", || (!leads()).then_some(()));
        self.throughout(2 * ELECTION_TIMEOUT, || assert!(!leads(), "{}: a leader without a majority", self.title));
    }

    /// The one term of all connected servers, on which they agree soon.
    pub(crate) fn check_terms(&self) -> Term {
        self.within(ELECTION_MAX, "no agreement on the term", || {
            let terms: Vec<_> = self.reachable().iter().map(|(_, (term, _))| *term).collect();
            let first = *terms.first()?;
            terms.iter().all(|term| *term == first).then_some(first)
        })
    }

    /// How many servers have applied `index`.
    pub(crate) fn n_committed(&self, index: u64) -> usize {
        self.check();
        self.world.committed(index).0
    }

    /// A command that was never used before.
    pub(crate) fn fresh(&self) -> Bytes {
        format!("command {}", self.fresh.fetch_add(1, Relaxed)).into()
    }

    /// The same, filled up to so many bytes.
    pub(crate) fn fresh_of(&self, bytes: usize) -> Bytes {
        let mut command = self.fresh().to_vec();
        command.resize(bytes, b'.');
        command.into()
    }

    /// So many commands for one server, of which nothing is expected.
    pub(crate) fn start_many(&self, server: usize, count: u64) {
        for _ in 0..count {
            // A server that does not lead refuses it, which is no harm here.
            let _ = self.world.start(server, self.fresh());
        }
    }

    /// Agree on a new command, whoever leads meanwhile. Says at which index it stands.
    pub(crate) fn agree(&self, expected: usize) -> u64 {
        self.one(&self.fresh(), expected, true)
    }

    /// Agree on so many new commands, one after another.
    pub(crate) fn agree_on_many(&self, count: u64, expected: usize) {
        for _ in 0..count {
            self.agree(expected);
        }
    }

    /// Find a leader that takes `command`, and wait until `expected` servers have applied it. With `retry`, try anew when
    /// a leader fails. Says at which index it stands.
    pub(crate) fn one(&self, command: &Bytes, expected: usize, retry: bool) -> u64 {
        let mut agreement = self.agreement(command.clone(), expected, retry);
        loop {
            if let Some(index) = agreement.look() {
                return index;
            }
            self.world.pass(POLL);
        }
    }

    /// As [`one`](Cluster::one), for a task.
    pub(crate) fn agreement(&self, command: Bytes, expected: usize, retry: bool) -> Agreement<'_, W> {
        Agreement { cluster: self, command, expected, retry, begun: self.world.now(), taken: None }
    }

    fn start_somewhere(&self, command: &Bytes) -> Option<u64> {
        let turn = self.next.fetch_add(1, Relaxed);
        let mut servers = (0..self.servers).map(|server| self.after(server, turn));
        let connected = |server: &usize| self.world.is_connected(*server);
        servers
            .by_ref()
            .filter(connected)
            .find_map(|server| self.world.start(server, command.clone()))
            .map(|at| at.index.0)
    }

    /// Wait until `expected` servers have applied `index`, and say what stands there; `None` if meanwhile somebody has left
    /// `term`, so that it may never come.
    pub(crate) fn wait(&self, index: u64, expected: usize, term: Option<Term>) -> Option<Bytes> {
        self.within(AGREEMENT_MAX, "no agreement", || {
            let (count, command) = self.world.committed(index);
            if count >= expected {
                return Some(command);
            }
            let term = term?;
            let mut terms = (0..self.servers).filter_map(|server| self.world.state(server));
            terms.any(|(newer, _)| newer > term).then_some(None)
        })
    }

    /// How many RPCs reached any server.
    pub(crate) fn rpcs_carried(&self) -> u64 {
        (0..self.servers).map(|server| self.world.rpcs_of(server)).sum()
    }

    /// Look until there is an answer.
    pub(crate) fn within<T>(&self, patience: Duration, or_else: &str, mut answer: impl FnMut() -> Option<T>) -> T {
        let begun = self.world.now();
        loop {
            self.check();
            if let Some(answer) = answer() {
                return answer;
            }
            let waited = self.world.now() - begun;
            assert!(waited < patience, "{}: {or_else} within {patience:?}", self.title);
            self.world.pass(POLL);
        }
    }

    /// Look all the time.
    pub(crate) fn throughout(&self, time: Duration, mut look: impl FnMut()) {
        let begun = self.world.now();
        while self.world.now() - begun < time {
            look();
            self.world.pass(POLL);
        }
    }

    pub(crate) fn check(&self) {
        self.world.check();
        assert!(self.world.now() < TEST_MAX, "{}: takes longer than {TEST_MAX:?}", self.title);
    }
}

/// A command on its way to so many servers.
pub(crate) struct Agreement<'a, W> {
    cluster: &'a Cluster<W>,
    command: Bytes,
    expected: usize,
    retry: bool,
    begun: Duration,
    /// At which index a leader has put it, and when.
    taken: Option<(u64, Duration)>,
}

impl<W: World> Agreement<'_, W> {
    /// Whether they have all applied it by now, and at which index.
    pub(crate) fn look(&mut self) -> Option<u64> {
        let Agreement { cluster, command, begun, .. } = self;
        cluster.check();
        let now = cluster.world.now();
        let give_up = |patience| panic!("{}: no agreement on {command:?} within {patience:?}", cluster.title);
        match self.taken {
            Some((index, since)) => {
                let (count, applied) = cluster.world.committed(index);
                if count >= self.expected && applied.as_ref() == Some(command) {
                    return Some(index);
                }
                if now - since >= COMMIT_MAX {
                    if !self.retry {
                        give_up(COMMIT_MAX);
                    }
                    self.taken = None;
                }
            }
            None if now - *begun >= AGREEMENT_MAX => give_up(AGREEMENT_MAX),
            None => self.taken = cluster.start_somewhere(command).map(|index| (index, now)),
        }
        None
    }
}
