//! What happened in a run: a campaign that never saw a fault has not tested it.

use std::fmt;
use std::vec::Vec;

use crate::{
    Action, AppendOutcome, Event, Fatal, Message, News, Payload, Refusal, RoleKind, Rpc, SnapshotWrite, Write,
};

macro_rules! happenings {
    ($($name:ident $words:literal,)*) => {
        /// Something that can happen in a run.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Happening {
            $(#[doc = $words] $name,)*
        }

        impl Happening {
            /// All there are.
            pub const ALL: &[Happening] = &[$(Happening::$name),*];

            /// In words.
            #[must_use]
            pub fn words(self) -> &'static str {
                match self {
                    $(Happening::$name => $words,)*
                }
            }
        }
    };
}

happenings! {
    PreVoteSent "PreVote sent",
    PreVoteGranted "PreVoteReply granted",
    PreVoteRefused "PreVoteReply refused",
    RequestVoteSent "RequestVote sent",
    RequestVoteGranted "RequestVoteReply granted",
    RequestVoteRefused "RequestVoteReply refused",
    HeartbeatSent "AppendEntries without entries",
    EntriesSent "AppendEntries with entries",
    CommitNewsSent "AppendEntries that asks for no reply",
    MatchedSent "AppendEntriesReply matched",
    FullSent "AppendEntriesReply full",
    ConflictSent "AppendEntriesReply conflict",
    MessageLost "message lost",
    MessageDoubled "message doubled",
    MessageDelayed "message delayed for long",
    MessageOvertook "message overtook an earlier one",
    MessageCutOff "message cut off by a partition",
    LinkOverflowed "message lost: too many waited for a slow link",
    MessageTrickled "message took more than a tick to come in",
    LeaderHeardInPart "leader heard and answered before its message had come whole",
    MessageToTheDead "message came to a server that was down",
    MessageToNobody "message to a server that does not exist",
    UnreachableReported "peer reported unreachable",
    PartitionedInTwo "cluster cut in two",
    PartitionedOneWay "one direction cut",
    ServerIsolated "server cut off",
    Bridged "cluster cut in two but for one server",
    LinkFlapped "link came or went by itself",
    Mended "network mended",
    Crashed "server crashed",
    CrashedBetweenActions "server crashed between two actions of a step",
    CrashedAll "all servers crashed at once",
    WritesLost "writes lost in a crash",
    WritesKeptUnconfirmed "unconfirmed writes survived a crash",
    Restarted "server restarted",
    StartedEmpty "server started that knows nobody",
    DiskStalled "disk stalled",
    DiskSlowed "disk slow for a while",
    MachineSlowed "application slow for a while",
    AcksCollapsed "confirmations of writes collapsed into a later one",
    Paused "server paused",
    ClockStopped "clock stopped",
    ClockFast "clock ran fast",
    ClockSlow "clock ran slowly",
    LongTick "tick of more than one",
    TimeoutForced "election timeout forced",
    StoodAsPreCandidate "pre-candidate stood",
    StoodAsCandidate "candidate stood",
    StoodAsLeader "leader stood",
    SteppedDown "leader stepped down",
    LogTruncated "log truncated",
    NoopWritten "no-op written",
    StartedEverywhere "command started on every server",
    ClientWentOn "client went on to another server",
    ClientRetried "client tried again, its command's fate unknown or worse",
    CommandsAccepted "commands accepted",
    SeveralAccepted "several commands accepted together",
    RefusedNotLeader "refused: not the leader",
    RefusedBusy "refused: busy",
    RefusedTooLarge "refused: too large",
    RefusedEmpty "refused: empty",
    RefusedTransferring "refused: leadership is being transferred",
    RefusedNoTarget "transfer of leadership refused: no target",
    TransferTimedOut "transfer of leadership timed out",
    Transferred "leadership transferred",
    TimeoutNowSent "TimeoutNow sent",
    TransferVoteAsked "RequestVote sent for a transfer",
    ReadByRound "read answered after a round",
    ReadByAppend "read answered after a round that an acknowledgement of entries echoed",
    ReadForwarded "read answered after its leader's answer",
    ReadAtOnce "read answered at once",
    ReadWaitedForApplication "read answered when the application had got so far",
    ReadIndexSent "ReadIndex sent",
    ReadIndexAnswered "ReadIndexReply sent",
    ReadRefusedNotLeader "read refused: not the leader any more",
    ReadRefusedNotReady "read refused: nothing of the term is committed",
    ReadRefusedNoLeader "read refused: no leader answers",
    ReadRefusedTooMany "read refused: too many wait",
    LearnerAdded "configuration with another learner",
    NewcomerAdded "configuration with a learner that is to vote",
    LearnerRemoved "configuration with a learner less",
    LearnerWanted "configuration in which a learner is to vote from now on",
    LearnerKept "configuration in which a learner is to stay one",
    AddressChanged "configuration with another address",
    FoundersRecorded "configuration that records the first disks",
    NewcomerRecorded "configuration that records a newcomer's disk",
    DiskRecordedAnew "configuration that records another disk",
    LearnerPromoted "joint configuration that promotes a learner",
    VoterReplaced "joint configuration that replaces a voter",
    VoterDemoted "joint configuration that demotes a voter",
    VoterRemoved "joint configuration that removes a voter",
    VoterReadmitted "joint configuration that readmits a voter",
    SeveralEdits "configuration of several edits",
    ChangeFinished "second half of a change",
    ChangeCarriedOn "second half of a change that another leader began",
    LeaderRemovedItself "leader left with the second half of its change",
    HealedDiskPromoted "voter promoted on another disk than it once lost",
    ChangeAccepted "change accepted",
    ChangeRefusedNotLeader "change refused: not the leader",
    ChangeRefusedNotReady "change refused: nothing of the term is committed",
    ChangeRefusedPending "change refused: another one is pending",
    ChangeRefusedExpected "change refused: another configuration was expected",
    ChangeRefusedTransferring "change refused: leadership is being transferred",
    ChangeRefusedNoVoters "change refused: no voters",
    ChangeRefusedUnknownServer "change refused: unknown server",
    ChangeRefusedAlreadyMember "change refused: a member already",
    ChangeRefusedNotAVoter "change refused: not a voter",
    ChangeRefusedAlreadyReplaced "change refused: being replaced already",
    ChangeRefusedNotCaughtUp "change refused: not caught up",
    ChangeRefusedTwoEdits "change refused: two edits of one server",
    ChangeRefusedTooManyMembers "change refused: too many members",
    ChangeRefusedNothingToDo "change refused: nothing to do",
    Wiped "disk lost",
    WipedVoter "disk of a voter lost",
    WipedLeader "disk of a leader lost",
    WipedWhileJoint "disk of a member lost while a change was under way",
    WipedWhileHealing "disk lost again before the server had healed",
    OldDiskCameBack "old disk came back",
    Replaced "server halted: its disk was replaced",
    PeerWiped "leader heard a voter on another disk",
    Evicted "entries left memory",
    StartedWithTail "server started with a part of its log in memory",
    FetchUnanswered "fetch of entries never answered",
    FetchLate "fetch of entries answered late",
    FetchFailed "fetch of entries failed",
    FetchShort "less entries fetched than asked for",
    FetchWrong "wrong entries fetched",
    FetchVoided "fetched entries void",
    FetchRefused "fetched entries refused",
    FetchedForFollower "fetched entries sent to a follower",
    FetchedForApplication "fetched entries applied",
    OutcomeApplied "command applied",
    OutcomeSuperseded "command superseded",
    OutcomeUnknown "command's outcome unknown",
    Compacted "log compacted",
    CompactDeclined "compaction declined",
    SnapshotInstalled "snapshot installed",
    SnapshotDiscarded "snapshot discarded",
    SnapshotSendAsked "snapshot transfer asked for",
    SnapshotDelivered "snapshot delivered",
    SnapshotFailed "snapshot transfer failed",
    SnapshotDoubled "snapshot delivered twice",
    SnapshotLate "snapshot delivered late",
    SnapshotOutdated "snapshot delivered with a newer one behind it",
    SnapshotAtRandom "snapshot made at a random moment",
    SnapshotReportLost "report of a snapshot transfer lost",
    RestoredAtStart "state restored from the own snapshot",
    RestoredFromLeader "state restored from the leader's snapshot",
    ResumedFromOwnApplied "application resumed from its own durable state",
    AppliedInParts "batch confirmed in parts",
    ConfirmationRepeated "old confirmation repeated",
}

const COUNT: usize = Happening::ALL.len();

/// A campaign of so many seeds, each with a number of servers of its own, must have met everything there is.
pub const CAMPAIGN_SEEDS: u64 = 1500;

/// What a campaign should have met, and did not: it proves nothing about that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeverHappened(pub Vec<Happening>);

impl fmt::Display for NeverHappened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("never happened in the whole campaign:")?;
        self.0.iter().try_for_each(|happening| write!(f, "\n  {}", happening.words()))
    }
}

impl std::error::Error for NeverHappened {}

/// How often each [`Happening`] happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage([u64; COUNT]);

impl Default for Coverage {
    fn default() -> Coverage {
        Coverage([0; COUNT])
    }
}

impl Coverage {
    /// How often it happened.
    #[must_use]
    pub fn of(&self, happening: Happening) -> u64 {
        self.0[happening as usize]
    }

    /// What never happened.
    pub fn missing(&self) -> impl Iterator<Item = Happening> + '_ {
        Happening::ALL.iter().copied().filter(|happening| self.of(*happening) == 0)
    }

    /// Whether a campaign of so many seeds has met every fault, message and refusal; fewer than [`CAMPAIGN_SEEDS`] need not.
    ///
    /// # Errors
    /// What is missing.
    pub fn guard(&self, seeds: u64) -> Result<(), NeverHappened> {
        let missing: Vec<Happening> = self.missing().collect();
        if missing.is_empty() || seeds < CAMPAIGN_SEEDS { Ok(()) } else { Err(NeverHappened(missing)) }
    }

    /// Count another run's happenings in.
    pub fn add(&mut self, other: &Coverage) {
        self.0.iter_mut().zip(other.0).for_each(|(count, more)| *count += more);
    }

    pub(crate) fn count(&mut self, happening: Happening) {
        self.0[happening as usize] += 1;
    }

    pub(crate) fn count_event(&mut self, event: &Event) {
        match event {
            Event::Tick { elapsed } if *elapsed > 1 => self.count(Happening::LongTick),
            Event::Unreachable { .. } => self.count(Happening::UnreachableReported),
            _ => {}
        }
    }

    pub(crate) fn count_action(&mut self, action: &Action) {
        match action {
            Action::Send { message, .. } => self.count_message(message),
            Action::Persist(write) => self.count_write(write),
            Action::SendSnapshot { .. } => self.count(Happening::SnapshotSendAsked),
            Action::Discard(_) => self.count(Happening::SnapshotDiscarded),
            Action::Accepted { count, .. } => {
                self.count(Happening::CommandsAccepted);
                if *count > 1 {
                    self.count(Happening::SeveralAccepted);
                }
            }
            Action::Refused { why, .. } => match why {
                Refusal::NotLeader { .. } => self.count(Happening::RefusedNotLeader),
                Refusal::Busy { .. } => self.count(Happening::RefusedBusy),
                Refusal::TooLarge { .. } => self.count(Happening::RefusedTooLarge),
                Refusal::Empty => self.count(Happening::RefusedEmpty),
                Refusal::Transferring => self.count(Happening::RefusedTransferring),
                Refusal::NoTarget { .. } => self.count(Happening::RefusedNoTarget),
                Refusal::TransferTimedOut => self.count(Happening::TransferTimedOut),
                // These are told apart by what was asked for; or no run writes so many entries.
                Refusal::LogFull
                | Refusal::TooMany { .. }
                | Refusal::NotReady
                | Refusal::ChangePending { .. }
                | Refusal::Expected { .. }
                | Refusal::Edit(_)
                | Refusal::NoLeader
                | Refusal::TooManyReads { .. } => {}
            },
            Action::Transferred { .. } => self.count(Happening::Transferred),
            Action::News(News::Role { role, .. }) => match role {
                RoleKind::PreCandidate => self.count(Happening::StoodAsPreCandidate),
                RoleKind::Candidate => self.count(Happening::StoodAsCandidate),
                RoleKind::Leader | RoleKind::Follower => {}
            },
            Action::News(News::CompactDeclined { .. }) => self.count(Happening::CompactDeclined),
            Action::News(News::PeerWiped { .. }) => self.count(Happening::PeerWiped),
            Action::Halt { why: Fatal::Replaced { .. } } => self.count(Happening::Replaced),
            Action::News(News::PeerRegressed { .. } | News::SnapshotFailed { .. })
            | Action::Apply(_)
            | Action::Restore(_)
            | Action::Readable { .. }
            | Action::Fetch { .. }
            | Action::Halt { .. } => {}
        }
    }

    fn count_message(&mut self, message: &Message) {
        let happening = match &message.rpc {
            Rpc::PreVote { .. } => Happening::PreVoteSent,
            Rpc::PreVoteReply { granted: true } => Happening::PreVoteGranted,
            Rpc::PreVoteReply { granted: false } => Happening::PreVoteRefused,
            Rpc::RequestVote { transfer: true, .. } => Happening::TransferVoteAsked,
            Rpc::RequestVote { .. } => Happening::RequestVoteSent,
            Rpc::RequestVoteReply { granted: true } => Happening::RequestVoteGranted,
            Rpc::RequestVoteReply { granted: false } => Happening::RequestVoteRefused,
            Rpc::AppendEntries { reply: false, .. } => Happening::CommitNewsSent,
            Rpc::AppendEntries { entries, .. } if entries.is_empty() => Happening::HeartbeatSent,
            Rpc::AppendEntries { .. } => Happening::EntriesSent,
            Rpc::AppendEntriesReply { outcome, .. } => match outcome {
                AppendOutcome::Matched { .. } => Happening::MatchedSent,
                AppendOutcome::Full { .. } => Happening::FullSent,
                AppendOutcome::Conflict { .. } => Happening::ConflictSent,
                AppendOutcome::OlderTerm => return,
            },
            Rpc::TimeoutNow { .. } => Happening::TimeoutNowSent,
            Rpc::ReadIndex { .. } => Happening::ReadIndexSent,
            Rpc::ReadIndexReply { .. } => Happening::ReadIndexAnswered,
        };
        self.count(happening);
    }

    fn count_write(&mut self, write: &Write) {
        match write.snapshot {
            Some(SnapshotWrite::Compacted { .. }) => self.count(Happening::Compacted),
            Some(SnapshotWrite::Installed { .. }) => self.count(Happening::SnapshotInstalled),
            None => {}
        }
        if write.entries.iter().next().is_some_and(|(_, payload)| *payload == Payload::Noop) {
            self.count(Happening::NoopWritten);
        }
    }
}

impl fmt::Display for Coverage {
    /// A line for each happening: how often, and what.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Happening::ALL
            .iter()
            .try_for_each(|happening| writeln!(f, "{:>12}  {}", self.of(*happening), happening.words()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn a_campaign_that_missed_something_says_what() {
        let mut coverage = Coverage([1; COUNT]);
        assert_eq!(coverage.guard(CAMPAIGN_SEEDS), Ok(()));
        coverage.0[Happening::Bridged as usize] = 0;
        assert_eq!(coverage.guard(CAMPAIGN_SEEDS - 1), Ok(()));
        let missing = coverage.guard(CAMPAIGN_SEEDS).unwrap_err().to_string();
        assert_eq!(missing, "never happened in the whole campaign:\n  cluster cut in two but for one server");
    }
}
