//! A log larger than memory: what is sent or applied of entries that are on disk alone is exactly what the disk has, and
//! entries are fetched only where they must be, once at a time for each who needs them.

use std::format;
use std::vec::Vec;

use crate::sim::server::Server;
use crate::sim::violation::{Invariant, Verdict, ensure};
use crate::{Config, Entries, Event, FetchId, Incarnation, Index, NodeId, Status};

/// Who needs the entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Application,
    /// On this disk: of another one nothing is known.
    Follower(NodeId, Incarnation),
}

/// A request that has no answer yet.
#[derive(Clone, Copy, Debug)]
struct UnderWay {
    slot: usize,
    purpose: Purpose,
    id: FetchId,
    from: Index,
    /// When it was made, by its server's clock.
    at: u64,
}

/// What a step is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Cause {
    Tick,
    Fetched(FetchId),
    #[default]
    Else,
}

#[derive(Default)]
pub(crate) struct FetchExact {
    under_way: Vec<UnderWay>,
    cause: Cause,
    /// The clock of each server, in ticks, and its newest request.
    known: Vec<Known>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    now: u64,
    newest: Option<FetchId>,
}

impl FetchExact {
    /// The server in `slot` is about to step.
    pub(crate) fn feeding(&mut self, slot: usize, config: &Config, event: &Event) {
        self.cause = match event {
            Event::Tick { elapsed } => {
                self.known(slot).now += u64::from(*elapsed.min(&config.heartbeat_ticks));
                Cause::Tick
            }
            Event::Fetched { id, .. } => Cause::Fetched(*id),
            _ => Cause::Else,
        };
    }

    fn known(&mut self, slot: usize) -> &mut Known {
        self.known.resize(self.known.len().max(slot + 1), Known::default());
        &mut self.known[slot]
    }

    /// The server in `slot` asks for the entries from `from` through `to`.
    pub(crate) fn asked(&mut self, slot: usize, server: &Server, id: FetchId, (from, to): (Index, Index)) -> Verdict {
        let Some(raft) = &server.raft else { return Ok(()) };
        let status = raft.status();
        let broken = |holds, what: &str| {
            ensure(holds, Invariant::FetchExact, || format!("fetches {id} from {from} through {to}: {what}"))
        };
        broken(from <= to && to < status.resident_first(), "in memory")?;
        let image = &server.disk.durable;
        let same =
            |index: u64| image.term_at(Index(index)).is_some_and(|term| status.term_at(Index(index)) == Some(term));
        broken((from.0..=to.0).all(same) && !image.read(from, to, 0).is_empty(), "not on disk")?;
        let now = self.known(slot).now;
        let newest = self.known(slot).newest.replace(id);
        broken(newest.is_none_or(|newest| newest < id), "not a new id")?;
        // One that is void when the step ends is nobody's.
        let Some(purpose) = purposes(status).find(|(_, of)| *of == id).map(|(purpose, _)| purpose) else {
            return Ok(());
        };
        if let Some(before) = self.of(slot, purpose) {
            let overdue = now - before.at >= u64::from(server.config.disk_stall_ticks);
            let may_follow = match self.cause {
                Cause::Fetched(answered) => answered == before.id && from != before.from,
                Cause::Tick => from != before.from || overdue,
                Cause::Else => false,
            };
            broken(may_follow, &format!("for {purpose:?} at {now}, while {before:?} is under way"))?;
        }
        self.under_way.retain(|of| (of.slot, of.purpose) != (slot, purpose));
        self.under_way.push(UnderWay { slot, purpose, id, from, at: now });
        Ok(())
    }

    fn of(&self, slot: usize, purpose: Purpose) -> Option<UnderWay> {
        self.under_way.iter().copied().find(|of| (of.slot, of.purpose) == (slot, purpose))
    }

    /// The step of the server in `slot` is over: what it says nothing of any more is void, or was answered.
    pub(crate) fn settled(&mut self, slot: usize, server: &Server) {
        if self.under_way.is_empty() {
            return;
        }
        let Some(raft) = &server.raft else { return self.crashed(slot) };
        let status = raft.status();
        self.under_way.retain(|of| of.slot != slot || purposes(status).any(|(_, id)| id == of.id));
    }

    /// The server in `slot` is down.
    pub(crate) fn crashed(&mut self, slot: usize) {
        self.under_way.retain(|of| of.slot != slot);
        self.known(slot).newest = None;
    }
}

/// What is under way, as the server says.
fn purposes(status: Status<'_>) -> impl Iterator<Item = (Purpose, FetchId)> + '_ {
    let application = status.fetching().map(|id| (Purpose::Application, id));
    let followers = status.followers().filter_map(|of| of.fetching.map(|id| (Purpose::Follower(of.id, of.disk), id)));
    application.into_iter().chain(followers)
}

/// Entries are sent or handed out. Those that are not in memory came from a disk.
pub(crate) fn used(server: &Server, entries: &Entries) -> Verdict {
    let resident = server.seen.resident_first;
    let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Ok(()) };
    if first.index >= resident {
        return Ok(());
    }
    let through = last.index.min(resident.prev());
    let fetched = entries.clone().through(through);
    let kept = server.disk.durable.read(first.index, through, u64::MAX);
    ensure(fetched == kept, Invariant::FetchExact, || {
        format!("sends or applies {fetched:?}, which are not in memory, and its disk has {kept:?}")
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{entries, found, server, write};
    use super::*;
    use crate::sim::disk::Image;
    use crate::sim::server::Seen;
    use crate::{HardState, Raft, Term};

    const ID: FetchId = FetchId::from_number(1);

    /// A server that has applied nothing, and of whose log of six the last two are in memory. It asks for what comes first.
    fn restarted() -> (Server, FetchExact) {
        let mut server = server();
        let mut kept = write(1, &[1, 1, 1, 1, 1, 1]);
        kept.hard_state = Some(HardState { term: Term(1), voted_for: None });
        server.disk.submit(kept);
        server.disk.complete_through(crate::WriteId::from_number(1));
        let tail = entries(1, &[1, 1]).bytes();
        let config = Config { apply_bytes_max: tail, ..server.config.clone() };
        let mut raft = Raft::new(config, server.restored().keep_tail(tail)).unwrap();
        let round = crate::Rpc::AppendEntries {
            prev: crate::EntryId::new(1, 6),
            entries: Entries::new(),
            commit: Index(6),
            round: 1,
            reply: true,
        };
        let message = crate::Message { term: Term(1), incarnation: Incarnation(2), rpc: round };
        let actions = raft.step(Event::Receive { from: NodeId(2), message });
        assert!(actions.iter().any(|action| matches!(action, crate::Action::Fetch { id: ID, from: Index(1), .. })));
        server.seen = Seen::of(raft.status());
        server.raft = Some(raft);
        (server, FetchExact::default())
    }

    fn ask(oracle: &mut FetchExact, server: &Server, id: FetchId, from: u64, to: u64) -> Option<Invariant> {
        found(oracle.asked(0, server, id, (Index(from), Index(to))))
    }

    #[test]
    fn what_is_fetched_is_on_disk_and_not_in_memory() {
        let (mut server, _) = restarted();
        let asked = |server: &Server, from, to| ask(&mut FetchExact::default(), server, ID, from, to);
        assert_eq!(asked(&server, 1, 4), None);
        assert_eq!(asked(&server, 4, 3), Some(Invariant::FetchExact), "nothing");
        assert_eq!(asked(&server, 1, 5), Some(Invariant::FetchExact), "in memory");
        server.disk.durable = Image::new(server.disk.durable.snapshot.clone());
        assert_eq!(asked(&server, 1, 4), Some(Invariant::FetchExact), "not there");
    }

    #[test]
    fn two_under_way_for_one_purpose_are_found() {
        let (mut server, mut oracle) = restarted();
        let config = server.config.clone();
        assert_eq!(ask(&mut oracle, &server, ID, 1, 4), None);
        oracle.settled(0, &server);
        assert_eq!(oracle.under_way.len(), 1);
        assert_eq!(ask(&mut oracle, &server, ID, 1, 4), Some(Invariant::FetchExact), "the same id");
        // It asks again when it has waited, and no sooner.
        let (again, tick) = (FetchId::from_number(2), Event::Tick { elapsed: 1 });
        let before = oracle.under_way.clone();
        for _ in 0..config.disk_stall_ticks {
            let Some(raft) = &mut server.raft else { panic!("it is up") };
            assert_eq!(raft.status().fetching(), Some(ID));
            let _ = raft.step(tick.clone());
            oracle.feeding(0, &config, &tick);
        }
        assert_eq!(server.raft.as_ref().and_then(|raft| raft.status().fetching()), Some(again));
        let (late, answer) = (oracle.known(0).now, Event::Fetched { id: ID, entries: Entries::new() });
        let cases = [
            (Event::Applied(Index(0)), late, Some(Invariant::FetchExact)),
            (tick.clone(), late - 2, Some(Invariant::FetchExact)),
            (answer, late, Some(Invariant::FetchExact)),
            (tick, late - 1, None),
        ];
        for (cause, now, expected) in cases {
            let known = Vec::from([Known { now, newest: Some(ID) }]);
            let mut oracle = FetchExact { under_way: before.clone(), known, ..FetchExact::default() };
            oracle.feeding(0, &config, &cause);
            assert_eq!(ask(&mut oracle, &server, again, 1, 4), expected, "{cause} at {now}");
        }
        oracle.settled(0, &server);
        assert!(oracle.under_way.is_empty(), "the first is void");
    }

    #[test]
    fn entries_that_the_disk_does_not_have_are_found() {
        let (server, _) = restarted();
        assert_eq!(found(used(&server, &entries(1, &[1, 1, 1]))), None);
        assert_eq!(found(used(&server, &entries(1, &[1, 1, 2]))), Some(Invariant::FetchExact), "another term");
        let moved = entries(2, &[1]);
        assert_eq!(found(used(&server, &moved)), Some(Invariant::FetchExact), "another command");
        assert_eq!(found(used(&server, &entries(5, &[2]))), None, "what is in memory is judged elsewhere");
    }
}
