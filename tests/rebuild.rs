//! The index lost or damaged in any way: the next start says so, and builds it again from the files. Nothing is lost, not
//! even what the owner said.

mod support;

use std::{fs, path::Path};

use fastrand::Rng;
use serde_json::Value;
use support::{
    netns::Lan,
    node::{Files, Nodes, Place, files_below},
};

/// What the program tells of what it has, without anything that may differ between two answers.
fn listing(place: &Place) -> Vec<Value> {
    let mut all = place.json(&["ls"]);
    let folders: Vec<String> = all.iter().map(|it| it["folder"].as_str().unwrap().to_owned()).collect();
    folders.iter().for_each(|folder| all.extend(place.json(&["ls", folder])));
    all.extend(place.json(&["verify"]).into_iter().filter(|line| line["event"] == "checked"));
    all
}

/// Damages one file, or makes it something else.
fn damage(rng: &mut Rng, file: &Path) -> String {
    let mut bytes = fs::read(file).unwrap();
    let len = bytes.len();
    let at = rng.usize(..=len);
    let end = rng.usize(at..=len);
    let what = match rng.u8(..8) {
        0..3 => {
            let flips = if len == 0 { 0 } else { rng.usize(1..64) };
            (0..flips).for_each(|_| bytes[rng.usize(..len)] ^= 1 << rng.u8(..8));
            format!("{flips} bits flipped")
        }
        3 => {
            bytes.truncate(at);
            format!("cut to {at} bytes")
        }
        4 => {
            rng.fill(&mut bytes[at..end]);
            format!("garbage from {at} to {end}")
        }
        5 => {
            bytes[at..end].fill(0);
            format!("zeros from {at} to {end}")
        }
        6 => {
            rng.fill(&mut bytes);
            "garbage".to_owned()
        }
        _ => {
            fs::remove_file(file).unwrap();
            match rng.u8(..3) {
                0 => fs::create_dir(file).unwrap(),
                1 => fs::write(file, "").unwrap(),
                _ => {}
            }
            return "gone".to_owned();
        }
    };
    fs::write(file, bytes).unwrap();
    what
}

/// Replaces the index by this one, and forgets those that were set aside.
fn put_index(data: &Path, saved: &Files, generation: &str) {
    for entry in fs::read_dir(data).unwrap().flatten() {
        if entry.file_name().to_string_lossy().starts_with("index") {
            fs::remove_dir_all(entry.path()).or_else(|_| fs::remove_file(entry.path())).unwrap();
        }
    }
    fs::create_dir_all(data.join("index/blobs")).unwrap();
    saved.iter().for_each(|(path, bytes)| fs::write(data.join("index").join(path), bytes).unwrap());
    fs::write(data.join("index.generation"), generation).unwrap();
}

#[test]
fn an_index_that_is_lost_or_damaged_is_built_again() {
    rebuild(16);
}

#[test]
#[ignore = "takes minutes"]
fn an_index_that_is_damaged_in_400_ways_is_built_again() {
    rebuild(400);
}

fn rebuild(rounds: u32) {
    let seed = std::env::var("DAMAGE_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("DAMAGE_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let folder = tempfile::tempdir().unwrap();
    let lan = Lan::new(2);
    let place = |host: usize| Place::on(&lan.hosts[host], folder.path().join(format!("node{host}")));
    let write = |name: &str, files: u32| {
        let books = folder.path().join(name);
        fs::create_dir_all(&books).unwrap();
        for number in 0..files {
            fs::write(books.join(format!("{number}.txt")), format!("{name} {number}").repeat(1 << (number % 15)))
                .unwrap();
        }
        books.to_str().unwrap().to_owned()
    };

    // A node with collections of all kinds: its own ones, of copies and in place, and those of another.
    let [mirrored, dropped] = [write("Mirrored", 40), write("Dropped", 3)];
    place(0).ok(&["add", &mirrored]);
    place(0).ok(&["add", &dropped]);
    let publisher = place(0).start(&[]);
    place(1).ok(&["add", "--copy", &write("Copies", 30)]);
    place(1).ok(&["add", &write("In place", 30)]);
    place(1).ok(&["add", "--collection", "Single", &format!("{}/7.txt", write("Elsewhere", 9))]);
    let mut node = place(1).start(&["--mirror"]);
    node.wait_for_blobs(61 + 43);
    node.wait_for_idle();
    place(1).ok(&["rm", "Mirrored/3.txt"]);
    place(1).ok(&["rm", "Dropped"]);
    // What its publisher withdraws stays.
    fs::remove_file(format!("{mirrored}/9.txt")).unwrap();
    place(0).ok(&["add", &mirrored]);
    let is_second = |it: &Value| it["folder"] == "Mirrored" && it["version"] == 2;
    node.wait_for("the second version", |_| place(1).json(&["ls"]).iter().any(is_second));
    node.wait_for_idle();
    assert_eq!(node.stop(), Some(0));

    let data = folder.path().join("node1/node");
    let before = listing(&place(1));
    let files = files_below(&data.join("library"));
    let saved = files_below(&data.join("index"));
    let generation = fs::read_to_string(data.join("index.generation")).unwrap();
    for round in 0..rounds {
        put_index(&data, &saved, &generation);
        let names: Vec<_> = saved.keys().collect();
        let done = match round {
            0 => {
                fs::remove_dir_all(data.join("index")).unwrap();
                "no index".to_owned()
            }
            1 => {
                fs::remove_dir_all(data.join("index")).unwrap();
                fs::write(data.join("index"), "a file").unwrap();
                "a file for an index".to_owned()
            }
            _ => {
                // Mostly the one that holds the records.
                let file = if rng.u8(..4) > 0 { Path::new("db") } else { rng.choice(names).unwrap() };
                format!("{}: {}", file.display(), damage(&mut rng, &data.join("index").join(file)))
            }
        };
        // It says so once, and goes on as if nothing had been.
        let first = place(1).run(&["ls"]);
        let said = String::from_utf8_lossy(&first.stderr);
        assert!(first.status.success(), "{done}: {said}");
        let after = listing(&place(1));
        assert_eq!(after, before, "{done}: {said}");
        if data.join("index.damaged-1").exists() || round < 2 {
            assert!(said.contains("the index was"), "{done}: {said}");
        }
        assert!(files_below(&data.join("library")) == files, "{done}: files of the library changed");
        let again = place(1).run(&["ls"]).stderr;
        let again = String::from_utf8_lossy(&again);
        assert!(!again.contains("the index was"), "{done}: {again}");
    }

    // Nor does what is not wanted come back from the publisher.
    fs::remove_dir_all(data.join("index")).unwrap();
    fs::write(format!("{mirrored}/new.txt"), "new").unwrap();
    place(0).ok(&["add", &mirrored]);
    let mut node = place(1).start(&["--mirror"]);
    node.wait_for("the new file", |_| data.join("library/Mirrored/new.txt").exists());
    node.wait_for_idle();
    assert!(!data.join("library/Mirrored/3.txt").exists() && !data.join("library/Dropped").join("0.txt").exists());
    drop((node, publisher));
}

/// Reading all files takes hours on a board; nobody waits for that.
#[test]
fn a_node_serves_while_its_index_is_built_again() {
    let nodes = Nodes::new(2);
    let (place, books) = (nodes.place(0), nodes.folder("Books"));
    // Looked at in this order.
    fs::write(books.join("1 small.txt"), "small").unwrap();
    // It takes seconds to hash, and no room.
    fs::File::create(books.join("2 large.bin")).unwrap().set_len(3 << 30).unwrap();
    let books = books.to_str().unwrap();
    place.ok(&["add", books]);
    fs::remove_dir_all(place.folder.join("node/index")).unwrap();

    let mut node = place.start(&[]);
    let is_told = |status: &Value| status["notices"].to_string().contains("built again");
    node.wait_for("what it does", is_told);
    let held =
        || -> Vec<bool> { place.json(&["ls", "Books"]).iter().map(|item| item["held"].as_bool().unwrap()).collect() };
    assert_eq!(held(), [false, false]);
    let refused = place.run(&["rm", "Books/1 small.txt"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(1) && said.contains("try again later"), "{}: {said}", refused.status);
    node.wait_for("the end of it", |status| !is_told(status) && status["store"]["blobs"] == 2);
    assert_eq!(held(), [true, true]);
    place.ok(&["rm", "Books/1 small.txt"]);
}

/// sled may drop what it wrote last and say nothing, if it was damaged.
#[test]
fn the_doctor_finds_what_an_index_that_went_back_has_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::here(folder.path());
    let (data, [copies, shared]) =
        (folder.path().join("node"), ["Copies", "Shared"].map(|name| folder.path().join(name)));
    let add = |number: u32| {
        for books in [&copies, &shared] {
            fs::create_dir_all(books).unwrap();
            fs::write(books.join(format!("{number}.bin")), format!("{number}").repeat(100_000)).unwrap();
            fs::write(books.join(format!("{number}.txt")), format!("{} {number}", books.display())).unwrap();
        }
        place.ok(&["add", "--copy", copies.to_str().unwrap()]);
        place.ok(&["add", shared.to_str().unwrap()]);
    };
    add(1);
    let old = files_below(&data.join("index"));
    add(2);
    let before = listing(&place);
    assert_eq!(place.json(&["doctor"]).iter().filter(|line| line["event"] == "found").count(), 0);

    // An index that went back is found out by itself and built again, as far as it is known how far it was.
    put_index(&data, &old, &fs::read_to_string(data.join("index.generation")).unwrap());
    assert_eq!(listing(&place), before);
    put_index(&data, &old, "");
    assert_ne!(listing(&place), before, "the old index does not know the new files");
    let said = place.ok(&["doctor"]);
    assert_eq!(said.matches("found again: ").count(), 4, "{said}");
    assert!(said.contains("0 damaged"), "{said}");
    assert_eq!(listing(&place), before);

    // And damage that is there.
    fs::write(data.join("library/Copies/1.txt"), "something else").unwrap();
    let output = place.run(&["doctor"]);
    assert_eq!(output.status.code(), Some(7));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1.txt"));
}
