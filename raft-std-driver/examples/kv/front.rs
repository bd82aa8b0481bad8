//! Where clients arrive: one thread that serves all their connections. A request begins when it has come; the answers of
//! each client leave in the order of its requests.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::io;
use std::mem::take;
use std::net::TcpStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token, Waker};

use crate::link::Link;
use crate::protocol::{self, FRAME_BYTES_MAX, Response};
use crate::server::{Begun, Late, Service};

/// How many clients may be connected.
pub const CONNECTIONS_MAX: usize = 512;
/// The most requests of one client that wait for their answers, and the most bytes of answers that wait for it, those to
/// come included. The last request that begins may exceed it by its own answer.
const REQUESTS_MAX: usize = 256;
const ANSWER_BYTES_MAX: usize = FRAME_BYTES_MAX;
/// How long a command may take before its client hears that its outcome is not known.
const COMMAND_WAIT: Duration = Duration::from_millis(1500);
/// A client that asks nothing for so long, or does not take its answers, is disconnected.
const IDLE_MAX: Duration = Duration::from_secs(600);
const UNTAKEN_MAX: Duration = Duration::from_secs(10);
/// How often these times are looked at.
const SWEEP: Duration = Duration::from_millis(100);

const WAKER: Token = Token(usize::MAX);

/// What other threads leave for the front: new connections, and what requests waited for.
#[derive(Clone)]
pub struct Letterbox(Arc<(Mutex<Letters>, Waker)>);

#[derive(Default)]
struct Letters {
    arrived: Vec<TcpStream>,
    decided: Vec<(Ticket, Late)>,
}

/// Which request of which connection. Neither number is ever used again.
#[derive(Clone, Copy)]
pub struct Ticket {
    connection: Token,
    request: usize,
}

impl Letterbox {
    pub fn arrived(&self, stream: TcpStream) {
        self.leave(|letters| letters.arrived.push(stream));
    }

    pub fn decided(&self, ticket: Ticket, late: Late) {
        self.leave(|letters| letters.decided.push((ticket, late)));
    }

    /// The first letter wakes the front; the others are found with it.
    fn leave(&self, letter: impl FnOnce(&mut Letters)) {
        let mut letters = self.lock();
        let first = letters.arrived.is_empty() && letters.decided.is_empty();
        letter(&mut letters);
        drop(letters);
        if first && let Err(error) = self.0.1.wake() {
            tracing::error!("clients are not served: {error}");
        }
    }

    fn take(&self) -> Letters {
        take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Letters> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread's own.
pub struct Front {
    poll: Poll,
    letterbox: Letterbox,
    connections: HashMap<Token, Connection>,
    next: usize,
}

impl Front {
    pub fn new() -> io::Result<Front> {
        let poll = Poll::new()?;
        let letterbox = Letterbox(Arc::new((Mutex::default(), Waker::new(poll.registry(), WAKER)?)));
        Ok(Front { poll, letterbox, connections: HashMap::new(), next: 0 })
    }

    pub fn letterbox(&self) -> Letterbox {
        self.letterbox.clone()
    }

    /// Serves on a thread of its own, for as long as the process lives. Should it end nevertheless, `ended` hears why.
    pub fn serve(mut self, service: Service, ended: impl FnOnce(String) + Send + 'static) -> io::Result<()> {
        let run = move || {
            ended(match catch_unwind(AssertUnwindSafe(|| self.run(&service))) {
                Ok(Err(error)) => error.to_string(),
                Err(_) => "its thread panicked".into(),
            });
        };
        thread::Builder::new().name("clients".into()).spawn(run).map(drop)
    }

    fn run(&mut self, service: &Service) -> io::Result<Infallible> {
        let mut events = Events::with_capacity(1024);
        let (mut busy, mut swept) = (Vec::new(), Instant::now());
        loop {
            // Who has more to say than was heard of them is heard again before anybody waits.
            let patience = if busy.is_empty() { SWEEP } else { Duration::ZERO };
            match self.poll.poll(&mut events, Some(patience)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                polled => polled?,
            }
            for event in &events {
                if let Some(connection) = self.connections.get_mut(&event.token()) {
                    connection.link.note(event);
                    busy.push(event.token());
                }
            }
            let letters = self.letterbox.take();
            for stream in letters.arrived {
                busy.extend(self.welcome(stream));
            }
            for (ticket, late) in letters.decided {
                if let Some(connection) = self.connections.get_mut(&ticket.connection) {
                    connection.decide(ticket.request, late);
                    busy.push(ticket.connection);
                }
            }
            let now = Instant::now();
            if now - swept >= SWEEP {
                swept = now;
                busy.extend(self.connections.keys());
            }
            busy.sort_unstable();
            busy.dedup();
            busy.retain(|token| self.attend(*token, service, now));
        }
    }

    /// Takes up a new connection, if there is room.
    fn welcome(&mut self, stream: TcpStream) -> Option<Token> {
        if self.connections.len() >= CONNECTIONS_MAX {
            tracing::warn!("a client was turned away: {CONNECTIONS_MAX} are connected");
            return None;
        }
        let token = Token(self.next);
        self.next += 1;
        let link = Link::new(stream).and_then(|mut link| link.register(self.poll.registry(), token).map(|()| link));
        match link {
            Ok(link) => drop(self.connections.insert(token, Connection::new(link))),
            Err(error) => tracing::warn!("a client was turned away: {error}"),
        }
        Some(token)
    }

    /// Does what can be done for a connection; whether there is more.
    fn attend(&mut self, token: Token, service: &Service, now: Instant) -> bool {
        let Some(connection) = self.connections.get_mut(&token) else { return false };
        match connection.attend(token, &self.letterbox, service, now) {
            Ok(more) => more,
            Err(error) => {
                if error.kind() != io::ErrorKind::UnexpectedEof {
                    tracing::debug!("a client was disconnected: {error}");
                }
                self.connections.remove(&token);
                false
            }
        }
    }
}

/// One client's.
struct Connection {
    link: Link,
    /// Requests that have begun and whose answers have not left.
    requests: VecDeque<Request>,
    /// The number of the first of them.
    first: usize,
    /// What their answers have or may have of bytes.
    held_bytes: usize,
    heard: Instant,
    /// Since when nothing of what waits for the client was taken.
    untaken: Instant,
}

/// A request's answer.
enum Request {
    Ready(Vec<u8>),
    Waiting { since: Instant, bytes_max: usize },
    Decided { late: Late, bytes_max: usize },
}

impl Request {
    /// How many bytes its answer has, or may have.
    fn bytes_max(&self) -> usize {
        match self {
            Request::Ready(answer) => answer.len(),
            Request::Waiting { bytes_max, .. } | Request::Decided { bytes_max, .. } => *bytes_max,
        }
    }
}

impl Connection {
    fn new(link: Link) -> Connection {
        let now = Instant::now();
        Connection { link, requests: VecDeque::new(), first: 0, held_bytes: 0, heard: now, untaken: now }
    }

    fn decide(&mut self, request: usize, late: Late) {
        // It may be too late for it.
        let slot = request.checked_sub(self.first).and_then(|at| self.requests.get_mut(at));
        if let Some(slot) = slot
            && let Request::Waiting { bytes_max, .. } = *slot
        {
            *slot = Request::Decided { late, bytes_max };
        }
    }

    fn attend(&mut self, token: Token, letterbox: &Letterbox, service: &Service, now: Instant) -> io::Result<bool> {
        self.answer(service, now);
        if self.is_open() && self.link.fill()? > 0 {
            self.heard = now;
        }
        let more = self.begin(token, letterbox, service, now)?;
        self.answer(service, now);
        if self.link.flush()? || self.link.waiting_bytes() == 0 {
            self.untaken = now;
        }
        if now - self.untaken > UNTAKEN_MAX || (now - self.heard > IDLE_MAX && self.requests.is_empty()) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(self.is_open() && (more || self.link.is_readable()))
    }

    /// Whether it may have more requests under way.
    fn is_open(&self) -> bool {
        self.requests.len() < REQUESTS_MAX && self.held_bytes + self.link.waiting_bytes() < ANSWER_BYTES_MAX
    }

    /// Begins with the requests that have come; whether there may be more of them than may be under way.
    fn begin(&mut self, token: Token, letterbox: &Letterbox, service: &Service, now: Instant) -> io::Result<bool> {
        while self.is_open() {
            let Some(frame) = self.link.next_frame()? else { return Ok(false) };
            let request = protocol::decode(frame).ok_or_else(|| protocol::invalid("it asks nonsense".into()))?;
            let ticket = Ticket { connection: token, request: self.first + self.requests.len() };
            let letterbox = letterbox.clone();
            let begun = service.begin(&request, move |late| letterbox.decided(ticket, late));
            let request = match begun {
                Begun::Answered(answer) => Request::Ready(answer),
                Begun::Waiting { bytes_max } => Request::Waiting { since: now, bytes_max },
            };
            self.held_bytes += request.bytes_max();
            self.requests.push_back(request);
        }
        Ok(true)
    }

    /// Lets the answers leave that no request before them holds back.
    fn answer(&mut self, service: &Service, now: Instant) {
        while let Some(request) = self.requests.front() {
            match request {
                Request::Ready(answer) | Request::Decided { late: Late::Answer(answer), .. } => {
                    self.link.push_bytes(answer);
                }
                Request::Decided { late: Late::Fate(fate), .. } => {
                    service.with_response(fate, |response| self.link.push(response));
                }
                Request::Waiting { since, .. } if now.saturating_duration_since(*since) > COMMAND_WAIT => {
                    self.link.push(&Response::Unknown);
                }
                Request::Waiting { .. } => return,
            }
            self.held_bytes -= request.bytes_max();
            self.requests.pop_front();
            self.first += 1;
        }
    }
}
