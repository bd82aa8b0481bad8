//! The configurations of a log beside the log itself: a plain list with an entry at each index, of which some are
//! configurations.

use std::sync::Arc;
use std::vec::Vec;

use quickcheck::{Arbitrary, Gen, QuickCheck, TestResult};

use crate::history::History;
use crate::{Index, Membership, NodeId};

#[derive(Clone, Debug)]
enum Operation {
    /// Entries enter the log; true of those that are configurations.
    Append(Vec<bool>),
    /// So many of the newest entries go.
    Truncate(u8),
    /// So many of the oldest entries go: a snapshot stands for them.
    Compact(u8),
    /// A snapshot replaces everything, so many entries behind the end.
    Install(u8),
}

impl Arbitrary for Operation {
    fn arbitrary(g: &mut Gen) -> Operation {
        let below = |g: &mut Gen, bound: u8| u8::arbitrary(g) % bound;
        match below(g, 12) {
            0..=5 => Operation::Append((0..1 + below(g, 5)).map(|_| bool::arbitrary(g)).collect()),
            6..=8 => Operation::Truncate(below(g, 9)),
            9 | 10 => Operation::Compact(below(g, 6)),
            _ => Operation::Install(1 + below(g, 4)),
        }
    }
}

/// The log behind a snapshot.
struct Twin {
    snapshot: Index,
    /// In force at the snapshot's last entry.
    base: Arc<Membership>,
    log: Vec<Option<Arc<Membership>>>,
    /// How many configurations there ever were: no two are the same.
    made: u64,
}

impl Twin {
    fn made(&mut self) -> Arc<Membership> {
        self.made += 1;
        Arc::new(Membership::new([NodeId(self.made)]))
    }

    fn last(&self) -> Index {
        self.snapshot.plus(self.log.len() as u64)
    }

    /// All configurations that are known, oldest first.
    fn all(&self) -> Vec<Arc<Membership>> {
        [&self.base].into_iter().chain(self.log.iter().flatten()).cloned().collect()
    }

    fn at(&self, index: Index) -> Arc<Membership> {
        let through = usize::try_from(self.snapshot.distance_to(index)).unwrap();
        self.log.iter().take(through).flatten().last().unwrap_or(&self.base).clone()
    }
}

fn differs(operations: &[Operation]) -> Option<std::string::String> {
    let first = Arc::new(Membership::new([NodeId(0)]));
    let mut history = History::new(Index(0), Arc::clone(&first));
    let mut twin = Twin { snapshot: Index(0), base: first, log: Vec::new(), made: 0 };
    for (number, operation) in operations.iter().enumerate() {
        match operation {
            Operation::Append(entries) => {
                for is_configuration in entries {
                    let entry = is_configuration.then(|| twin.made());
                    if let Some(membership) = &entry {
                        history.push(twin.last().next(), Arc::clone(membership));
                    }
                    twin.log.push(entry);
                }
            }
            Operation::Truncate(count) => {
                let kept = twin.log.len().saturating_sub(usize::from(*count));
                let any = twin.log[kept..].iter().any(Option::is_some);
                twin.log.truncate(kept);
                if history.truncate(twin.last().next()) != any {
                    return Some(std::format!("{number} {operation:?}: whether any configuration went"));
                }
            }
            Operation::Compact(count) => {
                let count = usize::from(*count).min(twin.log.len());
                let index = twin.snapshot.plus(count as u64);
                twin.base = twin.at(index);
                twin.log.drain(..count);
                twin.snapshot = index;
                history.compact(index);
            }
            Operation::Install(beyond) => {
                twin.snapshot = twin.last().plus(u64::from(*beyond));
                twin.base = twin.made();
                twin.log.clear();
                history = History::new(twin.snapshot, Arc::clone(&twin.base));
            }
        }
        let all = twin.all();
        let answers = [
            history.all().map(|(_, membership)| Arc::clone(membership)).eq(all.iter().cloned()),
            *history.current() == all[all.len() - 1],
            history.previous() == all.len().checked_sub(2).map(|before| &all[before]),
            (twin.snapshot.0..=twin.last().0 + 1).all(|index| *history.at(Index(index)) == twin.at(Index(index))),
            *history.at(history.current_index()) == *history.current(),
            history.current_index() <= twin.last(),
        ];
        if answers.contains(&false) {
            return Some(std::format!("{number} {operation:?}: {answers:?}: {history:?}, and the list {all:?}"));
        }
    }
    None
}

/// Whatever happens to the log, the newest configuration in it rules, and each index has the one that ruled there.
#[test]
fn history_vs_naive() {
    #[expect(clippy::needless_pass_by_value, reason = "quickcheck hands values over")]
    fn property(operations: Vec<Operation>) -> TestResult {
        differs(&operations).map_or_else(TestResult::passed, TestResult::error)
    }
    QuickCheck::new().tests(2000).quickcheck(property as fn(Vec<Operation>) -> TestResult);
}
