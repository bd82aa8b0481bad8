//! The other servers: what waits for each, its connections, and what has been counted.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use raft_core::{Message, NodeId};

use super::{Cut, Limits, Lines, Mailbox, Posted, Sending, Slot, TcpConfig};
use crate::queue::lock;
use crate::transport::wire::Channel;
use crate::transport::{PeerTraffic, Traffic};

/// What a transport says that is used after its end.
#[must_use]
pub fn shut_down() -> io::Error {
    io::Error::other("the transport is shut down")
}

/// One other server: what waits for it, and its connections of kind `C`.
pub struct Peer<C> {
    /// Who it is.
    pub id: NodeId,
    /// What waits to be written to it.
    pub mailbox: Mailbox,
    /// The snapshot that is on its way to it.
    pub sending: Arc<Sending>,
    /// What has been exchanged with it.
    pub traffic: PeerTraffic,
    address: Mutex<String>,
    outgoing: [Arc<Slot<C>>; 2],
    incoming: [Arc<Slot<C>>; 2],
}

impl<C: Cut> Peer<C> {
    /// Server `id` at `address`, a `host:port`.
    #[must_use]
    pub fn new(id: NodeId, address: String, limits: Limits) -> Peer<C> {
        Peer {
            id,
            mailbox: Mailbox::new(limits),
            sending: Arc::default(),
            traffic: PeerTraffic::default(),
            address: Mutex::new(address),
            outgoing: Default::default(),
            incoming: Default::default(),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> String {
        lock(&self.address).clone()
    }

    /// The place for the connection that this server makes to it.
    #[must_use]
    pub fn outgoing(&self, channel: Channel) -> &Arc<Slot<C>> {
        Self::of(&self.outgoing, channel)
    }

    /// The place for the connection that it makes to this server.
    #[must_use]
    pub fn incoming(&self, channel: Channel) -> &Arc<Slot<C>> {
        Self::of(&self.incoming, channel)
    }

    fn of(slots: &[Arc<Slot<C>>; 2], channel: Channel) -> &Arc<Slot<C>> {
        let [messages, snapshot] = slots;
        match channel {
            Channel::Messages => messages,
            Channel::Snapshot => snapshot,
        }
    }

    /// Drop the mail of a connection that is over or never came to be, and say whether AppendEntries were lost.
    pub fn lose_mail(&self) -> bool {
        let lost = self.mailbox.lose();
        self.traffic.dropped(lost);
        lost > 0
    }

    /// Change its address, which cuts the connections to the old one.
    pub fn move_to(&self, address: String) {
        let changed = {
            let mut old = lock(&self.address);
            let changed = *old != address;
            *old = address;
            changed
        };
        if changed {
            self.outgoing.iter().for_each(|slot| slot.interrupt());
            self.mailbox.kick();
        }
    }

    /// Cut its connections, and let no more mail nor connection in.
    pub fn close(&self) {
        self.mailbox.close();
        self.outgoing.iter().chain(&self.incoming).for_each(|slot| slot.close());
    }
}

/// The peers of one server.
pub struct Peers<C> {
    /// What the transport writes to its log.
    pub lines: Lines,
    me: NodeId,
    limits: Limits,
    closed: AtomicBool,
    map: Mutex<BTreeMap<NodeId, Arc<Peer<C>>>>,
    /// Members whose address nobody has said: told once each.
    nowhere: Mutex<BTreeSet<NodeId>>,
}

impl<C: Cut> Peers<C> {
    /// Those of the server that `config` is for; itself is left out.
    #[must_use]
    pub fn new(config: &TcpConfig, peers: impl IntoIterator<Item = (NodeId, String)>) -> Peers<C> {
        let (me, limits) = (config.id, config.limits());
        let others = peers.into_iter().filter(|(id, _)| *id != me);
        let map = others.map(|(id, address)| (id, Arc::new(Peer::new(id, address, limits)))).collect();
        let (lines, map) = (Lines::new(me), Mutex::new(map));
        Peers { lines, me, limits, closed: AtomicBool::new(false), map, nowhere: Mutex::default() }
    }

    /// The peer of this id.
    #[must_use]
    pub fn find(&self, id: NodeId) -> Option<Arc<Peer<C>>> {
        lock(&self.map).get(&id).cloned()
    }

    /// Whether the transport is shut down.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Under the lock `close` finds all that are there, and nobody can add one afterwards.
    fn open(&self) -> io::Result<MutexGuard<'_, BTreeMap<NodeId, Arc<Peer<C>>>>> {
        let map = lock(&self.map);
        if self.is_closed() { Err(shut_down()) } else { Ok(map) }
    }

    /// Do what comes `first`, then `begin` to serve each of them. Nobody comes or goes meanwhile.
    ///
    /// # Errors
    /// What these say, or that the transport is shut down.
    pub fn start(
        &self,
        first: impl FnOnce() -> io::Result<()>,
        begin: impl FnMut(&Arc<Peer<C>>) -> io::Result<()>,
    ) -> io::Result<()> {
        let peers = self.open()?;
        first()?;
        peers.values().try_for_each(begin)
    }

    /// Change the address of a peer, or add one and `begin` to serve it.
    ///
    /// # Errors
    /// What `begin` says, or that the transport is shut down.
    pub fn set(
        &self,
        id: NodeId,
        address: String,
        begin: impl FnOnce(&Arc<Peer<C>>) -> io::Result<()>,
    ) -> io::Result<()> {
        if id == self.me {
            return Ok(());
        }
        let mut peers = self.open()?;
        if let Some(peer) = peers.get(&id) {
            peer.move_to(address);
            return Ok(());
        }
        let peer = Arc::new(Peer::new(id, address, self.limits));
        begin(&peer)?;
        lock(&self.nowhere).remove(&id);
        peers.insert(id, peer);
        Ok(())
    }

    /// Forget a peer, and close it.
    pub fn remove(&self, id: NodeId) {
        let removed = lock(&self.map).remove(&id);
        if let Some(peer) = removed {
            peer.close();
        }
    }

    /// Leave a message for a peer. `false` if messages to it were dropped for want of room: the node should hear
    /// [`unreachable`](crate::transport::Inbound::unreachable).
    pub fn post(&self, to: NodeId, message: Message) -> bool {
        let Some(peer) = self.find(to) else {
            if lock(&self.nowhere).insert(to) {
                self.lines.nowhere(to);
            }
            return true;
        };
        match peer.mailbox.post(message) {
            Posted::Queued => true,
            Posted::Overflowed { lost } => {
                peer.traffic.dropped(lost);
                self.lines.overflowed(to, lost);
                false
            }
        }
    }

    /// Close all of them, for ever, and give them back.
    pub fn close(&self) -> Vec<Arc<Peer<C>>> {
        self.closed.store(true, Ordering::SeqCst);
        let peers: Vec<_> = lock(&self.map).values().cloned().collect();
        peers.iter().for_each(|peer| peer.close());
        peers
    }

    /// What has been exchanged with each.
    #[must_use]
    pub fn traffic(&self) -> Vec<(NodeId, Traffic)> {
        let with = |peer: &Peer<C>| Traffic { waiting: peer.mailbox.len() as u64, ..peer.traffic.read() };
        lock(&self.map).iter().map(|(id, peer)| (*id, with(peer))).collect()
    }
}
