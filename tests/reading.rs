//! Reading on one node what is on others: real nodes, each on a host of its own.

mod support;

use std::{
    fs,
    io::Read,
    ops::Range,
    path::{Path, PathBuf},
};

use allibrary::limits::follow::READS;
use support::{
    netns::Host,
    node::{Node, Nodes},
    page::Page,
    rot::content,
};

const FILM_BYTES: usize = 32 << 20;
const FILM: &str = "/c/Films/film.webm";

/// A film that the first node publishes.
fn publish(nodes: &Nodes) -> Vec<u8> {
    let (films, bytes) = (nodes.folder("Films"), content(FILM_BYTES, 1));
    fs::write(films.join("film.webm"), &bytes).unwrap();
    nodes.place(0).ok(&["add", films.to_str().unwrap()]);
    bytes
}

/// The page of a node that knows of the film and has somebody to read it from.
fn page<'a>(host: &'a Host, node: &mut Node) -> Page<'a> {
    Page::offering("Films/film.webm", host, node)
}

fn bytes(page: &Page, range: Range<usize>) -> Vec<u8> {
    let response = page.get(FILM, Some(range.start as u64..range.end as u64));
    assert_eq!(response.status, 206, "{}", response.head);
    response.rest()
}

fn received(host: &Host) -> usize {
    host.bytes()[0] as usize
}

fn file(folder: &Path) -> Option<PathBuf> {
    fs::read_dir(folder).ok()?.next().map(|file| file.unwrap().path())
}

#[test]
fn a_place_in_a_film_elsewhere_comes_alone_and_all_of_it_is_kept() {
    let nodes = Nodes::new(2);
    let film = publish(&nodes);
    let publisher = nodes.place(0).start(&[]);
    let mut reader = nodes.place(1).start(&[]);
    let host = &nodes.lan.hosts[1];
    let page = page(host, &mut reader);
    let before = received(host);
    for at in [FILM_BYTES / 2 + 77, FILM_BYTES - 1_000_000, 5] {
        assert!(bytes(&page, at..at + 200_000) == film[at..at + 200_000], "at {at}");
    }
    assert!(received(host) - before < 3_000_000, "{} bytes for 600,000", received(host) - before);
    // Whole, on the command line.
    let id = blake3::hash(&film).to_hex();
    let copy = nodes.place(1).folder.join("copy");
    nodes.place(1).ok(&["get", &id[..12], "-o", copy.to_str().unwrap()]);
    assert!(fs::read(&copy).unwrap() == film);
    reader.wait_for_blobs(1);
    assert!(received(host) - before < FILM_BYTES * 11 / 10, "nothing comes twice");
    let kept = file(&reader.library().join(".cache")).unwrap();
    assert!(fs::read(&kept).unwrap() == film);
    // Without the other node, and after a restart.
    publisher.kill();
    assert_eq!(reader.stop(), Some(0));
    let mut reader = nodes.place(1).start(&[]);
    let page = Page::of(host, &mut reader);
    assert!(bytes(&page, 0..FILM_BYTES) == film);
    nodes.place(1).ok(&["verify"]);
}

#[test]
fn a_slider_can_be_dragged_for_long() {
    let nodes = Nodes::new(2);
    let film = publish(&nodes);
    let _publisher = nodes.place(0).start(&[]);
    let mut reader = nodes.place(1).start(&[]);
    let page = page(&nodes.lan.hosts[1], &mut reader);
    // More often than a connection has streams, each time away from what still comes.
    for number in 0..48 {
        let at = number * 29 % 48 * (FILM_BYTES / 48);
        let mut response = page.get(FILM, Some(at as u64..FILM_BYTES as u64));
        assert_eq!(response.status, 206, "{}", response.head);
        assert!(response.some(1000) == film[at..at + 1000], "at {at}");
    }
}

#[test]
fn another_goes_on_where_one_is_killed() {
    let nodes = Nodes::new(3);
    let film = publish(&nodes);
    let publisher = nodes.place(0).start(&[]);
    let mut mirror = nodes.place(1).start(&["--mirror"]);
    mirror.wait_for_blobs(1);
    // It does not send all before anybody is killed.
    nodes.lan.hosts[..2].iter().for_each(|host| host.limit("80mbit"));
    let mut reader = nodes.place(2).start(&[]);
    reader.wait_for_peers(2);
    let page = page(&nodes.lan.hosts[2], &mut reader);
    let mut response = page.get(FILM, None);
    assert_eq!(response.status, 200);
    let begun = response.some(FILM_BYTES / 8);
    publisher.kill();
    let rest = response.rest();
    assert!([begun, rest].concat() == film);
}

#[test]
fn a_film_whose_only_source_dies_ends_short_and_another_time_in_words() {
    let nodes = Nodes::new(2);
    let film = publish(&nodes);
    let publisher = nodes.place(0).start(&[]);
    nodes.lan.hosts[0].limit("40mbit");
    let mut reader = nodes.place(1).start(&[]);
    let page = page(&nodes.lan.hosts[1], &mut reader);
    let mut response = page.get(FILM, None);
    let begun = response.some(1 << 20);
    publisher.kill();
    let mut rest = Vec::new();
    // The connection ends in an error, or without one.
    let _ = response.body.read_to_end(&mut rest);
    let came = [begun, rest].concat();
    assert!(came.len() < film.len() && film.starts_with(&came), "no wrong byte, and not all");
    let place = nodes.place(1);
    reader
        .wait_for("its end", |status| status["peers"].as_array().unwrap().iter().all(|it| it["state"] != "connected"));
    let refused = place.run(&["get", &blake3::hash(&film).to_hex()[..12], "-o", "/dev/shm/never"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(6) && said.contains("none of the 0 connected nodes has it now"), "{said}");
    let page = page.get(FILM, Some(0..1));
    assert_eq!(page.status, 503);
    assert!(page.text().contains("Not here yet"));
}

#[test]
fn who_goes_away_or_takes_nothing_is_fetched_nothing_for() {
    let nodes = Nodes::new(2);
    let film = publish(&nodes);
    let _publisher = nodes.place(0).start(&[]);
    let mut reader = nodes.place(1).start(&[]);
    let host = &nodes.lan.hosts[1];
    let page = page(host, &mut reader);
    let before = received(host);
    let mut stalls = page.get(FILM, None);
    assert!(stalls.some(100_000) == film[..100_000]);
    let mut leaves = page.get(FILM, Some(FILM_BYTES as u64 / 2..FILM_BYTES as u64));
    leaves.some(100_000);
    drop(leaves);
    // One more reader has its turn at once: what comes for those two has come to its end.
    let at = FILM_BYTES / 4 * 3;
    assert!(bytes(&page, at..at + 1000) == film[at..at + 1000]);
    let came = settled(&mut reader, host) - before;
    // What one may have ahead beside what its sockets hold, and what was on its way for the other.
    assert!(came < FILM_BYTES * 3 / 4, "{came} bytes came");
    drop(stalls);
}

/// Bytes that a host has received, once no more come.
fn settled(node: &mut Node, host: &Host) -> usize {
    let last = std::cell::Cell::new(0);
    node.wait_for("the end of what comes", |_| {
        let now = received(host);
        now - last.replace(now) < 10_000
    });
    last.get()
}

#[test]
fn too_many_are_told_to_come_again() {
    let nodes = Nodes::new(2);
    let films = nodes.folder("Films");
    for number in 0..=READS {
        fs::write(films.join(format!("{number}.webm")), content(FILM_BYTES / 2, number as u8)).unwrap();
    }
    fs::write(films.join("film.webm"), "film").unwrap();
    nodes.place(0).ok(&["add", films.to_str().unwrap()]);
    let _publisher = nodes.place(0).start(&[]);
    nodes.lan.hosts[0].limit("40mbit");
    let mut reader = nodes.place(1).start(&[]);
    let page = page(&nodes.lan.hosts[1], &mut reader);
    let mut open: Vec<_> = (0..READS).map(|number| page.get(&format!("/c/Films/{number}.webm"), None)).collect();
    assert!(open.iter().all(|response| response.status == 200));
    let refused = page.get(&format!("/c/Films/{READS}.webm"), None);
    assert!(refused.status == 503 && refused.head.to_lowercase().contains("retry-after: 5"), "{}", refused.head);
    assert!(refused.text().contains("Busy"));
    // One place becomes free.
    open.pop();
    reader.wait_for("a place", |_| page.get(&format!("/c/Films/{READS}.webm"), Some(0..9)).status == 206);
}
