//! A server's connections to its peers, without sockets: their state, when to connect again, the send queue of each peer, and the
//! snapshot transfers.
//!
//! A loop owns the sockets. It tells what happens to them ([`accepted`](Peers::accepted), [`connected`](Peers::connected),
//! [`received`](Peers::received), [`written`](Peers::written), [`broken`](Peers::broken)), and carries out the
//! [`Orders`]. What peers say comes out as events for the core; work on snapshots' files comes out as jobs.
//!
//! Each server connects to each peer, and only sends on that connection; replies come on the connection that the peer made. A
//! snapshot has a connection of its own.

mod backoff;
mod lines;
mod links;
mod listening;
#[cfg(test)]
mod tests;
mod transfers;

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use raft_core::{Entries, EntryId, Event, Message, NodeId, Rpc, codec};

use self::backoff::Backoff;
use self::lines::Lines;
pub use self::links::LinkId;
use self::links::{Connection, Links, Purpose, Stage};
use self::transfers::Sending;
pub(crate) use self::transfers::{TransferDone, TransferJob};
use crate::events::NodeEvent;
use crate::net::{Channel, Frame, Link, LinkConfig, Outbox, Posted, Security, Tail, Trouble, Urgency};
#[cfg(feature = "tls")]
use crate::tls::Tls;
use crate::traffic::Traffic;

/// Whether connections are made safe.
#[derive(Clone, Debug)]
pub enum Protection {
    /// No: whoever reaches them can read and forge what servers say to each other.
    Open,
    /// By TLS: each connection by what the certificates are when it is made.
    #[cfg(feature = "tls")]
    Tls(Tls),
}

#[cfg(feature = "tls")]
impl From<&Tls> for Protection {
    fn from(tls: &Tls) -> Protection {
        Protection::Tls(tls.clone())
    }
}

impl Protection {
    /// Of a new connection.
    fn now(&self) -> Security {
        match self {
            Protection::Open => Security::Open,
            #[cfg(feature = "tls")]
            Protection::Tls(tls) => Security::Tls(tls.credentials()),
        }
    }
}

/// What the loop is to do with sockets.
#[derive(Debug, Default)]
pub struct Orders {
    /// Connect to these addresses, each a `host:port`.
    pub connect: Vec<(LinkId, String)>,
    /// Write what [`unsent`](Peers::unsent) gives.
    pub write: Vec<LinkId>,
    /// Read again: this one was full, and has room now.
    pub read: Vec<LinkId>,
    /// Close these.
    pub close: Vec<LinkId>,
    /// These speak another protocol, and began with these bytes: they are the loop's to serve or to close.
    pub strangers: Vec<(LinkId, [u8; 8])>,
}

impl Orders {
    /// Whether nothing is to be done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Orders { connect, write, read, close, strangers } = self;
        connect.is_empty() && write.is_empty() && read.is_empty() && close.is_empty() && strangers.is_empty()
    }

    /// Take these as well.
    pub fn append(&mut self, others: &mut Orders) {
        self.connect.append(&mut others.connect);
        self.write.append(&mut others.write);
        self.read.append(&mut others.read);
        self.close.append(&mut others.close);
        self.strangers.append(&mut others.strangers);
    }
}

/// What comes out for the server.
#[derive(Default)]
pub(crate) struct Word {
    /// For the core.
    pub(crate) events: Vec<Event>,
    /// For who works on snapshots' files.
    pub(crate) jobs: Vec<TransferJob>,
    /// For who watches.
    pub(crate) told: Vec<NodeEvent>,
}

/// The connections of one server.
pub struct Peers {
    config: Arc<LinkConfig>,
    protection: Protection,
    /// In the order of their ids. A cluster is small.
    table: Vec<Peer>,
    links: Links,
    /// Who has not said who it is, the oldest first.
    lobby: VecDeque<LinkId>,
    /// The entries that were encoded last: a batch goes to every follower.
    encoded: Option<(EntryId, EntryId, Tail)>,
    lines: Lines,
    orders: Orders,
    word: Word,
}

/// One peer.
struct Peer {
    id: NodeId,
    address: String,
    outbox: Outbox,
    way: Way,
    backoff: Backoff,
    /// The connection for its messages.
    incoming: Option<LinkId>,
    sending: Option<Sending>,
    /// The connection for a snapshot from it.
    receiving: Option<LinkId>,
    traffic: Traffic,
}

/// The connection for messages to a peer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// There is none. It is made at this time, or never, if nobody knows where the peer is.
    Down { retry_at: Option<Instant> },
    /// It is being made.
    Dialing(LinkId),
    /// It stands since then.
    Up { link: LinkId, since: Instant },
}

impl Peers {
    pub(crate) fn new(config: LinkConfig, protection: Protection) -> Peers {
        Peers {
            lines: Lines::new(config.id),
            config: Arc::new(config),
            protection,
            table: Vec::new(),
            links: Links::default(),
            lobby: VecDeque::new(),
            encoded: None,
            orders: Orders::default(),
            word: Word::default(),
        }
    }

    /// Replace the list of peers and their addresses. Connections to a peer that is not in the list, or has another address in it, are
    /// closed. This server itself is left out, so that one list can serve all.
    pub(crate) fn set_table(&mut self, members: &[(NodeId, String)], now: Instant) {
        let stays = |peer: &Peer| members.iter().any(|(id, address)| *id == peer.id && *address == peer.address);
        let gone: Vec<NodeId> = self.table.iter().filter(|peer| !stays(peer)).map(|peer| peer.id).collect();
        for id in gone {
            self.forget(id, now);
        }
        for (id, address) in members.iter().filter(|(id, _)| *id != self.config.id) {
            if let Err(place) = self.place(*id) {
                if address.is_empty() {
                    self.lines.no_address(*id, now);
                }
                let peer = Peer {
                    id: *id,
                    address: address.clone(),
                    outbox: Outbox::new(&self.config),
                    way: Way::Down { retry_at: Some(now).filter(|_| !address.is_empty()) },
                    backoff: Backoff::new(&self.config, *id),
                    incoming: None,
                    sending: None,
                    receiving: None,
                    traffic: Traffic::default(),
                };
                self.table.insert(place, peer);
            }
        }
        self.dial_due(now);
    }

    fn forget(&mut self, id: NodeId, now: Instant) {
        let of = |purpose| match purpose {
            Purpose::MessagesTo(peer)
            | Purpose::MessagesFrom(peer)
            | Purpose::SnapshotTo(peer)
            | Purpose::SnapshotFrom(peer) => peer == id,
            Purpose::Lobby | Purpose::Parting => false,
        };
        let links: Vec<LinkId> =
            self.links.iter().filter(|(_, connection)| of(connection.purpose)).map(|(link, _)| link).collect();
        for link in links {
            self.lose(link, None, now);
        }
        if let Ok(place) = self.place(id) {
            self.table.remove(place);
        }
    }

    fn place(&self, id: NodeId) -> Result<usize, usize> {
        self.table.binary_search_by_key(&id, |peer| peer.id)
    }

    fn peer(&mut self, id: NodeId) -> Option<&mut Peer> {
        let place = self.place(id).ok()?;
        self.table.get_mut(place)
    }

    /// Send a message, or drop it: then the core hears that the peer is unreachable.
    pub(crate) fn send(&mut self, to: NodeId, message: &Message, now: Instant) {
        let Some(frame) = self.encode(message) else { return };
        let Some(peer) = self.peer(to) else { return };
        let urgency = Urgency::of(message);
        if let Way::Down { .. } = peer.way {
            if urgency == Urgency::Append {
                peer.traffic.appends_dropped += 1;
                self.word.events.push(Event::Unreachable { peer: to });
            }
            return;
        }
        if let Posted::Overflowed { lost } = peer.outbox.post(frame, urgency) {
            peer.traffic.appends_dropped += lost as u64;
            self.lines.overflowed(to, lost, now);
            self.word.events.push(Event::Unreachable { peer: to });
        }
    }

    /// The entries are encoded once, however many followers they go to.
    fn encode(&mut self, message: &Message) -> Option<Frame> {
        let tail = match &message.rpc {
            Rpc::AppendEntries { entries, .. } if !entries.is_empty() => Some(self.tail(entries)?),
            _ => None,
        };
        // No message of a server with a sound configuration is too large.
        let frame = Frame::message(message, tail.as_ref());
        frame.inspect_err(|error| tracing::error!(node = self.config.id.0, %error, "cannot send")).ok()
    }

    fn tail(&mut self, entries: &Entries) -> Option<Tail> {
        let (first, last) = (entries.first()?, entries.last()?);
        if let Some((from, to, tail)) = &self.encoded
            && (*from, *to) == (first, last)
        {
            return Some(tail.clone());
        }
        let mut bytes = Vec::new();
        codec::encode_entries(entries, &mut bytes).ok()?;
        let tail = Tail::new(bytes.into());
        self.encoded = Some((first, last, tail.clone()));
        Some(tail)
    }

    /// Let what waits for the peers be written; to be called at the end of each round.
    pub(crate) fn flush(&mut self, now: Instant) {
        // A batch goes to all followers in one round; kept longer, it would only take memory.
        self.encoded = None;
        let Peers { table, links, orders, .. } = self;
        for peer in table.iter_mut().filter(|peer| !peer.outbox.is_empty()) {
            if let Way::Up { link, .. } = peer.way
                && let Some(connection) = links.get_mut(link)
            {
                peer.fill(connection, now);
                order_write(orders, link, connection);
            }
        }
    }

    /// Let time pass: connect to who is to be connected to again, and give up what has taken too long.
    pub(crate) fn pass_time(&mut self, now: Instant) {
        let late = |connection: &Connection| connection.due().is_some_and(|due| due <= now);
        let late: Vec<LinkId> = self.links.iter().filter(|(_, link)| late(link)).map(|(id, _)| id).collect();
        for id in late {
            match self.links.link_mut(id).map(|link| link.expire(now)) {
                None => self.lose(id, Some(io::Error::from(io::ErrorKind::TimedOut).into()), now),
                Some(Err(trouble)) => self.lose(id, Some(trouble), now),
                Some(Ok(())) => self.close_if_over(id),
            }
        }
        self.dial_due(now);
    }

    fn dial_due(&mut self, now: Instant) {
        let due = |peer: &Peer| matches!(peer.way, Way::Down { retry_at: Some(at) } if at <= now);
        let due: Vec<NodeId> = self.table.iter().filter(|peer| due(peer)).map(|peer| peer.id).collect();
        for id in due {
            if let Some(link) = self.dial(id, Purpose::MessagesTo(id), now)
                && let Some(peer) = self.peer(id)
            {
                peer.way = Way::Dialing(link);
            }
        }
    }

    /// Have the loop connect to a peer, if anybody knows where it is.
    fn dial(&mut self, to: NodeId, purpose: Purpose, now: Instant) -> Option<LinkId> {
        let address = self.peer(to).map(|peer| peer.address.clone()).filter(|address| !address.is_empty())?;
        let stage = Stage::Connecting { deadline: now.checked_add(self.config.connect_timeout) };
        let link = self.links.insert(Connection { purpose, stage, from: None, finishing: false, writing: false });
        self.orders.connect.push((link, address));
        Some(link)
    }

    /// When [`pass_time`](Peers::pass_time) has something to do.
    pub(crate) fn due(&self) -> Option<Instant> {
        let retries = self.table.iter().filter_map(|peer| match peer.way {
            Way::Down { retry_at } => retry_at,
            Way::Dialing(_) | Way::Up { .. } => None,
        });
        self.links.iter().filter_map(|(_, connection)| connection.due()).chain(retries).min()
    }

    /// A socket was accepted.
    pub fn accepted(&mut self, from: SocketAddr, now: Instant) -> Option<LinkId> {
        let link = match Link::accept(&self.config, &self.protection.now(), now) {
            Ok(link) => Stage::Open(Box::new(link)),
            Err(trouble) => {
                self.lines.ended(None, Some(from), &trouble, now);
                return None;
            }
        };
        let connection =
            Connection { purpose: Purpose::Lobby, stage: link, from: Some(from), finishing: false, writing: false };
        let link = self.links.insert(connection);
        self.lobby.push_back(link);
        if self.lobby.len() > self.config.handshakes_max.max(1)
            && let Some(oldest) = self.lobby.pop_front()
        {
            self.lines.crowded(now);
            self.lose(oldest, None, now);
        }
        Some(link)
    }

    /// A socket is connected.
    pub fn connected(&mut self, id: LinkId, now: Instant) {
        let (peer, channel) = match self.links.get(id).map(|connection| connection.purpose) {
            Some(Purpose::MessagesTo(peer)) => (peer, Channel::Messages),
            Some(Purpose::SnapshotTo(peer)) => (peer, Channel::Snapshot),
            _ => return,
        };
        match Link::dial(&self.config, &self.protection.now(), peer, channel, now) {
            Ok(link) => {
                let Peers { links, orders, .. } = self;
                if let Some(connection) = links.get_mut(id) {
                    connection.stage = Stage::Open(Box::new(link));
                    order_write(orders, id, connection);
                }
            }
            Err(trouble) => self.lose(id, Some(trouble), now),
        }
    }

    /// A socket could not be connected, or has failed.
    pub fn broken(&mut self, id: LinkId, error: io::Error, now: Instant) {
        self.lose(id, Some(error.into()), now);
    }

    /// Whether the socket is to be read.
    pub fn wants_read(&self, id: LinkId) -> bool {
        self.links.link(id).is_some_and(Link::wants_read)
    }

    /// Where the socket is to be read into.
    pub fn room(&mut self, id: LinkId) -> &mut [u8] {
        self.links.link_mut(id).map(Link::room).unwrap_or_default()
    }

    /// What is to be written, in one vectored write.
    pub fn unsent<'a>(&'a self, id: LinkId, slices: &mut Vec<IoSlice<'a>>) {
        if let Some(link) = self.links.link(id) {
            link.unsent(slices);
        }
    }

    /// So much of it was written. Whether there is more.
    pub fn written(&mut self, id: LinkId, count: usize, now: Instant) -> bool {
        let Peers { links, table, .. } = self;
        let Some(connection) = links.get_mut(id) else { return false };
        let Stage::Open(link) = &mut connection.stage else { return false };
        link.written(count, now);
        if let Purpose::MessagesTo(to) = connection.purpose
            && let Some(peer) = table.iter_mut().find(|peer| peer.id == to)
        {
            peer.fill(connection, now);
        }
        self.ask_for_chunk(id);
        self.close_if_over(id);
        let wants = self.links.link(id).is_some_and(Link::wants_write);
        if let Some(connection) = self.links.get_mut(id) {
            connection.writing = wants;
        }
        wants
    }

    /// A connection has no use any more; why, if that is worth telling.
    fn lose(&mut self, id: LinkId, trouble: Option<Trouble>, now: Instant) {
        let Some(connection) = self.links.get_mut(id) else { return };
        let (purpose, from) = (std::mem::replace(&mut connection.purpose, Purpose::Parting), connection.from);
        match purpose {
            Purpose::Lobby => {
                self.lobby.retain(|waiting| *waiting != id);
                if let Some(trouble) = trouble {
                    self.lines.ended(None, from, &trouble, now);
                }
            }
            Purpose::MessagesTo(peer) => self.lose_way(peer, trouble, now),
            Purpose::MessagesFrom(peer) => {
                if let Some(of) = self.peer(peer) {
                    of.incoming.take_if(|link| *link == id);
                }
                // That a connection ends tells nothing new: the connection to that peer says so too.
                if let Some(trouble) = trouble.filter(|trouble| !matches!(trouble, Trouble::Ended)) {
                    self.lines.ended(Some(peer), from, &trouble, now);
                }
            }
            Purpose::SnapshotTo(peer) => self.lose_sending(peer, id, trouble, now),
            Purpose::SnapshotFrom(peer) => self.lose_receiving(peer, id, trouble, now),
            Purpose::Parting => {}
        }
        // Whatever else the other end says, nobody would hear it any more.
        if !self.links.link(id).is_some_and(Link::is_parting) {
            self.close(id);
        } else if let Some(connection) = self.links.get_mut(id) {
            order_write(&mut self.orders, id, connection);
        }
    }

    /// The connection for messages to a peer is gone, and its mail with it.
    fn lose_way(&mut self, id: NodeId, trouble: Option<Trouble>, now: Instant) {
        let stall = self.config.backoff_max;
        let Some(peer) = self.peer(id) else { return };
        let stood = match peer.way {
            Way::Up { since, .. } => Some(now.saturating_duration_since(since)),
            Way::Dialing(_) | Way::Down { .. } => None,
        };
        let lost = peer.outbox.clear();
        peer.traffic.appends_dropped += lost as u64;
        peer.traffic.connected = false;
        let lasted = stood.is_some_and(|time| time > stall);
        if lasted {
            peer.backoff.reset();
        }
        peer.way = Way::Down { retry_at: now.checked_add(peer.backoff.pause()) };
        if lasted {
            self.lines.stood(id);
        }
        if let Some(trouble) = trouble {
            self.lines.no_way(id, &trouble, now);
        }
        // What was written last may be lost as well, and nobody else would say so.
        if stood.is_some() || lost > 0 {
            self.word.told.push(NodeEvent::Unreachable { peer: id });
            self.word.events.push(Event::Unreachable { peer: id });
        }
    }

    fn close_if_over(&mut self, id: LinkId) {
        if self.links.link(id).is_some_and(Link::is_over) {
            self.close(id);
        }
    }

    fn close(&mut self, id: LinkId) {
        if self.links.remove(id).is_some() {
            self.orders.close.push(id);
        }
    }

    /// Take the orders; they are added to `orders`.
    pub(crate) fn take_orders(&mut self, orders: &mut Orders) {
        orders.append(&mut self.orders);
    }

    /// Whether there is something for the server.
    pub(crate) fn has_word(&self) -> bool {
        !(self.word.events.is_empty() && self.word.jobs.is_empty() && self.word.told.is_empty())
    }

    pub(crate) fn word(&mut self) -> &mut Word {
        &mut self.word
    }

    /// What has been exchanged with each peer, and how it stands with it.
    pub(crate) fn traffic(&self) -> impl Iterator<Item = (NodeId, Traffic)> {
        self.table.iter().map(|peer| (peer.id, Traffic { waiting: peer.outbox.len() as u64, ..peer.traffic }))
    }
}

impl Peer {
    /// Move what waits into its connection.
    fn fill(&mut self, connection: &mut Connection, now: Instant) {
        if let Stage::Open(link) = &mut connection.stage {
            let before = link.unsent_bytes();
            self.traffic.messages_sent += self.outbox.fill(link, now) as u64;
            self.traffic.bytes_sent += link.unsent_bytes().saturating_sub(before) as u64;
        }
    }
}

/// Have the loop write, unless it has been asked already.
fn order_write(orders: &mut Orders, id: LinkId, connection: &mut Connection) {
    if let Stage::Open(link) = &connection.stage
        && link.wants_write()
        && !std::mem::replace(&mut connection.writing, true)
    {
        orders.write.push(id);
    }
}
