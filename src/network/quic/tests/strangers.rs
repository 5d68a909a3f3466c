//! Many at once, and those who mean no good.

use super::*;

#[test]
fn a_hundred_at_once() {
    smol::block_on(async {
        let mut b = Node::new();
        let (_, address) = b.listen(V4).await;
        let nodes: Vec<Node> = (0..4).map(|_| Node::new()).collect();
        // More than may shake hands at a time: some are asked to retry, some are ignored until they try again.
        let dials = join_all((0..100).map(|at| nodes[at % 4].dial(&address)));
        let mut dialled: Vec<_> = dials.await.into_iter().map(|dial| dial.unwrap().1).collect();
        let mut accepted = Vec::new();
        while accepted.len() < 100 {
            accepted.push(b.accept().await.1);
        }
        let ask = join_all(dialled.iter_mut().map(|connection| async {
            let mut stream = open(connection).await;
            stream.write_all(b"?").await.unwrap();
            soon(stream.read_exact(&mut [0])).await.unwrap();
        }));
        let answer = join_all(accepted.iter_mut().map(|connection| async {
            let mut stream = accept(connection).await;
            soon(stream.read_exact(&mut [0])).await.unwrap();
            stream.write_all(b"!").await.unwrap();
            stream
        }));
        join(ask, answer).await;
    });
}

#[test]
fn garbage_hurts_nobody() {
    smol::block_on(async {
        let (a, mut dialled, _b, mut accepted) = pair(V4).await;
        let target = dialled.remote();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut seed = 1_u32;
        for round in 0..2000_usize {
            let length = [0, 1, 7, 20, 40, 1200, 1472, 9000][round % 8];
            let mut packet: Vec<u8> = (0..length)
                .map(|_| {
                    seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (seed >> 24) as u8
                })
                .collect();
            if round % 3 == 0 && length >= 20 {
                // A long header of version 1: further in than chance gets.
                packet[..6].copy_from_slice(&[0xc3, 0, 0, 0, 1, 8]);
            }
            let _ = socket.send_to(&packet, target);
        }
        stream(&mut dialled, &mut accepted).await;
        a.dial(&super::super::address::remote(target)).await.unwrap();
    });
}

/// A node that listens, and where.
async fn listening() -> (Node, Multiaddr, SocketAddr) {
    let mut node = Node::new();
    let (_, address) = node.listen(V4).await;
    let (target, _) = super::super::address::parse(&address).unwrap().unwrap();
    (node, address, target)
}

/// The first packets of handshakes that nobody means to finish.
fn first_packets(count: usize, to: SocketAddr) -> Vec<Vec<u8>> {
    let config = ProtoConfig::new(&Config::new(Keypair::generate())).unwrap();
    let mut endpoint = quinn_proto::Endpoint::new(config.endpoint.clone(), None, false, None);
    let mut packets = Vec::new();
    for _ in 0..count {
        let now = crate::clock::now();
        let (_, mut connection) = endpoint.connect(now, config.client(None).unwrap(), to, "l").unwrap();
        // The client's hello takes two datagrams.
        let mut packet = Vec::new();
        while connection.poll_transmit(now, 1, &mut packet).is_some() {
            packets.push(std::mem::take(&mut packet));
        }
    }
    packets
}

#[test]
fn a_flood_of_handshakes_keeps_nobody_out() {
    smol::block_on(async {
        let (a, (b, address, target)) = (Node::new(), listening().await);
        let flood = Async::new(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
        for packet in first_packets(3 * limits::HANDSHAKES_BEFORE_RETRY, target) {
            flood.send_to(&packet, target).await.unwrap();
        }
        // Those that came first were answered in full, the rest is told to come back with a token.
        let retried = async {
            let mut packet = [0; 2000];
            loop {
                let (length, _) = flood.recv_from(&mut packet).await.unwrap();
                // Long header of type Retry (RFC 9000, section 17.2.5).
                if length > 0 && packet[0] & 0xb0 == 0xb0 {
                    break;
                }
            }
        };
        soon(retried).await;
        let (peer, _connection) = a.dial(&address).await.unwrap();
        assert_eq!(peer, b.peer);
    });
}

/// Handshakes under way at a node that listens, and its connections.
fn under_way(node: &Node) -> (usize, usize) {
    let endpoints = node.transport.lock().unwrap().control().endpoints();
    let states = endpoints.iter().map(|endpoint| {
        let state = endpoint.lock();
        (state.handshakes_under_way(), state.connections.len())
    });
    states.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

#[test]
fn a_flood_from_everywhere_is_asked_for_its_address_and_costs_no_memory() {
    smol::block_on(async {
        let (a, (b, address, target)) = (Node::new(), listening().await);
        let sockets: Vec<_> = (0..40).map(|_| Async::new(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap()).collect();
        let packets = first_packets(400, target);
        // As if from forged addresses: nobody there answers.
        let flood = async {
            loop {
                for (at, packet) in packets.iter().enumerate() {
                    sockets[at % sockets.len()].send_to(packet, target).await.unwrap();
                    let (handshakes, connections) = under_way(&b);
                    assert!(handshakes <= limits::HANDSHAKES && connections <= limits::HANDSHAKES + 1);
                    Timer::after(Duration::from_millis(1)).await;
                }
            }
        };
        let retried = async {
            let mut packet = [0; 2000];
            loop {
                // Those that came first were answered in full.
                let (length, _) = sockets[17].recv_from(&mut packet).await.unwrap();
                if length > 0 && packet[0] & 0xf0 == 0xf0 {
                    break;
                }
            }
            assert!(under_way(&b).0 >= limits::HANDSHAKES_BEFORE_RETRY);
            a.dial(&address).await.unwrap().0
        };
        let both = async { select(std::pin::pin!(flood), std::pin::pin!(retried)).await.factor_first().0 };
        let peer: PeerId = soon(both).await;
        assert_eq!(peer, b.peer);
    });
}

#[test]
fn a_host_that_proves_its_address_and_goes_no_further_leaves_room_for_others() {
    smol::block_on(async {
        let (a, (b, address, target)) = (Node::new(), listening().await);
        let socket = Async::new(UdpSocket::bind("127.0.0.2:0").unwrap()).unwrap();
        let config = ProtoConfig::new(&Config::new(Keypair::generate())).unwrap();
        let mut endpoint = quinn_proto::Endpoint::new(config.endpoint.clone(), None, false, None);
        let mut connections = std::collections::HashMap::new();
        let now = crate::clock::now();
        let greet = |connection: &mut quinn_proto::Connection| {
            let (mut packets, mut packet) = (Vec::new(), Vec::new());
            while connection.poll_transmit(now, 1, &mut packet).is_some() {
                packets.push(std::mem::take(&mut packet));
            }
            packets
        };
        for _ in 0..2 * limits::HANDSHAKES {
            let (handle, mut connection) = endpoint.connect(now, config.client(None).unwrap(), target, "l").unwrap();
            for packet in greet(&mut connection) {
                socket.send_to(&packet, target).await.unwrap();
            }
            connections.insert(handle, connection);
        }
        // It comes back with the token, and says nothing more.
        let mut buffer = [0; 2000];
        let full = async {
            while under_way(&b).0 < limits::HANDSHAKES_PER_IP {
                let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
                if buffer[0] & 0xf0 != 0xf0 {
                    continue;
                }
                let received = bytes::BytesMut::from(&buffer[..length]);
                let event = endpoint.handle(now, from, None, None, received, &mut Vec::new());
                let Some(quinn_proto::DatagramEvent::ConnectionEvent(handle, event)) = event else { continue };
                let connection = connections.get_mut(&handle).unwrap();
                connection.handle_event(event);
                for packet in greet(connection) {
                    socket.send_to(&packet, target).await.unwrap();
                }
                smol::future::yield_now().await;
            }
        };
        soon(full).await;
        for packet in first_packets(limits::HANDSHAKES, target) {
            socket.send_to(&packet, target).await.unwrap();
        }
        // What was sent before this has been looked at when it is answered.
        assert_eq!(a.dial(&address).await.unwrap().0, b.peer);
        assert!(under_way(&b).0 <= limits::HANDSHAKES_PER_IP + 1, "{:?}", under_way(&b));
    });
}
