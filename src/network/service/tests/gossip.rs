//! Announcements over several networks.

use std::time::Duration;

use libp2p::{Multiaddr, swarm::SwarmEvent};

use super::*;
use crate::{
    content::{CollectionId, CollectionKey},
    network::gossip,
    peers::{Conduct, Event},
    wire::announce::Announcement,
};

/// The oldest version of the protocol that everybody speaks.
const GOSSIPSUB: &str = "/meshsub/1.0.0";

fn gossiping() -> Options {
    Options { gossip: true, ..options(V4) }
}

fn announcement(node: NodeId) -> Announcement {
    let collection = CollectionKey { publisher: NodeId([5; 32]), id: CollectionId([6; 16]) };
    let address = wire::peers::Address::new("/ip4/10.0.0.1/udp/1/quic-v1").unwrap();
    Announcement { collection, version: 7, node, addresses: vec![address] }
}

fn announced(event: NetworkEvent) -> Option<Announcement> {
    match event {
        NetworkEvent::Announced(announcement) => Some(announcement),
        NetworkEvent::Peer(event @ Event::Behaved { .. }) => panic!("{event:?}"),
        _ => None,
    }
}

/// Announces until somebody is there to be told: who gossips is known a moment after a connection.
async fn announce(network: &Network, announcement: &Announcement) {
    while !network.announce(announcement.clone()).await {
        smol::Timer::after(Duration::from_millis(5)).await;
    }
}

/// Connects, and waits until the one that is dialled passes on to the other what it hears.
async fn join(one: &mut Started, middle: &mut Started, id_middle: NodeId) -> String {
    let address = wait_for(middle, listening).await;
    connect(one, middle, id_middle, &address).await;
    let first = announcement(id_middle);
    announce(&middle.network, &first).await;
    assert_eq!(wait_for(one, announced).await, first);
    address
}

#[test]
fn an_announcement_reaches_whom_its_maker_is_not_connected_with() {
    smol::block_on(async {
        let (first, middle, last) = (gossiping(), gossiping(), gossiping());
        let (id_first, id_middle) = (first.keypair.node_id(), middle.keypair.node_id());
        let [mut first, mut middle, mut last] = [first, middle, last].map(|options| Network::start(options).unwrap());
        let address = join(&mut last, &mut middle, id_middle).await;
        connect(&mut first, &mut middle, id_middle, &address).await;
        let news = announcement(id_first);
        announce(&first.network, &news).await;
        assert_eq!(wait_for(&mut middle, announced).await, news);
        assert_eq!(wait_for(&mut last, announced).await, news);
    });
}

#[test]
fn garbage_is_held_against_who_passes_it_on_and_goes_no_further() {
    smol::block_on(async {
        let (middle, last) = (gossiping(), gossiping());
        let id_middle = middle.keypair.node_id();
        let [mut middle, mut last] = [middle, last].map(|options| Network::start(options).unwrap());
        let address = join(&mut last, &mut middle, id_middle).await;
        let bad = gossiping();
        let id_bad = bad.keypair.node_id();
        let door = Door::new(bad.admission.clone()).0;
        let streams = streams::Behaviour::new(Connector::default(), smol::channel::bounded(1).0);
        let (mut bad, _quic) = swarm(&bad, Arc::new(door), streams).unwrap();
        bad.dial(address.parse::<Multiaddr>().unwrap()).unwrap();
        let honest = announcement(id_bad);
        let lie = announcement(id_middle);
        // One after the other, as soon as somebody listens.
        let mut messages = vec![honest.to_bytes(), lie.to_bytes(), b"garbage".to_vec()];
        let bringer = smol::spawn(async move {
            loop {
                let event = bad.select_next_some().await;
                if let SwarmEvent::Behaviour(_) = event {
                    let gossip = bad.behaviour_mut().gossip.as_mut().unwrap();
                    while let Some(message) = messages.pop() {
                        if gossip.publish(gossip::topic(), message.clone()).is_err() {
                            messages.push(message);
                            break;
                        }
                    }
                }
            }
        });
        for _ in ["garbage", "the lie"] {
            let (node, conduct) = wait_for(&mut middle, |event| match event {
                NetworkEvent::Peer(Event::Behaved { node, conduct }) => Some((node, conduct)),
                NetworkEvent::Announced(news) => panic!("{news:?}"),
                _ => None,
            })
            .await;
            assert_eq!((node, conduct), (id_bad, Conduct::Violation));
        }
        // What it says of itself is as good as anybody's, and is all that comes through.
        assert_eq!(wait_for(&mut middle, announced).await, honest);
        assert_eq!(wait_for(&mut last, announced).await, honest);
        drop(bringer);
    });
}

#[test]
fn a_node_that_does_not_gossip_does_not_speak_the_protocol() {
    smol::block_on(async {
        for (gossip, speaks) in [(true, true), (false, false)] {
            let Pair { mut one, mut two, id_two, address, .. } =
                Pair::start(options(V4), Options { gossip, ..options(V4) }).await;
            connect(&mut one, &mut two, id_two, &address).await;
            assert_eq!(one.connector.open(id_two, GOSSIPSUB).await.is_ok(), speaks);
            assert!(!one.network.announce(announcement(id_two)).await, "it does not gossip itself");
        }
    });
}
