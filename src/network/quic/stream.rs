//! One stream: libp2p reads and writes here.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::{AsyncRead, AsyncWrite};
use quinn_proto::{ReadError, ReadableError, StreamId, VarInt, WriteError};

use super::connection::{Handle, State, remember};

/// A bidirectional stream.
///
/// Closing it says that all was written; the data is still on its way then, and gets there as long as the connection lives.
/// Dropping it before that resets it, so that the peer cannot take a part for the whole.
pub struct Stream {
    handle: Arc<Handle>,
    id: StreamId,
    /// The peer has said all, or will not be heard.
    read: Half,
    /// We have said all, or nobody listens.
    write: Half,
}

/// One direction of a stream.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Half {
    Open,
    /// All was said.
    Finished,
    /// One side gave up.
    Reset,
}

impl Stream {
    pub(super) fn new(handle: Arc<Handle>, id: StreamId) -> Self {
        Self { handle, id, read: Half::Open, write: Half::Open }
    }

    fn reset_error() -> io::Error {
        io::Error::new(io::ErrorKind::ConnectionReset, "the peer reset the stream")
    }

    fn stopped_error() -> io::Error {
        io::Error::new(io::ErrorKind::BrokenPipe, "the peer reads no further")
    }

    fn finish(&mut self, state: &mut State) -> io::Result<()> {
        match state.proto.send_stream(self.id).finish() {
            Ok(()) => {
                self.write = Half::Finished;
                Ok(())
            }
            Err(_) => {
                self.write = Half::Reset;
                Err(Self::stopped_error())
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        match self.read {
            Half::Finished => return Poll::Ready(Ok(0)),
            Half::Reset => return Poll::Ready(Err(Self::reset_error())),
            Half::Open if buffer.is_empty() => return Poll::Ready(Ok(0)),
            Half::Open => {}
        }
        let handle = self.handle.clone();
        let mut state = handle.0.lock();
        let mut filled = 0;
        let mut end = None;
        let credit = {
            let mut stream = state.proto.recv_stream(self.id);
            let mut chunks = match stream.read(true) {
                Ok(chunks) => chunks,
                Err(ReadableError::ClosedStream | ReadableError::IllegalOrderedRead) => {
                    self.read = Half::Reset;
                    return Poll::Ready(Err(Self::reset_error()));
                }
            };
            while filled < buffer.len() {
                match chunks.next(buffer.len() - filled) {
                    Ok(Some(chunk)) => {
                        buffer[filled..][..chunk.bytes.len()].copy_from_slice(&chunk.bytes);
                        filled += chunk.bytes.len();
                    }
                    Ok(None) => {
                        end = Some(Half::Finished);
                        break;
                    }
                    Err(ReadError::Reset(_)) => {
                        end = Some(Half::Reset);
                        break;
                    }
                    Err(ReadError::Blocked) => break,
                }
            }
            chunks.finalize().should_transmit()
        };
        if credit {
            handle.0.touch(&mut state);
        }
        handle.0.count(&mut state, filled);
        if let Some(end) = end {
            self.read = end;
        }
        match end {
            _ if filled > 0 => Poll::Ready(Ok(filled)),
            Some(Half::Reset) => Poll::Ready(Err(Self::reset_error())),
            Some(_) => Poll::Ready(Ok(0)),
            None => {
                state.check()?;
                remember(&mut state.wakers(self.id).read, cx);
                Poll::Pending
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.write != Half::Open {
            return Poll::Ready(Err(Self::stopped_error()));
        }
        let handle = self.handle.clone();
        let mut state = handle.0.lock();
        state.check()?;
        match state.proto.send_stream(self.id).write(bytes) {
            Ok(written) => {
                handle.0.touch(&mut state);
                handle.0.count(&mut state, written);
                Poll::Ready(Ok(written))
            }
            Err(WriteError::Blocked) => {
                // The peer may have to be told that we wait for it.
                handle.0.touch(&mut state);
                remember(&mut state.wakers(self.id).write, cx);
                Poll::Pending
            }
            Err(WriteError::Stopped(_) | WriteError::ClosedStream) => {
                self.write = Half::Reset;
                Poll::Ready(Err(Self::stopped_error()))
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What was written is on its way already.
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.write {
            Half::Finished => return Poll::Ready(Ok(())),
            Half::Reset => return Poll::Ready(Err(Self::stopped_error())),
            Half::Open => {}
        }
        let handle = self.handle.clone();
        let mut state = handle.0.lock();
        state.check()?;
        let result = self.finish(&mut state);
        handle.0.touch(&mut state);
        Poll::Ready(result)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let handle = self.handle.clone();
        let mut state = handle.0.lock();
        state.forget(self.id);
        if state.lost.is_some() {
            return;
        }
        // Errors say that the stream is over already, which is what is wanted.
        // Of one that the peer stopped as well: it counts among the open ones until it is told of the end.
        if self.write != Half::Finished {
            let _ = state.proto.send_stream(self.id).reset(VarInt::from_u32(0));
        }
        if self.read == Half::Open {
            let _ = state.proto.recv_stream(self.id).stop(VarInt::from_u32(0));
        }
        handle.0.touch(&mut state);
    }
}
