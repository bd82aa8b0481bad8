//! A story in which an invariant is broken, cut down to what it takes: ever smaller parts of it are left out, as long as
//! the same invariant still breaks.

use std::borrow::ToOwned;
use std::format;
use std::string::String;
use std::vec::Vec;

use super::grammar::{self, Line, Words};
use super::world::{Letter, World};
use super::{Stop, is_event, run_command};
use crate::sim::cluster::Transfer;
use crate::sim::machine::SnapshotFile;
use crate::sim::violation::{Invariant, Violation};
use crate::{Event, Index, NodeId, RoleKind, WriteId};

/// How many commands are run in all, as a rule: enough for some thousand tries of a short story, a few seconds' work.
pub const SHRINK_COMMANDS: u64 = 10_000_000;

/// What was cut down, and what is still broken at its end.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// A script (`docs/scripts.md`).
    pub script: String,
    /// What its last command breaks.
    pub violation: Violation,
    /// How many commands it had, and how many it has.
    pub commands: (usize, usize),
    /// How often it was tried to leave something out.
    pub tries: u64,
}

/// Cut a script down that breaks an invariant. At most about `commands` commands are run for it. Says nothing if the script
/// breaks none: then it is not the events that matter, but time.
#[must_use]
pub fn shrink_script(text: &str, commands: u64) -> Option<Shrunk> {
    let all: Vec<&str> = text
        .lines()
        .filter_map(|line| match Line::of(line) {
            Line::Command(command) => Some(command),
            Line::Prose | Line::Trace => None,
        })
        .collect();
    let mut shrinker = Shrinker { invariant: None, left: commands.max(4 * all.len() as u64), tries: 0 };
    let all: Vec<String> = all.into_iter().map(restated).collect();
    let (mut best, mut violation) = shrinker.play(&all)?;
    shrinker.invariant = Some(violation.invariant);
    if let Some(without_dice) = shrinker.play(&without_dice(&best)) {
        (best, violation) = without_dice;
    }
    let mut part = best.len().div_ceil(2);
    loop {
        let mut shorter = false;
        let mut end = best.len();
        // From the end: what comes late depends on what comes early, not the other way round.
        while end > 1 && shrinker.left > 0 {
            let start = end.saturating_sub(part).max(1);
            let candidate: Vec<String> = best[..start].iter().chain(&best[end..]).cloned().collect();
            if let Some((kept, broken)) = shrinker.play(&candidate).filter(|(kept, _)| kept.len() < best.len()) {
                (best, violation, shorter) = (kept, broken, true);
            }
            end = start.min(best.len());
        }
        if shrinker.left == 0 || part == 1 && !shorter {
            break;
        }
        part = if shorter && part == 1 { 1 } else { part.div_ceil(2) };
    }
    // Settings that do not matter.
    let count = best[0].split(' ').count();
    for place in (2..count).rev() {
        let mut words: Vec<&str> = best[0].split(' ').collect();
        words.remove(place);
        let mut candidate = best.clone();
        candidate[0] = words.join(" ");
        if let Some(plainer) = shrinker.play(&candidate).filter(|(kept, _)| kept.len() <= best.len()) {
            (best, violation) = plainer;
        }
    }
    let commands = (all.len(), best.len());
    Some(Shrunk { script: best.join("\n") + "\n", violation, commands, tries: shrinker.tries })
}

/// A request is numbered by those before it, which may go: a script's own word for it is not.
fn restated(command: &str) -> String {
    let mut words = Words::new(command);
    let parts = words.takes_server().and_then(|server| match words.next()? {
        "start" => {
            words.next()?;
            let count = words.takes_number()?;
            let bytes = words.takes("commands").then(|| words.takes("of")).and_then(|_| words.takes_number())?;
            Some(format!("start s{server} {count} of {bytes}"))
        }
        "read" => Some(format!("read s{server}")),
        "transfer" => {
            words.next()?;
            let to = if words.takes("to") { format!(" to s{}", words.takes_number()?) } else { String::new() };
            Some(format!("transfer s{server}{to}"))
        }
        "change" => {
            words.next()?;
            Some(format!("change s{server}: {}", words.rest()))
        }
        _ => None,
    });
    parts.unwrap_or_else(|| command.to_owned())
}

/// Whether nobody confirms what never was: a server that is lied to may break anything.
fn is_honest(world: &World, command: &str) -> bool {
    let mut words = Words::new(command);
    let Some(slot) = words.takes_server().and_then(|id| world.slot(id).ok()) else { return true };
    let server = world.server(slot);
    let (verb, what) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    match verb {
        "persisted" => {
            let newest = server.disk.outstanding().last().unwrap_or_else(|| server.disk.through());
            what.strip_prefix('w').and_then(|digits| digits.parse().ok()).map(WriteId::from_number) <= Some(newest)
        }
        "applied" | "compact" => what.parse().is_ok_and(|index| Index(index) <= server.handed),
        "snapshot" if what != "received" => world.asked_transfers.iter().any(|transfer| {
            let (last, to) = (transfer.file.meta.last, world.server(transfer.to).id);
            transfer.from == slot && command.contains(&format!(" snapshot {last} to {to} "))
        }),
        _ => true,
    }
}

/// What is most like an event that cannot happen any more: the same kind of message on the same way, the writes and the work
/// that there are.
fn similar(world: &World, command: &str) -> Option<String> {
    let mut words = Words::new(command);
    let id = words.takes_server()?;
    let slot = world.slot(id).ok().filter(|slot| world.server(*slot).is_up())?;
    match words.next()? {
        "receive" => {
            words.next()?;
            let from = words.next()?.trim_end_matches(':').parse().ok().map(NodeId)?;
            let (sender, name) = (world.slot(from).ok()?, words.next()?);
            let alike = |letter: &&Letter| (letter.from, letter.to) == (sender, slot) && letter.message.name() == name;
            let letter = world.mail.iter().rfind(alike)?;
            Some(format!("s{id} receive from {from}: {}", letter.text))
        }
        "persisted" => world.server(slot).disk.outstanding().last().map(|write| format!("s{id} persisted {write}")),
        "applied" => Some(format!("apply s{id}")),
        "compact" => Some(format!("compact s{id}")),
        "snapshot" if words.takes("received") => {
            let from = words.takes("from").then(|| words.takes_number()).flatten().map(NodeId)?;
            let way = (world.slot(from).ok()?, slot);
            let transfer = world.asked_transfers.iter().rfind(|transfer| (transfer.from, transfer.to) == way)?;
            let Transfer { term, file: SnapshotFile { meta, .. }, .. } = transfer;
            Some(format!("s{id} {}", Event::SnapshotReceived { from, term: *term, snapshot: meta.clone() }))
        }
        "snapshot" => {
            let (_, to, end) =
                (words.next()?, words.takes("to").then(|| words.takes_number()).flatten()?, words.next()?);
            let way = (slot, world.slot(NodeId(to)).ok()?);
            let transfer = world.asked_transfers.iter().rfind(|transfer| (transfer.from, transfer.to) == way)?;
            Some(format!("s{id} snapshot {} to {to} {end}", transfer.file.meta.last))
        }
        _ => None,
    }
}

/// The same story with stated election timeouts: who campaigns is told to, and time that passes can be left out.
fn without_dice(commands: &[String]) -> Vec<String> {
    let mut world = None;
    let mut result = Vec::new();
    for command in commands {
        let mut words = Words::new(command);
        let ticking = words.takes_server().filter(|_| words.takes("tick"));
        let role = |world: &Option<World>| {
            let world = world.as_ref()?;
            Some(world.server(world.slot(ticking?).ok()?).seen.role)
        };
        let before = role(&world);
        let broken = run_command(&mut world, command).is_err();
        let told = world.as_mut().map(World::told).unwrap_or_default();
        let stands = role(&world) != before && before == Some(RoleKind::Follower);
        let campaigns = stands || told.iter().any(|line| line.contains(": PreVote t"));
        match ticking.filter(|_| campaigns) {
            Some(id) => result.push(format!("timeout s{id}")),
            None if command.contains(" timeout in ") => {}
            None => result.push(command.replace(" timeouts=drawn", "")),
        }
        if broken {
            break;
        }
    }
    result
}

struct Shrinker {
    /// What must still break; anything, before it is known.
    invariant: Option<Invariant>,
    /// How many commands may still be run.
    left: u64,
    tries: u64,
}

impl Shrinker {
    /// Run a story; what cannot happen any more gives way to what is most like it, or to nothing. Gives what did happen, through the one that breaks the invariant; which a second, strict run must break too.
    fn play(&mut self, commands: &[String]) -> Option<(Vec<String>, Violation)> {
        self.tries += 1;
        let (kept, _) = self.run(commands, false)?;
        let (again, violation) = self.run(&kept, true)?;
        (again.len() == kept.len()).then_some((kept, violation))
    }

    fn run(&mut self, commands: &[String], strict: bool) -> Option<(Vec<String>, Violation)> {
        let mut world: Option<World> = None;
        let mut kept: Vec<String> = Vec::new();
        for command in commands {
            self.left = self.left.checked_sub(1)?;
            let honest = world.as_ref().is_none_or(|world| is_honest(world, command));
            let mut outcome = if honest { run_command(&mut world, command) } else { Err(Stop::Wrong(String::new())) };
            let mut is_event_command = Words::new(command).next().and_then(grammar::server).is_some();
            if !strict && let (Err(Stop::Wrong(_)), Some(known)) = (&outcome, &world) {
                let Some(like_it) = similar(known, command) else { continue };
                outcome = run_command(&mut world, &like_it);
                is_event_command = true;
            }
            let told = world.as_mut().map(World::told).unwrap_or_default();
            let happened = told.into_iter().next().filter(|line| is_event_command && is_event(line));
            match outcome {
                Err(Stop::Wrong(_)) if strict => return None,
                Err(Stop::Wrong(_)) => {}
                Ok(()) => {
                    let command = happened.unwrap_or_else(|| command.clone());
                    kept.push(command);
                }
                Err(Stop::Broken(violation)) => {
                    kept.push(happened.unwrap_or_else(|| command.clone()));
                    return self.is_wanted(&violation).then_some((kept, *violation));
                }
            }
        }
        let Err(Stop::Broken(violation)) = world?.finish() else { return None };
        self.is_wanted(&violation).then_some((kept, *violation))
    }

    fn is_wanted(&self, violation: &Violation) -> bool {
        self.invariant.is_none_or(|wanted| wanted == violation.invariant)
    }
}
