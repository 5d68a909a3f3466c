//! One UDP socket and the connections on it, shared between the driver, listeners and dials.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use futures::task::AtomicWaker;
use quinn_proto::{ClientConfig, ConnectionHandle, DatagramEvent, Incoming, ServerConfig, Transmit};
use smol::lock::Semaphore;

use super::{
    Connecting, Error,
    config::ProtoConfig,
    connection::{Shared, remember},
    socket::{Received, Socket},
};
use crate::{clock, limits::network as limits};

pub(super) struct Endpoint {
    pub(super) socket: Socket,
    /// Wakes the driver.
    pub(super) waker: AtomicWaker,
    state: Mutex<State>,
    /// Connections that their users have changed since the driver was last here; each at most once.
    touched: Mutex<Vec<ConnectionHandle>>,
    handshake_timeout: Duration,
    dial_timeout: Duration,
    /// Places for connections with wide windows; all endpoints of a transport share them.
    pub(super) wide: Arc<Semaphore>,
    /// More of them, for peers that are far away.
    pub(super) far: Arc<Semaphore>,
}

/// Locked before a connection, never while one is locked.
pub(super) struct State {
    pub(super) proto: quinn_proto::Endpoint,
    pub(super) connections: HashMap<ConnectionHandle, Entry>,
    /// Connections with something to do; each at most once.
    pub(super) ready: VecDeque<ConnectionHandle>,
    /// When each connection's next timer is due.
    deadlines: BTreeSet<(Instant, usize)>,
    /// Incoming handshakes under way, by where they come from.
    pub(super) handshakes: HashMap<IpAddr, usize>,
    /// Incoming connections that the listener has not seen yet.
    incoming: VecDeque<(Connecting, Option<IpAddr>, SocketAddr)>,
    on_incoming: Option<Waker>,
    /// Nobody listens or dials here any more: over with the last connection.
    pub(super) abandoned: bool,
}

pub(super) struct Entry {
    pub(super) shared: Arc<Shared>,
    /// In `ready`.
    pub(super) ready: bool,
    /// In `deadlines`.
    pub(super) deadline: Option<Instant>,
    /// Counts there among `handshakes`.
    handshaking: Option<IpAddr>,
}

impl Endpoint {
    pub(super) fn bind(
        address: SocketAddr,
        config: &ProtoConfig,
        server: Option<Arc<ServerConfig>>,
    ) -> io::Result<Arc<Self>> {
        let socket = Socket::bind(address)?;
        let proto = quinn_proto::Endpoint::new(config.endpoint.clone(), server, !socket.may_fragment(), None);
        let state = State {
            proto,
            connections: HashMap::new(),
            ready: VecDeque::new(),
            deadlines: BTreeSet::new(),
            handshakes: HashMap::new(),
            incoming: VecDeque::new(),
            on_incoming: None,
            abandoned: false,
        };
        Ok(Arc::new(Self {
            socket,
            waker: AtomicWaker::new(),
            state: Mutex::new(state),
            touched: Mutex::new(Vec::new()),
            handshake_timeout: config.handshake_timeout,
            dial_timeout: config.dial_timeout,
            wide: config.wide.clone(),
            far: config.far.clone(),
        }))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }

    /// Called by users of a connection, which is locked.
    pub(super) fn touch(&self, handle: ConnectionHandle) {
        self.touched.lock().expect("no holder panics").push(handle);
        self.waker.wake();
    }

    /// Moves what users have touched to what is ready.
    pub(super) fn collect_touched(&self, state: &mut State) {
        for handle in self.touched.lock().expect("no holder panics").drain(..) {
            state.make_ready(handle);
        }
    }

    pub(super) fn connect(self: &Arc<Self>, config: ClientConfig, remote: SocketAddr) -> Result<Connecting, Error> {
        let mut state = self.lock();
        // libp2p has no server names; rustls wants one that looks like one.
        let (handle, proto) = state.proto.connect(clock::now(), config, remote, "l")?;
        let shared = state.insert(self, handle, proto, None);
        self.waker.wake();
        Ok(Connecting::new(shared, self.dial_timeout))
    }

    /// The next incoming connection, the local address that it came to, and where it comes from.
    pub(super) fn poll_incoming(&self, cx: &Context<'_>) -> Poll<(Connecting, Option<IpAddr>, SocketAddr)> {
        let mut state = self.lock();
        match state.incoming.pop_front() {
            Some(incoming) => Poll::Ready(incoming),
            None => {
                remember(&mut state.on_incoming, cx);
                Poll::Pending
            }
        }
    }

    /// Gives one sender's datagrams to their connections. What must be answered at once is written to `reply` and sent.
    pub(super) fn handle_received(
        self: &Arc<Self>,
        state: &mut State,
        now: Instant,
        received: &Received<'_>,
        reply: &mut Vec<u8>,
    ) {
        for datagram in received.datagrams() {
            reply.clear();
            match state.proto.handle(now, received.from, received.to, received.ecn, datagram, reply) {
                None => {}
                Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                    if let Some(entry) = state.connections.get(&handle) {
                        entry.shared.lock().proto.handle_event(event);
                        state.make_ready(handle);
                    }
                }
                Some(DatagramEvent::NewConnection(incoming)) => self.admit(state, now, incoming, reply),
                Some(DatagramEvent::Response(transmit)) => self.answer(&transmit, reply),
            }
        }
    }

    /// Decides on a stranger's first packet. Few handshakes under way: welcome. More: it must prove its address, so that a
    /// flood from forged addresses gets no further. Too many, from there or in all, or no room: no.
    fn admit(self: &Arc<Self>, state: &mut State, now: Instant, incoming: Incoming, reply: &mut Vec<u8>) {
        reply.clear();
        let from = incoming.remote_address();
        let (under_way, from_there) = (state.handshakes_under_way(), state.handshakes.get(&from.ip()));
        if under_way >= limits::HANDSHAKES || from_there.is_some_and(|count| *count >= limits::HANDSHAKES_PER_IP) {
            return state.proto.ignore(incoming);
        }
        if state.abandoned || state.connections.len() >= limits::CONNECTIONS_PER_SOCKET {
            let refusal = state.proto.refuse(incoming, reply);
            return self.answer(&refusal, reply);
        }
        if under_way >= limits::HANDSHAKES_BEFORE_RETRY && !incoming.remote_address_validated() {
            match state.proto.retry(incoming, reply) {
                Ok(retry) => self.answer(&retry, reply),
                Err(error) => state.proto.ignore(error.into_incoming()),
            }
            return;
        }
        let to = incoming.local_ip();
        match state.proto.accept(incoming, now, reply, None) {
            Ok((handle, proto)) => {
                let shared = state.insert(self, handle, proto, Some(from.ip()));
                state.incoming.push_back((Connecting::new(shared, self.handshake_timeout), to, from));
                if let Some(waker) = state.on_incoming.take() {
                    waker.wake();
                }
            }
            Err(error) => {
                log::debug!("handshake with {from} failed: {}", error.cause);
                if let Some(refusal) = error.response {
                    self.answer(&refusal, reply);
                }
            }
        }
    }

    /// Sends if there is room: a lost answer is asked for again.
    fn answer(&self, transmit: &Transmit, contents: &[u8]) {
        self.socket.send(transmit, contents);
    }
}

impl State {
    fn insert(
        &mut self,
        endpoint: &Arc<Endpoint>,
        handle: ConnectionHandle,
        proto: quinn_proto::Connection,
        handshaking: Option<IpAddr>,
    ) -> Arc<Shared> {
        let shared = Shared::new(endpoint.clone(), handle, proto);
        if let Some(ip) = handshaking {
            *self.handshakes.entry(ip).or_default() += 1;
        }
        self.connections.insert(handle, Entry { shared: shared.clone(), ready: false, deadline: None, handshaking });
        self.make_ready(handle);
        shared
    }

    pub(super) fn remove(&mut self, handle: ConnectionHandle) {
        self.end_handshake(handle);
        if let Some(deadline) = self.connections.remove(&handle).and_then(|entry| entry.deadline) {
            self.deadlines.remove(&(deadline, handle.0));
        }
    }

    pub(super) fn make_ready(&mut self, handle: ConnectionHandle) {
        if let Some(entry) = self.connections.get_mut(&handle)
            && !entry.ready
        {
            entry.ready = true;
            self.ready.push_back(handle);
        }
    }

    /// A handshake is over, well or not.
    pub(super) fn end_handshake(&mut self, handle: ConnectionHandle) {
        if let Some(ip) = self.connections.get_mut(&handle).and_then(|entry| entry.handshaking.take())
            && let Some(count) = self.handshakes.get_mut(&ip)
        {
            *count -= 1;
            if *count == 0 {
                self.handshakes.remove(&ip);
            }
        }
    }

    pub(super) fn handshakes_under_way(&self) -> usize {
        self.handshakes.values().sum()
    }

    pub(super) fn set_deadline(&mut self, handle: ConnectionHandle, deadline: Option<Instant>) {
        let Some(entry) = self.connections.get_mut(&handle) else { return };
        if entry.deadline == deadline {
            return;
        }
        if let Some(old) = std::mem::replace(&mut entry.deadline, deadline) {
            self.deadlines.remove(&(old, handle.0));
        }
        if let Some(new) = deadline {
            self.deadlines.insert((new, handle.0));
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Makes those ready whose timer is due; they handle it when it is their turn.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some(&(deadline, handle)) = self.deadlines.first()
            && deadline <= now
        {
            let handle = ConnectionHandle(handle);
            self.set_deadline(handle, None);
            self.make_ready(handle);
        }
    }
}

/// Someone who listens or dials here; without any, the endpoint ends with its last connection.
pub(super) struct User(pub(super) Arc<Endpoint>);

impl User {
    /// Takes over an endpoint that nobody uses any more, if it is that.
    pub(super) fn adopt(endpoint: Arc<Endpoint>) -> Option<Self> {
        let mut state = endpoint.lock();
        // Without connections its driver may have ended already.
        if !state.abandoned || state.connections.is_empty() {
            return None;
        }
        state.abandoned = false;
        drop(state);
        Some(Self(endpoint))
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.abandoned = true;
        // Dropping these closes them.
        state.incoming.clear();
        drop(state);
        self.0.waker.wake();
    }
}
