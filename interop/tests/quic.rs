//! Our QUIC against that of stock rust-libp2p on tokio, in both directions: handshake, ping, identify.

use std::{collections::HashSet, time::Duration};

use allibrary::network::{
    identity::Keypair,
    quic::{Config, Transport},
    tls::CipherPolicy,
};
use futures::{
    StreamExt,
    channel::oneshot,
    future::{join, ready},
};
use libp2p::{
    Multiaddr, PeerId, Swarm, SwarmBuilder, Transport as _,
    core::muxing::StreamMuxerBox,
    identify, identity,
    multiaddr::Protocol,
    ping,
    swarm::{self, DialError, NetworkBehaviour, SwarmEvent},
};

const SOON: Duration = Duration::from_secs(30);
const FAMILIES: [&str; 2] = ["/ip4/127.0.0.1/udp/0/quic-v1", "/ip6/::1/udp/0/quic-v1"];

#[derive(NetworkBehaviour)]
struct Behaviour {
    ping: ping::Behaviour,
    identify: identify::Behaviour,
}

impl Behaviour {
    fn new(key: identity::PublicKey) -> Self {
        let identify = identify::Behaviour::new(identify::Config::new("/interop/1".into(), key));
        let ping = ping::Behaviour::new(ping::Config::new().with_interval(Duration::from_millis(100)));
        Self { ping, identify }
    }
}

/// Ours: no tokio, the swarm on smol.
fn ours(ciphers: CipherPolicy) -> Swarm<Behaviour> {
    let keypair = Keypair::generate();
    let key = identity::Keypair::ed25519_from_bytes(keypair.secret_bytes()).unwrap().public();
    let transport = Transport::new(&Config { ciphers, ..Config::new(keypair) }).unwrap();
    let transport = transport.map(|(peer, connection), _| (peer, StreamMuxerBox::new(connection))).boxed();
    let executor = swarm::Config::with_executor(|task| smol::spawn(task).detach());
    Swarm::new(transport, Behaviour::new(key.clone()), key.to_peer_id(), lasting(executor))
}

fn stock() -> Swarm<Behaviour> {
    SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_quic()
        .with_behaviour(|key| Behaviour::new(key.public()))
        .unwrap()
        .with_swarm_config(lasting)
        .build()
}

fn lasting(config: swarm::Config) -> swarm::Config {
    config.with_idle_connection_timeout(SOON)
}

async fn listen(swarm: &mut Swarm<Behaviour>, address: &str) -> Multiaddr {
    swarm.listen_on(address.parse().unwrap()).unwrap();
    loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            return address.with_p2p(*swarm.local_peer_id()).unwrap();
        }
    }
}

/// Runs until the swarm has pinged the peer, and knows from identify who it is.
async fn meet(swarm: &mut Swarm<Behaviour>, peer: PeerId) {
    let mut seen = HashSet::new();
    while seen.len() < 2 {
        match swarm.select_next_some().await {
            SwarmEvent::Behaviour(BehaviourEvent::Ping(event)) => {
                assert_eq!(event.peer, peer);
                event.result.unwrap();
                seen.insert("ping");
            }
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. })) => {
                assert_eq!((peer_id, info.public_key.to_peer_id()), (peer, peer));
                assert_eq!(info.protocol_version, "/interop/1");
                seen.insert("identify");
            }
            SwarmEvent::OutgoingConnectionError { error, .. } => panic!("{error}"),
            SwarmEvent::IncomingConnectionError { error, .. } => panic!("{error}"),
            SwarmEvent::ConnectionClosed { cause, .. } => panic!("{cause:?}"),
            _ => {}
        }
    }
}

/// Lets the swarm meet the peer, and keeps it going for as long as the peer may need it.
async fn met(mut swarm: Swarm<Behaviour>, peer: PeerId) {
    let (sender, receiver) = oneshot::channel();
    tokio::spawn(async move {
        meet(&mut swarm, peer).await;
        let _ = sender.send(());
        swarm.for_each(|_| ready(())).await;
    });
    tokio::time::timeout(SOON, receiver).await.expect("they meet soon").expect("they get on with each other");
}

/// One listens, the other dials; both meet the other.
async fn both_meet(mut listener: Swarm<Behaviour>, mut dialler: Swarm<Behaviour>, family: &str) {
    let (listening, dialling) = (*listener.local_peer_id(), *dialler.local_peer_id());
    dialler.dial(listen(&mut listener, family).await).unwrap();
    join(met(listener, dialling), met(dialler, listening)).await;
}

#[tokio::test]
async fn stock_dials_ours() {
    for family in FAMILIES {
        both_meet(ours(CipherPolicy::Auto), stock(), family).await;
    }
}

#[tokio::test]
async fn ours_dials_stock() {
    for family in FAMILIES {
        both_meet(stock(), ours(CipherPolicy::Auto), family).await;
    }
}

#[tokio::test]
async fn stock_speaks_either_cipher() {
    for policy in [CipherPolicy::Aes256, CipherPolicy::ChaCha20] {
        both_meet(ours(policy), stock(), FAMILIES[0]).await;
        both_meet(stock(), ours(policy), FAMILIES[0]).await;
    }
}

#[tokio::test]
async fn stock_refuses_us_in_the_name_of_another() {
    let (mut listener, mut dialler) = (ours(CipherPolicy::Auto), stock());
    let address = listen(&mut listener, FAMILIES[0]).await;
    let stranger = identity::Keypair::generate_ed25519().public().to_peer_id();
    let address = address.into_iter().filter(|part| !matches!(part, Protocol::P2p(_))).collect::<Multiaddr>();
    dialler.dial(address.with_p2p(stranger).unwrap()).unwrap();
    tokio::spawn(listener.for_each(|_| ready(())));
    let error = dialler.filter_map(|event| {
        ready(match event {
            SwarmEvent::OutgoingConnectionError { error, .. } => Some(error),
            _ => None,
        })
    });
    let error = tokio::time::timeout(SOON, std::pin::pin!(error).next()).await.expect("soon").unwrap();
    assert!(matches!(error, DialError::WrongPeerId { .. }), "{error}");
}
