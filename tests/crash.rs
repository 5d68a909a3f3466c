//! Power cuts at any moment: what was acknowledged is there afterwards, and what is there is right.
//!
//! A round starts from what the rounds before left behind, cuts the power in the middle of an operation or at the very
//! moment at which it is acknowledged, brings the power back, and compares what is there with a naive account of what was
//! acknowledged. `CRASH_SEED` repeats the choices of a run, though not the machine's timing.

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead, BufReader, Read},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use allibrary::clock;
use fastrand::Rng;
use serde_json::Value;
use support::{
    disk::{Disk, without_syncs},
    netns::{Host, Lan},
    node::{DEADLINE, Node, Place},
};

/// A mirror keeps what its publisher withdraws: it grows with every round.
const DISK_BYTES: u64 = 1 << 30;
/// After a cut in the middle of work the next one comes later: so about as many fall there as at its end.
const LATER: f64 = 1.1;

#[test]
fn what_was_acknowledged_survives_power_cuts() {
    publish(20);
}

#[test]
fn a_mirror_survives_power_cuts() {
    mirror(12);
}

#[test]
#[ignore = "takes minutes: make test-crash"]
fn what_was_acknowledged_survives_200_power_cuts() {
    publish(200);
}

#[test]
#[ignore = "takes minutes: make test-crash"]
fn a_mirror_survives_100_power_cuts() {
    mirror(100);
}

/// A test that never fails proves nothing: this one must, with a program whose syncs do nothing.
#[test]
fn a_program_that_does_not_sync_is_caught() {
    const ROUNDS: u32 = 10;
    let folder = tempfile::tempdir().unwrap();
    let host = Host::alone();
    let mut publisher = Publisher::new(folder.path(), &host);
    let shim = without_syncs(folder.path());
    publisher.place = publisher.place.with("LD_PRELOAD", shim.to_str().unwrap());
    let found = (0..ROUNDS).find_map(|_| catch_unwind(AssertUnwindSafe(|| publisher.round())).err());
    let found = found.expect("nothing was lost without a sync");
    let found = found.downcast_ref::<String>().expect("an assertion with a message");
    assert!(found.contains(LOST), "{found}");
}

/// What every message about a loss begins with.
const LOST: &str = "acknowledged and lost";

fn publish(rounds: u32) {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::alone();
    let mut publisher = Publisher::new(folder.path(), &host);
    (0..rounds).for_each(|_| publisher.round());
    publisher.tally.tell(rounds);
}

fn mirror(rounds: u32) {
    let folder = tempfile::tempdir().unwrap();
    let lan = Lan::new(2);
    let mut mirror = Mirror::new(folder.path(), &lan);
    (0..rounds).for_each(|_| mirror.round());
    mirror.finish();
    mirror.tally.tell(rounds);
}

/// Content ids by path.
type Files = BTreeMap<String, String>;

/// The account of one collection.
#[derive(Default)]
struct Shelf {
    files: Files,
    /// What the owner called files, by their paths.
    titles: Files,
    /// The highest version that was told.
    version: u64,
}

/// How the cuts fell.
#[derive(Default)]
struct Tally {
    in_the_middle: u32,
}

impl Tally {
    fn tell(&self, rounds: u32) {
        println!("{rounds} power cuts, {} of them in the middle of work", self.in_the_middle);
        assert!(self.in_the_middle * 12 >= rounds, "too few cuts fell in the middle of work");
    }
}

fn rng() -> Rng {
    let seed = std::env::var("CRASH_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("CRASH_SEED={seed}");
    Rng::with_seed(seed)
}

/// Changes a folder of books: new files, new editions, and files that are gone.
fn edit(rng: &mut Rng, folder: &Path, most: usize) {
    let mut names: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    rng.shuffle(&mut names);
    let gone = (names.len() + most / 2).saturating_sub(most) + rng.usize(..3);
    names.drain(..gone.min(names.len())).for_each(|path| fs::remove_file(path).unwrap());
    let changed: Vec<_> = names.into_iter().take(rng.usize(..8)).collect();
    let new = (0..rng.usize(4..most / 3)).map(|_| folder.join(format!("{:08x}.bin", rng.u32(..))));
    for path in changed.into_iter().chain(new.collect::<Vec<_>>()) {
        // Mostly small, some with an outboard, a few large.
        let bytes = match rng.u8(..) {
            0..200 => rng.usize(..20_000),
            200..250 => rng.usize(60_000..300_000),
            _ => rng.usize(1_000_000..6_000_000),
        };
        let mut content = vec![0; bytes];
        rng.fill(&mut content);
        fs::write(path, content).unwrap();
    }
}

/// What a folder holds.
fn files_in(folder: &Path) -> Files {
    let files = support::node::files_below(folder).into_iter();
    files.map(|(path, bytes)| (path.to_str().unwrap().to_owned(), blake3::hash(&bytes).to_string())).collect()
}

/// Whether the file at this path has this content id.
fn holds(path: &Path, id: &str) -> bool {
    fs::read(path).is_ok_and(|bytes| blake3::hash(&bytes).to_string() == id)
}

/// What a command told until the power was cut.
struct Told {
    lines: Vec<Value>,
    /// How long it took to acknowledge, if it did.
    took: Option<Duration>,
}

/// Runs a command that acknowledges what it does, and cuts the power at a moment that is drawn by lot, or as soon as it
/// acknowledges. `pace` is how long it took when it was last let end.
fn cut_during(disk: &Disk, mut command: Command, pace: &mut Duration, rng: &mut Rng) -> Told {
    let moment = pace.mul_f64(rng.f64() * 1.3);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let started = clock::now();
    let (stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let (sender, lines) = mpsc::channel();
    let reader = thread::spawn(move || {
        // A line that was cut short is none.
        let whole = BufReader::new(stdout).lines().map_while(Result::ok);
        whole.filter_map(|line| serde_json::from_str(&line).ok()).for_each(|line: Value| _ = sender.send(line));
    });
    let (mut told, mut ended) = (Told { lines: Vec::new(), took: None }, false);
    while told.took.is_none() && !ended {
        match lines.recv_timeout(moment.saturating_sub(started.elapsed())) {
            Ok(line) => {
                told.took = is_acknowledgement(&line).then(|| started.elapsed());
                told.lines.push(line);
            }
            Err(mpsc::RecvTimeoutError::Timeout) => break,
            Err(mpsc::RecvTimeoutError::Disconnected) => ended = true,
        }
    }
    disk.cut();
    let _ = child.kill();
    let status = child.wait().unwrap();
    reader.join().unwrap();
    // What was told at the same time counts too.
    told.lines.extend(lines.iter());
    if told.took.is_none() && told.lines.iter().any(is_acknowledgement) {
        told.took = Some(started.elapsed());
    }
    *pace = told.took.unwrap_or(pace.mul_f64(LATER));
    if ended {
        let mut said = String::new();
        stderr.read_to_string(&mut said).unwrap();
        panic!("{command:?} ended with {status} before the cut: {said}");
    }
    told
}

fn is_acknowledgement(line: &Value) -> bool {
    ["added", "removed", "edited"].map(Value::from).contains(&line["event"])
}

/// The collections by their folder.
fn collections(place: &Place) -> BTreeMap<String, Value> {
    let name = |value: &Value| value["folder"].as_str().unwrap().to_owned();
    place.json(&["ls"]).into_iter().map(|value| (name(&value), value)).collect()
}

/// Has the program verify all that it claims to have, and verifies that in turn. `may_miss` says of a file that its owner
/// changed it. Returns the ids of all that the index knows.
fn check_bytes(place: &Place, may_miss: impl Fn(&str) -> bool) -> Vec<String> {
    let output = place.run(&["--json", "verify"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(0 | 7)), "verify failed: {} {said}", output.status);
    let mut ids = Vec::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let Some(id) = line["id"].as_str() else { continue };
        ids.push(id.to_owned());
        let paths: Vec<&str> = line["paths"].as_array().unwrap().iter().map(|path| path.as_str().unwrap()).collect();
        if line["fault"].is_null() {
            assert!(paths.iter().any(|path| holds(path.as_ref(), id)), "wrong bytes are called good: {line}");
        } else {
            assert!(paths.iter().all(|path| may_miss(path)), "{LOST}: {line}");
        }
    }
    ids
}

/// A node that publishes one collection of copies, and one of files that stay where they are.
struct Publisher<'a> {
    place: Place<'a>,
    disk: Disk,
    rng: Rng,
    shelves: BTreeMap<&'static str, Shelf>,
    /// How long each command took when it was last let end.
    paces: BTreeMap<String, Duration>,
    tally: Tally,
}

const COPIES: &str = "Copies";
const IN_PLACE: &str = "In place";
/// Files of one collection, about.
const SHELF_FILES: usize = 120;

impl<'a> Publisher<'a> {
    /// With a store that has been in use.
    fn new(folder: &Path, host: &'a Host) -> Self {
        let mut place = Place::on(host, folder).with("ALLIBRARY_MIRROR_RESERVE", "0");
        let disk = Disk::new(&folder.join("disk"), &folder.join("node"), DISK_BYTES);
        let mut rng = rng();
        let started = clock::now();
        let shelves = [COPIES, IN_PLACE].map(|name| {
            let books = folder.join(name);
            fs::create_dir(&books).unwrap();
            (0..4).for_each(|_| edit(&mut rng, &books, SHELF_FILES));
            place.folder = folder.to_owned();
            place.ok(&Self::add(name, &books));
            (name, Shelf { files: files_in(&books), titles: Files::new(), version: 1 })
        });
        let pace = started.elapsed() / 4;
        let paces = ["add", "rm", "edit"].map(|command| (command.to_owned(), pace)).into();
        Self { place, disk, rng, shelves: shelves.into(), paces, tally: Tally::default() }
    }

    fn add<'b>(name: &str, books: &'b Path) -> Vec<&'b str> {
        let copy = (name == COPIES).then_some("--copy");
        ["add"].into_iter().chain(copy).chain([books.to_str().unwrap()]).collect()
    }

    fn round(&mut self) {
        let name = if self.rng.bool() { COPIES } else { IN_PLACE };
        let books = self.place.folder.join(name);
        let before = self.shelves[name].files.clone();
        let names: Vec<String> = before.keys().cloned().collect();
        let (mut after, mut said) = (before.clone(), None);
        let arguments = match (self.rng.u8(..20), self.rng.choice(&names)) {
            (0, Some(_)) => {
                after.clear();
                vec!["rm".to_owned(), name.to_owned()]
            }
            (1..6, Some(path)) => {
                after.remove(path);
                vec!["rm".to_owned(), format!("{name}/{path}")]
            }
            (6..11, Some(path)) => {
                let title = format!("{:08x}", self.rng.u32(..));
                said = Some((path.clone(), title.clone()));
                vec!["edit".to_owned(), format!("{name}/{path}"), "--title".to_owned(), title]
            }
            _ => {
                edit(&mut self.rng, &books, SHELF_FILES);
                after = files_in(&books);
                Self::add(name, &books).into_iter().map(str::to_owned).collect()
            }
        };
        // The work is done by the command itself, or by a running node.
        let node = self.rng.bool().then(|| self.place.start(&[]));
        let arguments: Vec<&str> = ["--json"].into_iter().chain(arguments.iter().map(String::as_str)).collect();
        let pace = self.paces.get_mut(arguments[1]).unwrap();
        let told = cut_during(&self.disk, self.place.command(&arguments), pace, &mut self.rng);
        if let Some(node) = node {
            node.kill();
        }
        self.disk.restore();
        self.tally.in_the_middle += u32::from(told.took.is_none());
        let shelf = self.shelves.get_mut(name).unwrap();
        let versions = told
            .lines
            .iter()
            .filter_map(|line| line["version"].as_u64().or_else(|| line["collection"]["version"].as_u64()));
        shelf.version = versions.fold(shelf.version, u64::max);
        let done = format!("{arguments:?}, acknowledged: {}", told.took.is_some());
        if let Some((path, title)) = said {
            let items = self.place.json(&["ls", name]);
            let found = items.iter().find(|item| item["path"] == path).map(|item| item["title"].as_str().unwrap());
            let shelf = self.shelves.get_mut(name).unwrap();
            if told.took.is_some() || found == Some(&title) {
                shelf.titles.insert(path, title);
            }
        }
        self.check(name, &before, &after, told.took.is_some(), &done);
    }

    /// One collection is as it was `before` an operation or as it is `after` it, and so if it was acknowledged; the others
    /// are as they were.
    fn check(&mut self, name: &str, before: &Files, after: &Files, acknowledged: bool, done: &str) {
        let found = collections(&self.place);
        for (other, shelf) in &mut self.shelves {
            let listed: Vec<Value> = match found.get(*other) {
                Some(_) => self.place.json(&["ls", other]),
                None => Vec::new(),
            };
            let text = |item: &Value, key: &str| item[key].as_str().unwrap().to_owned();
            let files: Files = listed.iter().map(|item| (text(item, "path"), text(item, "id"))).collect();
            if *other == name {
                assert!(files == *after || !acknowledged && files == *before, "{LOST}, or half done: {done}");
            } else {
                assert!(files == shelf.files, "{LOST}: {other} after {done}");
            }
            shelf.titles.retain(|path, _| files.contains_key(path));
            for item in &listed {
                let said = shelf.titles.get(item["path"].as_str().unwrap());
                assert!(
                    said.is_none_or(|title| item["title"] == **title),
                    "{LOST}: what was said of {item} after {done}"
                );
            }
            shelf.files = files;
            let books = self.place.folder.join(other);
            let copies = self.place.folder.join("node/library").join(other);
            for item in &listed {
                let (path, id) = (text(item, "path"), text(item, "id"));
                let owned = *other == COPIES || holds(&books.join(&path), &id);
                assert!(item["held"] == true || !owned, "{LOST}: {other}/{path} after {done}");
            }
            if let Some(collection) = found.get(*other) {
                let version = collection["version"].as_u64().unwrap();
                assert!(version >= shelf.version, "{LOST}: {other} went back to version {version} after {done}");
                shelf.version = version;
            }
            if acknowledged {
                let gone = before.iter().filter(|(path, id)| *other == name && after.get(*path) != Some(id));
                let back: Vec<_> = gone.filter(|(path, id)| holds(&copies.join(path), id)).collect();
                assert!(back.is_empty(), "removed files came back: {back:?} after {done}");
            }
        }
        let in_place = self.place.folder.join(IN_PLACE);
        let known = check_bytes(&self.place, |path| Path::new(path).starts_with(&in_place));
        let listed = self.shelves.values().flat_map(|shelf| shelf.files.values().cloned()).collect();
        let copies = &self.shelves[COPIES].files;
        let is_right = |path: &str, id: &str| {
            let below = path.strip_prefix(COPIES).and_then(|path| path.strip_prefix('/'));
            below.and_then(|path| copies.get(path)).is_some_and(|listed| listed == id)
        };
        check_tidy(&self.place, &known, &listed, is_right, done);
    }
}

/// Nothing is left behind: nothing of what nobody lists is `known` to the index, stands in the library, has an outboard or is
/// half fetched; there is no draft and no temporary file; and what stands in the library `is_right` there.
fn check_tidy(
    place: &Place,
    known: &[String],
    listed: &BTreeSet<String>,
    is_right: impl Fn(&str, &str) -> bool,
    done: &str,
) {
    let data = place.folder.join("node");
    let left: Vec<_> = known.iter().filter(|id| !listed.contains(*id)).collect();
    assert!(left.is_empty(), "left behind in the index: {left:?} by {done}");
    let library = files_in(&data.join("library"));
    let left: Vec<_> = library.iter().filter(|(path, id)| !listed.contains(*id) || !is_right(path, id)).collect();
    assert!(left.is_empty(), "left behind in the library: {left:?} by {done}");
    let names = |below: &str| support::node::files_below(&data.join(below)).into_keys().collect::<Vec<_>>();
    for name in names("outboard").into_iter().chain(names("incoming")) {
        let id = name.file_stem().unwrap().to_str().unwrap().to_owned();
        assert!(listed.contains(&id), "left behind: {name:?} by {done}");
    }
    let drafts = names("collections").into_iter().filter(|name| name.extension().is_some_and(|it| it == "draft"));
    assert_eq!(drafts.collect::<Vec<_>>(), [""; 0].map(PathBuf::from), "left behind by {done}");
}

/// A node that mirrors another, whose power is never cut.
struct Mirror<'a> {
    publisher: Place<'a>,
    _publishing: Node<'a>,
    place: Place<'a>,
    disk: Disk,
    rng: Rng,
    books: PathBuf,
    version: u64,
    /// What was seen to be complete.
    held: Held,
    unwanted: BTreeSet<String>,
    /// How long a removal took when it was last let end.
    pace: Duration,
    tally: Tally,
}

/// What a mirror has.
#[derive(Default)]
struct Held {
    /// Of what its publisher offers.
    offered: Files,
    /// Paths by content ids, of that and of what the publisher has withdrawn or replaced.
    ids: Files,
}

const BOOKS: &str = "Books";

impl<'a> Mirror<'a> {
    /// With a store that has been in use.
    fn new(folder: &Path, lan: &'a Lan) -> Self {
        let place = |host: usize| {
            Place::on(&lan.hosts[host], folder.join(format!("node{host}"))).with("ALLIBRARY_MIRROR_RESERVE", "0")
        };
        let mut rng = rng();
        let books = folder.join(BOOKS);
        fs::create_dir(&books).unwrap();
        (0..4).for_each(|_| edit(&mut rng, &books, SHELF_FILES));
        place(0).ok(&["add", books.to_str().unwrap()]);
        // Before there is a disk: the publisher must not hold it.
        let publishing = place(0).start(&[]);
        // Slow enough that a cut finds transfers under way, whatever the machine.
        let limit = "qdisc add dev eth0 root tbf rate 50mbit burst 64kb limit 256kb";
        assert!(lan.hosts[0].command("tc").args(limit.split(' ')).status().unwrap().success());
        let disk = Disk::new(&folder.join("disk"), &folder.join("node1/node"), DISK_BYTES);
        let mut mirror = Self {
            publisher: place(0),
            _publishing: publishing,
            place: place(1),
            disk,
            rng,
            books,
            version: 1,
            held: Held::default(),
            unwanted: BTreeSet::new(),
            pace: Duration::from_secs(1),
            tally: Tally::default(),
        };
        mirror.finish();
        mirror
    }

    /// What is complete now, and the collection's version.
    fn look(&self) -> (Held, u64) {
        let mut held = Held::default();
        let Some(version) = collections(&self.place).get(BOOKS).map(|found| found["version"].as_u64().unwrap()) else {
            return (held, 0);
        };
        for item in self.place.json(&["ls", BOOKS]).iter().filter(|item| item["held"] == true) {
            let [path, id] = ["path", "id"].map(|key| item[key].as_str().unwrap().to_owned());
            held.ids.insert(id.clone(), path.clone());
            if item["offered"] == true {
                held.offered.insert(path, id);
            }
        }
        (held, version)
    }

    /// What it will hold when all is fetched.
    fn wanted(&self) -> Files {
        let mut files = files_in(&self.books);
        files.retain(|path, _| !self.unwanted.contains(path));
        files
    }

    fn round(&mut self) {
        edit(&mut self.rng, &self.books, SHELF_FILES);
        self.publisher.ok(&["add", self.books.to_str().unwrap()]);
        let wanted = self.wanted();
        let names: Vec<String> = self.held.offered.keys().cloned().collect();
        let removed = self.rng.choice(&names).filter(|_| self.rng.u8(..3) == 0).cloned();
        let mut node = self.place.start(&["--mirror"]);
        node.wait_for_peers(1);
        let mut acknowledged = false;
        if let Some(path) = &removed {
            let name = format!("{BOOKS}/{path}");
            let command = self.place.command(&["--json", "rm", &name]);
            let told = cut_during(&self.disk, command, &mut self.pace, &mut self.rng);
            acknowledged = told.took.is_some();
            self.tally.in_the_middle += u32::from(!acknowledged);
        } else {
            self.cut_while_it_copies(&wanted, &node);
        }
        node.kill();
        self.disk.restore();
        if acknowledged {
            self.unwanted.extend(removed.clone());
        }
        self.check(removed.as_deref(), &wanted);
        if let Some(path) = removed.filter(|_| !acknowledged) {
            // The owner does it again. By now the publisher may have withdrawn it.
            let done = self.place.run(&["rm", &format!("{BOOKS}/{path}")]).status.code();
            assert!(matches!(done, Some(0 | 6)), "{done:?}");
            self.held.ids.retain(|_, other| *other != path);
            self.held.offered.remove(&path);
            self.unwanted.insert(path);
        }
    }

    /// Cuts the power at the moment at which so many of the new files have arrived.
    fn cut_while_it_copies(&mut self, wanted: &Files, node: &Node<'_>) {
        let library = self.disk_library();
        let new: Vec<PathBuf> = wanted.keys().map(|path| library.join(path)).filter(|path| !path.exists()).collect();
        let arrived = || new.iter().filter(|path| path.exists()).count();
        let (when, looks) = (self.rng.usize(..=new.len()), self.rng.bool());
        let started = clock::now();
        while arrived() < when {
            assert!(started.elapsed() < DEADLINE, "the mirror does not become complete:\n{}", node.log());
            // To look takes a while, in which more arrives: half of the cuts come without, at the moment itself.
            if looks {
                (self.held, self.version) = self.look();
            } else {
                thread::sleep(Duration::from_millis(1));
            }
        }
        let there = arrived();
        self.disk.cut();
        self.tally.in_the_middle += u32::from(there > 0 && there < new.len());
    }

    fn check(&mut self, removed: Option<&str>, wanted: &Files) {
        let (held, version) = self.look();
        assert!(version >= self.version, "version {} went back to {version}", self.version);
        for (id, path) in &self.held.ids {
            // Of an edition that its publisher replaced or withdrew a newer one may have taken the place meanwhile.
            let replaced = match self.held.offered.get(path) == Some(id) {
                true => held.offered.contains_key(path) && held.offered.get(path) == wanted.get(path),
                false => held.ids.values().any(|other| other == path),
            };
            let is_here = held.ids.contains_key(id) || replaced;
            assert!(is_here || Some(&**path) == removed, "{LOST}: {path}, {id}");
        }
        for path in &self.unwanted {
            let file = self.disk_library().join(path);
            assert!(!held.offered.contains_key(path) && !file.exists(), "what was removed is back: {path}");
        }
        for (path, id) in &held.offered {
            assert!(holds(&self.disk_library().join(path), id), "wrong bytes: {path} is not {id}");
        }
        (self.held, self.version) = (held, version);
        let known = check_bytes(&self.place, |_| false);
        let items = if version > 0 { self.place.json(&["ls", BOOKS]) } else { Vec::new() };
        let listed = items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect();
        check_tidy(&self.place, &known, &listed, |_, _| true, "mirroring");
    }

    fn disk_library(&self) -> PathBuf {
        self.place.folder.join("node/library").join(BOOKS)
    }

    /// Lets the mirror become complete, and compares it with the original.
    fn finish(&mut self) {
        let wanted = self.wanted();
        let mut node = self.place.start(&["--mirror"]);
        node.wait_for_peers(1);
        let started = clock::now();
        let has_all = |held: &Held| wanted.iter().all(|(path, id)| held.offered.get(path) == Some(id));
        while !has_all(&self.held) {
            assert!(started.elapsed() < DEADLINE, "the mirror does not become complete:\n{}", node.log());
            (self.held, self.version) = self.look();
        }
        assert_eq!(node.stop(), Some(0));
        self.check(None, &wanted);
    }
}
