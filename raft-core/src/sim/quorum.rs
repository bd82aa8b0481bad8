//! Who makes a quorum of a configuration, counted apart from the core: an oracle that counts with the core's own arithmetic
//! makes the core's mistakes.

use crate::quorum::Voters;
use crate::{Membership, NodeId};

/// Whether more than half of the voters of `membership` are among those that `counts` names; of each half, while it is joint
/// (§6). Learners do not count.
pub(crate) fn is_quorum(membership: &Membership, counts: impl Fn(NodeId) -> bool) -> bool {
    let Voters { incoming, outgoing } = membership.voters();
    let agrees = |half: &[NodeId]| 2 * half.iter().filter(|id| counts(**id)).count() > half.len();
    agrees(incoming) && (outgoing.is_empty() || agrees(outgoing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_joint_quorum_is_a_majority_of_each_half_and_learners_do_not_count() {
        let joint = Membership::joint([1, 2, 3].map(NodeId), [3, 4, 5].map(NodeId), [6, 7].map(NodeId));
        let quorums: [(&[u64], bool); 6] = [
            (&[2, 3, 4], true),
            (&[1, 2, 4, 5], true),
            (&[1, 2, 3], false),
            (&[3, 4, 5], false),
            (&[1, 4, 6, 7], false),
            (&[], false),
        ];
        for (ids, expected) in quorums {
            assert_eq!(is_quorum(&joint, |id| ids.contains(&id.0)), expected, "{ids:?}");
        }
        assert!(!is_quorum(&Membership::new([1, 2].map(NodeId)), |id| id == NodeId(1)), "half is no majority");
        assert!(!is_quorum(&Membership::default(), |_| true), "nobody is no quorum");
    }
}
