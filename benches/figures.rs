//! What a node costs, for README and ARCHITECTURE: `make bench`, as root, on an otherwise idle machine.
//!
//! Two hosts in network namespaces, the program as it is released. What is asserted is memory, bytes and counts. How fast it
//! is next to others is in `transfer.rs`.

#[path = "shared/mirrored.rs"]
mod mirrored;
mod shared;
#[path = "../tests/support/mod.rs"]
mod support;

use std::{fs, path::Path, time::Duration};

use mirrored::mib;
use shared::{cpu_of_children, hold, row};
use support::{netns::Lan, node::Place};

const MIB: u64 = 1 << 20;

fn main() {
    shared::run(&[
        ("size", &binary_size),
        ("real", &|| real_files(shared::folder().path())),
        ("many", &|| many_files(shared::folder().path())),
    ]);
}

fn binary_size() {
    let bytes = fs::metadata(env!("CARGO_BIN_EXE_allibrary")).unwrap().len();
    row("stripped binary", format!("{:.1} MiB", bytes as f64 / MIB as f64), "≤ 9 MiB");
    hold(bytes <= 9 * MIB, "the size of the binary");
}

fn real_files(folder: &Path) {
    let books = folder.join("Files");
    let copied = copy_real_files(Path::new("/usr"), &books, 20_000);
    let lan = Lan::new(2);
    let ours = mirrored::mirror(&lan, folder, &books, copied);
    ours.report("20,000 small files of /usr", &mirrored::ORDINARY);
}

/// 50,000 pages of 1 KiB, or as many as `FIGURES_ITEMS` says.
fn many_files(folder: &Path) {
    let items: u64 = std::env::var("FIGURES_ITEMS").map_or(50_000, |items| items.parse().unwrap());
    let books = folder.join("Pages");
    for number in 0..items {
        let shelf = books.join((number / 500).to_string());
        fs::create_dir_all(&shelf).unwrap();
        let mut bytes = vec![0; 1024];
        fastrand::Rng::with_seed(number).fill(&mut bytes);
        fs::write(shelf.join(format!("{number}.html")), bytes).unwrap();
    }
    let ours = mirrored::mirror(&Lan::new(2), folder, &books, items);
    row(&format!("{items} items: peak memory, sender / receiver"), mib(ours.peak_kib), "≤ 28.6 MiB (30 MB) for 50,000");
    row(&format!("{items} items: idle afterwards"), mib(ours.idle_kib), "≤ 28.6 MiB (30 MB) for 50,000");
    hold(items > 50_000 || ours.peak_kib.iter().all(|kib| *kib * 1024 <= 30_000_000), "the memory of 50,000 items");
    ours.hold_writes();
    let before = cpu_of_children();
    let said = Place::here(folder.join("node0")).ok(&["rescan"]);
    assert!(said.contains(&format!(" {items} unchanged")), "{said}");
    let spent = cpu_of_children() - before;
    row(
        &format!("{items} unchanged files: CPU of a rescan"),
        format!("{:.2} s", spent.as_secs_f64()),
        "≤ 2 s for 50,000",
    );
    hold(items > 50_000 || spent <= Duration::from_secs(2), "the CPU of a rescan");
}

/// Copies files until so many different ones are there; returns how many.
fn copy_real_files(from: &Path, to: &Path, count: u64) -> u64 {
    let mut seen = std::collections::HashSet::new();
    let mut folders = vec![from.to_path_buf()];
    while let Some(next) = folders.pop() {
        let mut entries: Vec<_> = fs::read_dir(&next).into_iter().flatten().flatten().collect();
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let kind = entry.file_type().unwrap();
            let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            if kind.is_dir() && !hidden {
                folders.push(entry.path());
            } else if kind.is_file() && !hidden && entry.metadata().unwrap().len() <= 256 * 1024 {
                let bytes = fs::read(entry.path()).unwrap();
                if seen.insert(blake3::hash(&bytes)) {
                    let copy = to.join(entry.path().strip_prefix(from).unwrap());
                    fs::create_dir_all(copy.parent().unwrap()).unwrap();
                    fs::write(copy, bytes).unwrap();
                }
                if seen.len() as u64 == count {
                    return count;
                }
            }
        }
    }
    seen.len() as u64
}
