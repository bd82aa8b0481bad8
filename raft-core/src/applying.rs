//! What the application is given (Figure 2, lastApplied), in what portions, and what it has reported.

use crate::action::Action;
use crate::config::BATCH_ENTRIES_MAX;
use crate::entries::Entries;
use crate::server::Server;
use crate::types::Index;

impl Server {
    /// The application has applied through `index`. What was reported before, or before a `Restore`, lowers nothing.
    pub(crate) fn applied_to(&mut self, index: Index) {
        if index > self.handed_out {
            self.counters.unfounded += 1;
            return;
        }
        self.applied = self.applied.max(index);
        while let Some((_, bytes)) = self.applying.pop_front_if(|(last, _)| *last <= index) {
            self.applying_bytes -= bytes;
        }
    }

    /// Hand the application what is committed and durable here, within its limit, and first the snapshot it must start
    /// from. Nothing moves while a received snapshot waits for the disk.
    #[inline]
    pub(crate) fn hand_over_committed(&mut self) {
        if self.restore_due && !self.disk.is_installing() {
            self.hand_over_snapshot();
        }
        let ready = self.commit.min(self.disk.durable());
        if ready > self.handed_out && !self.disk.is_installing() {
            self.hand_over_entries(ready);
        }
    }

    #[cold]
    fn hand_over_snapshot(&mut self) {
        self.restore_due = false;
        self.applying.clear();
        self.applying_bytes = 0;
        self.handed_out = self.snapshot.last.index;
        self.actions.push(Action::Restore(self.snapshot.clone()));
    }

    #[inline(never)]
    fn hand_over_entries(&mut self, ready: Index) {
        let room = self.apply_room();
        if room == 0 {
            return;
        }
        let entries = self.log.slice(self.handed_out.next(), ready, BATCH_ENTRIES_MAX, room);
        if entries.is_empty() {
            return self.fetch_for_application(ready, room);
        }
        self.hand_out(entries, room);
        if self.config.resident_bytes_max < u64::MAX && self.log.resident_bytes() > self.config.resident_bytes_max {
            self.evict();
        }
    }

    /// How many bytes more the application may be given.
    pub(crate) fn apply_room(&self) -> u64 {
        self.config.apply_bytes_max.saturating_sub(self.applying_bytes)
    }

    /// Hand out entries that follow what was handed out. More than there is `room` for is handed out only when nothing else
    /// is. Says whether it was.
    #[inline(always)] // but for fetched entries called once; a call would move them again
    pub(crate) fn hand_out(&mut self, entries: Entries, room: u64) -> bool {
        let bytes = entries.bytes();
        let Some(last) = entries.last_index().filter(|_| bytes <= room || self.applying.is_empty()) else {
            return false;
        };
        self.handed_out = last;
        self.applying.push_back((last, bytes));
        self.applying_bytes += bytes;
        self.actions.push(Action::Apply(entries));
        true
    }

    /// What is not yet both committed and applied counts against byte limits, whether it is resident or not.
    #[inline]
    pub(crate) fn backlog_bytes(&self) -> u64 {
        self.applying_bytes + self.log.bytes_after(self.handed_out)
    }
}
