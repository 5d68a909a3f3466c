//! Peers that fall silent, in all the ways there are.

use std::time::{Duration, Instant};

use allibrary::status::PeerState;

use super::{
    LOOK_EVERY, ids, start_all,
    support::node::{DEADLINE, Node, Nodes},
    wait_for_mesh,
};

#[test]
fn a_paused_node_is_noticed_and_comes_back() {
    let nodes = Nodes::new(2);
    let mut running = start_all(&nodes);
    let ids = ids(&nodes);
    wait_for_mesh(&mut running, &ids, &[0, 1]);
    running[1].pause();
    let missing = running[0].wait_for_peer(&ids[1], "the silence", |peer| peer.state != PeerState::Connected);
    assert_eq!(missing.state, PeerState::Failed, "a silent peer has failed, it did not leave: {missing:?}");
    assert!(missing.error.is_some(), "the reason is told");
    running[1].resume();
    // The paused one finds its connections closed, and makes new ones.
    wait_for_mesh(&mut running, &ids, &[0, 1]);
}

#[test]
fn a_node_that_stops_says_so() {
    let nodes = Nodes::new(3);
    let mut running = start_all(&nodes);
    let ids = ids(&nodes);
    wait_for_mesh(&mut running, &ids, &[0, 1, 2]);
    assert_eq!(running.pop().expect("there are three").stop(), Some(0));
    for node in &mut running {
        let gone = node.wait_for_peer(&ids[2], "the end", |peer| peer.state != PeerState::Connected);
        assert_eq!(gone.state, PeerState::Disconnected, "it left, it did not fail: {gone:?}");
        let said = node.log();
        assert!(said.contains("the node stops"), "the reason is logged:\n{said}");
        assert!(!said.contains("did not answer"), "nobody had to find out:\n{said}");
    }
}

/// Half of them are paused, half lose their cable and are killed then, so that nothing is sent any more.
#[test]
fn twenty_silent_deaths_are_all_noticed() {
    const DEATHS: usize = 20;
    let nodes = Nodes::new(DEATHS as u16 + 1);
    // Told of one alone, so that they need not all talk to each other.
    let quiet = |host: usize| nodes.place(host).with("ALLIBRARY_NETWORK_MDNS", "false");
    let listen = format!("/ip4/{}/udp/4720/quic-v1", nodes.lan.hosts[0].ip);
    let mut watcher = quiet(0).start(&["--listen", &listen]);
    let bootstrap = format!("{}@{listen}", nodes.place(0).id());
    let mut others: Vec<_> =
        (1..=DEATHS).map(|host| Some(quiet(host).start(&["--bootstrap", &bootstrap]))).collect::<Vec<Option<Node>>>();
    let ids = ids(&nodes);
    watcher.wait_for_peers(DEATHS);

    let mut died: Vec<Instant> = Vec::new();
    for (at, node) in others.iter_mut().enumerate() {
        if at % 2 == 0 {
            node.as_ref().expect("it lives").pause();
        } else {
            nodes.lan.unplug(at + 1);
            node.take().expect("it lives").kill();
        }
        died.push(allibrary::clock::now());
    }
    let mut noticed: Vec<Option<Duration>> = vec![None; DEATHS];
    while noticed.iter().any(Option::is_none) {
        let connected = watcher.connected();
        for (at, noticed) in noticed.iter_mut().enumerate() {
            if noticed.is_none() && !connected.contains(&ids[at + 1]) {
                *noticed = Some(died[at].elapsed());
            }
        }
        assert!(died[DEATHS - 1].elapsed() < DEADLINE, "noticed: {noticed:?}\n{}", watcher.log());
        std::thread::sleep(LOOK_EVERY);
    }
    let mut noticed: Vec<_> = noticed.into_iter().flatten().collect();
    noticed.sort();
    println!("noticed after {:?} (median), {:?} (worst)", noticed[DEATHS / 2], noticed[DEATHS - 1]);
    let left = watcher.peers();
    assert!(left.iter().all(|peer| peer.state == PeerState::Failed), "{left:?}");
}
