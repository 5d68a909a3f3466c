//! Data folders of other versions: older ones are taken over, also if that is cut short again and again; newer ones are
//! refused and left as they are. tests/fixtures/README.md says where the fixtures come from.

mod support;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
};

use support::{
    disk::{own_mounts, run},
    netns::Lan,
    node::{Place, files_below},
};

/// Where the fixtures were made: the folders that are shared in place are known by their absolute paths.
const HOME: &str = "/mnt";

#[test]
fn a_folder_of_schema_1_is_taken_over() {
    is_taken_over("schema-1.tar.gz");
}

#[test]
fn a_folder_of_schema_2_is_opened() {
    is_taken_over("schema-2.tar.gz");
}

/// The tests take the same folder, one after the other.
fn unpack(fixture: &str) -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    own_mounts();
    run(Command::new("mount").args(["-t", "tmpfs", "tmpfs", HOME]));
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(fixture);
    run(Command::new("tar").args(["-C", HOME, "-xzf"]).arg(fixture));
    turn
}

fn is_taken_over(fixture: &str) {
    let _turn = unpack(fixture);
    let lan = Lan::new(2);
    let [publisher, mirror] =
        [0, 1].map(|host| Place::on(&lan.hosts[host], Path::new(HOME).join(["publisher", "mirror"][host])));
    // Cut short at its first syncs, one after the other.
    for at in 1..=12 {
        let program = mirror.command(&["ls"]);
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync,fdatasync"]);
        command.args(["-e", &format!("inject=fsync,fdatasync:signal=SIGKILL:when={at}")]);
        command.arg(program.get_program()).args(program.get_args());
        command.envs(program.get_envs().filter_map(|(key, value)| Some((key, value?))));
        command.output().expect("NOT CHECKED: this test needs strace");
    }

    check(&mirror);
    // It was not built again from the files: then an older program's words would be lost.
    assert!(!mirror.folder.join("node/index.damaged-1").exists());
    check(&mirror);
    assert!(mirror.ok(&["verify"]).contains(" 0 damaged"));

    // What is not wanted does not come back.
    fs::write(Path::new(HOME).join("Mirrored/new.txt"), "new").unwrap();
    publisher.ok(&["add", &format!("{HOME}/Mirrored")]);
    let running = publisher.start(&[]);
    let mut node = mirror.start(&["--mirror"]);
    let library = mirror.folder.join("node/library");
    node.wait_for("the new file", |_| library.join("Mirrored/new.txt").exists());
    node.wait_for_idle();
    assert!(!library.join("Mirrored/2.txt").exists() && !library.join("Dropped/1.txt").exists());
    assert_eq!(node.stop(), Some(0));
    drop(running);

    // What is shared in place is found again where it was said to be.
    fs::remove_dir_all(mirror.folder.join("node/index")).unwrap();
    assert_eq!(held(&mirror, "In place"), (4, 4));
}

fn check(place: &Place) {
    let folders: Vec<_> = place.json(&["ls"]).iter().map(|it| it["folder"].as_str().unwrap().to_owned()).collect();
    assert_eq!(folders.len(), 3, "{folders:?}");
    let found: BTreeMap<_, _> = folders.iter().map(|folder| (folder.as_str(), held(place, folder))).collect();
    assert_eq!(found, [("Copies", (4, 4)), ("In place", (4, 4)), ("Mirrored", (4, 3))].into());
}

/// Items of a collection, and those that are here.
fn held(place: &Place, folder: &str) -> (usize, usize) {
    let items = place.json(&["ls", folder]);
    (items.len(), items.iter().filter(|item| item["held"] == true).count())
}

#[test]
fn a_newer_folder_is_refused_and_left_as_it_is() {
    let _turn = unpack("schema-2.tar.gz");
    let place = Place::here(Path::new(HOME).join("mirror"));
    let data = place.folder.join("node");
    let index = || sled::Config::new().path(data.join("index")).mode(sled::Mode::LowSpace).open().unwrap();
    index().insert("S", &99u32.to_le_bytes()).unwrap();
    // sled, when it is opened, writes down how far it is.
    drop(index());
    // Whoever opens it leaves his number.
    let files = || -> Vec<(PathBuf, Vec<u8>)> {
        files_below(&data).into_iter().filter(|(path, _)| path != Path::new("lock")).collect()
    };
    let before = files();
    for arguments in [vec!["ls"], vec!["add", HOME], vec!["rm", "Copies"], vec!["doctor"], vec!["run"]] {
        let output = place.run(&arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains("newer version (index schema 99, this version knows 2); update allibrary"), "{said}");
        let after = files();
        let changed: Vec<_> = after.iter().filter(|file| !before.contains(file)).map(|(path, _)| path).collect();
        assert!(after == before, "{arguments:?} changed {changed:?}");
    }
}
