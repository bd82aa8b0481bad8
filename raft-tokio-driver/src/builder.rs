//! What a node is made of, said step by step.

mod place;
mod starting;

use std::fmt;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use raft_std_driver::NodeConfig;
use raft_std_driver::machine::StateMachine;
use raft_std_driver::net::LinkConfig;
use raft_std_driver::peers::Protection;
use raft_std_driver::raft_core::NodeId;
use raft_std_driver::storage::{ClusterId, FileOptions, Storage};
use raft_std_driver::transport::Transport;
use raft_std_driver::workers::Workers;

use self::place::{FirstStart, Place};
use crate::node::Node;
use crate::transport::link::Sockets;

/// What a [`Node`] is made of. It needs to know who it is ([`id`](Builder::id)), what it replicates
/// ([`machine`](Builder::machine)), where its promises are kept ([`create`](Builder::create), [`open`](Builder::open), ...)
/// and who the others are ([`members`](Builder::members)). Everything else has good defaults.
pub struct Builder {
    id: Option<NodeId>,
    cluster: ClusterId,
    members: Vec<(NodeId, String)>,
    listen: Option<Listen>,
    storage: Option<Place>,
    files: Option<FileOptions>,
    machine: Option<Box<dyn StateMachine>>,
    transport: Option<Arc<dyn Transport>>,
    tune_node: Vec<Tune<NodeConfig>>,
    tune_tcp: Vec<Tune<LinkConfig>>,
    protection: Protection,
    /// Whose certificate is shown, if any.
    guarded: Option<NodeId>,
    beside: Option<Beside>,
    sockets: Option<Arc<dyn Sockets>>,
    workers: Option<Arc<dyn Workers>>,
}

type Tune<T> = Box<dyn FnOnce(&mut T) + Send>;

/// What runs beside a node, from when it starts until what this returns is dropped, at its end.
type Beside = Box<dyn FnOnce() -> Box<dyn Send> + Send>;

/// Where the server listens.
enum Listen {
    At(String),
    On(TcpListener),
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("id", &self.id).field("members", &self.members).finish_non_exhaustive()
    }
}

impl Node {
    /// What a server is made of, to be said before it starts.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::new()
    }
}

impl Builder {
    fn new() -> Builder {
        Builder {
            id: None,
            cluster: ClusterId::default(),
            members: Vec::new(),
            listen: None,
            storage: None,
            files: None,
            machine: None,
            transport: None,
            tune_node: Vec::new(),
            tune_tcp: Vec::new(),
            protection: Protection::Open,
            guarded: None,
            beside: None,
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

    /// Listen here, if that is not the address under which the others know this server: `0.0.0.0:7001`, say. Port 0 takes
    /// a free one, which [`Node::local_addr`] tells.
    #[must_use]
    pub fn listen(mut self, address: impl Into<String>) -> Builder {
        self.listen = Some(Listen::At(address.into()));
        self
    }

    /// Listen on this, which is bound already: by a service manager, or to a free port that the other members must be told
    /// before this server starts.
    #[must_use]
    pub fn listener(mut self, listener: TcpListener) -> Builder {
        self.listen = Some(Listen::On(listener));
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

    /// How the data directory is used; may differ from one start to the next.
    #[must_use]
    pub fn file_options(mut self, options: FileOptions) -> Builder {
        self.files = Some(options);
        self
    }

    /// Keep promises here instead of in a directory of files. It must be of this server and of this
    /// [`cluster`](Builder::cluster).
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
    /// own, or the `Arc` of one. It must be of this server and this cluster, and what is said here of TCP (listen, listener,
    /// tune_tcp, tls, sockets) is an error then: it would not come into force.
    #[must_use]
    pub fn transport(mut self, transport: impl Transport) -> Builder {
        self.transport = Some(Arc::new(transport));
        self
    }

    /// Change the settings of the node, or, by its `raft`, of the core.
    #[must_use]
    pub fn tune(mut self, change: impl FnOnce(&mut NodeConfig) + Send + 'static) -> Builder {
        self.tune_node.push(Box::new(change));
        self
    }

    /// Change the settings of the connections.
    #[must_use]
    pub fn tune_tcp(mut self, change: impl FnOnce(&mut LinkConfig) + Send + 'static) -> Builder {
        self.tune_tcp.push(Box::new(change));
        self
    }

    /// Make connections safe by TLS with mutual authentication. Keep a handle to reload its certificates, or use
    /// [`tls_watched`](Builder::tls_watched).
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(self, tls: &crate::tls::Tls) -> Builder {
        Builder { guarded: Some(tls.node()), protection: tls.into(), beside: None, ..self }
    }

    /// The same, and look at its files at every `interval`, as [`Tls::watch`](crate::tls::Tls::watch) does, for as long as
    /// the node runs.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls_watched(self, tls: &crate::tls::Tls, interval: std::time::Duration) -> Builder {
        let watched = tls.clone();
        Builder { beside: Some(Box::new(move || Box::new(watched.watch(interval)))), ..self.tls(tls) }
    }

    /// Run TCP over these, instead of the system's: simulated ones, say.
    #[must_use]
    pub fn sockets(mut self, sockets: impl Sockets) -> Builder {
        self.sockets = Some(Arc::new(sockets));
        self
    }

    /// Run what may block here, instead of on threads: for simulations that must be the same each time. The node itself then
    /// does nothing on any other thread. What it is given may: a [`LocalNetwork`](crate::transport::LocalNetwork) copies
    /// snapshots on threads, the system's sockets look names up on one, and watched certificates are read on one.
    #[must_use]
    pub fn workers(mut self, workers: impl Workers) -> Builder {
        self.workers = Some(Arc::new(workers));
        self
    }
}
