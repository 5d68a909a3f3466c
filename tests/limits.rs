//! What bounds transfers while they are under way: rates in each direction, pauses, cancelling, the hour. Counted in bytes on the
//! wire.

mod support;

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::Duration,
};

use allibrary::clock;
use serde_json::Value;
use support::{
    netns::Host,
    node::{Node, Nodes, Place},
};

const MIB: usize = 1 << 20;
/// How long bytes are counted.
const WINDOW: Duration = Duration::from_secs(5);
/// Heads of all layers, acknowledgements and proofs, for each byte of content, in percent.
const HEADS: u64 = 8;
/// What may pass beside: announcements, heartbeats, and the steps in which a receiver tells its sender to go on.
const BESIDE_BYTES: u64 = 160 * 1024;

fn share(nodes: &Nodes, place: &Place<'_>, name: &str, bytes: usize) -> (PathBuf, Vec<u8>) {
    let folder = nodes.folder(name);
    let mut content = vec![0; bytes];
    fastrand::Rng::with_seed(bytes as u64).fill(&mut content);
    content[..name.len()].copy_from_slice(name.as_bytes());
    fs::write(folder.join("film.webm"), &content).unwrap();
    place.ok(&["add", folder.to_str().unwrap()]);
    (folder, content)
}

/// Has a node, running or not, go by this section `transfer` from now on.
fn configure(place: &Place<'_>, transfer: &str) {
    let file = place.folder.join(".config/allibrary/allibrary.toml");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, format!("[transfer]\n{transfer}")).unwrap();
}

fn reconfigure(place: &Place<'_>, transfer: &str) {
    configure(place, transfer);
    place.ok(&["config", "reload"]);
}

/// The first lines of `transfers watch`.
fn watch(place: &Place<'_>, lines: usize) -> Vec<Value> {
    let mut command = place.command(&["--json", "transfers", "watch"]);
    let mut watching = command.stdout(Stdio::piped()).spawn().unwrap();
    let shown = BufReader::new(watching.stdout.take().unwrap()).lines().take(lines);
    let shown = shown.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    watching.kill().unwrap();
    watching.wait().unwrap();
    shown
}

fn done(status: &Value) -> u64 {
    status["transfers"].as_array().into_iter().flatten().map(|it| it["bytes_done"].as_u64().unwrap()).sum()
}

/// Waits until what arrives is near what it may be: before that there is what was on its way.
fn settle(node: &mut Node<'_>, bytes_s: u64) {
    node.wait_for(&format!("a rate of at most {bytes_s}"), |status| {
        let rates = status["transfers"].as_array().unwrap().iter().map(|it| it["rate_bytes_s"].as_u64().unwrap());
        let rate: u64 = rates.sum();
        rate > 0 && rate < bytes_s * 11 / 10
    });
}

/// Bytes in each second that these hosts received and sent.
fn measure<const N: usize>(hosts: [&Host; N]) -> [[f64; 2]; N] {
    let look = || (clock::now(), hosts.map(Host::bytes));
    let (begun, before) = look();
    thread::sleep(WINDOW);
    let (ended, after) = look();
    let seconds = (ended - begun).as_secs_f64();
    std::array::from_fn(|host| {
        std::array::from_fn(|way| {
            let bytes = after[host][way] - before[host][way];
            println!("host {host}, way {way}: {bytes} bytes in {seconds} s");
            bytes.saturating_sub(BESIDE_BYTES) as f64 / seconds
        })
    })
}

/// It is no more than so much, and not much less: half, as the machine may be busy.
fn assert_near(measured: f64, bytes_s: u64) {
    let most = (bytes_s + bytes_s * HEADS / 100) as f64;
    assert!(measured <= most, "{measured} bytes in a second, {bytes_s} are allowed");
    assert!(measured >= bytes_s as f64 / 2.0, "{measured} bytes in a second of {bytes_s} that are allowed");
}

fn assert_complete(node: &mut Node<'_>, files: &[(&str, &[u8])]) {
    node.wait_for_blobs(files.len() as u64);
    for (name, content) in files {
        assert!(fs::read(node.library().join(name).join("film.webm")).unwrap() == *content, "{name}");
    }
}

#[test]
fn uploads_keep_to_their_rates() {
    let nodes = Nodes::new(3);
    let [publisher, one, other] = [0, 1, 2].map(|host| nodes.place(host));
    let files = [("One", 48 * MIB), ("Other", 49 * MIB)].map(|(name, bytes)| share(&nodes, &publisher, name, bytes).1);
    configure(&publisher, "upload_rate_per_peer = '400 kB'");
    let _publisher = publisher.start(&[]);
    // They have nothing to give to each other.
    let mut mirrors = [one.start(&["--mirror", "--only", "One"]), other.start(&["--mirror", "--only", "Other"])];
    mirrors.iter_mut().for_each(|node| settle(node, 400_000));
    let hosts = &nodes.lan.hosts;
    let [sender, first, second] = measure([&hosts[0], &hosts[1], &hosts[2]]);
    assert_near(first[0], 400_000);
    assert_near(second[0], 400_000);
    assert_near(sender[1], 800_000);

    // Rates change for transfers under way.
    reconfigure(&publisher, "upload_rate = '500 kB'");
    mirrors.iter_mut().for_each(|node| settle(node, 300_000));
    let [sender] = measure([&hosts[0]]);
    assert_near(sender[1], 500_000);

    reconfigure(&publisher, "");
    assert_complete(&mut mirrors[0], &[("One", &files[0])]);
    assert_complete(&mut mirrors[1], &[("Other", &files[1])]);
}

#[test]
fn a_peer_that_matters_more_is_sent_more() {
    let nodes = Nodes::new(3);
    let [publisher, one, other] = [0, 1, 2].map(|host| nodes.place(host));
    for (name, bytes) in [("One", 48 * MIB), ("Other", 49 * MIB)] {
        share(&nodes, &publisher, name, bytes);
    }
    configure(&publisher, "upload_rate = '900 kB'");
    let _publisher = publisher.start(&[]);
    let mut mirrors = [one.start(&["--mirror", "--only", "One"]), other.start(&["--mirror", "--only", "Other"])];
    mirrors.iter_mut().for_each(|node| _ = node.wait_for("a part", |status| done(status) > MIB as u64));
    // For streams under way, and kept.
    publisher.ok(&["transfers", "priority", &one.id(), "high"]);
    publisher.ok(&["transfers", "priority", &other.id(), "low"]);
    let hosts = &nodes.lan.hosts;
    let settled = |status: &Value| status["transfers"][0]["rate_bytes_s"].as_u64().unwrap_or(u64::MAX) < 300_000;
    mirrors[1].wait_for("a lower rate", settled);
    let [[first, _], [second, _]] = measure([&hosts[1], &hosts[2]]);
    // Four times as much; half of that, as the machine may be busy.
    assert!(first > 2.0 * second, "{first} and {second} bytes in a second");
    let said = publisher.json(&["transfers"]);
    let priority = |id: String| said.iter().find(|it| it["peer"] == *id).map(|it| it["priority"].clone());
    assert_eq!([priority(one.id()), priority(other.id())], [Some("high".into()), Some("low".into())]);
}

#[test]
fn single_files_come_first_or_wait() {
    let nodes = Nodes::new(2);
    let [publisher, reader] = [0, 1].map(|host| nodes.place(host));
    let folder = nodes.folder("Films");
    let names = ["a.webm", "b.webm", "c.webm"];
    let films = names.map(|name| support::rot::content(6 * MIB, name.as_bytes()[0]));
    names.iter().zip(&films).for_each(|(name, film)| fs::write(folder.join(name), film).unwrap());
    publisher.ok(&["add", folder.to_str().unwrap()]);
    let _publisher = publisher.start(&[]);
    configure(&reader, "download_rate = '2 MB'");
    let mut mirror = reader.start(&["--mirror"]);
    let is_here = |name: &str| mirror_file(&reader, name).exists();
    mirror.wait_for("a part", |status| done(status) > 0);
    reader.ok(&["transfers", "priority", "Films/c.webm", "high"]);
    reader.ok(&["transfers", "cancel", "Films/a.webm"]);
    mirror.wait_for_blobs(1);
    assert!(is_here("c.webm") && !is_here("a.webm"), "the one that matters most comes first");
    reconfigure(&reader, "");
    mirror.wait_for_blobs(2);
    mirror.wait_for_idle();
    assert!(is_here("b.webm") && !is_here("a.webm"));
    assert_eq!(half_files(&reader.folder.join("node")), 0, "what was cancelled takes no room");
    let listed = reader.json(&["transfers"]);
    let found = |path: &str| listed.iter().find(|it| it["path"] == path).cloned().unwrap_or_default();
    assert_eq!((&found("a.webm")["state"], &found("c.webm")["priority"]), (&"cancelled".into(), &"high".into()));
    assert_eq!((&found("c.webm")["items_done"], &found("c.webm")["bytes_done"]), (&1.into(), &(6 * MIB).into()));

    // It holds across a restart.
    assert_eq!(mirror.stop(), Some(0));
    let mut mirror = reader.start(&["--mirror"]);
    mirror.wait_for_peers(1);
    mirror.wait_for("the word", |status| status["controls"]["items"][0]["state"] == "cancelled");
    assert_silent(&nodes.lan.hosts[1]);
    reader.ok(&["transfers", "resume", "Films/a.webm"]);
    mirror.wait_for_blobs(3);
    for (name, film) in names.iter().zip(&films) {
        assert!(fs::read(mirror_file(&reader, name)).unwrap() == *film, "{name}");
    }
    assert_eq!(reader.run(&["transfers", "pause", "Films/d.webm"]).status.code(), Some(6));
    assert_eq!(reader.run(&["transfers", "cancel", &publisher.id()]).status.code(), Some(1));
}

fn mirror_file(place: &Place<'_>, name: &str) -> PathBuf {
    place.folder.join("node/library/Films").join(name)
}

#[test]
fn downloads_keep_to_their_rates() {
    let nodes = Nodes::new(3);
    let [one, other, reader] = [0, 1, 2].map(|host| nodes.place(host));
    let files = [share(&nodes, &one, "One", 48 * MIB).1, share(&nodes, &other, "Other", 49 * MIB).1];
    let _publishers = [one.start(&[]), other.start(&[])];
    configure(&reader, "download_rate_per_peer = '400 kB'");
    let mut mirror = reader.start(&["--mirror"]);
    mirror.wait_for("both", |status| status["transfers"].as_array().unwrap().len() == 2);
    // Senders run ahead of their reader, further after half a mebibyte.
    mirror.wait_for("full windows", |status| done(status) > 6 * MIB as u64);
    settle(&mut mirror, 800_000);
    let hosts = &nodes.lan.hosts;
    let [first, second, all] = measure([&hosts[0], &hosts[1], &hosts[2]]);
    assert_near(first[1], 400_000);
    assert_near(second[1], 400_000);
    assert_near(all[0], 800_000);

    reconfigure(&reader, "download_rate = '500 kB'");
    settle(&mut mirror, 500_000);
    let [all] = measure([&hosts[2]]);
    assert_near(all[0], 500_000);

    reconfigure(&reader, "");
    assert_complete(&mut mirror, &[("One", &files[0]), ("Other", &files[1])]);
}

/// Nothing of a film comes any more.
fn assert_silent(host: &Host) {
    let [[received, _]] = measure([host]);
    assert!(received < 10_000.0, "{received} bytes in a second");
}

#[test]
fn a_pause_stops_bytes_and_nothing_is_fetched_again() {
    let nodes = Nodes::new(2);
    let [publisher, reader] = [0, 1].map(|host| nodes.place(host));
    let (_, film) = share(&nodes, &publisher, "Films", 48 * MIB);
    let size = film.len() as u64;
    configure(&reader, "download_rate = '4 MB'");
    let _publisher = publisher.start(&[]);
    let mut mirror = reader.start(&["--mirror"]);
    mirror.wait_for("a part", |status| done(status) > size / 8);
    let shown = watch(&reader, 2);
    for progress in &shown {
        assert_eq!((&progress["event"], &progress["bytes_total"]), (&"progress".into(), &size.into()), "{progress}");
        assert_eq!(progress["transfers"][0]["sources"], 1, "{progress}");
        assert_eq!(progress["rate_bytes_s"], progress["transfers"][0]["total_rate_bytes_s"], "{progress}");
    }
    assert!(shown[0]["bytes_done"].as_u64() < shown[1]["bytes_done"].as_u64(), "{shown:?}");

    // Here, of everything; it holds after a restart.
    reader.ok(&["transfers", "pause"]);
    mirror.wait_for("the pause", |status| status["transfers"] == Value::Array(vec![]));
    assert_silent(&nodes.lan.hosts[1]);
    assert_eq!(mirror.stop(), Some(0));
    let mut mirror = reader.start(&["--mirror"]);
    mirror.wait_for_peers(1);
    let status = mirror.wait_for("the pause", |status| status["controls"]["paused"] == true);
    assert!(status["notices"].to_string().contains("transfers are paused"), "{status}");
    assert_silent(&nodes.lan.hosts[1]);
    reader.ok(&["transfers", "resume"]);
    mirror.wait_for("more", |status| done(status) > size / 4);

    // Of this collection.
    reader.ok(&["transfers", "pause", "Films"]);
    mirror.wait_for("the pause", |status| status["transfers"] == Value::Array(vec![]));
    assert_silent(&nodes.lan.hosts[1]);
    let listed = reader.json(&["transfers"]);
    assert_eq!((listed.len(), &listed[0]["state"], &listed[0]["folder"]), (1, &"paused".into(), &"Films".into()));
    reader.ok(&["transfers", "resume", "Films"]);
    mirror.wait_for("more", |status| done(status) > size / 2);

    // There, of this peer.
    let peer = reader.id();
    publisher.ok(&["transfers", "pause", &peer]);
    mirror.wait_for("the end of what was begun", |status| status["transfers"] == Value::Array(vec![]));
    assert_silent(&nodes.lan.hosts[1]);
    publisher.ok(&["transfers", "resume", &peer]);
    assert_complete(&mut mirror, &[("Films", &film)]);

    // What was on its way at each of the four ends is all that may have come twice.
    let received = nodes.lan.hosts[1].bytes()[0];
    let most = size + size * HEADS / 100 + 4 * MIB as u64;
    assert!(received < most, "{received} bytes received of a film of {size}");
}

#[test]
fn a_reader_goes_before_what_is_copied() {
    let nodes = Nodes::new(2);
    let [publisher, place] = [0, 1].map(|host| nodes.place(host));
    let (_, film) = share(&nodes, &publisher, "Films", 96 * MIB);
    share(&nodes, &place, "Own", 32 * MIB);
    let _publisher = publisher.start(&[]);
    configure(&place, "download_rate = '4 MB'\nrate_beside_readers = '400 kB'");
    let mut mirror = place.start(&["--mirror"]);
    let status = mirror.wait_for("the transfer", |status| done(status) > 4 * MIB as u64);
    let page: SocketAddr = {
        let url = status["pages"][0].as_str().unwrap();
        url.trim_start_matches("http://").trim_end_matches('/').parse().unwrap()
    };
    // Somebody who begins to read, and takes his time.
    let host = &nodes.lan.hosts[1];
    let mut reader = host.thread(move || TcpStream::connect(page).unwrap()).join().unwrap();
    write!(reader, "GET /c/Own/film.webm HTTP/1.1\r\nHost: {page}\r\n\r\n").unwrap();
    let mut answer = [0; 12];
    reader.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    settle(&mut mirror, 400_000);
    let [[received, _]] = measure([host]);
    assert_near(received, 400_000);
    drop(reader);
    mirror.wait_for("a higher rate", |status| status["transfers"][0]["rate_bytes_s"].as_u64() > Some(1_000_000));
    reconfigure(&place, "");
    mirror.wait_for_blobs(2);
    assert_complete(&mut mirror, &[("Films", &film)]);
}

fn half_files(data: &Path) -> usize {
    fs::read_dir(data.join("incoming")).unwrap().count()
}

#[test]
fn what_is_cancelled_frees_the_disk_until_it_is_resumed() {
    let nodes = Nodes::new(2);
    let [publisher, reader] = [0, 1].map(|host| nodes.place(host));
    let files = [("A", 16 * MIB), ("B", 17 * MIB)].map(|(name, bytes)| share(&nodes, &publisher, name, bytes).1);
    configure(&reader, "download_rate = '1 MB'");
    let _publisher = publisher.start(&[]);
    let mut mirror = reader.start(&["--mirror"]);
    mirror.wait_for("a part", |status| done(status) > 2 * MIB as u64);
    let collections = reader.json(&["ls"]);
    assert_eq!(collections.len(), 2);
    reader.ok(&["transfers", "cancel", "A", "B"]);
    assert_eq!(half_files(&reader.folder.join("node")), 0);
    assert_eq!(mirror.stop(), Some(0));

    // It holds across a restart, and can be said without a node.
    reader.ok(&["transfers", "resume", "B"]);
    reader.ok(&["transfers", "priority", "A", "high"]);
    configure(&reader, "");
    let mut mirror = reader.start(&["--mirror"]);
    assert_complete(&mut mirror, &[("B", &files[1])]);
    let listed = reader.json(&["transfers"]);
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!((&listed[0]["state"], &listed[0]["priority"]), (&"cancelled".into(), &"high".into()));
    reader.ok(&["transfers", "resume", "A"]);
    assert_complete(&mut mirror, &[("A", &files[0]), ("B", &files[1])]);

    let wrong =
        [(&["transfers", "cancel", "C"][..], 6), (&["transfers", "cancel"], 2), (&["transfers", "priority", "A"], 2)];
    for (arguments, code) in wrong {
        assert_eq!(reader.run(arguments).status.code(), Some(code), "{arguments:?}");
    }
    assert_eq!(publisher.run(&["transfers", "pause", "A"]).status.code(), Some(1), "its own");
}

#[test]
fn nothing_is_fetched_outside_of_the_hours() {
    let nodes = Nodes::new(2);
    let [publisher, reader] = [0, 1].map(|host| nodes.place(host));
    let (_, film) = share(&nodes, &publisher, "Films", MIB);
    let _publisher = publisher.start(&[]);
    let now = clock::minute_of_day().expect("this machine has a clock");
    let time = |minute: u16| format!("{:02}:{:02}", minute % 1440 / 60, minute % 60);
    configure(&reader, &format!("hours = '{}-{}'", time(now + 120), time(now + 240)));
    let mut mirror = reader.start(&["--mirror"]);
    mirror.wait_for_peers(1);
    let status = mirror.wait_for("the rest", |status| status["controls"]["resting"] == true);
    assert!(status["notices"].to_string().contains("transfer.hours"), "{status}");
    assert_silent(&nodes.lan.hosts[1]);
    assert_eq!(status["store"]["blobs"], 0);
    reconfigure(&reader, &format!("hours = '{}-{}'", time(now), time(now + 120)));
    assert_complete(&mut mirror, &[("Films", &film)]);
}
