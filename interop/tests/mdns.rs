//! Our discovery and that of stock rust-libp2p, on two hosts and on one. Needs root for network namespaces.

#[path = "../../tests/support/netns.rs"]
mod netns;

use std::{
    sync::mpsc::{Receiver, Sender, channel},
    time::Duration,
};

use allibrary::{
    content::NodeId,
    network::mdns::{Config, Event, Mdns},
};
use futures::StreamExt;
use libp2p::{Multiaddr, PeerId, SwarmBuilder, mdns, swarm::SwarmEvent};
use netns::{Host, Lan};

/// A peer that was found, and one address of it.
type Found = Receiver<(PeerId, Multiaddr)>;

/// Waits until this peer is found at an address that starts like this.
fn expect(found: &Found, peer: PeerId, prefix: &str) {
    let next =
        || found.recv_timeout(Duration::from_secs(30)).unwrap_or_else(|error| panic!("{peer} at {prefix}: {error}"));
    while !matches!(next(), (who, address) if who == peer && address.to_string().starts_with(prefix)) {}
}

/// A stock node that listens on QUIC. Runs until the test ends.
fn start_stock(host: &Host) -> (PeerId, Found) {
    let (found, finds) = channel();
    let (name, named) = channel();
    host.thread(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run_stock(&name, &found));
    });
    (named.recv().unwrap(), finds)
}

async fn run_stock(name: &Sender<PeerId>, found: &Sender<(PeerId, Multiaddr)>) {
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_quic()
        .with_behaviour(|key| mdns::tokio::Behaviour::new(mdns::Config::default(), key.public().to_peer_id()).unwrap())
        .unwrap()
        .build();
    swarm.listen_on("/ip4/0.0.0.0/udp/4002/quic-v1".parse().unwrap()).unwrap();
    name.send(*swarm.local_peer_id()).unwrap();
    loop {
        if let SwarmEvent::Behaviour(mdns::Event::Discovered(peers)) = swarm.select_next_some().await {
            // The test may be over.
            peers.into_iter().for_each(|peer| found.send(peer).unwrap_or_default());
        }
    }
}

/// Our discovery, as of a node that listens on its LAN address. Runs until the test ends.
fn start_ours(host: &Host) -> (PeerId, Found) {
    let (found, finds) = channel();
    let node = NodeId([7; 32]);
    let listen = format!("/ip4/{}/udp/4001/quic-v1", host.ip).parse().unwrap();
    host.thread(move || {
        let mut mdns = Mdns::new(Config { node, interfaces: Vec::new() }).unwrap();
        mdns.set_addresses(vec![listen]);
        smol::block_on(async {
            while let Some(event) = mdns.next().await {
                if let Event::Discovered { peer, addresses } = event {
                    addresses.into_iter().for_each(|address| found.send((peer, address)).unwrap_or_default());
                }
            }
        });
    });
    (PeerId::from_bytes(&node.to_peer_id_bytes()).unwrap(), finds)
}

#[test]
fn ours_comes_up_beside_a_stock_node() {
    let lan = Lan::new(2);
    let (stock, stock_finds) = start_stock(&lan.hosts[0]);
    let (ours, we_find) = start_ours(&lan.hosts[1]);
    expect(&we_find, stock, "/ip4/10.77.0.1/udp/4002/quic-v1");
    expect(&stock_finds, ours, "/ip4/10.77.0.2/udp/4001/quic-v1");
}

#[test]
fn a_stock_node_comes_up_beside_ours() {
    let lan = Lan::new(2);
    let (ours, we_find) = start_ours(&lan.hosts[1]);
    let (stock, stock_finds) = start_stock(&lan.hosts[0]);
    expect(&stock_finds, ours, "/ip4/10.77.0.2/udp/4001/quic-v1");
    expect(&we_find, stock, "/ip4/10.77.0.1/udp/4002/quic-v1");
}

#[test]
fn both_on_one_host() {
    let lan = Lan::new(1);
    let (ours, we_find) = start_ours(&lan.hosts[0]);
    let (stock, stock_finds) = start_stock(&lan.hosts[0]);
    expect(&stock_finds, ours, "/ip4/10.77.0.1/udp/4001/quic-v1");
    expect(&we_find, stock, "/ip4/10.77.0.1/udp/4002/quic-v1");
}
