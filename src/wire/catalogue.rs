//! `/allibrary/catalogue/1`: which collections a node has, and their manifests.
//!
//! The client sends requests, one after the other or several at once; the server answers in order. A [`Watch`] is answered
//! with [`Heads`] at once and again after every change, for as long as the stream lives: it is the last request of its
//! stream.

use serde::{Deserialize, Serialize};

use super::{Frame, FrameError, Text, decode, encode};
use crate::{content::CollectionKey, limits};

/// The name that a stream of this protocol is opened with.
pub const PROTOCOL: &str = "/allibrary/catalogue/1";

/// What a client may ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Kind 1.
    Watch(Watch),
    /// Kind 2.
    Root(RootRequest),
    /// Kind 3.
    Pages(PagesRequest),
}

/// Asks for [`Heads`] now and after each change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {}

/// Asks for the signed root of a collection's newest version; answered with [`Reply::Root`] or an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootRequest {
    /// Which collection.
    pub collection: CollectionKey,
}

/// Asks for pages by their BLAKE3 hashes; answered with as many [`Reply::Page`], in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PagesRequest {
    /// The collection that lists them.
    pub collection: CollectionKey,
    /// At most [`limits::wire::PAGES_PER_REQUEST`].
    pub hashes: Vec<[u8; 32]>,
}

/// What a server answers, apart from [`ErrorReply`](super::ErrorReply).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Kind 0x81.
    Heads(Heads),
    /// Kind 0x82: the encoded signed root, at most [`limits::wire::ROOT_BYTES`]; what is in it is `library`'s affair.
    Root(Vec<u8>),
    /// Kind 0x83: the encoded page, empty where the server does not have it (any more).
    Page(Vec<u8>),
}

/// All collections that a node has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heads {
    /// At most [`limits::wire::HEADS`].
    pub heads: Vec<Head>,
}

/// What a node says of one collection. Unproven until the signed root is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Which collection.
    pub collection: CollectionKey,
    /// Its newest version that the node has.
    pub version: u64,
    /// Its name.
    pub name: Text<{ limits::library::NAME_BYTES }>,
    /// Items in that version.
    pub items: u64,
    /// Bytes of all its items.
    pub bytes: u64,
}

const KIND_WATCH: u8 = 1;
const KIND_ROOT_REQUEST: u8 = 2;
const KIND_PAGES_REQUEST: u8 = 3;
const KIND_HEADS: u8 = 0x81;
const KIND_ROOT: u8 = 0x82;
const KIND_PAGE: u8 = 0x83;

impl Request {
    /// The frame that carries it.
    pub fn to_frame(&self) -> Frame {
        match self {
            Self::Watch(message) => Frame { kind: KIND_WATCH, body: encode(message) },
            Self::Root(message) => Frame { kind: KIND_ROOT_REQUEST, body: encode(message) },
            Self::Pages(message) => Frame { kind: KIND_PAGES_REQUEST, body: encode(message) },
        }
    }

    /// The request in a frame. [`FrameError::Unexpected`] is to be answered with `UnknownKind`, not to end the stream.
    pub fn from_frame(frame: &Frame) -> Result<Self, FrameError> {
        match frame.kind {
            KIND_WATCH => decode(&frame.body).map(Self::Watch),
            KIND_ROOT_REQUEST => decode(&frame.body).map(Self::Root),
            KIND_PAGES_REQUEST => {
                let message: PagesRequest = decode(&frame.body)?;
                let bounded = message.hashes.len() <= limits::wire::PAGES_PER_REQUEST;
                bounded.then_some(Self::Pages(message)).ok_or(FrameError::Malformed)
            }
            kind => Err(FrameError::Unexpected(kind)),
        }
    }
}

impl Reply {
    /// Bytes of the longest reply body.
    pub const MAX_BYTES: usize = limits::wire::ROOT_BYTES;

    /// The frame that carries it.
    pub fn into_frame(self) -> Frame {
        match self {
            Self::Heads(message) => Frame { kind: KIND_HEADS, body: encode(&message) },
            Self::Root(bytes) => Frame { kind: KIND_ROOT, body: bytes },
            Self::Page(bytes) => Frame { kind: KIND_PAGE, body: bytes },
        }
    }

    /// The reply in a frame that is no error.
    pub fn from_frame(frame: Frame) -> Result<Self, FrameError> {
        match frame.kind {
            KIND_HEADS => {
                let message: Heads = decode(&frame.body)?;
                let bounded = message.heads.len() <= limits::wire::HEADS;
                bounded.then_some(Self::Heads(message)).ok_or(FrameError::Malformed)
            }
            KIND_ROOT => Ok(Self::Root(frame.body)),
            KIND_PAGE if frame.body.len() <= limits::library::PAGE_BYTES => Ok(Self::Page(frame.body)),
            KIND_PAGE => Err(FrameError::TooLong { len: frame.body.len(), max: limits::library::PAGE_BYTES }),
            kind => Err(FrameError::Unexpected(kind)),
        }
    }
}
