//! Two ends of a connection, ours or of another make.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use raft_core::NodeId;
use raft_tokio_driver::tls::{Tls, TlsError};
use raft_tokio_driver::transport::link::{BoxStream, Guard, GuardError, Proof};
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

pub(crate) const PROTOCOL: &[u8] = b"raft-tls/1";

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

pub(crate) type Outgoing = Result<BoxStream, TlsError>;
pub(crate) type Incoming = Result<(BoxStream, Box<dyn Proof>), TlsError>;

pub(crate) fn plain(error: GuardError) -> TlsError {
    *error.downcast::<TlsError>().expect("a guard by TLS fails with its own error")
}

/// The error of one that must have failed.
pub(crate) fn fault<T>(result: Result<T, TlsError>) -> TlsError {
    match result {
        Ok(_) => panic!("accepted"),
        Err(error) => error,
    }
}

pub(crate) async fn outgoing(tls: &Tls, peer: u64, stream: impl Into<BoxedStream>) -> Outgoing {
    in_time(tls.secure_outgoing(NodeId(peer), stream.into().0)).await.map_err(plain)
}

pub(crate) async fn incoming(tls: &Tls, stream: impl Into<BoxedStream>) -> Incoming {
    in_time(tls.secure_incoming(stream.into().0)).await.map_err(plain)
}

/// So that tests may hand over any stream.
pub(crate) struct BoxedStream(BoxStream);

impl From<TcpStream> for BoxedStream {
    fn from(stream: TcpStream) -> BoxedStream {
        BoxedStream(Box::new(stream))
    }
}

impl From<tokio::io::DuplexStream> for BoxedStream {
    fn from(stream: tokio::io::DuplexStream) -> BoxedStream {
        BoxedStream(Box::new(stream))
    }
}

/// `from` connects to where it believes `peer` to be, and reaches `to`.
pub(crate) async fn meet(from: &Tls, peer: u64, to: &Tls) -> (Outgoing, Incoming) {
    let (connected, accepted) = tcp().await;
    tokio::join!(outgoing(from, peer, connected), incoming(to, accepted))
}

/// Bytes go through both ways.
pub(crate) async fn talk(one: &mut BoxStream, other: &mut BoxStream) {
    let said: Vec<u8> = (0..300_000_u32).map(|i| i.to_le_bytes()[usize::from(i % 3 == 0)]).collect();
    for _ in 0..2 {
        let mut heard = vec![0; said.len()];
        let speak = async {
            one.write_all(&said).await.unwrap();
            one.flush().await.unwrap();
        };
        in_time(async { tokio::join!(speak, other.read_exact(&mut heard)).1.unwrap() }).await;
        assert!(heard == said);
        std::mem::swap(one, other);
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
