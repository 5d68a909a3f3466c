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

use super::*;
use crate::limits::{GROUP_BYTES, store::VALUE_BYTES, wire::DATA_BYTES};

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
    let id = import(&store, &path);
    (store, id)
}

fn import(store: &Store, path: &Path) -> ContentId {
    let imported = store.import_in_place(path, &mut |_| ()).unwrap();
    let id = imported.id();
    store.commit(vec![imported]).unwrap();
    id
}

fn state(store: &Store, id: &ContentId) -> BlobState {
    store.info(id).unwrap().unwrap().state
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn reading_any_range_gives_those_bytes(size in 1usize..400_000, a in 0.0..1.0f64, b in 0.0..1.0f64, group in 0u64..7) {
        let dir = TempDir::new().unwrap();
        let bytes = content(size, 2);
        let (store, id) = with_file(&dir, &bytes);
        let mut blob = store.blob(&id).unwrap();
        let (a, b) = ((a * size as f64) as u64, (b * size as f64) as u64);
        let range = a.min(b)..a.max(b).min(a.min(b) + DATA_BYTES);
        prop_assert_eq!(blob.read(range.clone()).unwrap(), &bytes[range.start as usize..range.end as usize]);

        // bao-tree's own decoder takes what we encode, and ours takes what its encoder makes.
        let start = (group * GROUP_BYTES).min((size as u64 - 1) / GROUP_BYTES * GROUP_BYTES);
        let range = start..(start + 2 * GROUP_BYTES).min(size as u64);
        let encoded = blob.encode(range.clone()).unwrap();
        let block = bao_tree::BlockSize::from_chunk_log(6);
        let outboard = bao_tree::io::outboard::PreOrderMemOutboard::create(&bytes, block);
        let chunks = bao_tree::ChunkNum(range.start / 1024)..bao_tree::ChunkNum(range.end.div_ceil(1024));
        let mut reference = Vec::new();
        let ranges = bao_tree::ChunkRanges::from(chunks);
        bao_tree::io::sync::encode_ranges_validated(bytes.as_slice(), &outboard, &ranges, &mut reference).unwrap();
        prop_assert_eq!(encoded, reference);
    }

    #[test]
    fn a_download_ends_whatever_the_order_of_its_pieces(order in Just((0u64..9).collect::<Vec<_>>()).prop_shuffle(), lost in 0usize..9) {
        let (here, there) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let size = 9 * GROUP_BYTES - 77;
        let bytes = content(size as usize, 3);
        let (source, id) = with_file(&here, &bytes);
        let mut blob = source.blob(&id).unwrap();
        let target = open(there.path());
        let mut download = target.download(id, size).unwrap();
        let mut left: Vec<u64> = order.clone();
        for (at, group) in order.into_iter().enumerate() {
            if at == lost {
                // As after a kill: nothing was checkpointed.
                drop(download);
                download = target.download(id, size).unwrap();
            }
            let range = group * GROUP_BYTES..((group + 1) * GROUP_BYTES).min(size);
            download.write(range.clone(), &blob.encode(range).unwrap()).unwrap();
            left.retain(|it| *it != group);
            let missing = download.missing();
            for group in 0..9 {
                let is_missing = missing.iter().any(|range| range.contains(&(group * GROUP_BYTES)));
                prop_assert_eq!(is_missing, left.contains(&group));
            }
        }
        download.finish(&to("x")).unwrap();
        prop_assert_eq!(fs::read(target.library().join("x")).unwrap(), bytes);
    }
}

#[test]
fn ranges_that_are_none_are_refused() {
    let dir = TempDir::new().unwrap();
    let size = 10 * GROUP_BYTES + 1;
    let (store, id) = with_file(&dir, &content(size as usize, 4));
    let mut blob = store.blob(&id).unwrap();
    #[expect(clippy::reversed_empty_ranges, reason = "that is one of them")]
    for range in [0..size + 1, size + 1..size + 2, 5..3, 0..DATA_BYTES + 1, u64::MAX - 1..u64::MAX] {
        assert!(matches!(blob.read(range.clone()), Err(ReadError::Range { .. })), "{range:?}");
        assert!(matches!(blob.encode(range.clone()), Err(ReadError::Range { .. })), "{range:?}");
    }
    for range in [0..0, 0..1, 1..GROUP_BYTES, 0..GROUP_BYTES + 1] {
        assert!(matches!(blob.encode(range.clone()), Err(ReadError::Range { .. })), "{range:?}");
    }
    assert_eq!(blob.read(size..size).unwrap(), b"");
    assert_eq!(blob.encode(10 * GROUP_BYTES..size).unwrap().last(), content(size as usize, 4).last());
}

#[test]
fn a_byte_that_rots_is_never_handed_out() {
    for at in [0, 70_000, 199_999] {
        let dir = TempDir::new().unwrap();
        let bytes = content(200_000, 5);
        let (store, id) = with_file(&dir, &bytes);
        let path = dir.path().join("file.bin");
        let metadata = fs::metadata(&path).unwrap();
        let mut blob = store.blob(&id).unwrap();
        // Same size, and the time of the last change put back.
        fs::File::options().write(true).open(&path).unwrap().write_all_at(&[bytes[at] ^ 1], at as u64).unwrap();
        set_mtime(&path, &metadata);
        let group = at as u64 / GROUP_BYTES * GROUP_BYTES;
        let good = if at == 0 { 2 * GROUP_BYTES..3 * GROUP_BYTES } else { 0..GROUP_BYTES };
        assert_eq!(blob.read(good.clone()).unwrap(), &bytes[good.start as usize..good.end as usize]);
        let bad = group..(group + GROUP_BYTES).min(200_000);
        assert!(
            matches!(blob.encode(bad), Err(ReadError::Damaged { fault: Fault::Damaged, offset, .. }) if offset == group)
        );
        assert_eq!(state(&store, &id), BlobState::Unavailable(Fault::Damaged));
        assert!(matches!(store.blob(&id), Err(ReadError::Unavailable { .. })));
        // Mended, it is available again.
        fs::write(&path, &bytes).unwrap();
        assert_eq!(store.verify(&id, &mut |_| ()).unwrap(), Verified::Good);
        assert_eq!(store.blob(&id).unwrap().read(0..1).unwrap(), &bytes[..1]);
    }
}

#[test]
fn verify_finds_what_rotted_and_what_is_gone() {
    let dir = TempDir::new().unwrap();
    let (store, id) = with_file(&dir, &content(200_000, 6));
    let path = dir.path().join("file.bin");
    let mut hashed = 0;
    assert_eq!(store.verify(&id, &mut |bytes| hashed = bytes).unwrap(), Verified::Good);
    assert_eq!(hashed, 200_000);
    let metadata = fs::metadata(&path).unwrap();
    fs::File::options().write(true).open(&path).unwrap().write_all_at(b"!", 150_000).unwrap();
    assert_eq!(store.verify(&id, &mut |_| ()).unwrap(), Verified::Bad(Fault::Changed));
    set_mtime(&path, &metadata);
    assert_eq!(store.verify(&id, &mut |_| ()).unwrap(), Verified::Bad(Fault::Damaged));
    fs::remove_file(&path).unwrap();
    assert_eq!(store.verify(&id, &mut |_| ()).unwrap(), Verified::Bad(Fault::Missing));
    assert!(matches!(store.verify(&ContentId::of(b"?"), &mut |_| ()), Err(StoreError::NotFound(_))));
}

#[test]
fn a_medium_that_comes_back_is_used_again() {
    let dir = TempDir::new().unwrap();
    let (store, id) = with_file(&dir, b"on a stick");
    let (path, away) = (dir.path().join("file.bin"), dir.path().join("away"));
    fs::rename(&path, &away).unwrap();
    assert!(matches!(store.blob(&id), Err(ReadError::Unavailable { fault: Fault::Missing, .. })));
    assert_eq!(state(&store, &id), BlobState::Unavailable(Fault::Missing));
    fs::rename(&away, &path).unwrap();
    assert_eq!(store.blob(&id).unwrap().read(0..2).unwrap(), b"on");
    assert_eq!(state(&store, &id), BlobState::Complete);
}

#[test]
fn a_lost_or_damaged_outboard_is_built_again() {
    let dir = TempDir::new().unwrap();
    let bytes = content(300_000, 7);
    let (store, id) = with_file(&dir, &bytes);
    let outboard = store.outboard_path(&id);
    let right = fs::read(&outboard).unwrap();
    for wrong in [None, Some(vec![0; right.len()]), Some(right[..64].to_vec())] {
        match wrong {
            None => fs::remove_file(&outboard).unwrap(),
            Some(wrong) => fs::write(&outboard, wrong).unwrap(),
        }
        assert_eq!(store.blob(&id).unwrap().read(100_000..200_000).unwrap(), &bytes[100_000..200_000]);
        assert_eq!(fs::read(&outboard).unwrap(), right);
    }
}

#[test]
fn another_copy_stands_in_for_a_damaged_one() {
    let dir = TempDir::new().unwrap();
    let bytes = content(100_000, 8);
    let (store, id) = with_file(&dir, &bytes);
    fs::write(dir.path().join("copy.bin"), &bytes).unwrap();
    assert_eq!(import(&store, &dir.path().join("copy.bin")), id);
    let mut blob = store.blob(&id).unwrap();
    fs::write(dir.path().join("file.bin"), content(100_000, 9)).unwrap();
    assert_eq!(blob.read(0..100_000).unwrap(), bytes);
    assert_eq!(state(&store, &id), BlobState::Complete);
    assert_eq!(store.info(&id).unwrap().unwrap().paths[0], dir.path().join("copy.bin"));
    assert_eq!(store.totals().blobs, 1);
}

#[test]
fn wrong_bytes_change_nothing() {
    let (here, there) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let size = 6 * GROUP_BYTES + 9;
    let (source, id) = with_file(&here, &content(size as usize, 10));
    let mut blob = source.blob(&id).unwrap();
    let target = open(there.path());
    let mut download = target.download(id, size).unwrap();
    let range = GROUP_BYTES..3 * GROUP_BYTES;
    let right = blob.encode(range.clone()).unwrap();
    let missing = download.missing();
    let mut wrongs: Vec<Vec<u8>> = vec![Vec::new(), right[..right.len() - 1].to_vec(), [&right[..], b"x"].concat()];
    for at in [0, 63, 64, 130, 300, 70_000, right.len() - 1] {
        let mut wrong = right.clone();
        wrong[at] ^= 0x80;
        wrongs.push(wrong);
    }
    wrongs.push(blob.encode(3 * GROUP_BYTES..5 * GROUP_BYTES).unwrap());
    for wrong in wrongs {
        assert!(matches!(download.write(range.clone(), &wrong), Err(WriteError::Corrupt(_))));
        assert_eq!(download.missing(), missing);
    }
    assert!(matches!(download.write(1..GROUP_BYTES, &right), Err(WriteError::Range { .. })));
    assert!(matches!(download.write(0..u64::MAX, &right), Err(WriteError::Range { .. })));
    download.write(range, &right).unwrap();
    assert_eq!(download.verified_bytes(), 2 * GROUP_BYTES);
    assert!(
        matches!(download.finish(&to("x")), Err(WriteError::Incomplete { missing_bytes }) if missing_bytes == size - 2 * GROUP_BYTES)
    );
    assert_eq!(state(&target, &id), BlobState::Partial { verified_bytes: 2 * GROUP_BYTES });
}

#[test]
fn a_wrong_size_is_found_out() {
    let (here, there) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let size = 2 * GROUP_BYTES + 500;
    let (source, id) = with_file(&here, &content(size as usize, 11));
    let mut blob = source.blob(&id).unwrap();
    let target = open(there.path());
    let last = 2 * GROUP_BYTES..size;
    for claimed in [0, 1, GROUP_BYTES, size - 1, size + 1, size + GROUP_BYTES] {
        let mut download = target.download(id, claimed).unwrap();
        let end = claimed.min(size);
        assert!(download.write(2 * GROUP_BYTES..end.max(1), &blob.encode(last.clone()).unwrap()).is_err());
        assert!(download.finish(&to("x")).is_err(), "{claimed}");
    }
    let mut download = target.download(id, size).unwrap();
    download.write(last.clone(), &blob.encode(last).unwrap()).unwrap();
    drop(download);
    assert!(matches!(target.download(id, size + 1), Err(StoreError::WrongSize { .. })));
    assert!(matches!(target.download(id, 1 << 60), Err(StoreError::WrongSize { .. })));
    target.discard(&id).unwrap();
    assert!(matches!(target.download(id, u64::MAX), Err(StoreError::NoSpace { .. })));
    assert_eq!(target.info(&id).unwrap(), None);
    assert_eq!(fs::read_dir(there.path().join("incoming")).unwrap().count(), 0);
}

#[test]
fn what_was_written_is_not_fetched_again() {
    let (here, there) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let size = 20 * GROUP_BYTES + 3;
    let bytes = content(size as usize, 12);
    let (source, id) = with_file(&here, &bytes);
    let mut blob = source.blob(&id).unwrap();
    let target = open(there.path());
    let mut download = target.download(id, size).unwrap();
    let mut write = |download: &mut Download, range: Range<u64>| {
        download.write(range.clone(), &blob.encode(range).unwrap()).unwrap();
    };
    write(&mut download, 0..4 * GROUP_BYTES);
    download.checkpoint().unwrap();
    write(&mut download, 8 * GROUP_BYTES..12 * GROUP_BYTES);
    assert!(matches!(target.download(id, size), Err(StoreError::Busy(_))));
    assert!(matches!(target.discard(&id), Err(StoreError::Busy(_))));
    // What is here can be read meanwhile, and nothing else.
    let mut partial = target.blob(&id).unwrap();
    assert_eq!(partial.ranges(), [0..4 * GROUP_BYTES, 8 * GROUP_BYTES..12 * GROUP_BYTES]);
    assert_eq!(partial.read(9..90).unwrap(), &bytes[9..90]);
    assert!(matches!(partial.read(5 * GROUP_BYTES..5 * GROUP_BYTES + 1), Err(ReadError::Range { .. })));
    drop((download, target, partial));
    let bits = fs::read(there.path().join(format!("incoming/{id}.bits"))).unwrap();

    // Killed: the second piece is on disk, and in no bitmap.
    let target = open(there.path());
    assert_eq!(state(&target, &id), BlobState::Partial { verified_bytes: 4 * GROUP_BYTES });
    let mut download = target.download(id, size).unwrap();
    assert_eq!(download.missing(), [4 * GROUP_BYTES..8 * GROUP_BYTES, 12 * GROUP_BYTES..size]);
    drop((download, target));
    assert_eq!(fs::read(there.path().join(format!("incoming/{id}.bits"))).unwrap(), bits, "not synced, not claimed");

    // The bitmap is lost or damaged: all is found on disk.
    fs::write(there.path().join(format!("incoming/{id}.bits")), b"garbage").unwrap();
    let target = open(there.path());
    download = target.download(id, size).unwrap();
    assert_eq!(download.verified_bytes(), 8 * GROUP_BYTES);
    for range in pieces(download.missing()) {
        write(&mut download, range);
    }
    download.finish(&to("x")).unwrap();
    assert!(matches!(target.download(id, size), Err(StoreError::AlreadyHere(_))));
    assert_eq!(fs::read(target.library().join("x")).unwrap(), bytes);
}

#[test]
fn many_downloads_finish_together() {
    let (here, there) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (source, target) = (open(here.path()), open(there.path()));
    let mut downloads = Vec::new();
    for seed in 0..5 {
        let path = here.path().join(format!("{seed}"));
        fs::write(&path, content(100_000, seed)).unwrap();
        let id = import(&source, &path);
        let mut download = target.download(id, 100_000).unwrap();
        if seed != 3 {
            download.write(0..100_000, &source.blob(&id).unwrap().encode(0..100_000).unwrap()).unwrap();
        }
        downloads.push((download, to(&format!("c/{seed}"))));
    }
    let outcomes = target.finish(downloads).unwrap();
    let good: Vec<bool> = outcomes.iter().map(Result::is_ok).collect();
    assert_eq!(good, [true, true, true, false, true]);
    assert_eq!(target.totals().blobs, 4);
    drop(target);
    assert_eq!(open(there.path()).totals().bytes, 400_000);
}

#[test]
fn the_reserve_is_respected() {
    let (here, there) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (source, id) = with_file(&here, &content(100_000, 13));
    let reserve_bytes = source.totals().free_bytes * 2;
    let target = Store::open(there.path(), Options { reserve_bytes, ..Options::default() }).unwrap();
    let missing = match target.download(id, 100_000) {
        Err(StoreError::NoSpace { missing_bytes, .. }) => missing_bytes,
        other => panic!("{:?}", other.err()),
    };
    assert!(missing > reserve_bytes / 4 && missing <= reserve_bytes + 100_000, "{missing}");
    assert!(matches!(target.put_small(vec![small(b"x", "x")]), Err(StoreError::NoSpace { .. })));
    let copied = target.import_copy(&here.path().join("file.bin"), &to("x"), &mut |_| ());
    assert!(matches!(copied, Err(ImportError::Store(StoreError::NoSpace { .. }))));
    assert_eq!(fs::read_dir(there.path().join("incoming")).unwrap().count(), 0);
    // Sharing in place needs no room.
    import(&target, &here.path().join("file.bin"));
}

#[test]
fn what_is_in_the_way_is_set_aside() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    let library = store.library();
    fs::create_dir_all(library.join("c")).unwrap();
    fs::write(library.join("c/a.txt"), "edited by a reader").unwrap();
    fs::write(library.join("c/b.txt"), "b").unwrap();
    symlink("/etc/passwd", library.join("c/l.txt")).unwrap();
    fs::create_dir(library.join("c/folder")).unwrap();
    let inode = fs::metadata(library.join("c/b.txt")).unwrap().ino();
    let blobs = ["a", "b", "l"].map(|name| small(name.as_bytes(), &format!("c/{name}.txt")));
    let blobs = blobs.into_iter().chain([small(b"f", "c/folder"), small(b"z", "c/a.txt/z")]).collect();
    let outcomes = store.put_small(blobs).unwrap();
    assert!(matches!(
        outcomes[..],
        [PutOutcome::Stored, PutOutcome::Stored, PutOutcome::Stored, PutOutcome::Failed(_), PutOutcome::Failed(_)]
    ));
    assert_eq!(fs::read(library.join("c/a.txt")).unwrap(), b"a");
    assert_eq!(fs::read(library.join("c/a (set aside 1).txt")).unwrap(), b"edited by a reader");
    assert_eq!(fs::metadata(library.join("c/b.txt")).unwrap().ino(), inode, "the same blob is kept as it is");
    assert!(fs::symlink_metadata(library.join("c/l (set aside 1).txt")).unwrap().is_symlink());
    assert_eq!(fs::read(library.join("c/l.txt")).unwrap(), b"l");
    assert_eq!(fs::read_dir(dir.path().join("incoming")).unwrap().count(), 0);
}

#[test]
fn no_link_leads_out_of_the_library() {
    let (dir, outside) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(dir.path());
    symlink(outside.path(), store.library().join("c")).unwrap();
    let outcomes = store.put_small(vec![small(b"x", "c/x.txt"), small(b"x", "c/d/x.txt")]).unwrap();
    for outcome in outcomes {
        assert!(matches!(outcome, PutOutcome::Failed(StoreError::OutsideLibrary { .. })), "{outcome:?}");
    }
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    // Nor is a file read or deleted through one.
    store.put_small(vec![small(b"secret", "d/s.txt")]).unwrap();
    fs::rename(store.library().join("d"), outside.path().join("d")).unwrap();
    symlink(outside.path().join("d"), store.library().join("d")).unwrap();
    let id = ContentId::of(b"secret");
    assert!(matches!(store.blob(&id), Err(ReadError::Unavailable { fault: Fault::Missing, .. })));
    assert!(store.remove(&id, &store.library().join("d/s.txt")).is_err());
    assert!(outside.path().join("d/s.txt").exists());
}

#[test]
fn small_blobs_are_verified_and_durable() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    let mut blobs: Vec<_> = (0..150u32).map(|at| small(&at.to_le_bytes(), &format!("c/{}/{at}", at % 3))).collect();
    blobs[70].bytes.push(0);
    blobs.push(small(&content(70_000, 1), "c/long"));
    blobs.push(small(b"", "c/empty"));
    let outcomes = store.put_small(blobs).unwrap();
    for (at, outcome) in outcomes.iter().enumerate() {
        let is_wrong = at == 70 || at == 150;
        assert!(if is_wrong { matches!(outcome, PutOutcome::Corrupt) } else { matches!(outcome, PutOutcome::Stored) });
    }
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.totals().blobs, 150);
    assert_eq!(store.blob(&ContentId::of(&7u32.to_le_bytes())).unwrap().read(0..4).unwrap(), 7u32.to_le_bytes());
    assert!(!store.library().join("c/long").exists() && !store.library().join("c/1/70").exists());
}

#[test]
fn a_blob_has_many_names() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    store.put_small(vec![small(b"x", "c/x")]).unwrap();
    let id = ContentId::of(b"x");
    let name = |at: usize| to(&format!("d/{at}"));
    for at in 0..12 {
        store.place(&id, &name(at)).unwrap();
        store.place(&id, &name(at)).unwrap();
    }
    let inode = fs::metadata(store.library().join("c/x")).unwrap().ino();
    for at in 0..12 {
        assert_eq!(fs::metadata(store.library().join(format!("d/{at}"))).unwrap().ino(), inode);
    }
    assert_eq!(store.info(&id).unwrap().unwrap().paths.len(), crate::limits::store::LOCATIONS);
    assert!(matches!(store.place(&ContentId::of(b"?"), &to("q")), Err(StoreError::NotFound(_))));
    assert!(!store.remove(&id, &store.library().join("c/x")).unwrap());
    for at in 0..12 {
        store.remove(&id, &store.library().join(format!("d/{at}"))).unwrap();
    }
    assert_eq!(store.info(&id).unwrap(), None);
    assert_eq!(fs::read_dir(store.library().join("d")).unwrap().count(), 0);
    assert_eq!(store.totals().blobs, 0);
}

#[test]
fn a_file_shared_through_a_link_can_be_placed() {
    let dir = TempDir::new().unwrap();
    let (store, id) = with_file(&dir, b"book");
    store.remove(&id, &dir.path().join("file.bin")).unwrap();
    symlink("file.bin", dir.path().join("link")).unwrap();
    import(&store, &dir.path().join("link"));
    store.place(&id, &to("c/book")).unwrap();
    assert!(fs::symlink_metadata(store.library().join("c/book")).unwrap().is_file());
    assert_eq!(store.info(&id).unwrap().unwrap().paths.len(), 2);
}

#[test]
fn many_threads_share_one_store() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    std::thread::scope(|scope| {
        for thread in 0..4u32 {
            let store = &store;
            scope.spawn(move || {
                for round in 0..5 {
                    let number = |at: u32| thread * 1000 + round * 20 + at;
                    let blobs = (0..20).map(|at| small(&number(at).to_le_bytes(), &format!("c/{}", number(at))));
                    assert!(
                        store.put_small(blobs.collect()).unwrap().iter().all(|it| matches!(it, PutOutcome::Stored))
                    );
                    for at in 0..20 {
                        let id = ContentId::of(&number(at).to_le_bytes());
                        assert_eq!(store.blob(&id).unwrap().read(0..4).unwrap(), number(at).to_le_bytes());
                    }
                }
            });
        }
    });
    assert_eq!(store.totals().blobs, 400);
}

#[test]
fn removing_takes_library_files_and_leaves_what_is_others() {
    let dir = TempDir::new().unwrap();
    let bytes = content(100_000, 14);
    let (store, id) = with_file(&dir, &bytes);
    store.place(&id, &to("c/copy.bin")).unwrap();
    let mut open_blob = store.blob(&id).unwrap();
    assert!(!store.remove(&id, &dir.path().join("file.bin")).unwrap());
    assert!(dir.path().join("file.bin").exists(), "shared in place: not ours");
    assert!(store.remove(&id, &store.library().join("c/copy.bin")).unwrap());
    assert!(!store.library().join("c/copy.bin").exists());
    assert!(!store.outboard_path(&id).exists());
    assert_eq!(open_blob.read(0..10).unwrap(), &bytes[..10], "who reads it goes on reading");
    assert!(store.remove(&id, &store.library().join("c/copy.bin")).unwrap());
    // What a reader edited stays.
    store.put_small(vec![small(b"book", "c/book")]).unwrap();
    fs::write(store.library().join("c/book"), "my notes").unwrap();
    assert!(store.remove(&ContentId::of(b"book"), &store.library().join("c/book")).unwrap());
    assert_eq!(fs::read(store.library().join("c/book")).unwrap(), b"my notes");
}

#[test]
fn files_that_are_none_are_refused() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir.path().join("data"));
    let fifo = dir.path().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, 0o600.into()).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
    for path in [&fifo, &dir.path().join("socket"), dir.path(), Path::new("/dev/null")] {
        assert!(matches!(store.import_in_place(path, &mut |_| ()), Err(ImportError::NotAFile { .. })), "{path:?}");
    }
    let gone = store.import_in_place(&dir.path().join("gone"), &mut |_| ()).err().unwrap();
    assert!(gone.to_string().contains("gone") && gone.to_string().contains("check the name"), "{gone}");
    assert_eq!(store.totals().blobs, 0);
}

#[test]
fn a_file_that_changes_while_it_is_read_is_refused() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir.path().join("data"));
    let path = dir.path().join("file");
    let changes: [fn(&Path); 3] = [
        |path| {
            fs::File::options()
                .append(true)
                .open(path)
                .and_then(|mut it| std::io::Write::write_all(&mut it, b"!"))
                .unwrap()
        },
        |path| fs::File::options().write(true).open(path).unwrap().set_len(70_000).unwrap(),
        |path| {
            fs::rename(path, path.with_extension("old")).unwrap();
            fs::write(path, content(200_000, 2)).unwrap();
        },
    ];
    for change in changes {
        fs::write(&path, content(200_000, 1)).unwrap();
        let mut is_first = true;
        let imported = store.import_in_place(&path, &mut |_| {
            if std::mem::take(&mut is_first) {
                change(&path);
            }
        });
        assert!(matches!(imported, Err(ImportError::Changed { .. })));
    }
    let left: Vec<_> = fs::read_dir(dir.path().join("data/outboard")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn any_name_that_linux_allows_can_be_shared() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let store = open(&data);
    let folder = dir.path().join("shared");
    fs::create_dir(&folder).unwrap();
    store.add_root(&folder).unwrap();
    let names: [&[u8]; 4] = [b"\xff\xfe.pdf", b"a\nb", "книга 本.epub".as_bytes(), b" "];
    for (at, name) in names.into_iter().enumerate() {
        let path = folder.join(std::ffi::OsStr::from_bytes(name));
        fs::write(&path, [at as u8]).unwrap();
        let id = import(&store, &path);
        assert_eq!(store.info(&id).unwrap().unwrap().paths, [path]);
    }
    let link = dir.path().join("link");
    symlink(folder.join(" "), &link).unwrap();
    assert_eq!(import(&store, &link), ContentId::of(&[3]));
    drop(store);
    let store = open(&data);
    assert_eq!(store.blob(&ContentId::of(&[0])).unwrap().read(0..1).unwrap(), [0]);
    assert!(store.is_unchanged(&ContentId::of(&[3]), &link).unwrap());
    assert!(!store.is_unchanged(&ContentId::of(&[2]), &link).unwrap());
}

#[test]
fn unchanged_means_size_time_and_inode() {
    let dir = TempDir::new().unwrap();
    let (store, id) = with_file(&dir, b"1234");
    let path = dir.path().join("file.bin");
    let metadata = fs::metadata(&path).unwrap();
    assert!(store.is_unchanged(&id, &path).unwrap());
    fs::write(&path, b"12345").unwrap();
    set_mtime(&path, &metadata);
    assert!(!store.is_unchanged(&id, &path).unwrap());
    fs::write(&path, b"1234").unwrap();
    set_mtime(&path, &metadata);
    assert!(store.is_unchanged(&id, &path).unwrap());
    fs::write(dir.path().join("new"), b"1234").unwrap();
    set_mtime(&dir.path().join("new"), &metadata);
    fs::rename(dir.path().join("new"), &path).unwrap();
    assert!(!store.is_unchanged(&id, &path).unwrap());
}

#[test]
fn a_copy_costs_little_more_than_its_bytes() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir.path().join("data"));
    let path = dir.path().join("file");
    fs::write(&path, content(3_000_000, 1)).unwrap();
    let imported = store.import_copy(&path, &to("c/copy"), &mut |_| ()).unwrap();
    let id = imported.id();
    assert_eq!(imported.size(), 3_000_000);
    assert!(!store.library().join("c").exists(), "nothing is named before the commit");
    store.commit(vec![imported]).unwrap();
    assert_eq!(fs::read(store.library().join("c/copy")).unwrap(), content(3_000_000, 1));
    let outboard = fs::metadata(store.outboard_path(&id)).unwrap().len();
    assert!(outboard as f64 <= 0.02 * 3_000_000.0, "{outboard}");
    fs::remove_file(&path).unwrap();
    assert_eq!(store.verify(&id, &mut |_| ()).unwrap(), Verified::Good);
    // One that is dropped leaves nothing.
    fs::write(&path, content(100_000, 2)).unwrap();
    drop(store.import_copy(&path, &to("c/other"), &mut |_| ()).unwrap());
    assert_eq!(fs::read_dir(dir.path().join("data/incoming")).unwrap().count(), 0);
}

#[test]
fn a_second_process_is_refused() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    assert_eq!(fs::metadata(dir.path().join("lock")).unwrap().len() as usize, std::process::id().to_string().len() + 1);
    match Store::open(dir.path(), Options::default()) {
        Err(error @ StoreError::Locked { pid, .. }) => {
            assert_eq!(pid, std::process::id());
            assert!(error.to_string().contains("already uses"), "{error}");
        }
        other => panic!("{:?}", other.err()),
    }
    drop(store);
    open(dir.path());
}

#[test]
fn the_data_folder_is_private() {
    let dir = TempDir::new().unwrap();
    let _store = open(&dir.path().join("a/data"));
    assert_eq!(fs::metadata(dir.path().join("a/data")).unwrap().mode() & 0o777, 0o700);
}

#[test]
fn tables_keep_small_state_apart() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    let put = |key: &[u8], value: &[u8]| Batch { put: vec![(key.to_vec(), value.to_vec())], delete: Vec::new() };
    store.table(Table::Peers).apply(put(b"k", b"1")).unwrap();
    store.table(Table::Unwanted).apply(put(b"k", b"2")).unwrap();
    let many = (0..200u8).map(|at| (vec![b'm', at], vec![at; 1000])).collect();
    store.table(Table::Peers).apply(Batch { put: many, delete: vec![b"absent".to_vec()] }).unwrap();
    drop(store);
    let store = open(dir.path());
    let peers = store.table(Table::Peers);
    assert_eq!(peers.value(b"k").unwrap().unwrap(), b"1");
    let mut seen = Vec::new();
    peers
        .for_each(b"m", &mut |key, value| {
            assert_eq!((key[1], value.len()), (value[0], 1000));
            seen.push(key[1]);
            if seen.len() < 150 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })
        .unwrap();
    assert_eq!(seen, (0..150).collect::<Vec<_>>());
    peers.apply(Batch { put: Vec::new(), delete: vec![b"k".to_vec()] }).unwrap();
    assert_eq!(peers.value(b"k").unwrap(), None);
    assert_eq!(store.table(Table::Unwanted).value(b"k").unwrap().unwrap(), b"2");
    assert_eq!(store.totals().blobs, 0);
}

#[test]
fn long_values_never_reach_sled() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    let table = store.table(Table::Node);
    let good = (b"good".to_vec(), vec![1]);
    let batch = Batch { put: vec![good, (b"long".to_vec(), vec![0; VALUE_BYTES])], delete: Vec::new() };
    assert!(matches!(table.apply(batch), Err(StoreError::TooLarge { .. })));
    assert_eq!(table.value(b"good").unwrap(), None, "nothing of it was written");
    // The longest paths, and ids of one bucket, push records into further pages.
    let (base, part) = (dir.path().join("deep"), "x".repeat(250));
    let mut ids = Vec::new();
    let located = (0..100u8).map(|at| {
        let mut id = [7; 32];
        id[31] = at;
        ids.push(ContentId(id));
        let path = [&part; 9].map(|it| it.as_bytes()).join(&b'/');
        (ContentId(id), 1, record::Location { root: 0, path, mtime_ns: at.into(), inode: 1, fault: None })
    });
    store.record(located.collect()).unwrap();
    store.add_root(&base.join(&part)).unwrap();
    assert_eq!(store.totals().blobs, 100);
    drop(store);
    assert_eq!(fs::read_dir(dir.path().join("index/blobs")).unwrap().count(), 0, "sled spilt a value");
    let store = open(dir.path());
    assert!(ids.iter().all(|id| store.info(id).unwrap().is_some()));
    store.0.index.change(&ids, &mut |_, _| None).unwrap();
    assert_eq!(store.totals(), Totals { blobs: 0, bytes: 0, ..store.totals() });
}

#[test]
fn a_damaged_index_is_set_aside() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 2] = [
        ("garbage", |db| fs::write(db, content(600_000, 1)).unwrap()),
        ("zeros", |db| fs::write(db, vec![0; 600_000]).unwrap()),
    ];
    for (name, damage) in damages {
        let dir = TempDir::new().unwrap();
        let store = open(dir.path());
        assert!(!store.needs_rebuild().unwrap());
        let blobs = (0..300u32).map(|at| small(&at.to_le_bytes(), &format!("c/{at}"))).collect();
        store.put_small(blobs).unwrap();
        drop(store);
        damage(&dir.path().join("index/db"));
        for run in 0..2 {
            let store = open(dir.path());
            assert!(store.needs_rebuild().unwrap(), "{name}, run {run}");
            assert_eq!(store.totals().blobs, 0);
            assert!(dir.path().join("index.damaged-1").exists());
        }
        let store = open(dir.path());
        let id = ContentId::of(&7u32.to_le_bytes());
        assert!(store.adopt(&id, &to("c/7")).unwrap());
        assert!(!store.adopt(&id, &to("c/8")).unwrap() && !store.adopt(&id, &to("c/none")).unwrap());
        store.set_rebuilt().unwrap();
        drop(store);
        let store = open(dir.path());
        assert!(!store.needs_rebuild().unwrap());
        assert_eq!(state(&store, &id), BlobState::Complete);
        // It is a library file again, deleted with its blob.
        assert!(store.remove(&id, &store.library().join("c/7")).unwrap());
        assert!(!store.library().join("c/7").exists());
    }
}

#[test]
fn no_damage_to_the_index_is_a_crash_or_a_lie() {
    let dir = TempDir::new().unwrap();
    let index = dir.path().join("index");
    let store = open(dir.path());
    for round in 0..4u32 {
        let blobs = (0..100).map(|at| small(&(round * 100 + at).to_le_bytes(), &format!("c/{round}/{at}")));
        store.put_small(blobs.collect()).unwrap();
    }
    drop(store);
    let saved: Vec<_> =
        fs::read_dir(&index).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
    let saved: Vec<_> = saved.into_iter().map(|path| (fs::read(&path).unwrap(), path)).collect();
    let (db, db_path) = saved.iter().find(|(_, path)| path.ends_with("db")).unwrap();
    let flipped = (0..30).map(|step| {
        let mut wrong = db.clone();
        wrong[step * db.len() / 30..].iter_mut().take(16).for_each(|byte| *byte ^= 0x55);
        wrong
    });
    let cut = (0..10).map(|step| db[..step * db.len() / 10].to_vec());
    for wrong in flipped.chain(cut) {
        fs::remove_dir_all(&index).unwrap();
        fs::create_dir(&index).unwrap();
        saved.iter().for_each(|(bytes, path)| fs::write(path, bytes).unwrap());
        fs::write(db_path, wrong).unwrap();
        let store = open(dir.path());
        let mut seen = Vec::new();
        store
            .for_each(&mut |id, info| {
                let bytes = fs::read(&info.paths[0]).unwrap();
                assert_eq!(ContentId::of(&bytes), id);
                seen.push(u32::from_le_bytes(bytes.try_into().unwrap()));
                ControlFlow::Continue(())
            })
            .unwrap();
        seen.sort_unstable();
        // sled can go back to an older state by itself: then it is one that was true.
        assert_eq!(seen, (0..seen.len() as u32).collect::<Vec<_>>());
        assert_eq!(store.totals().blobs, seen.len() as u64);
    }
}

#[test]
fn an_index_of_a_newer_version_is_refused() {
    let dir = TempDir::new().unwrap();
    drop(open(dir.path()));
    let db = sled::open(dir.path().join("index")).unwrap();
    db.insert(b"S", &9u32.to_le_bytes()).unwrap();
    db.flush().unwrap();
    drop(db);
    let error = Store::open(dir.path(), Options::default()).err().unwrap();
    assert!(
        matches!(error, StoreError::NewerSchema { found: 9, .. }) && error.to_string().contains("update"),
        "{error}"
    );
    assert!(!dir.path().join("index.damaged-1").exists());
}

#[test]
fn ids_are_found_by_their_first_digits() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    store.put_small((0..50u32).map(|at| small(&at.to_le_bytes(), &format!("{at}"))).collect()).unwrap();
    let id = ContentId::of(&9u32.to_le_bytes());
    assert_eq!(store.resolve(&format!("{id:.10}").to_uppercase(), 5).unwrap(), [id]);
    assert_eq!(store.resolve(&id.to_string(), 5).unwrap(), [id]);
    assert_eq!(store.resolve("", 7).unwrap().len(), 7);
    assert_eq!(store.resolve("xyz", 7).unwrap(), []);
}

#[test]
fn the_library_may_be_elsewhere() {
    let (dir, elsewhere) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let library = elsewhere.path().join("books");
    let options = Options { library: Some(library.clone()), ..Options::default() };
    let store = Store::open(dir.path(), options.clone()).unwrap();
    store.put_small(vec![small(b"x", "c/x")]).unwrap();
    assert_eq!(fs::read(library.join("c/x")).unwrap(), b"x");
    drop(store);
    // The folder moved: records are relative to it.
    fs::rename(&library, elsewhere.path().join("moved")).unwrap();
    let options = Options { library: Some(elsewhere.path().join("moved")), ..options };
    let store = Store::open(dir.path(), options).unwrap();
    assert_eq!(store.blob(&ContentId::of(b"x")).unwrap().read(0..1).unwrap(), b"x");
}

#[test]
fn a_huge_sparse_file_is_imported_in_little_memory() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("sparse");
    let file = fs::File::create(&path).unwrap();
    // 5 GB behind 32 bits; zeros take a while to hash in debug builds, so the rest is left to the bench.
    let size = if cfg!(debug_assertions) { 300 << 20 } else { 5_000_000_001 };
    file.set_len(size).unwrap();
    let store = open(&dir.path().join("data"));
    let id = import(&store, &path);
    let mut blob = store.blob(&id).unwrap();
    assert_eq!(blob.read(size - 1..size).unwrap(), [0]);
    let outboard = fs::metadata(store.outboard_path(&id)).unwrap().len();
    assert_eq!(outboard, 64 * (size.div_ceil(GROUP_BYTES) - 1));
}
