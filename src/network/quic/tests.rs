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

use super::{CloseCode, Config, Connection, Error, Stream, Transport, close_code, config::ProtoConfig};
use crate::{
    limits::network as limits,
    network::{identity::Keypair, tls::CipherPolicy},
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
        config.handshake_timeout = SOON;
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

#[test]
fn streams_open_both_ways_on_both_families() {
    smol::block_on(async {
        for family in [V4, V6] {
            let (_a, mut dialled, _b, mut accepted) = pair(family).await;
            for dialler_opens in [true, false] {
                let (from, to) =
                    if dialler_opens { (&mut dialled, &mut accepted) } else { (&mut accepted, &mut dialled) };
                let (mut ours, mut theirs) = stream(from, to).await;
                ours.write_all(b"question").await.unwrap();
                ours.close().await.unwrap();
                let mut heard = String::new();
                soon(theirs.read_to_string(&mut heard)).await.unwrap();
                assert_eq!(heard, "question");
                // One half is closed, the other still speaks.
                theirs.write_all(b"answer").await.unwrap();
                theirs.close().await.unwrap();
                heard.clear();
                soon(ours.read_to_string(&mut heard)).await.unwrap();
                assert_eq!(heard, "answer");
            }
        }
    });
}

#[test]
fn another_peer_than_expected_is_refused() {
    smol::block_on(async {
        let (a, mut b) = (Node::new(), Node::new());
        let (_, address) = b.listen(V4).await;
        let stranger = Keypair::generate().as_libp2p().public().to_peer_id();
        let error = a.dial(&address.clone().with(Protocol::P2p(stranger))).await.err().unwrap().to_string();
        assert!(error.contains(&stranger.to_string()) && error.contains(&b.peer.to_string()), "{error}");
        a.dial(&address.with(Protocol::P2p(b.peer))).await.unwrap();
    });
}

#[test]
fn ciphers_meet_or_refuse() {
    use CipherPolicy::{Aes256, Auto, ChaCha20};
    smol::block_on(async {
        for (ours, theirs, works) in
            [(Auto, Aes256, true), (Auto, ChaCha20, true), (ChaCha20, Auto, true), (Aes256, ChaCha20, false)]
        {
            let (a, mut b) = (Node::with(|config| config.ciphers = ours), Node::with(|config| config.ciphers = theirs));
            let (_, address) = b.listen(V4).await;
            assert_eq!(a.dial(&address).await.is_ok(), works, "{ours:?} {theirs:?}");
        }
    });
}

#[test]
fn much_arrives_whole() {
    const BYTES: usize = 32 * 1024 * 1024;
    smol::block_on(async {
        let (_a, mut dialled, _b, mut accepted) = pair(V4).await;
        let (mut ours, mut theirs) = stream(&mut dialled, &mut accepted).await;
        let send = async {
            let chunk: Vec<u8> = (0..65_521).map(|at| (at % 251) as u8).collect();
            let mut left = BYTES;
            while left > 0 {
                let now = left.min(chunk.len());
                ours.write_all(&chunk[..now]).await.unwrap();
                left -= now;
            }
            ours.close().await.unwrap();
        };
        let receive = async {
            let (mut buffer, mut total) = (vec![0; 100_000], 0);
            loop {
                let count = theirs.read(&mut buffer).await.unwrap();
                if count == 0 {
                    break total;
                }
                assert!((0..count).all(|at| buffer[at] == ((total + at) % 65_521 % 251) as u8));
                total += count;
            }
        };
        assert_eq!(join(send, receive).map(|(_, total)| total).await, BYTES);
    });
}

/// Writes to all of them until at least so much was taken, and then nothing for a second; returns how much it was.
async fn fill(streams: &mut [Stream], at_least: u64) -> u64 {
    let written = AtomicU64::new(0);
    let write = async |stream: &mut Stream| loop {
        written.fetch_add(stream.write(&[7; 10_000]).await.unwrap() as u64, Relaxed);
    };
    let quiet = async {
        let mut before = 0;
        loop {
            Timer::after(Duration::from_secs(1)).await;
            let now = written.load(Relaxed);
            if now >= at_least && now == before {
                return now;
            }
            before = now;
        }
    };
    let all = join_all(streams.iter_mut().map(write)).map(|_: Vec<()>| unreachable!("they write without end"));
    select(std::pin::pin!(all), std::pin::pin!(quiet)).await.factor_first().0
}

/// Carries so much that the windows of both ends are wide, if there are places.
async fn carry(ours: &mut Stream, theirs: &mut Stream) {
    let bytes = limits::WIDE_AFTER_BYTES as usize;
    let write = async { ours.write_all(&vec![7; bytes]).await.unwrap() };
    let read = async { theirs.read_exact(&mut vec![0; bytes]).await.unwrap() };
    soon(join(write, read)).await;
}

const NARROW_BYTES: u64 = limits::CONNECTION_WINDOW_BYTES as u64 + limits::SEND_WINDOW_BYTES;
const WIDE_BYTES: u64 = limits::WIDE_CONNECTION_WINDOW_BYTES as u64 + limits::WIDE_SEND_WINDOW_BYTES;

#[test]
fn a_stream_that_nobody_reads_takes_no_more_than_its_window_and_holds_up_no_other() {
    smol::block_on(async {
        let (_a, mut dialled, _b, mut accepted) = pair(V4).await;
        let (mut ours, mut theirs) = stream(&mut dialled, &mut accepted).await;
        carry(&mut ours, &mut theirs).await;
        let window = u64::from(limits::STREAM_WINDOW_BYTES);
        let written = soon(fill(&mut [ours], window / 4 * 3)).await;
        assert!(written <= window + limits::WIDE_SEND_WINDOW_BYTES, "{written}");
        let (mut other, mut other_end) = stream(&mut dialled, &mut accepted).await;
        other.write_all(b"hello").await.unwrap();
        soon(other_end.read_exact(&mut [0; 5])).await.unwrap();
        drop(theirs);
    });
}

/// What so many peers fill, after each connection has carried much, one after the other, or not. So many of them get wide
/// windows.
async fn filled(peers: usize, carried: bool, wide: usize) -> Vec<u64> {
    let mut b = Node::new();
    let (_, address) = b.listen(V4).await;
    let nodes: Vec<Node> = (0..peers).map(|_| Node::new()).collect();
    let mut connections = Vec::new();
    for node in &nodes {
        let (_, mut dialled) = node.dial(&address).await.unwrap();
        let (_, mut accepted) = b.accept().await;
        let (mut ours, mut theirs) = stream(&mut dialled, &mut accepted).await;
        if carried {
            carry(&mut ours, &mut theirs).await;
        }
        connections.push((dialled, accepted, ours, theirs));
    }
    let fillers = connections.iter_mut().enumerate().map(async |(at, (dialled, ..))| {
        let mut streams = Vec::new();
        for _ in 1..limits::STREAMS_PER_CONNECTION {
            streams.push(open(dialled).await);
        }
        let window = if at < wide { limits::WIDE_CONNECTION_WINDOW_BYTES } else { limits::CONNECTION_WINDOW_BYTES };
        // Credit is given in steps of an eighth.
        (fill(&mut streams, u64::from(window) / 4 * 3).await, streams)
    });
    soon(join_all(fillers)).await.into_iter().map(|(written, _)| written).collect()
}

#[test]
fn peers_that_fill_all_their_streams_take_no_more_than_their_windows_of_which_some_are_wide() {
    const WIDE: usize = limits::WIDE_CONNECTIONS;
    smol::block_on(async {
        let full = filled(20, false, 0).await;
        assert!(full.iter().all(|written| *written <= NARROW_BYTES), "{full:?}");
        let full = filled(WIDE + 4, true, WIDE).await;
        assert!(full[..WIDE].iter().all(|written| *written <= WIDE_BYTES), "{full:?}");
        assert!(full[WIDE..].iter().all(|written| *written <= NARROW_BYTES), "{full:?}");
    });
}

#[test]
fn a_dropped_stream_is_reset_not_ended() {
    smol::block_on(async {
        let (_a, mut dialled, _b, mut accepted) = pair(V4).await;
        let (mut ours, mut theirs) = stream(&mut dialled, &mut accepted).await;
        ours.write_all(b"half of it").await.unwrap();
        drop(ours);
        let error = soon(theirs.read_to_end(&mut Vec::new())).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        let error = soon(async {
            loop {
                if let Err(error) = theirs.write_all(&[0; 1000]).await {
                    break error;
                }
            }
        });
        assert_eq!(error.await.kind(), std::io::ErrorKind::BrokenPipe);
    });
}

#[test]
fn streams_are_limited_and_come_back() {
    smol::block_on(async {
        let (_a, mut dialled, _b, mut accepted) = pair(V4).await;
        let mut streams = Vec::new();
        for _ in 0..limits::STREAMS_PER_CONNECTION {
            streams.push(stream(&mut dialled, &mut accepted).await);
        }
        let one_more = poll_fn(|cx| Poll::Ready(dialled.poll_outbound_unpin(cx).is_pending()));
        assert!(one_more.await);
        // The peer hears of free places once an eighth is free.
        streams.truncate(streams.len() - streams.len() / 8 - 1);
        stream(&mut dialled, &mut accepted).await;
    });
}

#[test]
fn closing_twice_is_closing_and_the_peer_hears_why() {
    smol::block_on(async {
        let (_a, mut dialled, _b, mut accepted) = pair(V4).await;
        let (mut ours, _theirs) = stream(&mut dialled, &mut accepted).await;
        accepted.close_with(CloseCode::Banned, "sent garbage");
        close(&mut accepted).await;
        close(&mut accepted).await;
        let error = lost(&mut dialled).await;
        assert_eq!(close_code(&error), Some(CloseCode::Banned));
        assert!(error.to_string().contains("sent garbage"), "{error}");
        // As libp2p's swarm would wrap it.
        assert_eq!(close_code(&std::io::Error::other(error)), Some(CloseCode::Banned));
        assert!(ours.write_all(b"too late").await.is_err());
        close(&mut dialled).await;
    });
}

#[test]
fn dropping_the_last_handle_closes() {
    smol::block_on(async {
        let (_a, mut dialled, _b, mut accepted) = pair(V4).await;
        let (mut ours, mut theirs) = stream(&mut dialled, &mut accepted).await;
        drop(dialled);
        // The stream is a handle too.
        ours.write_all(b"still here").await.unwrap();
        soon(theirs.read_exact(&mut [0; 10])).await.unwrap();
        drop(ours);
        assert_eq!(close_code(&lost(&mut accepted).await), Some(CloseCode::Done));
    });
}

#[test]
fn connections_outlive_their_listener_and_its_port_can_be_had_again() {
    smol::block_on(async {
        let (a, mut dialled, mut b, mut accepted) = pair(V4).await;
        let (mut ours, mut theirs) = stream(&mut dialled, &mut accepted).await;
        let address = super::address::remote(dialled.remote());
        let mut listeners = b.transport.lock().unwrap().listener_ids();
        let id = listeners.pop().unwrap();
        assert!(b.transport.lock().unwrap().remove_listener(id));
        assert!(!b.transport.lock().unwrap().remove_listener(id));
        assert!(matches!(soon(b.events.next()).await, Some(TransportEvent::AddressExpired { .. })));
        assert!(matches!(soon(b.events.next()).await, Some(TransportEvent::ListenerClosed { .. })));
        let error = a.dial(&address).await.err().unwrap();
        assert!(error.to_string().contains("refused"), "{error}");
        ours.write_all(b"well").await.unwrap();
        soon(theirs.read_exact(&mut [0; 4])).await.unwrap();
        assert_eq!(b.listen(&address.to_string()).await.1, address);
        a.dial(&address).await.unwrap();
    });
}

#[test]
fn dials_leave_from_the_listeners_port() {
    smol::block_on(async {
        let (mut a, mut b) = (Node::new(), Node::new());
        let (_, ours) = a.listen(V4).await;
        let (_, theirs) = b.listen(V4).await;
        let _dialled = a.dial(&theirs).await.unwrap();
        let (_, accepted) = b.accept().await;
        assert_eq!(super::address::remote(accepted.remote()), ours);
        let new = DialOpts { port_use: PortUse::New, ..REUSE };
        let dial = a.transport.lock().unwrap().dial(theirs, new).unwrap();
        let _dialled = soon(dial).await.unwrap();
        let (_, accepted) = b.accept().await;
        assert_ne!(super::address::remote(accepted.remote()), ours);
    });
}

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
fn shutting_down_tells_all() {
    smol::block_on(async {
        let (_a, mut dialled, b, _accepted) = pair(V4).await;
        let control = b.transport.lock().unwrap().control();
        control.close_all(CloseCode::Stopping, "", SOON).await;
        assert_eq!(close_code(&lost(&mut dialled).await), Some(CloseCode::Stopping));
    });
}

#[test]
fn one_peer_is_shown_the_door() {
    smol::block_on(async {
        let (a, mut dialled, b, _accepted) = pair(V4).await;
        let (_peer, mut other) = {
            let other = Node::new();
            let (peer, connection) = other.dial(&super::address::remote(dialled.remote())).await.unwrap();
            (peer, connection)
        };
        let control = b.transport.lock().unwrap().control();
        control.close_peer(&a.peer, CloseCode::Full, "no room");
        assert_eq!(close_code(&lost(&mut dialled).await), Some(CloseCode::Full));
        open(&mut other).await;
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
        a.dial(&super::address::remote(target)).await.unwrap();
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
fn a_wildcard_is_announced_as_the_machines_addresses() {
    smol::block_on(async {
        let mut node = Node::new();
        let (_, address) = node.listen("/ip4/0.0.0.0/udp/0/quic-v1").await;
        assert!(!address.to_string().contains("0.0.0.0"), "{address}");
        let peer = Node::new();
        peer.dial(&address).await.unwrap();
    });
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
        let (a, mut b) = (Node::new(), Node::new());
        let (_, address) = b.listen(V4).await;
        let (target, _) = super::address::parse(&address).unwrap().unwrap();
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

#[test]
fn link_local_addresses_keep_their_interface() {
    let parse = |address: &str| super::address::parse(&address.parse().unwrap()).unwrap();
    let (by_number, _) = parse("/ip6zone/1/ip6/fe80::7/udp/9/quic-v1").unwrap();
    // Linux numbers the loopback interface 1 in every network namespace.
    let (by_name, _) = parse("/ip6zone/lo/ip6/fe80::7/udp/9/quic-v1").unwrap();
    assert_eq!((by_number, by_name), ("[fe80::7%1]:9".parse().unwrap(), by_number));
    assert_eq!(super::address::remote(by_number).to_string(), "/ip6zone/1/ip6/fe80::7/udp/9/quic-v1");
    assert!(matches!(parse("/ip6/fe80::7/udp/9/quic-v1"), Err(Error::ZoneMissing(_))));
    assert!(matches!(parse("/ip6zone/nosuch0/ip6/fe80::7/udp/9/quic-v1"), Err(Error::NoSuchInterface(_))));
}
