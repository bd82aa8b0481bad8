//! Endpoints that remember what they hear, raw peers that misbehave, and a log to look into. The tests of the tokio
//! driver's transport use all of it too: what is tested is whatever `driver` says.

use std::fmt::{Debug, Write as _};
use std::io::{self, Cursor, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, Once};
use std::time::{Duration, Instant};

use raft_core::{
    Config, Entries, Entry, EntryId, Incarnation, Index, Membership, Message, NodeId, Payload, Rpc, SnapshotMeta, Term,
    codec,
};
use raft_std_driver::storage::{ClusterId, SnapshotSink, StorageError};
use raft_std_driver::transport::tcp::{BindError, TcpConfig, TcpTransport};
use raft_std_driver::transport::wire::{self, ANSWER_BYTES, Channel, FrameHeader, HELLO_BYTES, Hello, Refusal};
use raft_std_driver::transport::{Inbound, OutgoingSnapshot, Transport};

use super::driver::Tested;

pub(crate) const CLUSTER: ClusterId = ClusterId(77);

/// Much longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The vote that makes whoever hears it panic.
pub(crate) const POISON: u64 = 666;

/// What an endpoint has heard so far.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) messages: Vec<(NodeId, Message)>,
    pub(crate) arriving: Vec<(NodeId, Term)>,
    pub(crate) unreachable: Vec<NodeId>,
    pub(crate) reachable: Vec<NodeId>,
    pub(crate) sent: Vec<(NodeId, EntryId, bool)>,
    pub(crate) begun: usize,
    /// Sinks that were dropped without being finished.
    pub(crate) abandoned: usize,
    pub(crate) stored: Vec<Vec<u8>>,
    pub(crate) received: Vec<(NodeId, Term, SnapshotMeta)>,
    pub(crate) failed: Vec<String>,
    /// Set when nothing more may be heard.
    pub(crate) ended: bool,
    pub(crate) late: usize,
}

/// How an endpoint's storage behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Disk {
    #[default]
    Sound,
    /// Refuses to begin.
    Full,
    /// Fails when the data is to be made durable.
    Failing,
}

#[derive(Default)]
pub(crate) struct Recorder {
    heard: Mutex<Heard>,
    changed: Condvar,
    disk: Disk,
}

impl Recorder {
    fn hear(&self, what: impl FnOnce(&mut Heard)) {
        let mut heard = self.heard.lock().unwrap();
        if heard.ended {
            heard.late += 1;
        }
        what(&mut heard);
        self.changed.notify_all();
    }

    /// Look at what was heard.
    pub(crate) fn look<T>(&self, at: impl FnOnce(&mut Heard) -> T) -> T {
        at(&mut self.heard.lock().unwrap())
    }

    /// Wait until `done`, or fail.
    pub(crate) fn wait(&self, what: &str, done: impl Fn(&Heard) -> bool) {
        assert!(self.wait_for(PATIENCE, done), "{what} did not happen");
    }

    pub(crate) fn wait_for(&self, time: Duration, done: impl Fn(&Heard) -> bool) -> bool {
        let heard = self.heard.lock().unwrap();
        let (heard, _) = self.changed.wait_timeout_while(heard, time, |heard| !done(heard)).unwrap();
        done(&heard)
    }
}

struct Sink {
    recorder: Arc<Endpoint>,
    data: Vec<u8>,
    finished: bool,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.data.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl SnapshotSink for Sink {
    fn finish(mut self: Box<Self>) -> Result<(), StorageError> {
        if self.recorder.0.disk == Disk::Failing {
            return Err(StorageError::Failed("the disk".into()));
        }
        self.finished = true;
        Ok(())
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let data = std::mem::take(&mut self.data);
        let finished = self.finished;
        self.recorder.0.hear(|heard| if finished { heard.stored.push(data) } else { heard.abandoned += 1 });
    }
}

/// A recorder that can be shared with its sinks.
pub(crate) struct Endpoint(pub(crate) Recorder);

/// What a transport delivers to.
pub(crate) struct Ear(pub(crate) Arc<Endpoint>);

impl Inbound for Ear {
    fn message(&self, from: NodeId, message: Message) {
        assert_ne!(message, vote(POISON), "cannot digest this");
        self.0.0.hear(|heard| heard.messages.push((from, message)));
    }

    fn arriving(&self, from: NodeId, term: Term) {
        self.0.0.hear(|heard| heard.arriving.push((from, term)));
    }

    fn unreachable(&self, peer: NodeId) {
        self.0.0.hear(|heard| heard.unreachable.push(peer));
    }

    fn reachable(&self, peer: NodeId) {
        self.0.0.hear(|heard| heard.reachable.push(peer));
    }

    fn snapshot_sent(&self, to: NodeId, snapshot: EntryId, delivered: bool) {
        self.0.0.hear(|heard| heard.sent.push((to, snapshot, delivered)));
    }

    fn snapshot_begin(&self, _from: NodeId, _meta: &SnapshotMeta) -> Result<Box<dyn SnapshotSink>, StorageError> {
        if self.0.0.disk == Disk::Full {
            return Err(StorageError::Failed("no space".into()));
        }
        self.0.0.hear(|heard| heard.begun += 1);
        Ok(Box::new(Sink { recorder: Arc::clone(&self.0), data: Vec::new(), finished: false }))
    }

    fn snapshot_received(&self, from: NodeId, term: Term, meta: SnapshotMeta) {
        self.0.0.hear(|heard| heard.received.push((from, term, meta)));
    }

    fn failed(&self, cause: String) {
        self.0.0.hear(|heard| heard.failed.push(cause));
    }
}

/// A transport that can be tested from threads.
pub(crate) trait Testable: Transport + Sized {
    fn listen_at(address: &str, config: TcpConfig) -> Result<Self, BindError>;

    fn local_addr(&self) -> SocketAddr;

    fn set_peer(&self, id: NodeId, address: String) -> io::Result<()>;

    fn remove_peer(&self, id: NodeId);

    /// Wait until nothing of server `id` runs any more, after its shutdown.
    fn wait_for_end(id: u64);
}

impl Testable for TcpTransport {
    fn listen_at(address: &str, config: TcpConfig) -> Result<Self, BindError> {
        TcpTransport::bind(address, config, [])
    }

    fn local_addr(&self) -> SocketAddr {
        self.local_addr()
    }

    fn set_peer(&self, id: NodeId, address: String) -> io::Result<()> {
        self.set_peer(id, address)
    }

    fn remove_peer(&self, id: NodeId) {
        self.remove_peer(id);
    }

    /// The system lists a thread that was joined a moment longer.
    fn wait_for_end(id: u64) {
        let prefix = format!("raft{id}-");
        poll("the end of all threads", || {
            // Where the system does not tell, nothing is shown.
            let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return true };
            let mut names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
            !names.any(|name| name.starts_with(&prefix))
        });
    }
}

/// The transport that is tested, and what it heard.
pub(crate) type Server = ServerOn<Tested>;

pub(crate) struct ServerOn<T> {
    pub(crate) id: NodeId,
    pub(crate) transport: T,
    pub(crate) ear: Arc<Endpoint>,
}

impl<T: Testable> ServerOn<T> {
    pub(crate) fn bind_at(address: &str, config: &TcpConfig, disk: Disk) -> Self {
        watch_log();
        let recorder = Recorder { disk, ..Recorder::default() };
        let id = config.id;
        // A port that was just freed may serve another test's connection for a moment.
        let deadline = Instant::now() + PATIENCE;
        let transport = loop {
            match T::listen_at(address, config.clone()) {
                Ok(transport) => break transport,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        ServerOn { id, transport, ear: Arc::new(Endpoint(recorder)) }
    }

    pub(crate) fn bind(config: &TcpConfig) -> Self {
        Self::bind_at("127.0.0.1:0", config, Disk::Sound)
    }

    pub(crate) fn knows(self, id: u64, address: SocketAddr) -> Self {
        self.transport.set_peer(NodeId(id), address.to_string()).unwrap();
        self
    }

    pub(crate) fn forgets(&self, id: u64) {
        self.transport.remove_peer(NodeId(id));
    }

    pub(crate) fn start(self) -> Self {
        self.transport.start(Arc::new(Ear(Arc::clone(&self.ear)))).unwrap();
        self
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.transport.local_addr()
    }

    pub(crate) fn heard(&self) -> &Recorder {
        &self.ear.0
    }

    pub(crate) fn send(&self, to: u64, message: Message) {
        self.transport.send(NodeId(to), message);
    }
}

/// Settings with short pauses.
pub(crate) fn config(id: u64) -> TcpConfig {
    TcpConfig {
        backoff_min: Duration::from_millis(5),
        backoff_max: Duration::from_millis(50),
        ..TcpConfig::new(CLUSTER, &Config::new(NodeId(id)))
    }
}

/// Two servers that know each other, started.
pub(crate) fn pair(one: &TcpConfig, other: &TcpConfig, disk: Disk) -> (Server, Server) {
    let (one, other) = (Server::bind(one), Server::bind_at("127.0.0.1:0", other, disk));
    let (here, there) = (one.address(), other.address());
    let (id, other_id) = (one.id.0, other.id.0);
    (one.knows(other_id, there).start(), other.knows(id, here).start())
}

pub(crate) fn append(round: u64, bytes: usize) -> Message {
    let entry = Entry { term: Term(1), payload: Payload::Command(vec![round.to_le_bytes()[0]; bytes].into()) };
    let entries = Entries::from_vec(Index(1), vec![entry]).unwrap();
    let rpc = Rpc::AppendEntries { prev: EntryId::ZERO, entries, commit: Index(0), round, reply: true };
    Message { term: Term(1), incarnation: Incarnation(1), rpc }
}

pub(crate) fn vote(index: u64) -> Message {
    let rpc = Rpc::RequestVote { last: EntryId::new(1, index), transfer: false };
    Message { term: Term(1), incarnation: Incarnation(1), rpc }
}

pub(crate) fn round_of(message: &Message) -> Option<u64> {
    match message.rpc {
        Rpc::AppendEntries { round, .. } => Some(round),
        _ => None,
    }
}

pub(crate) fn meta(index: u64) -> SnapshotMeta {
    SnapshotMeta { last: EntryId::new(3, index), membership: Arc::new(Membership::new([1, 2, 3].map(NodeId))) }
}

pub(crate) fn hello(from: u64, to: u64, channel: Channel) -> Hello {
    Hello { channel, cluster: CLUSTER, from: NodeId(from), to: NodeId(to) }
}

/// A connection whose bytes the test writes itself.
pub(crate) struct Raw(pub(crate) TcpStream);

impl Raw {
    pub(crate) fn connect(address: SocketAddr) -> Raw {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Raw(stream)
    }

    /// Accept a connection, and accept whoever comes.
    pub(crate) fn accept(listener: &TcpListener) -> (Raw, Hello) {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut raw = Raw(stream);
        let hello = Hello::decode(&raw.read::<HELLO_BYTES>()).unwrap();
        raw.write(&wire::encode_answer(Ok(())));
        (raw, hello)
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    pub(crate) fn read<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Say hello and read the answer.
    pub(crate) fn greet(&mut self, hello: &[u8; HELLO_BYTES]) -> Result<(), Refusal> {
        self.write(hello);
        wire::decode_answer(&self.read::<ANSWER_BYTES>()).unwrap()
    }

    pub(crate) fn read_message(&mut self) -> Message {
        let header = FrameHeader::decode(&self.read(), usize::MAX).unwrap();
        let mut body = vec![0; header.length];
        self.0.read_exact(&mut body).unwrap();
        header.check(&body).unwrap();
        codec::decode_message(body.into()).unwrap()
    }

    /// Wait until the other side hangs up. A reset is one way to do it.
    pub(crate) fn wait_for_end(&mut self) {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
        }
    }
}

/// A frame around these bytes.
pub(crate) fn frame(body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    wire::put_frame(&mut frame, |out| {
        out.extend_from_slice(body);
        Ok::<_, wire::FrameError>(())
    })
    .unwrap();
    frame
}

pub(crate) fn message_frame(message: &Message) -> Vec<u8> {
    let mut body = Vec::new();
    codec::encode_message(message, &mut body).unwrap();
    frame(&body)
}

/// Ask again and again until it is so.
pub(crate) fn poll(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub(crate) fn data(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| (i.wrapping_mul(2_654_435_761) >> 7).to_le_bytes()[0]).collect()
}

pub(crate) fn snapshot(index: u64, len: u64, data: impl Read + Send + 'static) -> OutgoingSnapshot {
    OutgoingSnapshot { term: Term(4), meta: meta(index), len, data: Box::new(data) }
}

pub(crate) fn whole(index: u64, data: &[u8]) -> OutgoingSnapshot {
    snapshot(index, data.len() as u64, Cursor::new(data.to_vec()))
}

pub(crate) fn sent(server: &Server) -> Vec<(EntryId, bool)> {
    server.heard().look(|heard| heard.sent.iter().map(|(_, last, delivered)| (*last, *delivered)).collect())
}

pub(crate) fn wait_sent(server: &Server, index: u64, delivered: bool) {
    let expected = (EntryId::new(3, index), delivered);
    server.heard().wait("the end of the transfer", |heard| {
        heard.sent.last().is_some_and(|(_, last, delivered)| (*last, *delivered) == expected)
    });
}

static LOG: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Whether a line of the log contains all of these.
pub(crate) fn logged(words: &[&str]) -> bool {
    times_logged(words) > 0
}

/// How many do.
pub(crate) fn times_logged(words: &[&str]) -> usize {
    LOG.lock().unwrap().iter().filter(|line| words.iter().all(|word| line.contains(word))).count()
}

/// Keep all log lines, but for what is told all the time.
pub(crate) fn watch_log() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(LogKeeper).unwrap());
}

struct LogKeeper;

impl tracing::Subscriber for LogKeeper {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::DEBUG
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Line(String);
        impl tracing::field::Visit for Line {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn Debug) {
                match field.name() {
                    "message" => write!(self.0, "{value:?} ").unwrap(),
                    name => write!(self.0, "{name}={value:?} ").unwrap(),
                }
            }
        }
        let mut line = Line(String::new());
        event.record(&mut line);
        LOG.lock().unwrap().push(line.0);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}
