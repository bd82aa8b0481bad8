use smallvec::SmallVec;

use super::Raft;
use crate::fingerprint::Fingerprint;
use crate::role::Role;
use crate::transfer::Transfer;
use crate::types::NodeId;

/// When a server does what by itself, and when it heard whom: for the oracle that watches who moves a timer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timers {
    pub(crate) now: u64,
    /// The election timeout in force.
    pub(crate) timeout: u32,
    /// The leader that was heard last, and when.
    pub(crate) heard: Option<(NodeId, u64)>,
    /// When to campaign; a leader does not.
    pub(crate) election_at: Option<u64>,
    /// Until when another candidate has time: the one that a follower voted for, or a rival.
    pub(crate) waits_until: u64,
    /// When a candidate asks again, and whether it has asked for votes in this term.
    pub(crate) ask_again_at: Option<u64>,
    pub(crate) asked: bool,
    /// When a leader's next heartbeat is due, and when it heard each follower.
    pub(crate) heartbeat_at: Option<u64>,
    pub(crate) followers: SmallVec<[(NodeId, u64); 8]>,
}

impl Raft {
    /// Let the election timer run out after `ticks`, so that no test depends on the dice. A leader has no such timer.
    pub fn set_election_timeout(&mut self, ticks: u32) {
        let deadline = self.server.now + u64::from(ticks);
        self.server.timeout = ticks;
        match &mut self.role {
            Role::Follower(follower) => follower.deadline = deadline,
            Role::Candidate(candidate) => candidate.deadline = deadline,
            Role::Leader(_) => {}
        }
    }

    /// Let every election timeout of this server be `ticks` from now on, the running one too: scripts throw no dice.
    pub fn fix_election_timeouts(&mut self, ticks: u32) {
        self.server.random.fix(ticks);
        self.server.draw_timeout();
        self.set_election_timeout(self.server.timeout);
    }

    /// Everything that decides what this server will do, in 128 bits, for explorers that compare states. Left out are the
    /// settings, the counters, the dice, how entries are shared, and how many writes there ever were: they are counted
    /// from the newest durable one. Times are relative to now. Servers are called by `names`, or by their ids if they
    /// have none there: as no rule prefers one id to another, states that differ by names only are each other's mirror.
    #[must_use]
    pub fn fingerprint(&self, names: &[(NodeId, u64)]) -> u128 {
        let mut print = Fingerprint::new(names);
        let Raft { server, role, transfer, reads, told: _ } = self;
        server.fingerprint(&mut print);
        role.fingerprint(&mut print, server.now, |barrier| server.disk.distance_to(barrier));
        print.set(transfer, |print, transfer| transfer.fingerprint(print, server.now));
        reads.fingerprint(&mut print, role, server.now);
        print.finish()
    }

    /// Begin time anew, as if everyone this server has heard lately had been heard just now and nothing were due: for
    /// explorers, which say themselves what time does.
    pub fn rewind_clocks(&mut self) {
        let Raft { server, role, transfer, reads, .. } = self;
        server.heard = server.live_leader().map(|leader| (leader, 0));
        (server.now, server.timeout) = (0, u32::MAX);
        server.disk.rewind_clock();
        role.rewind_clock(server.config.heartbeat_ticks);
        transfer.iter_mut().for_each(Transfer::rewind_clock);
        reads.rewind_clock(server.config.heartbeat_ticks);
    }

    pub(crate) fn timers(&self) -> Timers {
        let Raft { server, role, .. } = self;
        let election_at = role.deadline();
        let timers =
            Timers { now: server.now, timeout: server.timeout, heard: server.heard, election_at, ..Timers::default() };
        match role {
            Role::Follower(follower) => Timers { waits_until: follower.waits_until, ..timers },
            Role::Candidate(candidate) => Timers {
                waits_until: candidate.waits_until,
                ask_again_at: Some(candidate.ask_again_at),
                asked: candidate.asked,
                ..timers
            },
            Role::Leader(leader) => Timers {
                heartbeat_at: Some(leader.heartbeat_at),
                followers: leader.followers.iter().map(|progress| (progress.id, progress.heard_at)).collect(),
                ..timers
            },
        }
    }

    /// Let what this server was asked for have taken too long. Nothing comes of it before the next event.
    pub fn lose_patience(&mut self) {
        let Raft { server, role, transfer, .. } = self;
        // Other clocks of a leader stand still: it hears its followers.
        if !matches!(role, Role::Leader(_)) {
            server.now += u64::from(server.config.election_ticks_max);
        }
        transfer.iter_mut().for_each(|transfer| transfer.end_at(server.now));
    }

    /// Let the shortest election timeout pass in silence. Nothing comes of it before the next event.
    pub fn pass_silence(&mut self) {
        self.server.now += u64::from(self.server.config.election_ticks_min);
    }
}
