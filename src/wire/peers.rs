//! `/allibrary/peers/1`: whom a node knows. One request a stream, and its answer.
//!
//! What is told is hearsay: who hears it dials nobody's word, but proves each peer at its address.

use serde::{Deserialize, Serialize};

use super::{Frame, FrameError, Text, decode, encode};
use crate::{content::NodeId, limits};

/// The name that a stream of this protocol is opened with.
pub const PROTOCOL: &str = "/allibrary/peers/1";

/// What a client may ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Kind 1.
    Ask(Ask),
}

/// Asks for [`Known`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {}

/// What a server answers, apart from [`ErrorReply`](super::ErrorReply).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Kind 0x81.
    Known(Known),
}

/// What a node tells of itself and of others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// How many peers it takes at most.
    pub capacity: u16,
    /// How long it has been running, in seconds.
    pub uptime_s: u32,
    /// At most [`limits::wire::INTRODUCTIONS`].
    pub others: Vec<Introduction>,
}

/// What it tells of another node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Introduction {
    /// Whom it tells of.
    pub node: NodeId,
    /// How many peers that one takes at most.
    pub capacity: u16,
    /// How long that one has been running, in seconds.
    pub uptime_s: u32,
    /// Multiaddrs at which the teller has reached it; at most [`limits::wire::TOLD_ADDRESSES`].
    pub addresses: Vec<Address>,
}

/// A multiaddr.
pub type Address = Text<{ limits::wire::ADDRESS_BYTES }>;

const KIND_ASK: u8 = 1;
const KIND_KNOWN: u8 = 0x81;

impl Request {
    /// The frame that carries it.
    pub fn to_frame(&self) -> Frame {
        let Self::Ask(message) = self;
        Frame { kind: KIND_ASK, body: encode(message) }
    }

    /// The request in a frame. [`FrameError::Unexpected`] is to be answered with `UnknownKind`, not to end the stream.
    ///
    /// # Errors
    /// When the frame holds none.
    pub fn from_frame(frame: &Frame) -> Result<Self, FrameError> {
        match frame.kind {
            KIND_ASK => decode(&frame.body).map(Self::Ask),
            kind => Err(FrameError::Unexpected(kind)),
        }
    }
}

impl Reply {
    /// Bytes of the longest reply body: [`limits::wire::FRAME_BYTES`].
    pub const MAX_BYTES: usize = limits::wire::FRAME_BYTES;

    /// The frame that carries it.
    pub fn to_frame(&self) -> Frame {
        let Self::Known(message) = self;
        Frame { kind: KIND_KNOWN, body: encode(message) }
    }

    /// The reply in a frame that is no error.
    ///
    /// # Errors
    /// When the frame holds none, or one that breaks a bound.
    pub fn from_frame(frame: &Frame) -> Result<Self, FrameError> {
        match frame.kind {
            KIND_KNOWN => {
                let message: Known = decode(&frame.body)?;
                let few = |other: &Introduction| other.addresses.len() <= limits::wire::TOLD_ADDRESSES;
                let bounded = message.others.len() <= limits::wire::INTRODUCTIONS && message.others.iter().all(few);
                bounded.then_some(Self::Known(message)).ok_or(FrameError::Malformed)
            }
            kind => Err(FrameError::Unexpected(kind)),
        }
    }
}
