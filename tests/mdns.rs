//! Discovery between hosts: network namespaces on a switch, and one with nothing but its loopback. Needs root.

#[path = "support/netns.rs"]
mod netns;

use std::{
    cell::RefCell,
    collections::VecDeque,
    net::IpAddr,
    sync::mpsc::{Receiver, channel},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use allibrary::{
    content::NodeId,
    network::mdns::{Config, Event, Heard, Mdns},
};
use futures::StreamExt;
use libp2p::{Multiaddr, PeerId};
use netns::{Host, Lan};
use smol::future::FutureExt;

/// How long a busy machine may need for anything here.
const DEADLINE: Duration = Duration::from_secs(30);

/// A node that does nothing but discovery.
struct Node {
    peer: PeerId,
    started: Instant,
    events: Receiver<(Instant, Event)>,
    /// Events that nobody waited for yet.
    seen: RefCell<VecDeque<(Instant, Event)>>,
    stop: smol::channel::Sender<()>,
    thread: JoinHandle<Vec<Heard>>,
}

impl Node {
    /// Starts on a host, listening on all of its addresses.
    fn start(host: &Host, number: u8) -> Self {
        let node = NodeId([number; 32]);
        let peer = PeerId::from_bytes(&node.to_peer_id_bytes()).unwrap();
        let (sender, events) = channel();
        let (stop, stopped) = smol::channel::bounded(1);
        let started = allibrary::clock::now();
        let thread = host.thread(move || {
            let mut mdns = Mdns::new(Config { node, interfaces: Vec::new() }).unwrap();
            mdns.set_addresses(listen_addresses());
            smol::block_on(async {
                let run = async {
                    loop {
                        let event = mdns.next().await.expect("the stream never ends");
                        if event == Event::InterfacesChanged {
                            mdns.set_addresses(listen_addresses());
                        }
                        let _ = sender.send((allibrary::clock::now(), event));
                    }
                };
                run.or(async { stopped.recv().await.unwrap_or_default() }).await;
            });
            let heard = mdns.heard();
            mdns.goodbye();
            heard
        });
        Self { peer, started, events, seen: RefCell::default(), stop, thread }
    }

    /// Waits for an event and returns when it came, with what the test took of it. Others stay.
    fn wait<T>(&self, what: &str, mut wanted: impl FnMut(&Event) -> Option<T>) -> (Instant, T) {
        let until = allibrary::clock::now() + DEADLINE;
        let mut seen = self.seen.borrow_mut();
        let mut at = 0;
        loop {
            if at == seen.len() {
                let left = until.saturating_duration_since(allibrary::clock::now());
                match self.events.recv_timeout(left) {
                    Ok(event) => seen.push_back(event),
                    Err(error) => panic!("{what}: {error}; seen: {seen:?}"),
                }
            }
            if let Some(found) = wanted(&seen[at].1) {
                let (when, _) = seen.remove(at).expect("it was just looked at");
                return (when, found);
            }
            at += 1;
        }
    }

    /// Waits until this other node was found at an address that starts like this.
    fn discovers(&self, other: &Node, prefix: &str) -> Instant {
        let found = |event: &Event| match event {
            Event::Discovered { peer, addresses } if *peer == other.peer => {
                addresses.iter().any(|address| address.to_string().starts_with(prefix)).then_some(())
            }
            _ => None,
        };
        self.wait(&format!("finding the other at {prefix}"), found).0
    }

    fn loses(&self, peer: PeerId) {
        self.wait("losing the other", |event| (*event == Event::Expired { peer }).then_some(()));
        self.seen.borrow_mut().clear();
    }

    /// Says goodbye and returns what was heard.
    fn stop(self) -> Vec<Heard> {
        let _ = self.stop.try_send(());
        self.thread.join().unwrap()
    }
}

fn listen_addresses() -> Vec<Multiaddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap().into_iter();
    let address = |interface: if_addrs::Interface| match interface.ip() {
        IpAddr::V6(ip) if ip.is_unicast_link_local() => format!("/ip6zone/{}/ip6/{ip}", interface.name),
        IpAddr::V6(ip) => format!("/ip6/{ip}"),
        IpAddr::V4(ip) => format!("/ip4/{ip}"),
    };
    interfaces.map(|interface| format!("{}/udp/4001/quic-v1", address(interface)).parse().unwrap()).collect()
}

#[test]
fn a_node_that_comes_up_finds_the_others_and_is_found() {
    let lan = Lan::new(3);
    let first = Node::start(&lan.hosts[0], 1);
    let second = Node::start(&lan.hosts[1], 2);
    first.discovers(&second, "/ip4/10.77.0.2/udp/4001/quic-v1");
    second.discovers(&first, "/ip4/10.77.0.1/udp/4001/quic-v1");
    let late = Node::start(&lan.hosts[2], 3);
    let finds = late.discovers(&first, "/ip4/10.77.0.1/").max(late.discovers(&second, "/ip4/10.77.0.2/"));
    let found = first.discovers(&late, "/ip4/10.77.0.3/").max(second.discovers(&late, "/ip4/10.77.0.3/"));
    println!("finds in {:?}, found in {:?}", finds - late.started, found - late.started);
    let late_peer = late.peer;
    let heard = late.stop();
    assert!(heard.iter().any(|heard| heard.interface == "eth0" && heard.from_others > 0 && heard.error.is_none()));
    first.loses(late_peer);
    second.loses(late_peer);
}

#[test]
fn a_bare_cable_without_ipv4_does() {
    let lan = Lan::new(2);
    lan.hosts.iter().for_each(|host| host.configure("-4 addr flush dev eth0"));
    let [a, b] = [0, 1].map(|at| Node::start(&lan.hosts[at], at as u8 + 1));
    a.discovers(&b, "/ip6zone/eth0/ip6/fe80::");
    b.discovers(&a, "/ip6zone/eth0/ip6/fe80::");
}

#[test]
fn the_loopback_alone_does() {
    let host = Host::alone();
    let [a, b] = [1, 2].map(|number| Node::start(&host, number));
    a.discovers(&b, "/ip4/127.0.0.1/udp/4001/quic-v1");
    b.discovers(&a, "/ip4/127.0.0.1/udp/4001/quic-v1");
}

#[test]
fn several_nodes_on_one_host_all_hear_the_others() {
    let lan = Lan::new(2);
    let [a, b, c] = [(0, 1), (0, 2), (1, 3)].map(|(host, number)| Node::start(&lan.hosts[host], number));
    for neighbour in [&a, &b] {
        neighbour.discovers(&c, "/ip4/10.77.0.2/");
        c.discovers(neighbour, "/ip4/10.77.0.1/");
    }
    a.discovers(&b, "/ip4/10.77.0.1/");
}

#[test]
fn a_cable_is_noticed_when_pulled_and_when_put_back() {
    let lan = Lan::new(2);
    let [a, b] = [0, 1].map(|at| Node::start(&lan.hosts[at], at as u8 + 1));
    a.discovers(&b, "/ip4/10.77.0.2/");
    lan.unplug(0);
    a.loses(b.peer);
    lan.plug(0);
    a.discovers(&b, "/ip4/10.77.0.2/");
}

#[test]
fn a_copied_identity_is_noticed_by_both() {
    let lan = Lan::new(2);
    let [a, b] = [0, 1].map(|at| Node::start(&lan.hosts[at], 1));
    for (node, other) in [(&a, &lan.hosts[1]), (&b, &lan.hosts[0])] {
        let from = node.wait("noticing the copy", |event| match event {
            Event::OwnIdElsewhere { from } => Some(*from),
            _ => None,
        });
        // One report a minute: of whichever family was heard first.
        assert!(from.1 == IpAddr::from(other.ip) || from.1.is_ipv6(), "{} is not {}", from.1, other.ip);
    }
}
