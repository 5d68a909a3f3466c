//! A disk that fills up: the reserve stays free, the node goes on, and so does the mirror once there is room.

mod support;

use std::{fs, path::Path, process::Command};

use support::{netns::Lan, node::Place};

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
    const MIB: usize = 1 << 20;
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
