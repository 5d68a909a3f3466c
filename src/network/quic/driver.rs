//! The task behind a UDP socket: moves datagrams between the socket and the connections, and keeps their timers.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use async_io::Timer;
use quinn_proto::{ConnectionHandle, Transmit};

use super::{
    endpoint::{Endpoint, State},
    socket::Buffers,
};
use crate::clock;

/// Receive calls in one turn, so that the streams' readers get theirs.
const RECEIVES_PER_TURN: usize = 4;
/// How long we leave a socket alone that fails to receive, lest it fails without end.
const RECEIVE_PAUSE: Duration = Duration::from_millis(100);
/// Send calls for one connection in one turn, so that the other connections get theirs.
const SENDS_PER_TURN: usize = 16;
/// Datagrams in one send call. More save little, and delay the acknowledgements that arrive meanwhile.
const SEGMENTS_PER_SEND: usize = 32;

/// Runs until nobody uses the endpoint and its last connection is gone.
pub(super) struct Driver {
    endpoint: Arc<Endpoint>,
    buffers: Buffers,
    /// What is being sent.
    contents: Vec<u8>,
    /// Of `contents`, what the kernel had no room for. All sending waits for it.
    blocked: Option<Transmit>,
    timer: Timer,
    /// When `timer` fires. May be too early, for then the timer is set anew; never too late.
    armed: Option<Instant>,
}

impl Driver {
    pub(super) fn new(endpoint: Arc<Endpoint>) -> Self {
        Self {
            endpoint,
            buffers: Buffers::new(),
            contents: Vec::new(),
            blocked: None,
            timer: Timer::never(),
            armed: None,
        }
    }

    /// Takes in what has arrived; true if there may be more.
    fn receive(&mut self, state: &mut State, now: Instant, cx: &mut Context<'_>) -> io::Result<bool> {
        let mut reply = Vec::new();
        for _ in 0..RECEIVES_PER_TURN {
            let Poll::Ready(count) = self.endpoint.socket.poll_receive(cx, &mut self.buffers) else { return Ok(false) };
            for received in self.buffers.received(count?) {
                self.endpoint.handle_received(state, now, &received, &mut reply);
            }
        }
        Ok(true)
    }

    /// Sends what the kernel had no room for; true if nothing is left of it.
    fn unblock(&mut self, cx: &mut Context<'_>) -> bool {
        while let Some(transmit) = &self.blocked {
            if self.endpoint.socket.send(transmit, &self.contents) {
                self.blocked = None;
            } else if self.endpoint.socket.poll_writable(cx).is_pending() {
                return false;
            }
        }
        true
    }

    /// Gives each ready connection its turn, unless sending is blocked.
    fn drive_ready(&mut self, state: &mut State, now: Instant, cx: &mut Context<'_>) {
        for _ in 0..state.ready.len() {
            if !self.unblock(cx) {
                return;
            }
            let Some(handle) = state.ready.pop_front() else { return };
            self.drive(state, handle, now);
        }
        // The last one may have filled the socket: we have to hear when there is room again.
        self.unblock(cx);
    }

    fn drive(&mut self, state: &mut State, handle: ConnectionHandle, now: Instant) {
        let Some(entry) = state.connections.get_mut(&handle) else { return };
        entry.ready = false;
        let shared = entry.shared.clone();
        let mut connection = shared.lock();
        connection.begin_drive(now);
        connection.proto.handle_timeout(now);
        let mut drained = false;
        while let Some(event) = connection.proto.poll_endpoint_events() {
            drained |= event.is_drained();
            if let Some(reply) = state.proto.handle_event(handle, event) {
                connection.proto.handle_event(reply);
            }
        }
        let idle = self.transmit(&mut connection.proto, now);
        connection.handle_events();
        if connection.connected || connection.lost.is_some() {
            state.end_handshake(handle);
        }
        if drained || connection.lost.is_some() && idle {
            connection.set_flushed();
        }
        if drained {
            return state.remove(handle);
        }
        state.set_deadline(handle, connection.proto.poll_timeout());
        if !idle {
            state.make_ready(handle);
        }
    }

    /// Sends what the connection has to send; false if it may have more.
    fn transmit(&mut self, connection: &mut quinn_proto::Connection, now: Instant) -> bool {
        let segments = self.endpoint.socket.max_segments().min(SEGMENTS_PER_SEND);
        for _ in 0..SENDS_PER_TURN {
            self.contents.clear();
            let Some(transmit) = connection.poll_transmit(now, segments, &mut self.contents) else { return true };
            if !self.endpoint.socket.send(&transmit, &self.contents) {
                self.blocked = Some(transmit);
                return false;
            }
        }
        false
    }

    /// Sets the timer; true if it has fired already.
    fn poll_timer(&mut self, deadline: Option<Instant>, cx: &mut Context<'_>) -> bool {
        let Some(deadline) = deadline else { return false };
        if self.armed.is_none_or(|armed| deadline < armed) {
            self.timer.set_at(deadline);
            self.armed = Some(deadline);
        }
        let fired = Pin::new(&mut self.timer).poll(cx).is_ready();
        if fired {
            self.armed = None;
        }
        fired
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let endpoint = this.endpoint.clone();
        endpoint.waker.register(cx.waker());
        let mut state = endpoint.lock();
        let now = clock::now();
        let (more, retry) = match this.receive(&mut state, now, cx) {
            Ok(more) => (more, None),
            Err(error) => {
                log::debug!("receiving on {}: {error}", endpoint.socket.local());
                (false, Some(now + RECEIVE_PAUSE))
            }
        };
        endpoint.collect_touched(&mut state);
        state.expire(now);
        this.drive_ready(&mut state, now, cx);
        if state.abandoned && state.connections.is_empty() {
            return Poll::Ready(());
        }
        let deadline = [state.next_deadline(), retry].into_iter().flatten().min();
        let can_send = this.blocked.is_none() && !state.ready.is_empty();
        if more || can_send || this.poll_timer(deadline, cx) {
            // Others first: what was received is to be read.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}
