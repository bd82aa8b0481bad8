//! A node without a loop: for drivers that have one of their own. [`Node`](crate::Node) is this with a thread around it.
//!
//! A [`Setup`] becomes an [`Engine`], which one loop polls, and a [`Control`] for everyone else. Disk and machine are
//! [`Part`](crate::workers::Part)s, run by the setup's [`Workers`].

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use raft_core::{Config, EntryId, Index, NodeId, Raft, Restored};
use tracing::span::EnteredSpan;

use crate::config::NodeConfig;
use crate::control::Control;
use crate::core_loop::CoreLoop;
use crate::disk_part::DiskPart;
use crate::error::NodeError;
use crate::machine::StateMachine;
use crate::machine_part::{MachinePart, Standing};
use crate::mark::Here;
use crate::net::LinkConfig;
use crate::observer::Observer;
use crate::peers::{Orders, Peers, Protection};
use crate::receiving::{Custody, Reception};
use crate::server::Server;
use crate::shared::{Alive, Shared, drop_watched, watch};
use crate::storage::Storage;
use crate::traffic::Traffic;
use crate::transport::{Inbound, Transport};
use crate::workers::Workers;

/// What a node is made of.
pub struct Setup {
    /// Its settings.
    pub config: NodeConfig,
    /// Where its promises become durable.
    pub storage: Box<dyn Storage>,
    /// The application behind its log, which is restored from the last snapshot and the log.
    pub machine: Box<dyn StateMachine>,
    /// How it reaches its peers.
    pub connections: Connections,
    /// Where its blocking work runs.
    pub workers: Arc<dyn Workers>,
    /// Who watches it.
    pub observer: Arc<dyn Observer>,
}

/// How a node reaches its peers.
pub enum Connections {
    /// By a transport.
    Transport(Arc<dyn Transport>),
    /// By connections of its own, whose sockets the loop owns: see [`Engine::tell_peers`].
    Own {
        /// Their settings.
        config: Box<LinkConfig>,
        /// Whether they are made safe.
        protection: Protection,
        /// The peers and their addresses, each a `host:port`.
        peers: Vec<(NodeId, String)>,
    },
}

impl Setup {
    /// Recover what the storage kept, start the transport and the parts that block. `now` is when the engine's clock
    /// begins; it may be any clock that does not go backwards.
    ///
    /// # Errors
    /// If the storage cannot be recovered or makes no server, or the transport cannot start, or there are no threads.
    pub fn start(self, now: Instant) -> Result<(Engine, Control), NodeError> {
        let Setup { config, mut storage, machine, connections, workers, observer } = self;
        config.check()?;
        let NodeConfig { raft: config, tick, snapshot_log_bytes, inbox_bytes_max } = config;
        let Config { id, command_bytes_max, backlog_bytes_max, .. } = config;
        let (raft, standing, founders) = recover(config, &mut *storage, &*machine, snapshot_log_bytes)?;

        let shared = Arc::new(Shared::new(id, inbox_bytes_max, workers, observer));
        let (snapshots, custody) = (storage.snapshots(), Arc::new(Custody::default()));
        let reception = Reception { shared: shared.clone(), snapshots: snapshots.clone(), custody: custody.clone() };
        let reception = Arc::new(reception);
        let (transport, peers) = connect(connections, &shared, &reception, (founders, now))?;
        let server = Server::new(raft, peers, tick, backlog_bytes_max, now);
        let mut core = CoreLoop::new(shared.clone(), server, transport, snapshots.clone(), reception);
        core.show(0, 0);
        let engine = Engine { core: Some(core), begun: false, alive: shared.keep_alive() };
        let machine = MachinePart::new(shared.clone(), machine, snapshots.clone(), custody.clone(), standing);
        let disk = DiskPart::new(shared.clone(), storage, snapshots, custody);
        let spawned = shared.spawn("disk", disk.run()).and_then(|()| shared.spawn("machine", machine.run()));
        match spawned {
            Ok(()) => Ok((engine, Control::new(shared, command_bytes_max))),
            // The engine is dropped, which stops what runs and shuts the transport.
            Err(error) => Err(NodeError::NoThread(Arc::new(error))),
        }
    }
}

type Reached = (Option<Arc<dyn Transport>>, Option<Peers>);

fn connect(
    connections: Connections,
    shared: &Arc<Shared>,
    reception: &Arc<Reception>,
    (founders, now): (u64, Instant),
) -> Result<Reached, NodeError> {
    match connections {
        Connections::Transport(transport) => {
            let started = shared.lines.span().in_scope(|| transport.start(Arc::clone(reception) as Arc<dyn Inbound>));
            started.map_err(|error| NodeError::Transport(Arc::new(error)))?;
            Ok((Some(transport), None))
        }
        Connections::Own { mut config, protection, peers: members } => {
            // Whatever the caller says: two clusters of one name must not meet.
            config.birth = founders;
            let mut peers = Peers::new(*config, protection);
            peers.set_table(&members, now);
            Ok((None, Some(peers)))
        }
    }
}

fn recover(
    config: Config,
    storage: &mut dyn Storage,
    machine: &dyn StateMachine,
    log_bytes_max: u64,
) -> Result<(Raft, Standing, u64), NodeError> {
    let (id, kept) = (config.id, storage.recover().map_err(|error| NodeError::Storage(Arc::new(error)))?);
    if kept.identity.node != id {
        return Err(NodeError::Stranger { configured: id, stored: kept.identity.node });
    }
    let applied = machine.applied();
    let bytes_after = |index: Index| kept.entries.clone().starting_at(index.next()).bytes();
    let log_bytes = bytes_after(kept.snapshot.last.index).saturating_sub(bytes_after(applied));
    let snapshot = kept.snapshot.last;
    tracing::info!(node = id.0, %snapshot, entries = %kept.entries, term = kept.hard_state.term.0, "recovered");
    let restored = Restored {
        incarnation: kept.identity.incarnation,
        boot: fastrand::u64(1..),
        hard_state: kept.hard_state,
        snapshot: kept.snapshot,
        entries: kept.entries,
        applied,
        ..Restored::default()
    };
    let restored = restored.keep_tail(config.resident_bytes_max);
    let raft = Raft::new(config, restored)?;
    // A machine that is behind the snapshot is restored before anything else.
    let applied = raft.snapshot_at(applied).map_or(EntryId::ZERO, |at| at.last);
    Ok((raft, Standing { applied, snapshot, log_bytes, log_bytes_max }, kept.identity.founders))
}

/// The core of a node and what feeds it, to be polled by one loop. Dropping it stops the node.
pub struct Engine {
    core: Option<CoreLoop>,
    begun: bool,
    alive: Alive,
}

impl Engine {
    /// Deal with what has come in, and with the time that has passed until `now`, in one round.
    ///
    /// Ready with `true` after a round: poll again. Pending when there is nothing to do: poll again when the waker says so
    /// or [`due`](Engine::due) has come. Ready with `false` when the node has stopped: by then the transport is shut down.
    pub fn poll(&mut self, context: &Context<'_>, now: Instant) -> Poll<bool> {
        let Engine { core, begun, alive } = self;
        let Some(running) = core else { return Poll::Ready(false) };
        let round = || {
            if !std::mem::replace(begun, true) {
                // What the server says before anything has come in.
                running.carry_out();
            }
            running.poll_round(context, now).map(Ok)
        };
        let shared = alive.shared();
        let Poll::Ready(done) = watch(shared, "core", round) else { return Poll::Pending };
        let goes_on = done == Some(true);
        if !goes_on {
            drop_watched(shared, "core", core.take());
        }
        Poll::Ready(goes_on)
    }

    /// The calling thread works for the node until what is returned is dropped: what it logs is the node's, and what it calls
    /// back waits for nothing that only it can do.
    #[must_use]
    pub fn enter(&self) -> Entered {
        let shared = self.alive.shared();
        Entered { _here: shared.mark.enter(), _span: shared.lines.span().clone().entered() }
    }

    /// Tell the node's connections what has happened to their sockets; it is dealt with by the next [`poll`](Engine::poll).
    /// Nothing, once the node has stopped, or if it is reached by a transport.
    pub fn tell_peers<T>(&mut self, tell: impl FnOnce(&mut Peers) -> T) -> Option<T> {
        self.core.as_mut()?.tell_peers(tell)
    }

    /// What is to be done with sockets since the last time; it is added to `orders`.
    pub fn take_orders(&mut self, orders: &mut Orders) {
        if let Some(core) = &mut self.core {
            core.take_orders(orders);
        }
    }

    /// What has been exchanged with each peer over the node's own connections, and how it stands with it.
    pub fn traffic(&mut self) -> Vec<(NodeId, Traffic)> {
        self.tell_peers(|peers| peers.traffic().collect()).unwrap_or_default()
    }

    /// When to [`poll`](Engine::poll) even if nothing comes in; `None` = no need to.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.core.as_ref().and_then(CoreLoop::due)
    }
}

/// See [`Engine::enter`].
pub struct Entered {
    _here: Here,
    _span: EnteredSpan,
}

impl Drop for Engine {
    fn drop(&mut self) {
        drop_watched(self.alive.shared(), "core", self.core.take());
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::pin::pin;
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::task::Waker;
    use std::time::Duration;

    use raft_core::{Bytes, Membership, NodeId};

    use super::*;
    use crate::events::NodeEvent;
    use crate::machine::{Command, SnapshotWriter};
    use crate::queue::lock;
    use crate::storage::mem::MemDisk;
    use crate::storage::{Birth, ClusterId};
    use crate::transport::local::LocalNetwork;
    use crate::workers::{Part, Threads, block_on};
    use crate::{Outcome, ReadError, SnapshotError, StartError};

    struct Echo;

    impl StateMachine for Echo {
        fn apply(&mut self, commands: &[Command<'_>], answers: &mut Vec<Bytes>) -> io::Result<()> {
            assert!(commands.iter().all(|command| *command.bytes != "panic"), "as asked");
            answers.extend(commands.iter().map(|command| command.bytes.clone()));
            Ok(())
        }

        fn snapshot(&mut self) -> SnapshotWriter {
            Box::new(|_| Ok(()))
        }

        fn restore(&mut self, _: &mut dyn io::Read) -> io::Result<()> {
            Ok(())
        }
    }

    fn setup(workers: Arc<dyn Workers>, observer: Arc<dyn Observer>) -> Setup {
        let id = NodeId(1);
        let disk = MemDisk::new(Birth::founder(ClusterId(1), id, Membership::new([id])).with_incarnation(1));
        let storage = Box::new(disk.open().unwrap());
        let transport = LocalNetwork::new().attach(id);
        Setup {
            config: NodeConfig::new(id),
            storage,
            machine: Box::new(Echo),
            connections: Connections::Transport(transport),
            workers,
            observer,
        }
    }

    /// Poll until the server leads.
    fn lead(engine: &mut Engine) {
        let context = Context::from_waker(Waker::noop());
        let mut now = Instant::now();
        while !engine.core.as_ref().is_some_and(CoreLoop::leads) {
            now += Duration::from_millis(10);
            assert_ne!(engine.poll(&context, now), Poll::Ready(false));
        }
    }

    /// Takes parts in, and lets go of them when it is told to.
    #[derive(Default)]
    struct Fickle(Mutex<Vec<Part>>);

    impl Workers for Fickle {
        fn spawn(&self, _: &str, part: Part) -> io::Result<()> {
            lock(&self.0).push(part);
            Ok(())
        }
    }

    #[test]
    fn a_part_that_its_workers_let_go_of_stops_the_node() {
        for lost in [0, 1] {
            let fickle = Arc::new(Fickle::default());
            let (mut engine, control) = setup(fickle.clone(), Arc::new(())).start(Instant::now()).unwrap();
            let mut snapshot = pin!(control.snapshot());
            let mut context = Context::from_waker(Waker::noop());
            assert!(snapshot.as_mut().poll(&mut context).is_pending());
            let part = lock(&fickle.0).remove(lost);
            drop(part);
            assert_eq!(engine.poll(&context, Instant::now()), Poll::Ready(false));
            lock(&fickle.0).clear();
            assert_eq!(block_on(snapshot), Err(SnapshotError::Stopped));
            drop(engine);
            block_on(control.ended()).unwrap();
        }
    }

    #[test]
    fn who_asks_and_waits_no_longer_fills_no_queue() {
        let (_engine, control) = setup(Arc::new(Fickle::default()), Arc::new(())).start(Instant::now()).unwrap();
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..1000 {
            assert!(pin!(control.snapshot()).poll(&mut context).is_pending());
            assert!(pin!(control.status()).poll(&mut context).is_pending());
        }
        assert_eq!((control.shared.apply.len(), control.shared.inbox.leftovers().notes.len()), (1, 1));
    }

    /// A transfer that nobody looked at ends with the node, and one that is asked for afterwards too.
    #[test]
    fn a_transfer_does_not_outlive_the_node() {
        let (engine, control) = setup(Arc::new(Threads), Arc::new(())).start(Instant::now()).unwrap();
        let mut waiting = pin!(control.transfer(None));
        let mut context = Context::from_waker(Waker::noop());
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        drop(engine);
        let stopped = Err(crate::TransferError::Stopped);
        assert_eq!((block_on(waiting), block_on(control.transfer(None))), (stopped, stopped));
    }

    #[test]
    fn a_part_of_the_node_does_not_wait_for_a_read() {
        let (engine, control) = setup(Arc::new(Threads), Arc::new(())).start(Instant::now()).unwrap();
        let here = control.shared.mark.enter();
        assert_eq!(block_on(control.read()), Err(ReadError::OwnThread));
        drop(here);
        drop(engine);
        assert_eq!(block_on(control.read()), Err(ReadError::Stopped));
    }

    struct Panics;

    impl Observer for Panics {
        fn happened(&self, event: &NodeEvent) {
            assert!(!matches!(event, NodeEvent::Stops { .. }), "cannot bear it");
        }
    }

    #[test]
    fn an_observer_that_cannot_bear_the_end_does_not_keep_it_away() {
        let (engine, control) = setup(Arc::new(Threads), Arc::new(Panics)).start(Instant::now()).unwrap();
        control.stop();
        drop(engine);
        block_on(control.ended()).unwrap();
    }

    /// Tells when the node begins to stop, and keeps that from going on.
    struct Slow(Mutex<Sender<()>>, Mutex<Receiver<()>>);

    impl Observer for Slow {
        fn happened(&self, event: &NodeEvent) {
            if let NodeEvent::Stops { .. } = event {
                lock(&self.0).send(()).unwrap();
                let _go = lock(&self.1).recv();
            }
        }
    }

    /// The core, or the machine, may end for a reason of its own while someone else has only begun to stop the node.
    #[test]
    fn who_comes_while_the_node_begins_to_stop_does_not_wait_for_parts_that_are_gone() {
        for lost in ["core", "machine"] {
            let ((stops, stopping), (go, wait)) = (channel(), channel());
            let (workers, slow) = (Arc::new(Fickle::default()), Arc::new(Slow(Mutex::new(stops), Mutex::new(wait))));
            let (engine, control) = setup(workers.clone(), slow).start(Instant::now()).unwrap();
            std::thread::scope(|scope| {
                scope.spawn(|| control.stop());
                stopping.recv().unwrap();
                if lost == "core" {
                    drop(engine);
                } else {
                    drop(lock(&workers.0).pop());
                }
                let mut context = Context::from_waker(Waker::noop());
                let ended = match lost {
                    "core" => {
                        pin!(control.start("x".into())).poll(&mut context) == Poll::Ready(Err(StartError::Stopped))
                    }
                    _ => pin!(control.snapshot()).poll(&mut context) == Poll::Ready(Err(SnapshotError::Stopped)),
                };
                go.send(()).unwrap();
                assert!(ended, "{lost}");
            });
        }
    }

    #[test]
    fn who_waits_for_the_end_no_longer_leaves_nothing_behind() {
        let (_engine, control) = setup(Arc::new(Threads), Arc::new(())).start(Instant::now()).unwrap();
        let mut stays = pin!(control.ended());
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..3 {
            assert!(stays.as_mut().poll(&mut context).is_pending());
            assert!(pin!(control.ended()).poll(&mut context).is_pending());
        }
        assert_eq!(control.shared.waiting(), 1);
    }

    /// Whoever is called back when a machine has failed finds a node that has stopped, with the cause.
    #[test]
    fn a_machine_that_fails_stops_the_node_before_its_callers_hear_of_it() {
        let (mut engine, control) = setup(Arc::new(Threads), Arc::new(())).start(Instant::now()).unwrap();
        lead(&mut engine);
        let control = Arc::new(control);
        let (tell, told) = channel();
        let node = Arc::clone(&control);
        let call = move |outcome| tell.send((outcome, node.shared.is_stopping())).unwrap();
        block_on(control.call("panic".into(), crate::waiters::Waiter::calling(Box::new(call))));
        let context = Context::from_waker(Waker::noop());
        while engine.poll(&context, Instant::now()) != Poll::Ready(false) {}
        assert_eq!(told.recv().unwrap(), (Ok(Outcome::Unknown), true));
        drop(engine);
        assert!(block_on(control.ended()).unwrap_err().to_string().contains("as asked"));
    }
}
