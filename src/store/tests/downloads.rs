//! Downloads: verified, resumed, finished; and the room that they take.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

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
fn wrong_bytes_change_nothing() {
    let (here, there) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let size = 6 * GROUP_BYTES + 9;
    let (source, id) = with_file(&here, &content(size as usize, 10));
    let mut blob = source.blob(&id).unwrap();
    let target = open(there.path());
    let download = target.download(id, size).unwrap();
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
        let download = target.download(id, claimed).unwrap();
        let end = claimed.min(size);
        assert!(download.write(2 * GROUP_BYTES..end.max(1), &blob.encode(last.clone()).unwrap()).is_err());
        assert!(download.finish(&to("x")).is_err(), "{claimed}");
    }
    let download = target.download(id, size).unwrap();
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
    let download = target.download(id, size).unwrap();
    let mut write = |download: &Download, range: Range<u64>| {
        download.write(range.clone(), &blob.encode(range).unwrap()).unwrap();
    };
    write(&download, 0..4 * GROUP_BYTES);
    download.checkpoint().unwrap();
    write(&download, 8 * GROUP_BYTES..12 * GROUP_BYTES);
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
        write(&download, range);
    }
    download.finish(&to("x")).unwrap();
    assert!(matches!(target.download(id, size), Err(StoreError::AlreadyHere(_))));
    assert_eq!(fs::read(target.library().join("x")).unwrap(), bytes);
}

#[test]
fn several_sources_write_at_once() {
    let (here, there) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let size = 64 * GROUP_BYTES + 3;
    let bytes = content(size as usize, 14);
    let (source, id) = with_file(&here, &bytes);
    let target = open(there.path());
    let download = target.download(id, size).unwrap();
    let written = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        for writer in 0..4u64 {
            let (source, download, written) = (&source, &download, &written);
            scope.spawn(move || {
                let mut blob = source.blob(&id).unwrap();
                // Each brings half of it, from another end: each group comes twice.
                for step in 0..33 {
                    let group = (writer * 16 + if writer % 2 == 0 { step } else { 64 - step }) % 65;
                    let range = group * GROUP_BYTES..((group + 1) * GROUP_BYTES).min(size);
                    let new = download.write(range.clone(), &blob.encode(range).unwrap()).unwrap();
                    written.fetch_add(new, std::sync::atomic::Ordering::Relaxed);
                    if step % 8 == writer {
                        download.checkpoint().unwrap();
                    }
                }
            });
        }
    });
    assert_eq!(written.into_inner(), download.verified_bytes(), "each byte is counted once");
    let mut blob = source.blob(&id).unwrap();
    for range in pieces(download.missing()) {
        download.write(range.clone(), &blob.encode(range).unwrap()).unwrap();
    }
    download.finish(&to("x")).unwrap();
    let path = target.library().join("x");
    let changed = fs::metadata(&path).unwrap().modified().unwrap();
    assert_eq!(fs::read(&path).unwrap(), bytes);
    // What a slow source brings afterwards touches nothing.
    assert_eq!(download.write(0..GROUP_BYTES, &blob.encode(0..GROUP_BYTES).unwrap()).unwrap(), 0);
    download.checkpoint().unwrap();
    assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), changed);
    assert_eq!(fs::read_dir(there.path().join("incoming")).unwrap().count(), 0);
    drop(download);
    assert_eq!(state(&target, &id), BlobState::Complete);
}

#[test]
#[expect(clippy::single_range_in_vec_init, reason = "a list of one range is what is meant")]
fn more_of_a_blob_is_news() {
    let (here, there) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let size = 9 * GROUP_BYTES - 1;
    let (source, id) = with_file(&here, &content(size as usize, 15));
    let mut blob = source.blob(&id).unwrap();
    let target = open(there.path());
    let mut holding = target.holding(id);
    let mut more = |most| {
        let ranges = holding.more(most).unwrap();
        (ranges, holding.size(), holding.is_whole())
    };
    assert_eq!(more(9), (vec![], 0, false));
    let news = target.news();
    let download = target.download(id, size).unwrap();
    smol::block_on(news);
    assert_eq!(more(9), (vec![], size, false));
    for start in [2 * GROUP_BYTES, 3 * GROUP_BYTES, 6 * GROUP_BYTES] {
        let (range, news) = (start..start + GROUP_BYTES, target.news());
        download.write(range.clone(), &blob.encode(range).unwrap()).unwrap();
        smol::block_on(news);
    }
    assert_eq!(more(1), (vec![2 * GROUP_BYTES..4 * GROUP_BYTES], size, false));
    assert_eq!(more(9), (vec![6 * GROUP_BYTES..7 * GROUP_BYTES], size, false));
    assert_eq!(more(9), (vec![], size, false));
    for range in pieces(download.missing()) {
        download.write(range.clone(), &blob.encode(range).unwrap()).unwrap();
    }
    let news = target.news();
    download.finish(&to("x")).unwrap();
    smol::block_on(news);
    assert_eq!(more(2), (vec![0..2 * GROUP_BYTES, 4 * GROUP_BYTES..6 * GROUP_BYTES], size, false));
    assert_eq!(more(9), (vec![7 * GROUP_BYTES..size], size, true));
    assert_eq!(source.holding(id).more(1).unwrap(), [0..size]);
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
        let download = target.download(id, 100_000).unwrap();
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
    let copied = target.import_copy(&here.path().join("file.bin"), &to("x"), &mut go_on);
    assert!(matches!(copied, Err(ImportError::Store(StoreError::NoSpace { .. }))));
    assert_eq!(fs::read_dir(there.path().join("incoming")).unwrap().count(), 0);
    // Sharing in place needs no room.
    import(&target, &here.path().join("file.bin"));
}

#[test]
fn a_quota_is_for_copies_of_all_kinds() {
    let (here, there) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (source, id) = with_file(&here, &content(100_000, 13));
    let options = Options { quota_bytes: 150_000, ..Options::default() };
    let target = Store::open(there.path(), options.clone()).unwrap();
    assert!(matches!(
        target.download(id, 150_001),
        Err(StoreError::OverQuota { quota_bytes: 150_000, missing_bytes: 1 })
    ));
    let download = target.download(id, 100_000).unwrap();
    // What was begun has its room.
    let small =
        |seed, bytes| SmallBlob { id: ContentId::of(&content(bytes, seed)), bytes: content(bytes, seed), to: to("s") };
    assert!(matches!(target.put_small(vec![small(1, 50_001)]), Err(StoreError::OverQuota { missing_bytes: 1, .. })));
    let written = target.write_small(vec![small(3, 40_000)]).unwrap();
    assert!(matches!(target.put_small(vec![small(1, 10_001)]), Err(StoreError::OverQuota { missing_bytes: 1, .. })));
    drop(written);
    let file = here.path().join("other.bin");
    fs::write(&file, content(50_001, 2)).unwrap();
    let copied = target.import_copy(&file, &to("x"), &mut go_on);
    assert!(matches!(copied, Err(ImportError::Store(StoreError::OverQuota { missing_bytes: 1, .. }))));
    assert!(matches!(target.put_small(vec![small(1, 50_000)]).unwrap()[..], [PutOutcome::Stored]));
    download.write(0..100_000, &source.blob(&id).unwrap().encode(0..100_000).unwrap()).unwrap();
    download.finish(&to("a")).unwrap();
    drop(download);
    assert_eq!(target.totals().library_bytes, 150_000);
    // A second name takes nothing, and a file in place has its room.
    target.place(&id, &to("b")).unwrap();
    import(&target, &file);
    assert_eq!((target.totals().library_bytes, target.totals().bytes), (150_000, 200_001));
    drop(target);
    let target = Store::open(there.path(), options).unwrap();
    assert_eq!(target.totals().library_bytes, 150_000);
    target.remove(&[(id, there.path().join("library/a"))]).unwrap();
    assert_eq!(target.totals().library_bytes, 150_000, "it has another name");
    target.remove(&[(id, there.path().join("library/b"))]).unwrap();
    assert_eq!(target.totals().library_bytes, 50_000);
    target.download(id, 100_000).unwrap();
}

#[test]
fn a_blob_is_readable_all_the_time_while_its_download_ends() {
    let (here, there) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let size = 3 * GROUP_BYTES;
    let target = open(there.path());
    for round in 0..20 {
        let (source, id) = with_file(&here, &content(size as usize, round));
        let download = target.download(id, size).unwrap();
        download.write(0..size, &source.blob(&id).unwrap().encode(0..size).unwrap()).unwrap();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    assert_eq!(target.blob(&id).unwrap().read(5..6).unwrap().len(), 1);
                }
            });
            download.finish(&to(&format!("folder{round}/x"))).unwrap();
            is_over.store(true, Ordering::Relaxed);
        });
    }
}
