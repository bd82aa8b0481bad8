//! What a node is made of, said step by step.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use raft_std_driver::engine::Setup;
use raft_std_driver::machine::StateMachine;
use raft_std_driver::machine::typed::{Application, Typed};
use raft_std_driver::raft_core::{Incarnation, Membership, NodeId};
use raft_std_driver::storage::{Birth, ClusterId, FileOptions, FileStorage, Identity, Storage, StorageError};
use raft_std_driver::transport::Transport;
use raft_std_driver::workers::{Threads, Workers};
use raft_std_driver::{NodeConfig, NodeError};
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::core_task;
use crate::error::BuildError;
use crate::meters::Meters;
use crate::node::Node;
use crate::transport::link::{Guard, Sockets};
use crate::transport::tcp::{TcpConfig, TcpTransport};
use crate::typed::TypedNode;
use crate::watching::Watching;

/// What a [`Node`] is made of. It needs to know who it is ([`id`](Builder::id)), what it replicates
/// ([`machine`](Builder::machine)), where its promises are kept ([`create`](Builder::create), [`open`](Builder::open), ...)
/// and who the others are ([`members`](Builder::members)). Everything else has good defaults.
pub struct Builder {
    id: Option<NodeId>,
    cluster: ClusterId,
    members: Vec<(NodeId, String)>,
    listen: Option<String>,
    storage: Option<Place>,
    machine: Option<Box<dyn StateMachine>>,
    transport: Option<Arc<dyn Transport>>,
    tune_node: Vec<Tune<NodeConfig>>,
    tune_tcp: Vec<Tune<TcpConfig>>,
    guard: Option<Arc<dyn Guard>>,
    /// Whose certificate the guard shows, if that is known.
    guarded: Option<NodeId>,
    sockets: Option<Arc<dyn Sockets>>,
    workers: Option<Arc<dyn Workers>>,
}

type Tune<T> = Box<dyn FnOnce(&mut T) + Send>;

/// Where promises are kept.
enum Place {
    Directory { path: PathBuf, first_start: FirstStart },
    Other(Box<dyn Storage>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum FirstStart {
    Yes,
    No,
    IfEmpty,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("id", &self.id).field("members", &self.members).finish_non_exhaustive()
    }
}

impl Builder {
    pub(crate) fn new() -> Builder {
        Builder {
            id: None,
            cluster: ClusterId::default(),
            members: Vec::new(),
            listen: None,
            storage: None,
            machine: None,
            transport: None,
            tune_node: Vec::new(),
            tune_tcp: Vec::new(),
            guard: None,
            guarded: None,
            sockets: None,
            workers: None,
        }
    }

    /// Who this server is: a number that no other member has or had.
    #[must_use]
    pub fn id(mut self, id: u64) -> Builder {
        self.id = Some(NodeId(id));
        self
    }

    /// Which cluster it belongs to; 0 if not said. Servers of different clusters refuse each other, so that a wrong address
    /// does no harm.
    #[must_use]
    pub fn cluster(mut self, cluster: u64) -> Builder {
        self.cluster = ClusterId(cluster);
        self
    }

    /// All members of the cluster and where they listen, this server among them: `host:port`. On the first start they
    /// become the cluster's first membership; later the disk says who the members are, and this only where they are.
    #[must_use]
    pub fn members<A: Into<String>>(mut self, members: impl IntoIterator<Item = (u64, A)>) -> Builder {
        self.members = members.into_iter().map(|(id, address)| (NodeId(id), address.into())).collect();
        self
    }

    /// Listen here, if that is not the address under which the others know this server: `0.0.0.0:7001`, say.
    #[must_use]
    pub fn listen(mut self, address: impl Into<String>) -> Builder {
        self.listen = Some(address.into());
        self
    }

    /// The first start: make this server's data directory. Fails if it already belongs to a server.
    #[must_use]
    pub fn create(self, directory: impl AsRef<Path>) -> Builder {
        self.directory(directory, FirstStart::Yes)
    }

    /// A later start: use the data directory. Fails if it is empty, since a server that has lost its disk has forgotten
    /// what it promised, and must not come back as if nothing had happened.
    #[must_use]
    pub fn open(self, directory: impl AsRef<Path>) -> Builder {
        self.directory(directory, FirstStart::No)
    }

    /// [`open`](Builder::open) the data directory, or [`create`](Builder::create) it if it is empty: for tests and examples.
    /// Where it matters, let a human or a deployment say which start is the first: a disk that was lost looks like one that
    /// was never used, and a cluster whose members forget can lose what it acknowledged.
    #[must_use]
    pub fn open_or_create(self, directory: impl AsRef<Path>) -> Builder {
        self.directory(directory, FirstStart::IfEmpty)
    }

    fn directory(mut self, path: impl AsRef<Path>, first_start: FirstStart) -> Builder {
        self.storage = Some(Place::Directory { path: path.as_ref().to_path_buf(), first_start });
        self
    }

    /// Keep promises here instead of in a directory of files.
    #[must_use]
    pub fn storage(mut self, storage: impl Storage) -> Builder {
        self.storage = Some(Place::Other(Box::new(storage)));
        self
    }

    /// What is replicated. For commands of your own types instead of bytes see [`start_typed`](Builder::start_typed).
    #[must_use]
    pub fn machine(mut self, machine: impl StateMachine) -> Builder {
        self.machine = Some(Box::new(machine));
        self
    }

    /// Reach the others by this, instead of TCP: a [`LocalNetwork`](crate::transport::LocalNetwork) in tests, or one of your
    /// own. It must be of this server and this cluster, and what is said here of TCP (listen, tune_tcp, tls, guard, sockets)
    /// is an error then: it would not come into force.
    #[must_use]
    pub fn transport(mut self, transport: Arc<dyn Transport>) -> Builder {
        self.transport = Some(transport);
        self
    }

    /// Change the settings of the node, or, by its `raft`, of the core.
    #[must_use]
    pub fn tune(mut self, change: impl FnOnce(&mut NodeConfig) + Send + 'static) -> Builder {
        self.tune_node.push(Box::new(change));
        self
    }

    /// Change the settings of the TCP transport.
    #[must_use]
    pub fn tune_tcp(mut self, change: impl FnOnce(&mut TcpConfig) + Send + 'static) -> Builder {
        self.tune_tcp.push(Box::new(change));
        self
    }

    /// Make links over TCP safe by TLS with mutual authentication. Keep a handle to reload its certificates.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(self, tls: &crate::tls::Tls) -> Builder {
        Builder { guarded: Some(tls.node()), ..self.guard(Arc::new(tls.clone())) }
    }

    /// Make links over TCP safe by something of your own. Without a guard everybody who can reach the port can read and
    /// forge what servers say to each other, and the log says so.
    #[must_use]
    pub fn guard(mut self, guard: Arc<dyn Guard>) -> Builder {
        (self.guard, self.guarded) = (Some(guard), None);
        self
    }

    /// Run TCP over these, instead of the system's: simulated ones, say.
    #[must_use]
    pub fn sockets(mut self, sockets: Arc<dyn Sockets>) -> Builder {
        self.sockets = Some(sockets);
        self
    }

    /// Run what may block here, instead of on threads: for simulations that must be the same each time. Nothing is then
    /// done on any other thread.
    #[must_use]
    pub fn workers(mut self, workers: impl Workers) -> Builder {
        self.workers = Some(Arc::new(workers));
        self
    }

    /// Start the server on what its storage kept. Must be called within a tokio runtime, whose tasks then run it.
    ///
    /// # Errors
    /// If something was not said, the storage cannot be recovered, the address is in use, and so on.
    pub async fn start(self) -> Result<Node, BuildError> {
        let id = self.id.ok_or(BuildError::Missing { what: "this server's id", call: "id" })?;
        self.check_links(id)?;
        let machine = self.machine.ok_or(BuildError::Missing { what: "what to replicate", call: "machine" })?;
        let place = self.storage.ok_or(BuildError::Missing { what: "where to keep promises", call: "open" })?;
        let mut config = NodeConfig::new(id);
        self.tune_node.into_iter().for_each(|tune| tune(&mut config));
        config.raft.id = id;
        find_timers()?;

        // A simulation lets nothing run beside its own thread.
        let aside = self.workers.is_none();
        let workers = self.workers.unwrap_or_else(|| Arc::new(Threads));
        let members: Vec<NodeId> = self.members.iter().map(|(id, _)| *id).collect();
        let identity = Identity { cluster: self.cluster, node: id, ..Identity::default() };
        // What can fail for other reasons comes before a directory is made: that cannot be made twice.
        config.check()?;
        let transport: Arc<dyn Transport> = match self.transport {
            Some(transport) => transport,
            None => {
                let mut settings = TcpConfig::new(identity.cluster, &config.raft);
                self.tune_tcp.into_iter().for_each(|tune| tune(&mut settings));
                (settings.cluster, settings.id) = (identity.cluster, id);
                let address = self.listen.or_else(|| address_of(id, &self.members));
                let address = address.ok_or(BuildError::Missing { what: "where to listen", call: "members" })?;
                let mut tcp = TcpTransport::builder(settings).peers(self.members).workers(Arc::clone(&workers));
                tcp = if let Some(guard) = self.guard { tcp.guard(guard) } else { tcp };
                tcp = if let Some(sockets) = self.sockets { tcp.sockets(sockets) } else { tcp };
                Arc::new(tcp.bind(&address).await?)
            }
        };
        let storage = run(aside, move || open_storage(place, identity, &members)).await?;

        let (watching, meters) = (Arc::new(Watching::new()), Arc::new(Meters::new(id)));
        let observer = Arc::new((Arc::clone(&watching), Arc::clone(&meters)));
        let setup = Setup { config, storage, machine, transport: Arc::clone(&transport), workers, observer };
        let now = Instant::now().into_std();
        let (engine, control) = run(aside, move || Ok(setup.start(now)?)).await?;
        tokio::spawn(core_task::run(engine, transport, control.keep_alive(), watching.clone(), meters.clone()));
        Ok(Node::new(id, control, watching, meters))
    }

    /// What would silently not come into force, or be found out by peers only.
    fn check_links(&self, id: NodeId) -> Result<(), BuildError> {
        let of_tcp = [
            (self.guard.is_some(), "tls or guard"),
            (self.sockets.is_some(), "sockets"),
            (self.listen.is_some(), "listen"),
            (!self.tune_tcp.is_empty(), "tune_tcp"),
        ];
        if let Some((_, call)) = of_tcp.into_iter().find(|(said, _)| *said && self.transport.is_some()) {
            return Err(BuildError::NotTcp { call });
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
    /// Those of [`start`](Builder::start).
    pub async fn start_typed<A: Application>(self, application: A) -> Result<TypedNode<A>, BuildError> {
        self.machine(Typed(application)).start().await.map(TypedNode::new)
    }
}

/// A runtime without them is found before anything is touched.
fn find_timers() -> Result<(), BuildError> {
    let missing = |what: String| BuildError::NoRuntime(Arc::new(std::io::Error::other(what)));
    Handle::try_current().map_err(|error| missing(error.to_string()))?;
    // There is no other way to ask: a timer panics.
    std::panic::catch_unwind(|| drop(tokio::time::sleep(Duration::ZERO)))
        .map_err(|_| missing("its timers are disabled".to_owned()))
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

fn open_storage(place: Place, identity: Identity, members: &[NodeId]) -> Result<Box<dyn Storage>, BuildError> {
    let (path, first_start) = match place {
        Place::Other(storage) => return Ok(storage),
        Place::Directory { path, first_start } => (path, first_start),
    };
    let create = |path: &Path| {
        if !members.contains(&identity.node) {
            let what = format!("a first start needs the cluster's members, with server {} among them", identity.node);
            return Err(BuildError::Members { what });
        }
        let identity = Identity { incarnation: Incarnation(fastrand::u64(1..)), ..identity };
        let birth = Birth { identity, membership: Membership::new(members.iter().copied()) };
        Ok(FileStorage::init(path, birth, FileOptions::default())?)
    };
    let storage = match first_start {
        FirstStart::Yes => create(&path)?,
        FirstStart::No => FileStorage::open(&path, FileOptions::default())?,
        FirstStart::IfEmpty => match FileStorage::open(&path, FileOptions::default()) {
            Err(StorageError::Empty { .. }) => create(&path)?,
            opened => opened?,
        },
    };
    let (configured, stored) = (identity.cluster.0, storage.identity().cluster.0);
    if configured != stored {
        return Err(BuildError::Cluster { configured, stored });
    }
    Ok(Box::new(storage))
}

fn address_of(id: NodeId, members: &[(NodeId, String)]) -> Option<String> {
    members.iter().find(|(member, _)| *member == id).map(|(_, address)| address.clone())
}
