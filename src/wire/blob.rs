//! `/allibrary/blob/1`: verified ranges of blobs.
//!
//! The client may have [`limits::wire::PIPELINED_REQUESTS`] requests open; the server answers them in order, each with
//! [`Reply::Blob`], any number of [`Reply::Data`] and [`Reply::End`], or with an [`ErrorReply`](super::ErrorReply) in place
//! of any of these, which ends that answer and no other.
//!
//! A stream may also watch one blob: the answer to [`Request::Watch`] is a [`Reply::Have`], and more of them come between other
//! answers, or between their frames, as more of the blob gets there, until all of it was told or another watch takes its place.

use std::mem;

use serde::{Deserialize, Serialize};

use super::{Frame, FrameError, decode, encode};
use crate::{content::ContentId, limits};

/// The name that a stream of this protocol is opened with.
pub const PROTOCOL: &str = "/allibrary/blob/1";

/// What a client may ask.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "a request is taken apart at once, never kept")]
pub enum Request {
    /// Kind 1.
    Get(Get),
    /// Kind 2.
    Watch(Watch),
}

/// Asks for ranges of a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Get {
    /// Which blob.
    pub id: ContentId,
    /// Which bytes, ascending and apart from each other; the server widens them to whole groups of
    /// [`limits::GROUP_BYTES`] and cuts them at the blob's end.
    pub ranges: Ranges,
}

/// Asks to be told what the server has of a blob, from now on. A node that knows no such request has all, or says what it lacks
/// when it is asked for that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// Which blob; the server may have nothing of it yet.
    pub id: ContentId,
}

/// Ranges of one blob, ascending and apart.
pub type Ranges = heapless::Vec<Range, { limits::wire::RANGES_PER_REQUEST }>;

/// Bytes `start` to `start + len`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// The first byte.
    pub start: u64,
    /// How many.
    pub len: u64,
}

impl Range {
    /// The byte behind the range, or none if that overflows.
    pub fn end(self) -> Option<u64> {
        self.start.checked_add(self.len)
    }
}

/// What a server answers, apart from [`ErrorReply`](super::ErrorReply).
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "a reply is taken apart at once, never kept")]
pub enum Reply {
    /// Kind 0x81: what follows.
    Blob(Blob),
    /// Kind 0x82: some of the content.
    Data(Data),
    /// Kind 0x83: all that was announced has been sent.
    End,
    /// Kind 0x84: what is there of the blob that is watched.
    Have(Have),
}

/// The head of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blob {
    /// Bytes of the whole blob. Unproven until its last group is verified.
    pub size: u64,
    /// What of the requested ranges will be sent: fewer than were asked for if the server has only a part.
    pub ranges: Ranges,
}

/// What the server has of a blob, and had not told: often a small part of what it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Have {
    /// Which blob: the watch of another may have taken the place of its own since.
    pub id: ContentId,
    /// Bytes of the whole blob, unproven; 0 while there is nothing of it.
    pub size: u64,
    /// Whole groups, ascending and apart.
    pub ranges: heapless::Vec<Range, { limits::wire::HAVE_RANGES }>,
}

/// Content with its proof; on the wire a postcard [`Range`] followed by the encoded bytes as they are. It stays in the body of
/// its frame, so that content is not copied on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Data {
    range: Range,
    body: Vec<u8>,
    encoded_at: usize,
}

impl Data {
    /// Content for sending. `encode` appends the encoded bytes to `buffer`, which is emptied first and whose memory is used.
    pub fn build<E>(
        range: Range,
        mut buffer: Vec<u8>,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<Self, E> {
        buffer.clear();
        let mut body = postcard::to_extend(&range, buffer).expect("postcard encodes integers, and a Vec grows");
        let encoded_at = body.len();
        encode(&mut body)?;
        Ok(Self { range, body, encoded_at })
    }

    fn parse(body: Vec<u8>) -> Result<Self, FrameError> {
        let (range, rest) = postcard::take_from_bytes::<Range>(&body).map_err(|_| FrameError::Malformed)?;
        if range.len > limits::wire::DATA_BYTES || range.end().is_none() {
            return Err(FrameError::Malformed);
        }
        let encoded_at = body.len() - rest.len();
        Ok(Self { range, body, encoded_at })
    }

    /// Which bytes: whole groups, at most [`limits::wire::DATA_BYTES`].
    pub fn range(&self) -> Range {
        self.range
    }

    /// The bytes with the hashes between them and the root: bao-tree's response encoding for this range of the blob, 64 KiB
    /// groups, without a size prefix.
    pub fn encoded(&self) -> &[u8] {
        &self.body[self.encoded_at..]
    }

    /// The memory, to be used again.
    pub fn into_buffer(self) -> Vec<u8> {
        self.body
    }
}

const KIND_GET: u8 = 1;
const KIND_WATCH: u8 = 2;
const KIND_BLOB: u8 = 0x81;
const KIND_DATA: u8 = 0x82;
const KIND_END: u8 = 0x83;
const KIND_HAVE: u8 = 0x84;

impl Request {
    /// The frame that carries it.
    pub fn to_frame(&self) -> Frame {
        match self {
            Self::Get(message) => Frame { kind: KIND_GET, body: encode(message) },
            Self::Watch(message) => Frame { kind: KIND_WATCH, body: encode(message) },
        }
    }

    /// The request in a frame. [`FrameError::Unexpected`] is to be answered with `UnknownKind`, not to end the stream.
    pub fn from_frame(frame: &Frame) -> Result<Self, FrameError> {
        match frame.kind {
            KIND_GET => {
                let message: Get = decode(&frame.body)?;
                check(&message.ranges, u64::MAX)?;
                Ok(Self::Get(message))
            }
            KIND_WATCH => decode(&frame.body).map(Self::Watch),
            kind => Err(FrameError::Unexpected(kind)),
        }
    }
}

impl Reply {
    /// Bytes of the longest reply body.
    pub const MAX_BYTES: usize = limits::wire::DATA_FRAME_BYTES;

    /// The frame that carries it.
    pub fn into_frame(self) -> Frame {
        match self {
            Self::Blob(message) => Frame { kind: KIND_BLOB, body: encode(&message) },
            Self::Data(data) => Frame { kind: KIND_DATA, body: data.body },
            Self::End => Frame { kind: KIND_END, body: Vec::new() },
            Self::Have(message) => Frame { kind: KIND_HAVE, body: encode(&message) },
        }
    }

    /// The reply in a frame that is no error. Content takes the frame's body; else its memory can be used again.
    pub fn from_frame(frame: &mut Frame) -> Result<Self, FrameError> {
        match frame.kind {
            KIND_BLOB => decode(&frame.body).map(Self::Blob),
            KIND_DATA => Data::parse(mem::take(&mut frame.body)).map(Self::Data),
            KIND_END => Ok(Self::End),
            KIND_HAVE => {
                let message: Have = decode(&frame.body)?;
                check(&message.ranges, message.size)?;
                Ok(Self::Have(message))
            }
            kind => Err(FrameError::Unexpected(kind)),
        }
    }
}

/// Ranges of bytes below `size` are not empty, ascend and do not overlap.
fn check(ranges: &[Range], size: u64) -> Result<(), FrameError> {
    let mut free = Some(0);
    for range in ranges {
        free = free.filter(|free| range.len > 0 && range.start >= *free).and_then(|_| range.end());
    }
    free.filter(|end| *end <= size).map(drop).ok_or(FrameError::Malformed)
}
