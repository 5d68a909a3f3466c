//! What a response is made of: bytes that are there, or a file that is read and verified as the client takes it.

use std::{
    future::Future,
    io,
    ops::Range,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

use crate::limits::{GROUP_BYTES, kiosk::FRAME_BYTES};

/// Reads verified bytes of a file; blocks. Its errors end the connection.
pub type Read = Box<dyn FnMut(Range<u64>) -> io::Result<Vec<u8>> + Send>;

/// A read under way; gives the reader back.
type Reading = Pin<Box<dyn Future<Output = (Read, io::Result<Vec<u8>>)> + Send>>;

/// The body of a response.
pub enum Body {
    /// Bytes that are there.
    Whole(Bytes),
    /// A range of a file.
    File(FileBody),
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
    Idle(Read),
    Busy(Reading),
    Failed,
}

impl FileBody {
    /// Reads the first bytes of the range at once, so that a file that can't be read is known before the response begins.
    /// Blocks.
    pub fn open(mut read: Read, range: Range<u64>) -> io::Result<Self> {
        let first = first_group(&range);
        let ready = Bytes::from(read(first.clone())?);
        Ok(Self { ready, rest: first.end..range.end, reader: Reader::Idle(read) })
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        while self.ready.is_empty() && !self.rest.is_empty() {
            match std::mem::replace(&mut self.reader, Reader::Failed) {
                Reader::Idle(mut read) => {
                    let range = first_group(&self.rest);
                    let reading = smol::unblock(move || {
                        let bytes = read(range);
                        (read, bytes)
                    });
                    self.reader = Reader::Busy(Box::pin(reading));
                }
                Reader::Busy(mut reading) => {
                    let Poll::Ready((read, bytes)) = reading.as_mut().poll(cx) else {
                        self.reader = Reader::Busy(reading);
                        return Poll::Pending;
                    };
                    self.ready = Bytes::from(bytes?);
                    self.rest.start += self.ready.len() as u64;
                    self.reader = Reader::Idle(read);
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
        };
        Poll::Ready(bytes.map(|bytes| bytes.map(Frame::data)))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Whole(bytes) => bytes.len() as u64,
            Self::File(file) => file.ready.len() as u64 + (file.rest.end - file.rest.start),
        })
    }
}
