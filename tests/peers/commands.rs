//! What people say of peers, and a configuration that changes, with nodes that run and nodes that don't.

use std::{collections::BTreeSet, fs, path::PathBuf};

use allibrary::status::{Access, NoticeLevel, PeerState, Trouble};

use super::{
    start_all,
    support::node::{Nodes, Place},
    wait_for_mesh, wait_until,
};

/// What is kept of what people say.
fn lists(place: &Place) -> String {
    fs::read_to_string(place.folder.join("node/peers.toml")).unwrap_or_default()
}

fn set(ids: &[&String]) -> BTreeSet<String> {
    ids.iter().map(|id| (*id).clone()).collect()
}

#[test]
fn deny_and_allow_hold_at_once_and_after_a_restart() {
    let nodes = Nodes::new(2);
    let ids = super::ids(&nodes);
    let mut running = start_all(&nodes);
    wait_for_mesh(&mut running, &ids, &[0, 1]);
    nodes.place(0).ok(&["peers", "deny", &ids[1]]);
    running[0].wait_for_peer(&ids[1], "denied and gone", |peer| {
        peer.access == Access::Denied && peer.state != PeerState::Connected
    });
    running[1].wait_for_peer(&ids[0], "told why", |peer| peer.trouble == Some(Trouble::NotAllowedThere));
    assert!(lists(&nodes.place(0)).contains(&ids[1]));
    assert!(running[0].connected().is_empty() && running[1].connected().is_empty());

    let [first, mut other] = <[_; 2]>::try_from(running).ok().unwrap();
    first.stop();
    let mut first = nodes.place(0).start(&[]);
    // It comes to the door, which stays closed.
    first.wait_for("a refusal", |status| status["findings"].to_string().contains("denied_here"));
    assert!(first.connected().is_empty() && other.connected().is_empty());
    nodes.place(0).ok(&["peers", "allow", &ids[1]]);
    other.wait_for_exactly(&set(&[&ids[0]]));
    first.wait_for_peer(&ids[1], "allowed", |peer| peer.access == Access::Allowed);
    // Nothing of it is left on the lists.
    nodes.place(0).ok(&["peers", "forget", &ids[1]]);
    assert!(!lists(&nodes.place(0)).contains(&ids[1]));
}

#[test]
fn whoever_came_before_the_lock_may_come_again_and_nobody_else() {
    let nodes = Nodes::new(3);
    let ids = super::ids(&nodes);
    let place = nodes.place(0).with("ALLIBRARY_NETWORK_AUTH", "learn");
    let mut learning = place.start(&[]);
    let mut first = nodes.place(1).start(&[]);
    learning.wait_for_exactly(&set(&[&ids[1]]));
    wait_until("the first one in the list", || lists(&place).contains(&ids[1]));
    place.ok(&["peers", "lock"]);
    let mut second = nodes.place(2).start(&[]);
    second.wait_for_peer(&ids[0], "refused", |peer| peer.trouble == Some(Trouble::NotAllowedThere));
    assert_eq!(learning.connected(), set(&[&ids[1]]));

    learning.stop();
    let mut learning = place.start(&[]);
    first.wait_for_exactly(&set(&[&ids[0], &ids[2]]));
    learning.wait_for_exactly(&set(&[&ids[1]]));
    assert!(!lists(&place).contains(&ids[2]), "nobody is learned any more");
}

#[test]
fn an_allowlist_is_made_before_the_first_start() {
    let nodes = Nodes::new(3);
    let ids = super::ids(&nodes);
    let place = nodes.place(0).with("ALLIBRARY_NETWORK_AUTH", "allowlist");
    place.ok(&["peers", "allow", &ids[1]]);
    let mut closed = place.start(&[]);
    let mut stranger = nodes.place(2).start(&[]);
    stranger.wait_for_peer(&ids[0], "refused", |peer| peer.trouble == Some(Trouble::NotAllowedThere));
    let _friend = nodes.place(1).start(&[]);
    closed.wait_for_exactly(&set(&[&ids[1]]));
    // Emptied, it admits nobody.
    place.ok(&["peers", "forget", &ids[1]]);
    closed.wait_for_exactly(&set(&[]));
}

#[test]
fn lists_that_are_damaged_let_nobody_in() {
    let nodes = Nodes::new(3);
    let ids = super::ids(&nodes);
    let place = nodes.place(0).with("ALLIBRARY_NETWORK_ALLOW", &ids[1]);
    place.ok(&["peers", "deny", &ids[2]]);
    let path = place.folder.join("node/peers.toml");
    let half = lists(&place)[..lists(&place).len() / 2].to_owned();
    fs::write(&path, &half).unwrap();
    let mut closed = place.start(&[]);
    let status = closed.status().unwrap();
    let notices = status["notices"].as_array().unwrap();
    let is_it = |notice: &&serde_json::Value| notice["text"].as_str().unwrap().contains("peers.toml");
    let notice = notices.iter().find(is_it).expect("a notice names the file");
    assert_eq!(notice["level"], serde_json::to_value(NoticeLevel::Error).unwrap());
    let mut stranger = nodes.place(2).start(&[]);
    stranger.wait_for_peer(&ids[0], "refused", |peer| peer.trouble == Some(Trouble::NotAllowedThere));
    let _friend = nodes.place(1).start(&[]);
    closed.wait_for_exactly(&set(&[&ids[1]]));
    // It is not written over.
    assert_eq!(place.run(&["peers", "allow", &ids[2]]).status.code(), Some(7));
    assert_eq!(lists(&place), half);
}

#[test]
fn a_configuration_is_taken_up_while_the_node_runs() {
    let nodes = Nodes::new(2);
    let ids = super::ids(&nodes);
    let file: PathBuf = nodes.folder("etc").join("allibrary.toml");
    let configure = |text: &str| fs::write(&file, text).unwrap();
    configure("");
    let config = ["--config", file.to_str().unwrap()];
    let mut first = nodes.place(0).start(&config);
    let mut other = nodes.place(1).start(&[]);
    first.wait_for_exactly(&set(&[&ids[1]]));

    configure("[network]\nauth = \"allowlist\"\n");
    first.hang_up();
    first.wait_for_exactly(&set(&[]));
    other.wait_for_peer(&ids[0], "refused", |peer| peer.trouble == Some(Trouble::NotAllowedThere));

    // What is wrong changes nothing, and is told with its place and range.
    configure("[network]\nauth = \"open\"\nmax_peers = 1000\n");
    first.hang_up();
    let told = format!("{}:3:13: network.max_peers cannot be 1000; allowed: 1 to 128", file.display());
    wait_until("what is wrong in the log", || first.log().contains(&told));
    let refused = nodes.place(0).run(&[&["config", "reload"], &config[..]].concat());
    assert_eq!(refused.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&refused.stderr).contains(&told));
    assert!(first.connected().is_empty());

    configure(
        "[network]\nauth = \"open\"\nmdns = false\n[scrub]\nenabled = false\n[mirror]\nenabled = true\nquota = \"1 GB\"\n",
    );
    let said = nodes.place(0).json(&[&["config", "reload"], &config[..]].concat());
    let live = ["network.auth", "mirror.enabled", "mirror.quota", "scrub.enabled"];
    assert_eq!(
        (said[0]["live"].clone(), said[0]["restart"].clone()),
        (live.as_slice().into(), ["network.mdns"].as_slice().into())
    );
    let status = first.wait_for("what has changed", |status| status["scrub"]["state"] == "off");
    assert_eq!(status["store"]["quota_bytes"], 1_000_000_000);
    first.wait_for_exactly(&set(&[&ids[1]]));
    // The key that waits for a restart is named again.
    let said = nodes.place(0).json(&[&["config", "reload"], &config[..]].concat());
    assert_eq!(
        (said[0]["live"].clone(), said[0]["restart"].clone()),
        (serde_json::json!([]), serde_json::json!(["network.mdns"]))
    );
}

#[test]
fn where_a_peer_was_is_known_at_the_next_start() {
    let nodes = Nodes::new(2);
    let ids = super::ids(&nodes);
    let mut running = start_all(&nodes);
    wait_for_mesh(&mut running, &ids, &[0, 1]);
    running.into_iter().for_each(|node| assert_eq!(node.stop(), Some(0)));
    let quiet = |host: usize| nodes.place(host).with("ALLIBRARY_NETWORK_MDNS", "false");
    // Nobody tells either of the other.
    let mut running = [0, 1].map(|host| quiet(host).start(&[]));
    wait_for_mesh(&mut running, &ids, &[0, 1]);
    // What is damaged is forgotten, and keeps no node from starting.
    running.into_iter().for_each(|node| assert_eq!(node.stop(), Some(0)));
    fs::write(nodes.place(0).folder.join("node/peers.cache"), "damaged").unwrap();
    let node = quiet(0).start(&[]);
    assert_eq!(node.peers(), []);
    wait_until("a line in the log", || node.log().contains("peers are learned anew"));
}

#[test]
fn what_is_mirrored_changes_while_the_node_runs() {
    let nodes = Nodes::new(2);
    let books = nodes.folder("Books");
    fs::write(books.join("book.txt"), "once upon a time").unwrap();
    nodes.place(0).ok(&["add", books.to_str().unwrap()]);
    let _library = nodes.place(0).start(&[]);
    let file = nodes.folder("etc").join("allibrary.toml");
    fs::write(&file, "").unwrap();
    let mut mirror = nodes.place(1).start(&["--config", file.to_str().unwrap()]);
    mirror.wait_for("what the library lists", |status| status["store"]["collections"] == 1);
    assert_eq!(mirror.status().unwrap()["store"]["blobs"], 0, "it is known, and not to be mirrored");
    fs::write(&file, "[mirror]\nenabled = true\nonly = [\"Films\"]\n").unwrap();
    mirror.hang_up();
    wait_until("the first reload", || mirror.log().contains("mirror.enabled, mirror.only changed"));
    assert_eq!(mirror.status().unwrap()["store"]["blobs"], 0, "another collection is to be mirrored");
    fs::write(&file, "[mirror]\nenabled = true\nonly = [\"Books\"]\n").unwrap();
    mirror.hang_up();
    mirror.wait_for_blobs(1);
}
