//! Links can be made safe: who cannot, or is an impostor, hears nothing and is not heard.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use raft_core::NodeId;
use raft_std_driver::transport::Transport;
use raft_std_driver::transport::tcp::TcpConfig;
use raft_std_driver::transport::wire::{ANSWER_BYTES, Channel};
use raft_tokio_driver::transport::link::{BoxFuture, BoxStream, Guard, GuardError, Proof, Secured};
use raft_tokio_driver::transport::tcp::TcpTransport;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::driver::Tested;
use super::support::*;

/// Shows `shown` as a certificate, and looks at the other side's. A certificate of 0 is no good, one of 99 never comes.
#[derive(Debug)]
struct Passport {
    shown: u64,
}

struct Shown(u64);

impl Proof for Shown {
    fn check(&self, claimed: NodeId) -> Result<(), GuardError> {
        if self.0 == claimed.0 { Ok(()) } else { Err(format!("its passport is server {}'s", self.0).into()) }
    }
}

impl Passport {
    async fn exchange(&self, mut stream: BoxStream) -> Result<(BoxStream, u64), GuardError> {
        if self.shown == 99 {
            std::future::pending::<()>().await;
        }
        stream.write_u64(self.shown).await?;
        let theirs = stream.read_u64().await?;
        if theirs == 0 { Err("its passport has expired".into()) } else { Ok((stream, theirs)) }
    }
}

impl Guard for Passport {
    fn secure_outgoing(&self, peer: NodeId, stream: BoxStream) -> BoxFuture<'_, Result<BoxStream, GuardError>> {
        Box::pin(async move {
            let (stream, theirs) = self.exchange(stream).await?;
            Shown(theirs).check(peer)?;
            Ok(stream)
        })
    }

    fn secure_incoming(&self, stream: BoxStream) -> BoxFuture<'_, Result<Secured, GuardError>> {
        Box::pin(async move {
            let (stream, theirs) = self.exchange(stream).await?;
            Ok((stream, Box::new(Shown(theirs)) as Box<dyn Proof>))
        })
    }
}

fn guarded(config: &TcpConfig, shown: u64) -> Server {
    watch_log();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let builder = TcpTransport::builder(config.clone()).guard(Passport { shown });
    let transport = runtime.block_on(builder.bind("127.0.0.1:0")).unwrap();
    let transport = Tested { transport, runtime };
    ServerOn { id: config.id, transport, ear: Arc::new(Endpoint(Recorder::default())) }
}

fn acquaint(one: Server, other: Server) -> (Server, Server) {
    let ((here, there), (id, other_id)) = ((one.address(), other.address()), (one.id.0, other.id.0));
    (one.knows(other_id, there).start(), other.knows(id, here).start())
}

#[test]
fn who_shows_a_good_passport_is_heard() {
    let (one, other) = acquaint(guarded(&config(401), 401), guarded(&config(402), 402));
    one.send(402, vote(1));
    other.send(401, vote(2));
    other.heard().wait("a vote", |heard| heard.messages == [(NodeId(401), vote(1))]);
    one.heard().wait("a vote", |heard| heard.messages == [(NodeId(402), vote(2))]);
    assert!(!logged(&["node=401 ", "links are open"]));
}

#[test]
fn open_links_are_told_of() {
    let _open = Server::bind(&config(411)).start();
    assert!(logged(&["node=411 ", "links are open"]));
}

/// Each way in which a link cannot be had.
#[test]
fn others_are_turned_away() {
    let strict = guarded(&config(421), 421);
    let expired = guarded(&config(422), 0);
    let (strict, expired) = acquaint(strict, expired);
    poll("both sides' lines", || {
        logged(&["node=421 ", "disconnected", "the link cannot be made safe: its passport has expired"])
            && logged(&[
                "node=421 peer=422 ",
                "no way to a peer",
                "the link cannot be made safe: its passport has expired",
            ])
    });
    assert!(expired.heard().look(|heard| heard.messages.is_empty()));
    let wrong = guarded(&config(423), 424).knows(421, strict.address()).start();
    let address = wrong.address();
    let strict = strict.knows(423, address);
    poll("both lines", || {
        logged(&["node=421 ", "disconnected", "it claims to be server 423, but its passport is server 424's"])
            && logged(&["node=421 peer=423 ", "no way to a peer", "its passport is server 424's"])
    });
    wrong.send(421, vote(1));
    assert!(strict.heard().look(|heard| heard.messages.is_empty()));
}

/// Who claims to be another is told nothing at all: neither that it is no peer, nor of which cluster this is.
#[test]
fn an_impostor_gets_no_answer() {
    let strict = guarded(&config(431), 431).knows(432, "127.0.0.1:1".parse().unwrap()).start();
    for claimed in [432, 439] {
        let mut raw = Raw::connect(strict.address());
        raw.write(&438_u64.to_be_bytes());
        assert_eq!(raw.read(), 431_u64.to_be_bytes());
        raw.write(&hello(claimed, 431, Channel::Messages).encode());
        let mut answer = Vec::new();
        // The end may be a reset.
        let _end = raw.0.read_to_end(&mut answer);
        assert_eq!(answer, [], "server {claimed}");
    }
    let mut honest = Raw::connect(strict.address());
    honest.write(&438_u64.to_be_bytes());
    honest.read::<8>();
    honest.write(&hello(438, 431, Channel::Messages).encode());
    honest.read::<ANSWER_BYTES>();
}

/// Making a link safe counts as part of the handshake.
#[test]
fn a_guard_that_never_ends_is_given_up() {
    let limit = Duration::from_millis(200);
    let slow = guarded(&TcpConfig { handshake_timeout: limit, ..config(441) }, 99);
    let (slow, other) = acquaint(slow, guarded(&config(442), 442));
    let timed_out = std::io::Error::from(std::io::ErrorKind::TimedOut).to_string();
    poll("both lines", || {
        logged(&["node=441 peer=442 ", "no way to a peer", &timed_out])
            && logged(&["node=441 ", "disconnected", &timed_out])
    });
    drop(other);
    slow.transport.shutdown();
}
