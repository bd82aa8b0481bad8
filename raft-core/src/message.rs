//! What servers say to each other: the RPCs of Figure 2 and their replies, the pre-vote of thesis §9.6, leadership transfer
//! (thesis §3.10), and forwarded reads (thesis §6.4).

use core::fmt;

use crate::entries::Entries;
#[cfg(feature = "sim")]
use crate::fingerprint::Fingerprint;
use crate::types::{EntryId, Incarnation, Index, Term};

/// An RPC, or the reply to one. The envelope never lies: a pre-vote too carries its sender's real term.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The sender's current term.
    pub term: Term,
    /// Which life of its disk the sender runs on.
    pub incarnation: Incarnation,
    /// What it says.
    pub rpc: Rpc,
}

/// What a [`Message`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rpc {
    /// "Would you vote for me in the term after mine?" (thesis §9.6). Promises nothing and changes nothing.
    PreVote {
        /// The end of the sender's log.
        last: EntryId,
    },
    /// The answer to [`Rpc::PreVote`].
    PreVoteReply {
        /// Whether the sender would.
        granted: bool,
    },
    /// RequestVote (§5.2, §5.4.1).
    RequestVote {
        /// The end of the candidate's log, durable there.
        last: EntryId,
        /// Whether the leader asked the candidate to campaign: then a voter does not refuse because it hears that leader.
        transfer: bool,
    },
    /// The answer to [`Rpc::RequestVote`].
    RequestVoteReply {
        /// Whether the sender's vote in this term is the candidate's; durable, if so.
        granted: bool,
    },
    /// AppendEntries (§5.3); without entries a heartbeat, a probe, or the news of a commit.
    AppendEntries {
        /// The entry right before `entries`.
        prev: EntryId,
        /// What the follower lacks, as far as the leader knows.
        entries: Entries,
        /// The leader's commit index, which may be beyond what this message carries.
        commit: Index,
        /// Counts the leader's heartbeats, and the rounds between them that confirm reads; handed back in the reply.
        round: u64,
        /// Whether an answer is wanted. Conflicts are answered in any case.
        reply: bool,
    },
    /// The answer to [`Rpc::AppendEntries`], and to a snapshot.
    AppendEntriesReply {
        /// The newest round that the follower has seen from this leader.
        round: u64,
        /// What became of it.
        outcome: AppendOutcome,
    },
    /// The leader asks a server whose log is complete to campaign at once (thesis §3.10).
    TimeoutNow {
        /// The disk of the server that is meant.
        target: Incarnation,
    },
    /// A follower asks its leader for a read index (thesis §6.4).
    ReadIndex {
        /// A random number of this start of the follower.
        boot: u64,
        /// Counts the follower's questions since then.
        seq: u64,
    },
    /// The answer to [`Rpc::ReadIndex`], once the leader knows that it still leads.
    ReadIndexReply {
        /// As asked.
        boot: u64,
        /// As asked.
        seq: u64,
        /// Whatever was acknowledged before the question was asked is at or below this index.
        at: Index,
    },
}

/// What became of an AppendEntries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendOutcome {
    /// The entry before it was there.
    Matched {
        /// The follower's log is the leader's through here, in memory. No promise: a crash may take it back.
        received: Index,
        /// Durable through here: a promise.
        durable: Index,
    },
    /// As `Matched`, but too much waits for the follower's disk or application: it takes nothing beyond `received` for now.
    /// Answers new entries, which are not taken, and heartbeats.
    Full {
        /// The follower's log is the leader's through here, in memory.
        received: Index,
        /// Durable through here: a promise.
        durable: Index,
    },
    /// The follower does not hold the entry before it.
    Conflict {
        /// The index of the entry that was missing or different.
        prev: Index,
        /// The follower's last entry at or before `prev` of a term no later than `prev`'s: the latest that may match.
        hint: EntryId,
    },
    /// The request was of an older term and was not looked at. Always with round 0: it echoes nothing.
    OlderTerm,
}

impl Message {
    /// Whether this answers another message.
    #[must_use]
    pub fn is_reply(&self) -> bool {
        match self.rpc {
            Rpc::PreVoteReply { .. }
            | Rpc::RequestVoteReply { .. }
            | Rpc::AppendEntriesReply { .. }
            | Rpc::ReadIndexReply { .. } => true,
            Rpc::PreVote { .. }
            | Rpc::RequestVote { .. }
            | Rpc::AppendEntries { .. }
            | Rpc::TimeoutNow { .. }
            | Rpc::ReadIndex { .. } => false,
        }
    }

    /// The paper's name of what it says.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self.rpc {
            Rpc::PreVote { .. } => "PreVote",
            Rpc::PreVoteReply { .. } => "PreVoteReply",
            Rpc::RequestVote { .. } => "RequestVote",
            Rpc::RequestVoteReply { .. } => "RequestVoteReply",
            Rpc::AppendEntries { .. } => "AppendEntries",
            Rpc::AppendEntriesReply { .. } => "AppendEntriesReply",
            Rpc::TimeoutNow { .. } => "TimeoutNow",
            Rpc::ReadIndex { .. } => "ReadIndex",
            Rpc::ReadIndexReply { .. } => "ReadIndexReply",
        }
    }

    #[cfg(feature = "sim")]
    pub(crate) fn fingerprint(&self, print: &mut Fingerprint<'_>) {
        let Message { term, incarnation, rpc } = self;
        print.term(*term);
        print.word(incarnation.0);
        match rpc {
            Rpc::PreVote { last } => print.words([0, last.term.0, last.index.0]),
            Rpc::PreVoteReply { granted } => print.words([1, 0, u64::from(*granted)]),
            Rpc::RequestVote { last, transfer } => {
                print.words([2, last.term.0, last.index.0, u64::from(*transfer)]);
            }
            Rpc::RequestVoteReply { granted } => print.words([3, 0, u64::from(*granted)]),
            Rpc::AppendEntries { prev, entries, commit, round, reply } => {
                print.word(4);
                print.entry_id(*prev);
                entries.fingerprint(print);
                print.words([commit.0, *round, u64::from(*reply)]);
            }
            Rpc::AppendEntriesReply { round, outcome } => {
                let words = match *outcome {
                    AppendOutcome::Matched { received, durable } => [5, received.0, 0, durable.0],
                    AppendOutcome::Full { received, durable } => [6, received.0, 0, durable.0],
                    AppendOutcome::Conflict { prev, hint } => [7, prev.0, hint.term.0, hint.index.0],
                    AppendOutcome::OlderTerm => [8, 0, 0, 0],
                };
                print.words(words);
                print.words([*round, 0, 0]);
            }
            Rpc::TimeoutNow { target } => print.words([9, target.0]),
            Rpc::ReadIndex { boot, seq } => print.words([10, *boot, *seq]),
            Rpc::ReadIndexReply { boot, seq, at } => print.words([11, *boot, *seq, at.0]),
        };
    }

    /// Whether every term and index is one that a log can hold, the entries follow `prev` in term and index, nobody
    /// campaigns or leads in term 0, and the sender's disk has a name. What comes from a peer is checked once, here.
    pub(crate) fn is_well_formed(&self) -> bool {
        let rest = match &self.rpc {
            Rpc::PreVote { last } => last.is_possible() && last.term <= self.term,
            Rpc::RequestVote { last, .. } => self.term > Term(0) && last.is_possible() && last.term <= self.term,
            Rpc::PreVoteReply { .. } | Rpc::RequestVoteReply { .. } | Rpc::ReadIndex { .. } => true,
            Rpc::ReadIndexReply { at, .. } => *at <= Index::MAX,
            Rpc::TimeoutNow { .. } => self.term > Term(0),
            Rpc::AppendEntries { prev, entries, commit, .. } => {
                let newest = match (entries.first(), entries.last()) {
                    (Some(first), Some(last)) if first.index == prev.index.next() && first.term >= prev.term => last,
                    (None, None) => *prev,
                    _ => return false,
                };
                let in_bounds = newest.term <= self.term && newest.index <= Index::MAX && *commit <= Index::MAX;
                in_bounds && prev.is_possible() && self.term > Term(0)
            }
            Rpc::AppendEntriesReply { round, outcome } => match *outcome {
                AppendOutcome::Matched { received, durable } | AppendOutcome::Full { received, durable } => {
                    received <= Index::MAX && durable <= received
                }
                AppendOutcome::Conflict { prev, hint } => {
                    prev <= Index::MAX && hint.is_possible() && hint.index <= prev
                }
                AppendOutcome::OlderTerm => *round == 0,
            },
        };
        rest && self.term <= Term::MAX && self.incarnation != Incarnation(0)
    }
}

impl fmt::Display for Message {
    /// One line: `AppendEntries t3 prev 4@2 entries 5@3..7@3 commit 4 round 9`, and ` on j5` if its sender's disk joined.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} t{} ", self.name(), self.term)?;
        match &self.rpc {
            Rpc::PreVote { last } => write!(f, "last {last}"),
            Rpc::RequestVote { last, transfer } => {
                write!(f, "last {last}{}", if *transfer { " transfer" } else { "" })
            }
            Rpc::PreVoteReply { granted } | Rpc::RequestVoteReply { granted } => {
                f.write_str(if *granted { "granted" } else { "refused" })
            }
            Rpc::AppendEntries { prev, entries, commit, round, reply } => {
                write!(f, "prev {prev} entries {entries} commit {commit} round {round}")?;
                f.write_str(if *reply { "" } else { " no reply" })
            }
            Rpc::AppendEntriesReply { round, outcome } => write!(f, "{outcome} round {round}"),
            Rpc::TimeoutNow { target } => write!(f, "target {target}"),
            Rpc::ReadIndex { boot, seq } => write!(f, "boot {boot} seq {seq}"),
            Rpc::ReadIndexReply { boot, seq, at } => write!(f, "boot {boot} seq {seq} at {at}"),
        }?;
        // A joined disk is told apart from others of the same name.
        if self.incarnation.is_founder() { Ok(()) } else { write!(f, " on {}", self.incarnation) }
    }
}

impl fmt::Display for AppendOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AppendOutcome::Matched { received, durable } => write!(f, "matched {received} durable {durable}"),
            AppendOutcome::Full { received, durable } => write!(f, "full {received} durable {durable}"),
            AppendOutcome::Conflict { prev, hint } => write!(f, "conflict at {prev} hint {hint}"),
            AppendOutcome::OlderTerm => f.write_str("older term"),
        }
    }
}
