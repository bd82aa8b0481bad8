//! Every connection under a name of its own.

use std::net::SocketAddr;
use std::time::Instant;

use raft_core::NodeId;

use crate::net::Link;

/// Names a connection; none has the name of an earlier one, so that late word of a connection that is gone is recognized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId {
    slot: u32,
    life: u32,
}

impl LinkId {
    /// A number for it, which is no other's.
    #[must_use]
    pub fn number(self) -> u64 {
        u64::from(self.life) << 32 | u64::from(self.slot)
    }

    /// The reverse of [`number`](LinkId::number).
    #[must_use]
    pub fn from_number(number: u64) -> LinkId {
        let half = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).unwrap_or_default();
        LinkId { slot: half(number), life: half(number >> 32) }
    }
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Somebody has connected, and has not said who it is.
    Lobby,
    /// Messages to a peer.
    MessagesTo(NodeId),
    /// Messages from a peer.
    MessagesFrom(NodeId),
    /// A snapshot to a peer.
    SnapshotTo(NodeId),
    /// A snapshot from a peer.
    SnapshotFrom(NodeId),
    /// Nothing any more: the last words are being written.
    Parting,
}

/// One connection.
pub(super) struct Connection {
    pub(super) purpose: Purpose,
    pub(super) stage: Stage,
    /// Where it came from, if it was accepted.
    pub(super) from: Option<SocketAddr>,
    /// Whether a snapshot that came over it is being made durable.
    pub(super) finishing: bool,
    /// Whether the loop has been asked to write, and has not done so.
    pub(super) writing: bool,
}

pub(super) enum Stage {
    /// The socket is being connected, for so long.
    Connecting {
        deadline: Option<Instant>,
    },
    Open(Box<Link>),
}

#[derive(Default)]
struct Slot {
    life: u32,
    connection: Option<Connection>,
}

/// All connections of a server.
#[derive(Default)]
pub(super) struct Links {
    slots: Vec<Slot>,
}

impl Links {
    pub(super) fn insert(&mut self, connection: Connection) -> LinkId {
        let free = self.slots.iter().position(|slot| slot.connection.is_none());
        let slot = free.unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() - 1
        });
        let life = self.slots.get_mut(slot).map_or(0, |place| {
            place.life = place.life.wrapping_add(1);
            place.connection = Some(connection);
            place.life
        });
        LinkId { slot: u32::try_from(slot).unwrap_or(u32::MAX), life }
    }

    pub(super) fn get(&self, id: LinkId) -> Option<&Connection> {
        self.slots.get(id.slot as usize).filter(|slot| slot.life == id.life)?.connection.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: LinkId) -> Option<&mut Connection> {
        self.slots.get_mut(id.slot as usize).filter(|slot| slot.life == id.life)?.connection.as_mut()
    }

    /// The link of a connection whose socket is connected.
    pub(super) fn link(&self, id: LinkId) -> Option<&Link> {
        match &self.get(id)?.stage {
            Stage::Open(link) => Some(link),
            Stage::Connecting { .. } => None,
        }
    }

    /// The same, to be changed.
    pub(super) fn link_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        match &mut self.get_mut(id)?.stage {
            Stage::Open(link) => Some(link),
            Stage::Connecting { .. } => None,
        }
    }

    pub(super) fn remove(&mut self, id: LinkId) -> Option<Connection> {
        self.slots.get_mut(id.slot as usize).filter(|slot| slot.life == id.life)?.connection.take()
    }

    /// All of them, in the order of their slots.
    pub(super) fn iter(&self) -> impl Iterator<Item = (LinkId, &Connection)> {
        self.slots
            .iter()
            .zip(0..)
            .filter_map(|(slot, place)| Some((LinkId { slot: place, life: slot.life }, slot.connection.as_ref()?)))
    }
}

impl Connection {
    /// When it is given up if nothing happens.
    pub(super) fn due(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Connecting { deadline } => *deadline,
            Stage::Open(link) => link.due(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> Connection {
        let stage = Stage::Connecting { deadline: None };
        Connection { purpose: Purpose::Lobby, stage, from: None, finishing: false, writing: false }
    }

    #[test]
    fn late_word_of_a_connection_that_is_gone_reaches_no_other() {
        let mut links = Links::default();
        let (one, two) = (links.insert(connection()), links.insert(connection()));
        assert!(links.remove(one).is_some() && links.remove(one).is_none());
        let three = links.insert(connection());
        assert_eq!(three.slot, one.slot, "slots are used again");
        assert!(links.get(one).is_none() && links.get_mut(one).is_none() && links.remove(one).is_none());
        let left: Vec<LinkId> = links.iter().map(|(id, _)| id).collect();
        assert_eq!(left, [three, two]);
    }
}
