//! Why a fetch ends before its time.

use std::io;

use thiserror::Error;

use super::{answer::Violation, pace::PACE};
use crate::{
    limits::transfer::{BUSY_RETRY_MAX_MS, PACE_BYTES},
    store::{StoreError, WriteError},
    wire::{ErrorCode, ErrorReply, FrameError},
};

/// Why a fetch ended before its time. What was verified is kept, and the next fetch continues there.
///
/// After `Busy`, `NotFound`, `Damaged` and `Refused` the stream can be used for the next fetch, else it is to be dropped.
#[derive(Debug, Error)]
pub enum FetchError {
    /// The connection failed. Try again, this peer or another.
    #[error("the connection broke: {0}")]
    Io(io::Error),
    /// The peer broke the rules: it should hear no more from us.
    #[error(transparent)]
    Violation(#[from] Violation),
    /// The peer has no free slot: try again after `retry_ms`.
    #[error("the peer is busy; it says to try again in {retry_ms} ms")]
    Busy { retry_ms: u32 },
    /// The peer has nothing of the blob, or not all that is missing here.
    #[error("the peer does not have all of the blob")]
    NotFound,
    /// The bytes on the peer's disk are damaged: try another peer.
    #[error("the blob is damaged on the peer's disk")]
    Damaged,
    /// The peer can't or won't, for another reason.
    #[error("the peer refused ({code:?}): {detail}")]
    Refused { code: ErrorCode, detail: String },
    /// No room for the blob on this node's disk. Try again when there is.
    #[error(transparent)]
    NoSpace(StoreError),
    /// This node's store failed.
    #[error(transparent)]
    Store(WriteError),
    /// The peer fell silent, or sends too little: see [`PACE_MS`](crate::limits::transfer::PACE_MS). Try another peer.
    #[error("the peer sent less than {} KiB in {} s", PACE_BYTES / 1024, PACE.as_secs())]
    TooSlow,
}

impl FetchError {
    /// Whether only a faulty or hostile peer brings this about.
    pub fn is_violation(&self) -> bool {
        matches!(self, Self::Violation(_))
    }

    pub(super) fn refused(reply: ErrorReply) -> Self {
        match reply.code {
            ErrorCode::Busy => Self::Busy { retry_ms: reply.retry_ms.min(BUSY_RETRY_MAX_MS) },
            ErrorCode::NotFound => Self::NotFound,
            ErrorCode::Damaged => Self::Damaged,
            code => Self::Refused { code, detail: reply.detail.to_string() },
        }
    }
}

impl From<FrameError> for FetchError {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Io(error) => Self::Io(error),
            error => Self::Violation(error.into()),
        }
    }
}

impl From<WriteError> for FetchError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Corrupt(_) => Self::Violation(Violation::WrongBytes),
            WriteError::Store(error) if error.is_about_room() => Self::NoSpace(error),
            error => Self::Store(error),
        }
    }
}

impl From<StoreError> for FetchError {
    fn from(error: StoreError) -> Self {
        WriteError::from(error).into()
    }
}
