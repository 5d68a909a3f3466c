//! A node as a service of the system: what its manager hears of it, and who may give it commands.

mod support;

use std::{
    fs,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            fs::{PermissionsExt as _, chown},
            net::{SocketAddr, UnixDatagram},
        },
    },
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use support::{
    netns::{Host, Process},
    node::{DEADLINE, Place},
};

/// Reads what the manager is told until it hears this.
fn hear(manager: &UnixDatagram, wanted: &str) -> String {
    let mut buffer = [0; 1024];
    loop {
        let bytes = manager.recv(&mut buffer).unwrap_or_else(|error| panic!("{wanted:?} was not told: {error}"));
        let told = std::str::from_utf8(&buffer[..bytes]).unwrap();
        if told.starts_with(wanted) {
            return told.to_owned();
        }
    }
}

/// From the start to the end of a node, with the manager at this socket.
fn live_with(manager: &UnixDatagram, name: &str) {
    manager.set_read_timeout(Some(DEADLINE)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    // On this machine, on loopback alone: an abstract name holds within one network namespace.
    let place = Place::here(folder.path()).with("NOTIFY_SOCKET", name).with("WATCHDOG_USEC", "30000");
    let place = place.with("ALLIBRARY_NETWORK_MDNS", "false");
    let node = place.spawn(&["--listen", "/ip4/127.0.0.1/udp/0/quic-v1", "--http", "127.0.0.1:0"]);
    hear(manager, "READY=1");
    // Who is ready answers.
    assert!(node.status().is_some());
    hear(manager, "STATUS=0 files (0 B), 0 peers connected");
    for _ in 0..3 {
        hear(manager, "WATCHDOG=1");
    }
    node.hang_up();
    let told = hear(manager, "RELOADING=1\nMONOTONIC_USEC=");
    let since_boot: u64 = told.rsplit('=').next().unwrap().parse().unwrap();
    assert!(since_boot > 0 && since_boot <= allibrary::clock::monotonic_us());
    hear(manager, "READY=1");
    node.terminate();
    hear(manager, "STOPPING=1");
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn a_service_manager_hears_how_the_node_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    live_with(&UnixDatagram::bind(&path).unwrap(), path.to_str().unwrap());
    let name = format!("allibrary-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    live_with(&UnixDatagram::bind_addr(&address).unwrap(), &format!("@{name}"));
}

#[test]
fn a_watchdog_of_another_process_and_a_manager_that_is_gone_do_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::alone();
    let place = Place::on(&host, folder.path()).with("NOTIFY_SOCKET", "/nonexistent/notify");
    let node = place.with("WATCHDOG_USEC", "1").with("WATCHDOG_PID", "1").start(&[]);
    assert!(node.log().contains("the service manager was not told"), "{}", node.log());
    assert_eq!(node.stop(), Some(0));
}

/// Users of this machine, by their numbers; the service's group has its number.
const SERVICE: u32 = 61_001;
const VOLUNTEER: u32 = 61_002;
const STRANGER: u32 = 61_003;

/// A machine with a service: its data folder, its runtime folder, its configuration, and the program, for all users.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let machine = Self(folder);
        fs::set_permissions(machine.0.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_allibrary"), machine.path("allibrary")).unwrap();
        let config = format!(
            "data = {:?}\n[network]\nmdns = false\nlisten = [\"/ip4/127.0.0.1/udp/0/quic-v1\"]\n[kiosk]\nenabled = false\n",
            machine.path("data")
        );
        fs::write(machine.path("allibrary.toml"), config).unwrap();
        fs::create_dir(machine.path("run")).unwrap();
        for folder in ["data", "run/allibrary"] {
            machine.folder(folder, 0o750, SERVICE);
        }
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn folder(&self, name: &str, mode: u32, owner: u32) -> PathBuf {
        let path = self.path(name);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        chown(&path, Some(owner), Some(owner)).unwrap();
        path
    }

    /// The program as this user, who is in this group besides his own.
    fn command(&self, user: u32, group: u32) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &user.to_string(), "--regid", &user.to_string(), "--groups", &group.to_string()]);
        command.env_clear().env("XDG_RUNTIME_DIR", self.path("run")).env("HOME", self.path("none"));
        command.arg(self.path("allibrary")).arg("--config").arg(self.path("allibrary.toml"));
        command
    }

    fn run(&self, user: u32, group: u32, arguments: &[&str]) -> Output {
        self.command(user, group).args(arguments).output().unwrap()
    }

    /// Starts the service; it is ready when this returns.
    fn start(&self) -> Process {
        let path = self.path("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        manager.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut command = self.command(SERVICE, SERVICE);
        command.env("NOTIFY_SOCKET", path).arg("run").stdout(Stdio::null());
        let service = Process(command.spawn().unwrap());
        hear(&manager, "READY=1");
        service
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

fn write(path: &Path, bytes: &[u8], mode: u32) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn members_of_its_group_give_a_service_commands_and_nobody_else_does() {
    let machine = Machine::new();
    let books = machine.folder("books", 0o755, VOLUNTEER);
    write(&books.join("book.txt"), b"a book", 0o644);
    let books = books.to_str().unwrap();
    let _service = machine.start();
    let added = machine.run(VOLUNTEER, SERVICE, &["add", books]);
    assert!(added.status.success(), "{}", said(&added));
    // The key is the service's alone, who it is everybody's who may ask.
    assert!(machine.run(VOLUNTEER, SERVICE, &["id"]).status.success());
    assert!(!machine.run(VOLUNTEER, SERVICE, &["id", "export"]).status.success());
    let refused = machine.run(STRANGER, STRANGER, &["add", books]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).contains("sudo adduser $USER allibrary"), "{}", said(&refused));
}

#[test]
fn what_a_service_may_not_read_is_named_with_what_lets_it() {
    let machine = Machine::new();
    let home = machine.folder("home of a volunteer", 0o700, VOLUNTEER);
    let books = machine.folder("home of a volunteer/books", 0o755, VOLUNTEER);
    write(&books.join("book.txt"), b"a book", 0o644);
    write(&books.join("private.txt"), b"a diary", 0o600);
    let closed = machine.folder("home of a volunteer/books/closed", 0o700, VOLUNTEER);
    let _service = machine.start();
    let add = || machine.run(VOLUNTEER, SERVICE, &["add", books.to_str().unwrap()]);
    let refused = add();
    assert_eq!(refused.status.code(), Some(1));
    let fix = format!("sudo chmod a+x '{}'\n", home.display());
    assert!(said(&refused).contains(&fix), "{}", said(&refused));

    // As it was told; now the files themselves are looked at.
    fs::set_permissions(&home, fs::Permissions::from_mode(0o711)).unwrap();
    let partly = add();
    assert_eq!(partly.status.code(), Some(1));
    let told = said(&partly);
    assert!(told.contains("1 file added"), "{told}");
    assert!(told.contains(&format!("sudo chmod a+r '{}'\n", books.join("private.txt").display())), "{told}");
    assert!(told.contains(&format!("sudo chmod a+rx '{}'\n", closed.display())), "{told}");
}

#[test]
fn without_the_service_nobody_else_works_in_its_data() {
    let machine = Machine::new();
    drop(machine.start());
    // As systemd does.
    fs::remove_dir_all(machine.path("run/allibrary")).unwrap();
    for (user, group) in [(VOLUNTEER, SERVICE), (STRANGER, STRANGER), (0, 0)] {
        for arguments in [&["ls"][..], &["run"], &["peers", "lock"], &["transfers", "pause"], &["id", "new"]] {
            let refused = machine.run(user, group, arguments);
            assert_eq!(refused.status.code(), Some(1), "{user} {arguments:?}: {}", said(&refused));
            assert!(said(&refused).contains("belongs to another user"), "{user} {arguments:?}: {}", said(&refused));
        }
    }
    let listed = machine.run(SERVICE, SERVICE, &["ls"]);
    assert!(listed.status.success(), "{}", said(&listed));
}
