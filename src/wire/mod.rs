//! What nodes say to each other: versioned postcard messages in length-bounded frames.
//!
//! It may use the ground alone, and must never know who sends, stores or decides. A protocol's name carries its major
//! version; within it, fields are only ever appended and unknown trailing bytes are ignored, so that versions that differ
//! by appended fields understand each other. An unknown kind of request is answered with [`ErrorCode::UnknownKind`].

pub mod announce;
pub mod blob;
pub mod catalogue;
mod frame;
pub mod peers;
mod text;

pub(crate) use frame::grow;
pub use frame::{Frame, FrameError, Head, read_frame, read_frame_into, read_head, write_frame, write_head};
pub use text::Text;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::limits;

/// Names every protocol of this program that is spoken over a stream of its own.
pub const PROTOCOLS: [&str; 3] = [catalogue::PROTOCOL, blob::PROTOCOL, peers::PROTOCOL];

/// The kind of [`ErrorReply`] frames, the same in every protocol.
pub const KIND_ERROR: u8 = 0xff;

/// Why a request was not fulfilled. The stream stays usable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReply {
    /// What a program acts on.
    pub code: ErrorCode,
    /// After how many milliseconds it may be tried again; 0 = not worth trying again.
    pub retry_ms: u32,
    /// What a person reads.
    pub detail: Text<{ limits::wire::ERROR_DETAIL_BYTES }>,
}

/// The reasons that programs tell apart. A number that this version does not know reads as [`ErrorCode::Other`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "u16", into = "u16")]
pub enum ErrorCode {
    /// A reason of a later version.
    Other,
    /// The request's kind is not one that this node knows.
    UnknownKind,
    /// The request does not parse or breaks a limit.
    BadRequest,
    /// The node does not have what was asked for.
    NotFound,
    /// The node has it, but no free slot now: see `retry_ms`.
    Busy,
    /// The bytes on this node's disk are damaged or changed: they are not sent.
    Damaged,
    /// The node failed for a reason of its own.
    Internal,
}

impl From<u16> for ErrorCode {
    fn from(number: u16) -> Self {
        match number {
            1 => Self::UnknownKind,
            2 => Self::BadRequest,
            3 => Self::NotFound,
            4 => Self::Busy,
            5 => Self::Damaged,
            6 => Self::Internal,
            _ => Self::Other,
        }
    }
}

impl From<ErrorCode> for u16 {
    fn from(code: ErrorCode) -> Self {
        match code {
            ErrorCode::Other => 0,
            ErrorCode::UnknownKind => 1,
            ErrorCode::BadRequest => 2,
            ErrorCode::NotFound => 3,
            ErrorCode::Busy => 4,
            ErrorCode::Damaged => 5,
            ErrorCode::Internal => 6,
        }
    }
}

impl ErrorReply {
    /// A reply with these words, cut to their bound.
    pub fn new(code: ErrorCode, detail: &str) -> Self {
        Self { code, retry_ms: 0, detail: Text::cut(detail) }
    }

    /// "Come back in `retry_ms`."
    pub fn busy(retry_ms: u32) -> Self {
        Self { retry_ms, ..Self::new(ErrorCode::Busy, "all upload slots are taken") }
    }

    /// The frame that carries it.
    pub fn to_frame(&self) -> Frame {
        Frame { kind: KIND_ERROR, body: encode(self) }
    }
}

/// The body of a message.
pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    postcard::to_stdvec(message).expect("messages hold only types that postcard encodes, and a Vec grows")
}

/// A message out of a body. Bytes behind it are fields of a later version and ignored.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, FrameError> {
    postcard::take_from_bytes(body).map(|(message, _)| message).map_err(|_| FrameError::Malformed)
}

#[cfg(test)]
mod tests;
