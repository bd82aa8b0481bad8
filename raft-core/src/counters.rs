//! What is counted of events that were of no use.

/// Events that made no sense, by kind. They changed nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Messages from this server to itself.
    pub from_self: u64,
    /// Messages whose parts contradict each other or reach beyond any log.
    pub malformed: u64,
    /// Replies of an older term, or to something that was settled since; parts of messages from others than the leader.
    pub stale: u64,
    /// Replies from servers outside of the configuration in force.
    pub not_a_member: u64,
    /// Replies from a member on another disk than the one that counts for it.
    pub wiped: u64,
    /// Confirmations of writes never issued or already confirmed.
    pub unknown_write: u64,
    /// What a correct driver never says: `Applied` beyond what was handed out, `Compact` beyond what was applied, fetched
    /// entries that were never asked for or are not those of the log.
    pub unfounded: u64,
    /// Reports about transfers of snapshots that were settled otherwise since, or whose leader leads no longer, and fetched
    /// entries that nobody needs any more: correct drivers are late now and then.
    pub late: u64,
}
