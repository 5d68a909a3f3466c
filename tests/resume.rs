//! A transfer that is killed goes on where it was: counted in bytes on the wire.

mod support;

use std::{fs, path::Path};

use support::{netns::Host, node::Nodes};

const FILE_BYTES: u64 = 96 << 20;
/// What may be fetched again, plus what was on its way when the receiver died: windows and the queue of the slow link.
const AGAIN_BYTES: u64 = (1 << 20) + (1 << 20);

#[test]
fn a_killed_mirror_fetches_at_most_a_mebibyte_again() {
    let nodes = Nodes::new(3);
    let books = nodes.folder("Films");
    let mut bytes = vec![0; FILE_BYTES as usize];
    fastrand::Rng::with_seed(9).fill(&mut bytes);
    fs::write(books.join("film.webm"), &bytes).unwrap();
    let same = |library: &Path| fs::read(library.join("Films/film.webm")).unwrap() == bytes;

    nodes.place(0).ok(&["add", books.to_str().unwrap()]);
    let _publisher = nodes.place(0).start(&[]);
    // Slow enough that the kill finds the transfer under way, whatever the machine.
    let limit = "qdisc add dev eth0 root tbf rate 200mbit burst 64kb limit 256kb";
    assert!(nodes.lan.hosts[0].command("tc").args(limit.split(' ')).status().unwrap().success());

    let mut undisturbed = nodes.place(2).start(&["--mirror"]);
    undisturbed.wait_for_blobs(1);
    assert!(same(&undisturbed.library()));
    assert_eq!(undisturbed.stop(), Some(0));

    let mut killed = nodes.place(1).start(&["--mirror"]);
    let done = |status: &serde_json::Value| status["transfers"][0]["bytes_done"].as_u64().unwrap_or(0);
    killed.wait_for("a third of the film", |status| done(status) > FILE_BYTES / 3);
    killed.kill();
    assert!(received_bytes(&nodes.lan.hosts[1]) < FILE_BYTES, "it was all there before the kill");
    let mut resumed = nodes.place(1).start(&["--mirror"]);
    resumed.wait_for_blobs(1);
    assert!(same(&resumed.library()));

    let (once, twice) = (received_bytes(&nodes.lan.hosts[2]), received_bytes(&nodes.lan.hosts[1]));
    println!("{once} bytes received without a kill, {twice} with one");
    assert!(twice < once + AGAIN_BYTES, "{} bytes were fetched again", twice - once);
}

fn received_bytes(host: &Host) -> u64 {
    let output = host.command("ip").args(["-s", "-j", "link", "show", "dev", "eth0"]).output().unwrap();
    let links: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    links[0]["stats64"]["rx"]["bytes"].as_u64().unwrap()
}
