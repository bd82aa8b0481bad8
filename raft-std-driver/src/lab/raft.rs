//! One lab server: a core, its clock, its disk and its calls, behind one lock.
//!
//! Whoever has something for the server locks it, steps the core, saves what changed, and carries out what follows; nobody
//! waits for anything while holding the lock. A thread per server does so when time has passed.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use raft_core::codec::CodecError;
use raft_core::{
    Action, Bytes, Config, Entries, EntryId, Event, Incarnation, Index, Membership, Message, NodeId, Payload,
    Raft as Core, Refusal, RequestId, RestoreError, RoleKind, Term, Write,
};

use super::apply::{ApplyMsg, ApplySender};
use super::network::{ClientEnd, Service};
use super::persister::Persister;
use super::wire::{self, Request};

const TICK_MS: u64 = 10;

/// Why [`Raft::make`] made no server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MakeError {
    /// It is none of its peers.
    #[error("server {me} is not among the {peers} peers")]
    NotAPeer {
        /// Its number.
        me: usize,
        /// How many peers there are.
        peers: usize,
    },
    /// The persister holds something else than a server's state.
    #[error("the persister's state makes no sense: {0}")]
    State(#[from] CodecError),
    /// The saved parts do not fit together.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The operating system gives it no thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] io::Error),
}

/// A handle on a lab server; clones are handles on the same one. It runs until it is [`kill`](Raft::kill)ed.
#[derive(Clone, Debug)]
pub struct Raft(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    peers: Vec<ClientEnd>,
    apply_ch: ApplySender,
    server: Mutex<Server>,
    killed: Condvar,
}

#[derive(Debug)]
struct Server {
    core: Core,
    clock: Clock,
    persister: Arc<Persister>,
    /// The data of the core's snapshot.
    snapshot: Bytes,
    running: bool,
}

#[derive(Debug)]
struct Clock {
    started: Instant,
    /// How many ticks the core was told of.
    told: u64,
}

/// What a step says to whoever caused it.
#[derive(Default)]
struct Answer {
    replies: Vec<Message>,
    started: Option<Result<EntryId, Refusal>>,
}

impl Raft {
    /// The labs' `Make`: server `me` of `peers`, as the persister kept it. It starts at once.
    ///
    /// # Errors
    /// If `me` is no index of `peers`, or if what the persister holds makes no server.
    pub fn make(
        peers: Vec<ClientEnd>,
        me: usize,
        persister: Arc<Persister>,
        apply_ch: ApplySender,
    ) -> Result<Raft, MakeError> {
        if me >= peers.len() {
            return Err(MakeError::NotAPeer { me, peers: peers.len() });
        }
        if persister.raft_state_size() == 0 {
            let incarnation = Incarnation::founder(fastrand::u64(..));
            persister.save(wire::encode_birth(incarnation), persister.read_snapshot());
        }
        let members = Membership::new((0..peers.len()).map(node_id));
        let core = Core::new(config(node_id(me)), wire::decode_state(persister.read_raft_state(), members)?)?;
        let server = Server {
            core,
            clock: Clock { started: Instant::now(), told: 0 },
            snapshot: persister.read_snapshot(),
            persister,
            running: true,
        };
        let raft = Raft(Arc::new(Shared { peers, apply_ch, server: Mutex::new(server), killed: Condvar::new() }));
        let weak = Arc::downgrade(&raft.0);
        raft.0.apply_ch.confirm_with(move |index| {
            if let Some(shared) = weak.upgrade() {
                shared.step(&mut shared.lock(), Event::Applied(index));
            }
        });
        // The core's first step says where the service must start from.
        raft.0.step(&mut raft.0.lock(), Event::Tick { elapsed: 0 });
        let shared = Arc::clone(&raft.0);
        thread::Builder::new().name(format!("lab-raft-{me}")).spawn(move || shared.let_time_pass())?;
        Ok(raft)
    }

    /// The labs' `Start`: append a command if this server leads, and return at once. Says where the command will stand, if
    /// it is ever committed; no promise that it is.
    ///
    /// # Errors
    /// If it did not enter the log: this server does not lead, was killed, or has too much to do.
    pub fn start(&self, command: impl Into<Bytes>) -> Result<EntryId, Refusal> {
        let event = Event::Start { request: RequestId(0), commands: [command.into()].into() };
        let answer = self.0.step(&mut self.0.lock(), event);
        answer.started.unwrap_or(Err(Refusal::NotLeader { leader: None }))
    }

    /// The labs' `GetState`: the current term, and whether this server believes that it leads.
    #[must_use]
    pub fn get_state(&self) -> (Term, bool) {
        let server = self.0.lock();
        let status = server.core.status();
        (status.term(), server.running && status.role() == RoleKind::Leader)
    }

    /// The labs' `Snapshot`: `snapshot` holds everything through `index`, so the log before may go. May be called while
    /// applying. What is older than the snapshot here, or newer than what was applied here, is ignored.
    pub fn snapshot(&self, index: Index, snapshot: impl Into<Bytes>) {
        let data = snapshot.into();
        let mut server = self.0.lock();
        // Who has a snapshot through `index` has applied it.
        self.0.step(&mut server, Event::Applied(index));
        self.0.step_with(&mut server, Event::Compact { index }, Some(data), None);
    }

    /// The labs' `Kill`: once it returns, nothing more is sent, persisted or applied.
    pub fn kill(&self) {
        self.0.stop(&mut self.0.lock());
    }
}

impl Service for Raft {
    /// An RPC of server `from`: what it changed here is saved before the reply leaves.
    fn handle(&self, from: usize, request: &[u8]) -> Option<Vec<u8>> {
        let from = node_id(from);
        let (event, data) = match wire::decode_request(from, request) {
            Ok(decoded) => decoded,
            Err(error) => {
                tracing::warn!(%from, %error, "request dropped");
                return None;
            }
        };
        let mut server = self.0.lock();
        let answer = self.0.step_with(&mut server, event, data, Some(from));
        if server.running { wire::encode_reply(&answer.replies).ok() } else { None }
    }
}

impl Shared {
    /// A thread that panicked in the middle of a step leaves a server that must not go on.
    fn lock(&self) -> MutexGuard<'_, Server> {
        self.server.lock().unwrap_or_else(|poisoned| {
            let mut server = poisoned.into_inner();
            self.stop(&mut server);
            server
        })
    }

    /// Let others have the server until `patience` is over or it is killed.
    fn wait<'a>(&self, server: MutexGuard<'a, Server>, patience: Duration) -> MutexGuard<'a, Server> {
        let (mut server, _) = match self.killed.wait_timeout(server, patience) {
            Ok(woken) => return woken.0,
            Err(poisoned) => poisoned.into_inner(),
        };
        self.stop(&mut server);
        server
    }

    fn stop(&self, server: &mut Server) {
        server.running = false;
        self.apply_ch.close();
        self.killed.notify_all();
    }

    /// The server's thread.
    fn let_time_pass(self: Arc<Self>) {
        let mut server = self.lock();
        while server.running {
            self.tell_time(&mut server);
            let patience = server.due_in();
            server = self.wait(server, patience);
        }
    }

    /// Time first: mail that waited out a pause finds the clock set.
    fn tell_time(self: &Arc<Self>, server: &mut Server) {
        let elapsed = server.clock.elapsed();
        if elapsed > 0 {
            let actions = server.step(Event::Tick { elapsed }, None);
            self.carry_out(server, actions, None);
        }
    }

    fn step(self: &Arc<Self>, server: &mut Server, event: Event) -> Answer {
        self.step_with(server, event, None, None)
    }

    /// Take an event, with the data of the snapshot that it is about, and with the caller whose RPC it is.
    fn step_with(
        self: &Arc<Self>,
        server: &mut Server,
        event: Event,
        data: Option<Bytes>,
        caller: Option<NodeId>,
    ) -> Answer {
        self.tell_time(server);
        let actions = server.step(event, data);
        self.carry_out(server, actions, caller)
    }

    /// Everything promised in `actions` is saved.
    fn carry_out(self: &Arc<Self>, server: &mut Server, actions: Vec<Action>, caller: Option<NodeId>) -> Answer {
        let mut answer = Answer::default();
        for action in actions {
            match action {
                Action::Send { to, message } if Some(to) == caller && message.is_reply() => {
                    answer.replies.push(message);
                }
                Action::Send { to, message } => self.call(to, Request::message(&message), None),
                Action::SendSnapshot { to, term, snapshot } => {
                    let last = snapshot.last;
                    let request = Request::Snapshot { term, snapshot, data: server.snapshot.to_vec() };
                    self.call(to, Ok(request), Some(last));
                }
                Action::Apply(entries) => self.apply(&entries),
                Action::Restore(snapshot) => {
                    let EntryId { term, index } = snapshot.last;
                    self.apply_ch.push(ApplyMsg::Snapshot { index, term, snapshot: server.snapshot.clone() });
                }
                Action::Accepted { first, .. } => answer.started = Some(Ok(first)),
                Action::Refused { why, .. } => answer.started = Some(Err(why)),
                Action::Halt { why } => {
                    tracing::error!(id = %server.core.status().id(), %why, "halted");
                    self.stop(server);
                }
                Action::News(news) => tracing::debug!(id = %server.core.status().id(), ?news),
                // Saved before, and never kept.
                Action::Persist(_) | Action::Discard(_) => {}
                // The labs ask for none of these.
                Action::Readable { .. } | Action::Transferred { .. } | Action::Fetch { .. } => {}
            }
        }
        if !server.running {
            self.stop(server);
        }
        answer
    }

    /// The labs' services know commands only.
    fn apply(&self, entries: &Entries) {
        for (id, payload) in entries.iter() {
            if let Payload::Command(command) = payload {
                self.apply_ch.push(ApplyMsg::Command { index: id.index, command: command.clone() });
            }
        }
    }

    /// One RPC, which carries a message, or the snapshot that ends at `snapshot`.
    fn call(self: &Arc<Self>, to: NodeId, request: Result<Request, CodecError>, snapshot: Option<EntryId>) {
        let peer = usize::try_from(to.0).ok().and_then(|to| self.peers.get(to));
        match (peer, request.and_then(|request| request.encode())) {
            (Some(peer), Ok(request)) => {
                let shared = Arc::clone(self);
                peer.call(request, move |reply| shared.returned(to, snapshot, reply));
            }
            (None, _) => tracing::warn!(%to, "message dropped: no such server"),
            (_, Err(error)) => tracing::warn!(%to, %error, "message dropped"),
        }
    }

    /// An RPC came back, or failed.
    fn returned(self: &Arc<Self>, from: NodeId, snapshot: Option<EntryId>, reply: Option<Vec<u8>>) {
        let mut server = self.lock();
        if let Some(snapshot) = snapshot {
            self.step(&mut server, Event::SnapshotSent { to: from, snapshot, delivered: reply.is_some() });
        }
        match reply.map_or(Ok(Vec::new()), |reply| wire::decode_reply(&reply)) {
            Ok(messages) => {
                for message in messages {
                    self.step(&mut server, Event::Receive { from, message });
                }
            }
            Err(error) => tracing::warn!(%from, %error, "reply dropped"),
        }
    }
}

impl Server {
    /// Step the core and save what changed, until nothing waits for the disk: what follows may be carried out. Nothing
    /// does if the saving fails.
    fn step(&mut self, event: Event, mut data: Option<Bytes>) -> Vec<Action> {
        let mut actions = Vec::new();
        let mut next = Some(event);
        while let Some(event) = next.take().filter(|_| self.running) {
            let before = actions.len();
            self.core.step_into(event, &mut actions);
            let write = actions[before..].iter().find_map(|action| match action {
                Action::Persist(write) => Some(write),
                _ => None,
            });
            let Some(write) = write else { break };
            match self.save(write, data.take()) {
                Ok(()) => next = Some(Event::Persisted(write.id)),
                Err(error) => {
                    tracing::error!(id = %self.core.status().id(), %error, "cannot save");
                    self.running = false;
                    return Vec::new();
                }
            }
        }
        actions
    }

    fn save(&mut self, write: &Write, data: Option<Bytes>) -> Result<(), CodecError> {
        if let (Some(_), Some(data)) = (&write.snapshot, data) {
            self.snapshot = data;
        }
        self.persister.save(wire::encode_state(&self.core, write.id)?, self.snapshot.clone());
        Ok(())
    }

    /// How long it may sleep.
    fn due_in(&self) -> Duration {
        let due = Duration::from_millis(TICK_MS * (self.clock.told + u64::from(self.core.ticks_until_due())));
        due.saturating_sub(self.clock.started.elapsed())
    }
}

impl Clock {
    /// Ticks since it was last asked.
    fn elapsed(&mut self) -> u32 {
        let passed = self.started.elapsed().as_millis() / u128::from(TICK_MS);
        let elapsed = u32::try_from(passed.saturating_sub(self.told.into())).unwrap_or(u32::MAX);
        self.told += u64::from(elapsed);
        elapsed
    }
}

/// The labs' rules: about ten heartbeats a second, a leader within five seconds of a failure, consecutive indexes for
/// commands, and a log that a snapshot makes short.
fn config(id: NodeId) -> Config {
    Config {
        seed: fastrand::u64(..),
        heartbeat_ticks: 10,
        election_ticks_min: 50,
        election_ticks_max: 100,
        leader_noop: false,
        inflight_appends_max: 8,
        trailing_entries: 0,
        transfer_bytes_max: 512,
        snapshot_timeout_ticks: 1000,
        ..Config::new(id)
    }
}

fn node_id(server: usize) -> NodeId {
    NodeId(server as u64)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::RecvTimeoutError;

    use super::super::{Network, apply_channel};
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn a_panic_in_the_middle_of_a_step_ends_the_server() {
        let network = Network::new(1).unwrap();
        let (apply_ch, mut messages) = apply_channel();
        let raft = Raft::make(network.peers(0), 0, Arc::new(Persister::new()), apply_ch).unwrap();
        let begun = Instant::now();
        while raft.start("1").is_err() {
            assert!(begun.elapsed() < PATIENCE);
            thread::sleep(Duration::from_millis(TICK_MS));
        }
        thread::scope(|scope| {
            let panicking = scope.spawn(|| {
                let _server = raft.0.server.lock().unwrap();
                panic!("on purpose");
            });
            assert!(panicking.join().is_err());
        });
        assert!(raft.start("2").is_err() && !raft.get_state().1);
        assert_eq!(messages.recv_timeout(PATIENCE), Err(RecvTimeoutError::Disconnected));
    }
}
