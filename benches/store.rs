//! The store next to what the same work costs without it: `make bench`, on an otherwise idle machine.
//!
//! Times are only ever shown as ratios to a yardstick in the same run, each the best of several rounds that take turns.
//! What is asserted is bytes.

mod shared;

use std::{
    fs::{self, File},
    io::Write,
    ops::ControlFlow,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use allibrary::{
    clock,
    content::ContentId,
    store::{Options, Store},
};
use shared::{noise, row};

const ROUNDS: usize = 5;
const FILE_BYTES: u64 = 1 << 30;
const SMALL_FILES: u64 = 5000;
const SMALL_BYTES: usize = 20 * 1024;
/// Files that the yardstick writes before it syncs them.
const SMALL_PER_SYNC: usize = 64;

fn main() {
    shared::run(&[
        ("large", &|| large_file(shared::folder().path())),
        ("small", &|| small_files(shared::folder().path())),
    ]);
}

fn timed(work: impl FnOnce()) -> Duration {
    let begin = clock::now();
    work();
    clock::now() - begin
}

/// Both in turns, so that neither has the quiet moments of the machine for itself; the best of each as a ratio.
fn ratio(mut ours: impl FnMut(usize), mut theirs: impl FnMut(usize)) -> f64 {
    let (mut our, mut their) = (Duration::MAX, Duration::MAX);
    for round in 0..ROUNDS {
        their = their.min(timed(|| theirs(round)));
        our = our.min(timed(|| ours(round)));
    }
    our.as_secs_f64() / their.as_secs_f64()
}

fn open(data: &Path) -> Store {
    fs::create_dir_all(data).unwrap();
    Store::open(data, Options::default()).unwrap()
}

fn import(store: &Store, path: &Path) -> ContentId {
    let imported = store.import_in_place(path, &mut |_| ControlFlow::Continue(())).unwrap();
    let id = imported.id();
    store.commit(vec![imported]).unwrap();
    id
}

/// The yardstick for one file: b3sum, of Debian's package, on one thread.
fn b3sum(path: &Path) {
    let mut command = Command::new("b3sum");
    let status = command.args(["--num-threads", "1"]).arg(path).stdout(Stdio::null()).status();
    assert!(status.expect("b3sum is installed: apt-get install b3sum").success());
}

fn large_file(folder: &Path) {
    let film = folder.join("film.webm");
    noise(&film, FILE_BYTES);

    let imported = ratio(
        |round| {
            import(&open(&folder.join(format!("import{round}"))), &film);
        },
        |_| b3sum(&film),
    );
    row(
        "1 GiB in place, hashed, with its outboard, durable, against b3sum on one thread",
        format!("{imported:.2}x"),
        "≤ 1.3x",
    );

    let options = Options { hash_threads: 0, ..Options::default() };
    let store = |name: &str| Store::open(&folder.join(name), options.clone()).unwrap();
    let on_all = ratio(
        |round| {
            import(&store(&format!("all{round}")), &film);
        },
        |_| b3sum(&film),
    );
    let cores = std::thread::available_parallelism().unwrap();
    row(&format!("the same on all {cores} cores"), format!("{on_all:.2}x"), "–");

    let store = open(&folder.join("read"));
    let id = import(&store, &film);
    let read = ratio(
        |_| {
            let mut blob = store.blob(&id).unwrap();
            for start in (0..FILE_BYTES).step_by(256 * 1024) {
                std::hint::black_box(blob.read(start..start + 256 * 1024).unwrap());
            }
        },
        |_| b3sum(&film),
    );
    row("1 GiB read and verified, warm, against b3sum on one thread", format!("{read:.2}x"), "≤ 1.3x");
}

/// Copies of small files, as `add --copy` makes them, against the same writes and syncs without a store.
fn small_files(folder: &Path) {
    let books = folder.join("books");
    fs::create_dir(&books).unwrap();
    for number in 0..SMALL_FILES {
        let mut bytes = vec![0; SMALL_BYTES];
        fastrand::Rng::with_seed(number).fill(&mut bytes);
        fs::write(books.join(format!("{number}")), bytes).unwrap();
    }
    let mut written = 0;
    let ours = |round: usize| {
        let before = written_bytes();
        let store = open(&folder.join(format!("small{round}")));
        let numbers: Vec<u64> = (0..SMALL_FILES).collect();
        for numbers in numbers.chunks(SMALL_PER_SYNC) {
            let import = |number: &u64| {
                let to = allibrary::store::LibraryPath::new(&format!("books/{number}")).unwrap();
                store.import_copy(&books.join(number.to_string()), &to, &mut |_| ControlFlow::Continue(())).unwrap()
            };
            store.commit(numbers.iter().map(import).collect()).unwrap();
        }
        written = written_bytes() - before;
    };
    let theirs = |round: usize| naive_copy(&books, &folder.join(format!("naive{round}")));
    let copied = ratio(ours, theirs);
    row("5,000 × 20 KiB copied, durable, against write, fsync per 64, rename", format!("{copied:.2}x"), "≤ 2x");
    let bytes = SMALL_FILES * SMALL_BYTES as u64;
    let (over, bound) = (written.saturating_sub(bytes) / SMALL_FILES, (bytes / 50) / SMALL_FILES + 4096);
    row("bytes written beside the copies themselves, for each file", over.to_string(), &format!("≤ {bound}"));
    assert!(over <= bound, "too much is written");
}

/// What this process has given the disk to write, by proc(5).
fn written_bytes() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap();
    io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap().parse().unwrap()
}

/// Writes 64 files, syncs each, renames each, syncs the folder.
fn naive_copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    let numbers: Vec<u64> = (0..SMALL_FILES).collect();
    for numbers in numbers.chunks(SMALL_PER_SYNC) {
        let write = |number: &u64| {
            let mut file = File::create(to.join(format!("{number}.part"))).unwrap();
            file.write_all(&fs::read(from.join(number.to_string())).unwrap()).unwrap();
            file
        };
        let files: Vec<File> = numbers.iter().map(write).collect();
        files.iter().for_each(|file| file.sync_all().unwrap());
        for number in numbers {
            fs::rename(to.join(format!("{number}.part")), to.join(number.to_string())).unwrap();
        }
        File::open(to).unwrap().sync_all().unwrap();
    }
}
