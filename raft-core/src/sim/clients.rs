//! The clients: they start commands anywhere, remember what was accepted, and learn what became of it as the design says:
//! applied, refused, superseded or unknown.

use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;

use super::coverage::{Coverage, Happening};
use super::entropy::{Entropy, Odds};
use super::network::SERVERS_MAX;
use super::queue::{TICK, Time};
use super::reads::Readers;
use crate::{Bytes, Commands, EntryId, Index, Payload, RequestId, Term};

/// What a client knows of its command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing yet.
    Open,
    /// It took effect.
    Applied,
    /// It never entered a log.
    Refused,
    /// It entered a log and never took effect.
    Superseded,
    /// It may have taken effect.
    Unknown,
}

/// Names a command: its place among all that were ever started.
pub(crate) type CommandId = u32;

/// The least bytes a command has: those of its id.
pub(crate) const COMMAND_BYTES_MIN: usize = 4;

/// How the clients of a run behave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workload {
    /// The longest pause between two requests.
    pub(crate) pause: Time,
    /// The most commands in a request.
    pub(crate) batch: u64,
    /// The most bytes a command has beyond the least.
    pub(crate) padding: u64,
    /// How often all servers get a request at once.
    pub(crate) everywhere: Odds,
    /// How often a request goes to any server and not to a leader.
    pub(crate) astray: Odds,
    /// How often a client tries again, here or elsewhere.
    pub(crate) retries: Odds,
    /// How often a request is empty or has a command that is too large.
    pub(crate) odd: Odds,
    pub(crate) readers: Readers,
}

impl Workload {
    pub(crate) fn draw(entropy: &mut Entropy) -> Workload {
        Workload {
            pause: entropy.magnitude(TICK / 4, 8 * TICK),
            batch: entropy.magnitude(1, 8),
            padding: entropy.magnitude(1, 64),
            everywhere: entropy.odds_up_to(Odds::percent(20)),
            astray: entropy.odds_up_to(Odds::percent(50)),
            retries: entropy.odds_up_to(Odds::percent(100)),
            odd: entropy.odds_up_to(Odds::percent(10)),
            readers: Readers { come: entropy.odds_up_to(Odds::percent(100)), together: entropy.magnitude(1, 8) },
        }
    }
}

/// Requests that are no commands are numbered from here on: far above the commands, whose numbers are their own.
const ASKS_FROM: u64 = 900_001;

/// Whether a request is one of those.
pub(crate) fn is_ask(request: RequestId) -> bool {
    request.0 >= ASKS_FROM
}

#[derive(Default)]
pub(crate) struct Clients {
    /// How many requests there were that are no commands.
    asks: u64,
    outcomes: Vec<Outcome>,
    /// Commands that entered a log and of which nobody knows that they took effect; their clients may try again.
    regretted: u32,
    /// For each server, the commands that it accepted in this life and that are not yet decided.
    waiting: [BTreeMap<(Index, Term), CommandId>; SERVERS_MAX],
}

impl Clients {
    /// The number of the next request that is no command: of a transfer of leadership, a read, a change.
    pub(crate) fn ask(&mut self) -> RequestId {
        let request = RequestId(ASKS_FROM + self.asks);
        self.asks += 1;
        request
    }

    /// A request of so many commands, each of so many bytes; its id is that of its first command.
    pub(crate) fn request(&mut self, count: u64, bytes: usize) -> (RequestId, Commands) {
        let request = RequestId(self.outcomes.len() as u64);
        let commands = (0..count).map(|_| {
            let id = CommandId::try_from(self.outcomes.len()).unwrap_or(CommandId::MAX);
            self.outcomes.push(Outcome::Open);
            let mut command = vec![0; bytes.max(COMMAND_BYTES_MIN)];
            command[..COMMAND_BYTES_MIN].copy_from_slice(&id.to_le_bytes());
            Bytes::from(command)
        });
        (request, commands.collect())
    }

    /// The commands of `request` stand at `first` and behind. Says where one already stood, if so.
    pub(crate) fn accepted(
        &mut self,
        slot: usize,
        request: RequestId,
        first: EntryId,
        count: u64,
    ) -> Result<(), EntryId> {
        for offset in 0..count {
            let index = first.index.plus(offset);
            let id = CommandId::try_from(request.0 + offset).unwrap_or(CommandId::MAX);
            if self.waiting[slot].insert((index, first.term), id).is_some() {
                return Err(EntryId { index, ..first });
            }
        }
        Ok(())
    }

    pub(crate) fn refused(&mut self, request: RequestId, count: u64) {
        for id in request.0..request.0 + count {
            self.decide(CommandId::try_from(id).unwrap_or(CommandId::MAX), Outcome::Refused);
        }
    }

    /// A server has applied an entry: that decides everything that it accepted at this index. Says whose success that is;
    /// and which command got no answer or another one's, if so.
    pub(crate) fn applied(
        &mut self,
        coverage: &mut Coverage,
        slot: usize,
        entry: EntryId,
        payload: &Payload,
    ) -> Result<Option<CommandId>, CommandId> {
        let mut acknowledged = None;
        while let Some(waiter) = self.waiting[slot].first_entry() {
            let (index, term) = *waiter.key();
            if index > entry.index {
                break;
            }
            let id = waiter.remove();
            if index < entry.index {
                return Err(id);
            }
            if term == entry.term {
                coverage.count(Happening::OutcomeApplied);
                self.decide(id, Outcome::Applied);
                if command_id(payload) != Some(id) {
                    return Err(id);
                }
                acknowledged = Some(id);
            } else {
                coverage.count(Happening::OutcomeSuperseded);
                self.decide(id, Outcome::Superseded);
            }
        }
        Ok(acknowledged)
    }

    /// A snapshot covers everything through `index`.
    pub(crate) fn restored(&mut self, coverage: &mut Coverage, slot: usize, index: Index) {
        let later = self.waiting[slot].split_off(&(index.next(), Term(0)));
        let covered = std::mem::replace(&mut self.waiting[slot], later);
        self.give_up(coverage, covered);
    }

    pub(crate) fn crashed(&mut self, coverage: &mut Coverage, slot: usize) {
        let waiting = std::mem::take(&mut self.waiting[slot]);
        self.give_up(coverage, waiting);
    }

    fn give_up(&mut self, coverage: &mut Coverage, waiting: BTreeMap<(Index, Term), CommandId>) {
        for id in waiting.into_values() {
            coverage.count(Happening::OutcomeUnknown);
            self.decide(id, Outcome::Unknown);
        }
    }

    fn decide(&mut self, id: CommandId, outcome: Outcome) {
        if let Some(known) = self.outcomes.get_mut(id as usize) {
            *known = outcome;
            self.regretted += u32::from(matches!(outcome, Outcome::Unknown | Outcome::Superseded));
        }
    }

    /// Whether there is a command to try again: that is done with now.
    pub(crate) fn regret(&mut self) -> bool {
        let any = self.regretted > 0;
        self.regretted -= u32::from(any);
        any
    }

    pub(crate) fn outcome(&self, id: CommandId) -> Option<Outcome> {
        self.outcomes.get(id as usize).copied()
    }

    pub(crate) fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }
}

/// Which command a payload is; a command's first bytes are its id.
pub(crate) fn command_id(payload: &Payload) -> Option<CommandId> {
    let Payload::Command(command) = payload else { return None };
    command.first_chunk().copied().map(CommandId::from_le_bytes)
}
