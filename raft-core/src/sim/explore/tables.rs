//! What was met so far, each thing once: servers, mail, histories, and what comes of an act. A server's answer depends on
//! nothing but its state and the act, so the core is asked once for each pair of them; worlds are made of numbers.

use std::boxed::Box;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::vec::Vec;

use smallvec::SmallVec;

use super::bounds::{Bounds, node, slot};
use super::local::{Act, Local};
use super::mail::{Content, Mail};
use crate::fingerprint::Fingerprint;
use crate::sim::violation::{Verdict, Violation};
use crate::{EntryId, Index, Message, NodeId, RoleKind, Rpc, Status, Term};

/// How many ways there are to name three servers.
pub(crate) const MIRRORS: usize = 6;

/// A fingerprint for each way to name the servers; the first is by their ids.
pub(crate) type Prints = [u128; MIRRORS];

/// For each way, what each server is called.
const NAMES: [[(NodeId, u64); 3]; MIRRORS] = [
    [(NodeId(1), 1), (NodeId(2), 2), (NodeId(3), 3)],
    [(NodeId(1), 1), (NodeId(2), 3), (NodeId(3), 2)],
    [(NodeId(1), 2), (NodeId(2), 1), (NodeId(3), 3)],
    [(NodeId(1), 2), (NodeId(2), 3), (NodeId(3), 1)],
    [(NodeId(1), 3), (NodeId(2), 1), (NodeId(3), 2)],
    [(NodeId(1), 3), (NodeId(2), 2), (NodeId(3), 1)],
];

/// Fingerprints are hashes already.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, word: u64) {
        let mixed = (self.0.rotate_left(29) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }

    fn write_u128(&mut self, print: u128) {
        #[expect(clippy::cast_possible_truncation, reason = "half of a fingerprint is enough for a bucket")]
        let half = print as u64;
        self.0 = half;
    }
}

type Table<K, V> = HashMap<K, V, BuildHasherDefault<AsItIs>>;

/// The one true history, as far as anyone has seen it: who led in each term, and what leaders have committed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct History {
    /// For each term the leader's slot, plus one.
    pub(crate) leaders: [u8; Bounds::TERMS_MAX as usize + 1],
    /// Each committed entry, with the term of the leader that committed it.
    pub(crate) committed: SmallVec<[(EntryId, Term); 4]>,
}

impl History {
    fn fingerprint(&self, names: &[(NodeId, u64)]) -> u128 {
        let mut print = Fingerprint::new(names);
        print.word(8);
        for leader in self.leaders {
            let leader = usize::from(leader).checked_sub(1).map(node);
            print.maybe_node(leader);
        }
        for (id, term) in &self.committed {
            print.entry_id(*id);
            print.term(*term);
        }
        print.finish()
    }
}

/// What the explorer needs to know of a server at every turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub(crate) term: Term,
    pub(crate) durable_term: Term,
    pub(crate) role: RoleKind,
    /// For whose sake it refuses requests for votes.
    pub(crate) live_leader: Option<NodeId>,
    pub(crate) outstanding: u8,
    pub(crate) can_compact: bool,
    /// A transfer waits.
    pub(crate) is_transferring: bool,
    pub(crate) is_wiped: bool,
}

impl Facts {
    fn of(local: &Local) -> Facts {
        let status = local.raft.status();
        Facts {
            term: status.term(),
            durable_term: local.image.hard_state.term,
            role: status.role(),
            live_leader: status.live_leader(),
            outstanding: u8::try_from(local.outstanding.len()).unwrap_or(u8::MAX),
            can_compact: status.applied() > status.snapshot().last.index,
            is_transferring: local.requests.is_transferring(),
            is_wiped: local.lost.is_some(),
        }
    }
}

/// What of the cluster's rules an act may touch.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Touched {
    pub(crate) leads: bool,
    pub(crate) commits: bool,
    pub(crate) log: bool,
    /// What is durable, or what a leader takes as durable elsewhere.
    pub(crate) promises: bool,
    /// What decides which mail is still of use.
    pub(crate) hears: bool,
}

/// What comes of an act.
pub(crate) struct Outcome {
    pub(crate) next: u32,
    pub(crate) sent: SmallVec<[u32; 4]>,
    pub(crate) touched: Touched,
}

/// What may happen to a server, with mail by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    Campaign,
    Heartbeat,
    StepDown,
    Start,
    Compact,
    /// With the last index that is known to be committed.
    Read(u8),
    /// To the server in this slot.
    Transfer(u8),
    Change,
    GiveUp,
    Wipe,
    Persist(u8),
    Crash(u8),
    Receive(u32),
    ReceiveInSilence(u32),
    Lose(u32),
}

impl Deed {
    pub(crate) fn mail(self) -> Option<u32> {
        match self {
            Deed::Receive(mail) | Deed::ReceiveInSilence(mail) | Deed::Lose(mail) => Some(mail),
            _ => None,
        }
    }

    fn key(self, local: u32, late: bool) -> u64 {
        let (kind, argument) = match self {
            Deed::Campaign => (0, 0),
            Deed::Heartbeat => (1, 0),
            Deed::StepDown => (2, 0),
            Deed::Start => (3, 0),
            Deed::Compact => (4, 0),
            Deed::Persist(count) => (5, u32::from(count)),
            Deed::Crash(kept) => (6, u32::from(kept)),
            Deed::Receive(mail) => (7, mail),
            Deed::ReceiveInSilence(mail) => (8, mail),
            Deed::Lose(mail) => (9, mail),
            Deed::Read(told) => (10, u32::from(told)),
            Deed::Transfer(to) => (11, u32::from(to)),
            Deed::Change => (12, 0),
            Deed::GiveUp => (13, 0),
            Deed::Wipe => (14, 0),
        };
        u64::from(local) << 32 | u64::from(argument) << 5 | kind << 1 | u64::from(late)
    }
}

/// Everything that was met.
pub(crate) struct Tables {
    pub(crate) bounds: Bounds,
    pub(crate) locals: Vec<Local>,
    pub(crate) local_prints: Vec<Prints>,
    pub(crate) facts: Vec<Facts>,
    local_ids: Table<u128, u32>,
    pub(crate) mails: Vec<Mail>,
    pub(crate) mail_prints: Vec<Prints>,
    mail_ids: Table<u128, u32>,
    pub(crate) histories: Vec<History>,
    pub(crate) history_prints: Vec<Prints>,
    history_ids: Table<History, u32>,
    outcomes: Vec<Result<Outcome, Box<Violation>>>,
    outcome_ids: Table<u64, u32>,
}

fn prints_of(bounds: &Bounds, by_names: impl Fn(&[(NodeId, u64)]) -> u128) -> Prints {
    let first = by_names(&NAMES[0]);
    let mut prints = [first; MIRRORS];
    for (print, names) in prints.iter_mut().zip(&NAMES).skip(1).filter(|_| bounds.symmetry) {
        *print = by_names(names);
    }
    prints
}

fn number(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

impl Tables {
    pub(crate) fn new(bounds: Bounds) -> Tables {
        Tables {
            bounds,
            locals: Vec::new(),
            local_prints: Vec::new(),
            facts: Vec::new(),
            local_ids: Table::default(),
            mails: Vec::new(),
            mail_prints: Vec::new(),
            mail_ids: Table::default(),
            histories: Vec::new(),
            history_prints: Vec::new(),
            history_ids: Table::default(),
            outcomes: Vec::new(),
            outcome_ids: Table::default(),
        }
    }

    pub(crate) fn outcomes_met(&self) -> usize {
        self.outcomes.len()
    }

    pub(crate) fn local(&mut self, local: Local) -> u32 {
        let print = local.fingerprint(&NAMES[0]);
        if let Some(known) = self.local_ids.get(&print) {
            return *known;
        }
        let id = number(self.locals.len());
        self.local_ids.insert(print, id);
        self.local_prints.push(prints_of(&self.bounds, |names| local.fingerprint(names)));
        self.facts.push(Facts::of(&local));
        self.locals.push(local);
        id
    }

    pub(crate) fn mail(&mut self, mail: Mail) -> u32 {
        let print = mail.fingerprint(&NAMES[0]);
        if let Some(known) = self.mail_ids.get(&print) {
            return *known;
        }
        let id = number(self.mails.len());
        self.mail_ids.insert(print, id);
        self.mail_prints.push(prints_of(&self.bounds, |names| mail.fingerprint(names)));
        self.mails.push(mail);
        id
    }

    pub(crate) fn history(&mut self, history: &History) -> u32 {
        if let Some(known) = self.history_ids.get(history) {
            return *known;
        }
        let id = number(self.histories.len());
        self.history_ids.insert(history.clone(), id);
        self.history_prints.push(prints_of(&self.bounds, |names| history.fingerprint(names)));
        self.histories.push(history.clone());
        id
    }

    pub(crate) fn act(&self, deed: Deed) -> Act<'_> {
        let mail = |id: u32| &self.mails[id as usize];
        match deed {
            Deed::Campaign => Act::Campaign,
            Deed::Heartbeat => Act::Heartbeat,
            Deed::StepDown => Act::StepDown,
            Deed::Start => Act::Start,
            Deed::Compact => Act::Compact,
            Deed::Read(told) => Act::Read(Index(u64::from(told))),
            Deed::Transfer(to) => Act::Transfer(node(usize::from(to))),
            Deed::Change => Act::Change,
            Deed::GiveUp => Act::GiveUp,
            Deed::Wipe => Act::Wipe,
            Deed::Persist(count) => Act::Persist(usize::from(count)),
            Deed::Crash(kept) => Act::Crash(usize::from(kept)),
            Deed::Receive(id) => Act::Receive(mail(id)),
            Deed::ReceiveInSilence(id) => Act::ReceiveInSilence(mail(id)),
            Deed::Lose(id) => Act::Lose(mail(id)),
        }
    }

    /// What comes of it when `deed` happens to a server. The core is asked once.
    pub(crate) fn outcome(&mut self, local: u32, deed: Deed, late: bool) -> Result<&Outcome, &Violation> {
        let key = deed.key(local, late);
        let id = match self.outcome_ids.get(&key) {
            Some(known) => *known,
            None => {
                let outcome = self.ask(local, deed, late);
                self.outcomes.push(outcome);
                let id = number(self.outcomes.len() - 1);
                self.outcome_ids.insert(key, id);
                id
            }
        };
        self.outcomes[id as usize].as_ref().map_err(|violation| &**violation)
    }

    fn ask(&mut self, local: u32, deed: Deed, late: bool) -> Verdict<Outcome> {
        let before = &self.locals[local as usize];
        let effect = before.act(self.act(deed), late, &self.bounds)?;
        let touched = touched(before, &effect.local);
        let next = self.local(effect.local);
        let sent = effect.sent.into_iter().map(|mail| self.mail(mail)).collect();
        Ok(Outcome { next, sent, touched })
    }

    /// Whether nobody will ever look at this mail again: a reply of a term that its receiver has durably left, or to a
    /// question of a role that it cannot have again in that term. That it changes nothing today is tried, not believed.
    pub(crate) fn is_spent(&mut self, mail: u32, receiver: u32) -> bool {
        let facts = self.facts[receiver as usize];
        let Content::Message(Message { term, rpc, .. }) = &self.mails[mail as usize].content else { return false };
        let (term, leads) = (*term, facts.role == RoleKind::Leader && facts.term == *term);
        let over = match rpc {
            Rpc::RequestVoteReply { .. } => {
                term < facts.durable_term
                    || term == facts.durable_term && !(facts.role == RoleKind::Candidate && facts.term == term)
            }
            Rpc::AppendEntriesReply { .. } => {
                let may_lead = facts.role == RoleKind::Candidate && facts.term == term;
                term <= facts.durable_term && !leads && !may_lead
            }
            Rpc::PreVoteReply { .. } => term < facts.durable_term,
            // These are looked at in their own term only.
            Rpc::TimeoutNow { .. } | Rpc::ReadIndex { .. } | Rpc::ReadIndexReply { .. } => term < facts.durable_term,
            Rpc::PreVote { .. } | Rpc::RequestVote { .. } | Rpc::AppendEntries { .. } => false,
        };
        let does_nothing = |outcome: &Outcome| outcome.next == receiver && outcome.sent.is_empty();
        over && self.outcome(receiver, Deed::Receive(mail), true).is_ok_and(does_nothing)
    }

    pub(crate) fn slots(&self, mail: u32) -> (usize, usize) {
        let mail = &self.mails[mail as usize];
        // Mail travels between the three only.
        (slot(mail.from).unwrap_or(0), slot(mail.to).unwrap_or(0))
    }
}

fn touched(before: &Local, after: &Local) -> Touched {
    let (old, new) = (before.raft.status(), after.raft.status());
    let facts = |local: &Local| {
        let Facts { term, durable_term, role, .. } = Facts::of(local);
        (term, durable_term, role)
    };
    Touched {
        leads: new.role() == RoleKind::Leader && (old.role() != RoleKind::Leader || old.term() != new.term()),
        commits: new.commit() > old.commit(),
        log: log_of(old) != log_of(new) || !before.image.entries().eq(&after.image.entries()),
        promises: matched(old) != matched(new)
            || before.image.hard_state.term != after.image.hard_state.term
            || !before.image.entries().eq(&after.image.entries())
            || before.image.snapshot.last != after.image.snapshot.last,
        hears: facts(before) != facts(after),
    }
}

fn matched(status: Status<'_>) -> SmallVec<[EntryId; 2]> {
    status.followers().map(|follower| follower.matched).collect()
}

fn log_of(status: Status<'_>) -> (EntryId, SmallVec<[Term; 4]>) {
    let terms = (status.first_index().0..=status.last().index.0).filter_map(|index| status.term_at(Index(index)));
    (status.snapshot().last, terms.collect())
}
