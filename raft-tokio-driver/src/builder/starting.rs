//! How a node is started, once all is said.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use raft_std_driver::engine::{Connections, Setup};
use raft_std_driver::machine::typed::{Application, Typed};
use raft_std_driver::net::LinkConfig;
use raft_std_driver::peers::Protection;
use raft_std_driver::raft_core::NodeId;
use raft_std_driver::storage::Identity;
use raft_std_driver::tcp::BindError;
use raft_std_driver::workers::Threads;
use raft_std_driver::{NodeConfig, NodeError};
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::place::Place;
use super::{Builder, Listen};
use crate::core_task::{self, Reach};
use crate::error::BuildError;
use crate::meters::Meters;
use crate::node::Node;
use crate::transport::{TcpSockets, adopt};
use crate::typed::TypedNode;
use crate::watching::Watching;
use crate::wires::Wires;

impl Builder {
    /// Start the server on what its storage kept. Must be called within a tokio runtime, whose tasks then run it.
    ///
    /// # If it is dropped before it is done
    /// No server runs then, and nothing more is begun. What is just being done with the data directory comes to its end on
    /// another thread; a little later directory and address are free. A first start may have made the directory, whole, or
    /// not at all: `create` may therefore be refused the next time, and [`open`](Builder::open) is right then. If that
    /// says that nobody lives there, it is `create` after all.
    ///
    /// # Errors
    /// If something was not said, the storage cannot be recovered, the address is in use, and so on.
    ///
    /// A runtime whose timers or IO are disabled is one of these errors too. But tokio tells only by a panic, which is
    /// caught: the panic hook hears of it, and a program that is built with `panic = "abort"` ends there.
    pub async fn start(mut self) -> Result<Node, BuildError> {
        let id = self.id.ok_or(BuildError::Missing { what: "this server's id", call: "id" })?;
        self.check(id)?;
        let machine = self.machine.take().ok_or(BuildError::Missing { what: "what to replicate", call: "machine" })?;
        let place = self.storage.take();
        let place = place.ok_or(BuildError::Missing { what: "where to keep promises", call: "open" })?;
        let mut config = NodeConfig::new(id);
        self.tune_node.drain(..).for_each(|tune| tune(&mut config));
        config.raft.id = id;
        self.find_runtime()?;

        // A simulation lets nothing run beside its own thread.
        let aside = self.workers.is_none();
        let workers = self.workers.take().unwrap_or_else(|| Arc::new(Threads));
        let members: Vec<NodeId> = self.members.iter().map(|(id, _)| *id).collect();
        let identity = Identity { cluster: self.cluster, node: id, ..Identity::default() };
        let (files, beside) = (self.files.unwrap_or_default(), self.beside.take());
        // What can fail for other reasons comes before a directory is made: that cannot be made twice.
        config.check()?;
        let (address, connections, reach) = self.links(&config).await?;

        let (watching, meters) = (Arc::new(Watching::new()), Arc::new(Meters::new(id)));
        let observer = Arc::new((Arc::clone(&watching), Arc::clone(&meters)));
        let caller = Arc::new(());
        let waits = Arc::downgrade(&caller);
        let start = move || {
            unless_given_up(&waits)?;
            let storage = place.open(files, identity, &members)?;
            let setup = Setup { config, storage, machine, connections, workers, observer };
            Ok(setup.start(Instant::now().into_std())?)
        };
        let (engine, control) = run(aside, start).await?;
        drop(caller);
        let beside = beside.map(|begin| begin());
        tokio::spawn(core_task::run(engine, reach, (control.keep_alive(), beside), watching.clone(), meters.clone()));
        Ok(Node::new((id, address), control, watching, meters))
    }

    /// How it reaches the others, and where it listens, if that is known.
    async fn links(self, config: &NodeConfig) -> Result<(Option<SocketAddr>, Connections, Reach), BuildError> {
        if let Some(transport) = self.transport {
            return Ok((None, Connections::Transport(transport.clone()), Reach::Transport(transport)));
        }
        let id = config.raft.id;
        let mut settings = LinkConfig::new(self.cluster, &config.raft);
        self.tune_tcp.into_iter().for_each(|tune| tune(&mut settings));
        (settings.cluster, settings.id, settings.strangers) = (self.cluster, id, false);
        let listen = self.listen.or_else(|| Some(Listen::At(address_of(id, &self.members)?)));
        let listen = listen.ok_or(BuildError::Missing { what: "where to listen", call: "members" })?;
        let sockets = self.sockets.unwrap_or_else(|| Arc::new(TcpSockets { stall_timeout: settings.stall_timeout }));
        let listener = match listen {
            Listen::At(address) => sockets.listen(&address).await.map_err(|source| BindError { address, source })?,
            Listen::On(listener) => adopt(listener, settings.stall_timeout).map_err(unknown)?,
        };
        let address = listener.local_addr().map_err(unknown)?;
        if matches!(self.protection, Protection::Open) {
            tracing::warn!(node = id.0, %address, "connections are open: who can reach them can read and forge messages");
        }
        let config = Box::new(settings);
        let connections = Connections::Own { config, protection: self.protection, peers: self.members };
        Ok((Some(address), connections, Reach::Wires(Wires::new(sockets, listener))))
    }

    /// A runtime without what is needed is found before anything is touched.
    fn find_runtime(&self) -> Result<(), BuildError> {
        let missing = |what: String| BuildError::NoRuntime(Arc::new(std::io::Error::other(what)));
        Handle::try_current().map_err(|error| missing(error.to_string()))?;
        // There is no other way to ask: what is not there panics.
        std::panic::catch_unwind(|| drop(tokio::time::sleep(Duration::ZERO)))
            .map_err(|_| missing("its timers are disabled".to_owned()))?;
        let on_system = self.sockets.is_none() || matches!(self.listen, Some(Listen::On(_)));
        if self.transport.is_some() || !on_system {
            return Ok(());
        }
        // A socket that reaches nobody. That there may be none is not what is asked here.
        std::panic::catch_unwind(|| drop(tokio::net::UnixDatagram::unbound()))
            .map_err(|_| missing("its IO is disabled".to_owned()))
    }

    /// What would silently not come into force, or be found out by peers only.
    fn check(&self, id: NodeId) -> Result<(), BuildError> {
        let of_tcp = [
            (!matches!(self.protection, Protection::Open), "tls"),
            (self.sockets.is_some(), "sockets"),
            (self.listen.is_some(), "listen or listener"),
            (!self.tune_tcp.is_empty(), "tune_tcp"),
        ];
        if let Some((_, call)) = of_tcp.into_iter().find(|(said, _)| *said && self.transport.is_some()) {
            return Err(BuildError::NotTcp { call });
        }
        if self.files.is_some() && matches!(self.storage, Some(Place::Other(_))) {
            return Err(BuildError::NotFiles);
        }
        if let Some(certified) = self.guarded.filter(|certified| *certified != id) {
            return Err(BuildError::Certificate { configured: id, certified });
        }
        let mut ids: Vec<NodeId> = self.members.iter().map(|(id, _)| *id).collect();
        ids.sort_unstable();
        match ids.windows(2).find(|pair| pair.first() == pair.last()).and_then(<[_]>::first) {
            Some(twice) => Err(BuildError::Members { what: format!("server {twice} is twice among the members") }),
            None => Ok(()),
        }
    }

    /// The same, for a state of your own type with commands of your own types.
    ///
    /// # Errors
    /// Those of [`start`](Builder::start), and if a [`machine`](Builder::machine) was given: it would not come into force.
    pub async fn start_typed<A: Application>(self, application: A) -> Result<TypedNode<A>, BuildError> {
        if self.machine.is_some() {
            return Err(BuildError::TwoMachines);
        }
        self.machine(Typed(application)).start().await.map(TypedNode::new)
    }
}

/// Of a listener that was given.
fn unknown(source: std::io::Error) -> BindError {
    BindError { address: "the given listener".to_owned(), source }
}

/// Whoever asked for a node may be gone, and then wants none. Nobody hears this error.
fn unless_given_up(caller: &Weak<()>) -> Result<(), BuildError> {
    if caller.strong_count() > 0 {
        return Ok(());
    }
    Err(NodeError::Thread { thread: "start".to_owned(), message: "nobody waits for it".to_owned() }.into())
}

/// On a thread where blocking does no harm, or in a simulation right here.
async fn run<T: Send + 'static>(
    aside: bool,
    work: impl FnOnce() -> Result<T, BuildError> + Send + 'static,
) -> Result<T, BuildError> {
    let runtime =
        Handle::try_current().map_err(|error| BuildError::NoRuntime(Arc::new(std::io::Error::other(error))))?;
    if !aside {
        return work();
    }
    runtime.spawn_blocking(work).await.unwrap_or_else(|failed| {
        Err(NodeError::Thread { thread: "start".to_owned(), message: failed.to_string() }.into())
    })
}

fn address_of(id: NodeId, members: &[(NodeId, String)]) -> Option<String> {
    members.iter().find(|(member, _)| *member == id).map(|(_, address)| address.clone())
}
