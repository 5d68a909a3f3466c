//! The transport on the loopback.

mod addresses;
mod connections;
mod relay;
mod strangers;
mod streams;
mod windows;

use std::{
    future::{Future, poll_fn},
    net::{SocketAddr, UdpSocket},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::Poll,
    time::Duration,
};

use async_io::{Async, Timer};
use futures::{
    AsyncReadExt, AsyncWriteExt, FutureExt, StreamExt,
    channel::mpsc,
    future::{join, join_all, select},
};
use libp2p::{
    Multiaddr, PeerId,
    core::{
        Endpoint, Transport as _,
        muxing::StreamMuxerExt,
        transport::{DialOpts, ListenerId, PortUse, TransportEvent},
    },
    multiaddr::Protocol,
};

use super::{CloseCode, Config, Connection, Error, Stream, Transport, Watched, close_code, config::ProtoConfig};
use crate::{
    content::NodeId,
    limits::network as limits,
    network::{identity::Keypair, tls::CipherPolicy},
    peers::Sample,
};

const V4: &str = "/ip4/127.0.0.1/udp/0/quic-v1";
const V6: &str = "/ip6/::1/udp/0/quic-v1";
const SOON: Duration = Duration::from_secs(60);
const REUSE: DialOpts = DialOpts { role: Endpoint::Dialer, port_use: PortUse::Reuse };

/// A transport that is polled in the background and accepts all.
struct Node {
    peer: PeerId,
    transport: Arc<Mutex<Transport>>,
    events: mpsc::UnboundedReceiver<TransportEvent<(), Error>>,
    accepted: mpsc::UnboundedReceiver<(PeerId, Connection)>,
    _task: smol::Task<()>,
}

impl Node {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(configure: impl FnOnce(&mut Config)) -> Self {
        let keypair = Keypair::generate();
        let peer = keypair.as_libp2p().public().to_peer_id();
        let mut config = Config::new(keypair);
        // Debug code on a busy machine is slow, and who is ignored at first tries again at longer and longer intervals.
        (config.handshake_timeout, config.dial_timeout, config.idle_timeout) = (SOON, SOON, SOON);
        configure(&mut config);
        let transport = Arc::new(Mutex::new(Transport::new(&config).unwrap()));
        let ((event_sender, events), (accepted_sender, accepted)) = (mpsc::unbounded(), mpsc::unbounded());
        let polled = transport.clone();
        let task = smol::spawn(async move {
            loop {
                let event = poll_fn(|cx| Pin::new(&mut *polled.lock().unwrap()).poll(cx)).await;
                if let TransportEvent::Incoming { upgrade, .. } = event {
                    let sender = accepted_sender.clone();
                    smol::spawn(async move {
                        if let Ok(connection) = upgrade.await {
                            let _ = sender.unbounded_send(connection);
                        }
                    })
                    .detach();
                } else {
                    let _ = event_sender.unbounded_send(event.map_upgrade(drop));
                }
            }
        });
        Self { peer, transport, events, accepted, _task: task }
    }

    async fn listen(&mut self, address: &str) -> (ListenerId, Multiaddr) {
        let id = ListenerId::next();
        self.transport.lock().unwrap().listen_on(id, address.parse().unwrap()).unwrap();
        match soon(self.events.next()).await {
            Some(TransportEvent::NewAddress { listener_id, listen_addr }) if listener_id == id => (id, listen_addr),
            other => panic!("{other:?}"),
        }
    }

    async fn dial(&self, address: &Multiaddr) -> Result<(PeerId, Connection), Error> {
        let dial = self.transport.lock().unwrap().dial(address.clone(), REUSE).unwrap();
        soon(dial).await
    }

    async fn accept(&mut self) -> (PeerId, Connection) {
        soon(self.accepted.next()).await.unwrap()
    }
}

/// Two nodes and a connection: the dialler's end, and the listener's.
async fn pair(address: &str) -> (Node, Connection, Node, Connection) {
    let (a, mut b) = (Node::new(), Node::new());
    let (_, address) = b.listen(address).await;
    let (peer, dialled) = a.dial(&address).await.unwrap();
    assert_eq!(peer, b.peer);
    let (peer, accepted) = b.accept().await;
    assert_eq!(peer, a.peer);
    (a, dialled, b, accepted)
}

/// How a connection is, whosever it is.
fn read(connection: &Watched) -> Option<Sample> {
    connection.sample(NodeId([0; 32]), 0)
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    let late = async {
        Timer::after(SOON).await;
        panic!("not within {SOON:?}")
    };
    select(std::pin::pin!(future), std::pin::pin!(late)).map(|either| either.factor_first().0).await
}

async fn open(connection: &mut Connection) -> Stream {
    soon(poll_fn(|cx| connection.poll_outbound_unpin(cx))).await.unwrap()
}

async fn accept(connection: &mut Connection) -> Stream {
    soon(poll_fn(|cx| connection.poll_inbound_unpin(cx))).await.unwrap()
}

async fn close(connection: &mut Connection) {
    soon(poll_fn(|cx| connection.poll_close_unpin(cx))).await.unwrap()
}

/// Why the connection ends.
async fn lost(connection: &mut Connection) -> Error {
    match soon(poll_fn(|cx| connection.poll_unpin(cx))).await {
        Err(error) => error,
        Ok(event) => panic!("{event:?}"),
    }
}

/// A stream whose other end has been accepted.
async fn stream(from: &mut Connection, to: &mut Connection) -> (Stream, Stream) {
    let mut ours = open(from).await;
    soon(ours.write_all(b"!")).await.unwrap();
    let mut theirs = accept(to).await;
    soon(theirs.read_exact(&mut [0])).await.unwrap();
    (ours, theirs)
}
