use std::{
    fs,
    ops::{ControlFlow, Range},
    os::unix::{
        ffi::OsStrExt,
        fs::{FileExt, MetadataExt, symlink},
    },
    path::Path,
};

use tempfile::TempDir;

use super::*;
use crate::limits::{GROUP_BYTES, wire::DATA_BYTES};

fn open(data: &Path) -> Store {
    Store::open(data, Options::default()).unwrap()
}

/// Bytes that repeat nowhere near group size.
fn content(size: usize, seed: u8) -> Vec<u8> {
    let mut bytes = vec![0; size];
    blake3::Hasher::new_derive_key("test").update(&[seed]).finalize_xof().fill(&mut bytes);
    bytes
}

fn to(path: &str) -> LibraryPath {
    LibraryPath::new(path).unwrap()
}

/// A store that shares one file in place, and the id of the file.
fn with_file(dir: &TempDir, bytes: &[u8]) -> (Store, ContentId) {
    let path = dir.path().join("file.bin");
    fs::write(&path, bytes).unwrap();
    let store = open(&dir.path().join("data"));
    let imported = store.import_in_place(&path, &mut |_| ()).unwrap();
    let id = imported.id();
    store.commit(vec![imported]).unwrap();
    (store, id)
}

/// The pieces that a sender cuts ranges into.
fn pieces(ranges: Vec<Range<u64>>) -> impl Iterator<Item = Range<u64>> {
    ranges.into_iter().flat_map(|range| {
        let end = range.end;
        range.step_by(DATA_BYTES as usize).map(move |start| start..(start + DATA_BYTES).min(end))
    })
}

const SIZES: [usize; 7] = [0, 1, 65_535, 65_536, 65_537, 300_000, 1_048_579];

#[test]
fn a_blob_travels_at_any_size() {
    for size in SIZES {
        let (here, there) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let bytes = content(size, 1);
        let (source, id) = with_file(&here, &bytes);
        assert_eq!(id, ContentId::of(&bytes));
        assert_eq!(source.info(&id).unwrap().unwrap().state, BlobState::Complete);
        let mut blob = source.blob(&id).unwrap();

        let target = open(there.path());
        let mut download = target.download(id, size as u64).unwrap();
        for range in pieces(download.missing()) {
            download.write(range.clone(), &blob.encode(range).unwrap()).unwrap();
        }
        assert_eq!(download.verified_bytes(), size as u64);
        download.finish(&to("c/book.bin")).unwrap();
        assert_eq!(fs::read(there.path().join("library/c/book.bin")).unwrap(), bytes);
        let info = target.info(&id).unwrap().unwrap();
        assert_eq!((info.size, info.state), (size as u64, BlobState::Complete));
        assert_eq!(fs::read_dir(there.path().join("incoming")).unwrap().count(), 0);
        drop(target);
        assert_eq!(open(there.path()).verify(&id, &mut |_| ()).unwrap(), Verified::Good);
    }
}
