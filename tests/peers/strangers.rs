//! Peers that are not as ours are: another version, and one that begins and says no more.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::mpsc::channel,
    time::Duration,
};

use allibrary::{
    limits::network::HANDSHAKES_BEFORE_RETRY,
    network::{
        identity::Keypair,
        quic::{Config, Transport},
    },
    status::{Cause, PeerState, Trouble},
};
use futures::StreamExt;
use libp2p::{
    Swarm, Transport as _,
    core::{
        Endpoint,
        muxing::StreamMuxerBox,
        transport::{DialOpts, PortUse},
    },
    identify, identity, swarm,
};
use smol::future::FutureExt;

use super::{
    diagnose::findings,
    support::{
        netns::Host,
        node::{DEADLINE, Nodes},
    },
};

/// A peer that calls its protocols this and speaks none of ours; it ends with what is returned.
fn stranger(host: &Host, address: &str, protocols: &str) -> (String, smol::channel::Sender<()>) {
    let keypair = Keypair::generate();
    let id = keypair.node_id().to_string();
    let key = identity::Keypair::ed25519_from_bytes(keypair.secret_bytes()).unwrap().public();
    let (stop, stopped) = smol::channel::bounded(1);
    let ((ready, is_ready), address, protocols) = (channel(), address.parse().unwrap(), protocols.to_owned());
    host.thread(move || {
        let transport = Transport::new(&Config::new(keypair)).unwrap();
        let transport = transport.map(|(peer, connection), _| (peer, StreamMuxerBox::new(connection))).boxed();
        let config = swarm::Config::with_executor(|task| smol::spawn(task).detach());
        let behaviour = identify::Behaviour::new(identify::Config::new(protocols, key.clone()));
        let config = config.with_idle_connection_timeout(DEADLINE);
        let mut swarm = Swarm::new(transport, behaviour, key.to_peer_id(), config);
        swarm.listen_on(address).unwrap();
        ready.send(()).unwrap();
        // It is never told to stop, but is alone at some time.
        smol::block_on(swarm.for_each(|_| async {}).or(async { stopped.recv().await.unwrap_or_default() }));
    });
    is_ready.recv().unwrap();
    (id, stop)
}

#[test]
fn another_version_is_told_in_words_and_left_alone() {
    let nodes = Nodes::new(2);
    let address = format!("/ip4/{}/udp/4720/quic-v1", nodes.lan.hosts[1].ip);
    // Of the same family, as a much later version may be.
    let (id, _running) = stranger(&nodes.lan.hosts[1], &address, "/allibrary/99");
    let place = nodes.place(0).with("ALLIBRARY_NETWORK_MDNS", "false");
    let mut node = place.start(&["--bootstrap", &format!("{id}@{address}")]);
    let peer = node.wait_for_peer(&id, "another version", |peer| peer.trouble == Some(Trouble::Version));
    assert!(peer.state == PeerState::Failed && peer.retry_in_s.is_some_and(|wait_s| wait_s > 10), "{peer:?}");
    for asked in [Some(&*id), None] {
        let found = findings(&place, asked);
        let told = found.iter().find(|it| it.cause == Cause::Version).unwrap_or_else(|| panic!("{found:?}"));
        assert_eq!(told.peer.as_ref(), Some(&id));
        assert!(told.text.contains("another version") && told.advice.contains("same version"), "{told:?}");
    }
}

#[test]
fn another_program_is_told_from_a_node() {
    let nodes = Nodes::new(2);
    let address = format!("/ip4/{}/udp/4720/quic-v1", nodes.lan.hosts[1].ip);
    let (id, _running) = stranger(&nodes.lan.hosts[1], &address, "ipfs/0.1.0");
    let place = nodes.place(0).with("ALLIBRARY_NETWORK_MDNS", "false");
    let mut node = place.start(&["--bootstrap", &format!("{id}@{address}")]);
    node.wait_for_peer(&id, "another program", |peer| peer.foreign && peer.state == PeerState::Connected);
    for asked in [Some(&*id), None] {
        let found = findings(&place, asked);
        assert!(
            found.iter().any(|it| it.cause == Cause::OtherProgram && it.text.contains("another program")),
            "{found:?}"
        );
    }
}

/// The first packets of a handshake, as they are really sent; the answers of others do not go to who sent them.
fn hello() -> [Vec<u8>; 2] {
    let sink = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = format!("/ip4/127.0.0.1/udp/{}/quic-v1", sink.local_addr().unwrap().port()).parse().unwrap();
    let mut transport = Transport::new(&Config::new(Keypair::generate())).unwrap();
    let dial = transport.dial(to, DialOpts { role: Endpoint::Dialer, port_use: PortUse::Reuse }).unwrap();
    // The keys of TLS that withstand quantum computers take two packets.
    let packets = [(); 2].map(|()| {
        let mut packet = vec![0; 2000];
        let length = sink.recv(&mut packet).unwrap();
        packet.truncate(length);
        packet
    });
    drop(dial);
    packets
}

/// Begins a handshake and says no more; whether it was told to prove its address first. The socket stays open.
fn begin(to: SocketAddr, open: &mut Vec<UdpSocket>) -> bool {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect(to).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    for packet in hello() {
        socket.send(&packet).unwrap();
    }
    let mut answer = [0; 2000];
    assert!(socket.recv(&mut answer).unwrap() > 0);
    open.push(socket);
    // A long header of type Retry (RFC 9000, section 17.2.5).
    answer[0] & 0xf0 == 0xf0
}

#[test]
fn who_begins_a_handshake_and_falls_silent_frees_its_place() {
    let nodes = Nodes::new(3);
    let address = SocketAddr::from((nodes.lan.hosts[0].ip, 4720));
    let mut node = nodes.place(0).start(&[]);
    let silent = nodes.lan.hosts[1].thread(move || {
        let mut open = Vec::new();
        for _ in 0..HANDSHAKES_BEFORE_RETRY {
            assert!(!begin(address, &mut open), "there is room");
        }
        assert!(begin(address, &mut open), "all places are taken");
        let deadline = allibrary::clock::now() + DEADLINE;
        while begin(address, &mut open) {
            assert!(allibrary::clock::now() < deadline, "no place becomes free");
            std::thread::sleep(Duration::from_millis(200));
        }
    });
    silent.join().unwrap();
    // Nobody else was kept out.
    let _other = nodes.place(2).start(&[]);
    node.wait_for_peers(1);
}
