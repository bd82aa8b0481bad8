//! What can be seen of nodes from outside: metrics, spans and log lines, each as `docs/observability.md` says.

#[allow(dead_code, reason = "shared with other tests, which use more of it")]
#[path = "../node/cluster.rs"]
mod cluster;
mod measured;
mod over_tcp;
#[path = "../node/ports.rs"]
mod ports;
mod recorder;
mod sources;
mod subscriber;
mod table;
mod told;
mod wire;

use raft_std_driver::raft_core::{Incarnation, Membership, NodeId};
use raft_std_driver::storage::mem::MemDisk;
use raft_std_driver::storage::{Birth, ClusterId};
use raft_tokio_driver::transport::LocalNetwork;

use self::cluster::{Cluster, Ledger, Member};

/// Three members, none of them started, with ids from `first` on: recorders and subscribers are the process's, and hear of
/// all tests at once.
fn three(first: u64) -> Cluster {
    let members = (first..first + 3).map(|id| Member {
        id,
        disk: disk(id, first, Incarnation(100 + id)),
        ledger: Ledger::default(),
        node: None,
    });
    Cluster { network: LocalNetwork::new(), members: members.collect() }
}

/// A disk that came back empty, under a new incarnation: it knows no members.
fn empty_disk(id: u64) -> MemDisk {
    MemDisk::new(Birth::joining(ClusterId(1), NodeId(id)).with_incarnation(999))
}

/// An empty disk of one of them.
fn disk(id: u64, first: u64, incarnation: Incarnation) -> MemDisk {
    let membership = Membership::new((first..first + 3).map(NodeId));
    MemDisk::new(Birth::founder(ClusterId(1), NodeId(id), membership).with_incarnation(incarnation.0))
}
