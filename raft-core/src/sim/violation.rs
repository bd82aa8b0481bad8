//! What the oracles find.

use std::boxed::Box;
use std::fmt;
use std::string::String;

/// A rule that every run must keep; each has its own file in `sim/oracle`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Invariant {
    /// At most one leader in a term.
    ElectionSafety,
    /// At most one vote of a server in a term, across restarts.
    SingleVote,
    /// The configuration in force is the newest in the log.
    Configuration,
    /// Only a server with a vote campaigns.
    Candidacy,
    /// Quorums of successive configurations of a log meet.
    Adjacent,
    /// A leader appends a configuration only behind one that is committed and not joint, in a term of which something is
    /// committed.
    OnePending,
    /// Behind a joint configuration stands its second half, once.
    LeavesOnce,
    /// A learner that becomes a voter has what it needs, on the disk that is recorded for it.
    PromotedWasReady,
    /// What is said on a disk that does not count decides nothing.
    UncountedIsSilent,
    /// Who answers on the disk that counts is counted.
    RecordedDiskCounts,
    /// Nobody writes to a server that is gone.
    Farewell,
    /// A vote goes to a log that is at least as up-to-date as the voter's.
    ElectionRestriction,
    /// A leader only appends to its log.
    LeaderAppendOnly,
    /// Two logs with the same entry are the same through it.
    LogMatching,
    /// Terms never fall within a log.
    TermOrder,
    /// A leader has every entry committed before its term.
    LeaderCompleteness,
    /// No two servers apply different entries at an index.
    StateMachineSafety,
    /// A leader commits an entry of its term that a majority has durably, and nothing else.
    CommitRule,
    /// A leader out of touch with a majority leads no longer.
    CheckQuorum,
    /// A timer moves only by the events that may move it.
    Timers,
    /// What a leader knows of its followers never falls.
    MatchIndex,
    /// Term, commit and applied never fall.
    Monotone,
    /// Nothing is promised before it is durable.
    Promises,
    /// What a follower acknowledges is what the leader has.
    Acknowledgements,
    /// What a server knows is what it asked its disk to keep.
    WriteThrough,
    /// Each index is applied once in a life, in order, once it is committed and durable.
    ApplyOrder,
    /// A snapshot's state is what its entries make.
    SnapshotState,
    /// What a driver is told to delete is named by no write.
    Discards,
    /// What a client was told to be done stays done.
    Acknowledged,
    /// The clients' histories are linearizable.
    Linearizable,
    /// A read sees all that was acknowledged before it was asked for.
    ReadIndex,
    /// Each request has one outcome, and a true one.
    Outcomes,
    /// A request that is answered later has one answer while its server lives.
    OneAnswer,
    /// Nothing enters a leader's log while it hands over, and a transfer that is done is done.
    TransferIsQuiet,
    /// No message and no hand-out is larger than the limits allow.
    Limits,
    /// What is sent or applied of entries that are not in memory is what the disk has, and no more is fetched than is needed.
    FetchExact,
    /// A server starts from what its disk kept, and its driver is asked only for what it can do.
    Restart,
    /// No server of a cluster that keeps its promises halts.
    NoHalt,
    /// A cluster does not talk for its own sake: what is done is in proportion to what is asked.
    Frugality,
    /// When faults stop, a leader stands and all converge.
    Convergence,
    /// When faults stop, every member heals and no change is left half done.
    Healed,
}

impl Invariant {
    /// Where the rule comes from.
    #[must_use]
    pub fn source(self) -> &'static str {
        match self {
            Invariant::ElectionSafety => "§5.2, Figure 3",
            Invariant::SingleVote => "§5.2",
            Invariant::Configuration | Invariant::Adjacent | Invariant::OnePending | Invariant::LeavesOnce => "§6",
            Invariant::PromotedWasReady => "thesis §4.2.1",
            Invariant::UncountedIsSilent | Invariant::RecordedDiskCounts => "docs/thesis.md, replaced disks",
            Invariant::Farewell => "thesis §4.2.2",
            Invariant::Candidacy => "§6, thesis §4.2.2",
            Invariant::ElectionRestriction => "§5.4.1",
            Invariant::LeaderAppendOnly => "§5.3, Figure 3",
            Invariant::LogMatching => "§5.3, Figure 3",
            Invariant::TermOrder => "§5.3, §5.4.1",
            Invariant::LeaderCompleteness => "§5.4, Figure 3",
            Invariant::StateMachineSafety => "§5.4.3, Figure 3",
            Invariant::CommitRule => "§5.4.2",
            Invariant::CheckQuorum => "thesis §6.2",
            Invariant::Timers => "docs/figure2.md, timers",
            Invariant::MatchIndex => "§5.3, Figure 2",
            Invariant::Monotone => "§5.1, Figure 2",
            Invariant::Promises => "Figure 2, thesis §10.2.1",
            Invariant::Acknowledgements => "§5.3",
            Invariant::WriteThrough => "Figure 2",
            Invariant::ApplyOrder => "§5.3, §7",
            Invariant::SnapshotState | Invariant::Discards => "§7",
            Invariant::Acknowledged | Invariant::Linearizable => "§8",
            Invariant::ReadIndex => "§8, thesis §6.4",
            Invariant::Outcomes | Invariant::OneAnswer => "§8",
            Invariant::TransferIsQuiet => "thesis §3.10",
            Invariant::Limits | Invariant::FetchExact => "Config",
            Invariant::Restart => "Figure 2, §7",
            Invariant::NoHalt => "§5.4.3",
            Invariant::Frugality => "Config",
            Invariant::Convergence => "§5.6",
            Invariant::Healed => "§6, thesis §4",
        }
    }
}

/// An invariant that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// How, in words.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ({}): {}", self.invariant, self.invariant.source(), self.what)
    }
}

/// What a check finds.
pub(crate) type Verdict<T = ()> = Result<T, Box<Violation>>;

/// Nothing is said unless `holds` is false.
pub(crate) fn ensure(holds: bool, invariant: Invariant, what: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { broken(invariant, what()) }
}

#[cold]
pub(crate) fn broken<T>(invariant: Invariant, what: String) -> Verdict<T> {
    Err(Box::new(Violation { invariant, what }))
}
