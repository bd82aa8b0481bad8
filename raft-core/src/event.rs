//! What can happen to a server. Everything it ever learns comes through this door.

use alloc::boxed::Box;
use core::fmt;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::action::{FetchId, WriteId};
use crate::edit::Change;
use crate::entries::Entries;
use crate::log::SnapshotMeta;
use crate::message::Message;
use crate::types::{EntryId, Index, NodeId, RequestId, Term};

/// Commands that are started together; one needs no allocation.
pub type Commands = SmallVec<[Bytes; 1]>;

/// One thing that happened. [`Raft::step`](crate::Raft::step) takes any event in any state; what makes no sense is
/// counted in [`Counters`](crate::Counters) and changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Time passed.
    Tick {
        /// How many ticks since the last one. However many, election clocks move on by at most one heartbeat interval:
        /// mail that waited out a pause is heard before anyone campaigns.
        elapsed: u32,
    },
    /// A message arrived.
    Receive {
        /// Who sent it, as the transport knows it.
        from: NodeId,
        /// What it says.
        message: Message,
    },
    /// A client wants commands in the log: all of them, in this order, or none. Answered by
    /// [`Accepted`](crate::Action::Accepted) or [`Refused`](crate::Action::Refused) in the same step.
    Start {
        /// The caller's mark, handed back in the answer.
        request: RequestId,
        /// The commands.
        commands: Commands,
    },
    /// Change who belongs to the cluster (§6). Answered by [`Accepted`](crate::Action::Accepted) with the entry that begins
    /// the change, or by [`Refused`](crate::Action::Refused), in the same step. The change is done when a configuration that
    /// is not joint and belongs to that entry ([`Membership::change`](crate::Membership::change)) is applied.
    Change {
        /// The caller's mark, handed back in the answer.
        request: RequestId,
        /// What to change.
        change: Box<Change>,
    },
    /// Read what is committed now, on any server (§8, thesis §6.4). Answered once, later as a rule, by
    /// [`Readable`](crate::Action::Readable) or [`Refused`](crate::Action::Refused).
    Read {
        /// The caller's mark, handed back in the answer.
        request: RequestId,
    },
    /// Hand leadership over (thesis §3.10). Answered once, later as a rule, by [`Transferred`](crate::Action::Transferred) or
    /// [`Refused`](crate::Action::Refused).
    Transfer {
        /// The caller's mark, handed back in the answer.
        request: RequestId,
        /// To which voter; to the one with the longest log, if it is not said.
        to: Option<NodeId>,
    },
    /// Part of a message has arrived, and the rest has not: a leader whose messages take longer than an election timeout is
    /// heard all the same. A follower puts off its election, and answers its leader at most once in a heartbeat interval. May be
    /// fed as often as bytes come, for any message; counts only from the known leader of the current term.
    Arriving {
        /// Who sends it.
        from: NodeId,
        /// The term that the message says.
        term: Term,
    },
    /// The entries that [`Fetch`](crate::Action::Fetch) asked for: from its first one on, as many as there was room for.
    Fetched {
        /// Which request this answers.
        id: FetchId,
        /// The entries.
        entries: Entries,
    },
    /// This write and all before it are durable.
    Persisted(WriteId),
    /// The application has applied everything through this index.
    Applied(Index),
    /// The application's snapshot through `index` is durable: the log behind it may go (§7).
    Compact {
        /// The last index that the snapshot holds.
        index: Index,
    },
    /// A transfer that [`SendSnapshot`](crate::Action::SendSnapshot) asked for has ended.
    SnapshotSent {
        /// The follower.
        to: NodeId,
        /// The last entry of the snapshot that was sent.
        snapshot: EntryId,
        /// Whether the follower's driver has confirmed all of it.
        delivered: bool,
    },
    /// A snapshot has arrived whole: verified, synced and under its name. Answered by a write that accepts it, by
    /// [`Discard`](crate::Action::Discard), or by neither if a write names the same snapshot already: then its data stays.
    SnapshotReceived {
        /// The leader that sent it.
        from: NodeId,
        /// That leader's term.
        term: Term,
        /// What it stands for.
        snapshot: SnapshotMeta,
    },
    /// Messages to this peer are being lost, as far as the transport can tell.
    Unreachable {
        /// The peer.
        peer: NodeId,
    },
}

/// One line, which a script takes as a command (feature `sim`, `docs/scripts.md`).
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Tick { elapsed } => write!(f, "tick {elapsed}"),
            Event::Receive { from, message } => write!(f, "receive from {from}: {message}"),
            Event::Start { request, commands } => {
                let largest = commands.iter().map(Bytes::len).max().unwrap_or_default();
                write!(f, "start {request}: {} commands of {largest} bytes", commands.len())
            }
            Event::Change { request, change } => write!(f, "change {request}: {change}"),
            Event::Read { request } => write!(f, "read {request}"),
            Event::Transfer { request, to } => {
                write!(f, "transfer {request}")?;
                to.map_or(Ok(()), |to| write!(f, " to {to}"))
            }
            Event::Arriving { from, term } => write!(f, "arriving from {from} t{term}"),
            Event::Fetched { id, entries } => write!(f, "fetched {id}: {entries}"),
            Event::Persisted(id) => write!(f, "persisted {id}"),
            Event::Applied(index) => write!(f, "applied {index}"),
            Event::Compact { index } => write!(f, "compact {index}"),
            Event::SnapshotSent { to, snapshot, delivered } => {
                write!(f, "snapshot {snapshot} to {to} {}", if *delivered { "delivered" } else { "failed" })
            }
            Event::SnapshotReceived { from, term, snapshot } => {
                write!(f, "snapshot received from {from} t{term}: {snapshot}")
            }
            Event::Unreachable { peer } => write!(f, "unreachable {peer}"),
        }
    }
}
