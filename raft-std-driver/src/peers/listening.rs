//! What the other ends of the connections say.

use std::time::Instant;

use raft_core::{Bytes, Event, NodeId, codec};

use super::links::{Purpose, Stage};
use super::{LinkId, Peers, Way, order_write};
use crate::events::NodeEvent;
use crate::net::wire::{FRAME_HEADER_BYTES, HelloError};
use crate::net::{Channel, Heard, Hello, Refusal, Trouble};

impl Peers {
    /// So many bytes were read into the [`room`](Peers::room) of a connection; none at the end of the stream.
    pub fn received(&mut self, id: LinkId, count: usize, now: Instant) {
        if let Some(link) = self.links.link_mut(id) {
            link.received(count, now);
        }
        self.listen(id, now);
    }

    /// Hear all that has come.
    pub(super) fn listen(&mut self, id: LinkId, now: Instant) {
        while let Some(link) = self.links.link_mut(id) {
            let heard = match link.next(now) {
                Ok(Some(heard)) => self.hear(id, heard, now),
                Ok(None) => break,
                Err(trouble) => Err(trouble),
            };
            if let Err(trouble) = heard {
                self.lose(id, Some(trouble), now);
                return;
            }
        }
        self.ask_for_chunk(id);
        self.finish_if_complete(id);
        self.close_if_over(id);
        let Peers { links, orders, .. } = self;
        if let Some(connection) = links.get_mut(id) {
            order_write(orders, id, connection);
        }
    }

    fn hear(&mut self, id: LinkId, heard: Heard, now: Instant) -> Result<(), Trouble> {
        let Some(purpose) = self.links.get(id).map(|connection| connection.purpose) else { return Ok(()) };
        match (heard, purpose) {
            (Heard::Stranger { .. }, _) if !self.config.strangers => return Err(HelloError::Foreign.into()),
            (Heard::Stranger { first }, Purpose::Lobby) => {
                self.lobby.retain(|waiting| *waiting != id);
                self.links.remove(id);
                self.orders.strangers.push((id, first));
            }
            (Heard::Hello(hello), Purpose::Lobby) => self.greet(id, &hello, now),
            (Heard::Admitted, Purpose::MessagesTo(peer)) => self.way_stands(peer, id, now),
            (Heard::Admitted, Purpose::SnapshotTo(peer)) => self.open_snapshot(peer, id),
            (Heard::Frame(body), Purpose::MessagesFrom(peer)) => self.hear_message(peer, body)?,
            (Heard::Arriving(term), Purpose::MessagesFrom(peer)) => {
                self.word.events.push(Event::Arriving { from: peer, term });
            }
            (Heard::Offer(offer), Purpose::SnapshotFrom(peer)) => self.hear_offer(peer, id, offer),
            (Heard::Chunk(chunk), Purpose::SnapshotFrom(peer)) => self.hear_chunk(peer, id, chunk),
            (Heard::Stored, Purpose::SnapshotTo(peer)) => self.delivered(peer, id),
            // What a chunk is asked for is looked at after this.
            _ => {}
        }
        Ok(())
    }

    fn hear_message(&mut self, from: NodeId, body: Bytes) -> Result<(), Trouble> {
        let bytes = FRAME_HEADER_BYTES + body.len();
        let message = codec::decode_message(body)?;
        if let Some(peer) = self.peer(from) {
            peer.traffic.messages_received += 1;
            peer.traffic.bytes_received += bytes as u64;
        }
        self.word.events.push(Event::Receive { from, message });
        Ok(())
    }

    /// Let a peer in. Its newer connection takes the place of an older one, which has broken or soon will have.
    fn greet(&mut self, id: LinkId, hello: &Hello, now: Instant) {
        self.lobby.retain(|waiting| *waiting != id);
        let Some(peer) = self.peer(hello.from) else {
            if let Some(link) = self.links.link_mut(id) {
                link.refuse(Refusal::UnknownPeer { you: hello.from }, now);
            }
            let from = self.links.get(id).and_then(|connection| connection.from);
            let why = format!("as server {} it is no peer of this one", hello.from);
            self.lines.ended(None, from, &why, now);
            if let Some(connection) = self.links.get_mut(id) {
                connection.purpose = Purpose::Parting;
            }
            return;
        };
        let (older, purpose) = match hello.channel {
            Channel::Messages => (peer.incoming.replace(id), Purpose::MessagesFrom(hello.from)),
            Channel::Snapshot => (peer.receiving.replace(id), Purpose::SnapshotFrom(hello.from)),
        };
        // Who reaches this server can be reached: there is no need to wait out a pause.
        if let Way::Down { retry_at: Some(at) } = &mut peer.way {
            *at = now.min(*at);
        }
        if let Some(connection) = self.links.get_mut(id) {
            connection.purpose = purpose;
            if let Stage::Open(link) = &mut connection.stage {
                link.admit(now);
            }
        }
        if let Some(older) = older {
            self.lose(older, None, now);
            // What ended the older one's use must not end the newer one's.
            if let Some(peer) = self.peer(hello.from) {
                match hello.channel {
                    Channel::Messages => peer.incoming = Some(id),
                    Channel::Snapshot => peer.receiving = Some(id),
                }
            }
        }
        self.dial_due(now);
    }

    /// A peer has let this server in.
    fn way_stands(&mut self, id: NodeId, link: LinkId, now: Instant) {
        self.lines.connected(id);
        let Peers { table, links, .. } = self;
        if let Some(peer) = table.iter_mut().find(|peer| peer.id == id) {
            peer.way = Way::Up { link, since: now };
            peer.traffic.connected = true;
            if let Some(connection) = links.get_mut(link) {
                peer.fill(connection, now);
            }
        }
        self.word.told.push(NodeEvent::Reachable { peer: id });
    }
}
