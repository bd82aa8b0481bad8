//! What a server wants done. Carrying these out is the driver's whole duty.

use core::fmt;

use crate::entries::Entries;
#[cfg(feature = "sim")]
use crate::fingerprint::Fingerprint;
use crate::log::SnapshotMeta;
use crate::message::Message;
use crate::refusal::Refusal;
use crate::types::{EntryId, Incarnation, Index, NodeId, RequestId, ServerId, Term};

/// The receipt of a [`Write`]. Only the core makes them, so only what was asked for can be confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteId(pub(crate) u64);

impl WriteId {
    /// The receipt with this number, for scripts and fuzzers.
    #[cfg(feature = "sim")]
    #[must_use]
    pub const fn from_number(number: u64) -> WriteId {
        WriteId(number)
    }

    /// Its number: the first write of a server's life has 1, the next one 2.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for WriteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "w{}", self.0)
    }
}

/// Names a [`Fetch`](Action::Fetch). Only the core makes them, so only what was asked for can be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FetchId(pub(crate) u64);

impl FetchId {
    /// The id with this number, for scripts and fuzzers.
    #[cfg(feature = "sim")]
    #[must_use]
    pub const fn from_number(number: u64) -> FetchId {
        FetchId(number)
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for FetchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "f{}", self.0)
    }
}

/// What Figure 2 calls persistent, less the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct HardState {
    /// Figure 2's currentTerm.
    pub term: Term,
    /// Figure 2's votedFor, in `term`: a server on the disk that it asked with.
    pub voted_for: Option<ServerId>,
}

/// A change of the snapshot that stands before the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotWrite {
    /// The application's own snapshot: the log goes on behind it.
    Compacted {
        /// What it stands for.
        snapshot: SnapshotMeta,
        /// Entries before this index may be forgotten.
        first: Index,
    },
    /// A snapshot from the leader: it replaces the log, all of it.
    Installed {
        /// What it stands for.
        snapshot: SnapshotMeta,
    },
}

/// One atomic record for the disk. After a crash either all of it is there or none, and never without the ones before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// What to confirm with [`Event::Persisted`](crate::Event::Persisted).
    pub id: WriteId,
    /// The new hard state, if it changed.
    pub hard_state: Option<HardState>,
    /// The new snapshot, if it changed; comes before `entries`.
    pub snapshot: Option<SnapshotWrite>,
    /// New entries. They replace everything the log has from their first index on.
    pub entries: Entries,
}

#[cfg(feature = "sim")]
impl HardState {
    pub(crate) fn fingerprint(&self, print: &mut Fingerprint<'_>) {
        let HardState { term, voted_for } = self;
        print.term(*term);
        print.set(voted_for, |print, ServerId { id, incarnation }| {
            print.node(*id);
            print.word(incarnation.0);
        });
    }
}

#[cfg(feature = "sim")]
impl SnapshotWrite {
    pub(crate) fn fingerprint(&self, print: &mut Fingerprint<'_>) {
        let (snapshot, first) = match self {
            SnapshotWrite::Compacted { snapshot, first } => (snapshot, first.0),
            SnapshotWrite::Installed { snapshot } => (snapshot, 0),
        };
        snapshot.fingerprint(print);
        print.word(first);
    }
}

#[cfg(feature = "sim")]
impl Write {
    /// Not its id: writes are done in order.
    pub(crate) fn fingerprint(&self, print: &mut Fingerprint<'_>) {
        let Write { id: _, hard_state, snapshot, entries } = self;
        print.set(hard_state, |print, hard_state| hard_state.fingerprint(print));
        print.set(snapshot, |print, snapshot| snapshot.fingerprint(print));
        entries.fingerprint(print);
    }
}

/// Proof that some server broke a promise: its disk lied, or two servers run under one name. Going on would spread the
/// damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fatal {
    /// A leader contradicts an entry that is committed here (State Machine Safety, §5.4.3).
    #[error("server {from} sent {theirs} where {ours} is committed")]
    CommittedEntryContradicted {
        /// The leader.
        from: NodeId,
        /// What is committed here.
        ours: EntryId,
        /// What the leader has there.
        theirs: EntryId,
    },
    /// Two servers lead in one term (Election Safety, §5.2).
    #[error("servers {one} and {other} both lead in term {term}")]
    TwoLeaders {
        /// The term.
        term: Term,
        /// The leader known here.
        one: NodeId,
        /// The other.
        other: NodeId,
    },
    /// The cluster counts another disk for this server: this one was replaced. Start on the new one, or take this away.
    #[error("this server was replaced: the cluster counts its disk {by}")]
    Replaced {
        /// The disk that counts.
        by: Incarnation,
    },
}

impl Fatal {
    /// A number for it that stays the same from version to version (`docs/driver-contract.md`), for logs and other languages.
    #[must_use]
    pub fn code(&self) -> u16 {
        match self {
            Fatal::CommittedEntryContradicted { .. } => 1,
            Fatal::TwoLeaders { .. } => 2,
            Fatal::Replaced { .. } => 3,
        }
    }
}

/// Which of Figure 2's roles a server plays; a candidate that has not yet raised its term is told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RoleKind {
    /// Follows, or waits for someone to follow.
    Follower,
    /// Asks whether a campaign could be won (thesis §9.6).
    PreCandidate,
    /// Campaigns.
    Candidate,
    /// Leads.
    Leader,
}

impl fmt::Display for RoleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RoleKind::Follower => "follower",
            RoleKind::PreCandidate => "pre-candidate",
            RoleKind::Candidate => "candidate",
            RoleKind::Leader => "leader",
        })
    }
}

/// What observers may like to know; a driver may drop it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum News {
    /// Role, term or known leader changed.
    Role {
        /// The term now.
        term: Term,
        /// The role now.
        role: RoleKind,
        /// The leader, if one is known.
        leader: Option<NodeId>,
    },
    /// A follower came back with another incarnation: its disk forgot what it promised.
    PeerWiped {
        /// The follower.
        peer: NodeId,
    },
    /// A follower's log went back behind what it had acknowledged to be durable: an old copy of its disk, or a damaged end. It is
    /// fed again, and not counted as long as this leader leads. Its votes may have been forgotten too: no leader can see that.
    PeerRegressed {
        /// The follower.
        peer: NodeId,
    },
    /// A snapshot did not reach a follower that needs one. The leader tries again, after pauses that double up to 64
    /// heartbeats, and tells of the first failure only, until one is delivered or the follower's log meets its own.
    SnapshotFailed {
        /// The follower.
        peer: NodeId,
        /// The last entry of the snapshot.
        snapshot: EntryId,
    },
    /// A [`Compact`](crate::Event::Compact) changes nothing: no write will name that snapshot, and its data is not needed. The next one
    /// will do.
    CompactDeclined {
        /// Through where the snapshot goes.
        index: Index,
        /// Why.
        why: CompactDeclined,
    },
}

/// Why a snapshot of the application's own does not become the current one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum CompactDeclined {
    /// The application has not reported so much applied.
    #[error("that is not applied")]
    NotApplied,
    /// A snapshot that goes as far or further is the current one already.
    #[error("a snapshot as new is current")]
    Superseded,
    /// A received snapshot of the same name was discarded, and this one's data may have gone with it.
    #[error("its data may have been discarded")]
    Discarded,
    /// This server joined, and does not know who the members were there.
    #[error("the members there are not known")]
    MembersUnknown,
}

/// One thing to do. Carry out `Persist` in order, and `Restore` and `Apply` in order; a `Send` may be lost, doubled,
/// delayed and reordered. Exhaustive on purpose: a new duty must break every driver's build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Deliver a message. It never promises what is not yet durable.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: Message,
    },
    /// Make a record durable, then say [`Event::Persisted`](crate::Event::Persisted). If it fails, the server is over.
    Persist(Write),
    /// These are committed, and durable here: apply them in order, then say [`Event::Applied`](crate::Event::Applied).
    /// No-ops and configurations are among them, so that indexes have no gaps.
    Apply(Entries),
    /// Move the data of this snapshot to a follower, then say [`Event::SnapshotSent`](crate::Event::SnapshotSent).
    SendSnapshot {
        /// To whom.
        to: NodeId,
        /// The sender's term, which the receiver's [`Event::SnapshotReceived`](crate::Event::SnapshotReceived) must name.
        term: Term,
        /// Which one.
        snapshot: SnapshotMeta,
    },
    /// Replace the application's state by this snapshot; `Apply` goes on behind it. Answered by `Applied(last.index)`.
    Restore(SnapshotMeta),
    /// Delete the data of this received snapshot: no [`Write`] names it, durable or under way.
    Discard(SnapshotMeta),
    /// The commands of this request are in the log, at consecutive indexes from `first` on, in `first.term`.
    Accepted {
        /// The request.
        request: RequestId,
        /// Where its first command stands.
        first: EntryId,
        /// How many there are.
        count: u64,
    },
    /// A read may be answered now: the application has applied everything through `at`, and whatever was acknowledged before
    /// the read was asked for is among it.
    Readable {
        /// The request.
        request: RequestId,
        /// The read index.
        at: Index,
    },
    /// Another server leads.
    Transferred {
        /// The request.
        request: RequestId,
        /// Which one.
        leader: NodeId,
    },
    /// Read entries back that memory no longer holds, at least the first one and at most about `bytes_max` bytes of them, and
    /// answer with [`Event::Fetched`](crate::Event::Fetched). It may be left unanswered if reading fails for a moment.
    Fetch {
        /// What the answer must name.
        id: FetchId,
        /// The first one.
        from: Index,
        /// The last one.
        to: Index,
        /// How much is wanted.
        bytes_max: u64,
    },
    /// This request had no effect and never will.
    Refused {
        /// The request.
        request: RequestId,
        /// Why.
        why: Refusal,
    },
    /// This server must stop; from now on `step` returns nothing.
    Halt {
        /// Why.
        why: Fatal,
    },
    /// For observers.
    News(News),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Send { to, message } => write!(f, "send to {to}: {message}"),
            Action::Persist(write) => write!(f, "persist {write}"),
            Action::Apply(entries) => write!(f, "apply {entries}"),
            Action::SendSnapshot { to, term, snapshot } => write!(f, "send snapshot to {to} t{term}: {snapshot}"),
            Action::Restore(snapshot) => write!(f, "restore {snapshot}"),
            Action::Discard(snapshot) => write!(f, "discard {snapshot}"),
            Action::Accepted { request, first, count } => write!(f, "accepted {request} at {first} count {count}"),
            Action::Readable { request, at } => write!(f, "readable {request} at {at}"),
            Action::Transferred { request, leader } => write!(f, "transferred {request} to {leader}"),
            Action::Fetch { id, from, to, bytes_max } => write!(f, "fetch {id} {from}..{to} of {bytes_max}"),
            Action::Refused { request, why } => write!(f, "refused {request}: {why}"),
            Action::Halt { why } => write!(f, "halt: {why}"),
            Action::News(News::Role { term, role, leader }) => {
                write!(f, "{role} t{term}")?;
                leader.map_or(Ok(()), |leader| write!(f, " leader {leader}"))
            }
            Action::News(News::PeerWiped { peer }) => write!(f, "peer {peer} lost its disk"),
            Action::News(News::PeerRegressed { peer }) => write!(f, "the log of peer {peer} went back"),
            Action::News(News::CompactDeclined { index, why }) => write!(f, "compact {index} declined: {why}"),
            Action::News(News::SnapshotFailed { peer, snapshot }) => {
                write!(f, "snapshot {snapshot} did not reach {peer}")
            }
        }
    }
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.id)?;
        if let Some(HardState { term, voted_for }) = self.hard_state {
            write!(f, " t{term} vote ")?;
            match voted_for {
                Some(vote) => write!(f, "{vote}")?,
                None => f.write_str("-")?,
            }
        }
        match &self.snapshot {
            Some(SnapshotWrite::Compacted { snapshot, first }) => write!(f, " compacted {snapshot} first {first}")?,
            Some(SnapshotWrite::Installed { snapshot }) => write!(f, " installed {snapshot}")?,
            None => {}
        }
        if self.entries.is_empty() { Ok(()) } else { write!(f, " entries {}", self.entries) }
    }
}
