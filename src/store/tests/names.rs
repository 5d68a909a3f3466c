//! Names in the library: given, shared, taken away.

use super::*;

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
    assert!(store.remove(&[(id, store.library().join("d/s.txt"))]).is_err());
    assert!(outside.path().join("d/s.txt").exists());
}

#[test]
fn small_blobs_are_verified_and_durable() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    let mut blobs: Vec<_> = (0..150u32).map(|at| small(&at.to_le_bytes(), &format!("c/{}/{at}", at % 3))).collect();
    blobs[70].bytes.push(0);
    blobs.push(small(&content(SMALL_FILE_BYTES as usize + 1, 1), "c/long"));
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
        assert!(store.has_name(&id, &name(at)).unwrap());
    }
    // A copy is one too, a file of the same size is not, nor is what might be written down and is not.
    let other = ContentId::of(b"y");
    store.put_small(vec![small(b"y", "c/y")]).unwrap();
    fs::write(store.library().join("d/copy"), "x").unwrap();
    for (id, name, is_one) in [(id, "d/copy", true), (id, "c/y", false), (other, "c/y", true), (other, "d/copy", false)]
    {
        assert_eq!(store.has_name(&id, &to(name)).unwrap(), is_one, "{name}");
    }
    fs::write(store.library().join("d/copy"), "y").unwrap();
    assert!(!store.has_name(&other, &to("d/copy")).unwrap() && !store.has_name(&id, &to("gone")).unwrap());
    remove(&store, &other, &store.library().join("c/y"));
    fs::remove_file(store.library().join("d/copy")).unwrap();
    assert_eq!(store.info(&id).unwrap().unwrap().paths.len(), crate::limits::store::LOCATIONS);
    assert!(matches!(store.place(&ContentId::of(b"?"), &to("q")), Err(StoreError::NotFound(_))));
    assert!(!remove(&store, &id, &store.library().join("c/x")));
    for at in 0..12 {
        remove(&store, &id, &store.library().join(format!("d/{at}")));
    }
    assert_eq!(store.info(&id).unwrap(), None);
    assert_eq!(fs::read_dir(store.library().join("d")).unwrap().count(), 0);
    assert_eq!(store.totals().blobs, 0);
}

#[test]
fn a_file_shared_through_a_link_can_be_placed() {
    let dir = TempDir::new().unwrap();
    let (store, id) = with_file(&dir, b"book");
    remove(&store, &id, &dir.path().join("file.bin"));
    symlink("file.bin", dir.path().join("link")).unwrap();
    import(&store, &dir.path().join("link"));
    store.place(&id, &to("c/book")).unwrap();
    assert!(fs::symlink_metadata(store.library().join("c/book")).unwrap().is_file());
    assert_eq!(store.info(&id).unwrap().unwrap().paths.len(), 2);
}

#[test]
fn removing_takes_library_files_and_leaves_what_is_others() {
    let dir = TempDir::new().unwrap();
    let bytes = content(100_000, 14);
    let (store, id) = with_file(&dir, &bytes);
    store.place(&id, &to("c/copy.bin")).unwrap();
    let mut open_blob = store.blob(&id).unwrap();
    assert!(!remove(&store, &id, &dir.path().join("file.bin")));
    assert!(dir.path().join("file.bin").exists(), "shared in place: not ours");
    assert!(remove(&store, &id, &store.library().join("c/copy.bin")));
    assert!(!store.library().join("c/copy.bin").exists());
    assert!(!store.outboard_path(&id).exists());
    assert_eq!(open_blob.read(0..10).unwrap(), &bytes[..10], "who reads it goes on reading");
    assert!(remove(&store, &id, &store.library().join("c/copy.bin")));
    // What a reader edited stays.
    store.put_small(vec![small(b"book", "c/book")]).unwrap();
    fs::write(store.library().join("c/book"), "my notes").unwrap();
    assert!(remove(&store, &ContentId::of(b"book"), &store.library().join("c/book")));
    assert_eq!(fs::read(store.library().join("c/book")).unwrap(), b"my notes");
    // So does what has its folder's name.
    store.put_small(vec![small(b"page", "d/page")]).unwrap();
    fs::remove_dir_all(store.library().join("d")).unwrap();
    fs::write(store.library().join("d"), "my file").unwrap();
    assert!(remove(&store, &ContentId::of(b"page"), &store.library().join("d/page")));
    assert!(store.info(&ContentId::of(b"page")).unwrap().is_none() && store.library().join("d").is_file());
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
fn a_removal_that_was_cut_short_is_completed_or_did_not_begin() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    let bytes = content(200_000, 3);
    let mut ids = Vec::new();
    for name in ["begun", "noted"] {
        let path = dir.path().join(name);
        fs::write(&path, [&bytes, name.as_bytes()].concat()).unwrap();
        let imported = store.import_copy(&path, &to(&format!("c/{name}")), &mut go_on).unwrap();
        ids.push(imported.id());
        store.commit(vec![imported]).unwrap();
    }
    let doomed = |at: usize| {
        let path = ["begun", "noted"].map(|name| format!("c/{name}").into_bytes())[at].clone();
        [unfinished::Noted { id: ids[at], root: record::LIBRARY, path }]
    };
    store.note(Doing::Removal, &doomed(0), true).unwrap();
    store.take_locations(&doomed(0)).unwrap();
    store.note(Doing::Removal, &doomed(1), true).unwrap();
    drop(store);
    for _ in 0..2 {
        let store = open(dir.path());
        assert!(!store.library().join("c/begun").exists() && !store.outboard_path(&ids[0]).exists());
        assert_eq!(state(&store, &ids[1]), BlobState::Complete);
        assert_eq!(store.verify(&ids[1], &mut go_on).unwrap(), Verified::Good);
    }
}

#[test]
fn a_name_without_a_record_is_found_again() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    let copy = ContentId::of(b"copy");
    store.note(Doing::Naming, &[unfinished::Noted::named(copy, b"c/copy")], true).unwrap();
    fs::create_dir(store.library().join("c")).unwrap();
    fs::write(store.library().join("c/copy"), b"copy").unwrap();
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.found(), [store.library().join("c/copy")]);
    assert_eq!(state(&store, &copy), BlobState::Complete);
    assert_eq!(store.0.index.noted(Doing::Naming).unwrap(), Vec::<Vec<u8>>::new());
}

#[test]
fn small_files_with_names_and_without_records_are_found_again() {
    let dir = TempDir::new().unwrap();
    let incoming = dir.path().join("incoming");
    let store = open(dir.path());
    let written = store.write_small(vec![small(b"a", "c/a"), small(b"b", "c/b")]).unwrap();
    let notes = fs::read_dir(&incoming).unwrap().map(|entry| entry.unwrap().path());
    let notes: Vec<_> = notes.filter(|path| path.file_name().unwrap().as_bytes().starts_with(b"naming-")).collect();
    let [note] = &notes[..] else { panic!("{notes:?}") };
    let note = fs::read(note).unwrap();
    drop(written);
    assert_eq!(fs::read_dir(&incoming).unwrap().count(), 0, "what is given up is gone");
    drop(store);
    // The power went when one had its name, and before that when a note was not whole.
    fs::write(incoming.join("naming-7"), &note).unwrap();
    fs::write(incoming.join("naming-8"), &note[..note.len() - 1]).unwrap();
    fs::create_dir(dir.path().join("library/c")).unwrap();
    fs::write(dir.path().join("library/c/a"), b"a").unwrap();
    let store = open(dir.path());
    assert_eq!(store.found(), [store.library().join("c/a")]);
    assert_eq!(state(&store, &ContentId::of(b"a")), BlobState::Complete);
    assert_eq!(store.info(&ContentId::of(b"b")).unwrap(), None);
    assert_eq!(fs::read_dir(&incoming).unwrap().count(), 0);
}
