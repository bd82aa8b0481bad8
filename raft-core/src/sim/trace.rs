//! The story of a run, a line for each event and action; told only to those who ask.

use std::collections::VecDeque;
use std::format;
use std::io::Write;
use std::string::String;

use super::queue::{TICK, Time};
use crate::NodeId;

/// How many lines a failure shows.
const LINES: usize = 60;

/// Where the story of a run goes.
#[derive(Clone, Debug, Default)]
pub(crate) enum Trace {
    /// Nowhere: nothing is formatted.
    #[default]
    Off,
    /// To standard output.
    Print,
    /// The newest lines are kept.
    Keep(VecDeque<String>),
}

impl Trace {
    pub(crate) fn tell(&mut self, now: Time, server: Option<NodeId>, words: impl FnOnce() -> String) {
        if matches!(self, Trace::Off) {
            return;
        }
        let (tick, moment) = (now / TICK, now % TICK);
        let who = server.map_or_else(|| "-".into(), |id| format!("s{id}"));
        let line = format!("{tick:>6}.{moment:02} {who:>3} {}", words());
        match self {
            Trace::Off => {}
            // Whoever reads it may have seen enough.
            Trace::Print => drop(writeln!(std::io::stdout(), "{line}")),
            Trace::Keep(lines) => {
                if lines.len() == LINES {
                    lines.pop_front();
                }
                lines.push_back(line);
            }
        }
    }
}
