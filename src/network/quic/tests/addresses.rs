//! Addresses.

use futures::future::Either;

use super::{super::dial::HEAD_START, *};

#[test]
fn dials_leave_from_the_listeners_port() {
    smol::block_on(async {
        let (mut a, mut b) = (Node::new(), Node::new());
        let (_, ours) = a.listen(V4).await;
        let (_, theirs) = b.listen(V4).await;
        let _dialled = a.dial(&theirs).await.unwrap();
        let (_, accepted) = b.accept().await;
        assert_eq!(super::super::address::remote(accepted.remote()), ours);
    });
}

#[test]
fn addresses_of_others_are_not_ours() {
    let mut transport = Transport::new(&Config::new(Keypair::generate())).unwrap();
    for address in [
        "/ip4/127.0.0.1/tcp/1",
        "/ip4/127.0.0.1/udp/1",
        "/ip4/127.0.0.1/udp/1/quic",
        "/ip4/127.0.0.1/udp/1/quic-v1/webtransport",
        "/ip4/127.0.0.1/udp/0/quic-v1",
        "/ip4/0.0.0.0/udp/1/quic-v1",
        "/dns/localhost/udp/1/quic-v1",
        "/ip6/fe80::1/udp/1/quic-v1",
        "/ip6zone/nosuch0/ip6/fe80::1/udp/1/quic-v1",
    ] {
        assert!(transport.dial(address.parse().unwrap(), REUSE).is_err(), "{address}");
    }
}

#[test]
fn a_second_address_is_tried_when_the_first_does_not_answer() {
    smol::block_on(async {
        let (a, mut b) = (Node::new(), Node::new());
        let (_, there) = b.listen(V4).await;
        let there = there.with(Protocol::P2p(b.peer));
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let nobody = super::super::address::remote(silent.local_addr().unwrap()).with(Protocol::P2p(b.peer));
        let started = crate::clock::now();
        let dial = |address: &Multiaddr| a.transport.lock().unwrap().dial(address.clone(), REUSE).unwrap();
        let (first, second) = (dial(&nobody), dial(&there));
        let (peer, _connection) = match soon(select(second, first)).await {
            Either::Left((connected, _first)) => connected.unwrap(),
            Either::Right((nobody, _)) => panic!("{:?}", nobody.err()),
        };
        assert_eq!(peer, b.peer);
        assert!(started.elapsed() >= HEAD_START);
        silent.recv_from(&mut [0; 2000]).unwrap();
    });
}

#[test]
fn a_wildcard_is_announced_as_the_machines_addresses() {
    smol::block_on(async {
        let mut node = Node::new();
        let (_, address) = node.listen("/ip4/0.0.0.0/udp/0/quic-v1").await;
        assert!(!address.to_string().contains("0.0.0.0"), "{address}");
        let peer = Node::new();
        peer.dial(&address).await.unwrap();
    });
}

#[test]
fn link_local_addresses_keep_their_interface() {
    let parse = |address: &str| super::super::address::parse(&address.parse().unwrap()).unwrap();
    let (by_number, _) = parse("/ip6zone/1/ip6/fe80::7/udp/9/quic-v1").unwrap();
    // Linux numbers the loopback interface 1 in every network namespace.
    let (by_name, _) = parse("/ip6zone/lo/ip6/fe80::7/udp/9/quic-v1").unwrap();
    assert_eq!((by_number, by_name), ("[fe80::7%1]:9".parse().unwrap(), by_number));
    assert_eq!(super::super::address::remote(by_number).to_string(), "/ip6zone/1/ip6/fe80::7/udp/9/quic-v1");
    assert!(matches!(parse("/ip6/fe80::7/udp/9/quic-v1"), Err(Error::ZoneMissing(_))));
    assert!(matches!(parse("/ip6zone/nosuch0/ip6/fe80::7/udp/9/quic-v1"), Err(Error::NoSuchInterface(_))));
}
