//! What is written to the log about connections. What strangers and peers do as often as they like is told aloud once, and
//! quietly when it repeats.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use raft_core::{EntryId, NodeId};

use crate::told::{Telling, Told};

/// So many kinds of trouble with strangers are told apart, by their addresses and their reasons.
const STRANGERS_MAX: usize = 64;

/// So many with peers and with this server.
const PEERS_MAX: usize = 256;

/// What is kept of a reason to know it again.
const REASON_CHARS: usize = 120;

/// Writes for the connections of one server.
pub(super) struct Lines {
    node: u64,
    strangers: Told<(IpAddr, String)>,
    peers: Told<(Option<NodeId>, &'static str, String)>,
}

/// What makes a reason the same as another one. Numbers do not: a stranger may count.
fn kind(reason: &impl Display) -> String {
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

impl Lines {
    pub(super) fn new(node: NodeId) -> Lines {
        Lines { node: node.0, strangers: Told::new(STRANGERS_MAX), peers: Told::new(PEERS_MAX) }
    }

    /// A connection to `peer` stands.
    pub(super) fn connected(&mut self, peer: NodeId) {
        tracing::info!(node = self.node, peer = peer.0, "connected");
    }

    /// The connection to `peer` has stood for long: whatever happens next is news.
    pub(super) fn stood(&mut self, peer: NodeId) {
        self.peers.forget_if(|(of, _, _)| *of == Some(peer));
    }

    /// There is no connection to `peer`, or there is none any more.
    pub(super) fn no_way(&mut self, peer: NodeId, error: &impl Display, now: Instant) {
        let telling = self.peers.tell((Some(peer), "out", kind(error)), now);
        say!(telling, node = self.node, peer = peer.0, %error, "no connection to a peer");
    }

    /// A connection that was accepted has ended; `peer` is whose it was, if that was known.
    pub(super) fn ended(&mut self, peer: Option<NodeId>, from: Option<SocketAddr>, error: &impl Display, now: Instant) {
        let telling = match (peer, from) {
            (None, Some(from)) => self.strangers.tell((from.ip(), kind(error)), now),
            _ => self.peers.tell((peer, "in", kind(error)), now),
        };
        let address = from.map(tracing::field::display);
        say!(telling, node = self.node, peer = peer.map(|peer| peer.0), address, %error, "disconnected");
    }

    /// A connection that has not said who it is has to go for a newer one.
    pub(super) fn crowded(&mut self, now: Instant) {
        let telling = self.peers.tell((None, "crowded", String::new()), now);
        say!(telling, node = self.node, "too many connections without a handshake: the oldest has to go");
    }

    /// What waited for `peer` was too much.
    pub(super) fn overflowed(&mut self, peer: NodeId, lost: usize, now: Instant) {
        let telling = self.peers.tell((Some(peer), "overflow", String::new()), now);
        say!(
            telling,
            node = self.node,
            peer = peer.0,
            lost,
            "too much waits for a peer: its AppendEntries are dropped"
        );
    }

    /// Nobody has said where `peer` is.
    pub(super) fn no_address(&mut self, peer: NodeId, now: Instant) {
        let telling = self.peers.tell((Some(peer), "address", String::new()), now);
        say!(telling, node = self.node, peer = peer.0, "a peer has no address: what is sent to it is dropped");
    }

    /// A snapshot did not reach `peer`.
    pub(super) fn not_delivered(&mut self, peer: NodeId, last: EntryId, error: &impl Display, now: Instant) {
        let telling = self.peers.tell((Some(peer), "snapshot", kind(error)), now);
        say!(telling, node = self.node, peer = peer.0, snapshot = %last, %error, "snapshot not delivered");
    }

    /// A snapshot from `peer` did not arrive.
    pub(super) fn not_received(&mut self, peer: NodeId, error: &impl Display, now: Instant) {
        let telling = self.peers.tell((Some(peer), "received", kind(error)), now);
        say!(telling, node = self.node, peer = peer.0, %error, "snapshot not received");
    }
}
