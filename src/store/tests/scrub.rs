//! The scrub: it finds what rots, and goes on where it was.

use std::sync::mpsc;

use super::*;

/// One whole pass; how many steps it took.
fn pass(store: &Store, position: &mut Position) -> usize {
    let steps = std::iter::from_fn(|| (!store.scrub(position).unwrap().is_end).then_some(()));
    steps.count() + 1
}

/// Turns a bit of a file without anybody noticing.
fn rot(path: &Path, at: u64) {
    let metadata = fs::metadata(path).unwrap();
    let byte = fs::read(path).unwrap()[at as usize];
    fs::File::options().write(true).open(path).unwrap().write_all_at(&[byte ^ 1], at).unwrap();
    set_mtime(path, &metadata);
}

/// A store with a copy of each of these.
fn with_copies(dir: &TempDir, sizes: &[usize]) -> (Store, Vec<ContentId>) {
    let store = open(&dir.path().join("data"));
    let ids = sizes.iter().enumerate().map(|(at, size)| {
        let path = dir.path().join("copied");
        fs::write(&path, content(*size, at as u8)).unwrap();
        let imported = store.import_copy(&path, &to(&format!("{at}")), &mut go_on).unwrap();
        let id = imported.id();
        store.commit(vec![imported]).unwrap();
        id
    });
    let ids = ids.collect();
    (store, ids)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn the_next_record_is_that_of_a_sorted_list(seeds in proptest::collection::btree_set(any::<u32>(), 0..200)) {
        let dir = TempDir::new().unwrap();
        let store = open(dir.path());
        // Three first bytes alone: many share a page.
        let id = |seed: u32| ContentId([&[0x12, seed as u8 & 0x11, seed as u8][..], blake3::hash(&seed.to_le_bytes()).as_bytes()].concat()[..32].try_into().unwrap());
        let mut ids: Vec<_> = seeds.into_iter().map(id).collect();
        let location = record::Location { root: 0, path: vec![b'x'; 200], mtime_ns: 0, inode: 0, fault: None };
        store.0.index.change(&ids, &mut |id, _| Some(Record { id: *id, size: 1, locations: vec![location.clone()] })).unwrap();
        ids.sort_unstable();
        let (mut found, mut from) = (Vec::new(), ContentId([0; 32]));
        while let Some(record) = store.next_record(&from).unwrap() {
            prop_assert_eq!(store.next_record(&record.id).unwrap(), Some(record.clone()));
            found.push(record.id);
            from = record.id;
            *from.0.last_mut().unwrap() = from.0[31].wrapping_add(1);
            if from.0[31] == 0 { break; }
        }
        if from.0[31] != 0 || found.is_empty() {
            prop_assert_eq!(found, ids);
        }
    }
}

#[test]
fn a_pass_reads_everything_and_finds_what_rotted() {
    let dir = TempDir::new().unwrap();
    let sizes = [0, 1, 50_000, 65_536, 65_537, 300_000, 3_000_000];
    let (store, ids) = with_copies(&dir, &sizes);
    let mut position = Position::default();
    assert!(pass(&store, &mut position) > 3, "a little at a time");
    let mut anew = Position::default();
    anew.passes = 1;
    assert_eq!(position, anew, "it begins again");

    let bad = [(2, 49_999), (4, 65_536), (6, 2_000_000)];
    bad.iter().for_each(|(at, byte)| rot(&store.library().join(at.to_string()), *byte));
    pass(&store, &mut position);
    assert_eq!((position.passes, position.damaged), (2, 3));
    for (at, id) in ids.iter().enumerate() {
        let is_bad = bad.iter().any(|(bad, _)| *bad == at);
        let expected = if is_bad { BlobState::Unavailable(Fault::Damaged) } else { BlobState::Complete };
        assert_eq!(state(&store, id), expected, "{at}");
        assert_eq!(store.blob(id).is_err(), is_bad, "what is bad is not served");
    }
    let damages = store.damages().unwrap();
    for (at, byte) in bad {
        let damage = damages.iter().find(|it| it.path.ends_with(at.to_string())).unwrap();
        assert!(damage.ranges.len() == 1 && damage.ranges[0].contains(&byte), "{damage:?} has {byte}");
        assert!(damage.ranges[0].end - damage.ranges[0].start <= GROUP_BYTES);
        assert_eq!(damage.id, ids[at]);
    }
    assert!(store.faults().try_recv().is_ok(), "it is told");
    // What is known to be bad is not found again, and not forgotten by a start.
    pass(&store, &mut position);
    assert_eq!(position.damaged, 3);
    drop(store);
    let store = open(&dir.path().join("data"));
    assert_eq!(store.damages().unwrap(), []);
    store.recall_damages().unwrap();
    assert_eq!(store.damages().unwrap().len(), 3);
    // Good again, it is told no more.
    rot(&store.library().join("2"), 49_999);
    assert_eq!(store.verify(&ids[2], &mut go_on).unwrap(), Verified::Good);
    assert_eq!(store.damages().unwrap().len(), 2);
}

#[test]
fn who_asks_while_damage_is_found_does_not_have_it_forgotten() {
    let dir = TempDir::new().unwrap();
    let (store, ids) = with_copies(&dir, &[1000; 40]);
    (0..40).for_each(|at| rot(&store.library().join(at.to_string()), 0));
    let (looked, (working, done)) = (store.clone(), mpsc::channel::<()>());
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while done.try_recv() == Err(mpsc::TryRecvError::Empty) {
                looked.damages().unwrap();
            }
        });
        let (scrubbed, verified) = ids.split_at(20);
        for id in verified {
            assert!(matches!(store.verify(id, &mut go_on).unwrap(), Verified::Bad { .. }));
        }
        let mut position = Position::default();
        pass(&store, &mut position);
        assert_eq!(position.damaged, scrubbed.len() as u64);
        drop(working);
    });
    assert_eq!(store.damages().unwrap().len(), 40);
}

#[test]
fn it_goes_on_where_it_was() {
    let dir = TempDir::new().unwrap();
    let (store, _) = with_copies(&dir, &[5_000_000]);
    assert_eq!(store.scrub_position(), Position::default());
    let mut position = Position::default();
    for _ in 0..2 {
        assert!(!store.scrub(&mut position).unwrap().is_end);
    }
    assert!((2_000_000..3_000_000).contains(&position.checked_bytes), "in the middle of a file: {position:?}");
    store.keep_scrub_position(&position).unwrap();
    drop(store);
    let store = open(&dir.path().join("data"));
    assert_eq!(store.scrub_position(), position);
    // What it has read before is not read again: that is for the next pass.
    rot(&store.library().join("0"), 10);
    pass(&store, &mut position);
    assert_eq!((position.passes, position.damaged), (1, 0));
    pass(&store, &mut position);
    assert_eq!((position.passes, position.damaged), (2, 1));

    let file = dir.path().join("data/scrub.position");
    let bytes = fs::read(&file).unwrap();
    for at in 0..bytes.len() {
        let mut wrong = bytes.clone();
        wrong[at] ^= 4;
        fs::write(&file, &wrong).unwrap();
        assert_eq!(store.scrub_position(), Position::default(), "a damaged one means the beginning");
        fs::write(&file, &bytes[..at]).unwrap();
        assert_eq!(store.scrub_position(), Position::default());
    }
}

#[test]
fn all_names_of_a_bad_file_are_bad_at_once() {
    let dir = TempDir::new().unwrap();
    let (store, ids) = with_copies(&dir, &[200_000]);
    store.place(&ids[0], &to("second")).unwrap();
    rot(&store.library().join("0"), 150_000);
    let mut position = Position::default();
    pass(&store, &mut position);
    assert_eq!(state(&store, &ids[0]), BlobState::Unavailable(Fault::Damaged));
    assert_eq!(position.damaged, 1, "it is one file");
}

#[test]
fn a_rotten_copy_is_mended_from_a_good_one() {
    let dir = TempDir::new().unwrap();
    let (store, ids) = with_copies(&dir, &[200_000]);
    let own = dir.path().join("own");
    fs::write(&own, content(200_000, 0)).unwrap();
    assert_eq!(import(&store, &own), ids[0]);
    rot(&store.library().join("0"), 5);
    pass(&store, &mut Position::default());
    assert!(fs::read(store.library().join("0")).unwrap() == content(200_000, 0));
    assert_eq!(store.damages().unwrap(), []);
}

#[test]
fn a_changed_file_of_the_owner_never_yields_a_wrong_byte() {
    let dir = TempDir::new().unwrap();
    let bytes = content(300_000, 9);
    let (store, id) = with_file(&dir, &bytes);
    let path = dir.path().join("file.bin");
    let metadata = fs::metadata(&path).unwrap();
    let mut blob = store.blob(&id).unwrap();
    // All of it, with the same size and the old time.
    fs::write(&path, content(300_000, 10)).unwrap();
    set_mtime(&path, &metadata);
    for start in (0..300_000).step_by(10_000) {
        assert!(blob.read(start..start + 10_000).is_err());
    }
    assert!(store.blob(&id).is_err());
    // Written anew, and the scrub is the first to look.
    fs::write(&path, &bytes).unwrap();
    assert_eq!(store.verify(&id, &mut go_on).unwrap(), Verified::Good);
    fs::write(&path, content(300_000, 11)).unwrap();
    pass(&store, &mut Position::default());
    assert_eq!(state(&store, &id), BlobState::Unavailable(Fault::Changed));
    assert_eq!(store.damages().unwrap(), [], "the disk is not to blame");
}

#[test]
fn outboards_are_mended_and_what_is_away_is_left_alone() {
    let dir = TempDir::new().unwrap();
    let (store, id) = with_file(&dir, &content(300_000, 12));
    let outboard = store.outboard_path(&id);
    let right = fs::read(&outboard).unwrap();
    for wrong in [None, Some(vec![7; right.len()])] {
        match wrong {
            None => fs::remove_file(&outboard).unwrap(),
            Some(wrong) => fs::write(&outboard, wrong).unwrap(),
        }
        pass(&store, &mut Position::default());
        assert!(fs::read(&outboard).unwrap() == right);
    }
    let (path, away) = (dir.path().join("file.bin"), dir.path().join("away"));
    fs::rename(&path, &away).unwrap();
    pass(&store, &mut Position::default());
    assert_eq!(state(&store, &id), BlobState::Complete, "its disk may come back");
    assert!(store.blob(&id).is_err());
    assert_eq!(state(&store, &id), BlobState::Unavailable(Fault::Missing));
    fs::rename(&away, &path).unwrap();
    pass(&store, &mut Position::default());
    assert_eq!(state(&store, &id), BlobState::Complete, "it is back");
}

#[test]
fn the_scrub_is_no_use_and_no_reading() {
    let dir = TempDir::new().unwrap();
    let (store, ids) = with_copies(&dir, &[300_000]);
    let accessed = || fs::metadata(store.library().join("0")).unwrap().atime();
    let path = store.library().join("0");
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1000);
    let times = fs::FileTimes::new().set_accessed(old);
    fs::File::open(&path).unwrap().set_times(times).unwrap();
    let uses = store.uses();
    pass(&store, &mut Position::default());
    assert_eq!((store.uses(), accessed()), (uses, 1000));
    store.blob(&ids[0]).unwrap().read(0..10).unwrap();
    assert!(store.uses() > uses && accessed() > 1000);
}
