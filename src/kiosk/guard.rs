//! A connection that is given up when its client stops reading. hyper closes clients that are silent or slow to ask; what
//! it never notices is one that asks for a film and then takes no byte of it.

use std::{
    future::Future,
    io::{self, IoSlice},
    net::TcpStream,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use smol::{
    Async, Timer,
    io::{AsyncRead, AsyncWrite},
};

/// A stream whose writes fail with `TimedOut` when none could be made for so long.
pub struct Guard {
    stream: Async<TcpStream>,
    patience: Duration,
    waiting: Option<Timer>,
}

impl Guard {
    /// Guards this stream.
    pub fn new(stream: Async<TcpStream>, patience: Duration) -> Self {
        Self { stream, patience, waiting: None }
    }

    fn watch<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let patience = self.patience;
        ready!(Pin::new(self.waiting.get_or_insert_with(|| Timer::after(patience))).poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Guard {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Guard {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.watch(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}
