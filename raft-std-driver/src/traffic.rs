//! What is counted of what travels.

/// What has been exchanged with one peer since the transport knows it, and how it stands with it now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traffic {
    /// Messages that were handed to the network.
    pub messages_sent: u64,
    /// Their length on the wire, in bytes.
    pub bytes_sent: u64,
    /// Messages that came from the peer.
    pub messages_received: u64,
    /// Their length on the wire, in bytes.
    pub bytes_received: u64,
    /// AppendEntries that were dropped because there was no room or no connection.
    pub appends_dropped: u64,
    /// Snapshots and their offers, as they were handed to the network, whether or not all of one came through: their length on
    /// the wire, in bytes. Once all of one has come through, it has counted the same at both ends.
    pub snapshot_bytes_sent: u64,
    /// Snapshots that came from the peer, or parts of them, and their offers: their length on the wire, in bytes.
    pub snapshot_bytes_received: u64,
    /// How many messages wait for the peer now.
    pub waiting: u64,
    /// Whether the connection to it stands now.
    pub connected: bool,
}
