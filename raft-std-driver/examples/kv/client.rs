//! A client: finds the leader, and sends again what may have been lost.

use std::fmt;
use std::io::{self, BufReader, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use crate::protocol::{self, Answer, Command, KEY_BYTES_MAX, Request, Response, Status, VALUE_BYTES_MAX};
use crate::stop::Stop;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long one server may take before another is asked.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);
/// Between rounds in which nobody could help: an election takes a few of these.
const PAUSE: Duration = Duration::from_millis(20);
/// Reading is buffered: most answers are small.
const BUFFER_BYTES: usize = 16 << 10;

#[derive(Debug)]
pub enum ClientError {
    /// The deadline has passed. A write may have taken effect.
    Unreachable {
        waited: Duration,
        last: String,
    },
    TooLarge {
        what: &'static str,
        bytes: usize,
        max: usize,
    },
    /// The servers have forgotten this client: its write may have taken effect.
    Expired,
    Refused(String),
    Stopped,
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::Unreachable { waited, last } => {
                write!(f, "the cluster cannot be reached: gave up after {} s; at last: {last}", waited.as_secs())
            }
            ClientError::TooLarge { what, bytes, max } => {
                write!(f, "the {what} is too large: it has {bytes} bytes or more, and {max} are allowed")
            }
            ClientError::Expired => f.write_str("the servers have forgotten this client; the write may have happened"),
            ClientError::Refused(why) => write!(f, "refused: {why}"),
            ClientError::Stopped => f.write_str("stopped"),
        }
    }
}

impl std::error::Error for ClientError {}

/// One connection to one server.
pub struct Connection {
    stream: BufReader<TcpStream>,
    out: Vec<u8>,
    frame: Vec<u8>,
}

impl Connection {
    pub fn open(server: &str) -> io::Result<Connection> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "no such host");
        for address in server.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    stream.set_read_timeout(Some(ATTEMPT_TIMEOUT))?;
                    stream.set_write_timeout(Some(ATTEMPT_TIMEOUT))?;
                    let stream = BufReader::with_capacity(BUFFER_BYTES, stream);
                    return Ok(Connection { stream, out: protocol::GREETING.to_vec(), frame: Vec::new() });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Adds a request to what [`flush`](Connection::flush) sends.
    pub fn push(&mut self, request: &Request<'_>) {
        protocol::push_frame(&mut self.out, request);
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.stream.get_mut().write_all(&self.out)?;
        self.out.clear();
        Ok(())
    }

    /// The answer to the oldest request that has none.
    pub fn receive(&mut self) -> io::Result<Response<'_>> {
        protocol::read_value(&mut self.stream, &mut self.frame).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => io::Error::new(io::ErrorKind::TimedOut, "no answer in time"),
            io::ErrorKind::UnexpectedEof => io::Error::new(io::ErrorKind::UnexpectedEof, "the server hung up"),
            _ => error,
        })
    }

    pub fn call(&mut self, request: &Request<'_>) -> io::Result<Response<'_>> {
        self.push(request);
        self.flush()?;
        self.receive()
    }
}

/// How this server sees itself.
pub fn status(server: &str, checksum: bool) -> io::Result<Status> {
    match Connection::open(server)?.call(&Request::Status { checksum })? {
        Response::Status(status) => Ok(status),
        _ => Err(unasked()),
    }
}

/// What this server has applied for a key.
pub fn peek(server: &str, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
    match Connection::open(server)?.call(&Request::Peek { key })? {
        Response::Peeked(value) => Ok(value.map(<[u8]>::to_vec)),
        _ => Err(unasked()),
    }
}

pub fn unasked() -> io::Error {
    protocol::invalid("an answer to something else".into())
}

/// A client of the whole cluster, with one command under way at a time. What has no answer is sent again, with the same
/// session and sequence number, until the deadline: it takes effect once.
pub struct Client {
    servers: Vec<String>,
    current: usize,
    connection: Option<Connection>,
    session: Option<u64>,
    sequence: u64,
    timeout: Duration,
    stop: Stop,
}

/// What one attempt came to.
enum Attempt {
    Answered(Answer),
    /// Ask this server, or any other.
    Elsewhere(Option<String>),
    Later,
    Never(String),
}

impl Client {
    /// `timeout` is for each command.
    pub fn new(servers: Vec<String>, timeout: Duration, stop: Stop) -> Client {
        Client { servers, current: 0, connection: None, session: None, sequence: 0, timeout, stop }
    }

    /// Which server answered last.
    pub fn server(&self) -> &str {
        &self.servers[self.current]
    }

    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), ClientError> {
        fits("value", value, VALUE_BYTES_MAX)?;
        let (session, sequence) = self.next(key)?;
        match self.call(&Command::Put { session, sequence, key, value })? {
            Answer::Put => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Whether the key was there.
    pub fn delete(&mut self, key: &[u8]) -> Result<bool, ClientError> {
        let (session, sequence) = self.next(key)?;
        match self.call(&Command::Delete { session, sequence, key })? {
            Answer::Deleted { existed } => Ok(existed),
            other => Err(unexpected(&other)),
        }
    }

    pub fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, ClientError> {
        fits("key", key, KEY_BYTES_MAX)?;
        match self.call(&Command::Get { key })? {
            Answer::Got(value) => Ok(value),
            other => Err(unexpected(&other)),
        }
    }

    /// A place in the session for a writing command; the first opens it.
    fn next(&mut self, key: &[u8]) -> Result<(u64, u64), ClientError> {
        fits("key", key, KEY_BYTES_MAX)?;
        let session = match self.session {
            Some(session) => session,
            None => self.register()?,
        };
        self.sequence += 1;
        Ok((session, self.sequence))
    }

    /// Opens the session. A session opened twice, for want of an answer, is only forgotten in time.
    pub fn register(&mut self) -> Result<u64, ClientError> {
        match self.call(&Command::Register)? {
            Answer::Registered { session } => {
                self.session = Some(session);
                Ok(session)
            }
            other => Err(unexpected(&other)),
        }
    }

    fn call(&mut self, command: &Command<'_>) -> Result<Answer, ClientError> {
        let command = protocol::encode(command);
        let began = Instant::now();
        let mut failures = 0;
        loop {
            let last = match self.attempt(&command) {
                Ok(Attempt::Answered(answer)) => return Ok(answer),
                Ok(Attempt::Never(why)) => return Err(ClientError::Refused(why)),
                Ok(Attempt::Later) => format!("{} could not take or finish it", self.server()),
                Ok(Attempt::Elsewhere(leader)) => self.follow(leader),
                Err(error) => {
                    let last = format!("{}: {error}", self.server());
                    self.turn_to_next();
                    last
                }
            };
            if self.stop.is_set() {
                return Err(ClientError::Stopped);
            }
            if began.elapsed() >= self.timeout {
                return Err(ClientError::Unreachable { waited: self.timeout, last });
            }
            // The first failure is most often a hint to follow at once.
            failures += 1;
            if failures > 1 {
                std::thread::sleep(PAUSE);
            }
        }
    }

    fn attempt(&mut self, command: &[u8]) -> io::Result<Attempt> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(Connection::open(&self.servers[self.current])?),
        };
        Ok(match connection.call(&Request::Command(command))? {
            Response::Applied(answer) => Attempt::Answered(protocol::decode(answer).ok_or_else(unasked)?),
            Response::NotLeader { leader } => Attempt::Elsewhere(leader.map(str::to_owned)),
            Response::TryAgain | Response::Unknown => Attempt::Later,
            Response::Refused(why) => Attempt::Never(why.to_owned()),
            Response::Peeked(_) | Response::Status(_) => return Err(unasked()),
        })
    }

    /// Turns to the leader that this server names, or else to any other server; what this one said.
    fn follow(&mut self, leader: Option<String>) -> String {
        let Some(leader) = leader.filter(|leader| leader != self.server()) else {
            let said = format!("{} knows no leader", self.server());
            self.turn_to_next();
            return said;
        };
        let said = format!("{} says that {leader} leads", self.server());
        self.connection = None;
        self.current = self.servers.iter().position(|known| *known == leader).unwrap_or_else(|| {
            self.servers.push(leader);
            self.servers.len() - 1
        });
        said
    }

    fn turn_to_next(&mut self) {
        self.connection = None;
        self.current = (self.current + 1) % self.servers.len();
    }
}

fn fits(what: &'static str, bytes: &[u8], max: usize) -> Result<(), ClientError> {
    if bytes.len() <= max { Ok(()) } else { Err(ClientError::TooLarge { what, bytes: bytes.len(), max }) }
}

fn unexpected(answer: &Answer) -> ClientError {
    match answer {
        Answer::Expired => ClientError::Expired,
        other => ClientError::Refused(format!("the servers answered {other:?}")),
    }
}
