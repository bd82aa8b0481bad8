//! TLS on one connection, by rustls without its sockets. The accepting side's answer to the hello is the proof that it has
//! accepted the dialing side's certificate: nothing else is sent before it.

use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::Instant;

use raft_core::NodeId;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConnection, Connection, ServerConnection};

use super::input::Input;
use super::output::Output;
use super::trouble::Trouble;
use crate::tls::{Credentials, PROTOCOL, TlsError};

/// How every TLS connection begins: with a record of the handshake, or with an alert that says why there will be none.
const FIRST_RECORDS: [u8; 2] = [0x16, 0x15];

/// Kind, version, length.
const RECORD_HEADER_BYTES: usize = 5;

/// So many encrypted bytes may wait before no more is encrypted.
const PENDING_BYTES_MAX: usize = 64 << 10;

/// About as much is encrypted at once: one record.
const RECORD_BYTES: usize = 16 << 10;

pub(super) struct Encryption {
    connection: Connection,
    credentials: Arc<Credentials>,
    stage: Stage,
    /// Encrypted bytes that have come.
    incoming: Input,
    records: Records,
    /// Encrypted bytes that are to be written.
    outgoing: Vec<u8>,
}

enum Stage {
    /// Nothing has come.
    Fresh,
    /// TLS is being agreed, or is.
    Begun,
    /// Nothing that comes is looked at any more.
    Failed,
}

/// Where in the stream of records the next byte stands. Their lengths have no checksum: a damaged one would make the
/// connection wait for bytes that do not come.
#[derive(Clone, Copy)]
enum Records {
    Between,
    Header { began: Instant, length: [u8; 2], filled: usize },
    Body { began: Instant, left: usize },
}

impl Records {
    fn pass(&mut self, mut bytes: &[u8], now: Instant) {
        while let Some((&first, rest)) = bytes.split_first() {
            (*self, bytes) = match *self {
                Records::Between => (Records::Header { began: now, length: [0; 2], filled: 1 }, rest),
                Records::Header { began, length: [_, high], filled } => {
                    let length = [high, first];
                    let body = match usize::from(u16::from_be_bytes(length)) {
                        0 => Records::Between,
                        left => Records::Body { began, left },
                    };
                    let header = Records::Header { began, length, filled: filled + 1 };
                    (if filled + 1 < RECORD_HEADER_BYTES { header } else { body }, rest)
                }
                Records::Body { began, left } => match bytes.get(left..) {
                    Some(behind) => (Records::Between, behind),
                    None => (Records::Body { began, left: left - bytes.len() }, &[][..]),
                },
            };
        }
    }
}

impl Encryption {
    pub(super) fn dial(credentials: &Arc<Credentials>, peer: NodeId) -> Result<Encryption, Trouble> {
        let name = credentials.naming().name(peer)?;
        let connection = ClientConnection::new(Arc::clone(credentials.client()), name);
        Ok(Encryption::new(connection.map_err(|error| TlsError::from(&error))?.into(), credentials))
    }

    pub(super) fn accept(credentials: &Arc<Credentials>) -> Result<Encryption, Trouble> {
        let connection = ServerConnection::new(Arc::clone(credentials.server()));
        Ok(Encryption::new(connection.map_err(|error| TlsError::from(&error))?.into(), credentials))
    }

    fn new(connection: Connection, credentials: &Arc<Credentials>) -> Encryption {
        let credentials = Arc::clone(credentials);
        let (stage, incoming, records) = (Stage::Fresh, Input::new(), Records::Between);
        Encryption { connection, credentials, stage, incoming, records, outgoing: Vec::new() }
    }

    pub(super) fn room(&mut self) -> &mut [u8] {
        self.incoming.room()
    }

    pub(super) fn has_room(&self) -> bool {
        self.incoming.has_room()
    }

    pub(super) fn filled(&mut self, count: usize, now: Instant) {
        let before = self.incoming.waiting().len();
        self.incoming.filled(count);
        self.records.pass(self.incoming.waiting().get(before..).unwrap_or_default(), now);
    }

    /// When the record began of which a part has come.
    pub(super) fn record_began(&self) -> Option<Instant> {
        match self.records {
            Records::Between => None,
            Records::Header { began, .. } | Records::Body { began, .. } => Some(began),
        }
    }

    /// Move plaintext into `input`, as far as there is room. Returns whether anything went on.
    pub(super) fn decrypt(&mut self, input: &mut Input) -> Result<bool, Trouble> {
        let decrypted = self.try_decrypt(input);
        if decrypted.is_err() {
            self.stage = Stage::Failed;
        }
        decrypted
    }

    fn try_decrypt(&mut self, input: &mut Input) -> Result<bool, Trouble> {
        match (&self.stage, self.incoming.waiting().first()) {
            (Stage::Failed, _) => {
                self.incoming.clear();
                return Ok(false);
            }
            (Stage::Fresh, Some(&first)) if !FIRST_RECORDS.contains(&first) => return Err(Trouble::NotTls),
            (Stage::Fresh, Some(_)) => self.stage = Stage::Begun,
            (Stage::Fresh, None) | (Stage::Begun, _) => {}
        }
        let mut went_on = self.take_plaintext(input)?;
        while !input.room().is_empty() && !self.incoming.waiting().is_empty() {
            let mut waiting = self.incoming.waiting();
            let read = self.connection.read_tls(&mut waiting)?;
            if read == 0 {
                break;
            }
            self.incoming.skip(read);
            self.connection.process_new_packets().map_err(|error| TlsError::from(&error))?;
            self.take_plaintext(input)?;
            went_on = true;
        }
        Ok(went_on)
    }

    fn take_plaintext(&mut self, input: &mut Input) -> Result<bool, Trouble> {
        let mut any = false;
        loop {
            let room = input.room();
            if room.is_empty() {
                return Ok(any);
            }
            match self.connection.reader().read(room) {
                // The other end has said farewell.
                Ok(0) => {
                    input.end();
                    return Ok(any);
                }
                Ok(count) => input.filled(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(any),
                Err(error) => return Err(error.into()),
            }
            any = true;
        }
    }

    /// Encrypt what waits, as far as there is room, and fetch what TLS itself has to say.
    pub(super) fn encrypt(&mut self, output: &mut Output) {
        self.fetch();
        while !self.connection.is_handshaking() && self.outgoing.len() < PENDING_BYTES_MAX {
            let Some(first) = output.iter().next() else { return };
            let record = first.get(..RECORD_BYTES).unwrap_or(first);
            match self.connection.writer().write(record) {
                Ok(count) if count > 0 => output.written(count),
                // Never: there is room for a record after each fetch.
                _ => return,
            }
            self.fetch();
        }
    }

    /// Writing to memory does not fail.
    fn fetch(&mut self) {
        while self.connection.wants_write() {
            if !self.connection.write_tls(&mut self.outgoing).is_ok_and(|count| count > 0) {
                return;
            }
        }
    }

    /// Whether both ends have shown certificates. The dialing side checks that it has reached the server it looked for.
    pub(super) fn is_secure(&mut self, peer: Option<NodeId>) -> Result<bool, Trouble> {
        if self.connection.is_handshaking() {
            return Ok(false);
        }
        let checked = match (self.connection.alpn_protocol(), self.certificate(), peer) {
            (Some(PROTOCOL), Some(leaf), Some(peer)) => {
                self.credentials.naming().check_certificate(peer, leaf).map_err(TlsError::Peer)
            }
            (Some(PROTOCOL), Some(_), None) => Ok(()),
            (Some(PROTOCOL), None, _) => Err(TlsError::NoCertificate),
            _ => Err(TlsError::OtherProtocol),
        };
        if let Err(error) = checked {
            self.connection.send_close_notify();
            return Err(error.into());
        }
        self.incoming.expect_frames();
        Ok(true)
    }

    pub(super) fn check_name(&self, claimed: NodeId) -> Result<(), Trouble> {
        let leaf = self.certificate().ok_or(TlsError::NoCertificate)?;
        let checked = self.credentials.naming().check_certificate(claimed, leaf);
        checked.map_err(|why| Trouble::Impostor { claimed, why })
    }

    /// The other end's.
    fn certificate(&self) -> Option<&CertificateDer<'static>> {
        self.connection.peer_certificates().and_then(<[_]>::first)
    }

    /// What is to be written.
    pub(super) fn pending(&self) -> &[u8] {
        &self.outgoing
    }

    pub(super) fn written(&mut self, count: usize) {
        self.outgoing.drain(..count.min(self.outgoing.len()));
    }
}
