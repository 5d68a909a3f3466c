//! One film from several real nodes at a time: each on a host of its own, with a slow cable.

#[path = "../support/mod.rs"]
mod support;

mod soak;

use std::{fs, path::Path};

use allibrary::status::PeerState;
use support::{
    netns::Host,
    node::{Node, Nodes},
    rot::{content, rot},
};

const FILM_BYTES: usize = 32 << 20;

/// A film that the first node publishes, and the folder of a copy.
fn publish(nodes: &Nodes) -> Vec<u8> {
    let (films, bytes) = (nodes.folder("Films"), content(FILM_BYTES, 1));
    fs::write(films.join("film.webm"), &bytes).unwrap();
    nodes.place(0).ok(&["add", films.to_str().unwrap()]);
    bytes
}

fn assert_whole(node: &mut Node, film: &[u8]) {
    node.wait_for_blobs(1);
    assert!(fs::read(film_of(&node.library())).unwrap() == film, "the copy differs");
}

fn film_of(library: &Path) -> std::path::PathBuf {
    library.join("Films/film.webm")
}

fn sent(host: &Host) -> u64 {
    host.bytes()[1]
}

fn done(status: &serde_json::Value) -> u64 {
    let of = |transfer: &serde_json::Value| transfer["bytes_done"].as_u64().unwrap_or(0);
    status["transfers"].as_array().into_iter().flatten().map(of).max().unwrap_or(0)
}

/// The first two hosts have the film, and cables of 40 Mbit/s; the mirror on the third waits for both.
fn two_sources(nodes: &Nodes) -> (Vec<u8>, Node<'_>, Node<'_>) {
    let film = publish(nodes);
    let first = nodes.place(0).start(&[]);
    let mut second = nodes.place(1).start(&["--mirror"]);
    assert_whole(&mut second, &film);
    nodes.lan.hosts[..2].iter().for_each(|host| host.limit("40mbit"));
    (film, first, second)
}

#[test]
fn two_sources_send_parts_of_one_film() {
    let nodes = Nodes::new(3);
    let (film, _first, _second) = two_sources(&nodes);
    let before = [0, 1].map(|host| sent(&nodes.lan.hosts[host]));
    let mut mirror = nodes.place(2).start(&["--mirror"]);
    assert_whole(&mut mirror, &film);
    let parts = [0, 1].map(|host| sent(&nodes.lan.hosts[host]) - before[host]);
    println!("{parts:?} bytes from each");
    assert!(parts.iter().all(|part| *part > FILM_BYTES as u64 / 4), "{parts:?}");
    assert!(parts.iter().sum::<u64>() < FILM_BYTES as u64 * 12 / 10, "{parts:?}: something came twice");
}

#[test]
fn a_source_that_is_killed_is_made_up_for() {
    let nodes = Nodes::new(3);
    let (film, first, _second) = two_sources(&nodes);
    let mut mirror = nodes.place(2).start(&["--mirror"]);
    mirror.wait_for("a third of the film", |status| done(status) > FILM_BYTES as u64 / 3);
    first.kill();
    assert_whole(&mut mirror, &film);
}

/// It holds its connection, and says nothing more: as a machine that hangs, or a cable that is half broken.
#[test]
fn a_source_that_falls_silent_is_made_up_for() {
    let nodes = Nodes::new(3);
    let (film, first, _second) = two_sources(&nodes);
    let mut mirror = nodes.place(2).start(&["--mirror"]);
    mirror.wait_for("a third of the film", |status| done(status) > FILM_BYTES as u64 / 3);
    first.pause();
    assert_whole(&mut mirror, &film);
    first.resume();
    let id = nodes.place(0).id();
    mirror.wait_for_peer(&id, "being back", |peer| peer.state == PeerState::Connected && peer.banned_for_s.is_none());
}

#[test]
fn a_source_whose_disk_rots_spoils_nothing() {
    let nodes = Nodes::new(3);
    let (film, _first, second) = two_sources(&nodes);
    for part in 0..8 {
        rot(&film_of(&second.library()), part * FILM_BYTES as u64 / 8 + 99);
    }
    let mut mirror = nodes.place(2).start(&["--mirror"]);
    assert_whole(&mut mirror, &film);
}

#[test]
fn what_is_half_here_goes_on_to_a_third() {
    let nodes = Nodes::new(3);
    let film = publish(&nodes);
    // The publisher and the last one do not reach each other.
    nodes.lan.keep_apart(&[0, 2]);
    nodes.lan.hosts[0].limit("40mbit");
    let _publisher = nodes.place(0).start(&[]);
    let mut middle = nodes.place(1).start(&["--mirror"]);
    let mut last = nodes.place(2).start(&["--mirror"]);
    last.wait_for("a quarter of the film", |status| done(status) > FILM_BYTES as u64 / 4);
    let status = middle.status().unwrap();
    assert_eq!(status["store"]["blobs"], 0, "it is half there itself: {status}");
    assert_whole(&mut last, &film);
    assert_whole(&mut middle, &film);
}

#[test]
fn what_a_seed_has_sent_once_all_others_get() {
    let nodes = Nodes::new(4);
    let film = publish(&nodes);
    nodes.lan.hosts.iter().for_each(|host| host.limit("40mbit"));
    let publisher = nodes.place(0).start(&[]);
    let mut first = nodes.place(1).start(&["--mirror"]);
    first.wait_for("half of the film", |status| done(status) > FILM_BYTES as u64 / 2);
    let mut others = [2, 3].map(|host| nodes.place(host).start(&["--mirror"]));
    first.wait_for_blobs(1);
    publisher.kill();
    assert_whole(&mut first, &film);
    others.iter_mut().for_each(|mirror| assert_whole(mirror, &film));
}
