//! Starting, stopping, and being alone.

mod support;

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
    time::Duration,
};

use support::{
    netns::{Host, Lan, Process},
    node::Place,
};

#[test]
fn stops_within_a_second_and_starts_again() {
    let folder = tempfile::tempdir().unwrap();
    let lan = Lan::new(2);
    let place = |host: usize| Place::on(&lan.hosts[host], folder.path().join(format!("node{host}")));
    let node = place(0).start(&["--mirror"]);
    let mut other = place(1).start(&[]);
    other.wait_for_peers(1);
    let asked = allibrary::clock::now();
    assert_eq!(node.stop(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(5), "a stop took {:?}", asked.elapsed());
    // The peer was told, and knows the node again when it comes back.
    let connected = |peer: &serde_json::Value| peer["state"] == "connected";
    let status = other.wait_for("the goodbye", |status| !status["peers"].as_array().unwrap().iter().any(connected));
    assert_eq!(status["peers"][0]["trouble"], "stopped", "{status}");
    let id = place(0).json(&["id"]);
    let mut node = place(0).start(&[]);
    node.wait_for_peers(1);
    assert_eq!(place(0).json(&["id"]), id);
}

#[test]
fn programs_are_told_where_a_node_is_at_its_start() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::alone();
    let mut run = Place::on(&host, folder.path()).command(&["--json", "run"]);
    let mut node = Process(run.stdout(Stdio::piped()).spawn().unwrap());
    let line = BufReader::new(node.0.stdout.take().unwrap()).lines().next().unwrap().unwrap();
    let started: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(started["event"], "started");
    for key in ["pages", "listen"] {
        assert!(started[key].as_array().is_some_and(|all| !all.is_empty()), "{key} in {line}");
    }
}

#[test]
fn runs_with_settings_for_a_small_machine_under_its_own_name() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::alone();
    let node = Place::on(&host, folder.path()).start(&[]);
    let process = format!("/proc/{}", node.pid());
    let environment = std::fs::read(format!("{process}/environ")).unwrap();
    assert!(environment.split(|byte| *byte == 0).any(|variable| variable == b"BLOCKING_MAX_THREADS=4"));
    assert_eq!(std::fs::read_to_string(format!("{process}/comm")).unwrap(), "allibrary\n");
}

#[test]
fn a_second_node_on_the_same_data_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::alone();
    let place = Place::on(&host, folder.path());
    let _node = place.start(&[]);
    let second = place.run(&["run"]);
    assert_eq!(second.status.code(), Some(4));
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains("already") && said.contains("run"), "{said}");
}

#[test]
fn two_nodes_on_one_machine_without_a_network_find_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::alone();
    let _one = Place::on(&host, folder.path().join("one")).start(&[]);
    // The default ports are taken by now: the second node moves on.
    let mut two = Place::on(&host, folder.path().join("two")).start(&[]);
    two.wait_for_peers(1);
}

#[test]
fn an_explicit_port_that_is_taken_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::alone();
    let _one = Place::on(&host, folder.path().join("one")).start(&[
        "--listen",
        "/ip4/127.0.0.1/udp/5001/quic-v1",
        "--http",
        "127.0.0.1:5002",
    ]);
    let two = Place::on(&host, folder.path().join("two"));
    for taken in [["--listen", "/ip4/127.0.0.1/udp/5001/quic-v1"], ["--http", "127.0.0.1:5002"]] {
        let refused = two.run(&[&["run"], &taken[..]].concat());
        assert_eq!(refused.status.code(), Some(1), "{taken:?}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains("500"), "the address is named");
    }
}

#[test]
fn a_bootstrap_peer_is_found_without_mdns() {
    let folder = tempfile::tempdir().unwrap();
    let lan = Lan::new(2);
    let place = |host: usize| Place::on(&lan.hosts[host], folder.path().join(format!("node{host}")));
    std::fs::create_dir_all(folder.path().join("node0/node")).unwrap();
    let config = folder.path().join("no-mdns.toml");
    std::fs::write(&config, "[network]\nmdns = false\n").unwrap();
    let config = ["--config", config.to_str().unwrap()];
    let listen = format!("/ip4/{}/udp/5001/quic-v1", lan.hosts[0].ip);
    let _one = place(0).start(&[&config[..], &["--listen", &listen]].concat());
    let id = place(0).json(&["id"])[0]["node"].as_str().unwrap().to_owned();
    let mut two = place(1).start(&[&config[..], &["--bootstrap", &format!("{id}@{listen}")]].concat());
    two.wait_for_peers(1);
}
