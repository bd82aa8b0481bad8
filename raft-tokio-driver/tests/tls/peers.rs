//! Two ends of a connection, ours or of another make.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use raft_core::{Config, NodeId};
use raft_std_driver::net::{Channel, Frame, Heard, Link, LinkConfig, Security, Trouble};
use raft_std_driver::storage::ClusterId;
use raft_tokio_driver::tls::{Tls, TlsError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::time_provider::TimeProvider;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion, version};

use crate::certs::{Authority, Issued};

/// Longer than anything here takes, and shorter than a person's patience.
const LIMIT: Duration = Duration::from_secs(30);

pub(crate) const PROTOCOL: &[u8] = b"raft-tls/2";

pub(crate) async fn in_time<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(LIMIT, future).await.expect("it ends within the limit")
}

/// Both ends of a TCP connection: who connected, who accepted.
pub(crate) async fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (connected, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    (connected.unwrap(), accepted.unwrap().0)
}

/// Why a connection ended.
pub(crate) type Fault = TlsError;

/// A connection of ours, and its socket.
pub(crate) struct Ours {
    link: Link,
    stream: TcpStream,
}

/// The error of one that must have failed.
pub(crate) fn fault<T>(result: Result<T, Fault>) -> Fault {
    match result {
        Ok(_) => panic!("accepted"),
        Err(error) => error,
    }
}

fn config(id: NodeId) -> Arc<LinkConfig> {
    Arc::new(LinkConfig::new(ClusterId(1), &Config::new(id)))
}

/// Connect to whoever is at the other end, taking it for `peer`, until it has let us in.
pub(crate) async fn outgoing(tls: &Tls, peer: u64, stream: TcpStream) -> Result<Ours, Fault> {
    let security = Security::Tls(tls.credentials());
    let link = Link::dial(&config(tls.node()), &security, NodeId(peer), Channel::Messages, Instant::now()).unwrap();
    in_time(Ours { link, stream }.until(|heard| matches!(heard, Heard::Admitted))).await
}

/// Accept whoever is at the other end, and let it in when it has said who it is.
pub(crate) async fn incoming(tls: &Tls, stream: TcpStream) -> Result<Ours, Fault> {
    let link = Link::accept(&config(tls.node()), &Security::Tls(tls.credentials()), Instant::now()).unwrap();
    let mut ours = in_time(Ours { link, stream }.until(|heard| matches!(heard, Heard::Hello(_)))).await?;
    ours.link.admit(Instant::now());
    ours.write().await;
    Ok(ours)
}

impl Ours {
    /// Pass bytes between socket and link until something is heard.
    async fn until(mut self, is_it: impl Fn(&Heard) -> bool) -> Result<Ours, Fault> {
        loop {
            match self.link.next(Instant::now()) {
                Ok(Some(heard)) if is_it(&heard) => return Ok(self),
                Ok(Some(heard)) => panic!("{heard:?}"),
                Ok(None) => {}
                Err(trouble) => {
                    self.part().await;
                    return Err(match trouble {
                        Trouble::Tls(error) => error,
                        Trouble::Impostor { why, .. } => TlsError::Peer(why),
                        other => panic!("{other}"),
                    });
                }
            }
            self.write().await;
            self.read().await;
        }
    }

    async fn read(&mut self) {
        // A connection that is reset has come to its end, too.
        let count = self.stream.read(self.link.room()).await.unwrap_or(0);
        self.link.received(count, Instant::now());
    }

    async fn write(&mut self) {
        while self.link.wants_write() {
            let mut slices = Vec::new();
            self.link.unsent(&mut slices);
            match self.stream.write_vectored(&slices).await {
                Ok(count) => self.link.written(count, Instant::now()),
                Err(_) => return,
            }
        }
    }

    /// Let the other end hear the last words.
    async fn part(&mut self) {
        self.write().await;
        let until = Instant::now() + Duration::from_millis(200);
        while !self.link.is_over() && Instant::now() < until {
            if tokio::time::timeout(Duration::from_millis(200), self.read()).await.is_err() {
                return;
            }
            let _over = self.link.next(Instant::now());
        }
    }
}

/// `from` connects to where it believes `peer` to be, and reaches `to`.
pub(crate) async fn meet(from: &Tls, peer: u64, to: &Tls) -> (Result<Ours, Fault>, Result<Ours, Fault>) {
    let (connected, accepted) = tcp().await;
    tokio::join!(outgoing(from, peer, connected), incoming(to, accepted))
}

/// Frames go through.
pub(crate) async fn talk(near: &mut Ours, far: &mut Ours) {
    let said: Vec<u8> = (0..300_000_u32).map(|i| i.to_le_bytes()[usize::from(i % 3 == 0)]).collect();
    for _ in 0..2 {
        near.link.send(Frame::whole(&said).unwrap(), Instant::now());
        let hear = async {
            loop {
                match far.link.next(Instant::now()).unwrap() {
                    Some(Heard::Frame(heard)) => return heard,
                    Some(_) => {}
                    None => far.read().await,
                }
            }
        };
        let ((), heard) = in_time(async { tokio::join!(near.write(), hear) }).await;
        assert!(heard == said);
    }
}

/// A clock that is wrong by so much.
#[derive(Debug)]
pub(crate) struct Ahead(pub(crate) Duration);

impl TimeProvider for Ahead {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + self.0))
    }
}

fn roots(trusted: &Authority) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.der()).unwrap();
    Arc::new(roots)
}

fn pair(issued: &Issued) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let chain = CertificateDer::pem_slice_iter(issued.certificate.as_bytes()).map(Result::unwrap).collect();
    (chain, PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap())
}

const ANY: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];

/// A client by rustls alone: it checks nothing of its own, and can be made to do wrong.
pub(crate) fn client(trusted: &Authority, own: Option<&Issued>) -> ClientConfig {
    client_of(ANY, trusted, own)
}

pub(crate) fn client_of(
    versions: &[&'static SupportedProtocolVersion],
    trusted: &Authority,
    own: Option<&Issued>,
) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots(trusted));
    let mut config = match own.map(pair) {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config
}

/// A server by rustls alone.
pub(crate) fn server(trusted: &Authority, own: &Issued) -> ServerConfig {
    server_of(ANY, trusted, own)
}

pub(crate) fn server_of(
    versions: &[&'static SupportedProtocolVersion],
    trusted: &Authority,
    own: &Issued,
) -> ServerConfig {
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(trusted), Arc::clone(&provider)).build().unwrap();
    let (chain, key) = pair(own);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config
}

/// What `tls` says of a client by rustls alone that calls it `name`; the client goes on as far as it can.
pub(crate) async fn accept_from(config: ClientConfig, name: &'static str, tls: &Tls) -> TlsError {
    let (connected, accepted) = tcp().await;
    let connect = async {
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        if let Ok(mut stream) = connector.connect(name.try_into().unwrap(), connected).await {
            let _ = stream.write_all(b"hello").await;
            let _ = stream.read_to_end(&mut vec![]).await;
        }
    };
    fault(in_time(async { tokio::join!(connect, incoming(tls, accepted)).1 }).await)
}

/// What `tls` says of a server by rustls alone that it takes for `peer`; the server goes on as far as it can.
pub(crate) async fn connect_to(config: ServerConfig, tls: &Tls, peer: u64) -> TlsError {
    let (connected, accepted) = tcp().await;
    let accept = async {
        if let Ok(mut stream) = tokio_rustls::TlsAcceptor::from(Arc::new(config)).accept(accepted).await {
            let _ = stream.read_to_end(&mut vec![]).await;
        }
    };
    fault(in_time(async { tokio::join!(accept, outgoing(tls, peer, connected)).1 }).await)
}
