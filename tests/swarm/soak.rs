//! Mirrors that come, go and die while films and small files come and go: what those take that stay does not grow.

use std::{fs, time::Duration};

use allibrary::clock;
use fastrand::Rng;

use super::support::{
    most::{Most, assert_flat, soak_seconds},
    node::{Node, Nodes, Place, files_below},
    rot::content,
};

/// Between two changes of whom there is.
const CHANGE_EVERY: Duration = Duration::from_secs(3);
/// Films at a time, and pages of one edition.
const FILMS: u32 = 3;
const PAGES: u32 = 60;
/// What was withdrawn goes when copies fill more than this.
const QUOTA: &str = "48 MiB";
/// Memory that may be taken more in the second half than in the first: what the allocator has not given back.
const MORE_KIB: u64 = 4 * 1024;

#[test]
fn what_those_take_who_stay_is_flat_for_a_minute() {
    soak(Duration::from_secs(60));
}

#[test]
#[ignore = "takes an hour, or SOAK_SECONDS: make check-long"]
fn what_those_take_who_stay_is_flat_for_an_hour() {
    soak(Duration::from_secs(soak_seconds()));
}

/// What is published: each edition has one film and its pages other than the one before.
struct Editions<'a> {
    place: Place<'a>,
    folder: std::path::PathBuf,
    number: u32,
}

impl Editions<'_> {
    fn publish(&mut self) {
        let number = self.number;
        self.number += 1;
        let film = |number: u32| self.folder.join(format!("{number}.webm"));
        fs::write(film(number), content(6 << 20, number as u8)).unwrap();
        if let Some(old) = number.checked_sub(FILMS) {
            fs::remove_file(film(old)).unwrap();
        }
        for page in 0..PAGES {
            fs::write(self.folder.join(format!("{page}.html")), format!("{number} {page}").repeat(500)).unwrap();
        }
        self.place.ok(&["add", self.folder.to_str().unwrap()]);
    }
}

/// A publisher and a mirror that stay, and two mirrors that do not.
fn soak(time: Duration) {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let (mut rng, nodes) = (Rng::with_seed(seed), Nodes::new(4));
    let place = |host: usize| nodes.place(host).with("ALLIBRARY_MIRROR_QUOTA", QUOTA);
    let mut editions = Editions { place: place(0), folder: nodes.folder("Editions"), number: 0 };
    // So that changes fall into the midst of transfers.
    nodes.lan.hosts.iter().for_each(|host| host.limit("80mbit"));
    (0..FILMS).for_each(|_| editions.publish());
    let mut stay = [place(0).start(&[]), place(1).start(&["--mirror"])];
    let mut restless = [2, 3].map(|host| Some(place(host).start(&["--mirror"])));

    // A first part in which all that is made once is made, then two halves that are compared.
    let mut halves = [[Most::default(); 2]; 2];
    let (begin, parts, mut change_at) = (clock::now(), [time / 5, time * 3 / 5], CHANGE_EVERY);
    while begin.elapsed() < time {
        let now = begin.elapsed();
        if now >= change_at {
            change_at += CHANGE_EVERY;
            let at = rng.usize(..restless.len());
            change(&mut rng, &place(at + 2), &mut restless[at]);
            if rng.bool() {
                editions.publish();
            }
        }
        if now >= parts[0] {
            let half = &mut halves[usize::from(now >= parts[1])];
            half.iter_mut().zip(&stay).for_each(|(most, node)| most.look(node));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    println!("{} editions", editions.number);
    assert_flat(halves.each_ref().map(|half| &half[..]), MORE_KIB);

    // In the end all have the last edition, and nothing goes on.
    let last = files_below(&editions.folder);
    let restless =
        restless.into_iter().enumerate().map(|(at, node)| node.unwrap_or_else(|| place(at + 2).start(&["--mirror"])));
    let [_, mirror] = &mut stay;
    for mut node in restless {
        assert_same(&mut node, &last);
    }
    assert_same(mirror, &last);
    for node in &mut stay {
        node.wait_for("the end of all that goes on", |status| {
            let traffic = &status["traffic"];
            ["sending", "waiting", "reading"].iter().all(|of| traffic[of] == 0)
                && status["transfers"] == serde_json::json!([])
        });
    }
}

/// One comes, goes, dies, or has lost all that it had.
fn change<'a>(rng: &mut Rng, place: &Place<'a>, node: &mut Option<Node<'a>>) {
    let Some(running) = node.take() else {
        *node = Some(place.start(&["--mirror"]));
        return;
    };
    match rng.u8(..4) {
        0 => assert_eq!(running.stop(), Some(0)),
        1 => running.kill(),
        2 => {
            running.kill();
            *node = Some(place.start(&["--mirror"]));
        }
        _ => {
            assert_eq!(running.stop(), Some(0));
            fs::remove_dir_all(place.folder.join("node")).unwrap();
            *node = Some(place.start(&["--mirror"]));
        }
    }
}

fn assert_same(node: &mut Node<'_>, last: &super::support::node::Files) {
    let folder = node.library().join("Editions");
    let held = |path: &std::path::PathBuf, bytes: &Vec<u8>| fs::read(folder.join(path)).is_ok_and(|it| it == *bytes);
    node.wait_for("the last edition", |_| last.iter().all(|(path, bytes)| held(path, bytes)));
}
