//! What others can see of a node while it runs: how it stands, and what happens.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use raft_std_driver::observer::{NodeEvent, Observer, Round};
use raft_std_driver::raft_core::{Index, NodeId, RoleKind, Term};
use raft_std_driver::workers::lock;
use tokio::sync::{broadcast, watch};
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;

use crate::sync::Mutex;

/// So many events wait for each listener; of more, the oldest are missed.
const EVENTS_KEPT: usize = 256;

/// How a node stands, in what changes most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its current term.
    pub term: Term,
    /// Its role; a node that has stopped is a follower.
    pub role: RoleKind,
    /// Who leads, as far as it knows; a node that has stopped knows of none.
    pub leader: Option<NodeId>,
    /// The last index known to be committed.
    pub commit: Index,
    /// The last index that its machine has applied.
    pub applied: Index,
    /// Whether the node runs; if not, term and indices are those with which it stopped.
    pub running: bool,
}

impl Standing {
    /// Who has stopped leads nobody: whoever waits for a leader must not find one in it.
    fn stopped(self) -> Standing {
        Standing { role: RoleKind::Follower, leader: None, running: false, ..self }
    }
}

/// What happens in a node, from the moment when it was asked for. The last is [`NodeEvent::Stops`], and then the stream
/// ends. A listener that is too slow misses the oldest, and is told how many.
#[derive(Debug)]
pub struct Events {
    stream: BroadcastStream<NodeEvent>,
    /// The last event has come. What parts had begun to tell before that may come into the stream behind it.
    over: bool,
}

/// So many events were missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} events were missed")]
pub struct Missed(pub u64);

impl Events {
    /// The next one; `None` once the node has stopped.
    pub async fn next(&mut self) -> Option<Result<NodeEvent, Missed>> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }
}

impl Stream for Events {
    type Item = Result<NodeEvent, Missed>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        let next = ready!(Pin::new(&mut self.stream).poll_next(context));
        self.over = matches!(next, None | Some(Ok(NodeEvent::Stops { .. })));
        Poll::Ready(next.map(|event| event.map_err(|BroadcastStreamRecvError::Lagged(count)| Missed(count))))
    }
}

/// Hears everything, and passes it on to who wants to know, until the node has stopped: whoever listens then is told so,
/// although there may still be handles.
pub(crate) struct Watching {
    standing: Mutex<Option<watch::Sender<Standing>>>,
    /// Shows the last one for ever.
    last: watch::Receiver<Standing>,
    events: Mutex<Option<broadcast::Sender<NodeEvent>>>,
}

impl Watching {
    pub(crate) fn new() -> Watching {
        let standing = Standing {
            term: Term(0),
            role: RoleKind::Follower,
            leader: None,
            commit: Index(0),
            applied: Index(0),
            running: true,
        };
        let (standing, last) = watch::channel(standing);
        let events = broadcast::Sender::new(EVENTS_KEPT);
        Watching { standing: Mutex::new(Some(standing)), last, events: Mutex::new(Some(events)) }
    }

    pub(crate) fn standing(&self) -> watch::Receiver<Standing> {
        let mut standing = self.last.clone();
        standing.mark_unchanged();
        standing
    }

    pub(crate) fn events(&self) -> Events {
        let events = lock(&self.events).as_ref().map(broadcast::Sender::subscribe);
        // Of a sender that is gone at once.
        let events = events.unwrap_or_else(|| broadcast::Sender::new(1).subscribe());
        Events { stream: BroadcastStream::new(events), over: false }
    }

    /// Nothing changes any more.
    pub(crate) fn retire(&self) {
        let standing = lock(&self.standing).take();
        standing.inspect(stopped);
    }

    fn sender(&self) -> Option<watch::Sender<Standing>> {
        lock(&self.standing).clone()
    }
}

fn stopped(standing: &watch::Sender<Standing>) {
    standing.send_if_modified(|standing| {
        let stopped = standing.stopped();
        std::mem::replace(standing, stopped).running
    });
}

impl Observer for Watching {
    fn happened(&self, event: &NodeEvent) {
        let stops = matches!(event, NodeEvent::Stops { .. });
        let mut events = lock(&self.events);
        let sender = if stops { events.take() } else { events.clone() };
        // Not under the lock: what is woken is foreign code.
        drop(events);
        // Nobody may listen.
        let _nobody = sender.map(|events| events.send(event.clone()));
        if stops {
            self.sender().as_ref().inspect(|standing| stopped(standing));
        }
    }

    fn round(&self, round: &Round<'_>) {
        let status = round.status();
        let Some(standing) = self.sender() else { return };
        standing.send_if_modified(|standing| {
            let now = Standing {
                term: status.term(),
                role: status.role(),
                leader: status.leader(),
                commit: status.commit(),
                applied: status.applied(),
                running: standing.running,
            };
            // Its last rounds may come after it was told to stop.
            let now = if standing.running { now } else { now.stopped() };
            let changed = *standing != now;
            *standing = now;
            changed
        });
    }
}
