//! What the first start of a server makes durable.

use raft_core::{Incarnation, Membership, NodeId};

use super::{ClusterId, Identity};

/// What the first start of a server makes durable: who it is, and the first members of its cluster.
///
/// ```
/// use raft_std_driver::raft_core::{Membership, NodeId};
/// use raft_std_driver::storage::{Birth, ClusterId};
///
/// let members = Membership::new([1, 2, 3].map(NodeId));
/// let birth = Birth::founder(ClusterId(7), NodeId(1), members);
/// assert_ne!(birth.identity().founders, 0);
/// assert_eq!(Birth::joining(ClusterId(7), NodeId(4)).identity().founders, 0);
/// ```
#[derive(Clone, Debug)]
pub struct Birth {
    pub(super) identity: Identity,
    pub(super) membership: Membership,
}

impl Birth {
    /// A server that founds a cluster together with all `members`: each of them must be started with the same ones, and once
    /// only. Draws the incarnation at random.
    #[must_use]
    pub fn founder(cluster: ClusterId, node: NodeId, members: Membership) -> Birth {
        let (incarnation, founders) = (Incarnation::founder(fastrand::u64(..)), digest(cluster, &members));
        Birth { identity: Identity { cluster, node, incarnation, founders }, membership: members }
    }

    /// A server that starts empty, and becomes a member when a leader adds it. Also a server that has lost its disk. Draws the
    /// incarnation at random.
    #[must_use]
    pub fn joining(cluster: ClusterId, node: NodeId) -> Birth {
        let incarnation = Incarnation::joined(fastrand::u64(..));
        Birth { identity: Identity { cluster, node, incarnation, founders: 0 }, membership: Membership::default() }
    }

    /// The same with an incarnation made of this number instead of a random one: for tests and simulations that must be the same
    /// each time. Two storages of one server must never have the same.
    #[must_use]
    pub fn with_incarnation(mut self, number: u64) -> Birth {
        let made = if self.identity.incarnation.is_founder() { Incarnation::founder } else { Incarnation::joined };
        self.identity.incarnation = made(number);
        self
    }

    /// Whose storage it will be.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// The first members of the cluster; nobody for a server that joins.
    #[must_use]
    pub fn membership(&self) -> &Membership {
        &self.membership
    }
}

/// FNV-1a of the cluster's id and of the members' ids in order, each as eight bytes; never 0. Addresses are left out: servers may
/// write the same one in different ways.
fn digest(cluster: ClusterId, members: &Membership) -> u64 {
    const BASIS: u64 = 0xCBF2_9CE4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01B3;
    let ids = members.ids().map(|id| id.0);
    let bytes = [cluster.0].into_iter().chain(ids).flat_map(u64::to_le_bytes);
    bytes.fold(BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn founders(cluster: u64, ids: &[u64]) -> u64 {
        let members = Membership::new(ids.iter().copied().map(NodeId));
        Birth::founder(ClusterId(cluster), NodeId(1), members).identity().founders
    }

    #[test]
    fn founders_have_one_digest_if_they_name_the_same_members() {
        assert_eq!(founders(7, &[1, 2, 3]), founders(7, &[3, 1, 2]));
        let others = [founders(7, &[1]), founders(7, &[1, 2]), founders(8, &[1, 2, 3]), founders(7, &[])];
        assert!(others.iter().all(|other| *other != founders(7, &[1, 2, 3])));
        // It is written to disks and sent to peers: it stays as it is.
        assert_eq!(founders(7, &[1, 2, 3]), 11_825_956_162_024_978_466);
        assert_eq!(Birth::joining(ClusterId(7), NodeId(4)).identity().founders, 0);
    }

    #[test]
    fn incarnations_are_drawn_and_say_how_the_server_began() {
        let founder = || Birth::founder(ClusterId(7), NodeId(1), Membership::new([NodeId(1)]));
        let joining = || Birth::joining(ClusterId(7), NodeId(1));
        assert_ne!(founder().identity().incarnation, founder().identity().incarnation);
        assert_ne!(joining().identity().incarnation, joining().identity().incarnation);
        for number in [0, 5, u64::MAX] {
            assert!(founder().with_incarnation(number).identity().incarnation.is_founder());
            let joined = joining().with_incarnation(number).identity().incarnation;
            assert!(!joined.is_founder() && joined != Incarnation::default());
        }
    }
}
