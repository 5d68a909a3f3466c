//! Ways in for the fuzz targets of `fuzz/`; not part of the program.

use std::{fs::File, io::Write, os::fd::AsRawFd, path::PathBuf};

use rustix::fs::{MemfdFlags, memfd_create};

use super::{item::Item, manifest::Manifest, metadata, page, root::Root, state::Notes};

/// A page from anywhere.
pub fn page(bytes: &[u8]) {
    if let Ok(items) = page::parse(bytes) {
        assert!(items.is_sorted_by(|a, b| a.path < b.path));
    }
}

/// A signed root from anywhere.
pub fn root(bytes: &[u8]) {
    let _ = Root::verify(bytes);
}

/// A manifest on a bad disk.
pub fn manifest(bytes: &[u8]) {
    let (_file, path) = memory(bytes);
    let Ok(Some(mut manifest)) = Manifest::open(&path) else { return };
    let _ = (manifest.root(), manifest.folder(), manifest.items(), manifest.item("Books/1.txt"));
    let _ = manifest.find(&[[7; 32]]);
    let is_whole = manifest.check().is_ok();
    let counted = manifest.items().ok();
    let Ok(items) = manifest.items_from(0) else { return };
    // An error ends them.
    let items: Result<Vec<Item>, _> = items.collect();
    assert!(!is_whole || items.ok().map(|items| items.len() as u64) == counted);
}

/// Notes whose hash is right.
pub fn notes(body: &[u8]) {
    if let Some(notes) = Notes::from_bytes(body) {
        assert!(Notes::from_bytes(&notes.to_bytes()) == Some(notes));
    }
}

/// A book of any format: the first byte says which its name claims.
pub fn metadata(data: &[u8]) {
    let Some((format, bytes)) = data.split_first() else { return };
    let (_file, path) = memory(bytes);
    let name = ["a.epub", "a.pdf", "a.html", "Author - Title.txt"][usize::from(*format) % 4];
    let found = metadata::read(&path, name);
    assert!(!found.title.contains(char::is_control) && !found.author.contains(char::is_control));
}

fn memory(bytes: &[u8]) -> (File, PathBuf) {
    let mut file = File::from(memfd_create("fuzz", MemfdFlags::CLOEXEC).expect("memory is to be had"));
    file.write_all(bytes).expect("memory is to be had");
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    (file, path.into())
}
