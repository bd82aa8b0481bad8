//! A server: a Raft node on a data directory and a port, and the clients that call there.

use std::collections::HashMap;
use std::io::{self, IsTerminal};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;

use raft_core::{Bytes, Config, Membership, NodeId, Refusal};
use raft_std_driver::net::LinkConfig;
use raft_std_driver::storage::{Birth, ClusterId, FileOptions, FileStorage, StorageError};
use raft_std_driver::tcp::Tcp;
use raft_std_driver::{Node, NodeConfig, Outcome, StartError};

use crate::args::ServeOptions;
use crate::front::{CONNECTIONS_MAX, Front};
use crate::machine::Machine;
use crate::protocol::{self, COMMAND_BYTES_MAX, Command, FRAME_BYTES_MAX, GREETING, Request, Response, Status};
use crate::stop::Failure;

pub fn run(options: &ServeOptions) -> Result<(), Failure> {
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(io::stderr().is_terminal()).init();
    let ServeOptions { id, listen, peers, .. } = options;
    let raft = Config {
        command_bytes_max: COMMAND_BYTES_MAX as u64,
        trailing_entries: options.trailing_entries,
        ..NodeConfig::new(NodeId(*id)).raft
    };
    let addresses = peers.iter().map(|(id, address)| (NodeId(*id), address.clone()));
    // All clients may call at once.
    let handshakes_max = CONNECTIONS_MAX;
    let links = LinkConfig { handshakes_max, ..LinkConfig::new(ClusterId(options.cluster), &raft) };
    let front = Front::new()?;
    let letterbox = front.letterbox();
    let tcp = Tcp::bind(listen, links, addresses.clone())?.strangers(move |stream, first| match first {
        GREETING => letterbox.arrived(stream),
        _ => tracing::debug!("somebody was disconnected who is neither peer nor client"),
    });

    let storage = open_storage(options)?;
    let machine = Machine::default();
    let config = NodeConfig { raft, snapshot_log_bytes: options.snapshot_bytes, ..NodeConfig::new(NodeId(*id)) };
    let node = Node::spawn(config, storage, machine.clone(), tcp)?;
    tracing::info!("server {id} listens to peers and clients at {listen}");

    let deaf = serve_clients(front, &node, Service::new(node.clone(), machine, addresses.collect())?)?;
    shut_down_on_signal(&node)?;
    if options.exit_with_parent {
        shut_down_with_parent(&node);
    }
    node.wait()?;
    match deaf.get() {
        Some(why) => Err(format!("clients could be served no longer: {why}").into()),
        None => Ok(()),
    }
}

/// A server that hears no clients is of no use to them and may yet lead: it ends. Why, is in what is returned.
fn serve_clients(front: Front, node: &Node, service: Service) -> io::Result<Arc<OnceLock<String>>> {
    let (node, deaf) = (node.clone(), Arc::new(OnceLock::new()));
    let cause = Arc::clone(&deaf);
    front.serve(service, move |why| {
        let _ = cause.set(why);
        let _ = node.shutdown();
    })?;
    Ok(deaf)
}

/// The data directory of a member. Only `--init` makes a new one: a member that lost its disk has forgotten what it
/// promised, and must not come back as if nothing had happened.
fn open_storage(options: &ServeOptions) -> Result<FileStorage, Failure> {
    let ServeOptions { id, data, peers, .. } = options;
    let cluster = ClusterId(options.cluster);
    let opened = if options.init {
        let members = Membership::new(peers.iter().map(|(id, _)| NodeId(*id)));
        let birth = Birth::founder(cluster, NodeId(*id), members);
        FileStorage::init(data, birth, FileOptions::default())
    } else {
        FileStorage::open(data, FileOptions::default())
    };
    let storage = opened.map_err(|error| -> Failure {
        match error {
            StorageError::NotEmpty { path } => {
                format!("{} already belongs to a server: start it without --init", path.display()).into()
            }
            StorageError::Empty { path } => {
                format!("{} is empty: start once with --init to make it a member of a new cluster", path.display())
                    .into()
            }
            error => error.into(),
        }
    })?;
    storage.check_identity(cluster, NodeId(*id))?;
    Ok(storage)
}

fn shut_down_on_signal(node: &Node) -> Result<(), Failure> {
    let node = node.clone();
    Ok(ctrlc::set_handler(move || drop(node.shutdown()))?)
}

/// Standard input is a pipe whose other end the parent holds: it closes when the parent ends, however it ends.
fn shut_down_with_parent(node: &Node) {
    let node = node.clone();
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        let _ = node.shutdown();
    });
}

/// What became of a command.
pub type Fate = Result<Outcome, StartError>;

/// How a request began.
pub enum Begun {
    /// Its answer is there.
    Answered(Vec<u8>),
    /// Its answer comes later, and has at most so many bytes.
    Waiting { bytes_max: usize },
}

/// What comes later.
pub enum Late {
    /// What became of a command.
    Fate(Fate),
    /// The answer itself.
    Answer(Vec<u8>),
}

/// All answers that come later are smaller, but for a value's.
const SMALL_ANSWER_BYTES_MAX: usize = 512;

/// Who waits for a checksum.
type Reply = Box<dyn FnOnce(Late) + Send>;

/// What is done for clients.
pub struct Service {
    node: Node,
    machine: Machine,
    addresses: HashMap<NodeId, String>,
    /// To the thread that makes checksums: looking at every value must hold up nobody else.
    checksums: mpsc::Sender<Reply>,
}

impl Service {
    pub fn new(node: Node, machine: Machine, addresses: HashMap<NodeId, String>) -> io::Result<Service> {
        let (checksums, replies) = mpsc::channel::<Reply>();
        let (its_node, its_machine) = (node.clone(), machine.clone());
        let run = move || {
            for reply in replies {
                let mut answer = Vec::new();
                protocol::push_frame(&mut answer, &Response::Status(status(&its_node, &its_machine, true)));
                reply(Late::Answer(answer));
            }
        };
        thread::Builder::new().name("checksums".into()).spawn(run)?;
        Ok(Service { node, machine, addresses, checksums })
    }

    /// Begins with a request. Its answer is there at once, or else `done` hears it later.
    pub fn begin(&self, request: &Request<'_>, done: impl FnOnce(Late) + Send + 'static) -> Begun {
        let mut answer = Vec::new();
        match *request {
            Request::Command(bytes) => {
                let Some(command) = Command::decode(bytes) else {
                    protocol::push_frame(&mut answer, &Response::Refused("not a command"));
                    return Begun::Answered(answer);
                };
                // How large the value will be is known only when it is read.
                let large = matches!(command, Command::Get { .. });
                let bytes_max = if large { FRAME_BYTES_MAX } else { SMALL_ANSWER_BYTES_MAX };
                self.node.submit(Bytes::copy_from_slice(bytes), |fate| done(Late::Fate(fate)));
                return Begun::Waiting { bytes_max };
            }
            Request::Peek { key } => {
                let store = self.machine.read();
                protocol::push_frame(&mut answer, &Response::Peeked(store.get(key).map(|value| &value[..])));
            }
            Request::Status { checksum: true } => {
                // Should that thread have ended, nobody answers, and the client hears so in time.
                let _ = self.checksums.send(Box::new(done));
                return Begun::Waiting { bytes_max: SMALL_ANSWER_BYTES_MAX };
            }
            Request::Status { checksum: false } => {
                protocol::push_frame(&mut answer, &Response::Status(status(&self.node, &self.machine, false)));
            }
        }
        Begun::Answered(answer)
    }

    /// What the client of a command is told.
    pub fn with_response(&self, fate: &Fate, tell: impl FnOnce(&Response<'_>)) {
        let refusal;
        tell(&match fate {
            Ok(Outcome::Applied(answer)) => Response::Applied(answer),
            Ok(Outcome::Unknown) => Response::Unknown,
            Ok(Outcome::Superseded) | Err(StartError::Refused(Refusal::Busy { .. })) => Response::TryAgain,
            Err(StartError::Refused(Refusal::NotLeader { leader })) => {
                let address = leader.and_then(|leader| self.addresses.get(&leader));
                Response::NotLeader { leader: address.map(String::as_str) }
            }
            Err(StartError::Stopped | StartError::OwnThread) => Response::NotLeader { leader: None },
            Err(why) => {
                refusal = why.to_string();
                Response::Refused(&refusal)
            }
        });
    }
}

/// How the server sees itself.
fn status(node: &Node, machine: &Machine, checksum: bool) -> Status {
    let status = node.status();
    // With a checksum, of a frozen view: looking at every value must not hold up the commands.
    let store = machine.read();
    let (keys, frozen) = (store.keys(), checksum.then(|| store.clone()));
    drop(store);
    Status {
        id: status.id.0,
        role: status.role.to_string(),
        term: status.term.0,
        leader: status.leader.map(|leader| leader.0),
        commit: status.commit.0,
        last: status.last.index.0,
        applied: status.applied.0,
        keys,
        checksum: frozen.map(|store| store.checksum()),
    }
}
