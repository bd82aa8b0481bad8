//! The configurations that the log holds (§6): the newest one rules, committed or not, and truncating the log rolls it back.

use alloc::collections::VecDeque;
use alloc::sync::Arc;

#[cfg(feature = "sim")]
use crate::fingerprint::Fingerprint;
use crate::membership::Membership;
use crate::types::Index;

/// The configurations that the log still holds, oldest first; the first is the snapshot's.
#[derive(Clone, Debug)]
pub(crate) struct History {
    base: (Index, Arc<Membership>),
    later: VecDeque<(Index, Arc<Membership>)>,
}

impl History {
    pub(crate) fn new(index: Index, membership: Arc<Membership>) -> History {
        History { base: (index, membership), later: VecDeque::new() }
    }

    /// The configuration in force: a server uses the newest in its log, committed or not (§6).
    pub(crate) fn current(&self) -> &Arc<Membership> {
        &self.newest().1
    }

    /// Where the configuration in force stands in the log.
    pub(crate) fn current_index(&self) -> Index {
        self.newest().0
    }

    fn newest(&self) -> &(Index, Arc<Membership>) {
        self.later.back().unwrap_or(&self.base)
    }

    /// The configuration before the one in force; nothing, if that is the oldest one known.
    pub(crate) fn previous(&self) -> Option<&Arc<Membership>> {
        let before = self.later.len().checked_sub(2).map(|at| &self.later[at]);
        self.later.back().map(|_| &before.unwrap_or(&self.base).1)
    }

    /// The configuration in force at `index`. Below the base there is only the base to name.
    pub(crate) fn at(&self, index: Index) -> &Arc<Membership> {
        &self.later.iter().rev().find(|(at, _)| *at <= index).unwrap_or(&self.base).1
    }

    /// All that are known, oldest first.
    pub(crate) fn all(&self) -> impl DoubleEndedIterator<Item = &(Index, Arc<Membership>)> {
        core::iter::once(&self.base).chain(&self.later)
    }

    /// A configuration entered the log at `index`.
    pub(crate) fn push(&mut self, index: Index, membership: Arc<Membership>) {
        self.later.push_back((index, membership));
    }

    /// The log from `from` on is gone, and so are its configurations. Says whether there were any.
    pub(crate) fn truncate(&mut self, from: Index) -> bool {
        let before = self.later.len();
        while self.later.back().is_some_and(|(at, _)| *at >= from) {
            self.later.pop_back();
        }
        self.later.len() < before
    }

    /// A snapshot stands at `index`: what was in force there becomes the base.
    pub(crate) fn compact(&mut self, index: Index) {
        while self.later.front().is_some_and(|(at, _)| *at <= index) {
            self.base = self.later.pop_front().unwrap_or_else(|| self.base.clone());
        }
    }

    #[cfg(feature = "sim")]
    pub(crate) fn fingerprint(&self, print: &mut Fingerprint<'_>) {
        print.word(self.later.len() as u64);
        for (index, membership) in self.all() {
            print.index(*index);
            membership.fingerprint(print);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::NodeId;

    fn voters(voters: &[u64]) -> Arc<Membership> {
        Arc::new(Membership::new(voters.iter().map(|&id| NodeId(id))))
    }

    #[test]
    fn the_newest_rules_and_truncation_rolls_back() {
        let mut history = History::new(Index(0), voters(&[1, 2, 3]));
        assert_eq!((history.previous(), history.current_index()), (None, Index(0)));
        history.push(Index(4), voters(&[1, 2, 3, 4]));
        assert_eq!(history.previous(), Some(&voters(&[1, 2, 3])));
        history.push(Index(9), voters(&[2, 3, 4]));
        assert_eq!((history.current(), history.current_index()), (&voters(&[2, 3, 4]), Index(9)));
        assert_eq!(history.previous(), Some(&voters(&[1, 2, 3, 4])));
        assert_eq!(history.at(Index(8)), &voters(&[1, 2, 3, 4]));
        history.truncate(Index(9));
        assert_eq!(history.current(), &voters(&[1, 2, 3, 4]));
        history.compact(Index(6));
        history.truncate(Index(4));
        assert_eq!(history.current(), &voters(&[1, 2, 3, 4]), "a snapshot's configuration is never rolled back");
    }
}
