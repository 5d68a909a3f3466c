//! A board without a clock chip starts in 1970. It must neither refuse others nor be refused.

mod support;

use std::{fs, path::Path};

use support::{netns::Lan, node::Place};

/// Where Debian's package `libfaketime` puts it, on any architecture.
fn libfaketime() -> String {
    let found = fs::read_dir("/usr/lib")
        .unwrap()
        .flatten()
        .map(|folder| folder.path().join("faketime/libfaketime.so.1"))
        .find(|path| path.exists());
    found.expect("this test needs the Debian package libfaketime").to_str().unwrap().into()
}

#[test]
fn nodes_whose_clocks_stand_at_1970_connect_and_mirror() {
    let folder = tempfile::tempdir().unwrap();
    let lan = Lan::new(3);
    let place = |host: usize| Place::on(&lan.hosts[host], folder.path().join(format!("node{host}")));
    let in_1970 = |host: usize| {
        place(host)
            .with("LD_PRELOAD", &libfaketime())
            .with("FAKETIME", "@1970-01-01 00:00:10")
            .with("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    };
    let books = folder.path().join("Books");
    fs::create_dir(&books).unwrap();
    fs::write(books.join("time.txt"), "what is it?").unwrap();
    in_1970(0).ok(&["add", books.to_str().unwrap()]);
    let publisher = in_1970(0).start(&[]);
    assert!(publisher.log().contains("1970-01-01"), "the clock does not stand at 1970:\n{}", publisher.log());
    let mut today = place(1).start(&["--mirror"]);
    let mut yesterday = in_1970(2).start(&["--mirror"]);
    for mirror in [&mut today, &mut yesterday] {
        mirror.wait_for_peers(2);
        mirror.wait_for_blobs(1);
        assert!(fs::read(mirror.library().join(Path::new("Books/time.txt"))).is_ok());
    }
}
