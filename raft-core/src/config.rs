//! What a server is told once: its name, its clocks, and how much of everything it may hold.

use crate::types::NodeId;

/// The largest frame that the codec makes or takes, in bytes: one message or one write.
pub const FRAME_BYTES_MAX: usize = 64 << 20;

/// How much of a frame entries may take; the rest is for what surrounds them.
pub const FRAME_ROOM_BYTES: u64 = FRAME_BYTES_MAX as u64 - (1 << 20);

/// The most entries in one message, in one `Apply`, and the most commands in one `Start`, whatever the limits in bytes: an empty
/// entry takes little of these, and some memory and time all the same.
pub const BATCH_ENTRIES_MAX: u64 = 1 << 16;

/// What a leader does about a voter that answers on another disk than the one that counts: it forgot what it promised, so
/// nothing it says is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WipedPolicy {
    /// Says so ([`News::PeerWiped`](crate::News::PeerWiped)): an operator readmits it.
    #[default]
    Report,
    /// Says so and readmits it: demotes it to a learner, records its new disk, and promotes it when it has caught up.
    Heal,
}

/// The settings of one server. Every limit may be as low as 1: tests use that. Durations are in ticks, whose length is the
/// driver's choice; sizes are in bytes and count commands plus a small fixed sum per entry.
///
/// ```
/// use raft_core::{Config, NodeId};
///
/// let config = Config { election_ticks_min: 20, election_ticks_max: 40, ..Config::new(NodeId(1)) };
/// assert!(config.check().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// This server.
    pub id: NodeId,
    /// Where the randomness of election timeouts starts; the server's id is mixed in, so all may have the same.
    pub seed: u64,
    /// A leader is heard at least this often (§5.2).
    pub heartbeat_ticks: u32,
    /// The shortest election timeout; also how long a leader stays alive unheard (§5.2, thesis §4.2.3).
    pub election_ticks_min: u32,
    /// The longest election timeout.
    pub election_ticks_max: u32,
    /// Whether a new leader appends an entry of its own term at once (§8). The labs count indexes and need it off.
    pub leader_noop: bool,
    /// The most entries in one AppendEntries; never more than [`BATCH_ENTRIES_MAX`].
    pub append_entries_max: u64,
    /// The most bytes in one AppendEntries; a single entry may be larger.
    pub append_bytes_max: u64,
    /// The most unanswered AppendEntries to one follower.
    pub inflight_appends_max: u64,
    /// The most unanswered bytes to one follower; a single message may be larger.
    pub inflight_bytes_max: u64,
    /// The largest command.
    pub command_bytes_max: u64,
    /// A leader refuses commands while more than this is uncommitted or unapplied; a follower takes no more entries while
    /// more than this is committed and unapplied.
    pub backlog_bytes_max: u64,
    /// A follower takes no more entries while more than this waits for its disk.
    pub unpersisted_bytes_max: u64,
    /// The most bytes handed out to be applied and not yet reported applied; a single entry may be larger. One `Apply` has at most
    /// [`BATCH_ENTRIES_MAX`] entries.
    pub apply_bytes_max: u64,
    /// How many entries stay behind a snapshot for followers that are a little late (thesis §5.1.3).
    pub trailing_entries: u64,
    /// How many bytes may stay behind a snapshot because a follower that is being caught up will need them next.
    pub transfer_bytes_max: u64,
    /// A server whose disk takes so long for a sync neither campaigns nor leads. Judged by its oldest write, which may be twice
    /// as old if it was issued while another was outstanding: a sync may have begun without it.
    pub disk_stall_ticks: u32,
    /// A snapshot transfer that takes longer counts as failed. Drivers report the end of every transfer, so this is a last
    /// resort: it should be longer than any transfer takes.
    pub snapshot_timeout_ticks: u32,
    /// What to do about voters that lost their disk.
    pub wiped: WipedPolicy,
    /// Whether a leader records the disks of the first members, so that no other disk is ever counted for them. The labs
    /// count indexes and need it off.
    pub record_disks: bool,
    /// Added to each election timeout of a server that should rather not lead.
    pub handicap_ticks: u32,
    /// How long a leader goes on feeding a server that has left the cluster and does not answer.
    pub farewell_ticks: u32,
    /// The most reads that wait at a server.
    pub reads_max: u64,
    /// About how many bytes of the log stay in memory; the rest is fetched back when it is needed.
    pub resident_bytes_max: u64,
}

/// Settings that contradict each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A limit or a duration that must be at least 1.
    #[error("{name} is 0: it must be at least 1")]
    Zero {
        /// Which setting.
        name: &'static str,
    },
    /// Election timeouts that a heartbeat cannot prevent.
    #[error("election_ticks_min is {min} and heartbeat_ticks {heartbeat}: a timeout must be longer than a heartbeat")]
    TimeoutTooShort {
        /// The shortest election timeout.
        min: u32,
        /// The heartbeat interval.
        heartbeat: u32,
    },
    /// Election timeouts without room to differ: candidates would collide for ever (§5.2).
    #[error("election_ticks_max is {max} and election_ticks_min {min}: timeouts need room to differ")]
    TimeoutsEqual {
        /// The shortest election timeout.
        min: u32,
        /// The longest election timeout.
        max: u32,
    },
    /// A batch that no frame can carry.
    #[error("{name} is {bytes} bytes: a frame carries at most {max}")]
    FrameTooSmall {
        /// Which setting.
        name: &'static str,
        /// What it asks for.
        bytes: u64,
        /// What would fit.
        max: u64,
    },
}

impl Config {
    /// Good defaults for ticks of about 10 ms: heartbeats every 50 ms, elections after 200 to 400 ms.
    #[must_use]
    pub fn new(id: NodeId) -> Config {
        Config {
            id,
            seed: 0,
            heartbeat_ticks: 5,
            election_ticks_min: 20,
            election_ticks_max: 40,
            leader_noop: true,
            append_entries_max: 4096,
            append_bytes_max: 1 << 20,
            inflight_appends_max: 256,
            inflight_bytes_max: 16 << 20,
            command_bytes_max: 1 << 20,
            backlog_bytes_max: 64 << 20,
            unpersisted_bytes_max: 64 << 20,
            apply_bytes_max: 16 << 20,
            trailing_entries: 4096,
            transfer_bytes_max: 64 << 20,
            disk_stall_ticks: 500,
            snapshot_timeout_ticks: 360_000,
            wiped: WipedPolicy::default(),
            record_disks: false,
            handicap_ticks: 0,
            farewell_ticks: 400,
            reads_max: 1 << 16,
            resident_bytes_max: u64::MAX,
        }
    }

    /// Whether the settings make sense together.
    ///
    /// # Errors
    /// Says which setting is wrong and why.
    pub fn check(&self) -> Result<(), ConfigError> {
        let at_least_one = [
            ("heartbeat_ticks", u64::from(self.heartbeat_ticks)),
            ("append_entries_max", self.append_entries_max),
            ("append_bytes_max", self.append_bytes_max),
            ("inflight_appends_max", self.inflight_appends_max),
            ("inflight_bytes_max", self.inflight_bytes_max),
            ("command_bytes_max", self.command_bytes_max),
            ("backlog_bytes_max", self.backlog_bytes_max),
            ("unpersisted_bytes_max", self.unpersisted_bytes_max),
            ("apply_bytes_max", self.apply_bytes_max),
            ("farewell_ticks", u64::from(self.farewell_ticks)),
            ("reads_max", self.reads_max),
            ("resident_bytes_max", self.resident_bytes_max),
            ("disk_stall_ticks", u64::from(self.disk_stall_ticks)),
            ("snapshot_timeout_ticks", u64::from(self.snapshot_timeout_ticks)),
        ];
        if let Some((name, _)) = at_least_one.into_iter().find(|(_, value)| *value == 0) {
            return Err(ConfigError::Zero { name });
        }
        let (min, max) = (self.election_ticks_min, self.election_ticks_max);
        if min <= self.heartbeat_ticks {
            return Err(ConfigError::TimeoutTooShort { min, heartbeat: self.heartbeat_ticks });
        }
        if max <= min {
            return Err(ConfigError::TimeoutsEqual { min, max });
        }
        let framed = [("command_bytes_max", self.command_bytes_max), ("append_bytes_max", self.append_bytes_max)];
        match framed.into_iter().find(|(_, bytes)| *bytes > FRAME_ROOM_BYTES) {
            Some((name, bytes)) => Err(ConfigError::FrameTooSmall { name, bytes, max: FRAME_ROOM_BYTES }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contradictions_are_named() {
        let good = Config::new(NodeId(1));
        assert_eq!(good.check(), Ok(()));
        let wrong = |change: fn(&mut Config)| {
            let mut config = good.clone();
            change(&mut config);
            config.check().unwrap_err()
        };
        assert_eq!(wrong(|c| c.apply_bytes_max = 0), ConfigError::Zero { name: "apply_bytes_max" });
        assert_eq!(
            wrong(|c| c.election_ticks_min = c.heartbeat_ticks),
            ConfigError::TimeoutTooShort { min: 5, heartbeat: 5 }
        );
        assert_eq!(
            wrong(|c| c.election_ticks_max = c.election_ticks_min),
            ConfigError::TimeoutsEqual { min: 20, max: 20 }
        );
        assert!(matches!(wrong(|c| c.command_bytes_max = 64 << 20), ConfigError::FrameTooSmall { .. }));
    }
}
