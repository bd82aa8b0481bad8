//! The task that polls a node's engine.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use raft_std_driver::Alive;
use raft_std_driver::engine::Engine;
use raft_std_driver::raft_core::NodeId;
use raft_std_driver::transport::{Traffic, Transport};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::meters::Meters;
use crate::watching::Watching;
use crate::wires::Wires;

/// Reading what a transport counts takes its locks.
const TRAFFIC_READ_EVERY: Duration = Duration::from_millis(250);

/// How the node reaches its peers.
pub(crate) enum Reach {
    /// By sockets of its own.
    Wires(Wires),
    /// By a transport.
    Transport(Arc<dyn Transport>),
}

impl Reach {
    fn traffic(&self, engine: Option<&mut Engine>) -> Vec<(NodeId, Traffic)> {
        match self {
            Reach::Wires(_) => engine.map(Engine::traffic).unwrap_or_default(),
            Reach::Transport(transport) => transport.traffic(),
        }
    }
}

/// Until the node stops; it has ended when its transport has, and when what runs beside it was told to.
pub(crate) fn run(
    engine: Engine,
    reach: Reach,
    alive: (Alive, Option<Box<dyn Send>>),
    watching: Arc<Watching>,
    meters: Arc<Meters>,
) -> impl Future<Output = ()> {
    // Here, and not in the task: that may be dropped before it is polled.
    let retire = Retire { watching, meters };
    drive(engine, reach, alive, retire)
}

async fn drive(mut engine: Engine, mut reach: Reach, (alive, beside): (Alive, Option<Box<dyn Send>>), retire: Retire) {
    let meters = &retire.meters;
    let mut read = Instant::now();
    let mut timer = Box::pin(sleep_until(Instant::now()));
    while poll_fn(|context| poll_round(&mut engine, &mut reach, timer.as_mut(), context)).await {
        // However much comes in, the runtime's other tasks get their turn; and what those that are ready now have to say
        // is joined into the next round, instead of having one each.
        tokio::task::yield_now().await;
        let now = Instant::now();
        if now.saturating_duration_since(read) >= TRAFFIC_READ_EVERY {
            read = now;
            meters.traffic(reach.traffic(Some(&mut engine)));
        }
    }
    meters.traffic(reach.traffic(Some(&mut engine)));
    drop(engine);
    if let Reach::Transport(transport) = &reach {
        poll_fn(|context| transport.poll_closed(context)).await;
        meters.traffic(reach.traffic(None));
    }
    drop(reach);
    drop((beside, retire));
    drop(alive);
}

fn poll_round(
    engine: &mut Engine,
    reach: &mut Reach,
    mut timer: Pin<&mut Sleep>,
    context: &mut Context<'_>,
) -> Poll<bool> {
    let _within = engine.enter();
    loop {
        let now = Instant::now().into_std();
        if let Reach::Wires(wires) = reach {
            wires.poll(engine, context, now);
        }
        let polled = engine.poll(context, now);
        let acts = if let Reach::Wires(wires) = reach { wires.carry_out(engine, context, now) } else { false };
        if let Poll::Ready(goes_on) = polled {
            return Poll::Ready(goes_on);
        }
        if acts {
            continue;
        }
        let Some(due) = engine.due().map(Instant::from_std) else { return Poll::Pending };
        if timer.deadline() != due {
            timer.as_mut().reset(due);
        }
        if timer.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
    }
}

/// However the task ends: a node that is gone must not look as if it still led.
struct Retire {
    watching: Arc<Watching>,
    meters: Arc<Meters>,
}

impl Drop for Retire {
    fn drop(&mut self) {
        self.watching.retire();
        self.meters.retire();
    }
}
