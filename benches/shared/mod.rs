//! What the benchmarks share: a table whose bounds are held, and what the kernel counts of a process.

#![allow(dead_code, reason = "each benchmark uses a part of it")]

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

/// Whether a bound was passed; the others are measured all the same.
static FAILED: AtomicBool = AtomicBool::new(false);

/// Measures these parts, or those whose name contains an argument: `cargo bench --bench NAME -- PART…`. Fails at the end if a
/// bound was passed. `cargo test --benches` is only to show that the benchmark builds.
pub fn run(parts: &[(&str, &dyn Fn())]) {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--test") {
        return;
    }
    // Cargo adds flags of its own.
    let wanted: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str()));
    if !parts.iter().any(|(name, _)| is_wanted(name)) {
        let names: Vec<_> = parts.iter().map(|(name, _)| *name).collect();
        println!("nothing here has such a name; there are: {}", names.join(", "));
        return;
    }
    println!("| what | measured | bound |\n|---|---|---|");
    parts.iter().filter(|(name, _)| is_wanted(name)).for_each(|(_, part)| part());
    if FAILED.load(Relaxed) {
        eprintln!("a bound was passed");
        std::process::exit(1);
    }
}

/// A folder for a part of a benchmark, on the disk where the program is built; gone when dropped.
pub fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("bench").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Writes a file that no compression shortens, durably.
pub fn noise(path: &Path, bytes: u64) {
    let mut random = fastrand::Rng::with_seed(1);
    let mut buffer = vec![0; 1 << 20];
    let mut file = File::create(path).unwrap();
    for start in (0..bytes).step_by(buffer.len()) {
        random.fill(&mut buffer);
        file.write_all(&buffer[..(bytes - start).min(1 << 20) as usize]).unwrap();
    }
    file.sync_all().unwrap();
}

/// One line of the table.
pub fn row(what: &str, measured: String, bound: &str) {
    println!("| {what} | {measured} | {bound} |");
}

/// Notes whether a bound held.
pub fn hold(held: bool, what: &str) {
    if !held {
        println!("FAILED: {what}");
        FAILED.store(true, Relaxed);
    }
}

/// A bound as the table shows it, for what is not held: times depend on the machine.
pub fn aim(bound: &str, met: bool) -> String {
    format!("{bound}{}", if met { "" } else { ", MISSED" })
}

/// What a process has taken of the processors, to the nanosecond, with threads that have ended: proc(5) counts ticks of the timer.
pub fn cpu_time(pid: u32) -> Duration {
    let (mut clock, mut time) = (0, libc::timespec { tv_sec: 0, tv_nsec: 0 });
    // SAFETY: both write to what they are given, and nothing else.
    let failed = unsafe {
        libc::clock_getcpuclockid(pid.cast_signed(), &mut clock) != 0 || libc::clock_gettime(clock, &mut time) != 0
    };
    assert!(!failed, "process {pid} is gone");
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec.try_into().expect("less than a second"))
}

/// The same, of children that have ended.
pub fn cpu_of_children() -> Duration {
    ticks("self", 16) + ticks("self", 17)
}

/// A field of a process that counts hundredths of a second.
pub fn ticks(pid: &str, field: usize) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The second field is a name that may hold anything.
    let mut fields = stat.rsplit_once(')').unwrap().1.split_whitespace();
    Duration::from_millis(10 * fields.nth(field - 3).unwrap().parse::<u64>().unwrap())
}

/// How busy the machine is from [`Machine::watch`] on: a figure that the processors bound says nothing of the program's plans.
pub struct Machine([u64; 2]);

impl Machine {
    /// Begins to look.
    pub fn watch() -> Self {
        Self(Self::busy_and_all())
    }

    /// Percent of all processors since then.
    pub fn percent(&self) -> f64 {
        let [busy, all] = Self::busy_and_all();
        100.0 * (busy - self.0[0]) as f64 / (all - self.0[1]) as f64
    }

    fn busy_and_all() -> [u64; 2] {
        let stat = fs::read_to_string("/proc/stat").unwrap();
        // user, nice, system, idle, waiting for disks, interrupts …; what guests took is part of user; see proc(5).
        let counts = stat.lines().next().unwrap().split_whitespace().skip(1).take(8);
        let counts: Vec<u64> = counts.map(|count| count.parse().unwrap()).collect();
        let all = counts.iter().sum();
        [all - counts[3] - counts[4], all]
    }
}

/// The middle one and the greatest, in milliseconds.
pub fn median_and_worst(mut rounds: Vec<Duration>) -> String {
    rounds.sort();
    let ms = |at: usize| rounds[at].as_secs_f64() * 1000.0;
    format!("{:.1} / {:.1} ms", ms(rounds.len() / 2), ms(rounds.len() - 1))
}
