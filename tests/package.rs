//! The packages: that the same input gives the same bytes, what is in them, and that they install, upgrade and go.

#[path = "../cross/manual.rs"]
mod manual;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = [&output.stdout[..], &output.stderr].concat();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&said));
    output
}

/// What is packed: the program of this build and its manual.
struct Input(tempfile::TempDir);

impl Input {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        manual::write(folder.path()).unwrap();
        let program = folder.path().join("allibrary");
        run(Command::new("strip").arg("-o").arg(&program).arg(env!("CARGO_BIN_EXE_allibrary")));
        Self(folder)
    }

    /// Packs it with this umask, in this time zone.
    fn pack(&self, target: &str, umask: &str, zone: &str) -> Packed {
        let out = tempfile::tempdir().unwrap();
        let script = format!("umask {umask}; exec {ROOT}/cross/package.sh \"$@\"");
        let mut sh = Command::new("sh");
        sh.args(["-c", &script, "sh", target]).arg(self.0.path().join("allibrary")).arg(self.0.path()).arg(out.path());
        run(sh.current_dir(&self.0).env("SOURCE_DATE_EPOCH", "1700000000").env("LEVEL", "1").env("TZ", zone));
        Packed(out)
    }
}

struct Packed(tempfile::TempDir);

impl Packed {
    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        let files = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path());
        files.map(|path| (name(path.clone()), fs::read(path).unwrap())).collect()
    }

    fn names(&self) -> Vec<String> {
        self.files().into_keys().collect()
    }

    fn deb(&self) -> PathBuf {
        let name = self.names().into_iter().find(|name| name.ends_with(".deb")).expect("a package was made");
        self.0.path().join(name)
    }
}

const TARGET: &str = "x86_64-unknown-linux-musl";

#[test]
fn the_same_input_gives_the_same_bytes() {
    let (one, two) = (Input::new(), Input::new());
    // Modes and times of files differ from checkout to checkout.
    fs::set_permissions(two.0.path().join("allibrary"), fs::Permissions::from_mode(0o700)).unwrap();
    let (one, two) = (one.pack(TARGET, "022", "UTC"), two.pack(TARGET, "077", "Asia/Tokyo"));
    assert_eq!(one.names().len(), 2);
    assert!(one.files() == two.files(), "{:?}", one.names());
}

#[test]
fn each_board_has_its_package() {
    let input = Input::new();
    let version = env!("CARGO_PKG_VERSION");
    let debs = [
        ("aarch64-unknown-linux-musl", Some("arm64")),
        ("arm-unknown-linux-musleabihf", Some("armhf")),
        ("armv7-unknown-linux-musleabihf", None),
    ];
    for (target, deb) in debs {
        let mut expected = vec![format!("allibrary-{version}-{target}.tar.gz")];
        expected.extend(deb.map(|architecture| format!("allibrary_{version}-1_{architecture}.deb")));
        assert_eq!(input.pack(target, "022", "UTC").names(), expected);
    }
}

#[test]
fn the_configuration_of_the_service_has_every_key() {
    let packed = Input::new().pack(TARGET, "022", "UTC");
    let root = tempfile::tempdir().unwrap();
    run(Command::new("dpkg-deb").arg("-x").arg(packed.deb()).arg(root.path()));
    let file = root.path().join("etc/allibrary/allibrary.toml");
    let config = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_allibrary"));
        command.env_clear().arg("--config").arg(&file).arg("config").args(arguments);
        String::from_utf8(run(&mut command).stdout).unwrap()
    };
    config(&["check"]);
    let shown = config(&["show"]);
    let set: Vec<_> = shown.lines().filter(|line| line.contains("allibrary.toml")).collect();
    assert_eq!(set.len(), 2, "{set:?}");
    assert!(set[0].contains("\"/var/lib/allibrary\"") && set[1].contains("\"0.0.0.0:80\""), "{set:?}");
    // What is commented out is what holds without.
    let text = fs::read_to_string(&file).unwrap();
    let is_key = |line: &str| line.starts_with('#') && line[1..].starts_with(|c: char| c.is_ascii_lowercase());
    let all: Vec<_> =
        text.lines().map(|line| line.strip_prefix('#').filter(|_| is_key(line)).unwrap_or(line)).collect();
    fs::write(&file, all.join("\n")).unwrap();
    let values =
        |shown: &str| shown.lines().map(|line| line.split("  ").next().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(values(&config(&["show"])), values(&shown));
    assert_eq!(allibrary::config::KEYS.len(), all.iter().filter(|line| is_key(&format!("#{line}"))).count());
}

/// Runs a script with a root file system that it may spoil, and with the package.
fn in_root(prepare: &str, script: &str, packed: &Packed) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    fs::create_dir(&root).unwrap();
    // In a mount namespace: what is mounted goes with it.
    let all = format!("set -eu; root=$1; deb=$2; {prepare}\nexec {ROOT}/tests/{script} \"$root\" \"$deb\"");
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--propagation", "private", "sh", "-c", &all, "sh"]).arg(&root).arg(packed.deb());
    run(&mut unshare);
}

/// This system, with what is written to it kept in memory.
const THIS_SYSTEM: &str = "mount -t tmpfs tmpfs \"$root\"; mkdir \"$root/new\" \"$root/work\" \"$root/all\"
    mount -t overlay -o lowerdir=/,upperdir=\"$root/new\",workdir=\"$root/work\" overlay \"$root/all\"; root=$root/all";

#[test]
fn it_is_installed_upgraded_removed_and_purged() {
    in_root(THIS_SYSTEM, "install.sh", &Input::new().pack(TARGET, "022", "UTC"));
}

/// What a bare Debian has, and systemd.
const BARE_DEBIAN: &str =
    "debootstrap --variant=minbase --include=dbus,iproute2,systemd-sysv,util-linux bookworm \"$root\"";

#[test]
#[ignore = "fetches and unpacks a system"]
fn it_is_installed_upgraded_removed_and_purged_on_a_bare_debian() {
    in_root(BARE_DEBIAN, "install.sh", &Input::new().pack(TARGET, "022", "UTC"));
}

#[test]
#[ignore = "fetches and unpacks a system, and boots it"]
fn the_service_does_what_people_need_on_a_bare_debian() {
    in_root(BARE_DEBIAN, "boot.sh", &Input::new().pack(TARGET, "022", "UTC"));
}

#[test]
#[ignore = "needs lintian"]
fn lintian_finds_nothing() {
    let packed = Input::new().pack(TARGET, "022", "UTC");
    // The program of a test is linked with the system's C library, that of a release with none.
    let lintian = ["--fail-on", "error,warning", "--suppress-tags", "missing-dependency-on-libc"];
    run(Command::new("lintian").args(lintian).arg("--allow-root").arg(packed.deb()));
}

#[test]
fn the_manual_has_a_page_for_each_command() {
    let folder = tempfile::tempdir().unwrap();
    manual::write(folder.path()).unwrap();
    let page = |name: &str| fs::read_to_string(folder.path().join("man").join(name));
    for command in allibrary::cli::command().get_subcommands() {
        let name = command.get_name();
        assert!(page(&format!("allibrary-{name}.1")).unwrap().contains(name), "{name}");
    }
    assert!(page("allibrary.1").unwrap().contains("Exit codes"));
    assert!(Path::new(folder.path()).join("completions/_allibrary").exists());
}
