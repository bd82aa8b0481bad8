//! One follower as its leader sees it: Figure 2's nextIndex and matchIndex, and how entries flow to it.

use alloc::collections::VecDeque;

use crate::action::FetchId;
use crate::config::BATCH_ENTRIES_MAX;
use crate::fetch::Fetch;
#[cfg(feature = "sim")]
use crate::fingerprint::Fingerprint;
use crate::server::Server;
use crate::types::{EntryId, Incarnation, Index, NodeId};

/// How entries flow to a follower. A change of flow makes a new value: nothing is reset by hand.
#[derive(Clone, Debug)]
pub(crate) enum Flow {
    /// Where the logs meet is not known: one message at a time.
    Probe {
        /// One is under way; the next goes out with its answer or with the next heartbeat.
        waiting: bool,
        /// Entries would be wasted: the logs are not known to meet, or the follower is full.
        empty: bool,
    },
    /// The logs meet: messages follow each other without waiting, within a window.
    Replicate(Inflight),
    /// What it lacks is compacted: it needs a snapshot (§7).
    Snapshot {
        /// The end of the newest one that it was offered.
        last: EntryId,
        transfer: Transfer,
        /// How many transfers failed, one after the other.
        failures: u8,
    },
}

/// What became of the newest transfer of a snapshot.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Transfer {
    /// It has not ended, as far as is known.
    UnderWay { since: u64 },
    /// It failed; the next one begins with the first heartbeat from then on.
    Failed { again_at: u64 },
}

/// The messages on their way to a follower whose entries it has not yet promised to keep.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inflight {
    messages: VecDeque<(Index, u64)>,
    bytes: u64,
    /// What it needs next is being fetched. It is part of the flow, so that another flow knows nothing of it.
    pub(crate) fetching: Option<Fetch>,
}

impl Inflight {
    pub(crate) fn is_fetching(&self, id: FetchId) -> bool {
        self.fetching.is_some_and(|fetch| fetch.id() == Some(id))
    }

    /// What begins at `next` is not resident: have it read back, unless that is under way or has failed.
    #[cold]
    pub(crate) fn fetch(&mut self, server: &mut Server, next: Index) {
        if self.fetching.is_none() {
            let to = next.plus(server.config.append_entries_max.min(BATCH_ENTRIES_MAX)).prev();
            self.fetching = Some(server.fetch(next, to, server.config.append_bytes_max));
        }
    }

    /// A heartbeat is due: what failed may be tried again.
    #[cold]
    pub(crate) fn review_fetching(&mut self, server: &Server, next: Index) {
        let patience = server.fetch_patience();
        self.fetching = self.fetching.filter(|fetch| !fetch.is_over(next, server.now, patience));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether nothing more may be sent, by count or by bytes.
    pub(crate) fn is_full(&self, appends_max: u64, bytes_max: u64) -> bool {
        self.messages.len() as u64 >= appends_max || self.bytes >= bytes_max
    }

    /// A message with entries through `last` went out.
    pub(crate) fn push(&mut self, last: Index, bytes: u64) {
        self.messages.push_back((last, bytes));
        self.bytes += bytes;
    }

    /// Everything through `index` is settled.
    pub(crate) fn free_through(&mut self, index: Index) {
        while let Some((_, bytes)) = self.messages.pop_front_if(|(last, _)| *last <= index) {
            self.bytes -= bytes;
        }
    }
}

/// How a member that does not vote catches up (thesis §4.2.1): in rounds, each of which ends when it has all that the log held
/// when the round began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CatchUp {
    goal: Index,
    began_at: u64,
    /// Whether the round before this one was short enough.
    in_time: bool,
}

/// A server that has left the configuration and is told so before it is forgotten.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Farewell {
    /// It is forgotten then, whatever it knows.
    pub(crate) deadline: u64,
    /// Where the configuration without it stands.
    pub(crate) left_at: Index,
    /// The newest round when that was found committed; a later one tells it so.
    pub(crate) committed_in: Option<u64>,
}

/// What a leader knows of one follower, on one of its disks.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    pub(crate) id: NodeId,
    /// Figure 2's matchIndex, with its term, so that a heartbeat always has its prev: durable there.
    pub(crate) matched: EntryId,
    /// The round in which that came: what echoes a later one was said after it.
    pub(crate) matched_in: u64,
    /// Figure 2's nextIndex.
    pub(crate) next: Index,
    pub(crate) flow: Flow,
    /// When it last answered.
    pub(crate) heard_at: u64,
    /// The round of its last heartbeat: a round of its flow begins with each.
    pub(crate) heartbeat_round: u64,
    /// What had been sent when that round began: who answers it, or a later one, must have received that, or it is lost.
    pub(crate) sent_before_round: Index,
    /// The flow has opened in the current round, or the follower was full: it does not open again before the next.
    pub(crate) opened_in_round: bool,
    /// Its last word was that it takes nothing more for now.
    pub(crate) is_full: bool,
    /// The newest commit index that it was told.
    pub(crate) commit_told: Index,
    /// The newest round that it was asked to echo at once: an answer to entries waits for its disk.
    pub(crate) round_told: u64,
    /// The newest round that it has echoed.
    pub(crate) echoed: u64,
    /// The disk that all of this is about; 0 until it is heard.
    pub(crate) disk: Incarnation,
    /// Whether what it says is counted: this disk is the one that counts for it, as far as is known, and kept its promises.
    pub(crate) counted: bool,
    /// Its log went back behind what this disk had acknowledged.
    pub(crate) regressed: bool,
    /// When this disk was first heard, or when the leader was elected.
    pub(crate) disk_since: u64,
    /// Another disk that was heard under its name.
    pub(crate) other_disk: Incarnation,
    /// How often it was readmitted, or its disk recorded anew, in this term.
    pub(crate) healed: u32,
    /// Only of members that do not vote.
    pub(crate) catch_up: Option<CatchUp>,
    /// Only of servers that are no members any more.
    pub(crate) farewell: Option<Farewell>,
}

impl Progress {
    /// A follower of which nothing is known, at the election of its leader.
    pub(crate) fn new(id: NodeId, next: Index, now: u64) -> Progress {
        Progress {
            id,
            matched: EntryId::ZERO,
            matched_in: 0,
            next,
            flow: Flow::Probe { waiting: false, empty: false },
            heard_at: now,
            heartbeat_round: 0,
            sent_before_round: Index(0),
            opened_in_round: false,
            is_full: false,
            commit_told: Index(0),
            round_told: 0,
            echoed: 0,
            disk: Incarnation(0),
            counted: true,
            regressed: false,
            disk_since: now,
            other_disk: Incarnation(0),
            healed: 0,
            catch_up: None,
            farewell: None,
        }
    }

    /// Find out anew where the logs meet, beginning with the entry before `next`; `waiting` for the next heartbeat,
    /// `empty` if it brings no entries.
    pub(crate) fn probe(&mut self, next: Index, waiting: bool, empty: bool) {
        self.next = next.max(self.matched.index.next());
        self.is_full = false;
        self.flow = Flow::Probe { waiting, empty };
    }

    /// Let entries flow behind what the follower has received. As long as it has not promised to keep that, it takes its room in
    /// the window: `undurable` bytes.
    pub(crate) fn replicate(&mut self, received: Index, undurable: u64) {
        let mut inflight = Inflight::default();
        if received > self.matched.index {
            inflight.push(received, undurable);
        }
        self.next = received.max(self.matched.index).next();
        self.flow = Flow::Replicate(inflight);
        self.is_full = false;
        // What was sent before is settled; what is sent now belongs to this round.
        self.sent_before_round = Index(0);
        self.opened_in_round = true;
    }

    /// It speaks from another disk: what the old one promised is not true of this one.
    pub(crate) fn change_disk(&mut self, disk: Incarnation, counted: bool, next: Index, now: u64) {
        let mut fresh = Progress { disk, counted, other_disk: self.disk, ..Progress::new(self.id, next, now) };
        (fresh.healed, fresh.farewell) = (self.healed, self.farewell);
        fresh.catch_up = self.catch_up.map(|_| CatchUp::new(next.prev(), now));
        *self = fresh;
    }

    /// Its log went back behind what it had acknowledged: find out anew what it has, beginning with the entry before `next`.
    pub(crate) fn regress(&mut self, next: Index, now: u64) {
        let Progress { disk, disk_since, other_disk, echoed, healed, farewell, .. } = *self;
        let catch_up = self.catch_up.map(|_| CatchUp::new(next.prev(), now));
        let fresh = Progress::new(self.id, next, now);
        let known = Progress { disk, disk_since, other_disk, echoed, healed, farewell, catch_up, ..fresh };
        *self = Progress { counted: false, regressed: true, ..known };
    }

    /// A heartbeat is due at `now`, when the log ends at `last`: a round of catching up may end, and the next one begins.
    pub(crate) fn measure(&mut self, last: Index, now: u64, in_time: u64) {
        if let Some(round) = self.catch_up.as_mut().filter(|round| self.matched.index >= round.goal) {
            round.in_time = now - round.began_at < in_time;
            (round.goal, round.began_at) = (last, now);
        }
    }

    /// Whether it has caught up: the round before this one took less than `in_time` ticks, and so does this one so far.
    pub(crate) fn has_caught_up(&self, now: u64, in_time: u64) -> bool {
        self.catch_up
            .is_some_and(|round| round.in_time && (self.matched.index >= round.goal || now - round.began_at < in_time))
    }
}

impl CatchUp {
    pub(crate) fn new(last: Index, now: u64) -> CatchUp {
        CatchUp { goal: last, began_at: now, in_time: false }
    }
}

#[cfg(feature = "sim")]
impl Progress {
    pub(crate) fn fingerprint(&self, print: &mut Fingerprint<'_>, now: u64) {
        let Progress {
            id,
            matched,
            matched_in,
            next,
            flow,
            heard_at,
            heartbeat_round,
            sent_before_round,
            opened_in_round,
            is_full: _,
            commit_told,
            round_told: _,
            echoed,
            disk,
            counted,
            regressed,
            disk_since,
            other_disk,
            healed,
            catch_up,
            farewell,
        } = self;
        print.node(*id);
        print.entry_id(*matched);
        print.word(*matched_in);
        match flow {
            Flow::Probe { waiting, empty } => {
                print.words([0, u64::from(*waiting), u64::from(*empty)]);
            }
            Flow::Replicate(Inflight { messages, bytes, fetching }) => {
                print.set(fetching, |print, fetch| fetch.fingerprint(print, now));
                print.words([1, *bytes, messages.len() as u64]);
                messages.iter().for_each(|(last, bytes)| print.words([last.0, *bytes]));
            }
            Flow::Snapshot { last, transfer, failures } => {
                match transfer {
                    Transfer::UnderWay { since } => print.words([2, 0, now.wrapping_sub(*since)]),
                    Transfer::Failed { again_at } => print.words([2, 1, again_at.saturating_sub(now)]),
                }
                print.entry_id(*last);
                print.word(u64::from(*failures));
            }
        }
        print.word(now.wrapping_sub(*heard_at));
        print.words([next.0, sent_before_round.0, commit_told.0, *heartbeat_round]);
        print.words([*opened_in_round, *counted, *regressed].map(u64::from));
        print.words([disk.0, other_disk.0, now.wrapping_sub(*disk_since), u64::from(*healed)]);
        // What was echoed matters to those alone who leave, and to reads, which write it down themselves.
        print.set(farewell, |print, Farewell { deadline, left_at, committed_in }| {
            print.words([deadline.wrapping_sub(now), left_at.0, *echoed, committed_in.map_or(u64::MAX, |round| round)]);
        });
        print.set(catch_up, |print, CatchUp { goal, began_at, in_time }| {
            print.words([goal.0, now.wrapping_sub(*began_at), u64::from(*in_time)]);
        });
    }

    /// As if the follower had been heard at time 0, and the next transfer of a snapshot were due however many failed.
    pub(crate) fn rewind_clock(&mut self) {
        self.heard_at = 0;
        self.disk_since = 0;
        if let Some(round) = &mut self.catch_up {
            round.began_at = 0;
        }
        if let Some(farewell) = &mut self.farewell {
            farewell.deadline = u64::from(u32::MAX);
        }
        if let Flow::Snapshot { transfer, failures, .. } = &mut self.flow {
            *failures = (*failures).min(1);
            match transfer {
                Transfer::UnderWay { since: time } | Transfer::Failed { again_at: time } => *time = 0,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inflight_bytes_reset() {
        let mut progress = Progress::new(NodeId(2), Index(1), 0);
        progress.replicate(Index(0), 0);
        let Flow::Replicate(inflight) = &mut progress.flow else { unreachable!() };
        inflight.push(Index(5), 1000);
        assert!(inflight.is_full(9, 1000) && inflight.is_full(1, 9999) && !inflight.is_full(2, 1001));
        progress.probe(Index(1), false, false);
        progress.replicate(Index(0), 0);
        let Flow::Replicate(inflight) = &mut progress.flow else { unreachable!() };
        assert!(inflight.is_empty() && !inflight.is_full(1, 1));
    }

    #[test]
    fn a_window_opens_from_its_front() {
        let mut inflight = Inflight::default();
        for last in [3, 6, 9] {
            inflight.push(Index(last), 10);
        }
        inflight.free_through(Index(7));
        assert_eq!((inflight.len(), inflight.bytes), (1, 10));
    }
}
