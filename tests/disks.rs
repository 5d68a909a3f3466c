//! Disks that are unplugged from a running node and come back, at the same place or at another.

mod support;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use serde_json::Value;
use support::{
    disk::Disk,
    netns::{Host, Lan},
    node::Place,
};

const DISK_BYTES: u64 = 64 << 20;

fn is_listed(place: &Place<'_>, collection: &str) -> BTreeMap<String, (bool, Value)> {
    let items = place.json(&["ls", collection]);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    items.iter().map(|it| (text(&it["path"]), (it["held"] == true, it["fault"].clone()))).collect()
}

fn notices(status: &Value) -> String {
    status["notices"].to_string()
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}

/// Inodes of all files below a folder: others when they were written anew.
fn inodes(folder: &Path) -> BTreeMap<PathBuf, u64> {
    let files = support::node::files_below(folder).into_keys();
    files.map(|path| (path.clone(), fs::metadata(folder.join(path)).unwrap().ino())).collect()
}

#[test]
fn shared_files_come_and_go_with_their_disk() {
    // The node is to see what is mounted here: it starts from a thread on its host.
    Host::alone().thread(come_and_go).join().unwrap();
}

fn come_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let (media, stick) = (folder.path().join("media"), folder.path().join("media/stick"));
    fs::create_dir(&media).unwrap();
    fs::write(media.join("local.txt"), "not on the stick").unwrap();
    let mut disk = Disk::new(&folder.path().join("image"), &stick, DISK_BYTES);
    let film: Vec<u8> = (0..300_000_u32).map(|at| (at % 251) as u8).collect();
    fs::write(stick.join("film.webm"), &film).unwrap();
    fs::write(stick.join("note.txt"), "note").unwrap();
    let id = blake3::hash(&film).to_string();
    let place = Place::here(folder.path().join("node"));
    // The stick by itself, and as a part of a folder.
    let (media, stick) = (media.to_str().unwrap(), stick.to_str().unwrap());
    place.ok(&["add", stick]);
    place.ok(&["add", media]);
    let mut node = place.start(&[]);
    let all_held = |collection: &str, files: usize| {
        let listed = is_listed(&place, collection);
        assert_eq!(listed.len(), files);
        assert!(listed.values().all(|it| *it == (true, Value::Null)), "{listed:?}");
    };
    all_held("stick", 2);
    all_held("media", 3);

    // As desktops do: the mount point goes with the disk.
    disk.unplug();
    fs::remove_dir(stick).unwrap();
    assert!(!place.run(&["get", &id]).status.success(), "somebody asks for what is gone");
    let status = node.wait_for("a notice of the stick", |status| notices(status).contains(stick));
    assert_eq!(status["notices"].as_array().unwrap().len(), 2, "{status}");
    let missing = (false, Value::from("missing"));
    assert!(is_listed(&place, "stick").values().all(|it| *it == missing));
    let listed = is_listed(&place, "media");
    assert_eq!((&listed["local.txt"].0, &listed["stick/note.txt"]), (&true, &missing));
    let versions = || place.json(&["ls"]).iter().map(|it| it["version"].as_u64().unwrap()).collect::<Vec<_>>();
    let before = versions();
    let is_missed = |command: &[&str]| {
        let output = place.run(command);
        assert_eq!(output.status.code(), Some(10), "{command:?}: {output:?}");
    };
    is_missed(&["rescan"]);
    is_missed(&["add", media]);
    assert_eq!((is_listed(&place, "stick").len(), is_listed(&place, "media").len()), (2, 3));

    disk.plug(Path::new(stick));
    node.wait_for("the end of the notices", |status| status["notices"].as_array().unwrap().is_empty());
    all_held("stick", 2);
    all_held("media", 3);
    assert!(place.run(&["get", &id]).stdout == film);

    // As in fstab: it stays, and is empty.
    disk.unplug();
    is_missed(&["rescan"]);
    is_missed(&["add", stick]);
    assert_eq!(is_listed(&place, "media")["stick/note.txt"], missing);
    let elsewhere = folder.path().join("elsewhere/stick");
    disk.plug(&elsewhere);
    assert!(place.ok(&["add", elsewhere.to_str().unwrap()]).contains("stick: 0 files added"));
    all_held("stick", 2);
    assert!(place.run(&["get", &id]).stdout == film);
    assert_eq!(versions(), before, "nobody had anything to hear of");
    assert_eq!(node.stop(), Some(0));

    disk.unplug();
    let mut node = place.start(&["--share", elsewhere.to_str().unwrap()]);
    let log = place.folder.join("log");
    node.wait_for("word of the stick", |_| fs::read_to_string(&log).unwrap().contains("and stay listed"));
    node.wait_for("a node that goes on", |status| notices(status).contains("elsewhere"));
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn a_mirror_waits_for_its_disk() {
    let folder = tempfile::tempdir().unwrap();
    let lan = Lan::new(2);
    let books = folder.path().join("Books");
    fs::create_dir(&books).unwrap();
    for number in 0..20_u8 {
        fs::write(books.join(format!("{number}.txt")), [number]).unwrap();
    }
    fs::write(books.join("film.webm"), vec![7; 3_000_000]).unwrap();
    let publisher = Place::on(&lan.hosts[0], folder.path().join("publisher"));
    publisher.ok(&["add", books.to_str().unwrap()]);
    let _publisher = publisher.start(&[]);
    let (ask, asked) = std::sync::mpsc::channel();
    let (answer, answered) = std::sync::mpsc::channel();
    let at = folder.path().to_owned();
    let mut publish = move || {
        ask.send(()).unwrap();
        answered.recv().unwrap();
    };
    let mirror = lan.hosts[1].thread(move || wait_for_its_disk(&at, &mut publish));
    if asked.recv().is_ok() {
        fs::write(books.join("new.txt"), "new").unwrap();
        publisher.ok(&["add", books.to_str().unwrap()]);
        answer.send(()).unwrap();
    }
    mirror.join().unwrap();
}

fn wait_for_its_disk(folder: &Path, publish: &mut dyn FnMut()) {
    let stick = folder.join("stick");
    let mut disk = Disk::new(&folder.join("image"), &stick, DISK_BYTES);
    let library = stick.join("library");
    let place = Place::here(folder.join("mirror"))
        .with("ALLIBRARY_MIRROR_RESERVE", "1 MB")
        .with("ALLIBRARY_MIRROR_FOLDER", library.to_str().unwrap());
    let mut mirror = place.start(&["--mirror"]);
    mirror.wait_for_blobs(21);
    mirror.wait_for_idle();
    let before = inodes(&library);

    disk.unplug();
    let is_told = |status: &Value| notices(status).contains("the disk of the library is not there");
    mirror.wait_for("a notice of the disk", is_told);
    publish();
    mirror.wait_for("word of what can't be kept", |status| notices(status).contains("is not mirrored any further"));
    assert!(is_listed(&place, "Books").values().all(|it| *it == (false, Value::from("missing"))));
    assert!(is_empty(&stick), "something was written below the mount point");
    assert_eq!(mirror.stop(), Some(0));
    let mut mirror = place.start(&["--mirror"]);
    mirror.wait_for("a notice of the disk", is_told);
    mirror.wait_for_peers(1);
    assert_eq!(place.run(&["rm", "Books"]).status.code(), Some(10));
    assert!(is_empty(&stick), "something was written below the mount point");

    disk.plug(&stick);
    mirror.wait_for("the disk", |status| !is_told(status));
    mirror.wait_for_blobs(22);
    mirror.wait_for("the end of the notices", |status| status["notices"].as_array().unwrap().is_empty());
    mirror.wait_for_idle();
    assert!(is_listed(&place, "Books").values().all(|it| it.0));
    let after = inodes(&library);
    assert!(before.iter().all(|(path, inode)| after.get(path) == Some(inode)), "files were fetched again");
    place.ok(&["verify"]);
    assert_eq!(mirror.stop(), Some(0));
    disk.unplug();
}
