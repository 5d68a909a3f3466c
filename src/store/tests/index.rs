//! The index and the data folder: small state, damage, versions, who may use it.

use super::*;

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
fn long_values_never_reach_sled() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    let keys = [b"good".to_vec(), vec![0; VALUE_BYTES]];
    assert!(matches!(store.0.index.note(Doing::Removal, keys.into_iter(), true), Err(StoreError::TooLarge { .. })));
    assert_eq!(store.0.index.noted(Doing::Removal).unwrap(), Vec::<Vec<u8>>::new(), "nothing of it was written");
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
    let totals = store.totals();
    assert_eq!((totals.blobs, totals.bytes), (0, 0));
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
        symlink("7", dir.path().join("library/c/link")).unwrap();
        assert!(store.import_library(&to("c/link")).is_err() && store.import_library(&to("c/none")).is_err());
        let found = store.import_library(&to("c/7")).unwrap();
        assert_eq!(found.id(), id);
        store.commit(vec![found]).unwrap();
        store.set_rebuilt().unwrap();
        drop(store);
        let store = open(dir.path());
        assert!(!store.needs_rebuild().unwrap());
        assert_eq!(state(&store, &id), BlobState::Complete);
        // It is a library file again, deleted with its blob.
        assert!(remove(&store, &id, &store.library().join("c/7")));
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
    let generation = fs::read(dir.path().join("index.generation")).unwrap();
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
        fs::write(dir.path().join("index.generation"), &generation).unwrap();
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
        // Nothing is lost without a word.
        assert!(seen.len() == 400 || store.needs_rebuild().unwrap(), "{} of 400", seen.len());
        assert_eq!(store.totals().blobs, seen.len() as u64);
    }
    let kept =
        fs::read_dir(dir.path()).unwrap().flatten().filter(|it| it.file_name().to_str().unwrap().contains("damaged"));
    assert_eq!(kept.count(), crate::limits::store::DAMAGED_INDEXES as usize);
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
