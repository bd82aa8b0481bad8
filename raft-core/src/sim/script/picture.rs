//! Compact pictures: the servers and their logs, as in the paper's figures; the mail; a leader's followers; a disk.

use std::format;
use std::string::{String, ToString};

use super::Outcome;
use super::Stop;
use super::commands::server;
use super::grammar::Words;
use super::world::World;
use crate::{EntryId, FlowKind, Index, Status};

/// `show`, `show mail`, `show followers s1`, `show disk s1`
pub(crate) fn show(world: &mut World, words: &mut Words<'_>) -> Outcome {
    match words.next() {
        None => servers(world),
        Some("mail") => mail(world),
        Some("followers") => {
            let slot = server(world, words)?;
            followers(world, slot);
        }
        Some("disk") => {
            let slot = server(world, words)?;
            disk(world, slot);
        }
        Some(other) => return Err(Stop::Wrong(format!("`{other}` cannot be shown: mail, followers, disk"))),
    }
    Ok(())
}

fn tell(world: &mut World, line: String) {
    world.cluster.trace.command(|| line);
}

/// How many columns an entry takes.
const CELL: usize = 4;

fn servers(world: &mut World) {
    let ends = world.slots().filter_map(|slot| world.server(slot).raft.as_ref()).map(|raft| raft.status().last().index);
    let last = ends.max().unwrap_or(Index(0)).0;
    let indexes: String = (1..=last).map(|index| format!("{index:<CELL$}")).collect();
    tell(world, format!("{:18}term vote commit applied  {indexes}", "").trim_end().into());
    for slot in world.slots() {
        let line = match &world.server(slot).raft {
            Some(raft) => row(raft.status()),
            None => format!("{} is down", world.name(slot)),
        };
        tell(world, line);
    }
}

fn row(status: Status<'_>) -> String {
    let vote = status.voted_for().map_or_else(|| "-".into(), |id| format!("s{id}"));
    let (name, role) = (format!("s{}", status.id()), status.role().to_string());
    let numbers = [status.commit(), status.applied()].map(|index| index.to_string());
    let cells: String = (1..=status.last().index.0).map(|index| cell(status, Index(index))).collect();
    let snapshot = match status.snapshot().last {
        EntryId::ZERO => String::new(),
        last => format!("  snapshot {last}"),
    };
    let facts = format!("{name} {role:<15}{:>4} {vote:>4} {:>6} {:>7}", status.term(), numbers[0], numbers[1]);
    format!("{facts}  {}{snapshot}", cells.trim_end()).trim_end().into()
}

/// The term of an entry, or a dot where it is forgotten; `~` if it is not durable, `|` behind what is committed.
fn cell(status: Status<'_>, index: Index) -> String {
    let term = status.term_at(index).filter(|_| index >= status.first_index());
    let term = term.map_or_else(|| ".".into(), |term| term.to_string());
    let durable = if index <= status.durable() { "" } else { "~" };
    let committed = if index == status.commit() { "|" } else { "" };
    format!("{:<CELL$}", format!("{term}{durable}{committed}"))
}

fn mail(world: &mut World) {
    let name = |slot: usize| world.name(slot);
    let letters = world.mail.iter().map(|letter| (letter.from, letter.to, letter.text.clone()));
    let snapshots = world.transfers.iter().map(|t| (t.from, t.to, format!("snapshot {}", t.file.meta)));
    let mut lines: std::vec::Vec<String> =
        letters.chain(snapshots).map(|(from, to, text)| format!("{} -> {}: {text}", name(from), name(to))).collect();
    if lines.is_empty() {
        lines.push("nothing is on its way".into());
    }
    for line in lines {
        tell(world, line);
    }
}

fn followers(world: &mut World, slot: usize) {
    let raft = world.server(slot).raft.as_ref();
    let lines = raft.into_iter().flat_map(|raft| raft.status().followers()).map(|follower| {
        let flow = match follower.flow {
            FlowKind::Probe => "probe",
            FlowKind::Replicate => "replicate",
            FlowKind::Snapshot => "snapshot",
        };
        let (id, matched, next, inflight) = (follower.id, follower.matched, follower.next, follower.inflight);
        format!("s{id} matched {matched} next {next} {flow} inflight {inflight}")
    });
    for line in lines.collect::<std::vec::Vec<_>>() {
        tell(world, line);
    }
}

fn disk(world: &mut World, slot: usize) {
    let disk = &world.server(slot).disk;
    let (state, last) = (disk.durable.hard_state, disk.durable.last());
    let vote = state.voted_for.map_or_else(|| "-".into(), |vote| format!("s{vote}"));
    let waiting: String = disk.outstanding().map(|id| format!(" {id}")).collect();
    let waiting = if waiting.is_empty() { " nothing".into() } else { waiting };
    let line = format!("t{} vote {vote} log through {last}, waiting:{waiting}", state.term);
    tell(world, line);
}
