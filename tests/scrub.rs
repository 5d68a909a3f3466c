//! The scrub of running nodes: it finds rot by itself, which is mended from a peer, and goes on after a stop and a kill.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use support::{
    node::{Node, Nodes, Place, files_below},
    rot::{content, rot},
};

fn number(status: &Value, key: &str) -> u64 {
    status["scrub"][key].as_u64().expect("it is told")
}

fn is_told(status: &Value, file: &Path) -> bool {
    let tells = |notice: &Value| notice["text"].as_str().is_some_and(|text| text.contains(file.to_str().unwrap()));
    status["notices"].as_array().is_some_and(|notices| notices.iter().any(tells))
}

/// The next pass begins with the next start: a new node begins at once, one that has read all rests for a week.
fn begin_again(place: &Place<'_>) -> PathBuf {
    let node = place.folder.join("node");
    let _ = fs::remove_file(node.join("scrub.position"));
    node.join("library")
}

#[test]
fn rot_is_found_and_mended_without_anybody_asking() {
    let nodes = Nodes::new(2);
    let (first, second) = (nodes.place(0).with("ALLIBRARY_SCRUB_RATE", "1 GB"), nodes.place(1));
    let books = nodes.folder("Books");
    let files = [("a.pdf", content(3 << 20, 1)), ("b.pdf", content(200_000, 2)), ("c.txt", b"small".to_vec())];
    files.iter().for_each(|(name, bytes)| fs::write(books.join(name), bytes).unwrap());
    first.ok(&["add", "--copy", books.to_str().unwrap()]);
    let publisher = first.start(&[]);
    let mut mirror = second.start(&["--mirror"]);
    mirror.wait_for_blobs(3);
    mirror.wait_for_idle();
    assert_eq!(publisher.stop(), Some(0));
    assert_eq!(mirror.stop(), Some(0));

    // Something rots on both sides, while they are off.
    let second = second.with("ALLIBRARY_SCRUB_RATE", "1 GB");
    let (ours, theirs) = (begin_again(&first).join("Books"), begin_again(&second).join("Books"));
    rot(&ours.join("a.pdf"), 1_000_000);
    rot(&theirs.join("b.pdf"), 199_999);
    rot(&theirs.join("c.txt"), 0);

    // Alone, the mirror tells what it has found, serves nothing of it, and does not count it.
    let mut mirror = second.start(&["--mirror"]);
    let told = mirror.wait_for("the damage", |status| {
        number(status, "damaged") == 2
            && is_told(status, &theirs.join("b.pdf"))
            && is_told(status, &theirs.join("c.txt"))
    });
    assert!(!is_told(&told, &theirs.join("a.pdf")));
    let text = told["notices"].to_string();
    assert!(text.contains("b.pdf is damaged near byte 196608"), "to 64 KiB: {text}");
    let held = |place: &Place<'_>| place.json(&["ls"])[0]["held_items"].as_u64();
    mirror.wait_for("the count", |_| held(&second) == Some(1));
    let id = blake3::hash(&files[1].1).to_string();
    let out = nodes.folder("out").join("b.pdf");
    let got = second.run(&["get", &id[..12], "-o", out.to_str().unwrap()]);
    assert_eq!(got.status.code(), Some(7), "{}", String::from_utf8_lossy(&got.stderr));

    // Together, each mends what it can from the other.
    let mut publisher = first.start(&[]);
    let is_right =
        |folder: &Path| files.iter().all(|(name, right)| fs::read(folder.join(name)).is_ok_and(|is| is == *right));
    publisher
        .wait_for("the repair of the publisher", |status| is_right(&ours) && !is_told(status, &ours.join("a.pdf")));
    mirror.wait_for("the repair of the mirror", |status| is_right(&theirs) && !is_told(status, &theirs.join("b.pdf")));
    mirror.wait_for("the count", |_| held(&second) == Some(3));
    publisher.wait_for("the count", |_| held(&first) == Some(3));
    for node in [&publisher, &mirror] {
        assert_eq!(files_below(&node.library()).len(), 3, "nothing was set aside");
    }
    publisher.wait_for("the end of the pass", |status| {
        number(status, "passes") >= 1 && status["scrub"]["state"] == "resting"
    });
}

#[test]
fn it_goes_on_where_it_was_after_a_stop_and_a_kill() {
    let nodes = Nodes::new(1);
    // So slow that it is never done.
    let place = nodes.place(0).with("ALLIBRARY_SCRUB_RATE", "2 MB");
    let books = nodes.folder("Books");
    fs::write(books.join("film"), content(60 << 20, 1)).unwrap();
    place.ok(&["add", books.to_str().unwrap()]);
    let checked = |node: &mut Node<'_>, above: u64| {
        number(&node.wait_for("some of it", |status| number(status, "checked_bytes") > above), "checked_bytes")
    };
    let mut node = place.start(&[]);
    let first = checked(&mut node, 0);
    assert_eq!(node.stop(), Some(0));
    let mut node = place.start(&[]);
    let second = number(&node.wait_for("its position", |status| number(status, "checked_bytes") > 0), "checked_bytes");
    assert!(second >= first, "{second} after {first}");
    let third = checked(&mut node, second);
    node.kill();
    let mut node = place.start(&[]);
    let fourth = number(&node.wait_for("its position", |status| number(status, "checked_bytes") > 0), "checked_bytes");
    assert!(fourth >= first, "what was kept at the stop is not lost by a kill: {fourth} after {first}, {third}");
    assert_eq!(node.stop(), Some(0));

    // What nobody wrote means the beginning, and no harm.
    fs::write(place.folder.join("node/scrub.position"), b"what is this").unwrap();
    let mut node = place.start(&[]);
    let status = node.wait_for("the beginning", |status| number(status, "checked_bytes") > 0);
    assert!(number(&status, "checked_bytes") < 60 << 20);
    assert_eq!(status["scrub"]["total_bytes"].as_u64(), Some(60 << 20));
}

#[test]
fn it_waits_for_readers_and_can_be_switched_off() {
    let nodes = Nodes::new(1);
    let place = nodes.place(0).with("ALLIBRARY_SCRUB_RATE", "10 MB");
    let books = nodes.folder("Books");
    fs::write(books.join("film"), content(100 << 20, 1)).unwrap();
    place.ok(&["add", books.to_str().unwrap()]);
    let mut node = place.start(&[]);
    node.wait_for("the scrub", |status| status["scrub"]["state"] == "reading");
    // A reader.
    let id = place.json(&["ls", "Books"])[0]["id"].as_str().unwrap().to_owned();
    place.ok(&["get", &id, "-o", nodes.folder("out").join("film").to_str().unwrap()]);
    let paused = node.wait_for("the pause", |status| status["scrub"]["state"] == "waiting");
    let still = number(&paused, "checked_bytes");
    let later = node.wait_for("the end of the pause", |status| status["scrub"]["state"] == "reading");
    assert!(number(&later, "checked_bytes") <= still + (2 << 20), "nothing is read meanwhile");
    drop(node);
    let place = place.with("ALLIBRARY_SCRUB_ENABLED", "false");
    let mut node = place.start(&[]);
    node.wait_for("no scrub", |status| status["scrub"]["state"] == "off");
    assert!(place.ok(&["status"]).contains("Checking    off"));
}
