//! A file behind 32-bit offsets takes no more memory than a small one.

mod support;

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
};

use support::{netns::Lan, node::Place};

const FILE_BYTES: u64 = 5_000_000_001;
/// What a transfer may take beside what the node takes without one: well below anything that grows with the file.
const MEMORY_KIB: u64 = 8 << 10;

#[test]
#[ignore = "five gigabytes: make check-long"]
fn a_file_of_5_gb_is_added_and_mirrored_in_little_memory() {
    let folder = tempfile::Builder::new().prefix("huge").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let lan = Lan::new(2);
    let place = |host: usize| Place::on(&lan.hosts[host], folder.path().join(format!("node{host}")));
    let films = folder.path().join("Films");
    fs::create_dir(&films).unwrap();
    // Sparse, but for some bytes on either side of what 32 bits can tell, and the last.
    let marks = [(0, 1), (u64::from(u32::MAX) - 1, 2), (1 << 32, 3), (FILE_BYTES - 1, 4)];
    let film = File::create(films.join("film.webm")).unwrap();
    film.set_len(FILE_BYTES).unwrap();
    for (offset, byte) in marks {
        film.write_all_at(&[byte], offset).unwrap();
    }

    let mut publisher = place(0).start(&[]);
    let before = publisher.memory_kib("VmRSS");
    place(0).ok(&["add", films.to_str().unwrap()]);
    publisher.wait_for_blobs(1);
    let mut mirror = place(1).start(&["--mirror"]);
    // Each look waits for some more of it, so that only a standstill ends the test.
    for tenth in 1..10 {
        mirror.wait_for("the next tenth", |status| {
            let done = status["transfers"][0]["bytes_done"].as_u64().unwrap_or(0);
            done >= FILE_BYTES / 10 * tenth || status["store"]["blobs"] == 1
        });
    }
    mirror.wait_for_blobs(1);

    for (node, who) in [(&publisher, "publisher"), (&mirror, "mirror")] {
        let peak = node.memory_kib("VmHWM");
        println!("{who}: {before} KiB at the start, {peak} KiB at most");
        assert!(peak < before + MEMORY_KIB, "the {who} took {peak} KiB");
    }
    let copy = File::open(mirror.library().join("Films/film.webm")).unwrap();
    assert_eq!(copy.metadata().unwrap().len(), FILE_BYTES);
    for (offset, byte) in marks {
        let mut found = [0];
        copy.read_exact_at(&mut found, offset).unwrap();
        assert_eq!(found[0], byte, "at {offset}");
    }
    assert_eq!(place(0).json(&["ls", "Films"])[0]["id"], place(1).json(&["ls", "Films"])[0]["id"]);
}
