//! Why a connection ends.

use std::io;

use raft_core::codec::CodecError;

use crate::storage::StorageError;
use crate::transport::wire::{AnswerError, FrameError, Hello, HelloError, OfferError, Refusal};

/// Why a connection ends, for the log.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("its address names no host")]
    NoAddress,
    #[error("it refuses this one: {0}")]
    Refused(Refusal),
    #[error(transparent)]
    Answer(#[from] AnswerError),
    #[error(transparent)]
    Hello(#[from] HelloError),
    #[error("as server {} of cluster {} it looks for server {}: {why}", hello.from, hello.cluster.0, hello.to)]
    Unwanted { hello: Hello, why: Refusal },
    #[error("an older connection of it is still busy")]
    Busy,
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Codec(#[from] CodecError),
    #[error(transparent)]
    Offer(#[from] OfferError),
    #[error("the snapshot's data is not as long as was said")]
    SnapshotLength,
    #[error("it does not take the snapshot")]
    SnapshotRefused,
    #[error("its answer makes no sense")]
    Verdict,
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("the transport is shut down")]
    Closed,
}
