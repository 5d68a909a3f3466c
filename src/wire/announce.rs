//! What nodes pass on by gossip: somebody has a newer version of a collection. One message, unproven as any: it is reason to
//! look, and to look there, and nothing more.

use serde::{Deserialize, Serialize};

use super::{FrameError, decode, encode, peers::Address};
use crate::{
    content::{CollectionKey, NodeId},
    limits,
};

/// The name of the topic.
pub const TOPIC: &str = "/allibrary/announce/1";

/// A version of a collection, and who has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// Which collection.
    pub collection: CollectionKey,
    /// Its newest version that the node has.
    pub version: u64,
    /// Who has it.
    pub node: NodeId,
    /// Where it listens; at most [`limits::wire::TOLD_ADDRESSES`] multiaddrs.
    pub addresses: Vec<Address>,
}

impl Announcement {
    /// Bytes of the longest message.
    pub const MAX_BYTES: usize = limits::wire::ANNOUNCEMENT_BYTES;

    /// The message.
    pub fn to_bytes(&self) -> Vec<u8> {
        encode(self)
    }

    /// The announcement in a message.
    ///
    /// # Errors
    /// When it holds none, or one that breaks a bound.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FrameError> {
        if bytes.len() > Self::MAX_BYTES {
            return Err(FrameError::TooLong { len: bytes.len(), max: Self::MAX_BYTES });
        }
        let message: Self = decode(bytes)?;
        let bounded = message.addresses.len() <= limits::wire::TOLD_ADDRESSES;
        bounded.then_some(message).ok_or(FrameError::Malformed)
    }
}
