//! Real nodes: the program itself, in a data folder of its own, on this machine or in a [`Host`](super::netns::Host).

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use allibrary::{
    node::control::{Client, Reply, Request},
    status::{PeerState, PeerStatus},
};
use rustix::process::{Pid, Signal};
use serde::Deserialize;
use serde_json::Value;

use super::netns::{Host, Lan};

/// How long anything may take before a test fails; no test passes by waiting.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Hosts on one switch, each with a place for a node.
pub struct Nodes {
    pub lan: Lan,
    folder: tempfile::TempDir,
}

impl Nodes {
    /// So many hosts.
    pub fn new(count: u16) -> Self {
        Self { lan: Lan::new(count), folder: tempfile::tempdir().expect("a folder for the test") }
    }

    /// The place on this host.
    pub fn place(&self, host: usize) -> Place<'_> {
        Place::on(&self.lan.hosts[host], self.folder.path().join(format!("node{host}")))
    }

    /// A new folder beside them.
    pub fn folder(&self, name: &str) -> PathBuf {
        let folder = self.folder.path().join(name);
        fs::create_dir(&folder).expect("a folder of the test");
        folder
    }
}

/// Where the program runs and keeps its data; not whether it runs.
#[derive(Clone)]
pub struct Place<'a> {
    /// A folder of its own; the data folder is `node` in it.
    pub folder: PathBuf,
    host: Option<&'a Host>,
    environment: Vec<(&'static str, String)>,
}

impl<'a> Place<'a> {
    /// A place on this machine.
    pub fn here(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), host: None, environment: Vec::new() }
    }

    /// A place on a host of its own.
    pub fn on(host: &'a Host, folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), host: Some(host), environment: Vec::new() }
    }

    /// With an environment variable set.
    pub fn with(mut self, key: &'static str, value: &str) -> Self {
        self.environment.push((key, value.into()));
        self
    }

    /// The program with these arguments.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let program = env!("CARGO_BIN_EXE_allibrary");
        let mut command = self.host.map_or_else(|| Command::new(program), |host| host.command(program));
        // Nothing of the machine's own configuration or nodes takes part.
        let run = self.folder.join("run");
        fs::create_dir_all(&run).expect("a test's own folder");
        command.env("HOME", &self.folder).env("XDG_RUNTIME_DIR", run);
        command.envs(self.environment.iter().map(|(key, value)| (key, value)));
        command.env_remove("XDG_CONFIG_HOME").env_remove("XDG_DATA_HOME");
        command.arg("--data").arg(self.folder.join("node")).args(arguments);
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the program was built for this test")
    }

    /// Runs a command that must succeed; what it prints.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(
            output.status.success(),
            "{arguments:?} failed: {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("the program prints UTF-8")
    }

    /// Runs a command with `--json`; one value for each line that it prints.
    pub fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let mut all = vec!["--json"];
        all.extend(arguments);
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}"));
        self.ok(&all).lines().map(parse).collect()
    }

    /// Its peer id; the identity is made if there is none.
    pub fn id(&self) -> String {
        if !self.folder.join("node/identity.key").exists() {
            self.ok(&["id", "new"]);
        }
        self.json(&["id"])[0]["node"].as_str().expect("an id is text").to_owned()
    }

    /// Starts a node; it is ready when this returns.
    pub fn start(&self, arguments: &[&str]) -> Node<'a> {
        let mut node = self.spawn(arguments);
        node.wait_for("the node to answer", |_| true);
        node
    }

    /// Starts a node, and waits for nothing.
    pub fn spawn(&self, arguments: &[&str]) -> Node<'a> {
        let mut all = vec!["-v", "run"];
        all.extend(arguments);
        let mut command = self.command(&all);
        let log = self.folder.join("log");
        let file = fs::OpenOptions::new().create(true).append(true).open(&log).expect("the folder is there");
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a descriptor is to be had"))
            .stderr(file)
            .spawn()
            .expect("the program was built for this test");
        Node { place: self.clone(), child, log }
    }
}

/// A running node; killed when dropped.
pub struct Node<'a> {
    place: Place<'a>,
    child: Child,
    log: PathBuf,
}

impl Node<'_> {
    /// The folder with the finished files of a mirror.
    pub fn library(&self) -> PathBuf {
        self.place.folder.join("node/library")
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A line of /proc/PID/status in KiB: `VmRSS`, the memory it takes, or `VmHWM`, the most that it took.
    pub fn memory_kib(&self, key: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the process runs");
        let line = status.lines().find(|line| line.starts_with(key)).expect("Linux tells it");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("proc(5) says so")
    }

    /// What `status` says, once there is somebody to ask; straight from the control socket, which costs less than the command.
    /// A node that is paused must not be asked.
    pub fn status(&self) -> Option<Value> {
        let client = Client::connect(&self.place.folder.join("node")).ok()??;
        let mut status = None;
        let asked = client.perform::<Box<dyn Error>>(&Request::Status, &mut |reply| {
            if let Reply::Status(found) = reply {
                status = Some(serde_json::to_value(*found)?);
            }
            Ok(())
        });
        // It may just be ending.
        asked.ok().and(status)
    }

    /// Every peer that it knows; none if it does not answer.
    pub fn peers(&self) -> Vec<PeerStatus> {
        self.status().map_or_else(Vec::new, |status| peers_in(&status))
    }

    /// The peers that it is connected with.
    pub fn connected(&self) -> BTreeSet<String> {
        connected_in(&self.peers())
    }

    /// Waits until a peer is known and this can be said of it.
    pub fn wait_for_peer(&mut self, id: &str, what: &str, holds: impl Fn(&PeerStatus) -> bool) -> PeerStatus {
        let found = |status: &Value| peers_in(status).into_iter().find(|peer| peer.node == id && holds(peer));
        let status = self.wait_for(&format!("{what} ({id})"), |status| found(status).is_some());
        found(&status).expect("it was just looked at")
    }

    /// Waits until exactly these peers are connected, and nobody else is.
    pub fn wait_for_exactly(&mut self, ids: &BTreeSet<String>) {
        self.wait_for(&format!("the peers {ids:?} alone"), |status| connected_in(&peers_in(status)) == *ids);
    }

    /// SIGSTOP: it is silent, and its connections stand.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// SIGHUP: it reads its configuration again.
    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// Open descriptors.
    pub fn descriptors(&self) -> usize {
        self.count("fd")
    }

    /// Threads.
    pub fn threads(&self) -> usize {
        self.count("task")
    }

    fn count(&self, folder: &str) -> usize {
        fs::read_dir(format!("/proc/{}/{folder}", self.pid())).expect("the process runs").count()
    }

    fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.child), signal).expect("the child is ours");
    }

    /// Waits until `status` shows something.
    pub fn wait_for(&mut self, what: &str, shown: impl Fn(&Value) -> bool) -> Value {
        self.wait_within(DEADLINE, what, shown)
    }

    /// [`Node::wait_for`], for so long at most.
    pub fn wait_within(&mut self, limit: Duration, what: &str, shown: impl Fn(&Value) -> bool) -> Value {
        let deadline = allibrary::clock::now() + limit;
        loop {
            let status = self.status();
            if let Some(status) = status.as_ref().filter(|status| shown(status)) {
                return status.clone();
            }
            let ended = self.child.try_wait().expect("the child is ours");
            assert!(ended.is_none(), "the node ended ({ended:?}) before {what}:\n{}", self.log());
            let state = status.map_or_else(|| "no answer".into(), |status| status.to_string());
            assert!(allibrary::clock::now() < deadline, "no sign of {what}: {state}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until `count` peers are connected.
    pub fn wait_for_peers(&mut self, count: usize) {
        let connected = |peer: &&Value| peer["state"] == "connected";
        self.wait_for(&format!("{count} peers"), |status| {
            status["peers"].as_array().is_some_and(|peers| peers.iter().filter(connected).count() >= count)
        });
    }

    /// Waits until `count` blobs are complete.
    pub fn wait_for_blobs(&mut self, count: u64) {
        self.wait_for(&format!("{count} blobs"), |status| status["store"]["blobs"].as_u64() >= Some(count));
    }

    /// Waits until nothing is being fetched.
    pub fn wait_for_idle(&mut self) {
        self.wait_for("the end of all transfers", |status| status["transfers"].as_array().is_some_and(Vec::is_empty));
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).expect("the log was made at the start")).into_owned()
    }

    /// kill -9.
    pub fn kill(mut self) {
        self.child.kill().expect("the child is ours");
        self.child.wait().expect("the child is ours");
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// SIGTERM; the exit code.
    pub fn stop(mut self) -> Option<i32> {
        self.terminate();
        self.child.wait().expect("the child is ours").code()
    }
}

impl Drop for Node<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn peers_in(status: &Value) -> Vec<PeerStatus> {
    let read = |peer| PeerStatus::deserialize(peer).expect("what the node itself wrote");
    status["peers"].as_array().into_iter().flatten().map(read).collect()
}

fn connected_in(peers: &[PeerStatus]) -> BTreeSet<String> {
    let connected = |peer: &&PeerStatus| peer.state == PeerState::Connected;
    peers.iter().filter(connected).map(|peer| peer.node.clone()).collect()
}

/// Files by their path from some folder.
pub type Files = BTreeMap<PathBuf, Vec<u8>>;

/// Every file below a folder.
pub fn files_below(folder: &Path) -> Files {
    let mut files = Files::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten().flatten() {
            match entry.file_type().expect("the file system tells").is_dir() {
                true => folders.push(entry.path()),
                false => {
                    let path = entry.path().strip_prefix(folder).expect("it is below").to_path_buf();
                    files.insert(path, fs::read(entry.path()).expect("a test's own file"));
                }
            }
        }
    }
    files
}
