//! Commands while a node runs: they go through its control socket, and mean the same as without one.

mod support;

use std::{fs, os::unix::fs::PermissionsExt};

use support::{
    netns::Host,
    node::{Nodes, Place},
};

#[test]
fn commands_work_while_the_node_runs() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::alone();
    let place = Place::on(&host, folder.path().join("node"));
    let mut node = place.start(&[]);
    let books = folder.path().join("Books");
    fs::create_dir(&books).unwrap();
    let bytes: Vec<u8> = (0..200_000_u32).map(|number| (number % 251) as u8).collect();
    fs::write(books.join("book.bin"), &bytes).unwrap();

    let added = place.ok(&["add", books.to_str().unwrap()]);
    assert!(added.to_lowercase().contains("everyone on this network can read 1 file"), "{added}");
    node.wait_for_blobs(1);
    let items = place.json(&["ls", "Books"]);
    let id = items[0]["id"].as_str().unwrap();
    assert_eq!(id, blake3::hash(&bytes).to_string());
    let copy = folder.path().join("copy");
    place.ok(&["get", &id[..10], "-o", copy.to_str().unwrap()]);
    assert!(fs::read(&copy).unwrap() == bytes);
    assert!(place.run(&["get", &id[..10]]).stdout == bytes);
    place.ok(&["verify"]);
    assert_eq!(place.run(&["get", "00000000"]).status.code(), Some(6));

    place.ok(&["rm", "Books/book.bin"]);
    assert_eq!(place.run(&["get", id]).status.code(), Some(6));
    assert!(books.join("book.bin").exists(), "a file that is shared where it is stays there");
}

#[test]
fn an_edit_is_the_same_with_a_node_and_without() {
    let nodes = Nodes::new(2);
    let books = nodes.folder("Books");
    fs::write(books.join("a.txt"), "a").unwrap();
    let place = nodes.place(0);
    place.ok(&["add", books.to_str().unwrap()]);
    let said = place.ok(&["edit", "Books/a.txt", "--title", "Emma", "--language", "en"]);
    assert!(said.contains("Emma") && said.contains("en"), "{said}");
    let _publisher = place.start(&[]);
    let edited = place.json(&["edit", "Books/a.txt", "--author", "Jane Austen"]);
    assert_eq!((&edited[0]["event"], &edited[0]["collection"]["version"]), (&"edited".into(), &3.into()));
    let item = &edited[0]["item"];
    assert_eq!([&item["title"], &item["author"], &item["language"]], ["Emma", "Jane Austen", "en"]);
    assert_eq!(place.json(&["ls", "Books"])[0]["title"], "Emma");
    for (arguments, exit) in [
        (vec!["edit", "Books/b.txt", "--title", "x"], 6),
        (vec!["edit", "Books", "--title", "x"], 6),
        (vec!["edit", "Films/a", "--title", "x"], 6),
        (vec!["edit", "Books/a.txt"], 2),
        (vec!["edit", "Books/a.txt", "--language", "no such tag"], 1),
    ] {
        assert_eq!(place.run(&arguments).status.code(), Some(exit), "{arguments:?}");
    }

    let mut mirror = nodes.place(1).start(&["--mirror"]);
    mirror.wait_for_blobs(1);
    mirror.wait_for_idle();
    assert_eq!(nodes.place(1).json(&["ls", "Books"])[0]["author"], "Jane Austen");
    let refused = nodes.place(1).run(&["edit", "Books/a.txt", "--title", "x"]);
    let why = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(1) && why.contains("only its publisher"), "{why}");
}

#[test]
fn an_add_ends_with_its_client() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::alone();
    let place = Place::on(&host, folder.path().join("node"));
    let mut node = place.start(&[]);
    let books = folder.path().join("Books");
    fs::create_dir(&books).unwrap();
    fs::write(books.join("a.txt"), "a").unwrap();
    // Nobody has the patience to read all of it.
    fs::File::create(books.join("huge.bin")).unwrap().set_len(1 << 40).unwrap();
    let outboards = folder.path().join("node/node/outboard");
    let is_reading = || {
        fs::read_dir(&outboards).unwrap().any(|entry| entry.unwrap().file_name().to_string_lossy().starts_with("tmp-"))
    };
    let mut client = place.command(&["add", books.to_str().unwrap()]).spawn().unwrap();
    node.wait_for("the node to read", |_| is_reading());
    client.kill().unwrap();
    client.wait().unwrap();
    node.wait_for("the node to stop reading", |_| !is_reading());
    assert!(place.json(&["ls"]).is_empty(), "nothing was shared");

    fs::remove_file(books.join("huge.bin")).unwrap();
    place.ok(&["add", books.to_str().unwrap()]);
    assert_eq!(place.json(&["ls", "Books"])[0]["path"], "a.txt");
}

#[test]
fn the_key_and_the_data_are_for_their_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::alone();
    let place = Place::on(&host, folder.path().join("node"));
    let _node = place.start(&[]);
    let data = fs::metadata(folder.path().join("node/node")).unwrap();
    assert_eq!(data.permissions().mode() & 0o777, 0o700);
    let key = fs::metadata(folder.path().join("node/node/identity.key")).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
}

#[test]
fn what_was_removed_from_a_mirror_does_not_come_back() {
    let nodes = Nodes::new(2);
    let books = nodes.folder("Books");
    for name in ["good.txt", "bad.txt"] {
        fs::write(books.join(name), name).unwrap();
    }
    nodes.place(0).ok(&["add", books.to_str().unwrap()]);
    let _publisher = nodes.place(0).start(&[]);
    let mut mirror = nodes.place(1).start(&["--mirror"]);
    mirror.wait_for_blobs(2);
    mirror.wait_for_idle();
    nodes.place(1).ok(&["rm", "Books/bad.txt"]);
    assert!(!mirror.library().join("Books/bad.txt").exists());

    // A new version, and a restart, would fetch it again if it were forgotten.
    fs::write(books.join("new.txt"), "new").unwrap();
    nodes.place(0).ok(&["add", books.to_str().unwrap()]);
    mirror.wait_for_blobs(2);
    assert_eq!(mirror.stop(), Some(0));
    fs::write(books.join("newer.txt"), "newer").unwrap();
    nodes.place(0).ok(&["add", books.to_str().unwrap()]);
    let mut mirror = nodes.place(1).start(&["--mirror"]);
    mirror.wait_for_blobs(3);
    mirror.wait_for_idle();
    assert!(mirror.library().join("Books/newer.txt").exists());
    assert!(!mirror.library().join("Books/bad.txt").exists(), "what is not wanted came back");
}
