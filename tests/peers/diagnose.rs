//! Why nobody is seen, in the words of the program.

use std::fs;

use allibrary::{
    content::ContentId,
    peers::{Memory, Remembered},
    status::{Cause, Finding, Trouble},
};

use super::{
    support::node::{Nodes, Place},
    wait_until,
};

/// What the program finds, of this peer or of all.
pub(super) fn findings(place: &Place, peer: Option<&str>) -> Vec<Finding> {
    let all: Vec<&str> = ["diagnose"].into_iter().chain(peer).collect();
    place.json(&all).into_iter().map(|value| serde_json::from_value(value).expect("a finding")).collect()
}

fn has(place: &Place, peer: Option<&str>, cause: Cause) -> bool {
    findings(place, peer).iter().any(|finding| finding.cause == cause)
}

#[test]
fn nobody_is_there() {
    let nodes = Nodes::new(1);
    let place = nodes.place(0);
    let refused = place.run(&["diagnose"]);
    assert_eq!(refused.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&refused.stdout).contains("no node runs"));

    let node = place.start(&[]);
    // Once it hears itself, multicast is known to work.
    wait_until("that nothing is heard", || {
        let causes: Vec<_> = findings(&place, None).into_iter().map(|finding| finding.cause).collect();
        causes == [Cause::NothingHeard]
    });
    let other = "12D3KooWLG1LnHRYLDcgQYqFsPRLUyBeZ1RLF7aRzPWFMrrBQcS9";
    assert!(has(&place, Some(other), Cause::Unknown));
    assert!(has(&place, Some(&place.id()), Cause::Myself));
    assert!(place.ok(&["diagnose"]).contains("isolation"));
    let status = node.status().unwrap();
    assert!(status["findings"].to_string().contains("nothing_heard"), "{status}");
}

#[test]
fn a_machine_without_a_network() {
    let nodes = Nodes::new(1);
    nodes.lan.hosts[0].configure("link set eth0 down");
    let place = nodes.place(0);
    let _node = place.start(&[]);
    assert!(has(&place, None, Cause::NoInterface), "{:?}", findings(&place, None));
}

#[test]
fn an_address_to_listen_on_that_comes_after_the_start() {
    let nodes = Nodes::new(2);
    let (host, place) = (&nodes.lan.hosts[0], nodes.place(0).with("ALLIBRARY_NETWORK_MDNS", "false"));
    let address = format!("/ip4/{}/udp/4720/quic-v1", host.ip);
    host.configure("addr flush dev eth0 scope global");
    let mut node = place.start(&["--listen", &address]);
    let status = node.wait_for("a word about it", |status| status["notices"].to_string().contains(&address));
    assert_eq!(status["listen"].as_array().map(Vec::len), Some(0), "{status}");
    let found = findings(&place, None);
    let told = found.iter().find(|finding| finding.cause == Cause::AddressMissing).expect("why nobody comes");
    assert!(told.text.contains(&address) && told.advice.contains("network.listen"), "{told:?}");

    host.configure(&format!("addr add {}/16 broadcast + dev eth0", host.ip));
    let bootstrap = format!("{}@{address}", place.id());
    let other = nodes.place(1).with("ALLIBRARY_NETWORK_MDNS", "false");
    let mut other = other.start(&["--bootstrap", &bootstrap]);
    other.wait_for_peers(1);
    let status = node.status().unwrap();
    assert!(status["listen"] == serde_json::json!([address]) && status["notices"] == serde_json::json!([]), "{status}");
    assert!(!has(&place, None, Cause::AddressMissing));
}

#[test]
fn a_node_that_is_not_on_the_list_there() {
    let nodes = Nodes::new(2);
    let ids = super::ids(&nodes);
    let closed = nodes.place(1).with("ALLIBRARY_NETWORK_AUTH", "allowlist");
    let _closed = closed.start(&[]);
    let mut node = nodes.place(0).start(&[]);
    node.wait_for_peer(&ids[1], "refused", |peer| peer.trouble == Some(Trouble::NotAllowedThere));
    let found = findings(&nodes.place(0), Some(&ids[1]));
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].cause, Cause::NotAllowedThere);
    assert!(found[0].advice.contains(&format!("allibrary peers allow {}", ids[0])), "{found:?}");
    // The other end says the same of this one.
    wait_until("the stranger at the door", || has(&closed, Some(&ids[0]), Cause::NotAllowedHere));
    // Both do what is said.
    closed.ok(&["peers", "allow", &ids[0]]);
    node.wait_for_peers(1);
    assert!(has(&nodes.place(0), Some(&ids[1]), Cause::Connected));
}

#[test]
fn a_firewall_before_a_peer_that_is_heard() {
    let nodes = Nodes::new(2);
    let ids = super::ids(&nodes);
    for program in ["iptables", "ip6tables"] {
        nodes.lan.hosts[1].run(program, "-w -A INPUT -p udp --dport 4720 -j DROP");
    }
    let _silent = nodes.place(1).start(&[]);
    let mut node = nodes.place(0).start(&[]);
    node.wait_for_peer(&ids[1], "not reached", |peer| peer.trouble == Some(Trouble::Unreachable));
    let found = findings(&nodes.place(0), Some(&ids[1]));
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].cause, Cause::Blocked);
    for word in ["firewall", "isolation", "4720"] {
        assert!(found[0].advice.contains(word), "{found:?}");
    }
}

#[test]
fn a_peer_that_is_banned() {
    let nodes = Nodes::new(2);
    let ids = super::ids(&nodes);
    let place = nodes.place(0);
    // As it is kept from one start to the next.
    let banned =
        Remembered { node: ids[1].parse().unwrap(), addresses: Vec::new(), reputation: -60.0, banned_for_s: 1800 };
    let body = postcard::to_stdvec(&Memory { peers: vec![banned] }).unwrap();
    let cache = [b"ALpeers1", &ContentId::of(&body).0[..], &body].concat();
    fs::write(place.folder.join("node/peers.cache"), cache).unwrap();
    let _node = place.start(&[]);
    let mut other = nodes.place(1).start(&[]);
    other.wait_for_peer(&ids[0], "turned away", |peer| peer.trouble == Some(Trouble::BannedThere));
    let here = findings(&place, Some(&ids[1]));
    assert_eq!((here.len(), here[0].cause), (1, Cause::BannedHere), "{here:?}");
    assert!(here[0].text.contains("for another") && here[0].advice.contains("peers pardon"), "{here:?}");
    assert!(has(&nodes.place(1), Some(&ids[0]), Cause::BannedThere));
    place.ok(&["peers", "pardon", &ids[1]]);
    other.wait_for_peers(1);
}
