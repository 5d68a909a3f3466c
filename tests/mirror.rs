//! The main job between real hosts: found by mDNS across a bridge, mirrored, relayed, every byte compared.

mod support;

use std::{fs, os::unix::ffi::OsStrExt, path::Path};

use support::node::{Nodes, files_below};

/// Bytes that no two seeds have in common and no compression shortens.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    bytes
}

/// A small library with all that is awkward about files.
fn write_books(folder: &Path) {
    let write = |path: &str, bytes: &[u8]| {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    write("empty.txt", b"");
    write("one.txt", b"1");
    write("novels/Лев Толстой - Война и мир.txt", "Мир".as_bytes());
    write("novels/a group less one", &noise(1, 65535));
    write("novels/a group", &noise(2, 65536));
    write("novels/a group and one", &noise(3, 65537));
    write("films/long.webm", &noise(4, 3_000_001));
    write("html/index.html", b"<title>Index</title><a href='sub/page.html'>page</a>");
    write("html/sub/page.html", b"<p>page");
    write("copy of one.txt", b"1");
    write(".hidden", b"nobody's business");
    for number in 0..300 {
        write(&format!("many/{number}.txt"), &noise(100 + number, 2000));
    }
}

#[test]
fn a_mirror_has_every_byte_and_passes_it_on_with_the_publisher_off() {
    let nodes = Nodes::new(3);
    let books = nodes.folder("Books");
    write_books(&books);
    fs::write(books.join(std::ffi::OsStr::from_bytes(b"odd \xff.bin")), b"a name that is no text").unwrap();
    let mut expected = files_below(&books);
    expected.remove(Path::new(".hidden")).unwrap();

    nodes.place(0).ok(&["add", books.to_str().unwrap()]);
    let publisher = nodes.place(0).start(&[]);
    let mut mirror = nodes.place(1).start(&["--mirror"]);
    let distinct = expected.values().collect::<std::collections::BTreeSet<_>>().len() as u64;
    mirror.wait_for_blobs(distinct);
    mirror.wait_for_idle();
    assert_same(&expected, &mirror.library().join("Books"));

    // Additions arrive while both run.
    fs::write(books.join("news.txt"), b"new").unwrap();
    nodes.place(0).ok(&["add", books.to_str().unwrap()]);
    expected.insert("news.txt".into(), b"new".to_vec());
    mirror.wait_for_blobs(distinct + 1);

    // The publisher goes, and a third host gets all of it from the mirror.
    assert_eq!(publisher.stop(), Some(0));
    let mut relayed = nodes.place(2).start(&["--mirror"]);
    relayed.wait_for_blobs(distinct + 1);
    relayed.wait_for_idle();
    assert_same(&expected, &relayed.library().join("Books"));
    assert_eq!(nodes.place(1).json(&["ls"]), nodes.place(2).json(&["ls"]));

    // What it has is what was signed, down to the last byte.
    assert_eq!(relayed.stop(), Some(0));
    nodes.place(2).ok(&["verify"]);
}

fn assert_same(expected: &support::node::Files, found: &Path) {
    let mut found = files_below(found);
    for (path, bytes) in expected {
        if let Some(text) = path.to_str() {
            let copy = found.remove(Path::new(text)).unwrap_or_else(|| panic!("{path:?} is not there"));
            assert!(copy == *bytes, "{path:?} differs");
        }
    }
    // Only the file whose name is no text has got another one.
    let rest: Vec<_> = found.into_iter().collect();
    assert!(matches!(&rest[..], [(_, bytes)] if bytes == b"a name that is no text"), "{rest:?}");
}
