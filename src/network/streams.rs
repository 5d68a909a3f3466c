//! The program's own protocols, on plain streams of a connection: opening them, and handing on those that peers open.

use std::{
    collections::HashMap,
    convert::Infallible,
    future::{Ready, ready},
    io,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use futures::{
    SinkExt as _, StreamExt as _,
    channel::{mpsc, oneshot},
};
use libp2p::{
    Multiaddr, PeerId, StreamProtocol,
    core::{
        Endpoint,
        transport::PortUse,
        upgrade::{InboundUpgrade, ReadyUpgrade, UpgradeInfo},
    },
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
        StreamUpgradeError, SubstreamProtocol, ToSwarm,
        handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound},
    },
};
use smol::channel::Sender;

use super::identity;
use crate::{content::NodeId, wire};

/// A stream to a peer: reading, writing and closing as in [`futures::io`].
pub type Stream = libp2p::Stream;

/// A stream that a peer opened.
pub struct Incoming {
    /// Who.
    pub peer: NodeId,
    /// One of [`wire::PROTOCOLS`].
    pub protocol: &'static str,
    /// The stream.
    pub stream: Stream,
}

/// Opens streams to connected peers; cheap to clone.
#[derive(Clone, Default)]
pub struct Connector(Arc<Mutex<Connections>>);

/// What takes requests for streams of a connection. A peer has two for a moment, when both have dialled.
type Connections = HashMap<PeerId, Vec<(ConnectionId, mpsc::Sender<Request>)>>;

/// A stream that somebody waits for.
struct Request {
    protocol: &'static str,
    answer: Answer,
}

type Answer = oneshot::Sender<io::Result<Stream>>;

impl Connector {
    /// Opens a stream of one of [`wire::PROTOCOLS`] to a connected peer.
    ///
    /// # Errors
    /// When the peer is gone ([`io::ErrorKind::NotConnected`]), or does not speak the protocol ([`io::ErrorKind::Unsupported`]).
    pub async fn open(&self, peer: NodeId, protocol: &'static str) -> io::Result<Stream> {
        let gone = || io::Error::new(io::ErrorKind::NotConnected, "the peer is not connected");
        // One that has just ended may still be listed.
        let open = |all: &mut Connections| {
            let mut senders = all.get(&identity::peer_id(peer))?.iter().map(|(_, sender)| sender);
            senders.find(|sender| !sender.is_closed()).cloned()
        };
        let connection = self.with(open);
        let (answer, opened) = oneshot::channel();
        connection.ok_or_else(gone)?.send(Request { protocol, answer }).await.map_err(|_closed| gone())?;
        opened.await.unwrap_or_else(|_canceled| Err(gone()))
    }

    fn with<T>(&self, look: impl FnOnce(&mut Connections) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What the swarm knows of the protocols.
pub(super) struct Behaviour {
    connector: Connector,
    incoming: Sender<Incoming>,
}

impl Behaviour {
    /// Streams that peers open go to `incoming`; those that it has no place for are refused.
    pub(super) fn new(connector: Connector, incoming: Sender<Incoming>) -> Self {
        Self { connector, incoming }
    }

    fn handler(&self, peer: PeerId, connection: ConnectionId) -> Handler {
        // Each that waits has a place of its own.
        let (sender, requests) = mpsc::channel(0);
        self.connector.with(|all| all.entry(peer).or_default().push((connection, sender)));
        Handler { peer: identity::node_id(&peer), requests, incoming: self.incoming.clone() }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _local: &Multiaddr,
        _remote: &Multiaddr,
    ) -> Result<Handler, ConnectionDenied> {
        Ok(self.handler(peer, connection))
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _address: &Multiaddr,
        _role: Endpoint,
        _port: PortUse,
    ) -> Result<Handler, ConnectionDenied> {
        Ok(self.handler(peer, connection))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        let FromSwarm::ConnectionClosed(closed) = event else { return };
        self.connector.with(|all| {
            let Some(connections) = all.get_mut(&closed.peer_id) else { return };
            connections.retain(|(connection, _)| *connection != closed.connection_id);
            if connections.is_empty() {
                all.remove(&closed.peer_id);
            }
        });
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: Infallible) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, Infallible>> {
        Poll::Pending
    }
}

/// The protocols on one connection.
pub(super) struct Handler {
    /// None if its key is of a kind that no node of ours has.
    peer: Option<NodeId>,
    requests: mpsc::Receiver<Request>,
    incoming: Sender<Incoming>,
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Infallible;
    type ToBehaviour = Infallible;
    type InboundProtocol = Protocols;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Answer;

    fn listen_protocol(&self) -> SubstreamProtocol<Protocols> {
        SubstreamProtocol::new(Protocols, ())
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Answer, Infallible>> {
        // That there will be no more is no event: it comes when the connection has ended.
        let Poll::Ready(Some(Request { protocol, answer })) = self.requests.poll_next_unpin(cx) else {
            return Poll::Pending;
        };
        let protocol = SubstreamProtocol::new(ReadyUpgrade::new(StreamProtocol::new(protocol)), answer);
        Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol })
    }

    fn on_behaviour_event(&mut self, event: Infallible) {
        match event {}
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Protocols, Self::OutboundProtocol, (), Answer>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: (stream, protocol), ..
            }) => {
                let Some(peer) = self.peer else { return };
                if self.incoming.try_send(Incoming { peer, protocol, stream }).is_err() {
                    log::debug!("a stream of {peer} was refused: too many wait");
                }
            }
            // Who asked may have gone.
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol: stream, info: answer }) => {
                let _ = answer.send(Ok(stream));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { error, info: answer }) => {
                let _ = answer.send(Err(why(error)));
            }
            _ => {}
        }
    }
}

fn why(error: StreamUpgradeError<Infallible>) -> io::Error {
    match error {
        StreamUpgradeError::Timeout => io::ErrorKind::TimedOut.into(),
        StreamUpgradeError::NegotiationFailed => {
            io::Error::new(io::ErrorKind::Unsupported, "the peer does not speak the protocol")
        }
        StreamUpgradeError::Io(error) => error,
        StreamUpgradeError::Apply(never) => match never {},
    }
}

/// Accepts a stream of any of [`wire::PROTOCOLS`], and tells of which.
pub(super) struct Protocols;

impl UpgradeInfo for Protocols {
    type Info = &'static str;
    type InfoIter = [&'static str; wire::PROTOCOLS.len()];

    fn protocol_info(&self) -> Self::InfoIter {
        wire::PROTOCOLS
    }
}

impl InboundUpgrade<Stream> for Protocols {
    type Output = (Stream, &'static str);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, protocol: &'static str) -> Self::Future {
        ready(Ok((stream, protocol)))
    }
}
