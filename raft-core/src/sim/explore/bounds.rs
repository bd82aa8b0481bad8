//! How large a world is: what may happen in it, and how often.

use std::fmt;
use std::string::String;

use super::SERVERS;
use super::stages::Stage;
use crate::sim::violation::{Invariant, Verdict};
use crate::{Config, NodeId};

/// A budget for what would otherwise go on for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Budget {
    Campaigns,
    Commands,
    Crashes,
    Duplicates,
    Heartbeats,
    StepDowns,
    Compactions,
    LateWrites,
    Reads,
    Transfers,
    Wipes,
    Changes,
}

/// How much of each budget is used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spent([u8; 12]);

impl Spent {
    #[must_use]
    pub(crate) fn with(mut self, budget: Budget) -> Spent {
        let spent = &mut self.0[budget as usize];
        *spent = spent.saturating_add(1);
        self
    }

    pub(crate) fn words(self) -> impl Iterator<Item = u64> {
        self.0.into_iter().map(u64::from)
    }
}

/// The bounds of a world of three servers. Loss, reordering and delay need no budget: a message that is never delivered is
/// lost, and any message may be the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// No campaign leads beyond this term.
    pub terms: u8,
    /// Election timeouts that run out, on any server at any time.
    pub campaigns: u8,
    /// Commands that clients start, on any leader.
    pub commands: u8,
    /// Crashes, each with the restart: of the writes under way, each first part may have survived.
    pub crashes: u8,
    /// Messages that are delivered and stay in the network.
    pub duplicates: u8,
    /// Heartbeats beyond those of an election, and questions of candidates that are asked again.
    pub heartbeats: u8,
    /// Leaders that hear no quorum for an election timeout.
    pub step_downs: u8,
    /// Snapshots that applications make.
    pub compactions: u8,
    /// Times that a disk which was idle takes its time: what is written from then on stays under way until the explorer says
    /// how much of it is done. [`Bounds::ALWAYS`] is no budget: every write is late. Other writes are done at once.
    pub late_writes: u8,
    /// Reads that clients ask for, on any server at any time.
    pub reads: u8,
    /// Transfers of leadership that are asked for, on any server at any time; any of them may take too long.
    pub transfers: u8,
    /// Disks that are lost, each with a restart on an empty one. Of more than one at once nothing is promised, and the world must
    /// begin with recorded disks.
    pub wipes: u8,
    /// Changes of the membership that an operator asks for, on any leader.
    pub changes: u8,
    /// Where the world begins.
    pub stage: Stage,
    /// Whether pre-votes travel like all other messages. If not, whoever campaigns has won its pre-vote.
    pub pre_votes: bool,
    /// Whether who hears a live leader may refuse to vote (thesis §4.2.3). If not, the silence was always long enough.
    pub leases: bool,
    /// Whether leaders begin with a no-op (§8).
    pub noop: bool,
    /// The most entries in a message, and the most messages in flight to a follower.
    pub window: u8,
    /// Whether a follower takes no more entries while anything waits for its disk.
    pub tight: bool,
    /// States that differ by the servers' names only are one.
    pub symmetry: bool,
    /// Replies that nobody will ever look at leave the network at once.
    pub tidy: bool,
    /// Whether only the end of a path is judged: by Figure 3, by votes, by answers to reads and transfers, and by servers that halt. If not, the rules that keep
    /// those invariants are looked at too, and tell sooner.
    pub figure_3: bool,
    /// Whether disks say that writes are done and keep nothing: then invariants break, which shows that it is seen.
    pub lying_disks: bool,
    /// Give up after so many distinct states.
    pub states_max: usize,
}

impl Bounds {
    /// No limit, for [`Bounds::late_writes`].
    pub const ALWAYS: u8 = u8::MAX;

    /// Nothing but campaigns and commands.
    pub const CALM: Bounds = Bounds {
        terms: 2,
        campaigns: 2,
        commands: 1,
        crashes: 0,
        duplicates: 0,
        heartbeats: 0,
        step_downs: 0,
        compactions: 0,
        late_writes: 0,
        reads: 0,
        transfers: 0,
        wipes: 0,
        changes: 0,
        stage: Stage::Voters,
        pre_votes: false,
        leases: false,
        noop: false,
        window: 8,
        tight: false,
        symmetry: true,
        tidy: true,
        figure_3: false,
        lying_disks: false,
        states_max: usize::MAX,
    };

    /// As [`Bounds::CALM`], with every write late.
    pub const LATE: Bounds = Bounds { late_writes: Bounds::ALWAYS, ..Bounds::CALM };

    pub(crate) fn limit(&self, budget: Budget) -> u8 {
        match budget {
            Budget::Campaigns => self.campaigns,
            Budget::Commands => self.commands,
            Budget::Crashes => self.crashes,
            Budget::Duplicates => self.duplicates,
            Budget::Heartbeats => self.heartbeats,
            Budget::StepDowns => self.step_downs,
            Budget::Compactions => self.compactions,
            Budget::LateWrites => self.late_writes,
            Budget::Reads => self.reads,
            Budget::Transfers => self.transfers,
            Budget::Wipes => self.wipes,
            Budget::Changes => self.changes,
        }
    }

    pub(crate) fn allow(&self, spent: Spent, budget: Budget) -> bool {
        spent.0[budget as usize] < self.limit(budget)
    }

    /// What is made of what a rule says.
    pub(crate) fn heed(&self, verdict: Verdict) -> Verdict {
        let counts = |invariant| {
            matches!(
                invariant,
                Invariant::ElectionSafety
                    | Invariant::LeaderAppendOnly
                    | Invariant::LogMatching
                    | Invariant::LeaderCompleteness
                    | Invariant::StateMachineSafety
                    | Invariant::SingleVote
                    | Invariant::ReadIndex
                    | Invariant::OneAnswer
                    | Invariant::NoHalt
            )
        };
        if self.figure_3 {
            verdict.or_else(|told| if counts(told.invariant) { Err(told) } else { Ok(()) })
        } else {
            verdict
        }
    }

    /// What one server of this world is told. Time is the explorer's: no clock matters.
    pub(crate) fn config(&self, slot: usize) -> Config {
        Config {
            heartbeat_ticks: 1,
            election_ticks_min: 2,
            election_ticks_max: 3,
            leader_noop: self.noop,
            append_entries_max: u64::from(self.window),
            inflight_appends_max: u64::from(self.window),
            unpersisted_bytes_max: if self.tight { 1 } else { u64::MAX },
            trailing_entries: 0,
            transfer_bytes_max: 0,
            disk_stall_ticks: u32::MAX,
            snapshot_timeout_ticks: u32::MAX,
            ..Config::new(node(slot))
        }
    }

    /// Set the bound of this name, as the command line calls it.
    ///
    /// # Errors
    /// If there is no such bound, or the number is none for it.
    pub fn set(&mut self, name: &str, value: u64) -> Result<(), String> {
        let wrong = || std::format!("--{name} {value}: no such bound, or too much for it");
        let number = u8::try_from(value).map_err(|_| wrong());
        let flag = || if value <= 1 { Ok(value == 1) } else { Err(wrong()) };
        match name {
            "terms" if value <= u64::from(Bounds::TERMS_MAX) => self.terms = number?,
            "campaigns" => self.campaigns = number?,
            "commands" => self.commands = number?,
            "crashes" => self.crashes = number?,
            "duplicates" => self.duplicates = number?,
            "heartbeats" => self.heartbeats = number?,
            "step-downs" => self.step_downs = number?,
            "compactions" => self.compactions = number?,
            "late-writes" => self.late_writes = number?,
            "reads" => self.reads = number?,
            "transfers" => self.transfers = number?,
            "wipes" => self.wipes = number?,
            "changes" => self.changes = number?,
            "stage" => self.stage = Stage::of_number(value).ok_or_else(wrong)?,
            "window" => self.window = number?.max(1),
            "pre-votes" => self.pre_votes = flag()?,
            "leases" => self.leases = flag()?,
            "noop" => self.noop = flag()?,
            "tight" => self.tight = flag()?,
            "symmetry" => self.symmetry = flag()?,
            "tidy" => self.tidy = flag()?,
            "figure-3" => self.figure_3 = flag()?,
            "lying-disks" => self.lying_disks = flag()?,
            "states" => self.states_max = usize::try_from(value).map_err(|_| wrong())?,
            _ => return Err(wrong()),
        }
        Ok(())
    }

    /// The highest term that a world can have.
    pub const TERMS_MAX: u8 = 6;

    /// The worlds that the tests explore, each about one thing.
    pub const WORLDS: [(&str, Bounds); 19] = [
        ("plain", Bounds { symmetry: false, tidy: false, ..Bounds::CALM }),
        ("elections", Bounds { terms: 3, campaigns: 3, commands: 0, crashes: 1, ..Bounds::LATE }),
        (
            "pre-votes",
            Bounds { commands: 0, crashes: 1, late_writes: 2, pre_votes: true, leases: true, ..Bounds::CALM },
        ),
        ("figure-8", Bounds { terms: 3, campaigns: 3, ..Bounds::CALM }),
        ("no-ops", Bounds { terms: 3, campaigns: 3, commands: 0, noop: true, ..Bounds::CALM }),
        ("leases", Bounds { leases: true, step_downs: 1, crashes: 1, late_writes: 1, ..Bounds::CALM }),
        ("replication", Bounds { commands: 2, ..Bounds::CALM }),
        ("crashes", Bounds { crashes: 2, ..Bounds::LATE }),
        ("duplicates", Bounds { duplicates: 1, ..Bounds::LATE }),
        ("tight", Bounds { tight: true, noop: true, late_writes: 1, ..Bounds::CALM }),
        ("heartbeats", Bounds { heartbeats: 1, ..Bounds::CALM }),
        ("compaction", Bounds { crashes: 1, compactions: 1, ..Bounds::LATE }),
        ("installation", Bounds { commands: 2, compactions: 1, ..Bounds::CALM }),
        ("read", Bounds { reads: 1, commands: 0, noop: true, ..Bounds::CALM }),
        ("transfer", Bounds { transfers: 1, leases: true, ..Bounds::CALM }),
        ("wipe", Bounds { wipes: 1, stage: Stage::Recorded, ..Bounds::CALM }),
        ("leave", Bounds { terms: 3, campaigns: 3, commands: 0, stage: Stage::Leave, symmetry: false, ..Bounds::CALM }),
        (
            "promotion",
            Bounds { commands: 0, changes: 1, noop: true, stage: Stage::Learner, symmetry: false, ..Bounds::CALM },
        ),
        ("removal", Bounds { changes: 1, symmetry: false, ..Bounds::CALM }),
    ];

    /// The world of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Bounds> {
        Bounds::WORLDS.into_iter().find(|(known, _)| *known == name).map(|(_, bounds)| bounds)
    }
}

impl Bounds {
    /// All that the command line can set, by name.
    fn words(&self) -> [(&'static str, usize); 24] {
        let number = |number: u8| usize::from(number);
        let flag = |flag: bool| usize::from(flag);
        [
            ("terms", number(self.terms)),
            ("campaigns", number(self.campaigns)),
            ("commands", number(self.commands)),
            ("crashes", number(self.crashes)),
            ("duplicates", number(self.duplicates)),
            ("heartbeats", number(self.heartbeats)),
            ("step-downs", number(self.step_downs)),
            ("compactions", number(self.compactions)),
            ("late-writes", number(self.late_writes)),
            ("reads", number(self.reads)),
            ("transfers", number(self.transfers)),
            ("wipes", number(self.wipes)),
            ("changes", number(self.changes)),
            ("stage", self.stage.number()),
            ("window", number(self.window)),
            ("pre-votes", flag(self.pre_votes)),
            ("leases", flag(self.leases)),
            ("noop", flag(self.noop)),
            ("tight", flag(self.tight)),
            ("symmetry", flag(self.symmetry)),
            ("tidy", flag(self.tidy)),
            ("figure-3", flag(self.figure_3)),
            ("lying-disks", flag(self.lying_disks)),
            ("states", self.states_max),
        ]
    }
}

impl fmt::Display for Bounds {
    /// As the command line takes it: what differs from [`Bounds::CALM`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let differing = self.words().into_iter().zip(Bounds::CALM.words()).filter(|(ours, calm)| ours != calm);
        differing
            .enumerate()
            .try_for_each(|(i, ((name, value), _))| write!(f, "{}--{name} {value}", if i == 0 { "" } else { " " }))
    }
}

/// The server in `slot`.
pub(crate) fn node(slot: usize) -> NodeId {
    NodeId(slot as u64 + 1)
}

/// Where `id` stands, if it is one of the three.
pub(crate) fn slot(id: NodeId) -> Option<usize> {
    (0..SERVERS).find(|slot| node(*slot) == id)
}
