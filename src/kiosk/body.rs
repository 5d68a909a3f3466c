//! What a response is made of: bytes that are there, or a file that is read and verified as the client takes it, from here or
//! from where it is.

use std::{
    future::Future,
    io,
    ops::Range,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

use super::readers;
use crate::{
    content::CollectionKey,
    library::{
        Item,
        follow::{Reading, ReadingError},
    },
    limits::{GROUP_BYTES, kiosk::FRAME_BYTES},
};

/// Reads verified bytes of a file; blocks. Its errors end the connection.
pub type Read = Box<dyn FnMut(Range<u64>) -> io::Result<Vec<u8>> + Send>;

/// Where bytes come from.
pub enum Source {
    /// A file.
    Here(Read),
    /// Other nodes. The reader is one until this is dropped.
    Elsewhere(Box<Reading>, Option<readers::Reader>),
}

impl Source {
    async fn read(self, range: Range<u64>) -> (Self, io::Result<Vec<u8>>) {
        match self {
            Self::Here(mut read) => {
                smol::unblock(move || {
                    let bytes = read(range);
                    (Self::Here(read), bytes)
                })
                .await
            }
            Self::Elsewhere(mut reading, reader) => {
                let bytes = reading.bytes(range).await.map_err(|error| {
                    log::warn!("what somebody reads here can't be had to its end: {error}");
                    io::Error::other(error)
                });
                (Self::Elsewhere(reading, reader), bytes)
            }
        }
    }
}

/// A read under way; gives the source back.
type Step = Pin<Box<dyn Future<Output = (Source, io::Result<Vec<u8>>)> + Send>>;

/// The body of a response.
pub enum Body {
    /// Bytes that are there.
    Whole(Bytes),
    /// A range of a file.
    File(FileBody),
    /// A range of a file that is elsewhere and not opened yet.
    Elsewhere(Box<Elsewhere>),
}

/// What is to be read of which item.
pub struct Elsewhere {
    pub collection: CollectionKey,
    pub item: Item,
    pub range: Range<u64>,
    pub reader: Option<readers::Reader>,
}

/// A range of a file, of which one group is in memory at a time.
pub struct FileBody {
    /// Bytes that were read and not taken yet.
    ready: Bytes,
    /// What is still to be read.
    rest: Range<u64>,
    reader: Reader,
}

enum Reader {
    Idle(Source),
    Busy(Step),
    Failed,
}

impl FileBody {
    /// Reads the first bytes of the range at once, so that a file that can't be read is known before the response begins.
    /// Blocks.
    pub fn open(mut read: Read, range: Range<u64>) -> io::Result<Self> {
        let first = first_group(&range);
        let ready = Bytes::from(read(first.clone())?);
        Ok(Self { ready, rest: first.end..range.end, reader: Reader::Idle(Source::Here(read)) })
    }

    /// The same of a file that is elsewhere.
    pub async fn open_elsewhere(
        mut reading: Reading,
        range: Range<u64>,
        reader: Option<readers::Reader>,
    ) -> Result<Self, ReadingError> {
        let first = first_group(&range);
        let ready = Bytes::from(reading.bytes(first.clone()).await?);
        let source = Source::Elsewhere(Box::new(reading), reader);
        Ok(Self { ready, rest: first.end..range.end, reader: Reader::Idle(source) })
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        while self.ready.is_empty() && !self.rest.is_empty() {
            match std::mem::replace(&mut self.reader, Reader::Failed) {
                Reader::Idle(source) => {
                    self.reader = Reader::Busy(Box::pin(source.read(first_group(&self.rest))));
                }
                Reader::Busy(mut step) => {
                    let Poll::Ready((source, bytes)) = step.as_mut().poll(cx) else {
                        self.reader = Reader::Busy(step);
                        return Poll::Pending;
                    };
                    self.ready = Bytes::from(bytes?);
                    self.rest.start += self.ready.len() as u64;
                    self.reader = Reader::Idle(source);
                }
                Reader::Failed => return Poll::Ready(None),
            }
        }
        // Small frames: hyper holds on to one while the next one comes.
        let len = self.ready.len().min(FRAME_BYTES);
        Poll::Ready((len > 0).then(|| Ok(self.ready.split_to(len))))
    }
}

/// The part of the range within its first group: nothing is read and verified twice.
fn first_group(range: &Range<u64>) -> Range<u64> {
    range.start..range.end.min((range.start / GROUP_BYTES + 1) * GROUP_BYTES)
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let bytes = match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => None,
            Self::Whole(bytes) => Some(Ok(std::mem::take(bytes))),
            Self::File(file) => ready!(file.poll_bytes(cx)),
            // It is opened before it is sent.
            Self::Elsewhere(_) => Some(Err(io::ErrorKind::NotConnected.into())),
        };
        Poll::Ready(bytes.map(|bytes| bytes.map(Frame::data)))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Whole(bytes) => bytes.len() as u64,
            Self::File(file) => file.ready.len() as u64 + (file.rest.end - file.rest.start),
            Self::Elsewhere(file) => file.range.end - file.range.start,
        })
    }
}
