//! Who belongs to the cluster (§6, thesis §4): the newest configuration in the log rules, committed or not, and
//! truncating the log rolls it back.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

#[cfg(feature = "sim")]
use crate::fingerprint::Fingerprint;
use crate::quorum::Voters;
use crate::types::{Index, NodeId};

/// One configuration of the cluster: voters, of two configurations while it is joint, and learners, who get the log and
/// do not vote. All lists are sorted and without doubles.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Lists", into = "Lists")]
pub struct Membership {
    voters: Vec<NodeId>,
    outgoing: Vec<NodeId>,
    learners: Vec<NodeId>,
}

/// What a [`Membership`] looks like on the wire; reading it restores the order of the lists.
#[derive(Serialize, Deserialize)]
struct Lists(Ids, Ids, Ids);

/// A list that is read no further than it may be long: a few bytes must not become much memory.
#[derive(Serialize)]
struct Ids(Vec<NodeId>);

impl<'de> Deserialize<'de> for Ids {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Ids, D::Error> {
        deserializer.deserialize_seq(IdsVisitor)
    }
}

struct IdsVisitor;

impl<'de> Visitor<'de> for IdsVisitor {
    type Value = Ids;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {} members", Membership::MEMBERS_MAX)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Ids, A::Error> {
        let mut ids = Vec::new();
        while let Some(id) = list.next_element()? {
            if ids.len() == Membership::MEMBERS_MAX {
                return Err(A::Error::invalid_length(ids.len() + 1, &self));
            }
            ids.push(id);
        }
        Ok(Ids(ids))
    }
}

impl From<Lists> for Membership {
    fn from(Lists(Ids(voters), Ids(outgoing), Ids(learners)): Lists) -> Self {
        Membership::joint(voters, outgoing, learners)
    }
}

impl From<Membership> for Lists {
    fn from(membership: Membership) -> Self {
        Lists(Ids(membership.voters), Ids(membership.outgoing), Ids(membership.learners))
    }
}

impl Membership {
    /// The most members that a cluster can have, learners and both halves together. More are refused when a server starts.
    pub const MEMBERS_MAX: usize = 1024;

    /// A configuration of voters only.
    #[must_use]
    pub fn new(voters: impl IntoIterator<Item = NodeId>) -> Membership {
        Membership::joint(voters, [], [])
    }

    /// A configuration with every part: `outgoing` is not empty while it is joint. Who votes is no learner.
    #[must_use]
    pub fn joint(
        voters: impl IntoIterator<Item = NodeId>,
        outgoing: impl IntoIterator<Item = NodeId>,
        learners: impl IntoIterator<Item = NodeId>,
    ) -> Membership {
        let sorted = |mut ids: Vec<NodeId>| {
            ids.sort_unstable();
            ids.dedup();
            ids
        };
        let voters = sorted(voters.into_iter().collect());
        let outgoing = sorted(outgoing.into_iter().collect());
        let votes = |id: &NodeId| voters.binary_search(id).is_ok() || outgoing.binary_search(id).is_ok();
        let learners = sorted(learners.into_iter().filter(|id| !votes(id)).collect());
        Membership { voters, outgoing, learners }
    }

    /// Those whose agreement counts.
    #[must_use]
    pub fn voters(&self) -> Voters<'_> {
        Voters { incoming: &self.voters, outgoing: &self.outgoing }
    }

    /// Whether `id` votes, in either half.
    #[must_use]
    pub fn is_voter(&self, id: NodeId) -> bool {
        self.voters.binary_search(&id).is_ok() || self.outgoing.binary_search(&id).is_ok()
    }

    /// Whether `id` belongs to the cluster, as voter or learner.
    #[must_use]
    pub fn contains(&self, id: NodeId) -> bool {
        self.is_voter(id) || self.learners.binary_search(&id).is_ok()
    }

    /// How long its lists are together; who is in both halves counts twice.
    pub(crate) fn entries(&self) -> usize {
        self.voters.len() + self.outgoing.len() + self.learners.len()
    }

    #[cfg(feature = "sim")]
    pub(crate) fn fingerprint(&self, print: &mut Fingerprint<'_>) {
        let Membership { voters, outgoing, learners } = self;
        for list in [voters, outgoing, learners] {
            print.set(list, |print, id| print.node(*id));
        }
    }

    /// All voters and learners, each once, in order.
    #[must_use]
    pub fn members(&self) -> Vec<NodeId> {
        let mut all: Vec<NodeId> = [&self.voters[..], &self.outgoing, &self.learners].concat();
        all.sort_unstable();
        all.dedup();
        all
    }
}

impl fmt::Display for Membership {
    /// `1,2,3`, while joint `1,2,3&3,4,5`, with learners `1,2,3 learners 4`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, ids: &[NodeId]| {
            ids.iter().enumerate().try_for_each(|(i, id)| write!(f, "{}{id}", if i == 0 { "" } else { "," }))
        };
        list(f, &self.voters)?;
        if !self.outgoing.is_empty() {
            f.write_str("&")?;
            list(f, &self.outgoing)?;
        }
        if !self.learners.is_empty() {
            f.write_str(" learners ")?;
            list(f, &self.learners)?;
        }
        Ok(())
    }
}

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
        &self.later.back().unwrap_or(&self.base).1
    }

    /// The configuration in force at `index`. Below the base there is only the base to name.
    pub(crate) fn at(&self, index: Index) -> &Arc<Membership> {
        &self.later.iter().rev().find(|(at, _)| *at <= index).unwrap_or(&self.base).1
    }

    /// A configuration entered the log at `index`.
    pub(crate) fn push(&mut self, index: Index, membership: Arc<Membership>) {
        self.later.push_back((index, membership));
    }

    /// The log from `from` on is gone, and so are its configurations.
    pub(crate) fn truncate(&mut self, from: Index) {
        while self.later.back().is_some_and(|(at, _)| *at >= from) {
            self.later.pop_back();
        }
    }

    /// A snapshot stands at `index`: what was in force there becomes the base.
    pub(crate) fn compact(&mut self, index: Index) {
        while self.later.front().is_some_and(|(at, _)| *at <= index) {
            self.base = self.later.pop_front().unwrap_or_else(|| self.base.clone());
        }
    }

    #[cfg(feature = "sim")]
    pub(crate) fn fingerprint(&self, print: &mut Fingerprint<'_>) {
        let History { base, later } = self;
        print.word(later.len() as u64);
        for (index, membership) in core::iter::once(base).chain(later) {
            print.index(*index);
            membership.fingerprint(print);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::de::value::{self, SeqDeserializer};

    use super::*;

    fn voters(ids: &[u64]) -> Arc<Membership> {
        Arc::new(Membership::new(ids.iter().map(|&id| NodeId(id))))
    }

    #[test]
    fn the_newest_rules_and_truncation_rolls_back() {
        let mut history = History::new(Index(0), voters(&[1, 2, 3]));
        history.push(Index(4), voters(&[1, 2, 3, 4]));
        history.push(Index(9), voters(&[2, 3, 4]));
        assert_eq!(history.current(), &voters(&[2, 3, 4]));
        assert_eq!(history.at(Index(8)), &voters(&[1, 2, 3, 4]));
        history.truncate(Index(9));
        assert_eq!(history.current(), &voters(&[1, 2, 3, 4]));
        history.compact(Index(6));
        history.truncate(Index(4));
        assert_eq!(history.current(), &voters(&[1, 2, 3, 4]), "a snapshot's configuration is never rolled back");
    }

    #[test]
    fn no_more_are_read_than_there_may_be() {
        let list = |count: usize| {
            let ids: Vec<NodeId> = (0..count as u64).map(NodeId).collect();
            postcard::to_allocvec(&(ids, [(); 0].as_slice(), [(); 0].as_slice())).unwrap()
        };
        let most = postcard::from_bytes::<Membership>(&list(Membership::MEMBERS_MAX)).unwrap();
        assert_eq!(most.entries(), Membership::MEMBERS_MAX);
        assert!(postcard::from_bytes::<Membership>(&list(Membership::MEMBERS_MAX + 1)).is_err());
        let many = SeqDeserializer::<_, value::Error>::new(0..2000u64);
        let refused = Ids::deserialize(many).map(|ids| ids.0.len()).unwrap_err();
        assert_eq!(alloc::format!("{refused}"), "invalid length 1025, expected at most 1024 members");
    }

    #[test]
    fn lists_are_sorted_and_who_votes_is_no_learner() {
        let ids = |ids: &[u64]| ids.iter().map(|&id| NodeId(id)).collect::<Vec<_>>();
        let joint = Membership::joint(ids(&[3, 1, 2, 2]), ids(&[5, 3]), ids(&[5, 7, 1]));
        assert_eq!(alloc::format!("{joint}"), "1,2,3&3,5 learners 7");
        assert_eq!((joint.members(), joint.entries()), (ids(&[1, 2, 3, 5, 7]), 6));
        assert!(joint.is_voter(NodeId(5)) && !joint.is_voter(NodeId(7)) && joint.contains(NodeId(7)));
    }
}
