//! Rot: a damaged byte is found, not served, and fetched again from a peer.

mod support;

use std::{fs, os::unix::fs::FileExt};

use support::node::Nodes;

#[test]
fn a_damaged_byte_is_found_and_fetched_again() {
    let nodes = Nodes::new(2);
    let books = nodes.folder("Books");
    let bytes = vec![7; 300_000];
    fs::write(books.join("book.pdf"), &bytes).unwrap();
    fs::write(books.join("note.txt"), "small").unwrap();
    nodes.place(0).ok(&["add", books.to_str().unwrap()]);
    let _publisher = nodes.place(0).start(&[]);
    let mut mirror = nodes.place(1).start(&["--mirror"]);
    mirror.wait_for_blobs(2);
    mirror.wait_for_idle();

    // The card rots below a file that nobody touched: same size, same time.
    let copy = mirror.library().join("Books/book.pdf");
    let modified = fs::metadata(&copy).unwrap().modified().unwrap();
    let file = fs::File::options().write(true).open(&copy).unwrap();
    file.write_all_at(b"!", 200_000).unwrap();
    file.set_modified(modified).unwrap();
    drop(file);

    let output = nodes.place(1).run(&["verify"]);
    assert_eq!(output.status.code(), Some(7), "damage has an exit code of its own");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("book.pdf"), "the damaged file is named: {said}");
    mirror.wait_for("the repair", |_| fs::read(&copy).is_ok_and(|found| found == bytes));
    mirror.wait_for_blobs(2);
    nodes.place(1).ok(&["verify"]);
}
