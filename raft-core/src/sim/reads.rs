//! Clients that read on any server (§8, thesis §6.4).

use super::cluster::Cluster;
use super::coverage::{Coverage, Happening};
use super::entropy::Odds;
use super::server::Seen;
use super::violation::Verdict;
use crate::{Event, Index, Refusal, RequestId, Rpc};

/// How the readers of a run behave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Readers {
    /// How often one comes when a client might.
    pub(crate) come: Odds,
    /// The most that come together.
    pub(crate) together: u64,
}

/// Some reads come to one server, the leader or any other.
pub(crate) fn ask(cluster: &mut Cluster, readers: Readers) -> Verdict {
    let anyone = cluster.entropy.place(cluster.servers.len());
    let leader = cluster.leader().filter(|_| cluster.entropy.flip());
    let slot = leader.unwrap_or(anyone);
    for _ in 0..cluster.entropy.between(1, readers.together) {
        if cluster.now < cluster.servers[slot].paused_until {
            break;
        }
        cluster.catch_up(slot)?;
        // Only what reaches a server has a number.
        if cluster.servers[slot].is_up() {
            let request = cluster.clients.ask();
            cluster.step(slot, Event::Read { request })?;
        }
    }
    Ok(())
}

/// What an event may answer a read by.
pub(crate) fn answers_by(event: &Event) -> Option<Happening> {
    match event {
        Event::Read { .. } => Some(Happening::ReadAtOnce),
        Event::Applied(_) => Some(Happening::ReadWaitedForApplication),
        Event::Receive { message, .. } => match message.rpc {
            Rpc::AppendEntriesReply { .. } => Some(Happening::ReadByRound),
            Rpc::ReadIndexReply { .. } => Some(Happening::ReadForwarded),
            _ => None,
        },
        _ => None,
    }
}

impl Cluster {
    /// A read is answered by the server in `slot`, which was `before` when the step began: its reader looks at the state.
    pub(crate) fn readable(&mut self, slot: usize, before: &Seen, request: RequestId, at: Index) -> Verdict {
        let server = &self.servers[slot];
        if let Some(by) = self.answers_by {
            let by_append = by == Happening::ReadByRound && server.seen.commit > before.commit;
            self.coverage.count(if by_append { Happening::ReadByAppend } else { by });
        }
        self.oracles.readable(slot, server, request, at)
    }
}

impl Coverage {
    /// A read was refused.
    pub(crate) fn count_refused_read(&mut self, why: &Refusal) {
        match why {
            Refusal::NotLeader { .. } => self.count(Happening::ReadRefusedNotLeader),
            Refusal::NotReady => self.count(Happening::ReadRefusedNotReady),
            Refusal::NoLeader => self.count(Happening::ReadRefusedNoLeader),
            Refusal::TooManyReads { .. } => self.count(Happening::ReadRefusedTooMany),
            _ => {}
        }
    }
}
