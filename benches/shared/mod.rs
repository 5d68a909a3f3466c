//! What the benchmarks share: a table whose bounds are held, and what the kernel counts of a process.

#![allow(dead_code, reason = "each benchmark uses a part of it")]

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

/// Whether a bound was passed; the others are measured all the same.
static FAILED: AtomicBool = AtomicBool::new(false);

/// Begins the table; false if this run is only to show that the benchmark builds (`cargo test --benches`).
pub fn begin() -> bool {
    let wanted = !std::env::args().any(|argument| argument == "--test");
    if wanted {
        println!("| what | measured | bound |\n|---|---|---|");
    }
    wanted
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

/// Fails if a bound was passed.
pub fn end() {
    assert!(!FAILED.load(Relaxed), "a bound was passed");
}

/// What a process has taken of the processors.
pub fn cpu_time(pid: u32) -> Duration {
    // Fields of proc(5).
    ticks(&pid.to_string(), 14) + ticks(&pid.to_string(), 15)
}

/// A field of a process that counts hundredths of a second.
pub fn ticks(pid: &str, field: usize) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The second field is a name that may hold anything.
    let mut fields = stat.rsplit_once(')').unwrap().1.split_whitespace();
    Duration::from_millis(10 * fields.nth(field - 3).unwrap().parse::<u64>().unwrap())
}

/// The middle one and the greatest, in milliseconds.
pub fn median_and_worst(mut rounds: Vec<Duration>) -> String {
    rounds.sort();
    let ms = |at: usize| rounds[at].as_secs_f64() * 1000.0;
    format!("{:.1} / {:.1} ms", ms(rounds.len() / 2), ms(rounds.len() - 1))
}
