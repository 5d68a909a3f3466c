//! The network on the loopback.

mod door;
mod gossip;
mod seen;

use std::{io, time::Duration};

use futures::{AsyncReadExt, AsyncWriteExt, StreamExt as _, future};

use super::*;
use crate::{content::NodeId, network::Stream, wire};

const V4: &str = "/ip4/127.0.0.1/udp/0/quic-v1";

fn options(listen: &str) -> Options {
    Options {
        keypair: Keypair::generate(),
        listen: vec![listen.into()],
        listen_explicit: true,
        mdns: false,
        services: Vec::new(),
        gossip: false,
        ciphers: CipherPolicy::Auto,
        admission: Arc::new(peers::Admission::everybody()),
    }
}

/// Waits for the event that `pick` takes; fails after a generous time.
async fn wait_for<T>(started: &mut Started, pick: impl Fn(NetworkEvent) -> Option<T>) -> T {
    let picked = async {
        loop {
            if let Some(picked) = pick(started.events.next().await.expect("the network runs")) {
                return picked;
            }
        }
    };
    let late = async {
        smol::Timer::after(Duration::from_secs(60)).await;
        panic!("nothing of the kind happened")
    };
    smol::future::or(picked, late).await
}

fn listening(event: NetworkEvent) -> Option<String> {
    if let NetworkEvent::Listening { mut addresses, .. } = event { addresses.pop() } else { None }
}

fn connected(event: NetworkEvent) -> Option<(NodeId, peers::ConnectionNumber)> {
    match event {
        NetworkEvent::Peer(peers::Event::Connected { node, connection, .. }) => Some((node, connection)),
        _ => None,
    }
}

/// Dials until it works: on a busy machine a handshake may be given up. Returns the connection's number.
async fn dial_until_connected(one: &mut Started, id_two: NodeId, address: &str) -> peers::ConnectionNumber {
    loop {
        one.network.command(peers::Command::Dial { node: id_two, addresses: vec![address.into()] }).await;
        let answer = wait_for(one, |event| match event {
            NetworkEvent::Peer(peers::Event::Connected { node, connection, .. }) => Some(Some((node, connection))),
            NetworkEvent::Peer(peers::Event::DialFailed { .. }) => Some(None),
            _ => None,
        });
        if let Some((node, connection)) = answer.await {
            assert_eq!(node, id_two);
            return connection;
        }
    }
}

/// Two networks, of which the first is to dial the second.
struct Pair {
    one: Started,
    two: Started,
    id_one: NodeId,
    id_two: NodeId,
    /// Of the second.
    address: String,
}

impl Pair {
    async fn start(one: Options, two: Options) -> Self {
        let (id_one, id_two) = (one.keypair.node_id(), two.keypair.node_id());
        let (one, mut two) = (Network::start(one).unwrap(), Network::start(two).unwrap());
        let address = wait_for(&mut two, listening).await;
        Self { one, two, id_one, id_two, address }
    }
}

/// Connects both; returns the connection's number at either end.
async fn connect(
    one: &mut Started,
    two: &mut Started,
    id_two: NodeId,
    address: &str,
) -> (peers::ConnectionNumber, peers::ConnectionNumber) {
    let here = dial_until_connected(one, id_two, address).await;
    (here, wait_for(two, connected).await.1)
}

fn disconnected(event: NetworkEvent) -> Option<(NodeId, String)> {
    match event {
        NetworkEvent::Peer(peers::Event::Disconnected { node, ended, .. }) => Some((node, ended.to_string())),
        _ => None,
    }
}

#[test]
fn two_networks_connect_open_streams_and_take_leave() {
    smol::block_on(async {
        for listen in [V4, "/ip6/::1/udp/0/quic-v1"] {
            let Pair { mut one, mut two, id_one, id_two, address } =
                Pair::start(options(listen), options(listen)).await;
            connect(&mut one, &mut two, id_two, &address).await;

            let mut stream = one.connector.open(id_two, wire::blob::PROTOCOL).await.unwrap();
            stream.write_all(b"hello").await.unwrap();
            stream.close().await.unwrap();
            let mut incoming = two.incoming.recv().await.unwrap();
            assert_eq!((incoming.peer, incoming.protocol), (id_one, wire::blob::PROTOCOL));
            let mut heard = Vec::new();
            incoming.stream.read_to_end(&mut heard).await.unwrap();
            assert_eq!(heard, b"hello");

            two.network.stop().await;
            assert_eq!(wait_for(&mut one, disconnected).await.0, id_two);
        }
    });
}

#[test]
fn streams_that_come_at_once_wait_until_somebody_takes_them_up() {
    smol::block_on(async {
        let hub = options(V4);
        let id_hub = hub.keypair.node_id();
        let mut hub = Network::start(hub).unwrap();
        let address = wait_for(&mut hub, listening).await;
        let mut others: Vec<_> = (0..8).map(|_| Network::start(options(V4)).unwrap()).collect();
        for other in &mut others {
            connect(other, &mut hub, id_hub, &address).await;
        }
        // A connection may have some more, of which identify and ping need a few.
        let all = others.iter().flat_map(|other| (0..6).map(|_| other.connector.open(id_hub, wire::blob::PROTOCOL)));
        let mut opened = future::join_all(all).await;
        for stream in &mut opened {
            stream.as_mut().unwrap().write_all(b"!").await.unwrap();
        }
        for _ in &opened {
            hub.incoming.recv().await.unwrap().stream.read_exact(&mut [0]).await.unwrap();
        }
    });
}

#[test]
fn a_stream_to_who_is_not_connected_is_an_error_at_once() {
    smol::block_on(async {
        let Pair { mut one, mut two, id_two, address, .. } = Pair::start(options(V4), options(V4)).await;
        let kind = |result: io::Result<Stream>| result.err().map(|error| error.kind());
        let open = |protocol| one.connector.open(id_two, protocol);
        assert_eq!(kind(open(wire::blob::PROTOCOL).await), Some(io::ErrorKind::NotConnected));
        let connector = one.connector.clone();
        connect(&mut one, &mut two, id_two, &address).await;
        assert_eq!(kind(connector.open(id_two, "/allibrary/unheard-of/1").await), Some(io::ErrorKind::Unsupported));
        two.network.stop().await;
        wait_for(&mut one, disconnected).await;
        assert_eq!(kind(connector.open(id_two, wire::blob::PROTOCOL).await), Some(io::ErrorKind::NotConnected));
    });
}

#[test]
fn a_peer_that_is_turned_away_hears_why() {
    smol::block_on(async {
        let Pair { mut one, mut two, id_one, id_two, address } = Pair::start(options(V4), options(V4)).await;
        connect(&mut one, &mut two, id_two, &address).await;
        two.network.command(peers::Command::TurnAway { node: id_one, why: peers::Why::Full }).await;
        let (node, reason) = wait_for(&mut one, disconnected).await;
        assert_eq!(node, id_two);
        assert!(reason.contains("too many peers"), "{reason}");
        assert_eq!(wait_for(&mut two, disconnected).await.0, id_one);
    });
}

#[test]
fn a_peer_with_another_key_than_expected_is_not_connected_to() {
    smol::block_on(async {
        let (mut one, mut two) = (Network::start(options(V4)).unwrap(), Network::start(options(V4)).unwrap());
        let address = wait_for(&mut two, listening).await;
        let wrong = Keypair::generate().node_id();
        one.network.command(peers::Command::Dial { node: wrong, addresses: vec![address] }).await;
        let failed = wait_for(&mut one, |event| match event {
            NetworkEvent::Peer(peers::Event::DialFailed { node, .. }) => Some(node),
            _ => None,
        });
        assert_eq!(failed.await, wrong);
    });
}

#[test]
fn an_address_that_no_interface_has_is_awaited() {
    smol::block_on(async {
        // The first is for examples in books (RFC 5737).
        for missing in ["/ip4/192.0.2.7/udp/0/quic-v1", "/ip6zone/none0/ip6/fe80::1/udp/0/quic-v1"] {
            let two = Options { listen: vec![missing.into(), V4.into()], ..options(V4) };
            let mut started = Network::start(two).unwrap();
            let awaited = wait_for(&mut started, |event| match event {
                NetworkEvent::Listening { addresses, awaited } if !addresses.is_empty() => Some(awaited),
                _ => None,
            });
            assert_eq!(awaited.await, [missing]);
        }
    });
}

#[test]
fn a_taken_address_is_an_error_if_it_was_chosen_and_moves_on_if_not() {
    smol::block_on(async {
        let mut first = Network::start(options(V4)).unwrap();
        let taken = wait_for(&mut first, listening).await;
        let refused = Network::start(options(&taken)).err().expect("the address is taken");
        assert!(refused.to_string().contains(&taken), "{refused}");
        let mut second = Network::start(Options { listen_explicit: false, ..options(&taken) }).unwrap();
        assert_ne!(wait_for(&mut second, listening).await, taken);
    });
}
