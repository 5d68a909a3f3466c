//! Peers that the configuration names.

use allibrary::{content::NodeId, status::PeerState};

use super::{ids, support::node::Nodes, wait_for_mesh};

#[test]
fn named_peers_are_reached_whatever_else_is_named_and_again_after_a_restart() {
    let nodes = Nodes::new(3);
    let quiet = |host: usize| nodes.place(host).with("ALLIBRARY_NETWORK_MDNS", "false");
    let ids = ids(&nodes);
    // Nobody has their keys.
    let strangers = [[1; 32], [2; 32]].map(|key| NodeId(key).to_string());
    let address = |host: usize| format!("/ip4/{}/udp/4720/quic-v1", nodes.lan.hosts[host].ip);
    let hub = || quiet(0).start(&["--listen", &address(0)]);
    let mut running = vec![hub()];
    // Nobody is there; somebody else answers; the right one.
    let nobody = format!("{}@/ip4/10.77.3.3/udp/4720/quic-v1", strangers[0]);
    let wrong = format!("{}@{}", strangers[1], address(0));
    let right = format!("{}@{}", ids[0], address(0));
    for host in [1, 2] {
        let listen = address(host);
        let named = ["--listen", &listen, "--bootstrap", &nobody, "--bootstrap", &wrong, "--bootstrap", &right];
        running.push(quiet(host).start(&named));
    }
    for node in &mut running[1..] {
        let hub = node.wait_for_peer(&ids[0], "the hub", |peer| peer.state == PeerState::Connected);
        assert!(hub.bootstrap && hub.source == "bootstrap", "{hub:?}");
        for (stranger, shown) in [(&strangers[0], "nobody is there"), (&strangers[1], "it is somebody else")] {
            let missing = node.wait_for_peer(stranger, shown, |peer| peer.error.is_some());
            assert!(missing.bootstrap && missing.state != PeerState::Connected, "{missing:?}");
        }
    }
    running[0].wait_for_peers(2);
    assert!(running[0].peers().iter().all(|peer| !peer.bootstrap), "nobody was named to the hub");

    running.remove(0).kill();
    for node in &mut running {
        node.wait_for_peer(&ids[0], "the loss of the hub", |peer| peer.state != PeerState::Connected);
    }
    running.insert(0, hub());
    running[0].wait_for_peers(2);
    for node in &mut running[1..] {
        node.wait_for_peer(&ids[0], "the hub again", |peer| peer.state == PeerState::Connected);
    }
}

/// Two who were told of the same third one alone hear of each other from it.
#[test]
fn peers_hear_of_each_other_from_a_third() {
    let nodes = Nodes::new(3);
    let quiet = |host: usize| nodes.place(host).with("ALLIBRARY_NETWORK_MDNS", "false");
    let hub = quiet(0).start(&[]);
    let named = format!("{}@/ip4/{}/udp/4720/quic-v1", nodes.place(0).id(), nodes.lan.hosts[0].ip);
    let mut running = vec![hub, quiet(1).start(&["--bootstrap", &named]), quiet(2).start(&["--bootstrap", &named])];
    wait_for_mesh(&mut running, &ids(&nodes), &[0, 1, 2]);
}
