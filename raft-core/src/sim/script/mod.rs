//! Scripts: a text says what happens to a few real servers, step by step, and below each command stands what came out of
//! it. Nothing is drawn, election timeouts are stated, the oracles watch every step. `docs/scripts.md` has the grammar; the
//! simulator tells its stories in the same one.
//!
//! Reading order: `grammar` (lines and words), `changes` (of the membership), `world` (servers, mail, disks), `commands` and `events` (what may be said),
//! `picture` and `expect` (what may be asked), `settings` (what stands before the first step), `shrink`
//! (what a story can do without).

mod changes;
mod commands;
mod events;
mod expect;
pub(crate) mod grammar;
mod picture;
pub(crate) mod settings;
mod shrink;
mod world;

use std::boxed::Box;
use std::fmt;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use super::fuzz::Life;
use super::trace::INDENT;
use super::violation::Violation;
use grammar::{Line, Words};
pub use shrink::{SHRINK_COMMANDS, Shrunk, shrink_script};
use world::World;

/// Why a script did not run to its end.
#[derive(Clone, Debug)]
pub struct ScriptError {
    /// The line, counted from 1.
    pub line: usize,
    /// The command there.
    pub command: String,
    /// What is wrong with it, or which invariant was broken.
    pub what: String,
    /// What had come out of the command.
    pub trace: Vec<String>,
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.trace.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        write!(f, "line {}: `{}`: {}", self.line, self.command, self.what)
    }
}

impl std::error::Error for ScriptError {}

/// What ends a script early.
pub(crate) enum Stop {
    /// It makes no sense.
    Wrong(String),
    Broken(Box<Violation>),
}

impl From<String> for Stop {
    fn from(what: String) -> Stop {
        Stop::Wrong(what)
    }
}

impl From<Box<Violation>> for Stop {
    fn from(violation: Box<Violation>) -> Stop {
        Stop::Broken(violation)
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stop::Wrong(what) => f.write_str(what),
            Stop::Broken(violation) => violation.fmt(f),
        }
    }
}

pub(crate) type Outcome<T = ()> = Result<T, Stop>;

/// Run a script. Gives it back with the trace that came out below each command, in place of what stood there: a script
/// whose trace is golden comes back as it was.
///
/// # Errors
/// If a command makes no sense, an expectation is not met, or an invariant is broken.
pub fn run_script(text: &str) -> Result<String, ScriptError> {
    run(text, false).map(|(result, _)| result)
}

/// Run a script, and say what its servers lived through: every life of each, in the order in which they began.
///
/// # Errors
/// As [`run_script`].
pub fn lives_of_script(text: &str) -> Result<Vec<Life>, ScriptError> {
    run(text, true).map(|(_, lives)| lives)
}

fn run(text: &str, recorded: bool) -> Result<(String, Vec<Life>), ScriptError> {
    let mut world = None;
    let mut result = String::new();
    let mut end = (0, "");
    for (number, line) in (1..).zip(text.lines()) {
        let kind = Line::of(line);
        if kind != Line::Trace {
            result += line;
            result.push('\n');
        }
        let Line::Command(command) = kind else { continue };
        end = (number, command);
        let outcome = run_command(&mut world, command);
        if let Some(world) = world.as_mut().filter(|_| recorded) {
            // The first command makes a world, in which nobody lives yet.
            world.cluster.recorder.0.get_or_insert_default();
        }
        let trace = world.as_mut().map(World::told).unwrap_or_default();
        let (trace, outcome) = laid_out(command, trace, outcome);
        if let Err(stop) = outcome {
            return Err(ScriptError { line: number, command: command.into(), what: stop.to_string(), trace });
        }
        for told in trace {
            result += &told;
            result.push('\n');
        }
    }
    let lives = world.as_mut().and_then(|world| world.cluster.recorder.0.take()).unwrap_or_default();
    let finished = world.ok_or_else(|| Stop::Wrong("there is no command".into())).and_then(World::finish);
    match finished {
        Ok(()) => Ok((result, lives)),
        Err(stop) => Err(ScriptError { line: end.0, command: end.1.into(), what: stop.to_string(), trace: Vec::new() }),
    }
}

fn run_command(world: &mut Option<World>, command: &str) -> Outcome {
    let mut words = Words::new(command);
    match world {
        Some(world) => commands::run(world, command),
        None if words.takes("cluster") => {
            *world = Some(World::new(words)?);
            Ok(())
        }
        None => Err(Stop::Wrong("a script begins with `cluster`".into())),
    }
}

/// How a trace stands below its command. A command that is an event is its own first line; below others events are
/// indented, ticks and confirmations of which nothing came are left out, and `quietly` leaves nothing but a number.
fn laid_out(command: &str, trace: Vec<String>, outcome: Outcome) -> (Vec<String>, Outcome) {
    if Words::new(command).next().and_then(grammar::server).is_some() {
        let mut lines = trace.into_iter();
        let outcome = match lines.next() {
            Some(first) if first != command && outcome.is_ok() => {
                Err(Stop::Wrong(format!("this is what happened: `{first}`")))
            }
            _ => outcome,
        };
        return (lines.map(|line| if is_event(&line) { format!("{INDENT}{line}") } else { line }).collect(), outcome);
    }
    if command.starts_with("quietly ") && outcome.is_ok() {
        let events = trace.iter().filter(|line| is_event(line)).count();
        return (Vec::from([format!("{INDENT}({events} events)")]), outcome);
    }
    let dull = |i: usize| {
        let line = &trace[i];
        let mut words = Words::new(line);
        let named = is_event(line) && words.next().is_some() && (words.takes("tick") || words.takes("applied"));
        named && trace.get(i + 1).is_none_or(|next| is_event(next)) && !command.starts_with("apply")
    };
    let told = (0..trace.len()).filter(|i| !dull(*i)).map(|i| format!("{INDENT}{}", trace[i]));
    (told.collect(), outcome)
}

fn is_event(line: &str) -> bool {
    !line.starts_with([' ', '#'])
}
