//! Why a connection ends.

use std::error::Error;
use std::io;

use raft_core::NodeId;
use raft_core::codec::CodecError;

use crate::storage::StorageError;
use crate::transport::wire::{AnswerError, FrameError, Hello, HelloError, OfferError, Refusal};

/// Why a connection ends, for the log: "server 2 at 10.0.0.2:4001 is disconnected: ...".
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Trouble {
    /// The network.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A name that resolves to nothing.
    #[error("its address names no host")]
    NoAddress,
    /// The accepting side does not want this server.
    #[error("it refuses this one: {0}")]
    Refused(Refusal),
    /// The accepting side does not speak the protocol.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// The connecting side does not speak the protocol.
    #[error(transparent)]
    Hello(#[from] HelloError),
    /// The connecting side speaks the protocol, but is not expected.
    #[error("as server {} of cluster {} it looks for server {}: {why}", hello.from, hello.cluster.0, hello.to)]
    Unwanted {
        /// What it said.
        hello: Hello,
        /// What it was told.
        why: Refusal,
    },
    /// The link could not be made safe, where that is asked for.
    #[error("the link cannot be made safe: {0}")]
    Unsafe(Box<dyn Error + Send + Sync>),
    /// The connecting side has not proved to be who it says it is.
    #[error("it claims to be server {claimed}, but {why}")]
    Impostor {
        /// Who it says it is.
        claimed: NodeId,
        /// What its proof is worth.
        why: Box<dyn Error + Send + Sync>,
    },
    /// An older connection of the same peer has not ended in time.
    #[error("an older connection of it is still busy")]
    Busy,
    /// A newer connection, a change of address, or a crowd of newcomers has taken its place.
    #[error("it has to give way")]
    GivesWay,
    /// Bytes that are no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A frame that is no message.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A frame that is no offer of a snapshot.
    #[error(transparent)]
    Offer(#[from] OfferError),
    /// There is more or less data than was said.
    #[error("the snapshot's data is not as long as was said")]
    SnapshotLength,
    /// The receiver cannot store it.
    #[error("it does not take the snapshot")]
    SnapshotRefused,
    /// The receiver answered nonsense.
    #[error("its answer makes no sense")]
    Verdict,
    /// This server cannot store what it receives.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Who should read or write a snapshot's data is gone.
    #[error("the snapshot's data is no longer at hand")]
    Abandoned,
    /// This side has ended it.
    #[error("the transport is shut down")]
    Closed,
}
