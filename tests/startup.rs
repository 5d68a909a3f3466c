//! A start that fails at any of its steps leaves nothing behind, and says what to do.

use std::{
    fs,
    net::{SocketAddr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use allibrary::{
    config::{Config, Flag, Sources, runtime_folders},
    content::ContentId,
    node::Node,
    store::{Options, Store},
};
use log::{LevelFilter, Log, Metadata, Record};

/// What the node logs about its start.
struct Told(Mutex<Vec<String>>);

static TOLD: Told = Told(Mutex::new(Vec::new()));
/// All tests read the same log: one after the other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

impl Log for Told {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("allibrary::node")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            lock(&self.0).push(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A node to be, on a loopback address of its own: no port of it is anybody else's.
struct Place {
    folder: tempfile::TempDir,
    ip: String,
    _alone: MutexGuard<'static, ()>,
}

const UDP: u16 = 4720;
const TCP: u16 = 8080;

impl Place {
    fn new() -> Self {
        let alone = lock(&ONE_AT_A_TIME);
        // Only the first succeeds.
        let _ = log::set_logger(&TOLD);
        log::set_max_level(LevelFilter::Info);
        let [.., a, b] = std::process::id().to_be_bytes();
        Self { folder: tempfile::tempdir().unwrap(), ip: format!("127.77.{a}.{b}"), _alone: alone }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("node")
    }

    fn udp(&self) -> SocketAddr {
        format!("{}:{UDP}", self.ip).parse().unwrap()
    }

    fn tcp(&self) -> SocketAddr {
        format!("{}:{TCP}", self.ip).parse().unwrap()
    }

    /// Where the node would put its socket, in each folder that it would try.
    fn sockets(&self) -> Vec<PathBuf> {
        let data = self.data().canonicalize().unwrap();
        let name = format!("{:.12}.sock", ContentId::of(data.as_os_str().as_encoded_bytes()));
        runtime_folders().into_iter().map(|folder| folder.join(&name)).collect()
    }

    fn start(&self) -> Result<Node, String> {
        lock(&TOLD.0).clear();
        let flag = |name, key, value: String| Flag { name, key, values: vec![value.into()] };
        let flags = vec![
            flag("--data", "data", self.data().display().to_string()),
            flag("--listen", "network.listen", format!("/ip4/{}/udp/{UDP}/quic-v1", self.ip)),
            flag("--http", "kiosk.listen", self.tcp().to_string()),
        ];
        let variables = vec![("ALLIBRARY_NETWORK_MDNS".into(), "false".into())];
        let empty = self.folder.path().join("empty.toml");
        fs::write(&empty, "").unwrap();
        let sources = Sources { file: Some(empty), variables, flags };
        let config = Config::load(&sources).unwrap();
        smol::block_on(Node::start(&config, sources)).map_err(|error| error.to_string())
    }

    /// Starting must fail with these words, after these steps, which are undone; then nothing of it is left.
    fn fails(&self, words: &[&str], undone: &[&str]) {
        let error = self.start().err().expect("something is in the way of the start");
        for word in words {
            assert!(error.contains(word), "no {word:?} in {error:?}");
        }
        let told = lock(&TOLD.0).clone();
        let steps: Vec<_> = told.iter().filter_map(|line| line.strip_prefix("start ")?.split_once(": ")).collect();
        assert_eq!(steps.len(), undone.len() + 1, "{told:#?}");
        let names: Vec<_> = steps.iter().map(|(_, name)| *name).collect();
        assert_eq!(names[..undone.len()], *undone, "{told:#?}");
        let after: Vec<_> = told.iter().skip_while(|line| !line.starts_with("failed: ")).map(String::as_str).collect();
        let mut expected = vec![format!("failed: {}", names[undone.len()])];
        expected.extend(undone.iter().rev().map(|name| format!("undone: {name}")));
        assert_eq!(after, expected);
    }

    /// Nobody uses the ports, the data folder or the socket.
    fn is_left_alone(&self) {
        TcpListener::bind(self.tcp()).expect("the TCP port is free");
        // The task that reads from it ends on a thread of its own.
        let deadline = allibrary::clock::now() + Duration::from_secs(60);
        while let Err(error) = UdpSocket::bind(self.udp()) {
            assert!(allibrary::clock::now() < deadline, "the UDP port is taken: {error}");
            std::thread::yield_now();
        }
        if self.data().is_dir() {
            Store::open(&self.data(), Options::default()).map(drop).expect("nobody has the data folder locked");
            assert!(self.sockets().iter().all(|path| !path.is_socket()), "no socket is left");
        }
    }

    /// It starts now, and stops.
    fn starts(&self) {
        let node = self.start().expect("nothing is in the way of the start");
        assert!(self.sockets().iter().any(|path| path.is_socket()));
        UdpSocket::bind(self.udp()).expect_err("the node has it");
        TcpListener::bind(self.tcp()).expect_err("the node has it");
        smol::block_on(node.stop());
        // A thread that was looking for disks may end a moment later.
        let deadline = allibrary::clock::now() + Duration::from_secs(60);
        while let Err(error) = Store::open(&self.data(), Options::default()) {
            assert!(allibrary::clock::now() < deadline, "the data folder is still locked: {error}");
            std::thread::yield_now();
        }
    }
}

trait IsSocket {
    fn is_socket(&self) -> bool;
}

impl IsSocket for Path {
    fn is_socket(&self) -> bool {
        use std::os::unix::fs::FileTypeExt as _;
        self.symlink_metadata().is_ok_and(|metadata| metadata.file_type().is_socket())
    }
}

const STEPS: [&str; 7] = ["data folder", "identity", "library", "lists of peers", "page", "network", "control socket"];

#[test]
fn a_start_names_its_steps_and_a_stop_leaves_nothing() {
    let place = Place::new();
    for _ in 0..2 {
        place.starts();
        let told = lock(&TOLD.0).clone();
        let steps: Vec<_> = told.iter().filter_map(|line| line.strip_prefix("start ")).collect();
        assert_eq!(steps.len(), STEPS.len() + 1, "{told:#?}");
        for (at, step) in STEPS.iter().chain(&["tasks"]).enumerate() {
            assert_eq!(*steps[at], format!("{}/8: {step}", at + 1));
        }
        assert!(!told.iter().any(|line| line.starts_with("undone")), "{told:#?}");
        place.is_left_alone();
    }
}

#[test]
fn a_file_in_the_place_of_the_data_folder() {
    let place = Place::new();
    fs::write(place.data(), "").unwrap();
    place.fails(&[place.data().to_str().unwrap()], &[]);
    place.is_left_alone();
    fs::remove_file(place.data()).unwrap();
    place.starts();
}

#[test]
fn a_data_folder_that_is_in_use() {
    let place = Place::new();
    let store = Store::open(&place.data(), Options::default()).unwrap();
    place.fails(&["already uses", "stop it", "--data"], &[]);
    drop(store);
    place.is_left_alone();
    place.starts();
}

#[test]
fn a_damaged_identity() {
    let place = Place::new();
    place.starts();
    let key = place.data().join("identity.key");
    let good = fs::read(&key).unwrap();
    fs::write(&key, &good[..20]).unwrap();
    place.fails(&["identity.key is damaged", "Restore it from a backup"], &STEPS[..1]);
    place.is_left_alone();
    assert_eq!(fs::read(&key).unwrap(), good[..20], "the damaged file stays");
    fs::write(&key, good).unwrap();
    place.starts();
}

#[test]
fn collections_that_cannot_be_read() {
    let place = Place::new();
    place.starts();
    let folder = place.data().join("collections");
    fs::remove_dir_all(&folder).unwrap();
    fs::write(&folder, "").unwrap();
    place.fails(&[folder.to_str().unwrap()], &STEPS[..2]);
    place.is_left_alone();
    fs::remove_file(&folder).unwrap();
    place.starts();
}

#[test]
fn a_port_of_the_page_that_is_taken() {
    let place = Place::new();
    let taken = TcpListener::bind(place.tcp()).unwrap();
    place.fails(&[&place.tcp().to_string(), "--http"], &STEPS[..4]);
    drop(taken);
    place.is_left_alone();
    place.starts();
}

#[test]
fn a_port_for_peers_that_is_taken() {
    let place = Place::new();
    let taken = UdpSocket::bind(place.udp()).unwrap();
    place.fails(&["cannot listen on", &place.ip, "--listen"], &STEPS[..5]);
    drop(taken);
    place.is_left_alone();
    place.starts();
}

#[test]
fn no_place_for_the_control_socket() {
    let place = Place::new();
    place.starts();
    // A folder that is not empty can't be replaced by a socket.
    for path in place.sockets() {
        fs::create_dir_all(path.join("in the way")).unwrap();
    }
    place.fails(&["control socket", ".sock"], &STEPS[..6]);
    place.is_left_alone();
    for path in place.sockets() {
        fs::remove_dir_all(path).unwrap();
    }
    place.starts();
}
