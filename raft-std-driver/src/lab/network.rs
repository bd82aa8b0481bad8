//! The labs' test network: servers call each other through it, it counts what it sees, and it misbehaves as it is told.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::queue::lock;

/// In percent: what an unreliable network loses of the requests, and again of the replies.
const LOST_PERCENT: u64 = 10;

/// Who answers calls.
pub trait Service: Send + Sync {
    /// Answer a request of server `from`, soon: the whole network waits. `None` if there is no answer and never will be.
    fn handle(&self, from: usize, request: &[u8]) -> Option<Vec<u8>>;
}

/// A network of servers, numbered from 0. At first all are connected, nobody is there, and the network is reliable. It
/// ends when it is dropped.
///
/// One thread carries all calls, in the order in which they are due; so requests between two servers arrive in order as
/// long as the network is reliable.
#[derive(Debug)]
pub struct Network {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// One server's way to call another.
#[derive(Clone, Debug)]
pub struct ClientEnd {
    shared: Arc<Shared>,
    from: usize,
    to: usize,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    running: bool,
    places: Vec<Place>,
    unreliable: bool,
    long_reordering: bool,
    long_delays: bool,
    rpcs: u64,
    bytes: u64,
    /// What happens when; the number tells apart what happens at once, first come, first served.
    agenda: BTreeMap<(Instant, u64), Due>,
    planned: u64,
}

#[derive(Clone, Default)]
struct Place {
    service: Option<Arc<dyn Service>>,
    connected: bool,
    rpcs: u64,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { service, connected, rpcs } = self;
        write!(f, "{{ present: {}, connected: {connected}, rpcs: {rpcs} }}", service.is_some())
    }
}

struct Call {
    from: usize,
    to: usize,
    done: Box<dyn FnOnce(Option<Vec<u8>>) + Send>,
}

enum Due {
    Request(Call, Vec<u8>),
    Return(Call, Option<Vec<u8>>),
}

impl fmt::Debug for Due {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, Call { from, to, .. }) = match self {
            Due::Request(call, _) => ("request", call),
            Due::Return(call, _) => ("return", call),
        };
        write!(f, "{what} of a call from {from} to {to}")
    }
}

impl Network {
    /// A network for so many servers.
    ///
    /// # Errors
    /// If the operating system gives it no thread.
    pub fn new(servers: usize) -> io::Result<Network> {
        let state = State {
            running: true,
            places: vec![Place { connected: true, ..Place::default() }; servers],
            unreliable: false,
            long_reordering: false,
            long_delays: false,
            rpcs: 0,
            bytes: 0,
            agenda: BTreeMap::new(),
            planned: 0,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let carrier = Arc::clone(&shared);
        let thread = thread::Builder::new().name("lab-network".into()).spawn(move || carrier.carry())?;
        Ok(Network { shared, thread: Some(thread) })
    }

    /// Server `me`'s ends to all servers, its own included, in order.
    #[must_use]
    pub fn peers(&self, me: usize) -> Vec<ClientEnd> {
        let servers = self.state().places.len();
        (0..servers).map(|to| ClientEnd { shared: Arc::clone(&self.shared), from: me, to }).collect()
    }

    /// From now on `service` answers for this server, in place of any that did before.
    pub fn add_server(&self, server: usize, service: impl Service + 'static) {
        self.change(server, |place| place.service = Some(Arc::new(service)));
    }

    /// Nobody answers for this server any more; what was asked and not yet answered never is.
    pub fn delete_server(&self, server: usize) {
        self.change(server, |place| place.service = None);
    }

    /// Let this server call and be called.
    pub fn connect(&self, server: usize) {
        self.change(server, |place| place.connected = true);
    }

    /// Cut this server off, both ways. Calls under way fail too.
    pub fn disconnect(&self, server: usize) {
        self.change(server, |place| place.connected = false);
    }

    /// Whether this server can call and be called.
    #[must_use]
    pub fn is_connected(&self, server: usize) -> bool {
        self.state().places.get(server).is_some_and(|place| place.connected)
    }

    /// Unreliable: requests are delayed by up to 26 ms, and 10 % of requests and of replies are lost.
    pub fn set_unreliable(&self, on: bool) {
        self.state().unreliable = on;
    }

    /// Two thirds of the replies are delayed by 200 ms to 2.2 s.
    pub fn set_long_reordering(&self, on: bool) {
        self.state().long_reordering = on;
    }

    /// Calls to servers that cannot be reached fail after up to 7 s, instead of 100 ms.
    pub fn set_long_delays(&self, on: bool) {
        self.state().long_delays = on;
    }

    /// How many RPCs have reached this server.
    #[must_use]
    pub fn rpcs_of(&self, server: usize) -> u64 {
        self.state().places.get(server).map_or(0, |place| place.rpcs)
    }

    /// How many RPCs were tried, whatever became of them.
    #[must_use]
    pub fn rpcs(&self) -> u64 {
        self.state().rpcs
    }

    /// How many bytes all requests and replies had.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.state().bytes
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared.state)
    }

    fn change(&self, server: usize, change: impl FnOnce(&mut Place)) {
        if let Some(place) = self.state().places.get_mut(server) {
            change(place);
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.state().running = false;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // Its only way to fail is a panic in a service, which has been reported.
            let _ = thread.join();
        }
    }
}

impl ClientEnd {
    /// Send a request; `done` gets the reply, or `None` if the call failed: the request, the reply or the server was lost.
    /// Returns at once. `done` runs on the network's thread and should be quick; it never runs if the network ends first.
    pub fn call(&self, request: Vec<u8>, done: impl FnOnce(Option<Vec<u8>>) + Send + 'static) {
        let call = Call { from: self.from, to: self.to, done: Box::new(done) };
        let mut state = lock(&self.shared.state);
        if !state.running {
            return;
        }
        state.rpcs += 1;
        state.bytes += request.len() as u64;
        if state.service_for(&call).is_none() {
            let patience_ms = if state.long_delays { 7000 } else { 100 };
            state.plan(below(patience_ms), Due::Return(call, None));
        } else if state.unreliable {
            let lost = below(100) < LOST_PERCENT;
            state.plan(below(27), if lost { Due::Return(call, None) } else { Due::Request(call, request) });
        } else {
            state.plan(0, Due::Request(call, request));
        }
        self.shared.changed.notify_one();
    }
}

impl State {
    /// Who would answer this call now.
    fn service_for(&self, call: &Call) -> Option<&Arc<dyn Service>> {
        let place = |server: usize| self.places.get(server).filter(|place| place.connected);
        place(call.from).and(place(call.to)).and_then(|place| place.service.as_ref())
    }

    fn plan(&mut self, delay_ms: u64, due: Due) {
        self.planned += 1;
        self.agenda.insert((Instant::now() + Duration::from_millis(delay_ms), self.planned), due);
    }

    /// The service has answered. Whether and when the caller hears it is the network's choice.
    fn answered(&mut self, call: Call, service: &Arc<dyn Service>, reply: Option<Vec<u8>>) {
        let Some(reply) = reply.filter(|_| self.service_for(&call).is_some_and(|now| Arc::ptr_eq(now, service))) else {
            return self.plan(0, Due::Return(call, None));
        };
        self.bytes += reply.len() as u64;
        if self.unreliable && below(100) < LOST_PERCENT {
            self.plan(0, Due::Return(call, None));
        } else if self.long_reordering && below(3) < 2 {
            self.plan(200 + below(2001), Due::Return(call, Some(reply)));
        } else {
            self.plan(0, Due::Return(call, Some(reply)));
        }
    }
}

impl Shared {
    /// The network's thread. Services and callers are entered without the lock, so they may call again.
    fn carry(&self) {
        let mut state = lock(&self.state);
        while state.running {
            let now = Instant::now();
            let Some(next) = state.agenda.first_entry() else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let due_in = next.key().0.saturating_duration_since(now);
            if !due_in.is_zero() {
                (state, _) = self.changed.wait_timeout(state, due_in).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            match next.remove() {
                Due::Request(call, request) => {
                    let Some(service) = state.service_for(&call).cloned() else {
                        state.plan(0, Due::Return(call, None));
                        continue;
                    };
                    state.places[call.to].rpcs += 1;
                    drop(state);
                    let reply = service.handle(call.from, &request);
                    state = lock(&self.state);
                    state.answered(call, &service, reply);
                }
                Due::Return(call, reply) => {
                    drop(state);
                    (call.done)(reply);
                    state = lock(&self.state);
                }
            }
        }
        // Services and callers hold ends, which hold the network: let go of them, outside of the lock.
        let held = (std::mem::take(&mut state.places), std::mem::take(&mut state.agenda));
        drop(state);
        drop(held);
    }
}

/// A number from 0 up to, and without, `end`.
fn below(end: u64) -> u64 {
    fastrand::u64(..end)
}
