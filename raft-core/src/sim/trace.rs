//! The story of a run, in the grammar of scripts (`docs/scripts.md`): what happened flush left, so that a script takes it
//! as a command, and what it led to below. Told only to those who ask.

use std::collections::VecDeque;
use std::fmt::Display;
use std::format;
use std::io::Write;
use std::string::String;
use std::vec::Vec;

use super::queue::{TICK, Time};
use crate::NodeId;

/// How many lines a failure shows.
const LINES: usize = 60;

/// What is put before the line of an action.
pub(crate) const INDENT: &str = "    ";

/// Where the story of a run goes.
#[derive(Clone, Debug, Default)]
enum Sink {
    /// Nowhere: nothing is formatted.
    #[default]
    Nowhere,
    /// To standard output.
    Print,
    /// The newest lines are kept.
    Newest(VecDeque<String>),
    All(Vec<String>),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Trace {
    sink: Sink,
    /// The tick that was told last.
    tick: u64,
}

impl Trace {
    pub(crate) fn off() -> Trace {
        Trace::default()
    }

    pub(crate) fn print() -> Trace {
        Trace { sink: Sink::Print, tick: 0 }
    }

    pub(crate) fn newest() -> Trace {
        Trace { sink: Sink::Newest(VecDeque::new()), tick: 0 }
    }

    pub(crate) fn all() -> Trace {
        Trace { sink: Sink::All(Vec::new()), tick: 0 }
    }

    /// Something happened to a server.
    pub(crate) fn event(&mut self, now: Time, server: NodeId, what: impl Display) {
        if self.is_off() {
            return;
        }
        if now / TICK != self.tick {
            self.tick = now / TICK;
            let tick = self.tick;
            self.tell(format!("# tick {tick}"));
        }
        self.tell(format!("s{server} {what}"));
    }

    /// What the server wants done about it.
    pub(crate) fn action(&mut self, what: impl Display) {
        if !self.is_off() {
            self.tell(format!("{INDENT}{what}"));
        }
    }

    /// Something that no script needs to know.
    pub(crate) fn remark(&mut self, what: impl Display) {
        if !self.is_off() {
            self.tell(format!("# {what}"));
        }
    }

    /// A command of a script.
    pub(crate) fn command(&mut self, what: impl FnOnce() -> String) {
        if !self.is_off() {
            self.tell(what());
        }
    }

    /// What was kept so far.
    pub(crate) fn take(&mut self) -> Vec<String> {
        match &mut self.sink {
            Sink::Nowhere | Sink::Print => Vec::new(),
            Sink::Newest(lines) => std::mem::take(lines).into(),
            Sink::All(lines) => std::mem::take(lines),
        }
    }

    fn is_off(&self) -> bool {
        matches!(self.sink, Sink::Nowhere)
    }

    fn tell(&mut self, line: String) {
        match &mut self.sink {
            Sink::Nowhere => {}
            // Whoever reads it may have seen enough.
            Sink::Print => drop(writeln!(std::io::stdout(), "{line}")),
            Sink::Newest(lines) => {
                if lines.len() == LINES {
                    lines.pop_front();
                }
                lines.push_back(line);
            }
            Sink::All(lines) => lines.push(line),
        }
    }
}
