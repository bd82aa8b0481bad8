//! Breadth first, through everything that may happen.

use std::boxed::Box;
use std::collections::{HashSet, VecDeque};
use std::hash::BuildHasherDefault;
use std::vec::Vec;

use super::bounds::Bounds;
use super::story::{self, Counterexample};
use super::tables::{AsItIs, Tables};
use super::world::{Choice, World, least};
use crate::sim::violation::Violation;

/// What an exploration has met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Distinct states.
    pub states: usize,
    /// Choices that were followed, to a new state or a known one.
    pub transitions: u64,
    /// The longest of all shortest paths to a state.
    pub depth: usize,
    /// States that are met and not yet left.
    pub waiting: usize,
    /// Distinct states of single servers, with their disks.
    pub servers: usize,
    /// Distinct messages.
    pub messages: usize,
    /// How often the core was asked: once for each distinct pair of a server's state and what happens to it.
    pub steps: usize,
    /// Whether everything was met; false if `states_max` ended it.
    pub complete: bool,
}

/// How a state was reached first.
#[derive(Clone, Copy)]
struct Origin {
    parent: u32,
    /// Which of the parent's choices.
    choice: u16,
}

/// Meet every state within the bounds. `progress` is called now and then.
///
/// # Errors
/// A shortest path to a state in which an invariant is broken.
pub fn explore(bounds: Bounds, progress: impl FnMut(&Report)) -> Result<Report, Box<Counterexample>> {
    Search::new(bounds)?.run(progress)
}

struct Search {
    tables: Tables,
    seen: HashSet<u128, BuildHasherDefault<AsItIs>>,
    /// One for each state, in the order in which they were met, which is that in which they are left.
    origins: Vec<Origin>,
    waiting: VecDeque<World>,
    report: Report,
}

/// How many states are left between two calls of `progress`.
const PROGRESS_STATES: usize = 1 << 17;

impl Search {
    fn new(bounds: Bounds) -> Result<Search, Box<Counterexample>> {
        let mut tables = Tables::new(bounds);
        let world = World::first(&mut tables).map_err(|violation| story::at_the_start(bounds, *violation))?;
        let print = least(&world.prints(&tables));
        Ok(Search {
            tables,
            seen: [print].into_iter().collect(),
            origins: std::vec![Origin { parent: 0, choice: 0 }],
            waiting: [world].into(),
            report: Report::default(),
        })
    }

    fn run(mut self, mut progress: impl FnMut(&Report)) -> Result<Report, Box<Counterexample>> {
        let mut choices = Vec::new();
        let (mut left, mut level_ends) = (0, 1);
        while let Some(world) = self.waiting.pop_front() {
            if self.origins.len() >= self.tables.bounds.states_max {
                self.waiting.push_front(world);
                break;
            }
            if left == level_ends {
                self.report.depth += 1;
                level_ends = self.origins.len();
            }
            if let Err((choice, violation)) = self.leave(&world, left, &mut choices) {
                return Err(self.counterexample(left, choice, *violation));
            }
            left += 1;
            if left % PROGRESS_STATES == 0 {
                self.count();
                progress(&self.report);
            }
        }
        self.count();
        self.report.complete = self.waiting.is_empty();
        Ok(self.report)
    }

    fn count(&mut self) {
        self.report.states = self.origins.len();
        self.report.waiting = self.waiting.len();
        self.report.servers = self.tables.locals.len();
        self.report.messages = self.tables.mails.len();
        self.report.steps = self.tables.outcomes_met();
    }

    /// Follow every choice that `world` has.
    fn leave(
        &mut self,
        world: &World,
        number: usize,
        choices: &mut Vec<Choice>,
    ) -> Result<(), (Choice, Box<Violation>)> {
        let tables = &mut self.tables;
        let prints = world.prints(tables);
        world.choices(tables, choices);
        for (i, choice) in choices.iter().enumerate() {
            let change = world.change(tables, *choice).map_err(|violation| (*choice, violation))?;
            let Some(change) = change else { continue };
            self.report.transitions += 1;
            if self.seen.insert(world.print_after(tables, &prints, &change)) {
                let parent = u32::try_from(number).unwrap_or(u32::MAX);
                self.origins.push(Origin { parent, choice: u16::try_from(i).unwrap_or(u16::MAX) });
                self.waiting.push_back(world.after(&change));
            }
        }
        Ok(())
    }

    /// The way to the state of this number, and the choice that broke a rule there.
    #[cold]
    fn counterexample(mut self, number: usize, last: Choice, violation: Violation) -> Box<Counterexample> {
        let mut way = Vec::new();
        let mut at = number;
        while at > 0 {
            let Origin { parent, choice } = self.origins[at];
            way.push(usize::from(choice));
            at = parent as usize;
        }
        way.reverse();
        self.count();
        story::tell(&mut self.tables, &way, last, violation, self.report)
    }
}
