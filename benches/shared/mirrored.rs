//! A folder mirrored from one host to another, and what that costs either side.

#![allow(dead_code, reason = "each benchmark uses a part of it")]

use std::{fs, path::Path, time::Duration};

use allibrary::clock::now;

use crate::{
    shared::{cpu_time, hold, row},
    support::{
        netns::Lan,
        node::{Node, Place},
    },
};

/// The most memory that a side of a transfer may take, and a node afterwards.
pub struct Bounds {
    pub peak_kib: u64,
    pub idle_kib: u64,
}

/// For large files, and a few thousand small ones.
pub const ORDINARY: Bounds = Bounds { peak_kib: 24_000_000 / 1024, idle_kib: 16 * 1024 };

/// What a transfer took.
#[derive(Clone, Copy)]
pub struct Took {
    pub elapsed: Duration,
    /// Of both sides.
    pub cpu: Duration,
}

/// How often each is measured: the first ones touch the memory and the disk.
pub const ROUNDS: usize = 3;

impl Took {
    /// The best of two rounds.
    pub fn best(self, other: Self) -> Self {
        Self { elapsed: self.elapsed.min(other.elapsed), cpu: self.cpu.min(other.cpu) }
    }
}

/// What it cost; of two values the first is the sender's.
pub struct Mirrored {
    /// From the start of the receiver to its last file.
    pub took: Took,
    pub peak_kib: [u64; 2],
    pub idle_kib: [u64; 2],
    idle_cpu: [f64; 2],
    /// Bytes written to the disk in [`WINDOW`].
    idle_written: [u64; 2],
}

/// How long an idle node is watched.
const WINDOW: Duration = Duration::from_secs(20);

/// A folder that is mirrored from the first host to the second.
struct Mirroring<'a> {
    lan: &'a Lan,
    folder: &'a Path,
    publisher: Node<'a>,
    blobs: u64,
}

/// Mirrors a folder with so many different files, once.
pub fn mirror(lan: &Lan, folder: &Path, books: &Path, blobs: u64) -> Mirrored {
    Mirroring::begin(lan, folder, books, blobs).watched()
}

/// The same, and what others need for it. Time and CPU are the best of several rounds of each, in turns, since a machine is not
/// as fast at all times; memory and idling are of the first, since whoever was there before is looked for, and remembered.
pub fn mirror_against(
    lan: &Lan,
    folder: &Path,
    books: &Path,
    blobs: u64,
    mut others: impl FnMut(usize) -> Took,
) -> (Mirrored, Took) {
    let mirroring = Mirroring::begin(lan, folder, books, blobs);
    let mut theirs = others(0);
    let mut ours = mirroring.watched();
    for number in 1..ROUNDS {
        theirs = theirs.best(others(number));
        ours.took = ours.took.best(mirroring.round(number).1);
    }
    (ours, theirs)
}

impl<'a> Mirroring<'a> {
    fn begin(lan: &'a Lan, folder: &'a Path, books: &Path, blobs: u64) -> Self {
        let place = Self::place(lan, folder, 0, "publisher");
        place.ok(&["add", books.to_str().unwrap()]);
        Self { lan, folder, publisher: place.start(&[]), blobs }
    }

    fn place(lan: &'a Lan, folder: &Path, host: usize, name: &str) -> Place<'a> {
        let place = Place::on(&lan.hosts[host], folder.join(name));
        place.with("ALLIBRARY_MIRROR_MAX_ITEMS_PER_PUBLISHER", "1000000")
    }

    fn round(&self, number: usize) -> (Node<'a>, Took) {
        // What the system has yet to write would count for whoever syncs.
        rustix::fs::sync();
        let before = cpu_time(self.publisher.pid());
        let begin = now();
        let mut mirror = Self::place(self.lan, self.folder, 1, &format!("mirror{number}")).start(&["--mirror"]);
        // However many there are, the next ones must come soon.
        (1..=self.blobs.div_ceil(1000)).for_each(|step| mirror.wait_for_blobs(self.blobs.min(1000 * step)));
        let elapsed = begin.elapsed();
        mirror.wait_for_idle();
        let cpu = cpu_time(self.publisher.pid()) - before + cpu_time(mirror.pid());
        (mirror, Took { elapsed, cpu })
    }

    /// The first round, and what both sides do afterwards.
    fn watched(&self) -> Mirrored {
        let (mirror, took) = self.round(0);
        Mirrored::watch([&self.publisher, &mirror], took)
    }
}

impl Mirrored {
    /// Watches both sides once it is done.
    fn watch(both: [&Node; 2], took: Took) -> Self {
        let peak_kib = both.map(|node| node.memory_kib("VmHWM"));
        // What is done once after a transfer (counting, giving memory back) is over by then.
        std::thread::sleep(Duration::from_secs(25));
        let before = both.map(|node| (cpu_time(node.pid()), written_bytes(node)));
        std::thread::sleep(WINDOW);
        let after = both.map(|node| (cpu_time(node.pid()), written_bytes(node)));
        Self {
            took,
            peak_kib,
            idle_kib: both.map(|node| node.memory_kib("VmRSS")),
            idle_cpu: [0, 1].map(|at| 100.0 * (after[at].0 - before[at].0).as_secs_f64() / WINDOW.as_secs_f64()),
            idle_written: [0, 1].map(|at| after[at].1 - before[at].1),
        }
    }

    /// The lines of the table about memory and idling, and their bounds.
    pub fn report(&self, what: &str, bounds: &Bounds) {
        let bound = |kib: u64| format!("≤ {:.1} MiB", kib as f64 / 1024.0);
        row(&format!("{what}: peak memory, sender / receiver"), mib(self.peak_kib), &bound(bounds.peak_kib));
        hold(self.peak_kib.iter().all(|kib| *kib <= bounds.peak_kib), "the peak memory of a transfer");
        row(&format!("{what}: idle afterwards"), mib(self.idle_kib), &bound(bounds.idle_kib));
        hold(self.idle_kib.iter().all(|kib| *kib <= bounds.idle_kib), "the memory of an idle node");
        let [sender, receiver] = self.idle_cpu;
        row(&format!("{what}: idle CPU"), format!("{sender:.2} / {receiver:.2} %"), "< 0.3 %");
        let [sender, receiver] = self.idle_written;
        let bound = format!("≤ {} (1 MB/h)", Self::idle_write_bound());
        let what = format!("{what}: bytes written in {} idle seconds", WINDOW.as_secs());
        row(&what, format!("{sender} / {receiver}"), &bound);
        self.hold_writes();
    }

    /// Holds what an idle node may write.
    pub fn hold_writes(&self) {
        hold(self.idle_written.iter().all(|bytes| *bytes <= Self::idle_write_bound()), "what an idle node writes");
    }

    fn idle_write_bound() -> u64 {
        1_000_000 * WINDOW.as_secs() / 3600
    }
}

/// The memory of two sides.
pub fn mib(kib: [u64; 2]) -> String {
    format!("{:.1} / {:.1} MiB", kib[0] as f64 / 1024.0, kib[1] as f64 / 1024.0)
}

/// What has gone to the disk; see proc(5).
fn written_bytes(node: &Node) -> u64 {
    let io = fs::read_to_string(format!("/proc/{}/io", node.pid())).unwrap();
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.expect("Linux counts it").parse().unwrap()
}
