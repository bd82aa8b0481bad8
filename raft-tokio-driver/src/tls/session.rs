//! One connection: TLS agreed, both ends known, before anything else is said.
//!
//! With TLS 1.3 the connecting side is done before the accepting side has seen its certificate, and would hear of a refusal
//! only with what it reads next, if its own writes have not failed by then. So the accepting side says one byte of welcome
//! when it is content, and the connecting side waits for it: a refusal is heard here, or nowhere.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use raft_std_driver::raft_core::NodeId;
use raft_std_driver::tls::{Credentials, Naming, PROTOCOL_WITH_WELCOME, TlsError};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::transport::link::{BoxStream, GuardError, Proof};

/// The accepting side's first byte, after it has accepted the certificate.
const WELCOME: u8 = 1;

/// As long, and for as many bytes, a refused peer is listened to.
const PARTING: Duration = Duration::from_millis(200);
const PARTING_BYTES_MAX: usize = 64 << 10;

/// Make a connection to `peer` safe.
pub(super) async fn connect(
    credentials: Arc<Credentials>,
    peer: NodeId,
    stream: BoxStream,
) -> Result<BoxStream, TlsError> {
    let name = credentials.naming().name(peer)?;
    let connector = TlsConnector::from(credentials.with_welcome().0);
    let mut stream = match connector.connect(name, stream).into_fallible().await {
        Ok(stream) => stream,
        Err((error, stream)) => {
            part(stream).await;
            return Err(TlsError::of_handshake(error));
        }
    };
    let (_, connection) = stream.get_ref();
    let checked = match (connection.alpn_protocol(), connection.peer_certificates().and_then(<[_]>::first)) {
        (Some(PROTOCOL_WITH_WELCOME), Some(leaf)) => {
            credentials.naming().check_certificate(peer, leaf).map_err(TlsError::Peer)
        }
        (Some(PROTOCOL_WITH_WELCOME), None) => Err(TlsError::NoCertificate),
        _ => Err(TlsError::OtherProtocol),
    };
    if let Err(error) = checked {
        part(stream).await;
        return Err(error);
    }
    match stream.read_u8().await {
        Ok(WELCOME) => Ok(Box::new(Link(stream))),
        Ok(_) => Err(TlsError::OtherProtocol),
        Err(error) => Err(TlsError::of_welcome(error)),
    }
}

/// Make a connection safe that somebody has made to us.
pub(super) async fn accept(
    credentials: Arc<Credentials>,
    stream: BoxStream,
) -> Result<(BoxStream, Certificate), TlsError> {
    let acceptor = TlsAcceptor::from(credentials.with_welcome().1);
    let mut stream = match acceptor.accept(stream).into_fallible().await {
        Ok(stream) => stream,
        Err((error, stream)) => {
            part(stream).await;
            return Err(TlsError::of_handshake(error));
        }
    };
    let (_, connection) = stream.get_ref();
    let leaf = match (connection.alpn_protocol(), connection.peer_certificates().and_then(<[_]>::first)) {
        (Some(PROTOCOL_WITH_WELCOME), Some(leaf)) => Ok(leaf.clone().into_owned()),
        (Some(PROTOCOL_WITH_WELCOME), None) => Err(TlsError::NoCertificate),
        _ => Err(TlsError::OtherProtocol),
    };
    match leaf {
        Ok(leaf) => {
            stream.write_u8(WELCOME).await.map_err(TlsError::of_handshake)?;
            stream.flush().await.map_err(TlsError::of_handshake)?;
            Ok((Box::new(Link(stream)), Certificate { leaf, naming: credentials.naming().clone() }))
        }
        Err(error) => {
            part(stream).await;
            Err(error)
        }
    }
}

/// Close, so that the peer hears why. A socket that is closed with something unread is reset, and a reset may overtake the
/// alert: so hear the peer out, within limits.
async fn part<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    let hear_out = async {
        let mut buffer = [0; 1024];
        let mut heard = 0;
        stream.shutdown().await?;
        while heard < PARTING_BYTES_MAX {
            match stream.read(&mut buffer).await? {
                0 => break,
                count => heard += count,
            }
        }
        Ok::<_, io::Error>(())
    };
    // It is over either way.
    let _ = tokio::time::timeout(PARTING, hear_out).await;
}

/// A safe connection. A peer that dies, or is stopped, ends it without TLS's farewell: an end like any other, since frames
/// and verdicts tell whether something is missing.
struct Link<S>(S);

impl<S: AsyncRead + Unpin> AsyncRead for Link<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = ready!(Pin::new(&mut self.0).poll_read(context, buffer));
        Poll::Ready(
            read.or_else(|error| if error.kind() == io::ErrorKind::UnexpectedEof { Ok(()) } else { Err(error) }),
        )
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Link<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// What a connecting peer has shown.
pub(super) struct Certificate {
    leaf: CertificateDer<'static>,
    naming: Naming,
}

impl Proof for Certificate {
    fn check(&self, claimed: NodeId) -> Result<(), GuardError> {
        self.naming.check_certificate(claimed, &self.leaf).map_err(|fault| TlsError::Peer(fault).into())
    }
}
