//! Reasons and news in the order in which they are written. A variant is never moved: new ones come last.

use serde::{Deserialize, Serialize};

use crate::action::{CompactDeclined, Fatal, News, RoleKind};
use crate::edit::EditError;
use crate::refusal::Refusal;
use crate::types::{EntryId, Incarnation, Index, NodeId, Term};

#[derive(Serialize, Deserialize)]
#[serde(remote = "Refusal")]
pub(super) enum RefusalHead {
    NotLeader { leader: Option<NodeId> },
    Busy { max: u64 },
    TooLarge { bytes: u64, max: u64 },
    TooMany { count: u64, max: u64 },
    Empty,
    LogFull,
    NotReady,
    ChangePending { since: EntryId },
    Expected { found: EntryId },
    Edit(#[serde(with = "EditErrorHead")] EditError),
    Transferring,
    NoTarget { to: Option<NodeId> },
    TransferTimedOut,
    NoLeader,
    TooManyReads { max: u64 },
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "EditError")]
enum EditErrorHead {
    NoVoters,
    UnknownServer { id: NodeId },
    AlreadyMember { id: NodeId },
    NotAVoter { id: NodeId },
    AlreadyReplaced { id: NodeId },
    NotCaughtUp { id: NodeId },
    TwoEdits { id: NodeId },
    TooManyMembers,
    NothingToDo,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Fatal")]
pub(super) enum FatalHead {
    CommittedEntryContradicted { from: NodeId, ours: EntryId, theirs: EntryId },
    TwoLeaders { term: Term, one: NodeId, other: NodeId },
    Replaced { by: Incarnation },
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "News")]
pub(super) enum NewsHead {
    Role {
        term: Term,
        #[serde(with = "RoleHead")]
        role: RoleKind,
        leader: Option<NodeId>,
    },
    PeerWiped {
        peer: NodeId,
    },
    PeerRegressed {
        peer: NodeId,
    },
    SnapshotFailed {
        peer: NodeId,
        snapshot: EntryId,
    },
    CompactDeclined {
        index: Index,
        #[serde(with = "DeclinedHead")]
        why: CompactDeclined,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "RoleKind")]
enum RoleHead {
    Follower,
    PreCandidate,
    Candidate,
    Leader,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "CompactDeclined")]
enum DeclinedHead {
    NotApplied,
    Superseded,
    Discarded,
    MembersUnknown,
}
