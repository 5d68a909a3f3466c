//! A stick as people have them: exFAT knows no hard links, no owners, no `:` or `?` in names, and ignores case.

mod support;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use support::{
    netns::Lan,
    node::{Place, files_below},
};

/// A stick that is plugged in until it is dropped.
struct Stick {
    device: String,
    folder: PathBuf,
}

impl Stick {
    fn new(image: &Path, folder: PathBuf) -> Self {
        fs::File::create_new(image).and_then(|file| file.set_len(64 << 20)).unwrap();
        tool(Command::new("mkfs.exfat").arg(image), "exfatprogs");
        let device = tool(Command::new("losetup").args(["--find", "--show"]).arg(image), "mount");
        fs::create_dir(&folder).unwrap();
        let stick = Self { device: device.trim().to_owned(), folder };
        stick.plug();
        stick
    }

    fn plug(&self) {
        tool(Command::new("mount.exfat-fuse").arg(&self.device).arg(&self.folder), "exfat-fuse");
    }

    fn unplug(&self) {
        tool(Command::new("umount").arg(&self.folder), "mount");
    }
}

impl Drop for Stick {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.folder).output();
        let _ = Command::new("losetup").arg("--detach").arg(&self.device).output();
    }
}

fn tool(command: &mut Command, package: &str) -> String {
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("NOT CHECKED: {command:?}: {error}; install {package}"));
    assert!(output.status.success(), "NOT CHECKED without root, /dev/fuse and loop devices: {command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_mirror_lives_on_a_stick() {
    let folder = tempfile::tempdir().unwrap();
    let lan = Lan::new(2);
    let books = folder.path().join("Books");
    fs::create_dir_all(books.join("sub")).unwrap();
    let large = vec![7; 300_000];
    for (name, bytes) in [
        ("Title.txt", &b"one"[..]),
        ("title.txt", b"another"),
        ("TITLE.TXT", b"a third"),
        ("Film.webm", &large),
        ("film.webm", &large[1..]),
        ("sub/the same film.webm", &large),
        ("what? now: this.txt", b"names that no FAT takes"),
        ("empty", b""),
    ] {
        fs::write(books.join(name), bytes).unwrap();
    }
    let stick = Stick::new(&folder.path().join("image"), folder.path().join("stick"));
    let place = |host: usize, at: &str| Place::on(&lan.hosts[host], folder.path().join(at));
    place(0, "publisher").ok(&["add", books.to_str().unwrap()]);
    let _publisher = place(0, "publisher").start(&[]);

    let place = place(1, "stick").with("ALLIBRARY_MIRROR_RESERVE", "1 MB");
    let mut mirror = place.start(&["--mirror"]);
    mirror.wait_for_blobs(7);
    mirror.wait_for_idle();
    let contents = |folder: &Path| files_below(folder).into_values().collect::<BTreeSet<_>>();
    assert_eq!(contents(&mirror.library()), contents(&books));
    let files = files_below(&mirror.library());
    assert_eq!(files.len(), 8, "nothing was set aside: {:?}", files.keys());
    assert!(place.json(&["ls", "Books"]).iter().all(|item| item["held"] == true));
    place.ok(&["verify"]);
    let library = mirror.library();
    assert_eq!(mirror.stop(), Some(0));

    // Plugged in again, it is what it was.
    stick.unplug();
    stick.plug();
    let mut mirror = place.start(&["--mirror"]);
    mirror.wait_for_peers(1);
    mirror.wait_for_idle();
    place.ok(&["verify"]);
    assert!(files_below(&library) == files, "{:?}", files_below(&library).keys());
    assert_eq!(mirror.stop(), Some(0));
}

#[test]
fn what_is_shared_from_a_stick_comes_and_goes_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let stick = Stick::new(&folder.path().join("image"), folder.path().join("Stick"));
    let film = vec![7; 300_000];
    fs::write(stick.folder.join("film.webm"), &film).unwrap();
    fs::write(stick.folder.join("note.txt"), "note").unwrap();
    let place = Place::here(folder.path().join("node"));
    place.ok(&["add", stick.folder.to_str().unwrap()]);
    let version = || place.json(&["ls"])[0]["version"].clone();
    let (before, get) = (version(), ["get", &*blake3::hash(&film).to_string()]);

    stick.unplug();
    assert_eq!(place.run(&["rescan"]).status.code(), Some(10));
    assert!(place.json(&["ls", "Stick"]).iter().all(|item| item["fault"] == "missing"));
    assert_eq!(place.run(&get).status.code(), Some(7));
    stick.plug();
    assert!(place.json(&["ls", "Stick"]).iter().all(|item| item["held"] == true));
    assert!(place.run(&get).stdout == film);
    // Its inodes may be others now: then the files are read again, and nothing has changed.
    assert!(place.ok(&["rescan"]).contains("2 unchanged"));
    assert_eq!(version(), before);
}
