//! What is explored: each function is one scenario from its beginning to its end, at which all threads have ended. A thread
//! that waits for ever is found by the checker.

pub mod inbox;
pub mod node;
pub mod queue;
pub mod tokio;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::waiters::Waiter;
use crate::{Outcome, StartError};

type Answer = Result<Outcome, StartError>;

/// What the callers of commands have heard. Not under a lock of the checker's: writing it down is no turn of its own.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<BTreeMap<String, Vec<Answer>>>>);

impl Heard {
    fn hear(&self, command: &str, answer: Answer) {
        self.0.lock().unwrap().entry(command.to_owned()).or_default().push(answer);
    }

    /// One who writes down what it hears.
    fn waiter(&self, command: &str) -> Waiter {
        let (heard, command) = (self.clone(), command.to_owned());
        Waiter::calling(Box::new(move |answer| heard.hear(&command, answer)))
    }

    /// How many answers there were.
    fn count(&self) -> usize {
        self.0.lock().unwrap().values().map(Vec::len).sum()
    }

    /// What became of each of these, after all is over: each has heard once.
    fn all<const N: usize>(&self, commands: [&str; N]) -> BTreeMap<String, Answer> {
        let heard = std::mem::take(&mut *self.0.lock().unwrap());
        let count: usize = heard.values().map(Vec::len).sum();
        assert!(commands.iter().all(|command| heard.contains_key(*command)), "of {commands:?} only {heard:?}");
        assert_eq!(count, N, "exactly one outcome for each: {heard:?}");
        heard.into_iter().filter_map(|(command, mut answers)| Some((command, answers.pop()?))).collect()
    }
}
