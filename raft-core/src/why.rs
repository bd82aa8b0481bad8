//! Why nothing moves: what an operator wants to know of a server, and of each of its followers, in one word each.

use core::fmt;

use crate::entries::ENTRY_OVERHEAD_BYTES;
use crate::progress::{Flow, Progress, Transfer};
use crate::role::{Leader, Role};
use crate::server::Server;
use crate::types::Incarnation;

/// Why commands do not get through, as one server sees it. The first in this list that holds:
/// `DiskStalled`, `NoLeader` or `NoQuorum`, `Transferring`, `ApplicationBehind`, `Full`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Why {
    /// A sync of this server's disk takes longer than `disk_stall_ticks`: it neither campaigns nor leads.
    DiskStalled,
    /// This server knows no leader of its term.
    NoLeader {
        /// Ticks since it heard one or led itself, or since it started.
        silent: u64,
    },
    /// This server leads, and for two heartbeat intervals or more no quorum has answered. It steps down when an election timeout
    /// is over.
    NoQuorum {
        /// Ticks since a quorum was heard.
        silent: u64,
    },
    /// This leader hands leadership over, and refuses commands until that is decided.
    Transferring,
    /// More than `backlog_bytes_max` waits, most of it committed: this server's application must apply it first.
    ApplicationBehind,
    /// More than `backlog_bytes_max` waits to be committed, or more than `unpersisted_bytes_max` for this follower's disk.
    Full,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::DiskStalled => f.write_str("the disk is stalled"),
            Why::NoLeader { silent } => write!(f, "no leader heard for {silent} ticks"),
            Why::NoQuorum { silent } => write!(f, "no quorum heard for {silent} ticks"),
            Why::Transferring => f.write_str("leadership is being transferred"),
            Why::ApplicationBehind => f.write_str("the application is behind"),
            Why::Full => f.write_str("too much waits to be committed or written"),
        }
    }
}

/// How it stands with a follower, as its leader sees it. The first in this list that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FollowerWhy {
    /// It has left the cluster, and is being told so.
    Leaving,
    /// It has not answered for the shortest election timeout.
    Unreachable,
    /// It is fed and not counted: it runs on another disk than the one that counts for it, or its log went back.
    Uncounted {
        /// The disk it runs on.
        disk: Incarnation,
    },
    /// What it lacks is compacted, and a snapshot is on its way to it.
    SnapshotUnderWay,
    /// What it lacks is compacted, and the last snapshot did not reach it: the next one follows after a pause.
    SnapshotFailed,
    /// What it lacks is being read back from this server's disk.
    FetchUnderWay,
    /// It takes nothing more for now: its disk or its application is behind.
    Full,
    /// It is not known where its log and the leader's meet.
    Searching,
    /// It is sent one message at a time until it answers.
    Probing,
    /// As much is unanswered as may be: `inflight_appends_max` or `inflight_bytes_max`.
    WindowFull,
    /// Entries are on their way to it.
    Replicating,
    /// It has all there is, durably.
    UpToDate,
}

impl fmt::Display for FollowerWhy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FollowerWhy::Leaving => "leaving",
            FollowerWhy::Unreachable => "unreachable",
            FollowerWhy::Uncounted { disk } => return write!(f, "not counted on its disk {disk}"),
            FollowerWhy::SnapshotUnderWay => "a snapshot is under way",
            FollowerWhy::SnapshotFailed => "a snapshot failed",
            FollowerWhy::FetchUnderWay => "entries are being read back",
            FollowerWhy::Full => "full",
            FollowerWhy::Searching => "searching where the logs meet",
            FollowerWhy::Probing => "probing",
            FollowerWhy::WindowFull => "window full",
            FollowerWhy::Replicating => "replicating",
            FollowerWhy::UpToDate => "up to date",
        })
    }
}

/// Why commands do not get through here; nothing, if they do.
pub(crate) fn of_server(server: &Server, role: &Role) -> Option<Why> {
    if server.disk.is_stalled(server.now, server.config.disk_stall_ticks) {
        return Some(Why::DiskStalled);
    }
    match role {
        Role::Leader(leader) => of_leader(server, leader),
        Role::Follower(follower) if follower.leader.is_some() => of_backlog(server, true),
        Role::Follower(_) | Role::Candidate(_) => {
            let heard_at = server.heard.map_or(0, |(_, at)| at).max(server.led_until);
            Some(Why::NoLeader { silent: server.now.saturating_sub(heard_at) })
        }
    }
}

fn of_leader(server: &Server, leader: &Leader) -> Option<Why> {
    let silent = server.now - leader.quorum_heard_at(server);
    if silent >= 2 * u64::from(server.config.heartbeat_ticks) {
        return Some(Why::NoQuorum { silent });
    }
    if leader.is_transferring() {
        return Some(Why::Transferring);
    }
    of_backlog(server, false)
}

/// The limits that make a leader refuse commands, and a follower entries.
fn of_backlog(server: &Server, follows: bool) -> Option<Why> {
    let log = &server.log;
    let uncommitted = log.bytes_after(server.commit);
    let unapplied = log.bytes_after(server.applied).saturating_sub(uncommitted);
    // A leader has no room for another command, however small it is.
    let waits = if follows { unapplied } else { unapplied + uncommitted + ENTRY_OVERHEAD_BYTES - 1 };
    if waits >= server.config.backlog_bytes_max && unapplied + uncommitted > 0 {
        return Some(if unapplied >= uncommitted { Why::ApplicationBehind } else { Why::Full });
    }
    let unpersisted = log.bytes_after(server.disk.durable());
    (follows && unpersisted >= server.config.unpersisted_bytes_max).then_some(Why::Full)
}

/// How it stands with one follower.
pub(crate) fn of_follower(server: &Server, progress: &Progress) -> FollowerWhy {
    let config = &server.config;
    if progress.farewell.is_some() {
        return FollowerWhy::Leaving;
    }
    if server.now - progress.heard_at >= u64::from(config.election_ticks_min) {
        return FollowerWhy::Unreachable;
    }
    if !progress.counted {
        return FollowerWhy::Uncounted { disk: progress.disk };
    }
    let all = server.log.last();
    match &progress.flow {
        Flow::Snapshot { transfer: Transfer::UnderWay { .. }, .. } => FollowerWhy::SnapshotUnderWay,
        Flow::Snapshot { transfer: Transfer::Failed { .. }, .. } => FollowerWhy::SnapshotFailed,
        Flow::Probe { .. } if progress.is_full => FollowerWhy::Full,
        Flow::Probe { empty: true, .. } => FollowerWhy::Searching,
        Flow::Probe { .. } => FollowerWhy::Probing,
        Flow::Replicate(_) if progress.matched == all => FollowerWhy::UpToDate,
        Flow::Replicate(inflight) if inflight.fetching.is_some() => FollowerWhy::FetchUnderWay,
        Flow::Replicate(inflight) if inflight.is_full(config.inflight_appends_max, config.inflight_bytes_max) => {
            FollowerWhy::WindowFull
        }
        Flow::Replicate(_) => FollowerWhy::Replicating,
    }
}
