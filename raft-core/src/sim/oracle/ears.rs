//! What each leader has heard, and when by its own clock: noted apart from the core, by name and disk. For the oracles that
//! judge what a leader makes of it.

use smallvec::SmallVec;

use crate::sim::network::SERVERS_MAX;
use crate::sim::server::{Seen, Server};
use crate::{AppendOutcome, Event, Message, NodeId, RoleKind, Rpc, ServerId, Term};

/// A reply that a leader is given.
#[derive(Clone, Copy)]
pub(crate) struct Reply {
    pub(crate) from: ServerId,
    pub(crate) is_conflict: bool,
}

#[derive(Clone, Default)]
struct Ear {
    life: u32,
    term: Term,
    /// Ticks that passed, each pause counted as one heartbeat interval at most.
    now: u64,
    elected_at: u64,
    heard: SmallVec<[(ServerId, u64); SERVERS_MAX]>,
}

#[derive(Default)]
pub(crate) struct Ears {
    ears: [Ear; SERVERS_MAX],
    /// The reply that the server gets in this step.
    pub(crate) reply: Option<Reply>,
}

impl Ears {
    /// The server in `slot` is about to be fed.
    pub(crate) fn fed(&mut self, slot: usize, server: &Server, event: &Event) {
        self.reply = None;
        let ear = &mut self.ears[slot];
        match event {
            Event::Tick { elapsed } => ear.now += u64::from((*elapsed).min(server.config.heartbeat_ticks)),
            Event::Receive { from, message } if server.leads() && message.term == server.seen.hard_state.term => {
                let Message { incarnation, rpc: Rpc::AppendEntriesReply { outcome, .. }, .. } = message else { return };
                if *outcome == AppendOutcome::OlderTerm {
                    return;
                }
                let from = ServerId { id: *from, incarnation: *incarnation };
                self.reply = Some(Reply { from, is_conflict: matches!(outcome, AppendOutcome::Conflict { .. }) });
                match ear.heard.iter_mut().find(|(known, _)| *known == from) {
                    Some((_, at)) => *at = ear.now,
                    None => ear.heard.push((from, ear.now)),
                }
            }
            _ => {}
        }
    }

    /// It was `before`, and has stepped: a leader that has just been elected has heard nobody yet.
    pub(crate) fn stepped(&mut self, slot: usize, server: &Server, before: &Seen) {
        let seen = &server.seen;
        let ear = &mut self.ears[slot];
        let same = (ear.life, ear.term) == (server.life, seen.hard_state.term);
        if seen.role == RoleKind::Leader && !(seen.leads_on_from(before) && same) {
            let now = ear.now;
            *ear = Ear { life: server.life, term: seen.hard_state.term, now, elected_at: now, heard: SmallVec::new() };
        }
    }

    /// The leader's time.
    pub(crate) fn now(&self, slot: usize) -> u64 {
        self.ears[slot].now
    }

    /// For how long the leader in `slot` has not heard a server on this disk; nothing, if it never did.
    pub(crate) fn silence(&self, slot: usize, server: ServerId) -> Option<u64> {
        let ear = &self.ears[slot];
        ear.heard.iter().find(|(known, _)| *known == server).map(|(_, at)| ear.now - at)
    }

    /// For how long it has heard nothing of this name that counts, with the election for a beginning.
    pub(crate) fn silence_of(&self, slot: usize, id: NodeId, counts: impl Fn(ServerId) -> bool) -> u64 {
        let ear = &self.ears[slot];
        let heard = ear.heard.iter().filter(|(known, _)| known.id == id && counts(*known)).map(|(_, at)| *at);
        ear.now - heard.max().unwrap_or_default().max(ear.elected_at)
    }
}
