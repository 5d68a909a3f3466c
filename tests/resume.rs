//! A transfer that is cut short goes on where it was, whatever cut it: counted in bytes on the wire.

mod support;

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use allibrary::limits::{network::STREAM_WINDOW_BYTES, store::CHECKPOINT_BYTES};
use support::{
    disk::Disk,
    node::{Node, Nodes, Place},
    rot::{content, rot},
};

const FILE_BYTES: u64 = 64 << 20;
/// What may be received again.
const AGAIN_BYTES: u64 = 1 << 20;
/// What was on its way when the receiver died or gave up, and was never verified: a stream's window is full when its reader stops.
const ON_ITS_WAY_BYTES: u64 = STREAM_WINDOW_BYTES as u64;

/// A film on the first host, on a link that is slow enough for all to happen in mid-transfer, whatever the machine.
struct Stage {
    nodes: Nodes,
    film: PathBuf,
    bytes: Vec<u8>,
}

impl Stage {
    fn new() -> Self {
        Self::of(FILE_BYTES)
    }

    fn of(file_bytes: u64) -> Self {
        let nodes = Nodes::new(3);
        let films = nodes.folder("Films");
        let (film, bytes) = (films.join("film.webm"), content(file_bytes as usize, 9));
        fs::write(&film, &bytes).unwrap();
        nodes.place(0).ok(&["add", films.to_str().unwrap()]);
        nodes.lan.hosts[0].run("tc", "qdisc add dev eth0 root tbf rate 200mbit burst 64kb limit 256kb");
        Self { nodes, film, bytes }
    }

    /// Waits until more than this part of the film is on the second host, and not all of it.
    fn wait_for_part(&self, mirror: &mut Node, part: f64) {
        let done = |status: &serde_json::Value| status["transfers"][0]["bytes_done"].as_u64().unwrap_or(0);
        mirror.wait_for("a part of the film", |status| done(status) as f64 > self.bytes.len() as f64 * part);
        assert!(self.received(1) < self.bytes.len() as u64, "it was all there before");
    }

    /// Waits until the film is on the second host, and compares what that took with a transfer that nothing cuts.
    fn finish(&self, mirror: &mut Node, bound: u64) {
        let same = |library: &Path| fs::read(library.join("Films/film.webm")).unwrap() == self.bytes;
        mirror.wait_for_blobs(1);
        assert!(same(&mirror.library()));
        let twice = self.received(1);
        let mut undisturbed = self.nodes.place(2).start(&["--mirror"]);
        undisturbed.wait_for_blobs(1);
        assert!(same(&undisturbed.library()));
        let once = self.received(2);
        println!("{once} bytes received at once, {twice} in parts");
        assert!(twice < once + bound, "{} bytes were fetched again", twice - once);
    }

    fn received(&self, host: usize) -> u64 {
        self.nodes.lan.hosts[host].bytes()[0]
    }

    fn source(&self) -> Place<'_> {
        self.nodes.place(0)
    }

    fn mirror(&self) -> Node<'_> {
        self.nodes.place(1).start(&["--mirror"])
    }
}

#[test]
fn a_mirror_that_is_killed() {
    let stage = Stage::new();
    let _source = stage.source().start(&[]);
    let mut mirror = stage.mirror();
    stage.wait_for_part(&mut mirror, 0.3);
    mirror.kill();
    stage.finish(&mut stage.mirror(), AGAIN_BYTES + ON_ITS_WAY_BYTES);
}

/// What was not made durable by the last checkpoint may be lost, and no more: that is verified from the disk.
#[test]
fn a_mirror_whose_power_is_cut() {
    let stage = Stage::of(3 * CHECKPOINT_BYTES);
    let (_source, place) = (stage.source().start(&[]), stage.nodes.place(1).with("ALLIBRARY_MIRROR_RESERVE", "16 MiB"));
    let image = stage.nodes.folder("disk").join("image");
    let disk = Disk::new(&image, &place.folder.join("node"), 6 * CHECKPOINT_BYTES);
    let mut mirror = place.start(&["--mirror"]);
    // Two checkpoints are behind it, or the second is being made.
    stage.wait_for_part(&mut mirror, 0.75);
    disk.cut();
    mirror.kill();
    disk.restore();
    stage.finish(&mut place.start(&["--mirror"]), CHECKPOINT_BYTES * 5 / 4 + ON_ITS_WAY_BYTES);
}

#[test]
fn a_source_that_dies_or_loses_its_cable_and_comes_back() {
    let stage = Stage::new();
    let source = stage.source().start(&[]);
    let mut mirror = stage.mirror();
    stage.wait_for_part(&mut mirror, 0.2);
    source.kill();
    let _source = stage.source().start(&[]);
    stage.wait_for_part(&mut mirror, 0.5);
    stage.nodes.lan.unplug(0);
    mirror.wait_for("its death to be noticed", |status| status["transfers"].as_array().is_some_and(Vec::is_empty));
    stage.nodes.lan.plug(0);
    stage.finish(&mut mirror, AGAIN_BYTES);
}

#[test]
fn a_source_whose_address_changes() {
    let stage = Stage::new();
    // Those of IPv6 would stay.
    stage.nodes.lan.hosts.iter().for_each(|host| host.configure("-6 addr flush dev eth0"));
    let _source = stage.source().start(&[]);
    let mut mirror = stage.mirror();
    stage.wait_for_part(&mut mirror, 0.3);
    let host = &stage.nodes.lan.hosts[0];
    host.configure(&format!("addr del {}/16 dev eth0", host.ip));
    host.configure("addr add 10.77.9.9/16 broadcast + dev eth0");
    stage.finish(&mut mirror, AGAIN_BYTES);
}

#[test]
fn a_disk_that_others_fill_in_the_middle() {
    let stage = Stage::new();
    let _source = stage.source().start(&[]);
    let place = stage.nodes.place(1).with("ALLIBRARY_MIRROR_RESERVE", "16 MiB");
    let image = stage.nodes.folder("disk").join("image");
    let _disk = Disk::new(&image, &place.folder, 3 * FILE_BYTES);
    let mut mirror = place.start(&["--mirror"]);
    stage.wait_for_part(&mut mirror, 0.3);
    let filler = place.folder.join("filler");
    let mut file = File::create(&filler).unwrap();
    while file.write_all(&[1; 1 << 16]).is_ok() {}
    while file.write_all(&[1]).is_ok() {}
    mirror.wait_for("the notice", |status| status["notices"].to_string().contains("no space left"));
    assert!(stage.received(1) < FILE_BYTES, "it was all there before");
    drop(file);
    fs::remove_file(filler).unwrap();
    stage.finish(&mut mirror, AGAIN_BYTES + ON_ITS_WAY_BYTES);
}

#[test]
fn a_source_that_is_corrected() {
    let stage = Stage::new();
    let _source = stage.source().start(&[]);
    rot(&stage.film, FILE_BYTES / 2);
    let mut mirror = stage.mirror();
    let held = || stage.source().json(&["ls"])[0]["held_items"].as_u64();
    mirror.wait_for("the rot to be noticed", |_| held() == Some(0));
    // The same byte again is the right one.
    rot(&stage.film, FILE_BYTES / 2);
    stage.source().ok(&["verify"]);
    stage.finish(&mut mirror, AGAIN_BYTES);
}
