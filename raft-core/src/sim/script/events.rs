//! What can happen to one server, said as the simulator says it: `s2 receive from 1: PreVote t0 last 0@0`.

use std::format;

use super::changes;
use super::grammar::{self, Words};
use super::world::World;
use super::{Outcome, Stop};
use crate::sim::fuzz::Feed;
use crate::{Entries, Entry, Event, FetchId, Index, NodeId, Payload, RequestId, WriteId};

/// The command is one line, and the server's name is read already.
pub(crate) fn run(world: &mut World, id: NodeId, mut words: Words<'_>) -> Outcome {
    let slot = world.slot(id)?;
    let verb = words.word("what happens to the server")?;
    match verb {
        "receive" => return receive(world, slot, words),
        "snapshot" => return snapshot(world, slot, words),
        "start" => return start(world, slot, words),
        "transfer" => return transfer_event(world, slot, words),
        "read" => {
            let request = RequestId(words.number("a request")?);
            words.end()?;
            return read(world, slot, Some(request));
        }
        "change" => return change_event(world, slot, words),
        "fetched" => return fetched(world, slot, words),
        "wiped" => {
            world.wipe(slot);
            return Ok(words.end()?);
        }
        "mounts" => {
            world.mount(slot, &mut words)?;
            return Ok(words.end()?);
        }
        "starts" => return starts(world, slot, words),
        "crash" => {
            words.expect("keeping")?;
            let through = write_id(&mut words)?;
            words.end()?;
            world.sync_through(slot, through);
            world.crash(slot);
            return Ok(());
        }
        "timeout" => words.expect("in")?,
        _ => {}
    }
    let event = match verb {
        "persisted" => {
            let through = write_id(&mut words)?;
            world.sync_through(slot, through);
            Event::Persisted(through)
        }
        "arriving" | "unreachable" => of_peer(verb, &mut words)?,
        "tick" | "applied" | "compact" | "keeps" | "timeout" => {
            let number = words.number("a number")?;
            words.end()?;
            match numbered(world, slot, verb, number)? {
                Some(event) => event,
                None => return Ok(()),
            }
        }
        _ => return Err(Stop::Wrong(format!("`{verb}` is nothing that happens to a server"))),
    };
    words.end()?;
    world.step(slot, event)
}

/// `arriving from 1 t3`, `unreachable 2`: what the transport tells of a peer.
fn of_peer(verb: &str, words: &mut Words<'_>) -> Outcome<Event> {
    if verb == "unreachable" {
        return Ok(Event::Unreachable { peer: NodeId(words.number("a server")?) });
    }
    words.expect("from")?;
    let from = NodeId(words.number("a server")?);
    Ok(Event::Arriving { from, term: grammar::term(words.word("a term")?)? })
}

/// `starts from applied 3`, and `tail 100` behind it if so many bytes of its log at most are in memory.
fn starts(world: &mut World, slot: usize, mut words: Words<'_>) -> Outcome {
    words.expect("from")?;
    words.expect("applied")?;
    words.number("what is applied")?;
    let tail = if words.takes("tail") { words.number("how many bytes")? } else { u64::MAX };
    words.end()?;
    world.cluster.servers[slot].stated_tail = Some(tail);
    world.start(slot)
}

/// What is said with one number: an event, unless it is done.
fn numbered(world: &mut World, slot: usize, verb: &str, number: u64) -> Outcome<Option<Event>> {
    let index = Index(number);
    let ticks = u32::try_from(number).map_err(|_| format!("{number} is too much"));
    match verb {
        "tick" => Ok(Some(Event::Tick { elapsed: ticks? })),
        "applied" => {
            world.run_machine(slot, index)?;
            Ok(Some(Event::Applied(index)))
        }
        "compact" => {
            world.make_snapshot(slot, index)?;
            Ok(Some(Event::Compact { index }))
        }
        "keeps" => {
            world.run_machine(slot, index)?;
            keep(world, slot);
            Ok(None)
        }
        _ => {
            time_out_in(world, slot, ticks?)?;
            Ok(None)
        }
    }
}

/// The application writes its state to a disk of its own.
pub(crate) fn keep(world: &mut World, slot: usize) {
    let cluster = &mut world.cluster;
    let server = &mut cluster.servers[slot];
    server.machine.kept = server.machine.state;
    cluster.trace.event(cluster.now, server.id, format_args!("keeps {}", server.machine.kept.last.index));
}

/// The election timer of a server runs out after so many ticks.
pub(crate) fn time_out_in(world: &mut World, slot: usize, ticks: u32) -> Outcome {
    let cluster = &mut world.cluster;
    let server = &mut cluster.servers[slot];
    let Some(raft) = &mut server.raft else {
        return Err(Stop::Wrong(format!("s{} is down", server.id)));
    };
    raft.set_election_timeout(ticks);
    cluster.recorder.fed(server.id, || Feed::Timeout(ticks));
    cluster.trace.event(cluster.now, server.id, format_args!("timeout in {ticks}"));
    Ok(())
}

fn write_id(words: &mut Words<'_>) -> Outcome<WriteId> {
    let word = words.word("a write")?;
    let number = word.strip_prefix('w').and_then(|digits| digits.parse().ok());
    number.map(WriteId::from_number).ok_or_else(|| Stop::Wrong(format!("`{word}` is not a write like w3")))
}

/// `receive from 1: AppendEntries t1 prev 0@0 entries - commit 0 round 1`
fn receive(world: &mut World, slot: usize, mut words: Words<'_>) -> Outcome {
    words.expect("from")?;
    let from = words.word("a server and a colon")?;
    let from = grammar::number(from.strip_suffix(':').unwrap_or(from), "a server")?;
    let sender = world.slot(NodeId(from))?;
    let text = words.rest();
    if let Some(letter) = world.letter(sender, slot, text) {
        return world.step(slot, Event::Receive { from: NodeId(from), message: letter.message });
    }
    let waiting = world.mail.iter().filter(|letter| (letter.from, letter.to) == (sender, slot));
    let waiting: std::string::String = waiting.map(|letter| format!("\n    {}", letter.text)).collect();
    let found = if waiting.is_empty() { "nothing is".into() } else { format!("this is:{waiting}") };
    Err(Stop::Wrong(format!("s{from} never sent that; on its way {found}")))
}

/// `snapshot received from 1 t3: 5@2 of 1,2,3` and `snapshot 5@2 to 2 delivered`
fn snapshot(world: &mut World, slot: usize, mut words: Words<'_>) -> Outcome {
    if words.takes("received") {
        words.expect("from")?;
        let from = world.slot(NodeId(words.number("a server")?))?;
        let term = words.word("a term")?;
        let term = grammar::term(term.strip_suffix(':').unwrap_or(term))?;
        let text = words.rest();
        let mut asked = world.asked_transfers.iter();
        let same = asked.find(|transfer| {
            (transfer.from, transfer.to, transfer.term) == (from, slot, term)
                && format!("{}", transfer.file.meta) == text
        });
        return match same.cloned() {
            Some(transfer) => world.receive_snapshot(&transfer),
            None => Err(Stop::Wrong("nobody was asked to send that snapshot".into())),
        };
    }
    let snapshot = grammar::entry(words.word("a snapshot")?)?;
    words.expect("to")?;
    let to = NodeId(words.number("a server")?);
    let delivered = match words.word("what became of it")? {
        "delivered" => true,
        "failed" => false,
        other => return Err(Stop::Wrong(format!("`{other}`: a transfer is delivered or failed"))),
    };
    words.end()?;
    // A member need not exist.
    let receiver = world.slot(to).ok();
    let ended = |file: &crate::SnapshotMeta| file.last == snapshot;
    world.transfers.retain(|t| (t.from, Some(t.to)) != (slot, receiver) || !ended(&t.file.meta));
    world.step(slot, Event::SnapshotSent { to, snapshot, delivered })
}

/// `transfer 900001 to 2`, or without a target.
fn transfer_event(world: &mut World, slot: usize, mut words: Words<'_>) -> Outcome {
    let request = RequestId(words.number("a request")?);
    let to = if words.takes("to") { Some(NodeId(words.number("a server")?)) } else { None };
    words.end()?;
    transfer(world, slot, Some(request), to)
}

/// Somebody asks for a transfer of leadership.
pub(crate) fn transfer(world: &mut World, slot: usize, wanted: Option<RequestId>, to: Option<NodeId>) -> Outcome {
    let request = ask(world, slot, wanted)?;
    world.step(slot, Event::Transfer { request, to })
}

/// A client reads.
pub(crate) fn read(world: &mut World, slot: usize, wanted: Option<RequestId>) -> Outcome {
    let request = ask(world, slot, wanted)?;
    world.step(slot, Event::Read { request })
}

/// `change 900001: add voter 4`
fn change_event(world: &mut World, slot: usize, mut words: Words<'_>) -> Outcome {
    let request = words.word("a request and a colon")?;
    let request = RequestId(grammar::number(request.strip_suffix(':').unwrap_or(request), "a request")?);
    change(world, slot, Some(request), words.rest())
}

/// Somebody asks for a change of the membership.
pub(crate) fn change(world: &mut World, slot: usize, wanted: Option<RequestId>, text: &str) -> Outcome {
    let change = changes::change(text)?;
    let request = ask(world, slot, wanted)?;
    world.step(slot, Event::Change { request, change: change.into() })
}

/// The number of a request that is no command, to a server that is up.
fn ask(world: &mut World, slot: usize, wanted: Option<RequestId>) -> Outcome<RequestId> {
    if !world.server(slot).is_up() {
        return Err(Stop::Wrong(format!("{} is down", world.name(slot))));
    }
    let request = world.cluster.clients.ask();
    match wanted.filter(|wanted| *wanted != request) {
        Some(wanted) => Err(Stop::Wrong(format!("the next request is {request}, not {wanted}"))),
        None => Ok(request),
    }
}

/// `fetched f1: 3@1..5@2`: what the disk has there; where it has entries of other terms, or none, no-ops. `-` for nothing.
fn fetched(world: &mut World, slot: usize, mut words: Words<'_>) -> Outcome {
    let word = words.word("a request and a colon")?;
    let number = word.trim_end_matches(':').strip_prefix('f').and_then(|digits| digits.parse().ok());
    let id = number.map(FetchId::from_number).ok_or_else(|| format!("`{word}` is not a request like f3:"))?;
    let range = words.word("the first and the last entry")?;
    words.end()?;
    let mut entries = Entries::new();
    if range != "-" {
        let (first, last) = range.split_once("..").unwrap_or((range, range));
        let (first, last) = (grammar::entry(first)?, grammar::entry(last)?);
        entries = world.server(slot).disk.durable.read(first.index, last.index, u64::MAX);
        if (entries.first(), entries.last()) != (Some(first), Some(last)) {
            let count = first.index.distance_to(last.index).min(1000);
            let mut list = std::vec![Entry { term: first.term, payload: Payload::Noop }];
            list.resize(1 + usize::try_from(count).unwrap_or(0), Entry { term: last.term, payload: Payload::Noop });
            entries = Entries::from_vec(first.index, list).map_err(|error| format!("{error}"))?;
        }
    }
    world.fetched.retain(|(of, _, fetch, _)| (*of, *fetch) != (slot, id));
    world.step(slot, Event::Fetched { id, entries })
}

/// `start 4: 2 commands of 8 bytes`
fn start(world: &mut World, slot: usize, mut words: Words<'_>) -> Outcome {
    let request = words.word("a request and a colon")?;
    let request = RequestId(grammar::number(request.strip_suffix(':').unwrap_or(request), "a request")?);
    let count = words.number("how many commands")?;
    words.expect("commands")?;
    words.expect("of")?;
    let bytes = words.number("how many bytes")?;
    words.expect("bytes")?;
    words.end()?;
    start_commands(world, slot, count, bytes, Some(request))
}

/// Clients' commands have numbers, and a request that of its first.
pub(crate) fn start_commands(
    world: &mut World,
    slot: usize,
    count: u64,
    bytes: u64,
    wanted: Option<RequestId>,
) -> Outcome {
    if count > 10_000 || bytes > 1 << 27 {
        return Err(Stop::Wrong("that is too much for a script".into()));
    }
    if !world.server(slot).is_up() {
        return Err(Stop::Wrong(format!("{} is down", world.name(slot))));
    }
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    let (request, commands) = world.cluster.clients.request(count, bytes);
    if let Some(wanted) = wanted.filter(|wanted| *wanted != request) {
        return Err(Stop::Wrong(format!("the next request is {request}, not {wanted}")));
    }
    world.step(slot, Event::Start { request, commands })
}
