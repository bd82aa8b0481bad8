//! One server of a small world: the real core with its disk, and what happens to it. Its application is prompt.

use std::collections::VecDeque;
use std::vec;
use std::vec::Vec;

use super::SERVERS;
use super::bounds::{Bounds, node};
use super::rules;
use crate::fingerprint::Fingerprint;
use crate::sim::disk::Image;
use crate::sim::violation::{Invariant, Verdict, broken};
use crate::{
    Action, Bytes, Config, EntryId, Event, Incarnation, Index, Membership, Message, NodeId, Raft, RequestId, Restored,
    Rpc, SnapshotMeta, Term, Write,
};

/// What is on its way to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Message(Message),
    /// A snapshot with all its data.
    Snapshot {
        term: Term,
        meta: SnapshotMeta,
    },
    /// The transport's word to a leader that its snapshot has arrived.
    Report {
        snapshot: EntryId,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mail {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) content: Content,
}

impl Mail {
    pub(crate) fn fingerprint(&self, names: &[(NodeId, u64)]) -> u128 {
        let mut print = Fingerprint::new(names);
        print.word(7);
        print.node(self.from);
        print.node(self.to);
        match &self.content {
            Content::Message(message) => message.fingerprint(&mut print),
            Content::Snapshot { term, meta } => {
                print.words([u64::MAX, term.0]);
                meta.fingerprint(&mut print);
            }
            Content::Report { snapshot } => {
                print.words([u64::MAX, u64::MAX]);
                print.entry_id(*snapshot);
            }
        }
        print.finish()
    }
}

/// What may happen to one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act<'a> {
    /// Its election timer runs out; unless pre-votes travel, it has won its pre-vote too.
    Campaign,
    /// A heartbeat is due; or a candidate asks again.
    Heartbeat,
    /// A leader has heard no quorum for an election timeout.
    StepDown,
    Start,
    Compact,
    /// So many of the writes under way are done, and it hears of it.
    Persist(usize),
    /// It crashes and starts again; so many of the writes under way were done.
    Crash(usize),
    Receive(&'a Mail),
    /// As `Receive`, after an election timeout of silence.
    ReceiveInSilence(&'a Mail),
    /// A snapshot that it was sending got lost.
    Lose(&'a Mail),
}

/// A server and all that its driver holds for it.
#[derive(Clone, Debug)]
pub(crate) struct Local {
    pub(crate) raft: Raft,
    /// What survives a crash for certain.
    pub(crate) image: Image,
    /// What is under way to the disk.
    pub(crate) outstanding: VecDeque<Write>,
    /// The newest vote that it has shown to others, in whatever life.
    pub(crate) vote_shown: (Term, Option<NodeId>),
}

/// What came of an act.
pub(crate) struct Effect {
    pub(crate) local: Local,
    pub(crate) sent: Vec<Mail>,
}

impl Local {
    pub(crate) fn new(slot: usize, bounds: &Bounds) -> Verdict<Local> {
        Local::of(slot, Membership::new((0..SERVERS).map(node)), bounds)
    }

    /// A server that begins with this configuration.
    pub(crate) fn of(slot: usize, membership: Membership, bounds: &Bounds) -> Verdict<Local> {
        let image = Image::new(SnapshotMeta { last: EntryId::ZERO, membership: membership.into() });
        let raft = start(&image, node(slot), bounds)?;
        let mut local = Local { raft, image, outstanding: VecDeque::new(), vote_shown: (Term(0), None) };
        local.raft.rewind_clocks();
        Ok(local)
    }

    pub(crate) fn id(&self) -> NodeId {
        self.raft.status().id()
    }

    pub(crate) fn fingerprint(&self, names: &[(NodeId, u64)]) -> u128 {
        let Local { raft, image, outstanding, vote_shown: (term, vote) } = self;
        let mut print = Fingerprint::new(names);
        print.wide(raft.fingerprint(names));
        image.hard_state.fingerprint(&mut print);
        image.snapshot.fingerprint(&mut print);
        image.entries().fingerprint(&mut print);
        print.word(outstanding.len() as u64);
        outstanding.iter().for_each(|write| write.fingerprint(&mut print));
        print.term(*term);
        print.maybe_node(*vote);
        print.finish()
    }

    /// Let something happen, and carry out what the core asks for. `late`: a write that finds the disk idle stays under way.
    pub(crate) fn act(&self, act: Act<'_>, late: bool, bounds: &Bounds) -> Verdict<Effect> {
        let mut after = self.clone();
        let mut run = Run { local: &mut after, bounds, sent: Vec::new() };
        let events = run.events_of(act)?;
        let idle = run.local.outstanding.is_empty();
        for event in events {
            run.feed(event)?;
        }
        while idle && !late && !run.local.outstanding.is_empty() {
            let through = run.local.outstanding.len();
            let done = run.persist(through);
            run.feed(done)?;
        }
        let mut sent = run.sent;
        if !bounds.pre_votes {
            // Whoever campaigns has won: its questions were answered before they could travel.
            sent.retain(|mail| !matches!(&mail.content, Content::Message(Message { rpc: Rpc::PreVote { .. }, .. })));
        }
        if !bounds.leases {
            // Whoever is asked for a vote has heard no leader for long enough.
            after.raft.pass_silence();
        }
        after.raft.rewind_clocks();
        if !matches!(act, Act::Crash(_)) {
            bounds.heed(rules::lived(&self.raft, &after.raft))?;
        }
        if let Act::Receive(mail) | Act::ReceiveInSilence(mail) = act {
            bounds.heed(rules::grants(&self.raft, &after.raft, mail))?;
        }
        rules::leads(&mut after)?;
        bounds.heed(rules::stands(&after))?;
        Ok(Effect { local: after, sent })
    }
}

/// The core, made of what a disk kept. The application kept nothing.
pub(crate) fn start(image: &Image, id: NodeId, bounds: &Bounds) -> Verdict<Raft> {
    let restored = Restored {
        incarnation: Incarnation(1),
        boot: 1,
        hard_state: image.hard_state,
        snapshot: image.snapshot.clone(),
        entries: image.entries(),
        ..Restored::default()
    };
    let config = Config { id, ..bounds.config(0) };
    Raft::new(config, restored).or_else(|error| broken(Invariant::Restart, std::format!("{error}")))
}

/// A command names the entry that it becomes, so that no two entries have the same.
pub(crate) fn command(id: EntryId) -> Bytes {
    Bytes::from(vec![id.term.0.to_le_bytes()[0], id.index.0.to_le_bytes()[0]])
}

/// A server while something happens to it.
struct Run<'a> {
    local: &'a mut Local,
    bounds: &'a Bounds,
    sent: Vec<Mail>,
}

impl Run<'_> {
    /// What the core is told of an act, after its surroundings have changed.
    fn events_of(&mut self, act: Act<'_>) -> Verdict<Vec<Event>> {
        let bounds = self.bounds;
        let raft = &mut self.local.raft;
        let status = raft.status();
        let events = match act {
            Act::Campaign => {
                let voter = (0..SERVERS).map(node).find(|id| *id != status.id()).unwrap_or_default();
                let reply = Rpc::PreVoteReply { granted: true };
                let message = Message { term: status.term(), incarnation: Incarnation(1), rpc: reply };
                raft.pass_silence();
                raft.set_election_timeout(0);
                let mut events = vec![Event::Tick { elapsed: 0 }];
                if !bounds.pre_votes {
                    events.push(Event::Receive { from: voter, message });
                }
                events
            }
            Act::Heartbeat => vec![Event::Tick { elapsed: 1 }],
            Act::StepDown => {
                raft.pass_silence();
                vec![Event::Tick { elapsed: 0 }]
            }
            Act::Start => {
                let next = EntryId { term: status.term(), index: status.last().index.next() };
                vec![Event::Start { request: RequestId(1), commands: [command(next)].into() }]
            }
            Act::Compact => vec![Event::Compact { index: status.applied() }],
            Act::Persist(writes) => vec![self.persist(writes)],
            Act::Crash(kept) => {
                let _ = self.persist(kept);
                let local = &mut *self.local;
                local.outstanding.clear();
                local.raft = start(&local.image, local.id(), bounds)?;
                bounds.heed(rules::restarted(local))?;
                vec![Event::Tick { elapsed: 0 }]
            }
            Act::Receive(mail) => vec![receipt(mail)],
            Act::ReceiveInSilence(mail) => {
                raft.pass_silence();
                vec![receipt(mail)]
            }
            Act::Lose(mail) => {
                let snapshot = match &mail.content {
                    Content::Snapshot { meta, .. } => meta.last,
                    Content::Message(_) | Content::Report { .. } => EntryId::ZERO,
                };
                vec![Event::SnapshotSent { to: mail.to, snapshot, delivered: false }]
            }
        };
        Ok(events)
    }

    /// The oldest `count` writes become durable, and the newest of them is to be confirmed.
    fn persist(&mut self, count: usize) -> Event {
        let mut newest = crate::WriteId(0);
        for write in self.local.outstanding.drain(..count) {
            if !self.bounds.lying_disks {
                self.local.image.take(&write);
            }
            newest = write.id;
        }
        Event::Persisted(newest)
    }

    /// One step of the core. The application applies at once what it is handed.
    fn feed(&mut self, event: Event) -> Verdict {
        let mut due = VecDeque::from([event]);
        while let Some(event) = due.pop_front() {
            let mut handed = self.local.raft.status().handed_out();
            let actions = self.local.raft.step(event);
            for action in actions {
                if let Some(applied) = self.carry_out(action, &mut handed)? {
                    due.push_back(Event::Applied(applied));
                }
            }
        }
        Ok(())
    }

    /// A member need not exist: what is sent to it is lost.
    fn send(&mut self, mail: Mail) {
        if super::bounds::slot(mail.to).is_some() {
            self.sent.push(mail);
        }
    }

    fn carry_out(&mut self, action: Action, handed: &mut Index) -> Verdict<Option<Index>> {
        let from = self.local.id();
        match action {
            Action::Send { to, message } => {
                self.bounds.heed(rules::sends(self.local, to, &message))?;
                rules::votes(self.local, to, &message)?;
                self.send(Mail { from, to, content: Content::Message(message) });
            }
            Action::Persist(write) => self.local.outstanding.push_back(write),
            Action::SendSnapshot { to, term, snapshot } => {
                let content = Content::Snapshot { term, meta: snapshot };
                self.send(Mail { from, to, content });
            }
            Action::Apply(entries) => {
                self.bounds.heed(rules::applies(self.local, *handed, &entries))?;
                *handed = entries.last().map_or(*handed, |last| last.index);
                return Ok(Some(*handed));
            }
            Action::Restore(snapshot) => {
                self.bounds.heed(rules::restores(self.local, &snapshot))?;
                *handed = snapshot.last.index;
                return Ok(Some(*handed));
            }
            Action::Halt { why } => return broken(Invariant::NoHalt, std::format!("server {from} halts: {why}")),
            Action::Discard(_)
            | Action::Accepted { .. }
            | Action::Readable { .. }
            | Action::Transferred { .. }
            | Action::Refused { .. }
            | Action::News(_) => {}
            Action::Fetch { id, .. } => return broken(Invariant::WriteThrough, std::format!("fetches {id}")),
        }
        Ok(None)
    }
}

/// What a server is told when mail arrives.
fn receipt(mail: &Mail) -> Event {
    let from = mail.from;
    match &mail.content {
        Content::Message(message) => Event::Receive { from, message: message.clone() },
        Content::Snapshot { term, meta } => Event::SnapshotReceived { from, term: *term, snapshot: meta.clone() },
        Content::Report { snapshot } => Event::SnapshotSent { to: from, snapshot: *snapshot, delivered: true },
    }
}
