//! Why a connection ended.

use std::fmt;
use std::io;

#[cfg(feature = "tls")]
use raft_core::NodeId;
use raft_core::codec::CodecError;

use super::wire::{AnswerError, FrameError, Hello, HelloError, OfferError, Refusal};
#[cfg(feature = "tls")]
use crate::tls::{CertificateFault, TlsError};

/// Why a connection ended, for the log: "server 2 at 10.0.0.2:4001 is disconnected: ...".
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Trouble {
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The other end closed the connection where it may.
    #[error("the other end closed the connection")]
    Ended,
    /// The other end closed the connection in the middle of something.
    #[error("the connection ended in the middle of {0}")]
    Cut(Awaited),
    /// Something did not come in time.
    #[error("timed out waiting for {0}")]
    TimedOut(Awaited),
    /// The accepting side does not want this server.
    #[error("it refuses this one: {0}")]
    Refused(Refusal),
    /// The dialing side speaks the protocol, but was refused.
    #[error("as server {} of cluster {} it looks for server {}: {why}", hello.from, hello.cluster.0, hello.to)]
    Unwanted {
        /// What it said.
        hello: Box<Hello>,
        /// What it was told.
        why: Refusal,
    },
    /// The dialing side does not speak this version of the protocol.
    #[error(transparent)]
    Hello(#[from] HelloError),
    /// The accepting side does not speak the protocol.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// Certificates are missing or wrong, or TLS failed in another way.
    #[cfg(feature = "tls")]
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The other end does not begin as TLS does.
    #[cfg(feature = "tls")]
    #[error("it does not speak TLS, which this server requires: set up TLS on both ends")]
    NotTls,
    /// The dialing side's certificate is not that of the server it says it is.
    #[cfg(feature = "tls")]
    #[error("it claims to be server {claimed}, but its certificate {why}")]
    Impostor {
        /// Who it says it is.
        claimed: NodeId,
        /// What is wrong with its certificate.
        why: CertificateFault,
    },
    /// Bytes that are no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A frame that is no message.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// This server cannot go on with a snapshot: its file cannot be read or written, or another one is current by now.
    #[error("{0}")]
    Abandoned(String),
    /// A frame that offers no snapshot, though it should.
    #[error(transparent)]
    Offer(#[from] OfferError),
    /// The other end sent something where it has nothing to say.
    #[error("it sent data where none belongs")]
    Unexpected,
    /// There is more or less data than was offered.
    #[error("the snapshot has {came} bytes of data or more, {offered} were offered")]
    SnapshotTooLong {
        /// What was offered, in bytes.
        offered: u64,
        /// What there is at least.
        came: u64,
    },
    /// There is less data than was offered.
    #[error("the snapshot has only {came} bytes of data, {offered} were offered")]
    SnapshotTooShort {
        /// What was offered, in bytes.
        offered: u64,
        /// What there is.
        came: u64,
    },
    /// The receiver of a snapshot cannot store it.
    #[error("it does not take the snapshot; see its log")]
    SnapshotRefused,
    /// The receiver of a snapshot answered with something else than a verdict.
    #[error("its verdict on the snapshot makes no sense (byte {0})")]
    Verdict(u8),
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Awaited {
    /// Both ends know each other.
    Handshake,
    /// The rest of a frame.
    Frame,
    /// The other end takes what is written.
    Write,
    /// A snapshot is offered.
    Offer,
    /// The receiver says whether it takes the snapshot.
    Verdict,
    /// More of a snapshot's data.
    Data,
    /// The receiver says that the snapshot is durable.
    Confirmation,
}

impl fmt::Display for Awaited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Awaited::Handshake => "the handshake",
            Awaited::Frame => "the rest of a frame",
            Awaited::Write => "a write: the other end takes nothing",
            Awaited::Offer => "the offer of a snapshot",
            Awaited::Verdict => "the verdict on a snapshot",
            Awaited::Data => "a snapshot's data",
            Awaited::Confirmation => "the confirmation that a snapshot is durable",
        })
    }
}
