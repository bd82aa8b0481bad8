//! A path, told line by line, and found again from its words.

use std::borrow::ToOwned;
use std::boxed::Box;
use std::fmt;
use std::format;
use std::string::String;
use std::vec::Vec;

use super::bounds::{Bounds, node};
use super::mail::Content;
use super::rules::facts;
use super::search::Report;
use super::tables::{Deed, Tables};
use super::world::{Choice, World};
use crate::sim::violation::Violation;

/// A shortest path to a broken invariant.
#[derive(Clone, Debug)]
pub struct Counterexample {
    /// The world.
    pub bounds: Bounds,
    /// What is broken at its end.
    pub violation: Violation,
    /// What had been met when it was found.
    pub report: Report,
    /// What happens, a line for each event.
    pub lines: Vec<String>,
    /// The same as words that [`replay`] understands.
    pub words: Vec<String>,
}

impl fmt::Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, line) in self.lines.iter().enumerate() {
            writeln!(f, "{:>3} {line}", i + 1)?;
        }
        writeln!(f, "{}", self.violation)?;
        let Counterexample { bounds, words, report, .. } = self;
        writeln!(
            f,
            "{} events; {} states were met, {} choices followed",
            words.len(),
            report.states,
            report.transitions
        )?;
        write!(
            f,
            "cargo run --release -p raft-core --features sim --example explore -- {bounds} --replay {}",
            words.join(",")
        )
    }
}

impl std::error::Error for Counterexample {}

pub(crate) fn at_the_start(bounds: Bounds, violation: Violation) -> Box<Counterexample> {
    let (report, lines, words) = (Report::default(), Vec::new(), Vec::new());
    Box::new(Counterexample { bounds, violation, report, lines, words })
}

/// Walk the way again, by the numbers of choices, and tell it.
pub(crate) fn tell(
    tables: &mut Tables,
    way: &[usize],
    last: Choice,
    violation: Violation,
    report: Report,
) -> Box<Counterexample> {
    let mut found = at_the_start(tables.bounds, violation);
    found.report = report;
    let Ok(mut world) = World::first(tables) else { return found };
    let mut choices = Vec::new();
    for number in way {
        world.choices(tables, &mut choices);
        let choice = choices[*number];
        found.words.push(word(tables, choice));
        let Ok(Some(change)) = world.change(tables, choice) else { return found };
        let line = line(tables, &world, choice);
        world = world.after(&change);
        found.lines.push(format!("{line} | {}", state(tables, &world, choice.slot)));
    }
    found.words.push(word(tables, last));
    found.lines.push(line(tables, &world, last));
    found
}

/// Walk a path by its words, as a counterexample prints them, with the real core asked anew for each of them. `tell` gets a
/// line for each event.
///
/// # Errors
/// The violation at the end of the path, if there is one, or at any of its events.
///
/// # Panics
/// If a word is none, or not possible where it stands: then the path belongs to another world, or to another version.
pub fn replay(bounds: Bounds, words: &str, mut tell: impl FnMut(&str)) -> Result<(), Box<Counterexample>> {
    let mut tables = Tables::new(bounds);
    let mut world = World::first(&mut tables).map_err(|violation| at_the_start(bounds, *violation))?;
    let mut choices = Vec::new();
    let mut done: Vec<String> = Vec::new();
    for wanted in words.split(',').filter(|word| !word.is_empty()) {
        world.choices(&tables, &mut choices);
        let found = choices.iter().copied().find(|choice| word(&tables, *choice) == wanted);
        let Some(choice) = found else { panic!("{wanted} is not possible after {}", done.join(",")) };
        let line = line(&tables, &world, choice);
        done.push(wanted.to_owned());
        match world.change(&mut tables, choice) {
            Ok(Some(change)) => world = world.after(&change),
            Ok(None) => {}
            Err(violation) => {
                tell(&format!("{:>3} {line}", done.len()));
                let mut end = at_the_start(bounds, *violation);
                end.words = done;
                return Err(end);
            }
        }
        tell(&format!("{:>3} {line} | {}", done.len(), state(&tables, &world, choice.slot)));
    }
    Ok(())
}

/// A choice in one word: what, to which server, which mail by its fingerprint; `~` if its writes are late, `+` if the mail
/// comes again.
pub(crate) fn word(tables: &Tables, choice: Choice) -> String {
    let Choice { slot, deed, late, again } = choice;
    let server = node(slot);
    let mail = |id: u32| format!("{:08x}", tables.mail_prints[id as usize][0] >> 96);
    let word = match deed {
        Deed::Campaign => format!("campaign{server}"),
        Deed::Heartbeat => format!("heartbeat{server}"),
        Deed::StepDown => format!("stepdown{server}"),
        Deed::Start => format!("start{server}"),
        Deed::Compact => format!("compact{server}"),
        Deed::Read(told) => format!("read{server}.{told}"),
        Deed::Transfer(to) => format!("transfer{server}.{}", node(usize::from(to))),
        Deed::Change => format!("change{server}"),
        Deed::GiveUp => format!("giveup{server}"),
        Deed::Wipe => format!("wipe{server}"),
        Deed::Persist(count) => format!("persist{server}.{count}"),
        Deed::Crash(kept) => format!("crash{server}.{kept}"),
        Deed::Receive(id) => format!("receive{server}.{}", mail(id)),
        Deed::ReceiveInSilence(id) => format!("silent{server}.{}", mail(id)),
        Deed::Lose(id) => format!("lose{server}.{}", mail(id)),
    };
    format!("{word}{}{}", if late { "~" } else { "" }, if again { "+" } else { "" })
}

fn line(tables: &Tables, world: &World, choice: Choice) -> String {
    let Choice { slot, deed, late, again } = choice;
    let outstanding = tables.facts[world.locals[slot] as usize].outstanding;
    let what = match deed {
        Deed::Campaign => "campaigns".into(),
        Deed::Heartbeat => "has a heartbeat due".into(),
        Deed::StepDown => "has heard no quorum".into(),
        Deed::Start => "is given a command".into(),
        Deed::Compact => "compacts its log".into(),
        Deed::Read(told) => format!("is asked for a read, {told} being committed"),
        Deed::Transfer(to) => format!("is to hand over to {}", node(usize::from(to))),
        Deed::Change => format!("is asked for a change: {}", tables.bounds.stage.change()),
        Deed::GiveUp => "gives the transfer up".into(),
        Deed::Wipe => "loses its disk, and starts again".into(),
        Deed::Persist(count) => format!("has {count} of {outstanding} writes done"),
        Deed::Crash(kept) => format!("crashes with {kept} of {outstanding} writes done, and restarts"),
        Deed::Receive(id) => format!("receives {}", mail(tables, id)),
        Deed::ReceiveInSilence(id) => format!("receives, after a silence, {}", mail(tables, id)),
        Deed::Lose(id) => format!("hears that this was lost: {}", mail(tables, id)),
    };
    let late = if late { ", its disk is slow" } else { "" };
    let again = if again { ", which will come again" } else { "" };
    format!("server {} {what}{again}{late}", node(slot))
}

fn mail(tables: &Tables, id: u32) -> String {
    let mail = &tables.mails[id as usize];
    let from = mail.from;
    match &mail.content {
        Content::Message(message) => format!("from {from}: {message}"),
        Content::Snapshot { term, meta } => format!("from {from}: snapshot t{term} {}", meta.last),
        Content::Report { snapshot } => format!("that its snapshot {snapshot} has arrived at {from}"),
    }
}

fn state(tables: &Tables, world: &World, slot: usize) -> String {
    let local = &tables.locals[world.locals[slot] as usize];
    let outstanding = match local.outstanding.len() {
        0 => String::new(),
        count => format!(", {count} writes under way"),
    };
    format!("{}{outstanding}", facts(local.raft.status()))
}
