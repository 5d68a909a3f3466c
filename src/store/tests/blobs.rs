//! Reading: every byte verified, and what happens when one is wrong.

use super::*;

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
        let download = target.download(id, size as u64).unwrap();
        for range in pieces(download.missing()) {
            download.write(range.clone(), &blob.encode(range).unwrap()).unwrap();
        }
        assert_eq!(download.verified_bytes(), size as u64);
        download.finish(&to("c/book.bin")).unwrap();
        assert_eq!(fs::read(there.path().join("library/c/book.bin")).unwrap(), bytes);
        let info = target.info(&id).unwrap().unwrap();
        assert_eq!((info.size, info.state), (size as u64, BlobState::Complete));
        assert_eq!(fs::read_dir(there.path().join("incoming")).unwrap().count(), 0);
        drop((target, download));
        assert_eq!(open(there.path()).verify(&id, &mut go_on).unwrap(), Verified::Good);
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
        assert_eq!(store.verify(&id, &mut go_on).unwrap(), Verified::Good);
        assert_eq!(store.blob(&id).unwrap().read(0..1).unwrap(), &bytes[..1]);
    }
}

#[test]
fn verify_finds_what_rotted_and_what_is_gone() {
    let dir = TempDir::new().unwrap();
    let (store, id) = with_file(&dir, &content(200_000, 6));
    let path = dir.path().join("file.bin");
    let mut hashed = 0;
    assert_eq!(
        store
            .verify(&id, &mut |bytes| {
                hashed = bytes;
                go_on(bytes)
            })
            .unwrap(),
        Verified::Good
    );
    assert_eq!(hashed, 200_000);
    let metadata = fs::metadata(&path).unwrap();
    fs::File::options().write(true).open(&path).unwrap().write_all_at(b"!", 150_000).unwrap();
    assert_eq!(fault(store.verify(&id, &mut go_on).unwrap()), Some(Fault::Changed));
    set_mtime(&path, &metadata);
    assert!(matches!(store.verify(&id, &mut |_| ControlFlow::Break(())), Err(StoreError::Stopped)));
    assert_eq!(state(&store, &id), BlobState::Unavailable(Fault::Changed), "one that is stopped says nothing");
    assert_eq!(fault(store.verify(&id, &mut go_on).unwrap()), Some(Fault::Damaged));
    fs::remove_file(&path).unwrap();
    assert_eq!(fault(store.verify(&id, &mut go_on).unwrap()), Some(Fault::Missing));
    assert!(matches!(store.verify(&ContentId::of(b"?"), &mut go_on), Err(StoreError::NotFound(_))));
}

#[test]
fn verify_says_nothing_of_a_file_that_came_meanwhile() {
    let dir = TempDir::new().unwrap();
    let bytes = content(200_000, 6);
    let (store, id) = with_file(&dir, &bytes);
    let path = dir.path().join("file.bin");
    fs::write(&path, content(200_000, 7)).unwrap();
    let mut is_first = true;
    let found = store.verify(&id, &mut |read| {
        if std::mem::take(&mut is_first) {
            fs::remove_file(&path).unwrap();
            fs::write(&path, &bytes).unwrap();
            assert_eq!(import(&store, &path), id);
        }
        go_on(read)
    });
    assert!(matches!(found, Ok(Verified::Bad { .. })), "of the file that it read");
    assert_eq!(state(&store, &id), BlobState::Complete);
}

#[test]
fn whatever_happens_to_a_shared_file_no_wrong_byte_is_read() {
    type Happening = fn(&Path, &[u8]);
    let happenings: [(Fault, Happening); 7] = [
        (Fault::Damaged, |path, other| {
            let metadata = fs::metadata(path).unwrap();
            fs::write(path, other).unwrap();
            set_mtime(path, &metadata);
        }),
        (Fault::Changed, |path, other| fs::write(path, other).unwrap()),
        (Fault::Changed, |path, other| fs::write(path, [other, b"more"].concat()).unwrap()),
        (Fault::Changed, |path, _| fs::File::options().write(true).open(path).unwrap().set_len(100_000).unwrap()),
        (Fault::Changed, |path, other| {
            fs::write(path.with_extension("new"), other).unwrap();
            fs::rename(path.with_extension("new"), path).unwrap();
        }),
        (Fault::Missing, |path, _| fs::rename(path, path.with_extension("old")).unwrap()),
        (Fault::Missing, |path, _| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        }),
    ];
    let (bytes, other) = (content(200_000, 10), content(200_000, 11));
    for (fault, happens) in happenings {
        let dir = TempDir::new().unwrap();
        let (store, id) = with_file(&dir, &bytes);
        let path = dir.path().join("file.bin");
        let mut open = store.blob(&id).unwrap();
        assert_eq!(open.read(0..10).unwrap(), &bytes[..10]);
        happens(&path, &other);
        let groups = || (0..200_000).step_by(GROUP_BYTES as usize).map(|at| at..(at + GROUP_BYTES).min(200_000));
        for mut blob in [Some(open), store.blob(&id).ok()].into_iter().flatten() {
            for range in groups() {
                if let Ok(read) = blob.read(range.clone()) {
                    assert!(read == bytes[range.start as usize..range.end as usize], "wrong bytes: {fault}, {range:?}");
                }
            }
        }
        assert_eq!(state(&store, &id), BlobState::Unavailable(fault));
        assert!(matches!(store.blob(&id), Err(ReadError::Unavailable { .. })));
        if path.is_dir() {
            fs::remove_dir(&path).unwrap();
        }
        fs::write(&path, &bytes).unwrap();
        assert_eq!(store.verify(&id, &mut go_on).unwrap(), Verified::Good, "{fault}");
        assert!(store.blob(&id).unwrap().read(0..200_000).unwrap() == bytes);
    }
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
fn small_blobs_of_several_groups_have_outboards() {
    let (here, there) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let target = open(there.path());
    for (seed, size) in [65_536, 65_537, 200_000, SMALL_FILE_BYTES as usize].into_iter().enumerate() {
        let bytes = content(size, seed as u8);
        let path = here.path().join(format!("{size}.bin"));
        fs::write(&path, &bytes).unwrap();
        let source = open(here.path());
        let id = import(&source, &path);
        let range = 0..size as u64;
        let encoded = source.blob(&id).unwrap().encode(range.clone()).unwrap();
        let content_of = |encoded: &[u8]| {
            let mut content = Vec::new();
            append_content(range.end, &range, encoded, &mut content).map(|()| content)
        };
        assert!(content_of(&encoded).as_ref() == Some(&bytes), "{size}");
        assert_eq!(content_of(&encoded[1..]), None);
        assert_eq!(content_of(&[&encoded[..], &[0]].concat()), None);

        let wrong = SmallBlob { bytes: [&bytes[1..], &[0]].concat(), ..small(&bytes, "book") };
        let blobs = vec![wrong, small(&bytes, &format!("{size}"))];
        assert!(matches!(target.put_small(blobs).unwrap()[..], [PutOutcome::Corrupt, PutOutcome::Stored]));
        let built = fs::read(source.outboard_path(&id)).ok();
        assert!(fs::read(target.outboard_path(&id)).ok() == built && built.is_some() == (size > 65_536), "{size}");
        assert!(target.blob(&id).unwrap().encode(range).unwrap() == encoded);
    }
    let temporary =
        fs::read_dir(there.path().join("outboard")).unwrap().filter(|it| it.as_ref().unwrap().path().is_file());
    assert_eq!(temporary.count(), 0, "what was wrong left nothing behind");
    let large = small(&content(SMALL_FILE_BYTES as usize + 1, 9), "large");
    assert!(matches!(target.put_small(vec![large]).unwrap()[..], [PutOutcome::Corrupt]));
}
