//! A disk that fills up: the reserve stays free, the node goes on, and so does the mirror once there is room. One that others
//! fill to the last byte can be emptied with the program's own means.

mod support;

use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    process::Command,
};

use support::{
    disk,
    netns::{Host, Lan},
    node::{Nodes, Place},
};

const MIB: usize = 1 << 20;

/// A file system of its own, in memory; unmounted when dropped.
struct Disk<'a>(&'a Path);

impl<'a> Disk<'a> {
    fn mount(path: &'a Path, size: &str) -> Self {
        fs::create_dir_all(path).unwrap();
        let options = format!("size={size}");
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(path).status();
        assert!(status.unwrap().success(), "this test mounts a disk: it needs root");
        Self(path)
    }

    fn resize(&self, size: &str) {
        let options = format!("remount,size={size}");
        assert!(Command::new("mount").args(["-o", &options]).arg(self.0).status().unwrap().success());
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn a_mirror_keeps_its_reserve_and_goes_on_when_there_is_room() {
    const FILES: u64 = 8;
    let folder = tempfile::tempdir().unwrap();
    let small = folder.path().join("node1");
    let disk = Disk::mount(&small, "48m");
    let lan = Lan::new(2);
    let place = |host: usize| Place::on(&lan.hosts[host], folder.path().join(format!("node{host}")));
    let books = folder.path().join("Books");
    fs::create_dir(&books).unwrap();
    for number in 0..FILES {
        let mut bytes = vec![0; 8 * MIB];
        fastrand::Rng::with_seed(number).fill(&mut bytes);
        fs::write(books.join(format!("{number}.bin")), bytes).unwrap();
    }
    place(0).ok(&["add", books.to_str().unwrap()]);
    let _publisher = place(0).start(&[]);
    let mirror = place(1).with("ALLIBRARY_MIRROR_RESERVE", "16 MiB");
    let mut mirror = mirror.start(&["--mirror"]);
    let status = mirror.wait_for("a notice of the full disk", |status| {
        status["notices"].to_string().contains("reserve") || status["notices"].to_string().contains("space")
    });
    assert!(status["store"]["free_bytes"].as_u64().unwrap() >= 16 * MIB as u64 - 64 * 1024, "{status}");
    let kept = status["store"]["blobs"].as_u64().unwrap();
    assert!(kept < FILES);

    disk.resize("160m");
    mirror.wait_for_blobs(FILES);
    mirror.wait_for("the end of the notice", |status| status["notices"].as_array().unwrap().is_empty());
}

#[test]
fn a_quota_is_kept_by_mirrors_and_for_own_copies() {
    let nodes = Nodes::new(2);
    let books = nodes.folder("Books");
    for number in 0..4u8 {
        fs::write(books.join(format!("{number}.bin")), vec![number; 3 * MIB]).unwrap();
    }
    let books = books.to_str().unwrap();
    nodes.place(0).ok(&["add", books]);
    let _publisher = nodes.place(0).start(&[]);
    let place = nodes.place(1).with("ALLIBRARY_MIRROR_QUOTA", "10 MiB");
    let mut mirror = place.start(&["--mirror"]);
    let status = mirror.wait_for("a notice", |status| status["notices"].to_string().contains("mirror.quota"));
    let [taken, quota] = ["library_bytes", "quota_bytes"].map(|key| status["store"][key].as_u64().unwrap());
    assert_eq!((taken, quota), (9 * MIB as u64, 10 * MIB as u64), "{status}");
    assert_eq!(status["store"]["blobs"], 3, "{status}");

    let refused = place.run(&["add", "--copy", books]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(8) && said.contains("mirror.quota"), "{}: {said}", refused.status);
    // In place they take nothing.
    place.ok(&["add", books]);
}

/// A data folder on a small ext4 with four books of 3 MiB in it.
struct Full {
    host: Host,
    _disk: disk::Disk,
    folder: tempfile::TempDir,
}

impl Full {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let _disk = disk::Disk::new(&folder.path().join("image"), &folder.path().join("disk"), 64 * MIB as u64);
        let full = Self { host: Host::alone(), _disk, folder };
        let books = full.folder.path().join("Books");
        fs::create_dir(&books).unwrap();
        for number in 0..4u8 {
            fs::write(books.join(format!("{number}.bin")), vec![number; 3 * MIB]).unwrap();
        }
        full.place().ok(&["add", "--copy", books.to_str().unwrap()]);
        full
    }

    fn place(&self) -> Place<'_> {
        Place::on(&self.host, self.folder.path().join("disk")).with("ALLIBRARY_MIRROR_RESERVE", "1 MiB")
    }

    /// Writes until the disk takes no byte more, and no file.
    fn fill(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join("disk").join(name);
        let mut file = File::create(&path).unwrap();
        for size in [MIB, 1024, 1] {
            let error = std::iter::repeat_with(|| file.write_all(&vec![1; size])).find_map(Result::err).unwrap();
            assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
        }
        path
    }
}

#[test]
fn a_full_disk_can_be_opened_and_emptied() {
    let full = Full::new();
    let place = full.place();
    let index_is_whole = || assert!(!place.folder.join("node/index.damaged-1").exists(), "the index was given up");

    full.fill("while nothing runs");
    assert!(place.ok(&["ls", "Books"]).contains("3.bin"));
    full.fill("again");
    place.ok(&["rm", "Books/0.bin"]);
    index_is_whole();

    full.fill("before the start");
    let mut node = place.start(&[]);
    let free = |status: &serde_json::Value| status["store"]["free_bytes"].as_u64().unwrap();
    full.fill("while the node runs");
    node.wait_for("a full disk", |status| free(status) == 0);
    place.ok(&["rm", "Books/1.bin"]);
    node.wait_for("room", |status| free(status) > MIB as u64 && status["store"]["blobs"] == 2);
    full.fill("once more");
    place.ok(&["rm", "Books"]);
    node.wait_for("an empty store", |status| status["store"]["blobs"] == 0);
    assert_eq!(node.stop(), Some(0));
    place.ok(&["ls"]);
    index_is_whole();
}

#[test]
fn a_node_that_met_a_full_disk_goes_on_when_there_is_room() {
    let full = Full::new();
    let place = full.place();
    let pages = full.folder.path().join("Pages");
    fs::create_dir(&pages).unwrap();
    // The index alone takes more than is left.
    for number in 0..6000 {
        fs::write(pages.join(number.to_string()), number.to_string()).unwrap();
    }
    let pages = pages.to_str().unwrap();
    let mut node = place.start(&[]);
    let filler = full.fill("filler");
    let len = filler.metadata().unwrap().len();
    File::options().write(true).open(&filler).and_then(|file| file.set_len(len - 200 * 1024)).unwrap();
    let refused = place.run(&["add", pages]);
    assert_eq!(refused.status.code(), Some(8), "{}", String::from_utf8_lossy(&refused.stderr));
    fs::remove_file(filler).unwrap();
    place.ok(&["add", pages]);
    node.wait_for_blobs(6004);
    assert_eq!(node.stop(), Some(0));
    assert!(place.ok(&["verify"]).contains(" 0 damaged"));
}
