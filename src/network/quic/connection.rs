//! One connection: what the driver, its streams and its owner share, and libp2p's view of it.

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker, ready},
    time::{Duration, Instant},
};

use async_io::Timer;
use bytes::Bytes;
use libp2p::{
    PeerId,
    core::muxing::{StreamMuxer, StreamMuxerEvent},
};
use quinn_proto::{ConnectionError, ConnectionHandle, Dir, Event, StreamEvent, StreamId};
use rustls::pki_types::CertificateDer;
use smol::lock::SemaphoreGuardArc;

use super::{CloseCode, Error, Stream, Watched, endpoint::Endpoint, watched};
use crate::{clock, limits::network as limits, network::tls};

/// How long an acknowledgement may wait (RFC 9000, section 18.2, `max_ack_delay`).
const ACK_DELAY: Duration = Duration::from_millis(25);
const FAR: Duration = Duration::from_millis(limits::FAR_MS);

/// A connection as the driver and all handles see it.
pub(super) struct Shared {
    endpoint: Arc<Endpoint>,
    handle: ConnectionHandle,
    state: Mutex<State>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shared({})", self.handle.0)
    }
}

/// Never locked while waiting, and never locks anything but the endpoint's list of touched connections.
pub(super) struct State {
    pub(super) proto: quinn_proto::Connection,
    pub(super) connected: bool,
    /// When the last packet arrived that was certainly the peer's.
    pub(super) heard: Instant,
    /// The frames of such packets, by which they are noticed.
    frames: u64,
    /// Of these, those that only ask for a sign of life.
    pings: u64,
    /// Why it is no more.
    pub(super) lost: Option<ConnectionError>,
    /// All that there was to send after the end has been sent.
    pub(super) flushed: bool,
    /// Waits for the driver already.
    touched: bool,
    on_handshake: Option<Waker>,
    on_inbound: Option<Waker>,
    on_outbound: Option<Waker>,
    on_lost: Option<Waker>,
    on_flushed: Vec<Waker>,
    streams: HashMap<StreamId, StreamWakers>,
    /// Bytes that its streams have carried since it last asked for wide windows.
    carried: u64,
    /// It has wide windows.
    wide: Option<SemaphoreGuardArc>,
}

/// Who waits for a stream.
#[derive(Default)]
pub(super) struct StreamWakers {
    pub(super) read: Option<Waker>,
    pub(super) write: Option<Waker>,
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

/// Remembers whom to wake; cheap if it is the same as before.
pub(super) fn remember(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *slot = Some(cx.waker().clone()),
    }
}

impl Shared {
    pub(super) fn new(endpoint: Arc<Endpoint>, handle: ConnectionHandle, proto: quinn_proto::Connection) -> Arc<Self> {
        let state = State {
            proto,
            connected: false,
            heard: clock::now(),
            frames: 0,
            pings: 0,
            lost: None,
            flushed: false,
            touched: false,
            on_handshake: None,
            on_inbound: None,
            on_outbound: None,
            on_lost: None,
            on_flushed: Vec::new(),
            streams: HashMap::new(),
            carried: 0,
            wide: None,
        };
        Arc::new(Self { endpoint, handle, state: Mutex::new(state) })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }

    /// Tells the driver that there may be something to send.
    pub(super) fn touch(&self, state: &mut State) {
        if !state.touched {
            state.touched = true;
            self.endpoint.touch(self.handle);
        }
    }

    /// Counts what was read or written. Windows bound the memory that peers can fill, and the rate: they are wide for some
    /// connections that carry much, and for as long as those live, since what a peer was granted cannot be taken back.
    pub(super) fn count(&self, state: &mut State, bytes: usize) {
        if state.wide.is_some() {
            return;
        }
        state.carried += bytes as u64;
        if state.carried < limits::WIDE_AFTER_BYTES {
            return;
        }
        state.carried = 0;
        let is_far = state.proto.stats().path.min_rtt >= FAR;
        let far = || self.endpoint.far.try_acquire_arc().filter(|_| is_far);
        state.wide = self.endpoint.wide.try_acquire_arc().or_else(far);
        if state.wide.is_some() {
            state.proto.set_receive_window(limits::WIDE_CONNECTION_WINDOW_BYTES.into());
            state.proto.set_send_window(limits::WIDE_SEND_WINDOW_BYTES);
            self.touch(state);
        }
    }

    pub(super) fn close(&self, code: CloseCode, reason: &str) {
        let mut state = self.lock();
        if state.lost.is_none() {
            let reason = Bytes::copy_from_slice(&reason.as_bytes()[..reason.len().min(limits::CLOSE_REASON_BYTES)]);
            state.proto.close(clock::now(), code.to_var_int(), reason);
            state.lose(ConnectionError::LocallyClosed);
            self.touch(&mut state);
        }
    }

    /// Ready once the peer has been told that the connection is closed (or no longer listens).
    pub(super) fn poll_flushed(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.flushed {
            return Poll::Ready(());
        }
        if !state.on_flushed.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.on_flushed.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl State {
    /// The driver has come; what is touched from now on needs it again.
    pub(super) fn begin_drive(&mut self, now: Instant) {
        self.touched = false;
        let stats = self.proto.stats().frame_rx;
        let frames = watched::frames(&stats);
        if frames != self.frames {
            (self.frames, self.heard) = (frames, now);
        }
        if stats.ping != self.pings {
            self.pings = stats.ping;
            self.answer_at_once(now);
        }
    }

    /// Acknowledges a probe now: the [`ACK_DELAY`] that it might wait for data to go with would only wake this node once more.
    fn answer_at_once(&mut self, now: Instant) {
        // As it was heard just now, no other timer of an idle connection is as close; one that is comes a moment early.
        if let Some(due) = self.proto.poll_timeout().filter(|due| *due <= now + ACK_DELAY) {
            self.proto.handle_timeout(due);
        }
    }

    pub(super) fn set_flushed(&mut self) {
        self.flushed = true;
        self.on_flushed.drain(..).for_each(Waker::wake);
    }

    /// Passes on what has happened to those who wait for it.
    pub(super) fn handle_events(&mut self) {
        while let Some(event) = self.proto.poll() {
            match event {
                Event::Connected => {
                    self.connected = true;
                    wake(&mut self.on_handshake);
                }
                Event::ConnectionLost { reason } => self.lose(reason),
                Event::Stream(StreamEvent::Opened { .. }) => wake(&mut self.on_inbound),
                Event::Stream(StreamEvent::Available { .. }) => wake(&mut self.on_outbound),
                Event::Stream(StreamEvent::Readable { id }) => {
                    if let Some(wakers) = self.streams.get_mut(&id) {
                        wake(&mut wakers.read);
                    }
                }
                Event::Stream(StreamEvent::Writable { id } | StreamEvent::Stopped { id, .. }) => {
                    if let Some(wakers) = self.streams.get_mut(&id) {
                        wake(&mut wakers.write);
                    }
                }
                Event::Stream(StreamEvent::Finished { .. })
                | Event::HandshakeDataReady
                | Event::DatagramReceived
                | Event::DatagramsUnblocked => {}
            }
        }
    }

    fn lose(&mut self, reason: ConnectionError) {
        self.lost.get_or_insert(reason);
        for waker in [&mut self.on_handshake, &mut self.on_inbound, &mut self.on_outbound, &mut self.on_lost] {
            wake(waker);
        }
        for wakers in self.streams.values_mut() {
            wake(&mut wakers.read);
            wake(&mut wakers.write);
        }
    }

    pub(super) fn check(&self) -> Result<(), ConnectionError> {
        self.lost.clone().map_or(Ok(()), Err)
    }

    pub(super) fn wakers(&mut self, id: StreamId) -> &mut StreamWakers {
        self.streams.entry(id).or_default()
    }

    pub(super) fn forget(&mut self, id: StreamId) {
        self.streams.remove(&id);
    }

    /// Who is at the other end, once that is proved.
    pub(super) fn peer(&self) -> Result<PeerId, Error> {
        let identity = self.proto.crypto_session().peer_identity();
        let chain = identity.and_then(|chain| chain.downcast::<Vec<CertificateDer<'static>>>().ok());
        let certificate = chain.as_ref().and_then(|chain| chain.first());
        let certificate = certificate.ok_or(Error::Identity(rustls::Error::NoCertificatesPresented))?;
        tls::peer_of(certificate).map_err(Error::Identity)
    }
}

/// A handle; the connection closes with its last one.
pub(super) struct Handle(pub(super) Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.close(CloseCode::Done, "");
    }
}

/// A handshake under way. Dropping it gives up.
pub struct Connecting {
    handle: Option<Arc<Handle>>,
    timeout: Timer,
}

impl Connecting {
    pub(super) fn new(shared: Arc<Shared>, timeout: Duration) -> Self {
        Self { handle: Some(Arc::new(Handle(shared))), timeout: Timer::after(timeout) }
    }
}

impl Future for Connecting {
    type Output = Result<(PeerId, Connection), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let handle = self.handle.as_ref().expect("not polled after it was ready");
        let peer = {
            let mut state = handle.0.lock();
            match state.check() {
                Err(lost) => Some(Err(lost.into())),
                Ok(()) if state.connected => Some(state.peer()),
                Ok(()) => {
                    remember(&mut state.on_handshake, cx);
                    None
                }
            }
        };
        let result = match peer {
            Some(peer) => peer,
            None => {
                ready!(Pin::new(&mut self.timeout).poll(cx));
                Err(Error::HandshakeTimeout)
            }
        };
        let handle = self.handle.take().expect("was there above");
        Poll::Ready(result.map(|peer| (peer, Connection { handle })))
    }
}

/// An established connection. It closes when it and all its streams are dropped.
pub struct Connection {
    handle: Arc<Handle>,
}

impl Connection {
    #[cfg(test)]
    pub(super) fn remote(&self) -> std::net::SocketAddr {
        self.handle.0.lock().proto.remote_address()
    }

    /// Closes at once; the peer sees the code and the reason (at most [`limits::CLOSE_REASON_BYTES`]).
    pub fn close_with(&self, code: CloseCode, reason: &str) {
        self.handle.0.close(code, reason);
    }

    /// What can be seen and done from outside.
    pub fn watch(&self) -> Watched {
        Watched(Arc::downgrade(&self.handle.0))
    }

    fn stream(&self, id: StreamId) -> Stream {
        Stream::new(self.handle.clone(), id)
    }
}

impl StreamMuxer for Connection {
    type Substream = Stream;
    type Error = Error;

    fn poll_inbound(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Stream, Error>> {
        let mut state = self.handle.0.lock();
        state.check()?;
        match state.proto.streams().accept(Dir::Bi) {
            Some(id) => Poll::Ready(Ok(self.stream(id))),
            None => {
                remember(&mut state.on_inbound, cx);
                Poll::Pending
            }
        }
    }

    fn poll_outbound(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Stream, Error>> {
        let mut state = self.handle.0.lock();
        state.check()?;
        match state.proto.streams().open(Dir::Bi) {
            Some(id) => Poll::Ready(Ok(self.stream(id))),
            None => {
                remember(&mut state.on_outbound, cx);
                Poll::Pending
            }
        }
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.handle.0.close(CloseCode::Done, "");
        self.handle.0.poll_flushed(cx).map(Ok)
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, Error>> {
        let mut state = self.handle.0.lock();
        state.check()?;
        remember(&mut state.on_lost, cx);
        Poll::Pending
    }
}
