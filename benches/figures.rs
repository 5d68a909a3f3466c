//! The figures of README and ARCHITECTURE: `make bench`, as root, on an otherwise idle machine.
//!
//! Two hosts in network namespaces, the program as it is released, and next to it what others need for the same work, in
//! the same run: times are only ever shown as ratios. What is asserted is memory, bytes and counts.

mod shared;
#[path = "../tests/support/mod.rs"]
mod support;

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use shared::{cpu_time, hold, row, ticks};
use support::{
    netns::{Lan, Process},
    node::{Node, Place},
};

const MIB: u64 = 1 << 20;

fn main() {
    if !shared::begin() {
        return;
    }
    let folder = tempfile::Builder::new().prefix("figures").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    binary_size();
    large_file(&folder.path().join("large"));
    small_files(&folder.path().join("small"));
    real_files(&folder.path().join("real"));
    many_files(&folder.path().join("many"));
    shared::end();
}

fn binary_size() {
    let bytes = fs::metadata(env!("CARGO_BIN_EXE_allibrary")).unwrap().len();
    row("stripped binary", format!("{:.1} MiB", bytes as f64 / MIB as f64), "≤ 8 MiB");
    hold(bytes <= 8 * MIB, "the size of the binary");
}

/// A folder mirrored from one host to the other: how long, and at which cost on either side.
struct Mirrored {
    elapsed: Duration,
    cpu: Duration,
    peak_kib: [u64; 2],
    idle_kib: [u64; 2],
    idle_cpu: [f64; 2],
    /// Bytes written to the disk in [`WINDOW`].
    idle_written: [u64; 2],
}

/// How long an idle node is watched.
const WINDOW: Duration = Duration::from_secs(20);

fn mirror(lan: &Lan, folder: &Path, books: &Path, blobs: u64) -> Mirrored {
    let place = |host: usize| {
        let place = Place::on(&lan.hosts[host], folder.join(format!("node{host}")));
        place.with("ALLIBRARY_MIRROR_MAX_ITEMS_PER_PUBLISHER", "1000000")
    };
    // What the system has yet to write of the books would count for whoever reads them.
    rustix::fs::sync();
    place(0).ok(&["add", books.to_str().unwrap()]);
    let publisher = place(0).start(&[]);
    let begin = allibrary::clock::now();
    let mut mirror = place(1).start(&["--mirror"]);
    // However many there are, the next ones must come soon.
    (1..=blobs.div_ceil(10_000)).for_each(|step| mirror.wait_for_blobs(blobs.min(10_000 * step)));
    let elapsed = begin.elapsed();
    mirror.wait_for_idle();
    let cpu = cpu_time(publisher.pid()) + cpu_time(mirror.pid());
    let peak_kib = [&publisher, &mirror].map(|node| node.memory_kib("VmHWM"));
    // What is done once after a transfer (counting, giving memory back) is over by then.
    std::thread::sleep(Duration::from_secs(25));
    let (before, written) =
        ([&publisher, &mirror].map(|node| cpu_time(node.pid())), [&publisher, &mirror].map(written_bytes));
    std::thread::sleep(WINDOW);
    let spent = [cpu_time(publisher.pid()) - before[0], cpu_time(mirror.pid()) - before[1]];
    let idle_written = [written_bytes(&publisher) - written[0], written_bytes(&mirror) - written[1]];
    Mirrored {
        elapsed,
        cpu,
        peak_kib,
        idle_kib: [&publisher, &mirror].map(|node| node.memory_kib("VmRSS")),
        idle_cpu: spent.map(|spent| 100.0 * spent.as_secs_f64() / WINDOW.as_secs_f64()),
        idle_written,
    }
}

impl Mirrored {
    fn report(&self, what: &str) {
        let mib = |kib: [u64; 2]| format!("{:.1} / {:.1} MiB", kib[0] as f64 / 1024.0, kib[1] as f64 / 1024.0);
        row(&format!("{what}: peak memory, sender / receiver"), mib(self.peak_kib), "≤ 24 MiB");
        row(&format!("{what}: idle afterwards"), mib(self.idle_kib), "≤ 16 MiB");
        let [sender, receiver] = self.idle_cpu;
        row(&format!("{what}: idle CPU"), format!("{sender:.2} / {receiver:.2} %"), "< 0.3 %");
        let [sender, receiver] = self.idle_written;
        let bound = format!("≤ {} (1 MB/h)", Self::idle_write_bound());
        row(
            &format!("{what}: bytes written in {} idle seconds", WINDOW.as_secs()),
            format!("{sender} / {receiver}"),
            &bound,
        );
    }

    fn hold(&self) {
        hold(self.peak_kib.iter().all(|kib| *kib <= 24 * 1024), "the peak memory of a transfer");
        hold(self.idle_kib.iter().all(|kib| *kib <= 16 * 1024), "the memory of an idle node");
        self.hold_writes();
    }

    fn hold_writes(&self) {
        hold(self.idle_written.iter().all(|bytes| *bytes <= Self::idle_write_bound()), "what an idle node writes");
    }

    fn idle_write_bound() -> u64 {
        1_000_000 * WINDOW.as_secs() / 3600
    }
}

fn large_file(folder: &Path) {
    let books = folder.join("Films");
    fs::create_dir_all(&books).unwrap();
    let film = books.join("film.webm");
    noise(&film, 1024 * MIB);
    let lan = Lan::new(2);
    // Twice, the first time to touch the memory and the disk.
    let mut raw = Duration::MAX;
    for _ in 0..3 {
        raw = raw.min(quinn_raw(&lan, &film, &folder.join("copy")));
    }
    let ours = mirror(&lan, folder, &books, 1);
    let ratio = ours.elapsed.as_secs_f64() / raw.as_secs_f64();
    row(
        "1 GiB, one file, from start to last byte, against raw quinn + BLAKE3 + sync",
        format!("{ratio:.2}x"),
        "≤ 1.25x",
    );
    row("1 GiB: CPU of both sides", format!("{:.1} s", ours.cpu.as_secs_f64()), "–");
    ours.report("1 GiB");
    ours.hold();
}

/// The yardstick: stock quinn on tokio, one stream, BLAKE3 at the receiver, one sync at the end.
fn quinn_raw(lan: &Lan, file: &Path, copy: &Path) -> Duration {
    let program = yardstick();
    let address = format!("{}:4999", lan.hosts[0].ip);
    let mut server = lan.hosts[0].command(&program);
    let mut server = Process(server.args(["serve", &address]).arg(file).stdout(Stdio::piped()).spawn().unwrap());
    let ready = BufReader::new(server.0.stdout.take().unwrap()).lines().next();
    assert_eq!(ready.expect("the yardstick says when it is ready").expect("in text"), "ready");
    let begin = allibrary::clock::now();
    let mut client = lan.hosts[1].command(&program);
    let status = client.args(["get", &address]).arg(copy).args(["--b3", "--sync"]).stdout(Stdio::null()).status();
    let elapsed = begin.elapsed();
    assert!(status.unwrap().success());
    fs::remove_file(copy).unwrap();
    elapsed
}

fn yardstick() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/quinn_raw");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("quinn_raw");
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--release", "--locked", "--target-dir"]).arg(&target).current_dir(folder);
    assert!(build.status().unwrap().success(), "the yardstick does not build");
    target.join("release/quinn_raw").to_str().unwrap().into()
}

fn small_files(folder: &Path) {
    let books = folder.join("Pages");
    fs::create_dir_all(&books).unwrap();
    for number in 0..5000_u64 {
        let mut bytes = vec![0; 20 * 1024];
        fastrand::Rng::with_seed(number).fill(&mut bytes);
        fs::write(books.join(format!("{number}.bin")), bytes).unwrap();
    }
    let lan = Lan::new(2);
    let mut theirs = Duration::MAX;
    for round in 0..3 {
        theirs = theirs.min(rsync(&lan, folder, &books, &folder.join(format!("copy{round}"))));
    }
    let ours = mirror(&lan, folder, &books, 5000);
    let ratio = ours.elapsed.as_secs_f64() / theirs.as_secs_f64();
    row("5,000 × 20 KiB, from start to last byte, against rsync", format!("{ratio:.2}x"), "≤ 3x");
    ours.report("5,000 × 20 KiB");
    ours.hold();
}

/// rsync to its daemon, which neither encrypts nor syncs. Nothing is deleted before the end: ext4 is slow to create files for
/// a while after many were.
fn rsync(lan: &Lan, folder: &Path, books: &Path, copy: &Path) -> Duration {
    let config = folder.join("rsyncd.conf");
    let text = format!("use chroot = no\nuid = 0\ngid = 0\n[books]\npath = {}\n", books.display());
    fs::write(&config, text).unwrap();
    let mut server = lan.hosts[0].command("rsync");
    let _server =
        Process(server.args(["--daemon", "--no-detach", "--port=4998", "--config"]).arg(&config).spawn().unwrap());
    let url = format!("rsync://{}:4998/books/", lan.hosts[0].ip);
    let deadline = allibrary::clock::now() + Duration::from_secs(10);
    loop {
        let begin = allibrary::clock::now();
        let status = lan.hosts[1].command("rsync").args(["-a", &url]).arg(copy).stderr(Stdio::null()).status().unwrap();
        let elapsed = begin.elapsed();
        if status.success() {
            return elapsed;
        }
        assert!(allibrary::clock::now() < deadline, "rsync does not work");
    }
}

fn real_files(folder: &Path) {
    let books = folder.join("Files");
    let copied = copy_real_files(Path::new("/usr"), &books, 20_000);
    let lan = Lan::new(2);
    let ours = mirror(&lan, folder, &books, copied);
    ours.report("20,000 small files of /usr");
    ours.hold();
}

/// 50,000 pages of 1 KiB, or as many as `FIGURES_ITEMS` says.
fn many_files(folder: &Path) {
    let items: u64 = std::env::var("FIGURES_ITEMS").map_or(50_000, |items| items.parse().unwrap());
    let books = folder.join("Pages");
    for number in 0..items {
        let shelf = books.join((number / 500).to_string());
        fs::create_dir_all(&shelf).unwrap();
        let mut bytes = vec![0; 1024];
        fastrand::Rng::with_seed(number).fill(&mut bytes);
        fs::write(shelf.join(format!("{number}.html")), bytes).unwrap();
    }
    let ours = mirror(&Lan::new(2), folder, &books, items);
    let mib = |kib: [u64; 2]| format!("{:.1} / {:.1} MiB", kib[0] as f64 / 1024.0, kib[1] as f64 / 1024.0);
    row(&format!("{items} items: peak memory, sender / receiver"), mib(ours.peak_kib), "≤ 28.6 MiB (30 MB) for 50,000");
    row(&format!("{items} items: idle afterwards"), mib(ours.idle_kib), "≤ 28.6 MiB (30 MB) for 50,000");
    hold(items > 50_000 || ours.peak_kib.iter().all(|kib| *kib * 1024 <= 30_000_000), "the memory of 50,000 items");
    ours.hold_writes();
    let before = cpu_of_children();
    let said = Place::here(folder.join("node0")).ok(&["rescan"]);
    assert!(said.contains(&format!(" {items} unchanged")), "{said}");
    let spent = cpu_of_children() - before;
    row(
        &format!("{items} unchanged files: CPU of a rescan"),
        format!("{:.2} s", spent.as_secs_f64()),
        "≤ 2 s for 50,000",
    );
    hold(items > 50_000 || spent <= Duration::from_secs(2), "the CPU of a rescan");
}

/// Copies files until so many different ones are there; returns how many.
fn copy_real_files(from: &Path, to: &Path, count: u64) -> u64 {
    let mut seen = std::collections::HashSet::new();
    let mut folders = vec![from.to_path_buf()];
    while let Some(next) = folders.pop() {
        let mut entries: Vec<_> = fs::read_dir(&next).into_iter().flatten().flatten().collect();
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let kind = entry.file_type().unwrap();
            let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            if kind.is_dir() && !hidden {
                folders.push(entry.path());
            } else if kind.is_file() && !hidden && entry.metadata().unwrap().len() <= 256 * 1024 {
                let bytes = fs::read(entry.path()).unwrap();
                if seen.insert(blake3::hash(&bytes)) {
                    let copy = to.join(entry.path().strip_prefix(from).unwrap());
                    fs::create_dir_all(copy.parent().unwrap()).unwrap();
                    fs::write(copy, bytes).unwrap();
                }
                if seen.len() as u64 == count {
                    return count;
                }
            }
        }
    }
    seen.len() as u64
}

/// Of those that have ended.
fn cpu_of_children() -> Duration {
    ticks("self", 16) + ticks("self", 17)
}

/// What has gone to the disk; see proc(5).
fn written_bytes(node: &Node) -> u64 {
    let io = fs::read_to_string(format!("/proc/{}/io", node.pid())).unwrap();
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.expect("Linux counts it").parse().unwrap()
}

fn noise(path: &PathBuf, bytes: u64) {
    let mut random = fastrand::Rng::with_seed(1);
    let mut buffer = vec![0; MIB as usize];
    let mut file = fs::File::create(path).unwrap();
    for _ in 0..bytes / MIB {
        random.fill(&mut buffer);
        std::io::Write::write_all(&mut file, &buffer).unwrap();
    }
    file.sync_all().unwrap();
}
