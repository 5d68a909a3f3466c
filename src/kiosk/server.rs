//! The server: who may connect, how long it waits, how it stops. Knows nothing of pages.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures::future::{Either, select};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use smol::{
    Async, Executor, Timer, channel,
    io::{AsyncReadExt, AsyncWriteExt},
    lock::{Semaphore, SemaphoreGuardArc},
};
use smol_hyper::rt::{FuturesIo, SmolTimer};

use super::{body::Body, guard::Guard};
use crate::limits::kiosk::{self as limits, CONNECTIONS, REFUSALS};

/// How long clients are waited for.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For a request's head, from the connection's beginning or from the end of the last response.
    pub head: Duration,
    /// For a client that takes no byte of a response.
    pub stall: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            head: Duration::from_millis(limits::HEAD_TIMEOUT_MS),
            stall: Duration::from_millis(limits::STALL_TIMEOUT_MS),
        }
    }
}

/// What is sent to whom there is no place for.
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\n\
    Retry-After: 5\r\nConnection: close\r\n\r\nToo many readers at once. Please try again in a few seconds";

/// Answers requests with `handle`, which is told the address that the client connected to, until `stop` is ready; then lets
/// responses under way finish for a moment. Dropping it drops all connections.
pub async fn serve<H, F>(listener: Async<TcpListener>, patience: Patience, handle: H, stop: impl Future<Output = ()>)
where
    H: Fn(Request<Incoming>, SocketAddr) -> F + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let handle = Arc::new(handle);
    let executor = Executor::new();
    // Nothing is ever sent: the ends of these say that the server stops, and that every connection has ended.
    let (running, stopping) = channel::bounded::<Infallible>(1);
    let (working, ended) = channel::bounded::<Infallible>(1);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let refusals = Arc::new(Semaphore::new(REFUSALS));
    let spawner = &executor;
    let accept = async move {
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of files, most likely; the next try would fail at once.
                    log::warn!("the page can't take a connection: {error}");
                    Timer::after(Duration::from_secs(1)).await;
                    continue;
                }
            };
            if let Some(place) = places.try_acquire_arc() {
                let (handle, stopping, working) = (handle.clone(), stopping.clone(), working.clone());
                let connection = async move {
                    if let Err(error) = converse(stream, patience, handle, stopping).await {
                        log::debug!("a connection to the page ended: {error}");
                    }
                    drop((place, working));
                };
                spawner.spawn(connection).detach();
            } else if let Some(place) = refusals.try_acquire_arc() {
                spawner.spawn(refuse(stream, place)).detach();
            }
        }
    };
    let all = async {
        select(pin!(accept), pin!(stop)).await;
        drop(running);
        let grace = Timer::after(Duration::from_millis(limits::SHUTDOWN_MS));
        select(pin!(ended.recv()), grace).await;
    };
    executor.run(all).await;
}

/// One connection, from its first request to its last.
async fn converse<H, F>(
    stream: Async<TcpStream>,
    patience: Patience,
    handle: Arc<H>,
    stopping: channel::Receiver<Infallible>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
where
    H: Fn(Request<Incoming>, SocketAddr) -> F,
    F: Future<Output = Response<Body>>,
{
    stream.get_ref().set_nodelay(true)?;
    let local = stream.get_ref().local_addr()?;
    let service = service_fn(|request| {
        let response = handle(request, local);
        async { Ok::<_, Infallible>(response.await) }
    });
    let connection = http1::Builder::new()
        .timer(SmolTimer::new())
        // It runs between two requests as well: the idle timeout.
        .header_read_timeout(patience.head)
        .max_buf_size(limits::REQUEST_HEAD_BYTES)
        .half_close(true)
        .writev(true)
        .serve_connection(FuturesIo::new(Guard::new(stream, patience.stall)), service);
    let mut connection = pin!(connection);
    if let Either::Left((end, _)) = select(connection.as_mut(), pin!(stopping.recv())).await {
        return Ok(end?);
    }
    connection.as_mut().graceful_shutdown();
    Ok(connection.await?)
}

/// Says that there is no place. The request is read as well, for a while: closing a socket with unread bytes resets it, and
/// the client might never see the answer.
async fn refuse(mut stream: Async<TcpStream>, _place: SemaphoreGuardArc) {
    let answer = async {
        stream.write_all(BUSY).await?;
        stream.close().await?;
        let mut unread = [0; 1024];
        while stream.read(&mut unread).await? > 0 {}
        io::Result::Ok(())
    };
    let _ = select(pin!(answer), Timer::after(Duration::from_secs(1))).await;
}

#[cfg(test)]
mod tests;
