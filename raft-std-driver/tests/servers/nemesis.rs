//! What goes wrong, as the seed says.

use raft_std_driver::storage::sim::Fate;

use crate::streams::Weather;
use crate::world::World;

impl World {
    /// Every so often something goes wrong.
    pub(crate) fn disturb(&mut self) {
        if self.random.u32(0..60) != 0 {
            return;
        }
        let host = self.random.usize(0..self.hosts.len());
        let other = self.random.usize(0..self.hosts.len());
        match self.random.u32(0..10) {
            0 => {
                let fate = match self.random.u32(0..4) {
                    0 => Fate::Kept,
                    1 => Fate::Lost,
                    _ => Fate::Torn(self.random.u64(..)),
                };
                // In the middle of what it does, or now.
                if self.random.bool() {
                    self.hosts[host].disk.stop_after(self.random.u64(0..12));
                    self.count("power about to go");
                } else {
                    self.kill(host);
                    self.hosts[host].disk.power_cycle(fate);
                    self.count("power cut");
                }
            }
            1 => {
                self.kill(host);
                self.hosts[host].disk.end_process();
                self.count("process ended");
            }
            2 if host != other => {
                self.partitions.insert((host.min(other), host.max(other)));
                self.streams.reset_between(host, other);
                self.count("partition");
            }
            3 => self.partitions.clear(),
            4 if host != other && self.streams.reset_between(host, other) > 0 => self.count("connection reset"),
            5 => {
                self.hosts[host].disk_takes = self.random.u64(0..150);
                self.count("slow disk");
            }
            6 => {
                self.hosts[host].paused_until = self.now + self.random.u64(0..800);
                self.count("pause");
            }
            7 => {
                self.weather = Weather { delay: self.random.u64(0..60), bandwidth: self.random.u64(1..40) };
                self.count("narrow network");
            }
            8 => self.weather = Weather { delay: self.random.u64(0..5), bandwidth: 10_000 },
            9 if self.random.u32(0..4) == 0 => {
                self.hosts[host].disk.fail_syncs(true);
                self.count("failed sync");
            }
            _ => {}
        }
    }

    /// Everything works from now on.
    pub(crate) fn mend(&mut self) {
        self.partitions.clear();
        self.weather = Weather { delay: 1, bandwidth: 10_000 };
        for host in &mut self.hosts {
            (host.paused_until, host.disk_takes, host.disk_busy_until) = (0, 0, 0);
            host.disk.fail_syncs(false);
        }
    }
}
