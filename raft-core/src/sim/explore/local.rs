//! One server of a small world: the real core with its disk, and what happens to it. Its application is prompt.

use std::collections::VecDeque;
use std::vec;
use std::vec::Vec;

use super::bounds::{Bounds, node};
use super::mail::{Content, Mail, loss, receipt};
use super::requests::{self, Requests};
use super::rules;
use super::stages::DISK;
use crate::fingerprint::Fingerprint;
use crate::sim::disk::Image;
use crate::sim::violation::{Invariant, Verdict, broken};
use crate::{
    Action, Bytes, Config, EntryId, Event, Incarnation, Index, Membership, Message, NodeId, Raft, Restored, RoleKind,
    Rpc, SnapshotMeta, Status, Term, Write,
};

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
    /// A client asks for a read; any leader has committed through this index before.
    Read(Index),
    /// Leadership is to be transferred to this server.
    Transfer(NodeId),
    /// An operator asks for the change that this world has.
    Change,
    /// A transfer that it was asked for has taken too long.
    GiveUp,
    /// Its disk is lost: it starts again with an empty one, under its id.
    Wipe,
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
    /// The newest vote that it has shown to others, in whatever life on this disk.
    pub(crate) vote_shown: (Term, Option<NodeId>),
    /// Which disk it is on.
    pub(crate) disk: Incarnation,
    /// Which start of the server this is; told apart only where reads are asked for.
    boot: u64,
    /// What its clients wait for.
    pub(crate) requests: Requests,
    /// The disk that it lost, as it was then: what it had promised stays promised.
    pub(crate) lost: Option<(Incarnation, Image)>,
}

/// What came of an act.
pub(crate) struct Effect {
    pub(crate) local: Local,
    pub(crate) sent: Vec<Mail>,
}

impl Local {
    pub(crate) fn new(slot: usize, bounds: &Bounds) -> Verdict<Local> {
        Local::of(slot, bounds.stage.membership(), bounds)
    }

    /// A server that begins with this configuration.
    pub(crate) fn of(slot: usize, membership: Membership, bounds: &Bounds) -> Verdict<Local> {
        let image = Image::new(SnapshotMeta { last: EntryId::ZERO, membership: membership.into() });
        let raft = start(&image, node(slot), (DISK, 1), bounds)?;
        let (outstanding, requests) = (VecDeque::new(), Requests::default());
        let vote_shown = (Term(0), None);
        let mut local = Local { raft, image, outstanding, vote_shown, disk: DISK, boot: 1, requests, lost: None };
        local.raft.rewind_clocks();
        Ok(local)
    }

    pub(crate) fn id(&self) -> NodeId {
        self.raft.status().id()
    }

    /// What this server has promised, on whatever disk.
    pub(crate) fn disks(&self) -> impl Iterator<Item = (Incarnation, &Image)> {
        let lost = self.lost.iter().map(|(disk, image)| (*disk, image));
        lost.chain([(self.disk, &self.image)])
    }

    pub(crate) fn fingerprint(&self, names: &[(NodeId, u64)]) -> u128 {
        let Local { raft, image, outstanding, vote_shown: (term, vote), disk, boot, requests, lost } = self;
        let mut print = Fingerprint::new(names);
        print.wide(raft.fingerprint(names));
        print_image(&mut print, image);
        print.words([disk.0, *boot]);
        requests.fingerprint(&mut print);
        print.set(lost, |print, (disk, image)| {
            print.word(disk.0);
            print_image(print, image);
        });
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
            // Of the pre-votes that a campaign is granted, as many as it takes.
            let role = run.local.raft.status().role();
            if !matches!(event, Event::Receive { .. }) || act != Act::Campaign || role == RoleKind::PreCandidate {
                run.feed(event)?;
            }
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
        if !matches!(act, Act::Crash(_) | Act::Wipe) {
            bounds.heed(rules::lived(&self.raft, &after.raft))?;
            bounds.heed(rules::campaigns(self, &after.raft))?;
            bounds.heed(rules::changes(&self.raft, &after.raft))?;
            bounds.heed(requests::is_quiet(self, &after))?;
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
pub(crate) fn start(
    image: &Image,
    id: NodeId,
    (incarnation, boot): (Incarnation, u64),
    bounds: &Bounds,
) -> Verdict<Raft> {
    let restored = Restored {
        incarnation,
        boot,
        hard_state: image.hard_state,
        snapshot: image.snapshot.clone(),
        entries: image.entries(),
        ..Restored::default()
    };
    let config = Config { id, ..bounds.config(0) };
    Raft::new(config, restored).or_else(|error| broken(Invariant::Restart, std::format!("{error}")))
}

fn print_image(print: &mut Fingerprint<'_>, image: &Image) {
    image.hard_state.fingerprint(print);
    image.snapshot.fingerprint(print);
    image.entries().fingerprint(print);
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
                let mut events = vec![Event::Tick { elapsed: 0 }];
                if !bounds.pre_votes {
                    events.extend(pre_votes(status));
                }
                raft.pass_silence();
                raft.set_election_timeout(0);
                events
            }
            Act::Heartbeat => vec![Event::Tick { elapsed: 1 }],
            Act::StepDown => {
                raft.pass_silence();
                vec![Event::Tick { elapsed: 0 }]
            }
            Act::Start => {
                let next = EntryId { term: status.term(), index: status.last().index.next() };
                vec![Event::Start { request: requests::AT_ONCE, commands: [command(next)].into() }]
            }
            Act::Compact => vec![Event::Compact { index: status.applied() }],
            Act::Persist(writes) => vec![self.persist(writes)],
            Act::Crash(kept) => {
                let _ = self.persist(kept);
                restart(self.local, bounds)?;
                vec![Event::Tick { elapsed: 0 }]
            }
            Act::Wipe => {
                lose_disk(self.local);
                restart(self.local, bounds)?;
                vec![Event::Tick { elapsed: 0 }]
            }
            Act::Read(told) => vec![Event::Read { request: self.local.requests.read(told) }],
            Act::Transfer(to) => {
                let request = self.local.requests.transfer(status.term());
                vec![Event::Transfer { request, to: Some(to) }]
            }
            Act::Change => {
                vec![Event::Change { request: requests::AT_ONCE, change: bounds.stage.change().into() }]
            }
            Act::GiveUp => {
                raft.lose_patience();
                vec![Event::Tick { elapsed: 0 }]
            }
            Act::Receive(mail) => vec![receipt(mail)],
            Act::ReceiveInSilence(mail) => {
                raft.pass_silence();
                vec![receipt(mail)]
            }
            Act::Lose(mail) => vec![loss(mail)],
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
                self.bounds.heed(requests::hands_over(self.local, to, &message))?;
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
            Action::Readable { request, at } => {
                self.bounds.heed(requests::readable(self.local, request, at))?;
            }
            Action::Transferred { request, leader } => {
                self.bounds.heed(requests::transferred(self.local, request, leader))?;
            }
            Action::Refused { request, .. } => self.bounds.heed(self.local.requests.refused(request))?,
            Action::Discard(_) | Action::Accepted { .. } | Action::News(_) => {}
            Action::Fetch { id, .. } => return broken(Invariant::WriteThrough, std::format!("fetches {id}")),
        }
        Ok(None)
    }
}

/// The disk is replaced by an empty one. What the lost one had promised is remembered.
fn lose_disk(local: &mut Local) {
    let image = Image::new(SnapshotMeta::default());
    local.lost = Some((local.disk, core::mem::replace(&mut local.image, image)));
    (local.disk, local.vote_shown) = (Incarnation::joined(DISK.0), (Term(0), None));
}

/// It starts again with what its disk has kept, and nobody waits for it any more.
fn restart(local: &mut Local, bounds: &Bounds) -> Verdict {
    local.outstanding.clear();
    local.requests = Requests::default();
    local.boot += u64::from(bounds.reads > 0);
    local.raft = start(&local.image, local.id(), (local.disk, local.boot), bounds)?;
    bounds.heed(rules::restarted(local))
}

/// All voters of the configuration in force grant a pre-vote.
fn pre_votes(status: Status<'_>) -> Vec<Event> {
    let voters = status.membership().members().iter().filter(|member| member.votes() && member.id != status.id());
    let grants = voters.map(|voter| {
        let rpc = Rpc::PreVoteReply { granted: true };
        let incarnation = if voter.disk == Incarnation(0) { DISK } else { voter.disk };
        Event::Receive { from: voter.id, message: Message { term: status.term(), incarnation, rpc } }
    });
    grants.collect()
}
