//! The program as people and scripts use it, without a running node.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;

/// A home of its own: nothing of this machine's configuration or nodes takes part.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: impl AsRef<Path>, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_allibrary"));
        command.env_clear().env("HOME", self.0.path()).env("XDG_RUNTIME_DIR", self.0.path());
        command.env("ALLIBRARY_DATA", self.path("data")).current_dir(self.0.path()).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// What it prints; it must succeed.
    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        assert_eq!(text(&output.stderr), "", "{arguments:?} has nothing to complain about");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The objects that it prints with `--json`.
    fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let output = self.run(&[&["--json"], arguments].concat());
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// It must fail with this code; what it says.
    fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
        text(&output.stderr)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn help_names_every_command_and_exit_code() {
    let home = Home::new();
    let help = home.ok(&["--help"]);
    let commands = [
        "run",
        "add",
        "rescan",
        "ls",
        "rm",
        "get",
        "verify",
        "doctor",
        "status",
        "peers",
        "diagnose",
        "id",
        "config",
        "completion",
    ];
    for command in commands {
        assert!(help.contains(&format!("\n  {command} ")), "{command} is missing: {help}");
        assert!(home.ok(&[command, "--help"]).contains("Usage: allibrary"), "{command}");
    }
    for code in 0..=10 {
        assert!(help.contains(&format!("\n  {code:>2}  ")), "exit code {code} is missing");
    }
    assert_eq!(home.ok(&["--version"]), format!("allibrary {}\n", env!("CARGO_PKG_VERSION")));
    assert!(!home.path("data").exists(), "nothing is made by asking");
}

#[test]
fn wrong_usage_is_two() {
    let home = Home::new();
    for arguments in [
        &["fly"][..],
        &["add"],
        &["get"],
        &["ls", "--fly"],
        &["run", "--listen", "0.0.0.0:80"],
        &["run", "--listen", "/ip4/127.0.0.1/tcp/80"],
        &["run", "--bootstrap", "/ip4/127.0.0.1/udp/80/quic-v1"],
        &["run", "--http", "80"],
        &["run", "--only", "Books"],
        &["--json", "get", "abcd"],
    ] {
        home.fails(2, arguments);
    }
}

#[test]
fn wrong_usage_is_told_to_programs_too() {
    let home = Home::new();
    for arguments in [&["fly"][..], &["add"], &["run", "--http", "8080"], &["get", "abcd"]] {
        let told = home.json(arguments);
        assert_eq!((told.len(), &told[0]["event"], &told[0]["exit"]), (1, &"failed".into(), &2.into()), "{told:?}");
    }
    assert!(home.fails(2, &["run", "--http", "8080"]).contains("0.0.0.0:8080"));
}

#[test]
fn completion_covers_the_commands() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = home.ok(&["completion", shell]);
        assert!(script.contains("verify") && script.contains("allibrary"), "{shell}");
    }
}

#[test]
fn configuration_is_shown_and_checked() {
    let home = Home::new();
    let file = home.write("c.toml", b"name = 'Shelf'\n[network]\nmax_peers = 7\n");
    let file = file.to_str().unwrap();
    let shown = home.ok(&["--config", file, "config", "show"]);
    assert!(shown.lines().any(|line| line.starts_with("name ") && line.contains("c.toml:1:8")), "{shown}");
    let entries = home.json(&["config", "show", "--config", file]);
    let peers = entries.iter().find(|entry| entry["key"] == "network.max_peers").unwrap();
    assert_eq!((&peers["value"], &peers["allowed"]), (&7.into(), &"1 to 128 peers".into()));
    assert_eq!(home.ok(&["config", "check"]), "The configuration is fine.\n");

    let bad = home.write("bad.toml", b"[network]\nmax_peers = 1000\nmdsn = true\n");
    let said = home.fails(3, &["config", "check", "--config", bad.to_str().unwrap()]);
    let lines: Vec<_> = said.lines().collect();
    assert!(lines[0].ends_with("bad.toml:2:13: network.max_peers cannot be 1000; allowed: 1 to 128 peers"), "{said}");
    assert!(lines[1].ends_with("bad.toml:3:1: unknown key network.mdsn; did you mean network.mdns?"), "{said}");
    assert_eq!(lines.len(), 2);
    home.fails(3, &["ls", "--config", "/nonexistent.toml"]);
    assert_eq!(home.command(&["ls"]).env("ALLIBRARY_LOG_LEVEL", "loud").output().unwrap().status.code(), Some(3));
}

#[test]
fn a_library_works_without_a_node() {
    let home = Home::new();
    assert!(home.fails(6, &["ls"]).contains("there is no library"), "and none is made");
    assert!(!home.path("data").exists());
    let big: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(7919) >> 8) as u8).collect();
    home.write("Books/big.bin", &big);
    home.write("Books/sub/ä b.txt", b"small");
    home.write("Books/.hidden", b"nobody's business");
    home.write(Path::new("Books").join(OsStr::from_bytes(b"odd \xff")), b"a name that is no text");

    let added = home.ok(&["add", "Books"]);
    assert!(added.contains("Books: 3 files added"), "{added}");
    assert!(added.contains("Everyone on this network can read 3 files."), "{added}");
    let collections = home.json(&["ls"]);
    assert_eq!((&collections[0]["folder"], &collections[0]["items"]), (&"Books".into(), &3.into()));
    let items = home.json(&["ls", "Books"]);
    assert_eq!(items.len(), 3);
    let id = items.iter().find(|item| item["path"] == "big.bin").unwrap()["id"].as_str().unwrap();
    assert_eq!(id, blake3::hash(&big).to_string(), "the id is what b3sum prints");
    let listed = home.ok(&["ls", "Books"]);
    assert!(listed.contains("sub/ä b.txt") && listed.contains(&id[..16]), "{listed}");

    assert!(home.run(&["get", &id[..8]]).stdout == big);
    home.ok(&["get", id, "-o", "copy"]);
    assert!(fs::read(home.path("copy")).unwrap() == big);
    home.ok(&["get", blake3::hash(b"small").to_hex().as_str(), "-o", "copy"]);
    assert_eq!(fs::read(home.path("copy")).unwrap(), b"small", "an old file is replaced");
    let left = fs::read_dir(home.0.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains(".part"));
    assert_eq!(left.count(), 0);

    let checked = home.json(&["verify"]);
    assert_eq!(checked.last().unwrap()["event"], "checked");
    assert_eq!((&checked.last().unwrap()["blobs"], &checked.last().unwrap()["damaged"]), (&3.into(), &0.into()));

    assert!(home.ok(&["rm", "Books/sub"]).contains("1 file no longer shared"));
    assert_eq!(home.json(&["ls", "Books"]).len(), 2);
    home.ok(&["rm", "Books"]);
    assert!(home.json(&["ls"]).is_empty());
    assert!(home.path("Books/big.bin").exists(), "files stay where they are");
}

#[test]
fn a_rescan_finds_what_changed_and_keeps_what_is_unplugged() {
    let home = Home::new();
    for name in ["a", "b", "c"] {
        home.write(format!("Books/{name}"), name.as_bytes());
    }
    home.write("Stick/film", b"film");
    home.ok(&["add", "Books"]);
    home.ok(&["add", "Stick"]);
    home.write("Books/a", b"changed");
    home.write("Books/d", b"new");
    fs::remove_file(home.path("Books/c")).unwrap();
    let said = home.ok(&["rescan", "Books"]);
    let counts = "Books: 2 files added (10 B), 1 of them changed, 1 unchanged, 1 removed, 0 skipped, 0 unreadable\n";
    assert!(said.starts_with(counts), "{said}");

    fs::rename(home.path("Stick"), home.path("Drawer")).unwrap();
    assert!(home.fails(10, &["add", "Stick"]).contains("is its disk unplugged?"));
    fs::create_dir(home.path("Stick")).unwrap();
    for command in [&["rescan"][..], &["add", "Stick"]] {
        let said = home.fails(10, command);
        assert!(said.contains("Stick: nothing") && said.contains("1 file is not there, and stays listed"), "{said}");
    }
    let told = home.json(&["rescan"]);
    let away = told.iter().find(|it| it["event"] == "away").unwrap();
    assert_eq!((&away["items"], told.last().unwrap()["exit"].as_u64()), (&1.into(), Some(10)));
    let added: Vec<_> = told.iter().filter(|it| it["event"] == "added").collect();
    assert_eq!((added.len(), &added[0]["unavailable"], &added[1]["unavailable"]), (2, &0.into(), &1.into()));
    fs::remove_dir(home.path("Stick")).unwrap();
    fs::rename(home.path("Drawer"), home.path("Stick")).unwrap();
    home.ok(&["rescan"]);
    home.fails(6, &["rescan", "Nothing"]);
}

#[test]
fn what_is_not_there_is_six() {
    let home = Home::new();
    let file = home.write("a.txt", b"a");
    home.ok(&["add", file.to_str().unwrap(), "--collection", "Notes"]);
    home.fails(6, &["ls", "Nothing"]);
    home.fails(6, &["rm", "Nothing"]);
    home.fails(6, &["rm", "Notes/b.txt"]);
    home.fails(6, &["get", "not hexadecimal"]);
    home.fails(6, &["get", "00000000"]);
    home.fails(6, &["verify", "00000000"]);
    let failed = home.json(&["get", "00000000", "-o", "x"]);
    assert_eq!((&failed[0]["event"], &failed[0]["exit"]), (&"failed".into(), &6.into()));
    assert!(!home.path("x").exists());
}

#[test]
fn damage_is_told_and_seven() {
    let home = Home::new();
    let file = home.write("Books/a.txt", b"as it was");
    home.ok(&["add", "Books"]);
    fs::write(&file, b"as it is!").unwrap();
    let said = home.run(&["verify"]);
    assert_eq!(said.status.code(), Some(7));
    assert!(text(&said.stdout).contains("Books/a.txt"), "{said:?}");
    assert!(text(&said.stderr).contains("1 file is damaged or gone"), "{said:?}");
    home.fails(7, &["get", blake3::hash(b"as it was").to_hex().as_str()]);
    // With its bytes back it is good again.
    fs::write(&file, b"as it was").unwrap();
    home.ok(&["add", "Books"]);
    home.ok(&["verify"]);
}

#[test]
fn get_replaces_files_alone() {
    let home = Home::new();
    home.write("Books/a.txt", b"a");
    home.ok(&["add", "Books"]);
    let id = blake3::hash(b"a").to_hex();
    std::os::unix::fs::symlink("/dev/null", home.path("null")).unwrap();
    assert!(home.fails(2, &["get", &id, "-o", "null"]).contains("no regular file"));
    home.fails(2, &["get", &id, "-o", "Books/"]);
    assert!(home.path("null").is_symlink());
    home.write("old", b"old");
    home.ok(&["get", &id, "-o", "old"]);
    assert_eq!(fs::read(home.path("old")).unwrap(), b"a");
}

#[test]
fn only_a_node_has_a_state() {
    let home = Home::new();
    for command in ["status", "peers"] {
        assert!(home.fails(5, &[command]).contains("start one with: allibrary run"));
    }
}

#[test]
fn sharing_everything_needs_yes() {
    let home = Home::new();
    home.write("file", b"private");
    let said = home.fails(9, &["add", home.0.path().to_str().unwrap()]);
    assert!(said.contains("--yes"), "{said}");
    assert!(home.fails(9, &["add", "/"]).contains("--yes"));
    assert!(home.json(&["ls"]).is_empty());
}

#[test]
fn a_data_folder_in_use_is_four() {
    let home = Home::new();
    home.write("Books/a.txt", b"a");
    home.ok(&["add", "Books"]);
    let store = allibrary::store::Store::open(&home.path("data"), Default::default()).unwrap();
    assert!(home.fails(4, &["ls"]).contains("already uses"));
    drop(store);
    // A child that another test is just starting still has our lock until it is the program that it becomes.
    while home.run(&["ls"]).status.code() == Some(4) {}
    home.ok(&["ls"]);
}

#[test]
fn an_identity_is_made_exported_and_imported() {
    let home = Home::new();
    assert!(home.fails(6, &["id"]).contains("id new"));
    let id = home.ok(&["id", "new"]);
    assert!(id.starts_with("12D3KooW"), "{id}");
    assert_eq!(fs::metadata(home.path("data")).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(home.ok(&["id"]), id);
    assert_eq!(home.json(&["id"])[0]["node"], id.trim());
    assert!(home.fails(1, &["id", "new"]).contains("holds a key already"));

    let secret = home.ok(&["id", "export"]);
    let file = home.write("secret", secret.as_bytes());
    let other = Home::new();
    assert_eq!(other.ok(&["id", "import", file.to_str().unwrap()]), id);
    assert_eq!(other.ok(&["id"]), id);
    let third = Home::new();
    let child = third.command(&["id", "import"]).stdin(fs::File::open(file).unwrap()).output().unwrap();
    assert_eq!(text(&child.stdout), id);
    let damaged = other.write("damaged", b"0123");
    let fourth = Home::new();
    assert!(fourth.fails(1, &["id", "import", damaged.to_str().unwrap()]).contains("64 hexadecimal digits"));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let home = Home::new();
    for number in 0..3000 {
        home.write(format!("Books/{number:04}.txt"), number.to_string().as_bytes());
    }
    home.ok(&["add", "Books"]);
    let mut child = home.command(&["ls", "Books"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn titles_cannot_drive_the_terminal() {
    let home = Home::new();
    home.write("Books/\u{1b}]0;owned\u{7}.txt", b"x");
    home.run(&["add", "Books"]);
    let listed = home.run(&["ls", "Books"]);
    assert!(!listed.stdout.contains(&0x1b), "{listed:?}");
}

#[test]
fn a_file_that_cannot_be_read_is_named_and_the_others_are_shared() {
    let home = Home::new();
    home.write("Books/a.txt", b"a");
    home.write("Books/b.txt", b"b");
    std::os::unix::fs::symlink("/nonexistent", home.path("Books/broken")).unwrap();
    let output = home.run(&["add", "Books"]);
    let said = text(&output.stderr);
    assert!(said.contains("Books/broken"), "{said}");
    assert!(text(&output.stdout).contains("2 files added"), "{output:?}");
    let told = home.json(&["add", "Books"]);
    let last = told.iter().find(|event| event["event"] == "added").unwrap();
    assert_eq!(last["unchanged"], 2);
}
