//! Operators who ask for transfers of leadership at any moment (thesis §3.10), also where it makes no sense.

use super::cluster::Cluster;
use super::violation::Verdict;
use crate::Event;

/// Ask the leader as a rule, or anyone; for a transfer to anyone, itself among them, or to whom it likes.
pub(crate) fn ask(cluster: &mut Cluster) -> Verdict {
    let anyone = cluster.entropy.place(cluster.servers.len());
    let astray = cluster.entropy.below(4) == 0;
    let slot = cluster.leader().filter(|_| !astray).unwrap_or(anyone);
    let to = match cluster.entropy.below(4) {
        0 => None,
        _ => Some(cluster.servers[cluster.entropy.place(cluster.servers.len())].id),
    };
    if cluster.now < cluster.servers[slot].paused_until {
        return Ok(());
    }
    cluster.catch_up(slot)?;
    // Only what reaches a server has a number.
    if !cluster.servers[slot].is_up() {
        return Ok(());
    }
    let request = cluster.clients.ask();
    cluster.step(slot, Event::Transfer { request, to })
}
