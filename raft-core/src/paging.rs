//! A log larger than memory: what is evicted, and how it comes back.
//!
//! - **Eviction**: while more than [`Config::resident_bytes_max`](crate::Config::resident_bytes_max) is resident, the oldest
//!   runs that are durable and were handed out to the application leave memory. It happens when something is handed out, for
//!   nothing else makes more of the log fit to leave. Entries that still wait for a quorum, the disk or the application stay.
//! - **Fetching**: a follower that needs evicted entries next, or the application after a restart, has them fetched
//!   ([`Action::Fetch`](crate::Action::Fetch)), one request at a time for each of them.
//! - **An answer counts** if nothing has happened meanwhile that makes it useless: a change of role or of what the follower
//!   needs next, an installed snapshot, compaction. Else its id is void, and it is counted as late. It must be of entries of
//!   this log, without gaps from the first one that was asked for. One that is not, one without entries (reading failed for
//!   now), and one that does not come within `disk_stall_ticks` are asked for again: at a heartbeat for a follower, at a tick
//!   for the application, under a new id.
//! - **What was fetched is used at once**, sent or applied, and not kept.

use crate::action::{Action, FetchId};
use crate::config::FRAME_ROOM_BYTES;
use crate::entries::Entries;
use crate::fetch::Fetch;
use crate::restored::LogHead;
use crate::server::Server;
use crate::types::Index;

impl Server {
    /// Let go of what is durable and handed out, down to the limit.
    #[cold]
    pub(crate) fn evict(&mut self) {
        let through = self.handed_out.min(self.disk.durable());
        self.log.evict(through, self.config.resident_bytes_max);
    }

    /// What is to be known of the entries that are not resident.
    pub(crate) fn log_head(&self) -> LogHead {
        let (first, end) = (self.log.first_index(), self.log.resident_first());
        let Some(last) = self.log.id_at(end.prev()).filter(|last| first <= last.index) else {
            return LogHead::default();
        };
        let configurations = self.history.all().skip(1).filter(|(at, _)| (first..end).contains(at));
        LogHead {
            terms: self.log.term_starts(first, last.index),
            last,
            memberships: configurations.cloned().collect(),
            bytes: self.log.bytes_after(first.prev()) - self.log.bytes_after(last.index),
        }
    }

    /// Ask for entries from `from` through `to` that are not resident.
    #[cold]
    pub(crate) fn fetch(&mut self, from: Index, to: Index, bytes_max: u64) -> Fetch {
        let to = to.min(self.log.resident_first().prev());
        self.fetches += 1;
        let id = FetchId(self.fetches);
        self.actions.push(Action::Fetch { id, from, to, bytes_max });
        Fetch::UnderWay { id, from, to, since: self.now }
    }

    /// How many ticks a request may take.
    pub(crate) fn fetch_patience(&self) -> u64 {
        self.config.disk_stall_ticks.into()
    }

    /// Whether these are the entries that were asked for. None is a failure that no one is to blame for.
    pub(crate) fn accept_fetched(&mut self, entries: &Entries, from: Index, to: Index) -> bool {
        let (Some(first), Some(last)) = (entries.first_index(), entries.last_index()) else { return false };
        let is_ours = first == from && last <= to && entries.iter().all(|(id, _)| self.log.contains(id));
        self.counters.unfounded += u64::from(!is_ours);
        is_ours
    }

    /// What the application needs next is not resident: ask for it, if there is room for a good part.
    #[cold]
    pub(crate) fn fetch_for_application(&mut self, ready: Index, room: u64) {
        if self.fetching.is_none() && room >= self.config.apply_bytes_max / 2 {
            let bytes_max = room.min(self.config.resident_bytes_max).min(FRAME_ROOM_BYTES);
            self.fetching = Some(self.fetch(self.handed_out.next(), ready, bytes_max));
        }
    }

    /// Entries for the application have come, if `id` is its request; else they are for a follower.
    #[cold]
    pub(crate) fn fetched_for_application(&mut self, id: FetchId, entries: Entries) -> Option<Entries> {
        let Some(Fetch::UnderWay { from, to, .. }) = self.fetching.filter(|fetch| fetch.id() == Some(id)) else {
            return Some(entries);
        };
        self.fetching = Some(Fetch::Failed);
        if from != self.handed_out.next() || from < self.log.first_index() {
            self.counters.late += 1;
        } else if self.accept_fetched(&entries, from, to) {
            let room = self.apply_room();
            if self.hand_out(entries.at_most(u64::MAX, room), room) {
                self.fetching = None;
            }
        }
        None
    }

    /// A tick: the application's request may be made anew.
    #[cold]
    pub(crate) fn review_fetching(&mut self) {
        let (next, patience) = (self.handed_out.next(), self.fetch_patience());
        self.fetching = self.fetching.filter(|fetch| !fetch.is_over(next, self.now, patience));
    }
}
