//! Rot: a damaged byte is found, not served, and fetched again from a peer, with little beside it.

mod support;

use std::{fs, os::unix::fs::MetadataExt, path::Path, process::Command};

use support::{
    netns::Host,
    node::{Nodes, Place, files_below},
    rot::{content, rot},
};

/// What the repair of one byte may cost on the wire: its group of 64 KiB, proofs, and what the nodes have to say beside.
const REPAIR_BYTES: u64 = 256 * 1024;

/// Bytes that a host has received.
fn received(host: &Host) -> u64 {
    let counter = host.command("cat").arg("/sys/class/net/eth0/statistics/rx_bytes").output().unwrap();
    String::from_utf8(counter.stdout).unwrap().trim().parse().expect("the kernel counts")
}

#[test]
fn a_damaged_byte_is_found_and_its_group_fetched_again() {
    let nodes = Nodes::new(2);
    let books = nodes.folder("Books");
    let bytes = content(8 << 20, 1);
    fs::write(books.join("book.pdf"), &bytes).unwrap();
    fs::write(books.join("note.txt"), "small").unwrap();
    nodes.place(0).ok(&["add", books.to_str().unwrap()]);
    let _publisher = nodes.place(0).start(&[]);
    let mut mirror = nodes.place(1).start(&["--mirror"]);
    mirror.wait_for_blobs(2);
    mirror.wait_for_idle();

    // The card rots.
    let copy = mirror.library().join("Books/book.pdf");
    rot(&copy, 5_000_000);
    let (inode, before) = (fs::metadata(&copy).unwrap().ino(), received(&nodes.lan.hosts[1]));
    let output = nodes.place(1).run(&["verify"]);
    assert_eq!(output.status.code(), Some(7), "damage has an exit code of its own");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("book.pdf, bytes 4980736 to 5046272 ("), "the damaged file is named, and where: {said}");
    mirror.wait_for("the repair", |_| fs::read(&copy).is_ok_and(|found| found == bytes));
    mirror.wait_for_blobs(2);
    let cost = received(&nodes.lan.hosts[1]) - before;
    assert!(cost <= REPAIR_BYTES, "{cost} bytes for one of them");
    assert_eq!(fs::metadata(&copy).unwrap().ino(), inode, "it is the same file, mended");

    // A small file is fetched as a whole.
    rot(&mirror.library().join("Books/note.txt"), 2);
    assert_eq!(nodes.place(1).run(&["verify"]).status.code(), Some(7));
    mirror.wait_for("the repair", |_| fs::read(mirror_note(&copy)).is_ok_and(|found| found == b"small"));
    nodes.place(1).ok(&["verify"]);
    let names: Vec<_> = files_below(&mirror.library()).into_keys().collect();
    assert_eq!(names, [Path::new("Books/book.pdf"), Path::new("Books/note.txt")], "nothing was set aside");
}

fn mirror_note(book: &Path) -> std::path::PathBuf {
    book.with_file_name("note.txt")
}

#[test]
fn what_rots_at_its_publisher_comes_back_from_a_mirror() {
    let nodes = Nodes::new(2);
    let (copied, shared) = (nodes.folder("Copied"), nodes.folder("Shared"));
    let bytes = content(1 << 20, 1);
    fs::write(copied.join("a.pdf"), &bytes).unwrap();
    fs::write(shared.join("b.pdf"), &bytes[1..]).unwrap();
    fs::write(shared.join("c.pdf"), &bytes[2..]).unwrap();
    nodes.place(0).ok(&["add", "--copy", copied.to_str().unwrap()]);
    nodes.place(0).ok(&["add", shared.to_str().unwrap()]);
    let mut publisher = nodes.place(0).start(&[]);
    let mut mirror = nodes.place(1).start(&["--mirror"]);
    mirror.wait_for_blobs(3);

    let held = |collection: &str| {
        let all = nodes.place(0).json(&["ls"]);
        let one = all.iter().find(|it| it["name"] == collection).expect("it is listed");
        one["held_items"].as_u64()
    };
    let own = publisher.library().join("Copied/a.pdf");
    rot(&own, 300_000);
    rot(&shared.join("b.pdf"), 300_000);
    // What its owner takes away does not come back by itself.
    fs::remove_file(shared.join("c.pdf")).unwrap();
    let rotten = fs::read(shared.join("b.pdf")).unwrap();
    assert_eq!(nodes.place(0).run(&["verify"]).status.code(), Some(7));
    let copy = publisher.library().join("Shared/b.pdf");
    publisher.wait_for("the repairs", |_| {
        fs::read(&own).is_ok_and(|found| found == bytes) && fs::read(&copy).is_ok_and(|found| found == bytes[1..])
    });
    publisher.wait_for("the count", |_| held("Copied") == Some(1) && held("Shared") == Some(1));
    assert!(fs::read(shared.join("b.pdf")).unwrap() == rotten, "the owner's file is the owner's");
    let names: Vec<_> = files_below(&publisher.library()).into_keys().collect();
    assert_eq!(names, [Path::new("Copied/a.pdf"), Path::new("Shared/b.pdf")], "nothing else came");
}

#[test]
fn what_the_disk_does_not_give_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let (place, books) = (Place::here(folder.path()), folder.path().join("Books"));
    fs::create_dir(&books).unwrap();
    fs::write(books.join("book"), content(3 << 20, 1)).unwrap();
    place.ok(&["add", "--copy", books.to_str().unwrap()]);
    let copy = folder.path().join("node/library/Books/book");
    // Reads of this one file fail, from the third on.
    let verify = place.command(&["--json", "verify"]);
    let mut traced = Command::new("strace");
    traced.args(["-f", "-qq", "-o", "/dev/null", "-e", "inject=read,pread64:error=EIO:when=3+", "-P"]).arg(&copy);
    traced.arg(verify.get_program()).args(verify.get_args());
    traced.envs(verify.get_envs().filter_map(|(key, value)| Some((key, value?))));
    let output = traced.output().expect("NOT CHECKED: this test needs strace");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(7), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("\"fault\":\"damaged\"") && said.contains("\"ranges\":[{\"start\":"), "{said}");
    assert!(place.json(&["ls"])[0]["held_items"] == 0, "it is not counted");
    // It was the cable.
    place.ok(&["verify"]);
    assert!(place.json(&["ls"])[0]["held_items"] == 1, "it counts again");
}
