//! What a transport writes to its log, and its spans: all in one place. What strangers and peers do as often as they like is
//! told aloud once, and quietly when it repeats.

use std::fmt::Display;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::time::Instant;

use raft_core::{EntryId, NodeId};
use tracing::Span;

use super::{Telling, Told, Trouble};
use crate::queue::lock;

/// So many kinds of trouble with strangers are told apart, by their addresses and their reasons.
const STRANGERS_MOST: usize = 64;

/// So many with peers and with this server.
const PEERS_MOST: usize = 256;

/// What is kept of a reason to know it again.
const REASON_CHARS: usize = 120;

/// Writes for the transport of one server.
pub struct Lines {
    node: u64,
    strangers: Mutex<Told<(IpAddr, String)>>,
    peers: Mutex<Told<(Option<NodeId>, String)>>,
}

/// What makes a reason the same as another one. Numbers do not: a stranger may count.
pub(super) fn kind(reason: &impl Display) -> String {
    reason.to_string().chars().filter(|c| !c.is_ascii_digit()).take(REASON_CHARS).collect()
}

/// As a warning, or at `debug`.
macro_rules! say {
    ($telling:expr, $($line:tt)*) => {
        match $telling {
            Telling::Aloud { repeats } => tracing::warn!(repeats, $($line)*),
            Telling::Quietly => tracing::debug!($($line)*),
        }
    };
}
pub(super) use say;

impl Lines {
    /// Of server `node`.
    #[must_use]
    pub fn new(node: NodeId) -> Lines {
        let (strangers, peers) = (Told::new(STRANGERS_MOST), Told::new(PEERS_MOST));
        Lines { node: node.0, strangers: Mutex::new(strangers), peers: Mutex::new(peers) }
    }

    fn telling(&self, peer: Option<NodeId>, reason: &impl Display) -> Telling {
        lock(&self.peers).tell((peer, kind(reason)), Instant::now())
    }

    /// A connection that was accepted from `address` has ended; `peer` is whose it was, if that was known.
    pub fn ended(&self, peer: Option<NodeId>, address: SocketAddr, trouble: Option<&Trouble>) {
        let (node, id) = (self.node, peer.map(|peer| peer.0));
        let Some(error) = trouble else {
            tracing::debug!(node, peer = id, %address, "connection ended");
            return;
        };
        let telling = match (peer, error) {
            // For a newer one of the same peer, or in a crowd, which is told.
            (_, Trouble::GivesWay) => Telling::Quietly,
            (Some(_), _) => self.telling(peer, error),
            (None, _) => lock(&self.strangers).tell((address.ip(), kind(error)), Instant::now()),
        };
        say!(telling, node, peer = id, %address, %error, "disconnected");
    }

    /// One that has not said who it is had to go for a newer one.
    pub fn crowded(&self) {
        say!(self.telling(None, &"crowded"), node = self.node, "too many without a handshake: the oldest has to go");
    }

    /// No connection can be accepted now.
    pub fn cannot_accept(&self, error: &io::Error) {
        say!(self.telling(None, error), node = self.node, %error, "cannot accept a connection");
    }

    /// What waited for `peer` was too much.
    pub(super) fn overflowed(&self, peer: NodeId, lost: usize) {
        let telling = self.telling(Some(peer), &"overflow");
        say!(telling, node = self.node, peer = peer.0, lost, "too much waits for a peer: its appends are dropped");
    }

    /// Nobody has said where `peer` is. Told once by the caller.
    pub(super) fn nowhere(&self, peer: NodeId) {
        tracing::warn!(node = self.node, peer = peer.0, "a peer has no address: what is said to it is dropped");
    }

    /// Links are neither secret nor safe.
    pub fn open_links(&self, address: SocketAddr) {
        tracing::warn!(node = self.node, %address, "links are open: who can reach them can read and forge messages");
    }

    /// The transfer of a snapshot to `peer` has failed.
    pub fn not_delivered(&self, peer: NodeId, last: EntryId, error: &impl Display) {
        let telling = self.telling(Some(peer), error);
        say!(telling, node = self.node, peer = peer.0, snapshot = %last, %error, "snapshot not delivered");
    }

    /// Around all that is done on a connection of `peer`, which is known by then. `direction` is "in" or "out".
    #[must_use]
    pub fn connection(&self, peer: NodeId, direction: &'static str) -> Span {
        tracing::info_span!("connection", node = self.node, peer = peer.0, direction)
    }

    /// Around the sending of a snapshot, from its connection until it is confirmed.
    #[must_use]
    pub fn sending(&self, peer: NodeId, last: EntryId) -> Span {
        tracing::info_span!("send_snapshot", node = self.node, peer = peer.0, snapshot = %last)
    }

    /// Around the receiving of a snapshot, from its offer until it is durable.
    #[must_use]
    pub fn receiving(&self, peer: NodeId, last: EntryId) -> Span {
        tracing::info_span!("receive_snapshot", node = self.node, peer = peer.0, snapshot = %last)
    }
}
