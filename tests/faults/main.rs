//! Random operations on a store against a naive model, without faults and with: any call into the system may fail, once or
//! from then on, and the process may end before any of them.
//!
//! There is no layer of mocks: `strace` has real system calls of the real program fail (`-e inject=`, strace(1)). A process
//! that is killed leaves the kernel what it wrote, so this says nothing about power cuts; `tests/crash.rs` cuts the power.
//! `FAULTS_SEED` repeats a run.

mod commands;
mod model;
mod ops;
#[path = "../support/mod.rs"]
mod support;

use std::{
    env, fs,
    io::{IoSlice, Read, Write},
    os::{fd::AsFd, unix::process::ExitStatusExt},
    path::Path,
    process::{Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::Duration,
};

use allibrary::store::Store;
use fastrand::Rng;
use model::Model;
use ops::{Op, Outcome, Place, ops};
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{RngAlgorithm, TestRng, TestRunner},
};

/// How long a process may take for its operations.
const DEADLINE: Duration = Duration::from_secs(120);
/// Operations of one process.
const OPERATIONS: usize = 24;

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_store_does_what_a_naive_one_does(list in ops(40)) {
        let _turn = turn();
        let folder = tempfile::tempdir().unwrap();
        let (place, mut model) = (Place::new(folder.path()), Model::new());
        run(&place, &list, &mut |at, outcome| model.learn(&list[at], Some(outcome)).unwrap());
        model.check(&place);
    }
}

#[test]
fn faults_of_the_system_lose_nothing() {
    faults(60);
}

#[test]
#[ignore = "takes minutes"]
fn many_faults_of_the_system_lose_nothing() {
    faults(500);
}

/// Not a test: the process of [`faults`] that meets them.
#[test]
fn child() {
    let Some(folder) = env::var_os(CHILD) else { return };
    let folder = Path::new(&folder);
    env_logger::builder().filter_level(log::LevelFilter::Warn).format_timestamp(None).init();
    let mut stdout = fs::File::from(std::io::stdout().as_fd().try_clone_to_owned().unwrap());
    // Written by a call that is never made to fail: writev. The harness may have begun a line.
    let mut tell = |line: &str| stdout.write_vectored(&[b"\n", line.as_bytes(), b"\n"].map(IoSlice::new)).unwrap();
    let list: Vec<Op> = loop {
        if let Some(list) = fs::read(folder.join("ops")).ok().and_then(|list| serde_json::from_slice(&list).ok()) {
            break list;
        }
    };
    tell(BEGIN);
    let place = Place(folder.to_owned());
    run(&place, &list, &mut |at, outcome| _ = tell(&serde_json::to_string(&(at, outcome)).unwrap()));
    std::process::exit(0);
}

/// The environment variable that tells a child its folder.
const CHILD: &str = "FAULTS_CHILD";
const BEGIN: &str = "begin";
/// Times that a store is tried to be opened.
const OPENINGS: usize = 4;

/// Does all operations, and tells what became of each.
fn run(place: &Place, list: &[Op], tell: &mut dyn FnMut(usize, &Outcome)) {
    let mut store = open(place);
    for (at, op) in list.iter().enumerate() {
        let Some(open_store) = store.take() else { return };
        let outcome = match op {
            Op::Reopen => Outcome::Failed { reopened: true, message: String::new() },
            _ => place.perform(&open_store, op).unwrap_or_else(|ops::Error(outcome)| outcome),
        };
        store = match &outcome {
            Outcome::Failed { reopened: true, .. } => {
                drop(open_store);
                open(place)
            }
            _ => Some(open_store),
        };
        tell(at, if matches!(op, Op::Reopen) { &Outcome::Done } else { &outcome });
    }
}

/// A fault may be met here too; none if it does not go away.
fn open(place: &Place) -> Option<Store> {
    (0..OPENINGS).find_map(|_| place.open().inspect_err(|error| log::warn!("opening: {error}")).ok())
}

/// System calls that write, by groups of those that do the same.
const CALLS: [&str; 13] = [
    "write",
    "pwrite64",
    "fsync",
    "fdatasync",
    "syncfs",
    "sync_file_range",
    "?rename,?renameat,renameat2",
    "?unlink,unlinkat",
    "?mkdir,mkdirat",
    "fallocate",
    "ftruncate",
    "?link,linkat",
    "?open,openat",
];

#[derive(Debug)]
struct Fault {
    calls: &'static str,
    what: What,
    /// Which of a thread's calls is the first one hit.
    at: u32,
}

#[derive(Debug)]
enum What {
    Once(&'static str),
    FromThenOn(&'static str),
    Kill,
}

impl Fault {
    fn any(rng: &mut Rng) -> Self {
        let what = match rng.u8(..8) {
            0..3 => What::Once(rng.choice(&["ENOSPC", "EIO", "EDQUOT"]).unwrap()),
            // Not EIO: an index that can't be opened twice is damaged, and this store has nobody who fills a new one.
            3 => What::FromThenOn(rng.choice(&["ENOSPC", "EDQUOT"]).unwrap()),
            _ => What::Kill,
        };
        // Mostly among the first, but the later ones too.
        let most = 2u32.pow(rng.u32(1..8));
        Self { calls: rng.choice(&CALLS).unwrap(), what, at: rng.u32(1..=most) }
    }

    /// What `strace` calls it.
    fn injected(&self) -> String {
        match self.what {
            What::Once(error) => format!("{}:error={error}:when={}", self.calls, self.at),
            What::FromThenOn(error) => format!("{}:error={error}:when={}+", self.calls, self.at),
            What::Kill => format!("{}:signal=SIGKILL:when={}", self.calls, self.at),
        }
    }
}

/// One test at a time: a process that another one starts would hold the lock of an open store for a moment.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Looks whether faults can be had, and tells the seed.
fn seeded() -> Rng {
    let traced = Command::new("strace").args(["-f", "-qq", "-o", "/dev/null", "true"]).output();
    let traced = traced.expect("NOT CHECKED: this test needs strace (Debian: strace)");
    let said = String::from_utf8_lossy(&traced.stderr);
    assert!(traced.status.success(), "NOT CHECKED: this test has to trace its own processes, and may not: {said}");
    let seed = env::var("FAULTS_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("FAULTS_SEED={seed}");
    Rng::with_seed(seed)
}

/// What has another program meet a fault: its name and arguments are to follow.
fn traced(fault: &Fault, trace: &Path) -> Command {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "--seccomp-bpf", "-o"]).arg(trace);
    command.args(["-e", &format!("trace={}", fault.calls), "-e", &format!("inject={}", fault.injected())]);
    command
}

fn faults(rounds: u32) {
    let _turn = turn();
    let mut rng = seeded();
    let mut bytes = [0; 32];
    rng.fill(&mut bytes);
    let mut runner =
        TestRunner::new_with_rng(ProptestConfig::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let folder = tempfile::tempdir().unwrap();
    let (place, mut model) = (Place::new(folder.path()), Model::new());
    let (mut round, mut met, mut killed) = (0, 0, 0);
    // And as many more as it takes for enough of them to meet a fault.
    while round < rounds || met * 4 < rounds || killed == 0 {
        assert!(round < 10 * rounds, "too few met a fault");
        // Now and then the one that recovers meets a fault too.
        for _ in 0..rng.u32(1..3) {
            let list = ops(OPERATIONS).new_tree(&mut runner).unwrap().current();
            let fault = Fault::any(&mut rng);
            let ended = child_meets(&place, &list, &fault);
            println!("round {round}: {fault:?}, {} calls hit, killed: {}", ended.hit, ended.killed);
            ended.said.lines().for_each(|line| println!("    {line}"));
            let mut failures = Vec::new();
            for (at, op) in list.iter().enumerate() {
                let told = ended.told.iter().find(|(told, _)| *told == at).map(|(_, outcome)| outcome);
                println!("  {op:?}: {told:?}");
                // Of what comes after the end nothing was begun.
                let is_begun = at == 0 || told.is_some() || ended.told.last().is_some_and(|(last, _)| last + 1 >= at);
                if is_begun {
                    failures.extend(model.learn(op, told).err());
                }
            }
            // An index that failed says so until it is opened again.
            let reopened = |(_, outcome): &&_| matches!(outcome, Outcome::Failed { reopened: true, .. });
            let hit = ended.hit + if ended.hit > 0 { ended.told.iter().filter(reopened).count() } else { 0 };
            let explained = matches!(fault.what, What::FromThenOn(_)) || failures.len() <= hit;
            assert!(explained, "{} faults, but {failures:?}\n{}", ended.hit, ended.said);
            met += u32::from(ended.hit > 0 || ended.killed);
            killed += u32::from(ended.killed);
        }
        model.check(&place);
        round += 1;
    }
    println!("{met} processes met a fault, {killed} of them were killed");
}

/// What a process did.
struct Ended {
    /// By the number of the operation.
    told: Vec<(usize, Outcome)>,
    said: String,
    killed: bool,
    /// Calls that were made to fail.
    hit: usize,
}

/// Has another process do the operations and meet the fault.
fn child_meets(place: &Place, list: &[Op], fault: &Fault) -> Ended {
    let (ops, trace) = (place.0.join("ops"), place.0.join("trace"));
    fs::write(ops, serde_json::to_vec(list).unwrap()).unwrap();
    let mut command = traced(fault, &trace);
    command.arg(env::current_exe().unwrap()).args(["--exact", "child", "--nocapture", "--test-threads=1"]);
    command.env(CHILD, &place.0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let pid = child.id();
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let said = thread::spawn(move || {
        let mut said = Vec::new();
        stderr.read_to_end(&mut said).map(|_| String::from_utf8_lossy(&said).into_owned()).unwrap()
    });
    let (sender, told) = mpsc::channel();
    thread::spawn(move || {
        let mut told = String::new();
        stdout.read_to_string(&mut told).unwrap();
        sender.send(told)
    });
    let told = told.recv_timeout(DEADLINE).unwrap_or_else(|_| panic!("process {pid} hangs: {fault:?}, {list:?}"));
    let status = child.wait().unwrap();
    let said = said.join().unwrap();
    let killed = status.signal() == Some(9);
    let lines = told.lines().filter(|line| !line.is_empty()).skip_while(|line| *line != BEGIN);
    // What the harness itself does may fail before.
    let has_begun = lines.clone().next().is_some();
    assert!(killed || !has_begun || status.success(), "{status} after {fault:?}, {list:?}:\n{told}\n{said}");
    let told = lines.skip(1).map(|line| serde_json::from_str(line).unwrap()).collect();
    let hit = fs::read_to_string(trace).unwrap().matches("(INJECTED)").count();
    Ended { told, said, killed, hit }
}
