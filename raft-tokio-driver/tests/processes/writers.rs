//! Who writes, without end, and remembers what was said of each word. No word is ever started twice.

use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::Duration;

use crate::parent::{MEMBERS, PATIENCE, Processes, answer, lock};

/// Between two words of a writer: so many words are enough.
const PACE: Duration = Duration::from_millis(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Acknowledged.
    Applied,
    /// It had no effect and never will.
    Refused,
    Unknown,
}

/// Words in the order in which they were started, each after the outcome of the one before.
pub(crate) type Written = Vec<(String, Outcome)>;

/// Who acknowledged what was acknowledged, one after the other.
#[derive(Default)]
pub(crate) struct Tally {
    by: Mutex<Vec<usize>>,
    grown: Condvar,
}

impl Tally {
    fn acknowledged(&self, member: usize) {
        lock(&self.by).push(member);
        self.grown.notify_all();
    }

    /// Wait until so many more writes are acknowledged. Who acknowledged the last one leads.
    #[track_caller]
    pub(crate) fn flow(&self, count: usize) -> usize {
        let by = lock(&self.by);
        let enough = by.len() + count;
        let (by, late) = self.grown.wait_timeout_while(by, PATIENCE, |by| by.len() < enough).unwrap();
        assert!(!late.timed_out(), "writes do not go on");
        *by.last().unwrap()
    }
}

/// Until what is written is `enough`.
pub(crate) fn write(me: &str, processes: &Processes, tally: &Tally, enough: impl Fn(&Written) -> bool) -> Written {
    let (mut written, mut member) = (Written::new(), 0);
    while !enough(&written) {
        written.push(put(&format!("{me}-{}", written.len()), &mut member, processes, tally));
        thread::sleep(PACE);
    }
    written
}

/// Start a word at this member; afterwards `member` is who may take the next one.
fn put(word: &str, member: &mut usize, processes: &Processes, tally: &Tally) -> (String, Outcome) {
    let asked = processes.member(*member).map(|process| process.ask(word, &format!("put {word}")));
    // Who is dead refuses; who dies meanwhile has perhaps done it.
    let said = asked.map_or(Some(vec!["refused".to_owned(), "0".to_owned()]), |asked| answer(&asked));
    let said: Vec<&str> = said.iter().flatten().map(String::as_str).collect();
    let next = (*member + 1) % MEMBERS;
    let outcome = match said[..] {
        ["applied"] => {
            tally.acknowledged(*member);
            return (word.to_owned(), Outcome::Applied);
        }
        ["refused", leader] => {
            let leader = leader.parse::<usize>().unwrap().checked_sub(1);
            *member = leader.filter(|leader| processes.member(*leader).is_some()).unwrap_or(next);
            Outcome::Refused
        }
        [] | ["unknown"] => {
            *member = next;
            Outcome::Unknown
        }
        ref other => panic!("what is {other:?}?"),
    };
    (word.to_owned(), outcome)
}
