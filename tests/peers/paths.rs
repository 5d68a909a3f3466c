//! Bad paths: what comes late, out of order or not at all is no failure; what is cut is, until it is healed.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use super::{
    hold_for,
    support::{
        node::{Node, Nodes},
        relay::{Relay, Weather},
    },
};

/// One watcher and some others, who reach each other only through a relay for each.
struct Star<'a> {
    watcher: Node<'a>,
    others: Vec<Node<'a>>,
    ids: Vec<String>,
    relays: Vec<Relay>,
}

/// The last host is the relays', the first the watcher's.
fn star(nodes: &Nodes, weather: Weather) -> Star<'_> {
    let relays_at = nodes.lan.hosts.len() - 1;
    nodes.lan.keep_apart(&(0..relays_at).collect::<Vec<_>>());
    let quiet = |host: usize| nodes.place(host).with("ALLIBRARY_NETWORK_MDNS", "false");
    let port = |host: usize| SocketAddr::from((nodes.lan.hosts[host].ip, 4720));
    let multiaddr = |to: SocketAddr| format!("/ip4/{}/udp/{}/quic-v1", to.ip(), to.port());
    let watcher = quiet(0).start(&["--listen", &multiaddr(port(0))]);
    let watcher_id = nodes.place(0).id();
    let (mut others, mut ids, mut relays) = (Vec::new(), Vec::new(), Vec::new());
    for host in 1..relays_at {
        let seed = host as u64;
        let relay = Relay::start(&nodes.lan.hosts[relays_at], port(0), weather, seed);
        let bootstrap = format!("{watcher_id}@{}", multiaddr(relay.address));
        others.push(quiet(host).start(&["--listen", &multiaddr(port(host)), "--bootstrap", &bootstrap]));
        ids.push(nodes.place(host).id());
        relays.push(relay);
    }
    Star { watcher, others, ids, relays }
}

impl Star<'_> {
    fn is_whole(&self) -> bool {
        self.watcher.connected().len() == self.others.len()
            && self.others.iter().all(|other| other.connected().len() == 1)
    }

    /// No connection was given up by either end.
    fn assert_quiet(&self) {
        for node in self.others.iter().chain([&self.watcher]) {
            let log = node.log();
            assert!(!log.contains(" ended: "), "{log}");
        }
    }
}

/// A fifth of the packets is lost each way, and the others are late by 5 to 205 ms.
const BAD: Weather =
    Weather { delay: Duration::from_millis(5), jitter: Duration::from_millis(200), loss_percent: 20, cut: false };

#[test]
fn a_bad_path_is_no_failure_and_a_cut_one_is_until_it_heals() {
    let nodes = Nodes::new(4);
    let mut star = star(&nodes, Weather { delay: Duration::from_millis(40), ..Weather::default() });
    star.watcher.wait_for_peers(2);
    star.others.iter_mut().for_each(|other| other.wait_for_peers(1));
    for id in &star.ids {
        // There and back.
        star.watcher.wait_for_peer(id, "the delay in the round-trip time", |peer| {
            peer.rtt_us.is_some_and(|rtt_us| rtt_us >= 80_000)
        });
    }
    star.relays.iter().for_each(|relay| relay.set(BAD));
    hold_for(Duration::from_secs(20), "everybody is connected", || star.is_whole());
    star.assert_quiet();
    assert!(star.relays.iter().all(|relay| relay.carried().lost > 0), "the weather was bad");

    // One path alone is cut: both ends see it, the others nothing.
    star.relays[0].cut();
    star.watcher.wait_for_exactly(&BTreeSet::from([star.ids[1].clone()]));
    star.others[0].wait_for_exactly(&BTreeSet::new());
    assert_eq!(star.others[1].connected().len(), 1);
    star.relays.iter().for_each(|relay| relay.set(Weather::default()));
    star.watcher.wait_for_exactly(&star.ids.iter().cloned().collect());
    star.others[0].wait_for_peers(1);
    assert!(star.is_whole());
}

#[test]
#[ignore = "takes five minutes: make check-long"]
fn five_minutes_of_loss_and_jitter_raise_no_false_alarm() {
    let nodes = Nodes::new(10);
    let mut star = star(&nodes, Weather::default());
    star.watcher.wait_for_peers(8);
    star.others.iter_mut().for_each(|other| other.wait_for_peers(1));
    star.relays.iter().for_each(|relay| relay.set(BAD));
    hold_for(Duration::from_secs(300), "everybody is connected", || star.is_whole());
    star.assert_quiet();
    let lost: u64 = star.relays.iter().map(|relay| relay.carried().lost).sum();
    println!("{lost} packets lost, and no connection");
}
