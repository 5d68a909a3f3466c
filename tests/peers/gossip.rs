//! News that go over nodes that do not want what they are about.

use std::{collections::BTreeSet, fs};

use serde_json::Value;

use super::{ids, support::node::Nodes};

#[test]
fn a_mirror_finds_a_publisher_that_only_others_know() {
    let nodes = Nodes::new(3);
    let ids = ids(&nodes);
    let place = |host: usize| {
        nodes.place(host).with("ALLIBRARY_NETWORK_MDNS", "false").with("ALLIBRARY_NETWORK_GOSSIP", "true")
    };
    let address = |host: usize| format!("/ip4/{}/udp/4720/quic-v1", nodes.lan.hosts[host].ip);
    // It knows both by addresses of the link, which it tells nobody: of each other they can only hear by gossip.
    let mut between = place(1).start(&["--listen", "/ip6/::/udp/4720/quic-v1"]);
    let of_link = |status: &Value| {
        let listen = status["listen"].as_array()?.iter().filter_map(Value::as_str);
        listen.into_iter().find(|it| it.starts_with("/ip6zone/eth0")).map(str::to_owned)
    };
    let status = between.wait_for("an address of the link", |status| of_link(status).is_some());
    let middle = format!("{}@{}", ids[1], of_link(&status).expect("it was just looked at"));
    let mut mirror = place(2).start(&["--mirror", "--listen", &address(2), "--bootstrap", &middle]);
    between.wait_for_peers(1);
    let mut publisher = place(0).start(&["--listen", &address(0), "--bootstrap", &middle]);
    between.wait_for_peers(2);
    for end in [&mut mirror, &mut publisher] {
        end.wait_for_exactly(&BTreeSet::from([ids[1].clone()]));
    }

    let books = nodes.folder("Books");
    fs::write(books.join("news.txt"), b"new").expect("a folder of the test");
    place(0).ok(&["add", books.to_str().expect("the test chose it")]);
    mirror.wait_for_blobs(1);
    let dialled = |line: &str| line.contains(&format!("connected with {}", ids[0])) && line.ends_with("(dialled)");
    assert!(mirror.log().lines().any(dialled), "{}", mirror.log());
    assert_eq!(between.status().expect("it runs")["store"]["blobs"], 0, "it passed the news on, and nothing else");
}
