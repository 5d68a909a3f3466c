//! libp2p's view of QUIC: listen, dial.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use libp2p::{
    Multiaddr, PeerId,
    core::transport::{DialOpts, ListenerId, Transport as Libp2pTransport, TransportError, TransportEvent},
};
use quinn_proto::ServerConfig;

use super::{
    Config, Connecting, Connection, Control, Dial, Error, address,
    config::ProtoConfig,
    connection::remember,
    dial::Turns,
    driver::Driver,
    endpoint::{Endpoint, User},
    listener::{Event, Listener},
};
use crate::tasks;

/// QUIC for a libp2p swarm. Its tasks run as [`tasks`] has it.
///
/// `transport.map(|(peer, connection), _| (peer, StreamMuxerBox::new(connection))).boxed()` is what a `Swarm` takes.
pub struct Transport {
    config: ProtoConfig,
    listeners: Vec<Listener>,
    /// For dials of a family without a listener.
    dialers: Vec<User>,
    turns: Turns,
    /// Of listeners that are gone.
    events: VecDeque<Event>,
    control: Control,
    waker: Option<Waker>,
}

impl Transport {
    /// Opens no socket yet.
    ///
    /// # Errors
    /// [`Error::Tls`].
    pub fn new(config: &Config) -> Result<Self, Error> {
        Ok(Self {
            config: ProtoConfig::new(config)?,
            listeners: Vec::new(),
            dialers: Vec::new(),
            turns: Turns::default(),
            events: VecDeque::new(),
            control: Control::default(),
            waker: None,
        })
    }

    /// A handle to all connections, for closing them with a reason.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    fn bind(&self, address: SocketAddr, server: Option<Arc<ServerConfig>>) -> Result<User, Error> {
        let endpoint = Endpoint::bind(address, &self.config, server)?;
        self.control.add(&endpoint);
        tasks::spawn(Driver::new(endpoint.clone())).detach();
        Ok(User(endpoint))
    }

    /// The endpoint that listens there; one whose listener is gone but whose connections live still holds the port.
    fn bind_listener(&self, address: SocketAddr) -> Result<User, Error> {
        let mut same = self.control.endpoints().into_iter().filter(|endpoint| endpoint.socket.local() == address);
        match same.find_map(User::adopt) {
            Some(user) => Ok(user),
            None => self.bind(address, Some(self.config.server.clone())),
        }
    }

    /// The endpoint that a dial leaves from.
    fn dialer(&mut self, remote: &SocketAddr) -> Result<Arc<Endpoint>, Error> {
        let listener = self.listeners.iter().find(|listener| listener.reaches(remote)).map(|listener| &listener.user);
        let same_family = |user: &&User| user.0.socket.local().is_ipv4() == remote.is_ipv4();
        if let Some(user) = listener.or_else(|| self.dialers.iter().find(same_family)) {
            return Ok(user.0.clone());
        }
        let user = self.bind(address::unspecified(remote), None)?;
        let endpoint = user.0.clone();
        self.dialers.push(user);
        Ok(endpoint)
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

fn parse(address: &Multiaddr) -> Result<(SocketAddr, Option<PeerId>), TransportError<Error>> {
    let parsed = address::parse(address).ok_or_else(|| TransportError::MultiaddrNotSupported(address.clone()))?;
    parsed.map_err(TransportError::Other)
}

impl Libp2pTransport for Transport {
    type Output = (PeerId, Connection);
    type Error = Error;
    type ListenerUpgrade = Connecting;
    type Dial = Dial;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<Error>> {
        let (socket, _) = parse(&address)?;
        let user = self.bind_listener(socket).map_err(TransportError::Other)?;
        self.listeners.push(Listener::new(id, user));
        self.wake();
        Ok(())
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        let Some(at) = self.listeners.iter().position(|listener| listener.id == id) else { return false };
        self.events.extend(self.listeners.swap_remove(at).close());
        self.wake();
        true
    }

    /// From a listener's port where one reaches the address, whatever `options.port_use` says: nobody here asks for another.
    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<Dial, TransportError<Error>> {
        let (socket, peer) = parse(&address)?;
        if socket.port() == 0 || socket.ip().is_unspecified() || options.role.is_listener() {
            return Err(TransportError::MultiaddrNotSupported(address));
        }
        let dial = self.config.client(peer).and_then(|config| {
            let endpoint = self.dialer(&socket)?;
            Dial::new(&endpoint, config, socket, self.turns.next(peer))
        });
        dial.map_err(TransportError::Other)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<TransportEvent<Connecting, Error>> {
        let this = &mut *self;
        if let Some(event) = this.events.pop_front() {
            return Poll::Ready(event);
        }
        for listener in &mut this.listeners {
            if let Poll::Ready(event) = listener.poll(cx) {
                return Poll::Ready(event);
            }
        }
        remember(&mut this.waker, cx);
        Poll::Pending
    }
}

#[cfg(test)]
impl Transport {
    pub(super) fn listener_ids(&self) -> Vec<ListenerId> {
        self.listeners.iter().map(|listener| listener.id).collect()
    }
}
