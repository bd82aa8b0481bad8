//! What others can see of a node while it runs: how it stands, and what happens.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use raft_std_driver::observer::{NodeEvent, Observer, Round};
use raft_std_driver::raft_core::{Index, NodeId, RoleKind, Term};
use tokio::sync::{broadcast, watch};
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;

/// So many events wait for each listener; of more, the oldest are missed.
const EVENTS_KEPT: usize = 256;

/// How a node stands, in what changes most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its current term.
    pub term: Term,
    /// Its role.
    pub role: RoleKind,
    /// Who leads, as far as it knows.
    pub leader: Option<NodeId>,
    /// The last index known to be committed.
    pub commit: Index,
    /// The last index that its machine has applied.
    pub applied: Index,
    /// Whether the node runs; if not, this is how it stood when it stopped.
    pub running: bool,
}

/// What happens in a node, from the moment when it was asked for. A listener that is too slow misses the oldest, and is
/// told how many.
#[derive(Debug)]
pub struct Events(BroadcastStream<NodeEvent>);

/// So many events were missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} events were missed")]
pub struct Missed(pub u64);

impl Events {
    /// The next one; `None` once the node is gone.
    pub async fn next(&mut self) -> Option<Result<NodeEvent, Missed>> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }
}

impl Stream for Events {
    type Item = Result<NodeEvent, Missed>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = ready!(Pin::new(&mut self.0).poll_next(context));
        Poll::Ready(next.map(|event| event.map_err(|BroadcastStreamRecvError::Lagged(count)| Missed(count))))
    }
}

/// Hears everything, and passes it on to who wants to know.
pub(crate) struct Watching {
    standing: watch::Sender<Standing>,
    events: broadcast::Sender<NodeEvent>,
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
        Watching { standing: watch::Sender::new(standing), events: broadcast::Sender::new(EVENTS_KEPT) }
    }

    pub(crate) fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    pub(crate) fn events(&self) -> Events {
        Events(BroadcastStream::new(self.events.subscribe()))
    }
}

impl Observer for Watching {
    fn happened(&self, event: &NodeEvent) {
        if let NodeEvent::Stops { .. } = event {
            self.standing.send_modify(|standing| standing.running = false);
        }
        // Nobody may listen.
        let _nobody = self.events.send(event.clone());
    }

    fn round(&self, round: &Round<'_>) {
        let status = round.status();
        self.standing.send_if_modified(|standing| {
            let now = Standing {
                term: status.term(),
                role: status.role(),
                leader: status.leader(),
                commit: status.commit(),
                applied: status.applied(),
                running: standing.running,
            };
            let changed = *standing != now;
            *standing = now;
            changed
        });
    }
}
