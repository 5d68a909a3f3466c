//! The store on a real disk; a file for each topic.

mod away;
mod blobs;
mod downloads;
mod imports;
mod index;
mod names;
mod repair;
mod scrub;
mod together;

use std::{
    fs,
    ops::{ControlFlow, Range},
    os::unix::{
        ffi::OsStrExt,
        fs::{FileExt, MetadataExt, symlink},
    },
    path::Path,
};

use proptest::prelude::*;
use tempfile::TempDir;

use super::{unfinished::Doing, *};
use crate::limits::{
    GROUP_BYTES,
    store::{SMALL_FILE_BYTES, VALUE_BYTES},
    wire::DATA_BYTES,
};

fn open(data: &Path) -> Store {
    Store::open(data, Options::default()).unwrap()
}

/// Bytes that repeat nowhere near group size.
fn content(size: usize, seed: u8) -> Vec<u8> {
    let mut bytes = vec![0; size];
    blake3::Hasher::new_derive_key("test").update(&[seed]).finalize_xof().fill(&mut bytes);
    bytes
}

fn go_on(_: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn to(path: &str) -> LibraryPath {
    LibraryPath::new(path).unwrap()
}

/// A store that shares one file in place, and the id of the file.
fn with_file(dir: &TempDir, bytes: &[u8]) -> (Store, ContentId) {
    let path = dir.path().join("file.bin");
    fs::write(&path, bytes).unwrap();
    let store = open(&dir.path().join("data"));
    let id = import(&store, &path);
    (store, id)
}

/// Whether the blob is gone with this file.
fn remove(store: &Store, id: &ContentId, path: &Path) -> bool {
    store.remove(&[(*id, path.to_owned())]).unwrap();
    store.info(id).unwrap().is_none()
}

fn import(store: &Store, path: &Path) -> ContentId {
    let imported = store.import_in_place(path, &mut go_on).unwrap();
    let id = imported.id();
    store.commit(vec![imported]).unwrap();
    id
}

fn state(store: &Store, id: &ContentId) -> BlobState {
    store.info(id).unwrap().unwrap().state
}

fn fault(verified: Verified) -> Option<Fault> {
    match verified {
        Verified::Good => None,
        Verified::Bad { fault, .. } => Some(fault),
    }
}

fn set_mtime(path: &Path, from: &fs::Metadata) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(from.modified().unwrap()).unwrap();
}

fn small(bytes: &[u8], path: &str) -> SmallBlob {
    SmallBlob { id: ContentId::of(bytes), bytes: bytes.to_vec(), to: to(path) }
}

/// The pieces that a sender cuts ranges into.
fn pieces(ranges: Vec<Range<u64>>) -> impl Iterator<Item = Range<u64>> {
    ranges.into_iter().flat_map(|range| {
        let end = range.end;
        range.step_by(DATA_BYTES as usize).map(move |start| start..(start + DATA_BYTES).min(end))
    })
}

const SIZES: [usize; 7] = [0, 1, 65_535, 65_536, 65_537, 300_000, 1_048_579];
