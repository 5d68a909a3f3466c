//! Disks that are unplugged: here a folder is moved away, and an empty one takes its place.

use super::*;

/// A store whose library is not in its data folder.
fn open_elsewhere(dir: &TempDir) -> Store {
    let options = Options { library: Some(dir.path().join("disk")), ..Options::default() };
    Store::open(&dir.path().join("data"), options).unwrap()
}

fn unplug(dir: &TempDir) {
    fs::rename(dir.path().join("disk"), dir.path().join("drawer")).unwrap();
    fs::create_dir(dir.path().join("disk")).unwrap();
}

fn plug(dir: &TempDir) {
    // Fails if anything was written into the empty folder.
    fs::remove_dir(dir.path().join("disk")).unwrap();
    fs::rename(dir.path().join("drawer"), dir.path().join("disk")).unwrap();
}

const NONE: BTreeSet<std::path::PathBuf> = BTreeSet::new();

#[test]
fn a_library_that_is_unplugged_is_neither_lost_nor_written_to() {
    let dir = TempDir::new().unwrap();
    let store = open_elsewhere(&dir);
    let (bytes, large) = (b"a book".as_slice(), content(300_000, 1));
    let (id, other) = (ContentId::of(bytes), ContentId::of(&large));
    store.put_small(vec![small(bytes, "Books/a")]).unwrap();
    let download = store.download(other, 300_000).unwrap();
    assert!(!store.look(NONE).unwrap());

    unplug(&dir);
    assert!(matches!(store.blob(&id), Err(ReadError::Unavailable { fault: Fault::Missing, .. })));
    assert!(store.is_library_away(), "it shows when something is read");
    assert_eq!(state(&store, &id), BlobState::Unavailable(Fault::Missing));
    let is_away = |error: &StoreError| matches!(error, StoreError::LibraryAway { .. });
    assert!(store.put_small(vec![small(b"b", "Books/b")]).is_err_and(|error| is_away(&error)));
    assert!(store.download(ContentId::of(b"b"), 1).is_err_and(|error| is_away(&error)));
    assert!(store.place(&id, &to("Books/c")).is_err());
    let path = dir.path().join("disk/Books/a");
    assert!(store.remove(&[(id, path)]).is_err_and(|error| is_away(&error)));
    assert_eq!(fault(store.verify(&id, &mut go_on).unwrap()), Some(Fault::Missing));
    drop(download);
    drop(store);

    let store = open_elsewhere(&dir);
    assert!(store.is_library_away());
    assert_eq!(state(&store, &id), BlobState::Unavailable(Fault::Missing));
    assert!(!store.look(NONE).unwrap());
    assert_eq!(fs::read_dir(dir.path().join("disk")).unwrap().count(), 0);

    plug(&dir);
    assert!(store.look(NONE).unwrap() && !store.is_library_away());
    assert_eq!(state(&store, &id), BlobState::Complete);
    assert_eq!(store.blob(&id).unwrap().read(0..6).unwrap(), bytes);
    assert!(matches!(state(&store, &other), BlobState::Partial { .. }), "what was begun goes on");
    store.put_small(vec![small(b"b", "Books/b")]).unwrap();
}

#[test]
fn a_disk_is_known_by_its_mark() {
    let dir = TempDir::new().unwrap();
    drop(open_elsewhere(&dir));
    unplug(&dir);
    assert!(open_elsewhere(&dir).is_library_away());
    fs::create_dir(dir.path().join("disk/.allibrary")).unwrap();
    fs::write(dir.path().join("disk/.allibrary/library.id"), "0123456789abcdef0123456789abcdef").unwrap();
    assert!(open_elsewhere(&dir).is_library_away(), "that of another node");
    // As the error says, to begin another one.
    fs::remove_file(dir.path().join("data/library.id")).unwrap();
    assert!(!open_elsewhere(&dir).is_library_away());
}

#[test]
fn shared_folders_that_are_away_are_not_written_down_as_lost() {
    let dir = TempDir::new().unwrap();
    let stick = dir.path().join("stick");
    fs::create_dir(&stick).unwrap();
    fs::write(stick.join("film"), b"a film").unwrap();
    fs::write(dir.path().join("copy"), b"a film").unwrap();
    fs::write(stick.join("book"), b"a book").unwrap();
    let store = open(&dir.path().join("data"));
    let ids = ["film", "book"].map(|name| import(&store, &stick.join(name)));
    assert_eq!(import(&store, &dir.path().join("copy")), ids[0]);
    let generation = || fs::read(dir.path().join("data/index/db")).unwrap();

    fs::rename(&stick, dir.path().join("drawer")).unwrap();
    assert!(store.look([stick.clone()].into()).unwrap());
    let before = generation();
    assert_eq!(state(&store, &ids[0]), BlobState::Complete, "another file has the same bytes");
    assert_eq!(store.info(&ids[0]).unwrap().unwrap().paths[0], dir.path().join("copy"));
    assert_eq!(state(&store, &ids[1]), BlobState::Unavailable(Fault::Missing));
    assert!(matches!(store.blob(&ids[1]), Err(ReadError::Unavailable { fault: Fault::Missing, .. })));
    assert_eq!(fault(store.verify(&ids[1], &mut go_on).unwrap()), Some(Fault::Missing));
    assert!(before == generation(), "the index was written to");

    fs::rename(dir.path().join("drawer"), &stick).unwrap();
    assert!(store.look(NONE).unwrap());
    assert_eq!(state(&store, &ids[1]), BlobState::Complete);
}

#[test]
fn what_could_not_be_read_when_its_disk_was_pulled_out_is_read_again() {
    let dir = TempDir::new().unwrap();
    let (store, id) = with_file(&dir, b"a book");
    let path = dir.path().join("file.bin");
    let metadata = fs::metadata(&path).unwrap();
    let write = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        set_mtime(&path, &metadata);
    };
    write(b"what?!");
    let folders = BTreeSet::from([dir.path().to_owned()]);
    assert!(store.blob(&id).unwrap().read(0..6).is_err());
    assert!(store.look(folders.clone()).unwrap());
    assert_eq!(store.away(), folders);
    assert!(store.look(NONE).unwrap());
    for (bytes, state_then) in [(b"what?!", BlobState::Unavailable(Fault::Damaged)), (b"a book", BlobState::Complete)] {
        write(bytes);
        store.verify_damaged(&NONE).unwrap();
        assert_eq!(state(&store, &id), BlobState::Unavailable(Fault::Damaged));
        store.verify_damaged(&folders).unwrap();
        assert_eq!(state(&store, &id), state_then);
    }
}

#[test]
fn what_was_missing_and_is_back_is_good_unless_it_changed() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir.path().join("data"));
    let (same, other) = (dir.path().join("same"), dir.path().join("other"));
    fs::write(&same, b"one").unwrap();
    fs::write(&other, b"two").unwrap();
    let ids = [&same, &other].map(|path| import(&store, path));
    for path in [&same, &other] {
        fs::rename(path, path.with_extension("away")).unwrap();
    }
    assert!(ids.iter().all(|id| store.blob(id).is_err()));
    fs::rename(same.with_extension("away"), &same).unwrap();
    fs::write(&other, b"2").unwrap();
    assert!(store.find_again().unwrap());
    assert_eq!(state(&store, &ids[0]), BlobState::Complete);
    assert_eq!(state(&store, &ids[1]), BlobState::Unavailable(Fault::Missing));
}
