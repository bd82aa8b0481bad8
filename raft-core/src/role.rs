//! Figure 2's roles, each with what only it has: a transition is a new value, so nothing stale survives one.

use alloc::vec::Vec;

use crate::action::RoleKind;
#[cfg(feature = "sim")]
use crate::fingerprint::Fingerprint;
use crate::membership::Membership;
use crate::progress::{CatchUp, Farewell, Flow, Progress};
use crate::server::Server;
use crate::types::{EntryId, Incarnation, Index, NodeId, ServerId};

/// Follows a leader, or waits for one.
#[derive(Clone, Debug)]
pub(crate) struct Follower {
    /// This term's leader, once it was heard.
    pub(crate) leader: Option<NodeId>,
    /// When to campaign, if nothing is heard until then.
    pub(crate) deadline: u64,
    /// Until when the candidate that it voted for has time to win.
    pub(crate) waits_until: u64,
    /// Our log is known to be the leader's through here; at first, what is committed (Leader Completeness, §5.4.3).
    pub(crate) verified: Index,
    /// The newest round of the leader's.
    pub(crate) round: u64,
    /// From when on it answers its leader again while a message is still arriving.
    pub(crate) answers_arriving_at: u64,
}

impl Follower {
    /// Nothing is heard yet.
    pub(crate) fn new(server: &Server, deadline: u64) -> Follower {
        let verified = server.commit;
        Follower { leader: None, deadline, waits_until: 0, verified, round: 0, answers_arriving_at: 0 }
    }

    /// The leader was heard.
    pub(crate) fn hear(&mut self, server: &mut Server, leader: NodeId) {
        server.role_changed |= self.leader != Some(leader);
        self.leader = Some(leader);
        server.heard = Some((leader, server.now));
        self.put_off_election(server);
    }

    pub(crate) fn put_off_election(&mut self, server: &Server) {
        self.deadline = server.now + u64::from(server.timeout);
    }
}

/// How far a campaign has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Asking whether a campaign could be won (thesis §9.6). The term is still the old one, and a campaign in it that is
    /// not decided goes on: votes may be on their way, behind the voters' disks.
    PreVote,
    /// In the new term; own vote and log tail are not yet durable, so nobody is asked and nothing counted.
    Voted { durable_after: u64 },
    /// Asking for votes (§5.2).
    Asking,
}

/// Campaigns for leadership.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) stage: Stage,
    /// The newest answers to whether one would vote for us in the next term; until when a rival has time to answer first.
    pub(crate) pre_votes: Votes,
    pub(crate) waits_until: u64,
    /// Whether votes were asked for in this term, and the answers so far.
    pub(crate) asked: bool,
    pub(crate) votes: Votes,
    /// When to ask those again who have not answered.
    pub(crate) ask_again_at: u64,
    /// When to begin anew.
    pub(crate) deadline: u64,
    /// The leader asked for this campaign (thesis §3.10).
    pub(crate) transfer: bool,
}

impl Candidate {
    pub(crate) fn new(server: &Server, stage: Stage) -> Candidate {
        Candidate {
            stage,
            pre_votes: Votes::default(),
            waits_until: server.now + u64::from(server.config.heartbeat_ticks),
            asked: false,
            votes: Votes::default(),
            ask_again_at: server.now + u64::from(server.config.heartbeat_ticks),
            deadline: server.now + u64::from(server.timeout),
            transfer: false,
        }
    }
}

/// The answers of voters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Votes(Vec<(NodeId, bool)>);

impl Votes {
    pub(crate) fn of(&self, voter: NodeId) -> Option<bool> {
        self.0.iter().find(|(id, _)| *id == voter).map(|(_, granted)| *granted)
    }

    /// The first answer of a voter stands.
    pub(crate) fn count(&mut self, voter: NodeId, granted: bool) {
        if self.of(voter).is_none() {
            self.0.push((voter, granted));
        }
    }

    /// A voter that granted does so no longer.
    pub(crate) fn withdraw(&mut self, voter: NodeId) {
        self.0.iter_mut().filter(|(id, _)| *id == voter).for_each(|(_, granted)| *granted = false);
    }

    /// The newest answer of a voter stands.
    pub(crate) fn set(&mut self, voter: NodeId, granted: bool) {
        match self.0.iter_mut().find(|(id, _)| *id == voter) {
            Some((_, answer)) => *answer = granted,
            None => self.0.push((voter, granted)),
        }
    }

    /// Votes are a set: in what order they came means nothing.
    #[cfg(feature = "sim")]
    fn fingerprint(&self, print: &mut Fingerprint<'_>) {
        print.set(&self.0, |print, (voter, granted)| {
            print.node(*voter);
            print.flag(*granted);
        });
    }
}

/// A leader hands over (thesis §3.10).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handover {
    /// The server that is to lead, on the disk that the leader knows.
    pub(crate) target: ServerId,
    /// The round of the newest heartbeat with which it was asked to campaign; 0 before that.
    pub(crate) told_in: u64,
}

/// Leads: Figure 2's "volatile state on leaders".
#[derive(Clone, Debug)]
pub(crate) struct Leader {
    /// The other members, and servers that left and are being told so, in order of their ids.
    pub(crate) followers: Vec<Progress>,
    /// When the next heartbeat is due.
    pub(crate) heartbeat_at: u64,
    /// Counts heartbeats, and the rounds between them that confirm reads.
    pub(crate) round: u64,
    /// Leadership is being transferred.
    pub(crate) handover: Option<Handover>,
}

impl Leader {
    /// Nothing is known of anyone; a heartbeat is due at once (§5.2).
    pub(crate) fn new(server: &Server) -> Leader {
        let mut leader = Leader { followers: Vec::new(), heartbeat_at: server.now, round: 0, handover: None };
        // Servers that left with a configuration that may not be committed are still to be told.
        if server.history.current_index() > server.commit
            && let Some(previous) = server.history.previous()
        {
            leader.match_members(server, previous);
        }
        leader.match_members(server, server.membership());
        leader
    }

    /// Follow the configuration: what is known of a member stays known whatever it becomes, new members are probed, and
    /// servers that left are seen off.
    pub(crate) fn match_members(&mut self, server: &Server, membership: &Membership) {
        let (last, now) = (server.log.last().index, server.now);
        let mut known = core::mem::take(&mut self.followers).into_iter().peekable();
        let mut leaves = |mut progress: Progress| {
            let deadline = now + u64::from(server.config.farewell_ticks);
            let left_at = server.history.current_index();
            progress.farewell.get_or_insert(Farewell { deadline, left_at, committed_in: None });
            progress
        };
        let mut followers = Vec::with_capacity(known.len().max(membership.members().len()));
        for member in membership.members().iter().filter(|member| member.id != server.id()) {
            followers.extend(core::iter::from_fn(|| known.next_if(|p| p.id < member.id).map(&mut leaves)));
            let progress = known.next_if(|p| p.id == member.id);
            let mut progress = progress.unwrap_or_else(|| Progress::new(member.id, last.next(), now));
            progress.farewell = None;
            let disk_counts = progress.disk == Incarnation(0) || member.counts(progress.disk);
            progress.counted = disk_counts && !progress.regressed;
            progress.catch_up = match progress.catch_up {
                _ if member.votes() => None,
                None => Some(CatchUp::new(last, now)),
                under_way => under_way,
            };
            followers.push(progress);
        }
        followers.extend(known.map(leaves));
        self.followers = followers;
    }

    pub(crate) fn progress(&self, id: NodeId) -> Option<&Progress> {
        let at = self.followers.binary_search_by_key(&id, |p| p.id).ok()?;
        self.followers.get(at)
    }

    /// Whether leadership is being transferred: until that ends, the leader appends nothing of its own.
    pub(crate) fn is_transferring(&self) -> bool {
        self.handover.is_some()
    }

    pub(crate) fn follower(&mut self, id: NodeId) -> Option<&mut Progress> {
        let at = self.followers.binary_search_by_key(&id, |p| p.id).ok()?;
        self.followers.get_mut(at)
    }

    /// Whether a quorum answered within the shortest election timeout (thesis §6.2).
    pub(crate) fn hears_quorum(&self, server: &Server) -> bool {
        let timeout = u64::from(server.config.election_ticks_min);
        let heard = |id: NodeId| {
            let at = self.followers.binary_search_by_key(&id, |p| p.id).ok();
            let follower = at.map(|at| &self.followers[at]);
            match follower {
                Some(progress) => progress.counted && server.now - progress.heard_at < timeout,
                None => id == server.id() && server.counts_itself,
            }
        };
        server.membership().voters().tally(|id| Some(heard(id))) == crate::quorum::Tally::Won
    }

    /// When a quorum was last heard.
    pub(crate) fn quorum_heard_at(&self, server: &Server) -> u64 {
        let heard_at = |id: NodeId| {
            let at = self.followers.binary_search_by_key(&id, |p| p.id).ok();
            let progress = at.and_then(|at| self.followers.get(at));
            match progress {
                Some(progress) if progress.counted => progress.heard_at,
                None if id == server.id() && server.counts_itself => server.now,
                _ => 0,
            }
        };
        // The same arithmetic as for what a quorum has of the log.
        server.membership().voters().reached(|id| Index(heard_at(id))).0
    }

    /// What the followers that are being caught up will need next: behind the snapshot that they are being sent, where
    /// their log is being searched, or where they were when they took nothing more.
    pub(crate) fn needed_from(&self) -> Option<Index> {
        let needed = self.followers.iter().filter_map(|p| match p.flow {
            Flow::Snapshot { last: EntryId { index, .. }, .. } => Some(index.next()),
            Flow::Probe { empty: true, .. } => Some(p.next),
            Flow::Probe { .. } | Flow::Replicate(_) => None,
        });
        needed.min()
    }
}

/// The role of a server.
#[derive(Clone, Debug)]
pub(crate) enum Role {
    Follower(Follower),
    Candidate(Candidate),
    Leader(Leader),
}

impl Role {
    pub(crate) fn kind(&self) -> RoleKind {
        match self {
            Role::Follower(_) => RoleKind::Follower,
            Role::Candidate(Candidate { stage: Stage::PreVote, .. }) => RoleKind::PreCandidate,
            Role::Candidate(_) => RoleKind::Candidate,
            Role::Leader(_) => RoleKind::Leader,
        }
    }

    /// When an election is due, unless this server leads.
    pub(crate) fn deadline(&self) -> Option<u64> {
        match self {
            Role::Follower(follower) => Some(follower.deadline),
            Role::Candidate(candidate) => Some(candidate.deadline),
            Role::Leader(_) => None,
        }
    }

    /// Give up whatever this was and follow: in a new term, or because the campaign is lost or the quorum out of touch.
    /// The election timer goes on; only a leader had none.
    pub(crate) fn follow(&mut self, server: &mut Server) {
        if let Role::Leader(leader) = self {
            server.heard = Some((server.id(), leader.quorum_heard_at(server)));
            server.led_until = server.now;
        }
        let deadline = self.deadline().unwrap_or(server.now + u64::from(server.timeout));
        *self = Role::Follower(Follower::new(server, deadline));
        server.role_changed = true;
    }

    /// Follow because this server cannot lead: as a leader, it keeps nobody from electing another one.
    pub(crate) fn resign(&mut self, server: &mut Server) {
        self.follow(server);
        server.heard = None;
    }
}

#[cfg(feature = "sim")]
impl Role {
    pub(crate) fn fingerprint(&self, print: &mut Fingerprint<'_>, now: u64, barrier: impl Fn(u64) -> u64) {
        match self {
            Role::Follower(Follower { leader, deadline, waits_until, verified, round, answers_arriving_at }) => {
                print.word(0);
                print.maybe_node(*leader);
                print.index(*verified);
                print.words([deadline.wrapping_sub(now), waits_until.saturating_sub(now), *round]);
                print.word(answers_arriving_at.saturating_sub(now));
            }
            Role::Candidate(Candidate {
                stage,
                pre_votes,
                waits_until,
                asked,
                votes,
                ask_again_at,
                deadline,
                transfer,
            }) => {
                print.word(1);
                let stage = match stage {
                    Stage::PreVote => [0, 0],
                    Stage::Voted { durable_after } => [1, barrier(*durable_after)],
                    Stage::Asking => [2, 0],
                };
                print.words(stage);
                pre_votes.fingerprint(print);
                votes.fingerprint(print);
                print.words([*asked, *transfer].map(u64::from));
                print.words([*ask_again_at, *deadline].map(|at| at.wrapping_sub(now)));
                print.word(waits_until.saturating_sub(now));
            }
            Role::Leader(Leader { followers, heartbeat_at, round, handover }) => {
                print.word(2);
                print.set(followers, |print, progress| progress.fingerprint(print, now));
                print.words([heartbeat_at.wrapping_sub(now), *round]);
                print.set(handover, |print, Handover { target, told_in }| {
                    print.node(target.id);
                    print.words([target.incarnation.0, *told_in]);
                });
            }
        }
    }

    /// As if all followers had been heard at time 0, where a heartbeat was sent too, and no election were near.
    pub(crate) fn rewind_clock(&mut self, heartbeat_ticks: u32) {
        let (far, heartbeat) = (u64::from(u32::MAX), u64::from(heartbeat_ticks));
        match self {
            Role::Follower(follower) => (follower.deadline, follower.answers_arriving_at) = (far, 0),
            Role::Candidate(candidate) => (candidate.ask_again_at, candidate.deadline) = (heartbeat, far),
            Role::Leader(leader) => {
                leader.heartbeat_at = heartbeat;
                leader.followers.iter_mut().for_each(Progress::rewind_clock);
            }
        }
    }
}
