//! A link that is fed arbitrary bytes in arbitrary pieces, between calls of its server in any order, never panics, reserves
//! no more than has come, hears nothing before the hello was admitted, and is silent once it is over.
#![no_main]

use std::mem;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use raft_core::{Bytes, Config, EntryId, FRAME_BYTES_MAX, NodeId, SnapshotMeta, Term};
use raft_std_driver::net::wire::{self, FrameHeader};
use raft_std_driver::net::{Channel, Frame, Heard, Hello, Link, LinkConfig, Offer, Refusal, Security};
use raft_std_driver::storage::ClusterId;
use raft_std_driver::tls::TlsConfig;

/// A frame may get so much memory before any of it has come.
const RESERVED_BYTES_MAX: usize = 2 << 20;

static TLS: LazyLock<Security> = LazyLock::new(|| {
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(["cluster".to_owned()]).map(|mut params| {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params
    });
    let authority = rcgen::CertifiedIssuer::self_signed(params.expect("an authority"), key).expect("an authority");
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(["node-2".to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, &authority).expect("a certificate").pem();
    let tls = TlsConfig::bytes(certificate, key.serialize_pem(), authority.pem()).load(NodeId(2));
    Security::Tls(tls.expect("it is all right").credentials())
});

/// Takes what to do off the front.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn bytes(&mut self) -> &'a [u8] {
        let count = usize::from(self.byte().unwrap_or(0)).min(self.0.len());
        let (bytes, rest) = self.0.split_at(count);
        self.0 = rest;
        bytes
    }
}

struct Run {
    link: Link,
    now: Instant,
    dials: bool,
    /// Its server has heard the hello and has not decided.
    asked: bool,
    admitted: bool,
    fed: usize,
    over: bool,
}

impl Run {
    fn feed(&mut self, mut bytes: &[u8], piece: usize) {
        while self.link.wants_read() && !bytes.is_empty() {
            let room = self.link.room();
            assert!(!room.is_empty(), "an empty read would look like the end");
            assert!(room.len() <= RESERVED_BYTES_MAX + self.fed, "{} bytes for {}", room.len(), self.fed);
            let count = room.len().min(piece.max(1)).min(bytes.len());
            room[..count].copy_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            self.fed += count;
            self.link.received(count, self.now);
            self.listen();
        }
    }

    fn listen(&mut self) {
        loop {
            match self.link.next(self.now) {
                Ok(None) => return,
                Ok(Some(heard)) => {
                    assert!(!self.over, "it was over: {heard:?}");
                    match heard {
                        Heard::Stranger { .. } => assert!(!self.dials && !self.admitted && !self.asked),
                        Heard::Hello(_) => {
                            assert!(!self.dials && !self.admitted && !self.asked);
                            self.asked = true;
                        }
                        Heard::Admitted => {
                            assert!(self.dials && !self.admitted);
                            self.admitted = true;
                        }
                        heard => assert!(self.admitted, "{heard:?} before the hello was admitted"),
                    }
                }
                Err(error) => {
                    let _ = error.to_string();
                    assert!(!self.over, "it was over: {error}");
                }
            }
        }
    }

    /// What its server may do at any time, in turn or not.
    fn act(&mut self, what: u8, script: &mut Script<'_>) {
        let now = self.now;
        match what {
            0 => {
                self.link.admit(now);
                self.admitted |= mem::take(&mut self.asked) && !self.link.is_over();
            }
            1 => {
                self.link.refuse(Refusal::Crowded, now);
                self.asked = false;
            }
            2 => {
                if let Ok(frame) = Frame::whole(script.bytes()) {
                    self.link.send(frame, now);
                }
            }
            3 => {
                let meta = SnapshotMeta { last: EntryId::new(3, 4), ..SnapshotMeta::default() };
                let length = u64::from(script.byte().unwrap_or(0));
                let _ = self.link.offer(&Offer { term: Term(3), meta, length }, now);
            }
            4 => {
                if let Some(count) = self.link.wants_chunk() {
                    let _ = self.link.chunk(Bytes::from(vec![1; count]), now);
                }
            }
            5 => {
                let _ = self.link.chunk(Bytes::copy_from_slice(script.bytes()), now);
            }
            6 => self.link.take(now),
            7 => self.link.stored(usize::from(script.byte().unwrap_or(0)), now),
            8 => self.link.confirm(now),
            9 => self.link.fail(now),
            10 => {
                self.now += Duration::from_millis(100 * u64::from(script.byte().unwrap_or(0)));
                let _ = self.link.expire(self.now);
            }
            11 if self.link.wants_read() => self.link.received(0, now),
            _ => {
                let mut slices = Vec::new();
                self.link.unsent(&mut slices);
                let count = slices.iter().map(|slice| slice.len()).sum::<usize>();
                self.link.written(count.min(usize::from(script.byte().unwrap_or(0)) * 16), now);
            }
        }
        self.listen();
    }

    fn check(&mut self) {
        self.over |= self.link.is_over();
        assert_eq!(self.over, self.link.is_over(), "what is over stays over");
        if self.over {
            assert!(!self.link.wants_read() && !self.link.wants_write() && self.link.due().is_none());
        }
    }
}

fn framed(body: &[u8]) -> Vec<u8> {
    match FrameHeader::new(body.len(), crc32c::crc32c(body), FRAME_BYTES_MAX) {
        Ok(header) => [&header.encode()[..], body].concat(),
        Err(_) => Vec::new(),
    }
}

fuzz_target!(|data: &[u8]| {
    let mut script = Script(data);
    let kind = script.byte().unwrap_or(0);
    let (dials, channel) = (kind & 1 == 0, if kind & 2 == 0 { Channel::Messages } else { Channel::Snapshot });
    let security = if kind & 4 == 0 { Security::Open } else { TLS.clone() };
    let (now, cluster) = (Instant::now(), ClusterId(7));
    let config = Arc::new(LinkConfig { chunk_bytes: 16, ..LinkConfig::new(cluster, &Config::new(NodeId(2))) });
    let link = match dials {
        true => Link::dial(&config, &security, NodeId(1), channel, now),
        false => Link::accept(&config, &security, now),
    };
    let link = link.expect("the name is all right");
    let mut run = Run { link, now, dials, asked: false, admitted: false, fed: 0, over: false };
    let hello = Hello { channel, cluster, birth: 0, from: NodeId(1), to: NodeId(2), address: "h:1".to_owned() };
    while let Some(step) = script.byte() {
        let piece = usize::from(step >> 4) * 3 + 1;
        match step & 15 {
            0 => run.feed(script.bytes(), piece),
            1 => run.feed(&hello.encode(), piece),
            2 => run.feed(&wire::encode_answer(Ok(())), piece),
            3 => run.feed(&framed(script.bytes()), piece),
            what => run.act(what - 4 + (step >> 4 & 1) * 6, &mut script),
        }
        run.check();
    }
});
