//! What others need for the same work, in the same run.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use allibrary::clock::now;

use crate::{
    mirrored::Took,
    shared::cpu_of_children,
    support::netns::{Lan, Process},
};

/// Stock quinn on tokio, one stream, BLAKE3 at the receiver, one sync at the end.
pub fn quinn_raw(lan: &Lan, file: &Path, copy: &Path) -> Took {
    let program = build_quinn_raw();
    let cpu = cpu_of_children();
    let address = format!("{}:4999", lan.hosts[0].ip);
    let mut server = lan.hosts[0].command(&program);
    let mut server = Process(server.args(["serve", &address]).arg(file).stdout(Stdio::piped()).spawn().unwrap());
    let ready = BufReader::new(server.0.stdout.take().unwrap()).lines().next();
    assert_eq!(ready.expect("the yardstick says when it is ready").expect("in text"), "ready");
    let begin = now();
    let mut client = lan.hosts[1].command(&program);
    let status = client.args(["get", &address]).arg(copy).args(["--b3", "--sync"]).stdout(Stdio::null()).status();
    let elapsed = begin.elapsed();
    assert!(status.unwrap().success());
    fs::remove_file(copy).unwrap();
    // What it has taken is told once it has ended.
    drop(server);
    Took { elapsed, cpu: cpu_of_children() - cpu }
}

fn build_quinn_raw() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/quinn_raw");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("quinn_raw");
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--release", "--locked", "--target-dir"]).arg(&target).current_dir(folder);
    assert!(build.status().unwrap().success(), "the yardstick does not build");
    target.join("release/quinn_raw").to_str().unwrap().into()
}

/// rsync to its daemon, which neither encrypts nor syncs. Nothing is deleted before the end: ext4 is slow to create files for
/// a while after many were.
pub fn rsync(lan: &Lan, folder: &Path, books: &Path, copy: &Path) -> Took {
    let config = folder.join("rsyncd.conf");
    let text = format!("use chroot = no\nuid = 0\ngid = 0\n[books]\npath = {}\n", books.display());
    fs::write(&config, text).unwrap();
    let cpu = cpu_of_children();
    let mut server = lan.hosts[0].command("rsync");
    let server =
        Process(server.args(["--daemon", "--no-detach", "--port=4998", "--config"]).arg(&config).spawn().unwrap());
    let url = format!("rsync://{}:4998/books/", lan.hosts[0].ip);
    let deadline = now() + Duration::from_secs(10);
    let elapsed = loop {
        let begin = now();
        let status = lan.hosts[1].command("rsync").args(["-a", &url]).arg(copy).stderr(Stdio::null()).status();
        let elapsed = begin.elapsed();
        if status.expect("this measurement needs rsync").success() {
            break elapsed;
        }
        assert!(now() < deadline, "rsync does not work");
    };
    drop(server);
    Took { elapsed, cpu: cpu_of_children() - cpu }
}
