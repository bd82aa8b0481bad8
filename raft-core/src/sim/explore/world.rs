//! Three servers and the network between them: what may happen next.

use std::vec::Vec;

use smallvec::SmallVec;

use super::SERVERS;
use super::bounds::{Bounds, Budget, Spent, node};
use super::judge::judge;
use super::local::Local;
use super::mail::{Content, Mail};
use super::tables::{Deed, History, MIRRORS, Prints, Tables, Touched};
use crate::sim::violation::Verdict;
use crate::{Message, RoleKind, Rpc};

/// A state of everything, by numbers in the tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct World {
    pub(crate) locals: [u32; SERVERS],
    pub(crate) history: u32,
    pub(crate) spent: Spent,
    /// Sorted, with doubles.
    pub(crate) mail: SmallVec<[u32; 8]>,
}

/// One thing that may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) slot: usize,
    pub(crate) deed: Deed,
    /// A write that finds the disk idle stays under way.
    pub(crate) late: bool,
    /// The message comes again later.
    pub(crate) again: bool,
}

/// How a world differs from the one before it.
pub(crate) struct Change {
    pub(crate) slot: usize,
    pub(crate) local: u32,
    pub(crate) history: u32,
    pub(crate) spent: Spent,
    pub(crate) gone: SmallVec<[u32; 8]>,
    pub(crate) come: SmallVec<[u32; 4]>,
}

impl World {
    pub(crate) fn first(tables: &mut Tables) -> Verdict<World> {
        let mut locals = [0; SERVERS];
        for (slot, id) in locals.iter_mut().enumerate() {
            let local = Local::new(slot, &tables.bounds)?;
            *id = tables.local(local);
        }
        let history = tables.history(&History::default());
        Ok(World { locals, history, spent: Spent::default(), mail: SmallVec::new() })
    }

    /// Everything that may happen next.
    pub(crate) fn choices(&self, tables: &Tables, choices: &mut Vec<Choice>) {
        choices.clear();
        for slot in 0..SERVERS {
            self.own_deeds(tables, slot, choices);
        }
        let mut before = None;
        for mail in self.mail.iter().copied().filter(|mail| before.replace(*mail) != Some(*mail)) {
            self.mail_deeds(tables, mail, choices);
        }
    }

    /// What a server does without mail.
    fn own_deeds(&self, tables: &Tables, slot: usize, choices: &mut Vec<Choice>) {
        let bounds = &tables.bounds;
        let facts = tables.facts[self.locals[slot] as usize];
        let leads = facts.role == RoleKind::Leader;
        let may = |budget| bounds.allow(self.spent, budget);
        let mut deeds: SmallVec<[Deed; 12]> = SmallVec::new();
        if !leads && facts.term.0 < u64::from(bounds.terms) && may(Budget::Campaigns) {
            deeds.push(Deed::Campaign);
        }
        if facts.role != RoleKind::Follower && may(Budget::Heartbeats) {
            deeds.push(Deed::Heartbeat);
        }
        if leads && may(Budget::StepDowns) {
            deeds.push(Deed::StepDown);
        }
        if leads && may(Budget::Commands) {
            deeds.push(Deed::Start);
        }
        if facts.can_compact && may(Budget::Compactions) {
            deeds.push(Deed::Compact);
        }
        self.requests(tables, slot, &mut deeds);
        deeds.extend((1..=facts.outstanding).map(Deed::Persist));
        if may(Budget::Crashes) {
            deeds.extend((0..=facts.outstanding).map(Deed::Crash));
        }
        for deed in deeds {
            self.offer(tables, Choice { slot, deed, late: false, again: false }, choices);
        }
    }

    /// What clients, operators and bad luck do to a server.
    fn requests(&self, tables: &Tables, slot: usize, deeds: &mut SmallVec<[Deed; 12]>) {
        let facts = tables.facts[self.locals[slot] as usize];
        let may = |budget| tables.bounds.allow(self.spent, budget);
        if may(Budget::Reads) {
            let committed = tables.histories[self.history as usize].committed.len();
            deeds.push(Deed::Read(u8::try_from(committed).unwrap_or(u8::MAX)));
        }
        if !facts.is_transferring && may(Budget::Transfers) {
            let others = (0..SERVERS).filter(|other| *other != slot);
            deeds.extend(others.map(|other| Deed::Transfer(u8::try_from(other).unwrap_or(u8::MAX))));
        }
        if facts.role == RoleKind::Leader && may(Budget::Changes) {
            deeds.push(Deed::Change);
        }
        if facts.is_transferring {
            deeds.push(Deed::GiveUp);
        }
        if !facts.is_wiped && may(Budget::Wipes) {
            deeds.push(Deed::Wipe);
        }
    }

    fn mail_deeds(&self, tables: &Tables, mail: u32, choices: &mut Vec<Choice>) {
        let (from, slot) = tables.slots(mail);
        let facts = tables.facts[self.locals[slot] as usize];
        let content = &tables.mails[mail as usize].content;
        let asks = match content {
            Content::Message(Message { rpc: Rpc::PreVote { .. } | Rpc::RequestVote { .. }, term, .. }) => {
                let hears_other = facts.live_leader.is_some_and(|leader| leader != node(from));
                hears_other && (facts.role != RoleKind::Leader || *term > facts.term)
            }
            _ => false,
        };
        if let Content::Message(Message { rpc: Rpc::TimeoutNow { .. }, term, .. }) = content
            && term.0 >= u64::from(tables.bounds.terms)
        {
            return; // No campaign leads beyond.
        }
        let mut deeds: SmallVec<[Deed; 2]> = SmallVec::new();
        if !asks || tables.bounds.leases {
            deeds.push(Deed::Receive(mail));
        }
        if asks {
            deeds.push(Deed::ReceiveInSilence(mail));
        }
        for deed in deeds {
            self.offer(tables, Choice { slot, deed, late: false, again: false }, choices);
            if tables.bounds.allow(self.spent, Budget::Duplicates) {
                self.offer(tables, Choice { slot, deed, late: false, again: true }, choices);
            }
        }
        if let Content::Snapshot { .. } = content {
            let deed = Deed::Lose(mail);
            self.offer(tables, Choice { slot: from, deed, late: false, again: false }, choices);
        }
    }

    /// Offer a choice with its writes done at once, late, or both.
    fn offer(&self, tables: &Tables, choice: Choice, choices: &mut Vec<Choice>) {
        if tables.bounds.late_writes != Bounds::ALWAYS {
            choices.push(choice);
        }
        if tables.bounds.late_writes == Bounds::ALWAYS || tables.bounds.allow(self.spent, Budget::LateWrites) {
            choices.push(Choice { late: true, ..choice });
        }
    }

    /// What comes of a choice; nothing, if it is no choice.
    pub(crate) fn change(&self, tables: &mut Tables, choice: Choice) -> Verdict<Option<Change>> {
        let Choice { slot, deed, late, again } = choice;
        let before = self.locals[slot];
        let outcome =
            tables.outcome(before, deed, late).map_err(|violation| std::boxed::Box::new(violation.clone()))?;
        let (local, touched) = (outcome.next, outcome.touched);
        let mut come = outcome.sent.clone();
        let (was, is) = (tables.facts[before as usize].outstanding, tables.facts[local as usize].outstanding);
        let emptied = deed == Deed::Persist(was) || matches!(deed, Deed::Crash(_) | Deed::Wipe);
        let held = late && is > 0 && (was == 0 || emptied);
        let always = tables.bounds.late_writes == Bounds::ALWAYS;
        if late && !held && !always || local == before && come.is_empty() && (deed.mail().is_none() || again) {
            return Ok(None);
        }
        let mut gone: SmallVec<[u32; 8]> = SmallVec::new();
        if let Some(mail) = deed.mail().filter(|_| !again) {
            gone.push(mail);
        }
        self.send_report(tables, deed, &mut come);
        if let Deed::Crash(_) | Deed::Wipe = deed {
            let mine = self.mail.iter().copied().filter(|mail| tables.slots(*mail).1 == slot);
            gone.extend(mine.filter(|mail| matches!(tables.mails[*mail as usize].content, Content::Report { .. })));
        }
        if tables.bounds.tidy {
            self.tidy(tables, slot, local, touched, &mut come, &mut gone);
        }
        let mut locals = self.locals;
        locals[slot] = local;
        let history = judge(tables, self.history, slot, before, &locals, touched)?;
        let spent = self.spend(choice, held && !always);
        Ok(Some(Change { slot, local, history, spent, gone, come }))
    }

    /// Who sent a snapshot hears that it has arrived.
    fn send_report(&self, tables: &mut Tables, deed: Deed, come: &mut SmallVec<[u32; 4]>) {
        let Deed::Receive(mail) = deed else { return };
        let Mail { from, to, content: Content::Snapshot { meta, .. } } = &tables.mails[mail as usize] else { return };
        let report = Mail { from: *to, to: *from, content: Content::Report { snapshot: meta.last } };
        come.push(tables.mail(report));
    }

    fn tidy(
        &self,
        tables: &mut Tables,
        slot: usize,
        local: u32,
        touched: Touched,
        come: &mut SmallVec<[u32; 4]>,
        gone: &mut SmallVec<[u32; 8]>,
    ) {
        come.retain(|mail| {
            let (_, to) = tables.slots(*mail);
            !tables.is_spent(*mail, self.locals[to])
        });
        if !touched.hears {
            return;
        }
        let mut before = None;
        for mail in self.mail.iter().copied().filter(|mail| before.replace(*mail) != Some(*mail)) {
            if tables.slots(mail).1 == slot && tables.is_spent(mail, local) {
                let copies = |mails: &[u32]| mails.iter().filter(|other| **other == mail).count();
                let left = copies(&self.mail) - copies(gone);
                gone.extend(core::iter::repeat_n(mail, left));
            }
        }
    }

    fn spend(&self, choice: Choice, held: bool) -> Spent {
        let budget = match choice.deed {
            Deed::Campaign => Some(Budget::Campaigns),
            Deed::Heartbeat => Some(Budget::Heartbeats),
            Deed::StepDown => Some(Budget::StepDowns),
            Deed::Start => Some(Budget::Commands),
            Deed::Compact => Some(Budget::Compactions),
            Deed::Crash(_) => Some(Budget::Crashes),
            Deed::Read(_) => Some(Budget::Reads),
            Deed::Transfer(_) => Some(Budget::Transfers),
            Deed::Change => Some(Budget::Changes),
            Deed::Wipe => Some(Budget::Wipes),
            Deed::GiveUp | Deed::Persist(_) | Deed::Receive(_) | Deed::ReceiveInSilence(_) | Deed::Lose(_) => None,
        };
        let mut spent = budget.map_or(self.spent, |budget| self.spent.with(budget));
        if choice.again {
            spent = spent.with(Budget::Duplicates);
        }
        if held { spent.with(Budget::LateWrites) } else { spent }
    }

    pub(crate) fn prints(&self, tables: &Tables) -> Prints {
        let mut sums = [spent_print(self.spent); MIRRORS];
        for local in self.locals {
            add(&mut sums, &tables.local_prints[local as usize]);
        }
        for mail in &self.mail {
            add(&mut sums, &tables.mail_prints[*mail as usize]);
        }
        add(&mut sums, &tables.history_prints[self.history as usize]);
        sums
    }

    /// The fingerprint of the world after `change`: the least of its mirrors'. `prints` are those of this one.
    pub(crate) fn print_after(&self, tables: &Tables, prints: &Prints, change: &Change) -> u128 {
        let mut sums = *prints;
        take(&mut sums, &tables.local_prints[self.locals[change.slot] as usize]);
        add(&mut sums, &tables.local_prints[change.local as usize]);
        for mail in &change.gone {
            take(&mut sums, &tables.mail_prints[*mail as usize]);
        }
        for mail in &change.come {
            add(&mut sums, &tables.mail_prints[*mail as usize]);
        }
        if change.history != self.history {
            take(&mut sums, &tables.history_prints[self.history as usize]);
            add(&mut sums, &tables.history_prints[change.history as usize]);
        }
        if change.spent != self.spent {
            take(&mut sums, &[spent_print(self.spent); MIRRORS]);
            add(&mut sums, &[spent_print(change.spent); MIRRORS]);
        }
        least(&sums)
    }

    pub(crate) fn after(&self, change: &Change) -> World {
        let mut next = self.clone();
        next.locals[change.slot] = change.local;
        (next.history, next.spent) = (change.history, change.spent);
        for mail in &change.gone {
            if let Ok(at) = next.mail.binary_search(mail) {
                next.mail.remove(at);
            }
        }
        for mail in &change.come {
            let at = next.mail.partition_point(|known| known < mail);
            next.mail.insert(at, *mail);
        }
        next
    }
}

fn add(sums: &mut Prints, prints: &Prints) {
    sums.iter_mut().zip(prints).for_each(|(sum, print)| *sum = sum.wrapping_add(*print));
}

fn take(sums: &mut Prints, prints: &Prints) {
    sums.iter_mut().zip(prints).for_each(|(sum, print)| *sum = sum.wrapping_sub(*print));
}

fn spent_print(spent: Spent) -> u128 {
    let mut print = crate::fingerprint::Fingerprint::new(&[]);
    print.word(9);
    print.words(spent.words());
    print.finish()
}

/// Of all mirrors of a state, one stands for it.
pub(crate) fn least(prints: &Prints) -> u128 {
    prints.iter().copied().min().unwrap_or(0)
}
