//! How a server's life begins and ends.

use std::format_args;

use super::cluster::{Cluster, Item};
use super::coverage::Happening;
use super::queue::TICK;
use super::server::Seen;
use super::violation::Verdict;
use crate::{Incarnation, Index, WriteId};

impl Cluster {
    /// Whether a crash was planned for this step.
    pub(crate) fn crash_is_due(&mut self, slot: usize) -> bool {
        match &mut self.servers[slot].crash_in {
            None => false,
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
        }
    }

    /// Start a server that is down, from what it kept.
    pub(crate) fn start(&mut self, slot: usize) -> Verdict {
        let server = &mut self.servers[slot];
        if server.is_up() {
            return Ok(());
        }
        self.busy = slot;
        server.life += 1;
        server.drop_unnamed_files();
        server.handed = server.machine.kept.last.index;
        server.started_from = server.disk.durable.snapshot.last;
        // Storages that keep much of the log out of memory do so for servers that keep little in it.
        server.tail_bytes_max = match (server.stated_tail.take(), server.config.resident_bytes_max) {
            (Some(stated), _) => stated,
            (None, most) if most < u64::MAX && self.entropy.flip() => self.entropy.below(most.min(1 << 12) + 1),
            (None, _) => u64::MAX,
        };
        let birth = server.birth();
        server.longest_run = birth.restored.entries.bytes();
        if birth.restored.head.first().is_some() {
            self.coverage.count(Happening::StartedWithTail);
        }
        self.recorder.started(&birth);
        let raft = match birth.server() {
            Ok(raft) => raft,
            Err(error) => return self.oracles.start_refused(&error),
        };
        server.seen = Seen::of(raft.status());
        server.raft = Some(raft);
        let (id, life, handed) = (server.id, server.life, server.handed);
        match server.tail_bytes_max {
            u64::MAX => self.trace.event(self.now, id, format_args!("starts from applied {handed}")),
            tail => self.trace.event(self.now, id, format_args!("starts from applied {handed} tail {tail}")),
        }
        if life > 1 {
            self.coverage.count(Happening::Restarted);
        }
        if self.servers[slot].disk.durable.snapshot.membership.members().is_empty() {
            self.coverage.count(Happening::StartedEmpty);
        }
        if handed > Index(0) {
            self.coverage.count(Happening::ResumedFromOwnApplied);
        }
        let phase = self.entropy.between(1, TICK);
        self.queue.push(self.now + phase, Item::Pulse { slot, life });
        self.oracles.started(&self.servers[slot])
    }

    /// A server's disk is lost, with its files and what its application kept: its process, if it runs, dies first.
    pub(crate) fn wipe(&mut self, slot: usize) {
        self.crash(slot);
        self.servers[slot].wipe(self.now);
        self.trace.event(self.now, self.servers[slot].id, "wiped");
    }

    /// A server's process, if it runs, dies, and the next one begins on another disk that this server once had.
    pub(crate) fn mount(&mut self, slot: usize, disk: Incarnation) -> bool {
        self.crash(slot);
        let mounted = self.servers[slot].mount(disk, self.now);
        self.trace.event(self.now, self.servers[slot].id, format_args!("mounts {disk}"));
        mounted
    }

    /// A server's process dies, or its power goes.
    pub(crate) fn crash(&mut self, slot: usize) {
        if let Some(through) = self.end(slot) {
            self.trace.event(self.now, self.servers[slot].id, format_args!("crash keeping {through}"));
        }
    }

    /// A server's process ends by itself: the machine goes on, and does what its disk was asked for.
    pub(crate) fn halt(&mut self, slot: usize) {
        let disk = &mut self.servers[slot].disk;
        if let Some(last) = disk.outstanding().last() {
            disk.complete_through(last);
        }
        self.end(slot);
    }

    /// Says which of its writes was kept last, if the server was up.
    fn end(&mut self, slot: usize) -> Option<WriteId> {
        let server = &mut self.servers[slot];
        server.raft.take()?;
        server.unfed_ticks = 0;
        server.crash_in = None;
        server.paused_until = 0;
        server.clock_stopped_until = 0;
        server.machine.crash();
        let loss = server.disk.crash(&mut self.entropy);
        self.coverage.count(Happening::Crashed);
        if loss.lost > 0 {
            self.coverage.count(Happening::WritesLost);
        }
        if loss.kept > 0 {
            self.coverage.count(Happening::WritesKeptUnconfirmed);
        }
        let restart = self.now + self.entropy.between(self.downtime.0, self.downtime.1);
        self.queue.push(restart, Item::Restart { slot, life: self.servers[slot].life });
        self.clients.crashed(&mut self.coverage, slot);
        self.oracles.crashed(slot);
        Some(loss.through)
    }
}
